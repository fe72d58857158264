"""How many products of numbers a graph adds up: most of what a large network takes time for."""

from __future__ import annotations

import math

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node
from tigon.ops.primitive import control
from tigon.ops.record import Family
from tigon.passes.decompose import decompose


def multiply_adds(graph: Graph) -> int:
    """Those of matrix products and convolutions of a typed graph, places beyond the border of an
    image included. A loop's count as often as it runs at most, a branch's as where its condition
    holds.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import variable
    >>> from tigon.ops import get
    >>> x = variable("x", TensorType((2, 3), as_dtype("float32")))
    >>> w = variable("w", TensorType((5, 3), as_dtype("float32")))
    >>> y = get("FullyConnected")(x, w, num_hidden=5, no_bias=True)
    >>> multiply_adds(Graph([x, w], [y]))
    30
    """
    total, todo = 0, [(graph, 1)]
    while todo:
        given, times = todo.pop()
        for node in decompose(given).nodes:
            if node.op is VARIABLE or node.op is CONSTANT:
                continue
            if node.op.family is Family.CONTRACTION:
                total += times * products_of(node)
            elif node.op.family is Family.CONTROL:
                types = [value.type for value in node.inputs]
                todo += [(inner, times * often) for inner, often in control.runs(node.attrs, types)]
    return total


def products_of(node: Node) -> int:
    """Those of one contraction."""
    extents: dict[str, int] = {}
    for labels, value in zip((node.attrs.left, node.attrs.right), node.inputs, strict=True):
        extents.update(zip(labels, value.type.shape, strict=True))
    return math.prod(extents.values())
