"""A contraction with its epilogue as loops."""

from __future__ import annotations

from collections.abc import Callable

from tigon.base.extents import is_one
from tigon.loop import build as L
from tigon.loop.grammar import Axis, Contraction, Expr, LoopAxis, Stmt
from tigon.loop.map import expressions_of, rewritten
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse
from tigon.lower.fuse.group import Fusion, Group
from tigon.ops.record import Family


def lower_contraction(group: Group, fusion: Fusion) -> LoweredNest:
    node = next(n for n in group.members if n.op.family is Family.CONTRACTION)
    lhs, rhs = node.inputs
    left, right, out = node.attrs.left, node.attrs.right, node.attrs.out
    extents = dict(zip(left, lhs.shape, strict=True)) | dict(zip(right, rhs.shape, strict=True))
    wide = [label for label in out if not is_one(extents[label])]
    if wide and wide[-1] not in right:
        # The output is contiguous along the columns: let the right operand provide them.
        lhs, rhs, left, right = rhs, lhs, right, left
    ranges = {f"l{label}": (0, max(extent, 1)) for label, extent in extents.items()}
    body = Body(group, fusion, ranges)
    axis = {
        label: L.const(0) if is_one(extent) else Axis(f"l{label}")
        for label, extent in extents.items()
    }

    def axes_of(labels: str, keep: Callable[[str], bool]) -> list[Extent]:
        return [Extent(f"l{x}", extents[x]) for x in labels if not is_one(extents[x]) and keep(x)]

    classes = (
        axes_of(out, lambda x: x in left and x in right),
        axes_of(out, lambda x: x in left and x not in right),
        axes_of(out, lambda x: x in right and x not in left),
        axes_of(left, lambda x: x not in out),
    )
    left_element = body.elements.at(lhs, tuple(axis[x] for x in left))
    right_element = body.elements.at(rhs, tuple(axis[x] for x in right))
    here: list[Expr] = [axis[label] for label in out]
    output = body.bind_result(node, "sum")
    stores: list[Stmt] = []
    for member in group.members:
        for value in body.stored(member):
            stores.append(body.store_member(member, value, here, output.shape))
    dtype = output.dtype
    parts = [L.cast(left_element, dtype), L.cast(right_element, dtype)]
    merged, rewrite = collapse(classes, [*parts, *expressions_of(stores)])
    batch, rows, columns, inner = (
        tuple(LoopAxis(a.name, L.const(a.extent)) for a in axes) for axes in merged
    )
    nest = Contraction(
        tuple(body.buffers.buffers),
        batch,
        rows,
        columns,
        inner,
        rewrite(parts[0]),
        rewrite(parts[1]),
        "sum",
        dtype,
        tuple(rewritten(stmt, rewrite) for stmt in stores),
    )
    return LoweredNest(nest, body.buffers.values)
