"""Replace composites by the operators they are made of, until primitives alone remain; widen what
computes with floats of two bytes on the way, composites as a whole."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from tigon.base import InternalError, TensorType, TigonError
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Graph,
    Node,
    Value,
    attrs_key,
    topological_order,
    variable,
)
from tigon.ir.rewrite import rewrite
from tigon.ir.template import NAME, Template
from tigon.ops.record import Family
from tigon.passes.widen_floats import is_narrow, widened


def decompose(graph: Graph) -> Graph:
    """The same graph in primitives. Types must be known: decompositions read shapes.

    Nodes made from a composite carry its name, so that errors and printed programs still speak of
    the user's operators.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops.tensor.create import zeros_like
    >>> x = variable("x", TensorType((2, 3), as_dtype("float32")))
    >>> print(show(decompose(Graph([x], [zeros_like(x)]))))
    graph(%x: float32[2,3]) {
      %0 = _full() {shape=(2, 3)} 'zeros_like'
      return %0
    }
    """
    return rewrite(graph, _Expansion().rule, _is_expanded)


def _is_expanded(node: Node) -> bool:
    return node.op.family is Family.COMPOSITE or is_narrow(node)


class _Expansion:
    """Works out once what equal calls are made of."""

    def __init__(self) -> None:
        self._known: dict[Any, Template] = {}

    def rule(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        op = node.op
        if op.family is not Family.COMPOSITE:
            return widened(node, inputs) if is_narrow(node) else None
        if node.types is None:
            raise TigonError(
                f"{node.label}: its type is not known yet, so it cannot be decomposed; "
                "give the variables shapes first"
            )
        key = (op, attrs_key(node.attrs), tuple([value.type for value in inputs]))
        found = self._known.get(key)
        if found is None:
            try:
                found = self._template(node, inputs, NAME)
            except TigonError:  # is to speak of the names that the user knows
                found = self._template(node, inputs, node.name or op.name)
            self._known[key] = found
        return found.over(inputs, node.name or op.name, node.hints)

    def _template(self, node: Node, inputs: tuple[Value, ...], name: str) -> Template:
        own = [variable(f"operand{i}", value.type) for i, value in enumerate(inputs)]
        values = widened(node, tuple(own)) if is_narrow(node) else None
        if values is None:
            values = node.op.decomposed(node.attrs, *own)
        _check_types(node, values)
        name_after(values, name)
        inner = rewrite(Graph(own, values), self.rule, _is_expanded)
        return Template(inner.inputs, inner.outputs)


def _check_types(node: Node, values: Sequence[Value]) -> None:
    found = tuple(TensorType(value.shape, value.dtype) for value in values)
    expected = tuple(TensorType(t.shape, t.dtype) for t in node.types or ())
    if found != expected:
        raise InternalError(
            f"{node.label}: its type rule gives {expected} but its decomposition {found}"
        )


def name_after(
    values: Sequence[Value],
    name: str,
    hints: Mapping[str, str] | None = None,
    stop: Container[Value] = (),
) -> None:
    """Name nodes just made (nobody else has seen them), down to those in `stop`."""
    for node in topological_order(values, stop):
        if node.op is VARIABLE or node.op is CONSTANT:
            continue
        node.name = node.name or name
        node.hints = node.hints or dict(hints or ())
