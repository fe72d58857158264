"""Sparse arrays from their parts, from others, and from files."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.base.dtypes import check_dtype
from tigon.context import Context, current_context, on
from tigon.export.params import ALWAYS, Sparse
from tigon.nd.creation import array as dense_array
from tigon.nd.creation import check_shape
from tigon.nd.stored.base import STORAGES, Dense, check_stype, index_array, stype_of
from tigon.nd.stored.matrix import CSRNDArray, check_csr, from_places, in_order
from tigon.nd.stored.rows import RowSparseNDArray, row_numbers
from tigon.runtime.tracing import is_sparse

INDEX = "int64"


def _part(given: Any, dtype: Any, context: Context) -> Dense:
    return dense_array(given, context, dtype)


def _dtype_for(given: Any, dtype: Any) -> Any:
    """float32, unless it is said or the source has one."""
    return getattr(given, "dtype", None) if dtype is None else dtype


def row_sparse_array(
    arg1: Any, shape: Any = None, ctx: Any = None, dtype: Any = None
) -> RowSparseNDArray:
    """A row-sparse array: from (data, indices), rows and their numbers in any order; from another
    array, dense, sparse or of numpy, whose rows of zeros are left out; or from a shape, with no
    row.

    The dtype is that of the source, float32 of lists. `shape` may be left out where the source has
    one; of (data, indices) it is then as small as can be.

    >>> row_sparse_array((np.ones((2, 3)), [4, 2])).shape
    (5, 3)
    >>> row_sparse_array([[0, 0], [1, 2]]).indices.asnumpy()
    array([1])
    """
    where = "row_sparse_array"
    with on(where, ctx):
        context = current_context()
        if (
            isinstance(arg1, tuple)
            and len(arg1) == 2
            and not isinstance(arg1[0], (int, np.integer))
        ):
            data = _part(arg1[0], _dtype_for(arg1[0], dtype), context)
            rows = _part(arg1[1], INDEX, context)
            numbers = rows.asnumpy()
            check(
                numbers.ndim == 1 and data.ndim > 0 and data.shape[0] == numbers.size,
                where,
                f"expected as many rows as numbers of rows; given {data.shape} and {numbers.shape}",
            )
            if shape is None:
                shape = (int(numbers.max(initial=-1)) + 1, *data.shape[1:])
            extents = check_shape(where, shape)
            check(
                extents[1:] == data.shape[1:],
                where,
                f"expected rows of shape {extents[1:]}, as of {extents}; given {data.shape[1:]}",
            )
            unique = row_numbers(where, numbers, extents[0])
            check(
                len(unique) == len(numbers),
                where,
                f"expected every row once; given {numbers.tolist()!r:.80}",
            )
            return RowSparseNDArray(extents, rows, data)
        if isinstance(arg1, tuple) and not _holds_rows(arg1):
            return zeros("row_sparse", arg1, context, dtype)
        return _from_array(where, arg1, "row_sparse", shape, context, dtype)


def _holds_rows(given: tuple[Any, ...]) -> bool:
    """Whether a tuple is no shape."""
    return any(not isinstance(one, (int, np.integer)) for one in given)


def csr_matrix(arg1: Any, shape: Any = None, ctx: Any = None, dtype: Any = None) -> CSRNDArray:
    """A matrix of few stored elements: from (data, indices, indptr), or (data, (row, column)), of
    which elements that stand at one place are added up; from another array, dense, sparse, of numpy
    or of scipy; or from a shape (rows, columns), with no element.

    The dtype is that of the source, float32 of lists. `shape` may be left out where the source has
    one; otherwise it is as small as can be.

    >>> csr_matrix(([1, 2], [0, 2], [0, 1, 2]), shape=(2, 3)).asnumpy()
    array([[1., 0., 0.],
           [0., 0., 2.]], dtype=float32)
    >>> csr_matrix(([1, 2, 3], ([1, 0, 1], [1, 0, 1]))).asnumpy()
    array([[2., 0.],
           [0., 4.]], dtype=float32)
    """
    where = "csr_matrix"
    with on(where, ctx):
        context = current_context()
        if isinstance(arg1, tuple) and len(arg1) == 2 and isinstance(arg1[1], (tuple, list)):
            return _from_coordinates(*arg1, shape, context, dtype)
        if isinstance(arg1, tuple) and len(arg1) == 3 and _holds_rows(arg1):
            return _from_parts(arg1, shape, context, dtype)
        if isinstance(arg1, tuple) and not _holds_rows(arg1):
            return zeros("csr", arg1, context, dtype)
        return _from_array(where, arg1, "csr", shape, context, dtype)


def _matrix_shape(where: str, shape: Any) -> tuple[int, ...]:
    extents = check_shape(where, shape)
    check(len(extents) == 2, where, f"expected a shape of two axes; given {extents}")
    return extents


def _from_parts(
    parts: tuple[Any, Any, Any], shape: Any, context: Context, dtype: Any
) -> CSRNDArray:
    where = "csr_matrix"
    data = _part(parts[0], _dtype_for(parts[0], dtype), context)
    indices, indptr = (_part(part, INDEX, context) for part in parts[1:])
    check(
        data.ndim == indices.ndim == indptr.ndim == 1,
        where,
        "expected (data, indices, indptr) of one axis each; given "
        f"{data.shape}, {indices.shape} and {indptr.shape}",
    )
    if shape is None:
        shape = (indptr.size - 1, int(indices.asnumpy().max(initial=-1)) + 1)
    extents = _matrix_shape(where, shape)
    check_csr(where, extents, data, indices, indptr, full=False)
    return in_order(extents, data, indices, indptr)


def _from_coordinates(
    data: Any, places: Any, shape: Any, context: Context, dtype: Any
) -> CSRNDArray:
    where = "csr_matrix"
    check(
        len(places) == 2,
        where,
        f"expected (data, (rows, columns)); given {len(places)} lists of places",
    )
    rows, columns = (
        np.asarray(one.asnumpy() if hasattr(one, "asnumpy") else one).astype(np.int64)
        for one in places
    )
    values = _part(data, _dtype_for(data, dtype), context)
    check(
        rows.ndim == columns.ndim == values.ndim == 1 and len(rows) == len(columns) == values.size,
        where,
        f"expected as many rows and columns as elements; given {rows.shape}, {columns.shape} and "
        f"{values.shape}",
    )
    if shape is None:
        shape = (int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
    extents = _matrix_shape(where, shape)
    for axis, found in enumerate((rows, columns)):
        wrong = found[(found < 0) | (found >= extents[axis])]
        check(
            not len(wrong),
            where,
            f"expected places within {extents}; given {wrong[:1].tolist()} along axis {axis}",
        )
    flat = RowSparseNDArray(
        (extents[0] * extents[1],),
        index_array(rows * extents[1] + columns, values.device_index),
        values,
    )
    return from_places(extents, flat)


def _from_array(
    where: str, given: Any, stype: str, shape: Any, context: Context, dtype: Any
) -> Any:
    found: Any
    if hasattr(given, "tocsr"):  # of scipy
        given = given.tocsr()
        given.sum_duplicates()
        parts = (given.data, given.indices, given.indptr)
        found = _from_parts(parts, given.shape, context, dtype)
    elif is_sparse(given):
        found = given.copy() if dtype is None else given.astype(dtype)
    else:
        found = dense_array(given, context, _dtype_for(given, dtype))
    check(
        shape is None or check_shape(where, shape) == found.shape,
        where,
        f"expected an array of shape {shape}; given one of {found.shape}",
    )
    return found.as_in_context(context).tostype(stype)


def zeros(stype: str, shape: Any, ctx: Any = None, dtype: Any = None, **_: Any) -> Any:
    """An array of zeros, stored as `stype` says: 'row_sparse' and 'csr' ones with nothing stored.

    >>> zeros("row_sparse", (3, 2)).indices.shape
    (0,)
    """
    where = "sparse.zeros"
    check_stype(where, stype)
    extents = check_shape(where, shape)
    code = check_dtype(where, dtype).code
    with on(where, ctx):
        device = current_context().index
        if stype == "default":
            return _native.zeros(extents, code, device)
        return STORAGES[stype].with_nothing(extents, code, device)


empty = zeros


def array(source_array: Any, ctx: Any = None, dtype: Any = None) -> Any:
    """A sparse array like another one, or like a matrix of scipy.

    >>> array(zeros("csr", (2, 2))).stype
    'csr'
    """
    check(
        is_sparse(source_array) or hasattr(source_array, "tocsr"),
        "sparse.array",
        "expected a sparse array, or a matrix of scipy; given "
        f"{type(source_array).__name__}; use nd.array, or csr_matrix",
    )
    make = row_sparse_array if stype_of(source_array) == "row_sparse" else csr_matrix
    return make(source_array, ctx=ctx, dtype=dtype)


def from_file(found: Sparse) -> Any:
    """An array as a file has it, whose places were checked when it was read."""
    values = _native.from_numpy(found.values, _native.FIRST_CPU)
    indices = index_array(found.indices)
    if found.pointers is None:
        return RowSparseNDArray(found.shape, indices, values)
    begins = found.pointers
    if not len(begins):  # of an array that was never filled
        check(
            found.shape[0] < ALWAYS,
            "load",
            f"expected fewer than {ALWAYS} rows of a matrix of which nothing is stored; given "
            f"{found.shape[0]}; is the file damaged?",
        )
        begins = np.zeros(found.shape[0] + 1, np.int64)
    return in_order(found.shape, values, indices, index_array(begins))
