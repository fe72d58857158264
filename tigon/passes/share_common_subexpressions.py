"""Compute equal things once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.ir.graph import VARIABLE, Graph, Node, Value, attrs_key
from tigon.ir.rewrite import rewrite
from tigon.ops.record import has_effect
from tigon.passes.primitives import add, multiply


def share_common_subexpressions(graph: Graph) -> Graph:
    """Merge nodes of equal operator, attributes and inputs; the first one's name stays. Sums and
    products of two merge in either order.

    Random operators merge too where their ordinals are equal: equal key and ordinal mean equal
    numbers, which is how a recomputed dropout mask becomes the one already there. Calls of effect
    never merge.
    """
    first: dict[tuple[Any, ...], Node] = {}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is VARIABLE or has_effect(node):
            return None
        # Exact, unlike for max(0.0, -0.0), which depends on the order.
        commutes = node.op is add or node.op is multiply
        operands = tuple(sorted(inputs, key=id)) if commutes else inputs
        key = (node.op, attrs_key(node.attrs), operands)
        known = first.get(key)
        if known is not None:
            return known.outputs
        kept = node if inputs == node.inputs else node.replace(inputs)
        first[key] = kept
        return kept.outputs

    return rewrite(graph, rule)
