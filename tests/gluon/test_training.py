"""Optimizers against their formulas in numpy, and the trainer around them."""

from __future__ import annotations

import types

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import nn
from tigon.optimizer.update_graph import UpdateGraph


def sgd(w, g, s, t, lr, wd, momentum=0.0):
    s["m"] = momentum * s.get("m", 0) - lr * (g + wd * w)
    return w + s["m"]


def nag(w, g, s, t, lr, wd, momentum):
    old = momentum * s.get("m", 0)
    new = w - old + (1 + momentum) * (old - lr * (g + wd * w))
    s["m"] = old - lr * (g + wd * new)
    return new


def adam(w, g, s, t, lr, wd, beta1=0.9, beta2=0.999, epsilon=1e-8):
    g = g + wd * w
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return w - rate * s["m"] / (np.sqrt(s["v"]) + epsilon)


def adamw(w, g, s, t, lr, wd, **constants):
    return adam(w, g, s, t, lr, 0.0, **constants) - lr * wd * w


def adagrad(w, g, s, t, lr, wd, eps=1e-7):
    s["h"] = s.get("h", 0) + g * g
    return w - lr * (g / np.sqrt(s["h"] + eps) + wd * w)


def rmsprop(
    w, g, s, t, lr, wd, gamma1=0.9, gamma2=0.9, epsilon=1e-8, centered=False, clip_weights=0
):
    g = g + wd * w
    s["n"] = (1 - gamma1) * g * g + gamma1 * s.get("n", 0)
    if centered:
        s["g"] = (1 - gamma1) * g + gamma1 * s.get("g", 0)
        s["d"] = gamma2 * s.get("d", 0) - lr * g / np.sqrt(s["n"] - s["g"] ** 2 + epsilon)
        w = w + s["d"]
    else:
        w = w - lr * g / np.sqrt(s["n"] + epsilon)
    return np.clip(w, -clip_weights, clip_weights) if clip_weights else w


def adadelta(w, g, s, t, lr, wd, rho=0.9, epsilon=1e-5):
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g * g
    delta = np.sqrt(s.get("d", 0) + epsilon) / np.sqrt(s["g"] + epsilon) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * delta * delta
    return w - delta - wd * w


def ftrl(w, g, s, t, lr, wd, lamda1=0.01, beta=1.0):
    n = s.get("n", np.zeros_like(w))
    s["z"] = s.get("z", 0) + g - (np.sqrt(n + g * g) - np.sqrt(n)) * w / lr
    s["n"] = n + g * g
    new = (np.sign(s["z"]) * lamda1 - s["z"]) / ((beta + np.sqrt(s["n"])) / lr + wd)
    return np.where(np.abs(s["z"]) > lamda1, new, 0)


def signum(w, g, s, t, lr, wd, momentum=0.9, wd_lh=0.0):
    if not momentum:
        return (1 - lr * wd) * w - lr * np.sign(g)
    s["m"] = momentum * s.get("m", 0) - (1 - momentum) * (g + wd * w)
    return (1 - lr * wd_lh) * w + lr * np.sign(s["m"])


def adamax(w, g, s, t, lr, wd, beta1=0.9, beta2=0.999):
    g = g + wd * w
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["u"] = np.maximum(beta2 * s.get("u", 0), np.abs(g))
    return w - lr / (1 - beta1**t) * s["m"] / (s["u"] + 1e-8)


def lamb(
    w, g, s, t, lr, wd, beta1=0.9, beta2=0.999, epsilon=1e-6, lower_bound=None, upper_bound=None,
    bias_correction=True,
):  # fmt: skip
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    first, second = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1, 1)
    step = s["m"] / first / (np.sqrt(s["v"] / second) + epsilon) + wd * w
    size = np.linalg.norm(w)
    size = size if lower_bound is None else max(size, lower_bound)
    size = size if upper_bound is None else min(size, upper_bound)
    return w - lr * (size / np.linalg.norm(step) if size else 1.0) * step


def ftml(w, g, s, t, lr, wd, beta1=0.6, beta2=0.999, epsilon=1e-8):
    g = g + wd * w
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    d = (1 - beta1**t) / lr * (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)
    s["z"] = beta1 * s.get("z", 0) + (1 - beta1) * g - (d - beta1 * s.get("d", 0)) * w
    s["d"] = d
    return -s["z"] / d


def nadam(w, g, s, t, lr, wd, beta1=0.9, beta2=0.999, epsilon=1e-8, schedule_decay=0.004):
    g = g + wd * w
    now = beta1 * (1 - 0.5 * 0.96 ** (t * schedule_decay))
    later = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * schedule_decay))
    s["p"] = s.get("p", 1.0) * now
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g * g
    step = (1 - now) * g / (1 - s["p"]) + later * s["m"] / (1 - s["p"] * later)
    return w - lr * step / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)


def dcasgd(w, g, s, t, lr, wd, momentum=0.0, lamda=0.04):
    previous = s.get("p", w)
    s["p"] = w
    s["m"] = momentum * s.get("m", 0) - lr * (g + wd * w + lamda * g * g * (w - previous))
    return w + s["m"]


def lars(w, g, s, t, lr, wd, momentum=0.0, eta=0.001, eps=0, momentum_correction=True):
    size, steep = np.linalg.norm(w), np.linalg.norm(g)
    rate = lr * eta * size / (steep + wd * size + eps) if size and steep else lr
    return sgd(w, g, s, t, rate, wd, momentum)


MOMENTS = {"beta1": 0.5, "beta2": 0.75, "epsilon": 0.125}
CASES = [
    ("sgd", {"momentum": 0.0}, sgd),
    ("sgd", {"momentum": 0.9}, sgd),
    ("ccsgd", {"momentum": 0.9}, sgd),
    ("nag", {"momentum": 0.0}, sgd),
    ("nag", {"momentum": 0.9}, nag),
    ("adam", {}, adam),
    ("adam", MOMENTS, adam),
    ("adamw", {}, adamw),
    ("adamw", MOMENTS, adamw),
    ("adagrad", {}, adagrad),
    ("adagrad", {"eps": 0.5}, adagrad),
    ("rmsprop", {}, rmsprop),
    ("rmsprop", {"gamma1": 0.5, "epsilon": 0.25, "clip_weights": 0.75}, rmsprop),
    ("rmsprop", {"centered": True}, rmsprop),
    ("rmsprop", {"centered": True, "gamma1": 0.5, "gamma2": 0.25, "epsilon": 0.5,
                 "clip_weights": 0.75}, rmsprop),
    ("adadelta", {}, adadelta),
    ("adadelta", {"rho": 0.5, "epsilon": 0.25}, adadelta),
    ("ftrl", {}, ftrl),
    ("ftrl", {"lamda1": 0.5, "beta": 0.25}, ftrl),
    ("signum", {}, signum),
    ("signum", {"momentum": 0.5, "wd_lh": 0.25}, signum),
    ("signum", {"momentum": 0.0}, signum),
    ("adamax", {}, adamax),
    ("adamax", {"beta1": 0.5, "beta2": 0.75}, adamax),
    ("lamb", {}, lamb),
    ("lamb", {**MOMENTS, "bias_correction": False}, lamb),
    ("lamb", {"lower_bound": 2.5}, lamb),
    ("lamb", {"upper_bound": 2.5}, lamb),
    ("lamb", {"lower_bound": 2.25, "upper_bound": 2.75}, lamb),
    ("lars", {"momentum": 0.9}, lars),
    ("lars", {"eta": 0.5, "eps": 0.75, "momentum_correction": False}, lars),
    ("ftml", {}, ftml),
    ("ftml", MOMENTS, ftml),
    ("nadam", {}, nadam),
    ("nadam", {**MOMENTS, "schedule_decay": 0.5}, nadam),
    ("dcasgd", {"momentum": 0.9}, dcasgd),
    ("dcasgd", {"lamda": 0.75}, dcasgd),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "formula"), CASES)
def test_optimizer_follows_its_formula(name, fields, formula):
    random = np.random.RandomState(0)
    weights = [random.randn(3, 4), random.randn(5)]
    arrays = [nd.array(w, dtype="float64") for w in weights]
    update = mx.optimizer.get_updater(
        mx.optimizer.create(name, learning_rate=0.05, wd=0.01, rescale_grad=0.5, **fields)
    )
    states = [{}, {}]
    for t in range(1, 5):
        grads = [random.randn(*w.shape) for w in weights]
        update([0, 1], [nd.array(g, dtype="float64") for g in grads], arrays)
        weights = [
            formula(w, g * 0.5, s, t, 0.05, 0.01, **fields)
            for w, g, s in zip(weights, grads, states, strict=True)
        ]
        for array, weight in zip(arrays, weights, strict=True):
            np.testing.assert_allclose(array.asnumpy(), weight, rtol=1e-9, atol=1e-11)


ELSEWHERE = {"test", "sgld", "lbsgd"}  # test_mxnet_rules.py


@pytest.mark.parametrize("name", sorted(set(mx.optimizer.Optimizer.opt_registry) - ELSEWHERE))
def test_no_constant_of_an_optimizer_is_left_at_its_default(name):
    kind = mx.optimizer.Optimizer.opt_registry[name]
    if not kind.__module__.startswith("tigon."):
        return
    for constant, default in kind.defaults.items():
        given = [fields.get(constant, default) for other, fields, _ in CASES if other == name]
        assert any(value != default for value in given), f"no case gives {constant}"


@pytest.mark.parametrize("name", sorted({name for name, _, _ in CASES} - {"ftrl", "adadelta"}))
def test_weights_of_zero_and_gradients_of_zero(name):
    """Rates per layer have a norm in their denominators."""
    formulas = {other: formula for other, fields, formula in CASES if not fields}
    formula = formulas.get(name, {"dcasgd": dcasgd, "lars": lars}.get(name, sgd))
    update = mx.optimizer.get_updater(mx.optimizer.create(name, learning_rate=0.05))
    fields = {"momentum": 0.9} if name == "signum" else {}
    for weight, grads in ((np.zeros(2), [[0.5, -1], [1, 2]]), (np.ones(2), [[0, 0], [1, 2]])):
        update.states.clear()
        update.optimizer._counts.clear()
        array, states = nd.array(weight, dtype="float64"), {}
        for t, grad in enumerate(np.array(grads, float), 1):
            update(0, nd.array(grad, dtype="float64"), array)
            with np.errstate(invalid="ignore", divide="ignore"):
                if name == "lamb" and not grad.any():
                    continue  # no step: its size is 0
                weight = formula(weight, grad, states, t, 0.05, 0.0, **fields)
            np.testing.assert_allclose(array.asnumpy(), weight, rtol=1e-9, atol=1e-11)
            if name == "lamb":
                break


@pytest.mark.parametrize(("name", "fields", "formula"), [c for c in CASES if not c[1]])
def test_common_options_of_an_optimizer(name, fields, formula):
    """Clipping comes after rescaling; a decay belongs to the gradient before or after that."""
    clips_the_decay = name in ("adam", "rmsprop", "ftml", "adamax", "nadam")
    optimizer = mx.optimizer.create(
        name,
        learning_rate=0.5,
        wd=0.25,
        rescale_grad=2.0,
        clip_gradient=1.5,
        begin_num_update=3,
        param_idx2name={0: "a_weight", 1: "b_weight"},
    )
    optimizer.set_lr_mult({"b_weight": 0.5})
    optimizer.set_wd_mult({"b_weight": 3.0})
    update = mx.optimizer.get_updater(optimizer)
    random = np.random.RandomState(1)
    weights = [random.randn(4), random.randn(3)]
    arrays, states = [nd.array(w, dtype="float64") for w in weights], [{}, {}]
    if name == "nadam":  # its product of momenta goes on from there
        for state in states:
            state["p"] = np.prod([0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in range(1, 4)])
    for t in range(4, 7):
        grads = [random.randn(*w.shape) * 2 for w in weights]
        for index in (0, 1):
            update(index, nd.array(grads[index], dtype="float64"), arrays[index])
            lr, wd = ((0.5, 0.25), (0.25, 0.75))[index]
            grad = grads[index] * 2
            if clips_the_decay:
                grad, wd = grad + wd * weights[index], 0.0
            grad = np.clip(grad, -1.5, 1.5)
            weights[index] = formula(weights[index], grad, states[index], t, lr, wd)
            found = arrays[index].asnumpy()
            np.testing.assert_allclose(found, weights[index], rtol=1e-9, atol=1e-11)
        assert optimizer.num_update == t


def test_gradients_are_clipped():
    weight = nd.zeros(3)
    update = mx.optimizer.get_updater(
        mx.optimizer.create("sgd", learning_rate=1.0, clip_gradient=0.5)
    )
    update(0, nd.array([1, -2, 0.25]), weight)
    assert weight.asnumpy().tolist() == [-0.5, 0.5, -0.25]


def deep_network(layers=6):
    net = nn.HybridSequential()
    for _ in range(layers):
        net.add(nn.Dense(4, in_units=4))
    net.initialize(mx.init.Normal(0.5))
    return net


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_native_call_and_one_kernel_update_all_parameters_in_place(optimizer):
    net = deep_network()
    fields = {"momentum": 0.9} if optimizer == "sgd" else {}
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.1, **fields})
    places = [param.data().storage_id for param in net.collect_params().values()]
    for step in range(4):
        trainer.set_learning_rate(0.1 / (step + 1))  # other rates, the same program
        with autograd.record():
            loss = net(nd.ones((2, 4))).sum()
        loss.backward()
        nd.waitall()
        before = mx.runtime.stats()
        trainer.step(2)
        after = mx.runtime.stats()
        if step > 0:  # the first step makes the states
            assert after["native_calls"] - before["native_calls"] == 1
            assert after["compilations"] == before["compilations"]
    assert places == [param.data().storage_id for param in net.collect_params().values()]
    ((_, graph),) = trainer.optimizer._graphs
    (program,) = graph.cached.programs
    if optimizer == "sgd":
        assert len(program.kernels) == 1
        assert program.memory_plan.temporaries == 0
    else:  # root and quotient are dear enough not to be computed twice
        assert len(program.kernels) <= 2


def test_multipliers_and_schedulers():
    net = nn.Dense(1, in_units=1, weight_initializer="zeros")
    net.initialize()
    net.weight.lr_mult = 0.5
    net.bias.lr_mult = 0.0
    schedule = mx.lr_scheduler.MultiFactorScheduler(step=[1, 2], factor=0.1)
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": 1.0, "lr_scheduler": schedule}
    )
    seen = []
    for _ in range(3):
        with autograd.record():
            loss = net(nd.ones((1, 1)))
        loss.backward()
        trainer.step(1)
        seen.append(net.weight.data().asscalar())
    np.testing.assert_allclose(seen, [-0.5, -0.55, -0.555], rtol=1e-5)
    assert net.bias.data().asscalar() == 0
    with pytest.raises(TigonError) as caught:
        trainer.set_learning_rate(1)
    assert str(caught.value) == (
        "SGD: has a lr_scheduler, which decides the rate; change the scheduler instead"
    )


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_states_survive_a_file(tmp_path, name, steps):
    path = str(tmp_path / "trainer.states")

    def step(net, trainer):
        with autograd.record():
            loss = net(nd.ones((2, 4))).sum()
        loss.backward()
        trainer.step(2)

    net = deep_network(2)
    trainer = gluon.Trainer(net.collect_params(), name)
    net(nd.ones((2, 4)))
    for _ in range(steps):
        step(net, trainer)
    trainer.save_states(path)
    net.save_parameters(str(tmp_path / "net.params"))
    step(net, trainer)

    other = deep_network(2)
    other.load_parameters(str(tmp_path / "net.params"))
    resumed = gluon.Trainer(other.collect_params(), name)
    resumed.load_states(path)
    step(other, resumed)
    for one, two in zip(
        net.collect_params().values(), other.collect_params().values(), strict=True
    ):
        np.testing.assert_array_equal(one.data().asnumpy(), two.data().asnumpy())


def test_states_of_another_network_are_refused(tmp_path):
    path = str(tmp_path / "trainer.states")
    net = deep_network(2)
    trainer = gluon.Trainer(net.collect_params(), "adam")
    with autograd.record():
        loss = net(nd.ones((2, 4))).sum()
    loss.backward()
    trainer.step(2)
    trainer.save_states(path)
    smaller = nn.Dense(3, in_units=3)
    smaller.initialize()
    wrong = gluon.Trainer(smaller.collect_params(), "adam")
    with pytest.raises(TigonError) as caught:
        wrong.load_states(path)
    assert str(caught.value).replace(str(tmp_path), "") == (
        "load_states: 'state:0:0' expects shape (3, 3); /trainer.states has (4, 4); was it saved "
        "for another network?"
    )
    assert not wrong._updater.states


def test_stale_gradients_are_noticed():
    net = deep_network(1)
    unused = gluon.Parameter("unused", shape=(1,))
    unused.initialize()
    trainer = gluon.Trainer([*net.collect_params().values(), unused], "sgd")

    def step(**options):
        with autograd.record():
            loss = net(nd.ones((2, 4))).sum()
        loss.backward()
        trainer.step(2, **options)

    for _ in range(2):  # the first step is checked too
        with pytest.raises(TigonError) as caught:
            step()
        assert str(caught.value) == (
            "Trainer.step: the gradient of Parameter 'unused' was not computed since the last "
            "step; was the parameter used in forward, and backward called? "
            "ignore_stale_grad=True leaves it as it is"
        )
        before = unused.data().asnumpy(), net[0].weight.data().asnumpy()
        step(ignore_stale_grad=True)
        assert (unused.data().asnumpy() == before[0]).all()
        assert (net[0].weight.data().asnumpy() != before[1]).all()


def test_wrong_arguments_say_what_to_do():
    net = deep_network(1)
    for call, expected in [
        (
            lambda: gluon.Trainer([1], "sgd"),
            "Trainer: expected parameters; given int; use net.collect_params()",
        ),
        (
            lambda: gluon.Trainer(net.collect_params(), "sgd", {"learning_rte": 1}),
            "SGD: has no parameter 'learning_rte'; it knows momentum, learning_rate, wd, "
            "rescale_grad, clip_gradient, lr_scheduler",
        ),
        (
            lambda: gluon.Trainer(net.collect_params(), "sgd").step(0),
            "Trainer.step: batch_size must be positive; given 0",
        ),
    ]:
        with pytest.raises(TigonError) as caught:
            call()
        assert str(caught.value) == expected
    other = nn.Dense(2)
    other.initialize()
    with pytest.raises(TigonError, match="not known before the first forward pass"):
        gluon.Trainer(other.collect_params(), "sgd").step(1)


def test_training_imperatively_by_hand_and_as_operators():
    weight, grad, momentum = nd.ones(2), nd.array([1.0, 2.0]), nd.zeros(2)
    nd.sgd_mom_update(weight, grad, momentum, lr=0.1, momentum=0.9, out=weight)
    np.testing.assert_allclose(weight.asnumpy(), [0.9, 0.8], rtol=1e-6)
    np.testing.assert_allclose(momentum.asnumpy(), [-0.1, -0.2], rtol=1e-6)


def test_clip_global_norm_and_split():
    arrays = [nd.array([3.0, 0.0]), nd.array([4.0])]
    assert gluon.utils.clip_global_norm(arrays, 1.0) == pytest.approx(5.0)
    np.testing.assert_allclose(arrays[1].asnumpy(), [0.8], rtol=1e-5)
    (whole,) = gluon.utils.split_and_load(np.arange(8).reshape(4, 2), [mx.cpu()])
    assert [part.shape for part in gluon.utils.split_data(whole, 2)] == [(2, 2), (2, 2)]
    with pytest.raises(TigonError) as caught:
        gluon.utils.split_data(nd.ones((3, 2)), 2)
    assert str(caught.value) == (
        "split_data: 3 samples along axis 0 do not divide evenly into 2 parts; pass "
        "even_split=False, or choose another batch size"
    )
    with pytest.raises(
        TigonError, match="split_data: expected one part or more; given num_slice=0"
    ):
        gluon.utils.split_data(whole, 0)


@pytest.mark.parametrize("how", ["trainer", "step"])
def test_what_the_formula_of_a_subclass_reads_is_compared(how):
    class Scaled(mx.optimizer.Optimizer):
        def __init__(self):
            super().__init__(learning_rate=1.0)
            self.factor = 1.0
            self.space = types.SimpleNamespace(more=[1.0])

        def formula(self, weight, grad, states, lr, wd, *extra):
            return weight - lr * grad * self.factor * self.space.more[0], []

    net = nn.Dense(1, in_units=1, use_bias=False)
    net.initialize(mx.init.One())
    optimizer, x = Scaled(), nd.ones((1, 1))
    trainer = gluon.Trainer(net.collect_params(), optimizer)
    whole = gluon.TrainStep(net, lambda y, _: y.sum(), trainer)
    found = []
    for number in range(5):
        if number == 2:
            optimizer.factor = 2.0
        if number == 3:
            optimizer.space.more[0] = 5.0
        if number == 4:
            Scaled.formula = lambda self, weight, grad, states, lr, wd, *extra: (weight * 0, [])
        if how == "step":
            whole(x, x)
        else:
            with autograd.record():
                loss = net(x).sum()
            loss.backward()
            trainer.step(1)
        found.append(net.weight.data().asscalar())
    assert found == [0, -1, -3, -13, 0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("frozen_first", [False, True])
def test_parameters_are_frozen_and_trained_again(optimizer, frozen_first, tmp_path):
    """Whether a gradient is asked for counts at each step, not when the trainer is made."""
    net = nn.Dense(1, in_units=3)
    net.initialize(mx.init.One())
    if frozen_first:
        net.weight.grad_req = "null"
    fields = {"learning_rate": 0.1, "wd": 0.0}
    trainer = mx.gluon.Trainer(net.collect_params(), optimizer, fields)

    def step():
        with autograd.record():
            loss = net(nd.ones((2, 3)))
        loss.backward()
        before = [p.data().asnumpy() for p in (net.weight, net.bias)]
        trainer.step(2)
        after = [p.data().asnumpy() for p in (net.weight, net.bias)]
        return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]

    assert step() == [not frozen_first, True]
    net.weight.grad_req = "null"
    assert step() == [False, True]
    trainer.save_states(str(tmp_path / "states"))
    net.weight.grad_req = "write"
    assert step() == [True, True]
    trainer.save_states(str(tmp_path / "states"))
    trainer.load_states(str(tmp_path / "states"))
    net.bias.grad_req = "null"
    assert step() == [True, False]


@pytest.mark.parametrize("recording", [False, True])
def test_an_update_goes_over_weights_and_states_and_is_not_recorded(recording):
    """As one call, whose results are nobody's: views of what was there see them."""
    weights, states = [nd.ones((3,)), nd.ones((2, 2))], [[nd.zeros((3,))], [nd.zeros((2, 2))]]
    for weight in weights:
        weight.attach_grad()
    views = [array.reshape((-1,)) for array in (*weights, *[state for (state,) in states])]

    def momentum(weight, grad, own, rate):
        moved = own[0] * 0.5 - grad * rate
        return weight + moved, [moved]

    graph = UpdateGraph(momentum, weights, states, 1)
    before = mx.runtime.stats()
    for _ in range(2):
        with autograd.record() if recording else autograd.pause():
            graph.step([nd.ones((3,)), nd.ones((2, 2)) * 2], [1.0, 0.25])
    after = mx.runtime.stats()
    assert [view.asnumpy()[0] for view in views] == [-1.5, -0.25, -1.5, -0.75]
    assert after["tape_nodes"] == before["tape_nodes"]
