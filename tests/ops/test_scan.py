"""Cumulative sums of every size and axis, and the laws of how they are rounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tigon as mx
from tests.lower.interpreted import run_interpreted
from tigon import autograd, nd
from tigon.base import TensorType, TigonError
from tigon.base.dtypes import as_dtype
from tigon.ir import Graph, variable
from tigon.ops import get
from tigon.passes.split_sums import SCAN_BLOCK
from tigon.program.cached_graph import CachedGraph
from tigon.program.compile import compile_graph
from tigon.program.lowered import prepare

LONG = 4 * SCAN_BLOCK
SHAPES = [
    ((7,), 0),
    ((40, 3), 0),
    ((3, 40), 1),
    ((300, 37), 0),
    ((5, 17, 600), 1),
    ((2000, 3), 1),
    ((LONG - 1,), 0),
    ((LONG,), 0),
    ((LONG + 1,), 0),
    ((LONG + SCAN_BLOCK,), 0),
    ((2, LONG + 7), -1),
    ((LONG + 7, 3), 0),
    ((9, LONG + 7), -1),
    ((3, LONG), None),
    ((0,), 0),
    ((3, 0), 0),
    ((3, 0), None),
    ((1, 1), -1),
    ((), None),
]


def data(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    if dtype.startswith("float"):
        return np.asarray(rng.uniform(-1, 1, shape), dtype)
    return np.asarray(rng.integers(0, 2 if dtype == "bool" else 250, shape), dtype)


def numpy_sums(x: np.ndarray, axis: int | None) -> np.ndarray:
    if x.dtype.kind == "f":
        return np.cumsum(x, axis, np.float64)
    return np.cumsum(x, axis, np.int64 if x.dtype.kind == "b" else x.dtype)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_sums(shape: tuple[int, ...], axis: int | None, dtype: str) -> None:
    x = data(shape, dtype)
    found = nd.cumsum(nd.array(x, dtype=dtype), axis=axis).asnumpy()
    expected = numpy_sums(x, axis)
    assert found.shape == expected.shape
    assert found.dtype == ("int64" if dtype == "bool" else dtype)
    if dtype.startswith("float"):
        np.testing.assert_allclose(found, expected, 0, 1e-11 if dtype == "float64" else 2e-4)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_gradients_are_sums_from_the_other_end(shape: tuple[int, ...], axis: int | None) -> None:
    x = nd.array(data(shape, "float64"), dtype="float64")
    x.attach_grad()
    with autograd.record():
        y = nd.cumsum(x, axis=axis)
    head = np.asarray(np.random.default_rng(2).uniform(-1, 1, y.shape))
    y.backward(nd.array(head, dtype="float64"))
    along = 0 if axis is None else axis
    expected = np.flip(np.cumsum(np.flip(head, along), along), along).reshape(x.shape)
    np.testing.assert_allclose(x.grad.asnumpy(), expected, 0, 1e-12)


@pytest.mark.parametrize("size", [40, LONG + 5])
def test_second_order(size: int) -> None:
    """Of the sum of squares of the sums: constant, the same from both ends."""
    x = nd.array(data((size,), "float64"), dtype="float64")
    x.attach_grad()
    with autograd.record():
        y = nd.cumsum(x)
        (first,) = autograd.grad([(y * y).sum()], [x], create_graph=True)
        first.backward(nd.ones((size,), dtype="float64"))
    ones = np.cumsum(np.ones(size))
    expected = 2 * np.flip(np.cumsum(np.flip(ones)))
    np.testing.assert_allclose(x.grad.asnumpy(), expected, 1e-10)


def reversed_scan(x: np.ndarray, axis: int) -> np.ndarray:
    kind = TensorType(x.shape, as_dtype(x.dtype))
    graph = Graph.of([get("_scan_sum")(variable("x", kind), axis=axis % x.ndim, reverse=True)])
    (found,) = compile_graph(graph).run([nd.array(x, dtype=x.dtype.name)])
    return np.flip(found.asnumpy(), axis)


def forward_scan(x: np.ndarray, axis: int) -> np.ndarray:
    return nd.cumsum(nd.array(x, dtype=x.dtype.name), axis=axis).asnumpy()


@pytest.mark.parametrize("scan", [forward_scan, reversed_scan])
@pytest.mark.parametrize(("shape", "axis"), [case for case in SHAPES if case[1] is not None])
def test_sums_never_fall_and_stay_where_nothing_is_added(
    scan: Callable[..., np.ndarray], shape: tuple[int, ...], axis: int
) -> None:
    """Whoever looks for a place among sums of chances relies on it: an element without a chance is
    never drawn. Rounding each sum in its own way would break it at one place in some hundred."""
    rng = np.random.default_rng(4)
    x = (rng.uniform(0, 1, shape) * (rng.random(shape) < 0.7)).astype(np.float32)
    sums = scan(x, axis)
    turned = np.flip(x, axis) if scan is reversed_scan else x
    step = np.diff(sums, axis=axis)
    added = np.take(turned, np.arange(1, shape[axis]), axis)
    assert (step >= 0).all()
    assert (step[added == 0] == 0).all()


def test_elements_of_one_are_themselves() -> None:
    x = np.array([[-0.0], [np.nan], [np.inf]], np.float32)
    found = nd.cumsum(nd.array(x), axis=1).asnumpy()
    np.testing.assert_array_equal(found, x)
    assert np.signbit(found[0, 0])


@pytest.mark.parametrize("size", [20, LONG + 5])
def test_infinities_spread_to_what_follows_only(size: int) -> None:
    x = np.ones(size, np.float32)
    x[size // 2] = np.inf
    found = nd.cumsum(nd.array(x)).asnumpy()
    np.testing.assert_array_equal(found, np.cumsum(x))


def test_axes_and_dtypes_are_checked() -> None:
    with pytest.raises(TigonError, match="cumsum"):
        nd.cumsum(nd.ones((2, 3)), axis=2)
    with pytest.raises(TigonError, match=r"^cumsum: dtype: expected numbers; given bool$"):
        nd.cumsum(nd.ones((2, 3)), dtype="bool")


def test_elementwise_work_before_and_behind_is_part_of_the_scan() -> None:
    x = variable("x", TensorType((30, 500), as_dtype("float32")))
    y = variable("y", TensorType((30, 500), as_dtype("float32")))
    for axis in (0, 1):
        sums = get("cumsum")(get("exp")(x * 0.1), axis=axis)
        graph = Graph.of([get("tanh")(sums * 0.001) + y])
        assert len(compile_graph(graph).kernels) == 1
        feeds = {"x": data((30, 500), "float32"), "y": data((30, 500), "float32")}
        (found,) = run_interpreted(prepare(graph), feeds)
        expected = np.tanh(np.exp(feeds["x"] * 0.1).cumsum(axis) * 0.001) + feeds["y"]
        np.testing.assert_allclose(found, expected, 1e-4, 1e-5)


def test_views_are_read_where_they_lie() -> None:
    x = data((LONG + 9, 2), "float32")
    column = mx.sym.slice_axis(mx.sym.var("x"), axis=1, begin=0, end=1)
    graph = mx.sym.cumsum(mx.sym.reshape(column, (-1,)))
    (found,) = graph.bind(mx.cpu(), {"x": nd.array(x)}).forward()
    np.testing.assert_allclose(found.asnumpy(), np.cumsum(x[:, 0], dtype=np.float64), 0, 1e-4)


def test_one_program_for_lengths_on_both_sides_of_the_cut() -> None:
    graph = mx.sym.cumsum(mx.sym.var("x") * 2, axis=0)._graph()
    shared = CachedGraph(graph, name="shared")
    for size in (100, 5000, 16_000, LONG, LONG + 1, LONG + SCAN_BLOCK, 30_001, 7, 1):
        x = data((size, 2), "float64")
        given = nd.array(x, dtype="float64")
        given.attach_grad()
        with autograd.record():
            (found,) = shared([given])
        found.backward()
        np.testing.assert_allclose(found.asnumpy(), np.cumsum(x * 2, 0), 0, 1e-10)
        slope = np.repeat(2.0 * np.arange(size, 0, -1)[:, None], 2, 1)
        np.testing.assert_array_equal(given.grad.asnumpy(), slope)
