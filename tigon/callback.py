"""What `fit` calls after batches and epochs: logs, progress, checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tigon.base import check
from tigon.base.files import AnyPath
from tigon.base.lazy import complete as _complete
from tigon.base.progress import Bar, drawn, is_shown
from tigon.base.terminal import columns
from tigon.module.files import save_checkpoint

__all__ = [
    "LogValidationMetricsCallback",
    "ProgressBar",
    "Speedometer",
    "TrackMetrics",
    "do_checkpoint",
    "log_train_metric",
    "module_checkpoint",
]


def module_checkpoint(
    mod: Any, prefix: AnyPath, period: int = 1, save_optimizer_states: bool = False
) -> Callable[..., None]:
    """For `epoch_end_callback`: saves a checkpoint of a module after every `period` epochs."""
    period = max(int(period), 1)

    def callback(iter_no: int, sym: Any = None, arg: Any = None, aux: Any = None) -> None:
        if (iter_no + 1) % period == 0:
            mod.save_checkpoint(prefix, iter_no + 1, save_optimizer_states)

    return callback


def do_checkpoint(prefix: AnyPath, period: int = 1) -> Callable[..., None]:
    """For `epoch_end_callback`: saves symbol and parameters after every `period` epochs."""
    period = max(int(period), 1)

    def callback(iter_no: int, sym: Any, arg: Any, aux: Any) -> None:
        if (iter_no + 1) % period == 0:
            save_checkpoint(prefix, iter_no + 1, sym, arg, aux)

    return callback


def log_train_metric(period: int, auto_reset: bool = False) -> Callable[[Any], None]:
    """For `batch_end_callback`: tells the log the metric every `period` batches.

    `auto_reset`: whether the metric is then about the batches that follow."""

    def callback(param: Any) -> None:
        if param.nbatch % period == 0 and param.eval_metric is not None:
            for name, value in param.eval_metric.get_name_value():
                logging.info(
                    "Iter[%d] Batch[%d] Train-%s=%f", param.epoch, param.nbatch, name, value
                )
            if auto_reset:
                param.eval_metric.reset_local()

    return callback


class Speedometer:
    """For `batch_end_callback`: tells the log samples per second, and the metric.

    Parameters
    ----------
    batch_size : samples in a batch
    frequent : every how many batches
    auto_reset : whether the metric is about the batches since it was told last
    """

    def __init__(self, batch_size: int, frequent: int = 50, auto_reset: bool = True) -> None:
        check(frequent > 0, "Speedometer", f"frequent: expected 1 or more; given {frequent}")
        self.batch_size = batch_size
        self.frequent = frequent
        self.auto_reset = auto_reset
        self.init = False
        self.tic = 0.0
        self.last_count = 0

    def __call__(self, param: Any) -> None:
        """After a batch."""
        count = param.nbatch
        if self.last_count > count:  # another epoch
            self.init = False
        self.last_count = count
        if not self.init:
            self.init, self.tic = True, time.time()
            return
        if count % self.frequent:
            return
        pairs: list[tuple[str, float]] = []
        if param.eval_metric is not None:  # which waits for the batches that are computed
            pairs = param.eval_metric.get_name_value()
        seconds = time.time() - self.tic
        speed = self.frequent * self.batch_size / seconds if seconds > 0 else math.inf
        if not pairs:
            logging.info("Iter[%d] Batch [%d]\tSpeed: %.2f samples/sec", param.epoch, count, speed)
        else:
            metrics = "".join(f"\t{name}={value:f}" for name, value in pairs)
            if self.auto_reset:
                param.eval_metric.reset_local()
                begin = max(count - self.frequent, 0)
                text = "Epoch[%d] Batch [%d-%d]\tSpeed: %.2f samples/sec%s"
                logging.info(text, param.epoch, begin, count, speed, metrics)
            else:
                text = "Epoch[%d] Batch [0-%d]\tSpeed: %.2f samples/sec%s"
                logging.info(text, param.epoch, count, speed, metrics)
        self.tic = time.time()


class TrackMetrics:
    """For `batch_end_callback`, `eval_end_callback` and the like: gives metrics to any `tracker`
    that has `log(values, step)`, every `frequent` calls; values are by `prefix + name`.

    >>> class Tracker:
    ...     def log(self, values, step):
    ...         print(step, values)
    >>> from collections import namedtuple
    >>> from tigon import metric, nd
    >>> accuracy = metric.create("acc")
    >>> accuracy.update(nd.array([1]), nd.array([[0.1, 0.9]]))
    >>> track = TrackMetrics(Tracker(), prefix="train/", frequent=2)
    >>> for batch in range(3):
    ...     track(namedtuple("Param", "eval_metric")(accuracy))
    2 {'train/accuracy': 1.0}
    """

    def __init__(self, tracker: Any, prefix: str = "", frequent: int = 1) -> None:
        check(
            callable(getattr(tracker, "log", None)),
            "TrackMetrics",
            f"expected a tracker with log(values, step); given {type(tracker).__name__}",
        )
        check(frequent >= 1, "TrackMetrics", f"frequent: expected at least 1; given {frequent}")
        self.tracker = tracker
        self.prefix = prefix
        self.frequent = frequent
        self.calls = 0

    def __call__(self, param: Any) -> None:
        self.calls += 1
        if self.calls % self.frequent or param.eval_metric is None:
            return
        values = {self.prefix + name: value for name, value in param.eval_metric.get_name_value()}
        self.tracker.log(values, step=self.calls)


class ProgressBar:
    """For `batch_end_callback`: a bar of an epoch, on standard error. On a terminal it is drawn in
    place (by tqdm, where that is installed); elsewhere it is told to the log.

    Parameters
    ----------
    total : how many batches an epoch has
    length : the width of the bar in characters
    """

    draws_progress = True
    """`fit` draws none of its own then."""

    def __init__(self, total: int, length: int = 80) -> None:
        check(total > 0, "ProgressBar", f"total: expected 1 or more batches; given {total}")
        self.bar_len = length
        self.total = total
        self._drawn: Bar | None = None

    def __call__(self, param: Any) -> None:
        """After a batch."""
        count = param.nbatch
        if not is_shown():
            logging.info("%s\r", self.text(count))
            return
        if self._drawn is None or count < self._drawn.n:
            self._close()
            # No method: bar and callback would hold each other, and it would be closed late.
            text = partial(_fitting, self.bar_len, self.total)
            self._drawn = drawn(self.total, unit="batch", leave=True, text=text)
        self._drawn.advance(count - self._drawn.n)
        if count >= self.total:
            self._close()

    def _close(self) -> None:
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None

    def text(self, count: int) -> str:
        """The bar after `count` batches.

        >>> ProgressBar(4, length=8).text(1)
        '[==------] 25%'
        """
        return _text(self.bar_len, self.total, count)


def _text(length: int, total: int, count: int) -> str:
    share = min(count / total, 1.0)
    filled = round(length * share)
    return f"[{'=' * filled}{'-' * (length - filled)}] {math.ceil(100 * share)}%"


def _fitting(length: int, total: int, count: int) -> str:
    """Shorter where a line of the terminal is."""
    return _text(max(min(length, columns(sys.stderr) - len("[] 100% ")), 0), total, count)


class LogValidationMetricsCallback:
    """For `eval_end_callback`: tells the log the metrics of an epoch."""

    def __call__(self, param: Any) -> None:
        """After the scores."""
        if param.eval_metric is None:
            return
        for name, value in param.eval_metric.get_name_value():
            logging.info("Epoch[%d] Validation-%s=%f", param.epoch, name, value)


_complete(globals())
