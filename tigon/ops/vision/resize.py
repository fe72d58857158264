"""Operators that change the size of images: up-sampling, resizing, adaptive pooling, cropping.

Linear interpolation and adaptive averages are products with a banded matrix per axis, of which only
the band is computed; their gradients are products with its transpose, whose band is another one.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonError, check
from tigon.base.frozen import Frozen, replace
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.nn._shared import inverse_count
from tigon.ops.nn.deconvolution import deconvolution
from tigon.ops.primitive.arithmetic import (
    absolute,
    add,
    ceil,
    divide,
    floor,
    maximum,
    minimum,
    multiply,
    subtract,
)
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.compare import greater, greater_equal, lesser, lesser_equal
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.gather import _take
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, _slice
from tigon.ops.record import Operator, composite
from tigon.ops.tensor.join import concat


def _image(where: str, data: TensorType) -> None:
    check(data.ndim == 4, where, f"data: expected 4 axes, NCHW; given shape {data.shape}")


# -------------------------------------------------------------------------- UpSampling


class UpSamplingAttrs(Frozen, kw_only=True):
    scale: int
    num_filter: int = 0
    sample_type: str
    multi_input_mode: str = "concat"
    workspace: int = 512


def _scales(attrs: UpSamplingAttrs, shapes: list[Shape]) -> list[int]:
    """By how much each input grows, so that all come out as large as the first."""
    height, width = (extent * attrs.scale for extent in shapes[0][2:])
    scales = []
    for shape in shapes:
        scale = height // max(shape[2], 1)
        check(
            (shape[2] * scale, shape[3] * scale) == (height, width),
            "UpSampling",
            f"an input of shape {shape} cannot grow to {height} x {width} by a whole factor",
        )
        scales.append(scale)
    return scales


def _infer_upsampling(attrs: UpSamplingAttrs, *types: TensorType) -> TensorType:
    name = "UpSampling"
    check(attrs.scale >= 1, name, f"scale: expected at least 1; given {attrs.scale}")
    check(
        attrs.sample_type in ("nearest", "bilinear"),
        name,
        f"sample_type: expected 'nearest' or 'bilinear'; given '{attrs.sample_type}'",
    )
    check(
        attrs.multi_input_mode in ("concat", "sum"),
        name,
        f"multi_input_mode: expected 'concat' or 'sum'; given '{attrs.multi_input_mode}'",
    )
    check(len(types) > 0, name, "expected at least one input; given none")
    _image(name, types[0])
    if attrs.sample_type == "bilinear":
        check(
            len(types) == 2,
            name,
            f"'bilinear' takes data and a weight, as Deconvolution; given {len(types)} operands",
        )
        expected = (types[0].shape[1], 1, *(_bilinear_kernel(attrs.scale),) * 2)
        check(
            types[1].shape == expected,
            name,
            f"weight: expected shape {expected}; given {types[1].shape}",
        )
        types = types[:1]
    for given in types:
        _image(name, given)
    shapes = [t.shape for t in types]
    _scales(attrs, shapes)
    batch, channels, height, width = shapes[0]
    if attrs.multi_input_mode == "concat":
        channels = sum(shape[1] for shape in shapes)
    return TensorType((batch, channels, height * attrs.scale, width * attrs.scale), types[0].dtype)


def _moves_alone(attrs: UpSamplingAttrs) -> bool:
    return attrs.sample_type == "nearest" and attrs.multi_input_mode == "concat"


def _bilinear_kernel(scale: int) -> int:
    return 2 * scale - scale % 2


def _enlarged(x: Value, scale: int) -> Value:
    """Each element repeated `scale` times along both axes: views only."""
    if scale == 1:
        return x
    n, c, h, w = x.shape
    spread = _reshape(x, shape=(n, c, h, 1, w, 1))
    repeated = _broadcast(spread, shape=(n, c, h, scale, w, scale))
    return _reshape(repeated, shape=(n, c, h * scale, w * scale))


def _decompose_upsampling(attrs: UpSamplingAttrs, *data: Value) -> Value:
    if attrs.sample_type == "bilinear":
        x, weight = data
        kernel, channels = _bilinear_kernel(attrs.scale), x.shape[1]
        return deconvolution(
            x,
            weight,
            kernel=(kernel, kernel),
            stride=(attrs.scale, attrs.scale),
            pad=(attrs.scale // 2,) * 2,
            num_filter=channels,
            num_group=channels,
        )
    scales = _scales(attrs, [x.shape for x in data])
    enlarged = [_enlarged(x, scale) for x, scale in zip(data, scales, strict=True)]
    if len(enlarged) == 1:
        return enlarged[0]
    if attrs.multi_input_mode == "concat":
        return concat(*enlarged, dim=1)
    total = enlarged[0]
    for other in enlarged[1:]:
        total = add(total, other)
    return total


def _upsampling_oracle(*data: np.ndarray, **fields: Any) -> np.ndarray:
    if fields["sample_type"] == "bilinear":
        x, weight = data
        s, k = fields["scale"], weight.shape[2]
        n, c, h, w = x.shape
        pad = s // 2
        full = np.zeros((n, c, s * (h - 1) + k, s * (w - 1) + k), x.dtype)
        for i, j in np.ndindex(h, w):
            at = (slice(None), slice(None), slice(i * s, i * s + k), slice(j * s, j * s + k))
            full[at] += x[:, :, i, j, None, None] * weight[:, 0]
        return full[:, :, pad : full.shape[2] - pad, pad : full.shape[3] - pad]
    height = data[0].shape[2] * fields["scale"]
    parts = [x.repeat(height // x.shape[2], 2).repeat(height // x.shape[2], 3) for x in data]
    return (
        np.concatenate(parts, 1)
        if fields["multi_input_mode"] == "concat"
        else sum(parts[1:], parts[0])
    )


def _upsampling_operands(
    attrs: UpSamplingAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    if attrs.sample_type != "bilinear" or len(types) != 2 or types[0] is None:
        return types
    kernel = _bilinear_kernel(attrs.scale)
    weight = TensorType((types[0].shape[1], 1, kernel, kernel), types[0].dtype)
    return [types[0], types[1] or weight]


upsampling = composite(
    "UpSampling",
    _decompose_upsampling,
    operands="*data",
    attrs=UpSamplingAttrs,
    dtypes=lambda attrs: "fiub" if _moves_alone(attrs) else "fiu",
    infer=_infer_upsampling,
    numpy=_upsampling_oracle,
    infer_operands=_upsampling_operands,
    samples=[
        ((1, 2, 2, 3), {"scale": 2, "sample_type": "nearest"}),
        ((1, 2, 2, 2), (1, 1, 4, 4), {"scale": 4, "sample_type": "nearest"}),
        (
            (1, 2, 2, 2),
            (1, 2, 4, 4),
            {"scale": 2, "sample_type": "nearest", "multi_input_mode": "sum"},
        ),
        ((1, 2, 2, 3), (2, 1, 4, 4), {"scale": 2, "sample_type": "bilinear", "num_filter": 2}),
    ],
    doc="""Images enlarged by a whole factor.

Parameters
----------
data : (batch, channels, height, width); several for 'nearest', all brought to the size of the
    first; for 'bilinear' one, and the weight of the transposed convolution that does it
scale : the factor for the first input
sample_type : 'nearest' repeats elements; 'bilinear' is a Deconvolution by channel
multi_input_mode : several inputs are joined along the channels ('concat') or added ('sum')
num_filter, workspace : accepted for old programs and without meaning here

Examples
--------
>>> nd.UpSampling(nd.array([[[[1, 2]]]]), scale=2, sample_type="nearest")
<BLANKLINE>
[[[[1. 1. 2. 2.]
   [1. 1. 2. 2.]]]]
<NDArray 1x1x2x4 @cpu(0)>
""",
)

# ------------------------------------------------------------------ resampling of an axis


UNROLLED = 16
"""Shares of one result that are added up in one formula, which runs along the results: several
times faster than a sum in a loop of its own."""


class ResampleAttrs(Frozen):
    axis: int
    size: int
    count: int
    rule: str
    adjoint: bool = False


def _place(row: Any, attrs: ResampleAttrs) -> Any:
    """Where, among the `size` elements, one of the `count` results of an interpolation lies."""
    size, count = attrs.size, attrs.count
    if attrs.rule == "corners":
        return multiply(row, (size - 1) / (count - 1) if count > 1 else 0.0)
    centre = subtract(multiply(add(row, 0.5), size / count), 0.5)
    return minimum(maximum(centre, 0.0), float(size - 1))


def _cell(row: Any, attrs: ResampleAttrs) -> tuple[Any, Any]:
    """The first of the elements that a cell averages, and the one behind the last."""
    share = attrs.size / attrs.count
    # Slack, so that whole numbers are not missed by rounding.
    begin = floor(add(multiply(row, share), 1e-6))
    return begin, ceil(subtract(multiply(add(row, 1.0), share), 1e-6))


def _weight(row: Any, column: Any, attrs: ResampleAttrs) -> Any:
    """The share of element `column` in result `row`."""
    if attrs.rule == "average":
        begin, end = _cell(row, attrs)
        inside = multiply(lesser_equal(begin, column), greater(end, column))
        return divide(inside, subtract(end, begin))
    return maximum(subtract(1.0, absolute(subtract(_place(row, attrs), column))), 0.0)


def _band(attrs: ResampleAttrs, place: Value) -> tuple[Value, int]:
    """Where, on the other side, what belongs to `place` begins, and how many elements it may be."""
    size, count = attrs.size, attrs.count
    if attrs.rule == "average":
        if attrs.adjoint:
            return floor(multiply(place, count / size)), min(math.ceil(1 + count / size), count)
        return _cell(place, attrs)[0], min(math.ceil(size / count) + 1, size)
    if not attrs.adjoint:
        return floor(_place(place, attrs)), 2
    # Places are a step apart; those less than 1 away from this one.
    corners = attrs.rule == "corners"
    step = (size - 1) / max(count - 1, 1) if corners else size / count
    first = subtract(place, 1.0) if corners else subtract(place, 0.5 + step / 2)
    start = maximum(add(floor(divide(first, step)), 1.0), 0.0)
    return start, min(math.ceil(2 / step), count)


def _decompose_resample(attrs: ResampleAttrs, data: Value) -> Value:
    """Each result gathers the few elements that it has a share of: both ways, so that nothing is
    added up in an order that depends on threads."""
    axis = attrs.axis
    if attrs.size == 1:
        total = _reduce_sum(data, axes=(axis,)) if attrs.adjoint else data
        shape = (*data.shape[:axis], 1 if attrs.adjoint else attrs.count, *data.shape[axis + 1 :])
        return _reshape(total, shape=shape) if attrs.adjoint else _broadcast(data, shape=shape)
    own, other = (attrs.size, attrs.count) if attrs.adjoint else (attrs.count, attrs.size)
    place = _iota(shape=(1, own), axis=1, start=0.0, step=1.0, dtype="float64")
    start, width = _band(attrs, place)
    partner = add(start, _iota(shape=(width, 1), axis=0, start=0.0, step=1.0, dtype="float64"))
    weight = _weight(*((partner, place) if attrs.adjoint else (place, partner)), attrs)
    held = multiply(greater_equal(partner, 0.0), lesser(partner, float(other)))
    weight = cast(multiply(weight, held), dtype=data.dtype.name)
    partner = cast(partner, dtype="int64")
    column = (1,) * (data.ndim - 1 - axis)
    if width > UNROLLED:
        parts = _take(data, partner, axis=axis)
        weighted = multiply(parts, _reshape(weight, shape=(width, own, *column)))
        return _reduce_sum(weighted, axes=(axis,))
    terms = []
    for step in range(width):
        part = {"start": (step, 0), "step": (1, 1), "extents": (1, own)}
        index = _reshape(_slice(partner, **part), shape=(own,))
        share = _reshape(_slice(weight, **part), shape=(own, *column))
        terms.append(multiply(_take(data, index, axis=axis), share))
    return functools.reduce(add, terms)


def _resample_oracle(data: np.ndarray, **fields: Any) -> np.ndarray:
    attrs = ResampleAttrs(**fields)
    matrix = np.zeros((attrs.count, attrs.size))
    for row in range(attrs.count):
        if attrs.rule == "average":
            begin, end = row * attrs.size // attrs.count, -(-(row + 1) * attrs.size // attrs.count)
            matrix[row, begin:end] = 1 / (end - begin)
            continue
        if attrs.rule == "corners":
            at = row * (attrs.size - 1) / (attrs.count - 1) if attrs.count > 1 else 0.0
        else:
            at = max((row + 0.5) * attrs.size / attrs.count - 0.5, 0.0)
        low = min(int(at), attrs.size - 1)
        matrix[row, low] += 1 - (at - low)
        matrix[row, min(low + 1, attrs.size - 1)] += at - low
    if attrs.adjoint:
        matrix = matrix.T
    moved = np.moveaxis(data, attrs.axis, -1) @ matrix.T
    return np.ascontiguousarray(np.moveaxis(moved, -1, attrs.axis)).astype(data.dtype)


def _infer_resample(attrs: ResampleAttrs, data: TensorType) -> TensorType:
    check(0 <= attrs.axis < data.ndim, "_resample", f"axis {attrs.axis} is not one of {data}")
    shape = list(data.shape)
    shape[attrs.axis] = attrs.size if attrs.adjoint else attrs.count
    return TensorType(tuple(shape), data.dtype)


_resample: Operator = composite(
    "_resample",
    _decompose_resample,
    attrs=ResampleAttrs,
    dtypes="f",
    infer=_infer_resample,
    grad=lambda a, g, y, x: (_resample(g, **vars(replace(a, adjoint=not a.adjoint))),),
    numpy=_resample_oracle,
    samples=[
        ((2, 5, 3), {"axis": 1, "size": 5, "count": 8, "rule": "corners"}),
        ((2, 8, 3), {"axis": 1, "size": 5, "count": 8, "rule": "corners", "adjoint": True}),
        ((7,), {"axis": 0, "size": 7, "count": 3, "rule": "edges"}),
        ((3, 11), {"axis": 1, "size": 3, "count": 11, "rule": "edges", "adjoint": True}),
        ((7, 2), {"axis": 0, "size": 7, "count": 3, "rule": "average"}),
        ((5,), {"axis": 0, "size": 3, "count": 5, "rule": "average", "adjoint": True}),
        ((1, 4), {"axis": 0, "size": 1, "count": 4, "rule": "corners"}),
        ((4,), {"axis": 0, "size": 4, "count": 1, "rule": "edges"}),
    ],
    doc="""One axis of `size` elements brought to `count`, or, if `adjoint`, the adjoint of that.

    Parameters: `rule` 'average' for the means of as equal cells as possible, 'corners' and 'edges'
    for linear interpolation that keeps the outer elements or the outer borders in place.""",
)


def _resized(data: Value, height: int, width: int, rule: str) -> Value:
    h, w = data.shape[2:]
    tall = _resample(data, axis=2, size=h, count=height, rule=rule)
    return _resample(tall, axis=3, size=w, count=width, rule=rule)


# ----------------------------------------------------------------- AdaptiveAvgPooling2D


class AdaptiveAvgPoolingAttrs(Frozen, kw_only=True):
    output_size: tuple[int, ...] = ()


def _output_size(attrs: AdaptiveAvgPoolingAttrs) -> tuple[int, int]:
    size = attrs.output_size or (1,)
    check(
        len(size) in (1, 2) and all(n >= 1 for n in size),
        "AdaptiveAvgPooling2D",
        f"output_size: expected one or two positive extents; given {attrs.output_size}",
    )
    return size[0], size[-1]


def _infer_adaptive(attrs: AdaptiveAvgPoolingAttrs, data: TensorType) -> TensorType:
    name = "AdaptiveAvgPooling2D"
    _image(name, data)
    return TensorType((*data.shape[:2], *_output_size(attrs)), data.dtype)


def _decompose_adaptive(attrs: AdaptiveAvgPoolingAttrs, data: Value) -> Value:
    rows, columns = _output_size(attrs)
    n, c, h, w = data.shape
    if h % rows == 0 and w % columns == 0:
        cells = _reshape(data, shape=(n, c, rows, h // rows, columns, w // columns))
        count = (h // rows) * (w // columns)
        return multiply(_reduce_sum(cells, axes=(3, 5)), inverse_count(count))
    return _resized(data, rows, columns, "average")


def _adaptive_oracle(data: np.ndarray, output_size: tuple[int, ...]) -> np.ndarray:
    rows, columns = _output_size(AdaptiveAvgPoolingAttrs(output_size=output_size))
    n, c, h, w = data.shape
    result = np.zeros((n, c, rows, columns), data.dtype)
    for i, j in np.ndindex(rows, columns):
        top, bottom = i * h // rows, -(-(i + 1) * h // rows)
        left, right = j * w // columns, -(-(j + 1) * w // columns)
        result[:, :, i, j] = data[:, :, top:bottom, left:right].mean(axis=(2, 3))
    return result


adaptive_avg_pooling = composite(
    "_contrib_AdaptiveAvgPooling2D",
    _decompose_adaptive,
    attrs=AdaptiveAvgPoolingAttrs,
    dtypes="f",
    infer=_infer_adaptive,
    numpy=_adaptive_oracle,
    samples=[
        ((2, 3, 4, 6), {"output_size": (2, 3)}),
        ((1, 2, 5, 7), {"output_size": (3, 2)}),
        ((1, 2, 5, 3), {}),
        ((1, 2, 2, 3), {"output_size": (4,)}),
    ],
    doc="""Averages over a grid of cells of as equal a size as possible, whatever the size of the
image.

Parameters
----------
data : (batch, channels, height, width)
output_size : number of cells along each axis, one number for both; 1 if not given

Examples
--------
>>> x = nd.array([[[[1, 3], [5, 7]]]])
>>> nd.contrib.AdaptiveAvgPooling2D(x, output_size=1)
<BLANKLINE>
[[[[4.]]]]
<NDArray 1x1x1x1 @cpu(0)>
""",
)

# -------------------------------------------------------------------- BilinearResize2D


class BilinearResizeAttrs(Frozen, kw_only=True):
    height: int = 1
    width: int = 1
    scale_height: float | None = None
    scale_width: float | None = None
    mode: str = "size"
    align_corners: bool = True


def _new_size(attrs: BilinearResizeAttrs, data: Shape, like: Shape | None) -> tuple[int, int]:
    """Height and width of the result, by MXNet's modes."""
    h, w = data[2:]
    if like is not None and attrs.mode in ("size", "like"):
        return like[2], like[3]
    scaled = h, w
    if attrs.scale_height is not None and attrs.scale_width is not None:
        scaled = int(h * attrs.scale_height), int(w * attrs.scale_width)
    elif attrs.mode == "size":
        scaled = attrs.height, attrs.width
    steps: dict[str, tuple[int, int]] = {
        "size": scaled,
        "odd_scale": (scaled[0] | 1, scaled[1] | 1) if scaled != (h, w) else (h, w),
        "to_even_down": (h - h % 2, w - w % 2),
        "to_even_up": (h + h % 2, w + w % 2),
        "to_odd_down": (h - (h + 1) % 2, w - (w + 1) % 2),
        "to_odd_up": (h + (h + 1) % 2, w + (w + 1) % 2),
    }
    if attrs.mode == "like" and like is None:
        raise TigonError("BilinearResize2D: mode 'like' takes its size from a second operand")
    if attrs.mode not in steps:
        known = ", ".join([*steps, "like"])
        raise TigonError(f"BilinearResize2D: mode: expected one of {known}; given '{attrs.mode}'")
    return steps[attrs.mode]


def _infer_resize(
    attrs: BilinearResizeAttrs, data: TensorType, like: TensorType | None = None
) -> TensorType:
    name = "BilinearResize2D"
    _image(name, data)
    if like is not None:
        _image(name, like)
    size = _new_size(attrs, data.shape, None if like is None else like.shape)
    check(
        all(n >= 1 for n in size) and all(n >= 1 for n in data.shape[2:]),
        name,
        f"height and width: expected at least 1; given {size} from data of shape {data.shape}",
    )
    return TensorType((*data.shape[:2], *size), data.dtype)


def _decompose_resize(attrs: BilinearResizeAttrs, data: Value, like: Value | None = None) -> Value:
    height, width = _new_size(attrs, data.shape, None if like is None else like.shape)
    return _resized(data, height, width, "corners" if attrs.align_corners else "edges")


def _resize_oracle(data: np.ndarray, like: np.ndarray | None = None, **fields: Any) -> np.ndarray:
    attrs = BilinearResizeAttrs(**fields)
    height, width = _new_size(attrs, data.shape, None if like is None else like.shape)
    h, w = data.shape[2:]
    result = np.zeros((*data.shape[:2], height, width), data.dtype)

    def place(i: int, size: int, count: int) -> tuple[int, int, float]:
        if attrs.align_corners:
            at = i * (size - 1) / (count - 1) if count > 1 else 0.0
        else:
            at = max((i + 0.5) * size / count - 0.5, 0.0)
        low = min(int(at), size - 1)
        return low, min(low + 1, size - 1), at - low

    for i, j in np.ndindex(height, width):
        top, bottom, down = place(i, h, height)
        left, right, across = place(j, w, width)
        upper = data[:, :, top, left] * (1 - across) + data[:, :, top, right] * across
        lower = data[:, :, bottom, left] * (1 - across) + data[:, :, bottom, right] * across
        result[:, :, i, j] = upper * (1 - down) + lower * down
    return result


bilinear_resize = composite(
    "_contrib_BilinearResize2D",
    _decompose_resize,
    operands="data like?",
    attrs=BilinearResizeAttrs,
    dtypes={"data": "f"},
    infer=_infer_resize,
    present=lambda attrs: ("data", "like") if attrs.mode == "like" else ("data",),
    numpy=_resize_oracle,
    samples=[
        ((1, 2, 3, 4), {"height": 5, "width": 7}),
        ((1, 2, 5, 4), {"height": 3, "width": 9, "align_corners": False}),
        ((1, 1, 4, 4), {"scale_height": 0.5, "scale_width": 2.0}),
        ((1, 1, 4, 5), {"mode": "to_odd_up"}),
    ],
    doc="""Images resized with linear interpolation.

Parameters
----------
data : (batch, channels, height, width)
like : with mode 'like', an image whose height and width are taken
height, width : of the result
scale_height, scale_width : or factors for both
mode : 'size', 'like', 'odd_scale', 'to_even_down', 'to_even_up', 'to_odd_down', 'to_odd_up'
align_corners : the corners of both images coincide; otherwise the edges do

Examples
--------
>>> nd.contrib.BilinearResize2D(nd.array([[[[0, 2]]]]), height=1, width=3)
<BLANKLINE>
[[[[0. 1. 2.]]]]
<NDArray 1x1x1x3 @cpu(0)>
""",
)

# -------------------------------------------------------------------------------- Crop


class CropAttrs(Frozen, kw_only=True):
    offset: tuple[int, ...] = (0, 0)
    h_w: tuple[int, ...] = (0, 0)
    center_crop: bool = False


def _crop_region(attrs: CropAttrs, shapes: list[Shape]) -> tuple[Shape, Shape]:
    """(start, extents) of the two image axes."""
    name = "Crop"
    h, w = shapes[0][2:]
    size = shapes[1][2:] if len(shapes) > 1 else attrs.h_w
    check(len(size) == 2, name, f"h_w: expected two extents; given {attrs.h_w}")
    check(
        len(attrs.offset) in (1, 2),
        name,
        f"offset: expected one number or two; given {attrs.offset}",
    )
    if attrs.center_crop:
        start = ((h - size[0]) // 2, (w - size[1]) // 2)
    else:
        start = (attrs.offset[0], attrs.offset[-1])
    check(
        all(
            0 <= begin and begin + extent <= whole
            for begin, extent, whole in zip(start, size, (h, w), strict=True)
        ),
        name,
        f"a region of {size} at {start} does not fit into an image of {(h, w)}",
    )
    return start, tuple(size)


def _infer_crop(attrs: CropAttrs, *types: TensorType) -> TensorType:
    check(len(types) in (1, 2), "Crop", f"expected data and perhaps crop_like; given {len(types)}")
    for given in types:
        _image("Crop", given)
    _, extents = _crop_region(attrs, [t.shape for t in types])
    return TensorType((*types[0].shape[:2], *extents), types[0].dtype)


def _decompose_crop(attrs: CropAttrs, data: Value, *like: Value) -> Value:
    start, extents = _crop_region(attrs, [data.shape, *(x.shape for x in like)])
    return _slice(
        data,
        start=(0, 0, *start),
        step=(1, 1, 1, 1),
        extents=(*data.shape[:2], *extents),
    )


def _crop_oracle(data: np.ndarray, *like: np.ndarray, **fields: Any) -> np.ndarray:
    shapes = [data.shape, *(x.shape for x in like)]
    (top, left), (h, w) = _crop_region(CropAttrs(**fields), shapes)
    return data[:, :, top : top + h, left : left + w]


crop = composite(
    "Crop",
    _decompose_crop,
    operands="*data",
    attrs=CropAttrs,
    infer=_infer_crop,
    numpy=_crop_oracle,
    samples=[
        ((1, 2, 5, 6), {"h_w": (2, 3), "offset": (1, 2)}),
        ((1, 2, 5, 6), (1, 1, 3, 2), {"center_crop": True}),
    ],
    doc="""A rectangle cut out of images.

Parameters
----------
data : (batch, channels, height, width), and perhaps a second image whose size is taken
offset : top left corner
h_w : height and width, where there is no second image
center_crop : take the middle instead of `offset`

Examples
--------
>>> nd.Crop(nd.array([[[[1, 2, 3]]]]), h_w=(1, 2), offset=(0, 1))
<BLANKLINE>
[[[[2. 3.]]]]
<NDArray 1x1x1x2 @cpu(0)>
""",
)
