"""The row of `Module.fit`: steps of an epoch with their metric, beside those of `TrainStep`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from inputs import Layers

import tigon as mx
from tigon import gluon, nd, sym


class Again(mx.io.DataIter):
    """One batch, so many times: nothing but steps takes time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, count: int) -> None:
        super().__init__(len(images))
        self.batch = mx.io.DataBatch([nd.array(images)], [nd.array(labels)], pad=0)
        self.provide_data = [mx.io.DataDesc("data", images.shape)]
        self.provide_label = [mx.io.DataDesc("softmax_label", labels.shape)]
        self.count, self.left = count, count

    def reset(self) -> None:
        self.left = self.count

    def next(self) -> Any:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.batch


def fitting(
    layers: Layers, images: np.ndarray, labels: np.ndarray, count: int, rate: float, momentum: float
) -> Callable[[], np.ndarray]:
    """An epoch of `Module.fit`; gives the metric."""
    value, params = sym.var("data"), {}
    for index, (weight, bias) in enumerate(layers):
        name = f"fc{index}"
        value = sym.FullyConnected(value, num_hidden=len(bias), name=name)
        if index < len(layers) - 1:
            value = sym.Activation(value, act_type="relu")
        params |= {f"{name}_weight": nd.array(weight), f"{name}_bias": nd.array(bias)}
    quiet = logging.getLogger("tigon.benchmarks")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    module = mx.mod.Module(sym.SoftmaxOutput(value, name="softmax"), logger=quiet)
    batches, metric = Again(images, labels, count), mx.metric.CrossEntropy()
    fields = {"learning_rate": rate, "momentum": momentum}

    def fit() -> np.ndarray:
        batches.reset()
        module.fit(
            batches,
            num_epoch=1,
            eval_metric=metric,
            arg_params=params,
            optimizer_params=fields,
        )
        return np.array(metric.get()[1])

    return fit


def stepping(
    net: gluon.HybridBlock,
    images: np.ndarray,
    labels: np.ndarray,
    count: int,
    rate: float,
    momentum: float,
) -> Callable[[], np.ndarray]:
    """The same by `TrainStep`, whose loss is the metric."""
    fields = {"learning_rate": rate, "momentum": momentum}
    trainer = gluon.Trainer(net.collect_params(), "sgd", fields)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    step = gluon.TrainStep(net, loss, trainer, outputs=True)
    batches, metric = Again(images, labels, count), mx.metric.CrossEntropy()

    def epoch() -> np.ndarray:
        batches.reset()
        metric.reset()
        for batch in batches:
            _, output = step(batch.data[0], batch.label[0])
            metric.update(batch.label, [nd.softmax(output)])
        return np.array(metric.get()[1])

    return epoch
