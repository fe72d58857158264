"""A join as loops: each part is written in its place."""

from __future__ import annotations

from tigon.analysis.blocks import BLOCK
from tigon.base.extents import is_one
from tigon.loop import build as L
from tigon.loop.grammar import LoopAxis, Nest, Stmt, Store
from tigon.loop.map import expressions_of, rewritten
from tigon.loop.simplify import simplify
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse, widen
from tigon.lower.elements import axes_over, linear
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.rows import across


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
