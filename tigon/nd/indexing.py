"""`x[key]` and `x[key] = value` on arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import DType, TigonError
from tigon.base.dtypes import BY_CODE, numbers_of, own_numbers, to_memory
from tigon.base.errors import user_line
from tigon.context import context_of
from tigon.nd.creation import array
from tigon.nd.dispatch import NDArray, apply
from tigon.nd.dispatch import run as _run
from tigon.ops import indexing_plan as indexing
from tigon.ops import record
from tigon.ops.indexing_plan import Gathering, Region
from tigon.ops.tensor import mask
from tigon.runtime import tracing
from tigon.runtime.tracing import densified


def index_operand(self: NDArray, values: np.ndarray) -> NDArray:
    return _native.from_numpy(np.ascontiguousarray(values, np.int64), self.device_index)


def getitem(self: NDArray, key: Any) -> NDArray:
    """Basic slices share memory where they are contiguous; index arrays copy.

    >>> from tigon import nd
    >>> x = nd.arange(6).reshape((2, 3))
    >>> x[1].asnumpy(), x[:, 1].asnumpy(), x[0, 2].shape
    (array([3., 4., 5.], dtype=float32), array([1., 4.], dtype=float32), (1,))
    """
    if tracing.active[0]:
        capture = tracing.capture()
        if capture is not None:  # the symbol knows what shares memory
            return capture(self)[key]
    if type(key) is int and not _native.is_recording():
        shape = self.shape
        if shape and -shape[0] <= key < shape[0]:
            row = shape[1:]
            return self.view(key % shape[0] * (self.size // shape[0]), row or (1,))
    found = _plan(self.shape, key)
    if isinstance(found, Region):
        if not _native.is_recording():
            offset = found.offset(self.shape)
            if offset is not None:
                return self.view(offset, found.shape)
        elif found.covers(self.shape) and found.shape == self.shape:
            return self
        return _take_region(self, found)
    return indexing.getitem(self, _beside(self, key))


def _where(condition: NDArray, x: Any, y: Any, out: Any = None) -> NDArray:
    op = record.get("where")
    return apply(op, op.make_attrs({}), (condition, x, y), out)


def _take_region(self: NDArray, region: Region) -> NDArray:
    if not region.covers(self.shape):
        self = _run("_slice", self, start=region.start, step=region.step, extents=region.extents)
    return self if region.shape == region.extents else _run("_reshape", self, shape=region.shape)


_plans: dict[Any, Region] = {}


def _plan(shape: tuple[int, ...], key: Any) -> Region | Gathering:
    """The meaning of a key; that of integers and slices is remembered."""
    parts: list[Any] = []
    for entry in key if type(key) is tuple else (key,):
        if type(entry) is slice:
            parts.append((entry.start, entry.stop, entry.step))
        elif type(entry) is int or entry is None or entry is Ellipsis:
            parts.append(entry)
        else:
            return indexing.plan(shape, key)
    remembered = (shape, *parts)
    try:
        found = _plans.get(remembered)
    except TypeError:  # bounds that do not hash
        return indexing.plan(shape, key)
    if found is None:
        if len(_plans) > 10_000:
            _plans.clear()
        made = indexing.plan(shape, key)
        assert isinstance(made, Region)
        found = _plans[remembered] = made
    return found


def boolean_mask(data: NDArray, index: NDArray, axis: int = 0) -> NDArray:
    """The entries along an axis where `index`, of one axis, is not 0. How many there are depends on
    the values, so that they are waited for; in a hybridized block the code decides by it.

    >>> from tigon import nd
    >>> x = nd.array([[1, 2], [3, 4], [5, 6]])
    >>> nd.contrib.boolean_mask(x, nd.array([0, 1, 1])).asnumpy()
    array([[3., 4.],
           [5., 6.]], dtype=float32)
    """
    if tracing.active[0] and tracing.installed() is not tracing.NONE:
        return mask.boolean_mask(data, index, axis)
    axis = mask.check_mask(data, index, axis)
    (chosen,) = np.nonzero(numbers_of(index))
    return _run("take", data, index_operand(data, chosen), axis=axis)


def setitem(self: NDArray, key: Any, value: Any) -> None:
    """Overwrite a part of the array. The array stays the same object.

    >>> from tigon import nd
    >>> x = nd.zeros((2, 2))
    >>> x[:, 0] = 1
    >>> x[1] = nd.array([5, 6])
    >>> x.asnumpy().tolist()
    [[1.0, 0.0], [5.0, 6.0]]
    """
    _check_writable(self)
    trace = tracing.eager()
    if trace is not None:
        key, value = trace.concrete((key, value))
    value = densified(value, None)
    if self.device_index == _native.current_device():
        _write(self, key, value)
    else:
        with context_of(self):  # what numbers become is made there
            _write(self, _beside(self, key), value)


def _beside(self: NDArray, key: Any) -> Any:
    """Index arrays where the indexed array is."""
    several = key if isinstance(key, tuple) else (key,)
    device = self.device_index
    found = [_native.placed(one, device) if type(one) is NDArray else one for one in several]
    return tuple(found) if several is key else found[0]


def _write(self: NDArray, key: Any, value: Any) -> None:
    if isinstance(key, NDArray) and key.dtype is np.bool_ and key.shape == self.shape:
        if _is_number(value) or value.size == 1:
            operand = value if _is_number(value) else _lift(value, self).reshape((1,))
            _where(key, operand, self, out=self)
            return
    found = _plan(self.shape, key)
    if isinstance(found, Region):
        _write_region(self, found, value)
    else:
        _write_gathered(self, found, value)


def _check_writable(self: NDArray) -> None:
    if tracing.active[0] and tracing.capture() is not None:
        reason = f"it overwrites an array at {user_line()}; make it with nd.zeros inside the block"
        if not tracing.give_way(reason):
            raise TigonError(
                "x[...] = value: an NDArray is overwritten while the program is traced, which "
                "would happen once and not at every call; make it with nd.zeros inside the block, "
                "or do not hybridize this block"
            )
    if _native.is_recording() and (self.has_tape or self.grad_req != "null"):
        raise TigonError(
            "x[...] = value: expected an array outside of the recorded computation; given one "
            "that takes part in it, and an assignment cannot be differentiated; assign before "
            "autograd.record(), or use where"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, bool, np.generic))


def _lift(value: Any, like: NDArray) -> NDArray:
    """A value to be written, as an array of the target's dtype where the target is."""
    if isinstance(value, NDArray):
        value = _native.placed(value, like.device_index)
        if value.dtype_code == like.dtype_code:
            return value
        return _run("Cast", value, dtype=BY_CODE[like.dtype_code].name)
    return array(value, ctx=context_of(like), dtype=BY_CODE[like.dtype_code])


def _fit(value: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Broadcast a value to the region it is written to."""
    if value.shape == shape:
        return value
    indexing.check_value_shape(value.shape, shape)
    if len(value.shape) > len(shape):
        value = _run("_reshape", value, shape=value.shape[len(value.shape) - len(shape) :])
    return value if value.shape == shape else _run("_broadcast", value, shape=shape)


def write_whole(target: NDArray, value: Any) -> None:
    if _is_number(value):
        dtype = BY_CODE[target.dtype_code]
        _fill(target.shape, value, dtype, target)
    elif isinstance(value, np.ndarray) and value.shape == target.shape:
        target.copy_from_numpy(to_memory(own_numbers(value), BY_CODE[target.dtype_code]))
    elif isinstance(value, NDArray) and value.shape == target.shape:
        value = _native.placed(value, target.device_index)
        if value.dtype_code == target.dtype_code:
            _run("_copy", value, out=target)
        else:
            _run("Cast", value, out=target, dtype=BY_CODE[target.dtype_code].name)
    else:
        lifted = _lift(value, target)
        indexing.check_value_shape(lifted.shape, target.shape)
        if len(lifted.shape) > len(target.shape):
            kept = lifted.shape[len(lifted.shape) - len(target.shape) :]
            lifted = _run("_reshape", lifted, shape=kept)
        _run("_broadcast", lifted, out=target, shape=target.shape)


def _fill(shape: tuple[int, ...], value: Any, dtype: DType, out: Any = None) -> Any:
    """An array of one number; integers drop what is behind the point."""
    if isinstance(value, np.generic):
        value = value.item()
    attributes = {"shape": shape, "dtype": dtype.name, "value": value}
    if dtype.is_integer:
        attributes["value"] = int(value)
    elif value == 0 and math.copysign(1, value) < 0:  # equal to 0, but another program
        op = record.get("_full")
        return apply(op, op.make_attrs(attributes), (), out)
    return _run("_full", out=out, **attributes)


def _write_region(self: NDArray, region: Region, value: Any) -> None:
    if not all(region.extents):
        return
    offset = region.offset(self.shape)
    if offset is not None:
        whole = region.is_whole(self.shape)
        write_whole(self if whole else self.view(offset, region.value_shape), value)
        return
    if _is_number(value):
        dtype = BY_CODE[self.dtype_code]
        part = _fill(region.extents, value, dtype)
    else:
        part = _fit(_lift(value, self), region.value_shape)
        if part.shape != region.extents:
            part = _run("_reshape", part, shape=region.extents)
    _run("_assign_slice", self, part, out=self, start=region.start, step=region.step)


def _write_gathered(self: NDArray, gathering: Gathering, value: Any) -> None:
    """Rows chosen by index arrays are cleared and the new ones added; of several writes to one
    row the last one counts, as in numpy."""
    region = gathering.region
    base = indexing.take_region(self, region)  # new axes in, slices applied
    axes = gathering.axes
    sizes = [base.shape[axis] for axis in axes]
    indices = np.broadcast_arrays(*indexing.host_indices(gathering))
    index_shape = indices[0].shape
    rows = np.ravel_multi_index(indices, sizes).ravel() if indices[0].size else np.zeros(0, int)
    rest = [axis for axis in range(base.ndim) if axis not in axes]
    rest_shape = tuple(base.shape[axis] for axis in rest)
    count = int(np.prod(sizes))
    kept = indexing.last_writes(rows)
    chosen = self.index_operand(rows[kept])
    values = _value_rows(self, gathering, value, index_shape, rest_shape)
    if len(kept) != len(rows):
        values = _run("take", values, self.index_operand(kept), axis=0)
    moved = _run(
        "_reshape", _run("transpose", base, axes=(*axes, *rest)), shape=(count, *rest_shape)
    )
    zeros = _run("_full", shape=(count,), dtype="float32", value=0)
    ones = _run("_full", shape=(len(kept),), dtype="float32", value=1)
    hit = _run("_scatter_add", zeros, chosen, ones, axis=0)
    hit = _run("_reshape", hit, shape=(count,) + (1,) * len(rest_shape))
    cleared = _where(hit, 0, moved)
    written = _run("_scatter_add", cleared, chosen, values, axis=0)
    written = _run("_reshape", written, shape=(*sizes, *rest_shape))
    back = np.argsort([*axes, *rest])
    written = _run("transpose", written, axes=tuple(int(axis) for axis in back))
    written = _run("_reshape", written, shape=region.extents)
    if region.covers(self.shape):
        _run("_copy", written, out=self)
    else:
        _run("_assign_slice", self, written, out=self, start=region.start, step=region.step)


def _value_rows(
    self: NDArray,
    gathering: Gathering,
    value: Any,
    index_shape: tuple[int, ...],
    rest_shape: tuple[int, ...],
) -> NDArray:
    """The value as (number of indices, rest...)."""
    ahead = gathering.axes[0] if gathering.adjacent else 0
    own = len(index_shape)
    shape = (*rest_shape[:ahead], *index_shape, *rest_shape[ahead:])
    count = int(np.prod(index_shape))
    if _is_number(value):
        return _fill((count, *rest_shape), value, BY_CODE[self.dtype_code])
    fitted = _fit(_lift(value, self), shape)
    if ahead:
        order = (*range(ahead, ahead + own), *range(ahead), *range(ahead + own, len(shape)))
        fitted = _run("transpose", fitted, axes=order)
    return _run("_reshape", fitted, shape=(count, *rest_shape))


def slice_assign(
    self: NDArray, rhs: Any, begin: Sequence[int], end: Sequence[int], step: Sequence[int] = ()
) -> NDArray:
    """Overwrite the region from `begin` to `end` in place; returns the array."""
    parts = zip(begin, end, step or (None,) * len(begin), strict=True)
    self[tuple(slice(*part) for part in parts)] = rhs
    return self
