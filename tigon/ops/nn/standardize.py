"""What all normalizations are made of: mean and variance along axes.

Mean and variance are taken in two passes, mean((x - mean)^2), never as E[x^2] - E[x]^2, which loses
all digits when the mean is large.
"""

from __future__ import annotations

import numpy as np

from tigon.base import TensorType
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import along, along_shape, inverse_count, keep_mean
from tigon.ops.primitive.arithmetic import add, multiply, square, subtract
from tigon.ops.primitive.functions import rsqrt
from tigon.ops.primitive.view import _broadcast
from tigon.ops.record import Operator, composite, same_type

# ----------------------------------------------------------------------- standardizing


class StandardizeAttrs(Frozen, kw_only=True):
    axes: tuple[int, ...]
    eps: float


def _moments(x: Value, axes: tuple[int, ...], eps: float) -> tuple[Value, Value, Value]:
    """(mean, x - mean, 1 / sqrt(variance + eps)); mean and deviation keep their axes."""
    mean = keep_mean(x, axes)
    centred = subtract(x, mean)
    return mean, centred, rsqrt(add(keep_mean(square(centred), axes), eps))


def _decompose_standardize(attrs: StandardizeAttrs, x: Value) -> Value:
    _, centred, inverse = _moments(x, attrs.axes, attrs.eps)
    return multiply(centred, inverse)


def _decompose_standardize_gradient(attrs: StandardizeAttrs, g: Value, x: Value) -> Value:
    _, centred, inverse = _moments(x, attrs.axes, attrs.eps)
    y = multiply(centred, inverse)
    along_y = multiply(y, keep_mean(multiply(g, y), attrs.axes))
    return multiply(inverse, subtract(subtract(g, keep_mean(g, attrs.axes)), along_y))


def _standardize_oracle(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)


def _standardize_gradient_oracle(
    g: np.ndarray, x: np.ndarray, axes: tuple[int, ...], eps: float
) -> np.ndarray:
    # The Jacobian, column by column and exact: the derivative of (x - m) / s along each direction.
    n = int(np.prod([x.shape[axis] for axis in axes]))
    mean = x.mean(axis=axes, keepdims=True)
    s = np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + eps)
    result = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        one = np.zeros_like(x)
        one[index] = 1
        rows = one.sum(axis=axes, keepdims=True)
        ds = ((x - mean) * one).sum(axis=axes, keepdims=True) / (n * s)
        derivative = (one - rows / n) / s - (x - mean) * ds / s**2
        result[index] = (g * derivative).sum()
    return result


standardize = composite(
    "_standardize",
    _decompose_standardize,
    attrs=StandardizeAttrs,
    dtypes="f",
    infer=lambda attrs, x: same_type(x),
    grad=lambda attrs, g, y, x: (_standardize_gradient(g, x, axes=attrs.axes, eps=attrs.eps),),
    numpy=_standardize_oracle,
    samples=[((3, 5), {"axes": (1,), "eps": 1e-3}), ((2, 3, 4), {"axes": (0, 2), "eps": 1e-5})],
    doc="""`(x - mean) / sqrt(variance + eps)` over some axes.

Examples
--------
>>> nd._standardize(nd.array([[0, 2]]), axes=(1,), eps=0.0)
<BLANKLINE>
[[-1.  1.]]
<NDArray 1x2 @cpu(0)>
""",
)

_standardize_gradient: Operator = composite(
    "_backward_standardize",
    _decompose_standardize_gradient,
    operands="g data",
    attrs=StandardizeAttrs,
    dtypes="f",
    infer=lambda attrs, g, x: same_type(x),
    numpy=_standardize_gradient_oracle,
    samples=[
        ((3, 4), (3, 4), {"axes": (1,), "eps": 1e-3}),
        ((2, 2, 3), (2, 2, 3), {"axes": (0, 2), "eps": 1e-3}),
    ],
    doc="""The cotangent of what `_standardize` took.

Examples
--------
>>> nd._backward_standardize(nd.ones((1, 2)), nd.array([[0, 2]]), axes=(1,), eps=0.0)
<BLANKLINE>
[[0. 0.]]
<NDArray 1x2 @cpu(0)>
""",
)


def _spread_mean_oracle(g: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(g / (like.size / g.size), like.shape).astype(g.dtype)


def _infer_spread_mean(g: TensorType, like: TensorType) -> TensorType:
    return TensorType(like.shape, g.dtype)


_spread_mean = composite(
    "_spread_mean",
    lambda g, like: multiply(
        _broadcast(g, shape=like.shape), inverse_count(like.type.size // max(g.type.size, 1))
    ),
    operands="g like",
    dtypes={"g": "f"},
    infer=_infer_spread_mean,
    numpy=_spread_mean_oracle,
    samples=[((2, 1, 3), (2, 4, 3), {})],
    doc="""The cotangent of a mean with kept axes, spread over what was averaged.

Examples
--------
>>> nd._spread_mean(nd.array([[2]]), nd.zeros((1, 4)))
<BLANKLINE>
[[0.5 0.5 0.5 0.5]]
<NDArray 1x4 @cpu(0)>
""",
)


class AxisAttrs(Frozen, kw_only=True):
    axis: int


_along_like = composite(
    "_along_like",
    lambda attrs, vector, like: along(vector, attrs.axis % like.ndim, like.ndim),
    operands="vector like",
    attrs=AxisAttrs,
    infer=lambda attrs, vector, like: TensorType(
        along_shape(vector.size, attrs.axis % like.ndim, like.ndim), vector.dtype
    ),
    numpy=lambda vector, like, axis: vector.reshape(
        along_shape(vector.size, axis % like.ndim, like.ndim)
    ),
    samples=[((3,), (2, 3, 2), {"axis": 1})],
    doc="""A vector laid along one axis, ready to broadcast against `like`.

Examples
--------
>>> nd._along_like(nd.array([1, 2]), nd.zeros((2, 3)), axis=0)
<BLANKLINE>
[[1.]
 [2.]]
<NDArray 2x1 @cpu(0)>
""",
)
