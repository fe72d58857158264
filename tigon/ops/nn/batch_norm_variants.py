"""Batch normalization under other names: with an activation, and over several devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import along, normal_axis, vector_of
from tigon.ops.nn.batch_norm import (
    STATISTICS,
    BatchNormAttrs,
    _batch_norm_operands,
    _batch_norm_oracle,
    _infer_batch_norm,
    batch_norm,
)
from tigon.ops.primitive.activation import relu
from tigon.ops.primitive.arithmetic import add, multiply, subtract
from tigon.ops.primitive.functions import rsqrt
from tigon.ops.record import Operator, composite, same_type

_VECTORS = ((3,), (3,), (3,), np.array([0.5, 1.0, 2.0]))


def _variant(name: str, attrs: type, **record: Any) -> Operator:
    """A record with the operands, results and states of `BatchNorm`."""
    return composite(
        name,
        operands="data gamma beta moving_mean! moving_var!",
        attrs=attrs,
        dtypes="f",
        statistics=STATISTICS,
        outputs=5,
        visible=lambda attrs: 3 if attrs.output_mean_var else 1,
        results=("output", "mean", "var"),
        mutates=batch_norm.mutates,
        initial=batch_norm.initial,
        **record,
    )


def _with_relu(attrs: BatchNormAttrs, *operands: Value) -> tuple[Value, ...]:
    out, *rest = batch_norm(*operands, **attrs_dict(attrs))
    return (relu(out), *rest)


def _with_relu_oracle(*arrays: np.ndarray, **fields: Any) -> tuple[np.ndarray, ...]:
    out, *rest = _batch_norm_oracle(*arrays, **fields)
    return (np.maximum(out, 0), *rest)


batch_norm_with_relu = _variant(
    "_contrib_BatchNormWithReLU",
    BatchNormAttrs,
    decompose=_with_relu,
    infer=_infer_batch_norm,
    infer_operands=_batch_norm_operands,
    numpy=_with_relu_oracle,
    samples=[
        ((4, 3), *_VECTORS, {"training": True, "fix_gamma": False}),
        ((2, 3, 4), *_VECTORS, {"fix_gamma": False}),
        ((2, 4, 3), *_VECTORS, {"training": True, "axis": -1}),
    ],
    doc="""`BatchNorm`, then `relu`: negative results are 0. Parameters are those of `BatchNorm`.

Examples
--------
>>> x, one, zero = nd.array([[2, -4]]), nd.ones(2), nd.zeros(2)
>>> nd.contrib.BatchNormWithReLU(x, one, zero, zero, one, eps=0)
<BLANKLINE>
[[2. 0.]]
<NDArray 1x2 @cpu(0)>
""",
)


class SyncBatchNormAttrs(BatchNormAttrs, kw_only=True):
    ndev: int = 1
    key: str = ""


def _plain(attrs: SyncBatchNormAttrs) -> dict[str, Any]:
    fields = attrs_dict(attrs)
    del fields["ndev"], fields["key"]
    return fields


def _infer_sync(attrs: SyncBatchNormAttrs, *types: TensorType) -> tuple[TensorType, ...]:
    check(
        attrs.ndev == 1,
        "SyncBatchNorm",
        f"ndev: expected 1; given {attrs.ndev}; statistics of several devices are not summed: give "
        "each batch to one device, or use BatchNorm",
    )
    return _infer_batch_norm(attrs, *types)


def _sync_oracle(*arrays: np.ndarray, ndev: int, key: str, **fields: Any) -> tuple[np.ndarray, ...]:
    return _batch_norm_oracle(*arrays, **fields)


sync_batch_norm = _variant(
    "_contrib_SyncBatchNorm",
    SyncBatchNormAttrs,
    decompose=lambda attrs, *operands: batch_norm(*operands, **_plain(attrs)),
    infer=_infer_sync,
    infer_operands=_batch_norm_operands,
    numpy=_sync_oracle,
    samples=[
        ((4, 3), *_VECTORS, {"training": True, "fix_gamma": False, "key": "bn"}),
        ((2, 3, 4), *_VECTORS, {}),
    ],
    doc="""`BatchNorm` whose statistics are those of all devices that work on a batch; `ndev`, how
many these are, is 1 so far: over ranks it is the layer `gluon.contrib.nn.SyncBatchNorm`. `key`
tells layers apart and has no meaning on one. Other parameters are those of `BatchNorm`.

Examples
--------
>>> x, one, zero = nd.array([[2, 4]]), nd.ones(2), nd.zeros(2)
>>> nd.contrib.SyncBatchNorm(x, one, zero, zero, one, eps=0, key="bn")
<BLANKLINE>
[[2. 4.]]
<NDArray 1x2 @cpu(0)>
""",
)


_VECTORS_OF_CHANNELS = ("gamma", "beta", "mean", "var", "moving_mean", "moving_var")


class NormalizeByAttrs(Frozen, kw_only=True):
    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True


def _normalize_by(
    attrs: NormalizeByAttrs,
    data: Value,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    moving_mean: Value,
    moving_var: Value,
) -> tuple[Value, Value, Value]:
    ndim, axis = data.ndim, 1
    inverse = rsqrt(add(variance, attrs.eps))
    scale = inverse if attrs.fix_gamma else multiply(inverse, gamma)
    centred = subtract(data, along(mean, axis, ndim))
    out = add(multiply(centred, along(scale, axis, ndim)), along(beta, axis, ndim))
    kept, added = attrs.momentum, 1.0 - attrs.momentum
    return (
        out,
        add(multiply(moving_mean, kept), multiply(mean, added)),
        add(multiply(moving_var, kept), multiply(variance, added)),
    )


def _infer_normalize_by(
    attrs: NormalizeByAttrs, data: TensorType, *vectors: TensorType
) -> tuple[TensorType, ...]:
    axis = normal_axis("_normalize_by", 1, data.ndim)
    for operand, given in zip(_VECTORS_OF_CHANNELS, vectors, strict=True):
        meaning = f"one per channel: axis {axis} of data, whose shape is {data.shape}"
        vector_of("_normalize_by", operand, given, data.shape[axis], meaning)
    return same_type(data), *map(same_type, vectors[-2:])


def _normalize_by_oracle(
    data: np.ndarray,
    *vectors: np.ndarray,
    eps: float,
    momentum: float,
    fix_gamma: bool,
) -> tuple[np.ndarray, ...]:
    shape = (1, -1) + (1,) * (data.ndim - 2)
    gamma, beta, mean, variance, moving_mean, moving_var = vectors
    scale = (1.0 if fix_gamma else gamma) / np.sqrt(variance + eps)
    out = (data - mean.reshape(shape)) * np.reshape(scale, shape) + beta.reshape(shape)
    moved = [
        old * momentum + new * (1 - momentum)
        for old, new in ((moving_mean, mean), (moving_var, variance))
    ]
    return (out.astype(data.dtype), *moved)


normalize_by = composite(
    "_normalize_by",
    _normalize_by,
    operands="data gamma beta mean var moving_mean! moving_var!",
    attrs=NormalizeByAttrs,
    dtypes="f",
    statistics=_VECTORS_OF_CHANNELS,
    initial={"moving_mean": '["zero", {}]', "moving_var": '["one", {}]'},
    infer=_infer_normalize_by,
    outputs=3,
    visible=1,
    mutates={1: "moving_mean", 2: "moving_var"},
    numpy=_normalize_by_oracle,
    samples=[
        ((4, 3), *_VECTORS, (3,), (3,), {"fix_gamma": False}),
        ((2, 3, 4), *_VECTORS, (3,), (3,), {"momentum": 0.5}),
    ],
    doc="""What `BatchNorm` does in training, with mean and variance of channels that were computed
before, of all ranks say. The moving ones advance.

Examples
--------
>>> x, one, zero = nd.array([[2, 4]]), nd.ones(2), nd.zeros(2)
>>> nd._normalize_by(x, one, zero, one, one, zero, one, eps=0)
<BLANKLINE>
[[1. 3.]]
<NDArray 1x2 @cpu(0)>
""",
)
