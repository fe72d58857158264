"""Metrics whose sums are part of the program of a step, and stay where that runs until somebody
asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tigon import metric, nd
from tigon.base import TensorType, as_dtype, type_of
from tigon.base.frozen import Frozen
from tigon.ir import Graph, Value
from tigon.ops.record import get
from tigon.program.training import Account

EXACT = as_dtype("float64")
Terms = tuple[Value, Value]
"""What a batch adds to a sum, and how many that are."""


class LeafSums:
    """The sum and the count of one metric, as a program adds them up."""

    def __init__(self, context: Any) -> None:
        self.array = nd.zeros((2,), ctx=context, dtype="float64")
        self._seen = np.zeros(2)
        self.moved = False

    def settle(self, owner: metric.EvalMetric) -> None:
        """Give the metric what was added since the last time."""
        if self.moved:
            self.moved = False
            now = self.array.asnumpy()
            total, count = now - self._seen
            if not np.isfinite(now).all():  # a difference of these would never be a number again
                total, now = float(now[0]), np.zeros(2)
                self.array[:] = 0
            self._seen = now
            owner._add(float(total), int(count))


class Leaf(Frozen, eq=False):
    """A metric, and which of labels and outputs it is about."""

    metric: metric.EvalMetric
    labels: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def key(self) -> Any:
        """All that its formula depends on."""
        own = {name: value for name, value in vars(self.metric).items() if name in _SETTINGS}
        return type(self.metric), tuple(own.items()), self.labels, self.outputs


def parts_of(given: metric.EvalMetric) -> list[metric.EvalMetric]:
    """The metrics of which a metric is made."""
    found, stack = [], [given]
    while stack:
        one = stack.pop()
        if type(one) is metric.CompositeEvalMetric:
            stack += reversed(one.metrics)
        else:
            found.append(one)
    return found


def leaves_of(
    given: metric.EvalMetric, labels: Sequence[str], outputs: Sequence[str]
) -> list[Leaf] | None:
    """The metrics of which a metric is made, or None where a program cannot compute one."""
    leaves = []
    for one in parts_of(given):
        if type(one) not in FORMULAS:
            return None
        chosen = []
        for names, known in ((one.label_names, labels), (one.output_names, outputs)):
            wanted = names or known
            if any(name not in known for name in wanted):
                return None
            chosen.append(tuple(known.index(name) for name in wanted))
        leaves.append(Leaf(one, *chosen))
    return leaves


def account_of(leaves: Sequence[Leaf], places: Sequence[int]) -> tuple[Any, Account]:
    """What adds up these metrics; `places` are the labels' among the inputs of the graph."""

    def add(forward: Graph, sums: Sequence[Value]) -> list[Value]:
        labels = [forward.inputs[place] for place in places]
        return [
            old + get("Concat")(*_of_leaf(leaf, labels, forward.outputs), dim=0)
            for leaf, old in zip(leaves, sums, strict=True)
        ]

    types = (TensorType((2,), EXACT),) * len(leaves)
    return tuple(leaf.key for leaf in leaves), Account(types, add)


def fits(leaves: Sequence[Leaf], labels: Sequence[Any], outputs: Sequence[TensorType]) -> bool:
    """Whether labels and outputs of these types are what the formulas are for; what they are not
    for is for the metric itself, which says what is wrong."""
    for leaf in leaves:
        own = [type_of(labels[i]) for i in leaf.labels]
        preds = [outputs[i] for i in leaf.outputs]
        formula = FORMULAS[type(leaf.metric)]
        if formula.takes is None:
            continue
        if len(own) != len(preds):
            return False
        for label, pred in zip(own, preds, strict=True):
            if not formula.takes(leaf.metric, label, pred):
                return False
    return True


def _of_leaf(leaf: Leaf, labels: Sequence[Value], outputs: Sequence[Value]) -> Terms:
    formula = FORMULAS[type(leaf.metric)]
    preds = [outputs[i] for i in leaf.outputs]
    own = [labels[i] for i in leaf.labels] if formula.takes is not None else [None] * len(preds)
    terms = [formula.terms(leaf.metric, *pair) for pair in zip(own, preds, strict=True)]
    total, count = terms[0]
    for more, how_many in terms[1:]:
        total, count = total + more, count + how_many
    return total, count


# -------------------------------------------------------------------------------- formulas


class Formula(Frozen, eq=False):
    """`takes` says whether types of label and prediction are as expected, `terms` what they add.
    Without `takes` labels are not looked at."""

    takes: Callable[[Any, TensorType, TensorType], bool] | None
    terms: Callable[[Any, Any, Value], Terms]


def _exact(value: Value) -> Value:
    return value if value.dtype is EXACT else get("Cast")(value, dtype="float64")


def _total(value: Value) -> Value:
    return get("sum")(_exact(value))


def _size(value: Value) -> Value:
    return get("sum")(get("ones_like")(_exact(value)))


def _flat(value: Value) -> Value:
    return get("Reshape")(value, shape=(-1,))


def _whole(value: Value) -> Value:
    """As numpy makes integers of numbers."""
    return _exact(get("Cast")(value, dtype="int64"))


def _accuracy(own: Any, label: Value, pred: Value) -> Terms:
    if pred.shape != label.shape:
        pred = get("argmax")(pred, axis=own.axis)
    hits = get("broadcast_equal")(_whole(_flat(label)), _whole(_flat(pred)))
    return _total(hits), _size(label)


def _takes_classes(own: Any, label: TensorType, pred: TensorType) -> bool:
    if pred.shape == label.shape:
        return True
    rank = len(pred.shape)
    if not -rank <= own.axis < rank:
        return False
    rest = list(pred.shape)
    del rest[own.axis]
    return _count(rest) == label.size


def _count(extents: Sequence[Any]) -> Any:
    total: Any = 1
    for extent in extents:
        total = total * extent
    return total


def _chosen(label: Value, pred: Value) -> Value:
    """The prediction for the label of each row; below 0 they count from the end, and what there is
    none of has no number."""
    label = _whole(_flat(label))
    classes = float(pred.shape[-1])
    below = get("_lesser_scalar")(label, scalar=0.0)
    place = label + below * classes
    found = _exact(get("pick")(pred, place, axis=-1))
    inside = get("_greater_equal_scalar")(place, scalar=0.0) * get("_lesser_scalar")(
        place, scalar=classes
    )
    return get("where")(inside, found, found * float("nan"))


def _cross_entropy(own: Any, label: Value, pred: Value) -> Terms:
    logs = get("log")(_chosen(label, pred) + own.eps)
    return get("negative")(_total(logs)), _size(label)


def _takes_rows(own: Any, label: TensorType, pred: TensorType) -> bool:
    if len(pred.shape) != 2 or pred.dtype is not as_dtype("float32"):
        return False
    return getattr(own, "axis", -1) in (-1, 1) and label.size == pred.shape[0]


def _perplexity(own: Any, label: Value, pred: Value) -> Terms:
    logs = get("log")(_at_least(_chosen(label, pred), 1e-10))
    if own.ignore_label is None:
        return get("negative")(_total(logs)), _size(label)
    counted = get("_not_equal_scalar")(_whole(_flat(label)), scalar=float(own.ignore_label))
    logs = get("where")(counted, logs, get("zeros_like")(logs))
    return get("negative")(_total(logs)), get("sum")(counted)


def _at_least(value: Value, least: float) -> Value:
    return get("_maximum_scalar")(value, scalar=least)


def _difference(label: Value, pred: Value) -> Value:
    label = get("Reshape")(label, shape=(-1, 1)) if len(label.shape) == 1 else label
    pred = get("Reshape")(pred, shape=(-1, 1)) if len(pred.shape) == 1 else pred
    return get("broadcast_sub")(label, pred)


def _takes_numbers(own: Any, label: TensorType, pred: TensorType) -> bool:
    one, other = ((*t.shape, 1) if len(t.shape) == 1 else t.shape for t in (label, pred))
    return one == other


def _mean_of(function: Callable[[Value], Value], after: str | None = None) -> Any:
    def terms(own: Any, label: Value, pred: Value) -> Terms:
        mean = get("mean")(_exact(function(_difference(label, pred))))
        mean = mean if after is None else get(after)(mean)
        return mean, get("ones_like")(mean)

    return terms


def _absolute(value: Value) -> Value:
    return get("abs")(value)


def _square(value: Value) -> Value:
    return get("square")(value)


def _loss(own: Any, label: Any, pred: Value) -> Terms:
    return _total(pred), _size(pred)


FORMULAS: Mapping[type, Formula] = {
    metric.Accuracy: Formula(_takes_classes, _accuracy),
    metric.CrossEntropy: Formula(_takes_rows, _cross_entropy),
    metric.NegativeLogLikelihood: Formula(_takes_rows, _cross_entropy),
    metric.Perplexity: Formula(_takes_rows, _perplexity),
    metric.MAE: Formula(_takes_numbers, _mean_of(_absolute)),
    metric.MSE: Formula(_takes_numbers, _mean_of(_square)),
    metric.RMSE: Formula(_takes_numbers, _mean_of(_square, after="sqrt")),
    metric.Loss: Formula(None, _loss),
}
"""By class, and not by those derived from it, which may mean something else."""

_SETTINGS = ("axis", "eps", "ignore_label")
