"""`TrainStep(adjust=)` against the loop that it stands for: the same losses, weights, counts and
random stream, also where steps are skipped, by values or by chance."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

Adjust = Callable[[Any, list[Any]], Any]


class Net(nn.HybridBlock):
    """Draws, moves states and decides; gives way where it is told to."""

    def __init__(self, gives_way: bool) -> None:
        super().__init__()
        self.gives_way = gives_way
        with self.name_scope():
            self.dense = nn.Dense(3, in_units=3)
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm(in_channels=3)

    def forward(self, x: Any) -> Any:
        h = self.drop(self.norm(self.dense(x)))
        if self.gives_way:
            h = h * float(np.random.rand() * 0 + 1)
        return h * 2 if h.sum() > 0 else h


def skips_by_the_array(loss: Any, grads: Any) -> Any:
    return grads if np.isfinite(loss.asnumpy()).all() else None


def skips_by_an_operator(loss: Any, grads: Any) -> Any:
    return None if nd.contrib.isfinite(loss).min() == 0 else grads


def skips_and_clips(loss: Any, grads: Any) -> Any:
    if not (loss.sum() < 1e6):
        return None
    norm = sum((grad * grad).sum() for grad in grads).sqrt()
    if norm > 0.1:
        grads = [grad * (0.1 / norm) for grad in grads]
    return grads


def skips_by_chance(loss: Any, grads: Any) -> Any:
    return grads if nd.random.uniform(shape=(1,)) < 0.5 else None


def adds_noise(loss: Any, grads: Any) -> Any:
    if not (loss.sum() < 1e6):
        return None
    return [grad + nd.random.normal(0, 0.01, shape=grad.shape) for grad in grads]


def clips_in_place(loss: Any, grads: Any) -> Any:
    if not (loss.sum() < 1e6):
        return None
    gluon.utils.clip_global_norm(grads, 0.1)
    return grads


def writes(loss: Any, grads: Any) -> Any:
    if nd.contrib.isfinite(loss).min() == 0:
        return None
    for grad in grads:
        grad *= 0.5
        grad[0] = 0.25
        if grad.sum() > 0:
            grad[:] = grad - 0.01
    grads[0] = grads[0] + 0.1
    return grads


ADJUSTS: list[Adjust] = [
    skips_by_the_array, skips_by_an_operator, skips_and_clips, skips_by_chance, adds_noise,
    clips_in_place, writes,
]  # fmt: skip
STEPS, WITHOUT_END = 8, (2, 5)


def trained(adjust: Adjust, gives_way: bool, by_step: bool) -> tuple[list[Any], int]:
    """Losses, weights and numbers drawn afterwards; how many updates were made."""
    mx.random.seed(7)
    net = Net(gives_way)
    net.initialize(mx.init.Normal(0.5))
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    loss = gluon.loss.L2Loss()
    step = gluon.TrainStep(net, loss, trainer, adjust=adjust)
    label, found = nd.ones((4, 3)), []
    for number in range(STEPS):
        x = nd.array(np.random.RandomState(number).randn(4, 3))
        if number in WITHOUT_END:
            x = x * np.inf
        if by_step:
            found.append(step(x, label))
        else:
            with autograd.record():
                value = loss(net(x), label)
            value.backward()
            params = [p for p in net.collect_params().values() if p.grad_req != "null"]
            grads = adjust(value, [param.grad() / 4 for param in params])
            if grads is not None:
                for param, grad in zip(params, grads, strict=True):
                    param.grad()[:] = grad
                trainer.step(1)
            found.append(value)
        found.append(nd.random.uniform(shape=(2,)))
    found += [p.data() for p in net.collect_params().values() if p.grad_req != "null"]
    return [array.asnumpy() for array in found], trainer.optimizer.num_update


@pytest.mark.parametrize("gives_way", [False, True])
@pytest.mark.parametrize("adjust", ADJUSTS, ids=lambda adjust: adjust.__name__)
def test_adjusted_steps_are_the_loop(adjust: Adjust, gives_way: bool) -> None:
    before = mx.runtime.stats()["given_way"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, updates = trained(adjust, gives_way, by_step=True)
        if not gives_way and adjust is not skips_by_the_array:  # each value is a path
            assert mx.runtime.stats()["given_way"] == before
        theirs, their_updates = trained(adjust, gives_way, by_step=False)
    assert 0 < updates == their_updates < STEPS
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
