"""The generator against its published values, the distributions by their moments."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tests.oracle import evaluate
from tigon.base import TensorType, as_dtype
from tigon.ir.graph import Graph, variable
from tigon.ops import get
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
