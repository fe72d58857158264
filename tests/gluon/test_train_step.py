"""One training step, one program: the same numbers as record, backward and step."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, optimizer
from tigon.base import TigonError
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
    states = [state.storage_id for state in trainer._updater.states.values()]
    nd.waitall()
    before = mx.runtime.stats()["bytes_now"]
    for _ in range(3):
        step(data, label)
    nd.waitall()
    assert mx.runtime.stats()["bytes_now"] == before
    assert [param.data() for param in params] == arrays
    assert [param.data().storage_id for param in params] == places
    assert [state.storage_id for state in trainer._updater.states.values()] == states
    (program,) = step.compiled[0].programs
    plan = program.compiled.memory_plan
    counted = sum(row.nbytes for row in plan.rows if row.kind == "input") + plan.arena_bytes
    counted += sum(value.type.nbytes for value in program.compiled.graph.outputs[: program.kept])
    assert plan.total_bytes == counted, "some new weight or state needs memory of its own"


SETTINGS = {
    "sgd": {"momentum": 0.9, "wd": 0.01, "clip_gradient": 0.05},
    "lars": {"momentum": 0.9, "wd": 0.01},
    "dcasgd": {"momentum": 0.9},
    "nag": {"momentum": 0.9},
}


BY_FORMULA = [
    name
    for name, kind in sorted(optimizer.Optimizer.opt_registry.items())
    if kind.__module__.startswith("tigon.") and kind().updates_by_formula
]


@pytest.mark.parametrize("name", BY_FORMULA)
def test_every_optimizer(name):
    def build():
        return network(dropout=0)

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    fields = SETTINGS.get(name, {})
    net, trainer = made(name, fields, build=build)
    other, other_trainer = made(name, fields, build=build)
    step = gluon.TrainStep(other, loss, other_trainer)
    for data, label in batches(4):
        loop_step(net, loss, trainer, data, label)
        step(data, label)
    assert_same_networks(net, other, rtol=5e-4, atol=5e-5)


@pytest.mark.parametrize(("name", "fields"), OPTIMIZERS)
def test_loop_and_step_take_turns_and_files_carry_the_states(name, fields, tmp_path):
    def build():
        return network(dropout=0)

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    net, trainer = made(name, fields, build=build)
    for data, label in batches(9):
        loop_step(net, loss, trainer, data, label)
    other, other_trainer = made(name, fields, build=build)
    step = gluon.TrainStep(other, loss, other_trainer)
    file = str(tmp_path / "states")
    for number, (data, label) in enumerate(batches(9)):
        if number % 3 == 1:
            loop_step(other, loss, other_trainer, data, label)
        else:
            step(data, label)
        if number == 4:
            other_trainer.save_states(file)
            other_trainer.load_states(file)
        if number == 6:
            other_trainer.save_states(file)
            other_trainer = gluon.Trainer(other.collect_params(), name, fields)
            other_trainer.load_states(file)
            step = gluon.TrainStep(other, loss, other_trainer)
    assert_same_networks(net, other, rtol=1e-4, atol=1e-5)
    assert trainer.optimizer.num_update == other_trainer.optimizer.num_update == 9


def test_schedules_and_multipliers_are_the_loops():
    def fields():
        return {
            "learning_rate": 0.2,
            "wd": 0.01,
            "lr_scheduler": mx.lr_scheduler.FactorScheduler(3, 0.5),
        }

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    nets = []
    for by_step in (False, True):
        net, trainer = made("sgd", fields())
        net[0].weight.lr_mult = 0.1
        net[3].weight.wd_mult = 10.0
        step = gluon.TrainStep(net, loss, trainer)
        for data, label in batches(8):
            step(data, label) if by_step else loop_step(net, loss, trainer, data, label)
        nets.append(net)
    assert_same_networks(*nets, rtol=1e-4, atol=1e-5)


def test_the_size_of_the_batch_divides_and_may_be_given():
    def after(batch_size, scalar):
        net = nn.Dense(1, in_units=2, weight_initializer="ones", prefix="one_")
        net.initialize()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        l2 = gluon.loss.L2Loss()
        loss = (lambda out, y: l2(out, y).mean()) if scalar else l2
        step = gluon.TrainStep(net, loss, trainer)
        step(nd.array([[1, 2], [3, 4]]), nd.zeros((2, 1)), batch_size=batch_size)
        return net.weight.data().asnumpy()

    np.testing.assert_allclose(after(None, False), [[1 - 0.1 * 12, 1 - 0.1 * 17]], rtol=1e-6)
    np.testing.assert_allclose(after(2, False), after(None, False))
    np.testing.assert_allclose(after(4, False), [[1 - 0.05 * 12, 1 - 0.05 * 17]], rtol=1e-6)
    np.testing.assert_allclose(after(None, True), after(None, False), rtol=1e-6)


def test_other_batch_sizes_and_python_values_trace_again():
    class Scaled(nn.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.scale = 1.0
            self.layer = nn.Dense(1, in_units=2)

        def forward(self, x):
            return self.layer(x) * self.scale

    net = Scaled()
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.0})
    step = gluon.TrainStep(net, lambda out, _: out, trainer)
    x, y = nd.ones((2, 2)), nd.ones(2)
    once = step(x, y).asnumpy()
    net.scale = 3.0
    np.testing.assert_allclose(step(x, y).asnumpy(), 3 * once, rtol=1e-6)
    net.scale = 1.0
    np.testing.assert_allclose(step(x, y).asnumpy(), once)
    assert len(step.compiled) == 2
    assert step(nd.ones((3, 2)), nd.ones(3)).shape == (3, 1)
    assert len(step.compiled) == 3
    report = step.explain()
    assert "Scaled.scale changed" in report
    assert report.count("bytes planned") == 3


def test_several_inputs_several_losses_and_outputs():
    class Two(nn.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.one = nn.Dense(2, in_units=3)
            self.other = nn.Dense(1, in_units=3)

        def forward(self, x, y):
            return self.one(x) + y, self.other(x)

    net = Two()
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    cross, squares = gluon.loss.SoftmaxCrossEntropyLoss(), gluon.loss.L2Loss()
    step = gluon.TrainStep(
        net,
        lambda outputs, kind, value: [cross(outputs[0], kind), squares(outputs[1], value)],
        trainer,
        outputs=True,
    )
    x, y = nd.ones((4, 3)), nd.ones((4, 2))
    kind, value = nd.zeros(4), nd.ones((4, 1))
    expected = net(x, y)
    grads = {}
    with autograd.record():
        outputs = net(x, y)
        losses = [cross(outputs[0], kind), squares(outputs[1], value)]
    autograd.backward(losses)
    for name, param in net.collect_params().items():
        grads[name] = param.data().asnumpy() - 0.1 * param.grad().asnumpy() / 4
    (first, second), given = step((x, y), [kind, value])
    np.testing.assert_allclose(first.asnumpy(), losses[0].asnumpy(), rtol=1e-5)
    np.testing.assert_allclose(second.asnumpy(), losses[1].asnumpy(), rtol=1e-5)
    for mine, theirs in zip(given, expected, strict=True):
        np.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=1e-5)
    for name, param in net.collect_params().items():
        np.testing.assert_allclose(param.data().asnumpy(), grads[name], rtol=1e-5, atol=1e-6)


def test_a_block_in_python_is_traced_too():
    class Plain(gluon.Block):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.half = 0.5
            self.layer = nn.Dense(2, in_units=2)

        def forward(self, x):
            return self.layer(x) * self.half

    net = nn.Sequential()
    net.add(Plain(), nn.Dense(1))
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.0})
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    x, y = nd.ones((2, 2)), nd.zeros((2, 1))
    for half in (0.5, 2.0):
        net[0].half = half
        expected = gluon.loss.L2Loss()(net(x), y).asnumpy()
        np.testing.assert_allclose(step(x, y).asnumpy(), expected, rtol=1e-5)


def test_parameters_outside_of_the_trainer_and_frozen_ones_keep_their_values():
    net, _ = made("sgd", {})
    net(next(batches(1))[0])
    net[0].bias.grad_req = "null"
    trainer = gluon.Trainer(net[0].collect_params(), "sgd", {"learning_rate": 0.5})
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    for data, label in batches(2):
        step(data, label)
    moved = {
        name.removeprefix("net_")
        for name, param in net.collect_params().items()
        if not np.array_equal(param.data().asnumpy(), before[name])
    }
    assert moved == {
        "dense0_weight",
        "batchnorm0_running_mean",
        "batchnorm0_running_var",
    }


def test_gradients_and_tape_are_left_alone():
    net, trainer = made("sgd", {"learning_rate": 0.1})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    data, label = next(batches(1))
    loop_step(net, loss, trainer, data, label)
    grad = net[0].weight.grad().asnumpy()
    step = gluon.TrainStep(net, loss, trainer)
    with autograd.record():
        result = step(data, label)
    assert not result.has_tape
    assert not autograd.is_training()
    np.testing.assert_array_equal(net[0].weight.grad().asnumpy(), grad)


def test_parameters_that_move_are_found_again():
    """A cast, a load, an initialization anew: the program follows."""
    net, trainer = made("sgd", {"learning_rate": 0.1}, build=lambda: network(dropout=0))
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    data, label = next(batches(1))
    first = step(data, label).asnumpy()
    net.initialize(mx.init.Zero(), force_reinit=True)
    np.testing.assert_allclose(step(data, label).asnumpy(), np.log(3), rtol=1e-5)
    net.cast("float64")
    result = step(data.astype("float64"), label)
    assert result.dtype == np.float64
    assert np.isfinite(result.asnumpy()).all()
    assert first.shape == result.shape


def test_a_convolutional_network():
    def convolutional():
        net = nn.HybridSequential(prefix="net_")
        with net.name_scope():
            net.add(
                nn.Conv2D(4, 3, padding=1, use_bias=False), nn.BatchNorm(), nn.Activation("relu")
            )
            net.add(nn.MaxPool2D(2), nn.Flatten(), nn.Dense(3))
        return net

    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    data = nd.random.normal(shape=(4, 2, 6, 6))
    label = nd.array([0, 1, 2, 1])
    nets = []
    for by_step in (False, True):
        net, trainer = made("adam", {"learning_rate": 0.01}, build=convolutional)
        step = gluon.TrainStep(net, loss, trainer)
        for _ in range(5):
            step(data, label) if by_step else loop_step(net, loss, trainer, data, label)
        nets.append(net)
    assert_same_networks(*nets, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("limit", [0.05, 100.0])
def test_gradients_are_clipped_by_their_joint_norm(limit):
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    fields = {"learning_rate": 0.1, "momentum": 0.9}
    net, trainer = made("sgd", fields, build=lambda: network(dropout=0))
    other, other_trainer = made("sgd", fields, build=lambda: network(dropout=0))
    step = gluon.TrainStep(other, loss, other_trainer, clip_global_norm=limit)
    for data, label in batches(5):
        with autograd.record():
            mean = loss(net(data), label).mean()
        mean.backward()
        gluon.utils.clip_global_norm(
            [p.grad() for p in net.collect_params().values() if p.grad_req != "null"], limit
        )
        trainer.step(1)
        step(data, label)
    assert_same_networks(net, other, rtol=1e-4, atol=1e-5)


class Attention(nn.HybridBlock):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.words = nn.Embedding(20, 8)
            self.query = nn.Dense(8, flatten=False)
            # A bias would have the gradient zero, of which Adam makes steps of rounding errors.
            self.key = nn.Dense(8, flatten=False, use_bias=False)
            self.norm, self.drop = nn.LayerNorm(), nn.Dropout(0.2)
            self.out = nn.Dense(3)

    def forward(self, x):
        x = self.words(x)
        scores = nd.batch_dot(self.query(x), self.key(x), transpose_b=True) / 8**0.5
        mixed = nd.batch_dot(nd.softmax(scores), x)
        return self.out(self.norm(self.drop(mixed) + x))


def test_attention_over_embeddings():
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    words, label = nd.array(np.arange(24).reshape(4, 6) % 20), nd.array([0, 1, 2, 1])
    nets = []
    for by_step in (False, True):
        net, trainer = made("adam", {"learning_rate": 0.01}, build=lambda: Attention(prefix="a_"))
        step = gluon.TrainStep(net, loss, trainer)
        for _ in range(5):
            step(words, label) if by_step else loop_step(net, loss, trainer, words, label)
        nets.append(net)
    assert_same_networks(*nets, rtol=1e-3, atol=1e-5)


def test_steps_follow_one_another_without_waiting():
    """Large enough to be pushed to the engine: a step reads what the one before has written."""

    def run(wait):
        def build():
            net = nn.HybridSequential(prefix="net_")
            with net.name_scope():
                net.add(nn.Dense(256, activation="relu", in_units=300), nn.BatchNorm())
                net.add(nn.Dropout(0.2), nn.Dense(3))
            return net

        net, trainer = made("adam", {"learning_rate": 0.01}, build=build)
        step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
        losses = []
        for data, label in batches(20, 64, 300):
            losses.append(step(data, label))
            if wait:
                nd.waitall()
        return [loss.asnumpy() for loss in losses], weights(net)

    for mine, theirs in zip(run(True), run(False), strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_imported_symbol_and_its_own_graph_learn(tmp_path):
    net, _ = made("sgd", {}, build=lambda: network(dropout=0))
    data, label = next(batches(1))
    net(data)
    net.hybridize()
    net(data)
    files = net.export(str(tmp_path / "net"))
    losses = []
    for by_step in (False, True):
        block = gluon.SymbolBlock.imports(files[0], "data", files[1])
        trainer = gluon.Trainer(block.collect_params(), "sgd", {"learning_rate": 0.1})
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        step = gluon.TrainStep(block, loss, trainer)
        for _ in range(3):
            got = step(data, label) if by_step else loop_step(block, loss, trainer, data, label)
        losses.append(got.asnumpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def provoked(function, *args, **keywords):
    with pytest.raises(TigonError) as caught:
        function(*args, **keywords)
    return str(caught.value)


def test_errors():
    net, trainer = made("sgd", {}, build=lambda: nn.Dense(1, in_units=2, prefix="one_"))
    loss = gluon.loss.L2Loss()
    data, label = nd.ones((4, 2)), nd.ones((4, 1))
    assert provoked(gluon.TrainStep, 3, loss, trainer) == (
        "TrainStep: net: expected a block; given int"
    )
    assert provoked(gluon.TrainStep, net, "l2", trainer) == (
        "TrainStep: loss: expected a block or a function of (output, label); given str"
    )
    assert provoked(gluon.TrainStep, net, loss, "sgd") == (
        "TrainStep: trainer: expected a gluon.Trainer; given str"
    )

    class Own(optimizer.Optimizer):
        def update(self, index, weight, grad, state):
            weight[:] = weight - grad

    assert provoked(gluon.TrainStep, net, loss, gluon.Trainer(net.collect_params(), Own())) == (
        "TrainStep: Own defines update, which runs on arrays and cannot be compiled; "
        "define formula(self, weight, grad, states, lr, wd) instead"
    )
    assert provoked(gluon.TrainStep, net, loss, trainer, clip_global_norm=0) == (
        "TrainStep: clip_global_norm is a positive number or None; given 0"
    )
    step = gluon.TrainStep(net, loss, trainer)
    assert provoked(step, data, label, batch_size=0) == (
        "one_step: batch_size must be positive; given 0"
    )
    unused = gluon.TrainStep(net, lambda out, y: y * 2, trainer)
    assert "the loss does not depend on Parameter 'one_weight'" in provoked(unused, data, label)
    nothing = gluon.TrainStep(net, lambda out, y: 3, trainer)
    assert "the loss does not depend on anything computed" in provoked(nothing, data, label)
    several = gluon.TrainStep(net, lambda out, y: (out, out.mean()), trainer)
    assert "give batch_size" in provoked(several, data, label)
    assert "convert it with nd.array" in provoked(step, np.ones((4, 2)), label)
    net.weight.grad_req = "add"
    assert "accumulates gradients" in provoked(step, data, label)
    net.weight.grad_req = "null"
    step(data, label)
    assert trainer.optimizer.num_update == 1


@pytest.mark.parametrize(("optimizer", "fields"), OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_loss_that_draws_from_python_gives_way_to_the_loop(optimizer, fields, clip):
    """Same losses, weights, states and gradients left alone as in the loop; one warning."""
    entropy = gluon.loss.SoftmaxCrossEntropyLoss()

    def robust(out, y):
        loss = entropy(out, y)
        return nd.sqrt(loss + 1) * (random.random() * 0 + 1)

    line = robust.__code__.co_firstlineno + 2
    loss_of_loop, loss_of_steps = [], []
    net, trainer = made(optimizer, fields)
    params = [p for p in net.collect_params().values() if p.grad_req != "null"]
    for data, label in batches(4):
        with autograd.record():
            loss = robust(net(data), label)
        loss.backward()
        if clip is not None:
            gluon.utils.clip_global_norm([p.grad() for p in params], clip * data.shape[0])
        trainer.step(data.shape[0])
        loss_of_loop.append(loss.asnumpy())
    other, trainer = made(optimizer, fields)
    step = gluon.TrainStep(other, robust, trainer, clip_global_norm=clip)
    before = mx.runtime.stats()["given_way"]
    with pytest.warns(
        RuntimeWarning, match=rf"net_step gives way.*test_train_step\.py:{line}"
    ) as w:
        for data, label in batches(4):
            loss_of_steps.append(step(data, label).asnumpy())
    assert len(w) == 1
    assert mx.runtime.stats()["given_way"] == before + 1
    assert f"test_train_step.py:{line}" in step.explain()
    assert step.compiled == []
    np.testing.assert_allclose(loss_of_loop, loss_of_steps, rtol=1e-4, atol=1e-5)
    assert_same_networks(net, other, rtol=1e-4, atol=1e-5)
    for param in other.collect_params().values():
        if param.grad_req != "null":
            assert not param.grad().asnumpy().any()  # gradients stay inside of a step


def test_a_parameter_that_the_loss_does_not_need_is_left_alone_on_demand():
    net = nn.HybridSequential()
    net.add(nn.Dense(1, in_units=2), nn.Dense(1, in_units=2))
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    unused = net[1].weight.data().asnumpy()
    step = gluon.TrainStep(net[0], gluon.loss.L2Loss(), trainer, ignore_stale_grad=True)
    step(nd.ones((4, 2)), nd.ones((4, 1)))
    np.testing.assert_array_equal(net[1].weight.data().asnumpy(), unused)
    assert trainer.optimizer._counts == {0: 1, 1: 1}


def test_what_a_step_was_made_of_may_be_changed():
    net, trainer = made("sgd", {"learning_rate": 0.1})
    data, label = next(batches(1))
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    first = step(data, label)
    step.outputs = True
    loss, output = step(data, label)
    assert loss.shape == first.shape and output.shape[0] == data.shape[0]
    step.outputs = False
    weight = next(iter(net.collect_params().values())).data()
    before = weight.copy()
    step.clip_global_norm = 1e-9
    step(data, label)
    np.testing.assert_allclose(weight.asnumpy(), before.asnumpy(), atol=1e-6)
    step.clip_global_norm = None
    step(data, label)
    assert np.abs(weight.asnumpy() - before.asnumpy()).max() > 1e-6
    step.loss = lambda output, label: output.sum() * 0 + 3
    np.testing.assert_allclose(step(data, label, 1).asnumpy(), 3)


# --------------------------------------------------------------------- values decide


class Deciding(nn.HybridBlock):
    """Draws, moves states and decides, by what depends on weights and on the data."""

    def __init__(self):
        super().__init__(prefix="net_")
        with self.name_scope():
            self.first = nn.Dense(16, in_units=6)
            self.norm = nn.BatchNorm(in_channels=16)
            self.drop = nn.Dropout(0.3)
            self.small = nn.Dense(3, in_units=16)
            self.large = nn.Dense(3, in_units=16)

    def forward(self, x):
        h = self.drop(self.norm(self.first(x)))
        large = h.max() > 1.9
        while (h * h).sum() > 40:
            h = self.drop(h * 0.7)
        if large:
            return self.norm(self.large(h).tile((1, 6))[:, :16]).slice_axis(1, 0, 3)
        return self.small(h)


@pytest.mark.parametrize("optimizer, fields", OPTIMIZERS)
def test_paths_train_as_one_program_each(optimizer, fields):
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    one, trainer = made(optimizer, fields, build=Deciding)
    other, their_trainer = made(optimizer, fields, build=Deciding)
    step = gluon.TrainStep(one, loss, trainer, ignore_stale_grad=True)
    before = mx.runtime.stats()["given_way"]
    for number, (data, label) in enumerate(batches(12)):
        mx.random.seed(number)
        mine = step(data, label)
        drawn = nd.random.uniform(shape=(2,)).asnumpy()
        mx.random.seed(number)
        with autograd.record():
            theirs = loss(other(data), label)
        theirs.backward()
        their_trainer.step(data.shape[0], ignore_stale_grad=True)
        np.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=2e-4, atol=2e-5)
        np.testing.assert_array_equal(nd.random.uniform(shape=(2,)).asnumpy(), drawn)
        assert_same_networks(one, other, rtol=2e-4, atol=2e-5)
    (entry,) = step.compiled
    assert len(entry.paths) > 1
    assert mx.runtime.stats()["given_way"] == before
    data, label = next(batches(1))
    step(data, label)
    before = mx.runtime.stats()
    step(data, label)
    after = mx.runtime.stats()
    assert after["compilations"] == before["compilations"]


def test_adjust_clips_and_skips():
    """Against the loop, which clips by the same norm and leaves out the steps that are skipped."""
    loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def adjust(losses, grads):
        if not (losses.sum() < 1e6):
            return None
        norm = nd.add_n(*[(grad * grad).sum() for grad in grads]).sqrt()
        if norm > 0.3:
            return [grad * (0.3 / norm) for grad in grads]
        return grads

    one, trainer = made("adam", {"learning_rate": 0.01})
    other, their_trainer = made("adam", {"learning_rate": 0.01})
    data, label = next(batches(1))
    one(data), other(data)
    step = gluon.TrainStep(one, loss, trainer, adjust=adjust)
    for number, (data, label) in enumerate(batches(8)):
        if number % 3 == 2:
            data[0, 0] = float("nan")
            before = [*weights(one), trainer.optimizer.num_update]
            assert np.isnan(step(data, label).asnumpy()).any()
            now = [*weights(one), trainer.optimizer.num_update]
            for mine, then in zip(now, before, strict=True):
                np.testing.assert_array_equal(mine, then)
            continue
        mx.random.seed(number)
        mine = step(data, label)
        mx.random.seed(number)
        with autograd.record():
            theirs = loss(other(data), label)
        theirs.backward()
        grads = [p.grad() for p in other.collect_params().values() if p.grad_req != "null"]
        gluon.utils.clip_global_norm(grads, 0.3 * data.shape[0])
        their_trainer.step(data.shape[0])
        np.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=2e-4, atol=2e-5)
        assert_same_networks(one, other, rtol=2e-4, atol=2e-5)
    assert trainer.optimizer.num_update == their_trainer.optimizer.num_update == 6
    assert "runs imperatively" not in step._compiled_adjust.explain()
    assert len(step._compiled_adjust.compiled[0].paths) >= 2


def test_what_adjust_reads_is_guarded():
    limits = {"scale": 1.0}

    def adjust(loss, grads):
        for place, grad in enumerate(grads):
            grads[place] = grad * limits["scale"]
        return grads

    net, trainer = made("sgd", {"learning_rate": 0.1}, build=lambda: nn.Dense(3, in_units=6))
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer, adjust=adjust)
    (data, label), moved = next(batches(1)), []
    start = [array.copy() for array in weights(net)]
    for scale in (1.0, 0.5, 1.0):
        limits["scale"] = scale
        for param, value in zip(net.collect_params().values(), start, strict=True):
            param.set_data(nd.array(value))
        step(data, label)
        moved.append(weights(net)[0] - start[0])
    np.testing.assert_allclose(moved[0], 2 * moved[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(moved[0], moved[2])
    step.adjust = lambda loss, grads: None
    before = weights(net)
    step(data, label)
    np.testing.assert_array_equal(weights(net)[0], before[0])


def test_adjust_by_the_loop_where_the_network_gives_way():
    def run(adjust):
        net, trainer = made("sgd", {"learning_rate": 0.1})
        net.add(nn.HybridLambda(lambda F, x: x * float(np.random.RandomState().rand() * 0 + 1)))
        step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer, adjust=adjust)
        data, label = next(batches(1))
        net(data)
        before = weights(net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step(data, label)
        return [(now - then) for now, then in zip(weights(net), before, strict=True)]

    moved = run(lambda loss, grads: [grad * 0.5 for grad in grads])
    whole = run(lambda loss, grads: grads)
    skipped = run(lambda loss, grads: None)
    for half, full, none in zip(moved[:2], whole[:2], skipped[:2], strict=True):
        np.testing.assert_allclose(half * 2, full, rtol=1e-4, atol=1e-6)
        assert (none == 0).all() and (full != 0).any()


@pytest.mark.parametrize(
    "adjust, told",
    [
        (lambda loss, grads: grads[:1], "it returned a list of 1"),
        (lambda loss, grads: 3, "it returned a int"),
        (lambda loss, grads: [g.sum() for g in grads], r"gradient 0: expected float32\[16,6\]"),
    ],
)
def test_adjust_returns_a_gradient_for_each(adjust, told):
    net, trainer = made("sgd", {"learning_rate": 0.1})
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer, adjust=adjust)
    data, label = next(batches(1))
    net(data)
    before = weights(net)
    with pytest.raises(TigonError, match=f"^{step.name}: adjust: .*{told}"):
        step(data, label)
    for now, then in zip(weights(net), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_adjust_and_clip_global_norm_exclude_each_other():
    net, trainer = made("sgd", {"learning_rate": 0.1})
    with pytest.raises(TigonError, match="give clip_global_norm or adjust"):
        gluon.TrainStep(net, gluon.loss.L2Loss(), trainer, clip_global_norm=1, adjust=print)
