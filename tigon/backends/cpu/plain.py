"""Contractions as ordinary nests: what tiles and packing cost more for than they bring. A product
with one row or few dot products reads every element of its large operand once, so there is nothing
to pack for; integers have no register tile yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from tigon.backends.cpu import cost
from tigon.backends.cpu.plan import count, is_contiguous, step_along
from tigon.base.tiles import FEW_ROWS, LONG_SUM, Registers
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import (
    Accumulator,
    Apply,
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
_TOGETHER = 4  # lines of the larger operand per point
_COSTLY = 8  # rows up to which results are worth finishing one by one, where that takes long
_SEVERAL = 8  # lines
_OPERANDS = 8  # registers that hold no sums
_LOADS = 3  # what loads and the loop take, in multiply-adds
_TAPS = 64  # of a window along lines
_WRITTEN_OUT = 25  # of them, that are no loop
_LINES = 4  # per point
_SHORT, _WIDE = 8, 200  # terms of a sum, and columns, of which a line is written as quickly
_SUMS, _LONG = 12, 32  # registers, and places for which it pays


def as_nest(nest: Contraction, registers: Registers, is_open: bool) -> Nest | None:
    """The nest to run instead, or None where tiles are better. `is_open`: for many sizes."""
    rows, columns = count(nest.rows), count(nest.columns)
    if _along_batch(nest):
        return _vectors_of_batch(nest, registers)
    line = _line(nest)
    if line is not None:
        return _vectors_of_line(nest, line)
    if _is_short(nest):
        return Nest(
            nest.buffers,
            (*nest.batch, *nest.rows, *nest.columns[:-1]),
            (Loop((_vector(nest.columns[-1]),), _terms(nest)),),
        )
    left_along = _contiguous(nest.left, nest.inner)
    right_along = _contiguous(nest.right, nest.inner)
    if left_along and right_along:
        few = FEW
        if cost.extent(nest.inner[-1]) >= LONG_SUM:
            few = _COSTLY if _is_costly(nest) else FEW_ROWS
        if min(rows, columns) <= few or not nest.dtype.is_float:
            return _dots(nest, registers, is_open)
    if rows <= FEW or columns <= FEW:
        alone = rows <= 1 or columns * count(nest.inner) <= _SMALL
        if rows <= FEW and alone and _contiguous(nest.right, nest.columns):
            return _strips(nest)
    return None if nest.dtype.is_float else _strips(nest)


def _is_costly(nest: Contraction) -> bool:
    """Whether what is made of a result takes long, and had better be vectors."""
    values = [stmt.value for stmt in nest.body if isinstance(stmt, (Let, Store))]
    return any(
        FUNCTIONS[node.function].costly
        for value in values
        for node in walk(value)
        if isinstance(node, Apply)
    )


def _is_short(nest: Contraction) -> bool:
    """Whether sums are so short that a product is written as quickly as memory takes it."""
    if count(nest.inner) > _SHORT or not nest.dtype.is_float or count(nest.rows) <= FEW:
        return False
    if not nest.columns or cost.extent(nest.columns[-1]) < _WIDE or _accumulates(nest):
        return False
    places = [stmt.index for stmt in nest.body if isinstance(stmt, Store)]
    places += [node.index for node in walk(nest.right) if isinstance(node, Load)]
    return _are_fixed(nest.inner) and all(
        step_along(index, nest.columns[-1]) == 1 for index in places
    )


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


def _line(nest: Contraction) -> LoopAxis | None:
    """What few weights run along, such as those of one channel over the lines of its image."""
    for line, operand, few in (
        (nest.rows, nest.left, nest.columns),
        (nest.columns, nest.right, nest.rows),
    ):
        if line and count(few) == 1 and count(nest.inner) <= _TAPS:
            places = [stmt.index for stmt in nest.body if isinstance(stmt, Store)]
            places += [node.index for node in walk(operand) if isinstance(node, Load)]
            if all(step_along(index, line[-1]) == 1 for index in places):
                return line[-1]
    return None


def _vectors_of_line(nest: Contraction, line: LoopAxis) -> Nest:
    """Some lines below each other per point: what a line takes besides its numbers, and the time
    that one sum waits for its last term, are shared. The last point may compute a line again."""
    others = [axis for axis in (*nest.batch, *nest.rows, *nest.columns) if axis is not line]
    below = others[-1] if others else None
    if below is None or cost.extent(below) < _LINES or _accumulates(nest):
        loop = Loop((_vector(line),), _terms(nest))
        return Nest(nest.buffers, tuple(others), (loop,))
    block = LoopAxis(f"{below.name}.block", Const(-(-cost.given_extent(below) // _LINES)))
    body: list[Stmt] = []
    for number in range(_LINES):
        step = L.add(L.mul(_axis(block), _LINES), number)
        place: dict[Expr, Expr] = {_axis(below): L.minimum(step, cost.given_extent(below) - 1)}
        body += _renamed(_terms(nest), f".line{number}", place)
    loop = Loop((_vector(line),), _stores_last(body))
    return Nest(nest.buffers, (*others[:-1], block), (loop,))


def _terms(nest: Contraction) -> tuple[Stmt, ...]:
    """A short sum, term by term: no loop around two loads and a product."""
    terms = count(nest.inner)
    if terms > _WRITTEN_OUT or not nest.dtype.is_float or not _are_fixed(nest.inner):
        return (_sum(nest, nest.inner), *nest.body)
    body: list[Stmt] = []
    total: Expr = L.const(0.0, nest.dtype)
    for number, place in enumerate(_places(nest.inner), 1):
        left, right = (substitute(each, place) for each in (nest.left, nest.right))
        name = nest.accumulator if number == terms else f"{nest.accumulator}.{number}"
        body.append(Let(name, L.apply("multiply_add", left, right, total)))
        total = L.local(name, nest.dtype)
    return (*body, *nest.body)


def _renamed(body: Sequence[Stmt], ending: str, place: Mapping[Expr, Expr]) -> list[Stmt]:
    """The statements at another place, with names of their own."""
    new = dict(place)
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, Let):
            name, dtype = stmt.name + ending, stmt.value.dtype
            made.append(Let(name, substitute(stmt.value, new)))
            new[L.local(stmt.name, dtype)] = L.local(name, dtype)
        elif isinstance(stmt, Store):
            index, value = substitute(stmt.index, new), substitute(stmt.value, new)
            made.append(Store(stmt.buffer, index, value, stmt.accumulate))
        else:
            assert isinstance(stmt, Reduce)
            totals = [
                Accumulator(each.name + ending, each.combine, substitute(each.value, new))
                for each in stmt.accumulators
            ]
            for old, total in zip(stmt.accumulators, totals, strict=True):
                new[L.local(old.name, old.value.dtype)] = L.local(total.name, old.value.dtype)
            made.append(Reduce(stmt.axes, tuple(totals)))
    return made


def _are_fixed(axes: Sequence[LoopAxis]) -> bool:
    """Whether the extents are numbers of the program, which code may be made of."""
    return all(isinstance(cost.given_extent(axis), int) for axis in axes)


def _places(axes: Sequence[LoopAxis]) -> list[dict[Expr, Expr]]:
    names = [_axis(axis) for axis in axes]
    return [
        dict(zip(names, map(Const, place), strict=True))
        for place in product(*(range(cost.extent(axis)) for axis in axes))
    ]


def _vectors_of_batch(nest: Contraction, registers: Registers) -> Nest:
    """Few long sums of one lane, such as the gradients of a channel's weights, are added up
    together: what is read for one is read for its neighbours, too. So are those of a few vectors
    side by side, of which each place lies far from the one before."""
    last = nest.batch[-1]
    results = (*nest.rows, *nest.columns)
    few = 1 < count(results) <= _SUMS and _are_fixed(results)
    if few and count(nest.inner) >= _LONG and not _accumulates(nest):
        extent, lanes = cost.extent(last), registers.lanes(nest.dtype.itemsize)
        if extent < lanes or not _are_fixed((last,)):
            vector = Loop((_vector(last),), _together(nest, nest.inner, _places(results)))
            return Nest(nest.buffers, nest.batch[:-1], (vector,))
        most = (registers.count - _OPERANDS) // count(results)
        vectors = max(1, min(most, extent // lanes))
        block = LoopAxis(f"{last.name}.block", Const(-(-extent // (vectors * lanes))))
        first = L.minimum(L.mul(_axis(block), vectors * lanes), extent - vectors * lanes)
        places = [
            {**place, _axis(last): L.add(L.add(first, vector * lanes), _axis(last))}
            for place in _places(results)
            for vector in range(vectors)
        ]
        vector = Loop(
            (LoopAxis(last.name, Const(lanes), Const(0), True),),
            _together(nest, nest.inner, places),
        )
        return Nest(nest.buffers, (*nest.batch[:-1], block), (vector,))
    loop = Loop((_vector(last),), _terms(nest))
    return Nest(nest.buffers, (*nest.batch[:-1], *results), (loop,))


def _sum(nest: Contraction, axes: tuple[LoopAxis, ...]) -> Reduce:
    value = L.apply("mul", nest.left, nest.right)
    return Reduce(axes, (Accumulator(nest.accumulator, "sum", value),))


def _vector(axis: LoopAxis) -> LoopAxis:
    return LoopAxis(axis.name, axis.stop, axis.start, True)


def _dots(nest: Contraction, registers: Registers, is_open: bool) -> Nest:
    """A few results per point, vectors along the sum: some of the larger operand's lines with some
    of the smaller one's, whose axes turn fastest, so that the larger one is read from memory once.
    """
    axes = (*nest.inner[:-1], _vector(nest.inner[-1]))
    groups = (nest.columns, nest.rows)
    if count(nest.rows) > count(nest.columns):
        groups = (nest.rows, nest.columns)
    outer, inner = groups
    if not outer or cost.extent(outer[-1]) < 2 * _TOGETHER or _accumulates(nest):
        space = (*nest.batch, *outer, *inner)
        return Nest(nest.buffers, space, (_sum(nest, axes), *nest.body))
    # Neighbouring results share loads. The last point may compute its last ones more than once.
    block, places = _blocks(outer[-1], _TOGETHER)
    space = (*nest.batch, *outer[:-1], block, *inner)
    few = _lines_together(inner, registers, is_open)
    if few > 1:
        within, lines = _blocks(inner[-1], few)
        space = (*space[:-1], within)
        places = [{**place, **line} for line in lines for place in places]
    return Nest(nest.buffers, space, _together(nest, axes, places))


def _blocks(axis: LoopAxis, number: int) -> tuple[LoopAxis, list[dict[Expr, Expr]]]:
    """So many places of an axis at a time; the last of them may be places of before."""
    extent = cost.given_extent(axis)
    block = LoopAxis(f"{axis.name}.block", Const(-(-extent // number)))
    steps = [L.add(L.mul(_axis(block), number), each) for each in range(number)]
    return block, [{_axis(axis): L.minimum(step, extent - 1)} for step in steps]


def _lines_together(axes: Sequence[LoopAxis], registers: Registers, is_open: bool) -> int:
    """How many lines of the smaller operand make least work: all accumulators in registers. Of
    sizes that are open one, two or four: each number is code of its own."""
    if not axes:
        return 1
    extent, most = cost.extent(axes[-1]), (registers.count - _OPERANDS) // _TOGETHER
    if is_open:
        return 4 if most >= 4 and extent >= _SEVERAL else 1 if extent <= 1 else 2
    time = {n: -(-extent // n) * (n * _TOGETHER + _LOADS) for n in range(1, most + 1)}
    return min(time, key=lambda n: (time[n], -n))


def _together(
    nest: Contraction, axes: tuple[LoopAxis, ...], places: Sequence[Mapping[Expr, Expr]]
) -> tuple[Stmt, ...]:
    """One loop for the results at several places, each with a sum of its own."""
    accumulators: list[Accumulator] = []
    body: list[Stmt] = []
    for number, place in enumerate(places):
        total, *rest = _renamed((_sum(nest, axes), *nest.body), f".{number}", place)
        assert isinstance(total, Reduce)
        accumulators += total.accumulators
        body += rest
    return (Reduce(axes, tuple(accumulators)), *_stores_last(body))


def _stores_last(body: Sequence[Stmt]) -> tuple[Stmt, ...]:
    """All values before the first of them is stored: what is computed again must read what it read
    before, and results may lie where an operand lay."""
    values: list[Stmt] = []
    stores: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, Store):
            name = f"stored{len(stores)}"
            values.append(Let(name, stmt.value))
            local = L.local(name, stmt.value.dtype)
            stores.append(Store(stmt.buffer, stmt.index, local, stmt.accumulate))
        else:
            values.append(stmt)
    return (*values, *stores)


def _axis(axis: LoopAxis) -> Expr:
    return L.axis(axis.name)


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
