"""Activations chosen by an attribute, and those that are more than one elementary function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import along
from tigon.ops.primitive.activation import (
    gelu,
    log_sigmoid,
    mish,
    relu,
    sigmoid,
    softrelu,
    softsign,
)
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.primitive.choose import where
from tigon.ops.primitive.compare import greater
from tigon.ops.primitive.functions import expm1, tanh
from tigon.ops.record import Operator, composite, same_type
from tigon.ops.tensor.random import random_uniform

# ------------------------------------------------------------------------- Activation

_ACTIVATIONS: dict[str, Operator] = {
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softrelu": softrelu,
    "softsign": softsign,
    "log_sigmoid": log_sigmoid,
    "mish": mish,
}


class ActivationAttrs(Frozen, kw_only=True):
    act_type: str


def _infer_activation(attrs: ActivationAttrs, data: TensorType) -> TensorType:
    known = ", ".join(_ACTIVATIONS)
    check(
        attrs.act_type in _ACTIVATIONS,
        "Activation",
        f"act_type: expected one of {known}; given '{attrs.act_type}'",
    )
    return same_type(data)


_NUMPY_ACTIVATIONS: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softrelu": lambda x: np.logaddexp(x, np.zeros_like(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -np.logaddexp(np.zeros_like(x), -x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, np.zeros_like(x))),
}

activation = composite(
    "Activation",
    lambda attrs, data: _ACTIVATIONS[attrs.act_type](data),
    attrs=ActivationAttrs,
    dtypes=lambda attrs: "fiu" if attrs.act_type == "relu" else "f",
    infer=_infer_activation,
    numpy=lambda data, act_type: _NUMPY_ACTIVATIONS[act_type](data),
    samples=[((2, 7), {"act_type": name}) for name in _ACTIVATIONS],
    doc="""An activation function, element by element.

Parameters
----------
data : any shape
act_type : 'relu' max(x, 0); 'sigmoid' 1 / (1 + exp(-x)); 'tanh'; 'softrelu' log(1 + exp(x));
    'softsign' x / (1 + |x|); 'log_sigmoid'; 'mish' x * tanh(softrelu(x))

Examples
--------
>>> nd.Activation(nd.array([-1, 0, 2]), act_type="relu")
<BLANKLINE>
[0. 0. 2.]
<NDArray 3 @cpu(0)>
""",
)

# -------------------------------------------------------------------------- LeakyReLU

# Klambauer et al. 2017, "Self-normalizing neural networks".
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


class LeakyReLUAttrs(Frozen, kw_only=True):
    act_type: str = "leaky"
    slope: float = 0.25
    lower_bound: float = 0.125
    upper_bound: float = 0.334
    training: bool | None = None
    ordinal: int = 0


_LEAKY = ("leaky", "prelu", "elu", "selu", "gelu", "rrelu")


def _gamma_axis(data: TensorType) -> int:
    return min(1, data.ndim - 1)


def _infer_leaky(
    attrs: LeakyReLUAttrs,
    data: TensorType,
    gamma: TensorType | None = None,
    key: TensorType | None = None,
) -> TensorType:
    name = "LeakyReLU"
    check(
        attrs.act_type in _LEAKY,
        name,
        f"act_type: expected one of {', '.join(_LEAKY)}; given '{attrs.act_type}'",
    )
    if attrs.act_type == "prelu":
        check(gamma is not None, name, "gamma is missing; act_type 'prelu' learns its slopes")
        assert gamma is not None
        channels = data.shape[_gamma_axis(data)] if data.ndim else 1
        check(
            gamma.shape in ((channels,), (1,)),
            name,
            f"gamma: expected shape ({channels},), one slope per channel, or (1,); "
            f"given {gamma.shape}",
        )
    if attrs.act_type == "rrelu":
        check(
            0 <= attrs.lower_bound <= attrs.upper_bound,
            name,
            f"expected 0 <= lower_bound <= upper_bound; given {attrs.lower_bound} and "
            f"{attrs.upper_bound}",
        )
    return same_type(data)


def _leak(data: Value, slope: Value | float) -> Value:
    return where(greater(data, 0.0), data, multiply(data, slope))


def _decompose_leaky(
    attrs: LeakyReLUAttrs, data: Value, gamma: Value | None = None, key: Value | None = None
) -> Value:
    kind = attrs.act_type
    if kind == "leaky":
        return _leak(data, attrs.slope)
    if kind == "prelu":
        assert gamma is not None
        return _leak(data, along(gamma, _gamma_axis(data.type), data.ndim))
    if kind == "gelu":
        return gelu(data)
    if kind == "rrelu":
        if not attrs.training:
            return _leak(data, (attrs.lower_bound + attrs.upper_bound) / 2)
        # Without a gamma, the key that the caller supplies is the second operand.
        random_key = key if key is not None else gamma
        if random_key is None:
            raise TigonError("LeakyReLU: 'rrelu' draws its slopes in training; its key is missing")
        slopes = random_uniform(
            random_key,
            low=attrs.lower_bound,
            high=attrs.upper_bound,
            shape=data.shape,
            dtype=data.dtype.name,
            ordinal=attrs.ordinal,
        )
        return _leak(data, slopes)
    # exp only sees numbers up to 0: what overflows on the other side would become 0 * inf when
    # it is differentiated.
    below = expm1(where(greater(data, 0.0), 0.0, data))
    if kind == "elu":
        return where(greater(data, 0.0), data, multiply(below, attrs.slope))
    positive = multiply(data, _SELU_SCALE)
    return where(greater(data, 0.0), positive, multiply(below, _SELU_SCALE * _SELU_ALPHA))


def _present_leaky(attrs: LeakyReLUAttrs) -> tuple[str, ...]:
    if attrs.act_type == "prelu":
        return ("data", "gamma")
    return ("data",)


def _leaky_operands(
    attrs: LeakyReLUAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data = types[0]
    if data is None or attrs.act_type != "prelu" or len(types) < 2 or types[1] is not None:
        return types
    channels = data.shape[_gamma_axis(data)] if data.ndim else 1
    return [data, TensorType((channels,), data.dtype), *types[2:]]


def _leaky_oracle(
    data: np.ndarray,
    gamma: np.ndarray | None = None,
    *,
    act_type: str,
    slope: float,
    lower_bound: float,
    upper_bound: float,
    training: bool | None,
    ordinal: int,
) -> np.ndarray:
    result = np.array(data)
    for index, x in np.ndenumerate(data):
        if act_type == "gelu":
            result[index] = 0.5 * x * math.erfc(-x / math.sqrt(2))
        elif act_type == "selu":
            result[index] = _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * math.expm1(x))
        elif x <= 0 and act_type == "elu":
            result[index] = slope * math.expm1(x)
        elif x <= 0 and act_type == "prelu":
            assert gamma is not None
            result[index] = x * (
                gamma[0] if gamma.size == 1 else gamma[index[min(1, data.ndim - 1)]]
            )
        elif x <= 0:
            result[index] = x * (slope if act_type == "leaky" else (lower_bound + upper_bound) / 2)
    return result


leaky_relu = composite(
    "LeakyReLU",
    _decompose_leaky,
    operands="data gamma? key?%",
    attrs=LeakyReLUAttrs,
    dtypes=lambda attrs: {"data gamma" if attrs.act_type == "prelu" else "data": "f"},
    infer=_infer_leaky,
    initial={"gamma": '["Constant", {"value": 0.25}]'},
    present=_present_leaky,
    numpy=_leaky_oracle,
    draws_if=lambda attrs: attrs.act_type == "rrelu" and attrs.training is True,
    infer_operands=_leaky_operands,
    samples=[
        ((2, 3), {}),
        ((2, 3, 4), (3,), {"act_type": "prelu"}),
        ((2, 3), (1,), {"act_type": "prelu"}),
        ((2, 3), {"act_type": "elu", "slope": 0.5}),
        ((2, 3), {"act_type": "selu"}),
        ((2, 3), {"act_type": "gelu"}),
        ((2, 3), {"act_type": "rrelu"}),
    ],
    doc="""Rectifiers that let something through below zero, element by element.

Parameters
----------
data : any shape
gamma : learned slopes for 'prelu', one per channel (axis 1) or a single one
act_type : 'leaky' `slope * x` below zero; 'prelu' the same with learned slopes; 'elu'
    `slope * (exp(x) - 1)`; 'selu' (Klambauer et al. 2017); 'gelu' `x * Phi(x)` (Hendrycks and
    Gimpel 2016), with the normal distribution's Phi; 'rrelu' slopes drawn uniformly in training
    (Xu et al. 2015), their mean in prediction
slope : for 'leaky' and 'elu'
lower_bound, upper_bound : for 'rrelu'

Examples
--------
>>> nd.LeakyReLU(nd.array([-2, 0, 3]), act_type="leaky", slope=0.1)
<BLANKLINE>
[-0.2  0.   3. ]
<NDArray 3 @cpu(0)>
""",
)
