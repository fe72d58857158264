"""Losses: one number per sample, averaged over the other axes.

`sample_weight` multiplies the losses before averaging and must broadcast against them; `weight` is
a factor on all.
"""

from __future__ import annotations

import math
from typing import Any

from tigon.base import as_dtype, check
from tigon.base.dtypes import float32
from tigon.base.lazy import complete as _complete
from tigon.gluon.block import HybridBlock
from tigon.gluon.parameter import ParameterDict
from tigon.gluon.parameters_section import describe as _describe
from tigon.ops import casting


def _apply_weighting(
    F: Any, loss: Any, weight: float | None = None, sample_weight: Any = None
) -> Any:
    """Losses times those of the samples, times a factor. Programs call it by this name."""
    if sample_weight is not None:
        loss = F.broadcast_mul(loss, sample_weight)
    if weight is not None and weight != 1.0:
        loss = loss * weight
    return loss


def _reshape_like(F: Any, x: Any, y: Any) -> Any:
    """`x` in the shape of `y`. Programs call it by this name."""
    return F.reshape_like(x, y)


def _logistic(F: Any, pred: Any, label: Any) -> Any:
    """log(1 + exp(x)) - x * label; log(1 + exp(-|x|)) does not overflow. The gradient of -|x|, so
    written, is 1 at 0, that of relu 0: together they are sigmoid(x) - label there too."""
    rest = F.Activation(F.minimum(pred, -pred), act_type="softrelu")
    return F.relu(pred) - pred * label + rest


class Loss(HybridBlock):
    """Base of the losses.

    >>> L2Loss()
    L2Loss(batch_axis=0, w=1.0)
    """

    def __init__(self, weight: float | None, batch_axis: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check(
            weight is None or isinstance(weight, (int, float)),
            type(self).__name__,
            f"weight is a number; given {type(weight).__name__}; "
            "weights per sample are given when the loss is called",
        )
        self._weight = weight
        self._batch_axis = batch_axis

    def _reduce(self, F: Any, loss: Any, sample_weight: Any, scale: float = 1.0) -> Any:
        factor = None if self._weight is None else self._weight * scale
        loss = _apply_weighting(F, loss, factor, sample_weight)
        return F.mean(loss, axis=self._batch_axis, exclude=True)

    def _cast(self, F: Any, label: Any, pred: Any) -> Any:
        """The label in the prediction's dtype, where these are known: of symbols they are not.
        Under mixed precision in float32 beside narrow predictions, lest large numbers be rounded,
        or infinite."""
        dtypes = getattr(label, "dtype", None), getattr(pred, "dtype", None)
        if None in dtypes or dtypes[0] == dtypes[1]:
            return label
        own, wanted = map(as_dtype, dtypes)
        check(
            wanted.is_float,
            type(self).__name__,
            f"expected a prediction of floating-point numbers; given a prediction of {wanted} and "
            f"a label of {own}; convert the prediction with astype('float32')",
        )
        if casting.mixes(wanted):
            wanted = float32
        return label if own is wanted else F.cast(label, dtype=wanted.name)

    def _label(self, F: Any, label: Any, pred: Any) -> Any:
        return _reshape_like(F, self._cast(F, label, pred), pred)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_axis={self._batch_axis}, w={self._weight})"


class L2Loss(Loss):
    """Half the squared difference.

    >>> from tigon import nd
    >>> L2Loss()(nd.array([[1, 3]]), nd.array([[0, 0]])).asnumpy().tolist()
    [2.5]
    """

    def __init__(self, weight: float = 1.0, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        return self._reduce(F, F.square(label - pred), sample_weight, 0.5)


class L1Loss(Loss):
    """The absolute difference."""

    def __init__(self, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        return self._reduce(F, F.abs(label - pred), sample_weight)


class SigmoidBinaryCrossEntropyLoss(Loss):
    """Cross-entropy of independent yes-or-no predictions, from logits unless `from_sigmoid`."""

    def __init__(
        self,
        from_sigmoid: bool = False,
        weight: float | None = None,
        batch_axis: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_sigmoid = from_sigmoid

    def hybrid_forward(
        self,
        F: Any,
        pred: Any,
        label: Any,
        sample_weight: Any = None,
        pos_weight: Any = None,
    ) -> Any:
        label = self._label(F, label, pred)
        if not self._from_sigmoid:
            if pos_weight is None:
                loss = _logistic(F, pred, label)
            else:
                weight = 1 + F.broadcast_mul(pos_weight - 1, label)
                rest = F.Activation(F.minimum(-pred, pred), act_type="softrelu")
                loss = pred - pred * label + weight * (rest + F.relu(-pred))
        else:
            epsilon = 1e-12
            positive = F.log(pred + epsilon) * label
            if pos_weight is not None:
                positive = F.broadcast_mul(positive, pos_weight)
            loss = -(positive + F.log(1.0 - pred + epsilon) * (1.0 - label))
        return self._reduce(F, loss, sample_weight)


SigmoidBCELoss = SigmoidBinaryCrossEntropyLoss


class SoftmaxCrossEntropyLoss(Loss):
    """Cross-entropy of one choice among several, from logits unless `from_logits`.

    With `sparse_label` labels are class numbers, otherwise distributions.

    >>> from tigon import nd
    >>> loss = SoftmaxCrossEntropyLoss()
    >>> loss(nd.zeros((1, 2)), nd.array([1])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        sparse_label: bool = True,
        from_logits: bool = False,
        weight: float | None = None,
        batch_axis: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._axis = axis
        self._sparse_label = sparse_label
        self._from_logits = from_logits

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        if self._sparse_label:
            loss = -F.pick(pred, label, axis=self._axis, keepdims=True)
        else:
            label = self._label(F, label, pred)
            loss = -F.sum(pred * label, axis=self._axis, keepdims=True)
        return self._reduce(F, loss, sample_weight)


SoftmaxCELoss = SoftmaxCrossEntropyLoss


class KLDivLoss(Loss):
    """Kullback-Leibler divergence of the prediction from the label's distribution: the sum over a
    sample, not the mean."""

    def __init__(
        self,
        from_logits: bool = True,
        axis: int = -1,
        weight: float | None = None,
        batch_axis: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._axis = axis

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        label = self._cast(F, label, pred)
        loss = label * (F.log(label + 1e-12) - pred)
        loss = _apply_weighting(F, loss, self._weight, sample_weight)
        return F.sum(loss, axis=self._batch_axis, exclude=True)


class SDMLLoss(Loss):
    """Rows of `x1` are to be near the row of `x2` at the same place, far from all others: the
    divergence of a softmax over negative squared distances from labels of which the others share
    `smoothing_parameter`. A number for each row.

    >>> from tigon import nd
    >>> SDMLLoss()(nd.array([[1, 0], [0, 1]]), nd.array([[1, 0], [0, 1]])).asnumpy().round(6)
    array([0.116064, 0.116064], dtype=float32)
    """

    def __init__(
        self,
        smoothing_parameter: float = 0.3,
        weight: float | None = 1.0,
        batch_axis: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._smoothing = smoothing_parameter

    def hybrid_forward(self, F: Any, x1: Any, x2: Any) -> Any:
        apart = F.broadcast_sub(F.expand_dims(x1, axis=1), F.expand_dims(x2, axis=0))
        chances = F.log_softmax(-F.sum(F.square(apart), axis=2), axis=1)
        places = F.contrib.arange_like(x1, axis=self._batch_axis)
        own = F.broadcast_equal(F.expand_dims(places, axis=1), F.expand_dims(places, axis=0))
        others = F.broadcast_sub(F.sum(F.ones_like(own), axis=1, keepdims=True), F.ones_like(own))
        share = self._smoothing / F.maximum(others, 1)
        label = own * (1 - self._smoothing) + (1 - own) * share
        loss = label * (F.log(label + 1e-12) - chances)
        loss = _apply_weighting(F, loss, self._weight, None)
        return F.sum(loss, axis=self._batch_axis, exclude=True)


class CTCLoss(Loss):
    """The loss of labels whose places in the sequence are not known (`nd.CTCLoss`), whose blank is
    the last class.

    `layout` "NTC" or "TNC" is that of predictions, before softmax; `label_layout` "NT" or "TN" that
    of labels, class numbers padded with -1. Called with `pred_lengths` (N,), steps that count, and
    `label_lengths` (N,), labels that count, where these are known. A loss of shape (N,); a sample
    with fewer steps than its labels need has loss 0.

    >>> from tigon import nd
    >>> chances = nd.array([[[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]])
    >>> CTCLoss()(nd.log(chances), nd.array([[0, -1]])).asnumpy().round(5)
    array([1.13943], dtype=float32)
    """

    def __init__(
        self,
        layout: str = "NTC",
        label_layout: str = "NT",
        weight: float | None = None,
        prefix: str | None = None,
        params: ParameterDict | None = None,
    ) -> None:
        for name, given, known in (
            ("layout", layout, ("NTC", "TNC")),
            ("label_layout", label_layout, ("NT", "TN")),
        ):
            check(
                given in known,
                "CTCLoss",
                f"{name}: expected '{known[0]}' or '{known[1]}'; given {given!r}; transpose first",
            )
        super().__init__(weight, label_layout.find("N"), prefix=prefix, params=params)
        self._layout = layout
        self._label_layout = label_layout

    def hybrid_forward(
        self,
        F: Any,
        pred: Any,
        label: Any,
        pred_lengths: Any = None,
        label_lengths: Any = None,
        sample_weight: Any = None,
    ) -> Any:
        if self._layout == "NTC":
            pred = F.swapaxes(pred, dim1=0, dim2=1)
        if self._batch_axis == 1:
            label = F.swapaxes(label, dim1=0, dim2=1)
        lengths = {"data_lengths": pred_lengths, "label_lengths": label_lengths}
        given = {name: length for name, length in lengths.items() if length is not None}
        loss = F.CTCLoss(
            pred,
            label,
            **given,
            use_data_lengths=pred_lengths is not None,
            use_label_lengths=label_lengths is not None,
            blank_label="last",
        )
        return _apply_weighting(F, loss, self._weight, sample_weight)


class HuberLoss(Loss):
    """Squared near zero, absolute beyond `rho`."""

    def __init__(
        self, rho: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._rho = rho

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        loss = F.abs(label - pred)
        loss = F.where(loss > self._rho, loss - 0.5 * self._rho, (0.5 / self._rho) * F.square(loss))
        return self._reduce(F, loss, sample_weight)


class HingeLoss(Loss):
    """`max(0, margin - pred * label)` for labels -1 and 1."""

    def __init__(
        self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        return self._reduce(F, F.relu(self._margin - pred * label), sample_weight)


class SquaredHingeLoss(HingeLoss):
    """The square of the hinge loss."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        return self._reduce(F, F.square(F.relu(self._margin - pred * label)), sample_weight)


class LogisticLoss(Loss):
    """`log(1 + exp(-pred * label))`; labels -1 and 1 (`signed`) or 0 and 1 (`binary`)."""

    def __init__(
        self,
        weight: float | None = None,
        batch_axis: int = 0,
        label_format: str = "signed",
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        check(
            label_format in ("signed", "binary"),
            "LogisticLoss",
            f"label_format is 'signed' or 'binary'; given {label_format!r}",
        )
        self._label_format = label_format

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        label = self._label(F, label, pred)
        if self._label_format == "signed":
            label = (label + 1.0) / 2.0
        return self._reduce(F, _logistic(F, pred, label), sample_weight)


class TripletLoss(Loss):
    """The anchor shall be nearer to the positive than to the negative, by `margin`."""

    def __init__(
        self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(
        self,
        F: Any,
        pred: Any,
        positive: Any,
        negative: Any,
        sample_weight: Any = None,
    ) -> Any:
        positive = _reshape_like(F, positive, pred)
        negative = _reshape_like(F, negative, pred)
        distance = F.sum(
            F.square(positive - pred) - F.square(negative - pred),
            axis=self._batch_axis,
            exclude=True,
        )
        return _apply_weighting(F, F.relu(distance + self._margin), self._weight, sample_weight)


class PoissonNLLLoss(Loss):
    """Negative log likelihood of counts; `pred` is the mean, or its logarithm (`from_logits`)."""

    def __init__(
        self,
        weight: float | None = None,
        from_logits: bool = True,
        batch_axis: int = 0,
        compute_full: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._compute_full = compute_full

    def hybrid_forward(
        self,
        F: Any,
        pred: Any,
        target: Any,
        sample_weight: Any = None,
        epsilon: float = 1e-08,
    ) -> Any:
        target = self._label(F, target, pred)
        if self._from_logits:
            loss = F.exp(pred) - target * pred
        else:
            loss = pred - target * F.log(pred + epsilon)
        if self._compute_full:
            # Stirling's approximation of log(target!), for counts above 1.
            stirling = (
                target * F.log(target + epsilon)
                - target
                + 0.5 * F.log(2 * math.pi * (target + epsilon))
            )
            loss = loss + stirling * (target > 1)
        return F.mean(_apply_weighting(F, loss, self._weight, sample_weight))


class CosineEmbeddingLoss(Loss):
    """Pairs labelled 1 shall point the same way; pairs labelled -1 apart, by `margin`.

    A loss of shape (N, 1) for N pairs."""

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, margin: float = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(
        self,
        F: Any,
        input1: Any,
        input2: Any,
        label: Any,
        sample_weight: Any = None,
    ) -> Any:
        input1 = _reshape_like(F, input1, input2)
        product = F.sum(input1 * input2, axis=-1, keepdims=True)
        sizes = F.norm(input1, axis=-1, keepdims=True) * F.norm(input2, axis=-1, keepdims=True)
        cosine = product / F.maximum(sizes, 1e-12)
        label = self._label(F, label, cosine)
        loss = (1 - cosine) * (label == 1) + F.relu(cosine - self._margin) * (label == -1)
        return _apply_weighting(F, loss, self._weight, sample_weight)


__all__ = [
    "CTCLoss",
    "CosineEmbeddingLoss",
    "HingeLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "L2Loss",
    "LogisticLoss",
    "Loss",
    "PoissonNLLLoss",
    "SDMLLoss",
    "SigmoidBCELoss",
    "SigmoidBinaryCrossEntropyLoss",
    "SoftmaxCELoss",
    "SoftmaxCrossEntropyLoss",
    "SquaredHingeLoss",
    "TripletLoss",
]

_describe(*(kind for name, kind in globals().items() if name in __all__))
_complete(globals())
