"""Dropout: random zeros in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, check
from tigon.base.frozen import Frozen
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import normal_axis
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.primitive.choose import identity, where
from tigon.ops.primitive.compare import lesser
from tigon.ops.primitive.random import _random_bits
from tigon.ops.record import composite, same_type


class DropoutAttrs(Frozen, kw_only=True):
    p: float = 0.5
    mode: str = "training"
    axes: tuple[int, ...] = ()
    cudnn_off: bool = False
    training: bool | None = None
    ordinal: int = 0


def _is_active(attrs: DropoutAttrs) -> bool:
    return attrs.p > 0.0 and (attrs.training is True or attrs.mode == "always")


def _mask_shape(attrs: DropoutAttrs, shape: Shape) -> Shape:
    """One draw per element, shared along `axes`."""
    shared = {axis % len(shape) for axis in attrs.axes}
    return tuple(1 if axis in shared else extent for axis, extent in enumerate(shape))


def _infer(attrs: DropoutAttrs, data: TensorType, key: TensorType | None = None) -> TensorType:
    name = "Dropout"
    check(0.0 <= attrs.p <= 1.0, name, f"p: expected a probability; given {attrs.p}")
    check(
        attrs.mode in ("training", "always"),
        name,
        f"mode: expected 'training' or 'always'; given '{attrs.mode}'",
    )
    for axis in attrs.axes:
        normal_axis(name, axis, data.ndim)
    return same_type(data)


def _decompose(attrs: DropoutAttrs, data: Value, key: Value | None = None) -> Value:
    if not _is_active(attrs):
        return identity(data)
    if key is None:
        raise TigonError("Dropout: draws at random under these attributes; its key is missing")
    kept = 1.0 - attrs.p
    threshold = min(round(kept * 2**32), 2**32 - 1)
    bits = _random_bits(key, shape=_mask_shape(attrs, data.shape), ordinal=attrs.ordinal)
    scaled = multiply(data, 1.0 / kept if kept else 0.0)
    return where(lesser(bits, threshold), scaled, 0.0)


def _grad(attrs: DropoutAttrs, g: Value, y: Value, data: Value, *key: Value) -> tuple[Any, ...]:
    # Linear in data and its own adjoint; the key repeats the mask.
    return (dropout(g, *key, **attrs_dict(attrs)), *(None for _ in key))


def _oracle(data: np.ndarray, key: np.ndarray | None = None, **fields: Any) -> np.ndarray:
    attrs = DropoutAttrs(**fields)
    if not _is_active(attrs):
        return data
    from tigon.ops.primitive.random import _random_bits as bits_op

    assert key is not None and bits_op.numpy is not None
    shape = _mask_shape(attrs, data.shape)
    bits = bits_op.oracle(bits_op.make_attrs({"shape": shape, "ordinal": attrs.ordinal}), key)[0]
    scale = 1 / (1 - attrs.p) if attrs.p < 1 else 0.0
    return np.where(bits < (1 - attrs.p) * 2**32, data * scale, 0).astype(data.dtype)


_KEY = np.array([7, 3], np.int64)

dropout = composite(
    "Dropout",
    _decompose,
    operands="data key?%",
    attrs=DropoutAttrs,
    dtypes="f",
    draws_if=_is_active,
    infer=_infer,
    grad=_grad,
    numpy=_oracle,
    samples=[
        ((3, 5), {}),
        ((3, 5), _KEY, {"training": True}),
        ((3, 5), _KEY, {"p": 0.25, "mode": "always", "ordinal": 4}),
        ((4, 3, 5), _KEY, {"training": True, "axes": (1,)}),
        ((3, 5), _KEY, {"training": True, "p": 1.0}),
    ],
    doc="""Sets elements to zero at random and scales the others by `1 / (1 - p)`, so that the mean
stays (Srivastava et al. 2014). In prediction, data passes through.

Parameters
----------
data : any shape
p : the probability of zero
mode : 'training' only in training, 'always' in prediction too
axes : axes along which one draw is shared (variational dropout)
cudnn_off : accepted for old programs and without meaning here

Examples
--------
>>> nd.Dropout(nd.array([1, 2, 3]))
<BLANKLINE>
[1. 2. 3.]
<NDArray 3 @cpu(0)>
""",
)
