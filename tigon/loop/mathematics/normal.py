"""The error function and the normal distribution."""

from __future__ import annotations

import math

from tigon.loop import build as L
from tigon.loop.coefficients import TABLE
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.exponential import exp_of_clamped
from tigon.loop.mathematics.logarithm import log, log1p
from tigon.loop.mathematics.parts import (
    SINGLE,
    Format,
    at_most,
    odd_quotient,
    of_doubles,
    polynomial,
    with_sign,
)


def _gelu_of(x: float) -> float:
    return x if x == math.inf else -0.0 if x < -40 else x * math.erfc(-x * math.sqrt(0.5)) / 2


def _erfinv_of(y: float) -> float:
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


@elementary("erf", of_doubles(math.erf), ulp=(5.5, 3))
def erf(x: Expr, form: Format) -> Expr:
    if form is SINGLE:
        return odd_quotient(x, 3.925, "erf32")
    a = at_most(L.abs(x), 6.0)
    near = L.mul(polynomial(L.mul(a, a), TABLE["erf64"]), a)
    complement = exp_of_clamped(polynomial(L.sub(a, 3.5), TABLE["erfc64"]), form)
    return with_sign(L.select(L.lt(a, 1.0), near, L.sub(1.0, complement)), x, form)


@elementary("erfinv", of_doubles(_erfinv_of), ulp=(3.5, 4))
def erfinv(x: Expr, form: Format) -> Expr:
    inside = L.mul(L.sub(1.0, x), L.add(x, 1.0))
    small = L.lt(L.abs(x), 2.0**-2)
    # Near 0 the product is 1 - x**2 with x**2 rounded away: there log1p(-x**2).
    w = L.neg(L.select(small, log1p(L.neg(L.mul(x, x)), form), log(inside, form)))
    root = L.sqrt(w)
    if form is SINGLE:
        near = polynomial(L.sub(w, 2.5), TABLE["erfinv_near32"])
        far = polynomial(L.sub(root, 3.0), TABLE["erfinv_far32"])
        ratio = L.select(L.lt(w, 5.0), near, far)
    else:
        near = polynomial(L.sub(w, 3.125), TABLE["erfinv_near64"])
        middle = polynomial(L.sub(root, 3.25), TABLE["erfinv_middle64"])
        far = polynomial(L.sub(root, 5.0), TABLE["erfinv_far64"])
        ratio = L.select(L.lt(w, 6.25), near, L.select(L.lt(w, 16.0), middle, far))
    result = L.mul(ratio, x)
    return L.select(L.eq(L.abs(x), 1.0), L.mul(x, math.inf), result)


def _normal_tail(x: Expr, form: Format, factor: Expr | float) -> Expr:
    """factor * Phi(-x) for x >= 0, up to where it vanishes: exp(-x**2 / 2) * P(x) / Q(x), nowhere
    1 - erf. What rounding took from x**2 is made good, or the tail would lose its digits."""
    name = f"normal_tail{form.name}"
    ratio = L.div(polynomial(x, TABLE[f"{name}_p"]), polynomial(x, TABLE[f"{name}_q"]))
    squared = L.mul(x, x)
    rest = L.fma(x, x, L.neg(squared))
    ratio = L.mul(L.fma(L.mul(rest, -0.5), ratio, ratio), factor)
    return exp_of_clamped(L.mul(squared, -0.5), form, ratio)


def _tail_end(x: Expr, form: Format) -> Expr:
    return at_most(L.abs(x), 14.5 if form is SINGLE else 39.0)


@elementary(
    "normal_cdf",
    of_doubles(lambda x: math.erfc(-x * math.sqrt(0.5)) / 2),
    ulp=(6, 8),
    note="the normal distribution's Phi",
)
def normal_cdf(x: Expr, form: Format) -> Expr:
    tail = _normal_tail(_tail_end(x, form), form, 1.0)
    return L.select(L.lt(x, 0.0), tail, L.sub(1.0, tail))


@elementary(
    "gelu", of_doubles(_gelu_of), ulp=(6, 8), note="'gelu' of `LeakyReLU`, to the end of its tail"
)
def gelu(x: Expr, form: Format) -> Expr:
    t = _tail_end(x, form)
    product = _normal_tail(t, form, t)
    return L.select(L.lt(x, 0.0), L.neg(product), L.sub(x, product))
