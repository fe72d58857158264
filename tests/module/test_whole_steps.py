"""A step of `fit` as one program: the same numbers as one by one, metrics included, and what makes
it go one by one."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import metric, nd, sym
from tigon.base import TigonError, as_dtype, type_of
from tigon.ir import Graph, variable
from tigon.module.metric_sums import FORMULAS, Leaf, account_of, fits
from tigon.program.cached_graph import CachedGraph

# -- formulas of metrics


def rows(seed: int, count: int = 7, classes: int = 4) -> np.ndarray:
    pred = np.random.RandomState(seed).rand(count, classes).astype("float32")
    pred[2] = 0.25  # a tie
    return pred / pred.sum(1, keepdims=True)


LABELS = np.array([0, 3, 1, 2, -1, 3, 0], "float32")
NUMBERS = np.random.RandomState(3).randn(7).astype("float32")
IMAGES = np.random.RandomState(4).rand(2, 4, 3).astype("float32")

CASES: dict[type, list[tuple[Callable[[], metric.EvalMetric], np.ndarray, np.ndarray]]] = {
    metric.Accuracy: [
        (metric.Accuracy, LABELS, rows(0)),
        (metric.Accuracy, LABELS.reshape(7, 1), rows(0)),
        (metric.Accuracy, np.array([[0, 1, 3], [2, 2, 1]], "float32"), IMAGES),
        (lambda: metric.Accuracy(axis=-1), LABELS[:1], rows(1)[:1]),
        (metric.Accuracy, LABELS, LABELS[::-1] + 0.9),
    ],
    metric.CrossEntropy: [
        (metric.CrossEntropy, LABELS, rows(0)),
        (lambda: metric.CrossEntropy(eps=0.1), LABELS.reshape(7, 1), rows(2)),
    ],
    metric.NegativeLogLikelihood: [(metric.NegativeLogLikelihood, LABELS, rows(0))],
    metric.Perplexity: [
        (metric.Perplexity, LABELS, rows(0)),
        (lambda: metric.Perplexity(ignore_label=3), LABELS, rows(0)),
        (lambda: metric.Perplexity(ignore_label=-1), LABELS, np.eye(7, 4, dtype="float32")),
    ],
    metric.MAE: [
        (metric.MAE, NUMBERS, NUMBERS[::-1].reshape(7, 1)),
        (metric.MAE, rows(0), rows(1)),
    ],
    metric.MSE: [(metric.MSE, NUMBERS, NUMBERS[::-1].copy()), (metric.MSE, IMAGES, IMAGES**2)],
    metric.RMSE: [(metric.RMSE, NUMBERS, NUMBERS[::-1].reshape(7, 1))],
    metric.Loss: [(metric.Loss, LABELS, rows(0)), (metric.Loss, rows(0), NUMBERS)],
}


def test_every_formula_has_cases() -> None:
    assert set(CASES) == set(FORMULAS)


@pytest.mark.parametrize(
    "make,label,pred",
    [case for cases in CASES.values() for case in cases],
    ids=[f"{kind.__name__}{i}" for kind, cases in CASES.items() for i in range(len(cases))],
)
def test_a_formula_adds_up_what_the_metric_does(
    make: Callable[[], metric.EvalMetric], label: np.ndarray, pred: np.ndarray
) -> None:
    own, arrays = make(), [nd.array(label), nd.array(pred)]
    leaf = Leaf(own, (0,), (0,))
    assert fits([leaf], arrays[:1], [type_of(arrays[1])])
    inputs = [variable(name, type_of(array)) for name, array in zip("lp", arrays, strict=True)]
    _, account = account_of([leaf], [0])
    forward = Graph(inputs, [inputs[1] * 1.0])
    old = variable("sum", account.types[0])
    whole = Graph([*inputs, old], account.add(forward, [old]))
    (found,) = CachedGraph(whole)([*arrays, nd.array([10.0, 20.0], dtype="float64")])
    own.update([arrays[0]], [arrays[1]])
    total, count = found.asnumpy() - [10, 20]
    assert count == own.num_inst
    np.testing.assert_allclose(total, own.sum_metric, rtol=2e-6)


def test_a_label_that_there_is_no_class_for_gives_no_number() -> None:
    batch = mx.io.DataBatch([nd.array(rows(0, 4))], [nd.array([0, 9, 1, 2])])
    values = []
    module = module_of(classifier())
    module.fit(Again(batch, 2), num_epoch=1, eval_metric="ce", batch_end_callback=told(values))
    assert np.isnan([value for _, value in values]).all()


@pytest.mark.parametrize(
    "own,label,pred",
    [
        (metric.CrossEntropy(), (7,), (6, 4)),
        (metric.CrossEntropy(), (7, 2), (7, 4)),
        (metric.CrossEntropy(), (7,), (7,)),
        (metric.Perplexity(axis=0), (4,), (4, 4)),
        (metric.Perplexity(), (4,), (4, 2, 2)),
        (metric.Accuracy(), (4, 2), (4, 3)),
        (metric.Accuracy(axis=2), (4,), (4, 3)),
        (metric.Accuracy(axis=-3), (4,), (4, 3)),
        (metric.MSE(), (4, 2), (4, 3)),
    ],
    ids=str,
)
def test_shapes_that_a_formula_is_not_for_are_left_to_the_metric(
    own: metric.EvalMetric, label: Any, pred: Any
) -> None:
    leaf = Leaf(own, (0,), (0,))
    assert not fits([leaf], [nd.zeros(label)], [type_of(nd.zeros(pred))])


# -- steps


class Again(mx.io.DataIter):
    """The same batch over and over: nothing but steps runs."""

    def __init__(self, batch: Any, count: int) -> None:
        super().__init__(batch.data[0].shape[0])
        self.batch, self.count, self.left = batch, count, count
        self.provide_data = [mx.io.DataDesc("data", batch.data[0].shape)]
        self.provide_label = [mx.io.DataDesc("softmax_label", batch.label[0].shape)]

    def reset(self) -> None:
        self.left = self.count

    def next(self) -> Any:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.batch


def classifier(dropout: float = 0.0) -> Any:
    data = sym.var("data")
    hidden = sym.Activation(sym.FullyConnected(data, num_hidden=5, name="fc1"), act_type="tanh")
    hidden = sym.BatchNorm(hidden, name="bn")
    if dropout:
        hidden = sym.Dropout(hidden, p=dropout)
    return sym.SoftmaxOutput(sym.FullyConnected(hidden, num_hidden=4, name="fc2"), name="softmax")


def module_of(symbol: Any, kind: type = mx.mod.Module, **options: Any) -> Any:
    quiet = logging.getLogger("quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    return kind(symbol, logger=quiet, **options)


def batches(count: int = 5) -> Any:
    rng = np.random.RandomState(7)
    return mx.io.NDArrayIter(
        rng.randn(6 * count, 3).astype("float32"), rng.randint(0, 4, 6 * count).astype("f"), 6
    )


def told(values: list[tuple[str, float]]) -> Callable[[Any], None]:
    return lambda param: values.extend(param.eval_metric.get_name_value())


class OwnUpdate(mx.mod.Module):
    def update(self) -> None:
        super().update()


class OwnForward(mx.mod.Module):
    def forward(self, data_batch: Any, is_train: Any = None) -> None:
        super().forward(data_batch, is_train)


METRICS = {
    "accuracy": lambda: "acc",
    "several": lambda: ["acc", "ce", mx.metric.Perplexity(ignore_label=1)],
    "of the program": lambda: mx.metric.np(lambda label, pred: float((label * pred[:, 0]).sum())),
    "with one beyond": lambda: ["acc", mx.metric.TopKAccuracy(2)],
}


def steps_of(run: Callable[[], Any]) -> tuple[float, float]:
    before = mx.runtime.stats()
    run()
    after = mx.runtime.stats()
    return tuple(after[name] - before[name] for name in ("whole_steps", "steps_apart"))


def fitted(module: Any, **options: Any) -> tuple[Any, list[Any], tuple[float, float]]:
    """Parameters and states, metrics after each batch, and how many steps went which way."""
    values: list[tuple[str, float]] = []
    mx.random.seed(5)
    fields = {"eval_metric": "acc", "optimizer_params": {"learning_rate": 0.1}, **options}
    fields.setdefault("optimizer", "sgd")

    def run() -> None:
        module.fit(
            batches(),
            num_epoch=2,
            initializer=mx.init.Xavier(),
            batch_end_callback=[*options.pop("before", []), told(values)],
            **{name: value for name, value in fields.items() if name != "before"},
        )

    steps = steps_of(run)
    arguments, states = module.get_params()
    return {n: a.asnumpy() for n, a in (*arguments.items(), *states.items())}, values, steps


def check_alike(one: Any, other: Any) -> None:
    for name in one[0]:
        np.testing.assert_allclose(one[0][name], other[0][name], rtol=2e-4, atol=1e-5, err_msg=name)
    assert [name for name, _ in one[1]] == [name for name, _ in other[1]]
    np.testing.assert_allclose(
        [value for _, value in one[1]], [value for _, value in other[1]], rtol=1e-4
    )


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_whole_steps_give_the_numbers_of_steps_apart(name: str, optimizer: str) -> None:
    options = {"optimizer": optimizer, "optimizer_params": {"learning_rate": 0.1, "wd": 0.01}}
    whole, apart = (
        fitted(module_of(classifier(0.3), kind), eval_metric=METRICS[name](), **options)
        for kind in (mx.mod.Module, OwnUpdate)
    )
    assert whole[2] == (10, 0) and apart[2] == (0, 10)
    check_alike(whole, apart)


def test_schedules_and_settings_of_the_optimizer_are_followed() -> None:
    found = []
    for kind in (mx.mod.Module, OwnUpdate):
        schedule = mx.lr_scheduler.FactorScheduler(3, 0.5, base_lr=0.2)
        params = {"lr_scheduler": schedule, "momentum": 0.9, "clip_gradient": 0.1}
        module = module_of(classifier(), kind)

        def change(param: Any, module: Any = module) -> None:
            if param.nbatch == 2:
                module._optimizer.momentum = 0.5

        found.append(fitted(module, optimizer_params=params, before=[change]))
        assert module._optimizer.num_update == 10
    check_alike(*found)


def test_a_step_is_one_native_call_and_metrics_are_read_at_callbacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[int] = []
    real = mx.module.metric_sums.LeafSums.settle

    def settle(self: Any, owner: Any) -> None:
        reads.append(self.moved)
        real(self, owner)

    monkeypatch.setattr(mx.module.metric_sums.LeafSums, "settle", settle)
    batch = mx.io.DataBatch([nd.ones((6, 3))], [nd.zeros((6,))])
    module = module_of(classifier())
    seen: list[float] = []

    def count(param: Any) -> None:
        seen.append(mx.runtime.stats()["native_calls"])
        if param.nbatch % 10 == 9:
            param.eval_metric.get()

    module.fit(Again(batch, 30), num_epoch=1, eval_metric=["acc", "ce"], batch_end_callback=count)
    assert [after - before for before, after in pairwise(seen)] == [1] * 29
    assert sum(reads) == 2 * 3  # where they were asked for


@pytest.mark.parametrize(
    "look",
    [
        lambda own: own.num_inst,
        lambda own: own.get() and own.num_inst,
        lambda own: copy.copy(own).num_inst,
        lambda own: pickle.loads(pickle.dumps(own)).num_inst,
        lambda own: own.reset_local() or own.global_num_inst,
        lambda own: (setattr(own, "sum_metric", 0.0), own.num_inst)[1],
    ],
    ids=["count", "get", "copy", "pickle", "reset", "set"],
)
def test_metrics_are_read_however_they_are_looked_at(look: Callable[[Any], Any]) -> None:
    batch = mx.io.DataBatch([nd.ones((6, 3))], [nd.zeros((6,))])
    counts: list[int] = []
    module_of(classifier()).fit(
        Again(batch, 3),
        num_epoch=1,
        eval_metric="acc",
        batch_end_callback=lambda param: counts.append(look(param.eval_metric)),
    )
    assert counts == [6, 12, 18]


def test_one_metric_serves_modules_in_turn() -> None:
    own, expected = mx.metric.Accuracy(), mx.metric.Accuracy()
    batch = mx.io.DataBatch([nd.array(rows(0, 6, 3))], [nd.array([0, 1, 2, 3, 0, 1])])
    for width in (2, 3):
        for used in (own, expected):
            kind = mx.mod.Module if used is own else OwnUpdate
            mx.random.seed(width)
            module_of(classifier(), kind).fit(Again(batch, width), num_epoch=1, eval_metric=used)
        assert own.get() == expected.get() and own.num_inst == 6 * width


# -- what stands in the way


def custom(name: str) -> Any:
    class Twice(mx.optimizer.SGD):
        def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
            super().update(index, weight, grad, state)

    return {
        "own forward": ("OwnForward has its own forward", OwnForward, {}, {}),
        "own update": ("OwnUpdate has its own update", OwnUpdate, {}, {}),
        "two contexts": (
            "it runs on several contexts",
            mx.mod.Module,
            {"context": [mx.cpu(0), mx.cpu(1)]},
            {},
        ),
        "a store": ("a store takes part", mx.mod.Module, {}, {"kvstore": mx.kv.create("local")}),
        "an optimizer": (
            "Twice defines update",
            mx.mod.Module,
            {},
            {"optimizer": Twice(learning_rate=0.1, rescale_grad=1 / 6), "optimizer_params": {}},
        ),
    }[name]


@pytest.mark.parametrize(
    "name", ["own forward", "own update", "two contexts", "a store", "an optimizer"]
)
def test_what_stands_in_the_way_is_said_once_and_counted(name: str) -> None:
    reason, kind, options, fields = custom(name)
    lines: list[str] = []
    module = module_of(classifier(), kind, **options)
    module.logger = logging.getLogger(f"lines of {name}")
    module.logger.propagate = False
    module.logger.setLevel(logging.INFO)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    module.logger.addHandler(Lines())
    found = fitted(module, **fields)
    assert found[2] == (0, 10)
    assert [line for line in lines if "not one program" in line] == [
        f"{kind.__name__}.fit: steps are not one program: {reason}"
    ]
    if name != "two contexts":  # each of which normalizes its own half of a batch
        check_alike(fitted(module_of(classifier())), found)


def test_an_updater_of_the_programs_own_is_called() -> None:
    module = module_of(classifier())
    module.bind(batches().provide_data, batches().provide_label)
    module.init_params()
    module.init_optimizer()
    real, seen = module._updater, []

    def update(index: Any, grad: Any, weight: Any) -> None:
        seen.append(index)
        real(index, grad, weight)

    module._updater = update
    assert steps_of(lambda: module.fit(batches(), num_epoch=1)) == (0, 5)
    assert len(seen) == 5


def test_a_monitor_is_shown_every_second_step_and_the_others_are_whole() -> None:
    plain = fitted(module_of(classifier()))
    seen: list[str] = []
    monitor = mx.mon.Monitor(2, stat_func=lambda array: array.max(), pattern="fc.*")
    monitor.toc_print = lambda: seen.extend(name for _, name, _ in monitor.toc())  # type: ignore
    found = fitted(module_of(classifier()), monitor=monitor)
    assert found[2] == (5, 5)
    check_alike(plain, found)
    names = ["fc1_output", "fc2_output", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"]
    assert seen == names * 5


def test_gradients_that_are_asked_for_are_there_from_the_next_step_on() -> None:
    module, norms = module_of(classifier()), []
    warned: list[str] = []
    module.logger = logging.getLogger("gradients that are asked for")
    module.logger.propagate = False
    module.logger.warning = lambda text, *given: warned.append(text)  # type: ignore[method-assign]

    def look(param: Any) -> None:
        grads = module._exec_group.grad_arrays
        norms.append(float(sum(nd.norm(grad).asscalar() for (grad,) in grads)))

    found = fitted(module, before=[look])
    assert found[2] == (1, 9)
    assert norms[0] == 0 and min(norms[1:]) > 0
    assert [line for line in warned if "gradients" in line] == [
        "Module: gradients of the last step, which was one program, were not kept; those of the "
        "next ones will be"
    ]
    check_alike(fitted(module_of(classifier())), found)


def test_backward_after_a_whole_step_says_what_to_do() -> None:
    module = module_of(classifier())
    module.fit(batches(1), num_epoch=1)
    with pytest.raises(TigonError) as caught:
        module.backward()
    assert str(caught.value) == (
        "Executor.backward: the outputs are those of a whole step of Module.fit, which has moved "
        "the parameters; call forward(is_train=True) before it"
    )
    module.forward_backward(batches(1).next())


def test_parameters_without_a_gradient_are_moved_as_the_optimizer_says() -> None:
    data = sym.var("data")
    fc = sym.FullyConnected(data, num_hidden=4, name="fc")
    beside = sym.BlockGrad(sym.FullyConnected(data, num_hidden=2, name="beside"))
    symbol = sym.Group([sym.SoftmaxOutput(fc, name="softmax"), beside])
    found = []
    for kind in (mx.mod.Module, OwnUpdate):
        own = mx.metric.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
        params = {"learning_rate": 0.1, "wd": 0.1}
        found.append(fitted(module_of(symbol, kind), eval_metric=own, optimizer_params=params))
    assert [steps for _, _, steps in found] == [(10, 0), (0, 10)]
    check_alike(*found)


def test_a_batch_of_another_size_goes_on_whole() -> None:
    rng = np.random.RandomState(7)
    parts = [
        mx.io.DataBatch([nd.array(rng.randn(size, 3))], [nd.array(rng.randint(0, 4, size))])
        for size in (6, 4, 6, 5, 4)
    ]

    class Sizes(Again):
        def next(self) -> Any:
            self.batch = parts[self.left - 1] if self.left else None
            return super().next()

    found = []
    for kind in (mx.mod.Module, OwnUpdate):
        module = module_of(classifier(), kind)
        mx.random.seed(1)
        steps = steps_of(
            lambda module=module: module.fit(
                Sizes(parts[0], 5), num_epoch=2, initializer=mx.init.Xavier()
            )
        )
        assert steps == ((10, 0) if kind is mx.mod.Module else (0, 10))
        found.append(module.get_params()[0])
    for name in found[0]:
        np.testing.assert_allclose(
            found[0][name].asnumpy(), found[1][name].asnumpy(), rtol=1e-4, atol=1e-6
        )


def test_narrow_dtypes_and_weights_with_master_copies() -> None:
    data = sym.var("data", dtype="float16")
    fc = sym.FullyConnected(data, num_hidden=4, name="fc")
    symbol = sym.SoftmaxOutput(fc, name="softmax")
    rng = np.random.RandomState(7)
    values = nd.array(rng.randn(6, 3), dtype="float16")
    batch = mx.io.DataBatch([values], [nd.array(rng.randint(0, 4, 6), dtype="float16")])
    found = []
    for kind in (mx.mod.Module, OwnUpdate):
        module = module_of(symbol, kind)
        again = Again(batch, 4)
        again.provide_data = [mx.io.DataDesc("data", (6, 3), "float16")]
        again.provide_label = [mx.io.DataDesc("softmax_label", (6,), "float16")]
        mx.random.seed(1)
        params = {"learning_rate": 0.1, "momentum": 0.9, "multi_precision": True}
        module.fit(again, num_epoch=1, initializer=mx.init.Xavier(), optimizer_params=params)
        found.append(module.get_params()[0]["fc_weight"])
        assert as_dtype(found[-1].dtype).name == "float16"
    np.testing.assert_allclose(found[0].asnumpy(), found[1].asnumpy(), rtol=2e-3, atol=1e-3)
