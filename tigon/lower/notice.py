"""A notice as a loop: all flags are written, and the status says whether one of them is set."""

from __future__ import annotations

from tigon.base.dtypes import int64
from tigon.loop import build as L
from tigon.loop.grammar import FIRST_NOTICE, Accumulator, Fail, Loop, LoopAxis, Nest, Reduce
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse
from tigon.lower.elements import axes_over
from tigon.lower.fuse.group import Fusion, Group


def lower_notice(group: Group, fusion: Fusion) -> LoweredNest:
    """One point looks through all flags: one that returned early would leave others unwritten."""
    (node,) = group.members
    (flags,) = node.inputs
    coords, ranges = axes_over(flags.shape)
    body = Body(group, fusion, ranges)
    flag = body.elements.at(flags, coords)
    store = body.store(node.outputs[0], coords, flag)
    extents = [Extent(f"i{a}", extent) for a, extent in enumerate(flags.shape)]
    (merged,), rewrite = collapse((extents,), [store.index, store.value])
    axes = tuple(LoopAxis(axis.name, L.const(axis.extent)) for axis in merged)
    seen = Accumulator("seen", "maximum", L.cast(L.ne(rewrite(flag), 0), int64))
    write = type(store)(store.buffer, rewrite(store.index), rewrite(store.value))
    nest = Nest(
        tuple(body.buffers.buffers),
        (),
        (
            Loop(axes, (write,)) if axes else write,
            Reduce(axes, (seen,)),
            Fail(L.lt(0, L.local("seen", int64)), FIRST_NOTICE + node.attrs.notice),
        ),
    )
    return LoweredNest(nest, body.buffers.values)
