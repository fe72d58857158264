"""Layers that move elements: joining, cutting, other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from tigon import sym
from tigon.contrib.caffe.layers.record import ANY, LARGEST, Blob, Layer, layer


def _axis_or_dim(layer: Layer, old: str) -> int:
    """The setting `axis`, or its predecessor."""
    param = layer.param
    layer.check(
        not (param.has(old) and param.has("axis")), f"expected axis or {old}; given both", old
    )
    given = getattr(param, old) if param.has(old) else param.axis
    return layer.axis(old if param.has(old) else "axis", len(layer.bottoms[0].shape), given)


@layer("Concat", "`Concat`", param="concat_param", bottoms=(1, ANY))
def join(layer: Layer) -> Sequence[Blob]:
    shape = layer.bottoms[0].shape
    axis = _axis_or_dim(layer, "concat_dim")
    layer.same_shapes(axis)
    total = sum(bottom.shape[axis] for bottom in layer.bottoms)
    symbols = [bottom.symbol for bottom in layer.bottoms]
    joined = sym.Concat(*symbols, dim=axis, name=layer.name)
    return [Blob(joined, (*shape[:axis], total, *shape[axis + 1 :]))]


@layer("Slice", "`slice_axis`", param="slice_param", tops=(1, ANY))
def cut(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    axis, count = _axis_or_dim(layer, "slice_dim"), len(layer.tops)
    extent, points = shape[axis], layer.param.slice_point
    if points:
        layer.check(
            len(points) == count - 1,
            f"slice_point: expected {count - 1} for {count} tops; given {len(points)}",
            "slice_point",
        )
    else:
        layer.check(
            extent % count == 0,
            f"axis {axis} has {extent} elements, which do not make {count} equal tops",
            "axis",
        )
        points = [extent // count * number for number in range(1, count)]
    ends = [0, *points, extent]
    layer.check(
        all(a < b for a, b in pairwise(ends)),
        f"slice_point: expected rising numbers below {extent}; given {points}",
        "slice_point",
    )
    found = []
    for number, (begin, end) in enumerate(pairwise(ends)):
        part = sym.slice_axis(
            symbol,
            axis=axis,
            begin=begin,
            end=None if end == extent else end,
            name=f"{layer.name}_{number}",
        )
        found.append(Blob(part, (*shape[:axis], end - begin, *shape[axis + 1 :])))
    return found


@layer("Split", "the bottom itself", tops=(1, ANY), least_axes=0)
def split(layer: Layer) -> Sequence[Blob]:
    return layer.bottoms * len(layer.tops)


@layer("Silence", "nothing", bottoms=(1, ANY), tops=0, least_axes=0)
def silence(layer: Layer) -> Sequence[Blob]:
    return []


@layer("Flatten", "`Flatten`, `Reshape`", param="flatten_param")
def flatten(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    first, last = layer.axis("axis", len(shape)), layer.axis("end_axis", len(shape))
    layer.check(
        first <= last, f"end_axis: expected axis {first} or a later one; given {last}", "end_axis"
    )
    joined = prod(shape[first : last + 1])
    behind = shape[last + 1 :]
    if first == 1 and not behind:
        return [Blob(sym.Flatten(symbol, name=layer.name), (shape[0], joined))]
    flat = sym.Reshape(symbol, shape=(0,) * first + (-1, *behind), name=layer.name)
    return [Blob(flat, (*shape[:first], joined, *behind))]


@layer("Reshape", "`Reshape`", param="reshape_param")
def reshape(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    first = layer.axis("axis", len(shape) + 1)
    count, dims = param.num_axes, param.shape.dim
    last = len(shape) if count == -1 else first + count
    layer.check(
        count >= -1 and last <= len(shape),
        f"num_axes: expected -1 to {len(shape) - first} from axis {first} on; given {count}",
        "num_axes",
    )
    layer.check(
        all(-1 <= dim <= LARGEST for dim in dims) and dims.count(-1) <= 1,
        f"shape: expected extents, 0 for those that stay and one -1 at most; given {dims}",
        "shape",
    )
    layer.check(
        all(dim or first + place < len(shape) for place, dim in enumerate(dims)),
        f"shape: expected 0 for axes that the bottom, {shape}, has; given {dims}",
        "shape",
    )
    inner = [dim or shape[first + place] for place, dim in enumerate(dims)]
    wanted = [*shape[:first], *inner, *shape[last:]]
    known = prod(extent for extent in wanted if extent != -1)
    if -1 in wanted and prod(shape) % known == 0:
        wanted[wanted.index(-1)] = prod(shape) // known
    layer.check(
        prod(wanted) == prod(shape),
        f"shape: {shape} has {prod(shape)} elements, which do not make {tuple(wanted)}",
        "shape",
    )
    # The batch is copied where it stays, so that it may be another one.
    stays = first > 0 or dims[:1] == [0]
    code = [*([0] if stays else wanted[:1]), *wanted[1:]]
    if -1 in dims and last == len(shape):
        code[first + dims.index(-1)] = -1
    return [Blob(sym.Reshape(symbol, shape=tuple(code) or (1,), name=layer.name), tuple(wanted))]


@layer("Tile", "`tile`", param="tile_param")
def tile(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    axis, count = layer.axis("axis", len(shape)), layer.param.tiles
    layer.check(count > 0, f"tiles: expected 1 or more; given {count}", "tiles")
    repeats = tuple(count if a == axis else 1 for a in range(len(shape)))
    tiled = sym.tile(symbol, reps=repeats, name=layer.name)
    return [Blob(tiled, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))]


@layer("BatchReindex", "`take`", bottoms=2)
def take_samples(layer: Layer) -> Sequence[Blob]:
    (symbol, shape), (places, wanted) = layer.bottoms
    layer.check(len(wanted) == 1, f"expected a second bottom of one axis; given {wanted}", "bottom")
    taken = sym.take(symbol, sym.BlockGrad(places), axis=0, name=layer.name)
    return [Blob(taken, (*wanted, *shape[1:]))]
