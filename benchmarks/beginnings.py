"""What programs cost before they run: imports, first results from building the network on, and
first calls, each in a process of its own.

    python benchmarks/beginnings.py [--only WORD] [--repeats N] [--before TREE]

prints the first results and calls; with `--before` those of another tree of sources, with its
extension built, beside them, in turns."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import peers
from extents import LAYERS, SIZES

ROOT = Path(__file__).resolve().parents[1]

# Each script runs up to the line that takes the time, and then prints the milliseconds since.
TIGON = """
from time import perf_counter as clock
import numpy as np
import tigon as mx
from tigon import autograd, gluon, nd
from inputs import dense_layers, normal


def network(*sizes):
    from tigon.gluon import nn

    net = nn.HybridSequential()
    for before, after in zip(sizes[:-1], sizes[1:]):
        net.add(nn.Dense(after, None if after is sizes[-1] else "relu", in_units=before))
    net.initialize()
    net.hybridize()
    return net


def counts():
    found = mx.runtime.stats()
    return np.array([found["compilations"], found["kernel_compilations"]])
"""
TRAINING = """
net = network(784, 256, 128, 10)
loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
loss_function.hybridize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
x, y = nd.array(normal(64, 784)), nd.zeros((64,))
nd.waitall()
"""
PEER = """
from time import perf_counter as clock
import numpy as np
from inputs import dense_layers, normal
from peers import {side}
"""
FIRST_RESULT, FIRST_STEP, FIRST_LOOP, FIRST_RESIDUAL = (
    "first result: network 784-256-128-10, batch 64, from building it",
    "first result: its training step, one program",
    "first result: its training step, record/backward/step",
    "first result: ResNet-18, 1x3x224x224, from building it",
)
RESULT = """
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision

data = normal({shape})
nd.waitall()
before, began = counts(), clock()
"""
TRAINED = """
net = network(784, 256, 128, 10)
loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
loss_function.hybridize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
x, y = nd.array(data), nd.zeros((64,))
"""
NETWORK, STEP, LOOP, RESIDUAL, EXTENTS = (
    "network 512-256-128-2, batch 1, forward",
    "training step 784-256-128-10, batch 64",
    "training step 784-256-128-10, batch 64, record/backward/step",
    "ResNet-18, 1x3x224x224, forward",
    f"network 512-256-128-2, {len(SIZES)} batch sizes, all of them",
)
FIRST_CALLS: dict[str, dict[str, str]] = {
    FIRST_RESULT: {
        "tigon": f"""
{RESULT.format(shape="64, 784")}
network(784, 256, 128, 10)(nd.array(data)).asnumpy()
""",
        "jax": """
layers, x = dense_layers([784, 256, 128, 10]), normal(64, 784)
began = clock()
jax_side.network(layers, x)()
""",
        "onnxruntime": """
model, x = onnx_side.network(dense_layers([784, 256, 128, 10]), 64), normal(64, 784)
began = clock()
onnx_side.call(model, x)()
""",
    },
    FIRST_STEP: {
        "tigon": f"""
{RESULT.format(shape="64, 784")}
{TRAINED}
gluon.TrainStep(net, loss_function, trainer)(x, y).asnumpy()
""",
        "jax": """
layers, x, y = dense_layers([784, 256, 128, 10]), normal(64, 784), np.zeros(64)
began = clock()
jax_side.step(layers, x, y, 0.01, 0.9)()
""",
    },
    FIRST_LOOP: {
        "tigon": f"""
{RESULT.format(shape="64, 784")}
{TRAINED}
with autograd.record():
    loss = loss_function(net(x), y)
loss.backward()
trainer.step(64)
net[-1].bias.data().asnumpy()
""",
    },
    FIRST_RESIDUAL: {
        "tigon": f"""
{RESULT.format(shape="1, 3, 224, 224")}
net = vision.resnet18_v1()
net.initialize()
net.hybridize()
net(nd.array(data)).asnumpy()
""",
        "onnxruntime": """
model, x = onnx_side.residual_network(), normal(1, 3, 224, 224)
began = clock()
onnx_side.call(model, x)()
""",
    },
    NETWORK: {
        "tigon": """
net, x = network(512, 256, 128, 2), nd.array(normal(1, 512))
nd.waitall()
before, began = counts(), clock()
net(x).wait_to_read()
""",
        "jax": """
run = jax_side.network(dense_layers([512, 256, 128, 2]), normal(1, 512))
began = clock()
run()
""",
        "onnxruntime": """
model, x = onnx_side.network(dense_layers([512, 256, 128, 2]), 1), normal(1, 512)
began = clock()
onnx_side.call(model, x)()
""",
    },
    STEP: {
        "tigon": f"""
{TRAINING}
step = gluon.TrainStep(net, loss_function, trainer)
before, began = counts(), clock()
step(x, y).wait_to_read()
""",
        "jax": """
layers, x, y = dense_layers([784, 256, 128, 10]), normal(64, 784), np.zeros(64)
step = jax_side.step(layers, x, y, 0.01, 0.9)
began = clock()
step()
""",
    },
    LOOP: {
        "tigon": f"""
{TRAINING}
before, began = counts(), clock()
with autograd.record():
    loss = loss_function(net(x), y)
loss.backward()
trainer.step(64)
net[-1].bias.data().wait_to_read()
""",
    },
    RESIDUAL: {
        "tigon": """
from tigon.gluon.model_zoo import vision

net, x = vision.resnet18_v1(), nd.array(normal(1, 3, 224, 224))
net.initialize()
net.infer_shape(x)
for parameter in net.collect_params().values():
    parameter.data()
nd.waitall()
net.hybridize()
before, began = counts(), clock()
net(x).wait_to_read()
""",
        "onnxruntime": """
model, x = onnx_side.residual_network(), normal(1, 3, 224, 224)
began = clock()
onnx_side.call(model, x)()
""",
    },
    EXTENTS: {
        "tigon": f"""
net = network{LAYERS}
inputs = [nd.array(normal(size, {LAYERS[0]})) for size in {SIZES}]
nd.waitall()
before, began = counts(), clock()
for x in inputs:
    net(x).wait_to_read()
""",
    },
}
IMPORTS = {
    "numpy": ("numpy", ""),
    "llvmlite.binding": ("llvmlite.binding", ""),
    "tigon": ("tigon", ""),
    "tigon, after numpy": ("tigon", "import numpy"),
    "torch": ("torch", ""),
    "jax": ("jax", ""),
    "onnxruntime": ("onnxruntime", ""),
}
"""By what is shown: the module, and what was imported before it."""
IMPORT = """
import sys
from time import perf_counter as clock
import resource
{before}
began = clock()
import {module}
took = clock() - began
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * resource.getpagesize()
print(took * 1e3, resident / 1e6)
"""
SIZE_OF = {"jax": ["jax", "jaxlib"]}
"""Packages that are installed for a module, where they are not just those of its name."""


@dataclass(frozen=True)
class First:
    """Milliseconds of the first call with nothing on disk; tigon's again with its code on disk, and
    with all of it compiled, without what the package brings, and what was made then; and of the
    tree before, if there is one."""

    cold: dict[str, float]
    warm: float
    compiled: float
    compilations: int
    kernel_compilations: int
    before: float | None = None


@dataclass(frozen=True)
class Import:
    """Milliseconds, and megabytes in memory after it and on disk. All of them import numpy."""

    milliseconds: float
    resident: float
    installed: float


@dataclass
class Beginnings:
    first: dict[str, First] = field(default_factory=dict)
    imports: dict[str, Import] = field(default_factory=dict)


def measure(repeats: int = 3, only: str = "", before: Path | None = None) -> Beginnings:
    found = Beginnings()
    for name, scripts in FIRST_CALLS.items():
        if only in name:
            found.first[name] = _first(scripts, repeats, before)
    if not only:
        found.imports = {
            name: _import(module, before, repeats)
            for name, (module, before) in IMPORTS.items()
            if module not in peers.NAMES or peers.installed(module)
        }
    return found


def _first(scripts: dict[str, str], repeats: int, before: Path | None = None) -> First:
    """The contestants' processes take turns."""
    runs: dict[str, list[list[float]]] = {}
    for _ in range(repeats):
        for name, body in scripts.items():
            if name == "tigon":
                script = TIGON + body + "print((clock() - began) * 1e3, *(counts() - before))"
                with tempfile.TemporaryDirectory() as cache:
                    for state in ("tigon", "warm"):
                        runs.setdefault(state, []).append(_process(script, cache))
                with tempfile.TemporaryDirectory() as cache:
                    found = _process(script, cache, TIGON_LIBRARY="0")
                    runs.setdefault("compiled", []).append(found)
                if before is not None:
                    with tempfile.TemporaryDirectory() as cache:
                        found = _process(script, cache, before)
                        runs.setdefault("before", []).append(found)
            elif peers.installed(name):
                side = PEER.format(side=peers.SIDES[name])
                script = side + body + "print((clock() - began) * 1e3)"
                runs.setdefault(name, []).append(_process(script))
    medians = {name: statistics.median(run[0] for run in many) for name, many in runs.items()}
    _, compilations, kernels = runs["compiled"][0]
    warm, compiled = medians.pop("warm"), medians.pop("compiled")
    earlier = medians.pop("before", None)
    return First(medians, warm, compiled, int(compilations), int(kernels), earlier)


def _import(module: str, before: str, repeats: int) -> Import:
    runs = [_process(IMPORT.format(module=module, before=before)) for _ in range(repeats)]
    milliseconds, resident = (statistics.median(column) for column in zip(*runs, strict=True))
    return Import(milliseconds, resident, _installed(module) / 1e6)


def _process(script: str, cache: str = "0", root: Path = ROOT, **environment: str) -> list[float]:
    """The numbers that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (root, ROOT / "benchmarks"))),
            "TIGON_CACHE": cache,
            **environment,
        },
        cwd=root,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{done.stderr}")
    return [float(word) for word in done.stdout.split()]


def _installed(name: str) -> int:
    """Bytes of the packages of a module, without what Python makes of them."""
    if name == "tigon":
        files = [path for path in (ROOT / "tigon").rglob("*") if "__pycache__" not in path.parts]
        return sum(path.stat().st_size for path in files if path.is_file())
    return sum(
        file.size or 0
        for package in SIZE_OF.get(name, [name.partition(".")[0]])
        for file in metadata.files(package) or []
    )


def table(found: dict[str, First]) -> list[str]:
    """First results and calls, and the graphs and functions that the package's code spares."""
    if not found:
        return []
    sides = [name for name in peers.NAMES if any(name in first.cold for first in found.values())]
    compared = any(first.before is not None for first in found.values())
    columns = ["milliseconds, new process", "tigon, nothing on disk", "tigon, code on disk"]
    columns += ["tigon, all compiled", *["tree before"] * compared, *sides]
    columns += ["graphs compiled then", "native functions made then"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, first in found.items():
        cells = [first.cold["tigon"], first.warm, first.compiled]
        cells += [first.before or 0.0] * compared
        shown = [f"{cell:.3g}" for cell in cells]
        shown += [f"{first.cold[side]:.3g}" if side in first.cold else "-" for side in sides]
        shown += [str(first.compilations), str(first.kernel_compilations)]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="first", help="rows whose names contain this")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another tree of sources, built")
    given = parser.parse_args()
    print("\n".join(table(measure(given.repeats, given.only, given.before).first)))


if __name__ == "__main__":
    main()
