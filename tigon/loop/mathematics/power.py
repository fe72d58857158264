"""Roots and powers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tigon.base.dtypes import float32, float64
from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Const, Expr
from tigon.loop.mathematics.exponential import exp_of_clamped
from tigon.loop.mathematics.logarithm import log_edges, log_parts, log_sum, precise_log, short_ln2
from tigon.loop.mathematics.parts import (
    DOUBLE,
    LOG2E,
    SINGLE,
    UNIT,
    Format,
    at_least,
    at_most,
    bits_of,
    float_of,
    polynomial,
    table,
    with_sign,
)


@elementary("rsqrt", lambda x: 1 / np.sqrt(x), ulp=(1.5, 1.5), price=8)
def rsqrt(x: Expr, form: Format) -> Expr:
    return L.div(1.0, L.sqrt(x))


@elementary("hypot", np.hypot, ulp=(1, 1.5), commutes=True, fixed=())
def hypot(x: Expr, y: Expr, form: Format) -> Expr:
    if form is SINGLE:
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


@elementary(
    "pow",
    np.power,
    ulp=(1, 1),
    note="a power that is a float comes out exactly",
    fixed=tuple(_SIMPLE_POWERS),
)
def power(x: Expr, y: Expr, form: Format) -> Expr:
    if isinstance(y, Const) and y.value in _SIMPLE_POWERS:
        return _SIMPLE_POWERS[y.value](x)
    magnitude = L.abs(x)
    result = (_pow_single if form is SINGLE else _pow_double)(magnitude, y)
    # Negative x: only whole y, and the sign of odd ones. Every float from 2**(m+1) on is even.
    whole = L.eq(L.trunc(y), y)
    half = L.mul(y, 0.5)
    odd = L.and_(whole, L.ne(L.trunc(half), half))
    top = L.and_(bits_of(x, form), 1 << (8 * form.dtype.itemsize - 1))
    sign = L.select(odd, top, 0)
    result = float_of(L.or_(bits_of(result, form), sign), form)
    invalid = L.and_(L.and_(L.lt(x, 0.0), L.not_(whole)), L.gt(x, -math.inf))
    result = L.select(invalid, math.nan, result)
    result = L.select(L.or_(L.ne(x, x), L.ne(y, y)), L.add(x, y), result)
    # 1 ** y and x ** 0 are 1 even for NaN; (-1) ** +-inf too.
    one = L.or_(L.eq(x, 1.0), L.eq(y, 0.0))
    one = L.or_(one, L.and_(L.eq(x, -1.0), L.eq(L.abs(y), math.inf)))
    return L.select(one, 1.0, result)


def _pow_single(x: Expr, y: Expr) -> Expr:
    """|x| ** y for float32 through float64, which has bits to spare."""
    wide, exponent = L.cast(x, float64), L.cast(y, float64)
    e, f, small = log_parts(wide, DOUBLE, denormals=False)
    logarithm = log_edges(wide, log_sum(e, f, small, DOUBLE))
    product = L.mul(exponent, logarithm)
    clamped = at_most(at_least(product, -150.0), 150.0)
    return L.cast(exp_of_clamped(clamped, DOUBLE), float32)


def _pow_double(x: Expr, y: Expr) -> Expr:
    """|x| ** y with the logarithm as an unevaluated sum of two floats."""
    high, low = precise_log(x)
    product = L.mul(y, high)
    # Of an infinite product there is no rest.
    rest = L.fma(y, low, L.fma(y, high, L.neg(product)))
    finite = L.lt(L.abs(product), 1000.0)
    rest = L.select(finite, rest, 0.0)
    return _exp_of_sum(at_most(at_least(product, -746.5), 711.0), rest)


def _exp_of_sum(x: Expr, rest: Expr) -> Expr:
    """e ** (x + rest) of clamped float64 x, less than half a unit off before the last rounding: so
    a power that is a float comes out exactly. 2**k is multiplied in two halves."""
    k = L.sub(L.fma(x, LOG2E / UNIT, DOUBLE.magic), DOUBLE.magic)
    high, low = short_ln2(DOUBLE)
    near = L.fma(k, -high, x)  # exact
    r = L.fma(k, -low, near)
    r_rest = L.add(L.fma(k, -low, L.sub(near, r)), rest)
    tail = L.mul(L.mul(r, r), polynomial(r, table("exp", DOUBLE)))
    tail = L.add(tail, L.fma(r_rest, L.add(tail, r), r_rest))
    offset = DOUBLE.magic + DOUBLE.bias
    first = L.fma(k, 0.5, offset)
    second = L.add(L.sub(k, L.sub(first, offset)), offset)
    total = L.add(r, 1.0)
    value = L.add(total, L.add(L.add(L.sub(1.0, total), r), tail))
    for half in (first, second):
        scale = float_of(L.shl(bits_of(half, DOUBLE), DOUBLE.mantissa), DOUBLE)
        value = L.mul(value, scale)
    return value


@elementary("cbrt", np.cbrt, ulp=(1, 1))
def cbrt(x: Expr, form: Format) -> Expr:
    wide = L.abs(L.cast(x, float64))
    tiny = L.lt(wide, 2.0**-900)
    if form is DOUBLE:
        wide = L.select(tiny, L.mul(wide, 2.0**300), wide)
    e, f, small = log_parts(wide, DOUBLE, denormals=False)
    y = exp_of_clamped(L.mul(log_sum(e, f, small, DOUBLE), 1 / 3), DOUBLE)
    if form is DOUBLE:
        # One step of Newton on y**3 = x; the residual of y * (y * y) is exact to its leading bits.
        square = L.mul(y, y)
        square_rest = L.fma(y, y, L.neg(square))
        cube = L.mul(square, y)
        cube_rest = L.fma(square_rest, y, L.fma(square, y, L.neg(cube)))
        residual = L.add(L.sub(wide, cube), L.neg(cube_rest))
        y = L.add(y, L.div(residual, L.mul(square, 3.0)))
        y = L.select(tiny, L.mul(y, 2.0**-100), y)
    result = with_sign(L.cast(y, form.dtype), x, form)
    ordinary = L.and_(L.lt(L.abs(x), math.inf), L.ne(x, 0.0))
    return L.select(ordinary, result, x)
