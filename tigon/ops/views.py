"""Operators that move elements about: reshapes, transposes, slices, padding, joining.

Primitives have concrete attributes and are index maps, so that they cost nothing once fused; the
operators with MXNet's conventions (reshape codes, negative axes, None in slices) are composites.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.dtypes import bool_
from tigon.base.extents import is_one, same_shape
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.elementwise import cast, identity
from tigon.ops.record import Family, Operator, common_dtype, composite, get, primitive

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
            if prod(source[first] for first in there if first < axis) == 1:
                inner[axis] = flat
            else:
                inner[axis] = L.mod(flat, source[axis])
                flat = L.floordiv(flat, source[axis])
    return read(0, tuple(inner))


_reshape = primitive(
    "_reshape",
    Family.VIEW,
    attrs=ShapeAttrs,
    extra={"shares_memory": True},  # imperatively a view, as MXNet's x.reshape
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


class ReshapeAttrs(Frozen):
    shape: tuple[int, ...] = ()
    reverse: bool = False
    target_shape: tuple[int, ...] = ()  # MXNet's older spelling: 0 means "infer"
    keep_highest: bool = False


def resolve_shape(source: tuple[int, ...], attrs: ReshapeAttrs) -> tuple[int, ...]:
    """The shape that MXNet's codes ask for.

    >>> resolve_shape((2, 3, 4), ReshapeAttrs((-3, 0)))
    (6, 4)
    >>> resolve_shape((10, 5, 4), ReshapeAttrs((-1, 0), reverse=True))
    (50, 4)
    """
    codes = attrs.shape
    if not codes and attrs.target_shape:
        codes = tuple(-1 if extent == 0 else extent for extent in attrs.target_shape)
        if attrs.keep_highest:
            codes = (0, *codes[1:])
    if attrs.reverse:
        return tuple(reversed(_resolve(source, tuple(reversed(source)), _reversed_codes(codes))))
    return _resolve(source, source, codes)


def _reversed_codes(codes: tuple[int, ...]) -> tuple[int, ...]:
    """Read from the right; the two factors behind a -4 stay behind it."""
    groups: list[tuple[int, ...]] = []
    position = 0
    while position < len(codes):
        length = 3 if codes[position] == -4 else 1
        group = codes[position : position + length]
        groups.append((group[0], *reversed(group[1:])))
        position += length
    return tuple(code for group in reversed(groups) for code in group)


def _resolve(
    shown: tuple[int, ...], source: tuple[int, ...], codes: tuple[int, ...]
) -> tuple[int, ...]:
    """One code after the other, each taking axes of the source and giving extents."""

    def need(condition: object, why: str) -> None:
        check(condition, "reshape", f"{why}; cannot bring shape {shown} into {codes}")

    result: list[int] = []
    inferred = -1
    left = list(source)  # axes not yet used
    waiting = list(codes)
    while waiting:
        code = waiting.pop(0)
        need(code >= -4, f"{code} has no meaning, codes are 0 to -4")
        taken = left[: {-2: len(left), -3: 2}.get(code, 1)]
        del left[: len(taken)]
        if code > 0:
            result.append(code)
        elif code == 0:
            need(taken, "a 0 keeps an axis that is not there")
            result += taken
        elif code == -1:
            need(inferred < 0, "only one extent can be inferred")
            inferred = len(result)
            result.append(1)
        elif code == -2:
            result += taken
        elif code == -3:
            need(len(taken) == 2, "a -3 merges two axes that are not there")
            result.append(prod(taken))
        else:
            need(taken and len(waiting) >= 2, "a -4 needs an axis and two factors behind it")
            factors = _factors(taken[0], waiting.pop(0), waiting.pop(0))
            need(prod(factors) == taken[0], f"{factors[0]} times {factors[1]} is not {taken[0]}")
            result += factors
    if inferred >= 0:
        known = prod(result)
        need(known, "an extent cannot be inferred next to an empty axis")
        result[inferred] = prod(source) // known
    return tuple(result)


def _factors(extent: int, first: int, second: int) -> tuple[int, int]:
    """Both factors of a split; one of them may be -1."""
    if first == -1 and second > 0:
        return extent // second, second
    if second == -1 and first > 0:
        return first, extent // first
    return builtins.max(first, 0), builtins.max(second, 0)


def _reshape_oracle(x: np.ndarray, **fields: Any) -> np.ndarray:
    return x.reshape(resolve_shape(x.shape, ReshapeAttrs(**fields)))


reshape = composite(
    "Reshape",
    lambda attrs, data: _reshape(data, shape=resolve_shape(data.shape, attrs)),
    attrs=ReshapeAttrs,
    grad=lambda a, g, y, x: (reshape_like(g, x),),
    numpy=_reshape_oracle,
    aliases=("reshape",),
    samples=(
        ((2, 3, 4), {"shape": (4, 0, 2)}),
        ((2, 3, 4), {"shape": (6, 1, -1)}),
        ((2, 3, 4), {"shape": (-2, 1, 1)}),
        ((2, 3, 4), {"shape": (-3, 4)}),
        ((2, 3, 4), {"shape": (-4, 1, 2, -2)}),
        ((2, 3, 4), {"shape": (2, -4, -1, 3, -2)}),
        ((10, 5, 4), {"shape": (-1, 0), "reverse": True}),
        ((), {"shape": (1,)}),
        ((0, 3), {"shape": (-1, 2)}),
    ),
    doc="""The same elements in row-major order, under another shape.

    Parameters: `shape`, where 0 keeps the axis at this place, -1 is inferred, -2 takes all axes
    that are left, -3 merges two axes, -4 splits one into the two extents that follow (one of them
    may be -1); `reverse` reads the codes from the right.

    >>> nd.reshape(nd.zeros((2, 3, 4)), shape=(-3, 0)).shape
    (6, 4)
    >>> nd.reshape(nd.array([1, 2, 3, 4]), shape=(2, -1)).asnumpy()
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """,
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


class AxisAttrs(Frozen):
    axis: int


def _expanded(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    place = normalized_axis("expand_dims", axis, len(shape) + 1)
    return (*shape[:place], 1, *shape[place:])


expand_dims = composite(
    "expand_dims",
    lambda attrs, data: _reshape(data, shape=_expanded(data.shape, attrs.axis)),
    attrs=AxisAttrs,
    grad=lambda a, g, y, x: (reshape_like(g, x),),
    numpy=lambda x, axis: np.expand_dims(x, axis),
    samples=(((2, 3), {"axis": 1}), ((2,), {"axis": -1}), ((), {"axis": 0}), ((0,), {"axis": 0})),
    doc="""The same elements with a new axis of extent 1.

    Parameters: `axis` where it goes, negative counted from behind.

    >>> nd.expand_dims(nd.array([1, 2]), axis=1).asnumpy()
    array([[1.],
           [2.]], dtype=float32)
    """,
)


class SqueezeAttrs(Frozen):
    axis: tuple[int, ...] | None = None


def _squeezed(shape: tuple[int, ...], axis: tuple[int, ...] | None) -> tuple[int, ...]:
    if axis is None:
        kept = tuple(extent for extent in shape if extent != 1)
    else:
        gone = normalized_axes("squeeze", axis, len(shape))
        for place in gone:
            check(
                shape[place] == 1,
                "squeeze",
                f"axis {place} of shape {shape} has extent {shape[place]}; only 1 can go",
            )
        kept = tuple(extent for place, extent in enumerate(shape) if place not in gone)
    return kept or (1,)  # MXNet has no 0-d results


squeeze = composite(
    "squeeze",
    lambda attrs, data: _reshape(data, shape=_squeezed(data.shape, attrs.axis)),
    attrs=SqueezeAttrs,
    grad=lambda a, g, y, x: (reshape_like(g, x),),
    numpy=lambda x, axis: x.reshape(_squeezed(x.shape, axis)),
    samples=(((2, 1, 3, 1), {}), ((2, 1, 3), {"axis": 1}), ((1, 1), {}), ((0, 1), {"axis": -1})),
    doc="""The same elements without axes of extent 1; at least one axis stays.

    Parameters: `axis` one axis or several; all of extent 1 if not given.

    >>> nd.squeeze(nd.array([[[1], [2]]])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

flatten = composite(
    "Flatten",
    lambda data: _reshape(data, shape=_flattened(data.shape)),
    grad=lambda g, y, x: (reshape_like(g, x),),
    numpy=lambda x: x.reshape(_flattened(x.shape)),
    aliases=("flatten",),
    samples=(((2, 3, 4), {}), ((3,), {}), ((0, 2, 2), {})),
    doc="""The same elements with all axes but the first merged.

    >>> nd.flatten(nd.zeros((2, 3, 4))).shape
    (2, 12)
    """,
)


def _flattened(shape: tuple[int, ...]) -> tuple[int, int]:
    check(shape, "Flatten", "expected at least one axis; given a 0-d array; reshape it first")
    return shape[0], prod(shape[1:])


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


class SwapAxisAttrs(Frozen):
    dim1: int = 0
    dim2: int = 0


def _decompose_swapaxes(attrs: SwapAxisAttrs, data: Any) -> Any:
    order = list(range(data.ndim))
    first = normalized_axis("SwapAxis", attrs.dim1, data.ndim)
    second = normalized_axis("SwapAxis", attrs.dim2, data.ndim)
    order[first], order[second] = order[second], order[first]
    return transpose(data, axes=tuple(order))


swapaxes: Operator = composite(
    "SwapAxis",
    _decompose_swapaxes,
    attrs=SwapAxisAttrs,
    grad=lambda a, g, y, x: (swapaxes(g, dim1=a.dim1, dim2=a.dim2),),
    numpy=lambda x, dim1, dim2: np.swapaxes(x, dim1, dim2),
    aliases=("swapaxes",),
    samples=(((2, 3, 4), {"dim1": 0, "dim2": 2}), ((0, 2), {"dim1": 1, "dim2": -2})),
    doc="""The array with two axes exchanged.

    Parameters: `dim1`, `dim2` the axes.

    >>> nd.swapaxes(nd.array([[1, 2, 3]]), dim1=0, dim2=1).asnumpy()
    array([[1.],
           [2.],
           [3.]], dtype=float32)
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


def _broadcast_codes(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == len(wanted):
        return tuple(n if w == 0 and n != 0 else w for n, w in zip(shape, wanted, strict=True))
    return wanted


broadcast_to = composite(
    "broadcast_to",
    lambda attrs, data: _broadcast(data, shape=_broadcast_codes(data.shape, attrs.shape)),
    attrs=ShapeAttrs,
    grad=lambda a, g, y, x: (sum_to_like(g, x),),
    numpy=lambda x, shape: np.broadcast_to(x, _broadcast_codes(x.shape, shape)).copy(),
    samples=(((1, 3), {"shape": (2, 3)}), ((2, 1), {"shape": (0, 3)}), ((3,), {"shape": (2, 3)})),
    doc="""The array repeated along axes of extent 1 until it has this shape.

    Parameters: `shape`, where 0 keeps an axis.

    >>> nd.broadcast_to(nd.array([[1, 2]]), shape=(2, 2)).asnumpy()
    array([[1., 2.],
           [1., 2.]], dtype=float32)
    """,
)


class BroadcastAxisAttrs(Frozen):
    axis: tuple[int, ...] = ()
    size: tuple[int, ...] = ()


def _axis_broadcast_shape(
    shape: tuple[int, ...], axis: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, ...]:
    check(
        len(axis) == len(size),
        "broadcast_axis",
        f"axis and size differ in length: {axis} and {size}",
    )
    result = list(shape)
    for place, extent in zip(axis, size, strict=True):
        place = normalized_axis("broadcast_axis", place, len(shape))
        check(
            shape[place] == 1,
            "broadcast_axis",
            f"axis {place} of shape {shape} has extent {shape[place]}; only 1 can be repeated",
        )
        result[place] = extent
    return tuple(result)


broadcast_axis = composite(
    "broadcast_axis",
    lambda attrs, data: _broadcast(
        data, shape=_axis_broadcast_shape(data.shape, attrs.axis, attrs.size)
    ),
    attrs=BroadcastAxisAttrs,
    grad=lambda a, g, y, x: (sum_to_like(g, x),),
    numpy=lambda x, axis, size: np.broadcast_to(
        x, _axis_broadcast_shape(x.shape, axis, size)
    ).copy(),
    aliases=("broadcast_axes",),
    samples=(((1, 2, 1), {"axis": (0, 2), "size": (2, 3)}), ((1, 0), {"axis": 0, "size": 2})),
    doc="""The array repeated along axes of extent 1.

    Parameters: `axis` which axes, `size` the new extent of each.

    >>> nd.broadcast_axis(nd.array([[1], [2]]), axis=1, size=2).asnumpy()
    array([[1., 1.],
           [2., 2.]], dtype=float32)
    """,
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
    extra={"shares_memory": True},  # imperatively, contiguous parts are views
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


def slice_range(
    where: str, size: int, begin: int | None, end: int | None, step: int | None
) -> tuple[int, int, int]:
    """Python's slice of an axis as (start, step, extent).

    >>> slice_range("slice", 5, None, None, -2)
    (4, -2, 3)
    """
    check(step != 0, where, "step is 0; use 1, or -1 to go backwards")
    found = range(*builtins.slice(begin, end, step).indices(size))
    return (found.start if len(found) else 0), found.step, len(found)


class SliceAttrs(Frozen):
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] = ()


def _regions(attrs: SliceAttrs, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    count = len(attrs.begin)
    steps = attrs.step or (None,) * count
    check(
        count == len(attrs.end) == len(steps) and count <= len(shape),
        "slice",
        f"begin {attrs.begin}, end {attrs.end}, step {attrs.step} do not fit shape {shape}",
    )
    found = [
        slice_range("slice", *axis)
        for axis in zip(shape, attrs.begin, attrs.end, steps, strict=False)
    ]
    found += [(0, 1, extent) for extent in shape[count:]]
    start, step, extents = zip(*found, strict=True) if found else ((), (), ())
    return {"start": start, "step": step, "extents": extents}


slice = composite(
    "slice",
    lambda attrs, data: _slice(data, **_regions(attrs, data.shape)),
    attrs=SliceAttrs,
    numpy=lambda x, begin, end, step: x[
        tuple(
            builtins.slice(*part)
            for part in zip(begin, end, step or (None,) * len(begin), strict=True)
        )
    ].copy(),
    aliases=("crop",),
    samples=(
        ((3, 4), {"begin": (0, 1), "end": (2, 4)}),
        ((5, 6), {"begin": (None, 4), "end": (None, 0), "step": (2, -1)}),
        ((5, 6), {"begin": (-2,), "end": (None,)}),
        ((3, 0), {"begin": (1,), "end": (3,)}),
        ((4,), {"begin": (3,), "end": (1,)}),
    ),
    doc="""A region of the array, as Python's slices take it.

    Parameters: `begin`, `end` and `step`, one entry per axis from the first on; None for the whole
    axis, negative counted from behind.

    >>> nd.slice(nd.array([[1, 2, 3], [4, 5, 6]]), begin=(0, 1), end=(2, 3)).asnumpy()
    array([[2., 3.],
           [5., 6.]], dtype=float32)
    """,
)


class SliceAxisAttrs(Frozen):
    axis: int
    begin: int
    end: int | None


def _axis_region(
    where: str, shape: tuple[int, ...], axis: int, begin: int | None, end: int | None
) -> dict[str, tuple[int, ...]]:
    place = normalized_axis(where, axis, len(shape))
    start, _, extent = slice_range(where, shape[place], begin, end, None)
    return {
        "start": tuple(start if i == place else 0 for i in range(len(shape))),
        "step": (1,) * len(shape),
        "extents": tuple(extent if i == place else n for i, n in enumerate(shape)),
    }


slice_axis = composite(
    "slice_axis",
    lambda attrs, data: _slice(
        data, **_axis_region("slice_axis", data.shape, attrs.axis, attrs.begin, attrs.end)
    ),
    attrs=SliceAxisAttrs,
    numpy=lambda x, axis, begin, end: np.take(
        x, np.arange(*builtins.slice(begin, end).indices(x.shape[axis])), axis
    ),
    samples=(
        ((3, 4), {"axis": 1, "begin": 1, "end": 3}),
        ((3, 4), {"axis": -2, "begin": -2, "end": None}),
        ((0, 4), {"axis": 1, "begin": 0, "end": 2}),
    ),
    doc="""A range along one axis.

    Parameters: `axis`; `begin`, `end` as in Python's slices, `end` None for the rest.

    >>> nd.slice_axis(nd.array([[1, 2, 3], [4, 5, 6]]), axis=1, begin=0, end=2).asnumpy()
    array([[1., 2.],
           [4., 5.]], dtype=float32)
    """,
)


class AxesAttrs(Frozen):
    axes: tuple[int, ...] = ()


def _like_extents(
    attrs: AxesAttrs, shape: tuple[int, ...], like: tuple[int, ...]
) -> tuple[int, ...]:
    axes = attrs.axes or tuple(range(builtins.min(len(shape), len(like))))
    if not attrs.axes:
        check(len(shape) == len(like), "slice_like", f"ranks differ: {shape} and {like}; give axes")
    places = normalized_axes("slice_like", axes, builtins.min(len(shape), len(like)))
    return tuple(like[i] if i in places else n for i, n in enumerate(shape))


slice_like = composite(
    "slice_like",
    lambda attrs, data, shape_like: _slice(
        data,
        start=(0,) * data.ndim,
        step=(1,) * data.ndim,
        extents=_like_extents(attrs, data.shape, shape_like.shape),
    ),
    operands="data shape_like",
    attrs=AxesAttrs,
    numpy=lambda x, like, axes: x[
        tuple(builtins.slice(n) for n in _like_extents(AxesAttrs(axes), x.shape, like.shape))
    ].copy(),
    samples=(((3, 4), (2, 3), {}), ((3, 4), (2, 3), {"axes": (-1,)}), ((3, 4), (0, 3), {})),
    doc="""The beginning of `data`, in the extents of `shape_like`.

    Parameters: `axes` restricts this to some axes.

    >>> nd.slice_like(nd.array([[1, 2, 3], [4, 5, 6]]), nd.zeros((1, 2))).asnumpy()
    array([[1., 2.]], dtype=float32)
    """,
)


class ReverseAttrs(Frozen):
    axis: tuple[int, ...]


def _decompose_flip(attrs: ReverseAttrs, data: Any) -> Any:
    axes = normalized_axes("reverse", attrs.axis, data.ndim)
    return _slice(
        data,
        start=tuple(n - 1 if i in axes and n else 0 for i, n in enumerate(data.shape)),
        step=tuple(-1 if i in axes else 1 for i in range(data.ndim)),
        extents=data.shape,
    )


flip: Operator = composite(
    "reverse",
    _decompose_flip,
    attrs=ReverseAttrs,
    grad=lambda a, g, y, x: (flip(g, axis=a.axis),),
    numpy=lambda x, axis: np.flip(x, axis).copy(),
    aliases=("flip",),
    samples=(((2, 3), {"axis": 1}), ((2, 3), {"axis": (0, -1)}), ((0, 2), {"axis": 0})),
    doc="""The elements in reverse order along `axis` (one or several).

    >>> nd.flip(nd.array([[1, 2, 3]]), axis=1).asnumpy()
    array([[3., 2., 1.]], dtype=float32)
    """,
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


class PadAttrs(Frozen):
    mode: str
    pad_width: tuple[int, ...]
    constant_value: float = 0.0


def _decompose_pad(attrs: PadAttrs, data: Any) -> Any:
    _check_pad(attrs, data.shape)
    before, after = attrs.pad_width[::2], attrs.pad_width[1::2]
    if attrs.mode == "constant":
        return _pad(data, before=before, after=after, value=attrs.constant_value)
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        size = data.shape[axis]
        parts = []
        if first:
            parts.append(
                _edge(data, axis, 0, first)
                if attrs.mode == "edge"
                else _along(data, axis, first, -1, first)
            )
        parts.append(data)
        if last:
            parts.append(
                _edge(data, axis, size - 1, last)
                if attrs.mode == "edge"
                else _along(data, axis, size - 2, -1, last)
            )
        if len(parts) > 1:
            data = _join(*parts, axis=axis)
    return data


def _check_pad(attrs: PadAttrs, shape: tuple[int, ...]) -> None:
    check(
        attrs.mode in ("constant", "edge", "reflect"),
        "Pad",
        f"mode is constant, edge or reflect; given '{attrs.mode}'",
    )
    check(
        len(attrs.pad_width) == 2 * len(shape) and all(n >= 0 for n in attrs.pad_width),
        "Pad",
        f"pad_width {attrs.pad_width} must give two widths for each axis of shape {shape}",
    )
    for axis, size in enumerate(shape):
        widths = attrs.pad_width[2 * axis : 2 * axis + 2]
        if any(widths):
            least = builtins.max(widths) + 1 if attrs.mode == "reflect" else 1
            check(
                attrs.mode == "constant" or size >= least,
                "Pad",
                f"{attrs.mode} by {widths} needs extent {least} in axis {axis} of shape {shape}",
            )


def _along(data: Any, axis: int, start: int, step: int, extent: int) -> Any:
    ndim = data.ndim
    return _slice(
        data,
        start=tuple(start if i == axis else 0 for i in range(ndim)),
        step=tuple(step if i == axis else 1 for i in range(ndim)),
        extents=tuple(extent if i == axis else n for i, n in enumerate(data.shape)),
    )


def _edge(data: Any, axis: int, place: int, width: int) -> Any:
    one = _along(data, axis, place, 1, 1)
    return _broadcast(one, shape=tuple(width if i == axis else n for i, n in enumerate(data.shape)))


def _pad_oracle(x: np.ndarray, mode: str, pad_width: tuple[int, ...], constant_value: float) -> Any:
    pairs = list(zip(pad_width[::2], pad_width[1::2], strict=True))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_value)
    return np.pad(x, pairs, mode=mode)  # type: ignore[call-overload]


pad = composite(
    "Pad",
    _decompose_pad,
    attrs=PadAttrs,
    numpy=_pad_oracle,
    aliases=("pad",),
    samples=(
        ((2, 3), {"mode": "constant", "pad_width": (1, 0, 0, 2), "constant_value": 3.0}),
        ((2, 1, 3, 4), {"mode": "edge", "pad_width": (0, 0, 0, 0, 1, 2, 3, 0)}),
        ((1, 2, 3, 4), {"mode": "reflect", "pad_width": (0, 0, 0, 0, 2, 1, 0, 3)}),
        ((0, 2), {"mode": "constant", "pad_width": (0, 1, 1, 0)}),
    ),
    doc="""The array with a border.

    Parameters: `mode` "constant" (filled with `constant_value`), "edge" (the outermost element) or
    "reflect" (mirrored at the outermost element); `pad_width` before and after for each axis.

    >>> nd.pad(nd.array([[1, 2, 3]]), mode="constant", pad_width=(0, 0, 1, 1)).asnumpy()
    array([[0., 1., 2., 3., 0.]], dtype=float32)
    >>> nd.pad(nd.array([[1, 2, 3]]), mode="reflect", pad_width=(0, 0, 2, 2)).asnumpy()
    array([[3., 2., 1., 2., 3., 2., 1.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------- windows


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

# ------------------------------------------------------------------- joining and writing


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


class ConcatAttrs(Frozen):
    dim: int = 1
    num_args: int = 0


concat = composite(
    "Concat",
    lambda attrs, *data: _join(*data, axis=normalized_axis("concat", attrs.dim, data[0].ndim)),
    operands="*data",
    attrs=ConcatAttrs,
    numpy=lambda *xs, dim, num_args: np.concatenate(xs, dim),
    aliases=("concat",),
    samples=(
        ((2, 3), (2, 4), {}),
        ((2, 3), (1, 3), {"dim": -2}),
        ((2, 1, 3), {"dim": 1}),
        ((0, 2), (3, 2), {"dim": 0}),
    ),
    doc="""The arrays one behind the other.

    Parameters: `dim` the axis (default 1); all other extents must be equal.

    >>> nd.concat(nd.array([[1, 2]]), nd.array([[3]]), dim=1).asnumpy()
    array([[1., 2., 3.]], dtype=float32)
    """,
)


class StackAttrs(Frozen):
    axis: int = 0
    num_args: int = 0


def _decompose_stack(attrs: StackAttrs, *data: Any) -> Any:
    check(data, "stack", "expected at least one array; given none")
    axis = normalized_axis("stack", attrs.axis, data[0].ndim + 1)
    return _join(*(expand_dims(x, axis=axis) for x in data), axis=axis)


stack = composite(
    "stack",
    _decompose_stack,
    operands="*data",
    attrs=StackAttrs,
    numpy=lambda *xs, axis, num_args: np.stack(xs, axis),
    samples=(((2, 3), (2, 3), {}), ((2,), (2,), (2,), {"axis": -1}), ((0,), (0,), {"axis": 1})),
    doc="""The arrays along a new axis.

    Parameters: `axis` where it goes.

    >>> nd.stack(nd.array([1, 2]), nd.array([3, 4]), axis=1).asnumpy()
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """,
)


class SplitAttrs(Frozen):
    num_outputs: int
    axis: int = 1
    squeeze_axis: bool = False


def _decompose_split(attrs: SplitAttrs, data: Any) -> Any:
    axis = normalized_axis("split", attrs.axis, data.ndim)
    size = data.shape[axis]
    check(
        attrs.num_outputs > 0 and size % attrs.num_outputs == 0,
        "split",
        f"axis {axis} of shape {data.shape} does not divide into {attrs.num_outputs} equal parts",
    )
    extent = size // attrs.num_outputs
    check(
        not attrs.squeeze_axis or extent == 1,
        "split",
        f"squeeze_axis needs parts of extent 1; they have {extent}",
    )
    parts = []
    for index in range(attrs.num_outputs):
        part = _along(data, axis, index * extent, 1, extent)
        if attrs.squeeze_axis:
            part = _reshape(part, shape=_squeezed(part.shape, (axis,)))
        parts.append(part)
    return tuple(parts)


def _split_oracle(
    x: np.ndarray, num_outputs: int, axis: int, squeeze_axis: bool
) -> tuple[np.ndarray, ...]:
    parts = np.split(x, num_outputs, axis)
    if squeeze_axis:
        parts = [part.reshape(_squeezed(part.shape, (axis,))) for part in parts]
    return tuple(parts)


split = composite(
    "SliceChannel",
    _decompose_split,
    attrs=SplitAttrs,
    outputs=lambda a: a.num_outputs,
    numpy=_split_oracle,
    aliases=("split",),
    samples=(
        ((2, 6), {"num_outputs": 3}),
        ((2, 3), {"num_outputs": 3, "squeeze_axis": True}),
        ((4, 2), {"num_outputs": 1, "axis": 0}),
        ((4, 0), {"num_outputs": 2, "axis": -2}),
    ),
    doc="""The array cut into equal parts.

    Parameters: `num_outputs` how many, `axis` along which (default 1), `squeeze_axis` drops that
    axis, which then must have extent 1 in each part.

    >>> [part.asnumpy().tolist() for part in nd.split(nd.array([[1, 2, 3, 4]]), num_outputs=2)]
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """,
)


class SplitV2Attrs(Frozen):
    indices: tuple[int, ...] = ()
    axis: int = 0
    squeeze_axis: bool = False
    sections: int = 0


def _cuts(attrs: SplitV2Attrs, size: int) -> list[int]:
    """Where each part begins, and the end."""
    if attrs.sections > 0:
        check(
            size % attrs.sections == 0,
            "split_v2",
            f"extent {size} does not divide into {attrs.sections} equal sections",
        )
        return [size // attrs.sections * i for i in range(attrs.sections + 1)]
    # MXNet's files hold the leading 0.
    inner = attrs.indices[1:] if attrs.indices[:1] == (0,) else attrs.indices
    cuts = [0, *inner, size]
    check(
        all(a <= b for a, b in pairwise(cuts)),
        "split_v2",
        f"indices {attrs.indices} must ascend and stay within {size}",
    )
    return cuts


def _split_v2_count(attrs: SplitV2Attrs) -> int:
    if attrs.sections > 0:
        return attrs.sections
    return len(attrs.indices) + (attrs.indices[:1] != (0,))


def _decompose_split_v2(attrs: SplitV2Attrs, data: Any) -> Any:
    axis = normalized_axis("split_v2", attrs.axis, data.ndim)
    cuts = _cuts(attrs, data.shape[axis])
    parts = []
    for first, last in pairwise(cuts):
        part = _along(data, axis, first if last > first else 0, 1, last - first)
        if attrs.squeeze_axis:
            part = _reshape(part, shape=_squeezed(part.shape, (axis,)))
        parts.append(part)
    return tuple(parts)


def _split_v2_oracle(x: np.ndarray, **fields: Any) -> tuple[np.ndarray, ...]:
    attrs = SplitV2Attrs(**fields)
    parts = np.split(x, _cuts(attrs, x.shape[attrs.axis])[1:-1], attrs.axis)
    if attrs.squeeze_axis:
        parts = [part.reshape(_squeezed(part.shape, (attrs.axis,))) for part in parts]
    return tuple(parts)


split_v2 = composite(
    "_split_v2",
    _decompose_split_v2,
    attrs=SplitV2Attrs,
    outputs=_split_v2_count,
    numpy=_split_v2_oracle,
    samples=(
        ((5, 2), {"indices": (1, 3)}),
        ((5, 2), {"indices": (0, 1, 3)}),
        ((2, 6), {"sections": 3, "axis": 1}),
        ((3, 2), {"sections": 3, "squeeze_axis": True}),
        ((5, 2), {"indices": (2, 2)}),
    ),
    doc="""The array cut at given places or into equal sections.

    Parameters: `indices` where the second and following parts begin, or `sections` how many equal
    parts; `axis` along which (default 0); `squeeze_axis` drops that axis.

    >>> [part.shape for part in nd._split_v2(nd.zeros((5, 2)), indices=(1, 3))]
    [(1, 2), (2, 2), (2, 2)]
    """,
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


def _slice_assign_attrs(attrs: SliceAttrs, shape: tuple[int, ...]) -> dict[str, Any]:
    found = _regions(attrs, shape)
    return {"start": found["start"], "step": found["step"]}


def _slice_assign_oracle(
    lhs: np.ndarray,
    rhs: np.ndarray,
    begin: tuple[Any, ...],
    end: tuple[Any, ...],
    step: tuple[Any, ...],
) -> Any:
    result = lhs.copy()
    parts = zip(begin, end, step or (None,) * len(begin), strict=True)
    result[tuple(builtins.slice(*part) for part in parts)] = rhs
    return result


def _decompose_slice_assign(attrs: SliceAttrs, lhs: Any, rhs: Any) -> Any:
    found = _regions(attrs, lhs.shape)
    if rhs.type.weak:
        rhs = cast(rhs, dtype=lhs.dtype.name)
    if rhs.shape != found["extents"]:
        rhs = _broadcast(rhs, shape=found["extents"])
    return _assign_slice(lhs, rhs, start=found["start"], step=found["step"])


slice_assign = composite(
    "_slice_assign",
    _decompose_slice_assign,
    operands="lhs rhs",
    attrs=SliceAttrs,
    numpy=_slice_assign_oracle,
    aliases=("_crop_assign",),
    samples=(
        ((3, 4), (2, 3), {"begin": (0, 1), "end": (2, 4)}),
        ((5, 6), (3, 1), {"begin": (None, 4), "end": (None, 0), "step": (2, -1)}),
        ((3, 0), (2, 0), {"begin": (1,), "end": (3,)}),
    ),
    doc="""`lhs` with a region, given as in `slice`, overwritten by `rhs`, which is broadcast to it.

    >>> nd._slice_assign(nd.zeros((2, 2)), nd.array([[5]]), begin=(0, 1), end=(1, 2)).asnumpy()
    array([[0., 5.],
           [0., 0.]], dtype=float32)
    """,
)


class SliceAssignScalarAttrs(Frozen):
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] = ()
    scalar: float = 0.0


slice_assign_scalar = composite(
    "_slice_assign_scalar",
    lambda attrs, data: slice_assign(
        data, constant(attrs.scalar), begin=attrs.begin, end=attrs.end, step=attrs.step
    ),
    attrs=SliceAssignScalarAttrs,
    numpy=lambda x, begin, end, step, scalar: _slice_assign_oracle(
        x, np.asarray(scalar, x.dtype), begin, end, step
    ),
    aliases=("_crop_assign_scalar",),
    samples=(
        ((3, 4), {"begin": (0, 1), "end": (2, 4), "scalar": 7.0}),
        ((3, 0), {"begin": (1,), "end": (3,)}),
    ),
    doc="""The array with a region, given as in `slice`, overwritten by `scalar`.

    >>> nd._slice_assign_scalar(nd.zeros((2, 2)), begin=(0, 1), end=(1, 2), scalar=5).asnumpy()
    array([[0., 5.],
           [0., 0.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------- repeating and blocks


class TileAttrs(Frozen):
    reps: tuple[int, ...]


def _decompose_tile(attrs: TileAttrs, data: Any) -> Any:
    check(all(n >= 0 for n in attrs.reps), "tile", f"reps {attrs.reps} must not be negative")
    ndim = builtins.max(data.ndim, len(attrs.reps))
    shape = (1,) * (ndim - data.ndim) + data.shape
    reps = (1,) * (ndim - len(attrs.reps)) + attrs.reps
    between = tuple(n for pair in zip((1,) * ndim, shape, strict=True) for n in pair)
    wide = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
    final = tuple(r * n for r, n in zip(reps, shape, strict=True))
    return _reshape(_broadcast(_reshape(data, shape=between), shape=wide), shape=final)


tile = composite(
    "tile",
    _decompose_tile,
    attrs=TileAttrs,
    numpy=lambda x, reps: np.tile(x, reps),
    samples=(
        ((2, 3), {"reps": (2, 1)}),
        ((2,), {"reps": (2, 3)}),
        ((2, 3), {"reps": 2}),
        ((2, 3), {"reps": (0, 2)}),
    ),
    doc="""The whole array repeated.

    Parameters: `reps` how often along each axis, aligned at the last one.

    >>> nd.tile(nd.array([1, 2]), reps=(2, 2)).asnumpy()
    array([[1., 2., 1., 2.],
           [1., 2., 1., 2.]], dtype=float32)
    """,
)


class RepeatAttrs(Frozen):
    repeats: int
    axis: int | None = None


def _decompose_repeat(attrs: RepeatAttrs, data: Any) -> Any:
    check(attrs.repeats >= 0, "repeat", f"repeats is {attrs.repeats}; it must not be negative")
    if attrs.axis is None:
        data = _reshape(data, shape=(data.type.size,))
    axis = normalized_axis("repeat", attrs.axis or 0, data.ndim)
    shape = data.shape
    wide = (*shape[: axis + 1], attrs.repeats, *shape[axis + 1 :])
    final = (*shape[:axis], shape[axis] * attrs.repeats, *shape[axis + 1 :])
    column = _reshape(data, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
    return _reshape(_broadcast(column, shape=wide), shape=final)


repeat = composite(
    "repeat",
    _decompose_repeat,
    attrs=RepeatAttrs,
    numpy=lambda x, repeats, axis: np.repeat(x, repeats, axis),
    samples=(
        ((2, 3), {"repeats": 2}),
        ((2, 3), {"repeats": 3, "axis": -1}),
        ((0, 3), {"repeats": 2, "axis": 1}),
    ),
    doc="""Each element repeated.

    Parameters: `repeats` how often; `axis` along which, of the flattened array if not given.

    >>> nd.repeat(nd.array([[1, 2]]), repeats=2, axis=1).asnumpy()
    array([[1., 1., 2., 2.]], dtype=float32)
    """,
)


class BlockSizeAttrs(Frozen):
    block_size: int


def _check_blocks(where: str, shape: tuple[int, ...], block: int, fits: bool) -> None:
    check(
        len(shape) == 4 and block > 0 and fits,
        where,
        f"shape {shape} does not fit blocks of {block}; expected 4 axes (n, c, h, w)",
    )


def _decompose_depth_to_space(attrs: BlockSizeAttrs, data: Any) -> Any:
    b = attrs.block_size
    fits = data.ndim == 4 and b > 0 and data.shape[1] % (b * b) == 0
    _check_blocks("depth_to_space", data.shape, b, fits)
    n, c, h, w = data.shape
    x = _reshape(data, shape=(n, b, b, c // (b * b), h, w))
    x = transpose(x, axes=(0, 3, 4, 1, 5, 2))
    return _reshape(x, shape=(n, c // (b * b), h * b, w * b))


def _decompose_space_to_depth(attrs: BlockSizeAttrs, data: Any) -> Any:
    b = attrs.block_size
    fits = data.ndim == 4 and b > 0 and data.shape[2] % b == 0 and data.shape[3] % b == 0
    _check_blocks("space_to_depth", data.shape, b, fits)
    n, c, h, w = data.shape
    x = _reshape(data, shape=(n, c, h // b, b, w // b, b))
    x = transpose(x, axes=(0, 3, 5, 1, 2, 4))
    return _reshape(x, shape=(n, c * b * b, h // b, w // b))


def _depth_to_space_oracle(x: np.ndarray, block_size: int) -> np.ndarray:
    b, (n, c, h, w) = block_size, x.shape
    result = np.zeros((n, c // (b * b), h * b, w * b), x.dtype)
    for row in range(b):
        for column in range(b):
            first = (row * b + column) * (c // (b * b))
            result[:, :, row::b, column::b] = x[:, first : first + c // (b * b)]
    return result


def _space_to_depth_oracle(x: np.ndarray, block_size: int) -> np.ndarray:
    b = block_size
    return np.concatenate([x[:, :, i::b, j::b] for i in range(b) for j in range(b)], 1)


depth_to_space = composite(
    "depth_to_space",
    _decompose_depth_to_space,
    attrs=BlockSizeAttrs,
    grad=lambda a, g, y, x: (space_to_depth(g, block_size=a.block_size),),
    numpy=_depth_to_space_oracle,
    samples=(((1, 8, 2, 3), {"block_size": 2}), ((0, 4, 2, 2), {"block_size": 2})),
    doc="""Channels moved into blocks of space: (n, c, h, w) becomes (n, c/b², h·b, w·b).

    Parameters: `block_size` b.

    >>> nd.depth_to_space(nd.array([[[[1]], [[2]], [[3]], [[4]]]]), block_size=2).asnumpy()
    array([[[[1., 2.],
             [3., 4.]]]], dtype=float32)
    """,
)

space_to_depth: Operator = composite(
    "space_to_depth",
    _decompose_space_to_depth,
    attrs=BlockSizeAttrs,
    grad=lambda a, g, y, x: (depth_to_space(g, block_size=a.block_size),),
    numpy=_space_to_depth_oracle,
    samples=(((1, 2, 4, 6), {"block_size": 2}), ((0, 1, 2, 2), {"block_size": 2})),
    doc="""Blocks of space moved into channels: (n, c, h, w) becomes (n, c·b², h/b, w/b).

    Parameters: `block_size` b.

    >>> nd.space_to_depth(nd.array([[[[1, 2], [3, 4]]]]), block_size=2).shape
    (1, 4, 1, 1)
    """,
)

# -------------------------------------------------------------------------- about shapes

shape_array = composite(
    "shape_array",
    lambda data: identity(constant(np.array(data.shape, np.int64))),
    differentiable=False,
    numpy=lambda x: np.array(x.shape, np.int64),
    samples=(((2, 3), {}), ((5,), {}), ((0, 2), {})),
    doc="""The shape as an int64 array.

    >>> nd.shape_array(nd.zeros((2, 3))).asnumpy()
    array([2, 3])
    """,
)

size_array = composite(
    "size_array",
    lambda data: identity(constant(np.array([data.type.size], np.int64))),
    differentiable=False,
    numpy=lambda x: np.array([x.size], np.int64),
    samples=(((2, 3), {}), ((0, 2), {})),
    doc="""The number of elements as an int64 array.

    >>> nd.size_array(nd.zeros((2, 3))).asnumpy()
    array([6])
    """,
)
