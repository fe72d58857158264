"""Kernels of the native runtime. Most call LAPACK; SciPy brings it, as C functions that need no
interpreter.

OpenBLAS, which is what SciPy's packages hold, has threads of its own, one number of them for the
process. A kernel sets it to one while it runs and puts it back (`csrc/program/routines.cpp`): a
batch is spread over our threads, and what a matrix comes to does not depend on their number. Where
the library exports no such setting, its own threads are left as they are."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from importlib import import_module
from typing import Any

from tigon import _native
from tigon.backends.cpu.chunks import CHUNK_US
from tigon.backends.cpu.cost import number
from tigon.backends.interface import Launchable, Structure
from tigon.base import TigonError
from tigon.base.dtypes import as_dtype
from tigon.loop.abstract import abstract
from tigon.loop.grammar import Extern

_CALL_US = 0.5
_OPERATIONS_PER_US = 4000.0

THREADS = (
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
)
"""What the number of threads is asked for and set by, in SciPy's own builds and others."""


def prepare(nest: Extern) -> Launchable:
    _load(nest.routine)
    structure, slots = abstract(nest)
    points = number(nest.points)
    each = _CALL_US + number(nest.operations) / _OPERATIONS_PER_US
    count = len(nest.numbers)
    numbers = struct.unpack_from(f"<{count}q", slots, 8)
    return Launchable(
        Structure(structure),
        slots[: 8 * (1 + count)],
        points,
        max(1, round(CHUNK_US / each)),
        _native.routine_scratch_bytes(nest.routine, nest.dtype.code, numbers),
        points * each,
    )


def address(nest: Extern) -> int:
    return _native.routine_address(nest.routine, nest.dtype.code)


def name(nest: Extern) -> str:
    """As stored programs say it."""
    return f"{nest.routine} {nest.dtype}"


def find(stored: str) -> int:
    """The address behind such a name."""
    routine, dtype = stored.split(" ")
    _load(routine)
    return _native.routine_address(routine, as_dtype(dtype).code)


def _load(routine: str) -> None:
    if not _native.routine_needs_library(routine):
        return
    try:
        _load_library()
    except ImportError as error:
        raise TigonError(
            f"linalg.{routine}: needs SciPy, which cannot be imported ({error}); "
            "pip install tigon[linalg]"
        ) from error


@cache
def _load_library() -> None:
    for module in ("scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"):
        library = import_module(module)
        for function, capsule in library.__pyx_capi__.items():
            _native.set_library_function(function, _address(capsule))
    opened = ctypes.CDLL(library.__file__)  # finds what it is linked against, too
    for count, set_count in THREADS:
        if hasattr(opened, count) and hasattr(opened, set_count):
            found = (
                ctypes.cast(getattr(opened, each), ctypes.c_void_p) for each in (count, set_count)
            )
            _native.set_library_threads(*(pointer.value or 0 for pointer in found))
            return


def _address(capsule: Any) -> int:
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer_of(capsule, name_of(capsule)))
