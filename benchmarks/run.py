"""One table: tigon with PyTorch and numpy beside it, in one process, turn by turn.

    make bench                          everything (PyTorch's columns are empty without PyTorch)
    make bench BENCH="--only matmul"    the rows whose name contains a word
    make bench BENCH="--json out.json"  the figures as JSON, too

Each row is measured in rounds; in each round every contestant has its turn, so that a slow moment
of the machine meets all of them. The table gives the median over rounds of the time per call, in
microseconds, and the least in brackets, which a busy neighbour disturbs less; the last column
compares the least. Before anything is timed the results are compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

try:
    import torch
except ImportError:
    torch = None

ROUNDS = 7
SECONDS_PER_TURN = 0.12
RATE, MOMENTUM = 0.01, 0.9


@dataclass
class Row:
    """One workload: contestants by name, each a function that does it once and waits."""

    name: str
    contestants: dict[str, Callable[[], Any]]
    results: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    tolerance: float = 1e-4
    per: int = 1  # calls that one turn of the function makes
    flops: float = 0.0


def timed(function: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def measure(row: Row) -> dict[str, dict[str, float]]:
    """Medians and minima in microseconds per call."""
    check(row)
    calls = {}
    for name, function in row.contestants.items():
        timed(function, 2)
        once = max(timed(function, 1), 1e-7)
        calls[name] = max(1, min(int(SECONDS_PER_TURN / once), 20_000))
    turns: dict[str, list[float]] = {name: [] for name in row.contestants}
    for _ in range(ROUNDS):
        for name, function in row.contestants.items():
            turns[name].append(timed(function, calls[name]) / row.per * 1e6)
    return {
        name: {"median": float(np.median(times)), "least": float(np.min(times))}
        for name, times in turns.items()
    }


def check(row: Row) -> None:
    """All contestants must have computed the same."""
    found = {name: np.asarray(result()) for name, result in row.results.items()}
    if not found:
        return
    first, *rest = found
    for name in rest:
        np.testing.assert_allclose(
            found[name],
            found[first],
            rtol=row.tolerance,
            atol=row.tolerance,
            err_msg=f"{row.name}: {name} and {first} differ",
        )


# ------------------------------------------------------------------------- workloads

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


def documents_network() -> list[Row]:
    """Dense(256, relu), Dense(128, relu), Dense(2) on an input of (1, 512)."""
    layers = dense_layers([512, 256, 128, 2])
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

    results = {"tigon": lambda: hybrid(x).asnumpy(), "numpy": with_numpy}
    rows = []
    for name, net in (("imperative", imperative), ("hybridized", hybrid)):
        contestants: dict[str, Callable[[], Any]] = {
            "tigon": lambda net=net: net(x).wait_to_read(),
            "numpy": with_numpy,
        }
        checked = dict(results, tigon=lambda net=net: net(x).asnumpy())
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
        rows.append(Row(f"512-256-128-2, batch 1, {name}", contestants, checked))
    return rows


def elementwise(size: int) -> list[Row]:
    """tanh(b * a + 1) * 0.5 + a, imperatively and compiled."""
    a, b = normal(size), normal(size)
    array_a, array_b = nd.array(a), nd.array(b)

    class Formula(gluon.HybridBlock):
        def forward(self, a: Any, b: Any) -> Any:
            return nd.tanh(b * a + 1) * 0.5 + a

    imperative, hybrid = Formula(), Formula()
    hybrid.hybridize()
    buffer = np.empty_like(a)

    def with_numpy() -> np.ndarray:
        np.multiply(b, a, out=buffer)
        np.add(buffer, np.float32(1), out=buffer)
        np.tanh(buffer, out=buffer)
        np.multiply(buffer, np.float32(0.5), out=buffer)
        np.add(buffer, a, out=buffer)
        return buffer

    contestants: dict[str, Callable[[], Any]] = {
        "tigon": lambda: hybrid(array_a, array_b).wait_to_read(),
        "tigon imperative": lambda: imperative(array_a, array_b).wait_to_read(),
        "numpy": with_numpy,
    }
    results = {
        "numpy": with_numpy,
        "tigon": lambda: hybrid(array_a, array_b).asnumpy(),
        "tigon imperative": lambda: imperative(array_a, array_b).asnumpy(),
    }
    if torch is not None:
        tensor_a, tensor_b = torch.from_numpy(a), torch.from_numpy(b)

        def with_torch() -> Any:
            with torch.inference_mode():
                return torch.tanh(tensor_b * tensor_a + 1) * 0.5 + tensor_a

        contestants["torch"] = with_torch
        results["torch"] = lambda: with_torch().numpy()
    return [Row(f"tanh(b*a+1)*0.5+a, {size:,} elements", contestants, results)]


def small_adds() -> list[Row]:
    """1,000 imperative additions of 10 elements."""
    count = 1000
    data = normal(10)
    x = nd.array(data)

    def with_tigon() -> Any:
        y = x
        for _ in range(count):
            y = y + x
        y.wait_to_read()
        return y

    def with_numpy() -> np.ndarray:
        y = data
        for _ in range(count):
            y = y + data
        return y

    contestants = {"tigon": with_tigon, "numpy": with_numpy}
    results = {"numpy": with_numpy, "tigon": lambda: with_tigon().asnumpy()}
    if torch is not None:
        tensor = torch.from_numpy(data)

        def with_torch() -> Any:
            with torch.inference_mode():
                y = tensor
                for _ in range(count):
                    y = y + tensor
                return y

        contestants["torch"] = with_torch
        results["torch"] = lambda: with_torch().numpy()
    return [Row("one imperative add of 10 elements (of 1,000)", contestants, results, 1e-3, count)]


def training_step() -> list[Row]:
    """784-256-128-10, batch 64, softmax cross-entropy, SGD with momentum."""
    layers = dense_layers([784, 256, 128, 10])
    images, labels = normal(64, 784), RANDOM.randint(0, 10, 64)

    def tigon_step(how: str) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
        net = gluon_network(layers)
        loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
        if how == "hybridized":
            net.hybridize()
            loss_function.hybridize()
        trainer = gluon.Trainer(
            net.collect_params(), "sgd", {"learning_rate": RATE, "momentum": MOMENTUM}
        )
        x, y = nd.array(images), nd.array(labels)
        if how == "one program":
            train_step = gluon.TrainStep(net, loss_function, trainer)

            def one() -> Any:
                loss = train_step(x, y)
                loss.wait_to_read()
                return loss

            return one, lambda: one().mean().asnumpy()

        def step() -> Any:
            with autograd.record():
                loss = loss_function(net(x), y)
            loss.backward()
            trainer.step(64)
            net[-1].bias.data().wait_to_read()
            return loss

        return step, lambda: step().mean().asnumpy()

    hybrid, hybrid_loss = tigon_step("hybridized")
    imperative, imperative_loss = tigon_step("imperative")
    program, program_loss = tigon_step("one program")
    name = "784-256-128-10 training step, batch 64"
    loop = Row(
        f"{name}, loop",
        {"tigon": hybrid, "tigon imperative": imperative},
        {"tigon": hybrid_loss, "tigon imperative": imperative_loss},
    )
    whole = Row(f"{name}, TrainStep", {"tigon": program}, {"tigon": program_loss})
    if torch is not None:
        loop.contestants["torch"], loop.results["torch"] = torch_step(layers, images, labels)
        whole.contestants["torch"], whole.results["torch"] = torch_step(layers, images, labels)
    return [loop, whole]


def torch_step(
    layers: list[tuple[np.ndarray, np.ndarray]], images: np.ndarray, labels: np.ndarray
) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """The same training step in PyTorch, with its fused optimizer."""
    model = torch_network(layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, fused=True)
    loss_function = torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, lambda: step().detach().numpy().reshape(1)


def matrix_products() -> list[Row]:
    rows = []
    for n in (256, 512, 1024, 2048):
        a, b = normal(n, n), normal(n, n)
        array_a, array_b = nd.array(a), nd.array(b)
        buffer = np.empty((n, n), np.float32)
        contestants: dict[str, Callable[[], Any]] = {
            "tigon": lambda a=array_a, b=array_b: nd.dot(a, b).wait_to_read(),
            "numpy": lambda a=a, b=b, out=buffer: np.matmul(a, b, out=out),
        }
        results = {
            "numpy": lambda a=a, b=b: a @ b,
            "tigon": lambda a=array_a, b=array_b: nd.dot(a, b).asnumpy(),
        }
        if torch is not None:
            left, right, out = map(torch.from_numpy, (a, b, buffer.copy()))
            contestants["torch"] = lambda a=left, b=right, out=out: torch.mm(a, b, out=out)
            results["torch"] = lambda a=left, b=right: (a @ b).numpy()
        rows.append(Row(f"matrix product, n = {n}", contestants, results, 2e-3, flops=2.0 * n**3))
    return rows


def rows(only: str) -> list[Row]:
    makers: list[Callable[[], list[Row]]] = [
        documents_network,
        lambda: elementwise(1_000),
        lambda: elementwise(10_000_000),
        small_adds,
        training_step,
        matrix_products,
    ]
    return [row for make in makers for row in make() if only in row.name]


# ----------------------------------------------------------------------------- table


def cell(times: dict[str, float] | None) -> str:
    if times is None:
        return "-"
    digits = 1 if times["median"] < 1000 else 0
    return f"{times['median']:,.{digits}f} ({times['least']:,.{digits}f})"


def table(measured: list[tuple[Row, dict[str, dict[str, float]]]]) -> str:
    """Markdown: microseconds per call, median over rounds and, in brackets, the least."""
    columns = ["tigon", "tigon imperative", "torch", "numpy"]
    lines = [
        "| microseconds per call | " + " | ".join(columns) + " | tigon : best other |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for row, times in measured:
        others = [times[name]["least"] for name in ("torch", "numpy") if name in times]
        ratio = f"{times['tigon']['least'] / min(others):.2f}" if others else "-"
        cells = [cell(times.get(column)) for column in columns]
        speed = f" ({row.flops / times['tigon']['least'] / 1e3:,.0f} GFLOP/s)" if row.flops else ""
        lines.append(f"| {row.name}{speed} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", default="", help="write the figures here, too")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(options.threads)
    versions = f"tigon {mx.__version__}, numpy {np.__version__}"
    versions += f", torch {torch.__version__}" if torch is not None else ", no torch"
    print(f"{versions}, Python {platform.python_version()}, {options.threads} threads\n")
    measured = []
    for row in rows(options.only):
        measured.append((row, measure(row)))
        print(f"  {row.name}: done", file=sys.stderr)
    print(table(measured))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({row.name: times for row, times in measured}, file, indent=1)


if __name__ == "__main__":
    main()
