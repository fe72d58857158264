"""Sparse arrays: what `nd.sparse` is made of. Few programs import it."""

from tigon.nd.stored.base import from_dense, stype_of
from tigon.nd.stored.creation import array, csr_matrix, from_file, row_sparse_array, zeros
from tigon.nd.stored.matrix import CSRNDArray
from tigon.nd.stored.operators import call
from tigon.nd.stored.rows import (
    RowSparseNDArray,
    added,
    gradient_of,
    rows_at,
    rows_of,
    write_rows,
)
from tigon.runtime.tracing import is_sparse

__all__ = [
    "CSRNDArray",
    "RowSparseNDArray",
    "added",
    "array",
    "call",
    "csr_matrix",
    "from_dense",
    "from_file",
    "gradient_of",
    "is_sparse",
    "row_sparse_array",
    "rows_at",
    "rows_of",
    "stype_of",
    "write_rows",
    "zeros",
]
