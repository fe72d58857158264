"""Ordinary programs, whose code the package brings."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tigon import autograd, gluon, nd
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision

PROGRAMS: list[Callable[[], None]] = []


def program(run: Callable[[], None]) -> Callable[[], None]:
    PROGRAMS.append(run)
    return run


def run_all() -> None:
    for run in PROGRAMS:
        run()
        nd.waitall()


def mlp(*sizes: int) -> nn.HybridSequential:
    net = nn.HybridSequential()
    for before, after in pairwise(sizes):
        net.add(nn.Dense(after, None if after is sizes[-1] else "relu", in_units=before))
    return net


def lenet() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(20, 5, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(50, 5, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Dense(500, activation="relu"),
        nn.Dense(10),
    )
    return net


def forward(net: gluon.HybridBlock, *shape: int) -> None:
    net.initialize()
    net.hybridize()
    net(nd.zeros(shape)).wait_to_read()


def training(net: gluon.HybridBlock, *shape: int, optimizer: str = "sgd", whole: bool) -> None:
    """One step, as a whole or as a loop writes it."""
    net.initialize()
    net.hybridize()
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    options = {"learning_rate": 0.01}
    if optimizer == "sgd":
        options["momentum"] = 0.9
    trainer = gluon.Trainer(net.collect_params(), optimizer, options)
    x, y = nd.zeros(shape), nd.zeros(shape[:1])
    if whole:
        gluon.TrainStep(net, loss_function, trainer)(x, y).wait_to_read()
        return
    loss_function.hybridize()
    with autograd.record():
        loss = loss_function(net(x), y)
    loss.backward()
    trainer.step(shape[0])
    net(x).wait_to_read()


@program
def multilayer_perceptrons() -> None:
    for batch in (1, 32, 64, 128, 256):
        forward(mlp(784, 256, 128, 10), batch, 784)
    for batch in (32, 64, 128):
        for whole in (False, True):
            for optimizer in ("sgd", "adam"):
                training(mlp(784, 256, 128, 10), batch, 784, optimizer=optimizer, whole=whole)


@program
def residual_networks() -> None:
    forward(vision.resnet18_v1(), 1, 3, 224, 224)


@program
def creation() -> None:
    """Every shape is served by these."""
    for size in (3, 1 << 23):
        for dtype in ("float32", "float64", "int32", "int64", "uint8", "int8", "bool", "float16"):
            nd.zeros((size,), dtype=dtype)
        for dtype in ("float32", "float64"):
            nd.random.uniform(-1, 1, shape=(size,), dtype=dtype)
            nd.random.normal(0, 2, shape=(size,), dtype=dtype)
            nd.random.normal(1, 2, shape=(size,), dtype=dtype)
