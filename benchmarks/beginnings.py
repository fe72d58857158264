"""What programs cost before they run: imports, and first calls, each in a process of its own."""

from __future__ import annotations

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
NETWORK, STEP, LOOP, RESIDUAL, EXTENTS = (
    "network 512-256-128-2, batch 1, forward",
    "training step 784-256-128-10, batch 64",
    "training step 784-256-128-10, batch 64, record/backward/step",
    "ResNet-18, 1x3x224x224, forward",
    f"network 512-256-128-2, {len(SIZES)} batch sizes, all of them",
)
FIRST_CALLS: dict[str, dict[str, str]] = {
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
    """Milliseconds of the first call; tigon's again with its code on disk."""

    cold: dict[str, float]
    warm: float
    compilations: int
    kernel_compilations: int


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


def measure(repeats: int = 3, only: str = "") -> Beginnings:
    found = Beginnings()
    for name, scripts in FIRST_CALLS.items():
        if only in name:
            found.first[name] = _first(scripts, repeats)
    if not only:
        found.imports = {
            name: _import(module, before, repeats)
            for name, (module, before) in IMPORTS.items()
            if module not in peers.NAMES or peers.installed(module)
        }
    return found


def _first(scripts: dict[str, str], repeats: int) -> First:
    """The contestants' processes take turns."""
    runs: dict[str, list[list[float]]] = {}
    for _ in range(repeats):
        for name, body in scripts.items():
            if name == "tigon":
                script = TIGON + body + "print((clock() - began) * 1e3, *(counts() - before))"
                with tempfile.TemporaryDirectory() as cache:
                    for state in ("tigon", "warm"):
                        runs.setdefault(state, []).append(_process(script, cache))
            elif peers.installed(name):
                side = PEER.format(side=peers.SIDES[name])
                script = side + body + "print((clock() - began) * 1e3)"
                runs.setdefault(name, []).append(_process(script))
    medians = {name: statistics.median(run[0] for run in many) for name, many in runs.items()}
    _, compilations, kernels = runs["tigon"][0]
    return First(medians, medians.pop("warm"), int(compilations), int(kernels))


def _import(module: str, before: str, repeats: int) -> Import:
    runs = [_process(IMPORT.format(module=module, before=before)) for _ in range(repeats)]
    milliseconds, resident = (statistics.median(column) for column in zip(*runs, strict=True))
    return Import(milliseconds, resident, _installed(module) / 1e6)


def _process(script: str, cache: str = "0") -> list[float]:
    """The numbers that a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks"))),
            "TIGON_CACHE": cache,
        },
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
