"""Reading and writing at positions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from tigon.base.extents import is_known
from tigon.contrib.onnx.build import (
    along,
    axis_of,
    cast,
    compare,
    concat,
    cut,
    in_range,
    iota,
    lowest,
    op,
    reduce,
    reshape,
    transpose,
    unsqueeze,
    where,
)
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant


def _folded_gather(call: Any, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take(x, indices.astype(np.int64), axis_of(call["axis"], x.ndim))


@converts("Gather", fold=_folded_gather)
def gather(call: Any, x: Value, indices: Value) -> Value:
    axis = axis_of(call["axis"], x.ndim)
    known = call.known(1)
    if known is not None and known.dtype != object:
        extent = x.shape[axis]
        if is_known(extent):
            call.check(
                np.all((known >= -extent) & (known < extent)),
                f"indices: expected -{extent} to {extent - 1}; given {known.ravel()[:8].tolist()}",
            )
            known = np.where(known < 0, known + extent, known)
            if known.ndim == 0:
                return reshape(
                    cut(x, axis, int(known), int(known) + 1),
                    (*x.shape[:axis], *x.shape[axis + 1 :]),
                )
            return op.take(x, constant(known, "int64"), axis=axis)
        if known.ndim == 0:
            place = int(known)
            part = cut(x, axis, place, place + 1 if place != -1 else None)
            return reshape(part, (*x.shape[:axis], *x.shape[axis + 1 :]))
    return op.take(x, in_range(indices, _extent(x, axis)), axis=axis, mode="raise")


def _extent(x: Value, axis: int) -> Any:
    """How many places an axis has: a number, or an array where that is open."""
    if is_known(x.shape[axis]):
        return x.shape[axis]
    return reshape(cut(op.shape_array(x), 0, axis, axis + 1), ())


@converts("GatherElements")
def gather_elements(call: Any, x: Value, indices: Value) -> Value:
    axis = axis_of(call["axis"], x.ndim)
    call.check(
        x.ndim == indices.ndim, f"expected as many axes; given {x.shape} and {indices.shape}"
    )
    for other in range(x.ndim):
        if other != axis and x.shape[other] != indices.shape[other]:
            x = cut(x, other, 0, indices.shape[other])
    places = in_range(cast(indices, "int64"), x.shape[axis])
    return op._take_along(x, _checked(call, places, x.shape[axis], axis), axis=axis)


def _checked(call: Any, places: Value, extent: int, axis: int) -> Value:
    return op._checked_index(places, sizes=(extent,), axis=axis, operator=call.op)


def _first(x: Value) -> Value:
    """The last axis before the others."""
    return transpose(x, (x.ndim - 1, *range(x.ndim - 1)))


@converts("GatherND")
def gather_nd(call: Any, x: Value, indices: Value) -> Value:
    batch = call["batch_dims"] or 0
    call.check(
        0 <= batch < min(x.ndim, indices.ndim) and indices.shape[-1] + batch <= x.ndim,
        f"indices of shape {indices.shape} are no points of {x.shape} after {batch} axes",
    )
    points = _first(cast(indices, "int64"))
    if batch:
        shape = points.shape[1:]
        columns = [
            unsqueeze(op._broadcast(along(iota(n), axis, len(shape)), shape=shape), (0,))
            for axis, n in enumerate(shape[:batch])
        ]
        points = concat([*columns, points], 0)
    return op.gather_nd(x, points)


_RULES: dict[str, tuple[Callable[[Value, Value], Value], str]] = {
    "mul": (lambda x, y: op.broadcast_mul(x, y), "prod"),
    "max": (lambda x, y: op.broadcast_maximum(x, y), "max"),
    "min": (lambda x, y: op.broadcast_minimum(x, y), "min"),
}


def _neutral(which: str, dtype: str) -> float:
    if which == "mul":
        return 1
    low = lowest(dtype)
    if which == "max":
        return low
    return -low if np.isinf(low) else int(np.iinfo(dtype).max)


def _combined(data: Value, places: Value, updates: Value, which: str) -> Value:
    """Rows of `data` (rows, width) with `updates` (count, width) at `places` (count,), by a rule
    for places that occur more than once."""
    rule, reduction = _RULES[which]
    rows = op._iota(shape=(data.shape[0], 1, 1), axis=0)
    hit = compare("equal", rows, reshape(places, (1, places.shape[0], 1)))
    fill = op._full(shape=(1, 1, 1), value=_neutral(which, data.dtype.name), dtype=data.dtype.name)
    terms = where(hit, unsqueeze(updates, (0,)), fill)
    return rule(data, reduce(reduction, terms, (1,)))


def _scattered(call: Any, data: Value, points: Value, updates: Value, which: str) -> Value:
    """`points` has a row for each leading axis of data."""
    rows = points.shape[0]
    lead, rest = data.shape[:rows], data.shape[rows:]
    if prod(points.shape[1:]) == 0:
        return op.identity(data)
    if which == "add":
        return data + op._gather_nd_backward(updates, points, data)
    if which == "none":
        return op._scatter_set_nd(data, updates, points, shape=tuple(data.shape))
    call.check(which in _RULES, f"reduction: expected none, add, mul, max, min; given '{which}'")
    flat: Any = 0
    for row in range(rows):
        own = reshape(cut(points, 0, row, row + 1), points.shape[1:])
        flat = (
            op.broadcast_add(in_range(own, lead[row]), flat * lead[row])
            if row
            else in_range(own, lead[row])
        )
    count = prod(points.shape[1:])
    result = _combined(
        reshape(data, (prod(lead), prod(rest))),
        reshape(flat, (count,)),
        reshape(updates, (count, prod(rest))),
        which,
    )
    return reshape(result, data.shape)


@converts("ScatterND")
def scatter_nd(call: Any, data: Value, indices: Value, updates: Value) -> Value:
    points = _first(cast(indices, "int64"))
    return _scattered(call, data, points, updates, call["reduction"] or "none")


@converts("ScatterElements", "Scatter")
def scatter_elements(call: Any, data: Value, indices: Value, updates: Value) -> Value:
    axis = axis_of(call["axis"], data.ndim)
    call.check(
        indices.shape == updates.shape and indices.ndim == data.ndim,
        f"expected indices and updates of one shape, of {data.ndim} axes; given {indices.shape} "
        f"and {updates.shape}",
    )
    own = in_range(cast(indices, "int64"), data.shape[axis])
    columns = [
        own if i == axis else op._broadcast(along(iota(n), i, data.ndim), shape=indices.shape)
        for i, n in enumerate(indices.shape)
    ]
    points = op.stack(*columns, axis=0)
    return _scattered(call, data, points, updates, call["reduction"] or "none")


@converts("TensorScatter")
def tensor_scatter(call: Any, past: Value, update: Value, begin: Value | None = None) -> Value:
    """A cache with new rows, from a place of its own for each entry of the batch."""
    axis = axis_of(call["axis"], past.ndim)
    extent, count = past.shape[axis], update.shape[axis]
    places = along(iota(extent), axis, past.ndim)
    if begin is not None:
        places = op.broadcast_sub(places, along(cast(begin, "int64"), 0, past.ndim))
    else:
        places = op.broadcast_sub(places, op._full(shape=(1,) * past.ndim, value=0, dtype="int64"))
    if call["mode"] == "circular":
        places = op.broadcast_mod(places, constant(np.array(extent), "int64"))
    zero, last = (constant(np.array(n), "int64") for n in (0, count))
    held = op.broadcast_logical_and(
        compare("greater_equal", places, zero), compare("lesser", places, last)
    )
    index = op._broadcast(op.clip(places, a_min=0, a_max=count - 1), shape=past.shape)
    return where(held, op._take_along(update, index, axis=axis), past)


@converts("OneHot", known=(1,))
def one_hot(call: Any, indices: Value, depth: np.ndarray, values: Value) -> Value:
    count = int(depth.reshape(()))
    ndim = indices.ndim + 1
    call.check(
        -ndim <= call["axis"] < ndim and count >= 0, f"axis {call['axis']} of {ndim}, {count} deep"
    )
    axis = call["axis"] % ndim
    own = in_range(cast(indices, "int64"), count)
    hit = compare("equal", unsqueeze(own, (axis,)), along(iota(count), axis, ndim))
    off, on = (reshape(cut(values, 0, k, k + 1), ()) for k in (0, 1))
    return where(hit, on, off)


def _folded_nonzero(_call: Any, x: np.ndarray) -> np.ndarray | None:
    if x.dtype == object:
        return None
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)


@converts("NonZero", known=(0,), fold=_folded_nonzero)
def nonzero(call: Any, x: np.ndarray) -> Value:
    return constant(np.array(np.nonzero(np.atleast_1d(x)), np.int64))


@converts("Compress", known=(1,))
def compress(call: Any, x: Value, condition: np.ndarray) -> Value:
    places = np.flatnonzero(condition)
    axis = call["axis"]
    if axis is None:
        x, axis = reshape(x, (prod(x.shape),)), 0
    axis = axis_of(axis, x.ndim)
    call.check(
        len(condition) <= x.shape[axis], f"{len(condition)} conditions for {x.shape[axis]} places"
    )
    return op.take(x, constant(places, "int64"), axis=axis)


@converts("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(_call: Any, x: Value, indices: Value) -> Value:
    flat = reshape(indices, (prod(indices.shape),))
    found = op.take(x, in_range(flat, x.shape[-1]), axis=x.ndim - 1, mode="raise")
    return found if x.ndim > 1 else unsqueeze(found, (0,))


@converts("Binarizer", domain="ai.onnx.ml")
def binarizer(call: Any, x: Value) -> Value:
    limit = constant(np.array(call["threshold"]), x.dtype.name)
    return op.broadcast_greater(x, limit)
