"""What loops keep for their gradients, and what is left in them."""

from __future__ import annotations

from typing import Any

import pytest

from tigon import autograd, gluon, nd
from tigon.ir import Graph
from tigon.ir.graph import nodes_within
from tigon.lower.control import Control
from tigon.ops import get
from tigon.ops.primitive import control
from tigon.ops.record import Family
from tigon.program.compile import compile_graph
from tigon.program.control import graphs_of
from tigon.program.lowered import CompiledGraph

BATCH, WIDE = 4, 8


class Cells(gluon.nn.HybridBlock):
    """LSTM cells, over all rows or while a counter says so."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.kind = kind
        self.options = options

    def hybrid_forward(
        self, F: Any, x: Any, h: Any, c: Any, from_x: Any, from_h: Any, bias: Any
    ) -> Any:
        def cell(row: Any, states: Any) -> Any:
            h, c = states
            gates = F.FullyConnected(row, from_x, bias, num_hidden=4 * WIDE)
            gates = gates + F.FullyConnected(h, from_h, num_hidden=4 * WIDE, no_bias=True)
            i, f, new, o = F.split(gates, num_outputs=4, axis=1)
            c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(new)
            return F.sigmoid(o) * F.tanh(c), [F.sigmoid(o) * F.tanh(c), c]

        if self.kind == "foreach":
            return F.contrib.foreach(cell, x, [h, c], **self.options)[0]
        first = F.slice_axis(x, axis=0, begin=0, end=1).reshape((BATCH, WIDE))
        return F.contrib.while_loop(
            lambda i, h, c: i < 5,
            lambda i, h, c: ([], [i + 1, *cell(first, [h, c])[1]]),
            [F.zeros((1,)), h, c],
            max_iterations=50,
            **self.options,
        )[1][1]


def programs(kind: str, steps: int, **options: Any) -> tuple[CompiledGraph, CompiledGraph]:
    """Recorded and backward."""
    net = Cells(kind, **options)
    net.hybridize(strict=True)
    state, weight = (BATCH, WIDE), (4 * WIDE, WIDE)
    shapes = [(steps, *state), state, state, weight, weight, weight[:1]]
    arrays = [nd.random.uniform(-0.1, 0.1, shape=shape) for shape in shapes]
    for array in arrays:
        array.attach_grad()
    with autograd.record():
        rows = net(*arrays)
    rows.backward()
    arrays[0].grad.wait_to_read()
    (entry,) = net._cached_graphs.entries
    forward, backward = entry.compiled_graphs()
    return forward, backward


def kept_bytes(forward: CompiledGraph) -> int:
    """For backward, beside inputs and results."""
    return sum(int(value.type.nbytes) for value in forward.graph.outputs[1:])


def loops(graph: Graph) -> list[Any]:
    return [n for n in graph.nodes if n.op in (control._foreach, control._while_loop)]


def products(nodes: Any) -> int:
    """Bodies that no pass has changed hold layers."""
    return sum(
        node.op is get("FullyConnected") or getattr(node.op, "family", None) is Family.CONTRACTION
        for node in nodes
    )


def test_products_in_a_scan_of_cells() -> None:
    """One is left in each direction; those of inputs and weights are made at once."""
    forward, backward = programs("foreach", 6)
    for compiled, around in ((forward, 1), (backward, 3)):
        (loop,) = loops(compiled.graph)
        assert products(nodes_within(loop)) == 1
        assert products(compiled.graph.nodes) == around
    assert sum(isinstance(n.nest, Control) for k in backward.kernels for n in k.nests) == 1


@pytest.mark.parametrize("kind", ["foreach", "while"])
def test_gradients_of_what_was_split_are_joined(kind: str) -> None:
    """As a sum of gates with zeros around them each was computed for all."""
    (loop,) = loops(programs(kind, 6)[1].graph)
    (body,) = graphs_of(loop)
    names = [node.op.name for node in compile_graph(body).graph]
    assert names.count("_join") == 1 and "_pad" not in names


@pytest.mark.parametrize("kind", ["foreach", "while"])
def test_iterations_are_computed_again_where_that_is_asked_for(kind: str) -> None:
    (again,) = loops(programs(kind, 6, recompute=True)[1].graph)
    (kept,) = loops(programs(kind, 6)[1].graph)
    assert products(nodes_within(again)) > products(nodes_within(kept))


@pytest.mark.parametrize("recompute", [False, True])
def test_what_is_kept_grows_with_the_iterations(recompute: bool) -> None:
    sizes = [kept_bytes(programs("foreach", n, recompute=recompute)[0]) for n in (4, 8, 16)]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0]) > 0


def test_states_alone_are_kept_where_iterations_are_computed_again() -> None:
    steps, row = 10, BATCH * WIDE * 4
    again = kept_bytes(programs("foreach", steps, recompute=True)[0])
    assert again == 2 * steps * row
    assert again < kept_bytes(programs("foreach", steps)[0]) <= 8 * steps * row
