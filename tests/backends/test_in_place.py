"""Where a plan may put a result over an operand, every form of kernel must keep to it: each element
is read before the point that owns it writes it, and written once or with one value.

The law, over forms, tails and tile edges: whatever `in_step` allows, the native kernel gives the
same numbers with shared memory as without, in any order of points, and those of the interpreter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.backends.harness import Launch, narrow
from tests.fuzz.graphs import random_graph
from tests.fuzz.residuals import MAKERS, given
from tigon.backends.cpu.backend import CpuBackend, cpu
from tigon.backends.cpu.plain import as_nest
from tigon.base import as_dtype
from tigon.base.tiles import WIDE
from tigon.ir import Graph, Value
from tigon.loop.grammar import Contraction, Loop, Store
from tigon.loop.interpret import interpret
from tigon.lower.body import LoweredNest
from tigon.program.lowered import LoweredGraph

NARROW = narrow(32)


def anything(choose: random.Random) -> list[Value]:
    graph = random_graph(
        choose.randrange(10**6), steps=8, extents=(1, 3, 4, 5, 9, 13, 17, 33), limit=4000
    )
    return list(graph.outputs)


KINDS = {"product": 60, "gram": 15, "batches": 15, "convolution": 30, "rows": 30, "anything": 30}
"""How many graphs of each kind are tried."""


def nests_of(outputs: Sequence[Value]) -> Iterator[LoweredNest]:
    lowered = LoweredGraph(Graph.of(list(dict.fromkeys(outputs))), frozenset(), (), ())
    for kernel in lowered.kernels:
        yield from kernel.nests


def pairs(nest: LoweredNest) -> Iterator[tuple[int, int]]:
    """Buffers (read, written) that may be the same memory."""
    for written, out in enumerate(nest.nest.buffers):
        for read, buffer in enumerate(nest.nest.buffers):
            source, taker = nest.values[read], nest.values[written]
            if out.role != "out" or buffer.role != "in" or source is None or taker is None:
                continue
            if source.type.nbytes == taker.type.nbytes and nest.in_step(source, taker):
                yield read, written


def form(nest: LoweredNest) -> str:
    """What the backend makes of it."""
    if not isinstance(nest.nest, Contraction):
        return "nest"
    plain = as_nest(nest.nest, WIDE, False)
    if plain is None:
        return "tiles"
    if any(isinstance(stmt, Loop) for stmt in plain.body):
        return "strips"
    return "dots together" if sum(isinstance(s, Store) for s in plain.body) > 3 else "dots"


def arrays_for(nest: LoweredNest, seed: int) -> list[np.ndarray | None]:
    random = np.random.default_rng(seed)
    arrays: list[np.ndarray | None] = []
    for value, buffer in zip(nest.values, nest.nest.buffers, strict=True):
        if value is None:
            arrays.append(None)
            continue
        array = random.integers(-3, 4, value.type.size).astype(value.dtype.numpy)
        arrays.append(np.zeros_like(array) if buffer.role == "out" else array)
    return arrays


def run(nest: LoweredNest, arrays: Sequence[np.ndarray | None], backend: CpuBackend) -> None:
    """Every point by itself, the last one first: any order is allowed."""
    launch = Launch(nest.nest, arrays, backend)
    for point in reversed(range(launch.launchable.points)):
        launch(point, point + 1)


def check_shared(nest: LoweredNest, read: int, written: int, backend: CpuBackend) -> None:
    separate = arrays_for(nest, 0)
    oracle = [None if array is None else array.copy() for array in separate]
    run(nest, separate, backend)
    with np.errstate(all="ignore"):
        interpret(nest.nest, oracle)
    shared = arrays_for(nest, 0)
    source = shared[read]
    assert source is not None
    out_dtype = nest.nest.buffers[written].dtype.numpy
    shared[written] = source.view(out_dtype)
    run(nest, shared, backend)
    for number, buffer in enumerate(nest.nest.buffers):
        if buffer.role == "out":
            where = f"buffer {number} with {read} over {written}"
            np.testing.assert_array_equal(shared[number], separate[number], err_msg=where)
            np.testing.assert_allclose(separate[number], oracle[number], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_memory_changes_no_number(kind: str) -> None:
    make = MAKERS.get(kind, anything)
    tried: Counter[str] = Counter()
    for seed in range(KINDS[kind]):
        backend = NARROW if seed % 5 == 4 else cpu
        for nest in nests_of(make(random.Random(seed))):
            for read, written in pairs(nest):
                check_shared(nest, read, written, backend)
                tried[form(nest)] += 1
    # The law must have been tried where it can break.
    wanted = {
        "product": {"dots", "dots together", "strips", "tiles"},
        "convolution": {"dots together", "strips", "tiles"},
        "gram": {"strips", "tiles"},
        "batches": {"strips", "tiles"},
    }
    assert set(tried) >= wanted.get(kind, {"nest"}), tried


def test_reads_after_the_write_forbid_sharing() -> None:
    """A loop that reads again what an earlier loop of the point wrote over, and one that covers
    other elements under the same index."""
    from tigon.loop import build as L
    from tigon.loop.grammar import Buffer, LoopAxis, Nest

    dtype = as_dtype("float32")
    x, y, z = (given(name, 8) for name in "xyz")
    here = L.load(0, L.axis("i"), dtype)
    buffers = (Buffer(dtype, "in"), Buffer(dtype, "out"), Buffer(dtype, "out"))

    def part(buffer: int, start: int, stop: int) -> Loop:
        axis = LoopAxis("i", L.const(stop), L.const(start))
        return Loop((axis,), (Store(buffer, L.axis("i"), L.add(here, 1.0)),))

    twice = LoweredNest(Nest(buffers, (), (part(1, 0, 8), part(2, 0, 8))), [x, y, z])
    assert not twice.in_step(x, y) and twice.in_step(x, z)
    elsewhere = LoweredNest(Nest(buffers, (), (part(1, 0, 8), part(2, 0, 4))), [x, y, z])
    assert not elsewhere.in_step(x, z)
