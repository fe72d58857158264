"""What the machine is, and what it can do: the limits that rates are held against.

    python benchmarks/machine.py

Both limits are measured by native code of a few instructions: independent fused multiply-adds in
registers, and loads of consecutive memory, out of a cache and out of main memory.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np

from tigon.backends.cpu.backend import cpu

CACHED = 256 * 1024  # bytes for each thread, in its own cache
STREAMED = 256 * 1024 * 1024  # bytes in all, in no cache
TELLING = ("fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


@dataclass(frozen=True)
class Limits:
    """Of all threads together: GFLOP/s in float32, GB/s read from caches and from memory."""

    peak: float
    cache: float
    memory: float
    threads: int

    def microseconds(self, flops: float, size: float) -> float:
        """The least time of so many operations and so many bytes read or written."""
        bandwidth = self.cache if size <= 2 * CACHED * self.threads else self.memory
        return max(flops / self.peak, size / bandwidth) / 1e3

    def better(self, other: Limits) -> Limits:
        """Of two measurements the one less disturbed, limit by limit."""
        return Limits(
            max(self.peak, other.peak),
            max(self.cache, other.cache),
            max(self.memory, other.memory),
            self.threads,
        )


def describe() -> str:
    """The processor as it presents itself."""
    about = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            about[name.strip()] = value.strip()
    except OSError:
        return f"{platform.machine()}, {os.cpu_count()} logical processors"
    flags = about.get("flags", about.get("Features", "")).split()
    told = [flag for flag in TELLING if flag in flags]
    family = ", ".join(
        f"{name} {about[name]}" for name in ("cpu family", "model", "stepping") if name in about
    )
    model = about.get("model name", platform.machine())
    return (
        f"{model} ({family}), {os.cpu_count()} logical processors, "
        f"{about.get('cache size', 'unknown')} cache, {' '.join(told)}"
    )


def busy() -> float:
    """How many processes wanted to run during the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


# ----------------------------------------------------------------------------- limits


def _text(lanes: int, fused: bool) -> str:
    """`peak(count)`: count times 16 independent multiply-adds of vectors. `read(from, count,
    mask)`: the sum of count times 8 vectors; a mask of -1 goes straight on, one of 2**n - 1 begins
    again after 2**n steps. Both return a sum, so that nothing is left out."""
    vector = f"<{lanes} x float>"

    def loop(name: str, arguments: str, chains: int, body: Callable[[int], list[str]]) -> str:
        names = range(chains)
        phis = [
            f"  %s{i} = phi {vector} [ zeroinitializer, %entry ], [ %n{i}, %loop ]" for i in names
        ]
        work = [line for i in names for line in body(i)]
        folds, last = [], "%n0"
        for i in names[1:]:
            folds.append(f"  %f{i} = fadd {vector} {last}, %n{i}")
            last = f"%f{i}"
        return "\n".join(
            [
                f"define float @{name}({arguments}) {{",
                "entry:",
                "  br label %loop",
                "loop:",
                "  %i = phi i64 [ 0, %entry ], [ %j, %loop ]",
                *phis,
                *work,
                "  %j = add i64 %i, 1",
                "  %more = icmp slt i64 %j, %count",
                "  br i1 %more, label %loop, label %done",
                "done:",
                *folds,
                f"  %first = extractelement {vector} {last}, i32 0",
                "  ret float %first",
                "}",
            ]
        )

    splat = f"<{', '.join(['float 0.5'] * lanes)}>"

    def multiply_add(i: int) -> list[str]:
        given = f"{vector} %s{i}, {vector} {splat}, {vector} {splat}"
        if fused:
            return [f"  %n{i} = call {vector} @llvm.fma.v{lanes}f32({given})"]
        return [
            f"  %m{i} = fmul {vector} %s{i}, {splat}",
            f"  %n{i} = fadd {vector} %m{i}, {splat}",
        ]

    def load(i: int) -> list[str]:
        return [
            f"  %k{i} = and i64 %i, %mask",
            f"  %a{i} = mul i64 %k{i}, {8 * lanes}",
            f"  %b{i} = add i64 %a{i}, {i * lanes}",
            f"  %p{i} = getelementptr float, ptr %from, i64 %b{i}",
            f"  %v{i} = load {vector}, ptr %p{i}, align 4",
            f"  %n{i} = fadd {vector} %s{i}, %v{i}",
        ]

    parts = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})" if fused else "",
        loop("peak", "i64 %count", 12, multiply_add),
        loop("read", "ptr %from, i64 %count, i64 %mask", 8, load),
    ]
    return "\n".join(parts)


class _Probe:
    """The native code, and threads to run it on."""

    def __init__(self, threads: int) -> None:
        import llvmlite.binding as llvm

        target = cpu.target
        self.lanes = target.lanes(4)
        self.threads = threads
        machine = llvm.Target.from_triple(target.triple).create_target_machine(
            features=target.features, opt=2, jit=True
        )
        module = llvm.parse_assembly(_text(self.lanes, target.fused))
        self._engine: Any = llvm.create_mcjit_compiler(module, machine)
        self._engine.finalize_object()
        integer = ctypes.c_int64
        self.peak = ctypes.CFUNCTYPE(ctypes.c_float, integer)(
            self._engine.get_function_address("peak")
        )
        self.read = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_void_p, integer, integer)(
            self._engine.get_function_address("read")
        )
        self._pool = ThreadPoolExecutor(threads)
        self._meet = Barrier(threads)

    def best(self, part: Callable[[int], Any], turns: int) -> float:
        """Seconds of the quickest of several turns: all threads, from the first to start to the
        last to end."""

        def timed(thread: int) -> tuple[float, float]:
            self._meet.wait()
            began = time.perf_counter()
            part(thread)
            return began, time.perf_counter()

        found = []
        for _ in range(turns):
            spans = list(self._pool.map(timed, range(self.threads)))
            found.append(max(end for _, end in spans) - min(began for began, _ in spans))
        return min(found)


def measure(threads: int, seconds: float = 0.02) -> Limits:
    """The limits of so many threads; takes about two seconds."""
    probe = _Probe(threads)
    calibration = 200_000
    once = probe.best(lambda _: probe.peak(calibration), 3)
    count = max(1000, int(calibration * seconds / once))
    took = probe.best(lambda _: probe.peak(count), 12)
    peak = 12 * 2.0 * probe.lanes * count * threads / took / 1e9

    small = [np.ones(CACHED // 4, np.float32) for _ in range(threads)]
    steps = CACHED // 4 // (8 * probe.lanes)
    count = 100 * steps
    took = probe.best(lambda t: probe.read(small[t].ctypes.data, count, steps - 1), 12)
    cache = 4.0 * count * 8 * probe.lanes * threads / took / 1e9

    large = np.ones(STREAMED // 4, np.float32)
    part = STREAMED // 4 // threads
    chunk = part // (8 * probe.lanes)
    memory = probe.best(lambda t: probe.read(large.ctypes.data + 4 * part * t, chunk, -1), 8)
    return Limits(peak, cache, 4.0 * chunk * 8 * probe.lanes * threads / memory / 1e9, threads)


if __name__ == "__main__":
    print(describe())
    print(measure(os.cpu_count() or 1))
