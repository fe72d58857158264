"""Work of ever new shapes, for as long as one likes: does memory grow?

    make soak                 five minutes
    make soak SOAK="60"       an hour
    make soak SOAK="5 --seed 7 --output build/soak"

Each round does one kind of work, drawn at random: operators on arrays of log-uniform sizes, some of
which are kept for a log-uniform time; hybridized networks on changing batch sizes and lengths, new
networks that are dropped again, `jit` functions under changing static arguments, training in two
ways, and mistakes of every sort in between. What the process holds (resident memory, the pool,
every cache that lives as long as the process) is noted as it goes. The first third fills the
caches; after it the resident memory, less what the pool has free, must not grow by more than a
twentieth and 30 MB. So that minutes are like a day, the bounds of the caches are divided by 32
(`--shrink 1` leaves them).

The figures go to `soak.csv`, and to `soak.svg` where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import io
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tigon as mx
from tigon import _native, autograd, gluon, nd
from tigon.backends.cpu import backend as cpu_backend
from tigon.base import TigonError
from tigon.base.files import write_file
from tigon.gluon import graphs as traced_graphs
from tigon.gluon import nn
from tigon.loop import abstract, grammar, simplify
from tigon.program import cached_graph, operators
from tigon.program.lowered import CompiledGraph

MB = 1e6
Figures = dict[str, float]


class Network(nn.HybridBlock):
    """Layers of several kinds; `x` has shape (batch, length, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Dense(2 * width, flatten=False, activation="relu", in_units=width)
        self.drop = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(in_channels=2 * width)
        self.second = nn.Dense(width, flatten=False, in_units=2 * width)

    def forward(self, x: Any) -> Any:
        return (self.second(self.norm(self.drop(self.first(x)))) + x).mean(axis=1)


def attention(x: Any, heads: int) -> Any:
    """Scores of every row with every other one, `heads` times."""
    for _ in range(heads):
        scores = nd.softmax(nd.batch_dot(x, x, transpose_b=True) / math.sqrt(x.shape[-1]))
        x = x + nd.batch_dot(scores, x)
    return x


class Soak:
    """The work. `largest` bounds the elements of an array, `longest` the rounds it is kept."""

    WIDTH = 12

    def __init__(self, seed: int = 0, largest: int = 2_000_000, longest: int = 1000) -> None:
        self.random = np.random.default_rng(seed)
        self.largest = largest
        self.longest = longest
        self.rounds = 0
        self.kept: list[tuple[int, int, Any]] = []  # a heap by the round of their end
        self.network = self._new_network()
        self.attention = mx.jit(attention, static_argnums=1)
        self.scaled = mx.jit(lambda x, by: x * by["by"] + by["add"])
        self.trainer = gluon.Trainer(self.network.collect_params(), "adam")
        self.loss = gluon.loss.L2Loss()
        self.step = gluon.TrainStep(self.network, self.loss, self.trainer)
        self.kinds: list[Callable[[], Any]] = [
            self.operators,
            self.operators,
            self.indexing,
            self.networks,
            self.short_lived_networks,
            self.functions,
            self.training_loop,
            self.training_step,
            self.mistakes,
            self.conversions,
        ]

    def _new_network(self) -> Any:
        network = Network(self.WIDTH)
        network.initialize()
        network.hybridize()
        return network

    def number(self, least: float, most: float) -> int:
        """Log-uniform."""
        return int(math.exp(self.random.uniform(math.log(least), math.log(most + 1))))

    def keep(self, value: Any) -> None:
        """Hold it for a while."""
        until = self.rounds + self.number(1, self.longest)
        heapq.heappush(self.kept, (until, int(self.random.integers(2**62)), value))
        # Never more than a few of the largest.
        while sum(array.size for _, _, array in self.kept) > 8 * self.largest:
            heapq.heappop(self.kept)

    def run(self, rounds: int) -> None:
        """So many rounds."""
        for _ in range(rounds):
            self.rounds += 1
            while self.kept and self.kept[0][0] <= self.rounds:
                heapq.heappop(self.kept)
            self.kinds[self.random.integers(len(self.kinds))]()

    # -- kinds of work

    def operators(self) -> None:
        """A few operators on an array of any size."""
        size = self.number(1, self.largest)
        columns = self.number(1, min(size, 3000))
        x = nd.random.uniform(-1, 1, shape=(max(size // columns, 1), columns))
        y = nd.tanh(x * float(self.random.uniform()) + 1)
        y = y + x.sum(axis=int(self.random.integers(2)), keepdims=True)
        self.keep(y if self.random.integers(2) else nd.softmax(y.T, axis=0))
        if columns <= 200:
            self.keep(nd.dot(x.T, x))
        self.keep(nd.clip(y, float(self.random.uniform()), 2.0))

    def indexing(self) -> None:
        """Slices, written and read; joins."""
        rows, columns = self.number(2, 300), self.number(2, 300)
        x = nd.zeros((rows, columns))
        row = int(self.random.integers(rows))
        x[row] = float(self.random.uniform())
        x[:, : columns // 2] += 1
        picked = x[nd.array(self.random.integers(rows, size=self.number(1, 40)), dtype="int32")]
        self.keep(nd.concat(x[row : row + 1], picked, dim=0).reshape((-1,)))

    def data(self) -> Any:
        shape = (self.number(1, 64), self.number(1, 40), self.WIDTH)
        return nd.array(self.random.normal(size=shape))

    def networks(self) -> None:
        """A hybridized network, predicting."""
        self.keep(self.network(self.data()))

    def short_lived_networks(self) -> None:
        """One that is traced, trained once and dropped."""
        network = self._new_network()
        with autograd.record():
            loss = network(self.data()).square().mean()
        loss.backward()
        self.keep(network.second.weight.grad().copy())

    def functions(self) -> None:
        """Static arguments and values that keep changing."""
        x = self.data()
        self.keep(self.attention(x, int(self.random.integers(1, 4))))
        by = {"by": int(self.random.integers(8)), "add": float(self.random.integers(4))}
        self.keep(self.scaled(x, by))

    def training_loop(self) -> None:
        """Recorded, differentiated and updated call by call."""
        x = self.data()
        target = nd.zeros((x.shape[0], self.WIDTH))
        with autograd.record():
            loss = self.loss(self.network(x), target)
        loss.backward()
        self.trainer.step(x.shape[0])
        self.keep(loss)

    def training_step(self) -> None:
        """The same as one program."""
        x = self.data()
        self.keep(self.step(x, nd.zeros((x.shape[0], self.WIDTH))))

    def conversions(self) -> None:
        """To numpy and back, shared and copied."""
        values = self.random.normal(size=self.number(1, self.largest)).astype(np.float32)
        shared = nd.from_numpy(values)
        self.keep(nd.array((shared * 2).asnumpy()))
        self.keep(nd.from_dlpack(np.ones(self.number(1, 1000), np.float32)))

    def mistakes(self) -> None:
        """Errors of shapes, of values, of the user's code, inside and outside of recordings."""
        x = self.data()
        width = self.WIDTH

        def wrong_shape() -> Any:
            return nd.dot(x, nd.ones((width + 1 + self.number(1, 50), 2)))

        def wrong_index() -> Any:
            return nd.take(x, nd.array([x.shape[0] + 7]), mode="raise").asnumpy()

        def in_a_recording() -> Any:
            with autograd.record():
                return self.network(x).reshape((width + 1, -1, 7)) + wrong_shape()

        def in_a_trace() -> Any:
            @mx.jit
            def failing(x: Any) -> Any:
                raise TigonError(f"no luck with {x.shape}")

            return failing(x)

        def in_a_step() -> Any:
            return self.step(x, nd.zeros((x.shape[0] + 1, width + 1)))

        failing = (wrong_shape, wrong_index, in_a_recording, in_a_trace, in_a_step)
        try:
            failing[self.random.integers(len(failing))]()
        except TigonError:
            return
        raise AssertionError("a mistake went unnoticed")


# ------------------------------------------------------------------------------ figures


def shrink_caches(factor: int) -> dict[str, int]:
    """Bound the caches by so much less, that they are full within minutes; the bounds by name."""
    operators.ATTRIBUTES_KEPT //= factor
    operators.PROGRAMS_KEPT //= factor
    simplify.RESULTS_KEPT //= factor
    traced_graphs.KINDS_KEPT //= factor
    cached_graph.SEQUENCES_KEPT //= factor
    abstract.NESTS_KEPT //= factor
    cpu_backend.NESTS_KEPT //= factor
    _native.set_most_signatures(8192 // factor)
    return {
        "signatures": 8192 // factor,
        "attributes": 2 * operators.ATTRIBUTES_KEPT + len(operators._lasting),
        "operators_by_shape": operators.PROGRAMS_KEPT,
        "nests": cpu_backend.NESTS_KEPT,
        "abstracted": abstract.NESTS_KEPT,
        "traced_graphs": 4 * traced_graphs.KINDS_KEPT
        + 1,  # of what a `Soak` holds, and a passing network
    }


def figures() -> Figures:
    """What the process holds: bytes, and entries of the caches that live as long as it does."""
    nd.waitall()
    gc.collect()
    counted = mx.runtime.stats()
    cpu = cpu_backend.cpu
    objects = gc.get_objects()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "resident": resident,
        **{name: counted[name] for name in ("pool_bytes", "pool_free", "bytes_now", "tape_nodes")},
        "signatures": counted["signatures"],
        "types": counted["types"],
        "attributes": len(operators._attributes),
        "attribute_keys": sum(map(len, operators._caches)),
        "operators_by_shape": len(operators._by_shape),
        "nests": len(cpu._prepared),
        "abstracted": len(abstract._done),
        "structures": len(abstract._structures),
        "expressions": len(grammar.Expr._interned),
        "native_functions": cpu.counters["compilations"],
        "traced_graphs": sum(isinstance(thing, traced_graphs.Entry) for thing in objects),
        "compiled_graphs": sum(isinstance(thing, CompiledGraph) for thing in objects),
        "objects": len(objects),
    }


# ------------------------------------------------------------------------------ the long form


def soak(minutes: float, seed: int, largest: int) -> list[Figures]:
    """Figures every few seconds, with the time and the rounds done."""
    work = Soak(seed, largest)
    began = time.monotonic()
    noted: list[Figures] = []
    while (now := time.monotonic() - began) < 60 * minutes or len(noted) < 6:
        work.run(20)
        if not noted or now - noted[-1]["seconds"] > min(2.0, 6 * minutes):
            noted.append({"seconds": now, "rounds": work.rounds, **figures()})
            _show(noted[-1], minutes)
    return noted


def _show(row: Figures, minutes: float) -> None:
    line = (
        f"{row['seconds'] / 60:6.1f} of {minutes:g} min  {row['rounds']:8,.0f} rounds  "
        f"resident {row['resident'] / MB:6.0f} MB  pool {row['pool_bytes'] / MB:6.0f} MB  "
        f"in arrays {row['bytes_now'] / MB:6.0f} MB  signatures {row['signatures']:6,.0f}  "
        f"native functions {row['native_functions']:5,.0f}"
    )
    print(line, end="\r" if sys.stdout.isatty() else "\n", flush=True)


def growth(noted: list[Figures], name: str) -> tuple[float, float]:
    """The mean of the second third, and that of the last."""
    third = len(noted) // 3
    values = [row[name] for row in noted]
    return float(np.mean(values[third : 2 * third])), float(np.mean(values[2 * third :]))


def report(noted: list[Figures]) -> bool:
    """What grew between the second and the last third; whether memory did not."""
    print(f"\n{'':18}{'second third':>16}{'last third':>16}{'':>10}")
    for name in noted[0]:
        if name in ("seconds", "rounds"):
            continue
        before, after = growth(noted, name)
        change = f"{after / before - 1:+10.1%}" if before else ""
        print(f"{name:18}{before:16,.0f}{after:16,.0f}{change:>10}")
    # The free part of the pool follows the work of the last seconds, within bounds of its own.
    needed = [{"bytes": row["resident"] - row["pool_free"]} for row in noted]
    before, after = growth(needed, "bytes")
    held = after <= 1.05 * before + 30 * MB
    print("memory holds" if held else "memory GROWS")
    return held


def draw(noted: list[Figures], path: Path) -> None:
    """Resident memory and pool above, caches relative to the most they held below."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    minutes = [row["seconds"] / 60 for row in noted]
    for name in ("resident", "pool_bytes", "pool_free", "bytes_now"):
        above.plot(minutes, [row[name] / MB for row in noted], label=name)
    above.set(ylabel="MB", ylim=(0, None))
    caches = [name for name in noted[0] if name not in ("seconds", "rounds", *_BYTES)]
    for number, name in enumerate(caches):
        most = max(row[name] for row in noted) or 1
        below.plot(
            minutes,
            [row[name] / most for row in noted],
            label=f"{name} ({most:,.0f})",
            linestyle="-" if number < 6 else "--",
        )
    below.set(xlabel="minutes", ylabel="entries, relative to the most", ylim=(0, None))
    for axes in (above, below):
        axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2))
        axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    write_file(path, picture.getbuffer())
    print(f"wrote {path}")


_BYTES = ("resident", "pool_bytes", "pool_free", "bytes_now", "tape_nodes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("minutes", type=float, nargs="?", default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=2_000_000, help="elements of an array")
    parser.add_argument("--shrink", type=int, default=32, help="divide the bounds of caches")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="a folder")
    options = parser.parse_args()
    shrink_caches(options.shrink)
    noted = soak(options.minutes, options.seed, options.largest)
    options.output.mkdir(parents=True, exist_ok=True)
    lines = [",".join(noted[0])]
    lines += [",".join(f"{value:.10g}" for value in row.values()) for row in noted]
    write_file(options.output / "soak.csv", ("\n".join(lines) + "\n").encode())
    held = report(noted)
    draw(noted, options.output / "soak.svg")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
