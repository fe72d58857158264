"""Indices of several axes and of one, and writing at indices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import floor_divide, maximum, minimum, modulo
from tigon.ops.primitive.choose import cast, select, where
from tigon.ops.primitive.compare import equal, lesser_equal, logical_or, not_equal
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import (
    _checked_index,
    _positions,
    _scatter_points,
    _take,
    added_at,
)
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Positions, Work, composite
from tigon.ops.tensor.join import stack
from tigon.ops.tensor.order import order
from tigon.ops.tensor.slice import slice_axis


class GridAttrs(Frozen):
    shape: tuple[int, ...] = ()


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _decompose_ravel(attrs: GridAttrs, data: Any) -> Any:
    check(
        data.ndim >= 1 and data.shape[0] == len(attrs.shape),
        "ravel_multi_index",
        f"shape {data.shape} should begin with {len(attrs.shape)}, the axes of {attrs.shape}",
    )
    total: Any = None
    for row, stride in enumerate(_strides(attrs.shape)):
        part = _reshape(slice_axis(data, axis=0, begin=row, end=row + 1), shape=data.shape[1:])
        total = part * stride if total is None else total + part * stride
    return total


ravel_multi_index = composite(
    "_ravel_multi_index",
    _decompose_ravel,
    attrs=GridAttrs,
    dtypes="fiu",
    indices={"data": lambda a, _: Positions(a.shape, 0, read=False)},
    differentiable=False,
    numpy=lambda x, shape: np.tensordot(np.array(_strides(shape), x.dtype), x, 1).astype(x.dtype),
    aliases=("ravel_multi_index",),
    samples=(
        (np.array([[0, 2], [1, 3]], np.float32), {"shape": (3, 4)}),
        (np.array([[0], [1], [2]], np.int64), {"shape": (2, 3, 4)}),
    ),
    doc="""Columns of coordinates as positions in row-major order.

    Parameters: `shape` of the array that the coordinates belong to.

    >>> nd.ravel_multi_index(nd.array([[0, 2], [1, 3]]), shape=(3, 4)).asnumpy()
    array([ 1., 11.], dtype=float32)
    """,
)


def _decompose_unravel(attrs: GridAttrs, data: Any) -> Any:
    whole = cast(data, dtype="int64")
    rows = []
    for axis, stride in enumerate(_strides(attrs.shape)):
        row = floor_divide(whole, max(stride, 1))
        # As in MXNet, what is beyond the shape is beyond it along the first axis.
        rows.append(modulo(row, max(attrs.shape[axis], 1)) if axis else row)
    return cast(stack(*rows, axis=0), dtype=data.dtype.name)


unravel_index = composite(
    "_unravel_index",
    _decompose_unravel,
    attrs=GridAttrs,
    indices={"data": lambda a, _: Positions(math.prod(a.shape), 0, read=False)},
    differentiable=False,
    numpy=lambda x, shape: np.stack(np.unravel_index(x.astype(np.int64), shape)).astype(x.dtype),
    aliases=("unravel_index",),
    samples=(
        (np.array([1, 11], np.float32), {"shape": (3, 4)}),
        (np.array([[0, 23]], np.int64), {"shape": (2, 3, 4)}),
    ),
    doc="""Positions in row-major order as columns of coordinates.

    Parameters: `shape` of the array that the positions belong to.

    >>> nd.unravel_index(nd.array([1, 11]), shape=(3, 4)).asnumpy()
    array([[0., 2.],
           [1., 3.]], dtype=float32)
    """,
)


class IndexArrayAttrs(Frozen):
    axes: tuple[int, ...] | None = None


def _decompose_index_array(attrs: IndexArrayAttrs, data: Any) -> Any:
    axes = range(data.ndim) if attrs.axes is None else [axis % data.ndim for axis in attrs.axes]
    return stack(*(_iota(shape=data.shape, axis=axis) for axis in axes), axis=-1)


index_array = composite(
    "_contrib_index_array",
    _decompose_index_array,
    attrs=IndexArrayAttrs,
    differentiable=False,
    numpy=lambda x, axes: np.stack(
        [np.indices(x.shape)[axis] for axis in (range(x.ndim) if axes is None else axes)], -1
    ),
    samples=(((2, 3), {}), ((2, 3), {"axes": (1,)}), ((3,), {})),
    doc="""The coordinates of each element, along a new last axis (int64).

    Parameters: `axes` whose coordinates; all if not given.

    >>> nd.contrib.index_array(nd.zeros((2, 2))).asnumpy().tolist()
    [[[0, 0], [0, 1]], [[1, 0], [1, 1]]]
    """,
)


def _decompose_index_copy(old: Any, index: Any, new: Any) -> Any:
    """Per row of `old`, the number of the last entry that lands on it, and that entry."""
    check(
        index.ndim == 1 and new.shape == (*index.shape, *old.shape[1:]),
        "index_copy",
        f"{new.type} should have a row of {old.shape[1:]} for each of {index.type}",
    )
    rows, count = old.shape[0], index.shape[0]
    where_to = _checked_index(index, sizes=(rows,), operator="index_copy", negative=True)
    last = _last_entries(where_to, rows, count)
    column = (rows,) + (1,) * (old.ndim - 1)
    taken = _take(new, maximum(last, 0), axis=0)
    hit = cast(lesser_equal(0, last), dtype=old.dtype.name)
    return select(_reshape(hit, shape=column), taken, old)


def _last_entries(where_to: Any, rows: int, count: int) -> Any:
    """For each row the number of the last entry that goes there, -1 where there is none. In stable
    order the last one of a row is followed by an entry of another row."""
    entries = order(where_to, 0, True)
    sorted_rows = _take(where_to, entries)
    following = _take(sorted_rows, minimum(_iota(shape=(count,)) + 1, count - 1))
    here = _iota(shape=(count,))
    ends = logical_or(not_equal(sorted_rows, following), equal(here, count - 1))
    number = select(ends, entries + 1, 0)
    return added_at((rows,), sorted_rows, number) - 1


def _index_copy_oracle(old: np.ndarray, index: np.ndarray, new: np.ndarray) -> Any:
    result = old.copy()
    result[index.astype(int)] = new
    return result


index_copy = composite(
    "_contrib_index_copy",
    _decompose_index_copy,
    operands="old_tensor index_vector new_tensor",
    dtypes={"old_tensor new_tensor": "fiub"},
    work=Work.SORTING,
    numpy=_index_copy_oracle,
    samples=(
        ((5, 3), np.array([0, 4], np.int64), (2, 3), {}),
        ((4,), np.array([1, 2, 0], np.float32), (3,), {}),
        ((4, 2), np.array([3, 1, 3, 3, 1], np.int64), (5, 2), {}),
    ),
    doc="""The rows of an array, some of them replaced. -1 is the last row; a number out of range is
    a `TigonIndexError`, and of several entries for one row the last one stays.

    Parameters: `index_vector` which rows, `new_tensor` the new ones.

    >>> new = nd.array([[1, 2], [3, 4]])
    >>> nd.contrib.index_copy(nd.zeros((3, 2)), nd.array([2, 0]), new).asnumpy()
    array([[3., 4.],
           [0., 0.],
           [1., 2.]], dtype=float32)
    """,
)


def _decompose_fill(lhs: Any, mhs: Any, rhs: Any) -> Any:
    check(
        lhs.ndim == 2 and mhs.shape == rhs.shape == lhs.shape[:1],
        "fill_element_0index",
        f"expected a matrix and two vectors of its rows; given {lhs.shape}, {mhs.shape}, "
        f"{rhs.shape}",
    )
    rows, columns = lhs.shape
    place = _reshape(_positions(rhs, columns, "clip"), shape=(rows, 1))
    hit = cast(equal(place, _iota(shape=(1, columns), axis=1)), dtype=lhs.dtype.name)
    return select(hit, _reshape(mhs, shape=(rows, 1)), lhs)


def _fill_oracle(lhs: np.ndarray, mhs: np.ndarray, rhs: np.ndarray) -> Any:
    result = lhs.copy()
    result[np.arange(len(lhs)), rhs.astype(int)] = mhs
    return result


fill_element_0index = composite(
    "fill_element_0index",
    _decompose_fill,
    operands="lhs mhs rhs",
    dtypes={"lhs mhs": "fiub"},
    indices={"rhs": lambda lhs, *_: Positions(lhs.shape[1], 1)},
    numpy=_fill_oracle,
    samples=(((3, 4), (3,), np.array([0, 3, 1], np.float32), {}),),
    doc="""A matrix in which one element of each row is replaced: row i at column rhs[i] by mhs[i].

    >>> nd.fill_element_0index(nd.zeros((2, 2)), nd.array([5, 6]), nd.array([1, 0])).asnumpy()
    array([[0., 5.],
           [6., 0.]], dtype=float32)
    """,
)


class ScatterSetAttrs(Frozen):
    shape: tuple[int, ...] = ()


def _decompose_scatter_set(attrs: ScatterSetAttrs, lhs: Any, rhs: Any, indices: Any) -> Any:
    ones = _full(shape=rhs.shape, value=1, dtype=lhs.dtype.name)
    count = _scatter_points("_scatter_set_nd", ones, indices, lhs.shape)
    # Where several meet, their mean: MXNet leaves open which one stays.
    total = _scatter_points("_scatter_set_nd", rhs, indices, lhs.shape)
    return where(count, total / maximum(count, 1), lhs)


def _scatter_set_oracle(
    lhs: np.ndarray, rhs: np.ndarray, indices: np.ndarray, shape: tuple[int, ...]
) -> Any:
    result = lhs.copy()
    result[tuple(indices.astype(int))] = rhs
    return result


scatter_set_nd = composite(
    "_scatter_set_nd",
    _decompose_scatter_set,
    operands="lhs rhs indices",
    attrs=ScatterSetAttrs,
    dtypes={"lhs rhs": "fiu"},
    numpy=_scatter_set_oracle,
    samples=(
        ((3, 4), (2,), np.array([[0, 2], [1, 3]], np.float32), {}),
        ((3, 4), (2, 4), np.array([[0, 2]], np.int64), {}),
    ),
    doc="""`lhs` with the entries at points (columns of `indices`) replaced by `rhs`.""",
)
