"""What `x[key]` means: a key becomes one slice, one reshape and at most one gather, applied as
operators, so that it works on arrays and on traced symbols and is differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import TigonError, TigonIndexError, as_dtype
from tigon.base.dtypes import int64, numbers_of
from tigon.base.frozen import Frozen
from tigon.loop.semantics import convert
from tigon.ops import record
from tigon.ops.attributes import shown


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

    def is_whole(self, shape: tuple[int, ...]) -> bool:
        """Whether it is an array of this shape itself."""
        return self.value_shape == shape and self.offset(shape) == 0

    def is_view(self, shape: tuple[int, ...]) -> bool:
        """Whether it is written by way of a view, which is recorded without the array."""
        return self.offset(shape) is not None and not self.is_whole(shape)


class Gathering(Frozen):
    """A region first, then index arrays over some of its axes."""

    region: Region  # integers among index arrays are left as axes
    axes: tuple[int, ...]  # of the region's result, ascending
    indices: tuple[Any, ...]  # numpy int64 arrays, or operands with values of their own
    adjacent: bool  # the index axes follow one another: the result's axes stay in their place


def is_basic(key: Any) -> bool:
    """Whether a key holds integers, slices, None and Ellipsis only."""
    entries = key if isinstance(key, tuple) else (key,)
    return all(
        entry is None
        or entry is Ellipsis
        or (isinstance(entry, (int, np.integer, slice)) and not isinstance(entry, bool))
        for entry in entries
    )


def plan(shape: tuple[int, ...], key: Any) -> Region | Gathering:
    """Read a key against a shape; TigonIndexError where it does not fit.

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
    arrays: list[tuple[int, Any, bool]] = []  # where its entries begin, and whether it is a mask
    for entry in key:
        if entry is Ellipsis or entry is None or isinstance(entry, slice):
            entries.append(entry)
        elif isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
            entries.append(int(entry))
        else:
            array = entry if hasattr(entry, "apply_op") else _host_array(entry)
            dtype = getattr(array, "dtype", None)
            mask = dtype is not None and dtype == np.bool_
            arrays.append((len(entries), array, mask))
            entries.extend(_places(array) if mask else [array])
    used = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if used > len(shape):
        raise TigonIndexError(f"too many indices: {used} for an array of shape {shape}")
    ellipses = [i for i, entry in enumerate(entries) if entry is Ellipsis]
    if len(ellipses) > 1:
        raise TigonIndexError("an index can have only one Ellipsis ('...')")
    position = ellipses[0] if ellipses else len(entries)
    missing = len(shape) - used
    entries[position : position + 1] = [slice(None)] * missing
    for begin, array, mask in arrays:
        before = entries[: begin + missing - 1 if begin > position else begin]
        first = sum(entry is not None for entry in before)
        _check_fits(array, shape[first : first + len(array.shape)], mask)
    return entries, position


def _places(mask: Any) -> tuple[np.ndarray, ...]:
    values = mask if isinstance(mask, np.ndarray) else numbers_of(mask)
    if not values.ndim:
        raise TigonIndexError("indexing by a single bool is not supported; use an array of bools")
    return np.nonzero(values)


def _check_fits(array: Any, shape: tuple[int, ...], mask: bool) -> None:
    """Masks have the shape of what they index; row numbers in floating point have not. A comparison
    gives numbers in MXNet, and its zeros and ones would be taken for rows without a word. Over one
    axis, where both occur, numbers are meant."""
    given = tuple(array.shape)
    if mask and given != shape:
        raise TigonIndexError(f"a mask of shape {given} does not fit axes of shape {shape}")
    if mask or len(given) < 2 or isinstance(array, np.ndarray):
        return
    answers = getattr(array, "is_comparison", False)
    if (answers or as_dtype(array.dtype).is_float) and _spreads_over(given, shape):
        kind = "a comparison" if answers else "a floating-point array"
        raise TigonIndexError(
            f"x[...]: expected integers or a bool mask; given {kind} of shape {given} over axes of "
            f"shape {shape}, as if it were a mask; use nd.where(condition, x, y), "
            "nd.contrib.boolean_mask for whole rows, a mask by astype('bool') for single elements, "
            "or, if it holds row numbers, astype('int32')"
        )


def _spreads_over(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether every element of `shape` has one of `given`, which is not of single elements only."""
    if given == shape:
        return True
    spread = len(given) == len(shape) and all(
        own in (1, extent) for own, extent in zip(given, shape, strict=True)
    )
    return spread and any(own > 1 for own in given)


def _host_array(entry: Any) -> np.ndarray:
    try:
        array = np.asarray(entry)
    except ValueError:
        array = np.asarray(None)
    if array.dtype == np.bool_:
        return array
    if array.size and array.dtype.kind not in "iu":
        raise TigonIndexError(
            "expected integers, slices, None, Ellipsis or index arrays in []; given " + shown(entry)
        )
    if array.dtype == np.uint64:
        array = np.minimum(array, np.iinfo(np.int64).max)
    return array.astype(np.int64)


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
        raise TigonIndexError(f"index {index} is out of bounds for axis {axis} with size {size}")
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
            raise TigonIndexError(f"index {bad} is out of bounds for axis {axis} with size {size}")
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
        (index,) = gathering.indices
        if isinstance(index, np.ndarray):
            return take(x, x.index_operand(index), axis=axes[0])
        return record.get("_index")(x, index, axis=axes[0])
    sizes = [x.shape[axis] for axis in axes]
    position, index_shape = _position(x, gathering)
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    x = record.get("transpose")(x, axes=(*axes, *rest))
    rest_shape = tuple(x.shape[len(axes) :])
    x = record.get("_reshape")(x, shape=(int(np.prod(sizes)), *rest_shape))
    x = take(x, position, axis=0)
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


def _position(x: Any, gathering: Gathering) -> tuple[Any, tuple[int, ...]]:
    """Row numbers over the joined index axes, and their shape."""
    indices = gathering.indices
    sizes = [x.shape[axis] for axis in gathering.axes]
    if all(isinstance(index, np.ndarray) for index in indices):
        joined = np.zeros((), np.int64)
        for index, size in zip(indices, sizes, strict=True):
            joined = joined * size + index
        return x.index_operand(joined), joined.shape
    checked = record.get("_checked_index")
    joined_operand: Any = None
    for axis, index, size in zip(gathering.axes, indices, sizes, strict=True):
        part = (
            x.index_operand(index)
            if isinstance(index, np.ndarray)
            else checked(index, sizes=(size,), axis=axis, operator="x[...]", negative=True)
        )
        joined_operand = part if joined_operand is None else joined_operand * size + part
    return joined_operand, tuple(joined_operand.shape)


# ----------------------------------------------------------------------------- writing


def host_indices(gathering: Gathering) -> list[np.ndarray]:
    """The index arrays as numpy arrays: writing needs to know which elements coincide."""
    arrays = []
    for axis, index in zip(gathering.axes, gathering.indices, strict=True):
        if not isinstance(index, np.ndarray):
            values = numbers_of(index)
            if np.isnan(values).any():
                raise TigonIndexError(f"index nan is out of bounds for axis {axis}")
            index = convert(values, int64)
            index = _normalized(index, gathering.region.shape[axis], axis)
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
