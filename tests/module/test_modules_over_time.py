"""Random steps of modules of every kind, against a model in numpy: what they compute, their
parameters, auxiliary states and optimizer follow, in whichever order they are asked for."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import tigon as mx
from tests.module.given_batches import GivenBatches
from tigon import nd, sym
from tigon.io import DataBatch, DataDesc

Array = np.ndarray
Samples = tuple[Array, Array]
QUIET = logging.getLogger("over time")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
WIDTHS, SIZES = (3, 1, 2), (4, 2)
RUNS = settings(max_examples=10, stateful_step_count=15, deadline=None, derandomize=True)
KINDS = ("Module", "two contexts", "BucketingModule", "SequentialModule")


def samples(size: int, width: int, seed: int) -> Samples:
    random = np.random.RandomState(seed)
    return random.randn(size, width).astype("float32"), random.randint(0, 2, size)


def described(size: int, width: int) -> tuple[list[DataDesc], list[DataDesc]]:
    return [DataDesc("data", (size, width))], [DataDesc("softmax_label", (size,))]


def batch_of(given: Samples, pad: int = 0) -> DataBatch:
    data, labels = given
    own = described(*data.shape)
    return DataBatch([nd.array(data)], [nd.array(labels)], pad, None, data.shape[1], *own)


def in_batches(given: list[Samples], pad: int) -> GivenBatches:
    """Batches, the last of which is padded."""
    made = [batch_of(one, pad * (one is given[-1])) for one in given]
    return GivenBatches(made, described(*given[0][0].shape))


def features(data: Any) -> Any:
    return sym.mean(data, axis=1, keepdims=True, name="features")


def head(data: Any) -> Any:
    """A loss, and the mean of what it is given as an auxiliary state."""
    fc = sym.FullyConnected(data, num_hidden=2, name="fc")
    seen = sym.BatchNorm(data, momentum=0.5, fix_gamma=False, name="bn")
    return sym.Group([sym.SoftmaxOutput(fc, name="softmax"), sym.BlockGrad(seen, name="seen")])


def made(kind: str) -> Any:
    if kind == "BucketingModule":
        names = ("data",), ("softmax_label",)
        return mx.mod.BucketingModule(
            lambda key: (head(features(sym.var("data"))), *names), WIDTHS[0], QUIET
        )
    if kind == "SequentialModule":
        chain = mx.mod.SequentialModule(QUIET)
        first = mx.mod.Module(features(sym.var("data")), label_names=None, logger=QUIET)
        chain.add(first)
        last = mx.mod.Module(head(sym.var("mean")), ["mean"], logger=QUIET)
        return chain.add(last, take_labels=True, auto_wiring=True)
    contexts = [mx.cpu(0), mx.cpu(1)] if kind == "two contexts" else mx.cpu(1)
    return mx.mod.Module(head(features(sym.var("data"))), logger=QUIET, context=contexts)


class Model:
    """The same in numpy."""

    def __init__(self) -> None:
        self.weights = {"fc_weight": np.ones((2, 1)), "fc_bias": np.zeros(2)}
        self.mean = self.told = np.zeros(1)
        self.moved = False
        self.no_optimizer()
        self.no_gradients()

    def no_gradients(self) -> None:
        self.grads = {name: np.zeros_like(one) for name, one in self.weights.items()}

    def no_optimizer(self, lr: float = 0.0, scale: float = 0.0) -> None:
        self.lr, self.scale = lr, scale
        self.states = {name: np.zeros_like(one) for name, one in self.weights.items()}

    def predicted(self, data: Array) -> Array:
        exponents = data.mean(1, keepdims=True) @ self.weights["fc_weight"].T
        powers = np.exp(exponents + self.weights["fc_bias"])
        return powers / powers.sum(1, keepdims=True)

    def forward_backward(self, data: Array, labels: Array) -> Array:
        """The gradient by the data."""
        outer = self.predicted(data) - np.eye(2)[labels]
        inner = data.mean(1, keepdims=True)
        self.grads = {"fc_weight": outer.T @ inner, "fc_bias": outer.sum(0)}
        self.mean = (self.mean + inner.mean(0)) / 2
        return np.repeat(outer @ self.weights["fc_weight"], data.shape[1], 1) / data.shape[1]

    def update(self) -> None:
        for name, grad in self.grads.items():
            self.states[name] = 0.5 * self.states[name] - self.lr * self.scale * grad
            self.weights[name] = self.weights[name] + self.states[name]
        self.moved = True

    def tell(self) -> None:
        """Modules look for new auxiliary states where an update has been."""
        self.told, self.moved = self.mean if self.moved else self.told, False


def entropy(model: Model, given: list[Samples], pad: int) -> float:
    """The mean over all samples but the padding."""
    found = []
    for data, labels in given:
        own = -np.log(model.predicted(data)[np.arange(len(labels)), labels] + 1e-12)
        found += list(own[: len(own) - pad * (data is given[-1][0])])
    return float(np.mean(found))


SEEDS, WIDTH, RATES = st.integers(0, 20), st.sampled_from(WIDTHS), st.sampled_from([0.25, 0.5])
BATCHES = st.lists(st.tuples(WIDTH, SEEDS), min_size=1, max_size=3)


class ModuleMachine(RuleBasedStateMachine):
    kind = "Module"

    @initialize(rate=RATES)
    def begin(self, rate: float) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.size, self.inputs = SIZES[0], False
        self.model, self.module = Model(), made(self.kind)
        self.module.bind(*described(self.size, WIDTHS[0]))
        self.module.init_params(mx.init.One())
        self.starts_an_optimizer(rate)
        self.kept: dict[str, Any] = {}
        self.handed: dict[str, Any] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def like(self, one: Any, other: Any) -> None:
        found = one.asnumpy() if isinstance(one, nd.NDArray) else one
        np.testing.assert_allclose(found, other, rtol=2e-4, atol=2e-5)

    @rule(rate=RATES)
    def starts_an_optimizer(self, rate: float) -> None:
        options = {"learning_rate": rate, "momentum": 0.5}
        self.module.init_optimizer("local", "sgd", options, force_init=True)
        self.model.no_optimizer(rate, 1 / self.size)

    @rule(width=WIDTH, seed=SEEDS)
    def goes_forward_and_backward(self, width: int, seed: int) -> None:
        given = samples(self.size, width, seed)
        expected = self.model.predicted(given[0])
        slopes = self.model.forward_backward(*given)
        self.module.forward_backward(batch_of(given))
        self.like(self.module.get_outputs()[0], expected)
        if self.inputs:
            self.like(self.module.get_input_grads()[0], slopes)

    @rule(width=WIDTH, seed=SEEDS)
    def steps(self, width: int, seed: int) -> None:
        self.goes_forward_and_backward(width, seed)
        self.updates()

    def updates(self) -> None:
        self.model.update()
        self.module.update()

    @rule(batches=BATCHES, pad=st.integers(0, 1))
    def fits(self, batches: list[tuple[int, int]], pad: int) -> None:
        given = [samples(self.size, width, seed) for width, seed in batches]
        right = 0
        for data, labels in given:
            right += int((self.model.predicted(data).argmax(1) == labels).sum())
            slopes = self.model.forward_backward(data, labels)
            self.model.update()
        metric = mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
        told: list[Any] = []
        self.module.fit(
            in_batches(given, pad),
            eval_metric=metric,
            num_epoch=4,
            begin_epoch=3,
            batch_end_callback=lambda param: told.append((param.epoch, param.nbatch)),
            epoch_end_callback=lambda epoch, symbol, own, states: self.reads(own, states),
        )
        assert metric.get()[1] == right / (self.size * len(given))
        assert told == [(3, number) for number in range(len(given))]
        if self.inputs:
            self.like(self.module.get_input_grads()[0], slopes)

    @rule(batches=BATCHES, pad=st.integers(0, 1), count=st.sampled_from([None, 1]))
    def is_scored(self, batches: list[tuple[int, int]], pad: int, count: int | None) -> None:
        given = [samples(self.size, width, seed) for width, seed in batches]
        taken = given[:count]
        pads = pad if len(taken) == len(given) else 0
        names = {"output_names": ["softmax_output"], "label_names": ["softmax_label"]}
        metric = mx.metric.CrossEntropy(**names)
        metric.update([nd.array([0])], [nd.array([[0.5, 0.5]])])
        told: list[Any] = []
        ends: list[Any] = []
        iterator = in_batches(given, pad)
        iterator.place = len(given)
        ((_, found),) = self.module.score(
            iterator,
            metric,
            count,
            batch_end_callback=lambda param: told.append((param.epoch, param.nbatch)),
            score_end_callback=lambda param: ends.append((param.epoch, param.nbatch)),
            epoch=5,
        )
        self.like(found, entropy(self.model, taken, pads))
        assert told == [(5, number) for number in range(len(taken))] and ends == [(5, len(taken))]

    @rule(batches=BATCHES, pad=st.integers(0, 1), merged=st.booleans())
    def predicts(self, batches: list[tuple[int, int]], pad: int, merged: bool) -> None:
        given = [samples(self.size, width, seed) for width, seed in batches]
        expected = [self.model.predicted(data) for data, _ in given]
        expected[-1] = expected[-1][: self.size - pad]
        found = self.module.predict(in_batches(given, pad), merge_batches=merged)
        if merged:
            self.like(found[0], np.concatenate(expected))
        else:
            for one, other in zip(found, expected, strict=True):
                self.like(one[0], other)

    @rule(count=st.integers(2, 5), seed=SEEDS, array=st.booleans())
    def predicts_an_array(self, count: int, seed: int, array: bool) -> None:
        data, _ = samples(count, WIDTHS[0], seed)
        found = self.module.predict(nd.array(data) if array else data)
        self.like(found, self.model.predicted(data))

    @rule()
    def reads_its_parameters(self) -> None:
        arguments, states = self.module.get_params()
        self.reads(arguments, states)
        for name, array in self.handed.items():
            assert arguments[name] is array
        self.handed = dict(arguments)

    def reads(self, arguments: Any, states: Any) -> None:
        for name, weight in self.model.weights.items():
            self.like(arguments[name], weight)
        self.model.tell()
        self.like(states["bn_moving_mean"], self.model.told)

    @rule(number=st.integers(-2, 2), what=st.sampled_from(["fc_weight", "fc_bias", "all", "init"]))
    def is_given_parameters(self, number: int, what: str) -> None:
        self.model.tell()
        self.model.mean = self.model.told
        names = list(self.model.weights) if what in ("all", "init") else [what]
        for name in names:
            self.model.weights[name] = np.full_like(self.model.weights[name], number)
        given = {name: nd.array(self.model.weights[name]) for name in names}
        if what == "init":
            self.module.init_params(mx.init.One(), given, None, True, force_init=True)
            self.model.mean = self.model.told = np.zeros(1)
            return
        allow_extra = self.kind == "SequentialModule"
        self.module.set_params(given, {}, allow_missing=True, allow_extra=allow_extra)

    @rule(size=st.sampled_from(SIZES), inputs=st.booleans())
    def is_bound_again(self, size: int, inputs: bool) -> None:
        self.size, self.inputs = size, inputs
        own = described(size, WIDTHS[0])
        self.module.bind(*own, inputs_need_grad=inputs, force_rebind=True)
        self.model.tell()
        self.model.mean = self.model.told
        if self.kind == "BucketingModule":  # its buckets are made anew
            self.starts_an_optimizer(0.5)
            self.handed = {}
        self.reads_its_parameters()

    @rule()
    def keeps_its_parameters(self) -> None:
        self.module.save_params(self.path("params"))
        self.kept = {name: one.copy() for name, one in self.model.weights.items()}
        self.model.tell()
        self.kept["mean"] = self.model.told

    @precondition(lambda self: self.kept)
    @rule()
    def goes_back(self) -> None:
        self.module.load_params(self.path("params"))
        self.model.mean = self.model.told = self.kept["mean"]
        self.model.moved = False
        self.model.weights = {name: self.kept[name] for name in self.model.weights}

    def path(self, name: str) -> str:
        return str(Path(self.folder.name, name))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_over_time(kind: str) -> None:
    machine = type("Machine", (ModuleMachine,), {"kind": kind})
    run_state_machine_as_test(machine, settings=RUNS)
