"""When each value of a graph is made and last read, for a given order of steps."""

from __future__ import annotations

from collections.abc import Mapping

from tigon.ir.graph import Graph, Node, Value


def waves(graph: Graph) -> dict[Node, int]:
    """The earliest step of each node: one after its latest operand. Leaves are at step 0.

    Nodes of one wave do not depend on each other and may run at the same time.
    """
    step: dict[Node, int] = {}
    for node in graph.nodes:
        step[node] = max((step[value.node] + 1 for value in node.inputs), default=0)
    return step


def live_ranges(graph: Graph, step: Mapping[Node, int]) -> dict[Value, tuple[int, int]]:
    """First and last step of every value. Outputs live to the end.

    >>> from tigon.ir import Graph, variable
    >>> x = variable("x")
    >>> live_ranges(Graph([x], [x]), {x.node: 0})[x]
    (0, 0)
    """
    end = max(step.values(), default=0)
    ranges = {value: (step[node], step[node]) for node in graph.nodes for value in node.outputs}
    for node in graph.nodes:
        for value in node.inputs:
            first, last = ranges[value]
            ranges[value] = (first, max(last, step[node]))
    for value in graph.outputs:
        ranges[value] = (ranges[value][0], end)
    return ranges
