"""Pooling: a reduction over windows, which are a view."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen, replace
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import (
    Phases,
    Windows,
    along_shape,
    channels_last,
    inverse_count,
    keep,
    to_channels_first,
    to_channels_last,
    windows,
)
from tigon.ops.primitive.arithmetic import (
    absolute,
    add,
    divide,
    maximum,
    minimum,
    multiply,
    square,
    subtract,
)
from tigon.ops.primitive.choose import cast, where
from tigon.ops.primitive.compare import equal, greater_equal, lesser
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.functions import power, sqrt
from tigon.ops.primitive.reduce import _reduce_argmax, _reduce_max, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, _slice, transpose
from tigon.ops.record import Operator, composite


class PoolingAttrs(Frozen, kw_only=True):
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
_CONVENTIONS = ("valid", "full", "same", "clipped")


def _is_last(attrs: PoolingAttrs, ndim: int) -> bool:
    return channels_last("Pooling", attrs.layout, ndim - 2)


def _geometry(attrs: PoolingAttrs, spatial: Shape) -> tuple[Windows, Shape]:
    """The windows and how many there are along each axis."""
    if attrs.global_pool:
        return Windows.of("Pooling", spatial), (1,) * len(spatial)
    given = Windows.of("Pooling", attrs.kernel, attrs.stride, (), attrs.pad)
    extents = _extents(attrs, given, spatial)
    return given.striding_alone(extents), extents


def _extents(attrs: PoolingAttrs, geometry: Windows, spatial: Shape) -> Shape:
    name = "Pooling"
    check(
        len(attrs.kernel) == len(spatial),
        name,
        f"kernel: expected {len(spatial)} extents for data with {len(spatial)} spatial axes; "
        f"given {attrs.kernel}",
    )
    if attrs.pooling_convention == "valid":
        return geometry.extents(name, spatial)
    extents = []
    for size, k, s, p in zip(spatial, geometry.kernel, geometry.stride, geometry.pad, strict=True):
        if attrs.pooling_convention == "same":
            extents.append(-(-(size + 2 * p) // s))
            continue
        if attrs.pooling_convention == "clipped":
            count = -(-(size + 2 * p - k) // s) + 1
            check(
                count >= 1 and p < k,
                name,
                f"a window spans {k} elements with step {s}, but the axis has {size} and padding "
                f"{p} on either side; use a smaller kernel, and padding smaller than that",
            )
            extents.append(count - 1 if (count - 1) * s >= size + p else count)
            continue
        check(
            size + 2 * p >= k,
            name,
            f"a window spans {k} elements, but the axis has {size} and padding {p} on either "
            "side; use a smaller kernel or more padding",
        )
        extents.append(-(-(size + 2 * p - k) // s) + 1)
    return tuple(extents)


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


def _trailing(x: Value, n: int) -> tuple[int, ...]:
    return tuple(range(x.ndim - n, x.ndim))


def _least(x: Value) -> float:
    return -np.inf if x.dtype.is_float else float(np.iinfo(x.dtype.numpy).min)


def _channels_last_view(found: Value, n: int) -> Value:
    """(batch, channels, *windows, *kernel) with the channels behind the windows: moving them before
    the reduction costs nothing, behind it a copy."""
    return transpose(found, axes=(0, *range(2, n + 2), 1, *_trailing(found, n)))


def _seen(attrs: PoolingAttrs, data: Value, fill: float) -> tuple[Value, tuple[int, ...]]:
    """What the windows see, with the axes to reduce; the axes that stay have the result's order."""
    last = _is_last(attrs, data.ndim)
    n = data.ndim - 2
    x = to_channels_first(data) if last else data
    geometry, extents = _geometry(attrs, x.shape[2:])
    tiled = geometry.kernel == geometry.stride and not any(geometry.pad)
    fits = tuple(e * k for e, k in zip(extents, geometry.kernel, strict=True))
    if not tiled or any(f > size for f, size in zip(fits, x.shape[2:], strict=True)):
        found = windows(x, geometry, extents, fill=fill)
        found = _channels_last_view(found, n) if last else found
        return found, _trailing(found, n)
    # Windows that do not overlap are a reshape: its gradient is one, too.
    if fits != x.shape[2:]:
        x = _slice(x, start=(0,) * x.ndim, step=(1,) * x.ndim, extents=(*x.shape[:2], *fits))
    cut = [part for pair in zip(extents, geometry.kernel, strict=True) for part in pair]
    cells = _reshape(x, shape=(*x.shape[:2], *cut))
    axes = tuple(range(3, 2 * n + 3, 2))
    if last:
        cells = transpose(cells, axes=(0, *range(2, 2 * n + 2), 1))
        axes = tuple(axis - 1 for axis in axes)
    return cells, axes


def _divisor(attrs: PoolingAttrs, data: Value) -> Value | float:
    """What the sum over a window is multiplied with, if it is the same for all windows, or divided
    by: the number of elements, which shrinks where a window hangs over the edge."""
    last = _is_last(attrs, data.ndim)
    spatial = data.shape[1:-1] if last else data.shape[2:]
    geometry, extents = _geometry(attrs, spatial)
    include = attrs.count_include_pad is not False
    rows = list(zip(extents, geometry.stride, geometry.kernel, spatial, geometry.pad, strict=True))
    if all((include or p == 0) and (e - 1) * s + k <= n + 2 * p for e, s, k, n, p in rows):
        return inverse_count(prod(geometry.kernel))
    counts: Value | None = None
    for axis, (e, s, k, n, p) in enumerate(rows, 1 if last else 2):
        shape = along_shape(e, axis, data.ndim)
        begin = _iota(shape=shape, axis=axis, start=-p, step=s, dtype="int64")
        end = minimum(add(begin, k), n + p)
        if not include:
            begin, end = maximum(begin, 0), minimum(end, n)
        along = subtract(end, begin)
        counts = along if counts is None else multiply(counts, along)
    assert counts is not None
    return cast(counts, dtype=data.dtype.name)


def _summed(attrs: PoolingAttrs, x: Value) -> Value:
    """The sum over each window."""
    return pooling_sum(x, **(attrs_dict(attrs) | {"pool_type": "sum"}))


def _decompose(attrs: PoolingAttrs, data: Value) -> Value:
    if attrs.pool_type == "max":
        return pooling_max(data, **attrs_dict(attrs))
    if attrs.pool_type == "lp":
        assert attrs.p_value is not None
        if attrs.p_value == 1:
            return _summed(attrs, absolute(data))
        if attrs.p_value == 2:
            return sqrt(_summed(attrs, square(data)))
        total = _summed(attrs, power(absolute(data), float(attrs.p_value)))
        return power(total, 1.0 / attrs.p_value)
    total = _summed(attrs, data)
    if attrs.pool_type == "sum":
        return total
    divisor = _divisor(attrs, data)
    return divide(total, divisor) if isinstance(divisor, Value) else multiply(total, divisor)


def _reduced(attrs: PoolingAttrs, data: Value, reduce: Any, fill: float) -> Value:
    if attrs.global_pool:
        last = _is_last(attrs, data.ndim)
        n = data.ndim - 2
        return keep(reduce, data, tuple(range(1, n + 1)) if last else tuple(range(2, n + 2)))
    found, axes = _seen(attrs, data, fill)
    return reduce(found, axes=axes)


# --------------------------------------------------------------------------- gradients


def _from_cells(attrs: PoolingAttrs, x: Value, phases: Phases) -> Value:
    """(batch, channels, cells and phases in turn) to the shape of data."""
    result = phases.woven(x, 2)
    return to_channels_last(result) if _is_last(attrs, result.ndim) else result


_FEW = 9
"""So many windows per element are added one by one, in one elementwise kernel; more are reduced."""


def _choices(phases: Phases) -> list[tuple[int, ...]] | None:
    """The places along the count axes, if there are few."""
    return list(np.ndindex(*phases.count)) if prod(phases.count) <= _FEW else None


def _spread_phases(x: Value, n: int, choice: tuple[int, ...] | None) -> Value:
    """(..., *cells, *count) with an axis of extent 1 for the phase behind each cell axis; count
    axes stay, or one place along them is taken."""
    head, cells, count = x.shape[:2], x.shape[2 : n + 2], x.shape[n + 2 :]
    paired = [part for extent in cells for part in (extent, 1)]
    if choice is None:
        return _reshape(x, shape=(*head, *paired, *count))
    taken = _slice(
        x,
        start=(*(0,) * (n + 2), *choice),
        step=(1,) * x.ndim,
        extents=(*x.shape[: n + 2], *(1,) * n),
    )
    return _reshape(taken, shape=(*head, *paired))


def _places(phases: Phases, axis: int, n: int, choice: tuple[int, ...] | None, dtype: str) -> Value:
    """The place k = r + j * stride in the kernel along one axis, over its phase axis, and its count
    axis if that stays; there j runs backwards."""
    s, j = phases.stride[axis], phases.count[axis]
    ndim = 2 + 2 * n if choice is not None else 2 + 3 * n
    first = 0 if choice is None else (j - 1 - choice[axis]) * s
    phase = 3 + 2 * axis
    r = _iota(shape=along_shape(s, phase, ndim), axis=phase, start=first, dtype=dtype)
    if choice is not None:
        return r
    count = 2 + 2 * n + axis
    steps = _iota(
        shape=along_shape(j, count, ndim), axis=count, start=(j - 1) * s, step=-s, dtype=dtype
    )
    return add(r, steps)


def _gathered(
    attrs: PoolingAttrs,
    phases: Phases,
    n: int,
    term: Callable[[tuple[int, ...] | None], Value],
) -> Value:
    """The sum over the windows that an element is in; `term` gives one place along the count axes,
    or all of them."""
    choices = _choices(phases)
    if choices is None:
        terms = term(None)
        return _from_cells(attrs, _reduce_sum(terms, axes=_trailing(terms, n)), phases)
    total: Value | None = None
    for choice in choices:
        part = term(choice)
        total = part if total is None else add(total, part)
    assert total is not None
    return _from_cells(attrs, total, phases)


def _first_channels(attrs: PoolingAttrs, x: Value) -> Value:
    return to_channels_first(x) if _is_last(attrs, x.ndim) else x


def _decompose_sum_gradient(attrs: PoolingAttrs, g: Value, data: Value) -> Value:
    """Each element gathers the cotangents of the windows that it is in."""
    if attrs.global_pool:
        return _broadcast(g, shape=data.shape)
    n = data.ndim - 2
    x, cotangent = _first_channels(attrs, data), _first_channels(attrs, g)
    geometry, _ = _geometry(attrs, x.shape[2:])
    phases = Phases.of(geometry, x.shape[2:])
    seen = phases.windows(cotangent)
    full = (*seen.shape[:2], *_paired(phases))

    def term(choice: tuple[int, ...] | None) -> Value:
        count = phases.count if choice is None else ()
        terms = _broadcast(_spread_phases(seen, n, choice), shape=(*full, *count))
        for axis, (k, whole) in enumerate(zip(geometry.kernel, phases.whole, strict=True)):
            if k < whole:  # the last stride of the kernel is not a whole one
                inside = lesser(_places(phases, axis, n, choice, x.dtype.name), float(k))
                terms = where(inside, terms, 0.0)
        return terms

    return _gathered(attrs, phases, n, term)


def _paired(phases: Phases) -> list[int]:
    return [part for pair in zip(phases.cells, phases.stride, strict=True) for part in pair]


def _decompose_max_gradient(attrs: PoolingAttrs, g: Value, data: Value) -> Value:
    """Each element gathers the cotangents of the windows whose first maximum it is."""
    n = data.ndim - 2
    x, cotangent = _first_channels(attrs, data), _first_channels(attrs, g)
    dtype = x.dtype.name  # positions in a kernel are small: floats hold them exactly
    if attrs.global_pool:
        count = prod(x.shape[2:])
        dtype = dtype if count < 2**24 else "int64"
        at = _reduce_argmax(x, axes=tuple(range(2, n + 2)))
        at = _reshape(at if dtype == "int64" else cast(at, dtype=dtype), shape=cotangent.shape)
        own = _reshape(_iota(shape=(count,), axis=0, dtype=dtype), shape=(1, 1, *x.shape[2:]))
        result = where(equal(own, at), cotangent, 0.0)
        return to_channels_last(result) if _is_last(attrs, data.ndim) else result
    geometry, _ = _geometry(attrs, x.shape[2:])
    phases = Phases.of(geometry, x.shape[2:])
    found, axes = _seen(_with_channels_first(attrs), x, _least(x))
    at = cast(_reduce_argmax(found, axes=axes), dtype=dtype)
    best, seen = phases.windows(at, fill=-1.0), phases.windows(cotangent)

    def term(choice: tuple[int, ...] | None) -> Value:
        own: Value | None = None
        step = 1
        outside: list[Value] = []
        for axis in reversed(range(n)):
            place = _places(phases, axis, n, choice, dtype)
            if geometry.kernel[axis] < phases.whole[axis]:
                outside.append(greater_equal(place, float(geometry.kernel[axis])))
            place = multiply(place, float(step))
            own = place if own is None else add(own, place)
            step *= geometry.kernel[axis]
        assert own is not None
        for places in outside:  # no window has its maximum there, nor at a number so large
            own = where(places, float(prod(geometry.kernel)), own)
        chosen = equal(_spread_phases(best, n, choice), own)
        return where(chosen, _spread_phases(seen, n, choice), 0.0)

    return _gathered(attrs, phases, n, term)


def _with_channels_first(attrs: PoolingAttrs) -> PoolingAttrs:
    return replace(attrs, layout=None)


def _infer_gradient(attrs: PoolingAttrs, g: TensorType, data: TensorType) -> TensorType:
    return TensorType(data.shape, g.dtype)


def _max_gradient_oracle(g: np.ndarray, data: np.ndarray, **fields: Any) -> np.ndarray:
    result = np.zeros_like(data)
    x, y = _channels_first(data, fields), _channels_first(g, fields)
    into = _channels_first(result, fields)
    geometry, _ = _geometry(PoolingAttrs(**fields), x.shape[2:])
    for index in np.ndindex(*y.shape):
        window = _inside(geometry, index[2:], x.shape[2:])
        best = window[int(np.argmax([x[index[:2] + place] for place in window]))]
        into[index[:2] + best] += y[index]
    return result


pooling_max_gradient: Operator = composite(
    "_backward_Pooling_max",
    _decompose_max_gradient,
    operands="g data",
    attrs=PoolingAttrs,
    dtypes="fiu",
    infer=_infer_gradient,
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


def _sum_gradient_oracle(g: np.ndarray, data: np.ndarray, **fields: Any) -> np.ndarray:
    result = np.zeros_like(data)
    y, into = _channels_first(g, fields), _channels_first(result, fields)
    geometry, _ = _geometry(PoolingAttrs(**fields), into.shape[2:])
    for index in np.ndindex(*y.shape):
        for place in _inside(geometry, index[2:], into.shape[2:]):
            into[index[:2] + place] += y[index]
    return result


pooling_sum_gradient: Operator = composite(
    "_backward_Pooling_sum",
    _decompose_sum_gradient,
    operands="g like",
    attrs=PoolingAttrs,
    dtypes="f",
    infer=_infer_gradient,
    grad=lambda attrs, h, y, g, data: (pooling_sum(h, **attrs_dict(attrs)), None),
    numpy=_sum_gradient_oracle,
    samples=[
        ((2, 3, 2, 2), (2, 3, 4, 5), {"kernel": (2, 2), "stride": (2, 2), "pool_type": "sum"}),
        (
            (1, 2, 3, 3),
            (1, 2, 5, 5),
            {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "pool_type": "sum"},
        ),
        ((1, 2, 2), (1, 2, 7), {"kernel": (3,), "stride": (4,), "pool_type": "sum"}),
        ((1, 4, 2, 2), (1, 5, 4, 2), {"kernel": (2, 3), "layout": "NHWC", "pool_type": "sum"}),
    ],
    doc="""The cotangent of what sum pooling pooled: each window gives its own to all its elements.

Parameters
----------
g : cotangent of the pooled
like : what was pooled, of which only the shape counts

Examples
--------
>>> g = nd.ones((1, 1, 2))
>>> nd._backward_Pooling_sum(g, nd.zeros((1, 1, 3)), kernel=(2,), pool_type="sum")
<BLANKLINE>
[[[1. 2. 1.]]]
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
        spots: list[Any] = [(slice(None), slice(None), *place) for place in places]
        values = np.array([x[spot] for spot in spots])
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


pooling_max: Operator = composite(
    "_pooling_max",
    lambda attrs, data: _reduced(attrs, data, _reduce_max, _least(data)),
    attrs=PoolingAttrs,
    dtypes="fiu",
    infer=_infer,
    grad=lambda attrs, g, y, data: (pooling_max_gradient(g, data, **attrs_dict(attrs)),),
    numpy=pooling_oracle,
    samples=[((1, 2, 5), {"kernel": (2,), "stride": (2,)}), ((1, 2, 7), {"kernel": (7,)})],
    doc="""`Pooling` with pool_type 'max', whose cotangent goes to the first maximum of each window.

Examples
--------
>>> nd.Pooling(nd.array([[[1, 3, 2]]]), kernel=(2,))
<BLANKLINE>
[[[3. 3.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)

pooling_sum: Operator = composite(
    "_pooling_sum",
    lambda attrs, data: _reduced(attrs, data, _reduce_sum, 0.0),
    attrs=PoolingAttrs,
    dtypes="f",
    infer=_infer,
    grad=lambda attrs, g, y, data: (pooling_sum_gradient(g, data, **attrs_dict(attrs)),),
    numpy=pooling_oracle,
    samples=[
        ((1, 2, 5), {"kernel": (2,), "stride": (2,), "pool_type": "sum"}),
        ((1, 2, 5, 4), {"kernel": (3, 3), "pad": (1, 1), "pool_type": "sum"}),
        ((1, 2, 7, 3), {"kernel": (7, 2), "pool_type": "sum"}),
    ],
    doc="""`Pooling` with pool_type 'sum'.

Examples
--------
>>> nd.Pooling(nd.array([[[1, 3, 2]]]), kernel=(2,), pool_type="sum")
<BLANKLINE>
[[[4. 5.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)

pooling = composite(
    "Pooling",
    _decompose,
    attrs=PoolingAttrs,
    dtypes=lambda attrs: "fiu" if attrs.pool_type == "max" else "f",
    infer=_infer,
    numpy=pooling_oracle,
    aliases=("Pooling_v1",),
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
        ((1, 2, 5), {"kernel": (2,), "stride": (2,), "pad": (1,), "pooling_convention": "clipped"}),
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
    that hangs over the edge, 'same' one per stride, 'clipped' those of 'full' that begin before the
    padding behind the data ends (Caffe's rule, for kernels larger than the data, too)
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
