"""BatchNorm, whose statistics in training are those of the batch, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import (
    along,
    extent_of,
    inverse_count,
    is_nothing,
    keep_mean,
    normal_axis,
    other_axes,
    vector_of,
)
from tigon.ops.nn.standardize import _along_like, _spread_mean
from tigon.ops.primitive.arithmetic import add, multiply, negative, square, subtract
from tigon.ops.primitive.functions import rsqrt
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import composite, same_type


class BatchNormAttrs(Frozen, kw_only=True):
    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    axis: int = 1
    cudnn_off: bool = False
    min_calib_range: float | None = None
    max_calib_range: float | None = None
    training: bool | None = None


def _infer_batch_norm(
    attrs: BatchNormAttrs,
    data: TensorType,
    gamma: TensorType,
    beta: TensorType,
    moving_mean: TensorType,
    moving_var: TensorType,
) -> tuple[TensorType, ...]:
    name = "BatchNorm"
    axis = normal_axis(name, attrs.axis, data.ndim)
    channels = data.shape[axis]
    vectors = {"gamma": gamma, "beta": beta, "moving_mean": moving_mean, "moving_var": moving_var}
    for operand, given in vectors.items():
        vector_of(
            name,
            operand,
            given,
            channels,
            f"one per channel: axis {axis} of data, whose shape is {data.shape}",
        )
    mean, variance = (TensorType((channels,), given.dtype) for given in (moving_mean, moving_var))
    return TensorType(data.shape, data.dtype), mean, variance, mean, variance


def _batch_statistics(attrs: Any) -> bool:
    """Whether the batch's own mean and variance are used, and the moving ones advanced."""
    return bool(attrs.training) and not attrs.use_global_stats


def _decompose_batch_norm(
    attrs: BatchNormAttrs,
    data: Value,
    gamma: Value,
    beta: Value,
    moving_mean: Value,
    moving_var: Value,
) -> tuple[Value, ...]:
    ndim = data.ndim
    axis = attrs.axis % ndim
    channels = (data.shape[axis],)
    if not _batch_statistics(attrs):
        inverse = rsqrt(add(moving_var, attrs.eps))
        scale = inverse if attrs.fix_gamma else multiply(inverse, gamma)
        centred = subtract(data, along(moving_mean, axis, ndim))
        out = add(multiply(centred, along(scale, axis, ndim)), along(beta, axis, ndim))
        return out, moving_mean, inverse, moving_mean, moving_var
    axes = other_axes(ndim, axis)
    mean = keep_mean(data, axes)
    centred = subtract(data, mean)
    variance = keep_mean(square(centred), axes)
    inverse = rsqrt(add(variance, attrs.eps))
    scale = inverse if attrs.fix_gamma else multiply(inverse, along(gamma, axis, ndim))
    out = add(multiply(centred, scale), along(beta, axis, ndim))
    mean = _reshape(mean, shape=channels)
    variance = _reshape(variance, shape=channels)
    kept, added = attrs.momentum, 1.0 - attrs.momentum
    return (
        out,
        mean,
        _reshape(inverse, shape=channels),
        add(multiply(moving_mean, kept), multiply(mean, added)),
        add(multiply(moving_var, kept), multiply(variance, added)),
    )


def _decompose_batch_norm_gradient(
    attrs: BatchNormAttrs, g: Value, data: Value, gamma: Value, mean: Value, inverse: Value
) -> tuple[Value, Value, Value]:
    """Two sums over the data, both in one sweep; the rest is per channel or elementwise."""
    ndim = data.ndim
    axis = attrs.axis % ndim
    axes = other_axes(ndim, axis)
    centred = subtract(data, along(mean, axis, ndim))
    total = _reduce_sum(g, axes=axes)
    product = _reduce_sum(multiply(g, centred), axes=axes)
    scale = inverse if attrs.fix_gamma else multiply(inverse, gamma)
    if _batch_statistics(attrs):
        share = inverse_count(extent_of(data, axes))
        slope = multiply(multiply(product, square(inverse)), share)
        inner = subtract(
            subtract(g, along(multiply(total, share), axis, ndim)),
            multiply(centred, along(slope, axis, ndim)),
        )
    else:
        inner = g
    return multiply(inner, along(scale, axis, ndim)), multiply(product, inverse), total


def _grad_batch_norm(
    attrs: BatchNormAttrs,
    g: tuple[Any, ...],
    y: tuple[Any, ...],
    data: Value,
    gamma: Value,
    beta: Value,
    moving_mean: Value,
    moving_var: Value,
) -> tuple[Any, ...]:
    mean, inverse = y[1], y[2]
    data_parts: list[Value] = []
    gamma_part = beta_part = None
    if not is_nothing(g[0]):
        part, gamma_part, beta_part = _batch_norm_gradient(
            g[0], data, gamma, mean, inverse, **attrs_dict(attrs)
        )
        data_parts.append(part)
    if _batch_statistics(attrs):
        if not is_nothing(g[1]):
            data_parts.append(_spread_mean(_along_like(g[1], data, axis=attrs.axis), data))
        if not is_nothing(g[2]):
            # d(v + eps)^(-1/2) = -1/2 (v + eps)^(-3/2) dv, and dv/dx = 2 (x - mean) / n
            slope = negative(multiply(g[2], multiply(inverse, square(inverse))))
            centred = subtract(data, _along_like(mean, data, axis=attrs.axis))
            spread = _spread_mean(_along_like(slope, data, axis=attrs.axis), data)
            data_parts.append(multiply(spread, centred))
    total = None
    for part in data_parts:
        total = part if total is None else add(total, part)
    return total, None if attrs.fix_gamma else gamma_part, beta_part, None, None


def _batch_norm_operands(
    attrs: BatchNormAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data = types[0]
    if data is None or not -data.ndim <= attrs.axis < data.ndim:
        return types
    dtype = float32 if data.dtype.is_narrow else data.dtype
    vector = TensorType((data.shape[attrs.axis],), dtype)
    return [data, *(given or vector for given in types[1:])]


def _batch_norm_oracle(
    data: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    moving_mean: np.ndarray,
    moving_var: np.ndarray,
    **fields: Any,
) -> tuple[np.ndarray, ...]:
    axis = fields["axis"] % data.ndim
    out = np.empty_like(data)
    mean, inverse = moving_mean.copy(), 1 / np.sqrt(moving_var + fields["eps"])
    new_mean, new_var = moving_mean.copy(), moving_var.copy()
    batch = fields["training"] and not fields["use_global_stats"]
    for c in range(data.shape[axis]):
        where = tuple(c if a == axis else slice(None) for a in range(data.ndim))
        x = data[where]
        if batch:
            mean[c] = x.mean()
            variance = ((x - mean[c]) ** 2).mean()
            inverse[c] = 1 / np.sqrt(variance + fields["eps"])
            new_mean[c] += (1 - fields["momentum"]) * (mean[c] - moving_mean[c])
            new_var[c] += (1 - fields["momentum"]) * (variance - moving_var[c])
        scale = 1 if fields["fix_gamma"] else gamma[c]
        out[where] = (x - mean[c]) * inverse[c] * scale + beta[c]
    return out, mean, inverse, new_mean, new_var


def _batch_norm_gradient_oracle(
    g: np.ndarray,
    data: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    **fields: Any,
) -> tuple[np.ndarray, ...]:
    axis = fields["axis"] % data.ndim
    out, dgamma, dbeta = np.empty_like(data), np.empty_like(gamma), np.empty_like(gamma)
    for c in range(data.shape[axis]):
        where = tuple(c if a == axis else slice(None) for a in range(data.ndim))
        y = (data[where] - mean[c]) * inverse[c]
        dy = g[where]
        dgamma[c], dbeta[c] = (dy * y).sum(), dy.sum()
        if fields["training"] and not fields["use_global_stats"]:
            dy = dy - dbeta[c] / y.size - y * dgamma[c] / y.size
        out[where] = dy * inverse[c] * (1 if fields["fix_gamma"] else gamma[c])
    return out, dgamma, dbeta


_VECTORS = ((3,), (3,), (3,), np.array([0.5, 1.0, 2.0]))


def _infer_batch_norm_gradient(
    attrs: BatchNormAttrs, g: TensorType, data: TensorType, gamma: TensorType, *_: TensorType
) -> tuple[TensorType, ...]:
    vector = TensorType(gamma.shape, data.dtype)
    return same_type(data), vector, vector


_batch_norm_gradient = composite(
    "_backward_BatchNorm",
    _decompose_batch_norm_gradient,
    operands="g data gamma mean inverse_deviation",
    attrs=BatchNormAttrs,
    dtypes="f",
    infer=_infer_batch_norm_gradient,
    outputs=3,
    numpy=_batch_norm_gradient_oracle,
    samples=[
        ((2, 3, 4), (2, 3, 4), (3,), (3,), (3,), {"training": True, "fix_gamma": False}),
        ((2, 3), (2, 3), (3,), (3,), (3,), {}),
    ],
    doc="""The cotangents of data, gamma and beta of a batch normalization, from the mean and the
inverse deviation that it used.

Examples
--------
>>> one = nd.ones(1)
>>> nd._backward_BatchNorm(nd.ones((2, 1)), nd.ones((2, 1)), one, one, one)[2]
<BLANKLINE>
[2.]
<NDArray 1 @cpu(0)>
""",
)

STATISTICS = ("gamma", "beta", "moving_mean", "moving_var")

batch_norm = composite(
    "BatchNorm",
    _decompose_batch_norm,
    operands="data gamma beta moving_mean! moving_var!",
    attrs=BatchNormAttrs,
    dtypes="f",
    statistics=STATISTICS,
    infer=_infer_batch_norm,
    grad=_grad_batch_norm,
    outputs=5,
    visible=lambda attrs: 3 if attrs.output_mean_var else 1,
    results=("output", "mean", "var"),
    mutates={3: "moving_mean", 4: "moving_var"},
    initial={"moving_mean": '["zero", {}]', "moving_var": '["one", {}]'},
    numpy=_batch_norm_oracle,
    aliases=("BatchNorm_v1",),
    infer_operands=_batch_norm_operands,
    samples=[
        ((4, 3), *_VECTORS, {"training": True}),
        ((2, 3, 4, 2), *_VECTORS, {"training": True, "fix_gamma": False}),
        ((2, 4, 3), *_VECTORS, {"training": True, "axis": -1, "momentum": 0.5}),
        ((2, 3, 4), *_VECTORS, {"fix_gamma": False}),
        ((2, 3, 4), *_VECTORS, {"training": True, "use_global_stats": True, "eps": 1e-5}),
    ],
    doc="""Batch normalization (Ioffe and Szegedy 2015): each channel is brought to mean 0 and
deviation 1, then scaled by gamma and shifted by beta.

In training, mean and variance are those of the batch, and the moving ones advance:
`moving = moving * momentum + batch * (1 - momentum)`. In prediction, the moving ones are used.

Parameters
----------
data : any shape with channels along `axis`
gamma, beta : scale and shift, one per channel; gamma counts as 1 under `fix_gamma`
moving_mean, moving_var : auxiliary states, one per channel
eps : added to the variance
momentum : how much of the moving statistics is kept at each step
fix_gamma : keep gamma at 1 (the default here, not in Gluon)
use_global_stats : use the moving statistics in training too
output_mean_var : also give the mean and the inverse deviation that were used
axis : where the channels are
cudnn_off, min_calib_range, max_calib_range : accepted for old programs, without meaning here

Examples
--------
>>> x, one, zero = nd.array([[2, 4]]), nd.ones(2), nd.zeros(2)
>>> nd.BatchNorm(x, one, zero, zero, one, eps=0)
<BLANKLINE>
[[2. 4.]]
<NDArray 1x2 @cpu(0)>
""",
)
