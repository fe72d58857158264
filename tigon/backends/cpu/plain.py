"""Contractions as ordinary nests: what tiles and packing cost more for than they bring. A product
with one row or few dot products reads every element of its large operand once, so there is nothing
to pack for; integers have no register tile yet."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.backends.cpu import cost
from tigon.backends.cpu.plan import count, is_contiguous, step_along
from tigon.loop import build as L
from tigon.loop.grammar import (
    Accumulator,
    Const,
    Contraction,
    Expr,
    Let,
    Load,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Stmt,
    Store,
    walk,
)
from tigon.loop.rewrite import substitute

FEW = 4
LANES = 8
"""Products of a batch that make a vector."""
_SMALL = 256
"""Elements of a right operand that each row may as well read again."""
_STRIP = 256  # columns per point
_TOGETHER = 4  # dot products per point


def as_nest(nest: Contraction) -> Nest | None:
    """The nest to run instead, or None where tiles are better."""
    rows, columns = count(nest.rows), count(nest.columns)
    if _along_batch(nest):
        return _vectors_of_batch(nest)
    left_along = _contiguous(nest.left, nest.inner)
    right_along = _contiguous(nest.right, nest.inner)
    if rows <= FEW or columns <= FEW:
        if left_along and right_along:
            return _dots(nest)
        alone = rows <= 1 or columns * count(nest.inner) <= _SMALL
        if rows <= FEW and alone and _contiguous(nest.right, nest.columns):
            return _strips(nest)
    if nest.dtype.is_float:
        return None
    return _dots(nest) if left_along and right_along else _strips(nest)


def streams_operand(nest: Contraction) -> bool:
    """Whether one row is multiplied by a matrix that no cache holds, each of whose lines fills a
    page: the more of a line is read at a time, the fewer pages are begun."""
    line = count(nest.columns) * nest.dtype.itemsize
    size = count(nest.batch) * count(nest.inner) * line
    return count(nest.rows) <= 1 and line >= _PAGE and size >= _STREAMED


_PAGE, _STREAMED = 4 << 10, 8 << 20


def _contiguous(operand: Expr, axes: Sequence[LoopAxis]) -> bool:
    return bool(axes) and all(
        is_contiguous(node.index, axes[-1]) for node in walk(operand) if isinstance(node, Load)
    )


def _along_batch(nest: Contraction) -> bool:
    """Whether each of many small products is a lane: all lie next to each other, as the channels
    of a convolution that sees each by itself."""
    if not nest.batch or min(count(nest.rows), count(nest.columns)) > FEW:
        return False
    last = nest.batch[-1]
    if cost.extent(last) < LANES or not nest.inner:
        return False
    places = [stmt.index for stmt in nest.body if isinstance(stmt, Store)]
    places += [
        node.index
        for operand in (nest.left, nest.right)
        for node in walk(operand)
        if isinstance(node, Load)
    ]
    return all(step_along(index, last) == 1 for index in places)


def _vectors_of_batch(nest: Contraction) -> Nest:
    last = nest.batch[-1]
    loop = Loop((_vector(last),), (_sum(nest, nest.inner), *nest.body))
    return Nest(nest.buffers, (*nest.batch[:-1], *nest.rows, *nest.columns), (loop,))


def _sum(nest: Contraction, axes: tuple[LoopAxis, ...]) -> Reduce:
    value = L.apply("mul", nest.left, nest.right)
    return Reduce(axes, (Accumulator(nest.accumulator, "sum", value),))


def _vector(axis: LoopAxis) -> LoopAxis:
    return LoopAxis(axis.name, axis.stop, axis.start, True)


def _dots(nest: Contraction) -> Nest:
    """A few results per point, vectors along the sum. The smaller operand's axes turn fastest, so
    that the larger one is read from memory once."""
    axes = (*nest.inner[:-1], _vector(nest.inner[-1]))
    groups = (nest.columns, nest.rows)
    if count(nest.rows) > count(nest.columns):
        groups = (nest.rows, nest.columns)
    outer, inner = groups
    if not outer or cost.extent(outer[-1]) < 2 * _TOGETHER or _accumulates(nest):
        space = (*nest.batch, *outer, *inner)
        return Nest(nest.buffers, space, (_sum(nest, axes), *nest.body))
    # Neighbouring results share the loads of the smaller operand. The last point may compute its
    # last result more than once.
    last = outer[-1]
    block = LoopAxis(f"{last.name}.block", Const(-(-cost.given_extent(last) // _TOGETHER)))
    accumulators: list[Accumulator] = []
    body: list[Stmt] = []
    for number in range(_TOGETHER):
        place = L.add(L.mul(L.axis(block.name), _TOGETHER), number)
        place = L.minimum(place, cost.given_extent(last) - 1)
        total = L.local(f"{nest.accumulator}.{number}", nest.dtype)
        new = {L.axis(last.name): place, L.local(nest.accumulator, nest.dtype): total}
        value = L.apply("mul", nest.left, nest.right)
        accumulators.append(Accumulator(total.name, "sum", substitute(value, new)))
        for stmt in nest.body:
            if isinstance(stmt, Let):
                name = f"{stmt.name}.{number}"
                body.append(Let(name, substitute(stmt.value, new)))
                new[L.local(stmt.name, stmt.value.dtype)] = L.local(name, stmt.value.dtype)
            else:
                assert isinstance(stmt, Store)
                index, value = substitute(stmt.index, new), substitute(stmt.value, new)
                body.append(Store(stmt.buffer, index, value))
    space = (*nest.batch, *outer[:-1], block, *inner)
    return Nest(nest.buffers, space, (Reduce(axes, tuple(accumulators)), *body))


def _accumulates(nest: Contraction) -> bool:
    return any(isinstance(stmt, Store) and stmt.accumulate for stmt in nest.body)


def _strips(nest: Contraction) -> Nest:
    """A strip of columns per point, vectors along the columns."""
    if not nest.columns:
        return Nest(nest.buffers, (*nest.batch, *nest.rows), (_sum(nest, nest.inner), *nest.body))
    last = nest.columns[-1]
    strip = L.axis(f"{last.name}.strip")
    blocks = LoopAxis(f"{last.name}.strip", Const(-(-cost.given_extent(last) // _STRIP)))
    start = L.mul(strip, _STRIP)
    stop = L.minimum(L.add(start, _STRIP), last.stop)
    inner = Loop((LoopAxis(last.name, stop, start, True),), (_sum(nest, nest.inner), *nest.body))
    space = (*nest.batch, *nest.columns[:-1], blocks, *nest.rows)
    return Nest(nest.buffers, space, (inner,))
