"""What `x[key]` means: a key becomes one slice, one reshape and at most one gather, applied as
operators, so that it works on arrays and on traced symbols and is differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TigonError
from tigon.base.frozen import Frozen
from tigon.ops import record


class Region(Frozen):
    """The part of an array that a key without index arrays selects."""

    start: tuple[int, ...]
    step: tuple[int, ...]
    extents: tuple[int, ...]
    shape: tuple[int, ...]  # of the result: axes of integers gone, new axes in
    value_shape: tuple[int, ...]  # as numpy sees it: an element is ()

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Whether it is the whole array, in order."""
        return self.extents == shape and all(step == 1 for step in self.step)

    def offset(self, shape: tuple[int, ...]) -> int | None:
        """Where it begins, if its elements are contiguous in an array of this shape."""
        position, stride, dense = 0, 1, True
        for size, start, step, extent in zip(
            reversed(shape),
            reversed(self.start),
            reversed(self.step),
            reversed(self.extents),
            strict=True,
        ):
            if extent != 1 and (step != 1 or not dense):
                return None
            if extent != size:
                dense = False  # outer axes must then be single
            position += start * stride
            stride *= size
        return position


class Gathering(Frozen):
    """A region first, then index arrays over some of its axes."""

    region: Region  # integers among index arrays are left as axes
    axes: tuple[int, ...]  # of the region's result, ascending
    indices: tuple[Any, ...]  # numpy int64 arrays, or operands with values of their own
    adjacent: bool  # the index axes follow one another: the result's axes stay in their place


def is_basic(key: Any) -> bool:
    """Whether a key holds integers, slices, None and Ellipsis only."""
    if isinstance(key, tuple):
        return all(is_basic(entry) for entry in key if not isinstance(entry, tuple)) and not any(
            isinstance(entry, tuple) for entry in key
        )
    if isinstance(key, (bool, np.bool_)):
        return False
    return key is None or key is Ellipsis or isinstance(key, (int, np.integer, slice))


def plan(shape: tuple[int, ...], key: Any) -> Region | Gathering:
    """Read a key against a shape; IndexError where it does not fit.

    >>> plan((4, 5), (1, slice(0, None, 2))).shape
    (3,)
    >>> plan((4, 5), [0, 2]).axes
    (0,)
    """
    entries, gap = _expand(shape, key if isinstance(key, tuple) else (key,))
    if not any(_is_index_array(entry) for entry in entries):
        return _region(shape, entries, keep_integers=False)
    return _gathering(shape, entries, gap)


def _is_index_array(entry: Any) -> bool:
    return not (entry is None or isinstance(entry, (int, slice)))


def _expand(shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[list[Any], int]:
    """One entry per axis, plus None for new axes; lists and masks become integer arrays. Also
    where the Ellipsis was."""
    entries: list[Any] = []
    for entry in key:
        if entry is Ellipsis or entry is None or isinstance(entry, slice):
            entries.append(entry)
        elif isinstance(entry, (bool, np.bool_)):
            raise IndexError("indexing by a single bool is not supported; use an array of bools")
        elif isinstance(entry, (int, np.integer)):
            entries.append(int(entry))
        elif hasattr(entry, "apply_op"):
            if getattr(entry, "dtype", None) is np.bool_:
                entries.extend(np.nonzero(entry.asnumpy()))
            else:
                entries.append(entry)
        else:
            entries.extend(_host_array(entry))
    used = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if used > len(shape):
        raise IndexError(f"too many indices: {used} for an array of shape {shape}")
    ellipses = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError("an index can have only one Ellipsis ('...')")
    position = ellipses[0] if ellipses else len(entries)
    entries[position : position + 1] = [slice(None)] * (len(shape) - used)
    return entries, position


def _host_array(entry: Any) -> list[np.ndarray]:
    try:
        array = np.asarray(entry)
    except ValueError:
        array = np.asarray(None)
    if array.dtype == np.bool_:
        return list(np.nonzero(array))
    if array.size == 0:
        return [array.astype(np.int64)]
    if array.dtype.kind not in "iu":
        raise IndexError(
            f"expected integers, slices, None, Ellipsis or index arrays in []; given {entry!r}"
        )
    return [array.astype(np.int64)]


def _region(shape: tuple[int, ...], entries: Sequence[Any], keep_integers: bool) -> Region:
    start, step, extents, result = [], [], [], []
    axis = 0
    for entry in entries:
        if entry is None:
            result.append(1)
            continue
        size = shape[axis]
        if isinstance(entry, int) and not keep_integers:
            start.append(_checked(entry, size, axis))
            step.append(1)
            extents.append(1)
        else:
            first, stop, by = entry.indices(size) if isinstance(entry, slice) else (0, size, 1)
            count = len(range(first, stop, by))
            start.append(first if count else 0)
            step.append(by if count > 1 else 1)
            extents.append(count)
            result.append(count)
        axis += 1
    # MXNet has no arrays of no axes: one element has the shape (1,).
    value_shape = tuple(result)
    return Region(tuple(start), tuple(step), tuple(extents), value_shape or (1,), value_shape)


def _checked(index: int, size: int, axis: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {size}")
    return index % size


def _gathering(shape: tuple[int, ...], entries: Sequence[Any], gap: int) -> Gathering:
    axes, indices, positions = [], [], []
    axis = 0  # of the array
    where = 0  # of the region's result
    for position, entry in enumerate(entries):
        if entry is None:
            where += 1
            continue
        if not isinstance(entry, slice):
            axes.append(where)
            positions.append(position)
            indices.append(_normalized(entry, shape[axis], axis))
        where += 1
        axis += 1
    adjacent = positions == list(range(positions[0], positions[0] + len(positions)))
    # To numpy an Ellipsis separates even where it stands for no axis.
    adjacent = adjacent and not positions[0] < gap <= positions[-1]
    region = _region(shape, entries, keep_integers=True)
    return Gathering(region, tuple(axes), tuple(indices), adjacent)


def _normalized(entry: Any, size: int, axis: int) -> Any:
    if isinstance(entry, int):
        return np.asarray(_checked(entry, size, axis), np.int64)
    if isinstance(entry, np.ndarray):
        if entry.size and (entry.min() < -size or entry.max() >= size):
            bad = entry.min() if entry.min() < -size else entry.max()
            raise IndexError(f"index {bad} is out of bounds for axis {axis} with size {size}")
        return np.where(entry < 0, entry + size, entry)
    return entry


# ----------------------------------------------------------------------------- reading


def getitem(x: Any, key: Any) -> Any:
    """`x[key]` in operators. `x` offers `shape` and `index_operand(numpy array)`."""
    found = plan(x.shape, key)
    if isinstance(found, Region):
        return take_region(x, found)
    return _gather(take_region(x, found.region), found)


def take_region(x: Any, region: Region) -> Any:
    if not region.covers(x.shape):
        x = record.get("_slice")(x, start=region.start, step=region.step, extents=region.extents)
    if region.shape != region.extents:
        x = record.get("_reshape")(x, shape=region.shape)
    return x


def _gather(x: Any, gathering: Gathering) -> Any:
    axes = gathering.axes
    take = record.get("take")
    if len(axes) == 1:
        return take(x, _operand(x, gathering.indices[0]), axis=axes[0], mode="wrap")
    sizes = [x.shape[axis] for axis in axes]
    position, index_shape = _position(x, gathering.indices, sizes)
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    x = record.get("transpose")(x, axes=(*axes, *rest))
    rest_shape = tuple(x.shape[len(axes) :])
    x = record.get("_reshape")(x, shape=(int(np.prod(sizes)), *rest_shape))
    x = take(x, position, axis=0, mode="wrap")
    if not index_shape:
        x = record.get("_reshape")(x, shape=rest_shape or (1,))
    if gathering.adjacent and axes[0]:
        ahead, own = axes[0], len(index_shape)
        order = [
            *range(own, own + ahead),
            *range(own),
            *range(own + ahead, own + len(rest)),
        ]
        x = record.get("transpose")(x, axes=tuple(order))
    return x


def _operand(x: Any, index: Any) -> Any:
    return x.index_operand(index) if isinstance(index, np.ndarray) else index


def _position(x: Any, indices: Sequence[Any], sizes: Sequence[int]) -> tuple[Any, tuple[int, ...]]:
    """Row numbers over the joined index axes, and their shape."""
    if all(isinstance(index, np.ndarray) for index in indices):
        joined = np.zeros((), np.int64)
        for index, size in zip(indices, sizes, strict=True):
            joined = joined * size + index
        return x.index_operand(joined), joined.shape
    cast = record.get("Cast")
    joined_operand: Any = None
    for index, size in zip(indices, sizes, strict=True):
        part = cast(_operand(x, index), dtype="int64") % size  # negative ones count from behind
        joined_operand = part if joined_operand is None else joined_operand * size + part
    return joined_operand, tuple(joined_operand.shape)


# ----------------------------------------------------------------------------- writing


def host_indices(gathering: Gathering) -> list[np.ndarray]:
    """The index arrays as numpy arrays: writing needs to know which elements coincide."""
    arrays = []
    for axis, index in zip(gathering.axes, gathering.indices, strict=True):
        if not isinstance(index, np.ndarray):
            index = index.asnumpy().astype(np.int64)
            index = _normalized(index, gathering.region.extents[axis], axis)
        arrays.append(index)
    return arrays


def last_writes(positions: np.ndarray) -> np.ndarray:
    """For index arrays with repetitions: which entries are written last, as numpy writes them.

    >>> last_writes(np.array([3, 1, 3]))
    array([1, 2])
    """
    flat = positions.ravel()[::-1]
    _, first = np.unique(flat, return_index=True)
    return np.sort(flat.size - 1 - first)


def check_value_shape(given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Whether a value of one shape can be written over a region of another."""
    trimmed = given
    while len(trimmed) > len(wanted) and trimmed and trimmed[0] == 1:
        trimmed = trimmed[1:]
    fits = len(trimmed) <= len(wanted) and all(
        a in (1, b) for a, b in zip(reversed(trimmed), reversed(wanted), strict=False)
    )
    if not fits:
        raise TigonError(
            f"assignment: a value of shape {given} does not fit the selected region of shape "
            f"{wanted}; axes must be equal or 1"
        )
