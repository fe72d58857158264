"""Every record over extents that are known only when it runs: the program for all extents means
what a program for each means. Nothing here names an operator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import type_of
from tests.registry.test_execution import arrays_of, assert_close, visible
from tests.registry.test_records import OPERATORS, operands_of
from tigon.base import TigonError
from tigon.gluon.compiled_graphs import without_types
from tigon.ir import Graph, Node, variable
from tigon.ops.record import Operator
from tigon.program.cached_graph import CachedGraph
from tigon.program.compile import compile_graph

SAMPLES = 2
GROWTH = (0, 3, 1)


def grown(sample: tuple[Any, ...], extent: int, by: int) -> tuple[Any, ...]:
    """The sample with one extent, wherever it occurs, larger by `by`."""

    def larger(part: Any) -> Any:
        if not isinstance(part, tuple):
            return part
        return tuple(each + by if each == extent else each for each in part)

    return (*map(larger, sample[:-1]), sample[-1])


def extents_of(sample: tuple[Any, ...]) -> list[int]:
    """The extents of the first operand that is given by its shape; not 0, which stays."""
    shapes = [part for part in sample[:-1] if isinstance(part, tuple)]
    return list(dict.fromkeys(extent for extent in shapes[0] if extent)) if shapes else []


@pytest.mark.parametrize("op", [op for op in OPERATORS if not op.takes_key], ids=lambda op: op.name)
def test_programs_for_open_extents_mean_the_same(op: Operator) -> None:
    for number, sample in enumerate(op.samples[:SAMPLES]):
        for extent in extents_of(sample):
            graph: CachedGraph | None = None
            for by in GROWTH:
                larger = grown(sample, extent, by)
                try:
                    given = operands_of(op, larger, "float32", seed=number)
                    inputs = tuple(variable(f"x{i}", type_of(a)) for i, a in enumerate(given))
                    node = Node(op, inputs, op.make_attrs(sample[-1]))
                    exact = compile_graph(Graph(inputs, visible(node)))
                except (TigonError, ValueError):
                    continue  # the larger shapes have no meaning
                if graph is None:
                    whole = Graph(inputs, visible(node))
                    graph = CachedGraph(without_types(whole), name=op.name)
                if by == 0:  # the first types are compiled as they are in any case
                    graph(arrays_of(given), getattr(node.attrs, "training", False))
                    continue
                expected = exact.run(arrays_of(given))
                found = graph(arrays_of(given), getattr(node.attrs, "training", False))
                for one, other in zip(found, expected, strict=True):
                    assert_close(one.asnumpy(), other.asnumpy(), op, (sample, extent, by))
