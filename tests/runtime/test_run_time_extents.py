"""Extents that are known only when a program runs: one compilation for all of them."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TensorType, as_dtype
from tigon.base.extents import RuntimeExtents, UnknownExtent, value_of
from tigon.gluon import nn
from tigon.ops.tensor.slice import slice_range
from tigon.program.by_shape import ByShape

RANDOM = np.random.default_rng(5)

# ----------------------------------------------------------------- arithmetic and conditions

ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod)
COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)

steps = st.lists(
    st.tuples(st.sampled_from(ARITHMETIC), st.integers(0, 30), st.integers(0, 30)), max_size=8
)
questions = st.lists(
    st.tuples(st.sampled_from(COMPARISONS), st.integers(0, 30), st.integers(0, 30)), max_size=6
)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def computed(extents: Sequence[Any], program: Any) -> list[Any]:
    """All numbers of a program over extents and small constants; divisors are positive."""
    numbers: list[Any] = [*extents, 0, 1, 2, 3, 7]
    for function, a, b in program:
        first, second = numbers[a % len(numbers)], numbers[b % len(numbers)]
        if function in (operator.floordiv, operator.mod):
            second = second * second + 1
        numbers.append(function(first, second))
    return numbers


@given(steps, sizes, sizes)
def test_polynomials_are_the_numbers_they_stand_for(
    program: Any, likely: tuple[int, int], values: tuple[int, int]
) -> None:
    extents = RuntimeExtents(likely)
    found = computed(extents.unknown, program)
    assert [value_of(number, values) for number in found] == computed(values, program)


@given(steps, questions, sizes, sizes)
def test_where_the_conditions_hold_every_answer_is_right(
    program: Any, asked: Any, likely: tuple[int, int], values: tuple[int, int]
) -> None:
    def answers(numbers: Sequence[Any]) -> list[bool]:
        count = len(numbers)
        return [bool(test(numbers[a % count], numbers[b % count])) for test, a, b in asked]

    extents = RuntimeExtents(likely)
    found = answers(computed(extents.unknown, program))
    if extents.allow(values):
        assert found == answers(computed(values, program))


def test_what_is_certain_is_no_condition() -> None:
    extents = RuntimeExtents([64])
    (n,) = extents.unknown
    assert n > 0 and n != 0 and n * 784 >= 784 and n + 1 != 1 and (n * 12) // 4 == n * 3
    assert (n - 1) // n == 0 and n % n == 0 and max(n, 1) is n
    assert not extents.guards
    assert n != 1 and not extents.allow((1,)) and extents.allow((2,))


def test_an_unknown_extent_is_no_plain_number() -> None:
    (n,) = RuntimeExtents([8]).unknown
    for ask in (int, float, range, lambda extent: [0] * extent, operator.index):
        with pytest.raises(UnknownExtent, match="n0 would have to be a plain number"):
            ask(n)  # type: ignore[operator]


# ------------------------------------------------------------------------------- networks


def dense() -> tuple[gluon.HybridBlock, Callable[[int], tuple[int, ...]]]:
    net = nn.HybridSequential()
    net.add(nn.Dense(16, "relu"), nn.Dropout(0.0), nn.Dense(4))
    return net, lambda size: (size, 8)


def convolutions() -> tuple[gluon.HybridBlock, Callable[[int], tuple[int, ...]]]:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2), nn.BatchNorm())
    net.add(nn.Conv2D(6, 3, strides=2, padding=1), nn.AvgPool2D(2), nn.Dense(3))
    return net, lambda size: (size, 2, 14, 14)


class Attention(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Dense(8, flatten=False)
        self.norm = nn.LayerNorm()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        heads = F.reshape(
            F.transpose(F.reshape(self.mix(x), (0, 0, 2, 4)), (0, 2, 1, 3)), (-3, 0, 0)
        )
        weights = F.softmax(F.batch_dot(heads, heads, transpose_b=True), axis=-1)
        mixed = F.reshape(F.batch_dot(weights, heads), (-4, -1, 2, 0, 0))
        return self.norm(x + F.reshape(F.transpose(mixed, (0, 2, 1, 3)), (0, 0, -1)))


def attention() -> tuple[gluon.HybridBlock, Callable[[int], tuple[int, ...]]]:
    return Attention(), lambda size: (size, 5, 8)


def sequences() -> tuple[gluon.HybridBlock, Callable[[int], tuple[int, ...]]]:
    return Attention(), lambda size: (2, size, 8)


NETWORKS = (dense, convolutions, attention, sequences)
SIZES = (6, 9, 4, 16, 8, 33, 2, 3)  # 4, 8 and 16 are widths of layers, too


def run(net: gluon.HybridBlock, x: np.ndarray, training: bool) -> list[np.ndarray]:
    """The output, the gradient of the input and those of the parameters."""
    data = nd.array(x)
    data.attach_grad()
    if not training:
        return [net(data).asnumpy()]
    with autograd.record():
        out = net(data)
    out.backward(nd.array(np.cos(np.arange(out.size)).reshape(out.shape)))
    params = [p for p in net.collect_params().values() if p.grad_req != "null"]
    return [out.asnumpy(), data.grad.asnumpy(), *[p.grad().asnumpy() for p in params]]


@pytest.mark.parametrize("training", [False, True], ids=["predict", "train"])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_networks_are_compiled_twice_for_all_sizes(make: Any, training: bool) -> None:
    mx.random.seed(0)
    net, shape = make()
    net.initialize(mx.init.Xavier())
    net(nd.ones(shape(2)))
    given = {size: RANDOM.standard_normal(shape(size)).astype("float32") for size in (*SIZES, 1)}
    net.hybridize(active=False)
    expected = {size: run(net, x, training) for size, x in given.items()}
    net.hybridize()
    before = mx.runtime.stats()
    for size in SIZES:
        for one, other in zip(run(net, given[size], training), expected[size], strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5, err_msg=str(size))
    after = mx.runtime.stats()
    halves = 2 if training else 1
    assert after["compilations"] - before["compilations"] <= 2 * halves
    assert after["programs"] - before["programs"] >= len(SIZES) * halves
    # One row is a size like others, but may be computed in another way.
    for one, other in zip(run(net, given[1], training), expected[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_thirty_batch_sizes_are_two_compilations() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(24, "relu", in_units=40), nn.Dense(2, in_units=24))
    net.initialize()
    net.hybridize()
    before = mx.runtime.stats()["compilations"]
    for size in range(1, 31):
        assert net(nd.array(np.ones((size, 40)))).shape == (size, 2)
    assert mx.runtime.stats()["compilations"] - before == 2


def test_steps_of_other_batch_sizes_update_alike() -> None:
    compilations = []

    def trained(step_of: Callable[..., Callable[[Any, Any], Any]]) -> list[np.ndarray]:
        mx.random.seed(2)
        net = nn.HybridSequential()
        net.add(nn.Dense(8, "relu", in_units=5), nn.Dense(3, in_units=8))
        net.initialize(mx.init.Xavier())
        trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
        step = step_of(net, trainer)
        generator = np.random.default_rng(1)
        for size in (8, 6, 7, 8, 3, 5):
            x = nd.array(generator.standard_normal((size, 5)))
            step(x, nd.array(generator.integers(0, 3, size)))
            compilations.append(mx.runtime.stats()["compilations"])
        return [p.data().asnumpy() for p in net.collect_params().values()]

    loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def loop(net: Any, trainer: Any) -> Callable[[Any, Any], Any]:
        def step(x: Any, y: Any) -> None:
            with autograd.record():
                value = loss(net(x), y)
            value.backward()
            trainer.step(len(x))

        return step

    def compiled(net: Any, trainer: Any) -> Any:
        return gluon.TrainStep(net, loss, trainer)

    found = trained(compiled)
    assert compilations[1] - compilations[0] == 1 and compilations[1] == compilations[-1]
    for one, other in zip(found, trained(loop), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_imperative_operators_are_compiled_twice_for_all_sizes() -> None:
    before = mx.runtime.stats()["compilations"]
    for size in range(2, 12):
        x = nd.array(RANDOM.standard_normal((size, 17)))
        np.testing.assert_allclose(
            nd.hypot(x, x).asnumpy(), np.hypot(x.asnumpy(), x.asnumpy()), 1e-5
        )
    assert mx.runtime.stats()["compilations"] - before == 2


# ---------------------------------------------------------------- where it cannot be shared


class Pairs(gluon.HybridBlock):
    """Has a meaning for even sizes only."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.sum(F.reshape(x, (-1, 2)), axis=1)


def test_what_needs_to_know_the_extent_is_compiled_for_each() -> None:
    net = Pairs()
    net.hybridize()
    before = mx.runtime.stats()["extents_needed"]
    for size in (4, 6, 2, 8):
        x = RANDOM.standard_normal((size, 3)).astype("float32")
        np.testing.assert_allclose(net(nd.array(x)).asnumpy(), x.reshape(-1, 2).sum(1), rtol=1e-6)
    with pytest.raises(mx.TigonError, match="cannot"):
        net(nd.ones((3, 3)))
    assert "compiled for each shape" in net.explain()
    assert mx.runtime.stats()["extents_needed"] == before + 1


def test_sizes_beyond_any_memory_are_refused_as_ever() -> None:
    for size in (2, 3, 4):
        nd.zeros((size, size + 1))
    for shape in ((1 << 40, 1 << 40), (1 << 61, 5)):
        with pytest.raises(mx.TigonError) as caught:
            nd.zeros(shape)
        assert str(caught.value) == (
            f"array: the size of shape {shape} overflows 64 bits; use smaller extents"
        )


def test_examples_are_the_next_primes_for_any_size() -> None:
    primes = {n for n in range(2, 2000) if all(n % m for m in range(2, int(n**0.5) + 1))}
    squares = (41 * 41, 41 * 43, 43 * 43, 43 * 47, 1999 * 1997)
    for value in (*range(1, 1500, 7), *squares, 41041, 10585):  # the last two: Carmichael's numbers
        (example,) = RuntimeExtents([value]).examples
        assert example >= value and all(example % prime for prime in primes - {example})
        passed = range(max(value, 11), example)
        assert all(any(n % prime == 0 for prime in primes - {n}) for n in passed)
    huge = RuntimeExtents([1 << 61, 1 << 61, 64, 64])
    assert huge.examples == ((1 << 61) + 15, (1 << 61) + 21, 67, 71)


def test_sizes_that_differ_where_they_were_equal_are_told_apart() -> None:
    class Product(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, y: Any) -> Any:
            return F.dot(x, y)

    net = Product()
    net.hybridize()
    for rows, inner, columns in ((4, 4, 2), (6, 6, 2), (5, 7, 2), (3, 8, 9), (1, 1, 1)):
        x = RANDOM.standard_normal((rows, inner)).astype("float32")
        y = RANDOM.standard_normal((inner, columns)).astype("float32")
        np.testing.assert_allclose(
            net(nd.array(x), nd.array(y)).asnumpy(), x @ y, rtol=1e-4, atol=1e-5
        )
    with pytest.raises(mx.TigonError, match="dot: inner sizes differ"):
        net(nd.ones((4, 4)), nd.ones((5, 2)))


def test_what_did_not_serve_one_size_serves_the_next() -> None:
    made: list[Any] = []

    def make(types: Any) -> Any:
        made.append(types["x"].shape[0])
        return made[-1] == 1  # a condition that an extent of 1 does not meet

    shared = ByShape(make)
    for size in (64, 1, 32, 16):
        shared.use({"x": TensorType((size,), as_dtype("float32"))}, lambda result: result)
    assert [str(extent) for extent in made] == ["64", "n0", "1"]


def test_kinds_of_types_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tigon.program.by_shape.KINDS_KEPT", 3)
    shared = ByShape(lambda types: types)
    for axes in range(10):
        shared.use({"x": TensorType((2,) * axes, as_dtype("float32"))}, lambda made: made)
    assert len(shared._kinds) == 3


def test_threads_share_what_is_compiled_for_all_sizes() -> None:
    mx.random.seed(3)
    net = nn.HybridSequential()
    net.add(nn.Dense(12, "tanh", in_units=7), nn.Dense(5, in_units=12))
    net.initialize(mx.init.Xavier())
    given = {size: RANDOM.standard_normal((size, 7)).astype("float32") for size in range(1, 25)}
    expected = {size: net(nd.array(x)).asnumpy() for size, x in given.items()}
    net.hybridize()

    def work(seed: int) -> None:
        for size in np.random.default_rng(seed).permutation(24) + 1:
            found = net(nd.array(given[size]) * 1).asnumpy()
            np.testing.assert_allclose(found, expected[size], rtol=1e-5, atol=1e-6)

    before = mx.runtime.stats()["compilations"]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(8)))
    # Two of the network and two of the product; one row may be another way of computing it.
    assert mx.runtime.stats()["compilations"] - before <= 6


def test_slices_of_open_extents_are_those_of_python() -> None:
    for begin, end, step in itertools.product(
        (None, 0, 2, -1, -3, 9), (None, 0, 3, -1, -4, 50), (1, 2, -1, -3)
    ):
        extents = RuntimeExtents([8])
        start, by, count = slice_range("slice", extents.unknown[0], begin, end, step)
        sizes = [size for size in range(1, 60) if extents.allow((size,))]
        assert extents.examples[0] in sizes
        for size in sizes:
            expected = range(*slice(begin, end, step).indices(size))
            assert (by, value_of(count, (size,))) == (step, len(expected))
            assert not expected or value_of(start, (size,)) == expected.start
