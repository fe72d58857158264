"""Metrics: sums over batches, asked for at the end of an epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from tigon.base import TigonError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.dtypes import numbers_of
from tigon.base.lazy import complete as _complete
from tigon.base.signatures import whole_signature

_REGISTRY: dict[str, Any] = {}


def register(metric_class: type[EvalMetric]) -> type[EvalMetric]:
    """Make a class known by its lower-case name."""
    _REGISTRY[metric_class.__name__.lower()] = metric_class
    return metric_class


def alias(*names: str) -> Callable[[type[EvalMetric]], type[EvalMetric]]:
    """Further names of a class."""

    def add(metric_class: type[EvalMetric]) -> type[EvalMetric]:
        for name in names:
            _REGISTRY[name] = metric_class
        return metric_class

    return add


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """A metric from a name, a function, a metric, a class, a list of these, or what `get_config`
    gives, also as JSON.

    >>> create("acc").name
    'accuracy'
    >>> create({"metric": "topkaccuracy", "top_k": 3}).name, create('["acc", {"axis": 0}]').axis
    ('top_k_accuracy_3', 0)
    """
    if isinstance(metric, EvalMetric):
        check(
            not args and not kwargs,
            "metric",
            "a metric was given; what it is made with is its own; leave the other arguments out",
        )
        return metric
    if isinstance(metric, list):
        _check_levels(metric)
        composite = CompositeEvalMetric()
        for one in metric:
            composite.add(create(one, *args, **kwargs))
        return composite
    if isinstance(metric, type) and issubclass(metric, EvalMetric):
        return metric(*args, **kwargs)
    if callable(metric):
        return CustomMetric(metric, *args, **kwargs)
    name, fields = _described(metric)
    found = _REGISTRY.get(name.lower())
    if found is None:
        raise TigonError(
            f"metric: '{name:.80}' is not known; choose one of {', '.join(sorted(_REGISTRY))}"
        )
    return found(*args, **{**fields, **kwargs})


def _check_levels(metrics: list[Any], most: int = 16) -> None:
    level: list[Any] = [metrics]
    for _ in range(most):
        level = [one for inner in level for one in inner if isinstance(one, list)]
        if not level:
            return
    raise TigonError(
        f"metric: expected lists of at most {most} levels; given a deeper one; does it contain "
        "itself?"
    )


def _described(metric: Any) -> tuple[str, dict[str, Any]]:
    """Name and arguments of what `create` was given."""
    given = metric
    if isinstance(metric, str) and metric.lstrip()[:1] in ("[", "{"):
        try:
            given = json.loads(metric)
        except ValueError as error:
            raise TigonError(
                f"metric: expected a name, or JSON of one and its arguments; given {metric!r:.80}: "
                f"{error}"
            ) from None
        if isinstance(given, list) and len(given) == 2 and isinstance(given[1], dict):
            given = {"metric": given[0], **given[1]}
    if isinstance(given, str):
        return given, {}
    known = isinstance(given, dict) and isinstance(given.get("metric"), str)
    check(
        known,
        "metric",
        "expected a name, a function, a metric, a list of these, or a dictionary with a name under "
        f"'metric' and arguments; given {metric!r:.80}",
    )
    return given["metric"], {name: value for name, value in given.items() if name != "metric"}


def check_label_shapes(labels: Any, preds: Any, wrap: bool = False, shape: bool = False) -> Any:
    """Labels and predictions as lists of the same length."""
    if wrap:
        labels = labels if isinstance(labels, (list, tuple)) else [labels]
        preds = preds if isinstance(preds, (list, tuple)) else [preds]
    left, right = (labels.shape, preds.shape) if shape else (len(labels), len(preds))
    check(
        left == right,
        "metric",
        f"labels and predictions differ: {left} and {right}; give one prediction per label",
    )
    return labels, preds


def _numpy(array: Any) -> numpy.ndarray:
    return numbers_of(array) if hasattr(array, "asnumpy") else numpy.asarray(array)


class _Number:
    """A number of a metric. What a program has added up, and nobody has asked for, comes first."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        own = instance.__dict__
        if own.get("_pending") is not None:
            own["_pending"].settle(instance)
        try:
            return own[self._name]
        except KeyError:
            raise AttributeError(
                f"{type(instance).__name__} has no {self._name}; call super().__init__(name)"
            ) from None

    def __set__(self, instance: Any, value: Any) -> None:
        own = instance.__dict__
        if own.get("_pending") is not None and self._name in own:
            own["_pending"].settle(instance)
        own[self._name] = value


class EvalMetric(NamesWrongTypes):
    """Base: `update` adds batches, `get` gives (name, mean) so far.

    A metric has two sums. `reset` starts both anew, `reset_local` only that which `get` is about;
    `get_global` is about all since `reset`. A subclass that writes `update` adds to `sum_metric`
    and `num_inst`; if it was made with `has_global_stats=True`, also to `global_sum_metric` and
    `global_num_inst`. Otherwise `get_global` gives what `get` does.

    >>> metric = Loss()
    >>> metric.update(None, [numpy.array([1.0, 3.0])])
    >>> metric.reset_local()
    >>> metric.update(None, [numpy.array([5.0])])
    >>> metric.get(), metric.get_global()
    (('loss', 5.0), ('loss', 3.0))
    """

    __signature__ = whole_signature()
    _has_global_stats = False
    sum_metric = _Number()
    num_inst = _Number()
    global_sum_metric = _Number()
    global_num_inst = _Number()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes over."""
        if self.__dict__.get("_pending") is not None:
            self.__dict__["_pending"].settle(self)
        return {name: value for name, value in self.__dict__.items() if name != "_pending"}

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        **fields: Any,
    ) -> None:
        self.name = str(name)
        self.output_names = output_names
        self.label_names = label_names
        self._has_global_stats = fields.pop("has_global_stats", self._has_global_stats)
        self._fields = fields
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def reset(self) -> None:
        """Start over."""
        self.num_inst = 0
        self.sum_metric = 0.0
        self.global_num_inst = 0
        self.global_sum_metric = 0.0

    def reset_local(self) -> None:
        """Start over with what `get` gives."""
        self.num_inst = 0
        self.sum_metric = 0.0

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch: a list of labels and a list of predictions, or one of each."""
        raise NotImplementedError(f"{type(self).__name__}: define update")

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        """Add a batch given by names."""
        preds = [pred[n] for n in self.output_names] if self.output_names else list(pred.values())
        labels = [label[n] for n in self.label_names] if self.label_names else list(label.values())
        self.update(labels, preds)

    def _add(self, total: float, count: int) -> None:
        """To both sums."""
        self.sum_metric += total
        self.num_inst += count
        self.global_sum_metric += total
        self.global_num_inst += count

    def get(self) -> tuple[Any, Any]:
        """Name and value; the value is nan before the first batch."""
        if self.num_inst == 0:
            return self.name, float("nan")
        return self.name, self.sum_metric / self.num_inst

    def get_global(self) -> tuple[Any, Any]:
        """Name and value of all batches since `reset`."""
        if not self._has_global_stats:
            return self.get()
        if self.global_num_inst == 0:
            return self.name, float("nan")
        return self.name, self.global_sum_metric / self.global_num_inst

    def get_name_value(self) -> list[tuple[str, float]]:
        """What `get` gives as a list of pairs."""
        return _pairs(*self.get())

    def get_global_name_value(self) -> list[tuple[str, float]]:
        """What `get_global` gives as a list of pairs."""
        return _pairs(*self.get_global())

    def get_config(self) -> dict[str, Any]:
        """What it was made with: `create` makes another one of it."""
        return {
            "metric": type(self).__name__,
            "name": self.name,
            "output_names": self.output_names,
            "label_names": self.label_names,
            **self._fields,
        }


def _pairs(name: Any, value: Any) -> list[tuple[str, float]]:
    names = name if isinstance(name, list) else [name]
    values = value if isinstance(value, list) else [value]
    return list(zip(names, values, strict=True))


class _Summed(EvalMetric):
    """A sum over samples, or over batches: `_score` gives what to add and how many that are."""

    _has_global_stats = True

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch: a list of labels and a list of predictions, or one of each."""
        labels, preds = check_label_shapes(labels, preds, wrap=True)
        for label, pred in zip(labels, preds, strict=True):
            total, count = self._score(_numpy(label), _numpy(pred))
            self._add(float(total), int(count))

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        raise NotImplementedError(f"{type(self).__name__}: define update")


@register
@alias("composite")
class CompositeEvalMetric(EvalMetric):
    """Several metrics at once."""

    def __init__(
        self, metrics: Sequence[Any] | None = None, name: str = "composite", **names: Any
    ) -> None:
        self.metrics: list[EvalMetric] = [create(metric) for metric in metrics or ()]
        super().__init__(name, **names)

    def add(self, metric: Any) -> None:
        """Add a metric."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """The metric at this position."""
        check(
            0 <= index < len(self.metrics),
            "CompositeEvalMetric",
            f"there are {len(self.metrics)} metrics; asked for number {index}",
        )
        return self.metrics[index]

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def reset_local(self) -> None:
        for metric in self.metrics:
            metric.reset_local()

    def update(self, labels: Any, preds: Any) -> None:
        for metric in self.metrics:
            metric.update(labels, preds)

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        for metric in self.metrics:
            metric.update_dict(label, pred)

    def get(self) -> tuple[list[str], list[float]]:
        pairs = [pair for metric in self.metrics for pair in metric.get_name_value()]
        return [name for name, _ in pairs], [value for _, value in pairs]

    def get_global(self) -> tuple[list[str], list[float]]:
        pairs = [pair for metric in self.metrics for pair in metric.get_global_name_value()]
        return [name for name, _ in pairs], [value for _, value in pairs]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metrics": [one.get_config() for one in self.metrics]}


@register
@alias("acc")
class Accuracy(_Summed):
    """The share of samples whose likeliest class is the label.

    >>> metric = Accuracy()
    >>> metric.update([numpy.array([0, 1])], [numpy.array([[0.9, 0.1], [0.8, 0.2]])])
    >>> metric.get()
    ('accuracy', 0.5)
    """

    def __init__(self, axis: int = 1, name: str = "accuracy", **names: Any) -> None:
        super().__init__(name, axis=axis, **names)
        self.axis = axis

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        if pred.shape != label.shape:
            pred = pred.argmax(self.axis)
        label, pred = label.astype(numpy.int64).ravel(), pred.astype(numpy.int64).ravel()
        check_label_shapes(label, pred, shape=True)
        return (label == pred).sum(), label.size


@register
@alias("top_k_accuracy", "top_k_acc")
class TopKAccuracy(_Summed):
    """The share of samples whose label is among the `top_k` likeliest classes."""

    def __init__(self, top_k: int = 1, name: str = "top_k_accuracy", **names: Any) -> None:
        ends = f"_{top_k}"  # which a name of get_config has
        super().__init__(name.removesuffix(ends) + ends, top_k=top_k, **names)
        check(top_k > 1, "TopKAccuracy", f"top_k must be above 1; given {top_k}; use Accuracy")
        self.top_k = top_k

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        label = label.astype(numpy.int64).ravel()
        check(
            pred.ndim == 2,
            "TopKAccuracy",
            f"predictions must be (samples, classes); given shape {pred.shape}",
        )
        check_label_shapes(label, pred[:, 0], shape=True)
        best = pred.argsort(axis=1)[:, ::-1][:, : self.top_k]
        return (best == label[:, None]).sum(), label.size


def _classes(pred: numpy.ndarray) -> numpy.ndarray:
    """The likeliest of several classes, or whether one is likelier than not."""
    several = pred.ndim == 2 and pred.shape[1] > 1
    return (pred.argmax(1) if several else pred > 0.5).astype(numpy.int64).ravel()


class _Binary(EvalMetric):
    """Counts true and false positives and negatives of two classes: [label, prediction]. With
    `average` 'macro' the value is the mean of those of all batches, with 'micro' that of all
    samples."""

    _has_global_stats = True

    def __init__(self, name: str, average: str = "macro", **names: Any) -> None:
        check(
            average in ("macro", "micro"),
            type(self).__name__,
            f"average: expected 'macro' or 'micro'; given {average!r}",
        )
        self.average = average
        super().__init__(name, average=average, **names)

    def reset(self) -> None:
        super().reset()
        self._counts = numpy.zeros((2, 2), numpy.int64)
        self._global_counts = numpy.zeros((2, 2), numpy.int64)

    def reset_local(self) -> None:
        super().reset_local()
        self._counts = numpy.zeros((2, 2), numpy.int64)

    def update(self, labels: Any, preds: Any) -> None:
        labels, preds = check_label_shapes(labels, preds, wrap=True)
        for label, pred in zip(labels, preds, strict=True):
            truth, guess = _numpy(label).astype(numpy.int64).ravel(), _classes(_numpy(pred))
            check_label_shapes(truth, guess, shape=True)
            check(
                truth.size == 0 or (truth.min() >= 0 and truth.max() <= 1),
                type(self).__name__,
                "is for two classes, 0 and 1; given other labels",
            )
            counts = numpy.zeros((2, 2), numpy.int64)
            numpy.add.at(counts, (truth, guess), 1)
            if self.average == "macro":
                self._add(self._value(counts), 1)
                continue
            self._counts += counts
            self._global_counts += counts
            self.num_inst, self.global_num_inst = (
                int(self._counts.sum()),
                int(self._global_counts.sum()),
            )
            self.sum_metric = self._value(self._counts) * self.num_inst
            self.global_sum_metric = self._value(self._global_counts) * self.global_num_inst

    def _value(self, counts: numpy.ndarray) -> float:
        raise NotImplementedError


@register
class F1(_Binary):
    """The harmonic mean of precision and recall."""

    def __init__(self, name: str = "f1", average: str = "macro", **names: Any) -> None:
        super().__init__(name, average, **names)

    def _value(self, counts: numpy.ndarray) -> float:
        (_, false_positive), (false_negative, true_positive) = counts.tolist()
        total = 2 * true_positive + false_positive + false_negative
        return 2 * true_positive / total if total else 0.0


@register
class MCC(_Binary):
    """Matthews' correlation of labels and predictions."""

    def __init__(self, name: str = "mcc", average: str = "macro", **names: Any) -> None:
        super().__init__(name, average, **names)

    def _value(self, counts: numpy.ndarray) -> float:
        counts = counts.astype(numpy.float64)
        determinant = counts[0, 0] * counts[1, 1] - counts[0, 1] * counts[1, 0]
        sums = numpy.concatenate([counts.sum(0), counts.sum(1)])
        return float(determinant / math.sqrt(numpy.prod(numpy.where(sums == 0, 1, sums))))


@register
class PCC(EvalMetric):
    """The correlation of labels and predictions of any number of classes, of all samples: that of
    Matthews for two. nan where there is but one class among labels or predictions.

    >>> metric = PCC()
    >>> metric.update([numpy.array([0, 1, 2])], [numpy.eye(3)])
    >>> metric.get()
    ('pcc', 1.0)
    """

    _has_global_stats = True

    def __init__(self, name: str = "pcc", **names: Any) -> None:
        super().__init__(name, **names)

    def reset(self) -> None:
        super().reset()
        self._counts = self._global_counts = numpy.zeros((0, 0), numpy.int64)

    def reset_local(self) -> None:
        super().reset_local()
        self._counts = numpy.zeros((0, 0), numpy.int64)

    def update(self, labels: Any, preds: Any) -> None:
        labels, preds = check_label_shapes(labels, preds, wrap=True)
        for label, pred in zip(labels, preds, strict=True):
            truth, guess = _numpy(label).astype(numpy.int64).ravel(), _classes(_numpy(pred))
            check_label_shapes(truth, guess, shape=True)
            check(
                truth.size == 0 or truth.min() >= 0,
                "PCC",
                "expected numbers of classes, from 0 on; given a label below 0",
            )
            most = int(max(truth.max(initial=-1), guess.max(initial=-1))) + 1
            counts = numpy.zeros((most, most), numpy.int64)
            numpy.add.at(counts, (truth, guess), 1)
            self._counts = _summed(self._counts, counts)
            self._global_counts = _summed(self._global_counts, counts)
            self._add(0.0, truth.size)

    def get(self) -> tuple[str, float]:
        return self.name, _correlation(self._counts)

    def get_global(self) -> tuple[str, float]:
        return self.name, _correlation(self._global_counts) if self._has_global_stats else (
            _correlation(self._counts)
        )


def _summed(one: numpy.ndarray, other: numpy.ndarray) -> numpy.ndarray:
    """Of tables of different numbers of classes."""
    total = numpy.zeros((max(len(one), len(other)),) * 2, numpy.int64)
    for part in (one, other):
        total[: len(part), : len(part)] += part
    return total


def _correlation(counts: numpy.ndarray) -> float:
    """Of labels and predictions, from how often they met."""
    counts = counts.astype(numpy.float64)
    samples, truths, guesses = counts.sum(), counts.sum(1), counts.sum(0)
    spread = (truths * (samples - truths)).sum() * (guesses * (samples - guesses)).sum()
    common = counts.trace() * samples - (truths * guesses).sum()
    return float(common / math.sqrt(spread)) if spread else float("nan")


@register
class Perplexity(_Summed):
    """The exponential of the mean negative log-probability of the labels."""

    def __init__(
        self,
        ignore_label: int | None = None,
        axis: int = -1,
        name: str = "perplexity",
        **names: Any,
    ) -> None:
        super().__init__(name, ignore_label=ignore_label, axis=axis, **names)
        self.ignore_label = ignore_label
        self.axis = axis

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        pred = numpy.moveaxis(pred, self.axis, -1)
        label = label.astype(numpy.int64).ravel()
        chosen = pred.reshape(-1, pred.shape[-1])[numpy.arange(label.size), label]
        if self.ignore_label is not None:
            chosen = chosen[label != self.ignore_label]
        return -numpy.log(numpy.maximum(chosen, 1e-10)).sum(), chosen.size

    def get(self) -> tuple[str, float]:
        name, value = super().get()
        return name, math.exp(value) if self.num_inst else value

    def get_global(self) -> tuple[str, float]:
        name, value = super().get_global()
        return name, math.exp(value) if self._has_global_stats else value


class _PerBatch(_Summed):
    """One value per batch, averaged over batches."""

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        label = label.reshape(-1, 1) if label.ndim == 1 else label
        pred = pred.reshape(-1, 1) if pred.ndim == 1 else pred
        return self._error(label, pred), 1

    def _error(self, label: numpy.ndarray, pred: numpy.ndarray) -> float:
        raise NotImplementedError


@register
class MAE(_PerBatch):
    """Mean absolute error."""

    def __init__(self, name: str = "mae", **names: Any) -> None:
        super().__init__(name, **names)

    def _error(self, label: numpy.ndarray, pred: numpy.ndarray) -> float:
        return float(numpy.abs(label - pred).mean())


@register
class MSE(_PerBatch):
    """Mean squared error."""

    def __init__(self, name: str = "mse", **names: Any) -> None:
        super().__init__(name, **names)

    def _error(self, label: numpy.ndarray, pred: numpy.ndarray) -> float:
        return float(numpy.square(label - pred).mean())


@register
class RMSE(_PerBatch):
    """Root of the mean squared error."""

    def __init__(self, name: str = "rmse", **names: Any) -> None:
        super().__init__(name, **names)

    def _error(self, label: numpy.ndarray, pred: numpy.ndarray) -> float:
        return math.sqrt(numpy.square(label - pred).mean())


@register
@alias("ce")
class CrossEntropy(_Summed):
    """Mean negative log-probability of the labels."""

    def __init__(self, eps: float = 1e-12, name: str = "cross-entropy", **names: Any) -> None:
        super().__init__(name, eps=eps, **names)
        self.eps = eps

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        label = label.astype(numpy.int64).ravel()
        check_label_shapes(label, pred)
        return -numpy.log(pred[numpy.arange(label.size), label] + self.eps).sum(), label.size


@register
@alias("nll_loss")
class NegativeLogLikelihood(CrossEntropy):
    """Mean negative log-probability of the labels."""

    def __init__(self, eps: float = 1e-12, name: str = "nll-loss", **names: Any) -> None:
        super().__init__(eps, name, **names)


@register
@alias("pearsonr")
class PearsonCorrelation(_Summed):
    """Pearson's correlation of labels and predictions: the mean over batches ('macro'), or that of
    all numbers seen ('micro')."""

    def __init__(self, name: str = "pearsonr", average: str = "macro", **names: Any) -> None:
        check(
            average in ("macro", "micro"),
            "PearsonCorrelation",
            f"average: expected 'macro' or 'micro'; given {average!r}",
        )
        self.average = average
        super().__init__(name, average=average, **names)

    def reset(self) -> None:
        super().reset()
        self._seen, self._global_seen = _Moments(), _Moments()

    def reset_local(self) -> None:
        super().reset_local()
        self._seen = _Moments()

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        pair = numpy.stack([pred.ravel(), label.ravel()]).astype(numpy.float64)
        if self.average == "macro":
            return float(numpy.corrcoef(pair)[0, 1]), 1
        self._seen.add(pair)
        self._global_seen.add(pair)
        return 0.0, 1

    def get(self) -> tuple[str, float]:
        if self.average == "macro" or not self._seen.count:
            return super().get()
        return self.name, self._seen.correlation()

    def get_global(self) -> tuple[str, float]:
        if self.average == "macro" or not self._global_seen.count or not self._has_global_stats:
            return super().get_global()
        return self.name, self._global_seen.correlation()


class _Moments:
    """Count, means and second moments of pairs, batch by batch (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.means, self.moments = numpy.zeros(2), numpy.zeros((2, 2))

    def add(self, pair: numpy.ndarray) -> None:
        count, means = pair.shape[1], pair.mean(axis=1)
        apart, total = means - self.means, self.count + count
        moments = (pair - means[:, None]) @ (pair - means[:, None]).T
        moments += numpy.outer(apart, apart) * self.count * count / total
        self.moments = self.moments + moments
        self.means, self.count = self.means + apart * count / total, total

    def correlation(self) -> float:
        (first, both), (_, second) = self.moments
        with numpy.errstate(invalid="ignore"):
            return float(both / numpy.sqrt(first * second))


@register
class Loss(EvalMetric):
    """The mean of the predictions, which are losses; labels are not looked at."""

    _has_global_stats = True

    def __init__(self, name: str = "loss", **names: Any) -> None:
        super().__init__(name, **names)

    def update(self, labels: Any, preds: Any) -> None:
        for pred in preds if isinstance(preds, (list, tuple)) else [preds]:
            values = _numpy(pred)
            self._add(float(values.sum()), values.size)


@register
class Torch(Loss):
    """`Loss` under another name."""

    def __init__(self, name: str = "torch", **names: Any) -> None:
        super().__init__(name, **names)


@register
class Caffe(Loss):
    """`Loss` under another name."""

    def __init__(self, name: str = "caffe", **names: Any) -> None:
        super().__init__(name, **names)


@register
class CustomMetric(_Summed):
    """A function of (label, prediction) as numpy arrays, giving a value or (sum, count)."""

    def __init__(
        self,
        feval: Callable[[numpy.ndarray, numpy.ndarray], Any],
        name: str | None = None,
        allow_extra_outputs: bool = False,
        **names: Any,
    ) -> None:
        own = getattr(feval, "__name__", type(feval).__name__)
        super().__init__(name or (f"custom({own})" if "<" in own else own), **names)
        self._feval = feval
        self._allow_extra_outputs = allow_extra_outputs

    def update(self, labels: Any, preds: Any) -> None:
        if self._allow_extra_outputs and isinstance(preds, (list, tuple)):
            preds = preds[: len(labels)]
        super().update(labels, preds)

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        result = self._feval(label, pred)
        return result if isinstance(result, tuple) else (result, 1)


def np(  # as MXNet calls it
    numpy_feval: Callable[[Any, Any], Any],
    name: str | None = None,
    allow_extra_outputs: bool = False,
) -> CustomMetric:
    """A metric from a function of numpy arrays."""
    return CustomMetric(numpy_feval, name, allow_extra_outputs)


_complete(globals())
