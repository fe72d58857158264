"""Sliding windows over the last axes, and their adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.view import Coords, Read, _all
from tigon.ops.record import Family, Operator, composite, primitive


class WindowAttrs(Frozen):
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]
    extents: tuple[int, ...]
    fill: float = 0.0


class UnwindowAttrs(Frozen):
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]
    size: tuple[int, ...]


class WindowLikeAttrs(Frozen):
    stride: tuple[int, ...]
    dilate: tuple[int, ...]
    pad: tuple[int, ...]


def _window_type(
    where: str, x: TensorType, fields: Sequence[tuple[int, ...]], spatial: tuple[int, ...]
) -> TensorType:
    n = len(spatial)
    check(
        all(len(field) == n for field in fields)
        and x.ndim >= 2 * n
        and all(v > 0 for field in fields[:2] for v in field)
        and all(v >= 0 for v in spatial),
        where,
        f"attributes of {n} axes do not fit shape {x.shape}; give one entry per axis, "
        "strides and dilations positive",
    )
    return TensorType((*x.shape[: x.ndim - 2 * n], *spatial, *x.shape[x.ndim - n :]), x.dtype)


def _split_window(attrs: Any, ndim: int, n: int) -> list[tuple[int, ...]]:
    """Per axis: its place, that of its kernel axis, stride, dilation, padding."""
    first = ndim - 2 * n
    return list(
        zip(
            range(first, first + n),
            range(first + n, ndim),
            attrs.stride,
            attrs.dilate,
            attrs.pad,
            strict=True,
        )
    )


def _lower_window(
    attrs: WindowAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    (x,) = types
    inner, inside = list(coords), []
    for axis, kernel, stride, dilate, pad_ in _split_window(attrs, x.ndim, len(attrs.extents)):
        place = L.sub(L.add(L.mul(coords[axis], stride), L.mul(coords[kernel], dilate)), pad_)
        reach = (attrs.extents[axis - x.ndim + 2 * len(attrs.extents)] - 1) * stride
        if pad_:
            inside.append(L.ge(place, 0))
        if reach + (x.shape[kernel] - 1) * dilate - pad_ >= x.shape[axis]:
            inside.append(L.lt(place, x.shape[axis]))
        inner[axis] = place
    fill = int(attrs.fill) if x.dtype.is_integer else attrs.fill
    return L.select(_all(inside), read(0, tuple(inner)), L.const(fill, x.dtype))


def _window_indices(
    attrs: Any, ndim: int, spatial: tuple[int, ...], kernels: tuple[int, ...]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Source coordinates along each axis for a grid over (spatial, kernels)."""
    n = len(spatial)
    grids = np.meshgrid(*(np.arange(e) for e in (*spatial, *kernels)), indexing="ij")
    places = [
        grids[i] * attrs.stride[i] + grids[n + i] * attrs.dilate[i] - attrs.pad[i] for i in range(n)
    ]
    return places, np.stack(grids[n:]) if n else np.zeros(0)


def _window_oracle(x: np.ndarray, **fields: Any) -> np.ndarray:
    attrs = WindowAttrs(**fields)
    n = len(attrs.extents)
    lead, spatial, kernels = x.shape[: x.ndim - 2 * n], x.shape[-2 * n : -n], x.shape[-n:]
    places, kernel_grid = _window_indices(attrs, x.ndim, attrs.extents, kernels)
    inside = np.ones((*attrs.extents, *kernels), bool)
    for place, size in zip(places, spatial, strict=True):
        inside &= (place >= 0) & (place < size)
    result = np.full((*lead, *attrs.extents, *kernels), attrs.fill, x.dtype)
    at = (..., *(place[inside] for place in places), *(k[inside] for k in kernel_grid))
    result[(..., inside)] = x[at]
    return result


_window = primitive(
    "_window",
    Family.VIEW,
    attrs=WindowAttrs,
    infer=lambda a, x: _window_type("_window", x, (a.stride, a.dilate, a.pad), a.extents),
    lower=_lower_window,
    grad=lambda a, g, y, x: (unwindow_like(g, x, stride=a.stride, dilate=a.dilate, pad=a.pad),),
    numpy=_window_oracle,
    samples=(
        ((2, 7, 3), {"stride": (2,), "dilate": (1,), "pad": (1,), "extents": (4,)}),
        (
            (5, 6, 2, 3),
            {
                "stride": (1, 2),
                "dilate": (2, 1),
                "pad": (1, 0),
                "extents": (5, 2),
                "fill": -1.0,
            },
        ),
        ((0, 5, 3), {"stride": (1,), "dilate": (1,), "pad": (0,), "extents": (3,)}),
    ),
    doc="""Sliding windows. Over the last 2n axes (n spatial, then n kernel axes):
    out[..., o, k] = in[..., o · stride + k · dilate - pad, k], and `fill` outside.""",
)


def _lower_unwindow(
    attrs: UnwindowAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    (x,) = types
    inner, inside = list(coords), []
    for axis, kernel, stride, dilate, pad_ in _split_window(attrs, x.ndim, len(attrs.size)):
        reach = L.sub(L.add(coords[axis], pad_), L.mul(coords[kernel], dilate))
        place = L.floordiv(reach, stride)
        if stride > 1:
            inside.append(L.eq(L.mod(reach, stride), 0))
        inside.append(L.ge(reach, 0))
        inside.append(L.lt(place, x.shape[axis]))
        inner[axis] = place
    return L.select(_all(inside), read(0, tuple(inner)), L.const(0, x.dtype))


def _unwindow_oracle(x: np.ndarray, **fields: Any) -> Any:
    attrs = UnwindowAttrs(**fields)
    n = len(attrs.size)
    lead, spatial, kernels = x.shape[: x.ndim - 2 * n], x.shape[-2 * n : -n], x.shape[-n:]
    places, kernel_grid = _window_indices(attrs, x.ndim, spatial, kernels)
    inside = np.ones((*spatial, *kernels), bool)
    for place, size in zip(places, attrs.size, strict=True):
        inside &= (place >= 0) & (place < size)
    result = np.zeros((*lead, *attrs.size, *kernels), x.dtype)
    at = (..., *(place[inside] for place in places), *(k[inside] for k in kernel_grid))
    result[at] = x[(..., inside)]
    return result


_unwindow = primitive(
    "_unwindow",
    Family.VIEW,
    attrs=UnwindowAttrs,
    infer=lambda a, x: _window_type("_unwindow", x, (a.stride, a.dilate, a.pad), a.size),
    lower=_lower_unwindow,
    grad=lambda a, g, y, x: (window_like(g, x, stride=a.stride, dilate=a.dilate, pad=a.pad),),
    numpy=_unwindow_oracle,
    samples=(
        ((2, 4, 3), {"stride": (2,), "dilate": (1,), "pad": (1,), "size": (7,)}),
        (
            (5, 2, 2, 3),
            {"stride": (1, 2), "dilate": (2, 1), "pad": (1, 0), "size": (5, 6)},
        ),
        ((0, 3, 3), {"stride": (1,), "dilate": (1,), "pad": (0,), "size": (5,)}),
    ),
    doc="""The adjoint of `_window`, as a gather: out[..., h, k] = in[..., (h + pad - k · dilate) /
    stride, k] where that is whole and in range, else 0.""",
)


def _spatial(like: tuple[int, ...], n: int) -> tuple[int, ...]:
    return like[len(like) - 2 * n : len(like) - n]


unwindow_like: Operator = composite(
    "_unwindow_like",
    lambda attrs, data, like: _unwindow(
        data,
        stride=attrs.stride,
        dilate=attrs.dilate,
        pad=attrs.pad,
        size=_spatial(like.shape, len(attrs.stride)),
    ),
    operands="data like",
    attrs=WindowLikeAttrs,
    grad=lambda a, g, y, data, like: (
        window_like(g, data, stride=a.stride, dilate=a.dilate, pad=a.pad),
        None,
    ),
    numpy=lambda data, like, **f: _unwindow_oracle(
        data, **f, size=_spatial(like.shape, len(f["stride"]))
    ),
    samples=(((2, 4, 3), (2, 7, 3), {"stride": (2,), "dilate": (1,), "pad": (1,)}),),
    doc="""`_unwindow` to the spatial extents of `like`.""",
)

window_like: Operator = composite(
    "_window_like",
    lambda attrs, data, like: _window(
        data,
        stride=attrs.stride,
        dilate=attrs.dilate,
        pad=attrs.pad,
        extents=_spatial(like.shape, len(attrs.stride)),
    ),
    operands="data like",
    attrs=WindowLikeAttrs,
    grad=lambda a, g, y, data, like: (
        unwindow_like(g, data, stride=a.stride, dilate=a.dilate, pad=a.pad),
        None,
    ),
    numpy=lambda data, like, **f: _window_oracle(
        data, **f, extents=_spatial(like.shape, len(f["stride"])), fill=0.0
    ),
    samples=(((2, 7, 3), (2, 4, 3), {"stride": (2,), "dilate": (1,), "pad": (1,)}),),
    doc="""`_window` with the spatial extents of `like`.""",
)
