"""Training or prediction, for the operators that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base.frozen import replace
from tigon.ir.graph import Graph, Node, Value, graphs_among, graphs_within, nodes_within, variable
from tigon.ir.rewrite import rewrite
from tigon.passes.decompose import decompose
from tigon.passes.gradient import follow_forward


def set_mode(graph: Graph, training: bool) -> Graph:
    """The graph with the attribute `training` of every node that has it settled.

    To be run before decomposition, which bakes the mode in. A node whose mode was chosen by the
    program itself, under `predict_mode()` say, has it as this attribute already and keeps it; all
    others have None there.
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        within = graphs_within(node)
        if within:
            settled = {name: set_mode(inner, training) for name, inner in within.items()}
            if all(settled[name] is inner for name, inner in within.items()):
                return None
            return node.replace(inputs, replace(node.attrs, **settled)).outputs
        if getattr(node.attrs, "training", training) is not None:
            return follow_forward(node, inputs)
        return node.replace(inputs, replace(node.attrs, training=training)).outputs

    return rewrite(graph, rule)


def trains(node: Node) -> bool:
    """Whether a typed node computes something that prediction would not."""
    if any(getattr(inner.attrs, "training", False) for inner in nodes_within(node)):
        return True
    if not getattr(node.attrs, "training", False):
        return False
    operands = tuple(variable(f"x{i}", value.type) for i, value in enumerate(node.inputs))

    def made_of(training: bool) -> Graph:
        attrs = replace(node.attrs, training=training)
        return decompose(Graph(operands, Node(node.op, operands, attrs).outputs))

    return made_of(True).key != made_of(False).key


def in_prediction(attrs: Any) -> Any:
    """Attributes as they are in prediction."""
    graphs = graphs_among(attrs)
    if not graphs:
        return replace(attrs, training=False)

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        differs = graphs_within(node) or getattr(node.attrs, "training", None)
        return node.replace(inputs, in_prediction(node.attrs)).outputs if differs else None

    return replace(attrs, **{name: rewrite(graph, rule) for name, graph in graphs.items()})
