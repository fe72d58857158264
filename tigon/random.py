"""`mx.random`: the seed, and the samplers of `nd.random`."""

from __future__ import annotations

from typing import Any

from tigon.base.lazy import complete as _complete
from tigon.context import check_context
from tigon.nd.sampling import (
    bernoulli,
    exponential,
    gamma,
    generalized_negative_binomial,
    multinomial,
    negative_binomial,
    normal,
    poisson,
    randint,
    randn,
    shuffle,
    uniform,
)
from tigon.runtime import keys, tracing


def seed(seed_state: int, ctx: Any = "all") -> None:
    """Start the random numbers anew: the same seed gives the same numbers.

    >>> from tigon import nd
    >>> seed(7)
    >>> a = nd.random.uniform(shape=2)
    >>> seed(7)
    >>> bool((a == nd.random.uniform(shape=2)).asnumpy().all())
    True
    """
    if ctx != "all":
        check_context("random.seed", ctx)
    tracing.needs_arrays("seeds random numbers")
    keys.seed(seed_state)


__all__ = [
    "bernoulli",
    "exponential",
    "gamma",
    "generalized_negative_binomial",
    "multinomial",
    "negative_binomial",
    "normal",
    "poisson",
    "randint",
    "randn",
    "seed",
    "shuffle",
    "uniform",
]

_complete(globals())
