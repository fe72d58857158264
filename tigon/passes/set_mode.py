"""Training or prediction, for the operators that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.base.frozen import replace
from tigon.ir.graph import Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.gradient import follow_forward

OWN_MODE = "__training__"


def set_mode(graph: Graph, training: bool) -> Graph:
    """The graph with the attribute `training` of every node that has it set.

    To be run before decomposition, which bakes the mode in. A node whose mode was chosen by the
    program itself, under `predict_mode()` say, carries it as the hint `__training__` and keeps it.
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        own = node.hints.get(OWN_MODE)
        wanted = training if own is None else own == "True"
        if getattr(node.attrs, "training", wanted) == wanted:
            return follow_forward(node, inputs)
        attrs = replace(node.attrs, training=wanted)
        return node.replace(inputs, attrs).outputs

    return rewrite(graph, rule)
