"""Integers are exact in their dtype, however they get into a kernel: every record on values at the
limits of the type and beyond 2**53, where floats no longer tell neighbours apart."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.registry.test_execution import arrays_of, as_graph, check_refusal, run, visible
from tests.registry.test_records import OPERATORS, declared, node_of
from tigon import nd
from tigon.base import TigonError, as_dtype
from tigon.ir import Node
from tigon.loop import build as L
from tigon.ops import get
from tigon.ops.record import Operator, is_of
from tigon.program.operators import invoke

INTEGERS = ("int64", "int32", "uint8")


def extreme(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Limits, their neighbours, what a float64 cannot hold, small numbers, anything."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    special = [limits.min, limits.max, limits.min + 1, limits.max - 1, 0, 1, 2, 3, 7]
    if limits.min:
        special += [-1, -2, -7]
    if limits.bits == 64:
        special += [2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**31 + 5]
    size = int(np.prod(shape))
    values = rng.integers(limits.min, limits.max, size, dtype, endpoint=True)
    chosen = rng.random(size) < 0.7
    values[chosen] = rng.choice(np.array(special, dtype), chosen.sum())
    return values.reshape(shape)


def integer_cases(op: Operator) -> list[tuple[Node, list[np.ndarray]]]:
    """The first sample with each dtype, the others with one after the other."""
    found = []
    for number, sample in enumerate(op.samples):
        for offset, dtype in enumerate(INTEGERS):
            if number and number % len(INTEGERS) != offset:
                continue
            arrays = [
                given if isinstance(given, np.ndarray) else extreme(given, dtype, number + offset)
                for given in sample[:-1]
            ]
            if takes(op, sample, dtype):
                found.append((node_of(op, sample, arrays), arrays))
    return found


def takes(op: Operator, sample: tuple, dtype: str) -> bool:
    """Whether operands that are given by their shapes are declared to be such integers."""
    shaped = {i for i, given in enumerate(sample[:-1]) if not isinstance(given, np.ndarray)}
    kinds = [kinds for places, kinds in declared(op, sample) if shaped & {*places}]
    return bool(shaped) and all(is_of(as_dtype(dtype), each) for each in kinds)


def results(node: Node, given: list[np.ndarray]) -> list[list[np.ndarray] | None]:
    """By each way to run it; None where it is refused."""
    graph = as_graph(node)
    ways: list[Callable[[list[Any]], Any]] = [
        lambda arrays: run(node, arrays),
        lambda arrays: graph(arrays, getattr(node.attrs, "training", False)),
    ]
    found: list[list[np.ndarray] | None] = []
    for way in ways:
        try:
            found.append([array.asnumpy() for array in way(arrays_of(given))])
        except TigonError as error:
            if "does not fit" in str(error):
                check_refusal(node, error)
            found.append(None)
    return found


def oracle(node: Node, given: list[np.ndarray]) -> Sequence[np.ndarray] | None:
    """None where numpy refuses, or has no such integer."""
    try:
        with np.errstate(all="ignore"):
            return node.op.oracle(node.attrs, *given)[: len(visible(node))]
    except (OverflowError, TigonError):
        return None


@pytest.mark.parametrize("op", [op for op in OPERATORS if not op.takes_key], ids=lambda op: op.name)
def test_integers_are_exact_or_refused(op: Operator) -> None:
    for node, given in integer_cases(op):
        what = str((node, node.attrs, [value.type for value in node.inputs]))
        imperative, compiled = results(node, given)
        assert (imperative is None) == (compiled is None), what
        expected = oracle(node, given)
        if imperative is None or compiled is None:
            continue
        for one, other in zip(imperative, compiled, strict=True):
            np.testing.assert_array_equal(one, other, what)
        for found, wanted in zip(imperative, expected or (), strict=expected is not None):
            if np.asarray(wanted).dtype.kind in "iub":
                np.testing.assert_array_equal(found, wanted, what)


# ------------------------------------------------------------------ arithmetic in Python's integers


def quotient(a: int, b: int) -> int:
    """Rounded towards zero; nothing divided by nothing is nothing."""
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def power(a: int, b: int) -> int:
    if b < 0:
        return a ** (b % 2) if abs(a) == 1 else 0
    return pow(a, b, 2**64)


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": quotient,
    "floor_divide": lambda a, b: a // b if b else 0,
    "modulo": lambda a, b: a % b if b else 0,
    "power": power,
    "maximum": max,
    "minimum": min,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "lesser": lambda a, b: a < b,
    "lesser_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
}
SCALARS = (0, 1, -1, 2, -2, 3, 7, 2.9, -2.9, 63, 2**31 - 1, 2**53 + 1, -(2**60) - 1, 2**62 + 1)
VALUES = {
    "int64": [0, 1, -1, 2, -3, 7, 2**53 + 1, -(2**60) - 1, 2**62 + 1, 2**63 - 1, -(2**63)],
    "int32": [0, 1, -1, 2, -3, 7, 46341, 2**31 - 1, -(2**31)],
    "uint8": [0, 1, 2, 3, 16, 127, 128, 254, 255],
}


def exactly(name: str, pairs: Iterable[tuple[int, int]], dtype: str) -> np.ndarray:
    kind = as_dtype(dtype)
    return np.array([L.wrap(int(ARITHMETIC[name](a, b)), kind) for a, b in pairs], dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arrays_against_python(name: str, dtype: str) -> None:
    pairs = [(a, b) for a in VALUES[dtype] for b in VALUES[dtype]]
    operands = [nd.array(column, dtype=dtype) for column in zip(*pairs, strict=True)]
    wanted = exactly(name, pairs, dtype)
    function = getattr(nd, name, None) or getattr(operator, name.replace("divide", "div"))
    for call in (function, mx.jit(function)):
        np.testing.assert_array_equal(call(*operands).asnumpy(), wanted)


SPELLED = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "modulo": operator.mod,
    "power": operator.pow,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "lesser": operator.lt,
    "lesser_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["broadcast_div", "broadcast_mod"])
def test_limits_without_axes(name: str, dtype: str) -> None:
    """Single numbers, for which numpy takes other ways than for arrays of them."""
    op = get(name)
    limits = np.iinfo(dtype)
    numbers = [limits.min, limits.max, 0, 1, 7, max(limits.min, -1), max(limits.min, -7)]
    for pair in itertools.product(numbers, repeat=2):
        arrays = [np.array(number, dtype) for number in pair]
        (wanted,) = op.oracle(op.attrs_type(), *arrays)
        found = invoke(op, op.attrs_type(), arrays_of([array.reshape(1) for array in arrays]))
        assert wanted.shape == () and found.asnumpy().tolist() == [wanted.tolist()], pair


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_numbers_on_either_side_against_python(name: str, dtype: str) -> None:
    """A fraction of the number is dropped; one that does not fit is refused."""
    function = SPELLED.get(name) or getattr(nd, name)
    x = nd.array(VALUES[dtype], dtype=dtype)
    limits = np.iinfo(dtype)

    def both(x: Any, scalar: float) -> Any:
        return function(x, scalar), function(scalar, x)

    for scalar in SCALARS:
        traced = mx.jit(partial(both, scalar=scalar))
        if not limits.min <= int(scalar) <= limits.max:
            for refused in (partial(both, scalar=scalar), traced):
                with pytest.raises(TigonError, match=f"{scalar} does not fit {dtype}"):
                    refused(x)
            continue
        pairs = [(value, int(scalar)) for value in VALUES[dtype]]
        wanted = exactly(name, pairs, dtype), exactly(name, [(b, a) for a, b in pairs], dtype)
        for found in (both(x, scalar), traced(x)):
            for side, expected in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(side.asnumpy(), expected, f"{scalar} {dtype}")


SCALAR_FORMS = [
    op
    for op in OPERATORS
    if op.name.endswith("_scalar") and takes(op, op.samples[0], "int64") and "assign" not in op.name
]


@pytest.mark.parametrize("op", SCALAR_FORMS, ids=lambda op: op.name)
def test_scalar_forms_of_files_keep_every_digit(op: Operator) -> None:
    x = nd.array(VALUES["int64"], dtype="int64")
    for scalar in (2**53 + 1, -(2**60) - 1, 3, 2.9):
        node = node_of(op, ((len(x),), {"scalar": scalar}), [x.asnumpy()])
        (found,), (compiled,) = results(node, [x.asnumpy()])
        (wanted,) = op.oracle(node.attrs, x.asnumpy())
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(compiled, wanted)


UNARY: dict[str, tuple[Callable[[Any], Any], Callable[[int], int]]] = {
    "negative": (operator.neg, lambda a: -a),
    "abs": (abs, abs),
    "square": (nd.square, lambda a: a * a),
    "sign": (nd.sign, lambda a: (a > 0) - (a < 0)),
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", UNARY)
def test_one_operand_against_python(name: str, dtype: str) -> None:
    function, rule = UNARY[name]
    x = nd.array(VALUES[dtype], dtype=dtype)
    wanted = [L.wrap(rule(value), as_dtype(dtype)) for value in VALUES[dtype]]
    for call in (function, mx.jit(function)):
        assert call(x).asnumpy().tolist() == wanted


def test_attributes_keep_every_digit() -> None:
    big = 2**53 + 1
    x = nd.array([big - 1, big, big + 1], dtype="int64")

    def f(x: Any) -> Any:
        image = nd.reshape(x, shape=(1, 1, 1, 3))
        return (
            nd.clip(x, a_min=big, a_max=big),
            nd.clip(x, a_min=-(10**30), a_max=10**30),
            nd.pad(image, mode="constant", pad_width=(0, 0, 0, 0, 0, 1, 0, 0), constant_value=big),
            nd.one_hot(x - (big - 1), depth=3, on_value=big, off_value=-big, dtype="int64"),
            nd.contrib.arange_like(x, start=big, step=3),
            nd.full_like(x, fill_value=big),
            x**1,
        )

    for found in (f(x), mx.jit(f)(x)):
        values = [each.asnumpy().ravel().tolist() for each in found]
        assert values[0] == [big] * 3
        assert values[1] == [big - 1, big, big + 1]
        assert values[2] == [big - 1, big, big + 1, big, big, big]
        assert values[3] == [big if i % 4 == 0 else -big for i in range(9)]
        assert values[4] == [big, big + 3, big + 6]
        assert values[5] == [big] * 3
        assert values[6] == [big - 1, big, big + 1]
    assert nd.arange(big, big + 3, dtype="int64").asnumpy().tolist() == [big, big + 1, big + 2]
    assert nd.linspace(big, big + 3, 4, dtype="int64").asnumpy()[1] == big + 1
    assert nd.full((1,), big, dtype="int64").asscalar() == big
    assert nd.mean(nd.array([2**62 + 1, 2**62 + 3], dtype="int64")).asscalar() == 2**62 + 2
    assert nd.mean(nd.array([-(2**62), -(2**62) - 1], dtype="int64")).asscalar() == -(2**62)
    with pytest.raises(TigonError, match="full: the number 256 does not fit uint8"):
        nd.full((1,), 256, dtype="uint8")
    x[1] = big + 4
    assert x.asnumpy()[1] == big + 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_saturate_however_they_become_integers(dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = [-1.5, 3.9, 1e30, -1e30, np.inf, -np.inf, np.nan, float(limits.max), 2.0**63]
    within = [min(max(v, limits.min), limits.max) if v == v else 0 for v in values]
    wanted = [limits.max if v >= limits.max else int(v) for v in within]
    for source in ("float32", "float64"):
        array = np.array(values, source)
        assert nd.array(array, dtype=dtype).asnumpy().tolist() == wanted
        assert nd.array(array, dtype=source).astype(dtype).asnumpy().tolist() == wanted
        x = nd.zeros((len(values),), dtype=dtype)
        x[:] = nd.array(array, dtype=source).astype(dtype)
        assert x.asnumpy().tolist() == wanted
