"""Exponentials."""

from __future__ import annotations

import numpy as np

from tigon.loop import build as L
from tigon.loop.functions import elementary
from tigon.loop.grammar import Expr
from tigon.loop.mathematics.parts import (
    LN2,
    LOG2E,
    SINGLE,
    UNIT,
    Format,
    at_least,
    at_most,
    bits_of,
    float_of,
    polynomial,
    small_is_itself,
    table,
)


@elementary("exp", np.exp, ulp=(1.5, 1.5))
def exp(x: Expr, form: Format) -> Expr:
    low, high = (-104.5, 89.5) if form is SINGLE else (-746.5, 711.0)
    return exp_of_clamped(at_most(at_least(x, low), high), form)


def exp_of_clamped(x: Expr, form: Format, factor: Expr | float = 1.0) -> Expr:
    """factor * e**x. x = 2*k*ln2 + r, and 2**k is multiplied twice: so the exponent neither
    overflows before the result does nor loses the denormal numbers."""
    offset = form.magic + form.bias
    shifted = L.fma(x, LOG2E / (2 * UNIT), offset)
    k = L.sub(shifted, offset)
    high, low = form.parts(2 * LN2)
    r = L.fma(k, -low, L.fma(k, -high, x))
    p = polynomial(r, (1.0, 1.0, *table("exp_wide", form)))
    scale = float_of(L.shl(bits_of(shifted, form), form.mantissa), form)
    return L.mul(L.mul(L.mul(p, factor), scale), scale)


def exp_minus_one(x: Expr, form: Format, down: int) -> Expr:
    """(e**x - 1) * 2**-down of a clamped x."""
    offset = form.magic + form.bias - down
    shifted = L.fma(x, LOG2E / UNIT, offset)
    k = L.sub(shifted, offset)
    high, low = form.parts(LN2)
    r = L.fma(k, -low, L.fma(k, -high, x))
    q = L.fma(L.mul(r, r), polynomial(r, table("exp", form)), r)
    scale = float_of(L.shl(bits_of(shifted, form), form.mantissa), form)
    return L.fma(scale, q, L.sub(scale, 2.0**-down))


@elementary("expm1", np.expm1, ulp=(2, 2.5))
def expm1(x: Expr, form: Format) -> Expr:
    low, high = (-26.0, 88.75) if form is SINGLE else (-48.0, 709.8)
    half = exp_minus_one(at_most(at_least(x, low), high), form, 1)
    return small_is_itself(x, L.mul(half, 2.0), form)


@elementary("sigmoid", lambda x: 1 / (1 + np.exp(-x)), ulp=(3.5, 3.5))
def sigmoid(x: Expr, form: Format) -> Expr:
    low = -104.5 if form is SINGLE else -746.5
    e = exp_of_clamped(at_least(L.neg(L.abs(x)), low), form)
    return L.div(L.select(L.lt(x, 0.0), e, 1.0), L.add(e, 1.0))
