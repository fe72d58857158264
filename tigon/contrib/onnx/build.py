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
        return get(name)


op = _Operators()


def number(value: float, like: Value) -> Value:
    """A 0-d array of the dtype of another."""
    return constant(np.asarray(value), like.dtype.name)


def cast(x: Value, dtype: str) -> Value:
    return x if x.dtype.name == dtype else op.Cast(x, dtype=dtype)


def as_bool(x: Value) -> Value:
    return cast(x, "bool")


def axis_of(axis: int, ndim: int, extra: int = 0) -> int:
    """A non-negative axis."""
    check(
        -ndim - extra <= axis < ndim + extra,
        "axis",
        f"expected one of {ndim + extra} axes; given {axis}",
    )
    return axis % (ndim + extra)


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
    codes: list[int] = []
    for position, extent in enumerate(shape):
        if is_known(extent):
            check(extent, "reshape", f"an extent of 0 beside open ones in {shape}")
            codes.append(int(extent))
        elif position < x.ndim and same(extent, x.shape[position]):
            codes.append(0)
        else:
            codes.append(-1)
    if codes.count(-1) > 1:
        raise TigonError(
            f"reshape: {x.shape} to {shape}: more than one extent is open that is none of the "
            "operand's in its place; give shapes={'input': (...)}"
        )
    return op.Reshape(x, shape=tuple(codes))


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
    like = reader.like(shape)
    if like is None:
        raise TigonError(
            f"expand: {x.shape} to {shape}: no array of the graph has this shape to be like; "
            "give shapes={'input': (...)}"
        )
    return op.broadcast_add(x, op.zeros_like(cast(like, x.dtype.name)))


def squeeze(x: Value, axes: Sequence[int]) -> Value:
    return reshape(x, [n for axis, n in enumerate(x.shape) if axis not in axes])


def unsqueeze(x: Value, axes: Sequence[int]) -> Value:
    """New axes of extent 1, at these places of the result."""
    shape, rest = [], list(x.shape)
    for axis in range(x.ndim + len(axes)):
        shape.append(1 if axis in axes else rest.pop(0))
    return reshape(x, shape) if x.ndim else op._reshape(x, shape=tuple(shape))


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
        result = op.__getattr__({"sum": "sum", "max": "max", "min": "min", "prod": "prod"}[which])(
            x, axis=axes, keepdims=True
        )
        return result if keepdims else squeeze(result, axes)
    return op.__getattr__(f"_reduce_{which}")(x, axes=axes)


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
    return as_bool(op.__getattr__(f"broadcast_{which}")(x, y))


def both(x: Value, y: Value) -> Value:
    return op.broadcast_logical_and(x, y)


def iota(length: int, dtype: str = "int64", start: float = 0, step: float = 1) -> Value:
    return op._iota(shape=(int(length),), axis=0, start=start, step=step, dtype=dtype)


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


def size_of(shape: Sequence[Any]) -> Any:
    return prod(shape)


def lowest(dtype: str) -> float:
    """What is below every number of a dtype."""
    own = as_dtype(dtype)
    return -np.inf if own.is_float else int(np.iinfo(own.numpy).min)
