"""Copies and pickles of networks, parameters, trainers and losses: they go on as the original does,
and share nothing with it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

HOW: list[Callable[[Any], Any]] = [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))]
X = nd.array(np.random.RandomState(0).randn(4, 2, 5, 5))


def network(hybridize: bool) -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 3, activation="relu"), nn.BatchNorm(), nn.Dense(2, activation="tanh"))
    net.initialize()
    if hybridize:
        net.hybridize()
    net(X)
    return net


def train(net: gluon.Block, trainer: gluon.Trainer) -> dict[str, np.ndarray]:
    with autograd.record():
        loss = gluon.loss.L2Loss()(net(X), nd.ones((4, 2)))
    loss.backward()
    trainer.step(4)
    return values(net)


def values(net: gluon.Block) -> dict[str, np.ndarray]:
    return {name: param.data().asnumpy() for name, param in net.collect_params().items()}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class Deciding(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.dense = nn.Dense(3, in_units=3)
            self.norm = nn.BatchNorm(in_channels=3)

    def forward(self, x: Any) -> Any:
        h = self.norm(self.dense(x))
        if h.sum() > 0:
            return h * 2
        while (h * h).sum() > 1:
            h = h * 0.5
        return h


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
def test_copies_decide_by_themselves(how: Callable[[Any], Any]) -> None:
    mx.random.seed(0)  # values that go both ways
    given = [nd.array(np.random.RandomState(seed).randn(4, 3)) for seed in range(4)]
    net = Deciding()
    net.initialize(mx.init.Normal(1))
    net.hybridize(strict=True)
    expected = [net(x).asnumpy() for x in given]
    assert len(net.compiled[0].paths) > 1
    other = how(net)
    for x, theirs in zip(given, expected, strict=True):
        np.testing.assert_array_equal(other(x).asnumpy(), theirs)
    assert len(other.compiled[0].paths) == len(net.compiled[0].paths)
    other.dense.weight.set_data(-other.dense.weight.data())
    with autograd.record():
        other(given[0])
    assert any((other(x).asnumpy() != y).any() for x, y in zip(given, expected, strict=True))
    for x, theirs in zip(given, expected, strict=True):
        np.testing.assert_array_equal(net(x).asnumpy(), theirs)


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_goes_on(how: Callable[[Any], Any], hybridize: bool, optimizer: str) -> None:
    net = network(hybridize)
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.1})
    train(net, trainer)
    before = values(net)
    other, other_trainer = how((net, trainer))
    assert equal(values(other), before)
    trained = train(other, other_trainer)
    assert equal(values(net), before)  # nothing is shared
    assert not equal(trained, before)
    assert equal(train(net, trainer), trained)
    assert equal(train(net, trainer), train(other, other_trainer))


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
def test_parameters_keep_what_they_are(how: Callable[[Any], Any]) -> None:
    param = gluon.Parameter("w", shape=(2,), grad_req="add", lr_mult=0.5, init="ones")
    param.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    for context in param.list_ctx():
        with autograd.record():
            y = param.data(context) * 3
        y.backward()
    other = how(param)
    assert other.list_ctx() == [mx.cpu(0), mx.cpu(1)]
    assert (other.name, other.shape, other.grad_req, other.lr_mult) == ("w", (2,), "add", 0.5)
    assert [array.context for array in other.list_data()] == other.list_ctx()
    context = mx.cpu(1)
    with autograd.record():
        y = other.data(context) * 3
    y.backward()
    assert other.grad(context).asnumpy().tolist() == [6, 6]
    assert param.grad(context).asnumpy().tolist() == [3, 3]
    constant = how(gluon.Constant("c", [1.0, 2.0]))
    constant.initialize()
    assert constant.data().asnumpy().tolist() == [1, 2]


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
def test_parameters_that_wait_for_their_shape(how: Callable[[Any], Any]) -> None:
    mx.random.seed(3)
    layer = nn.Dense(3)
    layer.initialize()
    other = how(layer)
    x = nd.ones((1, 4))
    assert np.array_equal(layer(x).asnumpy(), other(x).asnumpy())
    assert how(nn.Dense(3)).weight.shape == (3, 0)


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
def test_what_is_shared_stays_shared(how: Callable[[Any], Any]) -> None:
    first = nn.Dense(2, in_units=2)
    net = nn.HybridSequential()
    net.add(first, nn.Dense(2, in_units=2, params=first.params))
    net.initialize()
    other = how(net)
    assert other[0].weight is other[1].weight
    assert other.collect_params().keys() == net.collect_params().keys()
    assert other.collect_params()[first.weight.name] is other[0].weight


def test_a_copy_is_no_part_of_a_recording() -> None:
    layer = nn.Dense(1, in_units=1, weight_initializer="ones")
    layer.initialize()
    with autograd.record():
        other = copy.deepcopy(layer)
        y = other(nd.ones((1, 1))) * 5
    y.backward()
    assert other.weight.grad().asscalar() == 5
    assert layer.weight.grad().asscalar() == 0


@pytest.mark.parametrize("how", HOW, ids=["deepcopy", "pickle"])
@pytest.mark.parametrize(
    "loss", [gluon.loss.L2Loss(weight=2), gluon.loss.SoftmaxCELoss(axis=1), gluon.loss.HuberLoss()]
)
def test_losses(how: Callable[[Any], Any], loss: gluon.loss.Loss) -> None:
    assert repr(how(loss)) == repr(loss)


def test_arrays_keep_their_context() -> None:
    array = nd.ones((2,), ctx=mx.cpu(1))
    for how in HOW:
        assert how(array).context == mx.cpu(1)


def test_another_process_reads_a_pickle(tmp_path: Any) -> None:
    net = network(True)
    path = tmp_path / "net"
    path.write_bytes(pickle.dumps((net, X)))
    program = (
        "import pickle, sys; net, x = pickle.load(open(sys.argv[1], 'rb'));"
        "sys.stdout.write(net(x).asnumpy().tobytes().hex())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    found = np.frombuffer(bytes.fromhex(run.stdout), np.float32)
    assert np.array_equal(found, net(X).asnumpy().ravel())


@pytest.mark.filterwarnings("ignore:.*gives way:RuntimeWarning")
def test_a_copy_within_a_traced_call_is_made_at_every_call() -> None:
    class Copying(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Dense(1, in_units=1, weight_initializer="ones")

        def forward(self, x: Any) -> Any:
            return copy.deepcopy(self.layer)(x)

    net = Copying()
    net.initialize()
    net.hybridize()
    x = nd.ones((1, 1))
    assert net(x).asscalar() == 1
    net.layer.weight.set_data(nd.array([[4]]))
    assert net(x).asscalar() == 4
