"""Arrays of which some rows are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.base.dtypes import numbers_of
from tigon.nd.dispatch import run as _run
from tigon.nd.stored.base import (
    BaseSparseNDArray,
    Dense,
    from_dense,
    index_array,
    keeps_zeros,
    takes_part,
)
from tigon.ops import record
from tigon.program.operators import attributes_id, call_id
from tigon.runtime import counters


class RowSparseNDArray(BaseSparseNDArray):
    """An array of which some rows are stored, and the others are zero. `data` holds them, `indices`
    says which they are, in ascending order.

    >>> from tigon import nd
    >>> x = nd.sparse.row_sparse_array(([[1, 2], [3, 4]], [3, 1]), shape=(5, 2))
    >>> x.indices.asnumpy(), x.data.asnumpy().tolist()
    (array([1, 3]), [[3.0, 4.0], [1.0, 2.0]])
    >>> x.asnumpy().sum(1)
    array([0., 7., 0., 3., 0.], dtype=float32)
    """

    stype = "row_sparse"

    def __init__(
        self, shape: tuple[int, ...], rows: Dense | None, values: Dense, ordered: bool = False
    ) -> None:
        """`rows`: None where all are stored. `ordered`: they ascend; otherwise they are in any
        order, some perhaps several times, and those are added up when somebody asks."""
        super().__init__(shape, values.dtype_code, values.device_index)
        self._rows, self._values, self._ordered = rows, values, ordered or rows is None
        self._source: Dense | None = None
        """Of rows that were taken of a parameter: its array."""

    @classmethod
    def of(cls, array: Dense) -> RowSparseNDArray:
        check(array.ndim > 0, "tostype", "row_sparse: expected one axis at least; given ()")
        if keeps_zeros(array):
            return cls(array.shape, None, array.copy())
        if not array.size:
            return cls.with_nothing(array.shape, array.dtype_code, array.device_index)
        (rows,) = np.nonzero(numbers_of(array).reshape((array.shape[0], -1)).any(1))
        where = index_array(rows, array.device_index)
        return cls(array.shape, where, _run("take", array, where, axis=0), True)

    @classmethod
    def with_nothing(cls, shape: tuple[int, ...], code: int, device: int) -> RowSparseNDArray:
        check(shape, "sparse.zeros", "expected a shape of one axis at least; given ()")
        none = index_array(np.zeros(0, np.int64), device)
        return cls(shape, none, _native.zeros((0, *shape[1:]), code, device), True)

    def _settle(self) -> None:
        """Put the rows in order, each once."""
        rows = self._rows
        if self._ordered or rows is None:
            return
        # What was recorded stays so, whoever asks: the sum takes its place.
        recording = _native.set_recording(takes_part(self._values))
        try:
            self._put_in_order(rows.asnumpy())
        finally:
            _native.set_recording(recording)

    def _put_in_order(self, numbers: np.ndarray) -> None:
        found, place = np.unique(numbers, return_inverse=True)
        if len(found) < len(numbers):
            empty = _native.zeros(
                (len(found), *self._shape[1:]), self.dtype_code, self.device_index
            )
            where = index_array(place.reshape(-1), self.device_index)
            self._values = _run("_scatter_add", empty, where, self._values, axis=0)
        elif not np.array_equal(found, numbers):
            where = index_array(np.argsort(numbers), self.device_index)
            self._values = _run("take", self._values, where, axis=0)
        self._rows, self._ordered = index_array(found, self.device_index), True

    @property
    def dtype(self) -> Any:
        return self._values.dtype

    @property
    def data(self) -> Dense:
        """The rows that are stored."""
        self._settle()
        return self._values

    @property
    def indices(self) -> Dense:
        """int64: which ones these are, in ascending order."""
        self._settle()
        if self._rows is None:
            return index_array(np.arange(self._shape[0]), self.device_index)
        return self._rows

    @property
    def nbytes(self) -> int:
        return int(self._values.nbytes + (0 if self._rows is None else self._rows.nbytes))

    def _parts(self) -> Sequence[Dense]:
        return (self._values,) if self._rows is None else (self._rows, self._values)

    @property
    def whole(self) -> Dense | None:
        """The dense array behind it, where there is one of all rows."""
        return self._values if self._rows is None else self._source

    def table(self) -> Dense:
        """The dense array of all rows, which this one is from now on: what is written to it shows
        here. For what is updated row by row again and again."""
        if self._rows is not None:
            self._values, self._rows, self._ordered = self._whole(), None, True
        return self._values

    def _whole(self) -> Dense:
        if self._rows is None:
            return self._values.copy()
        empty = _native.zeros(self._shape, self.dtype_code, self.device_index)
        return _run("_scatter_add", empty, self._rows, self._values, axis=0)

    def _like(self, change: Callable[[Dense], Dense]) -> RowSparseNDArray:
        return RowSparseNDArray(self._shape, self._rows, change(self._values), self._ordered)

    def _of_parts(self, parts: Sequence[Dense]) -> RowSparseNDArray:
        *rows, values = parts
        return RowSparseNDArray(self._shape, rows[0] if rows else None, values, self._ordered)

    def _take_over(self, other: RowSparseNDArray) -> None:
        if self._rows is None:  # who holds the table goes on to see it, and its gradient stays
            other.table().copyto(self._values)
            return
        self._rows, self._values, self._ordered = other._rows, other._values, other._ordered

    def _receive(self, rows: Dense | None, values: Dense | None, adds: bool) -> None:
        """Of backward: take over the rows of a gradient, or add them; a dense one loses its rows of
        zeros."""
        self.version += 1
        if values is None:
            nothing = self.with_nothing(self._shape, self.dtype_code, self.device_index)
            found = None if adds else nothing
        elif rows is None:
            counters.fall_back("a dense gradient of an array whose gradient is row-sparse")
            found = from_dense(values, "row_sparse")
        else:
            found = RowSparseNDArray(self._shape, rows, values)
        if found is not None:
            joined_rows = added((self, found)) if adds else found
            self._rows, self._values = joined_rows._rows, joined_rows._values
            self._ordered = joined_rows._ordered

    def retain(self, rsp_indices: Any) -> RowSparseNDArray:
        """The rows of these numbers, those that are stored; all others are zero.

        >>> from tigon import nd
        >>> x = nd.sparse.row_sparse_array(([[1], [2]], [0, 2]), shape=(4, 1))
        >>> x.retain(nd.array([2, 3])).indices.asnumpy()
        array([2])
        """
        wanted = row_numbers("retain", rsp_indices, self._shape[0])
        if self._rows is None:
            where = index_array(wanted, self.device_index)
            return RowSparseNDArray(
                self._shape, where, _run("take", self._values, where, axis=0), True
            )
        stored = self.indices.asnumpy()
        (kept,) = np.nonzero(np.isin(stored, wanted, assume_unique=True))
        values = _run("take", self._values, index_array(kept, self.device_index), axis=0)
        return RowSparseNDArray(
            self._shape, index_array(stored[kept], self.device_index), values, True
        )

    def rows_at(self, rows: Any) -> RowSparseNDArray:
        """The same with all of these rows stored, those of zeros, too: what a store gives to
        whoever pulls rows."""
        wanted = row_numbers("rows_at", rows, self._shape[0])
        found = self.retain(wanted)
        if len(wanted) == found.indices.size:
            return found
        place = np.searchsorted(wanted, found.indices.asnumpy())
        values = _native.zeros((len(wanted), *self._shape[1:]), self.dtype_code, self.device_index)
        values = _run(
            "_scatter_add", values, index_array(place, self.device_index), found.data, axis=0
        )
        return RowSparseNDArray(self._shape, index_array(wanted, self.device_index), values, True)

    def check_format(self, full_check: bool = True) -> None:
        """Raise unless the rows ascend and are there. `full_check` is accepted: what is made is
        checked at once."""

    def __getitem__(self, key: Any) -> Any:
        """`x[:]` is the array."""
        check(
            key is Ellipsis or (isinstance(key, slice) and key == slice(None)),
            "RowSparseNDArray[...]",
            f"expected [:]; given [{key!r:.40}]; use retain, or tostype('default')",
        )
        return self

    def __reduce__(self) -> Any:
        rows = None if self._rows is None else self._rows.asnumpy()
        return _rebuild_rows, (self._shape, rows, self._values, self._ordered)

    def attach_grad(self, grad_req: str = "write", stype: Any = None) -> None:
        """Give the array a gradient, row-sparse unless `stype` says otherwise."""
        self.table().attach_grad(grad_req, stype or "row_sparse")

    @property
    def grad(self) -> Any:
        """What backward fills, or None."""
        whole = self.whole
        return None if whole is None else whole.grad


def _rebuild_rows(
    shape: tuple[int, ...], rows: np.ndarray | None, values: Dense, ordered: bool
) -> RowSparseNDArray:
    where = None if rows is None else index_array(rows, values.device_index)
    return RowSparseNDArray(shape, where, values, ordered)


def row_numbers(where: str, given: Any, extent: int) -> np.ndarray:
    """Numbers of rows, in ascending order and each once."""
    numbers = given.asnumpy() if hasattr(given, "asnumpy") else np.asarray(given)
    found = np.unique(numbers.astype(np.int64))
    check(
        not len(found) or (found[0] >= 0 and found[-1] < extent),
        where,
        f"expected numbers of rows from 0 to {extent - 1}; given "
        f"{found[[0, -1]].tolist() if len(found) else ''}",
    )
    return found


def added(arrays: Sequence[RowSparseNDArray]) -> RowSparseNDArray:
    """The sum of row-sparse arrays, added up in this order where rows meet."""
    first = arrays[0]
    if any(one._rows is None for one in arrays):
        total = first._whole()
        for one in arrays[1:]:
            total = _run("_scatter_add", total, one.indices, one.data, axis=0)
        return RowSparseNDArray(first.shape, None, total)
    stored = [one for one in arrays if one._values.shape[0]]
    if len(stored) < 2:
        return (stored[0] if stored else first)._like(lambda values: values)
    rows = _run("Concat", *[one._rows for one in stored], dim=0)
    values = _run("Concat", *[one._values for one in stored], dim=0)
    return RowSparseNDArray(first.shape, rows, values)


def rows_of(table: Dense, rows: Any) -> RowSparseNDArray:
    """Rows of a dense array. What is computed of them is computed of it: gradients flow there."""
    numbers = row_numbers("rows_of", rows, table.shape[0])
    where = index_array(numbers, table.device_index)
    found = RowSparseNDArray(table.shape, where, _run("take", table, where, axis=0), True)
    found._source = table
    return found


def rows_at(array: Any, rows: Any) -> RowSparseNDArray:
    """These rows of a dense or a row-sparse array, all of them stored."""
    if isinstance(array, RowSparseNDArray):
        return array.rows_at(rows)
    found = rows_of(array, rows)
    found._source = None
    return found


def write_rows(target: Dense, rows: Dense, values: Dense) -> None:
    """Overwrite these rows, each once, in place: nothing else is touched. On a device with memory
    of its own all of it is written."""
    if _native.is_host(target.device_index):
        _native.write_rows(target, rows, values)
    else:
        _run("_contrib_index_copy", target, rows, values, out=target)


def gradient_of(array: Dense) -> RowSparseNDArray:
    """What backward fills with the rows of a gradient: none at first."""
    return RowSparseNDArray.with_nothing(array.shape, array.dtype_code, array.device_index)


def _register() -> None:
    join, add = record.get("Concat"), record.get("_scatter_add")
    _native.set_rows_type(RowSparseNDArray)
    _native.set_rows_operators(
        call_id(join),
        attributes_id(join.make_attrs({"dim": 0}), lasting=True),
        call_id(add),
        attributes_id(add.make_attrs({"axis": 0}), lasting=True),
    )


_register()
