"""Elementary functions in the loop language: arithmetic, comparisons, selects and bit operations
only, without branches, so that every backend vectorises them alike.

Patterns that recur:
- 2**k without a conversion: adding 1.5 * 2**m (m mantissa bits) to a float leaves its nearest
  integer in the low mantissa bits; with the exponent's bias added too, shifting those left by m
  gives the bits of 2**k.
- `select(lt(x, c), c, x)` clamps and keeps NaN, one instruction on x86.
- Coefficients are our own (`tools/fit_mathematics.py`); the bounds in `ULP` are tested.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from tigon.base.dtypes import DType, float16, float32, float64, int32, int64, uint32, uint64
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.coefficients import TABLE
from tigon.loop.grammar import Apply, Const, Expr, Load
from tigon.loop.rewrite import rebuild
from tigon.loop.semantics import EXACT

ULP: dict[str, tuple[float, float]] = {
    # bounds for float32 and float64 in units in the last place of the exact result
    "exp": (1.5, 1.5),
    "expm1": (2, 2.5),
    "log": (1, 1),
    "log1p": (1.5, 1.5),
    "log2": (1.5, 1.5),
    "log10": (1.5, 1.5),
    "sin": (2, 2),
    "cos": (2, 2),
    "tan": (3.5, 3.5),
    "arcsin": (3, 3),
    "arccos": (2, 2),
    "arctan": (2.5, 2.5),
    "sinh": (2.5, 2.5),
    "cosh": (2, 2),
    "tanh": (5.5, 3),
    "arcsinh": (2, 2),
    "arccosh": (2.5, 2.5),
    "arctanh": (2.5, 2.5),
    "sigmoid": (3.5, 3.5),
    "erf": (5.5, 3),
    "erfinv": (3.5, 4),
    "normal_cdf": (6, 8),
    "gelu": (6, 8),
    "gamma": (1, 16),
    "lgamma": (1, 20),  # for float64 of max(1, |result|): it has zeros at 1 and 2
    "pow": (1, 1),
    "atan2": (2.5, 2.5),
    "hypot": (1, 1.5),
    "cbrt": (1, 1),
    "rsqrt": (1.5, 1.5),
}


class _Format(Frozen):
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

    def parts(self, exact: Fraction, count: int = 2) -> list[float]:
        """`exact` > 0 as a sum of floats, none negative: 0 * part keeps its sign then."""
        pieces = []
        for _ in range(count):
            piece = self.dtype.numpy.type(float(exact))
            if Fraction(float(piece)) > exact:
                piece = np.nextafter(piece, self.dtype.numpy.type(0))
            piece = float(piece)
            pieces.append(piece)
            exact -= Fraction(piece)
        return pieces


_SINGLE = _Format(float32, int32, uint32, 23, 127)
_DOUBLE = _Format(float64, int64, uint64, 52, 1023)
_FORMATS = {float32: _SINGLE, float64: _DOUBLE}


def _exactly(digits: str) -> Fraction:
    return Fraction(digits)


def _pi(bits: int) -> Fraction:
    """Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctangent(inverse: int) -> int:
        power = (1 << bits + 16) // inverse
        total, divisor = power, 1
        while power:
            power //= -inverse * inverse
            divisor += 2
            total += power // divisor
        return total

    return Fraction(16 * arctangent(5) - 4 * arctangent(239), 1 << bits + 16)


_PI = _pi(1300)  # the greatest float64 has 1024 bits before the point
_LN2 = _exactly(
    "0.69314718055994530941723212145817656807550013436025525412068000949339362196969471"
)
_LOG2E = _exactly(
    "1.44269504088896340735992468100189213742664595415298593413544940693110921918118508"
)
_LOG10E = _exactly(
    "0.43429448190325182765112891891660508229439700580366656611445378316586464920887077"
)
_LOG10_2 = _exactly(
    "0.30102999566398119521373889472449302676818988146210854131042746112710818927442451"
)

# ------------------------------------------------------------------------------ entry point

_Rule = Callable[..., Expr]
_RULES: dict[str, _Rule] = {}
_done: dict[Expr, Expr] = {}


def expand(expr: Expr) -> Expr:
    """`expr` with every elementary function of float16, float32 and float64 written out.

    >>> x = L.load(0, L.axis("i"), float32)
    >>> expand(L.rsqrt(x))
    div(1.0, sqrt(load(0, i)))
    """
    global _done
    if len(_done) > 50_000:
        _done = {}  # not emptied: another thread may be at work in it
    return rebuild(expr, _done, _expanded)


def _expanded(node: Expr, operands: tuple[Expr, ...]) -> Expr:
    if isinstance(node, Load):
        return node if operands == node.operands else L.load(node.buffer, operands[0], node.dtype)
    if not isinstance(node, Apply):
        return node
    rule = _RULES.get(node.function)
    if rule is None:
        if operands == node.operands:
            return node
        given = node.dtype if L.result_given(node.function) else None
        return L.apply(node.function, *operands, dtype=given)
    if node.dtype is float16:
        wide = rule(*(L.cast(operand, float32) for operand in operands), _SINGLE)
        return L.cast(wide, float16)
    return rule(*operands, _FORMATS[node.dtype])


def _rule(name: str) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        _RULES[name] = rule
        return rule

    return register


# ----------------------------------------------------------------------------- building bricks


def _polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    result: Expr = L.const(coefficients[-1], x.dtype)
    for coefficient in coefficients[-2::-1]:
        constant = L.const(coefficient, x.dtype)
        result = L.fma(result, x, constant)
    return result


def _table(name: str, form: _Format) -> tuple[float, ...]:
    return TABLE[name + form.name]


def _at_least(x: Expr, low: float) -> Expr:
    return L.select(L.lt(x, low), low, x)


def _at_most(x: Expr, high: float) -> Expr:
    return L.select(L.gt(x, high), high, x)


def _integer(x: Expr, form: _Format) -> Expr:
    return L.bitcast(x, form.unsigned)


def _float(bits: Expr, form: _Format) -> Expr:
    return L.bitcast(bits, form.dtype)


def _with_sign(magnitude: Expr, sign: Expr, form: _Format) -> Expr:
    """`magnitude` (not negative) with the sign bit of `sign`."""
    top = L.and_(_integer(sign, form), 1 << (8 * form.dtype.itemsize - 1))
    return _float(L.or_(_integer(magnitude, form), top), form)


def _small_is_itself(x: Expr, result: Expr, form: _Format) -> Expr:
    """For f(x) = x + O(x**2): exact, sign of zero included, where the rest is below rounding."""
    return L.select(L.lt(L.abs(x), 2.0 ** -(form.mantissa + 3)), x, result)


def _odd_quotient(x: Expr, end: float, name: str) -> Expr:
    """x * P(x**2) / Q(x**2) for a function that is +-1 from `end` on, and never beyond."""
    x = _at_most(_at_least(x, -end), end)
    square = L.mul(x, x)
    upper = L.mul(_polynomial(square, TABLE[f"{name}_p"]), x)
    quotient = L.div(upper, _polynomial(square, TABLE[f"{name}_q"]))
    return _at_most(_at_least(quotient, -1.0), 1.0)


# ------------------------------------------------------------------------------- exponentials


@_rule("exp")
def _exp(x: Expr, form: _Format) -> Expr:
    low, high = (-104.5, 89.5) if form is _SINGLE else (-746.5, 711.0)
    return _exp_of_clamped(_at_most(_at_least(x, low), high), form)


def _exp_of_clamped(x: Expr, form: _Format, factor: Expr | float = 1.0) -> Expr:
    """factor * e**x. x = 2*k*ln2 + r, and 2**k is multiplied twice: so the exponent neither
    overflows before the result does nor loses the denormal numbers."""
    offset = form.magic + form.bias
    shifted = L.fma(x, float(_LOG2E / 2), offset)
    k = L.sub(shifted, offset)
    high, low = form.parts(2 * _LN2)
    r = L.fma(k, -low, L.fma(k, -high, x))
    p = _polynomial(r, (1.0, 1.0, *_table("exp_wide", form)))
    scale = _float(L.shl(_integer(shifted, form), form.mantissa), form)
    return L.mul(L.mul(L.mul(p, factor), scale), scale)


def _exp_minus_one(x: Expr, form: _Format, down: int) -> Expr:
    """(e**x - 1) * 2**-down of a clamped x."""
    offset = form.magic + form.bias - down
    shifted = L.fma(x, float(_LOG2E), offset)
    k = L.sub(shifted, offset)
    high, low = form.parts(_LN2)
    r = L.fma(k, -low, L.fma(k, -high, x))
    q = L.fma(L.mul(r, r), _polynomial(r, _table("exp", form)), r)
    scale = _float(L.shl(_integer(shifted, form), form.mantissa), form)
    return L.fma(scale, q, L.sub(scale, 2.0**-down))


@_rule("expm1")
def _expm1(x: Expr, form: _Format) -> Expr:
    low, high = (-26.0, 88.75) if form is _SINGLE else (-48.0, 709.8)
    half = _exp_minus_one(_at_most(_at_least(x, low), high), form, 1)
    return _small_is_itself(x, L.mul(half, 2.0), form)


@_rule("sigmoid")
def _sigmoid(x: Expr, form: _Format) -> Expr:
    low = -104.5 if form is _SINGLE else -746.5
    e = _exp_of_clamped(_at_least(L.neg(L.abs(x)), low), form)
    return L.div(L.select(L.lt(x, 0.0), e, 1.0), L.add(e, 1.0))


@_rule("tanh")
def _tanh(x: Expr, form: _Format) -> Expr:
    if form is _SINGLE:
        return _odd_quotient(x, 9.2, "tanh32")  # where it is 1
    e = _exp_minus_one(_at_most(L.mul(L.abs(x), 2.0), 40.0), form, 0)
    return _with_sign(L.div(e, L.add(e, 2.0)), x, form)


@_rule("sinh")
def _sinh(x: Expr, form: _Format) -> Expr:
    e = _exp_minus_one(_hyperbolic(x, form), form, 2)  # (e**|x| - 1) / 4
    double = L.mul(e, 2.0)
    result = L.add(double, L.div(e, L.fma(e, 2.0, 0.5)))
    return _small_is_itself(x, _with_sign(result, x, form), form)


@_rule("cosh")
def _cosh(x: Expr, form: _Format) -> Expr:
    quarter = _exp_of_clamped(_hyperbolic(x, form), form, 0.25)
    return L.fma(quarter, 2.0, L.div(0.125, quarter))


def _hyperbolic(x: Expr, form: _Format) -> Expr:
    """|x|, no greater than where e**|x| / 2 overflows."""
    return _at_most(L.abs(x), 89.42 if form is _SINGLE else 710.48)


# --------------------------------------------------------------------------------- logarithms


def _split(x: Expr, form: _Format, denormals: bool) -> tuple[Expr, Expr]:
    """(e, f): x = 2**e * (1 + f) for finite x > 0, with 1 + f from sqrt(1/2) to sqrt(2)."""
    least = 2.0 ** (1 - form.bias)
    lift = form.mantissa + 2
    exponent_bias: Expr = L.const(2.0**form.mantissa + form.bias, form.dtype)
    if denormals:
        tiny = L.lt(x, least)
        exponent_bias = L.select(tiny, 2.0**form.mantissa + form.bias + lift, exponent_bias)
        x = L.select(tiny, L.mul(x, 2.0**lift), x)
    root = form.bits(math.sqrt(0.5))
    # The sum stays positive, so the shift may be unsigned.
    moved = L.add(_integer(x, form), form.bits(1.0) - root)
    exponent = L.or_(L.shr(moved, form.mantissa), form.bits(2.0**form.mantissa))
    e = L.sub(_float(exponent, form), exponent_bias)
    m = _float(L.add(L.and_(moved, (1 << form.mantissa) - 1), root), form)
    return e, L.sub(m, 1.0)


def _log_parts(x: Expr, form: _Format, denormals: bool = True) -> tuple[Expr, Expr, Expr]:
    """(e, f, small): log(x) = e * ln2 + f + small for finite x > 0; f is exact."""
    e, f = _split(x, form, denormals)
    if form is _SINGLE:
        cubic = L.fma(f, _polynomial(f, _table("log", form)), -0.5)
        return e, f, L.mul(L.mul(f, f), cubic)
    # With s = f / (2 + f): log(1 + f) = 2*atanh(s) = f - s * (f - s**2 * R(s**2)).
    s = L.div(f, L.add(f, 2.0))
    z = L.mul(s, s)
    inner = L.fma(L.neg(z), _polynomial(z, _table("log", form)), f)
    return e, f, L.neg(L.mul(s, inner))


def _log_edges(x: Expr, result: Expr) -> Expr:
    """A logarithm's values at 0, below 0, at infinity and NaN."""
    pole = L.select(L.eq(x, 0.0), L.const(-math.inf, x.dtype), math.nan)
    return L.select(L.lt(x, math.inf), L.select(L.gt(x, 0.0), result, pole), x)


def _log_sum(e: Expr, f: Expr, small: Expr, form: _Format) -> Expr:
    # ln2's high part is short, so that its product with e is exact.
    high, low = _short_ln2(form)
    return L.fma(e, high, L.add(f, L.fma(e, low, small)))


def _short_ln2(form: _Format) -> tuple[float, float]:
    keep = 1 << (form.mantissa - 10)
    high = Fraction(math.floor(_LN2 * keep), keep)
    return float(high), float(_LN2 - high)


@_rule("log")
def _log(x: Expr, form: _Format) -> Expr:
    return _log_edges(x, _log_sum(*_log_parts(x, form), form))


@_rule("log2")
def _log2(x: Expr, form: _Format) -> Expr:
    e, f, small = _log_parts(x, form)
    return _log_edges(x, L.add(e, _times(f, small, _LOG2E, form)))


@_rule("log10")
def _log10(x: Expr, form: _Format) -> Expr:
    e, f, small = _log_parts(x, form)
    high, low = form.parts(_LOG10_2)
    inner = L.fma(e, low, _times(f, small, _LOG10E, form))
    return _log_edges(x, L.fma(e, high, inner))


def _times(f: Expr, small: Expr, factor: Fraction, form: _Format) -> Expr:
    """(f + small) * factor with the rounding of f * factor made good."""
    high, low = form.parts(factor)
    product = L.mul(f, high)
    rest = L.fma(f, low, L.fma(f, high, L.neg(product)))
    return L.add(product, L.fma(small, high, rest))


@_rule("log1p")
def _log1p(x: Expr, form: _Format) -> Expr:
    total = L.add(x, 1.0)
    shadow = L.sub(total, x)
    # What rounding took from 1 + x, exactly.
    error = L.add(L.sub(x, L.sub(total, shadow)), L.sub(1.0, shadow))
    e, f, small = _log_parts(total, form, denormals=False)
    result = _log_sum(e, f, L.add(small, L.div(error, total)), form)
    return _small_is_itself(x, _log_edges(total, result), form)


# ------------------------------------------------------------------------------- trigonometry


@_rule("sin")
def _sin(x: Expr, form: _Format) -> Expr:
    return _wave(x, form, quarters=0)


@_rule("cos")
def _cos(x: Expr, form: _Format) -> Expr:
    return _wave(x, form, quarters=1)


def _wave(x: Expr, form: _Format, quarters: int) -> Expr:
    """sin(x + quarters * pi / 2)."""

    def value(r: Expr, quadrant: Expr) -> Expr:
        sine, cosine = _sine_and_cosine(r, form)
        either = L.select(L.ne(L.and_(quadrant, 1), 0), cosine, sine)
        sign = L.shl(L.and_(quadrant, 2), 8 * form.dtype.itemsize - 2)
        return _float(L.xor(_integer(either, form), sign), form)

    return _of_angle(x, form, value, quarters)


@_rule("tan")
def _tan(x: Expr, form: _Format) -> Expr:
    def value(r: Expr, quadrant: Expr) -> Expr:
        sine, cosine = _sine_and_cosine(r, form)
        odd = L.ne(L.and_(quadrant, 1), 0)
        return L.div(L.select(odd, L.neg(cosine), sine), L.select(odd, sine, cosine))

    return _of_angle(x, form, value, 0)


def _sine_and_cosine(r: Expr, form: _Format) -> tuple[Expr, Expr]:
    """For |r| <= pi/4."""
    z = L.mul(r, r)
    sine = L.mul(r, _polynomial(z, (1.0, *_table("sin", form))))
    return sine, _polynomial(z, (1.0, -0.5, *_table("cos", form)))


_FAR = 45
"""From 2**45 on, pi/2 as a sum of three floats times a whole number is not exact enough."""


def _of_angle(x: Expr, form: _Format, value: Callable[[Expr, Expr], Expr], quarters: int) -> Expr:
    """`value(r, k + quarters)`, where x = k*pi/2 + r with |r| <= pi/4. Hardly any program has
    angles so large that the remainder takes hundreds of digits of pi."""
    near = value(*_turned(x, form, quarters))
    r, quadrant = _far_turned(x, form)
    far = value(r, L.add(quadrant, quarters))
    far = L.select(L.eq(L.abs(x), math.inf), math.nan, far)
    return L.seldom(L.ge(L.abs(x), 2.0**_FAR), x, far, near)


def _turned(x: Expr, form: _Format, quarters: int) -> tuple[Expr, Expr]:
    """r and k + quarters for |x| < 2**45. float32 is reduced in float64."""
    wide = L.cast(x, float64)
    magic = _DOUBLE.magic + quarters
    shifted = L.fma(wide, float(2 / _PI), magic)
    k = L.sub(shifted, magic)
    r = wide
    for part in _DOUBLE.parts(_PI / 2, 2 if form is _SINGLE else 3):
        r = L.fma(k, -part, r)
    return L.cast(r, form.dtype), L.cast(_integer(shifted, _DOUBLE), form.unsigned)


def _far_turned(x: Expr, form: _Format) -> tuple[Expr, Expr]:
    """r and k for finite |x| >= 2**45, after Payne and Hanek: x is a whole number times 2**s, and
    of 2/pi * 2**s only the digits from the second before the point on matter, since four quarter
    turns are none. Numbers in limbs of 32 bits, the highest first, each in an uint64.

    The remainder of a float64 may begin with 62 zeros, of a float32 with 30: hence the limbs."""
    limbs = 3 if form is _SINGLE else 6
    bits = L.cast(_integer(L.abs(x), form), uint64)
    mantissa = L.or_(L.and_(bits, (1 << form.mantissa) - 1), 1 << form.mantissa)
    start = L.sub(L.shr(bits, form.mantissa), form.bias + _FAR)
    factor = _digits_of_two_over_pi(start, form, limbs)
    product = _low_product(factor, mantissa, form)
    # Beyond half a quarter turn the next quadrant is nearer: r is then what is missing to it.
    past = L.and_(L.shr(product[0], 29), 1)
    quadrant = L.add(L.shr(product[0], 30), past)
    flip = L.sub(0, past)
    rest = [_limb(L.xor(limb, flip)) for limb in product]
    rest[0] = L.and_(rest[0], (1 << 30) - 1)
    parts = [_scaled(limb, -30 - 32 * place) for place, limb in enumerate(rest)]
    if form is _SINGLE:
        r = L.mul(L.add(L.add(parts[0], parts[1]), parts[2]), float(_PI / 2))
    else:
        high, high_rest = _two_sum(parts[0], parts[1])
        tail = L.add(parts[2], L.add(parts[3], parts[4]))
        turn, turn_rest = _two_sum(high, L.add(high_rest, tail))
        half_pi, half_pi_rest = _DOUBLE.parts(_PI / 2)
        r = L.mul(turn, half_pi)
        rounding = L.fma(turn, half_pi, L.neg(r))
        r = L.add(r, L.add(rounding, L.fma(turn, half_pi_rest, L.mul(turn_rest, half_pi))))
    negative = L.xor(L.shl(past, 63), L.and_(_integer(L.cast(x, float64), _DOUBLE), 1 << 63))
    r = _float(L.xor(_integer(r, _DOUBLE), negative), _DOUBLE)
    quadrant = L.select(L.lt(x, 0.0), L.sub(0, quadrant), quadrant)
    return L.cast(r, form.dtype), L.cast(quadrant, form.unsigned)


def _digits_of_two_over_pi(start: Expr, form: _Format, limbs: int) -> list[Expr]:
    """The limbs of 2/pi * 2**s mod 4, where the lowest s gives `start` 0: a window on a constant
    of many words, half of which go at each of the steps that the bits of `start` decide."""
    most = form.bias - _FAR  # of `start`, for the greatest float
    needed = limbs // 2 + 1 + limbs % 2
    steps = (most >> 6).bit_length()
    count = needed + (1 << steps) - 1
    lowest = _FAR - form.mantissa
    whole = int(2 / _PI * Fraction(2) ** (64 * count + lowest - 2))
    words: list[Expr] = [
        L.const(whole >> 64 * place & (1 << 64) - 1, uint64) for place in range(count)[::-1]
    ]
    for step in range(steps)[::-1]:
        here = L.ne(L.and_(start, 64 << step), 0)
        words = [
            L.select(here, words[place + (1 << step)], words[place])
            for place in range(needed + (1 << step) - 1)
        ]
    shift = L.and_(start, 63)
    back = L.sub(63, shift)
    found = []
    for first, second in itertools.pairwise(words):
        word = L.or_(L.shl(first, shift), L.shr(L.shr(second, 1), back))
        found += [L.shr(word, 32), _limb(word)]
    return found[:limbs]


def _low_product(factor: list[Expr], mantissa: Expr, form: _Format) -> list[Expr]:
    """factor * mantissa in as many limbs as `factor` has, the highest dropped."""
    low, high = _limb(mantissa), L.shr(mantissa, 32)
    carry: Expr = L.const(0, uint64)
    product: list[Expr] = []
    for place in range(len(factor))[::-1]:
        partial = L.mul(factor[place], low)
        total, rest = L.add(_limb(partial), carry), L.shr(partial, 32)
        if form is _DOUBLE and place + 1 < len(factor):
            partial = L.mul(factor[place + 1], high)
            total, rest = L.add(total, _limb(partial)), L.add(rest, L.shr(partial, 32))
        product.append(_limb(total))
        carry = L.add(L.shr(total, 32), rest)
    return product[::-1]


def _limb(word: Expr) -> Expr:
    return L.and_(word, 0xFFFFFFFF)


def _scaled(limb: Expr, exponent: int) -> Expr:
    """limb * 2**exponent as a float64: the low bits of a number with that last place."""
    base = 2.0 ** (exponent + _DOUBLE.mantissa)
    return L.sub(_float(L.or_(limb, _DOUBLE.bits(base)), _DOUBLE), base)


@_rule("arctan")
def _arctan(x: Expr, form: _Format) -> Expr:
    return _with_sign(_angle(L.abs(x), L.const(1.0, form.dtype), form), x, form)


def _angle(y: Expr, x: Expr, form: _Format) -> Expr:
    """arctan(y / x) for y, x >= 0, by one division: the tangent is brought to +-(sqrt(2) - 1)."""
    low, high = math.sqrt(2) - 1, math.sqrt(2) + 1
    middle = L.gt(y, L.mul(x, low))
    far = L.gt(y, L.mul(x, high))
    upper = L.select(far, L.neg(x), L.select(middle, L.sub(y, x), y))
    lower = L.select(far, y, L.select(middle, L.add(y, x), x))
    quarter, quarter_rest = form.parts(_PI / 4)
    half, half_rest = form.parts(_PI / 2)
    base = L.select(far, half, L.select(middle, L.const(quarter, form.dtype), 0.0))
    rest = L.select(far, half_rest, L.select(middle, L.const(quarter_rest, form.dtype), 0.0))
    t = L.div(upper, lower)
    z = L.mul(t, t)
    small = L.fma(L.mul(t, z), _polynomial(z, _table("atan", form)), rest)
    return L.add(base, L.add(t, small))


@_rule("atan2")
def _atan2(y: Expr, x: Expr, form: _Format) -> Expr:
    # Scaling by a power of two keeps the quotient and the sums of _angle in range.
    a, b = L.abs(y), L.abs(x)
    greatest = L.maximum(a, b)
    big = L.gt(greatest, 2.0 ** (form.bias - 2))
    small = L.lt(greatest, 2.0 ** (form.mantissa + 4 - form.bias))
    scale = L.select(
        big, 0.25, L.select(small, L.const(2.0 ** (form.mantissa + 4), form.dtype), 1.0)
    )
    a, b = L.mul(a, scale), L.mul(b, scale)
    both = L.and_(L.eq(a, math.inf), L.eq(b, math.inf))
    a, b = L.select(both, 1.0, a), L.select(both, 1.0, b)
    origin = L.eq(greatest, 0.0)
    b = L.select(origin, 1.0, b)
    angle = _angle(a, b, form)
    # x < 0 or x = -0.0: mirrored at pi/2.
    negative = L.ne(L.shr(_integer(x, form), 8 * form.dtype.itemsize - 1), 0)
    pi_high, pi_low = form.parts(_PI)
    mirrored = L.sub(pi_high, L.sub(angle, pi_low))
    result = _with_sign(L.select(negative, mirrored, angle), y, form)
    return L.select(L.eq(greatest, greatest), result, greatest)


@_rule("arcsin")
def _arcsin(x: Expr, form: _Format) -> Expr:
    magnitude, far, p, _ = _arcsine_parts(x, form)
    high, low = form.parts(_PI / 2)
    result = L.select(far, L.sub(high, L.fma(p, 2.0, -low)), p)
    return _with_sign(L.select(L.gt(magnitude, 1.0), math.nan, result), x, form)


@_rule("arccos")
def _arccos(x: Expr, form: _Format) -> Expr:
    magnitude, far, p, _ = _arcsine_parts(x, form)
    half_high, half_low = form.parts(_PI / 2)
    pi_high, pi_low = form.parts(_PI)
    negative = L.lt(x, 0.0)
    signed = L.select(negative, L.neg(p), p)
    near = L.sub(half_high, L.sub(signed, half_low))
    double = L.mul(p, 2.0)
    ends = L.select(negative, L.sub(pi_high, L.sub(double, pi_low)), double)
    return L.select(L.gt(magnitude, 1.0), math.nan, L.select(far, ends, near))


def _arcsine_parts(x: Expr, form: _Format) -> tuple[Expr, Expr, Expr, Expr]:
    """(|x|, |x| > 1/2, arcsin of |x| or of sqrt((1 - |x|) / 2), its argument)."""
    magnitude = L.abs(x)
    far = L.gt(magnitude, 0.5)
    halved = L.mul(L.sub(1.0, magnitude), 0.5)
    t = L.select(far, L.sqrt(halved), magnitude)
    z = L.select(far, halved, L.mul(magnitude, magnitude))
    return magnitude, far, L.fma(L.mul(t, z), _polynomial(z, _table("asin", form)), t), t


# ------------------------------------------------------------------------- inverse hyperbolic


@_rule("arcsinh")
def _arcsinh(x: Expr, form: _Format) -> Expr:
    a = L.abs(x)
    big = L.gt(a, 2.0 ** (form.mantissa // 2 + 3))
    near = L.add(a, L.div(L.mul(a, a), L.add(L.sqrt(L.fma(a, a, 1.0)), 1.0)))
    logarithm = _log1p(L.select(big, L.sub(a, 1.0), near), form)
    result = L.add(logarithm, L.select(big, L.const(float(_LN2), form.dtype), 0.0))
    return _with_sign(result, x, form)


@_rule("arccosh")
def _arccosh(x: Expr, form: _Format) -> Expr:
    t = L.sub(x, 1.0)
    big = L.gt(t, 2.0 ** (form.mantissa // 2 + 3))
    near = L.add(t, L.sqrt(L.fma(t, t, L.mul(t, 2.0))))
    logarithm = _log1p(L.select(big, t, near), form)
    result = L.add(logarithm, L.select(big, L.const(float(_LN2), form.dtype), 0.0))
    return L.select(L.lt(x, 1.0), math.nan, result)


@_rule("arctanh")
def _arctanh(x: Expr, form: _Format) -> Expr:
    a = L.abs(x)
    logarithm = _log1p(L.div(L.mul(a, 2.0), L.sub(1.0, a)), form)
    return _with_sign(L.mul(logarithm, 0.5), x, form)


# ------------------------------------------------------------------------------ roots, powers


@_rule("rsqrt")
def _rsqrt(x: Expr, form: _Format) -> Expr:
    return L.div(1.0, L.sqrt(x))


@_rule("hypot")
def _hypot(x: Expr, y: Expr, form: _Format) -> Expr:
    if form is _SINGLE:
        a, b = L.cast(x, float64), L.cast(y, float64)
        result = L.cast(L.sqrt(L.fma(a, a, L.mul(b, b))), float32)
    else:
        a, b = L.abs(x), L.abs(y)
        greatest = L.maximum(a, b)
        big, small = L.gt(greatest, 2.0**500), L.lt(greatest, 2.0**-500)
        scale = L.select(big, 2.0**-600, L.select(small, L.const(2.0**600, float64), 1.0))
        back = L.select(big, 2.0**600, L.select(small, L.const(2.0**-600, float64), 1.0))
        a, b = L.mul(a, scale), L.mul(b, scale)
        result = L.mul(L.sqrt(L.fma(a, a, L.mul(b, b))), back)
    infinite = L.or_(L.eq(L.abs(x), math.inf), L.eq(L.abs(y), math.inf))
    return L.select(infinite, math.inf, result)


@_rule("pow")
def _pow(x: Expr, y: Expr, form: _Format) -> Expr:
    if isinstance(y, Const) and y.value in _SIMPLE_POWERS:
        return _SIMPLE_POWERS[y.value](x)
    magnitude = L.abs(x)
    result = (_pow_single if form is _SINGLE else _pow_double)(magnitude, y)
    # Negative x: only whole y, and the sign of odd ones. Every float from 2**(m+1) on is even.
    whole = L.eq(L.trunc(y), y)
    half = L.mul(y, 0.5)
    odd = L.and_(whole, L.ne(L.trunc(half), half))
    top = L.and_(_integer(x, form), 1 << (8 * form.dtype.itemsize - 1))
    sign = L.select(odd, top, 0)
    result = _float(L.or_(_integer(result, form), sign), form)
    invalid = L.and_(L.and_(L.lt(x, 0.0), L.not_(whole)), L.gt(x, -math.inf))
    result = L.select(invalid, math.nan, result)
    result = L.select(L.or_(L.ne(x, x), L.ne(y, y)), L.add(x, y), result)
    # 1 ** y and x ** 0 are 1 even for NaN; (-1) ** +-inf too.
    one = L.or_(L.eq(x, 1.0), L.eq(y, 0.0))
    one = L.or_(one, L.and_(L.eq(x, -1.0), L.eq(L.abs(y), math.inf)))
    return L.select(one, 1.0, result)


def _root_of(x: Expr) -> Expr:
    """x ** 0.5, which differs from the square root at -0.0 and -inf."""
    return L.select(L.eq(x, -math.inf), math.inf, L.sqrt(L.add(x, 0.0)))


def _squared(x: Expr) -> Expr:
    return L.mul(x, x)


_SIMPLE_POWERS: dict[float, Callable[[Expr], Expr]] = {
    0.0: lambda x: L.const(1.0, x.dtype),
    0.5: _root_of,
    1.0: lambda x: x,
    1.5: lambda x: L.mul(L.abs(x), _root_of(x)),
    2.0: _squared,
    3.0: lambda x: L.mul(_squared(x), x),
    4.0: lambda x: _squared(_squared(x)),
    -0.5: lambda x: L.div(1.0, _root_of(x)),
    -1.0: lambda x: L.div(1.0, x),
    -2.0: lambda x: _squared(L.div(1.0, x)),
}


def _pow_single(x: Expr, y: Expr) -> Expr:
    """|x| ** y for float32 through float64, which has bits to spare."""
    wide, power = L.cast(x, float64), L.cast(y, float64)
    e, f, small = _log_parts(wide, _DOUBLE, denormals=False)
    logarithm = _log_edges(wide, _log_sum(e, f, small, _DOUBLE))
    product = L.mul(power, logarithm)
    clamped = _at_most(_at_least(product, -150.0), 150.0)
    return L.cast(_exp_of_clamped(clamped, _DOUBLE), float32)


def _pow_double(x: Expr, y: Expr) -> Expr:
    """|x| ** y with the logarithm as an unevaluated sum of two floats."""
    high, low = _precise_log(x)
    product = L.mul(y, high)
    # Of an infinite product there is no rest.
    rest = L.fma(y, low, L.fma(y, high, L.neg(product)))
    finite = L.lt(L.abs(product), 1000.0)
    rest = L.select(finite, rest, 0.0)
    return _exp_of_sum(_at_most(_at_least(product, -746.5), 711.0), rest)


def _exp_of_sum(x: Expr, rest: Expr) -> Expr:
    """e ** (x + rest) of clamped float64 x, less than half a unit off before the last rounding: so
    a power that is a float comes out exactly. 2**k is multiplied in two halves."""
    k = L.sub(L.fma(x, float(_LOG2E), _DOUBLE.magic), _DOUBLE.magic)
    high, low = _short_ln2(_DOUBLE)
    near = L.fma(k, -high, x)  # exact
    r = L.fma(k, -low, near)
    r_rest = L.add(L.fma(k, -low, L.sub(near, r)), rest)
    tail = L.mul(L.mul(r, r), _polynomial(r, _table("exp", _DOUBLE)))
    tail = L.add(tail, L.fma(r_rest, L.add(tail, r), r_rest))
    offset = _DOUBLE.magic + _DOUBLE.bias
    first = L.fma(k, 0.5, offset)
    second = L.add(L.sub(k, L.sub(first, offset)), offset)
    total = L.add(r, 1.0)
    value = L.add(total, L.add(L.add(L.sub(1.0, total), r), tail))
    for half in (first, second):
        scale = _float(L.shl(_integer(half, _DOUBLE), _DOUBLE.mantissa), _DOUBLE)
        value = L.mul(value, scale)
    return value


def _two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b and what rounding took from it."""
    total = L.add(a, b)
    shadow = L.sub(total, a)
    return total, L.add(L.sub(a, L.sub(total, shadow)), L.sub(b, shadow))


def _precise_log(x: Expr) -> tuple[Expr, Expr]:
    """log(x) to about 2**-64 of itself, for x >= 0, as the sum of two floats.

    log(m) = 2*s + (2/3)*s**3 + s**5 * R(s**2) with s = (m-1) / (m+1): the first two terms carry
    their rounding errors, the third is small enough to be rounded."""
    e, f = _split(x, _DOUBLE, denormals=True)
    d = L.add(f, 2.0)
    d_rest = L.sub(f, L.sub(d, 2.0))
    s = L.div(f, d)
    s_rest = L.div(L.fma(L.neg(s), d_rest, L.fma(L.neg(s), d, f)), d)
    z = L.mul(s, s)
    z_rest = L.fma(L.mul(s, 2.0), s_rest, L.fma(s, s, L.neg(z)))
    t = L.mul(s, z)
    t_rest = L.fma(s, z_rest, L.fma(s_rest, z, L.fma(s, z, L.neg(t))))
    third, third_rest = _DOUBLE.parts(Fraction(2, 3))
    u = L.mul(t, third)
    u_rest = L.fma(t, third_rest, L.fma(t_rest, third, L.fma(t, third, L.neg(u))))
    v = L.mul(L.mul(t, z), _polynomial(z, _table("log_rest", _DOUBLE)))
    ln2, ln2_rest = _short_ln2(_DOUBLE)
    first, first_rest = _two_sum(L.mul(e, ln2), L.mul(s, 2.0))
    second, second_rest = _two_sum(first, u)
    rest = L.add(L.fma(s_rest, 2.0, L.fma(e, ln2_rest, first_rest)), L.add(second_rest, u_rest))
    rest = L.add(rest, v)
    high = L.add(second, rest)
    low = L.sub(rest, L.sub(high, second))
    edge = _log_edges(x, high)
    return edge, L.select(L.lt(L.abs(edge), math.inf), low, 0.0)


@_rule("cbrt")
def _cbrt(x: Expr, form: _Format) -> Expr:
    wide = L.abs(L.cast(x, float64))
    tiny = L.lt(wide, 2.0**-900)
    if form is _DOUBLE:
        wide = L.select(tiny, L.mul(wide, 2.0**300), wide)
    e, f, small = _log_parts(wide, _DOUBLE, denormals=False)
    y = _exp_of_clamped(L.mul(_log_sum(e, f, small, _DOUBLE), 1 / 3), _DOUBLE)
    if form is _DOUBLE:
        # One step of Newton on y**3 = x; the residual of y * (y * y) is exact to its leading bits.
        square = L.mul(y, y)
        square_rest = L.fma(y, y, L.neg(square))
        cube = L.mul(square, y)
        cube_rest = L.fma(square_rest, y, L.fma(square, y, L.neg(cube)))
        residual = L.add(L.sub(wide, cube), L.neg(cube_rest))
        y = L.add(y, L.div(residual, L.mul(square, 3.0)))
        y = L.select(tiny, L.mul(y, 2.0**-100), y)
    result = _with_sign(L.cast(y, form.dtype), x, form)
    ordinary = L.and_(L.lt(L.abs(x), math.inf), L.ne(x, 0.0))
    return L.select(ordinary, result, x)


# -------------------------------------------------------------------------- the error function


@_rule("erf")
def _erf(x: Expr, form: _Format) -> Expr:
    if form is _SINGLE:
        return _odd_quotient(x, 3.925, "erf32")
    a = _at_most(L.abs(x), 6.0)
    near = L.mul(_polynomial(L.mul(a, a), TABLE["erf64"]), a)
    complement = _exp_of_clamped(_polynomial(L.sub(a, 3.5), TABLE["erfc64"]), form)
    return _with_sign(L.select(L.lt(a, 1.0), near, L.sub(1.0, complement)), x, form)


@_rule("erfinv")
def _erfinv(x: Expr, form: _Format) -> Expr:
    inside = L.mul(L.sub(1.0, x), L.add(x, 1.0))
    small = L.lt(L.abs(x), 2.0**-2)
    # Near 0 the product is 1 - x**2 with x**2 rounded away: there log1p(-x**2).
    w = L.neg(L.select(small, _log1p(L.neg(L.mul(x, x)), form), _log(inside, form)))
    root = L.sqrt(w)
    if form is _SINGLE:
        near = _polynomial(L.sub(w, 2.5), TABLE["erfinv_near32"])
        far = _polynomial(L.sub(root, 3.0), TABLE["erfinv_far32"])
        ratio = L.select(L.lt(w, 5.0), near, far)
    else:
        near = _polynomial(L.sub(w, 3.125), TABLE["erfinv_near64"])
        middle = _polynomial(L.sub(root, 3.25), TABLE["erfinv_middle64"])
        far = _polynomial(L.sub(root, 5.0), TABLE["erfinv_far64"])
        ratio = L.select(L.lt(w, 6.25), near, L.select(L.lt(w, 16.0), middle, far))
    result = L.mul(ratio, x)
    return L.select(L.eq(L.abs(x), 1.0), L.mul(x, math.inf), result)


# ------------------------------------------------------------------- the normal distribution


def _normal_tail(x: Expr, form: _Format, factor: Expr | float) -> Expr:
    """factor * Phi(-x) for x >= 0, up to where it vanishes: exp(-x**2 / 2) * P(x) / Q(x), nowhere
    1 - erf. What rounding took from x**2 is made good, or the tail would lose its digits."""
    name = f"normal_tail{form.name}"
    ratio = L.div(_polynomial(x, TABLE[f"{name}_p"]), _polynomial(x, TABLE[f"{name}_q"]))
    squared = L.mul(x, x)
    rest = L.fma(x, x, L.neg(squared))
    ratio = L.mul(L.fma(L.mul(rest, -0.5), ratio, ratio), factor)
    return _exp_of_clamped(L.mul(squared, -0.5), form, ratio)


def _tail_end(x: Expr, form: _Format) -> Expr:
    return _at_most(L.abs(x), 14.5 if form is _SINGLE else 39.0)


@_rule("normal_cdf")
def _normal_cdf(x: Expr, form: _Format) -> Expr:
    tail = _normal_tail(_tail_end(x, form), form, 1.0)
    return L.select(L.lt(x, 0.0), tail, L.sub(1.0, tail))


@_rule("gelu")
def _gelu(x: Expr, form: _Format) -> Expr:
    t = _tail_end(x, form)
    product = _normal_tail(t, form, t)
    return L.select(L.lt(x, 0.0), L.neg(product), L.sub(x, product))


# -------------------------------------------------------------------------- the gamma function


def _stirling(x: Expr, x_rest: Expr) -> tuple[Expr, Expr, Expr]:
    """(q, rest, product) of float64 x + x_rest > 0, where Gamma = sqrt(2*pi) * e**(q + rest) /
    product. Below 8 the argument is raised by 8, where Stirling's series has converged."""
    shifted = L.lt(x, 8.0)
    z = L.select(shifted, L.add(x, 8.0), x)
    z_rest = L.add(L.select(shifted, L.sub(x, L.sub(z, 8.0)), 0.0), x_rest)
    product: Expr = x
    for step in range(1, 8):
        product = L.mul(product, L.add(x, float(step)))
    product = L.select(shifted, product, 1.0)
    high, low = _precise_log(z)
    power = L.sub(z, 0.5)
    p = L.mul(power, high)
    p_rest = L.fma(power, low, L.fma(power, high, L.neg(p)))
    q, q_rest = _two_sum(p, L.neg(z))
    inverse = L.div(1.0, z)
    series = L.mul(inverse, _polynomial(L.mul(inverse, inverse), _STIRLING))
    # d/dz of log Gamma is about log(z): the bits that rounding x + 8 lost.
    correction = L.fma(z_rest, high, series)
    return q, L.add(L.add(p_rest, q_rest), correction), product


# B(2k) / (2k * (2k - 1)), Bernoulli's numbers.
_STIRLING = tuple(
    float(Fraction(*bernoulli) / (2 * k * (2 * k - 1)))
    for k, bernoulli in enumerate(
        [(1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510)], 1
    )
)


def _reflect(x: Expr, reflected: Expr) -> tuple[Expr, Expr]:
    """x, or 1 - x with its rounding error."""
    mirror, rest = _two_sum(L.const(1.0, float64), L.neg(x))
    return L.select(reflected, mirror, x), L.select(reflected, rest, 0.0)


def _sine_of_pi(x: Expr) -> Expr:
    """|sin(pi * x)| / pi of float64 x; it is x itself for the smallest x."""
    t = L.sub(x, L.rint(x))
    z = L.mul(L.mul(t, t), float(_PI**2))
    return L.abs(L.mul(t, _polynomial(z, (1.0, *_table("sin_wide", _DOUBLE)))))


@_rule("gamma")
def _gamma(x: Expr, form: _Format) -> Expr:
    wide = L.cast(x, float64)
    reflected = L.lt(wide, 0.5)
    q, rest, product = _stirling(*_reflect(_at_most(_at_least(wide, -200.0), 200.0), reflected))
    floor = L.floor(wide)
    half = L.mul(floor, 0.5)
    odd = L.ne(L.floor(half), half)
    sine = _sine_of_pi(wide)
    sine = L.select(reflected, L.select(odd, L.neg(sine), sine), 1.0)
    # 1 / Gamma(1 - x) is made of e**-q: Gamma(1 - x) overflows before it vanishes. Where it does,
    # the sine goes with it into one rounding; near 0 it would overflow there.
    near = L.gt(wide, -8.0)
    factor = L.div(L.select(reflected, product, _ROOT), L.select(reflected, _ROOT, product))
    factor = L.div(factor, L.select(near, 1.0, sine))
    sign = L.select(reflected, L.const(-1.0, float64), 1.0)
    series = (1.0, 1.0, *_table("exp", _DOUBLE)[:5])
    factor = L.mul(factor, _polynomial(L.mul(rest, sign), series))
    exponent = _at_most(_at_least(L.mul(q, sign), -800.0), 711.0)
    value = _exp_of_clamped(exponent, _DOUBLE, factor)
    result = L.select(near, L.div(value, sine), value)
    pole = L.and_(L.eq(floor, wide), L.lt(wide, 0.0))
    result = L.select(pole, math.nan, result)
    result = L.select(L.eq(wide, 0.0), L.div(1.0, wide), result)
    result = L.select(L.eq(wide, math.inf), math.inf, result)
    return L.cast(result, form.dtype)


_ROOT = math.sqrt(2 * math.pi)


@_rule("lgamma")
def _lgamma(x: Expr, form: _Format) -> Expr:
    wide = L.cast(x, float64)
    reflected = L.lt(wide, 0.5)
    q, rest, product = _stirling(*_reflect(wide, reflected))
    half_log = L.const(0.5 * math.log(2 * math.pi), float64)
    value = L.add(q, L.sub(L.add(rest, half_log), _log(product, _DOUBLE)))
    sine = _sine_of_pi(wide)
    mirrored = L.sub(L.neg(_log(sine, _DOUBLE)), value)
    result = L.select(reflected, mirrored, value)
    result = L.select(L.gt(L.abs(wide), 2.5563481638716905e305), math.inf, result)
    return L.cast(result, form.dtype)


NAMES = frozenset(_RULES)
"""The functions that `expand` writes out."""
assert NAMES.isdisjoint(EXACT)
