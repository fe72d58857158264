"""Routines of libraries where nests are expected."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tigon import _native
from tigon.backends.cpu import routines
from tigon.backends.cpu.backend import CpuBackend
from tigon.backends.null.backend import NullBackend
from tigon.base import InternalError, TigonError
from tigon.base.dtypes import DType, float32, float64
from tigon.loop import build as L
from tigon.loop.abstract import abstract, bind
from tigon.loop.fingerprint import fingerprint
from tigon.loop.grammar import Buffer, Const, Extern
from tigon.loop.interpret import interpret
from tigon.loop.show import show
from tigon.loop.verify import verify


def trsm(points: int, rows: int, columns: int, alpha: float, dtype: DType = float32) -> Extern:
    return Extern(
        "trsm",
        dtype,
        (Buffer(dtype, "in"), Buffer(dtype, "in"), Buffer(dtype, "out")),
        L.const(points),
        (*map(L.const, (rows, columns, 0, 0, 1)), Const(alpha, float64)),
        L.const(rows * rows * columns),
    )


def test_all_numbers_are_slots() -> None:
    one, other = trsm(1, 1, 0, 1.0), trsm(5, 2, 3, -2.0)
    (structure, slots), (again, others) = abstract(one), abstract(other)
    assert structure is again
    assert struct.unpack("<6qdq", slots) == (1, 1, 0, 0, 0, 1, 1.0, 0)
    assert struct.unpack("<6qdq", others) == (5, 2, 3, 0, 0, 1, -2.0, 12)
    assert bind(structure, others) == other
    assert fingerprint(structure) != fingerprint(abstract(trsm(5, 2, 3, -2.0, float64))[0])
    verify(structure)
    verify(other)


def test_its_text_says_what_is_called() -> None:
    assert show(trsm(5, 2, 3, -2.0)) == (
        "extern b0: float32 in, b1: float32 in, b2: float32 out\n"
        "trsm(2, 3, 0, 0, 1, -2.0) of float32, 5 times"
    )


def test_numbers_that_are_none_are_refused() -> None:
    nest = trsm(5, 2, 3, 1.0)
    broken = Extern(
        nest.routine, nest.dtype, nest.buffers, nest.points, (L.axis("i"),), nest.operations
    )
    with pytest.raises(InternalError, match="is no number of a routine"):
        verify(broken)


def test_there_are_no_loops_in_it() -> None:
    nest = trsm(1, 1, 1, 1.0)
    with pytest.raises(InternalError, match="interpret: trsm has no loops"):
        interpret(nest, [np.zeros(1, np.float32)] * 3)
    backend = CpuBackend()
    with pytest.raises(InternalError, match="cpu: trsm is a routine of a library"):
        backend.llvm(backend.prepare(nest).structure)


def test_one_address_serves_all_sizes() -> None:
    backend = CpuBackend()
    launchables = [backend.prepare(trsm(points, 4, 4, 1.0)) for points in (1, 9)]
    assert [launch.points for launch in launchables] == [1, 9]
    structures = [launch.structure for launch in launchables]
    first, second = backend.compile(structures)
    assert first == second
    assert backend.names(structures) == ["routine trsm float32"] * 2
    assert backend.find(["routine trsm float32"]) == [first]
    assert backend.compile([backend.prepare(trsm(1, 4, 4, 1.0, float64)).structure]) != [first]
    assert backend.counters["compilations"] == 0


def test_the_null_backend_computes_nothing() -> None:
    backend = NullBackend()
    launchable = backend.prepare(trsm(5, 2, 3, 1.0))
    assert launchable.points == 0
    assert len(backend.compile([launchable.structure])) == 1


def test_what_there_is_not_is_said() -> None:
    with pytest.raises(AssertionError, match="routine: there is no nonsense"):
        _native.routine_address("nonsense", float32.code)
    with pytest.raises(AssertionError, match="routine potrf: there is none of dtype 4"):
        _native.routine_address("potrf", 4)
    with pytest.raises(AssertionError, match="routine potrf: takes 2 numbers"):
        _native.routine_scratch_bytes("potrf", float32.code, [1])
    assert not _native.set_library_function("dnonsense", 1)
    assert not _native.set_library_function("zpotrf", 1)
    assert routines.find("potrf float64") == _native.routine_address("potrf", float64.code)


def test_extents_that_lapack_cannot_count() -> None:
    with pytest.raises(TigonError) as raised:
        routines.prepare(trsm(1, 1, 1 << 31, 1.0))
    assert str(raised.value) == (
        "linalg.trsm: LAPACK counts to 2147483647; given an extent of 2147483648; use smaller "
        "matrices"
    )
