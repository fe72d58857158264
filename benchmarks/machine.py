"""What the machine is, and what it can do: the limits that rates are held against.

    python benchmarks/machine.py

Both limits are measured by native code of a few instructions: independent fused multiply-adds in
registers, and loads (and stores) of consecutive memory, in a cache and in main memory.
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
STREAMED = 120_000_000  # bytes in all: most of it in no cache, as in the rows of ten million
TELLING = ("fma", "avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


@dataclass(frozen=True)
class Limits:
    """Of all threads together: GFLOP/s in float32, GB/s read from caches, and GB/s read or read and
    written in main memory."""

    peak: float
    cache: float
    memory: float
    threads: int

    def in_memory(self, size: float) -> bool:
        """Whether so many bytes are in no cache."""
        return size > 2 * CACHED * self.threads

    def least(self, flops: float, size: float) -> float:
        """Microseconds that so many operations and so many bytes read or written take at least; 0
        where that is less than a call."""
        if not flops and size < 1e5:
            return 0.0
        bandwidth = self.memory if self.in_memory(size) else self.cache
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


# ----------------------------------------------------------------------------- limits


def _text(lanes: int, fused: bool) -> str:
    """`peak(count)`: count times 16 independent multiply-adds of vectors. `read(from, count,
    mask)`: the sum of count times 8 vectors; a mask of -1 goes straight on, one of 2**n - 1 begins
    again after 2**n steps. `move(left, right, to, count)` reads two
    arrays and writes a third past the caches. The sums returned keep the work from being left
    out."""
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

    def move(i: int) -> list[str]:
        return [
            f"  %a{i} = mul i64 %i, {8 * lanes}",
            f"  %b{i} = add i64 %a{i}, {i * lanes}",
            f"  %p{i} = getelementptr float, ptr %left, i64 %b{i}",
            f"  %q{i} = getelementptr float, ptr %right, i64 %b{i}",
            f"  %r{i} = getelementptr float, ptr %to, i64 %b{i}",
            f"  %v{i} = load {vector}, ptr %p{i}, align 4",
            f"  %w{i} = load {vector}, ptr %q{i}, align 4",
            f"  %n{i} = fadd {vector} %v{i}, %w{i}",
            f"  store {vector} %n{i}, ptr %r{i}, align {4 * lanes}, !nontemporal !0",
        ]

    parts = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})" if fused else "",
        loop("peak", "i64 %count", 12, multiply_add),
        loop("read", "ptr %from, i64 %count, i64 %mask", 8, load),
        loop("move", "ptr %left, ptr %right, ptr %to, i64 %count", 8, move),
        "!0 = !{i32 1}",
    ]
    return "\n".join(parts)


class _Probe:
    """The native code, and threads to run it on."""

    def __init__(self, threads: int) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
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
        self.move = ctypes.CFUNCTYPE(ctypes.c_float, *[ctypes.c_void_p] * 3, integer)(
            self._engine.get_function_address("move")
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
    peak = _peak(probe, seconds)

    small = [np.ones(CACHED // 4, np.float32) for _ in range(threads)]
    steps = CACHED // 4 // (8 * probe.lanes)
    count = 100 * steps
    took = probe.best(lambda t: probe.read(small[t].ctypes.data, count, steps - 1), 12)
    cache = 4.0 * count * 8 * probe.lanes * threads / took / 1e9

    return Limits(peak, cache, _memory(probe), threads)


def peak(threads: int) -> float:
    """GFLOP/s of multiply-adds at this moment."""
    return _peak(_Probe(threads), 0.02)


def _peak(probe: _Probe, seconds: float) -> float:
    calibration = 200_000
    once = probe.best(lambda _: probe.peak(calibration), 3)
    count = max(1000, int(calibration * seconds / once))
    took = probe.best(lambda _: probe.peak(count), 12)
    return 12 * 2.0 * probe.lanes * count * probe.threads / took / 1e9


def memory(threads: int) -> float:
    """GB/s of main memory at this moment: where a machine is shared it changes within minutes."""
    return _memory(_Probe(threads))


def _memory(probe: _Probe) -> float:
    return max(_read(probe), _move(probe))


def _read(probe: _Probe) -> float:
    """GB/s of reading one array."""
    data = np.ones(STREAMED // 4, np.float32)
    part = data.size // probe.threads
    steps = part // (8 * probe.lanes)
    took = probe.best(lambda t: probe.read(data.ctypes.data + 4 * part * t, steps, -1), 8)
    return 4.0 * steps * 8 * probe.lanes * probe.threads / took / 1e9


def _move(probe: _Probe) -> float:
    """GB/s of reading two arrays and writing a third; writing is a way of its own on some
    machines, so this may be more."""
    size = STREAMED // 3
    raw = [np.ones(size // 4 + 64, np.float32) for _ in range(3)]
    places = [array.ctypes.data + -array.ctypes.data % 64 for array in raw]
    steps = size // 4 // probe.threads // (8 * probe.lanes)
    step = 4 * 8 * probe.lanes

    def part(thread: int) -> None:
        probe.move(*(place + thread * steps * step for place in places), steps)

    return 3.0 * steps * step * probe.threads / probe.best(part, 8) / 1e9


if __name__ == "__main__":
    print(describe())
    print(measure(os.cpu_count() or 1))
