"""Sampling pictures at places that are data: grids, transformers, regions of interest; and windows
as columns."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.nn._shared import Windows, windows
from tigon.ops.primitive.arithmetic import ceil, floor, maximum, minimum, round
from tigon.ops.primitive.choose import cast, select, stop_gradient
from tigon.ops.primitive.compare import greater_equal, lesser, lesser_equal, logical_and
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.gather import _take, _take_along
from tigon.ops.primitive.reduce import _reduce_max, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, transpose
from tigon.ops.primitive.window import _unwindow
from tigon.ops.record import Positions, composite
from tigon.ops.tensor.join import stack
from tigon.ops.tensor.slice import slice_axis

# --------------------------------------------------------------------------------- columns


class Im2colAttrs(Frozen):
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()


class Col2imAttrs(Frozen):
    output_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()


def _geometry(where: str, attrs: Any, ndim: int) -> Windows:
    check(
        ndim == len(attrs.kernel) + 2,
        where,
        f"expected {len(attrs.kernel)} spatial axes for kernel {attrs.kernel}; given {ndim - 2}",
    )
    return Windows.of(where, attrs.kernel, attrs.stride, attrs.dilate, attrs.pad)


def _decompose_im2col(attrs: Im2colAttrs, data: Any) -> Any:
    geometry = _geometry("im2col", attrs, data.ndim)
    extents = geometry.extents("im2col", data.shape[2:])
    n = len(extents)
    found = windows(data, geometry, extents)
    axes = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
    batch, channels = data.shape[:2]
    shape = (batch, channels * prod(attrs.kernel), prod(extents))
    return _reshape(transpose(found, axes=axes), shape=shape)


def _decompose_col2im(attrs: Col2imAttrs, data: Any) -> Any:
    size, kernel = attrs.output_size, attrs.kernel
    geometry = _geometry("col2im", attrs, len(size) + 2)
    extents = geometry.extents("col2im", size)
    check(
        data.ndim == 3 and data.shape[1] % prod(kernel) == 0 and data.shape[2] == prod(extents),
        "col2im",
        f"shape {data.shape} should be (batch, channels · {prod(kernel)}, {prod(extents)})",
    )
    n = len(size)
    batch, channels = data.shape[0], data.shape[1] // prod(kernel)
    columns = _reshape(data, shape=(batch, channels, *kernel, *extents))
    axes = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
    back = _unwindow_columns(transpose(columns, axes=axes), geometry, size)
    return _reduce_sum(back, axes=tuple(range(2 + n, 2 + 2 * n)))


def _unwindow_columns(columns: Any, geometry: Windows, size: tuple[int, ...]) -> Any:
    """Like `unwindows`, of windows whose elements differ."""
    return _unwindow(
        columns, stride=geometry.stride, dilate=geometry.dilate, pad=geometry.pad, size=size
    )


def _column_places(attrs: Any, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Padded source positions (kernel elements, windows) along each axis, and the extents."""
    geometry = Windows.of("", attrs.kernel, attrs.stride, attrs.dilate, attrs.pad)
    extents = geometry.extents("", size)
    grids = np.meshgrid(*(np.arange(e) for e in (*attrs.kernel, *extents)), indexing="ij")
    n = len(size)
    places = [
        (grids[n + i] * geometry.stride[i] + grids[i] * geometry.dilate[i]).reshape(
            prod(attrs.kernel), prod(extents)
        )
        for i in range(n)
    ]
    return np.stack(places), np.array(geometry.pad)


def _im2col_oracle(x: np.ndarray, **fields: Any) -> Any:
    attrs = Im2colAttrs(**fields)
    places, pad = _column_places(attrs, x.shape[2:])
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    at = (slice(None), slice(None), *places)
    found = padded[at]
    return found.reshape(x.shape[0], -1, places.shape[-1])


def _col2im_oracle(x: np.ndarray, **fields: Any) -> Any:
    attrs = Col2imAttrs(**fields)
    size = attrs.output_size
    places, pad = _column_places(attrs, size)
    channels = x.shape[1] // prod(attrs.kernel)
    padded = np.zeros(
        (x.shape[0], channels, *(n + 2 * p for n, p in zip(size, pad, strict=True))), x.dtype
    )
    columns = x.reshape(x.shape[0], channels, *places.shape[1:])
    np.add.at(padded, (slice(None), slice(None), *places), columns)
    inner = [slice(p, p + n) for n, p in zip(size, pad, strict=True)]
    at = (slice(None), slice(None), *inner)
    return padded[at]


im2col = composite(
    "im2col",
    _decompose_im2col,
    attrs=Im2colAttrs,
    numpy=_im2col_oracle,
    samples=(
        ((2, 3, 5, 6), {"kernel": (2, 3)}),
        ((1, 2, 7, 7), {"kernel": (3, 3), "stride": (2, 2), "dilate": (1, 2), "pad": (1, 0)}),
        ((1, 2, 7), {"kernel": (3,)}),
    ),
    doc="""Each window of a picture as a column: (batch, channels, *spatial) becomes
    (batch, channels · window size, windows).

    Parameters: `kernel` the window, `stride`, `dilate`, `pad`.

    >>> nd.im2col(nd.zeros((1, 3, 8, 8)), kernel=(3, 3), pad=(1, 1)).shape
    (1, 27, 64)
    """,
)

col2im = composite(
    "col2im",
    _decompose_col2im,
    attrs=Col2imAttrs,
    dtypes="fiu",
    numpy=_col2im_oracle,
    samples=(
        ((2, 18, 16), {"output_size": (5, 6), "kernel": (2, 3)}),
        (
            (1, 18, 8),
            {
                "output_size": (7, 7),
                "kernel": (3, 3),
                "stride": (2, 2),
                "dilate": (1, 2),
                "pad": (1, 0),
            },
        ),
    ),
    doc="""Columns added back into a picture where their windows lie: the adjoint of `im2col`.

    Parameters: `output_size` of the picture, `kernel` the window, `stride`, `dilate`, `pad`.

    >>> nd.col2im(nd.ones((1, 4, 1)), output_size=(2, 2), kernel=(2, 2)).asnumpy()
    array([[[[1., 1.],
             [1., 1.]]]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------ bilinear sampling


def bilinear(data: Any, x: Any, y: Any) -> Any:
    """`data` (batch, channels, height, width) at real places `x`, `y` (batch, points): (batch,
    channels, points). What lies outside is 0."""
    batch, channels, height, width = data.shape
    points = x.shape[1]
    flat = _reshape(data, shape=(batch, channels, height * width))
    left, top = stop_gradient(floor(x)), stop_gradient(floor(y))
    total: Any = None
    for down in (0, 1):
        for right in (0, 1):
            column, row = left + right, top + down
            weight = (1 - (x - left) if not right else x - left) * (
                1 - (y - top) if not down else y - top
            )
            hit = logical_and(
                logical_and(greater_equal(column, 0), lesser_equal(column, width - 1)),
                logical_and(greater_equal(row, 0), lesser_equal(row, height - 1)),
            )
            index = _whole(column, width) + _whole(row, height) * width
            wide = _broadcast(
                _reshape(index, shape=(batch, 1, points)), shape=(batch, channels, points)
            )
            value = _take_along(flat, wide, axis=2)
            part = value * _reshape(select(hit, weight, 0), shape=(batch, 1, points))
            total = part if total is None else total + part
    return total


def _whole(place: Any, extent: int) -> Any:
    return minimum(maximum(cast(place, dtype="int64"), 0), max(extent - 1, 0))


def bilinear_oracle(data: np.ndarray, x: np.ndarray, y: np.ndarray) -> Any:
    batch, channels, height, width = data.shape
    result = np.zeros((batch, channels, x.shape[1]), data.dtype)
    for n in range(batch):
        for p in range(x.shape[1]):
            left, top = int(np.floor(x[n, p])), int(np.floor(y[n, p]))
            for row in (top, top + 1):
                for column in (left, left + 1):
                    if 0 <= row < height and 0 <= column < width:
                        weight = (1 - abs(x[n, p] - column)) * (1 - abs(y[n, p] - row))
                        result[n, :, p] += data[n, :, row, column] * weight
    return result


def _check_grid(where: str, data: Any, grid: Any) -> None:
    check(
        data.ndim == grid.ndim == 4 and grid.shape[:2] == (data.shape[0], 2),
        where,
        f"expected data (batch, channels, height, width) and grid (batch, 2, height, width); "
        f"given {data.shape} and {grid.shape}",
    )


def _pixels(grid: Any, which: int, extent: int) -> Any:
    """Coordinates from -1 to 1 as positions of pixels."""
    batch, _, height, width = grid.shape
    line = _reshape(
        slice_axis(grid, axis=1, begin=which, end=which + 1), shape=(batch, height * width)
    )
    return (line + 1) * ((extent - 1) / 2)


class SamplerAttrs(Frozen):
    cudnn_off: bool | None = None


def _decompose_sampler(attrs: SamplerAttrs, data: Any, grid: Any) -> Any:
    _check_grid("BilinearSampler", data, grid)
    height, width = data.shape[2:]
    found = bilinear(data, _pixels(grid, 0, width), _pixels(grid, 1, height))
    return _reshape(found, shape=(*data.shape[:2], *grid.shape[2:]))


def _sampler_oracle(data: np.ndarray, grid: np.ndarray, **_: Any) -> Any:
    height, width = data.shape[2:]
    x, y = (
        (grid[:, i].reshape(len(grid), -1) + 1) * data.dtype.type((extent - 1) / 2)
        for i, extent in ((0, width), (1, height))
    )
    return bilinear_oracle(data, x, y).reshape(*data.shape[:2], *grid.shape[2:])


bilinear_sampler = composite(
    "BilinearSampler",
    _decompose_sampler,
    operands="data grid",
    attrs=SamplerAttrs,
    dtypes="f",
    numpy=_sampler_oracle,
    domain=(-1.2, 1.2),
    tolerance={"float32": 1e-5},
    samples=(((2, 3, 4, 5), (2, 2, 3, 2), {}), ((1, 1, 2, 2), (1, 2, 1, 1), {})),
    doc="""A picture read at the places of a grid, bilinearly between its pixels, 0 outside.

    Parameters: `grid` (batch, 2, height, width), x and y from -1 (first pixel) to 1 (last pixel).

    >>> x = nd.array([[[[1, 2], [3, 4]]]])
    >>> nd.BilinearSampler(x, nd.array([[[[0]], [[-1]]]])).asnumpy()
    array([[[[1.5]]]], dtype=float32)
    """,
)


class GridAttrs(Frozen):
    transform_type: str
    target_shape: tuple[int, ...] = (0, 0)


def _base(extent: int, axis: int, dtype: str, ndim: int) -> Any:
    """Coordinates from -1 to 1 along one axis."""
    shape = tuple(extent if i == axis else 1 for i in range(ndim))
    return _iota(shape=shape, axis=axis, start=-1.0, step=2 / max(extent - 1, 1), dtype=dtype)


def _decompose_grid(attrs: GridAttrs, data: Any) -> Any:
    if attrs.transform_type == "affine":
        return _affine_grid("GridGenerator", data, attrs.target_shape)
    check(
        attrs.transform_type == "warp" and data.ndim == 4 and data.shape[1] == 2,
        "GridGenerator",
        "expected transform_type affine (data: batch, 6) or warp (data: batch, 2, height, width); "
        f"given '{attrs.transform_type}' and {data.shape}",
    )
    height, width = data.shape[2:]
    parts = []
    for which, extent in ((0, width), (1, height)):
        flow = slice_axis(data, axis=1, begin=which, end=which + 1)
        place = flow * (2 / max(extent - 1, 1)) + _base(extent, 3 - which, data.dtype.name, 4)
        parts.append(_reshape(place, shape=(data.shape[0], height, width)))
    return stack(*parts, axis=1)


def _affine_grid(where: str, theta: Any, target: tuple[int, ...]) -> Any:
    check(
        theta.ndim == 2 and theta.shape[1] == 6 and len(target) == 2 and min(target) > 0,
        where,
        f"expected six numbers per picture and a target_shape (height, width); given "
        f"{theta.shape} and {target}",
    )
    height, width = target
    dtype = theta.dtype.name
    x, y = _base(width, 2, dtype, 3), _base(height, 1, dtype, 3)

    def number(index: int) -> Any:
        one = slice_axis(theta, axis=1, begin=index, end=index + 1)
        return _reshape(one, shape=(theta.shape[0], 1, 1))

    rows = [number(3 * i) * x + number(3 * i + 1) * y + number(3 * i + 2) for i in (0, 1)]
    return stack(*rows, axis=1)


def _grid_oracle(x: np.ndarray, transform_type: str, target_shape: tuple[int, ...]) -> Any:
    height, width = target_shape if transform_type == "affine" else x.shape[2:]
    columns = (np.arange(width) * (2 / max(width - 1, 1)) - 1).astype(x.dtype)
    rows = (np.arange(height) * (2 / max(height - 1, 1)) - 1).astype(x.dtype)
    grid = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None])).astype(x.dtype)
    if transform_type == "warp":
        scale = np.array([2 / max(width - 1, 1), 2 / max(height - 1, 1)], x.dtype)
        return x * scale.reshape(1, 2, 1, 1) + grid
    ones = np.concatenate([grid, np.ones((1, height, width), x.dtype)])
    return np.einsum("nij,jhw->nihw", x.reshape(-1, 2, 3), ones)


grid_generator = composite(
    "GridGenerator",
    _decompose_grid,
    attrs=GridAttrs,
    dtypes="f",
    numpy=_grid_oracle,
    samples=(
        ((2, 6), {"transform_type": "affine", "target_shape": (3, 4)}),
        ((2, 2, 3, 4), {"transform_type": "warp"}),
    ),
    doc="""The grid of places that `BilinearSampler` reads.

    Parameters: `transform_type` "affine" (data: six numbers per picture, the rows of a 2 x 3
    matrix) or "warp" (data: how many pixels each place is moved); `target_shape` of an affine grid.

    >>> nd.GridGenerator(nd.array([[1, 0, 0, 0, 1, 0]]), transform_type="affine",
    ...     target_shape=(1, 3)).asnumpy()[0, 0]
    array([[-1.,  0.,  1.]], dtype=float32)
    """,
)


class TransformerAttrs(Frozen):
    target_shape: tuple[int, ...]
    transform_type: str = "affine"
    sampler_type: str = "bilinear"
    cudnn_off: bool | None = None


def _decompose_transformer(attrs: TransformerAttrs, data: Any, loc: Any) -> Any:
    check(
        (attrs.transform_type, attrs.sampler_type) == ("affine", "bilinear"),
        "SpatialTransformer",
        f"expected affine and bilinear; given {attrs.transform_type} and {attrs.sampler_type}",
    )
    return bilinear_sampler(data, _affine_grid("SpatialTransformer", loc, attrs.target_shape))


spatial_transformer = composite(
    "SpatialTransformer",
    _decompose_transformer,
    operands="data loc",
    attrs=TransformerAttrs,
    dtypes="f",
    numpy=lambda data, loc, target_shape, **_: _sampler_oracle(
        data, _grid_oracle(loc, "affine", target_shape)
    ),
    domain=(-0.6, 0.6),
    tolerance={"float32": 1e-5},
    samples=(((2, 3, 4, 5), (2, 6), {"target_shape": (3, 2)}),),
    doc="""A picture moved, turned and scaled (Jaderberg et al. 2015).

    Parameters: `loc` six numbers per picture, the rows of a 2 x 3 matrix that maps places of the
    result to places of the data, both from -1 to 1; `target_shape` of the result.

    >>> x = nd.array([[[[1, 2], [3, 4]]]])
    >>> nd.SpatialTransformer(x, nd.array([[-1, 0, 0, 0, 1, 0]]), target_shape=(2, 2)).asnumpy()
    array([[[[2., 1.],
             [4., 3.]]]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------ regions of interest


def region_columns(where: str, data: Any, rois: Any) -> list[Any]:
    check(
        data.ndim == 4 and rois.ndim == 2 and rois.shape[1] == 5,
        where,
        "expected data (batch, channels, height, width) and rois (regions, 5): batch index, x1, "
        f"y1, x2, y2; given {data.shape} and {rois.shape}",
    )
    return [slice_axis(rois, axis=1, begin=i, end=i + 1) for i in range(5)]


class RoiPoolingAttrs(Frozen):
    pooled_size: tuple[int, ...]
    spatial_scale: float


def _bins(first: Any, last: Any, count: int, extent: int) -> Any:
    """1 where a row of pixels belongs to a bin: (regions, count, extent)."""
    regions = first.shape[0]
    start = round(first)
    length = maximum(round(last) - start + 1, 1)
    step = length / count
    number = _iota(shape=(1, count), axis=1, dtype=first.dtype.name)
    low = minimum(maximum(floor(number * step) + start, 0), extent)
    high = minimum(maximum(ceil((number + 1) * step) + start, 0), extent)
    place = _iota(shape=(1, 1, extent), axis=2, dtype=first.dtype.name)
    shape = (regions, count, 1)
    return logical_and(
        lesser_equal(_reshape(low, shape=shape), place), lesser(place, _reshape(high, shape=shape))
    )


def region_pictures(attrs: Any, data: TensorType, rois: TensorType) -> Positions:
    return Positions(data.shape[0], 0, column=0)


def _decompose_roi_pooling(attrs: RoiPoolingAttrs, data: Any, rois: Any) -> Any:
    index, *corners = region_columns("ROIPooling", data, rois)
    x1, y1, x2, y2 = (stop_gradient(corner) * attrs.spatial_scale for corner in corners)
    check(
        len(attrs.pooled_size) == 2 and min(attrs.pooled_size) > 0,
        "ROIPooling",
        f"pooled_size should be (height, width); given {attrs.pooled_size}",
    )
    rows, columns = attrs.pooled_size
    _, channels, height, width = data.shape
    regions = rois.shape[0]
    own = _take(data, _reshape(index, shape=(regions,)), axis=0)
    across = _reshape(_bins(x1, x2, columns, width), shape=(regions, 1, 1, columns, width))
    lines = _reshape(own, shape=(regions, channels, height, 1, width))
    narrow = _reduce_max(select(across, lines, -inf), axes=(4,))
    down = _reshape(_bins(y1, y2, rows, height), shape=(regions, 1, rows, height, 1))
    stacked = _reshape(narrow, shape=(regions, channels, 1, height, columns))
    found = _reduce_max(select(down, stacked, -inf), axes=(3,))
    return select(lesser_equal(found, -inf), 0, found)  # a bin without pixels


def _roi_pooling_oracle(
    data: np.ndarray, rois: np.ndarray, pooled_size: tuple[int, int], spatial_scale: float
) -> Any:
    rows, columns = pooled_size
    _, channels, height, width = data.shape
    result = np.zeros((len(rois), channels, rows, columns), data.dtype)

    def bins(first: float, last: float, count: int, extent: int) -> list[tuple[int, int]]:
        def away(v: float) -> int:
            return int(np.trunc(v) + (np.sign(v) if abs(v - np.trunc(v)) >= 0.5 else 0))

        start, step = away(first), max(away(last) - away(first) + 1, 1) / count
        return [
            (
                min(max(int(np.floor(i * step)) + start, 0), extent),
                min(max(int(np.ceil((i + 1) * step)) + start, 0), extent),
            )
            for i in range(count)
        ]

    for r, (index, x1, y1, x2, y2) in enumerate(rois.astype(float)):
        across = bins(x1 * spatial_scale, x2 * spatial_scale, columns, width)
        down = bins(y1 * spatial_scale, y2 * spatial_scale, rows, height)
        for i, (top, bottom) in enumerate(down):
            for j, (left, right) in enumerate(across):
                part = data[int(index), :, top:bottom, left:right]
                if part.size:
                    result[r, :, i, j] = part.max((1, 2))
    return result


_ROIS = np.array([[0, 0, 0, 4, 4], [1, 2, 1, 6, 3], [0, 5, 5, 5, 5]], np.float32)

roi_pooling = composite(
    "ROIPooling",
    _decompose_roi_pooling,
    operands="data rois",
    attrs=RoiPoolingAttrs,
    dtypes="f",
    indices={"rois": region_pictures},
    numpy=_roi_pooling_oracle,
    samples=(
        ((2, 3, 6, 7), _ROIS, {"pooled_size": (2, 3), "spatial_scale": 1.0}),
        ((2, 1, 4, 4), _ROIS, {"pooled_size": (2, 2), "spatial_scale": 0.5}),
    ),
    doc="""The largest elements in each of a grid of bins over regions of pictures (Girshick 2015).

    Parameters: `rois` one region per row (index in the batch, x1, y1, x2, y2); `pooled_size`
    (height, width) of the grid; `spatial_scale` from the coordinates of regions to those of data.

    >>> x = nd.reshape(nd.arange(16), shape=(1, 1, 4, 4))
    >>> nd.ROIPooling(x, nd.array([[0, 0, 0, 3, 3]]), pooled_size=(2, 2),
    ...     spatial_scale=1).asnumpy()[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """,
)
