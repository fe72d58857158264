"""Means of samples over the bins of regions (He et al. 2017).

How many samples a bin has may depend on the extents of its region. Samples are at most a pixel and
at least half a pixel apart where there are several, so that of those within the picture there is a
bound: a loop goes over as many of them as the largest bin needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.ir.graph import Graph, variable
from tigon.ops.primitive.arithmetic import ceil, floor, floor_divide, maximum, minimum
from tigon.ops.primitive.choose import cast, select, stop_gradient
from tigon.ops.primitive.compare import greater_equal, lesser, lesser_equal
from tigon.ops.primitive.control import _foreach
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import _take
from tigon.ops.primitive.reduce import _reduce_max, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, transpose
from tigon.ops.record import Positions, Work, composite
from tigon.ops.vision.spatial import bilinear, bilinear_oracle, region_columns
from tigon.ops.vision.suppression import all_of, count_type


class RoiAlignAttrs(Frozen):
    pooled_size: tuple[int, ...]
    spatial_scale: float
    sample_ratio: int = -1
    position_sensitive: bool = False
    aligned: bool = False


class _Line(Frozen, eq=False):
    """The samples of all bins along one axis, (regions, bins, 1): where those of a bin begin, how
    far apart they are, how many there are, and which of them may be the first in the picture."""

    begin: Any
    step: Any
    number: Any
    first: Any
    extent: int

    @classmethod
    def of(cls, attrs: RoiAlignAttrs, ends: tuple[Any, Any], bins: int, extent: int) -> _Line:
        start, stop = ends
        regions, dtype = start.shape[0], start.dtype.name
        size = maximum(stop - start, 0 if attrs.aligned else 1) / bins
        places = cast(_iota(shape=(1, bins), axis=1, dtype="int32"), dtype=dtype)
        begin = _reshape(start + places * size, shape=(regions, bins, 1))
        size = _reshape(size, shape=(regions, 1, 1))
        if attrs.sample_ratio > 0:
            number = _full(shape=(1, 1, 1), value=attrs.sample_ratio, dtype=dtype)
            return cls(begin, size / attrs.sample_ratio, number, begin * 0, extent)
        number = maximum(ceil(size), 1)
        step = size / number
        nowhere = lesser_equal(step, 0)
        before = select(nowhere, 0, (-1 - begin) / select(nowhere, 1, step))
        return cls(begin, step, number, maximum(floor(before - 0.5), 0), extent)

    def within(self) -> Any:
        """A bound for the samples of a bin that lie in the picture, or touch it."""
        most = minimum(self.number - self.first, floor((self.extent + 1) / self.step) + 3)
        return cast(maximum(_reduce_max(most, axes=(0, 1, 2)), 0), dtype="int64")

    def sample(self, number: Any) -> tuple[Any, Any]:
        """Sample `number` of each bin, counted from the first: its place, clamped to the pixels,
        and 1 where there is one."""
        index = self.first + number
        place = self.begin + (index + 0.5) * self.step
        there = all_of(
            lesser(index, self.number),
            greater_equal(place, -1),
            lesser_equal(place, self.extent),
        )
        return minimum(maximum(place, 0), self.extent - 1), there


def _apart(extent: int) -> int:
    """A bound for the samples of a bin in a picture, at least half a pixel apart."""
    return 2 * extent + 5


def _sums(
    attrs: RoiAlignAttrs,
    data: Any,
    index: Any,
    lines: tuple[_Line, _Line],
    numbers: tuple[Any, Any],
) -> Any:
    """Over some samples of each bin: (regions, channels, rows, columns)."""
    rows, columns = attrs.pooled_size
    _, channels, height, width = data.shape
    regions = index.shape[0]
    (y, in_y), (x, in_x) = (
        line.sample(number) for line, number in zip(lines, numbers, strict=True)
    )
    down, across = y.shape[2], x.shape[2]
    shape = (regions, rows, columns, down, across)

    def everywhere(of_y: Any, of_x: Any) -> tuple[Any, Any]:
        tall = _reshape(of_y, shape=(regions, rows, 1, down, 1))
        wide = _reshape(of_x, shape=(regions, 1, columns, 1, across))
        return _broadcast(tall, shape=shape), _broadcast(wide, shape=shape)

    places_y, places_x = everywhere(y, x)
    hit = all_of(*everywhere(in_y, in_x))
    own = _take(data, index, axis=0)
    if attrs.position_sensitive:
        bins = rows * columns
        split = _reshape(own, shape=(regions, channels // bins, bins, height, width))
        turned = transpose(split, axes=(0, 2, 1, 3, 4))
        pictures = _reshape(turned, shape=(regions * bins, channels // bins, height, width))
        flat = (regions * bins, down * across)
        found = bilinear(pictures, _reshape(places_x, shape=flat), _reshape(places_y, shape=flat))
        kept = select(_reshape(hit, shape=(regions * bins, 1, flat[1])), found, 0)
        total = _reshape(_reduce_sum(kept, axes=(2,)), shape=(regions, bins, channels // bins))
        result = transpose(total, axes=(0, 2, 1))
        return _reshape(result, shape=(regions, channels // bins, rows, columns))
    flat = (regions, rows * columns * down * across)
    found = bilinear(own, _reshape(places_x, shape=flat), _reshape(places_y, shape=flat))
    kept = select(_reshape(hit, shape=(regions, 1, flat[1])), found, 0)
    wide = _reshape(kept, shape=(regions, channels, *shape[1:]))
    return _reduce_sum(wide, axes=(4, 5))


def _looped(attrs: RoiAlignAttrs, data: Any, index: Any, lines: tuple[_Line, _Line]) -> Any:
    """Sample by sample of all bins, as many as the largest has."""
    rows, columns = attrs.pooled_size
    regions, (_, channels, height, width) = index.shape[0], data.shape
    most = [line.within() for line in lines]
    parts = [part for line in lines for part in (line.begin, line.step, line.number, line.first)]
    given = [data, index, _reshape(most[1], shape=(1,)), *parts]
    known = [variable(f"known{i}", TensorType(x.shape, x.dtype)) for i, x in enumerate(given)]
    number = variable("number", TensorType((1,), int64))
    kinds = channels // (rows * columns) if attrs.position_sensitive else channels
    total = _full(shape=(regions, kinds, rows, columns), value=0, dtype=data.dtype.name)
    before = variable("total", TensorType(total.shape, total.dtype))
    row = floor_divide(number, known[2])
    dtype = lines[0].begin.dtype.name
    places = [
        _reshape(cast(place, dtype=dtype), shape=(1, 1, 1))
        for place in (row, number - row * known[2])
    ]
    own = tuple(
        _Line(begin=begin, step=step, number=count, first=first, extent=extent)
        for (begin, step, count, first), extent in (
            (known[3:7], height),
            (known[7:11], width),
        )
    )
    after = before + _sums(attrs, known[0], known[1], (own[0], own[1]), (places[0], places[1]))
    found = _foreach(
        _iota(shape=(_apart(height) * _apart(width),)),
        total,
        *given,
        count_type(most[0] * most[1]),
        body=Graph([number, before, *known], [after]),
        data=1,
        states=1,
        counted=True,
    )
    return found[0]


def _decompose_roi_align(attrs: RoiAlignAttrs, data: Any, rois: Any) -> Any:
    index, *corners = region_columns("ROIAlign", data, rois)
    check(
        len(attrs.pooled_size) == 2 and min(attrs.pooled_size) > 0,
        "ROIAlign",
        f"pooled_size: expected (height, width), both above 0; given {attrs.pooled_size}",
    )
    check(
        attrs.spatial_scale > 0,
        "ROIAlign",
        "spatial_scale: expected a positive number, the extents of data over those that regions "
        f"are given in; given {attrs.spatial_scale}",
    )
    rows, columns = attrs.pooled_size
    _, channels, height, width = data.shape
    check(
        not attrs.position_sensitive or channels % (rows * columns) == 0,
        "ROIAlign",
        f"data: expected a multiple of {rows} · {columns} channels, since each bin has its own "
        f"(position_sensitive); given {channels}",
    )
    regions = rois.shape[0]
    kinds = channels // (rows * columns) if attrs.position_sensitive else channels
    if not (regions and channels and height and width):
        return _full(shape=(regions, kinds, rows, columns), value=0, dtype=data.dtype.name)
    shift = 0.5 if attrs.aligned else 0.0
    x1, y1, x2, y2 = (
        cast(stop_gradient(corner), dtype=data.dtype.name) * attrs.spatial_scale - shift
        for corner in corners
    )
    lines = (
        _Line.of(attrs, (y1, y2), rows, height),
        _Line.of(attrs, (x1, x2), columns, width),
    )
    flat = _reshape(stop_gradient(index), shape=(regions,))
    picture = cast(flat, dtype="int64")
    if attrs.sample_ratio > 0:
        dtype = data.dtype.name
        places = _iota(shape=(1, 1, attrs.sample_ratio), axis=2, dtype="int32")
        each = cast(places, dtype=dtype)
        total = _sums(attrs, data, picture, lines, (each, each))
    else:
        total = _looped(attrs, data, picture, lines)
    product = lines[0].number * lines[1].number
    count = _reshape(product, shape=(product.shape[0], 1, 1, 1))
    nowhere = _reshape(lesser(flat, 0), shape=(regions, 1, 1, 1))
    return select(cast(nowhere, dtype=data.dtype.name), 0, total / count)


def _roi_align_oracle(data: np.ndarray, rois: np.ndarray, **fields: Any) -> Any:
    attrs = RoiAlignAttrs(**fields)
    rows, columns = attrs.pooled_size
    _, channels, height, width = data.shape
    bins = rows * columns if attrs.position_sensitive else 1
    result = np.zeros((len(rois), channels // bins, rows, columns), data.dtype)
    shift = data.dtype.type(0.5 if attrs.aligned else 0)
    for r, (index, *given) in enumerate(rois.astype(data.dtype)):
        if index < 0 or not data.size:
            continue
        x1, y1, x2, y2 = (c * data.dtype.type(attrs.spatial_scale) - shift for c in given)
        least = 0 if attrs.aligned else 1
        down, across = max(y2 - y1, least) / rows, max(x2 - x1, least) / columns
        counts = [attrs.sample_ratio or 1] * 2
        if attrs.sample_ratio <= 0:
            counts = [max(int(np.ceil(size)), 1) for size in (down, across)]
        for i, j in np.ndindex(rows, columns):
            own = data[int(index)][i * columns + j :: bins] if bins > 1 else data[int(index)]
            for s, t in np.ndindex(*counts):
                y = y1 + i * down + (s + 0.5) * down / counts[0]
                x = x1 + j * across + (t + 0.5) * across / counts[1]
                if -1 <= y <= height and -1 <= x <= width:
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    value = bilinear_oracle(
                        own[None].astype(float), np.array([[x]]), np.array([[y]])
                    )
                    result[r, :, i, j] += value[0, :, 0] / (counts[0] * counts[1])
    return result


def _pictures(attrs: Any, data: TensorType, rois: TensorType) -> Positions:
    return Positions(data.shape[0], 0, ignored=-1.0, column=0)


_ROIS = np.array(
    [[0, 0, 0, 4, 4], [1, 2, 1, 6, 3], [0, 5, 5, 5.5, 5.5], [1, -9, -9, 20, 12], [-1, 0, 0, 3, 3]],
    np.float32,
)

roi_align = composite(
    "_contrib_ROIAlign",
    _decompose_roi_align,
    operands="data rois",
    attrs=RoiAlignAttrs,
    dtypes="f",
    work=Work.PAIRS,
    indices={"rois": _pictures},
    numpy=_roi_align_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((2, 2, 6, 7), _ROIS, {"pooled_size": (2, 3), "spatial_scale": 1.0, "sample_ratio": 2}),
        ((2, 2, 6, 7), _ROIS, {"pooled_size": (2, 3), "spatial_scale": 1.0}),
        (
            (2, 1, 4, 4),
            _ROIS,
            {"pooled_size": (2, 2), "spatial_scale": 0.5, "sample_ratio": 1, "aligned": True},
        ),
        (
            (2, 8, 5, 4),
            _ROIS,
            {"pooled_size": (2, 2), "spatial_scale": 0.7, "position_sensitive": True},
        ),
        (
            (2, 4, 5, 4),
            _ROIS,
            {
                "pooled_size": (2, 1),
                "spatial_scale": 0.7,
                "position_sensitive": True,
                "sample_ratio": 2,
                "aligned": True,
            },
        ),
        ((2, 1, 4, 4), _ROIS[:0], {"pooled_size": (2, 2), "spatial_scale": 0.5}),
    ),
    doc="""Means of bilinear samples in each of a grid of bins over regions of pictures (He et al.
    2017).

    Parameters: `rois` one region per row (index in the batch, x1, y1, x2, y2); one of index -1
    gives 0. `pooled_size` (height, width) of the grid; `spatial_scale` from the coordinates of
    regions to those of data; `sample_ratio` samples per bin and axis (default -1: as many as the
    bin is long); `position_sensitive` each bin has channels of its own, channel c of the result at
    bin b is channel c · bins + b of data; `aligned` moves regions by half a pixel.

    >>> x = nd.reshape(nd.arange(16), shape=(1, 1, 4, 4))
    >>> nd.contrib.ROIAlign(x, nd.array([[0, 0, 0, 2, 2]]), pooled_size=(1, 1), spatial_scale=1,
    ...     sample_ratio=2).asnumpy()
    array([[[[5.]]]], dtype=float32)
    """,
)
