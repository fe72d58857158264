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

MOST_TRIED = 64
"""Of sums whose parts do not fit, those of up to so many are tried without the last ones."""

Part = tuple[int, Value]
"""Where it begins along the axis, and what it is."""


def join_parts(graph: Graph) -> Graph:
    """Join parts of which no two meet and between which nothing is left."""
    if not any(node.op is pad for node in graph.nodes):
        return graph
    whole = _whole_sums(graph)

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return _joined(node, inputs) if node in whole else None

    return rewrite(graph, rule)


def _whole_sums(graph: Graph) -> set[Node]:
    """The sums of parts that can be joined and are no part of another such sum: looking at each
    for itself would take a chain of n sums n * n steps."""
    sums: dict[Node, tuple[int, int]] = {}  # the axis, and how many parts
    for node in graph.nodes:
        if node.op is add and (found := _sum_of_parts(node, sums)) is not None:
            sums[node] = found
    outputs = set(graph.outputs)
    inner = {
        value.node
        for node in sums
        for value in node.inputs
        if value.node in sums and len(graph.users[value]) == 1 and value not in outputs
    }
    whole: set[Node] = set()
    waiting = [node for node in sums if node not in inner]
    while waiting:
        node = waiting.pop()
        if _parts_in_order(node.inputs, node.outputs[0].shape) is not None:
            whole.add(node)
        elif sums[node][1] <= MOST_TRIED:
            waiting += [value.node for value in node.inputs if value.node in sums]
    return whole


def _sum_of_parts(node: Node, sums: dict[Node, tuple[int, int]]) -> tuple[int, int] | None:
    """Of an addition of nothing but parts along one axis: the axis, and how many."""
    if node.types is None:
        return None
    axes, count = set(), 0
    for value in node.inputs:
        if not same_shape(value.shape, node.outputs[0].shape):
            return None
        axis, parts = sums.get(value.node) or (_padded_axis(value.node), 1)
        if axis is None:
            return None
        axes.add(axis)
        count += parts
    return (axes.pop(), count) if len(axes) == 1 else None


def _parts_in_order(
    operands: Sequence[Value], shape: tuple[int, ...]
) -> tuple[int, list[Part]] | None:
    """The axis and the parts that are added up, if each begins where another ends."""
    parts: list[Part] = []
    axes: set[int] = set()
    pending = [*operands]
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
    end = parts[0][0]
    for offset, part in parts:
        if offset != end:
            return None
        end += part.shape[axis]
    return axis, parts


def _joined(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    shape = node.outputs[0].shape
    found = _parts_in_order(inputs, shape)
    if found is None:
        return None
    axis, parts = found
    begin, (last, part) = parts[0][0], parts[-1]
    end = last + part.shape[axis]
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
