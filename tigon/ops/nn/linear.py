"""FullyConnected: a matrix product with a bias, the layer of every perceptron."""

from __future__ import annotations

from math import prod

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.primitive.arithmetic import add
from tigon.ops.primitive.contract import _contract
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, composite


class FullyConnectedAttrs(Frozen, kw_only=True):
    num_hidden: int
    no_bias: bool = False
    flatten: bool = True


def _features(attrs: FullyConnectedAttrs, data: TensorType) -> int:
    return prod(data.shape[1:]) if attrs.flatten else data.shape[-1]


def _infer(
    attrs: FullyConnectedAttrs,
    data: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
) -> TensorType:
    where = "FullyConnected"
    check(attrs.num_hidden > 0, where, f"num_hidden: expected at least 1; given {attrs.num_hidden}")
    check(data.ndim > 0, where, "data: expected at least one axis; given a scalar; reshape it")
    check(
        (bias is None) == attrs.no_bias,
        where,
        "a bias was given although no_bias is True; leave one of them out"
        if attrs.no_bias
        else "bias is missing; give it, or set no_bias=True",
    )
    features = _features(attrs, data)
    expected = (attrs.num_hidden, features)
    columns = weight.shape[1] if weight.ndim == 2 else None
    if columns is not None and columns != features:
        check(
            False,
            where,
            f"weight has {columns} columns but data gives {features} features: expected weight of "
            f"shape {expected}; given {weight.shape}; data has shape {data.shape}, "
            f"flatten is {attrs.flatten}",
        )
    check(
        weight.shape == expected,
        where,
        f"weight: expected shape {expected}, (num_hidden, features); given {weight.shape}",
    )
    if bias is not None:
        check(
            bias.shape == (attrs.num_hidden,),
            where,
            f"bias: expected shape ({attrs.num_hidden},), one per hidden unit; given {bias.shape}",
        )
    head = data.shape[:1] if attrs.flatten else data.shape[:-1]
    return TensorType((*head, attrs.num_hidden), data.dtype)


def _infer_operands(
    attrs: FullyConnectedAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data, *_ = types
    if data is None or data.ndim == 0:
        return types
    weight = TensorType((attrs.num_hidden, _features(attrs, data)), data.dtype)
    bias = TensorType((attrs.num_hidden,), data.dtype)
    filled = zip(types, (data, weight, bias), strict=False)
    return [given or expected for given, expected in filled]


def _decompose(
    attrs: FullyConnectedAttrs, data: Value, weight: Value, bias: Value | None = None
) -> Value:
    if attrs.flatten and data.ndim != 2:
        data = _reshape(data, shape=(data.shape[0], prod(data.shape[1:])))
    rows = "abcdefghij"[: data.ndim - 1]
    y = _contract(data, weight, left=rows + "k", right="nk", out=rows + "n")
    return y if bias is None else add(y, bias)


def _oracle(
    data: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    num_hidden: int,
    no_bias: bool,
    flatten: bool,
) -> np.ndarray:
    rows = data.reshape(data.shape[0], prod(data.shape[1:])) if flatten else data
    y = rows @ weight.T
    return y if no_bias else y + bias


fully_connected = composite(
    "FullyConnected",
    _decompose,
    operands="data weight bias?",
    attrs=FullyConnectedAttrs,
    dtypes="fiu",
    infer=_infer,
    present=lambda attrs: ("data", "weight") if attrs.no_bias else ("data", "weight", "bias"),
    work=Work.PRODUCT,
    numpy=_oracle,
    infer_operands=_infer_operands,
    samples=[
        ((3, 5), (4, 5), (4,), {"num_hidden": 4}),
        ((2, 3, 2), (4, 6), {"num_hidden": 4, "no_bias": True}),
        ((2, 3, 5), (4, 5), (4,), {"num_hidden": 4, "flatten": False}),
        ((0, 5), (4, 5), (4,), {"num_hidden": 4}),
    ],
    doc="""A linear layer: `data . weight^T + bias`.

Parameters
----------
data : rows of features. With `flatten`, all axes but the first are features; without it, the
    last axis is, and the others stay as they are.
weight : shape (num_hidden, features)
bias : shape (num_hidden,); absent under `no_bias`
num_hidden : number of results per row
no_bias : leave the bias out
flatten : whether the axes of `data` after the first are taken as one

Examples
--------
>>> x = nd.array([[1, 2], [3, 4]])
>>> nd.FullyConnected(x, nd.array([[1, 0], [0, 1], [1, 1]]), nd.zeros(3), num_hidden=3)
<BLANKLINE>
[[1. 2. 3.]
 [3. 4. 7.]]
<NDArray 2x3 @cpu(0)>
""",
)
