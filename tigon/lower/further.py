"""Scans, joins, scatters and checks as loops."""

from __future__ import annotations

from tigon.base.dtypes import int64
from tigon.base.extents import estimate, is_one
from tigon.loop import build as L
from tigon.loop.grammar import (
    INDEX_OUT_OF_RANGE,
    Accumulator,
    Axis,
    Expr,
    Fail,
    Let,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Stmt,
    Store,
)
from tigon.loop.rewrite import substitute
from tigon.loop.simplify import simplify
from tigon.lower.body import Body, LoweredNest, expressions_of, reshaped, rewritten
from tigon.lower.collapse import Extent, collapse, widen
from tigon.lower.elements import axes_over, linear
from tigon.lower.fuse import Fusion, Group
from tigon.lower.rows import BLOCK, COLUMN_BLOCK, NARROW, across, dense_along
from tigon.ops.record import Family

# ------------------------------------------------------------------------------------ scans


def lower_scan(group: Group, fusion: Fusion) -> LoweredNest:
    """Each line in order, by one point; lines are what runs in parallel. Along a contiguous line
    vectors hold neighbours, else elements of neighbouring lines."""
    node = next(n for n in group.members if n.op.family is Family.SCAN)
    output, along = node.outputs[0], node.attrs.axis
    here, ranges = axes_over(output.shape)
    body = Body(group, fusion, ranges)
    element = L.cast(body.elements.at(node.inputs[0], here), output.dtype)
    body.bind_result(node, "so_far")
    stores: list[Stmt] = []
    for member in group.members:
        for value in body.stored(member):
            coords = reshaped(list(here), output.shape, value.shape, ranges)
            stores.append(body.store(value, coords, body.elements.at(value, coords)))
    axes = [Extent(f"i{a}", e) for a, e in enumerate(output.shape) if not is_one(e)]
    line = Extent(f"i{along}", output.shape[along])
    outer = [axis for axis in axes if axis.name != line.name]
    if node.attrs.reverse:
        last = L.sub(line.extent - 1, Axis(line.name))
        mirror: dict[Expr, Expr] = {Axis(line.name): last}
        element = simplify(substitute(element, mirror), ranges)
        stores = [rewritten(s, lambda e: simplify(substitute(e, mirror), ranges)) for s in stores]
    exprs = [element, *expressions_of(stores)]
    (outer,), rewrite = collapse((outer,), exprs)
    contiguous = not outer or axes[-1].name == line.name
    narrow = estimate(line.extent) < NARROW
    # Decided by the extents alone, for this is how sums are rounded: in a tree or in order.
    vector = contiguous and not narrow and not node.attrs.in_order
    if contiguous and narrow and outer:
        contiguous = not dense_along(outer[-1].name, map(rewrite, exprs))
    if not contiguous:
        outer, rewrite = widen(outer, rewrite)
    axis = LoopAxis(line.name, L.const(line.extent), vector=vector)
    total = Accumulator("so_far", node.op.combine, rewrite(element))
    statements: list[Stmt] = [
        Scan(axis, (total,), tuple(rewritten(store, rewrite) for store in stores))
    ]
    space = [LoopAxis(a.name, L.const(a.extent)) for a in outer]
    if outer and not contiguous:
        space, statements = across(outer, space, statements, COLUMN_BLOCK)
    nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(statements))
    return LoweredNest(nest, body.buffers.values)


# -------------------------------------------------------------------- joins and scatters


def lower_join(group: Group, fusion: Fusion) -> list[LoweredNest]:
    """One nest per operand, each writing its part."""
    (node,) = group.members
    output = node.outputs[0]
    axis = node.attrs.axis
    offset = 0
    nests = []
    for operand in node.inputs:
        coords, ranges = axes_over(operand.shape)
        body = Body(group, fusion, ranges)
        target = list(coords)
        target[axis] = simplify(L.add(coords[axis], offset), ranges)
        index = linear(target, output.shape, ranges)
        store = Store(body.buffers.of(output, "out"), index, body.elements.at(operand, coords))
        axes = [Extent(f"i{a}", e) for a, e in enumerate(operand.shape) if not is_one(e)]
        (outer,), rewrite = collapse((axes,), expressions_of([store]))
        outer, rewrite = widen(outer, rewrite)
        statements: list[Stmt] = [rewritten(store, rewrite)]
        space = [LoopAxis(a.name, L.const(a.extent)) for a in outer]
        if outer:
            space, statements = across(outer, space, statements, BLOCK)
        if operand.type.size:
            nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(statements))
            nests.append(LoweredNest(nest, body.buffers.values))
        offset += operand.shape[axis]
    return nests


def lower_scatter(group: Group, fusion: Fusion) -> LoweredNest:
    """Rows are added in the order of their indices, each point of the space on its own columns, so
    that the result does not depend on the number of threads."""
    (node,) = group.members
    data, indices, updates = node.inputs
    output = node.outputs[0]
    axis = node.attrs.axis
    before, after = data.shape[:axis], data.shape[axis + 1 :]
    lead, ranges = axes_over(before, "p")
    tail, tail_ranges = axes_over(after, "q")
    place, place_ranges = axes_over(indices.shape, "n")
    ranges = {**ranges, "v": (0, max(data.shape[axis], 1)), **place_ranges, **tail_ranges}
    body = Body(group, fusion, ranges)
    where = (*lead, L.axis("v"), *tail)
    copy: Stmt = body.store(output, where, body.elements.at(data, where))
    index = L.cast(body.elements.at(indices, place), L.const(0).dtype)
    target = L.local("row", index.dtype)
    bounded = L.maximum(L.minimum(index, data.shape[axis] - 1), 0)
    update = body.elements.at(updates, (*lead, *place, *tail))
    position = linear((*lead, L.const(0), *tail), output.shape, ranges)
    stride = 1
    for extent in after:
        stride *= extent
    address = L.add(L.mul(target, stride), position)
    add: Stmt = Store(body.buffers.of(output, "out"), address, L.cast(update, output.dtype), True)
    columns = [Extent(f"q{a}", e) for a, e in enumerate(after) if not is_one(e)]
    (columns,), rewrite = collapse((columns,), [*expressions_of([copy, add]), index])
    copy, add = rewritten(copy, rewrite), rewritten(add, rewrite)
    space = [LoopAxis(f"p{a}", L.const(e)) for a, e in enumerate(before) if not is_one(e)]
    row = LoopAxis("v", L.const(data.shape[axis]))
    each = tuple(
        LoopAxis(f"n{a}", L.const(e)) for a, e in enumerate(indices.shape) if not is_one(e)
    )

    def over_columns(stmt: Stmt) -> Stmt:
        return Loop((*outer, *last), (stmt,)) if columns else stmt

    outer = [LoopAxis(a.name, L.const(a.extent)) for a in columns[:-1]]
    last: tuple[LoopAxis, ...] = ()
    if columns:
        inmost = columns[-1]
        space, (wrapped,) = across(
            columns[-1:], [*space, LoopAxis(inmost.name, L.const(inmost.extent))], [], BLOCK
        )
        assert isinstance(wrapped, Loop)
        last = wrapped.axes
    statements = (
        Loop((row,), (over_columns(copy),)),
        Loop(each, (Let("row", bounded), over_columns(add))) if each else None,
    )
    flat: list[Stmt] = [statements[0]]
    flat.extend([statements[1]] if statements[1] else [Let("row", bounded), over_columns(add)])
    nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(flat))
    return LoweredNest(nest, body.buffers.values)


# --------------------------------------------------------------------------------- checks


def lower_check(group: Group, fusion: Fusion) -> LoweredNest:
    """Each point looks through its block of indices, fails or writes it."""
    (node,) = group.members
    (indices,) = node.inputs
    output, attrs = node.outputs[0], node.attrs
    dtype = output.dtype
    coords, ranges = axes_over(indices.shape)
    body = Body(group, fusion, ranges)
    given = body.elements.at(indices, coords)
    index = L.cast(given, dtype)
    if given.dtype.is_float:
        index = L.select(L.ne(given, given), L.greatest(dtype), index)
    checked = index
    if attrs.ignored is not None:
        checked = L.select(L.eq(given, L.const(attrs.ignored, given.dtype)), 0, index)
    rows = len(attrs.sizes) > 1
    size, least, axis = L.lift(attrs.sizes[0], dtype), L.lift(0, int64), L.lift(attrs.axis, int64)
    if rows:
        for row, extent in enumerate(attrs.sizes[1:], 1):
            size = L.select(L.eq(coords[0], row), extent, size)
        axis = L.add(coords[0], axis)
    if attrs.negative:
        least = L.neg(size)
        index = L.select(L.lt(index, 0), L.add(index, size), index)
    store = body.store(output, coords, index)
    wide = [Extent(f"i{a}", e) for a, e in enumerate(indices.shape) if not is_one(e)]
    lead, rest = (wide[:1], wide[1:]) if rows else ([], wide)
    (rest,), rewrite = collapse((rest,), [store.index, store.value, checked])
    space = [LoopAxis(a.name, L.const(a.extent)) for a in (*lead, *rest)]
    inner: tuple[LoopAxis, ...] = ()
    if rest:
        space, wrapped = across(rest, space, [], BLOCK)
        inner = wrapped[0].axes  # type: ignore[union-attr]
    high, low = L.local("high", dtype), L.local("low", dtype)
    highest = Accumulator("high", "maximum", rewrite(checked))
    lowest = Accumulator("low", "minimum", rewrite(checked))
    too_high = L.le(size, high)
    details = body.buffers.scratch(output, 4)
    told = (L.select(too_high, high, low), size, least, axis)
    write = rewritten(store, rewrite)
    nest = Nest(
        tuple(body.buffers.buffers),
        tuple(space),
        (
            Reduce(inner, (highest, lowest)),
            *(Store(details, L.const(n), rewrite(detail)) for n, detail in enumerate(told)),
            Fail(rewrite(L.or_(too_high, L.lt(low, least))), INDEX_OUT_OF_RANGE),
            Loop(inner, (write,)) if inner else write,
        ),
    )
    return LoweredNest(nest, body.buffers.values)
