"""Pooling: a reduction over windows, which are a view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.creation import _iota
from tigon.ops.elementwise import (
    absolute,
    add,
    cast,
    divide,
    equal,
    maximum,
    minimum,
    multiply,
    power,
    sqrt,
    square,
    subtract,
    where,
)
from tigon.ops.nn._shared import (
    Windows,
    along_shape,
    channels_last,
    float_data,
    inverse_count,
    to_channels_first,
    to_channels_last,
    unwindows,
    windows,
)
from tigon.ops.record import attrs_dict, composite
from tigon.ops.reduction import _reduce_argmax, _reduce_max, _reduce_sum
from tigon.ops.views import _reshape


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolingAttrs:
    kernel: tuple[int, ...] = ()
    pool_type: str = "max"
    global_pool: bool = False
    cudnn_off: bool = False
    pooling_convention: str = "valid"
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    p_value: int | None = None
    count_include_pad: bool | None = None
    layout: str | None = None


_TYPES = ("max", "avg", "sum", "lp")
_CONVENTIONS = ("valid", "full", "same")


def _is_last(attrs: PoolingAttrs, ndim: int) -> bool:
    return channels_last("Pooling", attrs.layout, ndim - 2)


def _geometry(attrs: PoolingAttrs, spatial: Shape) -> tuple[Windows, Shape]:
    """The windows and how many there are along each axis."""
    name = "Pooling"
    if attrs.global_pool:
        return Windows.of(name, spatial), (1,) * len(spatial)
    geometry = Windows.of(name, attrs.kernel, attrs.stride, (), attrs.pad)
    check(
        len(attrs.kernel) == len(spatial),
        name,
        f"kernel: expected {len(spatial)} extents for data with {len(spatial)} spatial axes; "
        f"given {attrs.kernel}",
    )
    if attrs.pooling_convention == "valid":
        return geometry, geometry.extents(name, spatial)
    extents = []
    for size, k, s, p in zip(spatial, geometry.kernel, geometry.stride, geometry.pad, strict=True):
        if attrs.pooling_convention == "same":
            extents.append(-(-(size + 2 * p) // s))
            continue
        check(
            size + 2 * p >= k,
            name,
            f"a window spans {k} elements, but the axis has {size} and padding {p} on either "
            "side; use a smaller kernel or more padding",
        )
        extents.append(-(-(size + 2 * p - k) // s) + 1)
    return geometry, tuple(extents)


def _infer(attrs: PoolingAttrs, data: TensorType) -> TensorType:
    name = "Pooling"
    check(
        attrs.pool_type in _TYPES,
        name,
        f"pool_type: expected one of {', '.join(_TYPES)}; given '{attrs.pool_type}'",
    )
    check(
        attrs.pooling_convention in _CONVENTIONS,
        name,
        f"pooling_convention: expected one of {', '.join(_CONVENTIONS)}; "
        f"given '{attrs.pooling_convention}'",
    )
    check(
        3 <= data.ndim <= 5,
        name,
        f"data: expected 3, 4 or 5 axes (batch, channels, spatial); given {data.shape}",
    )
    check(
        attrs.global_pool or attrs.kernel,
        name,
        "kernel is missing; give it, or set global_pool=True",
    )
    if attrs.pool_type != "max":
        float_data(name, data)
    if attrs.pool_type == "lp":
        check(
            attrs.p_value is not None and attrs.p_value >= 1,
            name,
            f"p_value: expected at least 1 for pool_type 'lp'; given {attrs.p_value}",
        )
    last = _is_last(attrs, data.ndim)
    spatial = data.shape[1:-1] if last else data.shape[2:]
    _, extents = _geometry(attrs, spatial)
    channels = data.shape[-1] if last else data.shape[1]
    if last:
        return TensorType((data.shape[0], *extents, channels), data.dtype)
    return TensorType((data.shape[0], channels, *extents), data.dtype)


# ----------------------------------------------------------------------- decomposition


def _kernel_axes(x: Value, n: int) -> tuple[int, ...]:
    return tuple(range(x.ndim - n, x.ndim))


def _least(x: Value) -> float:
    return -np.inf if x.dtype.is_float else float(np.iinfo(x.dtype.numpy).min)


def _reduced(attrs: PoolingAttrs, found: Value, axes: Shape, divisor: Value | float) -> Value:
    """From the windows to the result."""
    if attrs.pool_type == "max":
        return _reduce_max(found, axes=axes)
    if attrs.pool_type == "lp":
        assert attrs.p_value is not None
        if attrs.p_value == 1:
            return _reduce_sum(absolute(found), axes=axes)
        if attrs.p_value == 2:
            return sqrt(_reduce_sum(square(found), axes=axes))
        total = _reduce_sum(power(absolute(found), float(attrs.p_value)), axes=axes)
        return power(total, 1.0 / attrs.p_value)
    total = _reduce_sum(found, axes=axes)
    if attrs.pool_type == "sum":
        return total
    return multiply(total, divisor) if isinstance(divisor, float) else divide(total, divisor)


def _divisor(attrs: PoolingAttrs, x: Value, geometry: Windows, extents: Shape) -> Value | float:
    """What the sum over a window is multiplied with, if it is the same for all windows, or divided
    by: the number of elements, which shrinks where a window hangs over the edge."""
    spatial = x.shape[2:]
    include = attrs.count_include_pad is not False
    whole = all(
        (include or p == 0) and (e - 1) * s + k <= size + 2 * p
        for e, s, k, size, p in zip(
            extents, geometry.stride, geometry.kernel, spatial, geometry.pad, strict=True
        )
    )
    if whole:
        return inverse_count(int(np.prod(geometry.kernel)))
    counts: Value | None = None
    for axis, (e, s, k, size, p) in enumerate(
        zip(extents, geometry.stride, geometry.kernel, spatial, geometry.pad, strict=True), 2
    ):
        begin = _iota(
            shape=along_shape(e, axis, x.ndim), axis=axis, start=-p, step=s, dtype="int64"
        )
        end = minimum(add(begin, k), size + p)
        along = subtract(end, begin) if include else subtract(minimum(end, size), maximum(begin, 0))
        counts = along if counts is None else multiply(counts, along)
    assert counts is not None
    return cast(counts, dtype=x.dtype.name)


def _decompose(attrs: PoolingAttrs, data: Value) -> Value:
    last = _is_last(attrs, data.ndim)
    n = data.ndim - 2
    if attrs.global_pool:
        axes = tuple(range(1, n + 1)) if last else tuple(range(2, n + 2))
        spatial = [data.shape[axis] for axis in axes]
        y = _reduced(attrs, data, axes, inverse_count(int(np.prod(spatial))))
        kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(data.shape))
        return _reshape(y, shape=kept)
    x = to_channels_first(data) if last else data
    geometry, extents = _geometry(attrs, x.shape[2:])
    fill = _least(x) if attrs.pool_type == "max" else 0.0
    found = windows(x, geometry, extents, fill=fill)
    divisor = _divisor(attrs, x, geometry, extents) if attrs.pool_type == "avg" else 1.0
    y = _reduced(attrs, found, _kernel_axes(found, n), divisor)
    return to_channels_last(y) if last else y


# ----------------------------------------------------------------- gradient of maxima


def _places(shape: Shape, n: int) -> Value:
    """The position within the flattened trailing `n` axes, laid over them."""
    step = 1
    total: Value | None = None
    for axis in reversed(range(len(shape) - n, len(shape))):
        along = _iota(
            shape=along_shape(shape[axis], axis, len(shape)), axis=axis, step=step, dtype="int64"
        )
        total = along if total is None else add(total, along)
        step *= shape[axis]
    assert total is not None
    return total


def _decompose_max_gradient(attrs: PoolingAttrs, g: Value, data: Value) -> Value:
    """Each element gathers the cotangents of the windows whose first maximum it is."""
    last = _is_last(attrs, data.ndim)
    n = data.ndim - 2
    x = to_channels_first(data) if last else data
    cotangent = to_channels_first(g) if last else g
    if attrs.global_pool:
        axes = tuple(range(2, n + 2))
        chosen = _reshape(_reduce_argmax(x, axes=axes), shape=cotangent.shape)
        result = where(equal(_places(x.shape, n), chosen), cotangent, 0.0)
    else:
        geometry, extents = _geometry(attrs, x.shape[2:])
        found = windows(x, geometry, extents, fill=_least(x))
        chosen = _reduce_argmax(found, axes=_kernel_axes(found, n))
        spread = unwindows(cotangent, geometry, x.shape[2:])
        at = unwindows(chosen, geometry, x.shape[2:])
        hit = equal(_places(spread.shape, n), at)
        result = _reduce_sum(where(hit, spread, 0.0), axes=_kernel_axes(spread, n))
    return to_channels_last(result) if last else result


def _max_gradient_oracle(g: np.ndarray, data: np.ndarray, **fields: Any) -> np.ndarray:
    result = np.zeros_like(data)
    x, y = _channels_first(data, fields), _channels_first(g, fields)
    into = _channels_first(result, fields)
    geometry, _ = _geometry(PoolingAttrs(**fields), x.shape[2:])
    for index in np.ndindex(*y.shape):
        window = _inside(geometry, index[2:], x.shape[2:])
        best = max(window, key=lambda place, index=index: x[index[:2] + place])
        into[index[:2] + best] += y[index]
    return result


pooling_max_gradient = composite(
    "_backward_Pooling_max",
    _decompose_max_gradient,
    operands="g data",
    attrs=PoolingAttrs,
    infer=lambda attrs, g, data: TensorType(data.shape, g.dtype),
    numpy=_max_gradient_oracle,
    samples=[
        ((2, 3, 2, 2), (2, 3, 4, 5), {"kernel": (2, 2), "stride": (2, 2)}),
        ((1, 2, 3, 3), (1, 2, 5, 5), {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}),
        ((2, 3, 1, 1), (2, 3, 4, 5), {"global_pool": True}),
        ((1, 3, 2, 2), (1, 4, 3, 2), {"kernel": (2, 2), "layout": "NHWC"}),
    ],
    doc="""The cotangent of the data of max pooling: each window gives its own to its first maximum.

Parameters
----------
g : cotangent of the pooled
data : what was pooled

Examples
--------
>>> nd._backward_Pooling_max(nd.ones((1, 1, 1)), nd.array([[[1, 3, 2]]]), global_pool=True)
<BLANKLINE>
[[[0. 1. 0.]]]
<NDArray 1x1x3 @cpu(0)>
""",
)


# ----------------------------------------------------------------------------- oracle


def _channels_first(array: np.ndarray, fields: dict[str, Any]) -> np.ndarray:
    return np.moveaxis(array, -1, 1) if fields["layout"] in ("NWC", "NHWC", "NDHWC") else array


def _inside(geometry: Windows, window: Shape, spatial: Shape) -> list[Shape]:
    """The elements of one window that exist."""
    places = []
    for k in np.ndindex(*geometry.kernel):
        place = tuple(
            o * s + d - p
            for o, s, d, p in zip(window, geometry.stride, k, geometry.pad, strict=True)
        )
        if all(0 <= at < size for at, size in zip(place, spatial, strict=True)):
            places.append(place)
    return places


def pooling_oracle(data: np.ndarray, **fields: Any) -> np.ndarray:
    """By a loop over windows."""
    attrs = PoolingAttrs(**fields)
    x = _channels_first(data, fields)
    spatial = x.shape[2:]
    geometry, extents = _geometry(attrs, spatial)
    y = np.zeros((*x.shape[:2], *extents), data.dtype)
    for window in np.ndindex(*extents):
        places = _inside(geometry, window, spatial)
        values = np.array([x[(slice(None), slice(None), *place)] for place in places])
        into = (slice(None), slice(None), *window)
        if attrs.pool_type == "max":
            y[into] = values.max(axis=0)
        elif attrs.pool_type == "lp":
            assert attrs.p_value is not None
            y[into] = (np.abs(values) ** attrs.p_value).sum(axis=0) ** (1 / attrs.p_value)
        elif attrs.pool_type == "sum":
            y[into] = values.sum(axis=0)
        else:
            count = 1
            for o, s, k, p, size in zip(
                window, geometry.stride, geometry.kernel, geometry.pad, spatial, strict=True
            ):
                count *= min(o * s - p + k, size + p) - (o * s - p)
            if attrs.count_include_pad is False:
                count = len(places)
            y[into] = values.sum(axis=0) / count
    return np.moveaxis(y, 1, -1) if x is not data else y


# ---------------------------------------------------------------------------- records


def _grad_max(attrs: PoolingAttrs, g: Value, y: Value, data: Value) -> tuple:
    return (pooling_max_gradient(g, data, **attrs_dict(attrs)),)


pooling_max = composite(
    "_pooling_max",
    _decompose,
    attrs=PoolingAttrs,
    infer=_infer,
    grad=_grad_max,
    numpy=pooling_oracle,
    samples=[((1, 2, 5), {"kernel": (2,), "stride": (2,)})],
    doc="""`Pooling` with pool_type 'max', whose cotangent goes to the first maximum of each window.

Examples
--------
>>> nd.Pooling(nd.array([[[1, 3, 2]]]), kernel=(2,))
<BLANKLINE>
[[[3. 3.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)


def _by_type(attrs: PoolingAttrs, data: Value) -> Value:
    # Sums, averages and norms are differentiated through their decomposition.
    return (
        pooling_max(data, **attrs_dict(attrs))
        if attrs.pool_type == "max"
        else _decompose(attrs, data)
    )


pooling = composite(
    "Pooling",
    _by_type,
    attrs=PoolingAttrs,
    infer=_infer,
    numpy=pooling_oracle,
    samples=[
        ((2, 3, 7), {"kernel": (3,), "stride": (2,)}),
        ((2, 3, 4, 6), {"kernel": (2, 2), "stride": (2, 2)}),
        ((1, 2, 5, 6), {"kernel": (3, 2), "stride": (2, 2), "pad": (1, 0)}),
        ((1, 2, 6, 6), {"kernel": (3, 3), "stride": (2, 2), "pooling_convention": "full"}),
        ((1, 2, 5), {"kernel": (2,), "stride": (2,), "pooling_convention": "same"}),
        ((1, 2, 3, 4, 3), {"kernel": (2, 2, 2)}),
        ((2, 3, 4, 5), {"global_pool": True}),
        ((2, 3, 4, 5), {"global_pool": True, "pool_type": "avg", "layout": "NHWC"}),
        ((2, 2, 5, 4), {"kernel": (2, 2), "stride": (2, 2), "pool_type": "avg"}),
        ((1, 2, 5, 4), {"kernel": (3, 3), "pad": (1, 1), "pool_type": "avg"}),
        (
            (1, 2, 6, 4),
            {
                "kernel": (3, 3),
                "stride": (2, 2),
                "pad": (1, 1),
                "pool_type": "avg",
                "pooling_convention": "full",
                "count_include_pad": False,
            },
        ),
        (
            (1, 2, 6, 5),
            {"kernel": (3, 3), "stride": (2, 3), "pool_type": "avg", "pooling_convention": "full"},
        ),
        ((1, 2, 5), {"kernel": (2,), "pool_type": "sum"}),
        ((1, 2, 5), {"kernel": (2,), "pool_type": "lp", "p_value": 2}),
        ((1, 2, 5), {"kernel": (3,), "pool_type": "lp", "p_value": 3}),
        ((1, 4, 5, 3), {"kernel": (2, 3), "layout": "NHWC"}),
    ],
    doc="""One number for each window over the spatial axes.

Parameters
----------
data : (batch, channels, *spatial) by default, see `layout`; one, two or three spatial axes
kernel : extents of the window; not needed with `global_pool`
pool_type : 'max', 'avg', 'sum', or 'lp', the `p_value`-norm
global_pool : one window over everything
pooling_convention : how many windows there are: 'valid' those that fit, 'full' also a last one
    that hangs over the edge, 'same' one per stride
stride, pad : step between windows, elements around the data that no maximum and no sum sees
count_include_pad : whether the average counts the padding (default True)
layout : 'NCW', 'NCHW', 'NCDHW' (default) or 'NWC', 'NHWC', 'NDHWC'
cudnn_off : accepted for old programs and without meaning here

Examples
--------
>>> x = nd.array([[[[1, 2], [3, 4]]]])
>>> nd.Pooling(x, kernel=(2, 2), pool_type="max")
<BLANKLINE>
[[[[4.]]]]
<NDArray 1x1x1x1 @cpu(0)>
>>> nd.Pooling(x, kernel=(2, 2), pool_type="avg")
<BLANKLINE>
[[[[2.5]]]]
<NDArray 1x1x1x1 @cpu(0)>
""",
)
