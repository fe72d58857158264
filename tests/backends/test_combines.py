"""What elements are combined by is a row: declared anywhere, it runs as the interpreter says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.backends.harness import check, narrow
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.base.dtypes import DType, float32, float64, int32
from tigon.base.errors import InternalError
from tigon.loop import build as L
from tigon.loop.combine import COMBINES, Combine, declare
from tigon.loop.fingerprint import declared_elsewhere
from tigon.loop.grammar import Accumulator, Buffer, LoopAxis, Nest, Reduce, Scan, Store
from tigon.loop.verify import verify

TOYS = (
    # numpy's step is no ufunc; a constant of its own; a function that is written out
    Combine(
        "toy_nearest",
        "fi",
        lambda dtype: 100,
        lambda a, b: np.where(abs(a) < abs(b), a, b),
        lambda a, b: L.select(L.lt(L.abs(a), L.abs(b)), a, b),
    ),
    Combine(
        "toy_capped",
        "fi",
        lambda dtype: 0,
        lambda a, b: np.minimum(a + b, 90),
        lambda a, b: L.minimum(L.add(a, b), 90),
    ),
    Combine("toy_norm", "f", lambda dtype: 0, np.hypot, L.hypot),
)


def _spelled(part: Combine | DType) -> str:
    return part.name


CASES = [(toy, dtype) for toy in TOYS for dtype in (float32, float64, int32)]
CASES = [(toy, dtype) for toy, dtype in CASES if dtype.kind in toy.kinds]


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    for toy in TOYS:
        declare(toy)
    yield
    for toy in TOYS:
        del COMBINES[toy.name]


def values(count: int, dtype: DType) -> np.ndarray:
    """Whole numbers, with which every order of additions gives the same."""
    return np.random.default_rng(3).integers(0, 7, count).astype(dtype.numpy)


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize(("toy", "dtype"), CASES, ids=_spelled)
@pytest.mark.parametrize("size", [0, 1, 77])
def test_reductions(toy: Combine, dtype: DType, size: int, vector: bool) -> None:
    x = L.load(0, L.add(L.mul(L.axis("i"), size), L.axis("j")), dtype)
    axis = LoopAxis("j", L.const(size), vector=vector)
    total = Reduce((axis,), (Accumulator("s", toy.name, x),))
    store = Store(1, L.axis("i"), L.local("s", dtype))
    buffers = (Buffer(dtype, "in"), Buffer(dtype, "out"))
    nest = Nest(buffers, (LoopAxis("i", L.const(5)),), (total, store))
    close = 1e-5 if toy.name == "toy_norm" else 0.0
    check(nest, [values(5 * size, dtype), np.zeros(5, dtype.numpy)], close)


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize(("toy", "dtype"), CASES, ids=_spelled)
def test_scans(toy: Combine, dtype: DType, vector: bool) -> None:
    x = L.load(0, L.axis("j"), dtype)
    body = (Store(1, L.axis("j"), L.local("s", dtype)),)
    axis = LoopAxis("j", L.const(77), vector=vector)
    scan = Scan(axis, (Accumulator("s", toy.name, x),), body)
    nest = Nest((Buffer(dtype, "in"), Buffer(dtype, "out")), (), (scan,))
    close = 1e-5 if toy.name == "toy_norm" else 0.0
    check(nest, [values(77, dtype), np.zeros(77, dtype.numpy)], close)


def test_a_name_stands_for_one_row() -> None:
    with pytest.raises(InternalError, match="already"):
        declare(COMBINES["sum"])


def test_kinds_are_those_of_the_row() -> None:
    x = L.lt(L.load(0, L.axis("j"), float32), 0)
    total = Reduce((LoopAxis("j", L.const(3)),), (Accumulator("s", "toy_norm", x),))
    nest = Nest((Buffer(float32, "in"),), (), (total,))
    with pytest.raises(InternalError, match="no toy_norm of 'b'"):
        verify(nest)


def test_stored_code_is_that_of_what_was_declared() -> None:
    x = L.load(0, L.axis("j"), float32)
    total = Reduce((LoopAxis("j", L.const(3)),), (Accumulator("s", "toy_named", x),))
    store = Store(1, L.const(0), L.local("s", float32))
    nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), (), (total, store))
    names = {}
    for step, numpy in ((L.add, np.add), (L.maximum, np.maximum), (L.add, np.add)):
        declare(Combine("toy_named", "f", lambda dtype: 0, numpy, step))
        structure = cpu.prepare(nest).structure
        names.setdefault(step, set()).update(CpuBackend().names([structure]))
        check(nest, [values(3, float32), np.zeros(1, np.float32)], 0.0, narrow(32))
        del COMBINES["toy_named"]
    assert [len(found) for found in names.values()] == [1, 1]
    assert names[L.add] != names[L.maximum]


def test_the_package_itself_has_a_version() -> None:
    for toy in TOYS:
        del COMBINES[toy.name]
    assert declared_elsewhere() == ""
    for toy in TOYS:
        declare(toy)
    assert "toy_norm" in declared_elsewhere()
