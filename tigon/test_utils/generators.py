"""Checks of random numbers: what they are drawn from, by many of them. SciPy knows the chances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tigon.base import check
from tigon.test_utils.comparing import as_numpy

Generator = Callable[[int], Any]
"""Gives as many numbers as it is asked for."""


def mean_check(generator: Generator, mu: float, sigma: float, nsamples: int = 1000000) -> bool:
    """Whether the mean of independent numbers is within three of its standard deviations of `mu`.

    >>> np.random.seed(1)
    >>> mean_check(lambda n: np.random.normal(2, 3, n), 2, 3, 10000)
    True
    """
    samples = np.asarray(as_numpy(generator(nsamples)), np.float64)
    return bool(abs(samples.mean() - mu) < 3 * sigma / np.sqrt(samples.size))


def var_check(generator: Generator, sigma: float, nsamples: int = 1000000) -> bool:
    """Whether the variance of normal numbers is within three of its standard deviations of
    `sigma ** 2`.

    >>> np.random.seed(1)
    >>> var_check(lambda n: np.random.normal(2, 3, n), 3, 10000)
    True
    """
    samples = np.asarray(as_numpy(generator(nsamples)), np.float64)
    spread = np.sqrt(2 * sigma**4 / (samples.size - 1))
    return bool(abs(samples.var(ddof=1) - sigma**2) < 3 * spread)


def gen_buckets_probs_with_ppf(
    ppf: Callable[[float], float], nbuckets: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """Intervals of equal probability, from the quantiles of a distribution.

    >>> gen_buckets_probs_with_ppf(lambda share: 10 * share, 2)
    ([(0.0, 5.0), (5.0, 10.0)], [0.5, 0.5])
    """
    check(nbuckets > 0, "gen_buckets_probs_with_ppf", f"expected intervals; given {nbuckets}")
    edges = [float(ppf(i / nbuckets)) for i in range(nbuckets + 1)]
    return list(pairwise(edges)), [1 / nbuckets] * nbuckets


def chi_square_check(
    generator: Generator,
    buckets: Sequence[Any],
    probs: Sequence[float],
    nsamples: int = 1000000,
) -> tuple[float, np.ndarray, np.ndarray]:
    """How likely numbers from a distribution deviate as much as these do: (likelihood, numbers per
    bucket, those expected). Buckets are intervals, the upper end left out, or single values."""
    where = "chi_square_check"
    check(
        len(buckets) == len(probs) > 0,
        where,
        f"expected a probability for each bucket; given {len(buckets)} and {len(probs)}",
    )
    try:
        from scipy.stats import chisquare
    except ImportError:
        check(False, where, "SciPy is needed, which is not installed; pip install scipy")
    samples = np.asarray(as_numpy(generator(nsamples))).ravel()
    if isinstance(buckets[0], (list, tuple)):
        counts = [((samples >= low) & (samples < high)).sum() for low, high in buckets]
    else:
        counts = [(samples == value).sum() for value in buckets]
    expected = np.asarray(probs, np.float64) * samples.size
    observed = np.asarray(counts, np.float64)
    rest, spare = samples.size - observed.sum(), samples.size - expected.sum()
    tested = (observed, expected)
    if rest > 0.5 or spare > 1e-6 * samples.size:  # what no bucket is for is one more
        tested = (np.append(observed, rest), np.append(expected, max(spare, 1e-9)))
    tested = (tested[0], tested[1] * tested[0].sum() / tested[1].sum())
    return float(chisquare(*tested).pvalue), observed.astype(np.int64), expected


def verify_generator(
    generator: Generator,
    buckets: Sequence[Any],
    probs: Sequence[float],
    nsamples: int = 1000000,
    nrepeat: int = 5,
    success_rate: float = 0.2,
    alpha: float = 0.05,
) -> list[float]:
    """Raise AssertionError unless enough of several chi-square tests say that numbers are of a
    distribution; gives their likelihoods.

    >>> np.random.seed(1)
    >>> buckets, probs = gen_buckets_probs_with_ppf(lambda share: share, 5)
    >>> len(verify_generator(lambda n: np.random.uniform(size=n), buckets, probs, 10000))
    5
    """
    found = [chi_square_check(generator, buckets, probs, nsamples) for _ in range(nrepeat)]
    likelihoods = [likelihood for likelihood, _, _ in found]
    passed = sum(likelihood > alpha for likelihood in likelihoods)
    if passed < nrepeat * success_rate:
        _, observed, expected = found[-1]
        raise AssertionError(
            f"expected numbers as of this distribution in {success_rate:.0%} of {nrepeat} tests; "
            f"{passed} were: likelihoods {likelihoods}, at last {observed.tolist()} in the buckets "
            f"where {expected.tolist()} were expected"
        )
    return likelihoods
