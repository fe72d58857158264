"""The functions that `nd` and `sym` each write by hand, with options at other values than their
defaults: the same numbers, draws after the same seed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, nd, sym

X = np.arange(24.0).reshape(2, 3, 4)
LOW, HIGH = np.array([0.0, 10.0]), np.array([1.0, 30.0])
Call = Callable[[Any, Any], Any]
"""Of the namespace, and of arrays of that namespace by name."""
CALLS: dict[str, list[Call]] = {
    "zeros": [lambda F, a: F.zeros((2, 3), dtype="int32"), lambda F, a: F.zeros(4)],
    "ones": [lambda F, a: F.ones((2, 3), dtype="float64"), lambda F, a: F.ones(shape=(1,))],
    "full": [lambda F, a: F.full((2,), 2.5), lambda F, a: F.full((2,), 7, dtype="int64")],
    "arange": [
        lambda F, a: F.arange(3),
        lambda F, a: F.arange(2, 9, 3, repeat=2, dtype="int32"),
        lambda F, a: F.arange(5, 1, -1.5),
    ],
    "linspace": [
        lambda F, a: F.linspace(1, 3, 5),
        lambda F, a: F.linspace(1, 3, 4, endpoint=False),
        lambda F, a: F.linspace(2, -2, 3, dtype="float64"),
        lambda F, a: F.linspace(2, 5, 1),
    ],
    "eye": [
        lambda F, a: F.eye(3),
        lambda F, a: F.eye(2, 4, 1),
        lambda F, a: F.eye(3, k=-1, dtype="int32"),
    ],
    "moveaxis": [
        lambda F, a: F.moveaxis(a["x"], 0, 2),
        lambda F, a: F.moveaxis(a["x"], -1, 0),
        lambda F, a: F.moveaxis(a["x"], (0, 1), (2, 0)),
    ],
    "split_v2": [
        lambda F, a: F.split_v2(a["x"], 2, axis=2)[1],
        lambda F, a: F.split_v2(a["x"], (1, 3), axis=2)[1],
        lambda F, a: F.split_v2(a["x"], 3, axis=1, squeeze_axis=True)[2],
    ],
    "random.uniform": [
        lambda F, a: F.random.uniform(2, 5, (3, 2)),
        lambda F, a: F.random.uniform(low=-1, high=1, shape=4, dtype="float64"),
        lambda F, a: F.random.uniform(a["low"], a["high"], shape=(3,)),
    ],
    "random.normal": [
        lambda F, a: F.random.normal(2, 5, (3, 2)),
        lambda F, a: F.random.normal(loc=1, scale=0.5, shape=4, dtype="float64"),
        lambda F, a: F.random.normal(a["low"], a["high"], shape=(3,)),
    ],
    "random.randn": [
        lambda F, a: F.random.randn(3, 2),
        lambda F, a: F.random.randn(3, loc=2, scale=3, dtype="float64"),
    ],
    "random.randint": [
        lambda F, a: F.random.randint(2, 9, (3, 2)),
        lambda F, a: F.random.randint(-4, 4, shape=(3,), dtype="int64"),
    ],
    "random.exponential": [
        lambda F, a: F.random.exponential(2.0, (3, 2)),
        lambda F, a: F.random.exponential(scale=0.5, shape=4, dtype="float64"),
    ],
    "random.gamma": [
        lambda F, a: F.random.gamma(2.0, 0.5, (3, 2)),
        lambda F, a: F.random.gamma(alpha=0.3, beta=3, shape=4, dtype="float64"),
        lambda F, a: F.random.gamma(a["high"], a["high"], shape=(3,)),
    ],
    "random.poisson": [
        lambda F, a: F.random.poisson(2.5, (3, 2)),
        lambda F, a: F.random.poisson(a["high"], shape=(3,)),
    ],
    "random.negative_binomial": [
        lambda F, a: F.random.negative_binomial(3, 0.4, (3, 2)),
        lambda F, a: F.random.negative_binomial(k=2, p=0.7, shape=4, dtype="float64"),
    ],
    "random.generalized_negative_binomial": [
        lambda F, a: F.random.generalized_negative_binomial(3, 0.4, (3, 2)),
        lambda F, a: F.random.generalized_negative_binomial(mu=2, alpha=0.7, shape=4),
    ],
    "histogram": [
        lambda F, a: F.histogram(a["x"], bins=4, range=(1, 9))[0],
        lambda F, a: F.histogram(a["x"], bins=3, range=(0, 30))[1],
        lambda F, a: F.histogram(a["x"], a["high"])[0],
    ],
    "random.bernoulli": [lambda F, a: F.random.bernoulli(0.3, shape=(9,))],
    "random.multinomial": [
        lambda F, a: F.random.multinomial(a["chances"], shape=5),
        lambda F, a: F.random.multinomial(a["chances"], shape=7, get_prob=True)[1],
    ],
    "random.shuffle": [lambda F, a: F.random.shuffle(a["x"])],
}
OPERANDS = {"x": X, "low": LOW, "high": HIGH, "chances": np.array([[0.2, 0.8], [0.5, 0.5]])}
NUMPY = {
    "linspace": [
        np.linspace(1, 3, 5),
        np.linspace(1, 3, 4, endpoint=False),
        np.linspace(2, -2, 3),
        np.array([2.0]),
    ],
    "eye": [np.eye(3), np.eye(2, 4, 1), np.eye(3, k=-1)],
    "moveaxis": [
        np.moveaxis(X, 0, 2),
        np.moveaxis(X, -1, 0),
        np.moveaxis(X, (0, 1), (2, 0)),
    ],
    "arange": [np.arange(3), np.arange(2, 9, 3).repeat(2), np.arange(5, 1, -1.5)],
    "split_v2": [X[:, :, 2:], X[:, :, 1:3], X[:, 2]],
}
CASES = [(name, number) for name, calls in CALLS.items() for number in range(len(calls))]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_both_give_the_same(name: str, number: int) -> None:
    call = CALLS[name][number]
    arrays = {key: nd.array(value) for key, value in OPERANDS.items()}
    mx.random.seed(5)
    expected = call(nd, arrays)
    typed = {key: sym.var(key, shape=value.shape) for key, value in OPERANDS.items()}
    symbol = call(sym, typed)
    given = {key: arrays[key] for key in symbol.list_arguments()}
    mx.random.seed(5)
    (found,) = symbol.bind(mx.cpu(), given).forward()
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())
    if name in NUMPY:
        np.testing.assert_allclose(expected.asnumpy(), NUMPY[name][number], rtol=1e-6)
    if "random" in name:
        later = [call(nd, arrays).asnumpy() for _ in range(8)]
        assert any((again != expected.asnumpy()).any() for again in later)


BY_HAND = {
    prefix + name
    for prefix, module in (("", sym.functions), ("random.", sym.sampling))
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and name[0] != "_"
    and function.__module__ == module.__name__
    and hasattr(sym.random if prefix else sym, name)
}


def test_no_function_is_left_out() -> None:
    assert {"linspace", "eye", "random.uniform", "random.randint"} <= BY_HAND
    assert BY_HAND <= set(CALLS), "a function of sym has no case"
    written = {f"random.{name}" for name in dir(nd.random) if name[0] != "_"}
    operators = {name for name in written if name.endswith("_like") or ".pdf_" in name}
    assert written - operators - set(CALLS) == {"random.bits"}


def test_what_draws_refuse() -> None:
    for F, made in ((nd, nd.array), (sym, lambda values: sym.var("a", shape=(2,)))):
        for name in ("uniform", "normal"):
            with pytest.raises(TigonError, match="given a mixture"):
                getattr(F.random, name)(made([1, 2]), 3.0)
