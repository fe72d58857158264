"""Parameters on several contexts: where they are, how they begin, what training makes of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

CONTEXTS = [mx.cpu(0), mx.cpu(1)]


def layers() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(6, activation="relu"), nn.BatchNorm(), nn.Dropout(0.0), nn.Dense(3))
    return net


def network(contexts: Any, hybridized: bool = False) -> Any:
    mx.random.seed(7)
    net = layers()
    net.initialize(mx.init.Xavier(), ctx=contexts)
    if hybridized:
        net.hybridize()
    return net


def train(net: Any, contexts: Any, optimizer: Any = "adam", steps: int = 3, **fields: Any) -> Any:
    trainer = gluon.Trainer(net.collect_params(), optimizer, fields)
    random = np.random.RandomState(1)
    data, label = random.randn(8, 5).astype("float32"), random.randint(0, 3, 8).astype("float32")
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(steps):
        parts = gluon.utils.split_and_load(data, contexts)
        labels = gluon.utils.split_and_load(label, contexts)
        with autograd.record():
            losses = [loss_of(net(x), y) for x, y in zip(parts, labels, strict=True)]
        autograd.backward(losses)
        trainer.step(8)
    return trainer


def values(net: Any) -> dict[str, list[np.ndarray]]:
    return {
        name.partition("_")[2]: [array.asnumpy() for array in param.list_data()]
        for name, param in net.collect_params().items()
    }


def test_data_and_gradients_of_each_context():
    net = network(CONTEXTS)
    with pytest.raises(gluon.parameter.DeferredInitializationError):
        net[0].weight.data()
    assert net[0].weight.list_ctx() == CONTEXTS
    net(nd.ones((2, 5), ctx=mx.cpu(1)))
    weight = net[0].weight
    assert [array.context for array in weight.list_data()] == CONTEXTS
    assert [array.context for array in weight.list_grad()] == CONTEXTS
    assert weight.data(mx.cpu(1)) is weight.list_data()[1]
    assert weight.grad(mx.cpu(1)) is weight.list_grad()[1]
    assert weight.data() is weight.data(mx.cpu(0))
    with mx.cpu(1):
        assert weight.data() is weight.data(mx.cpu(1))
    first, second = [array.asnumpy().tolist() for array in weight.list_data()]
    assert first == second
    with pytest.raises(mx.TigonError) as caught:
        weight.data(mx.cpu(2))
    assert str(caught.value).endswith(
        "is not on cpu(2) but on cpu(0), cpu(1); call reset_ctx or initialize with this ctx"
    )
    with pytest.raises(mx.TigonError, match="is not on cpu\\(3\\) but on"):
        net(nd.ones((2, 5), ctx=mx.cpu(3)))
    weight.set_data(nd.ones(weight.shape))
    assert all((array.asnumpy() == 1).all() for array in weight.list_data())


@pytest.mark.parametrize("hybridized", [False, True])
def test_a_block_runs_where_its_input_is(hybridized: bool):
    net = network(CONTEXTS, hybridized)
    x = np.random.RandomState(0).randn(4, 5).astype("float32")
    results = [net(nd.array(x, ctx=context)) for context in (*CONTEXTS, *CONTEXTS)]
    assert [result.context for result in results] == [*CONTEXTS, *CONTEXTS]
    assert len({result.asnumpy().tobytes() for result in results}) == 1
    for context in CONTEXTS:
        with autograd.record():
            total = net(nd.array(x, ctx=context)).sum()
        assert total.context == context
        total.backward()
        other = CONTEXTS[1 - CONTEXTS.index(context)]
        assert net[3].weight.grad(context).asnumpy().any()
        net[3].weight.zero_grad()
        assert not net[3].weight.grad(other).asnumpy().any()


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "fields"),
    [("sgd", {"momentum": 0.9, "wd": 0.1}), ("adam", {}), ("adagrad", {})],
)
def test_training_on_two_is_training_on_one(optimizer: str, fields: Any, hybridized: bool):
    """To rounding: without BatchNorm, whose statistics are those of each part."""

    def net_of(contexts: Any) -> Any:
        mx.random.seed(2)
        net = nn.HybridSequential()
        net.add(nn.Dense(6, activation="tanh", in_units=5), nn.Dense(3, in_units=6))
        net.initialize(mx.init.Xavier(), ctx=contexts)
        if hybridized:
            net.hybridize()
        return net

    one, two = net_of(mx.cpu(0)), net_of(CONTEXTS)
    train(one, [mx.cpu(0)], optimizer, **fields)
    trainer = train(two, CONTEXTS, optimizer, **fields)
    for (alone,), pair in zip(values(one).values(), values(two).values(), strict=True):
        np.testing.assert_allclose(pair[0], alone, rtol=2e-5, atol=1e-6)
        assert pair[0].tobytes() == pair[1].tobytes()
    assert trainer._optimizer.num_update == 3


def test_one_sum_however_it_is_made():
    """`step`, or `allreduce_grads` and `update`; an optimizer with an `update` of its own."""

    class Own(mx.optimizer.SGD):
        def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
            super().update(index, weight, grad, state)

    def trained(optimizer: Any, apart: bool) -> list[bytes]:
        net = nn.Dense(2, in_units=5)
        net.initialize(mx.init.One(), ctx=CONTEXTS)
        trainer = gluon.Trainer(net.collect_params(), optimizer)
        for step in range(3):
            with autograd.record():
                totals = [
                    (net(nd.ones((2, 5), ctx=c)) * (step + i)).sum() for i, c in enumerate(CONTEXTS)
                ]
            autograd.backward(totals)
            grads = [grad.asnumpy() for grad in net.weight.list_grad()]
            if apart:
                trainer.allreduce_grads()
                for grad in net.weight.list_grad():
                    assert grad.asnumpy().tolist() == (grads[0] + grads[1]).tolist()
                trainer.update(4)
            else:
                trainer.step(4)
                for grad, before in zip(net.weight.list_grad(), grads, strict=True):
                    assert grad.asnumpy().tolist() == before.tolist()
        first, second = [array.asnumpy().tobytes() for array in net.weight.list_data()]
        assert first == second
        return [first]

    expected = trained(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9), False)
    assert trained(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9), True) == expected
    assert trained(Own(learning_rate=0.1, momentum=0.9), False) == expected


def test_stale_gradients_are_noticed_on_each_context():
    net = nn.Dense(1, in_units=2)
    net.initialize(ctx=CONTEXTS)
    trainer = gluon.Trainer(net.collect_params(), "sgd")

    def step(contexts: Any) -> None:
        with autograd.record():
            totals = [net(nd.ones((1, 2), ctx=context)).sum() for context in contexts]
        autograd.backward(totals)
        trainer.step(1)

    step(CONTEXTS)
    with pytest.raises(mx.TigonError, match="was not computed since the last step"):
        step(CONTEXTS[:1])


def test_gradients_that_were_added_up_are_not_new_ones():
    """`allreduce_grads` writes into them, and so does `zero_grad`, any number of times."""
    net = nn.Dense(1, in_units=2)
    net.initialize(ctx=CONTEXTS)
    trainer = gluon.Trainer(net.collect_params(), "sgd", update_on_kvstore=False)

    def gradients() -> None:
        with autograd.record():
            totals = [net(nd.ones((1, 2), ctx=context)).sum() for context in CONTEXTS]
        autograd.backward(totals)

    for _ in range(2):
        gradients()
        trainer.allreduce_grads()
        trainer.update(1)
        for _ in range(2):
            trainer.allreduce_grads()
            net.collect_params().zero_grad()
            with pytest.raises(mx.TigonError, match="was not computed since the last step"):
                trainer.update(1)
            trainer.update(1, ignore_stale_grad=True)


def test_moving_and_files(tmp_path: Any):
    net = network(CONTEXTS, True)
    train(net, CONTEXTS)
    path = str(tmp_path / "net.params")
    net.save_parameters(path)
    net.collect_params().reset_ctx([mx.cpu(2), mx.cpu(0)])
    assert net[0].weight.list_ctx() == [mx.cpu(2), mx.cpu(0)]
    expected = net(nd.ones((1, 5))).asnumpy().tolist()
    assert net(nd.ones((1, 5), ctx=mx.cpu(2))).asnumpy().tolist() == expected
    other = network(mx.cpu(5))
    other.load_parameters(path)
    assert other(nd.ones((1, 5), ctx=mx.cpu(5))).asnumpy().tolist() == expected
    with pytest.raises(mx.TigonError, match="is on cpu\\(5\\); to be loaded on cpu\\(1\\)"):
        other.load_parameters(path, ctx=mx.cpu(1))
    fresh = layers()
    fresh.load_parameters(path, ctx=[mx.cpu(1), mx.cpu(3)])
    assert fresh[0].weight.list_ctx() == [mx.cpu(1), mx.cpu(3)]


def test_statistics_of_contexts_are_averaged_where_they_become_one(tmp_path: Any):
    """As in MXNet: what is written or moved is the mean; what is equal everywhere stays exact."""

    def net_of() -> Any:
        net = nn.HybridSequential()
        net.add(nn.BatchNorm(in_channels=1, momentum=0.0), nn.Dense(1, in_units=1))
        contexts = [mx.cpu(number) for number in range(3)]
        mx.random.seed(3)
        net.initialize(mx.init.Normal(), ctx=contexts)
        net.hybridize()
        with autograd.record():
            for number, context in enumerate(contexts):
                net(nd.array([[number], [number + 6]], ctx=context))
        assert means(net) == [3, 4, 5]
        return net

    def means(net: Any) -> list[float]:
        return [array.asscalar() for array in net[0].running_mean.list_data()]

    def saved(net: Any) -> Any:
        net.save_parameters(str(tmp_path / "net"))
        return nd.load(str(tmp_path / "net"))["0.running_mean"]

    def of_dictionary(net: Any) -> Any:
        net.collect_params().save(str(tmp_path / "net"))
        return nd.load(str(tmp_path / "net"))[net[0].running_mean.name]

    def exported(net: Any) -> Any:
        net.export(str(tmp_path / "net"))
        return nd.load(str(tmp_path / "net-0000.params"))[f"aux:{net[0].running_mean.name}"]

    def moved(net: Any) -> Any:
        net.collect_params().reset_ctx([mx.cpu(4), mx.cpu(5)])
        assert means(net) == [4, 4]
        return net[0].running_mean.data(mx.cpu(5))

    for writer in (saved, of_dictionary, exported, moved):
        net = net_of()
        weight = net[1].weight.data(mx.cpu(0)).asnumpy().tolist()
        assert writer(net).asnumpy().tolist() == [4]
        if writer is moved:
            assert net[1].weight.data(mx.cpu(4)).asnumpy().tolist() == weight
        else:
            assert means(net) == [3, 4, 5]
    net = net_of()
    net.cast("float64")  # each keeps its own
    assert means(net) == [3, 4, 5]


def test_several_contexts_are_compiled_once():
    net = network(CONTEXTS, True)
    x = nd.ones((2, 5))
    net(x)
    before = mx.runtime.stats()["compilations"]
    result = net(x.as_in_context(mx.cpu(1)))
    assert result.context == mx.cpu(1)
    assert mx.runtime.stats()["compilations"] - before <= 1  # the copy's own operator


def test_a_training_step_needs_one_context():
    net = network(CONTEXTS)
    net(nd.ones((1, 5)))
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    with pytest.raises(mx.TigonError, match="lives on several contexts; one program runs on one"):
        step(nd.ones((1, 5)), nd.ones((1, 3)))


def test_traced_code_that_moves_an_array_gives_way():
    class Mover(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x.as_in_context(mx.cpu(1)) * 2 if x.context == mx.cpu(0) else x

    net = Mover()
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="x.as_in_context\\(cpu\\(1\\)\\)"):
        assert net(nd.ones(2)).context == mx.cpu(1)
    assert net(nd.ones(2, ctx=mx.cpu(1))).context == mx.cpu(1)


def test_results_made_of_nothing_are_made_where_the_input_is():
    class Maker(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return x + 1, F.ones((2,)) * 3

    net = Maker()
    for hybridized in (False, True):
        net.hybridize(hybridized)
        made = net(nd.ones(2, ctx=mx.cpu(4)))[0]
        assert made.context == mx.cpu(4)


@pytest.mark.parametrize("hybridized", [False, True])
def test_a_network_is_where_it_was_put(hybridized: bool):
    net = network(mx.cpu(1), hybridized)
    assert net(nd.ones((2, 5), ctx=mx.cpu(1))).context == mx.cpu(1)
    with pytest.raises(mx.TigonError, match="is not on cpu\\(0\\) but on cpu\\(1\\)"):
        net(nd.ones((2, 5)))
    assert net(nd.ones((2, 5), ctx=mx.cpu(1))).context == mx.cpu(1)


@pytest.mark.parametrize("hybridized", [False, True])
def test_what_is_made_of_nothing_alone_is_made_where_it_is_said(hybridized: bool):
    made: dict[str, Any] = {
        "there": lambda x: nd.zeros((3,), ctx=x.context),
        "drawn": lambda x: nd.random.uniform(shape=(3,), ctx=x.context),
        "elsewhere": lambda x: nd.ones(3, ctx=mx.cpu(2)) + 1,
        "within": lambda x: entered(mx.cpu(2), lambda: nd.ones(3)) + 1,
        "both": lambda x: x + nd.ones(2, ctx=mx.cpu(2)),
    }

    def entered(context: Any, make: Any) -> Any:
        with context:
            return make()

    for name, body in made.items():

        class Maker(gluon.HybridBlock):
            def forward(self, x: Any) -> Any:
                return body(x)  # noqa: B023

        net = Maker()
        if hybridized:
            net.hybridize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where another context is named it gives way
            for _ in range(3):
                found = net(nd.ones(2, ctx=mx.cpu(1))).context
                wanted = mx.cpu(1) if name in ("there", "drawn", "both") else mx.cpu(2)
                assert found == wanted, name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert mx.jit(lambda: nd.ones(3, ctx=mx.cpu(1)))().context == mx.cpu(1)


class Deciding(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.dense = nn.Dense(3, in_units=5)

    def forward(self, x: Any) -> Any:
        h = self.dense(x)
        if h.sum() > 0:
            h = h * 2
        while (h * h).sum() > 3:
            h = h * 0.5
        return h


@pytest.mark.parametrize("context", CONTEXTS)
def test_values_decide_on_each_context(context: Any) -> None:
    """Recorded, by a trainer of both contexts and by a step of one."""
    draw = np.random.RandomState(1)
    batches = [draw.randn(4, 5).astype("float32") for _ in range(6)]

    def trained(hybridize: bool, by: str) -> list[np.ndarray]:
        mx.random.seed(2)
        net = Deciding()
        net.initialize(mx.init.Normal(1), ctx=CONTEXTS if by == "both" else context)
        net.hybridize(hybridize, strict=hybridize)
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.05})
        loss, label = gluon.loss.L2Loss(), nd.ones((4, 3), ctx=context)
        step = gluon.TrainStep(net, loss, trainer)
        for batch in batches:
            x = nd.array(batch, ctx=context)
            if by == "step":
                assert step(x, label).context == context
                continue
            with autograd.record():
                value = loss(net(x), label)
            assert value.context == context
            value.backward()
            trainer.step(4, ignore_stale_grad=True)
        if hybridize and by != "step":
            assert len(net.compiled[0].paths) > 1
        return [param.data(context).asnumpy() for param in net.collect_params().values()]

    for by in ("both", "one", "step"):
        for mine, theirs in zip(trained(True, by), trained(False, by), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)
    for mine, theirs in zip(trained(True, "step"), trained(False, "one"), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)
