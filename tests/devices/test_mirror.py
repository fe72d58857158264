"""What a device whose memory is its own promises, on `mirror`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.devices.conftest import _mirror, mirror
from tigon import autograd, gluon, nd
from tigon.gluon import nn


def there(values: Any, number: int = 0) -> Any:
    return nd.array(values, ctx=mirror(number))


def test_arrays_are_made_where_it_is_said():
    before = _mirror.counts()
    x = nd.ones((2, 3), ctx=mirror())
    assert x.context == mirror() and str(x.context) == "mirror(0)"
    assert (x * 2 + x).asnumpy().tolist() == [[3] * 3] * 2
    after = _mirror.counts()
    assert after[0] > before[0] and after[1] > before[1]
    with mirror(1):
        assert nd.zeros(2).context == mirror(1)
        assert nd.random.uniform(shape=3).context == mirror(1)


def test_copies_between_all():
    places = [mx.cpu(0), mx.cpu(1), mirror(0), mirror(1)]
    values = np.arange(6, dtype="float32").reshape(2, 3)
    for one in places:
        for other in places:
            x = nd.array(values, ctx=one)
            y = x.as_in_context(other)
            assert (y is x) == (one == other)
            assert y.context == other and y.asnumpy().tolist() == values.tolist()
            z = nd.zeros((2, 3), ctx=other)
            assert x.copyto(z) is z
            z[1] = x[0]
            assert z.asnumpy().tolist() == [values[0].tolist()] * 2
            part = x[1:].as_in_context(other)
            assert part.asnumpy().tolist() == values[1:].tolist()


def test_other_kinds_are_refused_and_nothing_is_changed():
    x, y = there([1.0, 2.0]), nd.array([3.0, 4.0])
    with pytest.raises(mx.TigonError) as caught:
        x + y
    assert str(caught.value) == (
        "broadcast_add: expected operands on devices of one kind; given mirror(0), cpu(0); move "
        "them with as_in_context"
    )
    with pytest.raises(mx.TigonError, match="operands are on mirror\\(0\\) and on mirror\\(1\\)"):
        x + there([1.0, 1.0], 1)
    with pytest.raises(mx.TigonError, match="operands are on"):
        nd.relu(y, out=x)
    net = nn.Dense(1, in_units=2)
    net.initialize()
    net.hybridize()
    with pytest.raises(mx.TigonError, match="is not on mirror\\(0\\) but on cpu\\(0\\)"):
        net(x.reshape((1, 2)))
    assert (x + 1).asnumpy().tolist() == [2, 3] and (y + 1).asnumpy().tolist() == [4, 5]


def test_numbers_and_constants_reach_the_device():
    x = there([1.0, 2.0, 3.0])
    assert (x * 2.5 - 1).asnumpy().tolist() == [1.5, 4.0, 6.5]
    table = nd.array([[1.0, 2.0, 3.0]] * 3)

    class Fixed(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.broadcast_add(F.reshape(x, (1, 3)), F.eye(3)) * 0.5

    net = Fixed()
    net.hybridize()
    expected = (np.array([1.0, 2.0, 3.0]) + np.eye(3)) * 0.5
    assert net(x).asnumpy().tolist() == expected.tolist()
    assert net(table[0]).context == mx.cpu() and net(x).context == mirror()


def test_random_numbers_are_those_of_the_processor():
    mx.random.seed(5)
    here = nd.random.normal(shape=(4, 5)).asnumpy()
    mx.random.seed(5)
    assert nd.random.normal(shape=(4, 5), ctx=mirror()).asnumpy().tolist() == here.tolist()


def test_errors_of_kernels_come_at_the_wait(monkeypatch: Any):
    monkeypatch.setenv("TIGON_CHECK_INDICES", "1")
    picked = nd.take(there([[1.0, 2.0]]), there([3], 0).astype("int32"))
    with pytest.raises(IndexError, match="take: index 3 is out of bounds"):
        picked.asnumpy()
    assert (there([1.0]) + 1).asscalar() == 2


def test_order_and_overwriting():
    x = nd.zeros(1000, ctx=mirror())
    for step in range(30):
        x += step
        if step == 20:
            x[:] = 1
    assert x.asnumpy().tolist() == [1 + sum(range(21, 30))] * 1000
    y = x.copy()
    y[:] = y[::-1] * 2
    assert y[0].asscalar() == 2 * x[0].asscalar()


def test_gradients_come_back_to_where_values_are():
    x = there([1.0, 2.0])
    x.attach_grad()
    assert x.grad.context == mirror()
    with autograd.record():
        y = (x.as_in_context(mx.cpu()) ** 3).as_in_context(mirror(1)).sum()
    y.backward()
    assert y.context == mirror(1) and x.grad.context == mirror()
    assert x.grad.asnumpy().tolist() == [3, 12]
    with autograd.record():
        (slope,) = autograd.grad((x.as_in_context(mx.cpu()) ** 3).sum(), [x], create_graph=True)
        total = slope.sum()
    total.backward()
    assert slope.context == mirror() and x.grad.asnumpy().tolist() == [6, 12]


def losses(contexts: list[mx.Context], hybridized: bool) -> list[float]:
    mx.random.seed(3)
    net = nn.HybridSequential()
    net.add(nn.Dense(8, activation="tanh"), nn.BatchNorm(), nn.Dense(2))
    net.initialize(mx.init.Xavier(), ctx=contexts)
    if hybridized:
        net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05})
    random = np.random.RandomState(0)
    data, label = random.randn(8, 4).astype("float32"), random.randn(8, 2).astype("float32")
    loss_of = gluon.loss.L2Loss()
    found = []
    for _ in range(4):
        parts = gluon.utils.split_and_load(data, contexts)
        labels = gluon.utils.split_and_load(label, contexts)
        with autograd.record():
            each = [loss_of(net(x), y) for x, y in zip(parts, labels, strict=True)]
        for loss in each:
            loss.backward()
        trainer.step(8)
        found.append(sum(float(loss.asnumpy().sum()) for loss in each))
    for param in net.collect_params().values():
        assert param.list_ctx() == contexts
        assert [array.context for array in param.list_data()] == contexts
        if param.grad_req != "null":
            first, *others = [array.asnumpy().tolist() for array in param.list_data()]
            assert all(other == first for other in others)
    return found


@pytest.mark.parametrize("hybridized", [False, True])
def test_training_there_is_training_here(hybridized: bool):
    assert losses([mirror()], hybridized) == losses([mx.cpu()], hybridized)
    several = losses([mirror(0), mirror(1)], hybridized)
    assert several == losses([mx.cpu(0), mx.cpu(1)], hybridized)


def test_parameters_move_and_are_kept(tmp_path: Any):
    net = nn.Dense(2, in_units=3)
    net.initialize(ctx=mirror())
    path = str(tmp_path / "net.params")
    net.save_parameters(path)
    other = nn.Dense(2, in_units=3)
    other.load_parameters(path, ctx=[mx.cpu(1), mx.cpu(2)])
    assert other.weight.list_ctx() == [mx.cpu(1), mx.cpu(2)]
    x = np.ones((1, 3), "float32")
    expected = net(there(x)).asnumpy().tolist()
    assert other(nd.array(x, ctx=mx.cpu(2))).asnumpy().tolist() == expected
    net.collect_params().reset_ctx(mx.cpu())
    assert net(nd.array(x)).asnumpy().tolist() == expected


def test_other_libraries_cannot_read_it():
    with pytest.raises(mx.TigonError, match="the array is on mirror\\(0\\), whose memory"):
        there([1.0]).__dlpack__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_it_stays_with_the_parent():
    x = there([1.0, 2.0])
    y = x + 1
    child = os.fork()
    if child == 0:
        try:
            x.asnumpy()
        except mx.TigonError as error:
            os._exit(7 if "was forked after this device was used" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert y.asnumpy().tolist() == [2, 3]
