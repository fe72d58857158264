"""Means of samples over the bins of regions (He et al. 2017).

How many samples a bin has may depend on the extents of its region. Samples are at most a pixel and
at least half a pixel apart where there are several, so that of those within the picture there is a
bound: a loop goes over as many of them as the largest bin needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.ir.graph import Graph, variable
from tigon.ops.attributes import attrs_dict
from tigon.ops.primitive.arithmetic import ceil, floor, floor_divide, maximum, minimum
from tigon.ops.primitive.choose import cast, select, stop_gradient
from tigon.ops.primitive.compare import greater_equal, lesser, lesser_equal
from tigon.ops.primitive.control import _foreach
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import _take, added_at
from tigon.ops.primitive.reduce import _reduce_max, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, transpose
from tigon.ops.record import Operator, Positions, Work, composite
from tigon.ops.tensor.shape import expand_dims
from tigon.ops.tensor.slice import slice_axis
from tigon.ops.vision.spatial import bilinear_oracle, region_columns
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


class _Layout(Frozen, eq=False):
    """Where elements of data are in (channels of the result, places): pictures within bins, if
    these have channels of their own."""

    batch: int
    kinds: int
    bins: int
    height: int
    width: int

    @classmethod
    def of(cls, attrs: RoiAlignAttrs, shape: tuple[int, ...]) -> _Layout:
        batch, channels, height, width = shape
        bins = prod(attrs.pooled_size) if attrs.position_sensitive else 1
        return cls(batch, channels // bins, bins, height, width)

    @property
    def places(self) -> int:
        return self.bins * self.batch * self.height * self.width

    def flat(self, data: Any) -> Any:
        split = (self.batch, self.kinds, self.bins, self.height, self.width)
        turned = transpose(_reshape(data, shape=split), axes=(1, 2, 0, 3, 4))
        return _reshape(turned, shape=(self.kinds, self.places))

    def whole(self, flat: Any) -> Any:
        split = (self.kinds, self.bins, self.batch, self.height, self.width)
        turned = transpose(_reshape(flat, shape=split), axes=(2, 0, 1, 3, 4))
        shape = (self.batch, self.kinds * self.bins, self.height, self.width)
        return _reshape(turned, shape=shape)


def _corners(
    attrs: RoiAlignAttrs,
    layout: _Layout,
    picture: Any,
    lines: tuple[_Line, _Line],
    numbers: tuple[Any, Any],
) -> Iterator[tuple[Any, Any]]:
    """Of some samples of each bin the four pixels around: which elements they are, and how much
    each counts, both (regions, rows, columns, samples down, samples across)."""
    rows, columns = attrs.pooled_size
    regions = picture.shape[0]
    sides = []
    for line, number, lead in zip(lines, numbers, ((rows, 1), (1, columns)), strict=True):
        place, there = line.sample(number)
        count = place.shape[2]
        samples = (count, 1) if lead[1] == 1 and line is lines[0] else (1, count)
        shape = (regions, *lead, *samples)
        low = minimum(floor(place), max(line.extent - 2, 0))
        share = place - low
        sides.append(
            [
                (
                    _reshape(cast(low, dtype="int64") + min(step, line.extent - 1), shape=shape),
                    _reshape(there * (share if step else 1 - share), shape=shape),
                )
                for step in (0, 1)
            ]
        )
    first = _reshape(picture, shape=(regions, 1, 1, 1, 1))
    if attrs.position_sensitive:
        own = _iota(shape=(1, rows, columns, 1, 1), axis=1, step=columns)
        own = own + _iota(shape=(1, rows, columns, 1, 1), axis=2)
        first = own * layout.batch + first
    for row, of_row in sides[0]:
        for column, of_column in sides[1]:
            yield (first * layout.height + row) * layout.width + column, of_row * of_column


def _read(layout: _Layout, data: Any, corners: Iterator[tuple[Any, Any]]) -> Any:
    """Sums over samples: (channels, regions, rows, columns)."""
    total: Any = None
    for index, weight in corners:
        part = _take(data, index, axis=1) * expand_dims(weight, axis=0)
        total = part if total is None else total + part
    return _reduce_sum(total, axes=(4, 5))


def _written(layout: _Layout, g: Any, corners: Iterator[tuple[Any, Any]]) -> Any:
    """The adjoint: (channels, places) from (channels, regions, rows, columns)."""
    wide = _reshape(g, shape=(*g.shape, 1, 1))
    total: Any = None
    for index, weight in corners:
        updates = wide * expand_dims(weight, axis=0)
        shape = (g.shape[0], *index.shape)
        updates = updates if same_shape(updates.shape, shape) else _broadcast(updates, shape=shape)
        part = added_at((layout.kinds, layout.places), index, updates, axis=1)
        total = part if total is None else total + part
    return total


def _over_samples(
    attrs: RoiAlignAttrs,
    layout: _Layout,
    operand: Any,
    result: tuple[int, ...],
    picture: Any,
    lines: tuple[_Line, _Line],
    step: Callable[..., Any],
) -> Any:
    """The sum of `step` over all samples of the bins: at once where their number is known, or else
    one by one, as many as the largest bin has."""
    dtype = lines[0].begin.dtype.name
    if attrs.sample_ratio > 0:
        places = _iota(shape=(1, 1, attrs.sample_ratio), axis=2, dtype="int32")
        each = cast(places, dtype=dtype)
        return step(layout, operand, _corners(attrs, layout, picture, lines, (each, each)))
    most = [line.within() for line in lines]
    parts = [part for line in lines for part in (line.begin, line.step, line.number, line.first)]
    given = [operand, picture, _reshape(most[1], shape=(1,)), *parts]
    known = [variable(f"known{i}", TensorType(x.shape, x.dtype)) for i, x in enumerate(given)]
    number = variable("number", TensorType((1,), int64))
    total = _full(shape=result, value=0, dtype=operand.dtype.name)
    before = variable("total", TensorType(total.shape, total.dtype))
    row = floor_divide(number, known[2])
    places = [
        _reshape(cast(place, dtype=dtype), shape=(1, 1, 1))
        for place in (row, number - row * known[2])
    ]
    own = tuple(
        _Line(begin=begin, step=apart, number=count, first=first, extent=extent)
        for (begin, apart, count, first), extent in (
            (known[3:7], layout.height),
            (known[7:11], layout.width),
        )
    )
    corners = _corners(attrs, layout, known[1], (own[0], own[1]), (places[0], places[1]))
    found = _foreach(
        _iota(shape=(_apart(layout.height) * _apart(layout.width),)),
        total,
        *given,
        count_type(most[0] * most[1]),
        body=Graph([number, before, *known], [before + step(layout, known[0], corners)]),
        data=1,
        states=1,
        counted=True,
    )
    return found[0]


def _check_regions(attrs: RoiAlignAttrs, data: TensorType) -> None:
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
    check(
        not attrs.position_sensitive or data.shape[1] % (rows * columns) == 0,
        "ROIAlign",
        f"data: expected a multiple of {rows} · {columns} channels, since each bin has its own "
        f"(position_sensitive); given {data.shape[1]}",
    )


def _prepared(
    attrs: RoiAlignAttrs, layout: _Layout, rois: Any, dtype: str
) -> tuple[Any, tuple[_Line, _Line], Any]:
    """The picture of each region, its samples, and what one of them counts in the mean."""
    regions = rois.shape[0]
    index, *corners = (slice_axis(rois, axis=1, begin=i, end=i + 1) for i in range(5))
    shift = 0.5 if attrs.aligned else 0.0
    x1, y1, x2, y2 = (
        cast(stop_gradient(corner), dtype=dtype) * attrs.spatial_scale - shift for corner in corners
    )
    rows, columns = attrs.pooled_size
    lines = (
        _Line.of(attrs, (y1, y2), rows, layout.height),
        _Line.of(attrs, (x1, x2), columns, layout.width),
    )
    flat = _reshape(stop_gradient(index), shape=(regions,))
    picture = minimum(maximum(cast(flat, dtype="int64"), 0), layout.batch - 1)
    product = lines[0].number * lines[1].number
    count = _reshape(product, shape=(1, product.shape[0], 1, 1))
    nowhere = cast(_reshape(lesser(flat, 0), shape=(1, regions, 1, 1)), dtype=dtype)
    return picture, lines, select(nowhere, 0, 1 / count)


def _decompose_roi_align(attrs: RoiAlignAttrs, data: Any, rois: Any) -> Any:
    region_columns("ROIAlign", data, rois)
    _check_regions(attrs, data.type)
    layout = _Layout.of(attrs, data.shape)
    regions = rois.shape[0]
    shape = (layout.kinds, regions, *attrs.pooled_size)
    if not (regions and data.type.size):
        empty = (regions, layout.kinds, *attrs.pooled_size)
        return _full(shape=empty, value=0, dtype=data.dtype.name)
    picture, lines, weight = _prepared(attrs, layout, rois, data.dtype.name)
    flat = layout.flat(data)
    total = _over_samples(attrs, layout, flat, shape, picture, lines, _read)
    return transpose(total * weight, axes=(1, 0, 2, 3))


def _decompose_backward(attrs: RoiAlignAttrs, g: Any, rois: Any, like: Any) -> Any:
    layout = _Layout.of(attrs, like.shape)
    if not (rois.shape[0] and like.type.size):
        return _full(shape=like.shape, value=0, dtype=g.dtype.name)
    picture, lines, weight = _prepared(attrs, layout, rois, g.dtype.name)
    given = transpose(g, axes=(1, 0, 2, 3)) * weight
    shape = (layout.kinds, layout.places)
    return layout.whole(_over_samples(attrs, layout, given, shape, picture, lines, _written))


def _backward_oracle(g: np.ndarray, rois: np.ndarray, like: np.ndarray, **fields: Any) -> Any:
    """Slopes of a linear function, one element of data after the other."""
    result = np.zeros(like.shape, g.dtype)
    for place in np.ndindex(*like.shape):
        one = np.zeros(like.shape, g.dtype)
        one[place] = 1
        result[place] = (_roi_align_oracle(one, rois, **fields) * g).sum()
    return result


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

roi_align: Operator = composite(
    "_contrib_ROIAlign",
    _decompose_roi_align,
    operands="data rois",
    attrs=RoiAlignAttrs,
    dtypes="f",
    work=Work.PAIRS,
    indices={"rois": _pictures},
    grad=lambda a, g, y, data, rois: (roi_align_backward(g, rois, data, **attrs_dict(a)), None),
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

roi_align_backward: Operator = composite(
    "_backward_ROIAlign",
    _decompose_backward,
    operands="data rois like",
    attrs=RoiAlignAttrs,
    dtypes="f",
    infer=lambda attrs, g, rois, like: TensorType(like.shape, g.dtype),
    work=Work.PAIRS,
    indices={"rois": lambda attrs, g, rois, like: Positions(like.shape[0], 0, -1.0, column=0)},
    grad=lambda a, h, y, g, rois, like: (roi_align(h, rois, **attrs_dict(a)), None, None),
    numpy=_backward_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((5, 2, 2, 3), _ROIS, (2, 2, 4, 3), {"pooled_size": (2, 3), "spatial_scale": 0.5}),
        (
            (5, 1, 2, 2),
            _ROIS,
            (2, 4, 3, 4),
            {
                "pooled_size": (2, 2),
                "spatial_scale": 0.7,
                "position_sensitive": True,
                "sample_ratio": 2,
            },
        ),
        ((0, 1, 2, 2), _ROIS[:0], (2, 1, 4, 4), {"pooled_size": (2, 2), "spatial_scale": 0.5}),
    ),
    doc="""The adjoint of `ROIAlign`: the cotangent of its data, which has the shape of `like`.""",
)
