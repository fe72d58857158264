"""Replace composites by the operators they are made of, until primitives alone remain; widen what
computes with floats of two bytes on the way, composites as a whole."""

from __future__ import annotations

from collections.abc import Container, Sequence

from tigon.base import InternalError, TensorType, TigonError
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, topological_order, variable
from tigon.ir.rewrite import rewrite, substitute
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
    return rewrite(graph, _expand)


def _expand(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    op = node.op
    if op is VARIABLE or op is CONSTANT:
        return None
    narrow = is_narrow(node)
    if op.family is not Family.COMPOSITE:
        return widened(node, inputs) if narrow else None
    if node.types is None:
        raise TigonError(
            f"{node.label}: its type is not known yet, so it cannot be decomposed; "
            "give the variables shapes first"
        )
    # Over own variables: the rewriting of the result then ends at them, however long the history
    # of the inputs is.
    own = [variable(f"operand{i}", value.type) for i, value in enumerate(inputs)]
    values = widened(node, tuple(own)) if narrow else None
    if values is None:
        values = op.decomposed(node.attrs, *own)
    _check_types(node, values)
    name_after(values, node.name or op.name, node)
    inner = decompose(Graph(own, values))
    return substitute(inner.outputs, dict(zip(inner.inputs, inputs, strict=True)))


def _check_types(node: Node, values: Sequence[Value]) -> None:
    found = tuple(TensorType(value.shape, value.dtype) for value in values)
    expected = tuple(TensorType(t.shape, t.dtype) for t in node.types or ())
    if found != expected:
        raise InternalError(
            f"{node.label}: its type rule gives {expected} but its decomposition {found}"
        )


def name_after(
    values: Sequence[Value], name: str, source: Node, stop: Container[Value] = ()
) -> None:
    """Name nodes just made for `source` (nobody else has seen them), down to those in `stop`."""
    for node in topological_order(values, stop):
        if node.op is VARIABLE or node.op is CONSTANT:
            continue
        node.name = node.name or name
        node.hints = node.hints or source.hints
