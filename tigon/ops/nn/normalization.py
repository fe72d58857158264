"""Normalization: batch, layer, instance, group, and across channels.

Mean and variance are taken in two passes, mean((x - mean)^2), never as E[x^2] - E[x]^2, which loses
all digits when the mean is large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import (
    Windows,
    along,
    along_shape,
    extent_of,
    float_data,
    inverse_count,
    is_nothing,
    keep_mean,
    normal_axis,
    other_axes,
    same_dtype,
    vector_of,
    windows,
)
from tigon.ops.primitive.arithmetic import add, divide, multiply, negative, square, subtract
from tigon.ops.primitive.functions import power, rsqrt, sqrt
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, transpose
from tigon.ops.record import Operator, attrs_dict, composite, same_type

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
    return np.broadcast_to(g / (like.size / g.size), like.shape).astype(like.dtype)


def _infer_spread_mean(g: TensorType, like: TensorType) -> TensorType:
    float_data("_spread_mean", g)
    return TensorType(like.shape, g.dtype)


_spread_mean = composite(
    "_spread_mean",
    lambda g, like: multiply(
        _broadcast(g, shape=like.shape), inverse_count(like.type.size // max(g.type.size, 1))
    ),
    operands="g like",
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

# --------------------------------------------------------------------------- BatchNorm


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
    float_data(name, data)
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
    same_dtype(name, data, **vectors)
    vector = TensorType((channels,), data.dtype)
    return (TensorType(data.shape, data.dtype), vector, vector, vector, vector)


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
    vector = TensorType((data.shape[attrs.axis],), data.dtype)
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
    float_data("_backward_BatchNorm", data)
    vector = TensorType(gamma.shape, data.dtype)
    return same_type(data), vector, vector


_batch_norm_gradient = composite(
    "_backward_BatchNorm",
    _decompose_batch_norm_gradient,
    operands="g data gamma mean inverse_deviation",
    attrs=BatchNormAttrs,
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

batch_norm = composite(
    "BatchNorm",
    _decompose_batch_norm,
    operands="data gamma beta moving_mean! moving_var!",
    attrs=BatchNormAttrs,
    infer=_infer_batch_norm,
    grad=_grad_batch_norm,
    outputs=5,
    visible=lambda attrs: 3 if attrs.output_mean_var else 1,
    mutates={3: "moving_mean", 4: "moving_var"},
    initial={"moving_mean": '["zero", {}]', "moving_var": '["one", {}]'},
    numpy=_batch_norm_oracle,
    aliases=("BatchNorm_v1",),
    extra={"infer_operands": _batch_norm_operands},
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

# --------------------------------------------------------------------------- LayerNorm


class LayerNormAttrs(Frozen, kw_only=True):
    axis: int = -1
    eps: float = 1e-5
    output_mean_var: bool = False


def _infer_layer_norm(
    attrs: LayerNormAttrs, data: TensorType, gamma: TensorType, beta: TensorType
) -> tuple[TensorType, ...]:
    name = "LayerNorm"
    float_data(name, data)
    axis = normal_axis(name, attrs.axis, data.ndim)
    for operand, given in (("gamma", gamma), ("beta", beta)):
        vector_of(
            name,
            operand,
            given,
            data.shape[axis],
            f"the extent of axis {axis} of data, whose shape is {data.shape}",
        )
    same_dtype(name, data, gamma=gamma, beta=beta)
    out = TensorType(data.shape, data.dtype)
    if not attrs.output_mean_var:
        return (out,)
    row = tuple(1 if a == axis else extent for a, extent in enumerate(data.shape))
    return out, TensorType(row, data.dtype), TensorType(row, data.dtype)


def _decompose_layer_norm(
    attrs: LayerNormAttrs, data: Value, gamma: Value, beta: Value
) -> Value | tuple[Value, ...]:
    ndim = data.ndim
    axis = attrs.axis % ndim
    scale, shift = along(gamma, axis, ndim), along(beta, axis, ndim)
    if not attrs.output_mean_var:
        return add(multiply(standardize(data, axes=(axis,), eps=attrs.eps), scale), shift)
    mean = keep_mean(data, (axis,))
    centred = subtract(data, mean)
    deviation = sqrt(add(keep_mean(square(centred), (axis,)), attrs.eps))
    out = add(multiply(divide(centred, deviation), scale), shift)
    return out, mean, deviation


def _channel_operands(axis_of: Callable[[Any], int]) -> Callable[..., Any]:
    """gamma and beta as long as one axis of data."""

    def rule(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        data = types[0]
        axis = axis_of(attrs)
        if data is None or not -data.ndim <= axis < data.ndim:
            return types
        vector = TensorType((data.shape[axis],), data.dtype)
        return [data, *(given or vector for given in types[1:])]

    return rule


def _layer_norm_oracle(
    data: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    axis: int,
    eps: float,
    output_mean_var: bool,
) -> Any:
    mean = data.mean(axis=axis, keepdims=True)
    deviation = np.sqrt(data.var(axis=axis, keepdims=True) + eps)
    shape = along_shape(data.shape[axis], axis % data.ndim, data.ndim)
    out = (data - mean) / deviation * gamma.reshape(shape) + beta.reshape(shape)
    return (out, mean, deviation) if output_mean_var else out


layer_norm = composite(
    "LayerNorm",
    _decompose_layer_norm,
    operands="data gamma beta",
    attrs=LayerNormAttrs,
    infer=_infer_layer_norm,
    outputs=lambda attrs: 3 if attrs.output_mean_var else 1,
    numpy=_layer_norm_oracle,
    extra={"infer_operands": _channel_operands(lambda attrs: attrs.axis)},
    samples=[
        ((3, 5), (5,), (5,), {}),
        ((2, 3, 4), (3,), (3,), {"axis": 1, "eps": 1e-3}),
        ((2, 4), (4,), (4,), {"output_mean_var": True}),
    ],
    doc="""Layer normalization (Ba et al. 2016): each row along `axis` is brought to mean 0 and
deviation 1, then scaled by gamma and shifted by beta.

Parameters
----------
data : any shape
gamma, beta : scale and shift, as long as `axis`
axis : along which rows lie
eps : added to the variance
output_mean_var : also give the mean and the deviation, with `axis` kept

Examples
--------
>>> nd.LayerNorm(nd.array([[0, 2]]), nd.ones(2), nd.zeros(2), eps=0)
<BLANKLINE>
[[-1.  1.]]
<NDArray 1x2 @cpu(0)>
""",
)

# -------------------------------------------------------------- InstanceNorm, GroupNorm


class InstanceNormAttrs(Frozen, kw_only=True):
    eps: float = 1e-3


def _infer_instance_norm(
    attrs: InstanceNormAttrs, data: TensorType, gamma: TensorType, beta: TensorType
) -> TensorType:
    name = "InstanceNorm"
    float_data(name, data)
    check(
        data.ndim >= 3,
        name,
        f"data: expected (batch, channels, *spatial), at least 3 axes; given {data.shape}",
    )
    for operand, given in (("gamma", gamma), ("beta", beta)):
        vector_of(name, operand, given, data.shape[1], "one per channel (axis 1 of data)")
    same_dtype(name, data, gamma=gamma, beta=beta)
    return same_type(data)


def _decompose_instance_norm(
    attrs: InstanceNormAttrs, data: Value, gamma: Value, beta: Value
) -> Value:
    ndim = data.ndim
    y = standardize(data, axes=tuple(range(2, ndim)), eps=attrs.eps)
    return add(multiply(y, along(gamma, 1, ndim)), along(beta, 1, ndim))


def _instance_norm_oracle(
    data: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> np.ndarray:
    out = np.empty_like(data)
    for n, c in np.ndindex(*data.shape[:2]):
        x = data[n, c]
        out[n, c] = (x - x.mean()) / np.sqrt(x.var() + eps) * gamma[c] + beta[c]
    return out


instance_norm = composite(
    "InstanceNorm",
    _decompose_instance_norm,
    operands="data gamma beta",
    attrs=InstanceNormAttrs,
    infer=_infer_instance_norm,
    numpy=_instance_norm_oracle,
    extra={"infer_operands": _channel_operands(lambda attrs: 1)},
    samples=[((2, 3, 4), (3,), (3,), {}), ((2, 3, 2, 3), (3,), (3,), {"eps": 1e-5})],
    doc="""Instance normalization (Ulyanov et al. 2016): each channel of each sample is brought to
mean 0 and deviation 1 over its spatial axes, then scaled by gamma and shifted by beta.

Parameters
----------
data : (batch, channels, *spatial)
gamma, beta : scale and shift, one per channel
eps : added to the variance

Examples
--------
>>> nd.InstanceNorm(nd.array([[[0, 2]]]), nd.ones(1), nd.zeros(1), eps=0)
<BLANKLINE>
[[[-1.  1.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)


class GroupNormAttrs(Frozen, kw_only=True):
    num_groups: int = 1
    eps: float = 1e-5
    output_mean_var: bool = False


def _infer_group_norm(
    attrs: GroupNormAttrs, data: TensorType, gamma: TensorType, beta: TensorType
) -> tuple[TensorType, ...]:
    name = "GroupNorm"
    float_data(name, data)
    check(
        data.ndim >= 3,
        name,
        f"data: expected (batch, channels, *spatial), at least 3 axes; given {data.shape}",
    )
    groups, channels = attrs.num_groups, data.shape[1]
    check(
        groups >= 1 and channels % groups == 0,
        name,
        f"the {channels} channels of data do not divide into num_groups={groups} equal groups",
    )
    for operand, given in (("gamma", gamma), ("beta", beta)):
        check(
            given.shape in ((groups,), (channels,)),
            name,
            f"{operand}: expected shape ({groups},), one per group, or ({channels},), one per "
            f"channel; given {given.shape}",
        )
    same_dtype(name, data, gamma=gamma, beta=beta)
    out = TensorType(data.shape, data.dtype)
    moments = TensorType((data.shape[0], groups), data.dtype)
    return (out, moments, moments) if attrs.output_mean_var else (out,)


def _decompose_group_norm(
    attrs: GroupNormAttrs, data: Value, gamma: Value, beta: Value
) -> Value | tuple[Value, ...]:
    batch, channels, *spatial = data.shape
    groups = attrs.num_groups
    shape = (batch, groups, channels // groups, *spatial)
    grouped = _reshape(data, shape=shape)
    axes = tuple(range(2, len(shape)))

    def spread(vector: Value) -> Value:
        # One per group is repeated over the group's channels; one per channel is cut into groups.
        inner = channels // groups if vector.shape == (channels,) and channels != groups else 1
        return _reshape(vector, shape=(1, groups, inner, *(1 for _ in spatial)))

    y = standardize(grouped, axes=axes, eps=attrs.eps)
    out = _reshape(add(multiply(y, spread(gamma)), spread(beta)), shape=data.shape)
    if not attrs.output_mean_var:
        return out
    mean = keep_mean(grouped, axes)
    variance = keep_mean(square(subtract(grouped, mean)), axes)
    moments = (batch, groups)
    return (
        out,
        _reshape(mean, shape=moments),
        _reshape(sqrt(add(variance, attrs.eps)), shape=moments),
    )


def _group_norm_operands(
    attrs: GroupNormAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    if types[0] is None:
        return types
    vector = TensorType((attrs.num_groups,), types[0].dtype)
    return [types[0], *(given or vector for given in types[1:])]


def _group_norm_oracle(
    data: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    num_groups: int,
    eps: float,
    output_mean_var: bool,
) -> Any:
    out = np.empty_like(data)
    mean = np.empty((data.shape[0], num_groups), data.dtype)
    deviation = np.empty_like(mean)
    size = data.shape[1] // num_groups
    for n, group in np.ndindex(*mean.shape):
        x = data[n, group * size : (group + 1) * size]
        mean[n, group], deviation[n, group] = x.mean(), np.sqrt(x.var() + eps)
        for c in range(group * size, (group + 1) * size):
            at = group if gamma.shape == (num_groups,) else c
            y = (data[n, c] - mean[n, group]) / deviation[n, group]
            out[n, c] = y * gamma[at] + beta[at]
    return (out, mean, deviation) if output_mean_var else out


group_norm = composite(
    "GroupNorm",
    _decompose_group_norm,
    operands="data gamma beta",
    attrs=GroupNormAttrs,
    infer=_infer_group_norm,
    outputs=lambda attrs: 3 if attrs.output_mean_var else 1,
    numpy=_group_norm_oracle,
    extra={"infer_operands": _group_norm_operands},
    samples=[
        ((2, 4, 3), (2,), (2,), {"num_groups": 2}),
        ((2, 6, 2, 2), (6,), (6,), {"num_groups": 3}),
        ((2, 4, 3), (1,), (1,), {"output_mean_var": True}),
    ],
    doc="""Group normalization (Wu and He 2018): the channels are cut into groups, and each group of
each sample is brought to mean 0 and deviation 1, then scaled by gamma and shifted by beta.

Parameters
----------
data : (batch, channels, *spatial)
gamma, beta : scale and shift, one per group or one per channel
num_groups : number of groups
eps : added to the variance
output_mean_var : also give mean and deviation, of shape (batch, num_groups)

Examples
--------
>>> nd.GroupNorm(nd.array([[[0], [2]]]), nd.ones(1), nd.zeros(1), eps=0)
<BLANKLINE>
[[[-1.]
  [ 1.]]]
<NDArray 1x2x1 @cpu(0)>
""",
)

# --------------------------------------------------------------------------------- LRN


class LRNAttrs(Frozen, kw_only=True):
    alpha: float = 1e-4
    beta: float = 0.75
    knorm: float = 2.0
    nsize: int


def _infer_lrn(attrs: LRNAttrs, data: TensorType) -> TensorType:
    float_data("LRN", data)
    check(data.ndim == 4, "LRN", f"data: expected 4 axes, NCHW; given shape {data.shape}")
    check(
        attrs.nsize >= 1 and attrs.nsize % 2 == 1,
        "LRN",
        f"nsize: expected an odd number of channels; given {attrs.nsize}",
    )
    return same_type(data)


def _decompose_lrn(attrs: LRNAttrs, data: Value) -> Value:
    squares = transpose(square(data), axes=(0, 2, 3, 1))
    geometry = Windows((attrs.nsize,), (1,), (1,), (attrs.nsize // 2,))
    near = windows(squares, geometry, (data.shape[1],))
    # Back into data's order before the sum, where it is a view, not behind it, where it is a copy.
    sums = _reduce_sum(transpose(near, axes=(0, 3, 1, 2, 4)), axes=(4,))
    norm = add(multiply(sums, attrs.alpha / attrs.nsize), attrs.knorm)
    return multiply(data, power(norm, -attrs.beta))


def _lrn_oracle(
    data: np.ndarray, alpha: float, beta: float, knorm: float, nsize: int
) -> np.ndarray:
    out = np.empty_like(data)
    for c in range(data.shape[1]):
        near = data[:, max(0, c - nsize // 2) : c + nsize // 2 + 1]
        out[:, c] = data[:, c] * (knorm + alpha / nsize * (near**2).sum(axis=1)) ** -beta
    return out


lrn = composite(
    "LRN",
    _decompose_lrn,
    attrs=LRNAttrs,
    infer=_infer_lrn,
    numpy=_lrn_oracle,
    samples=[((2, 5, 2, 3), {"nsize": 3, "alpha": 0.1})],
    doc="""Local response normalization across channels (Krizhevsky et al. 2012):
`x / (knorm + alpha / nsize * sum of x^2 over nsize neighbouring channels)^beta`.

Parameters
----------
data : (batch, channels, height, width)
alpha, beta, knorm : as in the formula
nsize : how many channels are looked at, an odd number

Examples
--------
>>> nd.LRN(nd.ones((1, 1, 1, 1)), nsize=1, alpha=2, knorm=2, beta=0.5)
<BLANKLINE>
[[[[0.5]]]]
<NDArray 1x1x1x1 @cpu(0)>
""",
)
