"""What is done with one batch."""

from __future__ import annotations

from typing import Any

from tigon import autograd
from tigon.gluon.utils import split_and_load

Parts = list[Any]


class BatchProcessor:
    """Forward and backward of one batch, forward alone in evaluation. Subclasses do otherwise: give
    one to `Estimator(batch_processor=)`."""

    def fit_batch(
        self, estimator: Any, train_batch: Any, batch_axis: int = 0
    ) -> tuple[Parts, Parts, Parts, Parts]:
        """Gradients of a batch (data, labels); gives data, labels, predictions and losses, a part
        for each context."""
        data, label = self._split(estimator, train_batch, batch_axis)
        with autograd.record():
            predicted = [estimator.net(x) for x in data]
            losses = [estimator.loss(p, y) for p, y in zip(predicted, label, strict=True)]
        with estimator.trainer._scaled(losses) as scaled:
            autograd.backward(scaled)
        return data, label, predicted, losses

    def evaluate_batch(
        self, estimator: Any, val_batch: Any, batch_axis: int = 0
    ) -> tuple[Parts, Parts, Parts, Parts]:
        """The same without gradients, of the network and the loss of the evaluation."""
        data, label = self._split(estimator, val_batch, batch_axis)
        predicted = [estimator.val_net(x) for x in data]
        losses = [estimator.val_loss(p, y) for p, y in zip(predicted, label, strict=True)]
        return data, label, predicted, losses

    @staticmethod
    def _split(estimator: Any, batch: Any, batch_axis: int) -> tuple[Parts, Parts]:
        data, label = batch[0], batch[1]
        return (
            split_and_load(data, estimator.context, batch_axis, even_split=False),
            split_and_load(label, estimator.context, batch_axis, even_split=False),
        )
