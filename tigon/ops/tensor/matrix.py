"""Diagonals, and products of Khatri and Rao."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import maximum, minimum
from tigon.ops.primitive.choose import cast, identity, select
from tigon.ops.primitive.compare import equal, lesser_equal, logical_and
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.gather import _gather_nd, _take
from tigon.ops.primitive.view import _reshape, transpose
from tigon.ops.record import composite
from tigon.ops.tensor.join import stack
from tigon.ops.tensor.shape import expand_dims


class DiagAttrs(Frozen):
    k: int = 0
    axis1: int = 0
    axis2: int = 1


def _diagonal(attrs: DiagAttrs, shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """Both axes, where the diagonal starts, and its length."""
    first, second = attrs.axis1 % len(shape), attrs.axis2 % len(shape)
    check(first != second, "diag", f"axis1 and axis2 are both {first}")
    row, column = max(-attrs.k, 0), max(attrs.k, 0)
    length = max(0, min(shape[first] - row, shape[second] - column))
    return first, second, row, column, length


def _decompose_diag(attrs: DiagAttrs, data: Any) -> Any:
    check(data.ndim, "diag", "expected at least one axis; given a 0-d array")
    if data.ndim == 1:
        extent = data.shape[0]
        size = extent + abs(attrs.k)
        rows = _iota(shape=(size, 1), start=min(attrs.k, 0))
        columns = _iota(shape=(1, size), axis=1, start=-max(attrs.k, 0))
        hit = logical_and(equal(rows, columns), lesser_equal(0, rows))
        index = minimum(maximum(rows, 0), max(extent - 1, 0))
        chosen = _take(data, _reshape(index, shape=(size,)), axis=0) if extent else data
        hit = cast(logical_and(hit, lesser_equal(rows, extent - 1)), dtype=data.dtype.name)
        return select(hit, _reshape(chosen, shape=(size, 1)), 0)
    first, second, row, column, length = _diagonal(attrs, data.shape)
    rest = [axis for axis in range(data.ndim) if axis not in (first, second)]
    matrix = transpose(data, axes=(first, second, *rest))
    points = stack(_iota(shape=(length,), start=row), _iota(shape=(length,), start=column), axis=0)
    found = _gather_nd(matrix, points)
    return transpose(found, axes=(*range(1, found.ndim), 0))


diag = composite(
    "diag",
    _decompose_diag,
    attrs=DiagAttrs,
    numpy=lambda x, k, axis1, axis2: (
        np.diag(x, k) if x.ndim == 1 else np.diagonal(x, k, axis1, axis2).copy()
    ),
    samples=(
        ((3, 4), {}),
        ((3, 4), {"k": 1}),
        ((3, 4), {"k": -2}),
        ((3,), {}),
        ((3,), {"k": -1}),
        ((2,), {"k": 2}),
        ((2, 3, 4), {"axis1": 0, "axis2": 2}),
    ),
    doc="""The diagonal of a matrix, or a matrix with this diagonal.

    Parameters: `k` which diagonal (above the main one if positive); `axis1`, `axis2` the axes of
    the matrices in an array of more than two.

    >>> nd.diag(nd.array([[1, 2], [3, 4]])).asnumpy()
    array([1., 4.], dtype=float32)
    >>> nd.diag(nd.array([1, 2])).asnumpy()
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """,
)


def _decompose_khatri_rao(*matrices: Any) -> Any:
    check(
        matrices and all(m.ndim == 2 and m.shape[1] == matrices[0].shape[1] for m in matrices),
        "khatri_rao",
        f"expected matrices with equal numbers of columns; given {[m.shape for m in matrices]}",
    )
    result = matrices[0]
    for m in matrices[1:]:
        rows, columns = result.shape
        product = expand_dims(result, axis=1) * expand_dims(m, axis=0)
        result = _reshape(product, shape=(rows * m.shape[0], columns))
    return identity(result) if len(matrices) == 1 else result


def _khatri_rao_oracle(*xs: np.ndarray) -> Any:
    result = xs[0].copy()
    for x in xs[1:]:
        result = np.einsum("ac,bc->abc", result, x).reshape(-1, x.shape[1])
    return result


khatri_rao = composite(
    "khatri_rao",
    _decompose_khatri_rao,
    operands="*args",
    dtypes="fiu",
    numpy=_khatri_rao_oracle,
    samples=(((2, 3), (4, 3), {}), ((2, 3), {}), ((2, 2), (1, 2), (3, 2), {})),
    doc="""The Kronecker products of the columns of several matrices.

    >>> nd.khatri_rao(nd.array([[1, 2]]), nd.array([[1, 2], [3, 4]])).asnumpy()
    array([[1., 4.],
           [3., 8.]], dtype=float32)
    """,
)
