"""Training or prediction, for the operators that tell them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tigon.ir.graph import Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.gradient import follow_forward


def set_mode(graph: Graph, training: bool) -> Graph:
    """The graph with the attribute `training` of every node that has it set.

    To be run before decomposition, which bakes the mode in.
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if getattr(node.attrs, "training", training) == training:
            return follow_forward(node, inputs)
        attrs = dataclasses.replace(node.attrs, training=training)
        return node.replace(inputs, attrs).outputs

    return rewrite(graph, rule)
