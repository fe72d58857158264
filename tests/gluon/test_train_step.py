"""One training step, one program: the same numbers as record, backward and step."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn


def network(deferred=True, dropout=0.3):
    """Names are fixed, so that two of them start alike under the same seed."""
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(16, activation="relu", in_units=0 if deferred else 6))
        net.add(nn.BatchNorm())
        if dropout:
            net.add(nn.Dropout(dropout))
        net.add(nn.Dense(3))
    return net


def made(optimizer, fields, seed=5, build=network):
    mx.random.seed(seed)
    net = build()
    net.initialize(mx.init.Xavier())
    return net, gluon.Trainer(net.collect_params(), optimizer, fields)


def batches(steps, size=8, features=6):
    generator = np.random.default_rng(0)
    for _ in range(steps):
        data = generator.standard_normal((size, features)).astype("float32")
        yield nd.array(data), nd.array(data.argmax(1) % 3)


def loop_step(net, loss_function, trainer, data, label, batch_size=None):
    with autograd.record():
        loss = loss_function(net(data), label)
    loss.backward()
    trainer.step(batch_size or data.shape[0])
    return loss


def weights(net):
    return [param.data().asnumpy() for param in net.collect_params().values()]


def assert_same_networks(one, other, rtol=2e-5, atol=2e-6):
    for mine, theirs in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)


OPTIMIZERS = [
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 1e-3}),
    ("adam", {"learning_rate": 0.01}),
]


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(("optimizer", "fields"), OPTIMIZERS)
def test_a_run_gives_the_numbers_of_the_loop(optimizer, fields, hybridized):
    """Dropout draws the same masks, BatchNorm keeps the same statistics. What may differ is the
    order in which fused sums are added: a few units in the last place, grown over 30 steps."""
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net, trainer = made(optimizer, fields)
    if hybridized:
        net.hybridize()
    by_loop = [loop_step(net, loss, trainer, data, label).asnumpy() for data, label in batches(30)]
    other, trainer = made(optimizer, fields)
    step = gluon.TrainStep(other, loss, trainer)
    by_step = [step(data, label).asnumpy() for data, label in batches(30)]
    np.testing.assert_allclose(by_loop, by_step, rtol=1e-4, atol=1e-5)
    assert_same_networks(net, other, rtol=1e-4, atol=1e-5)


def test_one_native_call_per_step_and_nothing_compiled_again():
    net, trainer = made("adam", {"learning_rate": 0.01})
    trainer.optimizer.lr_scheduler = mx.lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.01)
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    data, label = next(batches(1))
    for _ in range(2):
        step(data, label)
    nd.waitall()
    before = mx.runtime.stats()
    for batch_size in (8, 16, None):
        trainer.optimizer.wd += 0.001
        for param in net.collect_params().values():
            param.lr_mult *= 0.5
        step(data, label, batch_size=batch_size)
    after = mx.runtime.stats()
    assert after["native_calls"] - before["native_calls"] == 3
    for name in ("compilations", "fallbacks", "imperative_operators"):
        assert after[name] == before[name], name
    assert len(step.compiled) == 1


def test_weights_and_states_are_written_over_themselves():
    net, trainer = made("sgd", {"learning_rate": 0.1, "momentum": 0.9})
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    data, label = next(batches(1))
    step(data, label)
    params = [p for p in net.collect_params().values() if p.grad_req != "null"]
    arrays = [param.data() for param in params]
    places = [array.storage_id for array in arrays]
    states = [state.storage_id for state in trainer._updaters[0].states.values()]
    nd.waitall()
    before = mx.runtime.stats()["bytes_now"]
    for _ in range(3):
        step(data, label)
    nd.waitall()
    assert mx.runtime.stats()["bytes_now"] == before
    assert [param.data() for param in params] == arrays
    assert [param.data().storage_id for param in params] == places
    assert [state.storage_id for state in trainer._updaters[0].states.values()] == states
    (program,) = step.compiled[0].programs.values()
    overwritten = program.compiled.memory_plan
    moved = [row for row in overwritten.rows if row.kind == "output"]
    assert moved
