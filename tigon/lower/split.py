"""Long reductions with few results are cut into blocks, so that they run in parallel. The cut
depends on the extents only: results are the same for any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite
from tigon.ops.record import Family, get

FEW_RESULTS = 8
LONG = 1 << 16
BLOCK = 1 << 13

_NEUTRAL = {"sum": 0.0, "prod": 1.0, "maximum": float("-inf"), "minimum": float("inf")}


def split_reductions(graph: Graph) -> Graph:
    """Reduce long axes in two steps: blocks, then the blocks' results."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op in (VARIABLE, CONSTANT) or node.op.family is not Family.REDUCTION:
            return None
        (data,) = inputs
        axes = node.attrs.axes
        reduced = prod(data.shape[axis] for axis in axes)
        if data.type.size // max(reduced, 1) >= FEW_RESULTS or reduced < LONG:
            return None
        if node.op.combine not in _NEUTRAL or not data.dtype.is_float:
            return None
        return (_two_steps(node, data),)

    return rewrite(graph, rule)


def _two_steps(node: Node, data: Value) -> Value:
    axes = node.attrs.axes
    # The reduced axes that follow each other at the end of the kept ones become one.
    longest = max(axes, key=lambda axis: data.shape[axis])
    inner = [axis for axis in axes if axis >= longest]
    if inner == list(range(longest, longest + len(inner))):
        merged = prod(data.shape[axis] for axis in inner)
    else:
        inner, merged = [longest], data.shape[longest]
    shape = (*data.shape[:longest], merged, *data.shape[longest + len(inner) :])
    data = get("_reshape")(data, shape=shape)
    rest = [axis for axis in axes if axis < longest]
    later = [axis - len(inner) + 1 for axis in axes if axis > inner[-1]]
    block = min(BLOCK, merged)
    count = -(-merged // block)
    missing = count * block - merged
    if missing:
        before = tuple(0 for _ in shape)
        after = tuple(missing if axis == longest else 0 for axis in range(len(shape)))
        data = get("_pad")(data, before=before, after=after, value=_NEUTRAL[node.op.combine])
    blocked = (*shape[:longest], count, block, *shape[longest + 1 :])
    data = get("_reshape")(data, shape=blocked)
    partial = node.op(data, axes=(longest + 1,))
    return node.op(partial, axes=tuple(sorted([*rest, longest, *later])))
