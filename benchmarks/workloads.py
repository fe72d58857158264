"""The rows of the table: one workload each, by tigon, PyTorch (where installed) and numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tigon import autograd, gluon, nd
from tigon.gluon import nn

try:
    import torch
except ImportError:
    torch = None

RATE, MOMENTUM = 0.01, 0.9


@dataclass
class Row:
    """One workload: contestants by name, each a function that does it once and waits.

    `flops` counts the multiplications and additions of products and convolutions, `size` the bytes
    that must be read and written at least; both for one of the `per` calls that a turn makes.
    `main` rows are in the short table; in `busy` ones another process uses one core meanwhile.
    """

    name: str
    contestants: dict[str, Callable[[], Any]]
    results: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    tolerance: float = 1e-4
    per: int = 1
    flops: float = 0.0
    size: float = 0.0
    main: bool = False
    busy: bool = False


RANDOM = np.random.RandomState(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.randn(*shape).astype(np.float32)


def dense_layers(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (normal(after, before) / np.sqrt(before).astype(np.float32), normal(after) * 0.1)
        for before, after in itertools.pairwise(sizes)
    ]


def gluon_network(layers: list[tuple[np.ndarray, np.ndarray]]) -> gluon.HybridBlock:
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


def torch_network(layers: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    modules: list[Any] = []
    for index, (weight, bias) in enumerate(layers):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear] if index == len(layers) - 1 else [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules)


def documents_network() -> Iterator[Row]:
    """Dense(256, relu), Dense(128, relu), Dense(2) on an input of (1, 512)."""
    layers = dense_layers([512, 256, 128, 2])
    count = sum(weight.size + bias.size for weight, bias in layers)
    data = normal(1, 512)
    x = nd.array(data)
    imperative, hybrid = gluon_network(layers), gluon_network(layers)
    hybrid.hybridize()

    def with_numpy() -> np.ndarray:
        y = data
        for index, (weight, bias) in enumerate(layers):
            y = y @ weight.T + bias
            if index < len(layers) - 1:
                y = np.maximum(y, 0)
        return y

    for name, net in (("hybridized", hybrid), ("imperative", imperative)):
        contestants: dict[str, Callable[[], Any]] = {
            "tigon": lambda net=net: net(x).wait_to_read(),
            "numpy": with_numpy,
        }
        checked = {"numpy": with_numpy, "tigon": lambda net=net: net(x).asnumpy()}
        if torch is not None:
            model, tensor = torch_network(layers).eval(), torch.from_numpy(data)
            if name == "hybridized":
                with torch.no_grad():
                    model = torch.jit.freeze(torch.jit.trace(model, tensor))

            def with_torch(model: Any = model, tensor: Any = tensor) -> Any:
                with torch.inference_mode():
                    return model(tensor)

            contestants["torch"] = with_torch
            checked["torch"] = lambda run=with_torch: run().numpy()
        yield Row(
            f"network 512-256-128-2, batch 1, {name}",
            contestants,
            checked,
            flops=2.0 * count,
            size=4.0 * count,
            main=True,
        )


def chain(a: Any, b: Any, tanh: Callable[[Any], Any]) -> Any:
    return tanh(b * a + 1) * 0.5 + a


def scaled(a: Any, b: Any, _tanh: Callable[[Any], Any]) -> Any:
    return b * a + 1


def elementwise(size: int, formula: Callable[..., Any], name: str) -> Iterator[Row]:
    """A formula, imperatively and compiled; all results in fresh arrays."""
    a, b = normal(size), normal(size)
    array_a, array_b = nd.array(a), nd.array(b)

    class Formula(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            return formula(a, b, nd.tanh)

    imperative, hybrid = Formula(), Formula()
    hybrid.hybridize()
    contestants: dict[str, Callable[[], Any]] = {
        "tigon": lambda: hybrid(array_a, array_b).wait_to_read(),
        "tigon imperative": lambda: imperative(array_a, array_b).wait_to_read(),
        "numpy": lambda: formula(a, b, np.tanh),
    }
    results = {
        "numpy": lambda: formula(a, b, np.tanh),
        "tigon": lambda: hybrid(array_a, array_b).asnumpy(),
        "tigon imperative": lambda: imperative(array_a, array_b).asnumpy(),
    }
    if torch is not None:
        tensor_a, tensor_b = torch.from_numpy(a), torch.from_numpy(b)

        def with_torch() -> Any:
            with torch.inference_mode():
                return formula(tensor_a, tensor_b, torch.tanh)

        contestants["torch"] = with_torch
        results["torch"] = lambda: with_torch().numpy()
    yield Row(
        f"{name}, {size:,} elements", contestants, results, size=12.0 * size, main=size > 1000
    )


def reused(size: int) -> Iterator[Row]:
    """The chain against numpy at its best, which writes into the same arrays again."""
    a, b = normal(size), normal(size)
    array_a, array_b = nd.array(a), nd.array(b)

    class Formula(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            return chain(a, b, nd.tanh)

    imperative, hybrid = Formula(), Formula()
    hybrid.hybridize()
    buffer = np.empty_like(a)
    one, half = np.float32(1), np.float32(0.5)

    def with_numpy() -> np.ndarray:
        np.multiply(b, a, out=buffer)
        np.add(buffer, one, out=buffer)
        np.tanh(buffer, out=buffer)
        np.multiply(buffer, half, out=buffer)
        np.add(buffer, a, out=buffer)
        return buffer

    yield Row(
        f"tanh(b*a+1)*0.5+a, {size:,} elements, numpy in place",
        {
            "tigon": lambda: hybrid(array_a, array_b).wait_to_read(),
            "tigon imperative": lambda: imperative(array_a, array_b).wait_to_read(),
            "numpy": with_numpy,
        },
        {"numpy": with_numpy, "tigon": lambda: hybrid(array_a, array_b).asnumpy()},
        size=12.0 * size,
    )


def small_adds() -> Iterator[Row]:
    """1,000 imperative additions of 10 elements."""
    count = 1000
    data = normal(10)
    x = nd.array(data)

    def add(y: Any, x: Any) -> Any:
        for _ in range(count):
            y = y + x
        return y

    contestants = {"tigon": lambda: add(x, x).wait_to_read(), "numpy": lambda: add(data, data)}
    results = {"numpy": lambda: add(data, data), "tigon": lambda: add(x, x).asnumpy()}
    if torch is not None:
        tensor = torch.from_numpy(data)

        def with_torch() -> Any:
            with torch.inference_mode():
                return add(tensor, tensor)

        contestants["torch"] = with_torch
        results["torch"] = lambda: with_torch().numpy()
    name = "one imperative add of 10 elements (of 1,000)"
    yield Row(name, contestants, results, 1e-3, per=count, main=True)


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

    row = Row(
        "one recorded product of 10 elements, forward and backward (of 100)",
        {"tigon": lambda: with_tigon().wait_to_read()},
        {"tigon": lambda: with_tigon().asnumpy()},
        1e-2,
        per=count,
        main=True,
    )
    if torch is not None:
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

        row.contestants["torch"] = with_torch
        row.results["torch"] = lambda: with_torch().numpy()
    yield row


# ------------------------------------------------------------------------ training steps


def tigon_steps(
    make: Callable[[], gluon.HybridBlock], images: np.ndarray, labels: np.ndarray
) -> dict[str, tuple[Callable[[], Any], Callable[[], np.ndarray]]]:
    """A step, and a step that gives its mean loss: as one program, and as the usual loop over a
    hybridized network and an imperative one."""
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

    made = {}
    for how in ("TrainStep", "loop", "imperative"):
        step = maker(how)
        made[how] = (step, lambda step=step: _third(step).mean().asnumpy())
    return made


def _third(step: Callable[[], Any]) -> Any:
    """The loss after two updates."""
    step()
    step()
    return step()


def torch_step(
    model: Any, images: np.ndarray, labels: np.ndarray
) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """The same training step in PyTorch, with its fused optimizer."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    loss_function = torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, lambda: _third(step).detach().numpy().reshape(1)


def step_rows(
    name: str,
    make: Callable[[], gluon.HybridBlock],
    make_torch: Callable[[], Any],
    images: np.ndarray,
    labels: np.ndarray,
    flops: float,
) -> Iterator[Row]:
    steps = tigon_steps(make, images, labels)
    for suffix, column in (
        ("TrainStep", {"tigon": "TrainStep"}),
        ("loop", {"tigon": "loop", "tigon imperative": "imperative"}),
    ):
        row = Row(
            f"{name}, {suffix}",
            {title: steps[how][0] for title, how in column.items()},
            {title: steps[how][1] for title, how in column.items()},
            1e-3,
            flops=flops,
            main=True,
        )
        if torch is not None:
            row.contestants["torch"], row.results["torch"] = torch_step(
                make_torch(), images, labels
            )
        yield row


def dense_training(busy: bool = False) -> Iterator[Row]:
    """784-256-128-10, batch 64, softmax cross-entropy, SGD with momentum."""
    sizes = [784, 256, 128, 10]
    layers = dense_layers(sizes)
    images, labels = normal(64, 784), RANDOM.randint(0, 10, 64)
    products = [2.0 * 64 * before * after for before, after in itertools.pairwise(sizes)]
    found = step_rows(
        "training step 784-256-128-10, batch 64",
        lambda: gluon_network(layers),
        lambda: torch_network(layers),
        images,
        labels,
        3 * sum(products) - products[0],  # nobody wants the gradient of the images
    )
    if not busy:
        yield from found
        return
    row = next(found)
    row.name += ", beside a busy process"
    row.busy, row.main = True, False
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

    def make_torch() -> Any:
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
        return model

    places = (24 * 24, 8 * 8, 1, 1)
    products = [2.0 * 64 * p * weight.size for p, weight in zip(places, weights, strict=True)]
    flops = 3 * sum(products) - products[0]
    yield from step_rows("training step LeNet, 64x1x28x28", make, make_torch, images, labels, flops)


# --------------------------------------------------------------------- single operators


def softmax_rows() -> Iterator[Row]:
    for rows, columns in ((64, 10), (1024, 1000), (65536, 10), (128, 65536)):
        data = normal(rows, columns)
        array = nd.array(data)

        def with_numpy(data: np.ndarray = data) -> np.ndarray:
            shifted = np.exp(data - data.max(axis=1, keepdims=True))
            return shifted / shifted.sum(axis=1, keepdims=True)

        row = Row(
            f"softmax of {rows:,} rows of {columns:,}",
            {
                "tigon": lambda array=array: nd.softmax(array, axis=-1).wait_to_read(),
                "numpy": with_numpy,
            },
            {
                "numpy": with_numpy,
                "tigon": lambda array=array: nd.softmax(array, axis=-1).asnumpy(),
            },
            1e-5,
            size=8.0 * rows * columns,
        )
        if torch is not None:
            tensor = torch.from_numpy(data)
            row.contestants["torch"] = lambda x=tensor: torch.softmax(x, 1)
            row.results["torch"] = lambda x=tensor: torch.softmax(x, 1).numpy()
        yield row


def matrix_products() -> Iterator[Row]:
    for n in (256, 512, 1024, 2048):
        a, b = normal(n, n), normal(n, n)
        array_a, array_b = nd.array(a), nd.array(b)
        buffer = np.empty((n, n), np.float32)
        row = Row(
            f"matrix product, n = {n}",
            {
                "tigon": lambda a=array_a, b=array_b: nd.dot(a, b).wait_to_read(),
                "numpy": lambda a=a, b=b, out=buffer: np.matmul(a, b, out=out),
            },
            {
                "numpy": lambda a=a, b=b: a @ b,
                "tigon": lambda a=array_a, b=array_b: nd.dot(a, b).asnumpy(),
            },
            2e-3,
            flops=2.0 * n**3,
            size=12.0 * n * n,
            main=n == 1024,
        )
        if torch is not None:
            left, right, out = map(torch.from_numpy, (a, b, buffer.copy()))
            row.contestants["torch"] = lambda a=left, b=right, out=out: torch.mm(a, b, out=out)
            row.results["torch"] = lambda a=left, b=right: (a @ b).numpy()
        yield row


def rows(only: str) -> Iterator[Row]:
    """Made as they are asked for, so that their arrays go when they are done."""
    text = "tanh(b*a+1)*0.5+a"
    makers: list[Callable[[], Iterator[Row]]] = [
        documents_network,
        lambda: elementwise(1_000, chain, text),
        lambda: reused(1_000),
        lambda: elementwise(10_000_000, chain, text),
        lambda: elementwise(10_000_000, scaled, "b*a+1"),
        small_adds,
        recorded_adds,
        dense_training,
        lambda: dense_training(busy=True),
        convolutional_training,
        softmax_rows,
        matrix_products,
    ]
    return (row for make in makers for row in make() if only in row.name)
