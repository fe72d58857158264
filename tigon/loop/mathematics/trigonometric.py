"""Trigonometric functions and their inverses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from tigon.base.dtypes import float64, uint64
from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.parts import (
    DOUBLE,
    PI,
    SINGLE,
    UNIT,
    Format,
    bits_of,
    float_of,
    polynomial,
    table,
    two_sum,
    with_sign,
)


@elementary("sin", np.sin, ulp=(2, 2), note="of every angle, up to the largest float")
def sin(x: Expr, form: Format) -> Expr:
    return _wave(x, form, quarters=0)


@elementary("cos", np.cos, ulp=(2, 2), note="as sin")
def cos(x: Expr, form: Format) -> Expr:
    return _wave(x, form, quarters=1)


def _wave(x: Expr, form: Format, quarters: int) -> Expr:
    """sin(x + quarters * pi / 2)."""

    def value(r: Expr, quadrant: Expr) -> Expr:
        sine, cosine = _sine_and_cosine(r, form)
        either = L.select(L.ne(L.and_(quadrant, 1), 0), cosine, sine)
        sign = L.shl(L.and_(quadrant, 2), 8 * form.dtype.itemsize - 2)
        return float_of(L.xor(bits_of(either, form), sign), form)

    return _of_angle(x, form, value, quarters)


@elementary("tan", np.tan, ulp=(3.5, 3.5), note="as sin")
def tan(x: Expr, form: Format) -> Expr:
    def value(r: Expr, quadrant: Expr) -> Expr:
        sine, cosine = _sine_and_cosine(r, form)
        odd = L.ne(L.and_(quadrant, 1), 0)
        return L.div(L.select(odd, L.neg(cosine), sine), L.select(odd, sine, cosine))

    return _of_angle(x, form, value, 0)


def _sine_and_cosine(r: Expr, form: Format) -> tuple[Expr, Expr]:
    """For |r| <= pi/4."""
    z = L.mul(r, r)
    sine = L.mul(r, polynomial(z, (1.0, *table("sin", form))))
    return sine, polynomial(z, (1.0, -0.5, *table("cos", form)))


_AT_HAND = 13
"""Up to 2**13, a float32 less a whole number times pi/2 as three floats is exact enough."""
_FAR = 45
"""From 2**45 on, pi/2 as a sum of three floats times a whole number is not exact enough."""


def _of_angle(x: Expr, form: Format, value: Callable[[Expr, Expr], Expr], quarters: int) -> Expr:
    """`value(r, k + quarters)`, where x = k*pi/2 + r with |r| <= pi/4. Hardly any program has
    angles so large that the remainder takes hundreds of digits of pi."""
    near = value(*_turned(x, form, quarters))
    r, quadrant = _far_turned(x, form)
    far = value(r, L.add(quadrant, quarters))
    far = L.select(L.eq(L.abs(x), math.inf), math.nan, far)
    if form is DOUBLE:
        return L.seldom(L.ge(L.abs(x), 2.0**_FAR), x, far, near)
    # Small angles need no float64, which has half the lanes.
    further = L.select(L.ge(L.abs(x), 2.0**_FAR), far, near)
    at_hand = value(*_turned_in_single(x, quarters))
    return L.seldom(L.ge(L.abs(x), 2.0**_AT_HAND), x, further, at_hand)


def _turned_in_single(x: Expr, quarters: int) -> tuple[Expr, Expr]:
    """r and k + quarters for |x| < 2**13 in float32. The first step is exact, as x and what is
    taken from it are multiples of 2**-24 and the difference is below 1."""
    magic = SINGLE.magic + quarters
    shifted = L.fma(x, 2 * UNIT / PI, magic)
    k = L.sub(shifted, magic)
    r = x
    for part in SINGLE.parts(PI // 2, 3):
        r = L.fma(k, -part, r)
    return r, bits_of(shifted, SINGLE)


def _turned(x: Expr, form: Format, quarters: int) -> tuple[Expr, Expr]:
    """r and k + quarters for |x| < 2**45. float32 is reduced in float64."""
    wide = L.cast(x, float64)
    magic = DOUBLE.magic + quarters
    shifted = L.fma(wide, 2 * UNIT / PI, magic)
    k = L.sub(shifted, magic)
    r = wide
    for part in DOUBLE.parts(PI // 2, 2 if form is SINGLE else 3):
        r = L.fma(k, -part, r)
    return L.cast(r, form.dtype), L.cast(bits_of(shifted, DOUBLE), form.unsigned)


def _far_turned(x: Expr, form: Format) -> tuple[Expr, Expr]:
    """r and k for finite |x| >= 2**45, after Payne and Hanek: x is a whole number times 2**s, and
    of 2/pi * 2**s only the digits from the second before the point on matter, since four quarter
    turns are none. Numbers in limbs of 32 bits, the highest first, each in an uint64.

    The remainder of a float64 may begin with 62 zeros, of a float32 with 30: hence the limbs."""
    limbs = 3 if form is SINGLE else 6
    bits = L.cast(bits_of(L.abs(x), form), uint64)
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
    if form is SINGLE:
        r = L.mul(L.add(L.add(parts[0], parts[1]), parts[2]), PI / (2 * UNIT))
    else:
        high, high_rest = two_sum(parts[0], parts[1])
        tail = L.add(parts[2], L.add(parts[3], parts[4]))
        turn, turn_rest = two_sum(high, L.add(high_rest, tail))
        half_pi, half_pi_rest = DOUBLE.parts(PI // 2)
        r = L.mul(turn, half_pi)
        rounding = L.fma(turn, half_pi, L.neg(r))
        r = L.add(r, L.add(rounding, L.fma(turn, half_pi_rest, L.mul(turn_rest, half_pi))))
    negative = L.xor(L.shl(past, 63), L.and_(bits_of(L.cast(x, float64), DOUBLE), 1 << 63))
    r = float_of(L.xor(bits_of(r, DOUBLE), negative), DOUBLE)
    quadrant = L.select(L.lt(x, 0.0), L.sub(0, quadrant), quadrant)
    return L.cast(r, form.dtype), L.cast(quadrant, form.unsigned)


def _digits_of_two_over_pi(start: Expr, form: Format, limbs: int) -> list[Expr]:
    """The limbs of 2/pi * 2**s mod 4, where the lowest s gives `start` 0: a window on a constant
    of many words, half of which go at each of the steps that the bits of `start` decide."""
    most = form.bias - _FAR  # of `start`, for the greatest float
    needed = limbs // 2 + 1 + limbs % 2
    steps = (most >> 6).bit_length()
    count = needed + (1 << steps) - 1
    lowest = _FAR - form.mantissa
    whole = (2 * UNIT << 64 * count + lowest - 2) // PI
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


def _low_product(factor: list[Expr], mantissa: Expr, form: Format) -> list[Expr]:
    """factor * mantissa in as many limbs as `factor` has, the highest dropped."""
    low, high = _limb(mantissa), L.shr(mantissa, 32)
    carry: Expr = L.const(0, uint64)
    product: list[Expr] = []
    for place in range(len(factor))[::-1]:
        partial = L.mul(factor[place], low)
        total, rest = L.add(_limb(partial), carry), L.shr(partial, 32)
        if form is DOUBLE and place + 1 < len(factor):
            partial = L.mul(factor[place + 1], high)
            total, rest = L.add(total, _limb(partial)), L.add(rest, L.shr(partial, 32))
        product.append(_limb(total))
        carry = L.add(L.shr(total, 32), rest)
    return product[::-1]


def _limb(word: Expr) -> Expr:
    return L.and_(word, 0xFFFFFFFF)


def _scaled(limb: Expr, exponent: int) -> Expr:
    """limb * 2**exponent as a float64: the low bits of a number with that last place."""
    base = 2.0 ** (exponent + DOUBLE.mantissa)
    return L.sub(float_of(L.or_(limb, DOUBLE.bits(base)), DOUBLE), base)


@elementary("arctan", np.arctan, ulp=(2.5, 2.5))
def arctan(x: Expr, form: Format) -> Expr:
    return with_sign(_angle(L.abs(x), L.const(1.0, form.dtype), form), x, form)


def _angle(y: Expr, x: Expr, form: Format) -> Expr:
    """arctan(y / x) for y, x >= 0, by one division: the tangent is brought to +-(sqrt(2) - 1)."""
    low, high = math.sqrt(2) - 1, math.sqrt(2) + 1
    middle = L.gt(y, L.mul(x, low))
    far = L.gt(y, L.mul(x, high))
    upper = L.select(far, L.neg(x), L.select(middle, L.sub(y, x), y))
    lower = L.select(far, y, L.select(middle, L.add(y, x), x))
    quarter, quarter_rest = form.parts(PI // 4)
    half, half_rest = form.parts(PI // 2)
    base = L.select(far, half, L.select(middle, L.const(quarter, form.dtype), 0.0))
    rest = L.select(far, half_rest, L.select(middle, L.const(quarter_rest, form.dtype), 0.0))
    t = L.div(upper, lower)
    z = L.mul(t, t)
    small = L.fma(L.mul(t, z), polynomial(z, table("atan", form)), rest)
    return L.add(base, L.add(t, small))


@elementary("atan2", np.arctan2, ulp=(2.5, 2.5))
def atan2(y: Expr, x: Expr, form: Format) -> Expr:
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
    negative = L.ne(L.shr(bits_of(x, form), 8 * form.dtype.itemsize - 1), 0)
    pi_high, pi_low = form.parts(PI)
    mirrored = L.sub(pi_high, L.sub(angle, pi_low))
    result = with_sign(L.select(negative, mirrored, angle), y, form)
    return L.select(L.eq(greatest, greatest), result, greatest)


@elementary("arcsin", np.arcsin, ulp=(3, 3))
def arcsin(x: Expr, form: Format) -> Expr:
    magnitude, far, p, _ = _arcsine_parts(x, form)
    high, low = form.parts(PI // 2)
    result = L.select(far, L.sub(high, L.fma(p, 2.0, -low)), p)
    return with_sign(L.select(L.gt(magnitude, 1.0), math.nan, result), x, form)


@elementary("arccos", np.arccos, ulp=(2, 2))
def arccos(x: Expr, form: Format) -> Expr:
    magnitude, far, p, _ = _arcsine_parts(x, form)
    half_high, half_low = form.parts(PI // 2)
    pi_high, pi_low = form.parts(PI)
    negative = L.lt(x, 0.0)
    signed = L.select(negative, L.neg(p), p)
    near = L.sub(half_high, L.sub(signed, half_low))
    double = L.mul(p, 2.0)
    ends = L.select(negative, L.sub(pi_high, L.sub(double, pi_low)), double)
    return L.select(L.gt(magnitude, 1.0), math.nan, L.select(far, ends, near))


def _arcsine_parts(x: Expr, form: Format) -> tuple[Expr, Expr, Expr, Expr]:
    """(|x|, |x| > 1/2, arcsin of |x| or of sqrt((1 - |x|) / 2), its argument)."""
    magnitude = L.abs(x)
    far = L.gt(magnitude, 0.5)
    halved = L.mul(L.sub(1.0, magnitude), 0.5)
    t = L.select(far, L.sqrt(halved), magnitude)
    z = L.select(far, halved, L.mul(magnitude, magnitude))
    return magnitude, far, L.fma(L.mul(t, z), polynomial(z, table("asin", form)), t), t
