"""Generated kernels against what the machine can do: no arrays, no runtime, only native code.

    python benchmarks/kernels.py

The limits to hold the rates against: twice the lanes times the clock for each multiply-add unit,
and what copying 40 MB reaches, printed first."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from tigon.backends.cpu.backend import cpu
from tigon.base.dtypes import float32
from tigon.loop import build as L
from tigon.loop.grammar import (
    Accumulator,
    AnyNest,
    Buffer,
    Contraction,
    Expr,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Store,
)

THREADS = 2
_KERNEL = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)


class Kernel:
    """A compiled nest with its buffers, run by one thread or several."""

    def __init__(self, nest: AnyNest, arrays: Sequence[np.ndarray]) -> None:
        made = cpu.prepare(nest)
        self.points = made.points
        self._call = _KERNEL(cpu.compile([made.structure])[0])
        self._slots = ctypes.create_string_buffer(made.slots or bytes(8))
        self._arrays = arrays
        self._buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        self._scratch = [_memory(made.scratch_bytes // 4 + 64) for _ in range(THREADS)]

    def part(self, thread: int, threads: int) -> None:
        begin, end = self.points * thread // threads, self.points * (thread + 1) // threads
        if begin < end:
            scratch = self._scratch[thread].ctypes.data
            self._call(self._buffers, self._slots, scratch, begin, end)

    def seconds(self, threads: int, pool: ThreadPoolExecutor, least: float = 0.2) -> float:
        """The best of as many runs as fit into `least` seconds."""

        def once() -> None:
            if threads == 1:
                self.part(0, 1)
            else:
                list(pool.map(lambda thread: self.part(thread, threads), range(threads)))

        return best_of(once, least)


def best_of(once: Callable[[], None], least: float = 0.2) -> float:
    once()
    best, until = float("inf"), time.perf_counter() + least
    while time.perf_counter() < until:
        begun = time.perf_counter()
        once()
        best = min(best, time.perf_counter() - begun)
    return best


def _memory(count: int) -> np.ndarray:
    """Floats on a 64-byte boundary."""
    raw = np.zeros(count + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + count]


def _random(count: int) -> np.ndarray:
    made = _memory(count)
    made[:] = np.random.default_rng(0).normal(size=count)
    return made


# ---------------------------------------------------------------------------------- kernels


def _buffers(inputs: int) -> tuple[Buffer, ...]:
    return (*(Buffer(float32, "in") for _ in range(inputs)), Buffer(float32, "out"))


def elementwise(count: int, function: Callable[[Expr, Expr], Expr], block: int = 16384) -> Nest:
    i, j = L.axis("i"), L.axis("j")
    value = function(L.load(0, j, float32), L.load(1, j, float32))
    stop = L.minimum(L.mul(L.add(i, 1), block), count)
    loop = Loop((LoopAxis("j", stop, L.mul(i, block), True),), (Store(2, j, value),))
    return Nest(_buffers(2), (LoopAxis("i", L.const(-(-count // block))),), (loop,))


def softmax(rows: int, columns: int) -> Nest:
    i, j = L.axis("i"), L.axis("j")
    at = L.add(L.mul(i, columns), j)
    row = LoopAxis("j", L.const(columns), L.const(0), True)
    shifted = L.exp(L.sub(L.load(0, at, float32), L.local("most", float32)))
    body = (
        Reduce((row,), (Accumulator("most", "maximum", L.load(0, at, float32)),)),
        Loop((row,), (Store(1, at, shifted),)),
        Reduce((row,), (Accumulator("total", "sum", L.load(1, at, float32)),)),
        Loop((row,), (Store(1, at, L.div(L.load(1, at, float32), L.local("total", float32))),)),
    )
    return Nest(_buffers(1), (LoopAxis("i", L.const(rows)),), body)


def product(rows: int, columns: int, inner: int, transposed: bool = False) -> Contraction:
    m, n, k = L.axis("m"), L.axis("n"), L.axis("k")
    right = L.add(L.mul(n, inner), k) if transposed else L.add(L.mul(k, columns), n)
    place = L.add(L.mul(m, columns), n)
    return Contraction(
        buffers=_buffers(2),
        batch=(),
        rows=(LoopAxis("m", L.const(rows)),),
        columns=(LoopAxis("n", L.const(columns)),),
        inner=(LoopAxis("k", L.const(inner)),),
        left=L.load(0, L.add(L.mul(m, inner), k), float32),
        right=L.load(1, right, float32),
        accumulator="sum",
        dtype=float32,
        body=(Store(2, place, L.local("sum", float32)),),
    )


# --------------------------------------------------------------------------------- the table


def main() -> int:
    pool = ThreadPoolExecutor(THREADS)
    meet = Barrier(THREADS)  # the pool starts a thread only when all others are busy
    list(pool.map(lambda _: meet.wait(), range(THREADS)))
    millions = 10_000_000
    a, b, out = _random(millions), _random(millions), _memory(millions)
    chain = lambda x, y: L.add(L.mul(L.tanh(L.add(L.mul(y, x), 1.0)), 0.5), x)  # noqa: E731
    scaled = lambda x, y: L.add(L.mul(y, x), 1.0)  # noqa: E731

    copied = best_of(lambda: np.copyto(out, a))
    print(f"copying memory, 1 thread: {8e-9 * millions / copied:.1f} GB/s")
    print(f"{'kernel':34}{'1 thread':>22}{'2 threads':>22}")

    def row(name: str, nest: AnyNest, arrays: Sequence[np.ndarray], work: float, unit: str) -> None:
        kernel = Kernel(nest, arrays)
        cells = []
        for threads in (1, THREADS):
            seconds = kernel.seconds(threads, pool)
            cells.append(f"{seconds * 1e6:10.1f} us {work / seconds / 1e9:6.1f}")
        print(f"{name:34}{cells[0]:>22}{cells[1]:>22} {unit}")

    for size in (256, 512, 1024, 2048):
        n = size * size
        row(
            f"product {size}",
            product(size, size, size),
            [_random(n), _random(n), _memory(n)],
            2.0 * size**3,
            "GFLOP/s",
        )
    row(
        "product 64x784x256, W transposed",
        product(64, 256, 784, True),
        [_random(64 * 784), _random(256 * 784), _memory(64 * 256)],
        2.0 * 64 * 784 * 256,
        "GFLOP/s",
    )
    row(
        "product 1x512x256, W transposed",
        product(1, 256, 512, True),
        [_random(512), _random(256 * 512), _memory(256)],
        2.0 * 512 * 256,
        "GFLOP/s",
    )
    for count in (1000, millions):
        row(
            f"tanh(b*a+1)*0.5+a, {count:,}",
            elementwise(count, chain),
            [a, b, out],
            12.0 * count,
            "GB/s",
        )
        row(f"b*a+1, {count:,}", elementwise(count, scaled), [a, b, out], 12.0 * count, "GB/s")
    for rows, columns in ((1024, 1000), (65536, 10), (128, 65536)):
        row(
            f"softmax {rows}x{columns}",
            softmax(rows, columns),
            [a, out],
            8.0 * rows * columns,
            "GB/s",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
