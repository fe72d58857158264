"""Networks that are trained in mixed precision, for the tests of it."""

from __future__ import annotations

from typing import Any

import numpy as np

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base.dtypes import as_dtype
from tigon.contrib import amp
from tigon.gluon import nn


def name_of(array: Any) -> str:
    return as_dtype(array.dtype).name


def network(*, seed: int = 3) -> Any:
    mx.random.seed(seed)
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(
            nn.Conv2D(8, 3, padding=1, in_channels=1, activation="relu"),
            nn.BatchNorm(in_channels=8),
            nn.MaxPool2D(2),
            nn.Flatten(),
            nn.Dense(32, activation="relu", in_units=72),
            nn.Dense(4, in_units=32),
        )
    net.initialize(mx.init.Xavier())
    return net


def samples() -> tuple[Any, Any]:
    random = np.random.default_rng(5)
    data = random.standard_normal((128, 1, 6, 6)).astype(np.float32)
    label = (data[:, 0, :3, :3].sum((1, 2)) > 0) * 2 + (data[:, 0, 3:, 3:].sum((1, 2)) > 0)
    return nd.array(data), nd.array(label)


LOSS = gluon.loss.SoftmaxCrossEntropyLoss()


def trained(
    dtype: str | None, hybridized: bool, steps: int = 60, **options: Any
) -> tuple[float, Any, Any]:
    """The mean loss at the end, the network and its trainer."""
    net = network()
    if hybridized:
        net.hybridize()
    if dtype is not None:
        amp.init(dtype)
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9}, **options
    )
    if dtype is not None:
        amp.init_trainer(trainer)
    data, label = samples()
    for step in range(steps):
        rows = slice(step * 32 % 128, step * 32 % 128 + 32)
        with autograd.record():
            loss = LOSS(net(data[rows]), label[rows])
            if dtype is None:
                loss.backward()
            else:
                with amp.scale_loss(loss, trainer) as scaled:
                    autograd.backward(scaled)
        trainer.step(32)
    return float(LOSS(net(data), label).mean().asscalar()), net, trainer
