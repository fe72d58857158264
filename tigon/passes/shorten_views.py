"""Long chains of views get memory on the way."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.analysis.views import MOST_VIEWS, views_of
from tigon.ir import Graph, Node, Value, rewrite
from tigon.passes.primitives import identity


def shorten_views(graph: Graph) -> Graph:
    """Copy every value that lies behind `MOST_VIEWS` views; fusion gives such copies memory."""
    behind: dict[Value, int] = {}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        count = views_of(node, inputs, behind)
        same = inputs == node.inputs
        outputs = node.outputs if same else node.replace(inputs).outputs
        if count >= MOST_VIEWS:
            return [identity(value) for value in outputs]
        behind.update(dict.fromkeys(outputs, count))
        return None if same else outputs

    return rewrite(graph, rule)
