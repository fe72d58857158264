"""Random numbers of distributions that are drawn in rounds: gamma, Poisson and what is mixed of
them. A round proposes a number for every element; elements that accept theirs keep it, and rounds
go on (`_while_loop`) until all have. So what an element is depends on seed, call and its own
position, never on its neighbours. All is computed in float64, whatever the dtype of the result.

Marsaglia and Tsang 2000, "A simple method for generating gamma variables"; Hörmann 1993, "The
transformed rejection method for generating Poisson random variables" (PTRS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Graph, variable
from tigon.ops.primitive.arithmetic import absolute, floor, maximum, multiply
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import (
    greater,
    greater_equal,
    lesser,
    lesser_equal,
    logical_and,
    logical_or,
)
from tigon.ops.primitive.control import _while_loop
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import log, power, sqrt
from tigon.ops.primitive.random import KEY_SAMPLE, check_key
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.special import gammaln
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import Operator, composite
from tigon.ops.tensor.random import (
    SampleAttrs,
    _named,
    _normal_oracle,
    _unit_oracle,
    check_number,
    standard_normal,
    unit_interval,
)

ROUNDS = 200
"""The chance that an element is still without a number then is below 1e-20."""
STRIDE = 2**40
"""Between the call counters of two rounds: calls count from 0."""
MIXED = 2**20
"""Where the rounds of a distribution begin that takes what another has drawn."""
LARGE = 10.0
"""From this mean on Poisson numbers are drawn by rejection, below by adding up their chances."""

# ------------------------------------------------------------------------------------ rounds


def _key_of(key: Any, round_: Any) -> Any:
    """The key of a round, (1,) int64."""
    return key + multiply(_iota(shape=(2,)), round_ * STRIDE)


def _line(size: int, value: float) -> Any:
    return _full(shape=(size,), value=value, dtype="float64")


def _while(
    states: Sequence[Any],
    others: Sequence[Any],
    goes_on: Callable[..., Any],
    step: Callable[..., Sequence[Any]],
) -> Sequence[Any]:
    """The last states. `goes_on(round, *states, *others)`: 1 for each element that does."""
    given = [_full(shape=(1,), value=0, dtype="int64"), *states, *others]
    known = [variable(f"x{i}", TensorType(x.shape, x.dtype)) for i, x in enumerate(given)]
    going = _reduce_sum(goes_on(*known), axes=(0,))
    condition = Graph(known, [cast(greater(_reshape(going, shape=(1,)), 0), dtype="bool")])
    body = Graph(known, [known[0] + 1, *step(*known)])
    found = _while_loop(
        *given,
        condition=condition,
        body=body,
        states=1 + len(states),
        max_iterations=ROUNDS,
    )
    return found[1 : 1 + len(states)]


def _accepted(
    propose: Callable[..., tuple[Any, Any]],
    key: Any,
    size: int,
    missing: Any,
    parameters: Sequence[Any],
    base: int,
) -> Any:
    """Of each element that is `missing` the first proposal that is good; of others NaN."""
    own = key + _iota(shape=(2,)) * (base * STRIDE) if base else key

    def step(round_: Any, value: Any, left: Any, *others: Any) -> Sequence[Any]:
        *known, drawn = others
        keys = [_key_of(drawn, round_ * 2 + i) for i in (0, 1)]
        found, good = propose(keys, size, *known)
        fresh = logical_and(left, good)
        return select(fresh, found, value), select(fresh, 0, left)

    start = [_line(size, nan), _broadcast(missing, shape=(size,))]
    return _while(start, [*parameters, own], lambda _, value, left, *others: left, step)[0]


def _accepted_oracle(
    propose: Callable[..., tuple[Any, Any]],
    key: np.ndarray,
    size: int,
    missing: np.ndarray,
    base: int,
) -> np.ndarray:
    value, left = np.full(size, nan), np.broadcast_to(missing, (size,)).copy()
    for round_ in range(ROUNDS):
        if not left.any():
            break
        keys = [key + np.array([0, (base + 2 * round_ + i) * STRIDE]) for i in (0, 1)]
        with np.errstate(all="ignore"):
            found, good = propose(keys)
        fresh = left & good
        value[fresh] = found[fresh]
        left &= ~good
    return value


# ------------------------------------------------------------------------------------- gamma


def _gamma(key: Any, size: int, shape: Any, ordinal: int) -> Any:
    """Of the scale 1; a shape of 0 gives 0, one below NaN. `shape`: (size,) or (1,)."""

    def propose(keys: list[Any], size: int, d: Any) -> tuple[Any, Any]:
        x = standard_normal(keys[0], (size,), "float64", ordinal)
        u = 1 - unit_interval(keys[1], (size,), "float64", ordinal)
        root = 1 + x / sqrt(9 * d)
        v = root * root * root
        inside = greater(v, 0)
        bound = 0.5 * x * x + d * (1 - v + log(select(inside, v, 1)))
        return d * v, logical_and(inside, lesser(log(u), bound))

    small = lesser(shape, 1)
    usual = greater(shape, 0)
    d = select(usual, shape + small, 1) - 1 / 3
    found = _accepted(propose, key, size, usual, [d], 0)
    # Of a shape below 1: one more, and a power of another number.
    last = key + _iota(shape=(2,)) * (2 * ROUNDS * STRIDE)
    u = 1 - unit_interval(last, (size,), "float64", ordinal)
    factor = select(small, power(u, 1 / select(logical_and(small, usual), shape, 1)), 1)
    return select(_broadcast(lesser_equal(absolute(shape), 0), shape=(size,)), 0, found * factor)


def _gamma_oracle(key: np.ndarray, size: int, shape: np.ndarray, ordinal: int) -> np.ndarray:
    small, usual = shape < 1, shape > 0
    d = np.where(usual, shape + small, 1) - 1 / 3

    def propose(keys: list[np.ndarray]) -> tuple[Any, Any]:
        x = _normal_oracle(keys[0], (size,), "float64", ordinal)
        u = 1 - _unit_oracle(keys[1], (size,), "float64", ordinal)
        v = (1 + x / np.sqrt(9 * d)) ** 3
        return d * v, (v > 0) & (np.log(u) < 0.5 * x * x + d * (1 - v + np.log(v)))

    found = _accepted_oracle(propose, key, size, usual, 0)
    u = 1 - _unit_oracle(key + np.array([0, 2 * ROUNDS * STRIDE]), (size,), "float64", ordinal)
    power_ = 1 / np.where(small & usual, shape, 1)
    return np.where(shape == 0, 0, found * np.where(small, u**power_, 1))


# ----------------------------------------------------------------------------------- Poisson


def _poisson(key: Any, size: int, mean: Any, ordinal: int, base: int = 0) -> Any:
    """Of means from 0 on; others give NaN. `mean`: (size,) or (1,)."""
    mean = _broadcast(mean, shape=(size,))
    large = greater_equal(mean, LARGE)
    usual = logical_and(greater_equal(mean, 0), 1 - large)
    own = key + _iota(shape=(2,)) * ((base + 4 * ROUNDS) * STRIDE)
    few = _added_up(unit_interval(own, (size,), "float64", ordinal), select(usual, mean, 0))
    many = _accepted(
        lambda keys, size, mean: _transformed(
            unit_interval(keys[0], (size,), "float64", ordinal),
            unit_interval(keys[1], (size,), "float64", ordinal),
            mean,
        ),
        key,
        size,
        large,
        [select(large, mean, LARGE)],
        base,
    )
    return select(usual, few, many)


def _added_up(unit: Any, mean: Any) -> Any:
    """How many of the chances of 0, 1, 2, ... come to no more than `unit`, from 0 to 1."""
    (size,) = mean.shape

    def step(count: Any, found: Any, chance: Any, total: Any, unit: Any, mean: Any) -> Any:
        after = chance * mean / (cast(count, dtype="float64") + 1)
        return found + greater_equal(unit, total), after, total + after

    none = _full(shape=(size,), value=0, dtype="float64")
    start = power(_full(shape=(1,), value=np.e, dtype="float64"), -mean)
    return _while(
        [none, start, start],
        [unit, mean],
        lambda count, found, chance, total, unit, mean: greater_equal(unit, total),
        step,
    )[0]


def _transformed(u: Any, v: Any, mean: Any) -> tuple[Any, Any]:
    """A proposal from two numbers from 0 to 1, and whether it is good."""
    u, v = u - 0.5, 1 - v
    width = 0.931 + 2.53 * sqrt(mean)
    slope = -0.059 + 0.02483 * width
    room = 0.5 - absolute(u)
    rim = maximum(room, 1e-9)
    found = floor((2 * slope / rim + width) * u + mean + 0.43)
    at_once = logical_and(greater_equal(room, 0.07), lesser_equal(v, 0.9277 - 3.6224 / (width - 2)))
    never = logical_or(lesser(found, 0), logical_and(lesser(room, 0.013), greater(v, room)))
    whole = maximum(found, 0)
    left = log(v * (1.1239 + 1.1328 / (width - 3.4)) / (slope / (rim * rim) + width))
    right = whole * log(mean) - mean - gammaln(whole + 1)
    good = logical_or(at_once, logical_and(1 - never, lesser_equal(left, right)))
    return found, good


def _poisson_oracle(
    key: np.ndarray, size: int, mean: np.ndarray, ordinal: int, base: int = 0
) -> np.ndarray:
    from scipy.special import gammaln as lgamma  # type: ignore[import-untyped]

    mean = np.broadcast_to(mean, (size,))
    large = mean >= LARGE
    usual = (mean >= 0) & ~large
    unit = _unit_oracle(
        key + np.array([0, (base + 4 * ROUNDS) * STRIDE]), (size,), "float64", ordinal
    )
    few = np.zeros(size)
    few_mean = np.where(usual, mean, 0)
    chance = np.exp(-few_mean)
    total = chance.copy()
    for count in range(ROUNDS):
        few += unit >= total
        chance = chance * few_mean / (count + 1)
        total = total + chance

    def propose(keys: list[np.ndarray]) -> tuple[Any, Any]:
        u = _unit_oracle(keys[0], (size,), "float64", ordinal) - 0.5
        v = 1 - _unit_oracle(keys[1], (size,), "float64", ordinal)
        m = np.where(large, mean, LARGE)
        b = 0.931 + 2.53 * np.sqrt(m)
        a = -0.059 + 0.02483 * b
        room = 0.5 - abs(u)
        k = np.floor((2 * a / np.maximum(room, 1e-9) + b) * u + m + 0.43)
        at_once = (room >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        possible = (k >= 0) & ~((room < 0.013) & (v > room))
        left = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / np.maximum(room, 1e-9) ** 2 + b))
        right = np.maximum(k, 0) * np.log(m) - m - lgamma(np.maximum(k, 0) + 1)
        return k, at_once | (possible & (left <= right))

    return np.where(usual, few, _accepted_oracle(propose, key, size, large, base))


# -------------------------------------------------------------------- mixtures of the two


def _negative_binomial(key: Any, size: int, k: Any, p: Any, ordinal: int) -> Any:
    fits = logical_and(greater(p, 0), lesser_equal(p, 1))
    odds = select(fits, (1 - p) / select(fits, p, 1), nan)
    return _poisson(key, size, _gamma(key, size, k, ordinal) * odds, ordinal, MIXED)


def _negative_binomial_oracle(
    key: np.ndarray, size: int, k: np.ndarray, p: np.ndarray, ordinal: int
) -> np.ndarray:
    odds = np.where((p > 0) & (p <= 1), (1 - p) / np.where(p > 0, p, 1), nan)
    return _poisson_oracle(key, size, _gamma_oracle(key, size, k, ordinal) * odds, ordinal, MIXED)


def _spread_poisson(key: Any, size: int, mu: Any, alpha: Any, ordinal: int) -> Any:
    spread = greater(alpha, 0)
    own = select(spread, alpha, 1)
    gamma = _gamma(key, size, 1 / own, ordinal) * own
    factor = select(spread, gamma, select(greater_equal(alpha, 0), 1, nan))
    return _poisson(key, size, factor * mu, ordinal, MIXED)


def _spread_poisson_oracle(
    key: np.ndarray, size: int, mu: np.ndarray, alpha: np.ndarray, ordinal: int
) -> np.ndarray:
    own = np.where(alpha > 0, alpha, 1)
    gamma = _gamma_oracle(key, size, 1 / own, ordinal) * own
    factor = np.where(alpha > 0, gamma, np.where(alpha >= 0, 1, nan))
    return _poisson_oracle(key, size, factor * mu, ordinal, MIXED)


# ------------------------------------------------------------------------------------ records


class _Range(Frozen):
    """What a parameter may be."""

    words: str
    holds: Callable[[float], bool]


POSITIVE = _Range("a number above 0", lambda x: x > 0)
NOT_NEGATIVE = _Range("0 or more", lambda x: x >= 0)
CHANCE = _Range("a probability above 0, at most 1", lambda x: 0 < x <= 1)


class _Distribution(Frozen, eq=False):
    name: str
    ranges: dict[str, _Range]
    draw: Callable[..., Any]  # (key, size, *parameters, ordinal) -> (size,) float64
    oracle: Callable[..., np.ndarray]

    def check(self, attrs: Any) -> list[float]:
        """The parameters among attributes."""
        found = [getattr(attrs, name) for name in self.ranges]
        for (name, allowed), number in zip(self.ranges.items(), found, strict=True):
            check_number(self.name, name, number, allowed.words, allowed.holds)
        return found

    def of_numbers(self, attrs: Any, key: Any) -> Any:
        numbers = self.check(attrs)
        check_key(key.type)
        size, dtype = prod(attrs.shape), _named(attrs.dtype)
        if not size:
            return _full(shape=attrs.shape, value=0, dtype=dtype)
        given = [_full(shape=(1,), value=number, dtype="float64") for number in numbers]
        found = self.draw(key, size, *given, attrs.ordinal)
        return _reshape(cast(found, dtype=dtype), shape=attrs.shape)

    def of_numbers_oracle(self, key: np.ndarray, **fields: Any) -> np.ndarray:
        shape, dtype, ordinal = (fields.pop(name) for name in ("shape", "dtype", "ordinal"))
        given = [np.array([number], float) for number in fields.values()]
        found = self.oracle(key, prod(shape), *given, ordinal)
        return found.astype(dtype).reshape(shape)

    def of_arrays(self, attrs: SampleAttrs, *operands: Any) -> Any:
        *given, key = operands
        check_key(key.type)
        check(
            all(x.shape == given[0].shape for x in given),
            f"sample_{self.name}",
            f"{', '.join(self.ranges)}: expected one shape; given "
            f"{' and '.join(str(x.shape) for x in given)}",
        )
        whole = (*given[0].shape, *attrs.shape)
        size = prod(whole)
        dtype = given[0].dtype.name if attrs.dtype == "None" else attrs.dtype
        if not size:
            return _full(shape=whole, value=0, dtype=dtype)
        flat = []
        for x in given:
            column = _reshape(x, shape=(*x.shape, *(1,) * len(attrs.shape)))
            wide = _broadcast(cast(column, dtype="float64"), shape=whole)
            flat.append(_reshape(wide, shape=(size,)))
        found = self.draw(key, size, *flat, attrs.ordinal)
        return _reshape(cast(found, dtype=dtype), shape=whole)

    def of_arrays_oracle(
        self, *operands: np.ndarray, shape: tuple[int, ...], dtype: str, ordinal: int
    ) -> np.ndarray:
        *given, key = operands
        whole = (*given[0].shape, *shape)
        flat = [
            np.broadcast_to(x.reshape(*x.shape, *(1,) * len(shape)), whole).astype(float).ravel()
            for x in given
        ]
        found = self.oracle(key, prod(whole), *flat, ordinal)
        return found.astype(given[0].dtype if dtype == "None" else dtype).reshape(whole)


def _records(
    own: _Distribution,
    attrs: type,
    words: str,
    parameters: str,
    samples: tuple[dict[str, Any], ...],
) -> tuple[Operator, Operator]:
    """Of numbers as parameters, and of arrays."""
    name = own.name
    first = ", ".join(f"{parameter}={value}" for parameter, value in samples[0].items())
    arrays = ", ".join(f"nd.array([{value}, {value}])" for value in samples[0].values())
    of_numbers = composite(
        f"_random_{name}",
        own.of_numbers,
        operands="key%",
        attrs=attrs,
        differentiable=False,
        numpy=own.of_numbers_oracle,
        aliases=(f"random_{name}",),
        samples=(
            *((KEY_SAMPLE, {"shape": (3, 5), **sample}) for sample in samples),
            (KEY_SAMPLE, {"shape": (0, 2), **samples[0]}),
            (KEY_SAMPLE, {"shape": (4,), **samples[0], "dtype": "float64", "ordinal": 2}),
        ),
        doc=f"""Numbers drawn from {words}.

    Parameters: {parameters}; `shape` (default (1,)), `dtype`.

    >>> nd.random.{name}({first}, shape=(2, 2)).shape
    (2, 2)
    """,
    )
    names = tuple(own.ranges)
    values = [
        np.array([[sample[parameter]] * 2 for sample in samples], np.float32) for parameter in names
    ]
    of_arrays = composite(
        f"_sample_{name}",
        own.of_arrays,
        operands=" ".join((*names, "key%")),
        attrs=SampleAttrs,
        dtypes="f",
        differentiable=False,
        numpy=own.of_arrays_oracle,
        aliases=(f"sample_{name}",),
        samples=(
            (*values, KEY_SAMPLE, {"shape": (3,)}),
            (*values, KEY_SAMPLE, {}),
            (*values, KEY_SAMPLE, {"shape": (3,), "dtype": "float64"}),
            (*(value[:0] for value in values), KEY_SAMPLE, {"shape": (3,)}),
        ),
        doc=f"""Numbers drawn from {words}, for each element of arrays of parameters.

    Parameters: {parameters}; `shape` of the draws for each element, `dtype`. What is no parameter
    gives NaN.

    >>> nd.sample_{name}({arrays}, shape=(3,)).shape
    (2, 3)
    """,
    )
    return of_numbers, of_arrays


class GammaAttrs(Frozen):
    alpha: float = 1.0
    beta: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


class PoissonAttrs(Frozen):
    lam: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


class NegativeBinomialAttrs(Frozen):
    k: int = 1
    p: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


class GeneralizedNegativeBinomialAttrs(Frozen):
    mu: float = 1.0
    alpha: float = 1.0
    shape: tuple[int, ...] = (1,)
    dtype: str = "float32"
    ordinal: int = 0


random_gamma, sample_gamma = _records(
    _Distribution(
        "gamma",
        {"alpha": POSITIVE, "beta": POSITIVE},
        lambda key, size, alpha, beta, ordinal: _gamma(key, size, alpha, ordinal) * beta,
        lambda key, size, alpha, beta, ordinal: _gamma_oracle(key, size, alpha, ordinal) * beta,
    ),
    GammaAttrs,
    "a gamma distribution",
    "`alpha` its shape (default 1), `beta` its scale (default 1), so that the mean is alpha · beta",
    ({"alpha": 2.5, "beta": 0.5}, {"alpha": 0.3, "beta": 2.0}, {"alpha": 90.0, "beta": 1.0}),
)

random_poisson, sample_poisson = _records(
    _Distribution("poisson", {"lam": NOT_NEGATIVE}, _poisson, _poisson_oracle),
    PoissonAttrs,
    "a Poisson distribution",
    "`lam` its mean (default 1)",
    ({"lam": 4.0}, {"lam": 10.0}, {"lam": 12345.0}),
)

random_negative_binomial, sample_negative_binomial = _records(
    _Distribution(
        "negative_binomial",
        {"k": NOT_NEGATIVE, "p": CHANCE},
        _negative_binomial,
        _negative_binomial_oracle,
    ),
    NegativeBinomialAttrs,
    "a negative binomial distribution: how often one fails before the k-th success",
    "`k` successes (default 1), `p` the chance of one (default 1)",
    ({"k": 3, "p": 0.25}, {"k": 5, "p": 1.0}, {"k": 20, "p": 0.05}),
)

random_generalized_negative_binomial, sample_generalized_negative_binomial = _records(
    _Distribution(
        "generalized_negative_binomial",
        {"mu": NOT_NEGATIVE, "alpha": NOT_NEGATIVE},
        _spread_poisson,
        _spread_poisson_oracle,
    ),
    GeneralizedNegativeBinomialAttrs,
    "a negative binomial distribution by its mean and dispersion",
    "`mu` the mean (default 1), `alpha` the dispersion (default 1; 0: Poisson), so that the "
    "variance is mu + alpha · mu²",
    ({"mu": 3.0, "alpha": 0.5}, {"mu": 20.0, "alpha": 0.0}, {"mu": 40.0, "alpha": 2.0}),
)
