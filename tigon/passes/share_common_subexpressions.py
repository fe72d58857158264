"""Compute equal things once."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.ir.graph import VARIABLE, Graph, Node, Value, attrs_key
from tigon.ir.rewrite import rewrite


def share_common_subexpressions(graph: Graph) -> Graph:
    """Merge nodes of equal operator, attributes and inputs; the first one's name stays.

    Random operators merge too where their ordinals are equal: equal key and ordinal mean equal
    numbers, which is how a recomputed dropout mask becomes the one already there.
    """
    first: dict[tuple, Node] = {}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is VARIABLE:
            return None
        key = (node.op, attrs_key(node.attrs), inputs)
        known = first.get(key)
        if known is not None:
            return known.outputs
        same = all(new is old for new, old in zip(inputs, node.inputs, strict=True))
        kept = node if same else node.replace(inputs)
        first[key] = kept
        return kept.outputs

    return rewrite(graph, rule)
