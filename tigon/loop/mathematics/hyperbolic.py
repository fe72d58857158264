"""Hyperbolic functions and their inverses."""

from __future__ import annotations

import math

import numpy as np

from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.exponential import exp_minus_one, exp_of_clamped
from tigon.loop.mathematics.logarithm import log1p
from tigon.loop.mathematics.parts import (
    LN2,
    SINGLE,
    UNIT,
    Format,
    at_most,
    odd_quotient,
    small_is_itself,
    with_sign,
)


@elementary("tanh", np.tanh, ulp=(5.5, 3))
def tanh(x: Expr, form: Format) -> Expr:
    if form is SINGLE:
        return odd_quotient(x, 9.2, "tanh32")  # where it is 1
    e = exp_minus_one(at_most(L.mul(L.abs(x), 2.0), 40.0), form, 0)
    return with_sign(L.div(e, L.add(e, 2.0)), x, form)


@elementary("sinh", np.sinh, ulp=(2.5, 2.5))
def sinh(x: Expr, form: Format) -> Expr:
    e = exp_minus_one(_hyperbolic(x, form), form, 2)  # (e**|x| - 1) / 4
    double = L.mul(e, 2.0)
    result = L.add(double, L.div(e, L.fma(e, 2.0, 0.5)))
    return small_is_itself(x, with_sign(result, x, form), form)


@elementary("cosh", np.cosh, ulp=(2, 2))
def cosh(x: Expr, form: Format) -> Expr:
    quarter = exp_of_clamped(_hyperbolic(x, form), form, 0.25)
    return L.fma(quarter, 2.0, L.div(0.125, quarter))


def _hyperbolic(x: Expr, form: Format) -> Expr:
    """|x|, no greater than where e**|x| / 2 overflows."""
    return at_most(L.abs(x), 89.42 if form is SINGLE else 710.48)


@elementary("arcsinh", np.arcsinh, ulp=(2, 2))
def arcsinh(x: Expr, form: Format) -> Expr:
    a = L.abs(x)
    big = L.gt(a, 2.0 ** (form.mantissa // 2 + 3))
    near = L.add(a, L.div(L.mul(a, a), L.add(L.sqrt(L.fma(a, a, 1.0)), 1.0)))
    logarithm = log1p(L.select(big, L.sub(a, 1.0), near), form)
    result = L.add(logarithm, L.select(big, L.const(LN2 / UNIT, form.dtype), 0.0))
    return with_sign(result, x, form)


@elementary("arccosh", np.arccosh, ulp=(2.5, 2.5))
def arccosh(x: Expr, form: Format) -> Expr:
    t = L.sub(x, 1.0)
    big = L.gt(t, 2.0 ** (form.mantissa // 2 + 3))
    near = L.add(t, L.sqrt(L.fma(t, t, L.mul(t, 2.0))))
    logarithm = log1p(L.select(big, t, near), form)
    result = L.add(logarithm, L.select(big, L.const(LN2 / UNIT, form.dtype), 0.0))
    return L.select(L.lt(x, 1.0), math.nan, result)


@elementary("arctanh", np.arctanh, ulp=(2.5, 2.5))
def arctanh(x: Expr, form: Format) -> Expr:
    a = L.abs(x)
    logarithm = log1p(L.div(L.mul(a, 2.0), L.sub(1.0, a)), form)
    return with_sign(L.mul(logarithm, 0.5), x, form)
