"""Boundaries of checks of what trains, each accepted, and refused one beyond; what names decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import gluon, nd
from tigon.gluon import data as gdata

BOUNDARIES: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "warmup_begin_lr": (
        lambda v: mx.lr_scheduler.FactorScheduler(1, base_lr=0.5, warmup_begin_lr=v), 0.5, 0.501
    ),
    "factor": (lambda v: mx.lr_scheduler.FactorScheduler(1, factor=v), 1, 1.001),
    "factor of several": (lambda v: mx.lr_scheduler.MultiFactorScheduler([1], v), 1, 1.001),
    "steps": (lambda v: mx.lr_scheduler.MultiFactorScheduler([1, v]), 2, 1),
    "no step": (lambda v: mx.lr_scheduler.MultiFactorScheduler([3] * v), 1, 0),
    "warmup_steps": (lambda v: mx.lr_scheduler.PolyScheduler(3, warmup_steps=v), 0, -1),
    "max_update": (lambda v: mx.lr_scheduler.CosineScheduler(v), 1, 0),
    "samples": (lambda v: mx.io.NDArrayIter(np.ones((v, 1)), np.ones(v)), 1, 0),
    "lengths": (lambda v: mx.io.NDArrayIter(np.ones((3, 1)), np.ones(v)), 3, 2),
    "labels above": (
        lambda v: mx.metric.F1().update([nd.array([0, v])], [nd.array([0.1, 0.9])]), 1, 2
    ),
    "labels below": (
        lambda v: mx.metric.F1().update([nd.array([v, 1])], [nd.array([0.1, 0.9])]), 0, -1
    ),
    "classes": (
        lambda v: mx.metric.TopKAccuracy(2).update([nd.zeros((2,))], [nd.ones((2, 3, 1)[:v])]), 2, 3
    ),
    "axes of a weight": (lambda v: mx.init.Xavier()("weight", nd.ones((2, 3)[:v])), 2, 1),
    "groups": (lambda v: gluon.nn.Conv2D(4, 3, groups=v), 4, 3),
    "groups of the input": (lambda v: gluon.nn.Conv2D(4, 3, groups=2, in_channels=v), 6, 5),
    "batch_size of a step": (lambda v: gluon.Trainer([], "sgd").step(v), 1, 0),
    "arrays of a dataset": (lambda v: gdata.ArrayDataset([1, 2], [1, 2, 3][:v]), 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDARIES)
def test_boundaries(name: str) -> None:
    call, allowed, beyond = BOUNDARIES[name]
    call(allowed)
    with pytest.raises(mx.TigonError):
        call(beyond)


def test_names_decide_how_arrays_begin() -> None:
    for name, expected in {
        "fc_weight": 7, "fc_bias": 0, "bn_beta": 0, "bn_running_mean": 0, "bn_moving_mean": 0,
        "bn_moving_inv_var": 0, "bn_gamma": 1, "bn_running_var": 1, "bn_moving_var": 1,
        "bn_moving_avg": 0, "other": 7,
    }.items():  # fmt: skip
        array = nd.array([5, 5])
        mx.init.Constant(7)(name, array)
        assert array.asnumpy().tolist() == [expected] * 2
        described = mx.init.InitDesc(name, {"__init__": mx.init.Constant(3).dumps()})
        mx.init.Constant(7)(described, array)
        assert array.asnumpy().tolist() == [3, 3]


def test_what_was_initialized_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    one = mx.init.One()
    assert one.set_verbosity(True) is one
    one("weight", nd.zeros((1,)))
    told: list[str] = []
    one.set_verbosity(True, told.append)("weight", nd.zeros((1,)))
    one.set_verbosity()("weight", nd.zeros((1,)))
    assert told == ["initialized weight by One()"]
    assert capsys.readouterr().out == "initialized weight by One()\n"


def test_metrics_by_name_and_several_arrays() -> None:
    for name, kind in (
        ("acc", "Accuracy"), ("top_k_acc", "TopKAccuracy"), ("ce", "CrossEntropy"),
        ("nll_loss", "NegativeLogLikelihood"), ("pearsonr", "PearsonCorrelation"), ("MSE", "MSE"),
    ):  # fmt: skip
        fields = {"top_k": 3} if kind == "TopKAccuracy" else {}
        assert type(mx.metric.create(name, **fields)).__name__ == kind
    metric = mx.metric.create("mae")
    assert mx.metric.create(metric) is metric
    metric.update([nd.array([1, 2]), nd.array([3])], [nd.array([2, 2]), nd.array([5])])
    assert metric.get() == ("mae", 1.25)  # the mean over arrays
    with pytest.raises(mx.TigonError, match="labels and predictions differ: 2 and 1"):
        metric.update([nd.array([1]), nd.array([3])], [nd.array([2])])
    with pytest.raises(mx.TigonError, match="labels and predictions differ"):
        mx.metric.create("acc").update([nd.array([1, 2])], [nd.array([[0.5, 0.5]])])
    several = mx.metric.create(["acc", ["mae", ["mse"]]])
    several.update([nd.array([1])], [nd.array([1])])
    assert several.get() == (["accuracy", "mae", "mse"], [1, 0, 0])
    binary = mx.metric.F1()
    for pred in ([0.4, 0.6], [[0.4], [0.6]], [[0.6, 0.4], [0.4, 0.6]]):
        binary.reset()
        binary.update([nd.array([0, 1])], [nd.array(pred)])
        assert binary.get()[1] == 1
    binary.update([nd.array([0, 0])], [nd.array([0.4, 0.3])])  # nothing to find: 0
    assert binary.get()[1] == 0.5
    for _ in range(2):
        assert math.isnan(mx.metric.Perplexity(0).get()[1])


@pytest.mark.parametrize("kind", ["list", "dict", "array"])
def test_iterators_name_their_arrays(kind: str) -> None:
    arrays = [np.ones((3, 2)), np.zeros((3, 1))]
    given: Any = {"list": arrays, "dict": {"b": arrays[1], "a": arrays[0]}, "array": arrays[0]}
    iterator = mx.io.NDArrayIter(given[kind], batch_size=2)
    names = {"list": ["_0_data", "_1_data"], "dict": ["a", "b"], "array": ["data"]}[kind]
    assert [d.name for d in iterator.provide_data] == names and iterator.provide_label == []
    first, _ = iterator
    assert [a.shape for a in first.data] == [(2, 2), (2, 1)][: len(names)] and first.label == []
    assert first.data[0].dtype == np.float32  # of numpy's float64, as MXNet has it
    assert mx.io.NDArrayIter(np.array([True, False])).provide_data[0].dtype == np.bool_
    assert mx.io.DataDesc.get_batch_axis("TNC") == 1 and mx.io.DataDesc.get_batch_axis(None) == 0
