"""Where the time of a training step goes: every launch of its programs.

    make bench-launches

For each launch, alone on one thread and shared by all: microseconds, the rate of its products, the
bytes it names once per microsecond. For each wave: its launches together, as programs run. The
least of many turns; arrays are those of the program's types, so the caches are as full as in a
step, but results go to memory of their own where a step writes over its weights. What loops run is
listed below them, as programs of their own, and for programs with loops the share of products: of a
loop that of its body.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import workloads
from inputs import RANDOM, dense_layers, normal

from tigon import _native, autograd, gluon, nd
from tigon.backends.cpu.cost import extent
from tigon.loop.grammar import Contraction
from tigon.lower.body import LoweredNest
from tigon.lower.control import Control
from tigon.program.compile import compile_graph
from tigon.program.control import graphs_of
from tigon.program.lowered import CompiledGraph


def flops(nest: LoweredNest) -> float:
    if not isinstance(nest.nest, Contraction):
        return 0.0
    axes = (*nest.nest.batch, *nest.nest.rows, *nest.nest.columns, *nest.nest.inner)
    return 2.0 * prod(extent(axis) for axis in axes)


def size(nest: LoweredNest) -> int:
    """Bytes of the buffers, each counted once."""
    return sum(value.type.nbytes for value in nest.values if value is not None)


def array(type_: Any) -> Any:
    made = np.random.default_rng(0).uniform(0, 0.1, type_.shape)
    return nd.array(made.astype(type_.dtype.numpy), dtype=type_.dtype.name)


def least(
    compiled: CompiledGraph,
    arrays: Sequence[Any],
    out: Sequence[Any],
    part: str,
    turns: int,
) -> np.ndarray:
    program = compiled.program
    return 1e6 * np.min([program.timed(arrays, out, part) for _ in range(turns)], axis=0)


def lines(compiled: CompiledGraph, overwritten: dict[int, int], turns: int) -> Iterator[str]:
    """`overwritten`: outputs that are written over inputs."""
    arrays = [array(value.type) for value in compiled.graph.inputs]
    out = [
        arrays[overwritten[index]] if index in overwritten else array(value.type)
        for index, value in enumerate(compiled.graph.outputs)
    ]
    waves, alone, shared = (
        least(compiled, arrays, out, part, turns) for part in ("wave", "alone", "launch")
    )
    nests = in_order(compiled)
    program = compiled.program
    yield (
        f"\n{program.name}: {waves.sum():.1f} us in {len(waves)} waves; its launches one after "
        f"another {shared.sum():.1f}, on one thread {alone.sum():.1f}"
    )
    yield f"  {'':44}{'points':>7}{'chunks':>7}{'us':>9}{'alone':>8}{'GFLOP/s':>9}{'GB/s':>7}"
    before = -1
    for launch, nest, own, both in zip(program.launches, nests, alone, shared, strict=True):
        wave, name, points, chunks = launch
        if wave != before:
            yield f"  wave {wave:<53}{waves[wave]:>9.1f}"
            before = wave
        rate = f"{flops(nest) / both / 1e3:>9.0f}" if flops(nest) else " " * 9
        yield (
            f"    {name[:42]:42}{points:>7}{chunks:>7}{both:>9.1f}{own:>8.1f}{rate}"
            f"{size(nest) / both / 1e3:>7.0f}"
        )
    products = shared[[bool(flops(nest)) for nest in nests]].sum()
    loops = [(n.nest, took) for n, took in zip(nests, shared, strict=True) if is_loop(n)]
    for loop, took in loops:
        body = compile_graph(graphs_of(loop.node)[0], name=f"{loop.node.label}, its body")
        yield from lines(body, {}, turns)
        given = [array(value.type) for value in body.graph.inputs]
        made = [array(value.type) for value in body.graph.outputs]
        own = least(body, given, made, "launch", turns)
        inside = own[[bool(flops(nest)) for nest in in_order(body)]].sum()
        products += took * inside / own.sum()
    if loops:
        yield f"\n{program.name}: {100 * products / shared.sum():.0f} % in products"


def is_loop(nest: LoweredNest) -> bool:
    return isinstance(nest.nest, Control)


def in_order(compiled: CompiledGraph) -> list[LoweredNest]:
    """The nests as they are launched: loops after the rest of their wave. No launch of these
    programs is empty, there are as many as nests."""
    found = [(kernel.wave, is_loop(n), n) for kernel in compiled.kernels for n in kernel.nests]
    return [nest for _, _, nest in sorted(found, key=lambda entry: entry[:2])]


def dense_programs() -> Iterator[tuple[CompiledGraph, dict[int, int]]]:
    """The programs of a step of 784-256-128-10, batch 64: whole, and those of the loop."""
    images, labels = normal(64, 784), RANDOM.randint(0, 10, 64)
    x, y = nd.array(images), nd.array(labels)
    for whole in (True, False):
        net = workloads.gluon_network(dense_layers([784, 256, 128, 10]))
        loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
        trainer = gluon.Trainer(
            net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9}
        )
        if whole:
            step = gluon.TrainStep(net, loss_function, trainer)
            step(x, y)
            (training,) = step.compiled[0].programs
            into = enumerate(training.overwritten, training.kept)
            yield training.compiled, dict(into)
            continue
        net.hybridize()
        loss_function.hybridize()
        with autograd.record():
            loss = loss_function(net(x), y)
        loss.backward()
        trainer.step(64)
        for block in (net, loss_function):
            for entry in block._cached_graphs.entries:
                for compiled in entry.compiled_graphs():
                    yield compiled, {}
        ((_, update),) = trainer.optimizer._graphs
        (compiled,) = update.cached.programs
        count, state = len(update.weights), 1 + 2 * len(update.weights)
        inputs = [*range(1, 1 + count), *range(state, state + len(update.states))]
        yield compiled, dict(enumerate(inputs))


STEPS, BATCH, HIDDEN = 64, 32, 256


class Scan(gluon.nn.HybridBlock):
    """LSTM cells over the steps of a sequence."""

    def hybrid_forward(
        self, F: Any, x: Any, h: Any, c: Any, from_x: Any, from_h: Any, bias: Any
    ) -> Any:
        def body(row: Any, states: Any) -> Any:
            h, c = states
            gates = F.FullyConnected(row, from_x, bias, num_hidden=4 * HIDDEN)
            gates = gates + F.FullyConnected(h, from_h, num_hidden=4 * HIDDEN, no_bias=True)
            i, f, new, o = F.split(gates, num_outputs=4, axis=1)
            c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(new)
            h = F.sigmoid(o) * F.tanh(c)
            return h, [h, c]

        return F.contrib.foreach(body, x, [h, c])[0]


def scan_programs() -> Iterator[tuple[CompiledGraph, dict[int, int]]]:
    """A scan of LSTM cells: forward alone, recorded, backward."""
    net = Scan()
    net.hybridize(strict=True)
    state, weight = (BATCH, HIDDEN), (4 * HIDDEN, HIDDEN)
    shapes = [(STEPS, *state), state, state, weight, weight, weight[:1]]
    arrays = [nd.array(0.1 * normal(*shape)) for shape in shapes]
    net(*arrays)
    for value in arrays:
        value.attach_grad()
    with autograd.record():
        rows = net(*arrays)
    rows.backward()
    for entry in net._cached_graphs.entries:
        for compiled in entry.compiled_graphs():
            yield compiled, {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    print(f"{_native.num_threads()} threads")
    for compiled, overwritten in (*dense_programs(), *scan_programs()):
        for line in lines(compiled, overwritten, options.turns):
            print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
