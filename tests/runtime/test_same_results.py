"""Results depend on the program and the seed: not on the number of threads, and not, beyond
rounding, on what the compiler did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import lines_of, run_script
from tigon import _native, autograd, nd
from tigon.gluon import nn


def given(*shape: int, seed: int = 0, dtype: str = "float32") -> Any:
    return nd.array(np.random.default_rng(seed).normal(size=shape), dtype=dtype)


def reductions() -> list[Any]:
    long, wide = given(300_001), given(700, 701)
    return [
        long.sum(),
        wide.sum(axis=0),
        wide.sum(axis=1),
        nd.mean(wide),
        nd.norm(long),
        nd.max(wide, axis=0),
        nd.argmax(wide, axis=1),
        nd.prod(wide * 0.01 + 1, axis=1),
        given(90_000, dtype="float64").sum(),
        nd.cumsum(long),
        nd.cumsum(wide, axis=0),
        nd.cumsum(wide, axis=1),
    ]


def contractions() -> list[Any]:
    a, b = given(257, 1031), given(1031, 263, seed=1)
    x, w = given(3, 5, 33, 35), given(7, 5, 3, 3, seed=2)
    return [
        nd.dot(a, b),
        nd.dot(a, a, transpose_b=True),
        nd.dot(given(1, 4096), given(4096, 300, seed=3)),
        nd.batch_dot(given(5, 64, 200), given(5, 200, 48, seed=4)),
        nd.Convolution(x, w, kernel=(3, 3), num_filter=7, no_bias=True, pad=(1, 1)),
        nd.dot(given(200, 300, dtype="float64"), given(300, 100, dtype="float64")),
    ]


def random_numbers() -> list[Any]:
    mx.random.seed(11)
    return [
        nd.random.uniform(shape=(300_000,)),
        nd.random.normal(shape=(500, 333)),
        nd.random.randint(0, 1000, shape=(70_001,)),
        nd.Dropout(given(400, 400), p=0.4, mode="always"),
        nd.random.shuffle(given(5000)),
    ]


def normalizations() -> list[Any]:
    x = given(300, 1000)
    ones, zeros = nd.ones(1000), nd.zeros(1000)
    return [
        nd.softmax(x),
        nd.log_softmax(x, axis=0),
        nd.LayerNorm(x, ones, zeros),
        nd.softmax(given(3, 70_000)),
    ]


def training() -> list[Any]:
    mx.random.seed(5)
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 3, padding=1, activation="relu"),
        nn.BatchNorm(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Dense(64, activation="tanh"),
        nn.Dense(10),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    x, label = given(32, 3, 16, 16), nd.array(np.arange(32) % 10)
    losses = []
    for _ in range(3):
        with autograd.record():
            loss = loss_of(net(x), label)
        loss.backward()
        trainer.step(32)
        losses.append(loss)
    return [*losses, *[param.data() for param in net.collect_params().values()]]


@pytest.fixture
def threads() -> Iterator[None]:
    before = _native.num_threads()
    yield
    _native.set_num_threads(before)


@pytest.mark.parametrize(
    "compute",
    [reductions, contractions, random_numbers, normalizations, training],
    ids=lambda f: f.__name__,
)
def test_the_number_of_threads_changes_no_bit(
    compute: Callable[[], list[Any]], threads: None
) -> None:
    results = []
    for count in (1, 2, 3, 8):
        _native.set_num_threads(count)
        assert _native.num_threads() == count
        results.append([array.asnumpy() for array in compute()])
    for other in results[1:]:
        for number, (one, again) in enumerate(zip(results[0], other, strict=True)):
            np.testing.assert_array_equal(one, again, str(number))


def test_repeating_changes_no_bit() -> None:
    for one, again in zip(training(), training(), strict=True):
        np.testing.assert_array_equal(one.asnumpy(), again.asnumpy())


TRAINING = """
import numpy as np
from tests.runtime.test_same_results import training
for array in training():
    values = array.asnumpy().astype(np.float64)
    print(values.sum(), np.abs(values).sum(), values.ravel()[:: max(1, values.size // 7)].tolist())
"""

PASSES = ["all", "fuse", "fold_constants,share_common_subexpressions"]


def numbers(lines: list[str]) -> np.ndarray:
    return np.array([float(part.strip("[],")) for line in lines for part in line.split()])


@pytest.fixture(scope="module")
def plain_training() -> np.ndarray:
    return numbers(lines_of(run_script(TRAINING)))


@pytest.mark.parametrize("disabled", PASSES)
def test_disabled_passes_change_rounding_at_most(disabled: str, plain_training: np.ndarray) -> None:
    found = numbers(lines_of(run_script(TRAINING, TIGON_DISABLE_PASSES=disabled)))
    np.testing.assert_allclose(found, plain_training, rtol=2e-3, atol=2e-4)


def test_an_unknown_pass_is_refused() -> None:
    done = run_script(
        "from tigon import nd; nd.ones(3).asnumpy()", TIGON_DISABLE_PASSES="fuze,fold_constants"
    )
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert "TIGON_DISABLE_PASSES: expected names among" in message
    assert message.endswith("given fuze")
