"""Random steps of updaters, trainers and parameters, against models in numpy: settings change,
parameters are frozen, left out, loaded, made anew, and what is kept between steps must follow."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tigon as mx
from tigon import TigonError, autograd, gluon, nd

Array = np.ndarray
SHAPES = ((2,), (3, 1), (), (2, 2))
FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 1.0])
NUMBERS = st.sampled_from([-2.0, -0.5, 0.25, 1.0, 3.0])
INDICES = st.lists(st.integers(0, len(SHAPES) - 1), min_size=1, max_size=4, unique=True)
HALF = st.sampled_from([0.0, 0.5])  # each other constant is compiled anew
RUNS = settings(max_examples=12, stateful_step_count=16, deadline=None, derandomize=True)


class Momentum:
    """SGD with momentum in numpy: the state of a weight exists where there was a momentum when it
    was first updated."""

    def __init__(self) -> None:
        self.lr, self.wd, self.momentum, self.clip, self.rescale = 0.5, 0.0, 0.0, None, 1.0
        self.lr_mult: dict[Any, float] = {}
        self.wd_mult: dict[Any, float] = {}
        self.states: dict[int, Array | None] = {}
        self.counts: dict[int, int] = {}

    def step(self, index: int, weight: Array, grad: Array) -> Array:
        if index not in self.states:
            self.states[index] = np.zeros_like(weight) if self.momentum else None
        self.counts[index] = self.counts.get(index, 0) + 1
        grad = grad * self.rescale
        if self.clip:
            grad = np.clip(grad, -self.clip, self.clip)
        grad = grad + self.wd * self.wd_mult.get(index, 1.0) * weight
        lr = self.lr * self.lr_mult.get(index, 1.0)
        state = self.states[index]
        if state is None:
            return weight - lr * grad
        self.states[index] = self.momentum * state - lr * grad
        return weight + self.states[index]

    def copied(self) -> Momentum:
        other = Momentum()
        other.__dict__.update(self.__dict__)
        other.states, other.counts = dict(self.states), dict(self.counts)
        return other


class UpdaterMachine(RuleBasedStateMachine):
    @initialize(momentum=HALF)
    def begin(self, momentum: float) -> None:
        self.model = Momentum()
        self.model.momentum = momentum
        self.update = mx.optimizer.get_updater(
            mx.optimizer.SGD(learning_rate=0.5, momentum=momentum)
        )
        random = np.random.default_rng(0)
        self.weights = [random.normal(size=shape) for shape in SHAPES]
        self.arrays = [nd.array(weight, dtype="float64") for weight in self.weights]
        self.kept: list[tuple[bytes, Momentum]] = []

    @rule(indices=INDICES, number=NUMBERS, one_by_one=st.booleans())
    def updates(self, indices: list[int], number: float, one_by_one: bool) -> None:
        grads = {index: number * (1 + np.arange(self.weights[index].size)).reshape(SHAPES[index])
                 for index in indices}  # fmt: skip
        arrays = [nd.array(grads[index], dtype="float64") for index in indices]
        if one_by_one:
            for index, array in zip(indices, arrays, strict=True):
                self.update(index, array, self.arrays[index])
        else:
            self.update(indices, arrays, [self.arrays[index] for index in indices])
        for index in indices:
            self.weights[index] = self.model.step(index, self.weights[index], grads[index])

    @rule(name=st.sampled_from(["lr", "wd", "momentum"]), value=HALF)
    def changes_a_setting(self, name: str, value: float) -> None:
        setattr(self.update.optimizer, name, value)
        setattr(self.model, name, value)

    @rule(value=st.sampled_from([None, 0, 0.5]))
    def changes_clipping(self, value: float | None) -> None:
        self.update.optimizer.clip_gradient = self.model.clip = value

    @rule(value=st.sampled_from([0.5, 1.0, 2.0]))
    def changes_scale(self, value: float) -> None:
        self.update.optimizer.rescale_grad = self.model.rescale = value

    @rule(
        lr=st.dictionaries(st.integers(0, 3), FRACTIONS),
        wd=st.dictionaries(st.integers(0, 3), FRACTIONS),
    )
    def changes_factors(self, lr: dict[int, float], wd: dict[int, float]) -> None:  # fmt: skip
        self.update.optimizer.set_lr_mult(lr)
        self.update.optimizer.set_wd_mult(wd)
        self.model.lr_mult, self.model.wd_mult = lr, wd

    @rule()
    def keeps_its_states(self) -> None:
        self.kept.append((self.update.get_states(), self.model.copied()))

    @precondition(lambda self: self.kept)
    @rule(anew=st.booleans(), data=st.data())
    def goes_back(self, anew: bool, data: st.DataObject) -> None:
        states, model = data.draw(st.sampled_from(self.kept))
        present = self.model
        if anew:
            self.update = mx.optimizer.get_updater(mx.optimizer.SGD())
            self.update.optimizer.rescale_grad = present.rescale
            self.update.optimizer.set_lr_mult(present.lr_mult)
            self.update.optimizer.set_wd_mult(present.wd_mult)
        self.update.set_states(states)
        self.model = model.copied()  # with its settings; scale and factors are not among these
        self.model.rescale = present.rescale
        self.model.lr_mult, self.model.wd_mult = present.lr_mult, present.wd_mult
        for index, state in list(self.model.states.items()):
            if state is None:  # nothing was kept of it
                del self.model.states[index]

    @invariant()
    def weights_are_those_of_the_model(self) -> None:
        for array, weight in zip(self.arrays, self.weights, strict=True):
            np.testing.assert_allclose(array.asnumpy(), weight, rtol=1e-9, atol=1e-12)
        assert self.update.optimizer._index_update_count == self.model.counts


TestUpdater = pytest.mark.filterwarnings("error")(UpdaterMachine.TestCase)
TestUpdater.settings = RUNS


class One:
    """A parameter in numpy."""

    def __init__(self, value: Array) -> None:
        self.value, self.grad, self.grad_req = value, np.zeros_like(value), "write"
        self.fresh = False


class TrainerMachine(RuleBasedStateMachine):
    """A trainer of parameters that are frozen and freed, with gradients that are stale or fresh."""

    @initialize(momentum=HALF)
    def begin(self, momentum: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.params = gluon.ParameterDict("net_")
        self.models: list[One] = []
        for number, shape in enumerate(SHAPES):
            param = self.params.get(f"p{number}", shape=shape, init="ones", dtype="float64")
            param.initialize()
            self.models.append(One(np.ones(shape)))
        self.rule = Momentum()
        self.rule.momentum = momentum
        self.trainer = self.made()
        self.saved: list[Any] = []

    def made(self) -> gluon.Trainer:
        fields = {"learning_rate": self.rule.lr, "momentum": self.rule.momentum}
        return gluon.Trainer(self.params, "sgd", fields)

    def teardown(self) -> None:
        self.folder.cleanup()

    def param(self, number: int) -> gluon.Parameter:
        return self.params[f"net_p{number}"]

    @rule(used=INDICES, number=NUMBERS)
    def computes_gradients(self, used: list[int], number: float) -> None:
        used = [n for n in used if self.models[n].grad_req != "null"]
        if not used:
            return
        with autograd.record():
            loss = sum((number * self.param(n).data()).sum() for n in used)
        loss.backward()
        for n in used:
            model = self.models[n]
            added = model.grad if model.grad_req == "add" else 0
            model.grad, model.fresh = added + np.full_like(model.value, number), True

    @rule(batch=st.sampled_from([1, 2, 4]), ignore=st.booleans())
    def steps(self, batch: int, ignore: bool) -> None:
        trained = [n for n, model in enumerate(self.models) if model.grad_req != "null"]
        stale = [
            n for n in trained if self.models[n].grad_req == "write" and not self.models[n].fresh
        ]
        if stale and not ignore:
            with pytest.raises(TigonError, match="was not computed since the last step"):
                self.trainer.step(batch)
            return
        self.trainer.step(batch, ignore_stale_grad=ignore)
        self.rule.rescale = 1 / batch
        for n in set(trained) - set(stale):
            model = self.models[n]
            model.value = self.rule.step(n, model.value, model.grad)
            model.fresh = False

    @rule(n=st.integers(0, 3), grad_req=st.sampled_from(["write", "add", "null"]))
    def asks_for_gradients(self, n: int, grad_req: str) -> None:
        model = self.models[n]
        self.param(n).grad_req = grad_req
        if grad_req != model.grad_req:
            model.grad_req, model.grad, model.fresh = grad_req, np.zeros_like(model.value), False

    @rule(n=st.integers(0, 3), value=NUMBERS)
    def sets_values(self, n: int, value: float) -> None:
        self.models[n].value = np.full(SHAPES[n], value)
        self.param(n).set_data(nd.array(self.models[n].value, dtype="float64"))

    @rule(n=st.integers(0, 3))
    def clears_gradients(self, n: int) -> None:
        self.param(n).zero_grad()
        self.models[n].grad = np.zeros(SHAPES[n])

    @rule(n=st.integers(0, 3), factor=FRACTIONS)
    def changes_a_factor(self, n: int, factor: float) -> None:
        self.param(n).lr_mult = self.rule.lr_mult[n] = factor
        self.param(n).wd_mult = self.rule.wd_mult[n] = 2 * factor

    @rule(lr=FRACTIONS, wd=FRACTIONS)
    def changes_rates(self, lr: float, wd: float) -> None:
        self.trainer.set_learning_rate(lr)
        self.trainer.optimizer.wd = wd
        self.rule.lr, self.rule.wd = lr, wd

    @rule(
        n=st.integers(0, 3), fields=st.sampled_from([{}, {"dtype": "float64"}, {"init": "zeros"}])
    )
    def gets_a_parameter_again(self, n: int, fields: dict[str, Any]) -> None:
        before = self.param(n)
        assert self.params.get(f"p{n}", shape=SHAPES[n], **fields) is before
        with pytest.raises(TigonError, match="exists with dtype='float64'"):
            self.params.get(f"p{n}", dtype="float32")
        assert before.init == "ones"

    @rule(n=st.integers(0, 3))
    def begins_anew(self, n: int) -> None:
        self.param(n).initialize(force_reinit=True)
        model = self.models[n]
        model.value, model.grad, model.fresh = np.ones(SHAPES[n]), np.zeros(SHAPES[n]), False

    @rule()
    def saves(self) -> None:
        path = str(Path(self.folder.name, f"{len(self.saved)}"))
        self.params.save(f"{path}.params", strip_prefix="net_")
        self.trainer.save_states(f"{path}.states")
        values = [model.value for model in self.models]
        self.saved.append((path, values, self.rule.copied()))

    @precondition(lambda self: self.saved)
    @rule(data=st.data())
    def loads_values(self, data: st.DataObject) -> None:
        path, values, _ = data.draw(st.sampled_from(self.saved))
        self.params.load(f"{path}.params", restore_prefix="net_")
        for model, value in zip(self.models, values, strict=True):
            model.value = value

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        for n, model in enumerate(self.models):
            param = self.param(n)
            np.testing.assert_allclose(param.data().asnumpy(), model.value, rtol=1e-9, atol=1e-12)
            if model.grad_req == "null":
                with pytest.raises(TigonError, match="has no gradient"):
                    param.grad()
            else:
                np.testing.assert_array_equal(param.grad().asnumpy(), model.grad)


TestTrainer = TrainerMachine.TestCase
TestTrainer.settings = RUNS


def test_an_updater_for_fewer_parameters_than_before() -> None:
    update = mx.optimizer.get_updater(mx.optimizer.SGD(learning_rate=1.0))
    weights = [nd.ones((2,)) for _ in range(3)]
    update([0, 1, 2], [nd.ones((2,))] * 3, weights)
    update([2, 0], [nd.ones((2,))] * 2, [weights[2], weights[0]])
    assert [weight.asnumpy()[0] for weight in weights] == [-1, 0, -1]


def test_a_second_get_may_fill_in_what_was_open() -> None:
    params = gluon.ParameterDict()
    first = params.get("a", shape=(0, 2), allow_deferred_init=True)
    assert params.get("a", shape=(3, 0), init=mx.init.Constant(3)) is first
    assert first.shape == (3, 2)
    first.initialize()
    assert first.data().asnumpy().tolist() == [[3, 3]] * 3
    for field, other in (
        ("lr_mult", 2.0),
        ("wd_mult", 0.5),
        ("grad_req", "null"),
        ("shape", (4, 2)),
    ):
        with pytest.raises(TigonError, match="Parameter 'a'"):
            params.get("a", **{field: other})
    params.get("a", lr_mult=1.0, wd_mult=1.0, grad_req="write", dtype=np.float32)


def test_dictionaries_share_parameters_through_others() -> None:
    first = gluon.ParameterDict("net_")
    own = first.get("a", shape=(1,))
    last = gluon.ParameterDict("net_", shared=gluon.ParameterDict("net_", shared=first))
    assert last.get("a") is own and list(last) == ["net_a"]
    assert last.get("b", shape=(1,)) is not None and "net_b" not in first
    assert isinstance(last.get_constant("c", [1.0]), gluon.Constant)
    with pytest.raises(TigonError, match="'a' is a Parameter, not a Constant"):
        last.get_constant("a")
    with pytest.raises(TigonError, match="has no constant 'd'"):
        last.get_constant("d")
    with pytest.raises(TigonError, match="has another parameter named 'net_a'"):
        last.update({"net_a": gluon.Parameter("net_a", shape=(1,))})
    last.update(first)


def test_one_optimizer_of_two_trainers() -> None:
    optimizer = mx.optimizer.SGD(learning_rate=0.5)
    params = [gluon.Parameter(name, shape=(1,), init="ones") for name in "ab"]
    for param in params:
        param.initialize()
    trainers = [gluon.Trainer([param], optimizer) for param in params]
    optimizer.momentum = 0.5  # of states that are made from now on
    for count in (1, 2):
        for param, trainer in zip(params, trainers, strict=True):
            with autograd.record():
                loss = param.data() * 1
            loss.backward()
            trainer.step(1)
        expected = [0.5, -0.25][count - 1]
        assert [param.data().asscalar() for param in params] == [expected] * 2


def test_contexts_of_all_parameters_are_changed() -> None:
    params = gluon.ParameterDict()
    for name in "ab":
        params.get(name, shape=(2,), init="ones").initialize()
    params.get("c", shape=(0,), allow_deferred_init=True).initialize()
    params["b"].grad_req = "null"
    before = params["a"].data()
    params.reset_ctx([mx.cpu(0)])
    assert params["a"].data() is not before and params["a"].list_ctx() == [mx.cpu(0)]
    assert params["a"].data().asnumpy().tolist() == [1, 1]
    assert params["a"].grad().asnumpy().tolist() == [0, 0] and params["b"].grad_req == "null"
    assert params["c"].list_ctx() == [mx.cpu(0)] and params.list_ctx() == [mx.cpu(0)]
    with pytest.raises(TigonError, match="is not initialized"):
        gluon.Parameter("d", shape=(1,)).reset_ctx(mx.cpu(0))
    params.setattr("lr_mult", 0.25)
    assert [param.lr_mult for param in params.values()] == [0.25] * 3


def test_gradients_of_several_contexts_and_of_none() -> None:
    contexts = [mx.cpu(0), mx.cpu(1)]
    param = gluon.Parameter("a", shape=(2,), init="ones")
    for read in (param.grad, param.list_grad, param.data, param.list_data):
        with pytest.raises(TigonError, match="Parameter 'a': is not initialized"):
            read()
    param.initialize(ctx=contexts)
    for number, context in enumerate(contexts):
        param.grad(context)[:] = number + 1
        assert param.data(context).context == context
    assert param.grad().asnumpy().tolist() == [1, 1]  # that of this thread's context
    with contexts[1]:
        assert param.grad().asnumpy().tolist() == [2, 2]
    assert [grad.context for grad in param.list_grad()] == contexts
    with pytest.raises(TigonError, match="Parameter 'a'"):
        param.grad(mx.cpu(2))
    param.zero_grad()
    assert [grad.asnumpy().tolist() for grad in param.list_grad()] == [[0, 0]] * 2


@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("gives_way", [False, True])
def test_steps_that_are_skipped_give_what_others_give(outputs: bool, gives_way: bool) -> None:
    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.scale = self.params.get("scale", shape=(1,), init="ones")

        def hybrid_forward(self, F: object, x: nd.NDArray, scale: nd.NDArray) -> nd.NDArray:
            if gives_way:
                x.asnumpy().tofile  # noqa: B018
            return x * scale

    net, skips = Net(), [True]
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0})
    train = gluon.TrainStep(
        net,
        lambda y, label: y + label,
        trainer,
        adjust=lambda loss, grads: None if skips[0] else grads,
        outputs=outputs,
    )
    for skipped in (True, False, True):
        skips[0] = skipped
        before = net.scale.data().asscalar()
        result = train(nd.array([2.0]), nd.array([1.0]))
        loss, output = result if outputs else (result, None)
        assert loss.asnumpy().tolist() == [2 * before + 1]
        assert output is None or output.asnumpy().tolist() == [2 * before]
        assert net.scale.data().asscalar() == (before if skipped else before - 2)
