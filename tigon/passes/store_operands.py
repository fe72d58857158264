"""Operands of libraries, loops and branches in memory, element after element."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.analysis.views import is_computed
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite
from tigon.ops.record import READS_MEMORY
from tigon.passes.primitives import identity


def store_operands(graph: Graph) -> Graph:
    """Copy the views and numbers that a routine of a library, or a program within, would have to
    read.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops import get
    >>> x = variable("x", TensorType((2, 2), as_dtype("float32")))
    >>> turned = get("transpose")(x)
    >>> print(show(store_operands(Graph([x], [get("linalg_potrf")(turned)]))))
    graph(%x: float32[2,2]) {
      %0 = transpose(%x)
      %1 = _copy(%0)
      %2 = linalg_potrf(%1)
      return %2
    }
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not is_computed(node) or node.op.family not in READS_MEMORY:
            return None
        stored = tuple(value if _in_memory(value) else identity(value) for value in inputs)
        same = all(new is old for new, old in zip(stored, node.inputs, strict=True))
        return None if same else node.replace(stored).outputs

    return rewrite(graph, rule, lambda node: node.op.family in READS_MEMORY)


def _in_memory(value: Value) -> bool:
    node = value.node
    if node.op is CONSTANT:
        return bool(node.attrs.shape)
    return node.op is VARIABLE or is_computed(node)
