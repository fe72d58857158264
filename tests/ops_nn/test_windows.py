"""Windows and resampling of every small geometry, forward and backward, against their meaning."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.ops import get

RANDOM = np.random.default_rng(11)


@pytest.mark.parametrize("rule", ["corners", "edges", "average"])
def test_an_axis_of_any_size_is_resampled_and_back(rule: str) -> None:
    op = get("_resample")
    assert op.numpy is not None
    sizes, counts = (1, 2, 3, 5, 8), (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 19)
    for size, count, adjoint in itertools.product(sizes, counts, (False, True)):
        attributes = {"axis": 1, "size": size, "count": count, "rule": rule, "adjoint": adjoint}
        x = RANDOM.normal(size=(2, count if adjoint else size, 3))
        found = op(nd.array(x, dtype="float64"), **attributes).asnumpy()
        np.testing.assert_allclose(
            found, op.numpy(x, **attributes), rtol=1e-9, atol=1e-12, err_msg=str(attributes)
        )


def convolved(
    x: np.ndarray, weight: np.ndarray, stride: int, pad: int, dilate: int, groups: int
) -> np.ndarray:
    """By its definition, along one axis."""
    batch, _, size = x.shape
    filters, each, kernel = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    count = (size + 2 * pad - (kernel - 1) * dilate - 1) // stride + 1
    result = np.zeros((batch, filters, count))
    for o, f, k in itertools.product(range(count), range(filters), range(kernel)):
        first = f // (filters // groups) * each
        seen = padded[:, first : first + each, o * stride + k * dilate]
        result[:, f, o] += seen @ weight[f, :, k]
    return result


GEOMETRIES = [
    (size, kernel, stride, pad, dilate, groups)
    for size, kernel, stride, pad, dilate, groups in itertools.product(
        (1, 2, 3, 5), (1, 2, 3, 5, 7), (1, 2, 3), (0, 1, 3), (1, 2), (1, 2)
    )
    if size + 2 * pad >= (kernel - 1) * dilate + 1
]
random.Random(3).shuffle(GEOMETRIES)


@pytest.mark.parametrize("share", range(4))
def test_convolutions_of_any_geometry(share: int) -> None:
    """The slopes are those of a linear function: pairing them with what it was made from gives the
    result again; and by differences, of which a linear function has all digits."""
    for geometry in GEOMETRIES[share * 25 : (share + 1) * 25]:
        size, kernel, stride, pad, dilate, groups = geometry
        x, weight = RANDOM.normal(size=(2, 4, size)), RANDOM.normal(size=(6, 4 // groups, kernel))
        arrays = [nd.array(part, dtype="float64") for part in (x, weight)]
        for array in arrays:
            array.attach_grad()
        attributes: dict[str, Any] = {
            "kernel": (kernel,),
            "stride": (stride,),
            "pad": (pad,),
            "dilate": (dilate,),
            "num_group": groups,
            "num_filter": 6,
            "no_bias": True,
        }
        with autograd.record():
            y = nd.Convolution(*arrays, **attributes)
        plain = convolved(x, weight, stride, pad, dilate, groups)
        np.testing.assert_allclose(y.asnumpy(), plain, rtol=1e-9, atol=1e-9, err_msg=str(geometry))
        g = RANDOM.normal(size=plain.shape)
        y.backward(nd.array(g, dtype="float64"))
        for position, (array, value) in enumerate(zip(arrays, (x, weight), strict=True)):
            wanted = np.empty_like(value)
            for place in np.ndindex(value.shape):
                unit = np.zeros_like(value)
                unit[place] = 1
                parts = (unit, weight) if position == 0 else (x, unit)
                wanted[place] = (convolved(*parts, stride, pad, dilate, groups) * g).sum()
            np.testing.assert_allclose(
                array.grad.asnumpy(), wanted, rtol=1e-9, atol=1e-9, err_msg=str(geometry)
            )


@pytest.mark.parametrize("kind", ["max", "avg", "sum", "lp"])
@pytest.mark.parametrize("convention", ["valid", "full", "same", "clipped"])
def test_poolings_of_any_geometry(kind: str, convention: str) -> None:
    oracle = get("Pooling").numpy
    assert oracle is not None
    for size, kernel, stride, pad in itertools.product(
        (1, 2, 3, 5, 6), (1, 2, 3, 6), (1, 2, 4), (0, 1)
    ):
        excess = kernel - size - 2 * pad
        if excess >= (stride if convention == "clipped" else 1) or pad >= kernel:
            continue
        attributes = {
            "kernel": (kernel,),
            "stride": (stride,),
            "pad": (pad,),
            "pool_type": kind,
            "pooling_convention": convention,
            "p_value": 2,
        }
        fields = vars(get("Pooling").make_attrs(attributes))
        x = RANDOM.uniform(0.5, 2, (1, 2, size))
        array = nd.array(x, dtype="float64")
        array.attach_grad()
        with autograd.record():
            y = nd.Pooling(array, **attributes)
        if (y.shape[2] - 1) * stride >= size + pad:
            assert convention != "clipped", attributes
            continue  # the last window sees nothing
        plain = oracle(x, **fields)
        np.testing.assert_allclose(y.asnumpy(), plain, rtol=1e-9, err_msg=str(attributes))
        g = RANDOM.normal(size=plain.shape)
        y.backward(nd.array(g, dtype="float64"))
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-6
            rise = oracle(x + step, **fields) - oracle(x - step, **fields)
            wanted = (rise * g).sum() / 2e-6
            assert abs(array.grad.asnumpy()[place] - wanted) < 1e-6, (attributes, place)


def test_one_window_costs_its_gradient_as_much_as_itself() -> None:
    x = nd.array(RANDOM.normal(size=(2, 3, 4, 6)), dtype="float64")
    weight = nd.array(RANDOM.normal(size=(5, 3, 2, 6)), dtype="float64")
    x.attach_grad()
    for function in (
        lambda x: nd.Convolution(x, weight, kernel=(2, 6), num_filter=5, no_bias=True),
        lambda x: nd.Pooling(x, kernel=(4, 6), pool_type="max"),
        lambda x: nd.Pooling(x, kernel=(2, 6), pool_type="avg", layout=None),
    ):
        slopes = []
        for call in (function, mx.jit(function)):
            with autograd.record():
                y = call(x)
            y.backward()
            slopes.append(x.grad.asnumpy())
        np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-12)
        total = (slopes[0] * x.asnumpy()).sum()  # both are linear where they are not at an edge
        np.testing.assert_allclose(total, y.sum().asscalar(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "float16", "float64"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (4, 3)])
def test_maxima_are_found_again_in_any_dtype(kernel: tuple[int, int], dtype: str) -> None:
    """Marks of places that no window has, or none sees, fit the narrowest, too."""
    op = get("_backward_Pooling_max")
    fields = {"kernel": kernel, "stride": (2, 2), "pad": (1, 1)}
    x = np.random.default_rng(0).permutation(98).reshape(1, 2, 7, 7).astype(dtype)
    pooled = nd.Pooling(nd.array(x, dtype=dtype), pool_type="max", **fields)
    g = np.ones(pooled.shape, dtype)
    (wanted,) = op.oracle(op.make_attrs(fields), g, x)
    found = op(nd.array(g, dtype=dtype), nd.array(x, dtype=dtype), **fields)
    np.testing.assert_array_equal(found.asnumpy(), wanted)
