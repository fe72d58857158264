"""One table: tigon with PyTorch and numpy beside it, in one process, turn by turn.

    make bench                                        everything, in under four minutes
    make bench BENCH="--write docs/benchmarks.md"     into that page, and the main rows into README
    make bench BENCH="--only matrix"                  the rows whose name contains a word
    make bench BENCH="--json out.json"                the figures as JSON, too

Each row is measured in rounds; in each round every contestant has its turn, so that a slow moment
of the machine meets all of them. Before anything is timed the results are compared. Without
PyTorch (`pip install torch`) its column is empty.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
from workloads import Row, rows, torch

import tigon as mx
from tigon import _native

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7
SECONDS_PER_TURN = 0.12
COLUMNS = ("tigon", "tigon imperative", "torch", "numpy")
BEGIN, END = "<!-- figures: written by `make bench`, do not edit -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Times:
    """Microseconds per call over the rounds."""

    median: float
    mean: float
    least: float


Measured = list[tuple[Row, dict[str, Times]]]


def timed(function: Callable[[], Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def measure(row: Row, rounds: int) -> dict[str, Times]:
    check(row)
    calls = {}
    for name, function in row.contestants.items():
        timed(function, 2)
        once = max(timed(function, 1), 1e-7)
        calls[name] = max(1, min(int(SECONDS_PER_TURN / once), 20_000))
    turns: dict[str, list[float]] = {name: [] for name in row.contestants}
    with neighbour() if row.busy else _nothing():
        for _ in range(rounds):
            for name, function in row.contestants.items():
                # The threads of the one before stop spinning, and its data leaves the caches.
                time.sleep(0.005)
                timed(function, 2)
                turns[name].append(timed(function, calls[name]) / row.per * 1e6)
    return {
        name: Times(statistics.median(times), statistics.mean(times), min(times))
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


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that uses one core all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


# --------------------------------------------------------------------------- beginning

FIRST_CALLS = {
    "first call, network 512-256-128-2": """
net = network(512, 256, 128, 2)
net.hybridize()
x = nd.ones((1, 512))
x.wait_to_read()
began = clock()
net(x).wait_to_read()
""",
    "first training step, 784-256-128-10, TrainStep": """
net = network(784, 256, 128, 10)
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
x, y = nd.ones((64, 784)), nd.zeros((64,))
x.wait_to_read()
began = clock()
step(x, y).wait_to_read()
""",
    "first training step, 784-256-128-10, loop": """
net = network(784, 256, 128, 10)
loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
net.hybridize()
loss_function.hybridize()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
x, y = nd.ones((64, 784)), nd.zeros((64,))
x.wait_to_read()
began = clock()
with autograd.record():
    loss = loss_function(net(x), y)
loss.backward()
trainer.step(64)
net[-1].bias.data().wait_to_read()
""",
    "30 batch sizes through one network 512-256-128-2": """
net = network(512, 256, 128, 2)
net.hybridize()
inputs = [nd.ones((batch, 512)) for batch in range(1, 31)]
nd.waitall()
before = mx.runtime.stats()["compilations"]
began = clock()
for x in inputs:
    net(x).wait_to_read()
count = int(mx.runtime.stats()["compilations"] - before)
""",
}

PROCESS = """
import resource, sys
from time import perf_counter as clock

import numpy

began = clock()
import tigon as mx

imported = clock() - began
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * resource.getpagesize()
from tigon import autograd, gluon, nd
from tigon.gluon import nn


def network(first, *sizes):
    net = nn.HybridSequential()
    for index, size in enumerate(sizes):
        activation = "relu" if index < len(sizes) - 1 else None
        net.add(nn.Dense(size, activation, in_units=first))
        first = size
    net.initialize()
    return net


count = 0
"""


def _process(body: str, cache: str) -> list[float]:
    """Milliseconds of the import and of what `body` times, bytes after the import, a count."""
    script = PROCESS + body + "print(imported * 1e3, (clock() - began) * 1e3, resident, count)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TIGON_CACHE": cache},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"a fresh process failed:\n{done.stderr}")
    return [float(word) for word in done.stdout.split()]


def beginnings(repeats: int = 3) -> list[str]:
    """What the first calls of fresh processes take, without and with their code on disk."""
    lines = [
        "| milliseconds, each in a process of its own | nothing on disk | code on disk |",
        "|---|---|---|",
    ]
    imports, sizes, notes = [], [], []
    for name, body in FIRST_CALLS.items():
        cold, warm = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as cache:
                cold.append(_process(body, cache))
                warm.append(_process(body, cache))
        for run in cold + warm:
            imports.append(run[0])
            sizes.append(run[2])
        medians = [statistics.median(run[1] for run in runs) for runs in (cold, warm)]
        if cold[0][3]:
            notes.append(f"{name}: {cold[0][3]:.0f} graphs compiled.")
        lines.append(f"| {name} | {medians[0]:,.0f} | {medians[1]:,.0f} |")
    package = [path for path in Path(mx.__file__).parent.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in package if "__pycache__" not in path.parts)
    notes += [
        f"`import tigon`, after numpy: {statistics.median(imports):,.0f} ms, after which the "
        f"process occupies {statistics.median(sizes) / 1e6:,.0f} MB.",
        f"The package without numpy and LLVM: {size / 1e6:.1f} MB.",
    ]
    return [*lines, "", *(f"- {note}" for note in notes)]


# ----------------------------------------------------------------------------- tables


def _number(value: float) -> str:
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def cell(times: Times | None) -> str:
    """Median and, in brackets, mean."""
    return "-" if times is None else f"{_number(times.median)} ({_number(times.mean)})"


def ratio(times: dict[str, Times], column: str = "tigon") -> str:
    others = [times[name].median for name in ("torch", "numpy") if name in times]
    if not others or column not in times:
        return "-"
    return f"{times[column].median / min(others):.2f}"


def distance(row: Row, times: dict[str, Times], limits: machine.Limits) -> str:
    """Times of the limit; "-" where nothing but the call itself limits."""
    if not row.flops and row.size < 1e5:
        return "-"
    least = limits.microseconds(row.flops, row.size)
    return f"{times['tigon'].median / least:.1f} x {_number(least)}"


def table(measured: Measured, limits: machine.Limits) -> list[str]:
    lines = [
        "| microseconds per call: median (mean) | "
        + " | ".join(COLUMNS)
        + " | tigon : best other | tigon : limit |",
        "|---|" + "---|" * (len(COLUMNS) + 2),
    ]
    for row, times in measured:
        cells = [cell(times.get(column)) for column in COLUMNS]
        cells += [ratio(times), distance(row, times, limits)]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return lines


def short_table(measured: Measured) -> list[str]:
    lines = [
        "| microseconds per call | tigon | PyTorch | numpy | tigon : best |",
        "|---|---|---|---|---|",
    ]
    for row, times in measured:
        if row.main:
            cells = [
                _number(times[name].median) if name in times else "-"
                for name in ("tigon", "torch", "numpy")
            ]
            lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {ratio(times)} |")
    return lines


def conditions(limits: machine.Limits, load: float) -> list[str]:
    """Where and with what this was measured."""
    versions = f"tigon {mx.__version__}, numpy {np.__version__}"
    versions += f", PyTorch {torch.__version__}" if torch is not None else ", no PyTorch"
    lines = [
        f"- {versions}, Python {platform.python_version()}, {platform.system()}; "
        f"{limits.threads} threads, float32",
        f"- {machine.describe()}",
        f"- all threads together: {limits.peak:,.0f} GFLOP/s of multiply-adds in registers, "
        f"{limits.cache:,.0f} GB/s read from caches, {limits.memory:,.0f} GB/s read or written in "
        "memory (measured by `benchmarks/machine.py`)",
    ]
    if load > 0.5:
        lines.append(
            f"- **The machine was busy** (load {load:.1f} when this began): these figures show "
            "that the benchmark runs, and nothing else."
        )
    return lines


EXPLANATION = f"""\
Medians over {ROUNDS} rounds, means in brackets; in each round every contestant has its turn, and
results are compared first. *tigon* is hybridized code, one operator where the row is one, or what
the row's name says; *tigon imperative* the same program as it is written. The limit is the larger
of operations over peak and bytes over bandwidth (of the caches where everything fits there);
operations are those of products and convolutions, bytes those that must be read and written at
least. Rows without one are limited by the call itself. PyTorch runs in inference mode, the frozen
network by TorchScript, training with its fused optimizer.
"""


def write(path: Path, text: str, heading: str) -> None:
    """Put the text between the markers of a page; what surrounds them stays."""
    old = path.read_text() if path.exists() else f"# {heading}\n\n{BEGIN}\n{END}\n"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(old):
        raise SystemExit(f"{path} has no place for figures; add these lines:\n{BEGIN}\n{END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text.strip()}\n\n{END}", old))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--json", default="", help="write the figures here, too")
    parser.add_argument("--write", type=Path, help="the page to write (and README.md's table)")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    load = machine.busy()
    _native.set_num_threads(options.threads)
    if torch is not None:
        torch.set_num_threads(options.threads)
    limits = machine.measure(options.threads)
    measured: Measured = []
    for row in rows(options.only):
        measured.append((row, measure(row, options.rounds)))
        print(f"  {row.name}: done", file=sys.stderr)
    limits = limits.better(machine.measure(options.threads))
    where = conditions(limits, load)
    full = [*where, "", *table(measured, limits)]
    if not options.only:
        full += ["", *beginnings()]
    print("\n".join(full))
    if options.json:
        found = {row.name: {n: vars(t) for n, t in times.items()} for row, times in measured}
        Path(options.json).write_text(json.dumps(found, indent=1))
    if options.write:
        write(options.write, EXPLANATION + "\n" + "\n".join(full), "Benchmarks")
        write(options.readme, "\n".join([*short_table(measured), "", *where]), "Benchmarks")


if __name__ == "__main__":
    main()
