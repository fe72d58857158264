"""What lies around values that are written within a border."""

from __future__ import annotations

from tigon.analysis.blocks import BLOCK
from tigon.base.extents import is_one
from tigon.ir import Node, Value
from tigon.loop import build as L
from tigon.loop.grammar import Axis, Expr, LoopAxis, Nest, Stmt
from tigon.loop.map import expressions_of, rewritten
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.fuse.reads import border_of
from tigon.lower.rows import across


def lower_borders(group: Group, fusion: Fusion) -> list[LoweredNest]:
    """The nests that write the borders around what a group writes within them."""
    nests = []
    for node in group.members:
        border = border_of(node)
        if border is not None and node.outputs[0] in fusion.stored:
            nests += _Border(border, node.outputs[0], group, fusion).lower()
    return nests


class _Border:
    """The border that a pad puts around its operand, within `whole`. Along each axis: what lies
    before and after, over all of the axes behind it, and within the border of those before it."""

    def __init__(self, border: Node, whole: Value, group: Group, fusion: Fusion) -> None:
        self.attrs = border.attrs
        self.inner = border.inputs[0].shape
        self.whole = whole
        self.group, self.fusion = group, fusion

    def lower(self) -> list[LoweredNest]:
        nests = []
        sides = zip(self.attrs.before, self.attrs.after, strict=True)
        for axis, (before, after) in enumerate(sides):
            behind = before + self.inner[axis]
            if before and before == after:
                nests.append(self._sides(axis, 0, before, behind))
                continue
            for start, width in ((0, before), (behind, after)):
                if width:
                    nests.append(self._sides(axis, start, width))
        return nests

    def _sides(self, axis: int, start: int, width: int, apart: int | None = None) -> LoweredNest:
        """One side along an axis, or two of one width that lie `apart`."""
        extents = [*self.inner[:axis], width, *self.whole.shape[axis + 1 :]]
        starts = [*self.attrs.before[:axis], start, *[0] * (len(extents) - axis - 1)]
        axes: list[Extent] = []
        coords: list[Expr] = []
        for number, (extent, first) in enumerate(zip(extents, starts, strict=True)):
            coord: Expr = L.const(first)
            if number == axis and apart is not None:
                axes.append(Extent("side", 2))
                coord = L.add(coord, L.mul(Axis("side"), apart))
            if not is_one(extent):
                axes.append(Extent(f"i{number}", extent))
                coord = L.add(coord, Axis(f"i{number}"))
            coords.append(coord)
        body = Body(self.group, self.fusion, {each.name: (0, each.extent) for each in axes})
        fill = int(self.attrs.value) if self.whole.dtype.is_integer else self.attrs.value
        store = body.store(self.whole, tuple(coords), L.const(fill, self.whole.dtype))
        (outer,), rewrite = collapse((axes,), expressions_of([store]))
        statements: list[Stmt] = [rewritten(store, rewrite)]
        space = [LoopAxis(each.name, L.const(each.extent)) for each in outer]
        if outer:
            space, statements = across(outer, space, statements, BLOCK)
        nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(statements))
        return LoweredNest(nest, body.buffers.values)
