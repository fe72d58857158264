"""Which inputs of a graph take part in a recording of its results."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from tigon.ir import Graph, Node, Value
from tigon.ir.graph import topological_order


def leads(graph: Graph, results: Sequence[Value]) -> list[list[int]]:
    """Of each result, the inputs that take part where operators run one by one: those before what
    was detached, or before integers, do not."""
    reached = {value: 1 << i for i, value in enumerate(graph.inputs)}
    for node in topological_order(results):
        if not node.inputs or not is_recorded(node):
            continue
        mask = functools.reduce(operator.or_, (reached.get(v, 0) for v in node.inputs))
        for value in node.outputs:
            reached[value] = mask
    return [
        [i for i, bit in enumerate(reversed(f"{reached.get(value, 0):b}")) if bit == "1"]
        for value in results
    ]


def is_recorded(node: Node) -> bool:
    """Whether an imperative call of it is recorded. Of bools it records only what has no slope
    anyway."""
    if node.op.ends_recording:
        return False
    if node.op.differentiable:
        return any(value.dtype.has_gradients for value in node.inputs)
    return not node.op.mutates
