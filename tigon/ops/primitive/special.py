"""Special functions, element by element: erf, gamma and kin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.dtypes import float64
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.arithmetic import square
from tigon.ops.primitive.choose import clip
from tigon.ops.primitive.functions import exp
from tigon.ops.primitive.real import real_function
from tigon.ops.record import Operator, elementwise


def _special(name: str) -> Callable[..., Any]:
    """scipy's function: the oracle; scipy is needed by the tests only."""

    def oracle(x: np.ndarray) -> np.ndarray:
        import scipy.special  # type: ignore[import-untyped]

        return np.asarray(getattr(scipy.special, name)(x)).astype(x.dtype)

    return oracle


def _bell(x: Any, rate: float) -> Any:
    """exp(-rate x²). Far out it is 0, and of its slope infinity times 0 would be left."""
    return exp(square(clip(x, a_min=-40, a_max=40)) * -rate)


erf = real_function(
    "erf",
    lower=L.erf,
    grad=lambda g, y, x: (g * (2 / math.sqrt(math.pi)) * _bell(x, 1),),
    numpy=_special("erf"),
    doc="""The error function, 2/sqrt(π) times the integral of exp(-t²) from 0 to x.

    >>> nd.erf(nd.array([0, 1])).asnumpy()
    array([0.    , 0.8427], dtype=float32)
    """,
)

erfinv = real_function(
    "erfinv",
    lower=L.erfinv,
    grad=lambda g, y, x: (g * (math.sqrt(math.pi) / 2) * exp(square(y)),),
    numpy=_special("erfinv"),
    domain=(-0.9, 0.9),
    doc="""The number whose error function is x.

    >>> nd.erfinv(nd.array([0, 0.5])).asnumpy()
    array([0.    , 0.4769], dtype=float32)
    """,
)

gamma = elementwise(
    "gamma",
    lower=L.gamma,
    grad=lambda g, y, x: (g * y * digamma(x),),
    numpy=_special("gamma"),
    domain=(0.5, 4.0),
    doc="""The gamma function; (n - 1)! for a whole n.

    >>> nd.gamma(nd.array([3, 4])).asnumpy()
    array([2., 6.], dtype=float32)
    """,
)

gammaln = real_function(
    "gammaln",
    lower=L.lgamma,
    grad=lambda g, y, x: (g * digamma(x),),
    numpy=_special("gammaln"),
    domain=(0.5, 4.0),
    doc="""Logarithm of the absolute value of the gamma function.

    >>> nd.gammaln(nd.array([3, 4])).asnumpy()
    array([0.6931, 1.7918], dtype=float32)
    """,
)

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B2, B4, ...


def _lower_polygamma(order: int, x: Expr) -> Expr:
    """The recurrence up to where the asymptotic series is exact to double precision, the series
    from there, and for x < 1/2 the reflection, whose derivatives are polynomials in cot(pi x).

    psi_n(z) = (-1)^(n+1) [(n-1)!/z^n + n!/(2 z^(n+1)) + sum B_2k (2k+n-1)!/(2k)! / z^(2k+n)],
    and for n = 0 log z in place of the first term. In double precision: it cancels near its roots.
    """
    result, x = x.dtype, L.cast(x, float64)
    shift = 8 + order
    reflect = L.lt(x, 0.5)
    z = L.select(reflect, L.sub(1, x), x)
    small = L.lt(z, shift)
    far = L.select(small, L.add(z, shift), z)
    inverse = L.div(1, far)
    squared = L.mul(inverse, inverse)
    series: Expr = L.const(0, x.dtype)
    for index in range(len(_BERNOULLI), 0, -1):
        weight = math.factorial(2 * index + order - 1) / math.factorial(2 * index)
        series = L.mul(squared, L.add(series, _BERNOULLI[index - 1] * weight))
    series = L.add(series, L.mul(inverse, 0.5 * math.factorial(order)))
    if order:
        series = L.add(series, math.factorial(order - 1))
    for _ in range(order):
        series = L.mul(series, inverse)
    steps: Expr = L.const(0, x.dtype)
    for step in range(shift):
        term = L.div(1, L.add(z, step))
        power_ = term
        for _ in range(order):
            power_ = L.mul(power_, term)
        steps = L.add(steps, L.mul(power_, math.factorial(order)))
    total = L.add(series, L.select(small, steps, 0))
    value = L.sub(L.log(far), total) if order == 0 else total if order % 2 else L.neg(total)
    # Of the whole number next to x nothing is left to be rounded away.
    cotangent = L.div(1, L.tan(L.mul(L.sub(x, L.rint(x)), math.pi)))
    *lower, highest = (c * math.pi ** (order + 1) for c in _cotangent_derivative(order))
    slope: Expr = L.const(highest, x.dtype)
    for coefficient in reversed(lower):
        slope = L.add(L.mul(slope, cotangent), coefficient)
    mirrored = L.sub(value if order % 2 == 0 else L.neg(value), slope)
    pole = L.and_(L.le(x, 0), L.eq(x, L.floor(x)))
    return L.cast(L.select(pole, math.nan, L.select(reflect, mirrored, value)), result)


def _cotangent_derivative(order: int) -> list[float]:
    """Coefficients of P with d^n cot / dx^n = P(cot x): each derivative maps P to -(1 + c²) P'."""
    coefficients = [0.0, 1.0]
    for _ in range(order):
        slope = [k * c for k, c in enumerate(coefficients)][1:]
        coefficients = [0.0] * (len(slope) + 2)
        for k, c in enumerate(slope):
            coefficients[k] -= c
            coefficients[k + 2] -= c
    return coefficients


class PolygammaAttrs(Frozen):
    order: int = 1


def _polygamma_oracle(x: np.ndarray, order: int) -> np.ndarray:
    import scipy.special

    # Shifted by the recurrence, since scipy knows positive numbers only.
    steps = sum((x.astype(np.float64) + k) ** -(order + 1) for k in range(8))
    far = scipy.special.polygamma(order, x.astype(np.float64) + 8)
    return np.asarray(far - (-1) ** order * math.factorial(order) * steps).astype(x.dtype)


digamma: Operator = elementwise(
    "digamma",
    lower=lambda x: _lower_polygamma(0, x),
    grad=lambda g, y, x: (g * polygamma(x, order=1),),
    numpy=_special("digamma"),
    dtypes="f",
    domain=(-0.9, 4.0),
    ulp=(4, 40),
    doc="""Derivative of the logarithm of the gamma function; NaN at 0, -1, -2, ...

    >>> nd.digamma(nd.array([1])).asnumpy()
    array([-0.5772], dtype=float32)
    """,
)

polygamma: Operator = elementwise(
    "_polygamma",
    attrs=PolygammaAttrs,
    lower=lambda a, x: _lower_polygamma(a.order, x),
    grad=lambda a, g, y, x: (g * polygamma(x, order=a.order + 1),),
    numpy=_polygamma_oracle,
    dtypes="f",
    domain=(0.5, 4.0),
    tolerance={"float32": 2e-5},
    samples=(((5,), {}), ((3, 5), {"order": 2}), ((0, 2), {"order": 3})),
    doc="""Derivative of `digamma`, `order` times.""",
)
