"""Joining arrays, and writing one into another."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.primitive.view import (
    Coords,
    Read,
    _all,
    _along,
    _check_region,
    _region_slices,
    region,
)
from tigon.ops.record import Family, Operator, common_dtype, composite, get, primitive


class JoinAttrs(Frozen):
    axis: int


def _infer_join(attrs: JoinAttrs, *types: TensorType) -> TensorType:
    check(types, "concat", "expected at least one array; given none")
    first = types[0]
    axis = attrs.axis
    for t in types:
        fits = t.ndim == first.ndim > axis >= 0 and all(
            i == axis or n == m for i, (n, m) in enumerate(zip(t.shape, first.shape, strict=True))
        )
        check(
            fits,
            "concat",
            f"shapes {first.shape} and {t.shape} do not join along axis {axis}; "
            "all other extents must be equal",
        )
    total = sum(t.shape[axis] for t in types)
    dtype = common_dtype("concat", *types)
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), dtype)


def _lower_join(
    attrs: JoinAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    """The gather form, for readers that fuse a join instead of writing it part by part."""
    axis = attrs.axis
    parts: list[tuple[Expr, int]] = []  # with where each ends
    stop = 0
    for index, type_ in enumerate(types):
        place = L.sub(coords[axis], stop)
        here = read(index, (*coords[:axis], place, *coords[axis + 1 :]))
        stop = stop + type_.shape[axis]
        parts.append((here, stop))
    result, _ = parts.pop()
    while parts:
        here, stop = parts.pop()
        result = L.select(L.lt(coords[axis], stop), here, result)
    return result


_join = primitive(
    "_join",
    Family.JOIN,
    operands="*data",
    attrs=JoinAttrs,
    infer=_infer_join,
    lower=_lower_join,
    grad=lambda a, g, y, *xs: _as_tuple(unjoin(g, *xs, axis=a.axis, num_outputs=len(xs))),
    numpy=lambda *xs, axis: np.concatenate(xs, axis),
    samples=(
        ((2, 3), (2, 4), {"axis": 1}),
        ((2, 3), (0, 3), (1, 3), {"axis": 0}),
        ((4,), {"axis": 0}),
    ),
    doc="""The arrays one behind the other along `axis`.""",
)


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


class UnjoinAttrs(Frozen):
    axis: int
    num_outputs: int


def _decompose_unjoin(attrs: UnjoinAttrs, data: Any, *likes: Any) -> Any:
    check(
        all(0 <= attrs.axis < one.ndim == data.ndim for one in likes),
        "_unjoin",
        f"expected operands of as many axes, more than {attrs.axis}; given shapes "
        f"{', '.join(str(one.shape) for one in (data, *likes))}",
    )
    start = 0
    parts = []
    for like in likes:
        parts.append(
            _along(data, attrs.axis, start if like.type.size else 0, 1, like.shape[attrs.axis])
        )
        start += like.shape[attrs.axis]
    return tuple(parts)


unjoin: Operator = composite(
    "_unjoin",
    _decompose_unjoin,
    operands="data *likes",
    attrs=UnjoinAttrs,
    outputs=lambda a: a.num_outputs,
    grad=lambda a, g, y, data, *likes: (
        _join(*_as_tuple(g), axis=a.axis),
        *(None for _ in likes),
    ),
    numpy=lambda data, *likes, axis, num_outputs: tuple(
        np.split(data, np.cumsum([like.shape[axis] for like in likes])[:-1], axis)
    ),
    samples=(
        ((2, 7), (2, 3), (2, 4), {"axis": 1, "num_outputs": 2}),
        ((3, 2), (3, 2), (0, 2), {"axis": 0, "num_outputs": 2}),
    ),
    doc="""`data` cut along `axis` into the extents of the likes: the adjoint of joining.""",
)


class AssignSliceAttrs(Frozen):
    start: tuple[int, ...]
    step: tuple[int, ...]


def _infer_assign(attrs: AssignSliceAttrs, data: TensorType, value: TensorType) -> TensorType:
    _check_region("slice_assign", data.shape, attrs.start, attrs.step, value.shape)
    return TensorType(data.shape, common_dtype("slice_assign", data, value))


def _lower_assign(
    attrs: AssignSliceAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    """The gather form, for readers that fuse an assignment instead of writing the region."""
    data, value = types
    inner, inside = [], []
    axes = zip(data.shape, value.shape, coords, attrs.start, attrs.step, strict=True)
    for size, n, c, start, step in axes:
        offset = L.sub(c, start) if step > 0 else L.sub(start, c)
        stride = builtins.abs(step)
        if (start, step, n) != (0, 1, size):
            inside.append(L.ge(offset, 0))
            inside.append(L.lt(offset, n * stride))
            if stride > 1:
                inside.append(L.eq(L.mod(offset, stride), 0))
        inner.append(L.floordiv(offset, stride))
    return L.select(_all(inside), read(1, tuple(inner)), read(0, coords))


def _assign_oracle(
    data: np.ndarray, value: np.ndarray, start: tuple[int, ...], step: tuple[int, ...]
) -> Any:
    result = data.copy()
    if data.ndim == 0:
        return value.copy()
    result[_region_slices(start, step, value.shape)] = value
    return result


_assign_slice: Operator = primitive(
    "_assign_slice",
    Family.UPDATE,
    operands="data value",
    attrs=AssignSliceAttrs,
    infer=_infer_assign,
    lower=_lower_assign,
    grad=lambda a, g, y, data, value: (
        _assign_slice(g, get("zeros_like")(value), start=a.start, step=a.step),
        region(g, value, start=a.start, step=a.step),
    ),
    numpy=_assign_oracle,
    samples=(
        ((5, 7), (2, 3), {"start": (1, 6), "step": (2, -3)}),
        ((4,), (4,), {"start": (0,), "step": (1,)}),
        ((4,), (0,), {"start": (0,), "step": (1,)}),
        ((0, 2), (0, 1), {"start": (0, 1), "step": (1, 1)}),
    ),
    doc="""`data` with the region that begins at `start` overwritten by `value`.""",
)
