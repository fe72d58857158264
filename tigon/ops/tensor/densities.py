"""Densities of the distributions that `random` draws from, and chances of the discrete ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import square
from tigon.ops.primitive.choose import select, stop_gradient
from tigon.ops.primitive.compare import equal, greater_equal, lesser_equal, logical_and
from tigon.ops.primitive.functions import exp, log
from tigon.ops.primitive.reduce import sum
from tigon.ops.primitive.special import gammaln
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Operator, composite


class DensityAttrs(Frozen):
    is_log: bool = False


Formula = Callable[..., Any]


def _times_log(count: Any, x: Any) -> Any:
    """count * log(x), and 0 where both are."""
    nothing = logical_and(equal(count, 0), equal(x, 0))
    return count * log(select(nothing, 1, x))


def _uniform(x: Any, low: Any, high: Any) -> Any:
    inside = logical_and(greater_equal(x, low), lesser_equal(x, high))
    return select(inside, -log(high - low), -math.inf)


def _normal(x: Any, mu: Any, sigma: Any) -> Any:
    return square((x - mu) / sigma) / -2 - log(sigma) - 0.5 * math.log(2 * math.pi)


def _gamma(x: Any, alpha: Any, beta: Any) -> Any:
    return alpha * log(beta) + _times_log(alpha - 1, x) - beta * x - gammaln(alpha)


def _exponential(x: Any, lam: Any) -> Any:
    return log(lam) - lam * x


def _poisson(x: Any, lam: Any) -> Any:
    return _times_log(x, lam) - lam - gammaln(x + 1)


def _negative_binomial(x: Any, k: Any, p: Any) -> Any:
    ways = gammaln(x + k) - gammaln(x + 1) - gammaln(k)
    return ways + k * log(p) + _times_log(x, 1 - p)


def _generalized(x: Any, mu: Any, alpha: Any) -> Any:
    return _negative_binomial(x, 1 / alpha, 1 / (1 + mu * alpha))


def _dirichlet(x: Any, alpha: Any) -> Any:
    terms = sum(_times_log(alpha - 1, x), axis=(-1,))
    ways = gammaln(sum(alpha, axis=(-1,))) - sum(gammaln(alpha), axis=(-1,))
    return ways + terms


def _spread(name: str, sample: Any, parameters: Sequence[Any], own: int) -> list[Any]:
    """Parameters with axes of extent 1 for the draws behind their own axes, before the last `own`
    ones, which a draw has."""
    first = parameters[0]
    lead = first.shape[: first.ndim - own]
    for given in parameters:
        check(
            given.shape == first.shape,
            name,
            f"expected parameters of one shape; given {[p.shape for p in parameters]}",
        )
    check(
        sample.shape[: len(lead)] == lead
        and sample.ndim >= first.ndim
        and sample.shape[sample.ndim - own :] == first.shape[first.ndim - own :],
        name,
        f"sample: expected the axes of the parameters, {first.shape}, and those of draws behind "
        f"{'them' if not own else 'all but the last'}; given {sample.shape}",
    )
    draws = (1,) * (sample.ndim - first.ndim)
    return [_reshape(p, shape=(*lead, *draws, *p.shape[p.ndim - own :])) for p in parameters]


def _density(
    name: str,
    formula: Formula,
    operands: str,
    oracle: Formula,
    what: str,
    example: str,
    samples: Sequence[tuple[Any, ...]],
    discrete: bool = False,
    own: int = 0,
) -> Operator:
    words = operands.split()

    def decompose(attrs: DensityAttrs, sample: Any, *parameters: Any) -> Any:
        wide = _spread(f"random_pdf_{name}", sample, parameters, own)
        found = formula(stop_gradient(sample) if discrete else sample, *wide)
        return found if attrs.is_log else exp(found)

    def numpy(sample: np.ndarray, *parameters: np.ndarray, is_log: bool) -> np.ndarray:
        lead = parameters[0].ndim - own
        draws = (1,) * (sample.ndim - parameters[0].ndim)
        wide = [p.reshape(*p.shape[:lead], *draws, *p.shape[lead:]) for p in parameters]
        with np.errstate(all="ignore"):
            found = oracle(sample.astype(float), *(p.astype(float) for p in wide))
        return np.asarray(found if is_log else np.exp(found)).astype(sample.dtype)

    return composite(
        f"_random_pdf_{name}",
        decompose,
        operands=f"sample {operands}",
        attrs=DensityAttrs,
        dtypes="f",
        numpy=numpy,
        aliases=(f"random_pdf_{name}",),
        domain=(0.3, 0.9),
        tolerance={"float32": 2e-5, "float64": 1e-10},
        samples=[(*sample, {"is_log": log}) for sample in samples for log in (False, True)],
        doc=f"""{what}

    Parameters: `{"`, `".join(words)}` of one shape; `sample` has it, too, or behind it the axes of
    several draws; `is_log` (default False) gives the logarithm.

    Results have the shape of `sample`{", without the last axis" if own else ""}.{
            " What is drawn is whole, and has no gradient." if discrete else ""
        }

    >>> {example}
    """,
    )


def _stats(name: str, *places: Callable[..., Any]) -> Formula:
    """SciPy's logarithm of a density; `places` make its arguments of the parameters."""

    def oracle(x: np.ndarray, *parameters: np.ndarray) -> Any:
        from scipy import stats  # type: ignore[import-untyped]

        kind = getattr(stats, name)
        function = kind.logpdf if hasattr(kind, "logpdf") else kind.logpmf
        return function(x, *(place(*parameters) for place in places))

    return oracle


def _dirichlet_oracle(x: np.ndarray, alpha: np.ndarray) -> Any:
    from scipy.special import gammaln as exact  # type: ignore[import-untyped]

    terms = ((alpha - 1) * np.log(x)).sum(-1)
    return exact(alpha.sum(-1)) - exact(alpha).sum(-1) + terms


_COUNTS = np.array([[0.0, 1.0, 4.0], [2.0, 0.0, 7.0]], np.float32)
_INSIDE = np.array([[0.5, 3.0, 0.9], [0.4, -1.0, 1.1]], np.float32)
_HIGH = np.array([1.0, 2.0], np.float32)

pdf_uniform = _density(
    "uniform",
    _uniform,
    "low high",
    _stats("uniform", lambda low, high: low, lambda low, high: high - low),
    "The density of `random.uniform`: 1 / (high - low) from `low` to `high`, 0 elsewhere.",
    "nd.random_pdf_uniform(nd.array([[1, 5]]), nd.array([0]), nd.array([2])).asnumpy()\n"
    "    array([[0.5, 0. ]], dtype=float32)",
    [(_INSIDE, np.zeros(2, np.float32), _HIGH), (np.full((2,), 0.95), (2,), _HIGH)],
)

pdf_normal = _density(
    "normal",
    _normal,
    "mu sigma",
    _stats("norm", lambda mu, sigma: mu, lambda mu, sigma: sigma),
    "The density of `random.normal` with the mean `mu` and the standard deviation `sigma`.",
    "nd.random_pdf_normal(nd.array([0]), nd.array([0]), nd.array([1])).asnumpy().round(3)\n"
    "    array([0.399], dtype=float32)",
    [((2, 3), (2,), (2,)), ((2, 3), (2, 3), (2, 3))],
)

pdf_gamma = _density(
    "gamma",
    _gamma,
    "alpha beta",
    _stats("gamma", lambda a, b: a, lambda a, b: 0, lambda a, b: 1 / b),
    "The density of a gamma distribution with the shape `alpha` and the RATE `beta`. "
    "(That of\n    `random.gamma` is a scale, as in MXNet.)",
    "nd.random_pdf_gamma(nd.array([1]), nd.array([1]), nd.array([2])).asnumpy().round(3)\n"
    "    array([0.271], dtype=float32)",
    [((2, 3), (2,), (2,))],
)

pdf_exponential = _density(
    "exponential",
    _exponential,
    "lam",
    _stats("expon", lambda lam: 0, lambda lam: 1 / lam),
    "The density of `random.exponential` with the rate `lam`.",
    "nd.random_pdf_exponential(nd.array([[0, 1]]), nd.array([2])).asnumpy().round(3)\n"
    "    array([[2.   , 0.271]], dtype=float32)",
    [((2, 3), (2,)), ((2,), (2,))],
)

pdf_poisson = _density(
    "poisson",
    _poisson,
    "lam",
    _stats("poisson", lambda lam: lam),
    "The chances of the numbers of `random.poisson` with the mean `lam`.",
    "nd.random_pdf_poisson(nd.array([[0, 1]]), nd.array([1])).asnumpy().round(3)\n"
    "    array([[0.368, 0.368]], dtype=float32)",
    [(_COUNTS, (2,))],
    discrete=True,
)

pdf_negative_binomial = _density(
    "negative_binomial",
    _negative_binomial,
    "k p",
    _stats("nbinom", lambda k, p: k, lambda k, p: p),
    "The chances of the numbers of `random.negative_binomial`: of failures before `k` successes of "
    "the\n    chance `p`.",
    "nd.random_pdf_negative_binomial(nd.array([0]), nd.array([2]), nd.array([0.5])).asnumpy()"
    ".round(3)\n    array([0.25], dtype=float32)",
    [(_COUNTS, (2,), (2,))],
    discrete=True,
)

pdf_generalized_negative_binomial = _density(
    "generalized_negative_binomial",
    _generalized,
    "mu alpha",
    _stats("nbinom", lambda mu, alpha: 1 / alpha, lambda mu, alpha: 1 / (1 + mu * alpha)),
    "The chances of the numbers of `random.generalized_negative_binomial` with the mean `mu` and "
    "the\n    dispersion `alpha`.",
    "nd.random_pdf_generalized_negative_binomial(nd.zeros(1), nd.ones(1), nd.ones(1)).asnumpy()\n"
    "    array([0.5], dtype=float32)",
    [(_COUNTS, (2,), (2,))],
    discrete=True,
)

pdf_dirichlet = _density(
    "dirichlet",
    _dirichlet,
    "alpha",
    _dirichlet_oracle,
    "The density of a Dirichlet distribution with the parameters `alpha` along the last axis, "
    "which is\n    that of a draw.",
    "nd.random_pdf_dirichlet(nd.array([0.5, 0.5]), nd.array([1, 1])).asnumpy()\n"
    "    array([1.], dtype=float32)",
    [((2, 3), (2, 3)), ((2, 4, 3), (2, 3))],
    own=1,
)
