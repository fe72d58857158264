"""The loop of `Estimator`, and what its handlers do at which event."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, metric, nd
from tigon.gluon import nn
from tigon.gluon.contrib import estimator as parts

POINTS = np.random.RandomState(0).randn(20, 3).astype("float32")
LABELS = (POINTS.sum(1) > 0).astype("float32")


def loader(count: int = 20) -> Any:
    return gluon.data.DataLoader(gluon.data.ArrayDataset(POINTS[:count], LABELS[:count]), 8)


def network() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="tanh"), nn.Dense(2))
    return net


def made(net: Any = None, **options: Any) -> parts.Estimator:
    mx.random.seed(3)
    net = network() if net is None else net
    net.initialize(mx.init.Xavier())
    options.setdefault("trainer", gluon.Trainer(net.collect_params(), "adam"))
    found = parts.Estimator(net, gluon.loss.SoftmaxCrossEntropyLoss(), **options)
    found.logger.handlers = []
    return found


def values(net: Any) -> list[Any]:
    return [p.data().asnumpy().tolist() for p in net._collect_params_with_prefix().values()]


class Recorder(
    parts.TrainBegin,
    parts.TrainEnd,
    parts.EpochBegin,
    parts.EpochEnd,
    parts.BatchBegin,
    parts.BatchEnd,
):
    def __init__(self, priority: float = 0, stop: Any = None) -> None:
        self.events: list[str] = []
        self.priority = priority
        self.stop = stop

    def _note(self, event: str, facts: dict[str, Any]) -> bool:
        self.events.append(event if not facts else f"{event}({','.join(facts)})")
        return self.stop is not None and len(self.events) == self.stop

    def train_begin(self, estimator: Any, *_: Any, **facts: Any) -> None:
        self._note("train_begin", facts)

    def train_end(self, estimator: Any, *_: Any, **facts: Any) -> None:
        self._note("train_end", facts)

    def epoch_begin(self, estimator: Any, *_: Any, **facts: Any) -> None:
        self._note("epoch_begin", facts)

    def epoch_end(self, estimator: Any, *_: Any, **facts: Any) -> bool:
        return self._note("epoch_end", facts)

    def batch_begin(self, estimator: Any, *_: Any, **facts: Any) -> None:
        self._note("batch_begin", facts)

    def batch_end(self, estimator: Any, *_: Any, **facts: Any) -> bool:
        return self._note("batch_end", facts)


BATCH = ["batch_begin(batch)", "batch_end(batch,pred,label,loss)"]


def test_events_come_in_order() -> None:
    recorder = Recorder()
    made().fit(loader(16), epochs=2, event_handlers=recorder)
    epoch = ["epoch_begin", *BATCH, *BATCH, "epoch_end"]
    assert recorder.events == ["train_begin", *epoch, *epoch, "train_end"]


def test_batches_end_in_the_middle_of_an_epoch() -> None:
    recorder = Recorder()
    made().fit(loader(), batches=4, event_handlers=[recorder])
    assert recorder.events == [
        *("train_begin", "epoch_begin", *BATCH, *BATCH, *BATCH, "epoch_end"),
        *("epoch_begin", *BATCH, "epoch_end", "train_end"),
    ]


def test_a_handler_that_answers_true_ends_the_training() -> None:
    recorder = Recorder(stop=4)  # the first batch_end
    made().fit(loader(), epochs=9, event_handlers=[recorder])
    assert recorder.events[3:] == [BATCH[1], "epoch_end", "train_end"]


def test_handlers_are_called_by_priority() -> None:
    called: list[str] = []

    class Named(parts.EpochEnd):
        def __init__(self, name: str, priority: float) -> None:
            self.name, self.priority = name, priority

        def epoch_end(self, estimator: Any, *_: Any, **__: Any) -> None:
            called.append(self.name)

    handlers = [Named("last", 5), Named("first", -5), Named("middle", 0), Named("next", 0)]
    made().fit(loader(), epochs=1, event_handlers=handlers)
    assert called == ["first", "middle", "next", "last"]


@pytest.mark.parametrize("contexts", [1, 2])
def test_it_trains_as_a_loop_written_by_hand(contexts: int) -> None:
    places = [mx.cpu(number) for number in range(contexts)]
    net = network()
    net.initialize(mx.init.Xavier(), ctx=places)
    estimator = parts.Estimator(
        net,
        gluon.loss.SoftmaxCrossEntropyLoss(),
        train_metrics=metric.Accuracy(),
        context=places,
        initializer=None,
        trainer=gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}),
    )
    estimator.logger.handlers = []
    net(nd.ones((1, 3)))
    other = network()
    other.initialize()
    other(nd.ones((1, 3)))
    for mine, theirs in zip(
        other.collect_params().values(), net.collect_params().values(), strict=True
    ):
        mine.set_data(theirs.data(places[0]))
    estimator.fit(loader(), epochs=3)
    trainer = gluon.Trainer(other.collect_params(), "sgd", {"learning_rate": 0.1})
    loss_of, accuracy, mean = gluon.loss.SoftmaxCrossEntropyLoss(), metric.Accuracy(), metric.Loss()
    for _ in range(3):
        accuracy.reset()
        mean.reset()
        for x, y in loader():
            with autograd.record():
                result = other(x)
                loss = loss_of(result, y)
            loss.backward()
            trainer.step(len(x))
            accuracy.update(y, result)
            mean.update(0, loss)
    for mine, theirs in zip(
        other.collect_params().values(), net.collect_params().values(), strict=True
    ):
        np.testing.assert_allclose(
            theirs.data(places[-1]).asnumpy(), mine.data().asnumpy(), rtol=2e-5, atol=1e-6
        )
    assert [one.name for one in estimator.train_metrics] == [
        "training accuracy",
        "training softmaxcrossentropyloss",
    ]
    assert estimator.train_metrics[0].get()[1] == accuracy.get()[1]
    assert estimator.train_loss_metric.get()[1] == pytest.approx(mean.get()[1], rel=1e-5)


def test_the_evaluation_changes_nothing_and_has_metrics_of_its_own() -> None:
    estimator = made(val_metrics=["acc", metric.TopKAccuracy(2)])
    estimator.fit(loader(), loader(8), epochs=2)
    before = values(estimator.net)
    assert [one.name for one in estimator.val_metrics] == [
        "validation accuracy",
        "validation top_k_accuracy_2",
        "validation softmaxcrossentropyloss",
    ]
    assert estimator.val_metrics[0].num_inst == 8
    estimator.evaluate(loader(16))
    assert estimator.val_metrics[0].num_inst == 16 and values(estimator.net) == before


def test_the_log_tells_epochs_and_batches() -> None:
    estimator, lines = made(), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    estimator.logger.addHandler(handler)
    log = parts.LoggingHandler(log_interval=2, metrics=estimator.train_metrics)
    estimator.fit(loader(), epochs=1, event_handlers=[log])
    assert lines[0].startswith("Training begin: using optimizer Adam with current learning rate")
    assert lines[1] == "Train for 1 epochs."
    assert lines[2].startswith("[Epoch 0][Batch 2][Samples 16] time/epoch: ")
    assert "training accuracy: " in lines[3] and lines[3].startswith("[Epoch 0] Finished in ")
    assert lines[4].startswith("Train finished using total 0s with 1 epochs. training accuracy")


def test_training_ends_early_where_nothing_gets_better() -> None:
    estimator = made(trainer=None)
    estimator.trainer.set_learning_rate(0)
    early = parts.EarlyStoppingHandler(estimator.train_loss_metric, patience=2)
    recorder = Recorder()
    estimator.fit(loader(), epochs=50, event_handlers=[early, recorder])
    assert recorder.events.count("epoch_end") == 4 and early.stopped_epoch == 3


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    def run(epochs: int, resume: bool, folder: Path) -> Any:
        estimator = made()
        keep = parts.CheckpointHandler(
            folder,
            "net",
            monitor=estimator.train_loss_metric,
            save_best=True,
            max_checkpoints=2,
            resume_from_checkpoint=resume,
        )
        recorder = Recorder()
        estimator.fit(loader(), epochs=epochs, event_handlers=[keep, recorder])
        return values(estimator.net), recorder.events.count("epoch_begin"), keep

    expected, _, _ = run(6, False, tmp_path / "whole")
    _, first, _ = run(4, True, tmp_path / "parts")
    found, second, keep = run(6, True, tmp_path / "parts")
    assert (first, second) == (4, 2) and found == expected
    assert sorted(os.listdir(tmp_path / "parts")) == ["net", "net-best.params"]
    assert len(os.listdir(tmp_path / "parts" / "net")) == 2 and keep.best > 0
    assert run(6, True, tmp_path / "parts")[:2] == (expected, 0)  # nothing is left to do


def test_a_batch_processor_of_ones_own() -> None:
    class Doubled(parts.BatchProcessor):
        def fit_batch(self, estimator: Any, train_batch: Any, batch_axis: int = 0) -> Any:
            x, y = train_batch
            return super().fit_batch(estimator, (x * 2, y), batch_axis)

    seen: list[Any] = []
    net = network()
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].asnumpy()))
    made(net, batch_processor=Doubled()).fit(loader(8), batches=1)
    np.testing.assert_array_equal(seen[-1], POINTS[:8] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: parts.Estimator(3, gluon.loss.L2Loss()),
            "Estimator: net: expected a Block; given int",
        ),
        (
            lambda: parts.Estimator(network(), lambda p, y: p),
            "Estimator: loss: expected a Loss; given function",
        ),
        (
            lambda: made().fit(loader()),
            "Estimator.fit: expected how long it takes: epochs or batches, not both; given epochs "
            "None and batches None",
        ),
        (
            lambda: made().fit(loader(), epochs=1, batches=2),
            "Estimator.fit: expected how long it takes: epochs or batches, not both; given epochs "
            "1 and batches 2",
        ),
        (
            lambda: made().fit(loader(), epochs=0),
            "Estimator.fit: epochs: expected a whole number from 1 on; given 0",
        ),
        (
            lambda: made().fit(loader(), epochs=1, event_handlers=[print]),
            "Estimator.fit: event_handlers: expected objects that handle an event, such as "
            "EpochEnd; given builtin_function_or_method",
        ),
        (
            lambda: made().fit([], epochs=1),
            "Estimator.fit: train_data has no batches; is it an iterator that is used up?",
        ),
        (
            lambda: parts.LoggingHandler(log_interval="batch"),
            "LoggingHandler: log_interval: expected 'epoch' or a number of batches; given 'batch'",
        ),
        (
            lambda: parts.CheckpointHandler("x", save_best=True),
            "CheckpointHandler: save_best needs a metric as monitor; given NoneType",
        ),
        (
            lambda: parts.CheckpointHandler("x", epoch_period=0),
            "CheckpointHandler: epoch_period: expected None or a whole number from 1 on; given 0",
        ),
        (
            lambda: parts.EarlyStoppingHandler("acc"),
            "EarlyStoppingHandler: monitor: expected a metric; given str",
        ),
        (
            lambda: parts.EarlyStoppingHandler(metric.Accuracy(), mode="up"),
            "EarlyStoppingHandler: mode: expected 'auto', 'min' or 'max'; given 'up'",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(mx.TigonError) as raised:
        call()
    assert str(raised.value) == message
