"""Handlers of what happens in `Estimator.fit`. Of those of one event the one of the least
`priority` is called first; one that answers True ends the training."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from tigon import metric as metrics_of
from tigon.base import check
from tigon.base.arguments import fits
from tigon.base.files import AnyPath
from tigon.gluon.checkpoint import Checkpoint


class EventHandler:
    """What all handlers are."""


class TrainBegin(EventHandler):
    """Handles the beginning of the training."""

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called once, before all."""


class TrainEnd(EventHandler):
    """Handles the end of the training."""

    def train_end(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called once, after all."""


class EpochBegin(EventHandler):
    """Handles the beginning of an epoch."""

    def epoch_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called before the first batch of an epoch."""


class EpochEnd(EventHandler):
    """Handles the end of an epoch."""

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called after the last batch of an epoch; True ends the training."""
        return False


class BatchBegin(EventHandler):
    """Handles the beginning of a batch."""

    def batch_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called with `batch`."""


class BatchEnd(EventHandler):
    """Handles the end of a batch."""

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """Called with `batch`, `pred`, `label` and `loss` when gradients are there; True ends the
        training."""
        return False


class StoppingHandler(TrainBegin, BatchEnd, EpochEnd):
    """Ends the training after `max_epoch` epochs or `max_batch` batches, whichever is first."""

    def __init__(self, max_epoch: int | None = None, max_batch: int | None = None) -> None:
        self.max_epoch, self.max_batch = max_epoch, max_batch
        self.current_epoch = self.current_batch = 0
        self.stop_training = False

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.max_epoch = estimator.max_epoch if self.max_epoch is None else self.max_epoch
        self.max_batch = estimator.max_batch if self.max_batch is None else self.max_batch
        check(
            self.max_epoch is not None or self.max_batch is not None,
            "StoppingHandler",
            "expected max_epoch or max_batch; given neither, and Estimator.fit has none either",
        )
        self.current_epoch = self.current_batch = 0
        self.stop_training = False

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> bool:
        self.current_batch += 1
        self.stop_training |= self.current_batch == self.max_batch
        return self.stop_training

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> bool:
        self.current_epoch += 1
        self.stop_training |= self.current_epoch == self.max_epoch
        return self.stop_training


class MetricHandler(EpochBegin, BatchEnd):
    """Starts metrics over at each epoch, and adds each batch to them."""

    def __init__(self, metrics: Any, priority: float = -1000) -> None:
        self.metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
        self.priority = priority

    def epoch_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        for metric in self.metrics:
            metric.reset()

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        for metric in self.metrics:
            if isinstance(metric, metrics_of.Loss):
                metric.update(0, kwargs["loss"])
            else:
                metric.update(kwargs["label"], kwargs["pred"])


class ValidationHandler(TrainBegin, BatchEnd, EpochEnd):
    """Evaluates on `val_data` by `eval_fn` (`Estimator.evaluate`), every `epoch_period` epochs or
    `batch_period` batches. `event_handlers` are those of the evaluation."""

    def __init__(
        self,
        val_data: Any,
        eval_fn: Callable[..., Any],
        epoch_period: int | None = 1,
        batch_period: int | None = None,
        priority: float = -1000,
        event_handlers: Any = None,
    ) -> None:
        self.val_data, self.eval_fn = val_data, eval_fn
        self.epoch_period = _period("ValidationHandler", "epoch_period", epoch_period)
        self.batch_period = _period("ValidationHandler", "batch_period", batch_period)
        self.priority = priority
        self.event_handlers = event_handlers
        self.current_epoch = self.current_batch = 0

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_epoch = self.current_batch = 0

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_batch += 1
        if self.batch_period and self.current_batch % self.batch_period == 0:
            self._evaluate()

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_epoch += 1
        if self.epoch_period and self.current_epoch % self.epoch_period == 0:
            self._evaluate()

    def _evaluate(self) -> None:
        handlers = {} if self.event_handlers is None else {"event_handlers": self.event_handlers}
        self.eval_fn(val_data=self.val_data, **handlers)


class GradientUpdateHandler(BatchEnd):
    """Moves the parameters after each batch."""

    def __init__(self, priority: float = -2000) -> None:
        self.priority = priority

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        losses = kwargs["loss"]
        parts = losses if isinstance(losses, (list, tuple)) else [losses]
        own = sum(part.shape[0] for part in parts)
        estimator.trainer.step(own * estimator.trainer._ranks)


class LoggingHandler(TrainBegin, TrainEnd, EpochBegin, EpochEnd, BatchBegin, BatchEnd):
    """Tells the estimator's log the metrics: after epochs, or every `log_interval` batches too."""

    def __init__(
        self, log_interval: int | str = "epoch", metrics: Any = None, priority: float = math.inf
    ) -> None:
        check(
            log_interval == "epoch" or (fits(int, log_interval) and int(log_interval) >= 1),
            "LoggingHandler",
            f"log_interval: expected 'epoch' or a number of batches; given {log_interval!r}",
        )
        self.log_interval = log_interval
        self.metrics = _listed(metrics)
        self.priority = priority
        self._reset()

    def _reset(self) -> None:
        self.current_epoch = self.batch_index = self.processed_samples = 0
        self._began = self._epoch_began = time.monotonic()

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self._reset()
        optimizer = type(estimator.trainer.optimizer).__name__
        rate = estimator.trainer.learning_rate
        estimator.logger.info(
            "Training begin: using optimizer %s with current learning rate %.4f", optimizer, rate
        )
        unit = "batches" if estimator.max_epoch is None else "epochs"
        count = estimator.max_batch if estimator.max_epoch is None else estimator.max_epoch
        estimator.logger.info("Train for %s %s.", count, unit)

    def train_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        seconds = time.monotonic() - self._began
        estimator.logger.info(
            "Train finished using total %ds with %d epochs. %s",
            *(seconds, self.current_epoch, self._values()),
        )

    def epoch_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.batch_index = self.processed_samples = 0
        self._epoch_began = time.monotonic()

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        seconds = time.monotonic() - self._epoch_began
        estimator.logger.info(
            "[Epoch %d] Finished in %.3fs, %s", self.current_epoch, seconds, self._values()
        )
        self.current_epoch += 1

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.batch_index += 1
        self.processed_samples += sum(part.shape[0] for part in kwargs["loss"])
        if self.log_interval != "epoch" and self.batch_index % int(self.log_interval) == 0:
            seconds = time.monotonic() - self._epoch_began
            estimator.logger.info(
                "[Epoch %d][Batch %d][Samples %d] time/epoch: %.3fs, %s",
                *(self.current_epoch, self.batch_index, self.processed_samples),
                *(seconds, self._values()),
            )

    def _values(self) -> str:
        pairs = [pair for metric in self.metrics for pair in metric.get_name_value()]
        return ", ".join(f"{name}: {value:.4f}" for name, value in pairs)


class CheckpointHandler(TrainBegin, BatchEnd, EpochEnd):
    """Keeps parameters, the trainer's states and the streams of random numbers in
    `model_dir/model_prefix/`, of which the newest `max_checkpoints` stay, every `epoch_period`
    epochs or `batch_period` batches (`gluon.Checkpoint`).

    `monitor`: a metric; with `save_best` the parameters of its best value are in
    `model_prefix-best.params`. `mode`: 'min', 'max', or 'auto', by the metric's name.
    `resume_from_checkpoint`: whether training goes on from the newest file."""

    def __init__(
        self,
        model_dir: AnyPath,
        model_prefix: str = "model",
        monitor: Any = None,
        verbose: int = 0,
        save_best: bool = False,
        mode: str = "auto",
        epoch_period: int | None = 1,
        batch_period: int | None = None,
        max_checkpoints: int = 5,
        resume_from_checkpoint: bool = False,
    ) -> None:
        check(
            not save_best or isinstance(monitor, metrics_of.EvalMetric),
            "CheckpointHandler",
            f"save_best needs a metric as monitor; given {type(monitor).__name__}",
        )
        self.model_dir, self.model_prefix = os.fsdecode(model_dir), model_prefix
        self.monitor, self.verbose, self.save_best = monitor, verbose, save_best
        self._better = _comparison("CheckpointHandler", mode, monitor)
        self.best = math.nan
        self.epoch_period = _period("CheckpointHandler", "epoch_period", epoch_period)
        self.batch_period = _period("CheckpointHandler", "batch_period", batch_period)
        self.max_checkpoints = max_checkpoints
        self.resume_from_checkpoint = resume_from_checkpoint
        self.current_epoch = self.current_batch = 0

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_epoch = self.current_batch = 0
        self.best = math.nan
        folder = os.path.join(self.model_dir, self.model_prefix)
        parts = {"net": estimator.net, "trainer": estimator.trainer}
        self._checkpoint = Checkpoint(folder, keep=self.max_checkpoints, **parts)
        if not self.resume_from_checkpoint:
            return
        found = self._checkpoint.resume()
        if found is None:
            estimator.logger.info("CheckpointHandler: nothing to resume in %s", folder)
            return
        self.current_epoch, self.current_batch = found["epoch"], found["step"]
        self.best = math.nan if found["best"] is None else found["best"]
        if estimator.max_epoch is not None:
            estimator.max_epoch = max(estimator.max_epoch - self.current_epoch, 0)
        if estimator.max_batch is not None:
            estimator.max_batch = max(estimator.max_batch - self.current_batch, 0)

    def batch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_batch += 1
        if self.batch_period and self.current_batch % self.batch_period == 0:
            self._save(estimator)

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self.current_epoch += 1
        if self.epoch_period and self.current_epoch % self.epoch_period == 0:
            self._save(estimator)

    def _save(self, estimator: Any) -> None:
        if self.save_best:
            value = float(self.monitor.get()[1])
            if math.isnan(self.best) or self._better(value, self.best):
                self.best = value
                path = os.path.join(self.model_dir, f"{self.model_prefix}-best.params")
                os.makedirs(self.model_dir, exist_ok=True)
                estimator.net.save_parameters(path)
        best = None if math.isnan(self.best) else self.best
        path = self._checkpoint.save(self.current_batch, epoch=self.current_epoch, best=best)
        if self.verbose:
            estimator.logger.info("[Epoch %d] saved %s", self.current_epoch, path)


class EarlyStoppingHandler(TrainBegin, EpochEnd, TrainEnd):
    """Ends the training where `monitor`, a metric, has not become better by more than `min_delta`
    for over `patience` epochs, or is not better than `baseline` by then. `mode`: 'min', 'max', or
    'auto', by the metric's name."""

    def __init__(
        self,
        monitor: Any,
        min_delta: float = 0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
    ) -> None:
        check(
            isinstance(monitor, metrics_of.EvalMetric),
            "EarlyStoppingHandler",
            f"monitor: expected a metric; given {type(monitor).__name__}",
        )
        self.monitor, self.baseline, self.patience = monitor, baseline, patience
        self.min_delta = abs(min_delta)
        self._better = _comparison("EarlyStoppingHandler", mode, monitor)
        self._reset()

    def _reset(self) -> None:
        self.wait = self.current_epoch = self.stopped_epoch = 0
        self.stop_training = False
        self.best = math.nan if self.baseline is None else self.baseline

    def train_begin(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        self._reset()

    def epoch_end(self, estimator: Any, *args: Any, **kwargs: Any) -> bool:
        value = float(self.monitor.get()[1])
        if math.isnan(self.best) or self._better(value, self.best, self.min_delta):
            self.best, self.wait = value, 0
        else:
            self.wait += 1
            if self.wait > self.patience:
                self.stopped_epoch, self.stop_training = self.current_epoch, True
        self.current_epoch += 1
        return self.stop_training

    def train_end(self, estimator: Any, *args: Any, **kwargs: Any) -> None:
        if self.stop_training:
            estimator.logger.info(
                "[Epoch %d] EarlyStoppingHandler: early stopping due to %s not improving",
                *(self.stopped_epoch, self.monitor.get()[0]),
            )


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _period(where: str, name: str, given: int | None) -> int | None:
    check(
        given is None or (fits(int, given) and given >= 1),
        where,
        f"{name}: expected None or a whole number from 1 on; given {given!r}",
    )
    return given


_GREATER_IS_BETTER: Sequence[str] = ("acc", "f1", "mcc", "pcc", "correlation")


def _comparison(where: str, mode: str, monitor: Any) -> Callable[..., bool]:
    """Whether a value is better than another, by more than a margin."""
    check(
        mode in ("auto", "min", "max"),
        where,
        f"mode: expected 'auto', 'min' or 'max'; given {mode!r}",
    )
    if mode == "auto":
        name = "" if monitor is None else str(monitor.get()[0]).lower()
        mode = "max" if any(word in name for word in _GREATER_IS_BETTER) else "min"
    if mode == "max":
        return lambda value, best, margin=0.0: bool(value - margin > best)
    return lambda value, best, margin=0.0: bool(value + margin < best)
