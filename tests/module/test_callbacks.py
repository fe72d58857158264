"""What `fit` calls: logs, progress, checkpoints and monitors."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd, sym
from tigon.io import NDArrayIter
from tigon.model import BatchEndParam


def classifier() -> Any:
    return sym.SoftmaxOutput(sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc"), name="s")


def module_of(**options: Any) -> Any:
    return mx.mod.Module(classifier(), label_names=["s_label"], **options)


def batches(count: int = 12) -> Any:
    rng = np.random.RandomState(0)
    return NDArrayIter(rng.randn(count, 3), rng.randint(0, 2, count), 4, label_name="s_label")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is told to the log."""
    found: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def alike(lines: list[str], *patterns: str) -> None:
    assert len(lines) == len(patterns), lines
    for line, pattern in zip(lines, patterns, strict=True):
        text = re.escape(pattern).replace("NUMBER", r"\d+\.\d+")
        assert re.fullmatch(text, line), (line, pattern)


def test_what_fit_tells_the_log(lines: list[str]) -> None:
    module_of().fit(batches(), eval_data=batches(), num_epoch=2, eval_metric=["acc", "ce"])
    alike(
        lines,
        *[
            line
            for epoch in range(2)
            for line in (
                f"Epoch[{epoch}] Train-accuracy=NUMBER",
                f"Epoch[{epoch}] Train-cross-entropy=NUMBER",
                f"Epoch[{epoch}] Time cost=NUMBER",
                f"Epoch[{epoch}] Validation-accuracy=NUMBER",
                f"Epoch[{epoch}] Validation-cross-entropy=NUMBER",
            )
        ],
    )


def test_the_metric_of_an_epoch_is_whole_though_it_is_reset_within(lines: list[str]) -> None:
    module = module_of()
    module.fit(
        batches(40),
        num_epoch=1,
        optimizer_params={"learning_rate": 0.0},
        batch_end_callback=mx.callback.Speedometer(4, 3, auto_reset=True),
    )
    (whole,) = [line for line in lines if "Train-accuracy" in line]
    assert float(whole.partition("=")[2]) == pytest.approx(module.score(batches(40), "acc")[0][1])
    told = [line for line in lines if "Speed" in line]
    alike(
        told,
        *[
            f"Epoch[0] Batch [{begin}-{begin + 3}]\tSpeed: NUMBER samples/sec\taccuracy=NUMBER"
            for begin in (0, 3, 6)
        ],
    )


def test_a_speedometer_that_does_not_reset(lines: list[str]) -> None:
    speedometer = mx.callback.Speedometer(4, 2, auto_reset=False)
    module_of().fit(batches(24), num_epoch=2, batch_end_callback=speedometer)
    told = [line for line in lines if "Speed" in line]
    alike(
        told,
        *[
            f"Epoch[{epoch}] Batch [0-{batch}]\tSpeed: NUMBER samples/sec\taccuracy=NUMBER"
            for epoch in range(2)
            for batch in (2, 4)
        ],
    )
    speedometer = mx.callback.Speedometer(4, 1)
    for number in range(2):
        speedometer(BatchEndParam(7, number, None, {}))
    alike(lines[-1:], "Iter[7] Batch [1]\tSpeed: NUMBER samples/sec")


def test_metrics_every_so_many_batches(lines: list[str]) -> None:
    own = mx.metric.Accuracy()
    counts: list[int] = []
    module_of().fit(
        batches(24),
        num_epoch=1,
        eval_metric=own,
        batch_end_callback=[
            mx.callback.log_train_metric(2, auto_reset=True),
            lambda param: counts.append(own.num_inst),
        ],
    )
    alike(lines[:3], *[f"Iter[0] Batch[{n}] Train-accuracy=NUMBER" for n in (0, 2, 4)])
    assert counts == [0, 4, 0, 4, 0, 4]


def test_what_is_told_of_a_validation(lines: list[str]) -> None:
    own = mx.metric.create(["acc", "mse"])
    own.metrics[0].sum_metric, own.metrics[0].num_inst = 1.0, 2
    mx.callback.LogValidationMetricsCallback()(BatchEndParam(3, 1, own, {}))
    assert lines == ["Epoch[3] Validation-accuracy=0.500000", "Epoch[3] Validation-mse=nan"]
    mx.callback.LogValidationMetricsCallback()(BatchEndParam(3, 1, None, {}))


def test_checkpoints_every_so_many_epochs(tmp_path: Path) -> None:
    module = module_of()
    module.fit(
        batches(),
        num_epoch=5,
        epoch_end_callback=[
            mx.callback.do_checkpoint(str(tmp_path / "plain"), 2),
            mx.callback.module_checkpoint(module, tmp_path / "own", 4, save_optimizer_states=True),
        ],
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "own-0004.params",
        "own-0004.states",
        "own-symbol.json",
        "plain-0002.params",
        "plain-0004.params",
        "plain-symbol.json",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StandIn:
    """What a bar asks of tqdm."""

    class tqdm:
        def __init__(self, total: int, unit: str, leave: bool) -> None:
            assert (unit, leave) == ("batch", True)
            self.total, self.n = total, 0

        def update(self, more: int) -> None:
            assert more >= 0
            self.n += more

        def close(self) -> None:
            sys.stderr.write(f"{100 * self.n // self.total}%\n")


def test_the_real_tqdm_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = mx.callback.ProgressBar(4)
    for number in range(5):
        bar(BatchEndParam(0, number, None, {}))
    assert "100%" in screen.getvalue()


@pytest.mark.parametrize("installed", [True, False])
def test_a_bar_is_drawn_on_terminals_and_told_to_the_log_elsewhere(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], installed: bool
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", StandIn if installed else None)  # type: ignore[arg-type]
    monkeypatch.setattr("tigon.base.progress._BETWEEN", 0.0)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = mx.callback.ProgressBar(4, 8)
    for epoch in range(2):
        for number in range(5):
            bar(BatchEndParam(epoch, number, None, {}))
    drawn = screen.getvalue()
    assert not lines
    assert drawn.count("100%") == 2 and drawn.endswith("\n")
    if not installed:
        assert "\r[======--] 75%" in drawn
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar(BatchEndParam(0, 2, None, {}))
    assert lines == ["[====----] 50%\r"] and sys.stderr.getvalue() == ""


def test_bars_as_text_are_drawn_now_and_then_and_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # type: ignore[arg-type]
    monkeypatch.setattr("tigon.base.progress._BETWEEN", 60.0)
    monkeypatch.setenv("COLUMNS", "30")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = mx.callback.ProgressBar(4000)
    for number in range(4001):
        bar(BatchEndParam(0, number, None, {}))
    assert screen.getvalue() == f"\r[{'-' * 22}] 0%\r[{'=' * 22}] 100%\n"

    handle = logging.Handler.handle
    bar(BatchEndParam(1, 1, None, {}))  # the epoch ends before its total
    assert logging.Handler.handle is not handle
    del bar
    assert logging.Handler.handle is handle and screen.getvalue().endswith("\n")


# -- monitors


def test_a_monitor_collects_outputs_parameters_and_states() -> None:
    data = sym.var("data")
    normal = sym.BatchNorm(sym.FullyConnected(data, num_hidden=2, name="fc"), name="bn")
    module = mx.mod.Module(sym.MakeLoss(normal, name="loss"), label_names=None)
    module.bind([("data", (4, 3))])
    module.init_params(mx.init.One())
    monitor = mx.mon.Monitor(2, pattern=".*", sort=True)
    module.install_monitor(monitor)
    for number in range(3):
        monitor.tic()
        module.forward_backward(mx.io.DataBatch([nd.ones((4, 3))]))
        found = monitor.toc()
        assert bool(found) == (number != 1)
        if found:
            assert {step for step, _, _ in found} == {number + 1}
            assert [name for _, name, _ in found] == sorted(
                [
                    "bn_beta",
                    "bn_gamma",
                    "bn_moving_mean",
                    "bn_moving_var",
                    "bn_output",
                    "data",
                    "fc_bias",
                    "fc_output",
                    "fc_weight",
                    "loss_output",
                ]
            )
            stats = {name: float(text) for _, name, text in found}
            assert stats["fc_output"] == pytest.approx(3.0)  # norm over the root of the size
            assert stats["fc_weight"] == pytest.approx(1.0)


def test_a_monitor_stays_where_batches_have_other_sizes() -> None:
    module = mx.mod.Module(sym.MakeLoss(sym.var("data"), name="loss"), label_names=None)
    module.bind([("data", (4, 3))])
    module.init_params()
    monitor = mx.mon.Monitor(1, stat_func=lambda array: array.sum(), pattern="loss_output|data")
    module.install_monitor(monitor)
    for size in (4, 2, 2, 5, 4):
        monitor.tic()
        module.forward_backward(mx.io.DataBatch([nd.ones((size, 3))]))
        found = {name: float(text) for _, name, text in monitor.toc()}
        assert found == {"loss_output": 3 * size, "data": 3 * size}
    assert len(monitor.exes) == 1


def test_what_a_monitor_says(lines: list[str]) -> None:
    executor = sym.exp(sym.var("x"), name="e").simple_bind(x=(2,))
    several = mx.mon.Monitor(
        1, stat_func=lambda array: [array.min(), array], pattern="e", monitor_all=True
    )
    several.install(executor)
    several.tic()
    executor.forward()
    several.toc_print()
    assert lines == ["Batch:       1                       e_output 1.0\t[1. 1.]\t"]
    several.tic()
    executor.forward(x=nd.array([0, 1]))
    ((step, name, text),) = several.toc()
    assert (step, name) == (2, "e_output") and text.startswith("1.0\t[1.")
    assert several.toc() == []
    wrong = mx.mon.Monitor(1, stat_func=lambda array: 3.0)
    wrong.install(executor)
    wrong.tic()
    executor.forward()
    with pytest.raises(mx.TigonError) as caught:
        wrong.toc()
    assert str(caught.value) == (
        "Monitor: stat_func: expected an NDArray, or a list of them; given float; wrap it in "
        "nd.array"
    )


def test_a_monitor_that_looks_at_everything_is_shown_operands() -> None:
    executor = sym.exp(sym.var("x"), name="e").simple_bind(x=(2,))
    seen: list[str] = []
    monitor = mx.mon.Monitor(1, stat_func=lambda array: array, monitor_all=True)
    monitor.install(executor)
    monitor.tic()
    executor.forward()
    seen += [name for _, name, _ in monitor.toc()]
    assert seen == ["x", "e_output", "x"]
    before = mx.runtime.stats()["native_calls"]
    executor.forward()  # nobody looks
    assert mx.runtime.stats()["native_calls"] == before + 1


# -- bars of the loops themselves


def test_loops_of_modules_draw_a_bar_unless_a_callback_does(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # type: ignore[arg-type]
    monkeypatch.setattr("tigon.base.progress.SECONDS", 0.0)
    monkeypatch.setattr("tigon.base.progress._BETWEEN", 0.0)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    module, data = module_of(), batches()
    module.fit(data, num_epoch=1)
    assert "\repoch 0: 1 batches" in screen.getvalue()
    module.score(data, "acc", num_batch=1)
    module.predict(data, num_batch=2)
    assert "\rpredict: 1/2 batches" in screen.getvalue()
    screen.truncate(0)
    bar = mx.callback.ProgressBar(100)
    module.fit(data, num_epoch=1, batch_end_callback=[bar])
    assert "epoch" not in screen.getvalue() and "[---" in screen.getvalue()
