"""How long compiling takes, and how it grows with the program.

    make bench-compile                       # COMPILE="forward --repeats 5": some rows, more turns

Each figure is that of a process of its own with an empty cache: seconds from the call that compiles
to its numbers. Imports, building the network and its arrays come before. Of several turns the least
counts. Growth is the time of four (five) times the network over that of one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Each script defines `run`, which compiles and computes.
LAYERS = """
net = nn.HybridSequential()
for _ in range(count):
    net.add(nn.Dense(16, in_units=16))
net.initialize()
net.hybridize()
x = nd.ones((1, 16))
"""
FORWARD = f"""
{LAYERS}
def run():
    net(x).wait_to_read()
"""
BACKWARD = f"""
{LAYERS}
def run():
    with autograd.record():
        y = net(x)
    y.backward()
    nd.waitall()
"""
STEP = f"""
{LAYERS}
trainer = gluon.Trainer(net.collect_params(), "sgd", {{"learning_rate": 0.1}})
step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
def run():
    step(x, x).wait_to_read()
"""
ARGSORT = """
x = nd.random.uniform(shape=(count,))
def run():
    nd.argsort(x).wait_to_read()
"""
OUTPUTS = """
x = mx.sym.var("x")
graph = mx.sym.Group([x + (number + 0.5) for number in range(count)])
executor = graph.bind(mx.cpu(), {"x": nd.ones((16, 16))})
def run():
    executor.forward()
    nd.waitall()
"""
CHAIN = """
class Chain(gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        for _ in range(count):
            x = F.sin(x) * F.cos(x) + x
        return x
net = Chain()
net.hybridize()
x = nd.ones((16, 16))
x.attach_grad()
def run():
    with autograd.record():
        y = net(x)
    y.backward()
    x.grad.wait_to_read()
"""
RESIDUAL = """
from tigon.gluon.model_zoo import vision
net = vision.get_model(f"resnet{count}_v1")
net.initialize()
net.hybridize()
x, label = nd.random.uniform(shape=(1, 3, 64, 64)), nd.array([1])
loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
"""
RESIDUAL_STEP = f"""
{RESIDUAL}
step = gluon.TrainStep(net, loss_function, trainer)
def run():
    step(x, label).wait_to_read()
"""
RESIDUAL_LOOP = f"""
{RESIDUAL}
def run():
    with autograd.record():
        loss = loss_function(net(x), label)
    loss.backward()
    trainer.step(1)
    nd.waitall()
"""
PROCESS = """
import sys
from time import perf_counter as clock
import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

count = int(sys.argv[1])
{script}
nd.waitall()
began = clock()
run()
print(clock() - began)
"""


@dataclass(frozen=True)
class Row:
    """`limits`: by count, seconds that are the goal. `growth`: pairs of counts, and how many times
    the time of the first that of the second may be."""

    script: str
    limits: dict[int, float | None]
    growth: tuple[tuple[int, int, float], ...] = ()


_GROWTH = ((250, 1000, 4.5), (1250, 5000, 4.5), (1000, 5000, 6.0))
ROWS = {
    "forward, Dense(16) layers": Row(
        FORWARD, {250: 0.0875, 1000: 0.35, 1250: 0.4375, 5000: None}, _GROWTH
    ),
    "forward and backward": Row(BACKWARD, {250: 0.25, 1000: 1.0, 1250: 1.25, 5000: None}, _GROWTH),
    "training step of layers": Row(STEP, {250: None, 1000: None}, ((250, 1000, 4.5),)),
    "argsort of elements": Row(ARGSORT, {60_000: 0.1}),
    "outputs of one graph": Row(OUTPUTS, {500: None, 2000: 1.0}, ((500, 2000, 4.5),)),
    "sin * cos + x, with gradient": Row(CHAIN, {250: None, 1000: 2.0}, ((250, 1000, 4.5),)),
    "ResNet, first TrainStep": Row(RESIDUAL_STEP, {50: 2.0}),
    "ResNet, first record/backward/step": Row(RESIDUAL_LOOP, {50: 2.0}),
}


def seconds(script: str, count: int, repeats: int) -> float:
    """The least of several processes'."""
    text = PROCESS.format(script=script)
    found = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            environment = {
                **os.environ,
                "TIGON_CACHE": cache,
                "TIGON_NOTICES": "0",
                "PYTHONPATH": str(ROOT),
            }
            done = subprocess.run(
                [sys.executable, "-c", text, str(count)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
        found.append(float(done.stdout))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="rows whose name has this in it")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(f"{'':36}{'n':>7}{'seconds':>9}{'ms each':>9}{'goal':>8}")
    for name, row in ROWS.items():
        if given.only not in name:
            continue
        found = {count: seconds(row.script, count, given.repeats) for count in row.limits}
        for count, limit in row.limits.items():
            took = found[count]
            goal = "" if limit is None else f"{limit:8.3f}"
            print(f"{name:36}{count:7}{took:9.3f}{took / count * 1e3:9.3f}{goal}")
        for few, many, most in row.growth:
            growth = found[many] / found[few]
            print(f"{'':36}{few:>7} to {many}: {growth:.2f} times as long, goal {most}")


if __name__ == "__main__":
    main()
