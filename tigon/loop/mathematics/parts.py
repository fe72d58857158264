"""What expansions are made of: float formats, exact constants, building bricks.

Patterns that recur:
- 2**k without a conversion: adding 1.5 * 2**m (m mantissa bits) to a float leaves its nearest
  integer in the low mantissa bits; with the exponent's bias added too, shifting those left by m
  gives the bits of 2**k.
- `select(lt(x, c), c, x)` clamps and keeps NaN, one instruction on x86.
- Coefficients are our own (`tools/fit_mathematics.py`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.dtypes import DType, float32, float64, int32, int64, uint32, uint64
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.coefficients import TABLE
from tigon.loop.grammar import Expr

# --------------------------------------------------------------------------- exact constants

UNIT = 1 << 1316
"""Exact constants are whole numbers of 1 / UNIT: the greatest float64 has 1024 bits before the
point, and no library of fractions need be imported."""


def _exactly(digits: str) -> int:
    """Digits behind the point."""
    return int(digits) * UNIT // 10 ** len(digits)


def _pi() -> int:
    """Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctangent(inverse: int) -> int:
        power = UNIT // inverse
        total, divisor = power, 1
        while power:
            power //= -inverse * inverse
            divisor += 2
            total += power // divisor
        return total

    return 16 * arctangent(5) - 4 * arctangent(239)


PI = _pi()
LN2 = _exactly("69314718055994530941723212145817656807550013436025525412068000949339362196969471")
LOG2E = UNIT + _exactly(
    "44269504088896340735992468100189213742664595415298593413544940693110921918118508"
)
LOG10E = _exactly(
    "43429448190325182765112891891660508229439700580366656611445378316586464920887077"
)
LOG10_2 = _exactly(
    "30102999566398119521373889472449302676818988146210854131042746112710818927442451"
)

# ------------------------------------------------------------------------------------ formats


class Format(Frozen):
    """The layout of a float type, and what follows from it."""

    dtype: DType
    signed: DType
    unsigned: DType
    mantissa: int  # explicit bits
    bias: int

    @property
    def name(self) -> str:
        return str(8 * self.dtype.itemsize)

    @property
    def magic(self) -> float:
        return 1.5 * 2.0**self.mantissa

    def bits(self, value: float) -> int:
        floats, integers = ("<f", "<I") if self.dtype is float32 else ("<d", "<Q")
        return int(struct.unpack(integers, struct.pack(floats, value))[0])

    def parts(self, exact: int, count: int = 2) -> list[float]:
        """An exact constant > 0 as a sum of floats, none negative: 0 * part keeps its sign then."""
        pieces = []
        for _ in range(count):
            piece = self.dtype.numpy.type(exact / UNIT)
            if _units(piece) > exact:
                piece = np.nextafter(piece, self.dtype.numpy.type(0))
            pieces.append(float(piece))
            exact -= _units(piece)
        return pieces


def _units(value: Any) -> int:
    above, below = float(value).as_integer_ratio()
    return above * UNIT // below


SINGLE = Format(float32, int32, uint32, 23, 127)
DOUBLE = Format(float64, int64, uint64, 52, 1023)
FORMATS = {float32: SINGLE, float64: DOUBLE}

# ----------------------------------------------------------------------------- building bricks


def polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    result: Expr = L.const(coefficients[-1], x.dtype)
    for coefficient in coefficients[-2::-1]:
        constant = L.const(coefficient, x.dtype)
        result = L.multiply_add(result, x, constant)
    return result


def table(name: str, form: Format) -> tuple[float, ...]:
    return TABLE[name + form.name]


def at_least(x: Expr, low: float) -> Expr:
    return L.select(L.lt(x, low), low, x)


def at_most(x: Expr, high: float) -> Expr:
    return L.select(L.gt(x, high), high, x)


def bits_of(x: Expr, form: Format) -> Expr:
    return L.bitcast(x, form.unsigned)


def float_of(bits: Expr, form: Format) -> Expr:
    return L.bitcast(bits, form.dtype)


def with_sign(magnitude: Expr, sign: Expr, form: Format) -> Expr:
    """`magnitude` (not negative) with the sign bit of `sign`."""
    top = L.and_(bits_of(sign, form), 1 << (8 * form.dtype.itemsize - 1))
    return float_of(L.or_(bits_of(magnitude, form), top), form)


def small_is_itself(x: Expr, result: Expr, form: Format) -> Expr:
    """For f(x) = x + O(x**2): exact, sign of zero included, where the rest is below rounding."""
    return L.select(L.lt(L.abs(x), 2.0 ** -(form.mantissa + 3)), x, result)


def odd_quotient(x: Expr, end: float, name: str) -> Expr:
    """x * P(x**2) / Q(x**2) for a function that is +-1 from `end` on, and never beyond."""
    x = at_most(at_least(x, -end), end)
    square = L.mul(x, x)
    upper = L.mul(polynomial(square, TABLE[f"{name}_p"]), x)
    quotient = L.div(upper, polynomial(square, TABLE[f"{name}_q"]))
    return at_most(at_least(quotient, -1.0), 1.0)


def two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b and what rounding took from it."""
    total = L.add(a, b)
    shadow = L.sub(total, a)
    return total, L.add(L.sub(a, L.sub(total, shadow)), L.sub(b, shadow))


# ------------------------------------------------------------------------------------- oracles


def of_doubles(function: Callable[[float], float]) -> Callable[..., Any]:
    """A function of `math` on arrays; domain errors give NaN, overflow and poles infinity."""

    def one(x: float) -> float:
        try:
            return function(x)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return lambda x: np.vectorize(one, otypes=[np.float64])(x.astype(np.float64))
