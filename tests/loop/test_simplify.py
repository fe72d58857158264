"""Simplified index arithmetic equals the original at every point, and reshape chains vanish."""

import itertools
import random
from math import prod

import numpy as np
import pytest

from tigon.base.dtypes import DType, float32, int64
from tigon.loop import build as L
from tigon.loop.grammar import Apply, Buffer, Expr, LoopAxis, Nest, Store, walk
from tigon.loop.interpret import interpret
from tigon.loop.simplify import affine, bounds, simplify

RANGES = {"i": (0, 5), "j": (0, 6), "k": (-2, 4)}


def table(expr: Expr, ranges: dict[str, tuple[int, int]]) -> np.ndarray:
    """Values of `expr` at every point of `ranges`."""
    names = list(ranges)
    sizes = [stop - start for start, stop in ranges.values()]
    position: Expr = L.const(0)
    shifted = expr
    for name, size in zip(names, sizes, strict=True):
        position = L.add(L.mul(position, size), L.axis(name))
    shifted = _shift(expr, ranges)
    space = tuple(LoopAxis(name, L.const(size)) for name, size in zip(names, sizes, strict=True))
    value = L.cast(shifted, int64)
    nest = Nest((Buffer(int64, "out"),), space, (Store(0, position, value),))
    out = np.zeros(prod(sizes), np.int64)
    interpret(nest, [out])
    return out


def _shift(expr: Expr, ranges: dict[str, tuple[int, int]]) -> Expr:
    done: dict[Expr, Expr] = {}
    for node in walk(expr):
        if isinstance(node, Apply):
            operands = tuple(done[operand] for operand in node.operands)
            done[node] = Apply(node.function, operands, node.dtype)
        elif repr(node) in ranges:
            done[node] = L.add(node, ranges[repr(node)][0])
        else:
            done[node] = node
    return done[expr]


def random_index(rng: random.Random, depth: int) -> Expr:
    if depth == 0:
        return L.axis(rng.choice("ijk"))
    kind = rng.choice("add sub mul div mod scale maximum minimum select".split())
    a = random_index(rng, depth - 1)
    number = rng.choice([1, 2, 3, 4, 5, 6, 12, 30])
    if kind in ("add", "sub", "maximum", "minimum"):
        return L.apply(kind, a, random_index(rng, rng.randrange(depth)))
    if kind == "mul":
        return L.add(L.mul(a, number), random_index(rng, 0))
    if kind == "scale":
        return L.add(L.mul(a, rng.choice([-3, -1, 2, 6])), rng.randrange(-9, 10))
    if kind == "select":
        return L.select(random_condition(rng, depth - 1), a, random_index(rng, 0))
    return L.apply("floordiv" if kind == "div" else "mod", a, number)


def random_condition(rng: random.Random, depth: int) -> Expr:
    compare = rng.choice(["lt", "le", "gt", "ge", "eq", "ne"])
    other = rng.randrange(-5, 20) if rng.random() < 0.6 else random_index(rng, 0)
    return L.apply(compare, random_index(rng, depth), other)


@pytest.mark.parametrize("seed", range(150))
def test_equal_at_every_point(seed: int) -> None:
    rng = random.Random(seed)
    for make in (random_index, random_condition):
        expr = make(rng, rng.randrange(1, 5))
        simple = simplify(expr, RANGES)
        values = table(expr, RANGES)
        np.testing.assert_array_equal(table(simple, RANGES), values, f"{expr} -> {simple}")
        assert simplify(simple, RANGES) is simple
        span = bounds(simple, RANGES) if expr.dtype is int64 else None
        if span is not None:
            assert span[0] <= values.min()
            assert values.max() <= span[1]


def unflatten(flat: Expr, shape: tuple[int, ...]) -> list[Expr]:
    index = []
    for axis in range(len(shape)):
        inner = prod(shape[axis + 1 :])
        index.append(L.mod(L.floordiv(flat, inner), shape[axis]))
    return index


def flatten(index: list[Expr], shape: tuple[int, ...]) -> Expr:
    flat: Expr = L.const(0)
    for position, extent in zip(index, shape, strict=True):
        flat = L.add(L.mul(flat, extent), position)
    return flat


SHAPES = [
    [(2, 3, 4, 5), (6, 20), (120,), (2, 60)],
    [(8, 9), (4, 18), (2, 2, 2, 9), (72,), (3, 24)],
    [(4, 6), (24,), (2, 12), (3, 8)],
    [(7, 1, 5), (35,), (5, 7), (1, 35)],
]


@pytest.mark.parametrize("shapes", SHAPES)
def test_reshape_chains_vanish(shapes: list[tuple[int, ...]]) -> None:
    for order in itertools.permutations(shapes):
        first = order[0]
        names = [f"a{axis}" for axis in range(len(first))]
        ranges = {name: (0, extent) for name, extent in zip(names, first, strict=True)}
        index: list[Expr] = [L.axis(name) for name in names]
        for before, after in itertools.pairwise(order):
            # Each view simplifies what it is given, as a lowering does.
            index = [simplify(e, ranges) for e in unflatten(flatten(index, before), after)]
        back = simplify(flatten(index, order[-1]), ranges)
        expected = simplify(flatten([L.axis(name) for name in names], first), ranges)
        assert back is expected, f"{order}: {index} -> {back}"


def test_reshape_after_transpose_keeps_divisions_of_one_axis_only() -> None:
    i, j = L.axis("i"), L.axis("j")
    flat = L.add(L.mul(i, 6), j)  # (4, 6) -> reshape (4, 2, 3), swap the last two, index (6, 4)
    a, b, c = unflatten(flat, (4, 2, 3))
    index = simplify(flatten([a, c, b], (4, 3, 2)), {"i": (0, 4), "j": (0, 6)})
    coefficients, rest = affine(index, {"i"}) or ({}, None)
    assert repr(coefficients) == "{'i': 6}"
    assert repr(rest) == "add(floordiv(j, 3), mul(mod(j, 3), 2))"


def test_padding_guard() -> None:
    i = L.axis("i")
    inside = L.and_(L.ge(L.sub(i, 2), 0), L.lt(L.sub(i, 2), 5))
    assert repr(simplify(inside, {"i": (0, 9)})) == "and(ge(i, 2), lt(i, 7))"
    assert simplify(inside, {"i": (2, 7)}) is L.const(True, L.bool_)


def test_floats_keep_every_bit() -> None:
    x = L.load(0, L.add(L.axis("i"), L.const(0)), float32)
    expr = L.add(L.mul(x, 0.0), L.sub(x, x))
    assert simplify(expr, {"i": (0, 4)}) is expr


def test_affine_with_slots() -> None:
    i, j = L.axis("i"), L.axis("j")
    stride = L.slot(0)
    found = affine(L.add(L.mul(L.add(i, 2), stride), j), {"i"})
    assert repr(found) == "({'i': $0}, add(mul($0, 2), j))"
    assert affine(L.mul(i, i), {"i"}) is None
    assert affine(L.load(0, i, int64), {"i"}) is None


@pytest.mark.parametrize("dtype", [int64, float32], ids=str)
@pytest.mark.parametrize("pair", [("eq", "ne"), ("lt", "ge"), ("gt", "le")], ids="-".join)
def test_what_is_not_so_is_the_opposite(pair: tuple[str, str], dtype: DType) -> None:
    operands = L.load(0, L.axis("i"), dtype), L.load(1, L.axis("i"), dtype)
    one, other = (L.apply(function, *operands) for function in pair)
    ordered = dtype is int64 or pair == ("eq", "ne")  # of floats a NaN fails both
    for first, second in ((one, other), (other, one)):
        negated = L.apply("not", first)
        assert negated is second if ordered else negated is not second
        assert L.apply("not", negated) is first
