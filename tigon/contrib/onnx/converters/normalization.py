"""Normalizations."""

from __future__ import annotations

from math import prod
from typing import Any

from tigon.contrib.onnx.build import axes_of, axis_of, cast, mean, number, op, reshape, where
from tigon.contrib.onnx.reading import dtype_of
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import VARIABLE, Value


def _per_channel(x: Value, ndim: int) -> Value:
    return reshape(x, (1, x.shape[0], *(1,) * (ndim - 2)))


@converts("BatchNormalization")
def batch_normalization(
    call: Any, x: Value, scale: Value, bias: Value, average: Value, variance: Value
) -> Any:
    """Statistics of the file are auxiliary states, which move where the block is trained."""
    call.check(call["spatial"] != 0, "spatial=0 is not read; convert the model to opset 9")
    eps, momentum = call["epsilon"], call["momentum"]
    if call["training_mode"] or call.wants(1):
        return _of_the_batch(call, x, scale, bias, average, variance)
    stays = all(v.node.op is VARIABLE for v in (average, variance)) and average is not variance
    parameters = call.reader.parameters
    stays = stays and all(v.node.name in parameters for v in (average, variance))
    if stays and {v.dtype for v in (scale, bias)} == {x.dtype} and x.ndim >= 2:
        return op.BatchNorm(
            x, scale, bias, average, variance, eps=eps, momentum=momentum, fix_gamma=False
        )[0]
    return _standardized(x, scale, bias, average, variance, eps)


def _standardized(
    x: Value, scale: Value, bias: Value, average: Value, variance: Value, eps: float
) -> Value:
    dtype = x.dtype.name
    wide = variance.dtype.name if x.dtype.is_narrow else dtype
    ndim = x.ndim
    scale, bias, average, variance = (
        _per_channel(cast(v, wide), ndim) for v in (scale, bias, average, variance)
    )
    factor = scale * op.rsqrt(variance + eps)
    return cast((cast(x, wide) - average) * factor + bias, dtype)


def _of_the_batch(
    call: Any, x: Value, scale: Value, bias: Value, average: Value, variance: Value
) -> Any:
    call.check(call.since >= 14, "training results before opset 14 are not read")
    axes = (0, *range(2, x.ndim))
    own = mean(x, axes, keepdims=False)
    spread = x - _per_channel(own, x.ndim)
    own_variance = mean(spread * spread, axes, keepdims=False)
    momentum = call["momentum"]
    return (
        _standardized(x, scale, bias, own, own_variance, call["epsilon"]),
        average * momentum + cast(own, average.dtype.name) * (1 - momentum),
        variance * momentum + cast(own_variance, variance.dtype.name) * (1 - momentum),
    )


@converts("InstanceNormalization")
def instance_normalization(call: Any, x: Value, scale: Value, bias: Value) -> Value:
    return op.InstanceNorm(x, scale, bias, eps=call["epsilon"])


def _stashed(call: Any, x: Value) -> Value:
    """In the dtype that the node computes in."""
    return cast(x, dtype_of(call["stash_type"] or 1, call.op).name)


@converts("LayerNormalization")
def layer_normalization(call: Any, x: Value, scale: Value, bias: Value | None = None) -> Any:
    axes = tuple(range(axis_of(call["axis"], x.ndim), x.ndim))
    eps = call["epsilon"]
    wants = call.wants(1) or call.wants(2)
    simple = axes == (x.ndim - 1,) and scale.ndim == 1 and bias is not None and bias.ndim == 1
    if simple and not wants and scale.shape == bias.shape == x.shape[-1:] and not x.dtype.is_narrow:
        return op.LayerNorm(x, scale, bias, axis=-1, eps=eps)
    wide = _stashed(call, x)
    result = cast(op._standardize(wide, axes=axes, eps=eps), x.dtype.name)
    result = op.broadcast_mul(result, scale)
    result = result if bias is None else op.broadcast_add(result, bias)
    if not wants:
        return result
    average = mean(wide, axes)
    centred = wide - average
    return result, average, op.rsqrt(mean(centred * centred, axes) + eps)


@converts("RMSNormalization")
def rms_normalization(call: Any, x: Value, scale: Value) -> Value:
    axes = tuple(range(axis_of(call["axis"], x.ndim), x.ndim))
    wide = _stashed(call, x)
    scaled = wide * op.rsqrt(mean(wide * wide, axes) + call["epsilon"])
    return op.broadcast_mul(cast(scaled, x.dtype.name), scale)


@converts("GroupNormalization")
def group_normalization(call: Any, x: Value, scale: Value, bias: Value) -> Value:
    """Scale and bias belong to groups in opset 18, to channels from 21 on."""
    groups, channels = call["num_groups"], x.shape[1]
    call.check(
        groups > 0 and channels % groups == 0,
        f"num_groups: {channels} channels are no {groups} groups",
    )
    wide = _stashed(call, x) if call.since >= 21 else x
    inner = prod(x.shape[2:]) * (channels // groups)
    cells = op._standardize(
        reshape(wide, (x.shape[0], groups, inner)), axes=(2,), eps=call["epsilon"]
    )
    if call.since < 21:
        cells = op.broadcast_add(
            op.broadcast_mul(cells, reshape(scale, (1, groups, 1))), reshape(bias, (1, groups, 1))
        )
        return reshape(cells, x.shape)
    result = cast(reshape(cells, x.shape), x.dtype.name)
    return op.broadcast_add(
        op.broadcast_mul(result, _per_channel(scale, x.ndim)), _per_channel(bias, x.ndim)
    )


@converts("LpNormalization")
def lp_normalization(call: Any, x: Value) -> Value:
    axis, p = axis_of(call["axis"], x.ndim), call["p"]
    call.check(p in (1, 2), f"p: expected 1 or 2; given {p}")
    size = op.abs(x) if p == 1 else x * x
    norm = op.sum(size, axis=(axis,), keepdims=True)
    norm = norm if p == 1 else op.sqrt(norm)
    zero = op.broadcast_equal(norm, number(0, norm))
    return op.broadcast_div(x, where(zero, number(1, norm), norm))


@converts("MeanVarianceNormalization")
def mean_variance_normalization(call: Any, x: Value) -> Value:
    axes = axes_of(call["axes"] or (0, 2, 3), x.ndim)
    centred = x - mean(x, axes)
    return centred / (op.sqrt(mean(centred * centred, axes)) + 1e-9)
