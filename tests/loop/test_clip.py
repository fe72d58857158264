"""Reductions over what exists only: the same as with the conditions, interpreted and native."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.harness import check
from tigon.base.dtypes import float32
from tigon.loop import build as L
from tigon.loop.clip import clip_reductions
from tigon.loop.grammar import Accumulator, Buffer, Expr, Loop, LoopAxis, Nest, Reduce, Store
from tigon.loop.interpret import interpret
from tigon.loop.show import show
from tigon.loop.verify import verify

I, J, K = (L.axis(name) for name in "ijk")  # noqa: E741
POINTS, EXTENT, DATA = 9, 37, 400


def row(value: Expr, combine: str = "sum", vector: bool = True, lanes: bool = False) -> Nest:
    """A reduction along k of each point; with `lanes` of each lane of j around it."""
    reduce = Reduce(
        (LoopAxis("k", L.const(EXTENT), vector=vector and not lanes),),
        (Accumulator("s", combine, value),),
    )
    index = L.add(L.mul(I, 4), J) if lanes else I
    body: tuple[object, ...] = (reduce, Store(1, index, L.local("s", float32)))
    if lanes:
        body = (Loop((LoopAxis("j", L.const(4), vector=True),), body),)  # type: ignore[arg-type]
    buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
    return Nest(buffers, (LoopAxis("i", L.const(POINTS)),), body)  # type: ignore[arg-type]


def read(index: Expr) -> Expr:
    """Within the data, whatever the index."""
    return L.load(0, L.minimum(L.maximum(index, 0), DATA - 1), float32)


def same(nest: Nest) -> str:
    """Check that clipping changes no result; the text of what it gives."""
    made = clip_reductions(nest)
    verify(made)
    data = np.random.default_rng(3).integers(-9, 9, DATA).astype(np.float32)
    count = POINTS * 4
    before, after = np.zeros(count, np.float32), np.zeros(count, np.float32)
    interpret(nest, [data, before])
    interpret(made, [data, after])
    np.testing.assert_array_equal(after, before)
    check(made, [data, np.zeros(count, np.float32)])
    return show(made)


PLACE = L.sub(L.add(L.mul(I, 8), K), 11)
CONDITIONS = [
    L.lt(PLACE, 50),
    L.le(PLACE, 50),
    L.ge(PLACE, 0),
    L.gt(PLACE, 0),
    L.lt(L.sub(60, PLACE), 17),
    L.le(L.sub(60, PLACE), 17),
    L.ge(L.sub(60, PLACE), 17),
    L.gt(L.sub(60, PLACE), 17),
    L.lt(20, PLACE),
]


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("number", range(len(CONDITIONS)))
def test_a_condition_becomes_a_bound(number: int, vector: bool) -> None:
    text = same(row(L.select(CONDITIONS[number], read(PLACE), 0.0), vector=vector))
    assert "select" not in text


def test_of_several_conditions_those_that_are_no_bound_stay() -> None:
    both = L.and_(L.lt(PLACE, 50), L.and_(L.gt(read(PLACE), 0.0), L.ge(PLACE, 3)))
    text = same(row(L.select(both, read(PLACE), 0.0)))
    assert "< 50" not in text and "> 0.0" in text
    text = same(row(L.select(L.lt(L.mul(K, 3), 50), read(K), 0.0)))
    assert "select(k * 3 < 50" in text


def test_lanes_have_their_bounds_in_common() -> None:
    place = L.add(L.add(L.mul(I, 4), J), K)
    text = same(row(L.select(L.lt(place, 30), read(place), 0.0), lanes=True))
    assert "select" in text
    text = same(row(L.select(L.lt(L.add(I, K), 30), read(place), 0.0), lanes=True))
    assert "select" not in text


def test_what_is_left_out_is_neutral() -> None:
    inside, value = L.lt(PLACE, 50), read(PLACE)
    least = -np.inf
    assert "select" not in same(row(L.select(inside, value, least), "maximum"))
    assert "select" in same(row(L.select(inside, value, 1.0)))
    assert "select" in same(row(L.select(inside, value, 0.0), "maximum"))
    assert "select" in same(row(L.add(L.select(inside, value, 0.0), 1.0)))


def test_all_that_is_combined_shares_the_condition() -> None:
    inside, value = L.lt(PLACE, 50), read(PLACE)
    nest = row(L.select(inside, value, 0.0))
    (reduce, store) = nest.body
    assert isinstance(reduce, Reduce) and isinstance(store, Store)
    for other, clipped in ((L.select(inside, L.mul(value, value), 0.0), True), (value, False)):
        second = Accumulator("t", "sum", other)
        two = Reduce(reduce.axes, (*reduce.accumulators, second))
        both = L.add(L.local("s", float32), L.local("t", float32))
        text = same(Nest(nest.buffers, nest.space, (two, Store(1, I, both))))
        assert ("select" not in text) == clipped


def test_what_is_read_before_the_loop_keeps_its_condition() -> None:
    assert "select" in same(row(L.select(L.lt(PLACE, 50), read(I), 0.0)))
