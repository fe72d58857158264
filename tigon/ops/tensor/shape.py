"""Shapes: reshape, squeeze, broadcast and kin."""

from __future__ import annotations

import builtins
from math import prod
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.extents import is_known
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.choose import identity
from tigon.ops.primitive.create import _full
from tigon.ops.primitive.join import _join
from tigon.ops.primitive.view import (
    ShapeAttrs,
    _broadcast,
    _reshape,
    normalized_axes,
    normalized_axis,
    reshape_like,
    sum_to_like,
    transpose,
)
from tigon.ops.record import Operator, composite


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
    written = 1  # the extents that are given as such
    spread = 1  # the axes that no code keeps, merges or splits
    left = list(source)  # axes not yet used
    waiting = list(codes)
    while waiting:
        code = waiting.pop(0)
        need(code >= -4, f"{code} has no meaning, codes are 0 to -4")
        taken = left[: {-2: len(left), -3: 2}.get(code, 1)]
        del left[: len(taken)]
        if code > 0 or code == -1:
            spread *= prod(taken)
        if code > 0:
            written *= code
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
        if not known:  # an empty axis is kept: the others are what they are without it
            total, known = spread * prod(left), written
            result[inferred] = total // known
            need(result[inferred] * known == total, "the elements of the other axes do not fit")
        else:
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
        ((0, 3, 4), {"shape": (0, -1)}),
        ((2, 0, 6), {"shape": (-1, 0, 3), "reverse": True}),
        ((3, 0, 4), {"shape": (-4, 1, 3, 0, -1)}),
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


class AxisAttrs(Frozen):
    axis: int


def expanded(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    place = normalized_axis("expand_dims", axis, len(shape) + 1)
    return (*shape[:place], 1, *shape[place:])


expand_dims = composite(
    "expand_dims",
    lambda attrs, data: _reshape(data, shape=expanded(data.shape, attrs.axis)),
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


def squeezed(shape: tuple[int, ...], axis: tuple[int, ...] | None) -> tuple[int, ...]:
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
    lambda attrs, data: _reshape(data, shape=squeezed(data.shape, attrs.axis)),
    attrs=SqueezeAttrs,
    grad=lambda a, g, y, x: (reshape_like(g, x),),
    numpy=lambda x, axis: x.reshape(squeezed(x.shape, axis)),
    samples=(((2, 1, 3, 1), {}), ((2, 1, 3), {"axis": 1}), ((1, 1), {}), ((0, 1), {"axis": -1})),
    doc="""The same elements without axes of extent 1; at least one axis stays.

    Parameters: `axis` one axis or several; all of extent 1 if not given.

    >>> nd.squeeze(nd.array([[[1], [2]]])).asnumpy()
    array([1., 2.], dtype=float32)
    """,
)

flatten = composite(
    "Flatten",
    lambda data: _reshape(data, shape=flattened(data.shape)),
    grad=lambda g, y, x: (reshape_like(g, x),),
    numpy=lambda x: x.reshape(flattened(x.shape)),
    aliases=("flatten",),
    samples=(((2, 3, 4), {}), ((3,), {}), ((0, 2, 2), {})),
    doc="""The same elements with all axes but the first merged.

    >>> nd.flatten(nd.zeros((2, 3, 4))).shape
    (2, 12)
    """,
)


def flattened(shape: tuple[int, ...]) -> tuple[int, int]:
    check(shape, "Flatten", "expected at least one axis; given a 0-d array; reshape it first")
    return shape[0], prod(shape[1:])


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


def _numbers(*extents: int) -> Any:
    """Extents as an int64 array; those that are known later are written when they are."""
    if is_known(*extents):
        return identity(constant(np.array(extents, np.int64)))
    parts = [_full(shape=(1,), value=extent, dtype="int64") for extent in extents]
    return parts[0] if len(parts) == 1 else _join(*parts, axis=0)


shape_array = composite(
    "shape_array",
    lambda data: _numbers(*data.shape),
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
    lambda data: _numbers(data.type.size),
    differentiable=False,
    numpy=lambda x: np.array([x.size], np.int64),
    samples=(((2, 3), {}), ((0, 2), {})),
    doc="""The number of elements as an int64 array.

    >>> nd.size_array(nd.zeros((2, 3))).asnumpy()
    array([6])
    """,
)
