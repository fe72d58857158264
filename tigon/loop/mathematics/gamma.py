"""The gamma function and its logarithm."""

from __future__ import annotations

import math

from tigon.base.dtypes import float64
from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.exponential import exp_of_clamped
from tigon.loop.mathematics.logarithm import log, precise_log
from tigon.loop.mathematics.parts import (
    DOUBLE,
    PI,
    UNIT,
    Format,
    at_least,
    at_most,
    of_doubles,
    polynomial,
    table,
    two_sum,
)


def _gamma_of(x: float) -> float:
    if x == 0:
        return math.copysign(math.inf, x)
    return math.gamma(x)


def _lgamma_of(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


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
    high, low = precise_log(z)
    power = L.sub(z, 0.5)
    p = L.mul(power, high)
    p_rest = L.fma(power, low, L.fma(power, high, L.neg(p)))
    q, q_rest = two_sum(p, L.neg(z))
    inverse = L.div(1.0, z)
    series = L.mul(inverse, polynomial(L.mul(inverse, inverse), _STIRLING))
    # d/dz of log Gamma is about log(z): the bits that rounding x + 8 lost.
    correction = L.fma(z_rest, high, series)
    return q, L.add(L.add(p_rest, q_rest), correction), product


# B(2k) / (2k * (2k - 1)), Bernoulli's numbers.
_STIRLING = tuple(
    above / (below * 2 * k * (2 * k - 1))
    for k, (above, below) in enumerate(
        [(1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510)], 1
    )
)


def _reflect(x: Expr, reflected: Expr) -> tuple[Expr, Expr]:
    """x, or 1 - x with its rounding error."""
    mirror, rest = two_sum(L.const(1.0, float64), L.neg(x))
    return L.select(reflected, mirror, x), L.select(reflected, rest, 0.0)


def _sine_of_pi(x: Expr) -> Expr:
    """|sin(pi * x)| / pi of float64 x; it is x itself for the smallest x."""
    t = L.sub(x, L.rint(x))
    z = L.mul(L.mul(t, t), PI**2 / UNIT**2)
    return L.abs(L.mul(t, polynomial(z, (1.0, *table("sin_wide", DOUBLE)))))


@elementary("gamma", of_doubles(_gamma_of), ulp=(1, 16))
def gamma(x: Expr, form: Format) -> Expr:
    wide = L.cast(x, float64)
    reflected = L.lt(wide, 0.5)
    q, rest, product = _stirling(*_reflect(at_most(at_least(wide, -200.0), 200.0), reflected))
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
    series = (1.0, 1.0, *table("exp", DOUBLE)[:5])
    factor = L.mul(factor, polynomial(L.mul(rest, sign), series))
    exponent = at_most(at_least(L.mul(q, sign), -800.0), 711.0)
    value = exp_of_clamped(exponent, DOUBLE, factor)
    result = L.select(near, L.div(value, sine), value)
    pole = L.and_(L.eq(floor, wide), L.lt(wide, 0.0))
    result = L.select(pole, math.nan, result)
    result = L.select(L.eq(wide, 0.0), L.div(1.0, wide), result)
    result = L.select(L.eq(wide, math.inf), math.inf, result)
    return L.cast(result, form.dtype)


_ROOT = math.sqrt(2 * math.pi)


@elementary(
    "lgamma",
    of_doubles(_lgamma_of),
    ulp=(1, 20),
    note="float64: of max(1, abs(result)), for it has zeros",
)
def lgamma(x: Expr, form: Format) -> Expr:
    wide = L.cast(x, float64)
    reflected = L.lt(wide, 0.5)
    q, rest, product = _stirling(*_reflect(wide, reflected))
    half_log = L.const(0.5 * math.log(2 * math.pi), float64)
    value = L.add(q, L.sub(L.add(rest, half_log), log(product, DOUBLE)))
    sine = _sine_of_pi(wide)
    mirrored = L.sub(L.neg(log(sine, DOUBLE)), value)
    result = L.select(reflected, mirrored, value)
    result = L.select(L.gt(L.abs(wide), 2.5563481638716905e305), math.inf, result)
    return L.cast(result, form.dtype)
