"""cxxnet's metrics, each of one output and one target."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.dtypes import numbers_of
from tigon.contrib.cxxnet.text import Place, Setting
from tigon.metric import EvalMetric

_LEAST = 1e-15


def _error(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    wanted = labels.astype(np.int64)
    if labels.shape[1] != 1 or scores.shape[1] == 1:
        return ((scores > 0) != wanted).mean(axis=1)
    return (scores.argmax(axis=1) != wanted[:, 0]).astype(np.float64)


def _squares(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ((scores - labels) ** 2).sum(axis=1)


def _logloss(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    # float32 holds no number between 1 - 2**-24 and 1, so that the upper limit is 1 there.
    bounded = np.clip(scores.astype(np.float64), _LEAST, 1 - _LEAST)
    wanted = labels.astype(np.int64)
    if labels.shape[1] == 1 and scores.shape[1] != 1:
        classes = scores.shape[1]
        wrong = (wanted < 0) | (wanted >= classes)
        check(
            not wrong.any(),
            "logloss",
            f"expected labels from 0 to {classes - 1}, one of {classes} classes each; given "
            f"{wanted[wrong][:1]}",
        )
        return -np.log(bounded[np.arange(len(labels)), wanted[:, 0]])
    both = wanted * np.log(bounded) + (1 - wanted) * np.log1p(-bounded)
    return -both.mean(axis=1)


def _recall(count: int) -> Any:
    def recall(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # Equal scores: the first class counts, where cxxnet draws.
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        wanted = labels.astype(np.int64)
        return (best[:, :, None] == wanted[:, None, :]).any(axis=2).sum(axis=1) / labels.shape[1]

    return recall


_FORMULAS = {"error": _error, "rmse": _squares, "logloss": _logloss}


class Metric(EvalMetric):
    """The mean over samples of one of cxxnet's formulas: 'error', 'rmse' (the squares, of which
    cxxnet takes no root), 'logloss' or 'rec@n'.

    >>> from tigon import nd
    >>> metric = Metric("rec@2")
    >>> metric.update([nd.array([2, 0])], [nd.array([[1, 3, 2], [1, 3, 2]])])
    >>> metric.get()
    ('rec@2', 0.5)

    Parameters
    ----------
    kind : which formula
    output : the number of the output that it looks at
    field : (begin, end) of the target in the labels of a sample; None: they are all of it
    target : the target's name, which is part of the metric's unless it is 'label'
    """

    def __init__(
        self,
        kind: str,
        output: int = 0,
        field: tuple[int, int] | None = None,
        target: str = "label",
    ) -> None:
        self._formula = formula_of(kind)
        self._output, self._field = output, field
        super().__init__(kind if target == "label" else f"{kind}[{target}]")

    def update(self, labels: Any, preds: Any) -> None:
        """Count a batch."""
        scores = numbers_of(preds[self._output])
        scores = scores.reshape(len(scores), -1)
        wanted = numbers_of(labels[0]).reshape(len(scores), -1)
        if self._field is not None:
            wanted = wanted[:, slice(*self._field)]
        values = self._formula(scores, wanted)
        self._add(float(values.sum()), len(values))


def formula_of(kind: str) -> Any:
    """The formula of a name, None where there is none."""
    found = re.fullmatch(r"rec@([1-9][0-9]{0,6})", kind)
    return _recall(int(found.group(1))) if found else _FORMULAS.get(kind)


def parse(setting: Setting, place: Place) -> tuple[str, str | None]:
    """The target and the node that `metric`, `metric[target]` or `metric[target,node]` names."""
    if formula_of(setting.value) is None:
        raise place.fail(
            setting.line,
            f"metric: expected {', '.join(_FORMULAS)} or rec@n; given {setting.value!r:.80}",
        )
    named = re.fullmatch(r"metric(?:\[([^\],]*)(?:,([^\]]*))?\]?)?", setting.name)
    if named is None:
        raise place.fail(setting.line, f"{setting.name!r:.80}: expected metric[target,node]")
    return named.group(1) or "label", named.group(2)
