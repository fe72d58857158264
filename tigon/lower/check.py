"""A check of indices as a loop, which fails with the first that is out of range."""

from __future__ import annotations

from tigon.analysis.blocks import BLOCK
from tigon.base.dtypes import int64
from tigon.base.extents import is_one
from tigon.loop import build as L
from tigon.loop.grammar import (
    INDEX_OUT_OF_RANGE,
    Accumulator,
    Fail,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Store,
)
from tigon.loop.map import rewritten
from tigon.lower.body import Body, LoweredNest
from tigon.lower.collapse import Extent, collapse
from tigon.lower.elements import axes_over
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.rows import across


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
