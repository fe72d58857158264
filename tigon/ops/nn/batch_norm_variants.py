"""Batch normalization under other names: with an activation, and over several devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn.batch_norm import (
    STATISTICS,
    BatchNormAttrs,
    _batch_norm_operands,
    _batch_norm_oracle,
    _infer_batch_norm,
    batch_norm,
)
from tigon.ops.primitive.activation import relu
from tigon.ops.record import Operator, composite

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
many these are, is 1 so far. `key` tells layers apart and has no meaning on one. Other parameters
are those of `BatchNorm`.

Examples
--------
>>> x, one, zero = nd.array([[2, 4]]), nd.ones(2), nd.zeros(2)
>>> nd.contrib.SyncBatchNorm(x, one, zero, zero, one, eps=0, key="bn")
<BLANKLINE>
[[2. 4.]]
<NDArray 1x2 @cpu(0)>
""",
)
