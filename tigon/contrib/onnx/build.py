"""What converters are written in: our operators by name, and a few that mind ONNX's rules."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tigon.base import TigonError, as_dtype, check
from tigon.base.extents import is_known, same
from tigon.ir.graph import Value, constant
from tigon.ops import get


class _Operators:
    """`op.softmax(x, axis=-1)`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return get(name)


op = _Operators()


def number(value: float, like: Value) -> Value:
    """A 0-d array of the dtype of another."""
    return constant(np.asarray(value), like.dtype.name)


def cast(x: Value, dtype: str) -> Value:
    return x if x.dtype.name == dtype else op.Cast(x, dtype=dtype)


def as_bool(x: Value) -> Value:
    return cast(x, "bool")


def axis_of(axis: int, ndim: int) -> int:
    """A non-negative axis."""
    check(-ndim <= axis < ndim, "axis", f"expected one of {ndim} axes; given {axis}")
    return axis % ndim


def axes_of(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    found = tuple(axis_of(int(axis), ndim) for axis in axes)
    check(len(set(found)) == len(found), "axes", f"an axis occurs twice in {tuple(axes)}")
    return found


def reshape(x: Value, shape: Sequence[Any]) -> Value:
    """The elements under another shape. Extents that are open are written as MXNet's codes: 0 for
    that of the operand, -1 for what is left."""
    shape = tuple(shape)
    if len(shape) == x.ndim and all(map(same, shape, x.shape)):
        return x
    if is_known(*shape):
        return op._reshape(x, shape=tuple(int(extent) for extent in shape))
    codes = [
        int(extent)
        if is_known(extent)
        else 0
        if position < x.ndim and same(extent, x.shape[position])
        else -1
        for position, extent in enumerate(shape)
    ]
    if codes.count(-1) < 2 and not any(is_known(n) and n == 0 for n in shape):
        return op.Reshape(x, shape=tuple(codes))
    return _regrouped(x, shape)


_REST, _MERGED, _SPLIT = -2, -3, -4
"""Codes of MXNet's reshape: all that is left, two axes as one, one as two."""


def _regrouped(x: Value, shape: tuple[Any, ...]) -> Value:
    """A reshape with several open extents: what is between equal axes at both ends becomes one
    axis, and that what is wanted."""
    least = min(x.ndim, len(shape))
    first = next((i for i in range(least) if not same(x.shape[i], shape[i])), least)
    last = next(
        (i for i in range(least - first) if not same(x.shape[-1 - i], shape[-1 - i])),
        least - first,
    )
    lead = (0,) * first
    middle = x.ndim - first - last
    wanted = list(shape[first : len(shape) - last])
    if not middle:
        x, middle = op.expand_dims(x, axis=first), 1
    for _ in range(middle - 1):
        x = op.Reshape(x, shape=(*lead, _MERGED, _REST))
    if not wanted:
        return op.squeeze(x, axis=(first,))
    for position, extent in enumerate(wanted[:-1], first):
        rest = wanted[position - first + 1 :]
        parts = [int(n) if is_known(n) else -1 for n in (extent, prod(rest))]
        if parts == [-1, -1] or 0 in parts:
            raise TigonError(
                f"reshape: {x.shape} to {shape}: an axis falls into several extents that are open"
            )
        x = op.Reshape(x, shape=((0,) * position + (_SPLIT, *parts, _REST)))
    return x


def as_matrix(x: Value, axis: int) -> Value:
    """The axes before one as rows, and those from it on as columns."""
    ndim = x.ndim
    check(-ndim <= axis <= ndim, "axis", f"expected -{ndim} to {ndim}; given {axis}")
    axis = axis + ndim if axis < 0 else axis
    return reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def transpose(x: Value, axes: Sequence[int]) -> Value:
    return x if list(axes) == list(range(x.ndim)) else op.transpose(x, axes=tuple(axes))


def move(x: Value, source: int, target: int) -> Value:
    """An axis to another place."""
    axes = [axis for axis in range(x.ndim) if axis != source]
    axes.insert(target, source)
    return transpose(x, axes)


def expand(x: Value, shape: Sequence[Any], reader: Any) -> Value:
    """The array repeated along axes of extent 1 and new ones."""
    shape = tuple(shape)
    if len(shape) == x.ndim and all(map(same, shape, x.shape)):
        return x
    if is_known(*shape):
        return op._broadcast(x, shape=tuple(int(extent) for extent in shape))
    added = cast(x, "uint8") if x.dtype.kind == "b" else x
    spread = op.broadcast_add(added, filled(shape, 0, added.dtype.name, reader))
    return cast(spread, x.dtype.name)


def filled(shape: Sequence[Any], value: Any, dtype: str, reader: Any) -> Value:
    """A number everywhere. Open extents are those of arrays that the graph has."""
    if is_known(*shape):
        return op._full(shape=tuple(map(int, shape)), value=value, dtype=dtype)
    plain = tuple(int(n) if is_known(n) else 1 for n in shape)
    result = op._full(shape=plain, value=value, dtype="uint8" if dtype == "bool" else dtype)
    for axis, extent in enumerate(shape):
        if not is_known(extent):
            zeros = op.zeros_like(line(extent, reader, result.dtype.name))
            result = op.broadcast_add(result, along(zeros, axis, len(shape)))
    return cast(result, dtype)


def squeeze(x: Value, axes: Sequence[int]) -> Value:
    if not is_known(*x.shape) and 0 < len(axes) < x.ndim:
        return op.squeeze(x, axis=tuple(axes))
    return reshape(x, [n for axis, n in enumerate(x.shape) if axis not in axes])


def unsqueeze(x: Value, axes: Sequence[int]) -> Value:
    """New axes of extent 1, at these places of the result."""
    if not is_known(*x.shape):
        for axis in sorted(axes):
            x = op.expand_dims(x, axis=axis)
        return x
    shape, rest = [], list(x.shape)
    for axis in range(x.ndim + len(axes)):
        shape.append(1 if axis in axes else rest.pop(0))
    return reshape(x, shape)


def along(x: Value, axis: int, ndim: int) -> Value:
    """A vector along one axis of so many."""
    return reshape(x, [x.shape[0] if i == axis else 1 for i in range(ndim)])


def cut(x: Value, axis: int, begin: Any, end: Any, step: int = 1) -> Value:
    """A range along one axis; None for all there is."""
    whole = (None,) * x.ndim
    begins, ends = list(whole), list(whole)
    steps = [1] * x.ndim
    begins[axis], ends[axis], steps[axis] = begin, end, step
    return op.slice(x, begin=tuple(begins), end=tuple(ends), step=tuple(steps))


def flip(x: Value, axis: int) -> Value:
    return op.reverse(x, axis=axis)


def reduce(which: str, x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """`which` is sum, max, min, prod."""
    axes = tuple(sorted(axes))
    if not axes:
        return x
    if keepdims or not is_known(*x.shape):
        result = get(which)(x, axis=axes, keepdims=True)
        return result if keepdims else squeeze(result, axes)
    return get(f"_reduce_{which}")(x, axes=axes)


def mean(x: Value, axes: Sequence[int], keepdims: bool = True) -> Value:
    result = op.mean(x, axis=tuple(axes), keepdims=True)
    return result if keepdims else squeeze(result, axes)


def concat(parts: Sequence[Value], axis: int) -> Value:
    return parts[0] if len(parts) == 1 else op.Concat(*parts, dim=axis)


def where(condition: Value, x: Any, y: Any) -> Value:
    """Elements of `x` where the condition holds, broadcast as in numpy."""
    like = x if isinstance(x, Value) else y
    return op._select(cast(condition, like.dtype.name), x, y)


def compare(which: str, x: Any, y: Any) -> Value:
    """`which` is equal, greater, ...; a bool."""
    return as_bool(get(f"broadcast_{which}")(x, y))


def iota(length: int, dtype: str = "int64", start: float = 0, step: float = 1) -> Value:
    return op._iota(shape=(int(length),), axis=0, start=start, step=step, dtype=dtype)


def line(length: Any, reader: Any, dtype: str = "int64") -> Value:
    """0, 1, 2, ...: as many as an extent says, which may be open."""
    if is_known(length):
        return iota(length, dtype)
    for like in reader.by_shape:
        for axis, extent in enumerate(like.shape):
            if same(extent, length):
                found = op._contrib_arange_like(cast(like, "int64"), axis=axis)
                return cast(found, dtype)
    raise TigonError(f"range: no array of the graph has an extent of {length} to be like")


def in_range(indices: Value, extent: Any) -> Value:
    """Positions counted from the end where they are negative."""
    return (
        indices
        if indices.dtype.kind == "u"
        else where(compare("lesser", indices, number(0, indices)), indices + extent, indices)
    )


def matmul(x: Value, y: Value) -> Value:
    """numpy's product of matrices; of two vectors a 0-d array."""
    result = op._matmul(x, y)
    return op._reshape(result, shape=()) if x.ndim == y.ndim == 1 else result


def pad(x: Value, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Value:
    """Zeros, or another number, around; less than none cuts off."""
    if not any(before) and not any(after):
        return x
    low, high = [max(n, 0) for n in before], [max(n, 0) for n in after]
    if any(low) or any(high):
        x = op._pad(x, before=tuple(low), after=tuple(high), value=value)
    begin = tuple(-n if n < 0 else None for n in before)
    end = tuple(n if n < 0 else None for n in after)
    if any(begin) or any(end):
        x = op.slice(x, begin=begin, end=end)
    return x


def lowest(dtype: str) -> float:
    """What is below every number of a dtype."""
    own = as_dtype(dtype)
    return -np.inf if own.is_float else int(np.iinfo(own.numpy).min)
