"""Activations that are functions of one element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.arithmetic import absolute, sign, square
from tigon.ops.primitive.choose import clip, where
from tigon.ops.primitive.compare import greater, lesser, logical_and
from tigon.ops.primitive.functions import exp
from tigon.ops.primitive.real import real_function
from tigon.ops.primitive.special import _bell, _special
from tigon.ops.record import Operator, elementwise

sigmoid = real_function(
    "sigmoid",
    lower=L.sigmoid,
    grad=lambda g, y, x: (g * y * (1 - y),),
    numpy=_special("expit"),
    doc="""1 / (1 + exp(-x)).

    >>> nd.sigmoid(nd.array([0, 1])).asnumpy()
    array([0.5   , 0.7311], dtype=float32)
    """,
)


def _lower_softsign(x: Expr) -> Expr:
    most = float(np.finfo(x.dtype.numpy).max)  # infinity by infinity is no number
    finite = L.minimum(L.maximum(x, -most), most)
    return L.div(finite, L.add(L.abs(finite), 1))


softsign = real_function(
    "softsign",
    lower=_lower_softsign,
    grad=lambda g, y, x: (g / (1 + absolute(x)) / (1 + absolute(x)),),
    numpy=lambda x: x / (1 + np.abs(x)),
    doc="""x / (1 + abs(x)).

    >>> nd.softsign(nd.array([-1, 0, 3])).asnumpy()
    array([-0.5 ,  0.  ,  0.75], dtype=float32)
    """,
)

relu = elementwise(
    "relu",
    lower=lambda x: L.maximum(x, 0),
    grad=lambda g, y, x: (g * greater(y, 0),),
    numpy=lambda x: np.maximum(x, x.dtype.type(0)),
    dtypes="fiu",
    doc="""max(x, 0).

    >>> nd.relu(nd.array([-1, 0, 3])).asnumpy()
    array([0., 0., 3.], dtype=float32)
    """,
)


def _lower_softrelu(x: Expr) -> Expr:
    # log(1 + e^x), written so that neither side overflows.
    return L.add(L.maximum(x, 0), L.log1p(L.exp(L.neg(L.abs(x)))))


softrelu = elementwise(
    "_softrelu",
    lower=_lower_softrelu,
    grad=lambda g, y, x: (g * _slope_of_softrelu(x),),
    numpy=lambda x: np.logaddexp(x, x.dtype.type(0)),
    dtypes="f",
    ulp=(3, 3),
    doc="""log(1 + exp(x)), which MXNet's `Activation` calls softrelu.""",
)

_slope_of_softrelu: Operator = elementwise(
    "_slope_of_softrelu",
    lower=L.sigmoid,
    grad=lambda g, y, x: (g * y * sigmoid(-x),),
    numpy=sigmoid.numpy,
    doc="""`sigmoid`, but with a slope that keeps its digits where the result is nearly 1.""",
)

log_sigmoid = real_function(
    "log_sigmoid",
    lower=lambda x: L.neg(_lower_softrelu(L.neg(x))),
    grad=lambda g, y, x: (g * _slope_of_softrelu(-x),),
    numpy=lambda x: -np.logaddexp(-x, x.dtype.type(0)),
    ulp=(3, 3),
    doc="""log(1 / (1 + exp(-x))), without underflow.

    >>> nd.log_sigmoid(nd.array([0, -100])).asnumpy()
    array([  -0.6931, -100.    ], dtype=float32)
    """,
)


def _lower_mish(x: Expr) -> Expr:
    """With e = exp(x) it is x·e·(e + 2) / (e·(e + 2) + 2). For x far below 0, e has lost its digits
    where x·e has them still: e is multiplied as two roots. From 20 on it is x."""
    low = L.select(L.lt(x, -1000), -1000, x)
    near = L.select(L.gt(low, 20), 20, low)
    root = L.exp(L.mul(near, 0.5))
    e = L.mul(root, root)
    more = L.add(e, 2)
    ratio = L.div(more, L.add(L.mul(e, more), 2))
    return L.select(L.gt(x, 20), x, L.mul(L.mul(L.mul(near, root), ratio), root))


def _slope_of_mish_oracle(x: np.ndarray) -> np.ndarray:
    inner = np.tanh(np.logaddexp(x, x.dtype.type(0)))
    return inner + x * (1 - inner * inner) / (1 + np.exp(-x))


def _lower_slope_of_mish(x: Expr) -> Expr:
    """e·w / d² with w = 4(x + 1) + e·(4x + 6 + e·(4 + e)) and d = e·(e + 2) + 2."""
    near = L.select(L.lt(x, -1000), -1000, L.select(L.gt(x, 20), 20, x))
    root = L.exp(L.mul(near, 0.5))
    e = L.mul(root, root)
    inner = L.add(L.add(L.mul(4, near), 6), L.mul(e, L.add(4, e)))
    w = L.add(L.mul(4, L.add(near, 1)), L.mul(e, inner))
    d = L.add(L.mul(e, L.add(e, 2)), 2)
    slope = L.mul(L.mul(root, L.div(w, L.mul(d, d))), root)
    return L.select(L.gt(x, 20), 1, slope)


def _curvature_of_mish(x: Any) -> Any:
    """With e = exp(-|x|) on either side, so that no power overflows and no digits are lost but near
    where it is 0."""
    near = clip(x, a_min=-1000, a_max=1000)
    e = exp(-absolute(near))
    d = 2 + e * (2 + e)
    below = 4 * e * (2 * (1 + e) * d + near * (2 + e * (2 - e * (3 + 2 * e)))) / (d * square(d))
    d = 1 + 2 * e * (1 + e)
    above = 2 * (1 + e) * d - near * (2 + e * (3 - 2 * e * (1 + e)))
    return where(greater(near, 0), 4 * e * above / (d * square(d)) * e, below)


_slope_of_mish: Operator = elementwise(
    "_slope_of_mish",
    lower=_lower_slope_of_mish,
    grad=lambda g, y, x: (g * _curvature_of_mish(x),),
    numpy=_slope_of_mish_oracle,
    dtypes="f",
    doc="""The slope of `mish`.""",
)

mish = real_function(
    "mish",
    lower=_lower_mish,
    grad=lambda g, y, x: (g * _slope_of_mish(x),),
    numpy=lambda x: x * np.tanh(np.logaddexp(x, x.dtype.type(0))),
    ulp=(8, 8),
    doc="""x · tanh(log(1 + exp(x))).

    >>> nd.mish(nd.array([0, 3])).asnumpy()
    array([0.    , 2.9865], dtype=float32)
    """,
)

_normal_cdf = elementwise(
    "_normal_cdf",
    lower=L.normal_cdf,
    grad=lambda g, y, x: (g * _normal_density(x),),
    numpy=_special("ndtr"),
    doc="""The normal distribution's Phi: the share of it below x.""",
)


def _normal_density(x: Any) -> Any:
    return _bell(x, 0.5) * (1 / math.sqrt(2 * math.pi))


def _slope_of_gelu(x: Any) -> Any:
    near = clip(x, a_min=-40, a_max=40)  # beyond, the density is 0, and infinity times it is not
    return _normal_cdf(x) + near * _normal_density(x)


gelu = elementwise(
    "_gelu",
    lower=L.gelu,
    grad=lambda g, y, x: (g * _slope_of_gelu(x),),
    numpy=lambda x: x * _special("ndtr")(x),
    doc="""x · Phi(x), which `LeakyReLU` knows as 'gelu' (Hendrycks and Gimpel 2016).""",
)


class HardSigmoidAttrs(Frozen):
    alpha: float = 0.2
    beta: float = 0.5


hard_sigmoid = elementwise(
    "hard_sigmoid",
    attrs=HardSigmoidAttrs,
    lower=lambda a, x: L.maximum(L.minimum(L.add(L.mul(x, a.alpha), a.beta), 1), 0),
    grad=lambda a, g, y, x: (g * a.alpha * logical_and(greater(y, 0), lesser(y, 1)),),
    numpy=lambda x, alpha, beta: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1),
    dtypes="f",
    doc="""alpha · x + beta, clipped to 0 and 1.

    Parameters: `alpha` the slope (default 0.2), `beta` the value at 0 (default 0.5).

    >>> nd.hard_sigmoid(nd.array([-5, 0, 1])).asnumpy()
    array([0. , 0.5, 0.7], dtype=float32)
    """,
)


class SmoothL1Attrs(Frozen):
    scalar: float = 1.0


smooth_l1 = elementwise(
    "smooth_l1",
    attrs=SmoothL1Attrs,
    lower=lambda a, x: L.select(
        L.lt(L.abs(x), 1 / a.scalar**2),
        L.mul(L.mul(x, x), 0.5 * a.scalar**2),
        L.sub(L.abs(x), 0.5 / a.scalar**2),
    ),
    grad=lambda a, g, y, x: (
        g * where(lesser(absolute(x), 1 / a.scalar**2), x * a.scalar**2, sign(x)),
    ),
    numpy=lambda x, scalar: np.where(
        np.abs(x) < 1 / scalar**2, 0.5 * scalar**2 * x * x, np.abs(x) - 0.5 / scalar**2
    ).astype(x.dtype),
    dtypes="f",
    samples=(((3, 5), {}), ((7,), {"scalar": 2.0}), ((0, 2), {})),
    doc="""Smooth L1 loss per element: a parabola near 0, abs(x) further out. With s = `scalar`:
    0.5 (s x)² where abs(x) < 1/s², else abs(x) - 0.5/s².

    >>> nd.smooth_l1(nd.array([0.5, 2, -3]), scalar=1).asnumpy()
    array([0.125, 1.5  , 2.5  ], dtype=float32)
    """,
)
