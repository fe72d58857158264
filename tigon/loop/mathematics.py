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

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from tigon.base.dtypes import DType, bool_, float16, float32, float64, int32, int64, uint32, uint64
from tigon.loop import build as L
from tigon.loop.coefficients import TABLE
from tigon.loop.grammar import Apply, Const, Expr, Load
from tigon.loop.semantics import EXACT

ULP: dict[str, tuple[float, float]] = {
    # function: bounds for float32 and float64, in units in the last place of the exact result
    "exp": (1, 1),
}


@dataclass(frozen=True)
class _Format:
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
        (pattern,) = struct.unpack(integers, struct.pack(floats, value))
        return pattern

    def parts(self, exact: Fraction, count: int = 2) -> list[float]:
        """`exact` as a sum of floats, each as near as the format allows."""
        pieces = []
        for _ in range(count):
            piece = L.const(float(exact), self.dtype).value
            pieces.append(piece)
            exact -= Fraction(piece)
        return pieces


_SINGLE = _Format(float32, int32, uint32, 23, 127)
_DOUBLE = _Format(float64, int64, uint64, 52, 1023)
_FORMATS = {float32: _SINGLE, float64: _DOUBLE}


def _exactly(digits: str) -> Fraction:
    return Fraction(digits)


_PI = _exactly("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
_LN2 = _exactly("0.69314718055994530941723212145817656807550013436025525412068000949339362196969471")
_LOG2E = _exactly("1.44269504088896340735992468100189213742664595415298593413544940693110921918118508")
_LOG10E = _exactly("0.43429448190325182765112891891660508229439700580366656611445378316586464920887077")
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
    if len(_done) > 50_000:
        _done.clear()
    stack = [expr]
    while stack:
        node = stack[-1]
        if node in _done:
            stack.pop()
            continue
        missing = [operand for operand in node.operands if operand not in _done]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        _done[node] = _expanded(node, tuple(_done[operand] for operand in node.operands))
    return _done[expr]


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


# ------------------------------------------------------------------------------- exponentials


@_rule("exp")
def _exp(x: Expr, form: _Format) -> Expr:
    low, high = (-104.5, 89.5) if form is _SINGLE else (-746.5, 711.0)
    return _exp_of_clamped(_at_most(_at_least(x, low), high), form)


def _exp_of_clamped(x: Expr, form: _Format, factor: float = 1.0) -> Expr:
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
        # The quotient of two polynomials; at the clamp it rounds to 1.
        clamped = _at_most(_at_least(x, -9.02), 9.02)
        square = L.mul(clamped, clamped)
        upper = L.mul(_polynomial(square, TABLE["tanh32_p"]), clamped)
        return L.div(upper, _polynomial(square, TABLE["tanh32_q"]))
    e = _exp_minus_one(_at_most(L.mul(L.abs(x), 2.0), 40.0), form, 0)
    return _with_sign(L.div(e, L.add(e, 2.0)), x, form)


@_rule("sinh")
def _sinh(x: Expr, form: _Format) -> Expr:
    e = _exp_minus_one(_hyperbolic(x, form), form, 2)  # (e**|x| - 1) / 4
    double = L.mul(e, 2.0)
    result = L.add(double, L.div(double, L.fma(e, 4.0, 1.0)))
    return _small_is_itself(x, _with_sign(result, x, form), form)


@_rule("cosh")
def _cosh(x: Expr, form: _Format) -> Expr:
    quarter = _exp_of_clamped(_hyperbolic(x, form), form, 0.25)
    return L.fma(quarter, 2.0, L.div(0.125, quarter))


def _hyperbolic(x: Expr, form: _Format) -> Expr:
    """|x|, no greater than where e**|x| / 2 overflows."""
    return _at_most(L.abs(x), 89.42 if form is _SINGLE else 710.48)


# --------------------------------------------------------------------------------- logarithms


def _log_parts(x: Expr, form: _Format, denormals: bool = True) -> tuple[Expr, Expr, Expr]:
    """(e, f, small): log(x) = e * ln2 + f + small for finite x > 0; f is exact."""
    least = 2.0 ** (1 - form.bias)
    lift = form.mantissa + 2
    exponent_bias: Expr = L.const(2.0**form.mantissa + form.bias, form.dtype)
    if denormals:
        tiny = L.lt(x, least)
        exponent_bias = L.select(tiny, 2.0**form.mantissa + form.bias + lift, exponent_bias)
        x = L.select(tiny, L.mul(x, 2.0**lift), x)
    root = form.bits(math.sqrt(0.5))
    # The mantissa is taken from sqrt(1/2) to sqrt(2); the sum stays positive, so shift unsigned.
    moved = L.add(_integer(x, form), form.bits(1.0) - root)
    exponent = L.or_(L.shr(moved, form.mantissa), form.bits(2.0**form.mantissa))
    e = L.sub(_float(exponent, form), exponent_bias)
    m = _float(L.add(L.and_(moved, (1 << form.mantissa) - 1), root), form)
    f = L.sub(m, 1.0)
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
    return _wave(x, form, shift=False)


@_rule("cos")
def _cos(x: Expr, form: _Format) -> Expr:
    return _wave(x, form, shift=True)


def _wave(x: Expr, form: _Format, shift: bool) -> Expr:
    """sin(x), or cos(x) when `shift`: x = h*pi + r with h whole (half-whole), then
    (-1)**h * sin(r). float32 is reduced in float64, exact enough for any float32 below 2**45."""
    wide = L.cast(x, float64)
    # An odd magic number flips the lowest bit: cos(x) = -(-1)**k * sin(r) for h = k + 1/2.
    magic = _DOUBLE.magic + shift
    turns = L.fma(wide, float(1 / _PI), -0.5) if shift else L.mul(wide, float(1 / _PI))
    shifted = L.add(turns, magic)
    k = L.sub(shifted, magic)
    h = L.add(k, 0.5) if shift else k
    r = wide
    for part in _DOUBLE.parts(_PI, 2 if form is _SINGLE else 3):
        r = L.fma(h, -part, r)
    sign = L.shl(_integer(shifted, _DOUBLE), 63)
    r = L.cast(_float(L.xor(_integer(r, _DOUBLE), sign), _DOUBLE), form.dtype)
    # Beyond the reduction's reach the value is arbitrary, but never outside [-1, 1].
    r = _at_most(_at_least(r, -1.7), 1.7)
    z = L.mul(r, r)
    return L.fma(L.mul(r, z), _polynomial(z, _table("sin_wide", form)), r)


@_rule("tan")
def _tan(x: Expr, form: _Format) -> Expr:
    wide = L.cast(x, float64)
    shifted = L.fma(wide, float(2 / _PI), _DOUBLE.magic)
    k = L.sub(shifted, _DOUBLE.magic)
    r = wide
    for part in _DOUBLE.parts(_PI / 2, 2 if form is _SINGLE else 3):
        r = L.fma(k, -part, r)
    odd = L.ne(L.and_(_integer(shifted, _DOUBLE), 1), 0)
    r = L.cast(r, form.dtype)
    z = L.mul(r, r)
    sine = L.fma(L.mul(r, z), _polynomial(z, _table("sin", form)), r)
    cosine = L.fma(L.mul(z, z), _polynomial(z, _table("cos", form)), L.fma(z, -0.5, 1.0))
    return L.div(L.select(odd, L.neg(cosine), sine), L.select(odd, sine, cosine))


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
    logarithm = _log1p(L.select(big, a, near), form)
    result = L.add(logarithm, L.select(big, L.const(float(_LN2), form.dtype), 0.0))
    return _with_sign(result, x, form)


@_rule("arccosh")
def _arccosh(x: Expr, form: _Format) -> Expr:
    t = L.sub(x, 1.0)
    big = L.gt(t, 2.0 ** (form.mantissa // 2 + 3))
    near = L.add(t, L.sqrt(L.fma(t, t, L.mul(t, 2.0))))
    logarithm = _log1p(L.select(big, t, near), form)
    return L.add(logarithm, L.select(big, L.const(float(_LN2), form.dtype), 0.0))


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


_SIMPLE_POWERS: dict[float, Callable[[Expr], Expr]] = {
    0.0: lambda x: L.const(1.0, x.dtype),
    1.0: lambda x: x,
    2.0: lambda x: L.mul(x, x),
    3.0: lambda x: L.mul(L.mul(x, x), x),
    -1.0: lambda x: L.div(1.0, x),
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
    clamped = _at_most(_at_least(product, -746.5), 711.0)
    e = _exp_of_clamped(clamped, _DOUBLE)
    # e ** (p + rest) = e**p * (1 + rest); an overflowed e stays as it is.
    return L.select(L.lt(e, math.inf), L.fma(e, rest, e), e)


def _precise_log(x: Expr) -> tuple[Expr, Expr]:
    """log(x) to about 2**-66 of itself, for x >= 0."""
    raise NotImplementedError


NAMES = frozenset(_RULES)
"""The functions that `expand` writes out."""
assert NAMES.isdisjoint(EXACT)
_ = bool_
