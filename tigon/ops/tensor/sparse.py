"""Products with arrays of which few elements are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.primitive.gather import _take, added_at
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.record import ByRows, Operator, Work, composite
from tigon.ops.tensor.shape import expand_dims


class StoredDotAttrs(Frozen):
    extent: int
    sparse_grad: bool = False


def _infer(
    attrs: StoredDotAttrs, data: TensorType, rows: TensorType, columns: TensorType, rhs: TensorType
) -> TensorType:
    where = "_stored_dot"
    check(rhs.ndim == 2, where, f"rhs: expected two axes; given {rhs}")
    for name, type_ in (("data", data), ("rows", rows), ("columns", columns)):
        check(
            type_.ndim == 1 and type_.shape == data.shape,
            where,
            f"{name}: expected one axis of as many elements as data has; given {type_} beside "
            f"{data}",
        )
    return TensorType((attrs.extent, rhs.shape[1]), rhs.dtype)


def _decompose(attrs: StoredDotAttrs, data: Any, rows: Any, columns: Any, rhs: Any) -> Any:
    shape = (attrs.extent, rhs.shape[1])
    return added_at(shape, rows, _scaled(data, _take(rhs, columns, axis=0)))


def _scaled(data: Any, rows: Any) -> Any:
    return multiply(rows, expand_dims(data, axis=1))


def _by_rows(
    attrs: StoredDotAttrs, g: Any, data: Any, rows: Any, columns: Any, rhs: Any
) -> ByRows | None:
    if not attrs.sparse_grad:
        return None
    return ByRows(3, columns, _scaled(data, _take(g, rows, axis=0)))


def _oracle(
    data: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    rhs: np.ndarray,
    extent: int,
    sparse_grad: bool = False,
) -> np.ndarray:
    made = np.zeros((extent, rhs.shape[1]), rhs.dtype)
    np.add.at(made, rows, data[:, None] * rhs[columns])
    return made


_ROWS, _COLUMNS = np.array([0, 0, 2], np.int64), np.array([1, 3, 1], np.int64)

stored_dot = composite(
    "_stored_dot",
    _decompose,
    operands="data rows columns rhs",
    attrs=StoredDotAttrs,
    dtypes={"data rhs": "fiu", "rows columns": "iu"},
    infer=_infer,
    work=Work.LINEAR,
    grad=lambda a, g, y, data, rows, columns, rhs: (
        _reduce_sum(multiply(_take(g, rows, axis=0), _take(rhs, columns, axis=0)), axes=(1,)),
        None,
        None,
        _stored_dot_like(data, columns, rows, g, rhs),  # the types alone say how many rows it has
    ),
    by_rows=_by_rows,
    numpy=_oracle,
    samples=(
        ((3,), _ROWS, _COLUMNS, (4, 2), {"extent": 3}),
        ((0,), _ROWS[:0], _COLUMNS[:0], (4, 2), {"extent": 2}),
        ((3,), _ROWS, _COLUMNS, (4, 1), {"extent": 3, "sparse_grad": True}),
    ),
    doc="""The product of a matrix of `extent` rows, of which only elements `data` at `rows` and
    `columns` are not zero, with the matrix rhs. With `sparse_grad` the gradient of rhs is the rows
    that columns name.

    >>> rows, columns = nd.array([0, 1], dtype="int64"), nd.array([1, 0], dtype="int64")
    >>> nd._stored_dot(nd.array([2, 3]), rows, columns, nd.array([[1], [10]]), extent=2).asnumpy()
    array([[20.],
           [ 3.]], dtype=float32)
    """,
)


def _decompose_like(data: Any, rows: Any, columns: Any, rhs: Any, like: Any) -> Any:
    return added_at(like.shape, rows, _scaled(data, _take(rhs, columns, axis=0)))


_stored_dot_like: Operator = composite(
    "_stored_dot_like",
    _decompose_like,
    operands="data rows columns rhs like",
    dtypes={"data rhs like": "fiu", "rows columns": "iu"},
    infer=lambda data, rows, columns, rhs, like: TensorType(like.shape, rhs.dtype),
    numpy=lambda data, rows, columns, rhs, like: _oracle(data, rows, columns, rhs, len(like)),
    grad=lambda g, y, data, rows, columns, rhs, like: (
        _reduce_sum(multiply(_take(g, rows, axis=0), _take(rhs, columns, axis=0)), axes=(1,)),
        None,
        None,
        _stored_dot_like(data, columns, rows, g, rhs),
        None,
    ),
    samples=(((3,), _ROWS, _COLUMNS, (4, 2), (3, 2), {}),),
    doc="""The same with as many rows as `like` has.""",
)
