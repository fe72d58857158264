"""numpy's functions on arrays, and numpy's arrays beside ours, imperatively and hybridized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd

pytestmark = pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")

N = np.array([[1.5, 2.0, 4.0], [0.5, 3.0, 1.0]])  # float64

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "@": lambda a, b: a @ b.T,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "np.add": np.add,
    "np.maximum": np.maximum,
    "np.arctan2": np.arctan2,
    "np.hypot": np.hypot,
    "np.logical_and": np.logical_and,
    "np.power": np.power,
}
UNARY = """absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad degrees
    exp expm1 floor isfinite isinf isnan log log10 log1p log2 logical_not negative positive rad2deg
    radians reciprocal rint sign sin sinh sqrt square tan tanh trunc""".split()


class Calling(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def both_ways(function: Callable[..., Any], *args: Any) -> Any:
    """The result, which is the same hybridized."""
    found = function(*args)
    net = Calling(function)
    net.hybridize()
    for _ in range(2):
        again = net(*args)
        assert type(again) is type(found)
        assert np.array_equal(np.asarray(again), np.asarray(found), equal_nan=True)
        assert again.dtype == found.dtype
    return found


@pytest.mark.parametrize("name", ARITHMETIC)
def test_numpy_arrays_beside_ours(name: str) -> None:
    function = ARITHMETIC[name]
    x = nd.array([[1, 3, 2], [0.5, 2, 5]])
    for found, expected in (
        (both_ways(lambda x: function(x, N), x), function(x.asnumpy(), N)),
        (both_ways(lambda x: function(N, x), x), function(N, x.asnumpy())),
        (both_ways(lambda x: function(x, N[0:1]), x), function(x.asnumpy(), N[0:1])),
    ):
        assert type(found) is nd.NDArray and found.dtype == np.float32
        np.testing.assert_allclose(found.asnumpy(), expected.astype(np.float64), rtol=1e-5)


@pytest.mark.parametrize("name", UNARY)
def test_functions_with_an_operator(name: str) -> None:
    function = getattr(np, name)
    x = nd.array([[0.25, 0.5, 0.75]])
    with np.errstate(invalid="ignore"):
        expected = function(x.asnumpy())
    found = both_ways(function, x)
    assert type(found) is nd.NDArray and found.dtype == np.float32
    np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5)


def test_they_have_gradients() -> None:
    x = nd.array([1, 4])
    x.attach_grad()
    with autograd.record():
        y = np.sqrt(x) * np.array([2.0, 8.0]) + np.array([1, 1])
    y.backward()
    assert x.grad.asnumpy().tolist() == [1, 2]


def test_in_place() -> None:
    x, plain = nd.ones((3,)), np.ones(3)
    same = x
    x += N[0]
    x *= np.array([2, 2, 2])
    assert same is x and x.asnumpy().tolist() == [5, 6, 10]
    held = plain
    plain += x
    assert plain is held and type(plain) is np.ndarray and plain.tolist() == [6, 7, 11]
    with autograd.record():
        x.attach_grad()
        with pytest.raises(mx.TigonError, match="in-place add"):
            x += N[0]


def test_numpy_takes_the_dtype_beside_it() -> None:
    x = nd.array([1, 2], dtype="int32")
    assert (x * np.array([1.9, 2.9])).asnumpy().tolist() == [1, 4]
    assert (np.array([3, 3], np.int64) - x).dtype == np.int32
    assert (nd.ones((2,), dtype="float64") + np.float32(1)).dtype == np.float64
    assert (x + np.array([True, False])).asnumpy().tolist() == [2, 2]
    assert (x + np.array(5)).asnumpy().tolist() == [6, 7]
    for value in (np.array([300]), np.array([-1.0]), np.array([np.nan])):
        for call in (
            lambda v: nd.array([1], dtype="uint8") + v,
            lambda v: v + nd.array([1], dtype="uint8"),
        ):
            with pytest.raises(mx.TigonError, match="expected numbers that fit uint8"):
                call(value)


def test_it_is_put_where_the_array_is() -> None:
    x = nd.ones((2,), ctx=mx.cpu(1))
    for y in (x + np.ones(2), np.ones(2) * x, np.add([1, 2], x)):
        assert y.context == mx.cpu(1)


CONVERTED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    name: (function, function)
    for name, function in {
        "logaddexp": lambda x: np.logaddexp(x, x),
        "reduce": np.add.reduce,
        "accumulate": np.add.accumulate,
        "outer": lambda x: np.multiply.outer(x, [1, 2]),
        "dtype": lambda x: np.exp(x, dtype="float64"),
        "any": np.any,
        "all along an axis": lambda x: np.all(x, axis=0),
        "ptp": np.ptp,
        "sum in float64": lambda x: np.sum(x, axis=0, dtype="float64"),
        "sum from 3": lambda x: np.sum(x, initial=3),
        "mean where": lambda x: np.mean(x, where=np.array([[True, False, True]])),
        "round": np.round,
        "round to one digit": lambda x: np.round(x, 1),
        "stable": lambda x: np.argsort(x, kind="stable"),
        "take of all": lambda x: np.take(x, [0, 4]),
        "std": np.std,
    }.items()
}


@pytest.mark.parametrize("name", CONVERTED)
def test_the_rest_is_numpys(name: str) -> None:
    function, on_numpy = CONVERTED[name]
    found = both_ways(function, nd.array(N))
    expected = on_numpy(N.astype(np.float32))
    assert type(found) is type(expected) and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)


OURS: dict[str, Callable[[Any], Any]] = {
    "mean": np.mean,
    "mean along an axis": lambda x: np.mean(x, axis=0),
    "mean, keeping axes": lambda x: np.mean(x, axis=(0, 1), keepdims=True),
    "sum": lambda x: np.sum(x, axis=1),
    "prod": lambda x: np.prod(x, axis=1),
    "max": lambda x: np.max(x, axis=0),
    "argmax": lambda x: np.argmax(x, axis=0),
    "argsort": lambda x: np.argsort(x, axis=1),
    "reshape": lambda x: np.reshape(x, (3, 2)),
    "transpose": np.transpose,
    "transpose, by axes": lambda x: np.transpose(x, (1, 0)),
    "take": lambda x: np.take(x, nd.array([1, 0]), axis=1),
    "clip": lambda x: np.clip(x, 1, 2),
    "squeeze": np.squeeze,
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
}


@pytest.mark.parametrize("name", OURS)
def test_functions_that_call_a_method(name: str) -> None:
    def on_numpy(x: np.ndarray) -> np.ndarray:
        if name == "take":
            return x[:, [1, 0]]
        return np.asarray(OURS[name](x)).reshape(found.shape)

    found = both_ways(OURS[name], nd.array(N))
    assert type(found) is nd.NDArray
    np.testing.assert_allclose(found.asnumpy(), on_numpy(N), rtol=1e-5)


def test_out() -> None:
    x, plain, ours = nd.array([0, 1]), np.zeros(2), nd.zeros((2,))
    assert np.exp(x, out=plain) is plain and plain.round(3).tolist() == [1, 2.718]
    assert np.add(x, x, out=ours) is ours and ours.asnumpy().tolist() == [0, 2]
    assert np.add(plain, 1, out=ours) is ours
    np.testing.assert_allclose(ours.asnumpy(), plain + 1, rtol=1e-6)
    quotient, rest = np.divmod(x, 2, out=(ours, plain))
    assert quotient is ours and rest is plain and plain.tolist() == [0, 1]
    assert np.sum(nd.array(N), axis=1, out=plain) is plain and plain.tolist() == [7.5, 4.5]


def test_a_numpy_array_that_changes_is_noticed() -> None:
    table = np.array([1.0, 2.0])
    net = Calling(lambda x: x * table + np.exp(table * 0) * x)
    net.hybridize()
    x = nd.ones((2,))
    assert net(x).asnumpy().tolist() == [2, 3]
    table[0] = 5
    assert net(x).asnumpy().tolist() == [6, 3]


def test_other_classes_have_their_turn() -> None:
    class Other:
        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> str:
            return f"{ufunc.__name__} of another"

        __radd__ = __add__ = lambda self, other: "sum of another"

    assert np.exp(Other()) == "exp of another"
    assert np.add(nd.ones((2,)), Other()) == "add of another"
    assert nd.ones((2,)) + Other() == "sum of another"
    with pytest.raises(TypeError):
        np.add(nd.ones((2,)), object())


def test_dtypes_that_an_operator_refuses() -> None:
    with pytest.raises(mx.TigonTypeError, match="convert it with astype"):
        np.sqrt(nd.array([True], dtype="bool"))


def test_functions_of_integers_are_those_of_operators() -> None:
    """mxnet 1.9.1 gives 2, 2, 1, without their fractions."""
    for function, number, result in ((np.exp, 1, 2), (np.sqrt, 5, 2), (np.log, 3, 1)):
        found = function(nd.array([number], dtype="int32"))
        assert (found.dtype, found.asscalar()) == (np.int32, result)
