"""Refuse indices that MXNet's operators clip or ignore: on demand, for finding mistakes."""

from __future__ import annotations

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.ops import get
from tigon.passes.primitives import cast, equal, reduce_max, reshape, slice_axis, where
from tigon.passes.roles import operand_roles


def check_indices(graph: Graph) -> Graph:
    """What the records declare as `indices` is looked through before it is used.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import show, variable
    >>> x, i = (variable(n, TensorType((3,), as_dtype("float32"))) for n in "xi")
    >>> print(show(check_indices(Graph([x, i], [get("take")(x, i)]))))
    graph(%x: float32[3], %i: float32[3]) {
      %0 = _checked_index(%i) {sizes=(3,), operator='take'} 'take'
      %1 = take(%x, %0)
      return %1
    }
    """
    return rewrite(graph, _checked)


def _checked(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    op = node.op
    if op is VARIABLE or op is CONSTANT or not op.indices:
        return None
    operands = list(inputs)
    for place, operand in enumerate(operand_roles(op, node.attrs, len(inputs))):
        rule = op.indices.get(operand.name)
        positions = rule and op.rule(rule, node.attrs, *(value.type for value in inputs))
        if not positions or inputs[place].node.op is _CHECKED:
            continue
        counts = positions.count
        attrs = _CHECKED.make_attrs(
            {
                "sizes": counts if isinstance(counts, tuple) else (counts,),
                "axis": positions.axis,
                "operator": op.name.removeprefix("_backward_"),
                "ignored": positions.ignored,
            }
        )
        indices = inputs[place]
        if positions.column is not None:
            indices = slice_axis(indices, axis=-1, begin=positions.column, end=positions.column + 1)
        (found,) = Node(_CHECKED, (indices,), attrs, node.name or op.name).outputs
        if positions.read and positions.column is None:
            operands[place] = found
        else:
            operands[0] = _after(operands[0], found)
    if all(new is old for new, old in zip(operands, inputs, strict=True)):
        return None
    return node.replace(tuple(operands)).outputs


def _after(value: Value, checked: Value) -> Value:
    """`value`, which depends on `checked` now: no checked index is the least int64."""
    flat = reshape(checked, shape=(checked.type.size,))
    never = reduce_max(cast(equal(flat, -(1 << 63)), dtype=value.dtype.name), axes=(0,))
    return where(reshape(never, shape=(1,) * value.ndim), 0, value)


_CHECKED = get("_checked_index")
