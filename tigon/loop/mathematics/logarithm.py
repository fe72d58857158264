"""Logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.parts import (
    DOUBLE,
    LN2,
    LOG2E,
    LOG10_2,
    LOG10E,
    SINGLE,
    UNIT,
    Format,
    bits_of,
    float_of,
    polynomial,
    small_is_itself,
    table,
    two_sum,
)


def _split(x: Expr, form: Format, denormals: bool) -> tuple[Expr, Expr]:
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
    moved = L.add(bits_of(x, form), form.bits(1.0) - root)
    exponent = L.or_(L.shr(moved, form.mantissa), form.bits(2.0**form.mantissa))
    e = L.sub(float_of(exponent, form), exponent_bias)
    m = float_of(L.add(L.and_(moved, (1 << form.mantissa) - 1), root), form)
    return e, L.sub(m, 1.0)


def log_parts(x: Expr, form: Format, denormals: bool = True) -> tuple[Expr, Expr, Expr]:
    """(e, f, small): log(x) = e * ln2 + f + small for finite x > 0; f is exact."""
    e, f = _split(x, form, denormals)
    if form is SINGLE:
        cubic = L.fma(f, polynomial(f, table("log", form)), -0.5)
        return e, f, L.mul(L.mul(f, f), cubic)
    # With s = f / (2 + f): log(1 + f) = 2*atanh(s) = f - s * (f - s**2 * R(s**2)).
    s = L.div(f, L.add(f, 2.0))
    z = L.mul(s, s)
    inner = L.fma(L.neg(z), polynomial(z, table("log", form)), f)
    return e, f, L.neg(L.mul(s, inner))


def log_edges(x: Expr, result: Expr) -> Expr:
    """A logarithm's values at 0, below 0, at infinity and NaN."""
    pole = L.select(L.eq(x, 0.0), L.const(-math.inf, x.dtype), math.nan)
    return L.select(L.lt(x, math.inf), L.select(L.gt(x, 0.0), result, pole), x)


def log_sum(e: Expr, f: Expr, small: Expr, form: Format) -> Expr:
    # ln2's high part is short, so that its product with e is exact.
    high, low = short_ln2(form)
    return L.fma(e, high, L.add(f, L.fma(e, low, small)))


def short_ln2(form: Format) -> tuple[float, float]:
    keep = UNIT >> (form.mantissa - 10)
    low = LN2 % keep
    return (LN2 - low) / UNIT, low / UNIT


def _of_parts(x: Expr, form: Format, result: Callable[[tuple[Expr, Expr, Expr]], Expr]) -> Expr:
    """A logarithm from the parts of x. Zeros, denormals, infinities, NaN and negative numbers,
    which one comparison tells, are seldom: what they take is not worked out for others."""
    least, most = form.bits(2.0 ** (1 - form.bias)), form.bits(math.inf)
    rare = L.ge(L.sub(bits_of(x, form), least), most - least)
    whole = log_edges(x, result(log_parts(x, form)))
    return L.seldom(rare, x, whole, result(log_parts(x, form, denormals=False)))


@elementary("log", np.log, ulp=(1, 1))
def log(x: Expr, form: Format) -> Expr:
    return _of_parts(x, form, lambda parts: log_sum(*parts, form))


@elementary("log2", np.log2, ulp=(1.5, 1.5))
def log2(x: Expr, form: Format) -> Expr:
    def result(parts: tuple[Expr, Expr, Expr]) -> Expr:
        e, f, small = parts
        return L.add(e, _times(f, small, LOG2E, form))

    return _of_parts(x, form, result)


@elementary("log10", np.log10, ulp=(1.5, 1.5))
def log10(x: Expr, form: Format) -> Expr:
    def result(parts: tuple[Expr, Expr, Expr]) -> Expr:
        e, f, small = parts
        high, low = form.parts(LOG10_2)
        return L.fma(e, high, L.fma(e, low, _times(f, small, LOG10E, form)))

    return _of_parts(x, form, result)


def _times(f: Expr, small: Expr, factor: int, form: Format) -> Expr:
    """(f + small) * factor with the rounding of f * factor made good."""
    high, low = form.parts(factor)
    product = L.mul(f, high)
    rest = L.fma(f, low, L.fma(f, high, L.neg(product)))
    return L.add(product, L.fma(small, high, rest))


@elementary("log1p", np.log1p, ulp=(1.5, 1.5))
def log1p(x: Expr, form: Format) -> Expr:
    total = L.add(x, 1.0)
    shadow = L.sub(total, x)
    # What rounding took from 1 + x, exactly.
    error = L.add(L.sub(x, L.sub(total, shadow)), L.sub(1.0, shadow))
    e, f, small = log_parts(total, form, denormals=False)
    result = log_sum(e, f, L.add(small, L.div(error, total)), form)
    return small_is_itself(x, log_edges(total, result), form)


def precise_log(x: Expr) -> tuple[Expr, Expr]:
    """log(x) to about 2**-64 of itself, for x >= 0, as the sum of two floats.

    log(m) = 2*s + (2/3)*s**3 + s**5 * R(s**2) with s = (m-1) / (m+1): the first two terms carry
    their rounding errors, the third is small enough to be rounded."""
    e, f = _split(x, DOUBLE, denormals=True)
    d = L.add(f, 2.0)
    d_rest = L.sub(f, L.sub(d, 2.0))
    s = L.div(f, d)
    s_rest = L.div(L.fma(L.neg(s), d_rest, L.fma(L.neg(s), d, f)), d)
    z = L.mul(s, s)
    z_rest = L.fma(L.mul(s, 2.0), s_rest, L.fma(s, s, L.neg(z)))
    t = L.mul(s, z)
    t_rest = L.fma(s, z_rest, L.fma(s_rest, z, L.fma(s, z, L.neg(t))))
    third, third_rest = DOUBLE.parts(2 * UNIT // 3)
    u = L.mul(t, third)
    u_rest = L.fma(t, third_rest, L.fma(t_rest, third, L.fma(t, third, L.neg(u))))
    v = L.mul(L.mul(t, z), polynomial(z, table("log_rest", DOUBLE)))
    ln2, ln2_rest = short_ln2(DOUBLE)
    first, first_rest = two_sum(L.mul(e, ln2), L.mul(s, 2.0))
    second, second_rest = two_sum(first, u)
    rest = L.add(L.fma(s_rest, 2.0, L.fma(e, ln2_rest, first_rest)), L.add(second_rest, u_rest))
    rest = L.add(rest, v)
    high = L.add(second, rest)
    low = L.sub(rest, L.sub(high, second))
    edge = log_edges(x, high)
    return edge, L.select(L.lt(L.abs(edge), math.inf), low, 0.0)
