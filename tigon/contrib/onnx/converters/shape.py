"""Operators that move elements about, and that ask for shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from tigon.base.extents import RuntimeExtent, is_known
from tigon.contrib.onnx.build import (
    along,
    as_matrix,
    axes_of,
    axis_of,
    cast,
    compare,
    concat,
    cut,
    expand,
    filled,
    flip,
    iota,
    line,
    number,
    op,
    pad,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
    where,
)
from tigon.contrib.onnx.operand import FOLDED, Operand
from tigon.contrib.onnx.reading import array_of, dense_array, dtype_of, narrow_type
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value

# --------------------------------------------------------------------------------- constants


@converts("Constant")
def constant(call: Any) -> Operand:
    given = [name for name in call.attributes if call[name] is not None]
    call.check(len(given) == 1, f"expected one value; given {', '.join(given) or 'none'}")
    (kind,) = given
    held, name = call[kind], call.node.output[0]
    if kind == "value":
        array = array_of(held, call.reader.model, call.op)
        dtype = dtype_of(held.data_type, call.op)
        found = call.reader.array(name, array, dtype, learns=False)
        found.narrow = narrow_type(held.data_type)
        return found
    if kind == "sparse_value":
        array = dense_array(held, call.reader.model, call.op)
        dtype = dtype_of(held.values.data_type, call.op)
        found = call.reader.array(name, array, dtype, learns=False)
        found.narrow = narrow_type(held.values.data_type)
        return found
    call.check(not kind.startswith("value_string"), "expected numbers; given texts")
    array = np.array(held, np.float32 if "float" in kind else np.int64)
    return call.reader.array(name, array, dtype_of(1 if "float" in kind else 7, call.op), False)


def _fill(call: Any) -> tuple[np.ndarray, Any]:
    tensor = call["value"]
    if tensor is None:
        return np.zeros(1, np.float32), dtype_of(1, call.op)
    array = array_of(tensor, call.reader.model, call.op)
    call.check(array.size == 1, f"value: expected one element; given shape {array.shape}")
    return array, dtype_of(tensor.data_type, call.op)


def _folded_fill(call: Any, shape: np.ndarray) -> np.ndarray | None:
    array, dtype = _fill(call)
    if not is_known(*shape.tolist()) or prod(shape.tolist()) > FOLDED or dtype.is_narrow:
        return None
    return np.full(shape.astype(np.int64), array.ravel()[0])


@converts("ConstantOfShape", known=(0,), fold=_folded_fill)
def constant_of_shape(call: Any, shape: np.ndarray) -> Value:
    array, dtype = _fill(call)
    extents = shape.tolist()
    call.check(not any(n < 0 for n in extents), f"expected extents of 0 or more; given {extents}")
    return filled(extents, array.ravel()[0].item(), dtype.name, call.reader)


def _line(start: Any, stop: Any, step: Any) -> int:
    return max(int(np.ceil((stop - start) / step)), 0)


def _folded_range(call: Any, start: Any, stop: Any, step: Any) -> np.ndarray | None:
    first, last, by = (each.reshape(()) for each in (start, stop, step))
    if object in (first.dtype, last.dtype, by.dtype) or by == 0:
        return None
    if _line(first, last, by) > FOLDED:
        return None
    return np.arange(first, last, by).astype(first.dtype)


@converts("Range", known=(0, 1, 2), fold=_folded_range)
def range_(call: Any, start: np.ndarray, stop: np.ndarray, step: np.ndarray) -> Value:
    first, last, by = (each.reshape(()).item() for each in (start, stop, step))
    if any(isinstance(each, RuntimeExtent) for each in (first, last, by)):
        call.check(is_known(by) and by == 1 and is_known(first), "an open range goes by steps of 1")
        return line(last - first, call.reader, call.dtype(0)) + first
    call.check(by != 0, "expected a step other than 0")
    return iota(_line(first, last, by), call.dtype(0), first, by)


@converts("EyeLike")
def eye_like(call: Any, like: Value) -> Value:
    call.check(like.ndim == 2, f"expected 2 axes; given shape {like.shape}")
    dtype = dtype_of(call["dtype"], call.op).name if "dtype" in call else like.dtype.name
    rows, columns = (iota(n) for n in like.shape)
    hit = compare("equal", along(rows, 0, 2) + call["k"], along(columns, 1, 2))
    return cast(hit, dtype)


# ------------------------------------------------------------------------------------ shapes


@converts("Shape", shapes=(0,))
def shape_of(call: Any, x: Operand) -> Operand:
    begin = call["start"] or 0
    extents = x.shape[slice(begin, call["end"])]

    def make() -> Value:
        every = op.shape_array(x.value)
        return cut(every, 0, begin, call["end"])

    known = np.empty(len(extents), object)
    for axis, extent in enumerate(extents):
        known[axis] = extent
    if is_known(*extents):
        return Operand.of_known(known.astype(np.int64))
    return Operand.of_known(known, make)


@converts("Size", shapes=(0,))
def size_of(_call: Any, x: Operand) -> Operand:
    count = prod(x.shape)
    if is_known(count):
        return Operand.of_known(np.array(count, np.int64))
    known = np.empty((), object)
    known[()] = count
    return Operand.of_known(known, lambda: reshape(op.size_array(x.value), ()))


def _target(call: Any, source: Sequence[Any], wanted: Sequence[Any], zeros: bool) -> list[Any]:
    """The shape that ONNX's codes mean: 0 copies unless `zeros` are zeros, -1 is what is left."""
    found = []
    for position, extent in enumerate(wanted):
        if is_known(extent) and extent == 0 and not zeros:
            call.check(position < len(source), f"extent {position} of {source} is not there")
            extent = source[position]
        found.append(extent)
    left = [i for i, n in enumerate(found) if is_known(n) and n == -1]
    call.check(len(left) < 2, f"expected one -1 at most; given {list(wanted)}")
    if left:
        others = prod(n for i, n in enumerate(found) if i != left[0])
        call.check(
            others != 0 and prod(source) % others == 0,
            f"cannot bring shape {tuple(source)} into {list(wanted)}",
        )
        found[left[0]] = prod(source) // others
    call.check(all(n >= 0 for n in found), f"expected extents of -1 or more; given {wanted}")
    return found


def _folded_reshape(call: Any, x: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray | None:
    wanted = call["shape"] if shape is None else shape.tolist()
    target = _target(call, x.shape, wanted, bool(call["allowzero"]))
    return x.reshape(target) if prod(target) == x.size else None


@converts("Reshape", known=(1,), fold=_folded_reshape)
def reshape_(call: Any, x: Value, shape: np.ndarray) -> Value:
    target = _target(call, x.shape, shape.tolist(), bool(call["allowzero"]))
    return op.identity(x) if not x.ndim and not target else reshape(x, target)


@converts("Flatten")
def flatten(call: Any, x: Value) -> Value:
    return as_matrix(x, call["axis"])


def _axes(call: Any, axes: np.ndarray | None) -> list[int] | None:
    """An input since opset 13, an attribute before."""
    given = call["axes"] if axes is None else axes.ravel().tolist()
    return None if given is None else [int(axis) for axis in given]


def _squeezed(call: Any, shape: Sequence[Any], axes: np.ndarray | None) -> tuple[int, ...]:
    given = _axes(call, axes)
    if given is None:
        return tuple(axis for axis, n in enumerate(shape) if is_known(n) and n == 1)
    found = axes_of(given, len(shape))
    for axis in found:
        call.check(shape[axis] == 1, f"axis {axis} of shape {tuple(shape)} is not 1")
    return found


@converts(
    "Squeeze",
    known=(1,),
    fold=lambda call, x, axes=None: np.squeeze(x, _squeezed(call, x.shape, axes)),
)
def squeeze_(call: Any, x: Value, axes: np.ndarray | None = None) -> Value:
    return squeeze(x, _squeezed(call, x.shape, axes))


def _new_axes(call: Any, ndim: int, axes: np.ndarray | None) -> tuple[int, ...]:
    given = _axes(call, axes) or []
    return axes_of(given, ndim + len(given))


@converts(
    "Unsqueeze",
    known=(1,),
    fold=lambda call, x, axes=None: np.expand_dims(x, _new_axes(call, x.ndim, axes)),
)
def unsqueeze_(call: Any, x: Value, axes: np.ndarray | None = None) -> Value:
    return unsqueeze(x, _new_axes(call, x.ndim, axes))


@converts("Transpose", fold=lambda call, x: np.transpose(x, call["perm"]))
def transpose_(call: Any, x: Value) -> Value:
    return transpose(x, call["perm"] or tuple(reversed(range(x.ndim))))


@converts("Expand", known=(1,), fold=lambda call, x, shape: _folded_expand(x, shape))
def expand_(call: Any, x: Value, shape: np.ndarray) -> Value:
    wanted = shape.tolist()
    lead = max(len(wanted) - x.ndim, 0)
    own = [1] * lead + list(x.shape)
    wanted = [1] * (len(own) - len(wanted)) + wanted
    target = [n if is_known(m) and m == 1 else m for n, m in zip(own, wanted, strict=True)]
    return expand(x, target, call.reader)


def _folded_expand(x: np.ndarray, shape: np.ndarray) -> np.ndarray | None:
    if shape.dtype == object or prod(shape.tolist()) > FOLDED:
        return None
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape)))


@converts("Tile", known=(1,))
def tile(call: Any, x: Value, repeats: np.ndarray) -> Value:
    call.check(
        len(repeats) == x.ndim and np.all(repeats >= 0),
        f"repeats: expected {x.ndim} numbers of 0 or more; given {repeats.tolist()}",
    )
    if not np.all(repeats):
        return op._full(
            shape=tuple(n * m for n, m in zip(x.shape, repeats.tolist(), strict=True)),
            value=0,
            dtype=x.dtype.name,
        )
    return op.tile(x, reps=tuple(repeats.tolist())) if x.ndim else op.identity(x)


# ---------------------------------------------------------------------------- parts and wholes


@converts("Concat", fold=lambda call, *parts: np.concatenate(parts, call["axis"]))
def concat_(call: Any, *parts: Value) -> Value:
    return concat(parts, axis_of(call["axis"], parts[0].ndim))


def _pieces(call: Any, extent: Any, sizes: np.ndarray | None) -> list[int]:
    given = call["split"] if sizes is None else sizes.tolist()
    count = len(call.node.output)
    if given is None:
        if "num_outputs" in call:
            call.check(count <= call["num_outputs"], f"num_outputs is {call['num_outputs']}")
            count = call["num_outputs"]
        call.check(0 < count <= 1 << 16, f"expected parts; given {count}")
        each = -(-extent // count)
        given = [each] * (count - 1) + [extent - each * (count - 1)]
    call.check(
        len(given) >= count and sum(given) == extent and all(n >= 0 for n in given),
        f"expected parts of {count} outputs that come to {extent}; given {list(given)}",
    )
    return list(given)


def _folded_split(call: Any, x: np.ndarray, sizes: np.ndarray | None = None) -> Any:
    axis = axis_of(call["axis"], x.ndim)
    pieces = _pieces(call, x.shape[axis], sizes)
    return tuple(np.split(x, np.cumsum(pieces)[:-1].astype(int), axis))


@converts("Split", known=(1,), fold=_folded_split)
def split(call: Any, x: Value, sizes: np.ndarray | None = None) -> tuple[Value, ...]:
    axis = axis_of(call["axis"], x.ndim)
    found, begin = [], 0
    for size in _pieces(call, x.shape[axis], sizes):
        found.append(cut(x, axis, begin, begin + size))
        begin += size
    return tuple(found)


def _ranges(
    call: Any, shape: Sequence[Any], starts: Any, ends: Any, axes: Any, steps: Any
) -> dict[int, tuple[Any, Any, int]]:
    """By axis, begin, end and step as a slice of Python has them."""
    if call.since < 10:
        starts, ends, axes = call["starts"], call["ends"], call["axes"]
    else:
        starts, ends = starts.tolist(), ends.tolist()
        axes = None if axes is None else axes.tolist()
        steps = None if steps is None else steps.tolist()
    axes = axes_of(range(len(starts)) if axes is None else axes, len(shape))
    steps = [1] * len(starts) if steps is None else steps
    call.check(
        len(starts) == len(ends) == len(axes) == len(steps),
        f"expected as many ends, axes and steps as starts, {len(starts)}",
    )
    found = {}
    for axis, begin, end, step in zip(axes, starts, ends, steps, strict=True):
        call.check(step != 0, "expected steps other than 0")
        extent = shape[axis]
        if is_known(begin, end, extent):
            begin, end, step = slice(begin, end, step).indices(extent)
            length = len(range(begin, end, step))
            if length == 0:
                begin, end, step = 0, 0, 1
            elif step < 0 and end < 0:
                end = None
        found[axis] = begin, end, step
    return found


def _folded_slice(
    call: Any,
    x: np.ndarray,
    starts: Any = None,
    ends: Any = None,
    axes: Any = None,
    steps: Any = None,
) -> np.ndarray:
    found = _ranges(call, x.shape, starts, ends, axes, steps)
    return x[tuple(slice(*found.get(axis, (None,))) for axis in range(x.ndim))]


_FAR = 1 << 31
"""What models write for the end of an axis is beyond this."""


@converts("Slice", known=(1, 2, 3, 4), fold=_folded_slice)
def slice_(
    call: Any, x: Value, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> Value:
    found = _ranges(call, x.shape, starts, ends, axes, steps)
    for axis, (begin, end, step) in found.items():
        if is_known(begin, end) and begin == 0 and step == 1 and end == x.shape[axis]:
            continue
        if step < 0 and end is None:
            pass  # down through the first element
        elif not is_known(begin, end):
            begin, end = (_from_the_end(n, x.shape[axis]) for n in (begin, end))
            if is_known(begin or 0) and not is_known(end or 0) and step == 1:
                places = line(end - (begin or 0), call.reader) + (begin or 0)
                x = op.take(x, places, axis=axis, mode="raise")
                continue
        elif not is_known(x.shape[axis]):
            end = None if abs(end) >= _FAR else end
            begin = None if begin <= -_FAR else begin
        x = cut(x, axis, begin, end, step)
    return op.identity(x) if not found else x


def _from_the_end(place: Any, extent: Any) -> Any:
    """A place that depends on the extent, in numbers that do not."""
    if is_known(place):
        return None if abs(place) >= _FAR else place
    rest = place - extent
    return None if is_known(rest) and rest == 0 else rest if is_known(rest) else place


@converts("Pad", known=(1, 2, 3))
def pad_(
    call: Any,
    x: Value,
    pads: np.ndarray | None = None,
    value: np.ndarray | None = None,
    axes: np.ndarray | None = None,
) -> Value:
    amounts = call["pads"] if pads is None else pads.tolist()
    fill = call["value"] or 0.0 if value is None else value.reshape(()).item()
    where_ = range(x.ndim) if axes is None else axes_of(axes.tolist(), x.ndim)
    call.check(
        len(amounts) == 2 * len(where_),
        f"pads: expected {2 * len(where_)} numbers; given {list(amounts)}",
    )
    before, after = [0] * x.ndim, [0] * x.ndim
    for number_, axis in enumerate(where_):
        before[axis], after[axis] = amounts[number_], amounts[len(where_) + number_]
    mode = call["mode"]
    if mode == "constant":
        return op.identity(pad(x, before, after, fill))
    for axis in range(x.ndim):
        x = _mirrored(call, x, axis, before[axis], after[axis], mode)
    return op.identity(x)


def _mirrored(call: Any, x: Value, axis: int, before: int, after: int, mode: str) -> Value:
    """What is beyond the ends of an axis, by the mode."""
    x = pad(x, *([min(n, 0) if i == axis else 0 for i in range(x.ndim)] for n in (before, after)))
    before, after = max(before, 0), max(after, 0)
    extent = x.shape[axis]
    if not before and not after:
        return x
    if mode == "wrap":
        call.check(max(before, after) <= extent, f"wrap: {before}, {after} beyond {extent}")
        return concat([cut(x, axis, extent - before, extent), x, cut(x, axis, 0, after)], axis)
    if mode == "edge":
        call.check(extent != 0, f"edge: axis {axis} has no elements to repeat")
        ends = [cut(x, axis, 0, 1), cut(x, axis, extent - 1, extent)]
        first = [op.repeat(ends[0], repeats=before, axis=axis)] if before else []
        last = [op.repeat(ends[1], repeats=after, axis=axis)] if after else []
        return concat([*first, x, *last], axis)
    call.check(mode == "reflect", f"mode: expected constant, edge, reflect, wrap; given '{mode}'")
    call.check(max(before, after) < extent, f"reflect: {before}, {after} beyond {extent}")
    parts = [flip(cut(x, axis, 1, before + 1), axis)] if before else []
    parts.append(x)
    parts += [flip(cut(x, axis, extent - after - 1, extent - 1), axis)] if after else []
    return concat(parts, axis)


@converts("CenterCropPad", known=(1,))
def center_crop_pad(call: Any, x: Value, shape: np.ndarray) -> Value:
    axes = axes_of(call["axes"] or range(x.ndim), x.ndim)
    call.check(len(shape) == len(axes), f"expected {len(axes)} extents; given {shape.tolist()}")
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis, wanted in zip(axes, shape.tolist(), strict=True):
        more = wanted - x.shape[axis]
        first = more // 2 if more > 0 else -(-more // 2)
        before[axis], after[axis] = first, more - first
    return op.identity(pad(x, before, after))


@converts("Trilu", known=(1,))
def trilu(call: Any, x: Value, k: np.ndarray | None = None) -> Value:
    diagonal = 0 if k is None else int(k.reshape(()))
    rows, columns = (line(n, call.reader) for n in x.shape[-2:])
    which = "greater_equal" if call["upper"] else "lesser_equal"
    kept = compare(which, along(columns, 1, 2) - diagonal, along(rows, 0, 2))
    return where(kept, x, number(0, x))


# -------------------------------------------------------------------------- channels and space


@converts("DepthToSpace")
def depth_to_space(call: Any, x: Value) -> Value:
    b = call["blocksize"]
    n, c, h, w = x.shape
    call.check(b > 0 and c % (b * b) == 0, f"{c} channels are no blocks of {b} by {b}")
    if call["mode"] == "CRD":
        split_ = reshape(x, (n, c // (b * b), b, b, h, w))
        return reshape(transpose(split_, (0, 1, 4, 2, 5, 3)), (n, c // (b * b), h * b, w * b))
    split_ = reshape(x, (n, b, b, c // (b * b), h, w))
    return reshape(transpose(split_, (0, 3, 4, 1, 5, 2)), (n, c // (b * b), h * b, w * b))


@converts("SpaceToDepth")
def space_to_depth(call: Any, x: Value) -> Value:
    b = call["blocksize"]
    n, c, h, w = x.shape
    call.check(b > 0 and h % b == 0 == w % b, f"{h} by {w} are no blocks of {b} by {b}")
    split_ = reshape(x, (n, c, h // b, b, w // b, b))
    if call["mode"] == "CRD":
        return reshape(transpose(split_, (0, 1, 3, 5, 2, 4)), (n, c * b * b, h // b, w // b))
    return reshape(transpose(split_, (0, 3, 5, 1, 2, 4)), (n, c * b * b, h // b, w // b))


@converts("ReverseSequence")
def reverse_sequence(call: Any, x: Value, lengths: Value) -> Value:
    """Each sequence from its last step to its first; steps behind it stay."""
    time, batch = (axis_of(call[name], x.ndim) for name in ("time_axis", "batch_axis"))
    steps = along(iota(x.shape[time]), time, x.ndim)
    ends = along(cast(lengths, "int64"), batch, x.ndim)
    turned = where(compare("lesser", steps, ends), ends - 1 - steps, steps)
    places = op._broadcast(turned, shape=x.shape)
    return op._take_along(x, places, axis=time)
