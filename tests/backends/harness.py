"""Runs a compiled kernel through ctypes, on numpy arrays, in one or several ranges of points."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.backends.interface import Launchable
from tigon.backends.llvm.target import Target
from tigon.base.dtypes import from_memory, to_memory
from tigon.loop.grammar import AnyNest
from tigon.loop.interpret import interpret

_LIBC = ctypes.CDLL(None)
_KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
)


def narrow(vector_bytes: int) -> CpuBackend:
    """A backend as on a machine with smaller registers and no masks."""
    host = cpu.target
    return CpuBackend(
        Target(host.triple, host.features, vector_bytes, 16, False, vector_bytes > 16)
    )


def aligned(count: int, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """Uninitialised memory on a 64-byte boundary, filled with a pattern that is no number."""
    size = count * np.dtype(dtype).itemsize
    raw = np.full(size + 64, 0xFF, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)


def fenced(array: np.ndarray, front: bool = False) -> np.ndarray:
    """A copy that ends (or begins) at a page that may not be touched."""
    page = mmap.PAGESIZE
    pages = -(-max(1, array.nbytes) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    begin = np.frombuffer(memory, np.uint8).ctypes.data
    for fence in (begin, begin + (pages + 1) * page):
        assert _LIBC.mprotect(ctypes.c_void_p(fence), page, 0) == 0
    start = page if front else (pages + 1) * page - array.nbytes
    made = np.frombuffer(memory, array.dtype, array.size, start).reshape(array.shape)
    made[...] = array
    return made


class Launch:
    """A compiled nest, its buffers bound."""

    def __init__(
        self, nest: AnyNest, arrays: Sequence[np.ndarray | None], backend: CpuBackend = cpu
    ) -> None:
        self.launchable: Launchable = backend.prepare(nest)
        (address,) = backend.compile([self.launchable.structure])
        self._kernel = _KERNEL(address)
        self._arrays = arrays
        self._buffers = (ctypes.c_void_p * max(1, len(arrays)))(
            *(None if array is None else array.ctypes.data for array in arrays)
        )
        self._slots = ctypes.create_string_buffer(self.launchable.slots or bytes(8))
        self._scratch = aligned(self.launchable.scratch_bytes + 64)

    def __call__(self, begin: int = 0, end: int | None = None) -> None:
        end = self.launchable.points if end is None else end
        if begin < end:
            status = self._kernel(self._buffers, self._slots, self._scratch.ctypes.data, begin, end)
            assert status == 0


def run(
    nest: AnyNest,
    arrays: Sequence[np.ndarray | None],
    ranges: int = 1,
    backend: CpuBackend = cpu,
) -> None:
    """Run all points, in `ranges` calls, the last range first."""
    launch = Launch(nest, arrays, backend)
    points = launch.launchable.points
    cuts = [points * part // ranges for part in range(ranges + 1)]
    for begin, end in reversed(list(pairwise(cuts))):
        launch(begin, end)
    assert (launch._scratch[-64:] == 0xFF).all(), "written beyond the scratch memory"


def check(
    nest: AnyNest,
    arrays: Sequence[np.ndarray | None],
    tolerance: float = 0.0,
    backend: CpuBackend = cpu,
) -> list[np.ndarray]:
    """Native against the oracle; the out arrays of the native run."""
    front = len(nest.buffers) % 2 == 1
    mine = [
        None if a is None else fenced(to_memory(a, buffer.dtype), front)
        for a, buffer in zip(arrays, nest.buffers, strict=True)
    ]
    theirs = [None if a is None else a.copy() for a in arrays]
    run(nest, mine, 2, backend)
    with np.errstate(all="ignore"):
        interpret(nest, theirs)
    outs = []
    for buffer, native, oracle in zip(nest.buffers, mine, theirs, strict=True):
        if buffer.role != "out":
            continue
        assert native is not None and oracle is not None
        native = from_memory(native, buffer.dtype)
        if tolerance:
            np.testing.assert_allclose(native, oracle, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(native, oracle)
        outs.append(native)
    return outs
