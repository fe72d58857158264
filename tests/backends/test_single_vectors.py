"""Points whose loops are one vector, the same one: as with loops of their own, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import check, narrow, run
from tigon.backends.cpu.backend import cpu
from tigon.backends.cpu.nest import NestPlan
from tigon.base.dtypes import DType, float32, float64, int32, int64
from tigon.loop import build as L
from tigon.loop.grammar import Accumulator, Buffer, Loop, LoopAxis, Nest, Reduce, Store

I, K = L.axis("i"), L.axis("k")  # noqa: E741
MANY = 6000


def softmax(points: int, extent: int, dtype: DType = float32) -> Nest:
    """With its largest element and where that is beside it."""
    line = (LoopAxis("k", L.const(extent), vector=True),)
    x = L.load(0, L.add(L.mul(I, extent), K), dtype)
    powers = L.exp(L.sub(x, L.local("m", dtype))) if dtype.is_float else L.mul(x, 3)
    body = (
        Reduce(line, (Accumulator("m", "maximum", x), Accumulator("at", "argmax", x, K))),
        Reduce(line, (Accumulator("s", "sum", powers),)),
        Loop(line, (Store(1, L.add(L.mul(I, extent), K), L.sub(powers, L.local("s", dtype))),)),
        Store(2, I, L.add(L.local("m", dtype), L.cast(L.local("at", int64), dtype))),
    )
    buffers = (Buffer(dtype, "in"), Buffer(dtype, "out"), Buffer(dtype, "out"))
    return Nest(buffers, (LoopAxis("i", L.const(points)),), body)


def arrays(points: int, extent: int, dtype: DType = float32) -> list[np.ndarray]:
    x = np.random.default_rng(extent).normal(size=MANY * extent)[: points * extent] * 9
    return [
        x.astype(dtype.numpy),
        np.zeros(points * extent, dtype.numpy),
        np.zeros(points, dtype.numpy),
    ]


def plan(nest: Nest) -> NestPlan:
    variant = cpu.prepare(nest).structure.variant
    assert isinstance(variant, NestPlan)
    return variant


@pytest.mark.parametrize("extent", [1, 3, 4, 5, 8, 10, 16, 17, 31, 32])
@pytest.mark.parametrize("dtype", [float32, float64, int32], ids=str)
def test_many_short_rows_are_as_few_are(dtype: DType, extent: int) -> None:
    many, few = softmax(MANY, extent, dtype), softmax(9, extent, dtype)
    if cpu.target.masks:
        registers = 2 * cpu.target.lanes(dtype.itemsize)
        assert plan(many).single >= (extent if extent <= registers else 0)
        assert plan(few).single == 0
    found, expected = arrays(MANY, extent, dtype), arrays(9, extent, dtype)
    run(many, found, 7)  # ranges that begin and end anywhere among the four that go in step
    run(few, expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine[: theirs.size], theirs)
    check(many, arrays(MANY, extent, dtype), 1e-5)


def test_where_there_is_no_one_vector() -> None:
    assert plan(softmax(MANY, 33)).single == 0
    assert plan(softmax(MANY, 0)).single == 0
    nest = softmax(MANY, 10, int32)
    (first, *rest) = nest.body
    assert isinstance(first, Reduce)
    other = (LoopAxis("k", L.const(9), vector=True),)
    mixed = Nest(nest.buffers, nest.space, (Reduce(other, first.accumulators), *rest))
    assert plan(mixed).single == 0
    check(mixed, arrays(MANY, 10, int32))
    without_masks = narrow(32).prepare(nest).structure.variant
    assert isinstance(without_masks, NestPlan) and without_masks.single == 0


@pytest.mark.parametrize("extent", [3, 16, 32])
def test_scratch_memory_is_of_one_point(extent: int) -> None:
    """Rows that do not go in step, since they share what they write between their loops."""
    line = (LoopAxis("k", L.const(extent), vector=True),)
    at = L.add(L.mul(I, extent), K)
    power, held = L.exp(L.load(0, at, float32)), L.load(1, K, float32)
    body = (
        Loop(line, (Store(1, K, power),)),
        Reduce(line, (Accumulator("s", "sum", held),)),
        Loop(line, (Store(2, at, L.div(held, L.local("s", float32))),)),
    )
    scratch = Buffer(float32, "scratch", L.const(extent))
    buffers = (Buffer(float32, "in"), scratch, Buffer(float32, "out"))
    nest = Nest(buffers, (LoopAxis("i", L.const(MANY)),), body)
    if cpu.target.masks and extent <= 2 * cpu.target.lanes(4):
        assert plan(nest).single >= extent
    given, out, _ = arrays(MANY, extent)
    check(nest, [given, None, out], 1e-5)
