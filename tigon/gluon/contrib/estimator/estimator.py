"""`Estimator`: a network, its loss, metrics and trainer, and the loop that trains it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from tigon import initializer as initializers
from tigon import metric as metrics_of
from tigon.base import check
from tigon.base.arguments import fits
from tigon.base.progress import progress
from tigon.context import check_contexts, current_context
from tigon.gluon import loss as losses
from tigon.gluon.block import Block
from tigon.gluon.contrib.estimator.batch_processor import BatchProcessor
from tigon.gluon.contrib.estimator.event_handler import (
    BatchBegin,
    BatchEnd,
    EpochBegin,
    EpochEnd,
    EventHandler,
    GradientUpdateHandler,
    LoggingHandler,
    MetricHandler,
    StoppingHandler,
    TrainBegin,
    TrainEnd,
    ValidationHandler,
)
from tigon.gluon.trainer import Trainer

EVENTS = (TrainBegin, EpochBegin, BatchBegin, BatchEnd, EpochEnd, TrainEnd)


class Estimator:
    """Trains `net` for `loss`.

    `train_metrics`: one or several; accuracy, if the loss is a cross entropy and none are given;
    the loss itself is always one. `val_metrics`: those of the evaluation, alike by default.
    `initializer`: for what has no values yet. `trainer`: SGD at a rate of 0.001 by default.
    `context`: where it runs, or a list, over which batches are split. `val_net`, `val_loss`: what
    is evaluated, if it is not what is trained. `batch_processor`: what is done with a batch.

    >>> import numpy as np
    >>> from tigon import gluon
    >>> points = np.random.RandomState(0).randn(32, 2).astype("float32")
    >>> data = gluon.data.ArrayDataset(points, (points[:, 0] > 0).astype("float32"))
    >>> net = gluon.nn.Dense(2)
    >>> estimator = Estimator(net, gluon.loss.SoftmaxCrossEntropyLoss())
    >>> estimator.logger.setLevel("ERROR")
    >>> estimator.fit(gluon.data.DataLoader(data, batch_size=8), epochs=3)
    >>> [one.name for one in estimator.train_metrics]
    ['training accuracy', 'training softmaxcrossentropyloss']
    """

    def __init__(
        self,
        net: Block,
        loss: Any,
        train_metrics: Any = None,
        val_metrics: Any = None,
        initializer: Any = None,
        trainer: Trainer | None = None,
        context: Any = None,
        val_net: Block | None = None,
        val_loss: Any = None,
        batch_processor: BatchProcessor | None = None,
    ) -> None:
        for name, given, kind in (
            ("net", net, Block),
            ("loss", loss, losses.Loss),
            ("trainer", trainer, Trainer),
            ("val_loss", val_loss, losses.Loss),
            ("batch_processor", batch_processor, BatchProcessor),
        ):
            check(
                isinstance(given, kind) or (given is None and name not in ("net", "loss")),
                "Estimator",
                f"{name}: expected a {kind.__name__}; given {type(given).__name__}",
            )
        self.net, self.loss = net, loss
        self.val_net = net if val_net is None else val_net
        self.val_loss = loss if val_loss is None else val_loss
        self.context = check_contexts("Estimator", context or current_context())
        self.batch_processor = batch_processor or BatchProcessor()
        self.logger = logging.Logger("Estimator", logging.INFO)
        self.logger.addHandler(logging.StreamHandler())
        self._initialize(initializer)
        self.trainer = trainer or Trainer(net.collect_params(), "sgd", {"learning_rate": 0.001})
        given = _metrics(train_metrics) or _usual(loss)
        self._train_metrics = self._named("training", given, loss)
        given = _metrics(val_metrics) or _metrics(train_metrics) or _usual(self.val_loss)
        self._val_metrics = self._named("validation", given, self.val_loss)
        self.max_epoch: int | None = None
        self.max_batch: int | None = None

    def _initialize(self, initializer: Any) -> None:
        params = self.net.collect_params()
        without = [one for one in params.values() if not one.is_initialized and not one._deferred]
        if without or initializer is not None:
            how = initializers.Uniform() if initializer is None else initializer
            for one in params.values() if initializer is not None else without:
                one.initialize(init=how, ctx=self.context, force_reinit=initializer is not None)

    @staticmethod
    def _named(kind: str, metrics: Sequence[Any], loss: Any) -> list[Any]:
        found = [copy.deepcopy(one) for one in metrics]
        found.append(metrics_of.Loss(loss.name.rstrip("0123456789")))
        for one in found:
            one.name = f"{kind} {one.name}"
        return found

    @property
    def train_metrics(self) -> list[Any]:
        """Metrics of training; the last one is the loss."""
        return self._train_metrics

    @property
    def val_metrics(self) -> list[Any]:
        """Metrics of the evaluation; the last one is its loss."""
        return self._val_metrics

    @property
    def train_loss_metric(self) -> Any:
        return self._train_metrics[-1]

    @property
    def val_loss_metric(self) -> Any:
        return self._val_metrics[-1]

    # -- running

    def fit(
        self,
        train_data: Iterable[Any],
        val_data: Iterable[Any] | None = None,
        epochs: int | None = None,
        event_handlers: Any = None,
        batches: int | None = None,
        batch_axis: int = 0,
    ) -> None:
        """Train for `epochs`, or for `batches`: one of them, or what a `StoppingHandler` of one's
        own says. Handlers for updates, metrics, evaluation, the end and the log are there, unless
        `event_handlers` has its own of the kind."""
        own = _listed(event_handlers)
        for one in own:
            check(
                isinstance(one, EVENTS),
                "Estimator.fit",
                "event_handlers: expected objects that handle an event, such as EpochEnd; given "
                f"{type(one).__name__}",
            )
        stops = any(isinstance(one, StoppingHandler) for one in own)
        for name, given in (("epochs", epochs), ("batches", batches)):
            check(
                given is None or (fits(int, given) and given >= 1),
                "Estimator.fit",
                f"{name}: expected a whole number from 1 on; given {given!r}",
            )
        check(
            stops or (epochs is None) != (batches is None),
            "Estimator.fit",
            "expected how long it takes: epochs or batches, not both; given "
            f"epochs {epochs} and batches {batches}",
        )
        self.max_epoch, self.max_batch = epochs, batches
        handlers = self._with_usual(own, val_data)
        self._tell(handlers, "train_begin")
        ended = 0 in (self.max_epoch, self.max_batch)  # nothing is left of what was resumed
        while not ended:
            ended = self._one_epoch(handlers, train_data, batch_axis)
        self._tell(handlers, "train_end")

    def _one_epoch(self, handlers: Sequence[Any], data: Iterable[Any], batch_axis: int) -> bool:
        """Whether it was the last one."""
        self._tell(handlers, "epoch_begin")
        seen = False
        for batch in progress(data, "fit"):
            seen = True
            self._tell(handlers, "batch_begin", batch=batch)
            _, label, predicted, loss = self.fit_batch(batch, batch_axis)
            if self._tell(
                handlers, "batch_end", batch=batch, pred=predicted, label=label, loss=loss
            ):
                self._tell(handlers, "epoch_end")
                return True
        check(
            seen, "Estimator.fit", "train_data has no batches; is it an iterator that is used up?"
        )
        return self._tell(handlers, "epoch_end")

    def fit_batch(self, train_batch: Any, batch_axis: int = 0) -> Any:
        """Gradients of one batch, as the batch processor computes them."""
        return self.batch_processor.fit_batch(self, train_batch, batch_axis)

    def evaluate_batch(self, val_batch: Any, batch_axis: int = 0) -> Any:
        """Predictions and losses of one batch."""
        return self.batch_processor.evaluate_batch(self, val_batch, batch_axis)

    def evaluate(
        self, val_data: Iterable[Any], batch_axis: int = 0, event_handlers: Any = None
    ) -> None:
        """Let `val_metrics` be about `val_data`."""
        handlers = _listed(event_handlers)
        if not any(isinstance(one, MetricHandler) for one in handlers):
            handlers.append(MetricHandler(self.val_metrics))
        self._tell(handlers, "epoch_begin")
        for batch in progress(val_data, "evaluate"):
            self._tell(handlers, "batch_begin", batch=batch)
            _, label, predicted, loss = self.evaluate_batch(batch, batch_axis)
            self._tell(handlers, "batch_end", batch=batch, pred=predicted, label=label, loss=loss)
        self._tell(handlers, "epoch_end")

    # -- handlers

    def _with_usual(self, own: list[Any], val_data: Iterable[Any] | None) -> list[Any]:
        handlers = list(own)

        def lacks(kind: type) -> bool:
            return not any(isinstance(one, kind) for one in own)

        if lacks(StoppingHandler):
            handlers.append(StoppingHandler())
        if lacks(GradientUpdateHandler):
            handlers.append(GradientUpdateHandler())
        if lacks(MetricHandler):
            handlers.append(MetricHandler(self.train_metrics))
        if val_data is not None and lacks(ValidationHandler):
            handlers.append(ValidationHandler(val_data, self.evaluate))
        if lacks(LoggingHandler):
            shown = self.train_metrics + (self.val_metrics if val_data is not None else [])
            handlers.append(LoggingHandler(metrics=shown))
        return sorted(handlers, key=lambda one: getattr(one, "priority", 0))

    def _tell(self, handlers: Sequence[Any], event: str, **facts: Any) -> bool:
        """Whether a handler wants to stop; all are asked."""
        answers = [getattr(one, event)(self, **facts) for one in handlers if hasattr(one, event)]
        return any(answer is True for answer in answers)


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return [given] if isinstance(given, EventHandler) else list(given)


def _metrics(given: Any) -> list[Any]:
    """A list of metrics, of one, several, or their names."""
    if given is None:
        return []
    found = metrics_of.create(given)
    return found.metrics if isinstance(found, metrics_of.CompositeEvalMetric) else [found]


def _usual(loss: Any) -> list[Any]:
    return [metrics_of.Accuracy()] if isinstance(loss, losses.SoftmaxCrossEntropyLoss) else []
