"""Pictures of another size, and read at places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from tigon.base.extents import is_known, same
from tigon.base.frozen import Frozen
from tigon.contrib.onnx.build import (
    axes_of,
    cast,
    cut,
    number,
    op,
    reshape,
    where,
)
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant

MOST_PLACES = 1 << 16
"""Extents of results whose places are computed while a model is read."""
MOST_TAPS = 1 << 10
"""Elements that make up one result, each a few nodes of the graph."""


class Rule(Frozen):
    """How results lie among elements, and what they are made of."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    outside: bool
    """Elements beyond the ends count as the last ones."""
    antialias: bool


# ------------------------------------------------------------------------------------ Resize


def _centres(rule: Rule, size: int, count: int, scale: float, roi: tuple[float, float]) -> Any:
    """Where each result lies among the elements of an axis."""
    place = np.arange(count, dtype=np.float64)
    whole = size * scale
    kind = rule.coordinates
    if kind == "align_corners":
        return place * (size - 1) / (whole - 1) if whole != 1 else np.zeros(count)
    if kind == "asymmetric":
        return place / scale
    if kind == "tf_crop_and_resize":
        begin, end = (float(edge) * (size - 1) for edge in roi)
        if whole == 1:
            return np.full(count, (begin + end) / 2)
        return begin + place * (end - begin) / (whole - 1)
    if kind == "pytorch_half_pixel" and whole == 1:
        return np.full(count, -0.5)
    centre = (place + 0.5) / scale - 0.5
    if kind == "half_pixel_symmetric":
        return centre + size / 2 * (1 - count / whole)
    return centre


def _nearest(rule: Rule, centre: np.ndarray) -> np.ndarray:
    if rule.nearest == "floor":
        return np.floor(centre)
    if rule.nearest == "ceil":
        return np.ceil(centre)
    if rule.nearest == "round_prefer_ceil":
        return np.floor(centre + 0.5)
    return np.ceil(centre - 0.5)


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _reach(rule: Rule, scale: float) -> tuple[float, float, float]:
    """How far elements count on either side, by what distances shrink, and how many elements a
    result is made of at most."""
    if rule.mode == "nearest":
        return 0.0, 1.0, 1
    reach = 2.0 if rule.mode == "cubic" else 1.0
    factor = min(scale, 1.0) if rule.antialias else 1.0
    return reach, factor, np.ceil(2 * reach / factor) + (factor != 1.0)


def _shares(
    rule: Rule, centre: np.ndarray, size: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The elements that each result is made of, and how much of each."""
    if rule.mode == "nearest":
        places = _nearest(rule, centre)[:, None]
        return np.clip(places, 0, size - 1).astype(np.int64), np.ones_like(places)
    reach, factor, width = _reach(rule, scale)
    first = np.floor(centre - reach / factor) + 1
    places = first[:, None] + np.arange(int(width))
    distance = (places - centre[:, None]) * factor
    if rule.mode == "cubic":
        weights = _cubic(distance, rule.cubic)
    else:
        weights = np.maximum(1 - np.abs(distance), 0.0)
    if rule.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    if not rule.outside:
        weights = np.where((places < 0) | (places > size - 1), 0.0, weights)
        total = weights.sum(1, keepdims=True)
        weights = weights / np.where(total == 0, 1.0, total)
    return np.clip(places, 0, size - 1).astype(np.int64), weights


def _resized_axis(
    rule: Rule, x: Value, axis: int, count: int, scale: float, roi: tuple[float, float]
) -> tuple[Value, np.ndarray]:
    """The axis with `count` places, and which of them lie outside of the picture."""
    size = x.shape[axis]
    centre = _centres(rule, size, count, scale, roi)
    places, weights = _shares(rule, centre, size, scale)
    column = [count if i == axis else 1 for i in range(x.ndim)]
    total: Value | None = None
    for tap in range(places.shape[1]):
        if not weights[:, tap].any():
            continue
        term = op.take(x, constant(places[:, tap].copy(), "int64"), axis=axis)
        if rule.mode != "nearest":
            share = constant(weights[:, tap].reshape(column).copy(), x.dtype.name)
            term = op.broadcast_mul(term, share)
        total = term if total is None else op.broadcast_add(total, term)
    if total is None:
        total = op.zeros_like(op.take(x, constant(places[:, 0].copy(), "int64"), axis=axis))
    return total, (centre < 0) | (centre > size - 1)


def _check_given(call: Any, extents: Sequence[Any]) -> None:
    call.check(
        is_known(*extents),
        f"resizes {list(extents)}, which the file leaves open",
    )


def _targets(
    call: Any, shape: Sequence[int], axes: Sequence[int], scales: Any, sizes: Any
) -> tuple[list[int], list[float]]:
    """Extents and scales of these axes."""
    if sizes is not None and sizes.size:
        counts = sizes.ravel().tolist()
        call.check(len(counts) == len(axes), f"sizes: expected {len(axes)}; given {counts}")
        pairs = [(n, shape[axis]) for n, axis in zip(counts, axes, strict=True)]
        _check_given(call, [m for n, m in pairs if not same(n, m)])
        own = [1.0 if same(n, m) else n / m for n, m in pairs]
        policy = call["keep_aspect_ratio_policy"] or "stretch"
        if policy != "stretch":
            scale = min(own) if policy == "not_larger" else max(own)
            own = [scale] * len(own)
            counts = [int(scale * shape[axis] + 0.5) for axis in axes]
        return counts, own
    call.check(scales is not None and scales.size, "expected scales or sizes; given none")
    own = [float(n) for n in scales.ravel()]
    call.check(
        len(own) == len(axes) and all(0 < n < np.inf for n in own),
        f"scales: expected {len(axes)} positive numbers; given {own}",
    )
    pairs = [(shape[axis], n) for axis, n in zip(axes, own, strict=True)]
    _check_given(call, [m for m, n in pairs if n != 1])
    return [m if n == 1 else int(np.floor(m * n)) for m, n in pairs], own


@converts("Resize", known=(1, 2, 3))
def resize(call: Any, x: Value, roi: Any = None, scales: Any = None, sizes: Any = None) -> Value:
    if call.since < 11:  # roi is where scales are later
        roi, scales = None, roi
        rule = Rule(call["mode"], "asymmetric", "floor", -0.75, True, False)
    else:
        rule = Rule(
            call["mode"],
            call["coordinate_transformation_mode"],
            call["nearest_mode"],
            call["cubic_coeff_a"],
            not call["exclude_outside"],
            bool(call["antialias"]),
        )
    call.check(
        rule.mode in ("nearest", "linear", "cubic"), "mode: expected nearest, linear or cubic"
    )
    axes = axes_of(call["axes"] or range(x.ndim), x.ndim)
    counts, own = _targets(call, x.shape, axes, scales, sizes)
    return _resize(call, rule, x, axes, counts, own, roi)


def _resize(
    call: Any,
    rule: Rule,
    x: Value,
    axes: Sequence[int],
    counts: Sequence[int],
    scales: Sequence[float],
    roi: Any,
) -> Value:
    dtype = x.dtype.name
    moves = rule.mode == "nearest"
    value = x if moves else cast(x, "float64" if dtype == "float64" else "float32")
    outside: Value | None = None
    crops = rule.coordinates == "tf_crop_and_resize"
    for number_, (axis, count, scale) in enumerate(zip(axes, counts, scales, strict=True)):
        edges = (0.0, 1.0)
        if crops:
            call.check(roi is not None and roi.size == 2 * len(axes), "expected a roi of all axes")
            edges = (float(roi.ravel()[number_]), float(roi.ravel()[len(axes) + number_]))
        if scale == 1 and same(count, x.shape[axis]) and edges == (0.0, 1.0):
            continue
        call.check(0 <= count <= MOST_PLACES, f"{count} places along axis {axis} are too many")
        call.check(x.shape[axis] > 0, f"axis {axis} has no elements")
        width = _reach(rule, scale)[2]
        call.check(
            width <= MOST_TAPS and width * count <= MOST_PLACES << 4,
            f"{width:.0f} elements along axis {axis} make up each of {count} results, which are "
            "too many; shrink it in several steps",
        )
        value, beyond = _resized_axis(rule, value, axis, count, scale, edges)
        if crops and beyond.any():
            line = constant(
                beyond.reshape([count if i == axis else 1 for i in range(x.ndim)]), "bool"
            )
            outside = line if outside is None else op.broadcast_logical_or(outside, line)
    if outside is not None:
        value = where(outside, number(call["extrapolation_value"], value), value)
    if value.dtype.name != dtype and not x.dtype.is_float:
        info = np.iinfo(dtype)
        value = op.clip(op._round_even(value), a_min=float(info.min), a_max=float(info.max))
    return op.identity(value) if value is x else cast(value, dtype)


@converts("Upsample", known=(1,), until=9)
def upsample(call: Any, x: Value, scales: Any = None) -> Value:
    own = np.array(call["scales"]) if scales is None else scales
    rule = Rule(call["mode"], "asymmetric", "floor", -0.75, True, False)
    axes = tuple(range(x.ndim))
    counts, factors = _targets(call, x.shape, axes, own, None)
    return _resize(call, rule, x, axes, counts, factors, None)


# -------------------------------------------------------------------------------- GridSample


def _reflected(x: Value, low: float, high: float) -> Value:
    """Places beyond the borders, mirrored until they are within."""
    span = high - low
    if span <= 0:
        return op.zeros_like(x)
    away = op.abs(x - low)
    turns = op.floor(away / span)
    rest = away - turns * span
    odd = op.broadcast_mod(turns, number(2, turns))
    return where(odd, number(high, x) - rest, rest + low)


def _taps(mode: str, place: Value) -> list[tuple[Value, Value | None]]:
    """The elements of one axis that a place is made of, with weights."""
    if mode == "nearest":
        return [(op._round_even(place), None)]
    low = op.floor(place)
    rest = place - low
    if mode == "linear":
        return [(low, 1 - rest), (low + 1, rest)]
    a = -0.75
    found = []
    for step in range(-1, 3):
        d = op.abs(rest - step)
        if step in (0, 1):
            weight = ((a + 2) * d - (a + 3)) * d * d + 1
        else:
            weight = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        found.append((low + step, weight))
    return found


@converts("GridSample")
def grid_sample(call: Any, x: Value, grid: Value) -> Value:
    spatial = x.shape[2:]
    axes = len(spatial)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(call["mode"], call["mode"])
    padding, corners = call["padding_mode"], bool(call["align_corners"])
    call.check(mode in ("linear", "nearest", "cubic"), f"mode: given '{call['mode']}'")
    call.check(padding in ("zeros", "border", "reflection"), f"padding_mode: given '{padding}'")
    call.check(
        grid.ndim == axes + 2 and grid.shape[-1] == axes and axes in (1, 2, 3),
        f"expected a grid of {axes + 2} axes, the last of {axes}; given {grid.shape}",
    )
    lines = []
    for axis, size in enumerate(spatial):
        own = axes - 1 - axis  # of a grid the last axis comes first
        place = reshape(cut(grid, grid.ndim - 1, own, own + 1), grid.shape[:-1])
        place = (place + 1) * ((size - 1) / 2) if corners else ((place + 1) * size - 1) / 2
        low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
        if mode != "cubic" and padding == "reflection":
            place = _reflected(place, low, high)
        if mode != "cubic" and padding != "zeros":
            place = op.clip(place, a_min=0.0, a_max=size - 1.0)
        lines.append([_held(tap, size, padding, low, high) for tap in _taps(mode, place)])
    return _sampled(x, spatial, lines, grid.shape[1:-1])


def _held(tap: Any, size: int, padding: str, low: float, high: float) -> tuple[Value, Value | None]:
    """The index of an element that is there, and its weight."""
    place, weight = tap
    if padding == "reflection":
        place = _reflected(place, low, high)
    if padding == "zeros":
        inside = op.broadcast_mul(
            op.broadcast_greater_equal(place, number(0, place)),
            op.broadcast_lesser_equal(place, number(size - 1, place)),
        )
        weight = inside if weight is None else weight * inside
    index = cast(op.clip(op._round_even(place), a_min=0.0, a_max=size - 1.0), "int64")
    return index, weight


def _sampled(x: Value, spatial: Sequence[int], lines: list[Any], shape: Sequence[int]) -> Value:
    """The sum over all choices of one element per axis."""
    batch, channels = x.shape[:2]
    flat = reshape(x, (batch, channels, prod(spatial)))
    count = prod(shape)
    total: Value | None = None
    for choice in product(*lines):
        at: Any = None
        share: Value | None = None
        for (index, weight), size in zip(choice, spatial, strict=True):
            at = index if at is None else op.broadcast_add(at * size, index)
            if weight is not None:
                share = weight if share is None else op.broadcast_mul(share, weight)
        place = op._broadcast(reshape(at, (batch, 1, count)), shape=(batch, channels, count))
        term = op._take_along(flat, place, axis=2)
        if share is not None:
            term = op.broadcast_mul(term, cast(reshape(share, (batch, 1, count)), x.dtype.name))
        total = term if total is None else op.broadcast_add(total, term)
    assert total is not None
    return reshape(total, (batch, channels, *shape))
