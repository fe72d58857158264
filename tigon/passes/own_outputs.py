"""Each output in memory of its own: a kernel writes it, and nothing twice."""

from __future__ import annotations

from tigon.analysis.views import is_computed
from tigon.ir import Graph, Value
from tigon.passes.primitives import identity, pad, stored


def own_outputs(graph: Graph) -> Graph:
    """Copy outputs that are inputs, views, constants or repeated."""
    seen: set[Value] = set()
    outputs = []
    for value in graph.outputs:
        if not is_computed(value.node) or value in seen:
            value = stored(value) if value.node.op is pad else identity(value)
        seen.add(value)
        outputs.append(value)
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return Graph(graph.inputs, outputs)
