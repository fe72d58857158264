"""A hybridized call that raises leaves arrays, states and the random stream as before it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonIndexError, autograd, gluon, nd
from tigon.gluon import nn

GOOD, BAD = [0, 1], [0, 9]


@pytest.fixture(autouse=True)
def checked_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGON_CHECK_INDICES", "1")


class Model(nn.HybridBlock):
    """It draws, keeps statistics, and fails by its code or by an index."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.normalization = nn.BatchNorm(in_channels=2)
        self.embedding, self.dropout = nn.Embedding(4, 2), nn.Dropout(0.5)

    def forward(self, indices: Any) -> Any:
        result = self.dropout(self.normalization(self.embedding(indices)))
        if self.fails:
            raise ValueError("as told")
        return result


def made() -> Model:
    model = Model()
    model.initialize()
    model.hybridize()
    return model


def state(model: Model) -> dict[str, Any]:
    return {name: p.data().asnumpy() for name, p in model.collect_params().items()}


def fails(call: Callable[[], Any], model: Model, error: type[Exception]) -> None:
    """The call raises, and nothing shows that it was made."""
    before = state(model)
    mx.random.seed(5)
    expected = nd.random.uniform(shape=(3,)).asnumpy()
    mx.random.seed(5)
    with pytest.raises(error):
        call().wait_to_read()
    np.testing.assert_array_equal(nd.random.uniform(shape=(3,)).asnumpy(), expected)
    after = state(model)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("called_before", [False, True])
def test_a_call_that_fails_while_it_runs(recorded: bool, called_before: bool) -> None:
    model = made()

    def call(indices: list[int]) -> Any:
        with autograd.record() if recorded else autograd.train_mode():
            return model(nd.array(indices))

    model(nd.array(GOOD))
    if called_before:
        call(GOOD)
    fails(lambda: call(BAD), model, TigonIndexError)


@pytest.mark.parametrize("recorded", [False, True])
def test_code_that_fails_while_it_is_traced(recorded: bool) -> None:
    model = made()
    model(nd.array(GOOD))
    model.fails = True

    def call() -> Any:
        with autograd.record() if recorded else nullcontext():
            return model(nd.array(GOOD))

    fails(call, model, ValueError)


def test_a_training_step_that_fails() -> None:
    model, labels = made(), nd.ones((2, 2))
    trainer = gluon.Trainer(model.collect_params(), "adam", {"learning_rate": 0.1})
    step = gluon.TrainStep(model, gluon.loss.L2Loss(), trainer)
    step(nd.array(GOOD), labels)
    counts, updates = dict(trainer.optimizer._counts), trainer.optimizer.num_update
    fails(lambda: step(nd.array(BAD), labels), model, TigonIndexError)
    assert (trainer.optimizer._counts, trainer.optimizer.num_update) == (counts, updates)


def test_a_compiled_symbol_that_fails() -> None:
    data = mx.sym.Variable("data")
    drawn = mx.sym.random.uniform(shape=(2, 2))
    function = mx.compile(mx.sym.Embedding(data, input_dim=4, output_dim=2, name="e") + drawn)
    weight, model = nd.ones((4, 2)), made()
    model(nd.array(GOOD))
    function(data=nd.array(GOOD), e_weight=weight)
    fails(lambda: function(data=nd.array(BAD), e_weight=weight), model, TigonIndexError)
