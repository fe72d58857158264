"""`nd.random`: draws of given shapes, or one per element of array parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.dtypes import check_dtype
from tigon.context import on
from tigon.nd.creation import check_shape
from tigon.nd.dispatch import NDArray, apply, run
from tigon.ops import record

_NUMBERS = (int, float, np.generic)


def _draw(
    where: str,
    parameters: dict[str, Any],
    shape: Any,
    dtype: Any,
    ctx: Any,
    out: Any,
    default: str = "float32",
) -> Any:
    """The operator `_random_X` for numbers, `_sample_X` for arrays of parameters."""
    with on(f"random.{where}", ctx):
        return _drawn(where, parameters, shape, dtype, out, default)


def _drawn(
    where: str, parameters: dict[str, Any], shape: Any, dtype: Any, out: Any, default: str
) -> Any:
    values = list(parameters.values())
    if out is None and type(shape) in (int, tuple) and all(type(v) in (int, float) for v in values):
        dtype = check_dtype(f"random.{where}", dtype or default).name
        return run(f"_random_{where}", shape=shape, dtype=dtype, **parameters)
    if all(isinstance(value, _NUMBERS) for value in values):
        if shape is None:
            shape = out.shape if out is not None else (1,)
        dtype = dtype or (out.dtype if out is not None else default)
        op = record.get(f"_random_{where}")
        attributes = {
            **parameters,
            "shape": check_shape(f"random.{where}", shape),
            "dtype": check_dtype(f"random.{where}", dtype).name,
        }
        return apply(op, op.make_attrs(attributes), (), out)
    check(
        all(not isinstance(value, _NUMBERS) for value in values),
        f"random.{where}",
        "expected all parameters as numbers, or all as arrays; given a mixture",
    )
    op = record.get(f"_sample_{where}")
    attributes = {"shape": () if shape is None else check_shape(f"random.{where}", shape)}
    if dtype is not None:
        attributes["dtype"] = check_dtype(f"random.{where}", dtype).name
    return apply(op, op.make_attrs(attributes), values, out)


def uniform(
    low: Any = 0,
    high: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from [low, high).

    >>> uniform(shape=(2, 3)).shape
    (2, 3)
    """
    return _draw("uniform", {"low": low, "high": high}, shape, dtype, ctx, out)


def normal(
    loc: Any = 0,
    scale: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from a normal distribution of mean `loc` and standard deviation `scale`.

    >>> normal(0, 1, shape=4).shape
    (4,)
    """
    return _draw("normal", {"loc": loc, "scale": scale}, shape, dtype, ctx, out)


def randn(
    *shape: int, loc: Any = 0, scale: Any = 1, dtype: Any = None, ctx: Any = None, **_: Any
) -> Any:
    """Normal draws of a shape given by position.

    >>> randn(2, 3).shape
    (2, 3)
    """
    return normal(loc, scale, shape or None, dtype, ctx)


def randint(
    low: int,
    high: int,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Integers from [low, high), int32 unless a dtype is given.

    >>> randint(3, 4, shape=2).asnumpy()
    array([3, 3], dtype=int32)
    """
    return _draw("randint", {"low": low, "high": high}, shape, dtype, ctx, out, "int32")


def exponential(
    scale: Any = 1.0,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from an exponential distribution of mean `scale`, a number or an array of them.

    >>> exponential(2.0, shape=3).shape
    (3,)
    """
    return _draw("exponential", {"lam": 1.0 / scale}, shape, dtype, ctx, out)


def gamma(
    alpha: Any = 1,
    beta: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from a gamma distribution of shape `alpha` and scale `beta`, whose mean is their
    product: numbers above 0, or two arrays of them.

    >>> gamma(9, 0.5, shape=3).shape
    (3,)
    """
    return _draw("gamma", {"alpha": alpha, "beta": beta}, shape, dtype, ctx, out)


def poisson(
    lam: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from a Poisson distribution of mean `lam`, a number from 0 on, or an array of them.

    >>> from tigon import nd
    >>> poisson(nd.array([1, 1000]), shape=4).shape
    (2, 4)
    """
    return _draw("poisson", {"lam": lam}, shape, dtype, ctx, out)


def negative_binomial(
    k: Any = 1,
    p: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """How often one fails before the `k`-th success, each of probability `p`, above 0.

    >>> negative_binomial(3, 1.0, shape=2).asnumpy()
    array([0., 0.], dtype=float32)
    """
    return _draw("negative_binomial", {"k": k, "p": p}, shape, dtype, ctx, out)


def generalized_negative_binomial(
    mu: Any = 1,
    alpha: Any = 1,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """Draws from a negative binomial distribution of mean `mu` and variance mu + `alpha` · mu².

    >>> generalized_negative_binomial(3, 0.5, shape=(2, 2)).shape
    (2, 2)
    """
    parameters = {"mu": mu, "alpha": alpha}
    return _draw("generalized_negative_binomial", parameters, shape, dtype, ctx, out)


def bernoulli(
    p: float = 0.5,
    shape: Any = None,
    dtype: Any = None,
    ctx: Any = None,
    out: Any = None,
    **_: Any,
) -> Any:
    """1 with probability `p`, else 0.

    >>> bernoulli(1, shape=3).asnumpy()
    array([1., 1., 1.], dtype=float32)
    """
    return _draw("bernoulli", {"p": p}, shape, dtype, ctx, out)


def multinomial(
    data: NDArray,
    shape: Any = None,
    get_prob: bool = False,
    out: Any = None,
    dtype: Any = "int32",
) -> Any:
    """Positions drawn with the probabilities along the last axis of `data`, `shape` for each line.
    With `get_prob` the logarithms of their probabilities, too, which have a gradient.

    >>> from tigon import nd
    >>> multinomial(nd.array([0, 1, 0]), shape=3).asnumpy()
    array([1, 1, 1], dtype=int32)
    """
    op = record.get("_sample_multinomial")
    dtype = check_dtype("random.multinomial", dtype).name
    attributes: dict[str, Any] = {"get_prob": get_prob, "dtype": dtype}
    if shape is not None:
        attributes["shape"] = check_shape("random.multinomial", shape)
    return apply(op, op.make_attrs(attributes), (data,), out)


def shuffle(data: NDArray, out: Any = None, ctx: Any = None, **_: Any) -> NDArray:
    """The rows of an array in random order.

    >>> from tigon import nd
    >>> sorted(shuffle(nd.arange(4)).asnumpy().tolist())
    [0.0, 1.0, 2.0, 3.0]
    """
    on("random.shuffle", ctx)
    op = record.get("_shuffle")
    return apply(op, op.make_attrs({}), (data,), out)


def functions() -> dict[str, Callable[..., Any]]:
    """By name, for the `nd.random` namespace."""
    own = (
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
    return {function.__name__: function for function in own}
