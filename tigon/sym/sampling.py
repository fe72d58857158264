"""`sym.random`: draws of given shapes, or one per element of symbols that hold parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tigon.base import as_dtype, check
from tigon.context import check_context
from tigon.ops import record
from tigon.sym.symbol import Symbol, apply


def _draw(
    where: str, parameters: dict[str, Any], shape: Any, dtype: Any, name: Any, ctx: Any
) -> Symbol:
    check_context(f"random.{where}", ctx)
    symbols = [value for value in parameters.values() if isinstance(value, Symbol)]
    check(
        not symbols or len(symbols) == len(parameters),
        f"random.{where}",
        "expected all parameters as numbers, or all as symbols; given a mixture",
    )
    attributes: dict[str, Any] = {} if symbols else dict(parameters)
    if shape is not None:
        attributes["shape"] = shape
    if dtype is not None:
        attributes["dtype"] = as_dtype(dtype).name
    own = f"_sample_{where}" if symbols else f"_random_{where}"
    op = record.get(own)
    return apply(op, op.make_attrs(attributes), symbols, name, own)


def uniform(
    low: Any = 0,
    high: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from [low, high).

    >>> uniform(shape=(2, 3)).shape
    (2, 3)
    """
    return _draw("uniform", {"low": low, "high": high}, shape, dtype, name, ctx)


def normal(
    loc: Any = 0,
    scale: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from a normal distribution of mean `loc` and standard deviation `scale`."""
    return _draw("normal", {"loc": loc, "scale": scale}, shape, dtype, name, ctx)


def randn(
    *shape: int, loc: Any = 0, scale: Any = 1, dtype: Any = None, ctx: Any = None, **_: Any
) -> Symbol:
    """Normal draws of a shape given by position."""
    return normal(loc, scale, shape or None, dtype, ctx=ctx)


def randint(
    low: int,
    high: int,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Integers from [low, high)."""
    return _draw("randint", {"low": low, "high": high}, shape, dtype, name, ctx)


def exponential(
    scale: Any = 1.0,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from an exponential distribution of mean `scale`."""
    return _draw("exponential", {"lam": 1.0 / scale}, shape, dtype, name, ctx)


def gamma(
    alpha: Any = 1,
    beta: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from a gamma distribution of shape `alpha` and scale `beta`."""
    return _draw("gamma", {"alpha": alpha, "beta": beta}, shape, dtype, name, ctx)


def poisson(
    lam: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from a Poisson distribution of mean `lam`."""
    return _draw("poisson", {"lam": lam}, shape, dtype, name, ctx)


def negative_binomial(
    k: Any = 1,
    p: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """How often one fails before the `k`-th success, each of probability `p`."""
    return _draw("negative_binomial", {"k": k, "p": p}, shape, dtype, name, ctx)


def generalized_negative_binomial(
    mu: Any = 1,
    alpha: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    name: Any = None,
    ctx: Any = None,
    **_: Any,
) -> Symbol:
    """Draws from a negative binomial distribution of mean `mu` and variance mu + `alpha` · mu²."""
    parameters = {"mu": mu, "alpha": alpha}
    return _draw("generalized_negative_binomial", parameters, shape, dtype, name, ctx)


def functions() -> dict[str, Callable[..., Any]]:
    """By name, for the `sym.random` namespace."""
    own = (
        exponential,
        gamma,
        generalized_negative_binomial,
        negative_binomial,
        normal,
        poisson,
        randint,
        randn,
        uniform,
    )
    return {function.__name__: function for function in own}
