"""What traces were compiled to, by the structure of their graphs.

Traces for other shapes mostly give the same graph, and so do the rounds of a loop that Python runs:
they share their programs' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from tigon.ir import VARIABLE, Graph, Node, Value, rewrite
from tigon.ir.rewrite import retyped
from tigon.program.cached_graph import CachedGraph


class CompiledByKey(WeakValueDictionary[Any, CachedGraph]):
    """`recompute`: bytes that forward and backward of each may take (`CachedGraph`)."""

    def __init__(self, recompute: int | None = None) -> None:
        super().__init__()
        self.recompute = recompute


def compiled_graph(
    graph: Graph,
    name: str,
    compiled: CompiledByKey,
    drawn: Sequence[int] = (),
    states: Any = (),
    unread: int = 0,
) -> CachedGraph:
    """The graph over untyped variables, ready to be called. `drawn`: the serials of the random
    nodes that the program made."""
    graph = without_types(graph)
    ordinals = {serial: ordinal for ordinal, serial in enumerate(sorted(drawn))}
    key = (
        graph.key,
        tuple(value.node.name for value in graph.inputs),
        len(drawn),
        tuple(ordinals.get(node.serial) for node in graph.nodes if drawn),
        states,
        unread,
    )
    found = compiled.get(key)
    if found is None:
        made = CachedGraph(
            graph,
            name,
            drawn=drawn,
            states=states,
            unread=unread,
            recompute=compiled.recompute,
        )
        found = compiled[key] = made
    return found


def without_types(graph: Graph) -> Graph:
    """The same graph over untyped variables: mode and random keys are settled before types."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is not VARIABLE:
            return None
        return retyped(node, None).outputs

    return rewrite(graph, rule)
