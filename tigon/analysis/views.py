"""What a kernel computes, and how far it looks through views to read it."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ops.record import TRANSPARENT

MOST_VIEWS = 12
"""Views that a kernel looks through to one element. An index through n reshapes and transposes that
do not merge is an expression of about n * n divisions, and its parts grow by a factor each time."""


def is_computed(node: Node) -> bool:
    """Neither a leaf nor an index map: a node that a kernel has to compute."""
    return node.op is not VARIABLE and node.op is not CONSTANT and node.op.family not in TRANSPARENT


def views_of(node: Node, inputs: Sequence[Value], behind: dict[Value, int]) -> int:
    """How many views one looks through to an element of this node: 0 if it has memory of its own
    or is computed. Where a view has several operands, each may be looked through."""
    if node.op is VARIABLE or node.op is CONSTANT or node.op.family not in TRANSPARENT:
        return 0
    return 1 + sum(behind.get(value, 0) for value in inputs)


def far_readers(graph: Graph) -> set[Node]:
    """The computed nodes that look through that many views: not to be computed more than once."""
    behind: dict[Value, int] = {}
    far: set[Node] = set()
    for node in graph.nodes:
        count = views_of(node, node.inputs, behind)
        behind.update(dict.fromkeys(node.outputs, count))
        if not count and any(behind[value] >= MOST_VIEWS for value in node.inputs):
            far.add(node)
    return far
