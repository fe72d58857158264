"""What is stored at the end of a program: each output in memory of its own, nothing twice."""

from __future__ import annotations

from tigon.analysis.views import is_computed
from tigon.ir import CONSTANT, VARIABLE, Graph, Value
from tigon.ops.record import get


def own_outputs(graph: Graph) -> Graph:
    """Copy outputs that are inputs, views, constants or repeated: each gets memory of its own."""
    seen: set[Value] = set()
    outputs = []
    for value in graph.outputs:
        if value.node.op is VARIABLE or value.node.op is CONSTANT or not is_computed(value.node):
            value = get("_copy")(value)
        elif value in seen:
            value = get("_copy")(value)
        seen.add(value)
        outputs.append(value)
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return Graph(graph.inputs, outputs)


def without_closing_reshapes(graph: Graph) -> Graph:
    """Outputs that are copies of reshaped values, as these values: the same bytes in order."""
    outputs: list[Value] = []
    for value in graph.outputs:
        source = value.node.inputs[0] if value.node.op is get("_copy") else value
        while source.node.op is get("_reshape"):
            source = source.node.inputs[0]
        plain = source.node.op is not VARIABLE and source.node.op is not CONSTANT
        if source is not value and plain and is_computed(source.node):
            if source not in outputs and source not in graph.outputs:
                value = source
        outputs.append(value)
    return Graph(graph.inputs, outputs)
