"""Normalization within a sample: layer, instance, group, and across channels."""

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
    keep_mean,
    normal_axis,
    vector_of,
    windows,
)
from tigon.ops.nn.standardize import standardize
from tigon.ops.primitive.arithmetic import add, divide, multiply, square, subtract
from tigon.ops.primitive.functions import power, sqrt
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape, transpose
from tigon.ops.record import composite, same_type

# --------------------------------------------------------------------------- LayerNorm


class LayerNormAttrs(Frozen, kw_only=True):
    axis: int = -1
    eps: float = 1e-5
    output_mean_var: bool = False


def _infer_layer_norm(
    attrs: LayerNormAttrs, data: TensorType, gamma: TensorType, beta: TensorType
) -> tuple[TensorType, ...]:
    name = "LayerNorm"
    axis = normal_axis(name, attrs.axis, data.ndim)
    for operand, given in (("gamma", gamma), ("beta", beta)):
        vector_of(
            name,
            operand,
            given,
            data.shape[axis],
            f"the extent of axis {axis} of data, whose shape is {data.shape}",
        )
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
    dtypes="f",
    infer=_infer_layer_norm,
    outputs=lambda attrs: 3 if attrs.output_mean_var else 1,
    results=("output", "mean", "std"),
    numpy=_layer_norm_oracle,
    infer_operands=_channel_operands(lambda attrs: attrs.axis),
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
    check(
        data.ndim >= 3,
        name,
        f"data: expected (batch, channels, *spatial), at least 3 axes; given {data.shape}",
    )
    for operand, given in (("gamma", gamma), ("beta", beta)):
        vector_of(name, operand, given, data.shape[1], "one per channel (axis 1 of data)")
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
    dtypes="f",
    infer=_infer_instance_norm,
    numpy=_instance_norm_oracle,
    infer_operands=_channel_operands(lambda attrs: 1),
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
    dtypes="f",
    infer=_infer_group_norm,
    outputs=lambda attrs: 3 if attrs.output_mean_var else 1,
    results=("output", "mean", "std"),
    numpy=_group_norm_oracle,
    infer_operands=_group_norm_operands,
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
    dtypes="f",
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
