"""What random programs draw rarely or never: positions with transposes around them, numbers out of
the ordinary, keys as long as the axis, arguments that may be left out, code that reads shapes.
Imperatively, hybridized and in numpy."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tigon import autograd, gluon, nd

Array = np.ndarray
RANDOM = np.random.RandomState(7)


class Code(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def hybrid_forward(self, F: Any, *operands: Any) -> Any:
        return self.function(F, *operands)


def both_ways(function: Callable[..., Any], *operands: Any) -> list[Any]:
    """Imperatively, and hybridized as often as it takes until native code runs."""
    net = Code(function)
    net.hybridize()
    return [function(nd, *operands), *[net(*operands) for _ in range(3)]]


# -- positions, between transposes

X, ROWS = RANDOM.randn(4, 5), np.array([[3, 0], [1, 1], [2, 3]])


def along(x: Array, index: Array, axis: int) -> Array:
    return np.take_along_axis(x, np.expand_dims(index, axis), axis).squeeze(axis)


GATHERS: dict[str, tuple[Callable[..., Any], Callable[..., Array], Array]] = {
    "take 0": (lambda F, x, i: F.take(x, i, axis=0), lambda x, i: x.take(i, 0), ROWS),
    "take 1": (lambda F, x, i: F.take(x, i, axis=1), lambda x, i: x.take(i, 1), ROWS),
    "take -1": (lambda F, x, i: F.take(x, i, axis=-1), lambda x, i: x.take(i, -1), ROWS[0]),
    "take wrap": (
        lambda F, x, i: F.take(x, i, axis=0, mode="wrap"),
        lambda x, i: x.take(i % len(x), 0),
        ROWS - 9,
    ),
    "pick": (
        lambda F, x, i: F.pick(x, i, axis=0),
        lambda x, i: along(x, i, 0),
        np.array([1, 0, 3, 3, 2]),
    ),
    "gather_nd": (
        lambda F, x, i: F.gather_nd(x, i),
        lambda x, i: x[tuple(i)],
        np.array([[3, 0, 3], [3, 1, 3]]),
    ),
    "Embedding": (
        lambda F, x, i: F.Embedding(i, x, input_dim=x.shape[0], output_dim=x.shape[1]),
        lambda x, i: x[i],
        ROWS,
    ),
    "index": (lambda F, x, i: x[i], lambda x, i: x[i], ROWS),
    "batch_take": (
        lambda F, x, i: F.batch_take(x, i),
        lambda x, i: x[np.arange(len(x)), i],
        np.array([1, 0, 3, 3, 2]),
    ),
}


@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("name", GATHERS)
def test_positions_between_transposes(name: str, turned: tuple[bool, bool]) -> None:
    code, formula, index = GATHERS[name]
    turns_data, turns_result = turned
    if name == "index" or (name == "Embedding" and turns_data):
        index = index[:, 0]
    if name in ("pick", "batch_take"):  # one for each line
        index = index[: 5 if turns_data == (name == "batch_take") else 4]
    data = X

    def whole(F: Any, x: Any, i: Any, w: Any) -> Any:
        y = code(F, x.T if turns_data else x, i)
        return (y.T if turns_result else y) * w

    expected = formula(data.T if turns_data else data, index)
    expected = expected.T if turns_result else expected
    weights = RANDOM.randn(*expected.shape)
    # The gradient is linear in the weights: what each element of the data contributes to.
    numbers = np.arange(data.size).reshape(data.shape)
    read = formula(numbers.T if turns_data else numbers, index)
    read = read.T if turns_result else read
    gradient = np.zeros(data.size)
    np.add.at(gradient, read.ravel(), weights.ravel())
    operands = [
        nd.array(array, dtype=dtype)
        for array, dtype in ((data, "float64"), (index, "int32"), (weights, "float64"))
    ]
    for hybridize in (False, True):
        net = Code(whole)
        net.hybridize(hybridize)
        for _ in range(3):
            operands[0].attach_grad()
            with autograd.record():
                y = net(*operands)
            y.backward()
            np.testing.assert_allclose(y.asnumpy(), expected * weights, rtol=1e-12)
            found = operands[0].grad.asnumpy()
            np.testing.assert_allclose(found, gradient.reshape(data.shape), rtol=1e-12)


# -- numbers

FLOATS = np.array([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 3e38])
NUMBERS = (0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan)
BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "add": (operator.add, np.add),
    "subtract": (operator.sub, np.subtract),
    "multiply": (operator.mul, np.multiply),
    "divide": (operator.truediv, np.divide),
    "equal": (operator.eq, np.equal),
    "not equal": (operator.ne, np.not_equal),
    "greater": (operator.gt, np.greater),
    "greater equal": (operator.ge, np.greater_equal),
    "less": (operator.lt, np.less),
    "less equal": (operator.le, np.less_equal),
    "maximum": (nd.maximum, np.maximum),
    "minimum": (nd.minimum, np.minimum),
}


def of(name: str) -> Callable[..., Any]:
    if name in ("maximum", "minimum"):
        return lambda F, x, y: getattr(F, name)(x, y)
    return lambda F, x, y: BINARY[name][0](x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BINARY)
def test_numbers_that_are_none_or_endless(name: str, dtype: str) -> None:
    code, formula = of(name), BINARY[name][1]
    x = nd.array(FLOATS, dtype=dtype)
    for number in NUMBERS:
        for left in (False, True):
            if left and name in ("maximum", "minimum"):
                continue

            def whole(F: Any, x: Any, n: float = number, left: bool = left) -> Any:
                return code(F, n, x) if left else code(F, x, n)

            with np.errstate(all="ignore"):
                given = FLOATS.astype(dtype)
                expected = formula(number, given) if left else formula(given, number)
            for y in both_ways(whole, x):
                found = y.asnumpy()
                np.testing.assert_array_equal(found, expected.astype(found.dtype))
                if expected.dtype.kind == "f" and name not in ("maximum", "minimum"):
                    kept = ~np.isnan(expected)
                    assert (np.signbit(found) == np.signbit(expected))[kept].all()


LARGE = [2**53 + 1, -(2**53) - 1, 2**60 + 1, 2**62 - 1, 0, 1, -7]
WHOLE: dict[str, tuple[Callable[..., Any], Callable[[int, int], int]]] = {
    "add": (lambda F, x, n: x + n, lambda x, n: x + n),
    "subtract": (lambda F, x, n: n - x, lambda x, n: n - x),
    "multiply": (lambda F, x, n: x * (n % 2), lambda x, n: x * (n % 2)),
    "equal": (lambda F, x, n: x == n, lambda x, n: x == n),
    "greater": (lambda F, x, n: x > n, lambda x, n: x > n),
    "maximum": (lambda F, x, n: F.maximum(x, n), max),
    "minimum": (lambda F, x, n: F.minimum(x, n), min),
    "power 1": (lambda F, x, n: x**1, lambda x, n: x),
    "power 0": (lambda F, x, n: x**0, lambda x, n: 1),
    "negative": (lambda F, x, n: -x, lambda x, n: -x),
    "absolute": (lambda F, x, n: F.abs(x), lambda x, n: abs(x)),
    "clip": (lambda F, x, n: F.clip(x, a_min=-(2**60) - 1, a_max=2**60 + 1),
             lambda x, n: min(max(x, -(2**60) - 1), 2**60 + 1)),
    "where": (lambda F, x, n: F.where(x > n, x, x - 1), lambda x, n: x if x > n else x - 1),
    "transpose": (lambda F, x, n: x.reshape((-1, 1)).T.reshape((-1,)), lambda x, n: x),
    "sum": (lambda F, x, n: F.sum(x.reshape((-1, 1)), axis=1), lambda x, n: x),
    "max": (lambda F, x, n: F.max(x.reshape((-1, 1)), axis=1), lambda x, n: x),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_that_no_float_holds(name: str) -> None:
    code, formula = WHOLE[name]
    x = nd.array(np.array(LARGE), dtype="int64")
    for number in (2**53 + 1, -(2**60) - 1, 2**60 + 1):
        expected = [formula(one, number) for one in LARGE]
        if any(not -(2**63) <= one < 2**63 for one in expected):
            continue

        def whole(F: Any, x: Any, n: int = number) -> Any:
            return code(F, x, n)

        for y in both_ways(whole, x):
            assert y.asnumpy().astype(object).tolist() == expected
            assert name in ("equal", "greater") or y.dtype == np.int64


# -- keys as long as the axis

KEYS = [
    [2, 0, 1],
    [0, 1, 2],
    [0, 0, 0],
    [-1, 1, -3],
    [True, False, True],
    [2, 2],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["array", "numpy", "list"])
def test_keys_as_long_as_the_axis(key: list[Any], axis: int, kind: str) -> None:
    base = np.arange(9.0).reshape(3, 3)
    mask = isinstance(key[0], bool)
    array = np.array(key)
    ours: Any = key
    if kind != "list":
        ours = nd.array(array, dtype="bool" if mask else "int32") if kind == "array" else array
    where: Any = (array,) if axis == 0 else (slice(None), array)
    ours_where = (ours,) if axis == 0 else (slice(None), ours)
    x = nd.array(base, dtype="float64")
    shape = base[where].shape
    np.testing.assert_array_equal(x[ours_where].asnumpy(), base[where])
    unique = len({k % 3 for k in key}) == len(key)
    values: list[Any] = [7.0, 10 + np.arange(np.prod(shape)).reshape(shape)]
    values.append(values[1][:1] if axis == 0 else values[1][:, :1])  # broadcast
    for value in values:
        if not unique and not mask and np.ndim(value):
            continue  # which one stays is not said
        expected = base.copy()
        expected[where] = value
        for given in (value, nd.array(value, dtype="float64")):
            y = nd.array(base, dtype="float64")
            y[ours_where] = given
            np.testing.assert_array_equal(y.asnumpy(), expected)
    if not mask:
        x.attach_grad()
        with autograd.record():
            z = x[ours_where] * nd.array(values[1], dtype="float64")
        z.backward()
        gradient = np.zeros_like(base)
        np.add.at(gradient, where, values[1])
        np.testing.assert_array_equal(x.grad.asnumpy(), gradient)


# -- arguments that may be left out, parameters whose shape waits, code that reads shapes


class Options(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.dense = gluon.nn.Dense(3, use_bias=False, weight_initializer="ones")

    def hybrid_forward(self, F: Any, x: Any, mask: Any = None, scale: Any = None) -> Any:
        y = self.dense(x)
        y = y if mask is None else y * mask
        return y if scale is None else F.broadcast_mul(y, scale)


class ReadsShapes(gluon.nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.norm = gluon.nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        x = self.norm(x)
        rows = x.shape[0]
        y = x.reshape((rows, -1)) * (1 if rows > 2 else -1)
        return y / len(x.shape) + nd_or_zero(x.shape[-1])


def nd_or_zero(number: int) -> int:
    return number % 2


@pytest.mark.parametrize("recorded", [False, True])
def test_optional_arguments_in_any_order(recorded: bool) -> None:
    nets = [Options(), Options()]
    nets[1].hybridize()
    for net in nets:
        net.initialize()
    x = nd.array(RANDOM.randn(2, 4))
    mask, scale = nd.array(RANDOM.randn(2, 3)), nd.array(RANDOM.randn(1, 3))
    calls = [(), (mask,), (mask, scale), (None, scale), (), (None, scale), (mask, scale), (mask,)]
    for arguments in (*calls, *calls[::-1]):
        found = []
        for net in nets:
            with autograd.record() if recorded else autograd.pause():
                y = net(x, *arguments)
            if recorded:
                y.backward()
                found.append((y.asnumpy(), net.dense.weight.grad().asnumpy()))
            else:
                found.append((y.asnumpy(),))
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_shapes_that_are_read_decide() -> None:
    nets = [ReadsShapes(), ReadsShapes()]
    nets[1].hybridize()
    for net in nets:
        net.initialize()
    for shape in [(2, 3, 2), (3, 3, 2), (2, 3, 5), (2, 3, 2), (4, 3), (3, 3, 2), (1, 3)] * 2:
        x = nd.array(RANDOM.randn(*shape))
        one, other = (net(x).asnumpy() for net in nets)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
