"""A penalty on units that are active too often (Hinton 2010, "A practical guide to training
restricted Boltzmann machines", section 11)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import inverse_count
from tigon.ops.primitive.arithmetic import add, divide, multiply, subtract
from tigon.ops.primitive.choose import identity
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.record import composite

WHERE = "IdentityAttachKLSparseReg"


class SparsenessAttrs(Frozen):
    sparseness_target: float = 0.1
    penalty: float = 0.001
    momentum: float = 0.9
    training: bool | None = None


def _infer(
    attrs: SparsenessAttrs, data: TensorType, moving_avg: TensorType
) -> tuple[TensorType, TensorType]:
    check(
        data.ndim == 2,
        WHERE,
        f"data: expected shape (batch, units); given {data.shape}; flatten it",
    )
    check(
        moving_avg.shape == data.shape[1:],
        WHERE,
        f"moving_avg: expected shape {data.shape[1:]}, one number for each unit; given "
        f"{moving_avg.shape}",
    )
    check(
        0 < attrs.sparseness_target < 1,
        WHERE,
        f"sparseness_target: expected a probability between 0 and 1; given "
        f"{attrs.sparseness_target}",
    )
    check(
        0 <= attrs.momentum <= 1,
        WHERE,
        f"momentum: expected 0 to 1; given {attrs.momentum}",
    )
    return TensorType(data.shape, data.dtype), TensorType(moving_avg.shape, moving_avg.dtype)


def _decompose(attrs: SparsenessAttrs, data: Value, moving_avg: Value) -> tuple[Value, Value]:
    if not attrs.training or not data.shape[0]:
        return identity(data), identity(moving_avg)
    mean = multiply(_reduce_sum(data, axes=(0,)), inverse_count(data.shape[0]))
    kept = multiply(moving_avg, attrs.momentum)
    return identity(data), add(kept, multiply(mean, 1 - attrs.momentum))


def _grad(
    attrs: SparsenessAttrs, g: tuple[Any, ...], y: tuple[Any, ...], data: Value, moving_avg: Value
) -> tuple[Any, Any]:
    """Of the Kullback-Leibler divergence of the target from how active a unit is on average."""
    target = attrs.sparseness_target
    pull = add(divide(-target, y[1]), divide(1 - target, subtract(1, y[1])))
    return add(g[0], multiply(pull, attrs.penalty)), None


def _infer_operands(
    attrs: SparsenessAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data, moving_avg = types
    if data is None or data.ndim != 2:
        return types
    return [data, moving_avg or TensorType(data.shape[1:], data.dtype)]


def _oracle(
    data: np.ndarray, moving_avg: np.ndarray, momentum: float, training: bool | None, **_: Any
) -> tuple[np.ndarray, np.ndarray]:
    if not training or not len(data):
        return data.copy(), moving_avg.copy()
    return data.copy(), moving_avg * momentum + data.mean(0) * (1 - momentum)


_ACTIVE = np.array([0.3, 0.5, 0.8, 0.1], np.float32)

identity_attach_kl_sparse_reg = composite(
    "IdentityAttachKLSparseReg",
    _decompose,
    operands="data moving_avg!",
    attrs=SparsenessAttrs,
    dtypes="f",
    infer=_infer,
    infer_operands=_infer_operands,
    grad=_grad,
    check_gradient=False,  # by definition not the derivative of what it gives
    outputs=2,
    visible=1,
    mutates={1: "moving_avg"},
    initial={"moving_avg": '["zero", {}]'},
    numpy=_oracle,
    domain=(0.1, 0.9),
    samples=(
        ((3, 4), _ACTIVE, {"training": True}),
        ((3, 4), _ACTIVE, {"training": True, "momentum": 0.5, "sparseness_target": 0.2}),
        ((3, 4), _ACTIVE, {}),
        ((0, 4), _ACTIVE, {"training": True}),
    ),
    doc="""The data itself; to its gradient is added that of a penalty on units that are active more
    often, or more rarely, than wanted.

    Parameters: `data` (batch, units), each from 0 to 1, as a sigmoid gives them; `moving_avg`
    (units,), an auxiliary state: how active each unit is on average, which in training moves to the
    mean of the batch and keeps `momentum` (default 0.9) of itself; `sparseness_target` (default
    0.1) what it should be; `penalty` (default 0.001), the weight of the divergence.

    >>> x, average = nd.array([[0.2, 0.9]]), nd.zeros(2)
    >>> with mx.autograd.record():
    ...     y = nd.IdentityAttachKLSparseReg(x, average, momentum=0.5)
    >>> y.asnumpy(), average.asnumpy()
    (array([[0.2, 0.9]], dtype=float32), array([0.1 , 0.45], dtype=float32))
    """,
)
