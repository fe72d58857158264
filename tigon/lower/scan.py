"""A scan along lines as loops."""

from __future__ import annotations

from tigon.analysis.blocks import COLUMN_BLOCK
from tigon.base.extents import estimate, is_one
from tigon.loop import build as L
from tigon.loop.grammar import Accumulator, Axis, Expr, LoopAxis, Nest, Scan, Stmt
from tigon.loop.map import expressions_of, rewritten
from tigon.loop.rewrite import substitute
from tigon.loop.simplify import simplify
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse, widen
from tigon.lower.elements import axes_over
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.rows import NARROW, across, dense_along
from tigon.ops.record import Family


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
            stores.append(body.store_member(member, value, list(here), output.shape))
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
