"""Drop work whose result nobody can see.

A node that no output depends on is not in the graph to begin with: a graph is what its outputs
reach. What is left are writes that are never read.
"""

from __future__ import annotations

from collections.abc import Sequence

from tigon.base.extents import is_one
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.primitives import assign_slice, join, slice_region


def remove_dead_code(graph: Graph) -> Graph:
    """The graph without overwritten data and unread parts. Inputs stay.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> x = variable("x", TensorType((2, 3), as_dtype("float32")))
    >>> y = variable("y", TensorType((2, 5), as_dtype("float32")))
    >>> right = slice_region(join(x, y, axis=1), start=(0, 3), step=(1, 1), extents=(2, 5))
    >>> print(show(remove_dead_code(Graph([x, y], [right]))))
    graph(%x: float32[2,3], %y: float32[2,5]) {
      %0 = _slice(%y) {start=(0, 0), step=(1, 1), extents=(2, 5)}
      return %0
    }
    """
    return rewrite(graph, _live, _may_be_dead)


def _may_be_dead(node: Node) -> bool:
    return node.op is assign_slice or node.op is slice_region


def _live(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op is VARIABLE or node.op is CONSTANT or node.types is None:
        return None
    if node.op is assign_slice:
        return _overwritten(node, inputs)
    if node.op is slice_region:
        return _read_through(node, inputs)
    return None


def _overwritten(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    value, attrs = inputs[1], node.attrs
    whole = value.type == node.outputs[0].type and all(
        start == 0 and (step == 1 or is_one(extent))
        for start, step, extent in zip(attrs.start, attrs.step, value.shape, strict=True)
    )
    return (value,) if whole else None


def _read_through(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """A slice that stays within one operand of a join, or meets all or none of what was written."""
    result: Value | None = None
    reader = node if inputs == node.inputs else node.replace(inputs)
    while True:
        source = reader.inputs[0].node
        found = None
        if source.op is join:
            found = _within_operand(reader, source)
        elif source.op is assign_slice:
            found = _past_write(reader, source)
        if found is None:
            return None if result is None else (result,)
        result = found
        if found in source.inputs:
            return (result,)
        reader = found.node


def _within_operand(node: Node, source: Node) -> Value | None:
    attrs, axis = node.attrs, source.attrs.axis
    low, high = _reach(attrs.start[axis], attrs.step[axis], attrs.extents[axis])
    begin = 0
    for operand in source.inputs:
        end = begin + operand.shape[axis]
        if begin <= low and high < end:
            start = list(attrs.start)
            start[axis] -= begin
            moved = slice_region.make_attrs(
                {"start": tuple(start), "step": attrs.step, "extents": attrs.extents}
            )
            return Node(slice_region, (operand,), moved, node.name, node.hints).outputs[0]
        begin = end
    return None


def _past_write(node: Node, write: Node) -> Value | None:
    data, value = write.inputs
    read, written = node.attrs, write.attrs
    if (read.start, read.step, read.extents) == (written.start, written.step, value.shape):
        return value if value.type == node.outputs[0].type else None
    for axis, extent in enumerate(value.shape):
        low, high = _reach(read.start[axis], read.step[axis], read.extents[axis])
        first, last = _reach(written.start[axis], written.step[axis], extent)
        if high < first or last < low:
            return node.replace((data,)).outputs[0]
    return None


def _reach(start: int, step: int, extent: int) -> tuple[int, int]:
    """Lowest and highest index touched by a region that is not empty."""
    end = start + (extent - 1) * step
    return min(start, end), max(start, end)
