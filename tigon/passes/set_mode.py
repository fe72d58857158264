"""Training or prediction, for the operators that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.base.frozen import replace
from tigon.ir.graph import Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.gradient import follow_forward


def set_mode(graph: Graph, training: bool) -> Graph:
    """The graph with the attribute `training` of every node that has it settled.

    To be run before decomposition, which bakes the mode in. A node whose mode was chosen by the
    program itself, under `predict_mode()` say, has it as this attribute already and keeps it; all
    others have None there.
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if getattr(node.attrs, "training", training) is not None:
            return follow_forward(node, inputs)
        return node.replace(inputs, replace(node.attrs, training=training)).outputs

    return rewrite(graph, rule)
