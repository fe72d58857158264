"""Views: reshapes, transposition, broadcasting, slices and padding, and the adjoints of these.

They have concrete attributes and are maps of coordinates, so that they cost nothing once fused; the
operators with MXNet's conventions (reshape codes, negative axes, None in slices) are composites, in
`tigon/ops/tensor/`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.dtypes import bool_
from tigon.base.extents import is_one, same_shape
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.record import Family, Operator, composite, get, primitive

Coords = tuple[Expr, ...]
Read = Callable[[int, Coords], Expr]


def normalized_axis(where: str, axis: int, ndim: int) -> int:
    """A non-negative axis, checked.

    >>> normalized_axis("sum", -1, 3)
    2
    """
    check(
        -ndim <= axis < ndim,
        where,
        f"axis {axis} is out of range for {ndim} dimensions; use {-ndim} to {ndim - 1}",
    )
    return axis + ndim if axis < 0 else axis


def normalized_axes(where: str, axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Sorted, non-negative axes, none twice.

    >>> normalized_axes("sum", (-1, 0), 3)
    (0, 2)
    """
    result = tuple(sorted(normalized_axis(where, axis, ndim) for axis in axes))
    check(
        len(set(result)) == len(result), where, f"an axis occurs twice in {tuple(axes)}; drop one"
    )
    return result


def _all(conditions: Sequence[Expr]) -> Expr:
    result: Expr = L.const(True, bool_)
    for condition in conditions:
        result = L.and_(result, condition)
    return result


# --------------------------------------------------------------------- the same, elsewhere

copyto = primitive(
    "_copyto",
    Family.VIEW,
    operands="data",
    infer=lambda x: x,
    lower=lambda types, coords, read: read(0, coords),
    grad=lambda g, y, x: (g,),
    numpy=np.copy,
    samples=[((2, 3), {})],
    shares_memory=True,
    doc="""The same array: what is recorded of one that is copied to another device.

    >>> nd._copyto(nd.array([1, 2])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------ reshape


class ShapeAttrs(Frozen):
    shape: tuple[int, ...]


def _infer_raw_reshape(attrs: ShapeAttrs, x: TensorType) -> TensorType:
    check(
        prod(attrs.shape) == x.size and all(extent >= 0 for extent in attrs.shape),
        "reshape",
        f"cannot bring {x.size} elements of shape {x.shape} into shape {attrs.shape}",
    )
    return TensorType(attrs.shape, x.dtype, x.weak)


def _common_groups(a: tuple[int, ...], b: tuple[int, ...]) -> list[tuple[range, range]]:
    """Cut both shapes into the shortest runs of axes with equal products.

    >>> _common_groups((2, 3, 4), (6, 4))
    [(range(0, 2), range(0, 1)), (range(2, 3), range(1, 2))]
    """
    groups = []
    i = j = 0
    while i < len(a) or j < len(b):
        first, second = i, j
        left = right = 1
        if i < len(a):
            left, i = a[i], i + 1
        if j < len(b):
            right, j = b[j], j + 1
        while left != right:
            if left < right:
                left, i = left * a[i], i + 1
            else:
                right, j = right * b[j], j + 1
        groups.append((range(first, i), range(second, j)))
    return groups


def _lower_reshape(
    attrs: ShapeAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    source = types[0].shape
    if types[0].size == 0:
        return read(0, tuple(L.const(0) for _ in source))  # never evaluated
    inner: list[Expr] = [L.const(0)] * len(source)
    # An axis that survives keeps its coordinate, so the index map stays affine where it can.
    for there, here in _common_groups(source, attrs.shape):
        if len(there) == 1 and len(here) == 1:
            inner[there[0]] = coords[here[0]]
            continue
        flat: Expr = L.const(0)
        for axis in here:
            flat = L.add(L.mul(flat, attrs.shape[axis]), coords[axis])
        for axis in reversed(there):
            if is_one(source[axis]):
                continue
            if all(is_one(source[first]) for first in there if first < axis):
                inner[axis] = flat
            else:
                inner[axis] = L.mod(flat, source[axis])
                flat = L.floordiv(flat, source[axis])
    return read(0, tuple(inner))


_reshape = primitive(
    "_reshape",
    Family.VIEW,
    attrs=ShapeAttrs,
    shares_memory=True,  # imperatively a view, as MXNet's x.reshape
    infer=_infer_raw_reshape,
    lower=_lower_reshape,
    grad=lambda a, g, y, x: (reshape_like(g, x),),
    numpy=lambda x, shape: x.reshape(shape),
    samples=(
        ((2, 3), {"shape": (3, 2)}),
        ((4, 6, 5), {"shape": (2, 2, 30)}),
        ((5, 1, 7), {"shape": (7, 5)}),
        ((2, 3, 4), {"shape": (6, 4, 1)}),
        ((6, 4), {"shape": (4, 3, 2)}),
        ((), {"shape": (1, 1)}),
        ((1,), {"shape": ()}),
        ((0, 3), {"shape": (5, 0)}),
    ),
    doc="""The same elements in row-major order, under another shape of equal size.""",
)


class ReshapeLikeAttrs(Frozen):
    lhs_begin: int | None = None
    lhs_end: int | None = None
    rhs_begin: int | None = None
    rhs_end: int | None = None


def _like_shape(
    attrs: ReshapeLikeAttrs, left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[int, ...]:
    def bound(given: int | None, default: int, ndim: int) -> int:
        if given is None:
            return default
        check(
            -ndim <= given <= ndim, "reshape_like", f"axis {given} is out of range for {ndim} axes"
        )
        return given + ndim if given < 0 else given

    first = bound(attrs.lhs_begin, 0, len(left))
    last = bound(attrs.lhs_end, len(left), len(left))
    start = bound(attrs.rhs_begin, 0, len(right))
    stop = bound(attrs.rhs_end, len(right), len(right))
    return (*left[:first], *right[start:stop], *left[last:])


reshape_like: Operator = composite(
    "reshape_like",
    lambda attrs, lhs, rhs: (
        _reshape(lhs, shape=_like_shape(attrs, lhs.shape, rhs.shape))
        if not same_shape(lhs.shape, _like_shape(attrs, lhs.shape, rhs.shape))
        else lhs
    ),
    operands="lhs rhs",
    attrs=ReshapeLikeAttrs,
    grad=lambda a, g, y, lhs, rhs: (reshape_like(g, lhs), None),
    numpy=lambda lhs, rhs, **fields: lhs.reshape(
        _like_shape(ReshapeLikeAttrs(**fields), lhs.shape, rhs.shape)
    ),
    samples=(
        ((2, 3), (3, 2), {}),
        ((2, 3), (2, 3), {}),
        ((30, 7), (15, 2, 4), {"lhs_begin": 0, "lhs_end": 1, "rhs_begin": 0, "rhs_end": 2}),
        ((0, 2), (3, 0), {}),
    ),
    doc="""`lhs` in the shape of `rhs`.

    Parameters: `lhs_begin`, `lhs_end`, `rhs_begin`, `rhs_end` restrict both to ranges of axes.

    >>> nd.reshape_like(nd.array([1, 2, 3, 4]), nd.zeros((2, 2))).asnumpy()
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """,
)


# ---------------------------------------------------------------------------- transpose


class TransposeAttrs(Frozen):
    axes: tuple[int, ...] = ()


def _permutation(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if not axes:
        return tuple(reversed(range(ndim)))
    order = tuple(normalized_axis("transpose", axis, ndim) for axis in axes)
    check(
        sorted(order) == list(range(ndim)),
        "transpose",
        f"axes {axes} are no permutation of the {ndim} axes; name each once",
    )
    return order


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    order = [axis % len(axes) for axis in axes]
    return tuple(order.index(axis) for axis in range(len(order)))


def _infer_transpose(attrs: TransposeAttrs, x: TensorType) -> TensorType:
    order = _permutation(attrs.axes, x.ndim)
    return TensorType(tuple(x.shape[axis] for axis in order), x.dtype)


def _lower_transpose(
    attrs: TransposeAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    order = _permutation(attrs.axes, types[0].ndim)
    return read(0, tuple(coords[order.index(axis)] for axis in range(len(order))))


transpose: Operator = primitive(
    "transpose",
    Family.VIEW,
    attrs=TransposeAttrs,
    infer=_infer_transpose,
    lower=_lower_transpose,
    grad=lambda a, g, y, x: (transpose(g, axes=_inverse(a.axes)),),
    numpy=lambda x, axes: np.transpose(x, axes or None),
    samples=(
        ((2, 3), {}),
        ((2, 3, 4), {"axes": (1, 2, 0)}),
        ((2, 3, 4), {"axes": (-1, 0, 1)}),
        ((), {}),
        ((0, 2), {}),
    ),
    doc="""The array with its axes in another order.

    Parameters: `axes` the order; reversed if not given.

    >>> nd.transpose(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """,
)

# ---------------------------------------------------------------------------- broadcast


def _infer_raw_broadcast(attrs: ShapeAttrs, x: TensorType) -> TensorType:
    lead = len(attrs.shape) - x.ndim
    fits = lead >= 0 and all(
        extent in (wanted, 1)
        for extent, wanted in zip(x.shape, attrs.shape[builtins.max(lead, 0) :], strict=False)
    )
    check(fits, "broadcast", f"shape {x.shape} does not broadcast to {attrs.shape}")
    return TensorType(attrs.shape, x.dtype)


def _lower_broadcast(
    attrs: ShapeAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    source = types[0].shape
    inner = coords[len(coords) - len(source) :]
    return read(
        0, tuple(L.const(0) if is_one(n) else c for n, c in zip(source, inner, strict=True))
    )


_broadcast = primitive(
    "_broadcast",
    Family.VIEW,
    attrs=ShapeAttrs,
    infer=_infer_raw_broadcast,
    lower=_lower_broadcast,
    grad=lambda a, g, y, x: (sum_to_like(g, x),),
    numpy=lambda x, shape: np.broadcast_to(x, shape).copy(),
    samples=(
        ((3, 1), {"shape": (2, 3, 4)}),
        ((), {"shape": (2, 2)}),
        ((1, 3), {"shape": (0, 3)}),
        ((2,), {"shape": (2,)}),
    ),
    doc="""The array repeated along axes of extent 1 and new leading axes (numpy's rule).""",
)


def _summed(shape: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `shape` along which `like` was broadcast."""
    lead = len(shape) - len(like)
    check(
        lead >= 0 and all(w in (n, 1) for n, w in zip(shape[lead:], like, strict=True)),
        "_sum_to_like",
        f"shape {like} does not broadcast to {shape}",
    )
    rest = (
        lead + axis for axis, n in enumerate(like) if is_one(n) and not is_one(shape[lead + axis])
    )
    return (*range(lead), *rest)


def _decompose_sum_to_like(data: Any, like: Any) -> Any:
    if same_shape(data.shape, like.shape):
        return data
    axes = _summed(data.shape, like.shape)
    total = get("_reduce_sum")(data, axes=axes) if axes else data
    return total if same_shape(total.shape, like.shape) else _reshape(total, shape=like.shape)


sum_to_like: Operator = composite(
    "_sum_to_like",
    _decompose_sum_to_like,
    operands="data like",
    dtypes={"data": "fiu"},
    grad=lambda g, y, data, like: (broadcast_like(g, data), None),
    numpy=lambda data, like: np.sum(
        data, axis=_summed(data.shape, like.shape), dtype=data.dtype
    ).reshape(like.shape),
    samples=(
        ((2, 3, 4), (3, 1), {}),
        ((2, 3), (2, 3), {}),
        ((2, 3), (), {}),
        ((2, 3), (1,), {}),
        ((0, 3), (1, 3), {}),
    ),
    doc="""`data` summed along the axes by which `like` would broadcast to its shape: the adjoint of
    broadcasting.""",
)


class BroadcastLikeAttrs(Frozen):
    lhs_axes: tuple[int, ...] | None = None
    rhs_axes: tuple[int, ...] | None = None


def _broadcast_like_shape(
    attrs: BroadcastLikeAttrs, left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[int, ...]:
    if attrs.lhs_axes is None and attrs.rhs_axes is None:
        return right
    check(
        attrs.lhs_axes is not None
        and attrs.rhs_axes is not None
        and len(attrs.lhs_axes) == len(attrs.rhs_axes),
        "broadcast_like",
        f"lhs_axes and rhs_axes must pair up: {attrs.lhs_axes} and {attrs.rhs_axes}",
    )
    result = list(left)
    for mine, theirs in zip(attrs.lhs_axes or (), attrs.rhs_axes or (), strict=True):
        extent = right[normalized_axis("broadcast_like", theirs, len(right))]
        result[normalized_axis("broadcast_like", mine, len(left))] = extent
    return tuple(result)


broadcast_like: Operator = composite(
    "broadcast_like",
    lambda attrs, lhs, rhs: (
        _broadcast(lhs, shape=_broadcast_like_shape(attrs, lhs.shape, rhs.shape))
        if not same_shape(lhs.shape, _broadcast_like_shape(attrs, lhs.shape, rhs.shape))
        else lhs
    ),
    operands="lhs rhs",
    attrs=BroadcastLikeAttrs,
    grad=lambda a, g, y, lhs, rhs: (sum_to_like(g, lhs), None),
    numpy=lambda lhs, rhs, **fields: np.broadcast_to(
        lhs, _broadcast_like_shape(BroadcastLikeAttrs(**fields), lhs.shape, rhs.shape)
    ).copy(),
    samples=(
        ((1, 3), (2, 3), {}),
        ((2, 3), (2, 3), {}),
        ((3,), (0, 3), {}),
        ((1, 1, 3), (5, 7), {"lhs_axes": (0,), "rhs_axes": (-1,)}),
    ),
    doc="""`lhs` broadcast to the shape of `rhs`.

    Parameters: `lhs_axes`, `rhs_axes` take only these axes' extents.

    >>> nd.broadcast_like(nd.array([[1], [2]]), nd.zeros((2, 3))).asnumpy()
    array([[1., 1., 1.],
           [2., 2., 2.]], dtype=float32)
    """,
)

# -------------------------------------------------------------------------------- slices


class RawSliceAttrs(Frozen):
    start: tuple[int, ...]
    step: tuple[int, ...]
    extents: tuple[int, ...]


def _check_region(
    where: str,
    shape: tuple[int, ...],
    start: tuple[int, ...],
    step: tuple[int, ...],
    extents: tuple[int, ...],
) -> None:
    fits = len(shape) == len(start) == len(step) == len(extents) and all(
        n == 0 or (n > 0 and s != 0 and 0 <= b < size and 0 <= b + (n - 1) * s < size)
        for size, b, s, n in zip(shape, start, step, extents, strict=True)
    )
    check(
        fits,
        where,
        f"region (start {start}, step {step}, extents {extents}) leaves shape {shape}",
    )


def _infer_raw_slice(attrs: RawSliceAttrs, x: TensorType) -> TensorType:
    _check_region("slice", x.shape, attrs.start, attrs.step, attrs.extents)
    return TensorType(attrs.extents, x.dtype)


def _lower_slice(
    attrs: RawSliceAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    return read(
        0,
        tuple(
            L.add(L.mul(c, s), b) for c, b, s in zip(coords, attrs.start, attrs.step, strict=True)
        ),
    )


def _region_slices(
    start: tuple[int, ...], step: tuple[int, ...], extents: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    return np.ix_(
        *(
            (b + s * np.arange(n)).astype(np.int64)
            for b, s, n in zip(start, step, extents, strict=True)
        )
    )


_slice = primitive(
    "_slice",
    Family.VIEW,
    attrs=RawSliceAttrs,
    shares_memory=True,  # imperatively, contiguous parts are views
    offsets="start",
    infer=_infer_raw_slice,
    lower=_lower_slice,
    grad=lambda a, g, y, x: (unslice(g, x, start=a.start, step=a.step),),
    numpy=lambda x, start, step, extents: (
        x[_region_slices(start, step, extents)] if x.ndim else x.copy()
    ),
    samples=(
        ((5, 7), {"start": (1, 6), "step": (2, -3), "extents": (2, 3)}),
        ((5,), {"start": (0,), "step": (1,), "extents": (0,)}),
        ((4,), {"start": (3,), "step": (-1,), "extents": (4,)}),
        ((0, 3), {"start": (0, 1), "step": (1, 1), "extents": (0, 2)}),
        ((), {"start": (), "step": (), "extents": ()}),
    ),
    doc="""Element i of each axis is element start + i · step of the source.""",
)


class RegionAttrs(Frozen):
    start: tuple[int, ...]
    step: tuple[int, ...]


def _decompose_unslice(attrs: RegionAttrs, data: Any, like: Any) -> Any:
    _check_region("_unslice", like.shape, attrs.start, attrs.step, data.shape)
    extents = data.shape
    if any(n > 1 and s < 0 for n, s in zip(extents, attrs.step, strict=True)):
        data = _slice(
            data,
            start=tuple(
                n - 1 if s < 0 and n else 0 for n, s in zip(extents, attrs.step, strict=True)
            ),
            step=tuple(-1 if s < 0 else 1 for s in attrs.step),
            extents=extents,
        )
    before, after, interior = [], [], []
    for size, n, b, s in zip(like.shape, extents, attrs.start, attrs.step, strict=True):
        low = builtins.min(b, b + (n - 1) * s) if n else 0
        span = (n - 1) * builtins.abs(s) + 1 if n else 0
        before.append(low)
        after.append(size - low - span)
        interior.append(builtins.abs(s) - 1)
    if same_shape(data.shape, like.shape):
        return data
    return _pad(data, before=tuple(before), after=tuple(after), interior=tuple(interior), value=0.0)


def _unslice_oracle(
    data: np.ndarray, like: np.ndarray, start: tuple[int, ...], step: tuple[int, ...]
) -> np.ndarray:
    result = np.zeros(like.shape, data.dtype)
    result[_region_slices(start, step, data.shape)] = data
    return result


unslice: Operator = composite(
    "_unslice",
    _decompose_unslice,
    operands="data like",
    attrs=RegionAttrs,
    grad=lambda a, g, y, data, like: (region(g, data, start=a.start, step=a.step), None),
    numpy=_unslice_oracle,
    samples=(
        ((2, 3), (5, 7), {"start": (1, 6), "step": (2, -3)}),
        ((0,), (4,), {"start": (0,), "step": (1,)}),
        ((4,), (4,), {"start": (0,), "step": (1,)}),
    ),
    doc="""Zeros in the shape of `like` with `data` in the region: the adjoint of a slice.""",
)

region: Operator = composite(
    "_region",
    lambda attrs, data, like: _slice(data, start=attrs.start, step=attrs.step, extents=like.shape),
    operands="data like",
    attrs=RegionAttrs,
    grad=lambda a, g, y, data, like: (unslice(g, data, start=a.start, step=a.step), None),
    numpy=lambda data, like, start, step: data[_region_slices(start, step, like.shape)],
    samples=(((5, 7), (2, 3), {"start": (1, 6), "step": (2, -3)}),),
    doc="""The region of `data` that begins at `start`, in the extents of `like`.""",
)

# ------------------------------------------------------------------------------- padding


class RawPadAttrs(Frozen):
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0
    interior: tuple[int, ...] = ()
    """Elements put between two neighbours of an axis."""

    def spread(self, ndim: int) -> tuple[int, ...]:
        return tuple(gap + 1 for gap in self.interior) or (1,) * ndim


def _infer_raw_pad(attrs: RawPadAttrs, x: TensorType) -> TensorType:
    fields = (attrs.before, attrs.after, attrs.spread(x.ndim))
    check(
        all(len(field) == x.ndim for field in fields)
        and all(n >= 0 for n in (*attrs.before, *attrs.after, *attrs.interior)),
        "pad",
        f"widths {attrs.before} and {attrs.after} do not fit shape {x.shape}; give one per axis",
    )
    extents = (
        b + a + (builtins.max(n - 1, 0) * s + builtins.min(n, 1))
        for n, b, a, s in zip(x.shape, *fields, strict=True)
    )
    return TensorType(tuple(extents), x.dtype)


def _lower_pad(
    attrs: RawPadAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    (x,) = types
    inner, inside = [], []
    widths = zip(x.shape, coords, attrs.before, attrs.after, attrs.spread(x.ndim), strict=True)
    for n, c, before, after, step in widths:
        place = L.sub(c, before)
        if before:
            inside.append(L.ge(place, 0))
        if after:
            inside.append(L.lt(place, (n - 1) * step + 1))
        if step > 1:
            inside.append(L.eq(L.mod(place, step), 0))
            place = L.floordiv(place, step)
        inner.append(place)
    value = int(attrs.value) if x.dtype.is_integer else attrs.value
    return L.select(_all(inside), read(0, tuple(inner)), L.const(value, x.dtype))


def _raw_pad_oracle(
    x: np.ndarray,
    before: tuple[int, ...],
    after: tuple[int, ...],
    value: float,
    interior: tuple[int, ...],
) -> np.ndarray:
    attrs = RawPadAttrs(before, after, value, interior)
    shape = _infer_raw_pad(attrs, TensorType(x.shape, as_dtype(x.dtype))).shape
    result = np.full(shape, value, x.dtype)
    result[_region_slices(before, attrs.spread(x.ndim), x.shape)] = x
    return result


_pad = primitive(
    "_pad",
    Family.VIEW,
    attrs=RawPadAttrs,
    infer=_infer_raw_pad,
    lower=_lower_pad,
    grad=lambda a, g, y, x: (region(g, x, start=a.before, step=a.spread(len(a.before))),),
    numpy=_raw_pad_oracle,
    samples=(
        ((2, 3), {"before": (1, 0), "after": (0, 2)}),
        ((2, 3), {"before": (1, 2), "after": (3, 0), "value": 5.0, "interior": (0, 2)}),
        ((0, 2), {"before": (1, 0), "after": (2, 0), "value": 1.0}),
        ((3,), {"before": (0,), "after": (0,)}),
        ((1,), {"before": (1,), "after": (1,), "interior": (3,)}),
    ),
    doc="""The array with `before` and `after` elements of `value` around each axis and `interior`
    ones between its elements.""",
)


def _along(data: Any, axis: int, start: int, step: int, extent: int) -> Any:
    ndim = data.ndim
    return _slice(
        data,
        start=tuple(start if i == axis else 0 for i in range(ndim)),
        step=tuple(step if i == axis else 1 for i in range(ndim)),
        extents=tuple(extent if i == axis else n for i, n in enumerate(data.shape)),
    )
