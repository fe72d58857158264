"""The generator against its published values, the distributions by their moments."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import tigon as mx
from tests.oracle import evaluate
from tigon.base import TensorType, as_dtype
from tigon.ir.graph import Graph, variable
from tigon.nd.dispatch import make_function
from tigon.ops import get, record
from tigon.ops.primitive.random import philox_oracle


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (0xFFFFFFFF, 0xFFFFFFFF, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_is_philox(counter, key, words: str) -> None:
    """The known answers of Random123 (Salmon et al. 2011)."""
    four = np.array(counter if isinstance(counter, tuple) else [counter] * 4, np.uint32)
    two = key if isinstance(key, tuple) else (key, key)
    found = philox_oracle(four.reshape(4, 1), two)
    assert " ".join(f"{int(word):08x}" for word in found[:, 0]) == words


def draw(name: str, seed: int = 1, call: int = 0, operands: tuple = (), **attributes) -> np.ndarray:
    inputs = [
        variable(f"x{i}", TensorType(a.shape, as_dtype(a.dtype))) for i, a in enumerate(operands)
    ]
    key = variable("key", TensorType((2,), as_dtype("int64")))
    graph = Graph([*inputs, key], [get(name)(*inputs, key, **attributes)])
    feeds = {f"x{i}": array for i, array in enumerate(operands)}
    return evaluate(graph, {**feeds, "key": np.array([seed, call])})[0]


def test_elements_do_not_depend_on_the_shape() -> None:
    whole = draw("_random_bits", shape=(60,))
    np.testing.assert_array_equal(draw("_random_bits", shape=(3, 4, 5)).ravel(), whole)
    np.testing.assert_array_equal(draw("_random_bits", shape=(7,)), whole[:7])


def test_ordinal_continues_the_counter() -> None:
    np.testing.assert_array_equal(
        draw("_random_bits", call=2, shape=(9,), ordinal=3),
        draw("_random_bits", call=5, shape=(9,)),
    )


def test_draws_differ_by_seed_call_and_stream() -> None:
    draws = [
        draw("_random_bits", shape=(8,)),
        draw("_random_bits", seed=2, shape=(8,)),
        draw("_random_bits", call=1, shape=(8,)),
        draw("_random_bits", shape=(8,), stream=1),
        draw("_random_bits", seed=1 + 2**40, shape=(8,)),
    ]
    assert len({bits.tobytes() for bits in draws}) == len(draws)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments(dtype: str) -> None:
    count = 100_000
    uniform = draw("_random_uniform", shape=(count,), low=2, high=4, dtype=dtype)
    assert uniform.min() >= 2 and uniform.max() < 4
    np.testing.assert_allclose([uniform.mean(), uniform.var()], [3, 4 / 12], atol=0.01)
    normal = draw("_random_normal", shape=(count,), loc=1, scale=2, dtype=dtype)
    np.testing.assert_allclose([normal.mean(), normal.std()], [1, 2], atol=0.03)
    tails = (abs(normal - 1) > 4).mean()
    np.testing.assert_allclose(tails, 0.0455, atol=0.004)
    exponential = draw("_random_exponential", shape=(count,), lam=4, dtype=dtype)
    np.testing.assert_allclose([exponential.mean(), exponential.std()], 0.25, atol=0.01)
    assert np.isfinite(normal).all() and np.isfinite(exponential).all()


def test_whole_numbers_are_even() -> None:
    found = draw("_random_randint", shape=(70_000,), low=-3, high=4)
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == list(range(-3, 4)) and found.dtype == np.int32
    assert abs(counts - 10_000).max() < 500


def test_one_distribution_per_element() -> None:
    low, high = np.array([0, 10], np.float32), np.array([1, 20], np.float32)
    found = draw("_sample_uniform", operands=(low, high), shape=(1000,))
    assert found.shape == (2, 1000)
    np.testing.assert_allclose(found.mean(1), [0.5, 15], atol=0.5)


@pytest.mark.parametrize("extent", [2, 255, 256, 257, 20_000])
def test_only_what_has_a_chance_is_drawn(extent: int) -> None:
    """Sums of chances are searched by bisection: at every border of them."""
    rng = np.random.default_rng(extent)
    chances = (rng.uniform(0, 1, (2, extent)) * (rng.random((2, extent)) < 0.5)).astype(np.float32)
    chances[:, 0] = 0
    chances[:, 1] = 0.5
    chances /= chances.sum(1, keepdims=True)
    drawn = mx.nd.sample_multinomial(mx.nd.array(chances), shape=(3000,)).asnumpy()
    taken = np.take_along_axis(chances, drawn, 1)
    assert (taken > 0).all()
    position = drawn.mean(1)
    expected = (chances * np.arange(extent)).sum(1)
    np.testing.assert_allclose(position, expected, 0, 0.05 * extent)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whatever_chances_come_to(dtype: str) -> None:
    """Rounding may leave their sum below 1; none behind the last that has one is drawn then."""
    mx.random.seed(5)
    for total in (1.0, 0.9, 1 - 1e-3, 1e-3, 7.0):
        chances = np.array([0, *[total / 7] * 7, 0, 0], dtype)
        drawn = mx.nd.sample_multinomial(mx.nd.array(chances, dtype=dtype), shape=(20_000,))
        places = np.bincount(drawn.asnumpy(), minlength=10)
        assert places[[0, 8, 9]].sum() == 0
        assert places[1:8].min() > 2_500


@pytest.mark.parametrize("compiled", [False, True], ids=["imperative", "compiled"])
def test_the_likelihood_of_a_draw_has_a_slope(compiled: bool) -> None:
    """d log p_i / d p_j is 1 / p_i where j is what was drawn, else 0."""
    chances = mx.nd.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    weights = np.array([[1, 2, 3, 4], [1, 1, 1, 1]], np.float32)
    chances.attach_grad()

    def draw(p):
        return mx.nd.random.multinomial(p, shape=4, get_prob=True)

    with mx.autograd.record():
        drawn, likelihood = (mx.jit(draw) if compiled else draw)(chances)
        total = (likelihood * mx.nd.array(weights)).sum()
    total.backward()
    slope = np.zeros((2, 3))
    for (line, place), position in np.ndenumerate(drawn.asnumpy()):
        slope[line, position] += weights[line, place] / chances.asnumpy()[line, position]
    np.testing.assert_allclose(chances.grad.asnumpy(), slope, rtol=1e-6)


def distance(found: np.ndarray, distribution) -> float:
    """The largest difference of the two distribution functions, times the root of how many were
    drawn: above 2 with a chance of 0.0007 (Kolmogorov and Smirnov)."""
    values, counts = np.unique(found, return_counts=True)
    return float(
        abs(np.cumsum(counts) / found.size - distribution.cdf(values)).max() * found.size**0.5
    )


DRAWN = {
    "gamma-3": ("gamma", {"alpha": 3.0, "beta": 0.5}, stats.gamma(3, scale=0.5)),
    "gamma-small": ("gamma", {"alpha": 0.2, "beta": 2.0}, stats.gamma(0.2, scale=2)),
    "gamma-1": ("gamma", {"alpha": 1.0, "beta": 1.0}, stats.expon()),
    "gamma-large": ("gamma", {"alpha": 1e6, "beta": 1.0}, stats.gamma(1e6)),
    "poisson-small": ("poisson", {"lam": 0.01}, stats.poisson(0.01)),
    "poisson-3": ("poisson", {"lam": 3.3}, stats.poisson(3.3)),
    "poisson-below": ("poisson", {"lam": 9.99}, stats.poisson(9.99)),
    "poisson-10": ("poisson", {"lam": 10.0}, stats.poisson(10)),
    "poisson-large": ("poisson", {"lam": 3e5}, stats.poisson(3e5)),
    "negative_binomial": ("negative_binomial", {"k": 3, "p": 0.2}, stats.nbinom(3, 0.2)),
    "failures": ("negative_binomial", {"k": 1, "p": 0.9}, stats.nbinom(1, 0.9)),
    "dispersed": (
        "generalized_negative_binomial",
        {"mu": 4.0, "alpha": 0.5},
        stats.nbinom(2, 1 / 3),
    ),
    "not-dispersed": (
        "generalized_negative_binomial",
        {"mu": 4.0, "alpha": 0.0},
        stats.poisson(4),
    ),
    "exponential": ("exponential", {"lam": 4.0}, stats.expon(scale=0.25)),
    "uniform": ("uniform", {"low": 2.0, "high": 5.0}, stats.uniform(2, 3)),
    "normal": ("normal", {"loc": 1.0, "scale": 2.0}, stats.norm(1, 2)),
}


@pytest.mark.parametrize("case", DRAWN)
@pytest.mark.parametrize("arrays", [False, True], ids=["numbers", "arrays"])
def test_what_is_drawn_has_its_distribution(case: str, arrays: bool) -> None:
    name, parameters, distribution = DRAWN[case]
    mx.random.seed(11)
    if arrays:
        given = [mx.nd.array([[number]], dtype="float64") for number in parameters.values()]
        found = record.get(f"_sample_{name}")(*given, shape=(40_000,)).asnumpy()
    else:
        function = record.get(f"_random_{name}")
        found = make_function(function, name)(**parameters, shape=(40_000,), dtype="float64")
        found = found.asnumpy()
    assert found.size == 40_000 and distance(found, distribution) < 2
    np.testing.assert_allclose(found.mean(), distribution.mean(), 0, distribution.std() / 40)
    np.testing.assert_allclose(found.std(), distribution.std(), 0.1)


def test_the_distance_notices_another_distribution() -> None:
    mx.random.seed(11)
    found = mx.nd.random.poisson(3.3, shape=40_000).asnumpy()
    assert distance(found, stats.poisson(3.5)) > 5
    assert distance(found + 1, stats.poisson(3.3)) > 5


@pytest.mark.parametrize("name", ["gamma", "poisson", "negative_binomial"])
def test_draws_in_rounds_do_not_depend_on_their_neighbours(name: str) -> None:
    few = draw(f"_random_{name}", shape=(7,))
    many = draw(f"_random_{name}", shape=(3, 100))
    np.testing.assert_array_equal(many.ravel()[:7], few)
    assert np.isfinite(many).all()


def test_arrays_of_parameters_that_are_none() -> None:
    mean = mx.nd.array([-1, np.nan, 0, 5])
    found = mx.nd.random.poisson(mean, shape=100).asnumpy()
    assert np.isnan(found[:2]).all() and (found[2] == 0).all() and np.isfinite(found[3]).all()
    shape = mx.nd.array([-1, np.nan, 2])
    found = mx.nd.random.gamma(shape, mx.nd.ones(3), shape=100).asnumpy()
    assert np.isnan(found[:2]).all() and (found[2] > 0).all()
    deviation = mx.nd.array([-1, 0, 2])
    found = mx.nd.random.normal(mx.nd.ones(3), deviation, shape=100).asnumpy()
    assert np.isnan(found[0]).all() and (found[1] == 1).all() and np.isfinite(found[2]).all()
    found = mx.nd.random.exponential(mx.nd.array([-1, 2]), shape=100).asnumpy()
    assert np.isnan(found[0]).all() and (found[1] > 0).all()
    found = mx.nd.random.uniform(mx.nd.array([1, 2]), mx.nd.array([0, 2]), shape=100).asnumpy()
    assert np.isnan(found[0]).all() and (found[1] == 2).all()
    chance = mx.nd.array([0, 1.5, 1])
    found = mx.nd.random.negative_binomial(mx.nd.ones(3), chance, shape=100).asnumpy()
    assert np.isnan(found[:2]).all() and (found[2] == 0).all()


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("normal", {"scale": -1.0}, "scale: expected 0 or more, a standard deviation; given -1.0"),
        ("exponential", {"lam": 0.0}, "lam: expected a rate above 0; given 0.0"),
        ("uniform", {"low": 2.0}, "high: expected at least low, 2.0; given 1.0"),
        ("bernoulli", {"p": 1.5}, "p: expected a probability; given 1.5"),
        ("gamma", {"alpha": 0.0}, "alpha: expected a number above 0; given 0.0"),
        ("gamma", {"beta": -2.0}, "beta: expected a number above 0; given -2.0"),
        ("poisson", {"lam": -1.0}, "lam: expected 0 or more; given -1.0"),
        ("negative_binomial", {"k": -1}, "k: expected 0 or more; given -1"),
        (
            "negative_binomial",
            {"p": 0.0},
            "p: expected a probability above 0, at most 1; given 0.0",
        ),
        ("generalized_negative_binomial", {"mu": -1.0}, "mu: expected 0 or more; given -1.0"),
    ],
)
def test_numbers_that_are_no_parameters(name: str, wrong: dict, message: str) -> None:
    function = make_function(record.get(f"_random_{name}"), name)
    for number in (1, 2, 3, 4, 5):  # a program for many numbers looks at each of them
        function(shape=(number,))
    with pytest.raises(mx.MXNetError) as error:
        function(**wrong, shape=(2,))
    assert str(error.value) == f"random_{name}: {message}"


def test_seeds_and_threads_and_ways_draw_the_same() -> None:
    def drawn() -> list[bytes]:
        mx.random.seed(3)
        found = [mx.nd.random.gamma(2, shape=1000), mx.nd.random.poisson(20, shape=1000)]
        return [x.asnumpy().tobytes() for x in found]

    @mx.jit
    def both(x):
        return mx.nd.random.gamma(2, shape=1000), mx.nd.random.poisson(20, shape=1000), x

    first = drawn()
    assert drawn() == first
    mx.random.seed(3)
    traced = both(mx.nd.ones(1))
    assert [x.asnumpy().tobytes() for x in traced[:2]] == first
