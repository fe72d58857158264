"""Parts with zeros around them, added up, are one array of these parts: the gradients of what was
split. As a sum, each of its elements would be computed once for every part."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tigon.base.extents import is_known, same_shape
from tigon.ir.graph import Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.canonicalize import uniform_value
from tigon.passes.primitives import add, join, pad

FEWEST = 3
"""Of two parts the sum stays with the kernel that reads it: a join is a pass over memory."""

Part = tuple[int, Value]
"""Where it begins along the axis, and what it is."""


def join_parts(graph: Graph) -> Graph:
    """Join parts of which no two meet and between which nothing is left."""
    return rewrite(graph, _joined)


def _joined(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op is not add or node.types is None:
        return None
    shape = node.outputs[0].shape
    parts: list[Part] = []
    axes: set[int] = set()
    pending = [*inputs]
    while pending:
        value = pending.pop()
        if not same_shape(value.shape, shape):
            return None
        if value.node.op is add:
            pending += value.node.inputs
            continue
        axis = _padded_axis(value.node)
        if axis is None:
            return None
        axes.add(axis)
        parts += _parts_of(value.node, axis)
    if len(axes) > 1 or len(parts) < FEWEST:
        return None
    (axis,) = axes
    parts.sort(key=lambda part: part[0])
    begin = end = parts[0][0]
    for offset, part in parts:
        if offset != end:
            return None
        end += part.shape[axis]
    # A sum has added zeros to each element: -0.0 is 0.0 then.
    own = tuple(_with_zero(part) for _, part in parts)
    whole = Node(join, own, join.make_attrs({"axis": axis}), node.name, node.hints).outputs[0]
    after = shape[axis] - end
    if begin or after:
        whole = pad(
            whole,
            before=tuple(begin if i == axis else 0 for i in range(len(shape))),
            after=tuple(after if i == axis else 0 for i in range(len(shape))),
        )
    return (whole,)


def _parts_of(padded: Node, axis: int) -> list[Part]:
    """What zeros were put around; an array that was joined here is its parts."""
    (inner,) = padded.inputs
    is_joined = inner.node.op is join and inner.node.attrs.axis == axis
    offset, found = padded.attrs.before[axis], []
    for part in inner.node.inputs if is_joined else (inner,):
        found.append((offset, part))
        offset += part.shape[axis]
    return found


def _padded_axis(node: Node) -> int | None:
    """The only axis along which there are zeros around an array, where all is known along it."""
    if node.op is not pad or any(node.attrs.interior):
        return None
    before, after = node.attrs.before, node.attrs.after
    if not _is_zero(node.attrs.value):
        return None
    axes = [axis for axis, size in enumerate(zip(before, after, strict=True)) if any(size)]
    if len(axes) != 1:
        return None
    (axis,) = axes
    (inner,) = node.inputs
    parts = inner.node.inputs if inner.node.op is join else (inner,)
    extents = [part.shape[axis] for part in parts]
    return axis if is_known(before[axis], after[axis], *extents) else None


def _with_zero(part: Value) -> Value:
    if not part.dtype.is_float or _adds_zero(part.node):
        return part
    return add(part, 0.0)


def _adds_zero(node: Node) -> bool:
    if node.op is not add:
        return False
    number = uniform_value(node.inputs[1])
    return number is not None and _is_zero(number)


def _is_zero(number: float) -> bool:
    return number == 0 and math.copysign(1, number) > 0
