"""Operators that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.extents import is_negative
from tigon.contrib.onnx.build import (
    as_bool,
    as_matrix,
    axis_of,
    cast,
    compare,
    number,
    op,
    reshape,
    where,
)
from tigon.contrib.onnx.operand import Operand
from tigon.contrib.onnx.reading import dtype_of, narrow_limits, type_name
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant
from tigon.ops import get

# ------------------------------------------------------------------------------ one operand

_SAME = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Asin": "arcsin", "Asinh": "arcsinh",
    "Atan": "arctan", "Atanh": "arctanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh",
    "Erf": "erf", "Exp": "exp", "Floor": "floor", "Log": "log", "Mish": "mish", "Neg": "negative",
    "Reciprocal": "reciprocal", "Relu": "relu", "Round": "_round_even", "Sigmoid": "sigmoid",
    "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Softplus": "_softrelu", "Softsign": "softsign",
    "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip
"""Operators that are one of ours."""

_FOLDS: dict[str, Callable[..., Any]] = {
    "Abs": abs, "Neg": np.negative, "Ceil": np.ceil, "Floor": np.floor, "Sqrt": np.sqrt,
}  # fmt: skip


def _declare_same(name: str, own: str) -> None:
    rule = _FOLDS.get(name)

    def fold(_call: Any, x: np.ndarray) -> np.ndarray:
        assert rule is not None
        return np.asarray(rule(x)).astype(x.dtype)

    @converts(name, fold=fold if rule else None)
    def convert(_call: Any, x: Value) -> Value:
        return get(own)(x)


for _name, _own in _SAME.items():
    _declare_same(_name, _own)


@converts("Identity", fold=lambda call, x: x)
def identity(_call: Any, x: Value) -> Value:
    return op.identity(x)


@converts("OptionalHasElement")
def optional_has_element(_call: Any, x: Value | None = None) -> Value:
    """Of arrays alone: one that is there, or an input that is left out."""
    return constant(np.array(x is not None), "bool")


@converts("OptionalGetElement", fold=lambda call, x: x)
def optional_get_element(_call: Any, x: Value) -> Value:
    return op.identity(x)


@converts("Not", fold=lambda call, x: ~x.astype(bool))
def logical_not(_call: Any, x: Value) -> Value:
    return op.logical_not(x)


@converts("IsNaN")
def isnan(_call: Any, x: Value) -> Value:
    return as_bool(op._contrib_isnan(x))


@converts("IsInf")
def isinf(call: Any, x: Value) -> Value:
    found = as_bool(op._contrib_isinf(x))
    if not call["detect_positive"]:
        found = op.broadcast_logical_and(found, compare("lesser", x, number(0, x)))
    if not call["detect_negative"]:
        found = op.broadcast_logical_and(found, compare("greater", x, number(0, x)))
    return found


@converts("Elu")
def elu(call: Any, x: Value) -> Value:
    return op.LeakyReLU(x, act_type="elu", slope=call["alpha"])


@converts("Celu")
def celu(call: Any, x: Value) -> Value:
    alpha = call["alpha"]
    low = op.expm1(op.broadcast_minimum(x, number(0, x)) / alpha) * alpha
    return op.relu(x) + low


@converts("Selu")
def selu(call: Any, x: Value) -> Value:
    low = op.expm1(op.broadcast_minimum(x, number(0, x))) * (call["alpha"] * call["gamma"])
    return op.relu(x) * call["gamma"] + low


@converts("LeakyRelu")
def leaky_relu(call: Any, x: Value) -> Value:
    return op.LeakyReLU(x, act_type="leaky", slope=call["alpha"])


@converts("PRelu")
def prelu(_call: Any, x: Value, slope: Value) -> Value:
    return where(compare("lesser", x, number(0, x)), op.broadcast_mul(x, slope), x)


@converts("ThresholdedRelu")
def thresholded_relu(call: Any, x: Value) -> Value:
    return where(compare("greater", x, number(call["alpha"], x)), x, number(0, x))


@converts("HardSigmoid")
def hard_sigmoid(call: Any, x: Value) -> Value:
    return op.hard_sigmoid(x, alpha=call["alpha"], beta=call["beta"])


@converts("HardSwish")
def hard_swish(_call: Any, x: Value) -> Value:
    return x * op.hard_sigmoid(x, alpha=1 / 6, beta=0.5)


@converts("Swish")
def swish(call: Any, x: Value) -> Value:
    return x * op.sigmoid(x * call["alpha"])


@converts("Gelu")
def gelu(call: Any, x: Value) -> Value:
    if call["approximate"] != "tanh":
        return op._gelu(x)
    inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
    return x * (op.tanh(inner) + 1) * 0.5


@converts("Shrink")
def shrink(call: Any, x: Value) -> Value:
    bias, limit = call["bias"], call["lambd"]
    zero = number(0, x)
    low = where(compare("lesser", x, number(-limit, x)), x + number(bias, x), zero)
    return where(compare("greater", x, number(limit, x)), x - number(bias, x), low)


@converts("Clip", fold=lambda call, x, low=None, high=None: _clipped(call, x, low, high))
def clip(call: Any, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    if call.since < 11:
        return op.clip(x, a_min=call["min"], a_max=call["max"])
    if low is not None:
        x = op.broadcast_maximum(x, reshape(low, ()))
    return x if high is None else op.broadcast_minimum(x, reshape(high, ()))


def _clipped(call: Any, x: np.ndarray, low: Any, high: Any) -> np.ndarray | None:
    if x.dtype == object or call.since < 11:
        return None
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


@converts("Dropout")
def dropout(call: Any, x: Value, ratio: Value | None = None, training: Value | None = None) -> Any:
    """Drops where the block trains; a model that says that it trains always does so."""
    rate = call["ratio"]
    if call.since >= 12:
        rate = 0.5 if ratio is None else float(call.constant_of(1))
    always = training is not None and bool(call.constant_of(2))
    if rate == 0 or not call.wants(1):
        dropped = op.Dropout(x, p=rate, mode="always" if always else "training")
        mask = op.ones_like(x)
    elif not always:
        dropped, mask = op.identity(x), op.ones_like(x)
    else:
        mask = op.Dropout(op.ones_like(x), p=rate, mode="always")
        dropped = x * mask
    return dropped, as_bool(mask) if call.since >= 10 else mask


# ----------------------------------------------------------------------------- conversions


def _cast_to(call: Any, x: Value, code: int) -> Any:
    limits = narrow_limits(code)
    dtype = dtype_of(code, call.op).name
    if limits is None:
        return cast(x, dtype)
    bits = int(type_name(code)[-1])
    wrapped = op.broadcast_mod(cast(x, "int32"), number(2**bits, cast(x, "int32")))
    if limits[0] < 0:
        high = compare("greater", wrapped, number(limits[1], wrapped))
        wrapped = where(high, wrapped - 2**bits, wrapped)
    value = cast(wrapped, dtype)
    return Operand(value.type, value, narrow=code)


def _folded_cast(call: Any, x: np.ndarray) -> np.ndarray | None:
    code = call["to"]
    dtype = dtype_of(code, call.op)
    if narrow_limits(code) is not None or dtype.is_narrow or x.dtype == object:
        return None
    return x.astype(dtype.numpy)


@converts("Cast", shapes=(0,), fold=_folded_cast)
def cast_(call: Any, x: Operand) -> Any:
    code, known = call["to"], x.known
    if known is None or known.dtype != object or code not in _OF_EXTENTS:
        return _cast_to(call, x.value, code)
    dtype = dtype_of(code, call.op)
    return Operand.of_known(known, lambda: cast(x.value, dtype.name), dtype)


_OF_EXTENTS = (6, 7)
"""The element types in which extents stay known: int32 and int64."""


@converts("BitCast")
def bit_cast(call: Any, x: Value) -> Value:
    """Of whole numbers, which wrap."""
    dtype = dtype_of(call["to"], call.op)
    whole = all(each.kind in "iub" for each in (x.dtype, dtype))
    call.check(
        x.dtype.numpy.itemsize == dtype.numpy.itemsize and (whole or x.dtype is dtype),
        f"expected whole numbers of one size; given {x.dtype} to {dtype}",
    )
    return cast(x, dtype.name)


@converts("CastLike")
def cast_like(call: Any, x: Value, like: Value) -> Any:
    target = call.operands[1]
    return _cast_to(call, x, target.narrow) if target.narrow else cast(x, like.dtype.name)


# ----------------------------------------------------------------------------- two operands


def _quotient(_call: Any, x: np.ndarray, y: np.ndarray) -> Any:
    if x.dtype.kind == "f":
        return np.divide(x, y)
    if object in (x.dtype, y.dtype):
        return _quotient_of_extents(x, y)
    if np.any(y == 0):
        return None
    return (np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))).astype(x.dtype)


def _rounded_to_zero(x: Any, y: Any) -> Any:
    return -(-x // y) if is_negative(x) != is_negative(y) else x // y


_quotient_of_extents = np.frompyfunc(_rounded_to_zero, 2, 1)

_BINARY = {
    "Add": ("broadcast_add", lambda call, x, y: x + y),
    "Sub": ("broadcast_sub", lambda call, x, y: x - y),
    "Mul": ("broadcast_mul", lambda call, x, y: x * y),
    "Div": ("broadcast_div", _quotient),
}
_COMPARISONS = {
    "Equal": ("equal", np.equal),
    "Greater": ("greater", np.greater),
    "GreaterOrEqual": ("greater_equal", np.greater_equal),
    "Less": ("lesser", np.less),
    "LessOrEqual": ("lesser_equal", np.less_equal),
    "And": ("logical_and", np.logical_and),
    "Or": ("logical_or", np.logical_or),
    "Xor": ("logical_xor", np.logical_xor),
}


def _declare_binary(name: str, own: str, fold: Callable[..., Any]) -> None:
    @converts(name, fold=fold)
    def convert(_call: Any, x: Value, y: Value) -> Value:
        return get(own)(x, y)


def _declare_comparison(name: str, own: str, rule: Callable[..., Any]) -> None:
    def fold(_call: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray(rule(x, y)).astype(bool)

    @converts(name, fold=fold)
    def convert(_call: Any, x: Value, y: Value) -> Value:
        return compare(own, x, y)


for _name, (_own, _fold) in _BINARY.items():
    _declare_binary(_name, _own, _fold)
for _name, (_own, _rule) in _COMPARISONS.items():
    _declare_comparison(_name, _own, _rule)

_BITS = {"BitwiseAnd": "_bitwise_and", "BitwiseOr": "_bitwise_or", "BitwiseXor": "_bitwise_xor"}


def _declare_bits(name: str, own: str) -> None:
    @converts(name)
    def convert(_call: Any, x: Value, y: Value) -> Value:
        return get(own)(x, y)


for _name, _own in _BITS.items():
    _declare_bits(_name, _own)


@converts("BitwiseNot")
def bitwise_not(_call: Any, x: Value) -> Value:
    ones = 2 ** (8 * x.dtype.numpy.itemsize) - 1 if x.dtype.kind == "u" else -1
    return op._bitwise_xor(x, number(ones, x))


@converts("BitShift")
def bit_shift(call: Any, x: Value, y: Value) -> Value:
    left = call["direction"] == "LEFT"
    call.check(left or call["direction"] == "RIGHT", "direction: expected LEFT or RIGHT")
    return op._left_shift(x, y) if left else op._right_shift(x, y)


@converts("Pow")
def power(_call: Any, x: Value, y: Value) -> Value:
    if x.dtype is y.dtype:
        return op.broadcast_power(x, y)
    if x.dtype.is_float or not y.dtype.is_float:
        return op.broadcast_power(x, cast(y, x.dtype.name))
    return cast(op.broadcast_power(cast(x, y.dtype.name), y), x.dtype.name)


def _folded_mod(call: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    if object in (x.dtype, y.dtype):
        return None if call["fmod"] else np.mod(x, y)
    if not np.all(y):
        return None
    return np.fmod(x, y) if call["fmod"] else np.mod(x, y)


@converts("Mod", fold=_folded_mod)
def modulo(call: Any, x: Value, y: Value) -> Value:
    if not call["fmod"] or x.dtype.kind == "u":
        result = op.broadcast_mod(x, y)
    else:
        rest = op.broadcast_mod(op.abs(x), op.abs(y))
        result = where(compare("lesser", x, number(0, x)), op.negative(rest), rest)
    if not x.dtype.is_float:
        return result
    return where(compare("equal", y, number(0, y)), number(math.nan, x), result)


def _declare_several(name: str, own: str, rule: Callable[..., Any]) -> None:
    def fold(_call: Any, *arrays: np.ndarray) -> np.ndarray:
        found = arrays[0]
        for each in arrays[1:]:
            found = rule(found, each)
        return found

    @converts(name, fold=fold)
    def convert(_call: Any, *values: Value) -> Value:
        found = values[0]
        for each in values[1:]:
            found = get(own)(found, each)
        return found


_declare_several("Max", "broadcast_maximum", np.maximum)
_declare_several("Min", "broadcast_minimum", np.minimum)
_declare_several("Sum", "broadcast_add", np.add)


@converts("Mean")
def mean(_call: Any, *values: Value) -> Value:
    total = values[0]
    for each in values[1:]:
        total = op.broadcast_add(total, each)
    return total / len(values)


def _chosen(_call: Any, condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(condition.astype(bool), x, y)


@converts("Where", fold=_chosen)
def where_(_call: Any, condition: Value, x: Value, y: Value) -> Value:
    return where(condition, x, y)


# --------------------------------------------------------------------------------- softmax


def _flattened(call: Any, x: Value, own: str) -> Value:
    """Before opset 13 all axes from `axis` on are one."""
    axis = call["axis"]
    if call.since >= 13 or axis in (-1, x.ndim - 1):
        return get(own)(x, axis=axis)
    return reshape(get(own)(as_matrix(x, axis), axis=-1), x.shape)


@converts("Softmax")
def softmax(call: Any, x: Value) -> Value:
    return _flattened(call, x, "softmax")


@converts("LogSoftmax")
def log_softmax(call: Any, x: Value) -> Value:
    return _flattened(call, x, "log_softmax")


@converts("Hardmax")
def hardmax(call: Any, x: Value) -> Value:
    axis, shape = call["axis"], x.shape
    if call.since < 13:
        x, axis = as_matrix(x, axis), 1
    axis = axis_of(axis, x.ndim)
    first = op._reduce_argmax(x, axes=(axis,))
    places = op._iota(shape=tuple(n if i == axis else 1 for i, n in enumerate(x.shape)), axis=axis)
    kept = reshape(first, [1 if i == axis else n for i, n in enumerate(x.shape)])
    hit = compare("equal", cast(kept, "int64"), places)
    return reshape(cast(hit, x.dtype.name), shape)
