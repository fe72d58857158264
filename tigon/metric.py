"""Metrics: sums over batches, asked for at the end of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from tigon.base import TigonError, check
from tigon.base.dtypes import numbers_of
from tigon.base.arguments import NamesWrongTypes
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
    """A metric from a name, a function, a metric, or a list of these.

    >>> create("acc").name
    'accuracy'
    """
    if isinstance(metric, EvalMetric):
        return metric
    if isinstance(metric, list):
        composite = CompositeEvalMetric()
        for one in metric:
            check(
                not isinstance(one, list),
                "metric",
                "expected a list of metrics; given a list in it; list them all in one",
            )
            composite.add(create(one, *args, **kwargs))
        return composite
    if callable(metric) and not isinstance(metric, type):
        return CustomMetric(metric, *args, **kwargs)
    found = _REGISTRY.get(str(metric).lower())
    if found is None:
        raise TigonError(
            f"metric: '{metric}' is not known; choose one of {', '.join(sorted(_REGISTRY))}"
        )
    return found(*args, **kwargs)


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


class EvalMetric(NamesWrongTypes):
    """Base: `update` adds batches, `get` gives (name, mean) so far."""

    __signature__ = whole_signature()

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        **fields: Any,
    ) -> None:
        self.name = name
        self.output_names = output_names
        self.label_names = label_names
        self._fields = fields
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def reset(self) -> None:
        """Start over."""
        self.num_inst = 0
        self.sum_metric = 0.0

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch: a list of labels and a list of predictions, or one of each."""
        labels, preds = check_label_shapes(labels, preds, wrap=True)
        for label, pred in zip(labels, preds, strict=True):
            total, count = self._score(_numpy(label), _numpy(pred))
            self.sum_metric += float(total)
            self.num_inst += int(count)

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        """Add a batch given by names."""
        preds = [pred[n] for n in self.output_names] if self.output_names else list(pred.values())
        labels = [label[n] for n in self.label_names] if self.label_names else list(label.values())
        self.update(labels, preds)

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        raise NotImplementedError(f"{type(self).__name__}: define update")

    def get(self) -> tuple[Any, Any]:
        """Name and value; the value is nan before the first batch."""
        if self.num_inst == 0:
            return self.name, float("nan")
        return self.name, self.sum_metric / self.num_inst

    def get_name_value(self) -> list[tuple[str, float]]:
        """The same as a list of pairs."""
        name, value = self.get()
        names = name if isinstance(name, list) else [name]
        values = value if isinstance(value, list) else [value]
        return list(zip(names, values, strict=True))

    def get_config(self) -> dict[str, Any]:
        """What it was made with."""
        return {
            "metric": type(self).__name__,
            "name": self.name,
            "output_names": self.output_names,
            "label_names": self.label_names,
            **self._fields,
        }


@register
@alias("composite")
class CompositeEvalMetric(EvalMetric):
    """Several metrics at once."""

    def __init__(self, metrics: Sequence[Any] = (), name: str = "composite", **names: Any) -> None:
        self.metrics: list[EvalMetric] = [create(metric) for metric in metrics]
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

    def update(self, labels: Any, preds: Any) -> None:
        for metric in self.metrics:
            metric.update(labels, preds)

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        for metric in self.metrics:
            metric.update_dict(label, pred)

    def get(self) -> tuple[list[str], list[float]]:
        pairs = [pair for metric in self.metrics for pair in metric.get_name_value()]
        return [name for name, _ in pairs], [value for _, value in pairs]


@register
@alias("acc")
class Accuracy(EvalMetric):
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
class TopKAccuracy(EvalMetric):
    """The share of samples whose label is among the `top_k` likeliest classes."""

    def __init__(self, top_k: int = 1, name: str = "top_k_accuracy", **names: Any) -> None:
        super().__init__(f"{name}_{top_k}", top_k=top_k, **names)
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


class _Binary(EvalMetric):
    """Counts true and false positives and negatives of two classes."""

    def __init__(self, name: str, average: str = "macro", **names: Any) -> None:
        self.average = average
        super().__init__(name, average=average, **names)

    def reset(self) -> None:
        super().reset()
        self._counts = numpy.zeros((2, 2), numpy.int64)  # [label, prediction]

    def update(self, labels: Any, preds: Any) -> None:
        labels, preds = check_label_shapes(labels, preds, wrap=True)
        for label, pred in zip(labels, preds, strict=True):
            truth = _numpy(label).astype(numpy.int64).ravel()
            array = _numpy(pred)
            guess = array.argmax(1) if array.ndim == 2 and array.shape[1] > 1 else array > 0.5
            guess = guess.astype(numpy.int64).ravel()
            check_label_shapes(truth, guess, shape=True)
            check(
                truth.size == 0 or (truth.min() >= 0 and truth.max() <= 1),
                type(self).__name__,
                "is for two classes, 0 and 1; given other labels",
            )
            numpy.add.at(self._counts, (truth, guess), 1)
            if self.average == "macro":
                self.sum_metric += self._value()
                self.num_inst += 1
                self._counts[:] = 0
            else:
                self.num_inst = int(self._counts.sum())
                self.sum_metric = self._value() * self.num_inst

    def _value(self) -> float:
        raise NotImplementedError


@register
class F1(_Binary):
    """The harmonic mean of precision and recall."""

    def __init__(self, name: str = "f1", average: str = "macro", **names: Any) -> None:
        super().__init__(name, average, **names)

    def _value(self) -> float:
        (_, false_positive), (false_negative, true_positive) = self._counts
        total = 2 * true_positive + false_positive + false_negative
        return 2 * true_positive / total if total else 0.0


@register
class MCC(_Binary):
    """Matthews' correlation of labels and predictions."""

    def __init__(self, name: str = "mcc", average: str = "macro", **names: Any) -> None:
        super().__init__(name, average, **names)

    def _value(self) -> float:
        counts = self._counts.astype(numpy.float64)
        determinant = counts[0, 0] * counts[1, 1] - counts[0, 1] * counts[1, 0]
        sums = numpy.concatenate([counts.sum(0), counts.sum(1)])
        return float(determinant / math.sqrt(numpy.prod(numpy.where(sums == 0, 1, sums))))


@register
class Perplexity(EvalMetric):
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


class _PerBatch(EvalMetric):
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
class CrossEntropy(EvalMetric):
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
class PearsonCorrelation(EvalMetric):
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
        self._count = 0
        self._means, self._moments = numpy.zeros(2), numpy.zeros((2, 2))

    def _score(self, label: numpy.ndarray, pred: numpy.ndarray) -> tuple[float, int]:
        pair = numpy.stack([pred.ravel(), label.ravel()]).astype(numpy.float64)
        if self.average == "macro":
            return float(numpy.corrcoef(pair)[0, 1]), 1
        count, means = pair.shape[1], pair.mean(axis=1)
        apart, total = means - self._means, self._count + count
        moments = (pair - means[:, None]) @ (pair - means[:, None]).T
        moments += numpy.outer(apart, apart) * self._count * count / total
        self._moments = self._moments + moments
        self._means, self._count = self._means + apart * count / total, total
        return 0.0, 1

    def get(self) -> tuple[str, float]:
        if self.average == "macro" or not self._count:
            return super().get()
        (first, both), (_, second) = self._moments
        with numpy.errstate(invalid="ignore"):
            return self.name, float(both / numpy.sqrt(first * second))


@register
class Loss(EvalMetric):
    """The mean of the predictions, which are losses; labels are not looked at."""

    def __init__(self, name: str = "loss", **names: Any) -> None:
        super().__init__(name, **names)

    def update(self, labels: Any, preds: Any) -> None:
        for pred in preds if isinstance(preds, (list, tuple)) else [preds]:
            values = _numpy(pred)
            self.sum_metric += float(values.sum())
            self.num_inst += values.size


@register
class CustomMetric(EvalMetric):
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
