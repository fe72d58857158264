"""No kernel reads a buffer without elements.

Lowering may move a load that does not vary out of its loop, and there it runs even if the loop
does not. So empty values are made from nothing, and their users do without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.loop.combine import COMBINES
from tigon.ops.record import Family, Operator
from tigon.passes.primitives import (
    assign_slice,
    contract,
    full,
    join,
    pad,
    scatter_add,
    unwindow,
    window,
)


def replace_empty_values(graph: Graph) -> Graph:
    """The graph with `_full` in place of values without elements and of what follows from them.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.passes.primitives import reduce_prod
    >>> x = variable("x", TensorType((0, 3), as_dtype("float32")))
    >>> print(show(replace_empty_values(Graph([x], [reduce_prod(x * 2, axes=(0,))]))))
    graph(%x: float32[0,3]) {
      %0 = _full() {shape=(3,), value=1}
      return %0
    }
    """
    return rewrite(graph, _without_empty, _is_empty)


def _is_empty(node: Node) -> bool:
    """Whether it makes a value without elements. Where none does, none reads one."""
    return any(0 in type_.shape for type_ in node.types or ())


def _without_empty(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op is VARIABLE or node.op is CONSTANT or node.types is None or not inputs:
        return None
    if node.op.family is Family.COMPOSITE or len(node.outputs) != 1:
        return None
    if node.outputs[0].type.size == 0:
        return _filled(node, 0)
    if all(value.type.size for value in inputs):
        return None
    if node.op.family is Family.REDUCTION:
        return _filled(node, COMBINES[node.op.combine].neutral(inputs[0].dtype))
    rule = _RULES.get(node.op)
    return None if rule is None else rule(node, inputs)


def _filled(node: Node, number: float | int) -> tuple[Value, ...]:
    kind = node.outputs[0].type
    attrs = full.make_attrs({"shape": kind.shape, "dtype": kind.dtype.name, "value": number})
    return Node(full, (), attrs, node.name, node.hints).outputs


def _joined(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
    kept = tuple(value for value in inputs if value.type.size)
    return kept if len(kept) == 1 else node.replace(kept).outputs


_RULES: dict[Operator, Callable[[Node, tuple[Value, ...]], Any]] = {
    contract: lambda node, inputs: _filled(node, 0),
    pad: lambda node, inputs: _filled(node, node.attrs.value),
    window: lambda node, inputs: _filled(node, node.attrs.fill),
    unwindow: lambda node, inputs: _filled(node, 0),
    join: _joined,
    assign_slice: lambda node, inputs: (inputs[0],),
    scatter_add: lambda node, inputs: (inputs[0],),
}
"""Operators that have elements although an operand has none."""
