"""Matrices of which few elements are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.dtypes import numbers_of
from tigon.nd.dispatch import run as _run
from tigon.nd.stored.base import BaseSparseNDArray, Dense, index_array, keeps_zeros
from tigon.nd.stored.rows import RowSparseNDArray


class CSRNDArray(BaseSparseNDArray):
    """A matrix of which few elements are stored, row by row: `data` holds them, `indices` their
    columns, `indptr` where each row begins, and the end.

    >>> from tigon import nd
    >>> x = nd.sparse.csr_matrix([[0, 1, 0], [2, 0, 3]])
    >>> x.data.asnumpy().tolist(), x.indices.asnumpy(), x.indptr.asnumpy()
    ([1.0, 2.0, 3.0], array([1, 0, 2]), array([0, 1, 3]))
    >>> x[1].asnumpy()
    array([[2., 0., 3.]], dtype=float32)
    """

    stype = "csr"

    def __init__(self, shape: tuple[int, ...], data: Dense, indices: Dense, indptr: Dense) -> None:
        super().__init__(shape, data.dtype_code, data.device_index)
        self._data, self._indices, self._indptr = data, indices, indptr
        self._begins: np.ndarray | None = None
        self._rows: Dense | None = None

    @classmethod
    def of(cls, array: Dense) -> CSRNDArray:
        check(array.ndim == 2, "tostype", f"csr: expected two axes; given shape {array.shape}")
        if keeps_zeros(array):
            places = np.arange(array.size)
        else:
            (places,) = np.nonzero(numbers_of(array).reshape(-1))
        where = index_array(places, array.device_index)
        values = _run("take", array.reshape((-1,)), where, axis=0)
        return from_places(array.shape, RowSparseNDArray((array.size,), where, values, True))

    @classmethod
    def with_nothing(cls, shape: tuple[int, ...], code: int, device: int) -> CSRNDArray:
        check(len(shape) == 2, "sparse.zeros", f"csr: expected two axes; given shape {shape}")
        none = index_array(np.zeros(0, np.int64), device)
        begins = index_array(np.zeros(shape[0] + 1, np.int64), device)
        return cls(shape, _native.zeros((0,), code, device), none, begins)

    @property
    def data(self) -> Dense:
        """The elements that are stored, row by row."""
        return self._data

    @property
    def indices(self) -> Dense:
        """int64: the column of each of them."""
        return self._indices

    @property
    def indptr(self) -> Dense:
        """int64: where in `data` each row begins, and the end."""
        return self._indptr

    @property
    def begins(self) -> np.ndarray:
        """The same as numbers."""
        if self._begins is None:
            self._begins = self._indptr.asnumpy()
        return self._begins

    @property
    def rows(self) -> Dense:
        """int64: the row of each of the elements."""
        if self._rows is None:
            self._rows = index_array(
                np.repeat(np.arange(self._shape[0]), np.diff(self.begins)), self.device_index
            )
        return self._rows

    @property
    def nbytes(self) -> int:
        return int(self._data.nbytes + self._indices.nbytes + self._indptr.nbytes)

    def _parts(self) -> Sequence[Dense]:
        return (self._data, self._indices, self._indptr)

    def _whole(self) -> Dense:
        rows, columns = self._shape
        flat = _native.zeros((rows * columns,), self.dtype_code, self.device_index)
        places = self.rows * columns + self._indices
        flat = _run("_scatter_add", flat, places, self._data, axis=0)
        return _run("_reshape", flat, shape=self._shape)

    def _like(self, change: Callable[[Dense], Dense]) -> CSRNDArray:
        return self.with_data(change(self._data))

    def with_data(self, data: Dense) -> CSRNDArray:
        """The same places with other elements."""
        made = CSRNDArray(self._shape, data, self._indices, self._indptr)
        made._begins, made._rows = self._begins, self._rows
        return made

    def _of_parts(self, parts: Sequence[Dense]) -> CSRNDArray:
        return CSRNDArray(self._shape, *parts)

    def _take_over(self, other: CSRNDArray) -> None:
        self.__dict__.update({**other.__dict__, "version": self.version})

    def asscipy(self) -> Any:
        """A `scipy.sparse.csr_matrix` of the same elements."""
        try:
            from scipy import sparse  # type: ignore[import-untyped]
        except ImportError as error:
            raise TigonError(
                f"asscipy: needs SciPy, which cannot be imported ({error}); pip install "
                "'tigon[linalg]'"
            ) from None
        parts = (self._data.asnumpy(), self._indices.asnumpy(), self.begins)
        return sparse.csr_matrix(parts, shape=self._shape)

    def check_format(self, full_check: bool = True) -> None:
        """Raise unless rows begin in ascending order and columns are there, in ascending order."""
        check_csr("check_format", self._shape, self._data, self._indices, self._indptr, full_check)

    def part(self, begin: int, end: int) -> CSRNDArray:
        """The rows from `begin` to `end`."""
        begins = self.begins
        first, last = int(begins[begin]), int(begins[end])
        return CSRNDArray(
            (end - begin, self._shape[1]),
            self._data[first:last],
            self._indices[first:last],
            index_array(begins[begin : end + 1] - first, self.device_index),
        )

    def take_rows(self, order: np.ndarray) -> CSRNDArray:
        """The rows of these numbers, in this order."""
        begins = self.begins
        counts = np.diff(begins)[order]
        ends = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(begins[:-1][order] - ends[:-1], counts) + np.arange(ends[-1])
        where = index_array(places, self.device_index)
        return CSRNDArray(
            (len(order), self._shape[1]),
            _run("take", self._data, where, axis=0),
            _run("take", self._indices, where, axis=0),
            index_array(ends, self.device_index),
        )

    def __getitem__(self, key: Any) -> Any:
        """Rows: by a number or a slice of step 1; `x[i]` is a matrix of one row."""
        count = self._shape[0]
        if isinstance(key, (int, np.integer)):
            check(
                -count <= key < count,
                "CSRNDArray[...]",
                f"row {key} is out of range for shape {self._shape}",
            )
            begin = int(key) % count
            return self.part(begin, begin + 1)
        if key is Ellipsis:
            key = slice(None)
        check(
            isinstance(key, slice) and key.step in (None, 1),
            "CSRNDArray[...]",
            f"expected a row or a slice of step 1; given [{key!r:.40}]; use tostype('default')",
        )
        begin, end, _ = key.indices(count)
        return self if (begin, end) == (0, count) else self.part(begin, max(begin, end))

    def __iter__(self) -> Any:
        return (self[i] for i in range(self._shape[0]))

    def __reduce__(self) -> Any:
        return CSRNDArray, (self._shape, self._data, self._indices, self._indptr)


def check_csr(
    where: str, shape: tuple[int, ...], data: Any, indices: Any, indptr: Any, full: bool = True
) -> None:
    columns, begins = indices.asnumpy(), indptr.asnumpy()
    steps = np.diff(begins)
    check(
        begins.shape == (shape[0] + 1,)
        and begins[0] == 0
        and (steps >= 0).all()
        and begins[-1] == len(columns) == data.size,
        where,
        f"indptr: expected {shape[0] + 1} numbers that rise from 0 to the {len(columns)} columns "
        f"of {data.size} elements; given {begins.tolist()!r:.80}",
    )
    if not full:
        return
    wrong = columns[(columns < 0) | (columns >= shape[1])]
    check(
        not len(wrong),
        where,
        f"indices: expected columns from 0 to {shape[1] - 1}; given {wrong[:1].tolist()}",
    )
    places = np.repeat(np.arange(shape[0]), steps) * shape[1] + columns
    check(
        (np.diff(places) > 0).all(),
        where,
        "indices: expected the columns of each row in ascending order, each once",
    )


def in_order(shape: tuple[int, ...], data: Dense, indices: Dense, indptr: Dense) -> CSRNDArray:
    """With the columns of each row in ascending order."""
    columns, begins = indices.asnumpy(), indptr.asnumpy()
    places = np.repeat(np.arange(shape[0]), np.diff(begins)) * max(shape[1], 1) + columns
    if not (np.diff(places) > 0).all():
        order = np.argsort(places, kind="stable")
        where = index_array(order, data.device_index)
        data = _run("take", data, where, axis=0)
        indices = index_array(columns[order], data.device_index)
    check_csr("csr_matrix", shape, data, indices, indptr)
    return CSRNDArray(shape, data, indices, indptr)


def from_places(shape: tuple[int, ...], flat: RowSparseNDArray) -> CSRNDArray:
    """Of the elements of a matrix in one axis."""
    rows, columns = np.divmod(flat.indices.asnumpy(), max(shape[1], 1))
    begins = np.searchsorted(rows, np.arange(shape[0] + 1))
    device = flat.device_index
    return CSRNDArray(shape, flat.data, index_array(columns, device), index_array(begins, device))
