"""The rows of the table: one workload each, by tigon, its peers (where installed) and numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import modules
import numpy as np
import peers
from inputs import RANDOM, Layers, dense_layers, normal

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

torch_side, jax_side, onnx_side = map(peers.side, ("torch", "jax", "onnxruntime"))
if torch_side is not None:
    import torch
if jax_side is not None:
    import jax
    import jax.numpy as jnp

RATE, MOMENTUM = 0.01, 0.9
LOOP = "tigon, record/backward/step"
MODULE = "a step of Module.fit with its metric, 784-256-128-10, batch 64"
WITH_METRIC = "TrainStep with the metric"
CONTEXTS = "training step, batch of 512 over two contexts"
ONE_CONTEXT = "the batch on one"
LSTM = "LSTM of 128 -> 256, 64 steps of 32"
DECISION = "a block that decides once by the sum of 10 elements"
SEGMENTS = "its two segments"
SCAN = "one of 1,000 iterations of tanh(dot) on (1, 8)"
FACTORS = "Cholesky factors of 64 matrices of 32x32"


@dataclass(frozen=True)
class Contestant:
    """A function that does the work once and waits for it, one that returns what was computed, and
    what to be in meanwhile."""

    run: Callable[[], Any]
    result: Callable[[], Any]
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass
class Row:
    """One workload and its contestants by name.

    `flops` counts the multiplications and additions of products and convolutions, `size` the bytes
    that must be read and written at least; both for one of the `per` calls that a turn makes.
    `main` rows are in the short table; in `busy` ones another process uses one core meanwhile.
    `exact` computes in float64 what the results are held against.
    """

    name: str
    tolerance: float = 1e-4
    per: int = 1
    flops: float = 0.0
    size: float = 0.0
    main: bool = False
    busy: bool = False
    contestants: dict[str, Contestant] = field(default_factory=dict)
    exact: Callable[[], Any] | None = None

    def enter(
        self,
        name: str,
        run: Callable[[], Any],
        result: Callable[[], Any] | None = None,
        within: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """Add a contestant; where `run` returns the result itself, that is compared."""
        self.contestants[name] = Contestant(run, result or run, within)

    def enter_tigon(self, name: str, function: Callable[..., Any], *arrays: nd.NDArray) -> None:
        """Add a call of the function that waits for its array."""
        call = partial(function, *arrays)
        self.enter(name, lambda: call().wait_to_read(), lambda: call().asnumpy())

    def enter_torch(self, function: Callable[..., Any], *arrays: np.ndarray) -> None:
        """Add a call of the function without gradients, if there is PyTorch."""
        if torch_side is not None:
            call = partial(function, *map(torch.from_numpy, arrays))
            self.enter("torch", call, within=torch.inference_mode)

    def enter_jax(self, function: Callable[..., Any], *arrays: np.ndarray) -> None:
        """Add a call of the function compiled, if there is JAX."""
        if jax_side is not None:
            self.enter("jax", jax_side.call(function, *arrays))


def gluon_network(layers: Layers) -> gluon.HybridBlock:
    net = nn.HybridSequential()
    for index, (weight, bias) in enumerate(layers):
        last = index == len(layers) - 1
        net.add(
            nn.Dense(
                weight.shape[0],
                None if last else "relu",
                in_units=weight.shape[1],
                prefix=f"d{index}_",
            )
        )
        net[-1].initialize()
        net[-1].weight.set_data(nd.array(weight))
        net[-1].bias.set_data(nd.array(bias))
    return net


def documents_network() -> Iterator[Row]:
    """Dense(256, relu), Dense(128, relu), Dense(2) on an input of (1, 512)."""
    layers = dense_layers([512, 256, 128, 2])
    count = sum(weight.size + bias.size for weight, bias in layers)
    data = normal(1, 512)
    x = nd.array(data)

    def with_numpy() -> np.ndarray:
        y = data
        for index, (weight, bias) in enumerate(layers):
            y = y @ weight.T + bias
            if index < len(layers) - 1:
                y = np.maximum(y, 0)
        return y

    def row(how: str) -> Row:
        made = Row(f"network 512-256-128-2, batch 1, {how}", main=True)
        made.flops, made.size = 2.0 * count, 4.0 * count
        made.enter("numpy", with_numpy)
        return made

    hybridized, net = row("hybridized"), gluon_network(layers)
    net.hybridize()
    hybridized.enter_tigon("tigon", net, x)
    if torch_side is not None:
        hybridized.enter_torch(torch_side.frozen(torch_side.network(layers), data), data)
    if jax_side is not None:
        hybridized.enter("jax", jax_side.network(layers, data))
    if onnx_side is not None:
        model = onnx_side.network(layers, 1)
        hybridized.enter("onnxruntime", *onnx_side.bound(model, (1, 2), data))
        hybridized.enter("onnxruntime, new outputs", onnx_side.call(model, data))
    yield hybridized

    imperative = row("imperative")
    imperative.enter_tigon("tigon", gluon_network(layers), x)
    if torch_side is not None:
        imperative.enter_torch(torch_side.network(layers), data)
    yield imperative


def chain(a: Any, b: Any, tanh: Callable[[Any], Any]) -> Any:
    return tanh(b * a + 1) * 0.5 + a


def scaled(a: Any, b: Any, tanh: Callable[[Any], Any]) -> Any:
    return b * a + 1


def elementwise(size: int, formula: Callable[..., Any], name: str) -> Iterator[Row]:
    """A formula, imperatively and compiled; all results in fresh arrays."""
    a, b = normal(size), normal(size)
    arrays = nd.array(a), nd.array(b)

    class Formula(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            return formula(a, b, nd.tanh)

    imperative, hybrid = Formula(), Formula()
    hybrid.hybridize()
    row = Row(f"{name}, {size:,} elements", size=12.0 * size, main=size > 1000)
    row.enter("numpy", lambda: formula(a, b, np.tanh))
    row.enter_tigon("tigon", hybrid, *arrays)
    row.enter_tigon("tigon imperative", imperative, *arrays)
    if torch_side is not None:
        row.enter_torch(partial(formula, tanh=torch.tanh), a, b)
    if jax_side is not None:
        row.enter_jax(partial(formula, tanh=jnp.tanh), a, b)
    if onnx_side is not None:
        model = onnx_side.formula(size, chained=formula is chain)
        row.enter("onnxruntime", onnx_side.call(model, a, b))
    if formula is chain:
        # At its best numpy writes into the same arrays again.
        buffer, one, half = np.empty_like(a), np.float32(1), np.float32(0.5)

        def in_place() -> np.ndarray:
            np.multiply(b, a, out=buffer)
            np.add(buffer, one, out=buffer)
            np.tanh(buffer, out=buffer)
            np.multiply(buffer, half, out=buffer)
            np.add(buffer, a, out=buffer)
            return buffer

        row.enter("numpy, in place", in_place)
    yield row


def small_adds() -> Iterator[Row]:
    """1,000 imperative additions of 10 elements."""
    count = 1000
    data = normal(10)
    x = nd.array(data)

    def add(x: Any) -> Any:
        y = x
        for _ in range(count):
            y = y + x
        return y

    row = Row("one imperative add of 10 elements (of 1,000)", 1e-3, per=count, main=True)
    row.enter("numpy", lambda: add(data))
    row.enter_tigon("tigon", add, x)
    row.enter_torch(add, data)
    if jax_side is not None:
        given = jnp.asarray(data)
        row.enter("jax", lambda: add(given).block_until_ready())
    yield row


def recorded_adds() -> Iterator[Row]:
    """A chain of 100 recorded products of 10 elements, and backward through it."""
    count = 100
    start, factor = normal(10), np.linspace(0.99, 1.01, 10, dtype=np.float32)
    x, w = nd.array(start), nd.array(factor)
    w.attach_grad()

    def with_tigon() -> Any:
        with autograd.record():
            y = x
            for _ in range(count):
                y = y * w
        y.backward()
        return w.grad

    name = "one recorded product of 10 elements, forward and backward (of 100)"
    row = Row(name, 1e-2, per=count, main=True)
    row.enter_tigon("tigon", with_tigon)
    if torch_side is not None:
        source = torch.from_numpy(start)
        weight = torch.from_numpy(factor.copy()).requires_grad_()
        ones = torch.ones(10)

        def with_torch() -> Any:
            weight.grad = None
            y = source
            for _ in range(count):
                y = y * weight
            y.backward(ones)
            return weight.grad

        row.enter("torch", with_torch)
    yield row


# ------------------------------------------------------------------------ training steps


def tigon_steps(
    make: Callable[[], gluon.HybridBlock], images: np.ndarray, labels: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """A step that returns its losses: as one program, and as the usual loop over a hybridized
    network and an imperative one."""
    x, y = nd.array(images), nd.array(labels)

    def maker(how: str) -> Callable[[], Any]:
        net, loss_function = make(), gluon.loss.SoftmaxCrossEntropyLoss()
        if how == "loop":
            net.hybridize()
            loss_function.hybridize()
        trainer = gluon.Trainer(
            net.collect_params(), "sgd", {"learning_rate": RATE, "momentum": MOMENTUM}
        )
        if how == "TrainStep":
            train_step = gluon.TrainStep(net, loss_function, trainer)

            def whole() -> Any:
                loss = train_step(x, y)
                loss.wait_to_read()
                return loss

            return whole

        last = list(net.collect_params().values())[-1]

        def step() -> Any:
            with autograd.record():
                loss = loss_function(net(x), y)
            loss.backward()
            trainer.step(len(images))
            last.data().wait_to_read()
            return loss

        return step

    return {how: maker(how) for how in ("TrainStep", "loop", "imperative")}


def _third(step: Callable[[], Any]) -> Any:
    """The loss after two updates."""
    step()
    step()
    return step()


def step_row(
    name: str,
    make: Callable[[], gluon.HybridBlock],
    peer_steps: Callable[[], dict[str, Callable[[], Any]]],
    images: np.ndarray,
    labels: np.ndarray,
    flops: float,
) -> Row:
    """One row; the second column is imperative, the usual loop over hybridized code an extra."""
    titles = {"TrainStep": "tigon", "loop": LOOP, "imperative": "tigon imperative"}
    row = Row(name, 1e-3, flops=flops, main=True)
    for how, step in tigon_steps(make, images, labels).items():
        row.enter(titles[how], step, lambda step=step: _third(step).mean().asnumpy())
    for title, step in peer_steps().items():
        row.enter(title, step, partial(_third, step))
    return row


def dense_training(busy: bool = False) -> Iterator[Row]:
    """784-256-128-10, batch 64, softmax cross-entropy, SGD with momentum."""
    sizes = [784, 256, 128, 10]
    layers = dense_layers(sizes)
    images, labels = normal(64, 784), RANDOM.randint(0, 10, 64)
    products = [2.0 * 64 * before * after for before, after in itertools.pairwise(sizes)]
    given = images, labels, RATE, MOMENTUM

    def peer_steps() -> dict[str, Callable[[], Any]]:
        steps = {}
        if torch_side is not None:
            steps["torch"] = torch_side.step(torch_side.network(layers), *given)
        if jax_side is not None:
            steps["jax"] = jax_side.step(layers, *given)
        return steps

    row = step_row(
        "training step 784-256-128-10, batch 64",
        lambda: gluon_network(layers),
        peer_steps,
        images,
        labels,
        3 * sum(products) - products[0],  # nobody wants the gradient of the images
    )
    if busy:
        row.name += ", beside a busy process"
        row.busy, row.main = True, False
    yield row


def module_training() -> Iterator[Row]:
    """Epochs of `Module.fit` of 20 steps of the network above, with the metric."""
    count = 20
    layers = dense_layers([784, 256, 128, 10])
    given = normal(64, 784), RANDOM.randint(0, 10, 64).astype(np.float32), count, RATE, MOMENTUM
    row = Row(MODULE, 1e-3, per=count)
    row.enter("tigon", modules.fitting(layers, *given))
    row.enter(WITH_METRIC, modules.stepping(gluon_network(layers), *given))
    yield row


def convolutional_training() -> Iterator[Row]:
    """LeNet: two convolutions with pooling, two dense layers; batch 64 of 1x28x28."""
    images, labels = normal(64, 1, 28, 28), RANDOM.randint(0, 10, 64)
    shapes = [(20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)]
    weights = [normal(*shape) / np.sqrt(np.prod(shape[1:])).astype(np.float32) for shape in shapes]
    biases = [normal(shape[0]) * 0.1 for shape in shapes]

    def make() -> gluon.HybridBlock:
        net = nn.HybridSequential()
        net.add(
            nn.Conv2D(20, 5, activation="relu", in_channels=1),
            nn.MaxPool2D(2, 2),
            nn.Conv2D(50, 5, activation="relu", in_channels=20),
            nn.MaxPool2D(2, 2),
            nn.Dense(500, "relu", in_units=800),
            nn.Dense(10, in_units=500),
        )
        net.initialize()
        layers = [layer for layer in net if hasattr(layer, "weight")]
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            layer.weight.set_data(nd.array(weight))
            layer.bias.set_data(nd.array(bias))
        return net

    def peer_steps() -> dict[str, Callable[[], Any]]:
        if torch_side is None:
            return {}
        t = torch.nn
        model = t.Sequential(
            t.Conv2d(1, 20, 5), t.ReLU(), t.MaxPool2d(2), t.Conv2d(20, 50, 5), t.ReLU(),
            t.MaxPool2d(2), t.Flatten(), t.Linear(800, 500), t.ReLU(), t.Linear(500, 10),
        )  # fmt: skip
        layers = [layer for layer in model if hasattr(layer, "weight")]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, weights, biases, strict=True):
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
        return {"torch": torch_side.step(model, images, labels, RATE, MOMENTUM)}

    places = (24 * 24, 8 * 8, 1, 1)
    products = [2.0 * 64 * p * weight.size for p, weight in zip(places, weights, strict=True)]
    flops = 3 * sum(products) - products[0]
    yield step_row("training step LeNet, 64x1x28x28", make, peer_steps, images, labels, flops)


def recurrent_network() -> Iterator[Row]:
    """LSTM of 128 to 256 numbers over 64 steps of 32 sequences: the layer, and its gradients of the
    sum of the results."""
    steps, batch, features, size = 64, 32, 128, 256
    data = normal(steps, batch, features)
    layer = gluon.rnn.LSTM(size, input_size=features)
    layer.initialize()
    names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
    parameters = [layer.collect_params()[f"{layer.prefix}l0_{name}"] for name in names]
    for parameter in parameters:
        parameter.set_data(nd.array(normal(*parameter.shape) / 16))
    layer.hybridize()
    flops = 2.0 * steps * batch * 4 * size * (features + size)

    forward = Row(LSTM, flops=flops)
    forward.enter_tigon("tigon", layer, nd.array(data))
    training = Row(f"{LSTM}, forward and backward", 1e-3, flops=3 * flops)
    x = nd.array(data)
    x.attach_grad()

    def with_tigon() -> Any:
        with autograd.record():
            out = layer(x)
        out.backward()
        return parameters[1].grad()

    training.enter("tigon", lambda: with_tigon().wait_to_read(), lambda: with_tigon().asnumpy())
    if torch_side is not None:
        values = [parameter.data().asnumpy() for parameter in parameters]
        model, step = torch_side.lstm(values, data)
        forward.enter_torch(lambda given: model(given)[0], data)
        training.enter("torch", step)
    yield forward
    yield training


# --------------------------------------------------------------------- single operators


def softmax_rows() -> Iterator[Row]:
    for rows, columns in ((64, 10), (1024, 1000), (65536, 10), (128, 65536)):
        data = normal(rows, columns)

        def with_numpy(data: np.ndarray = data) -> np.ndarray:
            shifted = np.exp(data - data.max(axis=1, keepdims=True))
            return shifted / shifted.sum(axis=1, keepdims=True)

        row = Row(f"softmax of {rows:,} rows of {columns:,}", 1e-5, size=8.0 * rows * columns)
        row.enter("numpy", with_numpy)
        row.enter_tigon("tigon", partial(nd.softmax, axis=-1), nd.array(data))
        if torch_side is not None:
            row.enter_torch(partial(torch.softmax, dim=1), data)
        if jax_side is not None:
            row.enter_jax(jax.nn.softmax, data)
        yield row


def matrix_products() -> Iterator[Row]:
    for n in (256, 512, 1024, 2048):
        a, b = normal(n, n), normal(n, n)
        row = Row(f"matrix product, n = {n}", 2e-3, main=n == 1024)
        row.flops, row.size = 2.0 * n**3, 12.0 * n * n
        row.enter("numpy", partial(np.matmul, a, b, out=np.empty_like(a)))
        row.enter_tigon("tigon", nd.dot, nd.array(a), nd.array(b))
        if torch_side is not None:
            row.enter_torch(partial(torch.mm, out=torch.empty(n, n)), a, b)
        row.enter_jax(lambda a, b: a @ b, a, b)
        if onnx_side is not None:
            row.enter(
                "onnxruntime", *onnx_side.bound(onnx_side.product((n, n), (n, n)), (n, n), a, b)
            )
        yield row


def cholesky_factors() -> Iterator[Row]:
    """64 matrices of 32x32; the other triangle is zero in all results."""
    if find_spec("scipy") is None:
        return
    from scipy.linalg import lapack

    given = normal(64, 32, 32)
    data = given @ given.transpose(0, 2, 1) + 32 * np.eye(32, dtype=np.float32)

    def with_scipy() -> np.ndarray:
        return np.stack([lapack.spotrf(each, lower=1, clean=1)[0] for each in data])

    row = Row(FACTORS, flops=64 * 32**3 / 3)
    row.enter("numpy", partial(np.linalg.cholesky, data))
    row.enter("SciPy's LAPACK in a loop", with_scipy)
    row.enter_tigon("tigon", nd.linalg.potrf, nd.array(data))
    if torch_side is not None:
        row.enter_torch(torch.linalg.cholesky, data)
    if jax_side is not None:
        row.enter_jax(jnp.linalg.cholesky, data)
    yield row


def several_contexts() -> Iterator[Row]:
    """A batch of 512 cut in two, as programs for several devices do it; here both are the
    processor. Its rate of 0 leaves the weights alone, so that all steps are one."""
    layers = dense_layers([784, 256, 128, 10])
    images, labels = normal(512, 784), RANDOM.randint(0, 10, 512)

    def enter(name: str, contexts: list[mx.Context]) -> None:
        net = gluon_network(layers)
        net.collect_params().reset_ctx(contexts)
        net.hybridize()
        loss = gluon.loss.SoftmaxCrossEntropyLoss()
        loss.hybridize()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.0})
        given, wanted = nd.array(images), nd.array(labels)

        def step() -> None:
            parts = [gluon.utils.split_and_load(whole, contexts) for whole in (given, wanted)]
            with autograd.record():
                losses = [loss(net(x), y) for x, y in zip(*parts, strict=True)]
            autograd.backward(losses)
            trainer.step(len(images))
            for weight in net[-1].weight.list_data():
                weight.wait_to_read()

        def gradient() -> np.ndarray:
            step()
            return sum(part.asnumpy() for part in net[0].weight.list_grad())

        row.enter(name, step, gradient)

    row = Row(CONTEXTS)
    enter("tigon", [mx.cpu(0), mx.cpu(1)])
    enter(ONE_CONTEXT, [mx.cpu(0)])
    yield row


def small_iterations() -> Iterator[Row]:
    """A loop of the graph whose body is next to nothing."""
    count, size = 1000, 8
    data, begin, matrix = normal(count, 1, size), normal(1, size), 0.1 * normal(size, size)

    class Scan(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, state: Any, weight: Any) -> Any:
            def body(row: Any, state: Any) -> Any:
                state = F.tanh(F.dot(state, weight) + row)
                return state, state

            return F.contrib.foreach(body, x, state)[1]

    net = Scan()
    net.hybridize(strict=True)
    x, state, weight = map(nd.array, (data, begin, matrix))

    def with_numpy() -> np.ndarray:
        here = begin
        for row in data:
            here = np.tanh(here @ matrix + row)
        return here

    row = Row(SCAN, 1e-3, per=count)
    row.enter_tigon("tigon", net, x, state, weight)
    row.enter("numpy", with_numpy)
    yield row
    own = nd.array(begin), nd.array(matrix)
    for array in own:
        array.attach_grad()

    def gradient() -> nd.NDArray:
        with autograd.record():
            last = net(x, *own)
        last.backward()
        return own[1].grad

    training = Row(f"{SCAN}, forward and backward", 1e-3, per=count)
    training.enter_tigon("tigon", gradient)
    yield training


def one_decision() -> Iterator[Row]:
    """A block that decides once, beside its two segments as calls of their own; all is ready at
    once, so that nobody waits."""
    data = normal(10)
    x = nd.array(data)

    @mx.jit
    def whole(x: Any) -> Any:
        y = nd.square(x)
        return y * 2 if y.sum() > 0 else y

    @mx.jit
    def first(x: Any) -> Any:
        y = nd.square(x)
        return y, y.sum() > 0

    second = mx.jit(lambda y: y * 2)
    row = Row(DECISION)
    row.enter_tigon("tigon", whole, x)
    row.enter_tigon(SEGMENTS, lambda x: second(first(x)[0]), x)
    yield row


def rows(only: str) -> Iterator[Row]:
    """Made as they are asked for, so that their arrays go when they are done."""
    text = "tanh(b*a+1)*0.5+a"
    makers: list[Callable[[], Iterator[Row]]] = [
        documents_network,
        lambda: elementwise(1_000, chain, text),
        lambda: elementwise(10_000_000, chain, text),
        lambda: elementwise(10_000_000, scaled, "b*a+1"),
        small_adds,
        recorded_adds,
        dense_training,
        lambda: dense_training(busy=True),
        module_training,
        convolutional_training,
        recurrent_network,
        softmax_rows,
        matrix_products,
        cholesky_factors,
        several_contexts,
        small_iterations,
        one_decision,
    ]
    return (row for make in makers for row in make() if only in row.name)
