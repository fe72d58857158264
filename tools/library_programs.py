"""Ordinary programs, whose code the package brings.

Functions of single operators serve arrays of all sizes, as numbers are no part of code: these are
kept without the programs of the sizes that are here. Networks are found as a whole. Values are not
looked at: kernels do nothing while this runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise, product
from typing import Any

from tigon import autograd, gluon, metric, nd
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision

RUNS: list[tuple[Callable[[], None], bool]] = []


def functions(run: Callable[[], None]) -> Callable[[], None]:
    RUNS.append((run, False))
    return run


def programs(run: Callable[[], None]) -> Callable[[], None]:
    RUNS.append((run, True))
    return run


def run_all(keep_programs: Callable[[bool], None]) -> None:
    for run, whole in RUNS:
        keep_programs(whole)
        run()
        nd.waitall()


# ------------------------------------------------------------------------ single operators


@programs
def creation() -> None:
    """Every shape is served by these."""
    for size in (3, 1 << 23):
        for dtype in ("float32", "float64", "int32", "int64", "uint8", "int8", "bool", "float16"):
            nd.zeros((size,), dtype=dtype)
        for dtype in ("float32", "float64"):
            nd.random.uniform(-1, 1, shape=(size,), dtype=dtype)
            nd.random.normal(0, 2, shape=(size,), dtype=dtype)
            nd.random.normal(1, 2, shape=(size,), dtype=dtype)
    nd.arange(10), nd.array([1, 2]).astype("int32").astype("float32")
    nd.random.randint(0, 10, shape=(5,)), nd.random.shuffle(nd.arange(10)), nd.eye(4)


SHAPES = [(5,), (64, 100), (3, 40, 50), (2, 3, 20, 30), (300, 1000)]
UNARY = """abs negative square sqrt exp log sin cos tanh sigmoid relu sign round floor ceil
    reciprocal rsqrt erf log1p expm1 softsign zeros_like ones_like softmax log_softmax flatten
    identity stop_gradient""".split()
BINARY = """broadcast_add broadcast_sub broadcast_mul broadcast_div broadcast_maximum
    broadcast_minimum broadcast_power broadcast_equal broadcast_not_equal broadcast_greater
    broadcast_lesser broadcast_greater_equal broadcast_lesser_equal""".split()
REDUCTIONS = "sum mean max min argmax argmin norm prod".split()


def with_gradient(call: Callable[..., Any], *operands: Any) -> None:
    for operand in operands:
        operand.attach_grad()
    with autograd.record():
        result = call(*operands)
    result.backward()


@functions
def operators_of_one_array() -> None:
    for shape in SHAPES:
        x = nd.zeros(shape)
        for name in UNARY:
            getattr(nd, name)(x)
        x.astype("int32"), x.astype("float64"), x.astype("uint8"), x.copy()
        nd.clip(x, -1, 1), nd.Dropout(x, mode="always"), nd.LeakyReLU(x, slope=0.1)
        for name in ("exp", "tanh", "sigmoid", "relu", "square", "softmax", "log_softmax", "sqrt"):
            with_gradient(getattr(nd, name), x)


@functions
def operators_of_two_arrays() -> None:
    for shape in SHAPES:
        x, y = nd.zeros(shape), nd.zeros(shape)
        row = nd.zeros(shape[-1:])
        column = nd.zeros((*shape[:-1], 1))
        for name in BINARY:
            call = getattr(nd, name)
            for other in (y, row, column, 2.5):
                call(x, other)
        x += y
        x *= 2.0
        for call in (nd.broadcast_add, nd.broadcast_mul, nd.broadcast_sub, nd.broadcast_div):
            for other in (y, row, column):
                with_gradient(call, x, other)
        nd.where(x > 0, x, y)


@functions
def reductions() -> None:
    for shape in SHAPES:
        x = nd.zeros(shape)
        axes: Iterable[int | None] = dict.fromkeys([None, 0, -1, *range(1, len(shape) - 1)])
        for name, axis in product(REDUCTIONS, axes):
            call = getattr(nd, name)
            call(x) if axis is None else call(x, axis=axis)
        for name in ("sum", "mean", "max"):
            with_gradient(getattr(nd, name), x)


@functions
def products() -> None:
    for m, k, n in product((1, 32, 64, 256), (100, 784), (10, 128, 512)):
        x, y = nd.zeros((m, k)), nd.zeros((k, n))
        with_gradient(nd.dot, x, y)
        nd.dot(x, y.T, transpose_b=True), nd.dot(x.T, y, transpose_a=True)
    for size in (64, 256, 1024):
        nd.dot(nd.zeros((size, size)), nd.zeros((size, size)))
    with_gradient(nd.batch_dot, nd.zeros((8, 32, 64)), nd.zeros((8, 64, 32)))


@functions
def shapes_and_places() -> None:
    x, rows = nd.zeros((64, 100)), nd.zeros((64,))
    x[3], x[2:5], x[:, 4], x[:, 2:9], x.T, x.reshape((-1, 4))
    x[5] = 1
    x[:, 3] = rows
    x[2:4] = nd.zeros((2, 100))
    nd.concat(x, x, dim=0), nd.concat(x, x, dim=1), nd.stack(x, x), nd.expand_dims(x, 1)
    nd.transpose(nd.zeros((2, 3, 4, 5)), axes=(0, 2, 3, 1)), nd.tile(x, (2, 2)), nd.flip(x, 0)
    nd.take(x, rows), nd.one_hot(rows, 10), nd.pick(x, rows), nd.argsort(x), nd.topk(x, k=5)
    nd.Embedding(rows, nd.zeros((1000, 32)), input_dim=1000, output_dim=32)


# -------------------------------------------------------------------------------- networks


def mlp(*sizes: int) -> nn.HybridSequential:
    net = nn.HybridSequential()
    for before, after in pairwise(sizes):
        net.add(nn.Dense(after, None if after is sizes[-1] else "relu", in_units=before))
    return net


def lenet() -> nn.HybridSequential:
    net = nn.HybridSequential()
    for channels in (20, 50):
        net.add(nn.Conv2D(channels, 5, activation="relu"), nn.MaxPool2D(2, 2))
    net.add(nn.Dense(500, activation="relu"), nn.Dense(10))
    return net


def convolutional() -> nn.HybridSequential:
    net = nn.HybridSequential()
    for channels in (32, 64):
        net.add(nn.Conv2D(channels, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"))
        net.add(nn.MaxPool2D(2))
    net.add(nn.Dense(128, activation="relu"), nn.Dropout(0.5), nn.Dense(10))
    return net


class Encoder(nn.HybridBlock):
    """A layer of a transformer: attention by heads, two dense layers, norms after each sum."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        self._heads, self._scale = heads, (size // heads) ** -0.5
        self.query, self.key, self.value, self.output = (
            nn.Dense(size, flatten=False, in_units=size) for _ in range(4)
        )
        self.wide = nn.Dense(hidden, "relu", flatten=False, in_units=size)
        self.narrow = nn.Dense(size, flatten=False, in_units=hidden)
        self.first, self.second = nn.LayerNorm(in_channels=size), nn.LayerNorm(in_channels=size)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        def by_heads(y: Any) -> Any:
            y = F.reshape(y, shape=(0, 0, self._heads, -1))
            return F.reshape(F.transpose(y, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))

        query, key, value = (by_heads(part(x)) for part in (self.query, self.key, self.value))
        scores = F.batch_dot(query * self._scale, key, transpose_b=True)
        mixed = F.batch_dot(F.softmax(scores, axis=-1), value)
        mixed = F.reshape(mixed, shape=(-4, -1, self._heads, 0, 0))
        mixed = F.reshape(F.transpose(mixed, axes=(0, 2, 1, 3)), shape=(0, 0, -3))
        x = self.first(x + self.output(mixed))
        return self.second(x + self.narrow(self.wide(x)))


def encoder(classes: int = 0) -> nn.HybridSequential:
    net = nn.HybridSequential()
    for _ in range(2):
        net.add(Encoder(512, 8, 2048))
    if classes:
        net.add(nn.Dense(classes, flatten=False, in_units=512))
    return net


def ready(net: gluon.HybridBlock) -> gluon.HybridBlock:
    net.initialize()
    net.hybridize()
    return net


def forward(net: gluon.HybridBlock, *shape: int) -> None:
    ready(net)(nd.zeros(shape))


OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {"learning_rate": 0.1},
    "sgd with momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "adam": {"learning_rate": 0.001},
}


def step(
    net: gluon.HybridBlock, optimizer: str, whole: bool, x: nd.NDArray, y: nd.NDArray
) -> nd.NDArray | None:
    """One step, as a whole, or as a loop writes it: then what the network gave."""
    ready(net)
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    parameters = net.collect_params()
    trainer = gluon.Trainer(parameters, optimizer.partition(" ")[0], OPTIMIZERS[optimizer])
    if whole:
        gluon.TrainStep(net, loss_function, trainer)(x, y)
        return None
    loss_function.hybridize()
    with autograd.record():
        out = net(x)
        loss = loss_function(out, y)
    loss.backward()
    trainer.step(len(x))
    loss.mean().asscalar()
    return out


def training(net: gluon.HybridBlock, optimizer: str, whole: bool, *shape: int) -> None:
    """One step, with what loops look at."""
    x, y = nd.zeros(shape), nd.zeros(shape[:1])
    out = step(net, optimizer, whole, x, y)
    if out is not None:
        metric.Accuracy().update([y], [out])
        (net(x).argmax(axis=1) == y).sum().asscalar()


@programs
def multilayer_perceptrons() -> None:
    for batch in (1, 10, 32, 64, 100, 128, 256):
        for sizes in ((784, 256, 128, 10), (784, 128, 64, 10), (784, 128, 10), (512, 256, 128, 2)):
            forward(mlp(*sizes), batch, sizes[0])
    for batch, whole, optimizer in product((32, 64, 128), (False, True), OPTIMIZERS):
        training(mlp(784, 256, 128, 10), optimizer, whole, batch, 784)
        training(mlp(784, 128, 64, 10), optimizer, whole, batch, 1, 28, 28)


@programs
def convolutional_networks() -> None:
    for batch in (1, 32, 64, 128):
        forward(lenet(), batch, 1, 28, 28)
        forward(convolutional(), batch, 3, 32, 32)
    for whole, optimizer in product((False, True), OPTIMIZERS):
        training(lenet(), optimizer, whole, 64, 1, 28, 28)
    training(convolutional(), "adam", False, 64, 3, 32, 32)
    training(convolutional(), "adam", True, 64, 3, 32, 32)


@programs
def networks_of_the_zoo() -> None:
    for make in (vision.resnet18_v1, vision.resnet18_v2, vision.mobilenet_v2_1_0):
        forward(make(), 1, 3, 224, 224)
    forward(vision.resnet50_v1(), 1, 3, 224, 224)
    training(vision.resnet18_v1(), "sgd with momentum", True, 8, 3, 224, 224)


@functions
def batches_of_the_zoo() -> None:
    for make in (vision.resnet18_v1, vision.resnet50_v1, vision.mobilenet_v2_1_0):
        forward(make(), 8, 3, 224, 224)


@functions
def encoders() -> None:
    x, y = nd.zeros((4, 128, 512)), nd.zeros((4, 128))
    ready(encoder())(x)
    for whole, optimizer in product((False, True), OPTIMIZERS):
        step(encoder(classes=10), optimizer, whole, x, y)
