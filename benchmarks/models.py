"""The networks of `networks.py` and `memory.py` in Gluon, with weights that only their names and
shapes decide."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from description import DATA, Description

from tigon import autograd, gluon, nd, sym
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision

LAYERS, SIZE, HEADS, HIDDEN = 4, 512, 8, 2048
"""Of the encoder."""


class EncoderLayer(nn.HybridBlock):
    """Attention and two dense layers, each added to what it reads and normalized after it."""

    def __init__(self, size: int, heads: int, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._heads, self._scale = heads, (size // heads) ** -0.5
        with self.name_scope():
            self.query, self.key, self.value, self.output = (
                nn.Dense(size, flatten=False, in_units=size, prefix=f"{name}_")
                for name in ("query", "key", "value", "output")
            )
            self.wide = nn.Dense(hidden, "relu", flatten=False, in_units=size, prefix="wide_")
            self.narrow = nn.Dense(size, flatten=False, in_units=hidden, prefix="narrow_")
            self.first = nn.LayerNorm(in_channels=size, prefix="first_")
            self.second = nn.LayerNorm(in_channels=size, prefix="second_")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        def by_heads(y: Any) -> Any:
            y = F.reshape(y, shape=(0, 0, self._heads, -1))
            return F.reshape(F.transpose(y, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))

        query, key, value = (by_heads(f(x)) for f in (self.query, self.key, self.value))
        scores = F.batch_dot(query * self._scale, key, transpose_b=True)
        mixed = F.batch_dot(F.softmax(scores, axis=-1), value)
        mixed = F.reshape(mixed, shape=(-4, -1, self._heads, 0, 0))
        mixed = F.reshape(F.transpose(mixed, axes=(0, 2, 1, 3)), shape=(0, 0, -3))
        x = self.first(x + self.output(mixed))
        return self.second(x + self.narrow(self.wide(x)))


def encoder(
    layers: int = LAYERS, size: int = SIZE, heads: int = HEADS, hidden: int = HIDDEN
) -> gluon.HybridBlock:
    net = nn.HybridSequential(prefix="")
    for number in range(layers):
        net.add(EncoderLayer(size, heads, hidden, prefix=f"layer{number}_"))
    return net


def encoder_classifier(**sizes: int) -> gluon.HybridBlock:
    """The encoder, and ten numbers for each place: something to have a loss of."""
    net = encoder(**sizes)
    net.add(nn.Dense(10, flatten=False, in_units=sizes.get("size", SIZE), prefix="classes_"))
    return net


def lenet() -> gluon.HybridBlock:
    net = nn.HybridSequential(prefix="")
    net.add(
        nn.Conv2D(20, 5, activation="relu", in_channels=1, prefix="conv0_"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(50, 5, activation="relu", in_channels=20, prefix="conv1_"),
        nn.MaxPool2D(2, 2),
        nn.Dense(500, "relu", in_units=800, prefix="dense0_"),
        nn.Dense(10, in_units=500, prefix="dense1_"),
    )
    return net


MODELS: dict[str, Callable[[], gluon.HybridBlock]] = {
    "ResNet-18": lambda: vision.resnet18_v1(prefix="net_"),
    "ResNet-50": lambda: vision.resnet50_v1(prefix="net_"),
    "MobileNetV2": lambda: vision.mobilenet_v2_1_0(prefix="net_"),
    "encoder": encoder,
    "encoder, classes": encoder_classifier,
    "LeNet": lenet,
}


def filled(make: Callable[[], gluon.HybridBlock], shape: tuple[int, ...]) -> gluon.HybridBlock:
    """A network for data of this shape, whose weights are the same each time."""
    net = make()
    net.initialize()
    net.infer_shape(nd.zeros(shape))
    for name, parameter in net.collect_params().items():
        parameter.set_data(nd.array(_weights(name, parameter.shape)))
    return net


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("weight"):
        made = random.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("gamma", "running_var")):
        made = random.uniform(0.8, 1.2, shape)
    else:
        made = 0.1 * random.normal(size=shape)
    return made.astype(np.float32)


def describe(net: gluon.HybridBlock, shape: tuple[int, ...]) -> Description:
    symbol = net(sym.var(DATA))
    inside = symbol.get_internals()
    _, shapes, _ = inside.infer_shape(**{DATA: shape})
    names = (name.removesuffix("_output") for name in inside.list_outputs())
    return Description(symbol.tojson(), dict(zip(names, map(tuple, shapes), strict=True)))


def values(net: gluon.HybridBlock) -> dict[str, np.ndarray]:
    return {name: each.data().asnumpy() for name, each in net.collect_params().items()}


def in_double(make: Callable[[], gluon.HybridBlock], shape: tuple[int, ...]) -> gluon.HybridBlock:
    """The network in float64, with the same weights."""
    net = filled(make, shape)
    net.cast("float64")
    return net


def exact_losses(
    make: Callable[[], gluon.HybridBlock],
    data: np.ndarray,
    labels: np.ndarray,
    rate: float,
    momentum: float,
    steps: int,
) -> np.ndarray:
    """Mean losses of the first training steps, in float64."""
    net, loss_function = in_double(make, data.shape), gluon.loss.SoftmaxCrossEntropyLoss()
    x, y = (nd.array(array, dtype="float64") for array in (data, labels))
    fields = {"learning_rate": rate, "momentum": momentum}
    trainer = gluon.Trainer(net.collect_params(), "sgd", fields)
    losses = []
    for _ in range(steps):
        with autograd.record():
            loss = loss_function(net(x), y)
        loss.backward()
        trainer.step(len(data))
        losses.append(loss.asnumpy().mean())
    return np.array(losses)
