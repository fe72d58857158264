"""What each scalar function means, on numpy arrays: the one definition that constant folding, the
interpreter and the tests share. Slow and plain; no kernel runs through it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.dtypes import DType

EXACT = frozenset(
    "add sub mul div floordiv mod fmod truncdiv neg abs maximum minimum eq ne lt le gt ge and or"
    " xor not shl shr select seldom cast bitcast floor ceil trunc rint sqrt".split()
)
"""Functions with one right answer to the bit; folding a constant through them changes nothing."""


PLAIN_POWERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, -0.5, -1.0, -2.0)
"""Exponents for which there is something simpler than a power."""


def evaluate(function: str, operands: tuple[Any, ...], dtype: DType) -> Any:
    """`function` of numpy arrays (or scalars) of the operands' dtypes, as an array of `dtype`.

    >>> from tigon.base.dtypes import int32
    >>> int(evaluate("floordiv", (np.int32(-7), np.int32(2)), int32))
    -4
    """
    arrays = tuple(np.asarray(operand) for operand in operands)
    with np.errstate(all="ignore"):
        if function == "cast":
            return convert(arrays[0], dtype)
        if function == "bitcast":
            return arrays[0].view(dtype.numpy)
        plain = _PLAIN.get(function)
        if plain is not None:
            return np.asarray(plain(*arrays)).astype(dtype.numpy, copy=False)
        # Through long double, so that the oracle is right to half an ulp for both float types.
        wide = tuple(array.astype(np.longdouble) for array in arrays)
        return np.asarray(_ELEMENTARY[function](*wide)).astype(dtype.numpy)


def convert(array: np.ndarray, dtype: DType) -> Any:
    """`array` as `dtype`: integers wrap, float to integer truncates and saturates, NaN gives 0.

    >>> from tigon.base.dtypes import uint8
    >>> convert(np.array([-1.5, 3.9, 300.0, np.nan]), uint8).tolist()
    [0, 3, 255, 0]
    """
    if array.dtype.kind == "f" and dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        whole = np.trunc(np.where(np.isnan(array), 0, array).astype(np.longdouble))
        return np.clip(whole, limits.min, limits.max).astype(dtype.numpy)
    if dtype.kind == "b":
        return array != 0
    return array.astype(dtype.numpy)


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Any:
    if a.dtype != np.float64:
        # The product of two float32 is exact in float64; the sum is rounded to odd there, so that
        # rounding it again to float32 equals rounding once.
        product = a.astype(np.float64) * b.astype(np.float64)
        addend = c.astype(np.float64)
        total = product + addend
        shadow = total - product
        error = (product - (total - shadow)) + (addend - shadow)
        bits = np.atleast_1d(total).view(np.int64)
        inexact = np.atleast_1d((error != 0) & np.isfinite(total))
        even = (bits & 1) == 0
        away = (np.atleast_1d(error) > 0) == (np.atleast_1d(total) > 0)
        odd = np.where(inexact & even, np.where(away, bits + 1, bits - 1), bits)
        return odd.view(np.float64).reshape(np.shape(total)).astype(a.dtype)
    a, b, c = np.broadcast_arrays(a, b, c)
    product = a * b
    total = product + c
    # Dekker's exact product and Knuth's exact sum; outside the safe range, plain rounding twice.
    product_error = _product_error(a, b, product)
    shadow = total - product
    sum_error = (product - (total - shadow)) + (c - shadow)
    error = product_error + sum_error
    corrected = np.where(error == 0, total, total + error)  # keeps the sign of zero
    return np.where(np.isfinite(corrected), corrected, total)


def _product_error(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> Any:
    def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = x * 134217729.0
        high = scaled - (scaled - x)
        return high, x - high

    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _truncdiv(a: np.ndarray, b: np.ndarray) -> Any:
    quotient = np.floor_divide(a, b)
    inexact = (np.remainder(a, b) != 0) & ((a < 0) != (b < 0)) & (b != 0)
    return np.where(inexact, quotient + 1, quotient).astype(a.dtype)


def _shift(apply: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: apply(a, b.astype(a.dtype))


_PLAIN: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "fmod": np.fmod,
    "truncdiv": _truncdiv,
    "neg": np.negative,
    "abs": np.abs,
    "fma": _fma,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "select": np.where,
    "seldom": lambda condition, given, then, otherwise: np.where(condition, then, otherwise),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "sqrt": np.sqrt,
}


def _double(function: Callable[..., float]) -> Callable[..., Any]:
    """A function of `math` on arrays; domain errors give NaN, overflow and poles infinity."""

    def one(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return lambda x: np.vectorize(one, otypes=[np.float64])(x.astype(np.float64))


def _gamma(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, x)
    return math.gamma(x)


def _lgamma(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


def _gelu(x: float) -> float:
    return x if x == math.inf else -0.0 if x < -40 else x * math.erfc(-x * math.sqrt(0.5)) / 2


def _erfinv(y: float) -> float:
    if not -1 < y < 1:
        return math.copysign(math.inf, y) if abs(y) == 1 else math.nan
    # Newton on erf, or on erfc in the tail, from Giles's starting point.
    w = -math.log((1 - y) * (1 + y))
    x = math.copysign(math.sqrt(w) - 0.5 if w > 6 else math.sqrt(w) * 0.8862269, y)
    for _ in range(60):
        error = math.erf(x) - y if abs(x) < 1 else -(math.erfc(abs(x)) - (1 - abs(y)))
        error = error if abs(x) < 1 else math.copysign(1, y) * error
        slope = 2 / math.sqrt(math.pi) * math.exp(-x * x)
        step = error / slope
        x -= step / (1 + x * step)  # Halley
        if abs(step) <= 1e-17 * abs(x):
            break
    return x


_ELEMENTARY: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
    "erf": _double(math.erf),
    "erfinv": _double(_erfinv),
    "normal_cdf": _double(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
    "gelu": _double(_gelu),
    "gamma": _double(_gamma),
    "lgamma": _double(_lgamma),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "pow": np.power,
    "atan2": np.arctan2,
    "hypot": np.hypot,
}
