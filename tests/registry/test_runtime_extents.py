"""Every record over extents that are known only when it runs: the program for all extents means
what each call by itself means. Nothing here names an operator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import type_of
from tests.registry.test_execution import arrays_of, as_graph, assert_close, run, takes_key
from tests.registry.test_records import OPERATORS, operands_of
from tigon.base import TigonError
from tigon.gluon._graphs import without_types
from tigon.ir import Graph, Node, variable
from tigon.ops.record import Operator
from tigon.runtime.cached_graph import CachedGraph

SAMPLES = 3
GROWTH = (0, 3, 1, 8)


def grown(sample: tuple[Any, ...], by: int) -> tuple[Any, ...] | None:
    """The sample with the first extent, wherever it occurs, larger by `by`."""
    shapes = [part for part in sample[:-1] if isinstance(part, tuple)]
    if not shapes or not shapes[0] or not all(isinstance(e, int) for s in shapes for e in s):
        return None
    first = shapes[0][0]
    if first == 0:
        return None

    def larger(part: Any) -> Any:
        if not isinstance(part, tuple):
            return part
        return tuple(extent + by if extent == first else extent for extent in part)

    return (*map(larger, sample[:-1]), sample[-1])


@pytest.mark.parametrize(
    "op", [op for op in OPERATORS if not takes_key(op)], ids=lambda op: op.name
)
def test_programs_for_open_extents_mean_the_same(op: Operator) -> None:
    for number, sample in enumerate(op.samples[:SAMPLES]):
        graph: CachedGraph | None = None
        for by in GROWTH:
            larger = grown(sample, by)
            if larger is None:
                continue
            try:
                given = operands_of(op, larger, "float32", seed=number)
                inputs = tuple(variable(f"x{i}", type_of(a)) for i, a in enumerate(given))
                node = Node(op, inputs, op.make_attrs(sample[-1]))
                expected = run(node, arrays_of(given))
            except (TigonError, ValueError):
                continue  # the larger shapes have no meaning
            if graph is None:
                whole = Graph(inputs, as_graph(node).graph.outputs)
                graph = CachedGraph(without_types(whole), name=op.name)
            found = graph(arrays_of(given), getattr(node.attrs, "training", False))
            for one, other in zip(found, expected, strict=True):
                what = (op.name, sample, by)
                assert_close(one.asnumpy(), other.asnumpy(), op, what)
                assert one.shape == other.shape, what
