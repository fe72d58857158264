"""Every metric: what `reset_local` starts anew and what goes on, and how `create` is asked for one.
Numbers are those of mxnet 1.9.1."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import metric, nd

RANDOM = np.random.RandomState(0)


def batches(kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.RandomState(0)
    found = []
    for count in (3, 5, 4):
        if kind == "numbers":
            found.append((random.randn(count, 2).astype("f"), random.randn(count, 2).astype("f")))
            continue
        classes = 2 if kind == "two" else 3
        scores = random.rand(count, classes).astype("f")
        labels = random.randint(0, classes, count).astype("f")
        found.append((labels, scores / scores.sum(1, keepdims=True)))
    return found


KINDS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "accuracy": ("three", [{}]),
    "topkaccuracy": ("three", [{"top_k": 2}]),
    "f1": ("two", [{}, {"average": "micro"}]),
    "mcc": ("two", [{}, {"average": "micro"}]),
    "pcc": ("three", [{}]),
    "perplexity": ("three", [{"ignore_label": None}, {"ignore_label": 1}]),
    "mae": ("numbers", [{}]),
    "mse": ("numbers", [{}]),
    "rmse": ("numbers", [{}]),
    "crossentropy": ("three", [{}]),
    "negativeloglikelihood": ("three", [{}]),
    "pearsoncorrelation": ("numbers", [{}, {"average": "micro"}]),
    "loss": ("numbers", [{}]),
    "torch": ("numbers", [{}]),
    "caffe": ("numbers", [{}]),
    "compositeevalmetric": ("three", [{"metrics": ["acc", "ce"]}]),
    "custommetric": ("numbers", [{"feval": lambda label, pred: float(np.abs(label - pred).sum())}]),
}
CASES = [(name, form) for name, (_, forms) in KINDS.items() for form in forms]


def test_every_metric_is_here() -> None:
    ours = {k.__name__.lower() for k in metric._REGISTRY.values() if k.__module__ == "tigon.metric"}
    assert ours == set(KINDS)


def seen(name: str, form: dict[str, Any], parts: Any) -> Any:
    made = metric.create(name, **form)
    for label, pred in parts:
        made.update([nd.array(label)], [nd.array(pred)])
    return made


def same(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    np.testing.assert_allclose(one[1], other[1], rtol=1e-9)


@pytest.mark.parametrize(("name", "form"), CASES, ids=range(len(CASES)))
def test_local_values_start_anew_and_global_ones_go_on(name: str, form: dict[str, Any]) -> None:
    parts = batches(KINDS[name][0])
    whole, rest = seen(name, form, parts), seen(name, form, parts[2:])
    same(whole.get_global(), whole.get())
    assert whole.get_global_name_value() == whole.get_name_value()
    made = seen(name, form, parts[:2])
    made.reset_local()
    assert np.isnan(made.get()[1]).all()
    same(made.get_global(), seen(name, form, parts[:2]).get())
    made.update([nd.array(parts[2][0])], [nd.array(parts[2][1])])
    same(made.get(), rest.get())
    same(made.get_global(), whole.get())
    names = made.get()[0] if isinstance(made.get()[0], list) else [made.get()[0]]
    assert [pair[0] for pair in made.get_global_name_value()] == names
    made.reset()
    assert np.isnan(made.get()[1]).all() and np.isnan(made.get_global()[1]).all()


@pytest.mark.parametrize(("name", "form"), CASES, ids=range(len(CASES)))
def test_a_metric_is_made_anew_from_its_description(name: str, form: dict[str, Any]) -> None:
    parts = batches(KINDS[name][0])
    made = seen(name, form, parts)
    config = made.get_config()
    if name == "custommetric":
        config["feval"] = form["feval"]
        again = metric.create(config)
    else:
        again = metric.create(json.dumps(config))
    assert type(again) is type(made) and again.name == made.name
    for label, pred in parts:
        again.update([nd.array(label)], [nd.array(pred)])
    same(again.get(), made.get())


RECORDED = {
    ("pcc", "three"): [-0.5, 0.300376],
    ("pcc", "two"): [-1.0, -0.5],
    ("f1", "two"): [0.0, 0.2],
    ("mcc", "two"): [-1.0, -0.583333],
    ("rmse", "numbers"): [1.54759, 1.54322],
    ("pearsonr", "numbers"): [-0.407032, -0.201159],
}


@pytest.mark.parametrize(("name", "kind"), RECORDED, ids=str)
def test_values_of_mxnet(name: str, kind: str) -> None:
    parts = batches(kind)
    found = [seen(name, {}, parts[:count]).get()[1] for count in (1, 2)]
    np.testing.assert_allclose(found, RECORDED[name, kind], rtol=1e-5)


def test_pcc_is_mcc_for_two_classes_and_nan_for_one() -> None:
    parts = [(RANDOM.randint(0, 2, 9), RANDOM.rand(9, 2)) for _ in range(4)]
    many = seen("pcc", {}, parts)
    assert many.get()[1] == pytest.approx(seen("mcc", {"average": "micro"}, parts).get()[1])
    assert math.isnan(seen("pcc", {}, [(np.zeros(3), np.eye(3))]).get()[1])
    with pytest.raises(mx.TigonError, match="PCC: expected numbers of classes, from 0 on"):
        seen("pcc", {}, [(np.array([-1]), np.eye(3)[:1])])


def area(label: Any, pred: Any) -> tuple[float, int]:
    return 3.0, 2


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("acc", ["accuracy"]),
        ("ACC", ["accuracy"]),
        ('["accuracy", {"axis": 0}]', ["accuracy"]),
        ('{"metric": "accuracy", "name": "x"}', ["x"]),
        ({"metric": "accuracy", "name": "x"}, ["x"]),
        (metric.MSE, ["mse"]),
        (metric.MSE(), ["mse"]),
        (area, ["area"]),
        (metric.np(area, name="surface"), ["surface"]),
        (
            ["acc", area, metric.MAE(), {"metric": "ce"}],
            ["accuracy", "area", "mae", "cross-entropy"],
        ),
    ],
)
def test_create(given: Any, names: list[str]) -> None:
    made = metric.create(given)
    assert [name for name, _ in made.get_name_value()] == names


def test_arguments_reach_every_metric_of_a_list() -> None:
    assert metric.create(["topkaccuracy", "top_k_acc"], top_k=3).get_metric(1).top_k == 3
    assert metric.create({"metric": "acc", "axis": 0}, axis=2).axis == 2


@pytest.mark.parametrize(
    ("given", "fields", "said"),
    [
        ("nosuch", {}, "metric: 'nosuch' is not known; choose one of acc, accuracy"),
        (3, {}, "expected a name, a function, a metric, a list of these, or a dictionary"),
        (("acc", "mse"), {}, "expected a name, a function"),
        ({"axis": 1}, {}, "with a name under 'metric'"),
        ('["acc"', {}, "expected a name, or JSON of one and its arguments; given"),
        (metric.Accuracy(), {"axis": 0}, "a metric was given; what it is made with is its own"),
        ("f1", {"average": "mean"}, "F1: average: expected 'macro' or 'micro'; given 'mean'"),
    ],
)
def test_create_of_what_is_none(given: Any, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(mx.TigonError) as error:
        metric.create(given, **fields)
    assert said in str(error.value)


class Own(metric.EvalMetric):
    def __init__(self, **fields: Any) -> None:
        super().__init__("own", **fields)

    def update(self, labels: Any, preds: Any) -> None:
        self.sum_metric += 2
        self.num_inst += 1
        self.global_sum_metric += 4
        self.global_num_inst += 1


def test_metrics_of_a_program_say_whether_they_have_global_values() -> None:
    plain, whole = Own(), Own(has_global_stats=True)
    for one in (plain, whole):
        one.update(None, None)
        assert one.get() == ("own", 2)
    assert plain.get_global() == ("own", 2) and whole.get_global() == ("own", 4)
    for one in (plain, whole):
        one.reset_local()
    assert math.isnan(plain.get_global()[1]) and whole.get_global() == ("own", 4)
    with pytest.raises(NotImplementedError, match="EvalMetric: define update"):
        metric.EvalMetric("base").update([], [])
