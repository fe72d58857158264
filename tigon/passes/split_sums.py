"""Long sums and scans of few lines are cut into blocks, so that they run in parallel. The cut
depends on the extents only: results are the same for any number of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from string import ascii_letters

from tigon.analysis.blocks import COLUMN_BLOCK
from tigon.base.extents import estimate, is_known
from tigon.base.tiles import FEW_ROWS, LONG_SUM
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite
from tigon.loop.combine import COMBINES
from tigon.ops.record import Family
from tigon.passes.primitives import pad, reduce_sum, reshape, slice_region

FEW_RESULTS = 8
LONG = 1 << 16
BLOCK = 1 << 13

LONG_COLUMN = 1 << 10
ROWS = 64
"""Of a block, at least."""
MOST_BLOCKS = 1 << 12
COLUMN_ELEMENTS = 1 << 14
"""Of a block of rows: what two reductions over the same rows find in a near cache."""

FEW_POINTS = 8
"""Pieces of a scan's lines that make too few for all threads."""

SCAN_BLOCK = 1 << 12
"""Elements of a line scanned as one block, when the line is at least four such."""

SMALL_PRODUCT = 1 << 14
"""Results of a contraction that make too few tiles to share."""

WORTH_SHARING = 4_000_000
"""Multiplications that take longer than handing them to another thread and adding the parts."""

PARTS = (4, 8, 6, 5, 7, 3, 2)
FEWEST_DOTS = 512
"""Results of few lines by others from which those are points enough."""

DEEP = 256
"""Terms that each part keeps at least, so that a tile pays for its loads and stores."""


def split_sums(graph: Graph) -> Graph:
    """Reduce long axes in two steps, blocks and then the blocks' results; likewise contractions
    with few results and many terms, such as gradients of weights. Long lines of scans become
    blocks, the scan of their sums, and what each block adds to its elements."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op in (VARIABLE, CONSTANT):
            return None
        if node.op.family is Family.CONTRACTION:
            return _contract_in_parts(node, *inputs)
        if node.op.family is Family.SCAN:
            return _scan_in_blocks(node, *inputs)
        if node.op.family is not Family.REDUCTION:
            return None
        (data,) = inputs
        axes = node.attrs.axes
        reduced = prod(data.shape[axis] for axis in axes)
        columns = _columns_in_blocks(node, data)
        if columns is not None:
            return (columns,)
        if reduced < LONG or data.type.size // max(reduced, 1) >= FEW_RESULTS:
            return None
        if COMBINES[node.op.combine].positional or not data.dtype.is_float:
            return None
        return (_two_steps(node, data),)

    return rewrite(graph, rule)


def _contract_in_parts(node: Node, lhs: Value, rhs: Value) -> Sequence[Value] | None:
    left, right, out = node.attrs.left, node.attrs.right, node.attrs.out
    extents = dict(zip(left, lhs.shape, strict=True)) | dict(zip(right, rhs.shape, strict=True))
    summed = [label for label in left if label in right and label not in out]
    # The cut changes only how sums are rounded, so that unknown extents may be guessed.
    terms = prod(estimate(extents[label]) for label in summed)
    results = estimate(node.outputs[0].type.size)
    if not lhs.dtype.is_float or results > SMALL_PRODUCT or results * terms < WORTH_SHARING:
        return None
    if results >= FEWEST_DOTS and _few_along(summed, left, right, out, extents):
        return None
    for label in summed:  # from the outermost on: what is left of lines is whole
        for parts in PARTS:
            if is_known(extents[label]) and extents[label] % parts == 0 and terms // parts >= DEEP:
                break
        else:
            continue
        part = next(letter for letter in ascii_letters if letter not in extents)
        operands = []
        for value, labels in ((lhs, left), (rhs, right)):
            axis = labels.index(label)
            cut = (parts, extents[label] // parts)
            shape = (*value.shape[:axis], *cut, *value.shape[axis + 1 :])
            operands.append(reshape(value, shape=shape))
        partial = node.op(
            *operands,
            left=left.replace(label, part + label),
            right=right.replace(label, part + label),
            out=part + out,
        )
        partial.node.name = node.name
        return (reduce_sum(partial, axes=(0,)),)
    return None


def _few_along(
    summed: Sequence[str], left: str, right: str, out: str, extents: Mapping[str, int]
) -> bool:
    """Whether both operands lie along the sum and one has few lines: they make points enough, each
    of which adds up whole lines."""
    if not summed or not left[-1] == right[-1] == summed[-1]:
        return False
    lines = [
        prod(estimate(extents[label]) for label in one if label in out and label not in other)
        for one, other in ((left, right), (right, left))
    ]
    return min(lines) <= FEW_ROWS and estimate(extents[summed[-1]]) >= LONG_SUM


def _scan_in_blocks(node: Node, data: Value) -> Sequence[Value] | None:
    axis, reverse = node.attrs.axis, node.attrs.reverse
    before, extent, after = data.shape[:axis], data.shape[axis], data.shape[axis + 1 :]
    points = prod(before) * -(-prod(after) // COLUMN_BLOCK)
    if node.attrs.in_order or extent < 4 * SCAN_BLOCK or points >= FEW_POINTS:
        return None
    count = -(-extent // SCAN_BLOCK)
    missing = count * SCAN_BLOCK - extent
    uneven = not is_known(missing) or missing > 0
    neutral = _neutral(node)
    if uneven:
        widths = tuple(missing if place == axis else 0 for place in range(data.ndim))
        data = pad(data, before=(0,) * data.ndim, after=widths, value=neutral)
    data = reshape(data, shape=(*before, count, SCAN_BLOCK, *after))
    inside = node.op(data, axis=axis + 1, reverse=reverse)
    inside.node.name = node.name

    def part(value: Value, along: int, start: int, length: int) -> Value:
        return slice_region(
            value,
            start=tuple(start if place == along else 0 for place in range(value.ndim)),
            step=(1,) * value.ndim,
            extents=(*value.shape[:along], length, *value.shape[along + 1 :]),
        )

    # The last sum of each block is added to all that follow, one after the other: the sums at the
    # borders of blocks are then those which the next block begins with.
    ends = part(inside, axis + 1, 0 if reverse else SCAN_BLOCK - 1, 1)
    up_to = node.op(ends, axis=axis, reverse=reverse, in_order=True)
    others = part(up_to, axis, 1 if reverse else 0, count - 1)
    first, last = (0, 1) if reverse else (1, 0)
    offsets = pad(
        others,
        before=tuple(first if place == axis else 0 for place in range(others.ndim)),
        after=tuple(last if place == axis else 0 for place in range(others.ndim)),
        value=neutral,
    )
    whole = (*before, count * SCAN_BLOCK, *after)
    result = reshape(node.op.joining(inside, offsets), shape=whole)
    return (part(result, axis, 0, extent) if uneven else result,)


def _neutral(node: Node) -> float | int:
    dtype = node.outputs[0].dtype
    neutral = COMBINES[node.op.combine].neutral(dtype)
    return float(neutral) if dtype.is_float else neutral


def _columns_in_blocks(node: Node, data: Value) -> Value | None:
    """Long columns, side by side in memory: blocks of rows, each for all columns."""
    axes, ndim = node.attrs.axes, data.ndim
    extents = [data.shape[axis] for axis in axes]
    kept = data.shape[len(axes) :]
    if axes != tuple(range(len(axes))) or len(axes) == ndim or not all(map(is_known, data.shape)):
        return None
    rows, columns = prod(extents), prod(kept)
    positional = COMBINES[node.op.combine].positional
    if positional or not data.dtype.is_float or not columns:
        return None
    if rows < LONG_COLUMN or rows * columns < COLUMN_ELEMENTS * 4:
        return None
    most = min(MOST_BLOCKS, rows // max(ROWS, COLUMN_ELEMENTS // columns))
    count = next((n for n in range(most, most // 4, -1) if rows % n == 0), 1)
    if count < 2:
        return None
    blocked = reshape(data, shape=(count, rows // count, *kept))
    return node.op(node.op(blocked, axes=(1,)), axes=(0,))


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
    data = reshape(data, shape=shape)
    rest = [axis for axis in axes if axis < longest]
    later = [axis - len(inner) + 1 for axis in axes if axis > inner[-1]]
    block = min(BLOCK, merged)
    count = -(-merged // block)
    missing = count * block - merged
    if not is_known(missing) or missing:
        before = tuple(0 for _ in shape)
        after = tuple(missing if axis == longest else 0 for axis in range(len(shape)))
        data = pad(data, before=before, after=after, value=_neutral(node))
    blocked = (*shape[:longest], count, block, *shape[longest + 1 :])
    data = reshape(data, shape=blocked)
    partial = node.op(data, axes=(longest + 1,))
    return node.op(partial, axes=tuple(sorted([*rest, longest, *later])))
