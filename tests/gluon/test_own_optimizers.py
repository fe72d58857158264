"""Optimizers of a program: in MXNet's form, on arrays, and in ours, on graph values."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, optimizer
from tigon.gluon import nn


class Momentum(optimizer.Optimizer):
    """As one writes it for MXNet."""

    def __init__(self, momentum: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.seen: list[Any] = []

    def create_state(self, index: Any, weight: nd.NDArray) -> Any:
        if self.momentum == 0.0:
            return None
        return nd.zeros(weight.shape, weight.context, dtype=weight.dtype)

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        self.seen.append(index)
        self._update_count(index)
        lr, wd = self._get_lr(index), self._get_wd(index)
        grad = grad * self.rescale_grad
        if self.clip_gradient is not None:
            grad = nd.clip(grad, -self.clip_gradient, self.clip_gradient)
        step = lr * (grad + wd * weight)
        if state is None:
            weight[:] = weight - step
            return
        state[:] = self.momentum * state - step
        weight[:] += state


class Several(Momentum):
    aggregate_num = 2

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        assert isinstance(index, list) and len(index) <= 2
        lists = (index, weight, grad, state)
        for one in zip(*lists, strict=True):
            super().update(*one)


class Ours(optimizer.Optimizer):
    """The same as a formula, which is compiled for all parameters together."""

    defaults = {"momentum": 0.0}  # noqa: RUF012

    def create_state(self, index: Any, weight: nd.NDArray) -> Any:
        return nd.zeros(weight.shape, weight.context, dtype=weight.dtype)

    def formula(self, weight: Any, grad: Any, states: Any, lr: Any, wd: Any, *_: Any) -> Any:
        moved = self.constants["momentum"] * states[0] - lr * (grad + wd * weight)
        return weight + moved, (moved,)


SETTINGS = {"learning_rate": 0.1, "wd": 0.01, "clip_gradient": 0.5, "momentum": 0.9}


def made(kind: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
    mx.random.seed(1)
    net = nn.HybridSequential()
    net.add(nn.Dense(3, in_units=2, activation="tanh"), nn.Dense(1, in_units=3))
    net.initialize()
    net[1].weight.lr_mult, net[0].weight.wd_mult = 0.5, 2.0
    return net, gluon.Trainer(net.collect_params(), kind, settings)


def trained(net: Any, trainer: Any, steps: int = 3) -> list[Any]:
    x = nd.array([[1, 2], [3, -1]])
    for _ in range(steps):
        with autograd.record():
            loss = gluon.loss.L2Loss()(net(x), nd.ones((2, 1)) * 9)
        loss.backward()
        trainer.step(2)
    return [param.data().asnumpy() for param in net.collect_params().values()]


@pytest.mark.parametrize("kind", [Momentum, Several, Ours])
def test_own_rules_are_run_as_built_in_ones(kind: Any) -> None:
    for settings in (SETTINGS, {**SETTINGS, "momentum": 0.0}):
        expected = trained(*made("sgd", dict(settings)))
        found = trained(*made(kind(**settings), {}))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


def test_one_parameter_at_a_time_by_name_and_schedule() -> None:
    optimizer.Optimizer.register(Momentum)
    scheduler = mx.lr_scheduler.FactorScheduler(step=1, factor=0.5, base_lr=1.0)
    net, trainer = made("momentum", {"lr_scheduler": scheduler})
    own = trainer.optimizer
    assert isinstance(own, Momentum)
    trained(net, trainer, 2)
    assert own.seen == [0, 1, 2, 3] * 2
    assert own._index_update_count == {0: 2, 1: 2, 2: 2, 3: 2} and own.num_update == 2
    assert own._get_lr(0) == own.learning_rate == trainer.learning_rate
    assert own._get_lrs([0, 2]) == [own._get_lr(0), own._get_lr(0) / 2]
    own.wd = 1.0
    assert own._get_wds([0, 1]) == [2.0, 1.0]


def test_multipliers_by_name() -> None:
    own = Momentum(param_idx2name={0: "a_weight", 1: "b_weight"}, wd=1.0, learning_rate=1.0)
    own.set_lr_mult({"a_weight": 0.1})
    own.set_wd_mult({1: 3.0})
    assert own._get_lrs([0, 1]) == [0.1, 1.0] and own._get_wds([0, 1]) == [1.0, 3.0]


@pytest.mark.parametrize("kind", [Momentum, Ours, optimizer.Adam])
def test_states_of_an_updater_as_bytes(kind: Any) -> None:
    settings = {} if kind is optimizer.Adam else {"momentum": 0.9}

    def start() -> tuple[Any, list[Any]]:
        update = optimizer.get_updater(kind(learning_rate=0.1, **settings))
        return update, [nd.array([1, 2]), nd.array([[3]])]

    def step(update: Any, weights: list[Any]) -> list[Any]:
        for index, weight in enumerate(weights):
            update(index, weight * 2, weight)
        return [weight.asnumpy().tolist() for weight in weights]

    update, weights = start()
    step(update, weights)
    states = update.get_states()
    assert isinstance(states, bytes)
    other, _ = start()
    other.set_states(states)
    others = [weight.copy() for weight in weights]
    assert step(update, weights) == step(other, others)
    assert other.optimizer.num_update == 2
    fresh, _ = start()
    with pytest.raises(mx.TigonError, match="expected states of an optimizer as MXNet writes"):
        fresh.set_states(pickle.dumps({0: print}))
    with pytest.raises(mx.TigonError, match="are no optimizer's states"):
        nd_bytes = optimizer.get_updater(kind()).get_states()
        fresh.set_states(nd_bytes.replace(b"num_update", b"mum_update"))
    assert update.get_states(dump_optimizer=True) == update.get_states()
    assert fresh.states == {} and fresh.optimizer.num_update == 0


def test_several_contexts() -> None:
    net = nn.Dense(1, in_units=1, weight_initializer="ones", use_bias=False)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    trainer = gluon.Trainer(net.collect_params(), Momentum(learning_rate=0.25))
    for context in (mx.cpu(0), mx.cpu(1)):
        with autograd.record():
            y = net(nd.ones((1, 1), ctx=context))
        y.backward()
    trainer.step(1)
    assert [array.asscalar() for array in net.weight.list_data()] == [0.5, 0.5]


def test_a_training_step_says_that_it_needs_a_formula() -> None:
    net, trainer = made(Momentum(learning_rate=0.1), {})
    with pytest.raises(mx.TigonError, match="Momentum defines update, which runs on arrays"):
        gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)


def test_neither_formula_nor_update() -> None:
    net, trainer = made(optimizer.Optimizer(), {})
    with pytest.raises(NotImplementedError, match="Optimizer: define formula, or update"):
        trained(net, trainer, 1)
