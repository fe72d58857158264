"""Convolutions, pooling, and other windows that slide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce as fold
from math import prod
from typing import Any

import numpy as np

from tigon.base.frozen import Frozen
from tigon.contrib.onnx.build import (
    cast,
    concat,
    cut,
    lowest,
    number,
    op,
    pad,
    reshape,
    transpose,
    unsqueeze,
)
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant

LARGEST = 2**31 - 1
"""Of the numbers that say how windows lie: products of two of them do not wrap."""

MOST_WINDOWS = 1 << 20
"""Along one axis, whose elements are counted while a model is read."""


class Geometry(Frozen):
    """How windows lie over the spatial axes, with what is around."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    before: tuple[Any, ...]
    after: tuple[Any, ...]

    @property
    def is_even(self) -> bool:
        return self.before == self.after

    @property
    def reach(self) -> tuple[int, ...]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilate, strict=True))


def geometry_of(call: Any, spatial: Sequence[Any], kernel: Sequence[int]) -> Geometry:
    n = len(spatial)
    stride = call["strides"] or (1,) * n
    dilate = call["dilations"] or (1,) * n
    given = call["pads"] or (0,) * (2 * n)
    call.check(
        len(kernel) == len(stride) == len(dilate) == n and len(given) == 2 * n,
        f"expected kernel, strides and dilations of {n} numbers and pads of {2 * n}; given "
        f"{tuple(kernel)}, {stride}, {dilate} and {given}",
    )
    call.check(
        all(number > 0 for number in (*kernel, *stride, *dilate)) and all(p >= 0 for p in given),
        f"expected kernel, strides and dilations of 1 or more and pads of 0 or more; given "
        f"{tuple(kernel)}, {stride}, {dilate} and {given}",
    )
    call.check(
        all(number <= LARGEST for number in (*kernel, *stride, *dilate, *given)),
        f"expected kernel, strides, dilations and pads of {LARGEST} at most; given "
        f"{tuple(kernel)}, {stride}, {dilate} and {given}",
    )
    before, after = list(given[:n]), list(given[n:])
    auto = call["auto_pad"] or "NOTSET"
    call.check(
        auto in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"),
        f"auto_pad: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER; given '{auto}'",
    )
    if auto == "VALID":
        before, after = [0] * n, [0] * n
    elif auto != "NOTSET":
        for axis, extent in enumerate(spatial):
            count = extent if stride[axis] == 1 else -(-extent // stride[axis])
            reach = (kernel[axis] - 1) * dilate[axis] + 1
            total = (count - 1) * stride[axis] + reach - extent
            total = total if total > 0 else 0
            small, large = total // 2, total - total // 2
            before[axis], after[axis] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return Geometry(tuple(kernel), tuple(stride), tuple(dilate), tuple(before), tuple(after))


def _around(x: Value, geometry: Geometry, value: float = 0.0) -> Value:
    lead = (0,) * (x.ndim - len(geometry.kernel))
    return pad(x, (*lead, *geometry.before), (*lead, *geometry.after), value)


# ----------------------------------------------------------------------------- convolution


def convolve(call: Any, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """A convolution with the attributes of the node."""
    call.check(
        x.ndim == weight.ndim >= 3,
        f"expected data and weight of as many axes, 3 or more; given {x.shape} and {weight.shape}",
    )
    kernel = call["kernel_shape"] or weight.shape[2:]
    call.check(
        tuple(kernel) == tuple(weight.shape[2:]),
        f"kernel_shape: expected that of the weight, {weight.shape}; given {kernel}",
    )
    geometry = geometry_of(call, x.shape[2:], kernel)
    if not geometry.is_even:
        x = _around(x, geometry)
    return op.Convolution(
        x,
        weight,
        bias,
        kernel=tuple(kernel),
        stride=geometry.stride,
        dilate=geometry.dilate,
        pad=geometry.before if geometry.is_even else (),
        num_filter=weight.shape[0],
        num_group=call["group"],
        no_bias=bias is None,
    )


@converts("Conv")
def conv(call: Any, x: Value, weight: Value, bias: Value | None = None) -> Value:
    return convolve(call, x, weight, bias)


@converts("CausalConvWithState")
def causal_conv(
    call: Any, x: Value, weight: Value, bias: Value | None = None, past: Value | None = None
) -> tuple[Value, Value]:
    """Each channel over its past, of which the state keeps as much as is still read."""
    channels, length = x.shape[1:]
    kernel = weight.shape[2]
    if past is None:
        padded = pad(x, (0, 0, kernel - 1), (0, 0, 0))
    else:
        padded = concat([past, x], 2)
    result = op.Convolution(
        padded,
        weight,
        bias,
        kernel=(kernel,),
        num_filter=channels,
        num_group=channels,
        no_bias=bias is None,
    )
    which = call["activation"] or "none"
    call.check(which in ("none", "silu", "swish"), f"activation: given '{which}'")
    if which != "none":
        wide = cast(result, "float32") if x.dtype.is_narrow else result
        result = cast(wide * op.sigmoid(wide), x.dtype.name)
    return result, cut(padded, 2, length, length + kernel - 1)


@converts("ConvTranspose")
def conv_transpose(call: Any, x: Value, weight: Value, bias: Value | None = None) -> Value:
    n = x.ndim - 2
    spatial, kernel = x.shape[2:], tuple(call["kernel_shape"] or weight.shape[2:])
    stride, dilate = call["strides"] or (1,) * n, call["dilations"] or (1,) * n
    extra = call["output_padding"] or (0,) * n
    given = call["pads"] or (0,) * (2 * n)
    call.check(
        n > 0 and len(kernel) == len(stride) == len(dilate) == len(extra) == n == len(given) // 2,
        f"expected kernel, strides, dilations and output_padding of {n} numbers; given {kernel}, "
        f"{stride}, {dilate} and {extra}",
    )
    full = [
        (size - 1) * s + (k - 1) * d + 1
        for size, s, k, d in zip(spatial, stride, kernel, dilate, strict=True)
    ]
    before, after = list(given[:n]), list(given[n:])
    auto = call["auto_pad"]
    if "output_shape" in call or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = call["output_shape"] or [m * s for m, s in zip(spatial, stride, strict=True)]
        wanted = wanted[-n:]
        for axis in range(n):
            total = full[axis] + extra[axis] - wanted[axis]
            total = total if total > 0 else 0
            small, large = total // 2, total - total // 2
            upper = auto == "SAME_UPPER"
            before[axis], after[axis] = (small, large) if upper else (large, small)
        if "output_shape" in call:
            extra = [w + b + a - f for w, b, a, f in zip(wanted, before, after, full, strict=True)]
    elif auto == "VALID":
        before, after = [0] * n, [0] * n
    result = op.Deconvolution(
        x,
        weight,
        kernel=kernel,
        stride=tuple(stride),
        dilate=tuple(dilate),
        pad=tuple(before) if before == after and not any(extra) else (),
        num_filter=weight.shape[1] * call["group"],
        num_group=call["group"],
        no_bias=True,
    )
    if before != after or any(extra):
        lead = (0, 0)
        ends = [e - a for e, a in zip(extra, after, strict=True)]
        result = pad(result, (*lead, *(-b for b in before)), (*lead, *ends))
    if bias is not None:
        result = op.broadcast_add(result, reshape(bias, (1, bias.shape[0], *(1,) * n)))
    return result


@converts("DeformConv")
def deform_conv(
    call: Any,
    x: Value,
    weight: Value,
    offset: Value,
    bias: Value | None = None,
    mask: Value | None = None,
) -> Value:
    call.check(x.ndim == 4, f"expected 4 axes; given shape {x.shape}")
    geometry = geometry_of(call, x.shape[2:], call["kernel_shape"] or weight.shape[2:])
    x = _around(x, geometry)
    if mask is None:
        shape = (offset.shape[0], offset.shape[1] // 2, *offset.shape[2:])
        mask = op._full(shape=shape, value=1, dtype=x.dtype.name)
    return op._contrib_ModulatedDeformableConvolution(
        x,
        offset,
        mask,
        weight,
        bias,
        kernel=geometry.kernel,
        stride=geometry.stride,
        dilate=geometry.dilate,
        num_filter=weight.shape[0],
        num_group=call["group"],
        num_deformable_group=call["offset_group"],
        no_bias=bias is None,
    )


# --------------------------------------------------------------------------------- pooling


def windows(
    x: Value, geometry: Geometry, extents: Sequence[int], fill: float
) -> tuple[Value, tuple[int, ...]]:
    """What each window sees, on axes behind the others, which are named."""
    n = len(geometry.kernel)
    spread = unsqueeze(x, range(x.ndim, x.ndim + n))
    seen = op.broadcast_add(spread, op._full(shape=geometry.kernel, value=0, dtype=x.dtype.name))
    found = op._window(
        seen,
        stride=geometry.stride,
        dilate=geometry.dilate,
        pad=geometry.before,
        extents=tuple(extents),
        fill=fill,
    )
    return found, tuple(range(found.ndim - n, found.ndim))


def _extents(call: Any, spatial: Sequence[Any], geometry: Geometry) -> list[Any]:
    """How many windows there are; where they are rounded up, none begins behind the data."""
    found = []
    for axis, size in enumerate(spatial):
        reach, step = geometry.reach[axis], geometry.stride[axis]
        before, after = geometry.before[axis], geometry.after[axis]
        span = size + before + after - reach
        call.check(span >= 0, f"a window spans {reach} elements; the axis has {size}")
        count = (-(-span // step) if call["ceil_mode"] else span // step) + 1
        if call["ceil_mode"] and (count - 1) * step >= size + before:
            count -= 1
        found.append(count)
    return found


def _is_plain(call: Any, geometry: Geometry) -> bool:
    """Whether our pooling has windows like that."""
    return (
        geometry.is_even
        and set(geometry.dilate) == {1}
        and not call["ceil_mode"]
        and len(geometry.kernel) <= 3
    )


def _pool(call: Any, x: Value) -> tuple[Geometry, list[Any]]:
    call.check(x.ndim >= 3, f"expected 3 axes or more; given shape {x.shape}")
    geometry = geometry_of(call, x.shape[2:], call["kernel_shape"])
    return geometry, _extents(call, x.shape[2:], geometry)


@converts("MaxPool")
def max_pool(call: Any, x: Value) -> Any:
    geometry, extents = _pool(call, x)
    if _is_plain(call, geometry) and not call.wants(1) and x.dtype.is_float:
        return op.Pooling(
            x,
            kernel=geometry.kernel,
            stride=geometry.stride,
            pad=geometry.before,
            pool_type="max",
        )
    seen, axes = windows(x, geometry, extents, lowest(x.dtype.name))
    largest = op._reduce_max(seen, axes=axes)
    return (largest, _places(call, x, seen, geometry, extents)) if call.wants(1) else largest


def _places(call: Any, x: Value, seen: Value, geometry: Geometry, extents: Sequence[int]) -> Value:
    """Of the largest element of each window, the place among all elements of x."""
    spatial = x.shape[2:]
    order = op._iota(shape=(prod(spatial),), axis=0)
    if call["storage_order"]:
        backwards = tuple(reversed(range(len(spatial))))
        order = transpose(reshape(order, tuple(reversed(spatial))), backwards)
    order = reshape(order, spatial)
    where_, _ = windows(order, geometry, extents, -1)
    count = prod(geometry.kernel)
    first = op._reduce_argmax(reshape(seen, (*x.shape[:2], *extents, count)), axes=(x.ndim,))
    table = op._broadcast(
        reshape(where_, (1, 1, *extents, count)), shape=(*x.shape[:2], *extents, count)
    )
    place = op._pick(table, first, axis=x.ndim)
    planes = op._iota(shape=(prod(x.shape[:2]),), axis=0, step=prod(spatial))
    return op.broadcast_add(place, reshape(planes, (*x.shape[:2], *(1,) * len(spatial))))


def _counts(call: Any, geometry: Geometry, x: Value, extents: Sequence[int], inside: bool) -> Value:
    """How many elements each window has, those around the data included or not."""
    lines = []
    for axis, (size, count) in enumerate(zip(x.shape[2:], extents, strict=True)):
        kernel, step, dilate = (
            field[axis] for field in (geometry.kernel, geometry.stride, geometry.dilate)
        )
        call.check(count <= MOST_WINDOWS, f"{count} windows along axis {axis + 2} are too many")
        before, after = geometry.before[axis], geometry.after[axis]
        low, high = (0, size) if inside else (-before, size + after)
        first = np.arange(count) * step - before
        begin, end = (np.clip(-((first - edge) // dilate), 0, kernel) for edge in (low, high))
        line = (end - begin).astype(np.float32)
        lines.append(constant(line.reshape(-1, *(1,) * (len(extents) - 1 - axis)), x.dtype.name))
    return fold(op.broadcast_mul, lines)


@converts("AveragePool")
def average_pool(call: Any, x: Value) -> Value:
    geometry, extents = _pool(call, x)
    if _is_plain(call, geometry):
        return op.Pooling(
            x,
            kernel=geometry.kernel,
            stride=geometry.stride,
            pad=geometry.before,
            pool_type="avg",
            count_include_pad=bool(call["count_include_pad"]),
        )
    seen, axes = windows(x, geometry, extents, 0.0)
    total = op._reduce_sum(seen, axes=axes)
    counts = _counts(call, geometry, x, extents, not call["count_include_pad"])
    return op.broadcast_div(total, counts)


@converts("LpPool")
def lp_pool(call: Any, x: Value) -> Value:
    geometry, extents = _pool(call, x)
    p = call["p"]
    call.check(p >= 1, f"p: expected 1 or more; given {p}")
    raised = op.abs(x) if p == 1 else x * x if p == 2 else op.abs(x) ** float(p)
    seen, axes = windows(raised, geometry, extents, 0.0)
    total = op._reduce_sum(seen, axes=axes)
    return total if p == 1 else op.sqrt(total) if p == 2 else total ** (1 / p)


@converts("GlobalAveragePool")
def global_average_pool(_call: Any, x: Value) -> Value:
    return op.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@converts("GlobalMaxPool")
def global_max_pool(_call: Any, x: Value) -> Value:
    return op.max(x, axis=tuple(range(2, x.ndim)), keepdims=True)


@converts("GlobalLpPool")
def global_lp_pool(call: Any, x: Value) -> Value:
    p = float(call["p"])
    total = op.sum(op.abs(x) ** p, axis=tuple(range(2, x.ndim)), keepdims=True)
    return total ** (1 / p)


@converts("MaxUnpool", known=(2,))
def max_unpool(call: Any, x: Value, places: Value, shape: np.ndarray | None = None) -> Value:
    """Elements back to where the largest of each window was."""
    n = x.ndim - 2
    kernel, stride = call["kernel_shape"], call["strides"] or (1,) * n
    pads = call["pads"] or (0,) * (2 * n)
    own = [
        (size - 1) * s + k - pads[i] - pads[n + i]
        for i, (size, s, k) in enumerate(zip(x.shape[2:], stride, kernel, strict=True))
    ]
    whole = (*x.shape[:2], *own)
    flat = op._gather_nd_backward(
        reshape(x, (prod(x.shape),)),
        reshape(cast(places, "int64"), (1, prod(x.shape))),
        op._full(shape=(prod(whole),), value=0, dtype=x.dtype.name),
    )
    spread = reshape(flat, whole)
    if shape is None:
        return spread
    more = [n - m for n, m in zip(shape.tolist(), whole, strict=True)]
    return op.identity(pad(spread, (0,) * x.ndim, more))


@converts("LRN")
def lrn(call: Any, x: Value) -> Value:
    size, channels = call["size"], x.shape[1]
    call.check(0 < size, f"size: expected 1 or more; given {size}")
    if x.ndim == 4 and size % 2:
        return op.LRN(x, alpha=call["alpha"], beta=call["beta"], knorm=call["bias"], nsize=size)
    before = (size - 1) // 2
    rest = x.ndim - 2
    squares = unsqueeze(transpose(x * x, (0, *range(2, x.ndim), 1)), (x.ndim,))
    seen = op._window(
        op.broadcast_add(squares, op._full(shape=(size,), value=0, dtype=x.dtype.name)),
        stride=(1,),
        dilate=(1,),
        pad=(before,),
        extents=(channels,),
    )
    total = op._reduce_sum(seen, axes=(seen.ndim - 1,))
    total = transpose(total, (0, total.ndim - 1, *range(1, rest + 1)))
    return x / (total * (call["alpha"] / size) + call["bias"]) ** call["beta"]


@converts("Col2Im", known=(1, 2))
def col2im(call: Any, x: Value, image: np.ndarray, block: np.ndarray) -> Value:
    """Columns added back into a picture where their blocks lie."""
    sizes, kernel = image.tolist(), block.tolist()
    geometry = geometry_of(call, sizes, kernel)
    padded = [n + b + a for n, b, a in zip(sizes, geometry.before, geometry.after, strict=True)]
    counts = [
        (size - reach) // step + 1
        for size, reach, step in zip(padded, geometry.reach, geometry.stride, strict=True)
    ]
    n = len(kernel)
    channels = x.shape[1] // prod(kernel)
    cells = reshape(x, (x.shape[0], channels, *kernel, *counts))
    cells = transpose(cells, (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n)))
    found = op._unwindow(
        cells,
        stride=geometry.stride,
        dilate=geometry.dilate,
        pad=(0,) * n,
        size=tuple(padded),
    )
    total = op._reduce_sum(found, axes=tuple(range(found.ndim - n, found.ndim)))
    lead = (0, 0)
    return pad(
        total, (*lead, *(-b for b in geometry.before)), (*lead, *(-a for a in geometry.after))
    )


# ------------------------------------------------------------------------------- of regions


@converts("MaxRoiPool")
def max_roi_pool(call: Any, x: Value, rois: Value) -> Value:
    return op.ROIPooling(
        x, rois, pooled_size=tuple(call["pooled_shape"]), spatial_scale=call["spatial_scale"]
    )


@converts("RoiAlign")
def roi_align(call: Any, x: Value, rois: Value, batch: Value) -> Value:
    """Samples at even places of each region's cells, averaged or the largest taken."""
    rows, columns, ratio = call["output_height"], call["output_width"], call["sampling_ratio"]
    half = call["coordinate_transformation_mode"] == "half_pixel"
    if call.since < 16:
        half = False
    if call["mode"] == "avg":
        boxes = concat([unsqueeze(cast(batch, x.dtype.name), (1,)), rois], 1)
        return op._contrib_ROIAlign(
            x,
            boxes,
            pooled_size=(rows, columns),
            spatial_scale=call["spatial_scale"],
            sample_ratio=ratio if ratio > 0 else -1,
            aligned=half,
        )
    call.check(ratio > 0, "mode max: expected a sampling_ratio; given none")
    boxes = rois * call["spatial_scale"] - (0.5 if half else 0.0)
    samples = []
    for first, extent, cells in ((1, x.shape[2], rows), (0, x.shape[3], columns)):
        begin, end = (cut(boxes, 1, k, k + 1) for k in (first, first + 2))
        size = end - begin
        if not half:
            size = op.broadcast_maximum(size, number(1, size))
        steps = (op._iota(shape=(1, cells * ratio), axis=1, dtype=x.dtype.name) + 0.5) / ratio
        samples.append((begin + size / cells * steps, extent))
    return _largest_of_samples(x, batch, samples, rows, columns, ratio)


def _largest_of_samples(
    x: Value, batch: Value, samples: Sequence[Any], rows: int, columns: int, ratio: int
) -> Value:
    """Of each cell the largest of the four weighted neighbours of its samples."""
    (ys, height), (xs, width) = samples
    images = op.take(x, batch, axis=0, mode="clip")
    corners = []
    for places, extent in ((ys, height), (xs, width)):
        inside = op.broadcast_mul(
            op.broadcast_greater_equal(places, number(-1, places)),
            op.broadcast_lesser_equal(places, number(extent, places)),
        )
        held = op.clip(places, a_min=0.0, a_max=extent - 1.0)
        low = op.floor(held)
        high = op.clip(low + 1, a_min=0.0, a_max=extent - 1.0)
        corners.append(((low, (1 - (held - low)) * inside), (high, (held - low) * inside)))
    count, channels = images.shape[:2]
    total: Value | None = None
    for y, wy in corners[0]:
        for z, wz in corners[1]:
            at = op.broadcast_add(
                unsqueeze(cast(y, "int64"), (2,)) * width, unsqueeze(cast(z, "int64"), (1,))
            )
            flat = reshape(images, (count, channels, height * width))
            shape = (count, channels, prod(at.shape[1:]))
            index = op._broadcast(reshape(at, (count, 1, shape[2])), shape=shape)
            found = op._take_along(flat, index, axis=2)
            weight = op.broadcast_mul(unsqueeze(wy, (2,)), unsqueeze(wz, (1,)))
            term = op.broadcast_mul(found, reshape(weight, (count, 1, shape[2])))
            total = term if total is None else op.broadcast_maximum(total, term)
    assert total is not None
    cells = reshape(total, (count, channels, rows, ratio, columns, ratio))
    return op._reduce_max(cells, axes=(3, 5))
