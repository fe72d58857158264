"""A scatter as loops: what lies at a position is read, added to and written."""

from __future__ import annotations

from tigon.analysis.blocks import BLOCK
from tigon.base.extents import is_one
from tigon.loop import build as L
from tigon.loop.grammar import Let, Loop, LoopAxis, Nest, Stmt, Store
from tigon.loop.map import expressions_of, rewritten
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse
from tigon.lower.elements import axes_over, linear
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.rows import across


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
