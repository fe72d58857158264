"""Reading and writing at positions: take, pick, one_hot, gather_nd and kin."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.loop.semantics import convert
from tigon.ops.primitive.choose import cast, clip, select
from tigon.ops.primitive.compare import equal
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import (
    TakeAttrs,
    _check_mode,
    _checked_index,
    _nd_shape,
    _pick,
    _points_oracle,
    _raw_pick_oracle,
    _scatter_points,
    _take,
    _take_oracle,
    gather_nd,
    take_backward,
)
from tigon.ops.primitive.view import _reshape, normalized_axis
from tigon.ops.record import ByRows, Positions, composite
from tigon.ops.tensor.shape import expand_dims, reshape


def _decompose_take(attrs: TakeAttrs, a: Any, indices: Any) -> Any:
    _check_mode("take", attrs.mode, raises=True)
    if attrs.mode != "raise":
        return _take(a, indices, axis=attrs.axis, mode=attrs.mode)
    axis = normalized_axis("take", attrs.axis, a.ndim)
    where = _checked_index(indices, sizes=(a.shape[axis],), axis=axis, operator="take")
    return _take(a, where, axis=axis)


def _positions_of_take(attrs: TakeAttrs, data: TensorType, indices: TensorType) -> Positions | None:
    axis = attrs.axis % data.ndim
    return Positions(data.shape[axis], axis) if attrs.mode == "clip" else None


def _mode_of_gradient(mode: str) -> str:
    """What the forward part let pass is in range."""
    return "clip" if mode == "raise" else mode


take = composite(
    "take",
    _decompose_take,
    operands="a indices",
    attrs=TakeAttrs,
    indices={"indices": _positions_of_take},
    grad=lambda a, g, y, data, indices: (
        take_backward(g, indices, data, axis=a.axis, mode=_mode_of_gradient(a.mode)),
        None,
    ),
    numpy=_take_oracle,
    samples=(
        ((5, 3), np.array([0, 4, 9], np.float32), {}),
        ((2, 4), np.array([[1, -1], [7, 0]], np.int32), {"axis": -1, "mode": "wrap"}),
        ((2, 4), np.array([[1, 3], [0, 0]], np.float32), {"axis": 1, "mode": "raise"}),
        ((0, 3), np.zeros((2,), np.int64), {"axis": 1}),
    ),
    doc="""Entries along an axis at given positions.

    Parameters: `axis` (default 0); `mode` "clip" brings positions out of range to the nearest end
    (also negative ones to 0), "wrap" counts them round, "raise" refuses them.

    >>> nd.take(nd.array([[1, 2], [3, 4], [5, 6]]), nd.array([0, 2])).asnumpy()
    array([[1., 2.],
           [5., 6.]], dtype=float32)
    """,
)


class EmbeddingAttrs(Frozen):
    input_dim: int
    output_dim: int
    dtype: str = "float32"
    sparse_grad: bool = False


def _decompose_embedding(attrs: EmbeddingAttrs, data: Any, weight: Any) -> Any:
    check(
        weight.shape == (attrs.input_dim, attrs.output_dim),
        "Embedding",
        f"weight should have shape {(attrs.input_dim, attrs.output_dim)}; it has {weight.shape}",
    )
    return _take(weight, data, axis=0)


def _grad_embedding(a: EmbeddingAttrs, g: Any, y: Any, data: Any, weight: Any) -> Any:
    return None, take_backward(g, data, weight, axis=0)


def _rows_of_embedding(a: EmbeddingAttrs, g: Any, data: Any, weight: Any) -> ByRows | None:
    if not a.sparse_grad:
        return None
    rows = clip(cast(data, dtype="int64"), a_min=0, a_max=max(a.input_dim - 1, 0))
    return ByRows(1, reshape(rows, shape=(-1,)), reshape(g, shape=(-1, a.output_dim)))


embedding = composite(
    "Embedding",
    _decompose_embedding,
    operands="data weight",
    attrs=EmbeddingAttrs,
    indices={"data": lambda attrs, *_: Positions(attrs.input_dim, 0)},
    grad=_grad_embedding,
    by_rows=_rows_of_embedding,
    numpy=lambda data, weight, **_: _take_oracle(weight, data, 0, "clip"),
    infer_operands=lambda attrs, types: [
        types[0],
        types[1] or TensorType((attrs.input_dim, attrs.output_dim), as_dtype(attrs.dtype)),
    ],
    samples=(
        (np.array([[0, 3], [3, 9]], np.float32), (4, 2), {"input_dim": 4, "output_dim": 2}),
        (np.zeros((0,), np.int32), (4, 2), {"input_dim": 4, "output_dim": 2}),
    ),
    doc="""Rows of `weight`, one for each number in `data`.

    Parameters: `input_dim` how many rows there are, `output_dim` how long they are; `sparse_grad`
    (default False) lets the gradient of weight be the rows that data names, as
    `weight.attach_grad(stype='row_sparse')` keeps it. Numbers out of range take the first or last
    row.

    >>> w = nd.array([[1, 2], [3, 4], [5, 6]])
    >>> nd.Embedding(nd.array([2, 0]), w, input_dim=3, output_dim=2).asnumpy()
    array([[5., 6.],
           [1., 2.]], dtype=float32)
    """,
)


class PickAttrs(Frozen):
    axis: int | None = -1
    keepdims: bool = False
    mode: str = "clip"


def _decompose_pick(attrs: PickAttrs, data: Any, index: Any) -> Any:
    if attrs.axis is None:
        data, axis = _reshape(data, shape=(data.type.size,)), 0
        index = _reshape(index, shape=())
    else:
        axis = normalized_axis("pick", attrs.axis, data.ndim)
    kept = tuple(1 if i == axis else n for i, n in enumerate(data.shape))
    shape = kept[:axis] + kept[axis + 1 :]
    if index.shape == kept != shape or (
        index.shape != shape and index.type.size == prod(shape) == 1
    ):
        index = _reshape(index, shape=shape)
    result = _pick(data, index, axis=axis, mode=attrs.mode)
    if attrs.keepdims:
        return _reshape(result, shape=kept)
    return result if result.ndim else _reshape(result, shape=(1,))


def _pick_oracle(
    data: np.ndarray, index: np.ndarray, axis: int | None, keepdims: bool, mode: str
) -> np.ndarray:
    if axis is None:
        data, axis = data.ravel(), 0
    axis %= data.ndim
    shape = data.shape[:axis] + data.shape[axis + 1 :]
    found = _raw_pick_oracle(data, index.reshape(shape), axis, mode)
    if keepdims:
        return np.expand_dims(found, axis)
    return found if found.ndim else found.reshape(1)


def _positions_of_pick(attrs: PickAttrs, data: TensorType, index: TensorType) -> Positions | None:
    if attrs.mode != "clip":
        return None
    if attrs.axis is None:
        return Positions(data.size, 0)
    axis = attrs.axis % data.ndim
    return Positions(data.shape[axis], axis)


pick = composite(
    "pick",
    _decompose_pick,
    operands="data index",
    attrs=PickAttrs,
    indices={"index": _positions_of_pick},
    numpy=_pick_oracle,
    aliases=("choose_element_0index",),
    samples=(
        ((3, 4), np.array([0, 3, 9], np.float32), {}),
        ((3, 4), np.array([[0], [3], [1]], np.float32), {"axis": 1, "keepdims": True}),
        ((3, 4), np.array([0, -1, 2, 4], np.int32), {"axis": 0, "mode": "wrap"}),
        ((5,), np.array([2], np.float32), {}),
        ((0, 4), np.zeros(0, np.float32), {}),
    ),
    doc="""Of each line along an axis, the element at `index`.

    Parameters: `axis` (default the last), `keepdims` leaves it with extent 1, `mode` "clip" or
    "wrap" for positions out of range.

    >>> nd.pick(nd.array([[1, 2], [3, 4], [5, 6]]), nd.array([0, 1, 0]), axis=1).asnumpy()
    array([1., 4., 5.], dtype=float32)
    """,
)

batch_take = composite(
    "batch_take",
    lambda a, indices: pick(a, indices, axis=1),
    operands="a indices",
    indices={"indices": lambda a, _: Positions(a.shape[1], 1)},
    numpy=lambda a, indices: _pick_oracle(a, indices, 1, False, "clip"),
    samples=(((3, 4), np.array([0, 3, 1], np.int32), {}),),
    doc="""Of each row, the element at `indices`.

    >>> nd.batch_take(nd.array([[1, 2], [3, 4]]), nd.array([1, 0], dtype="int32")).asnumpy()
    array([2., 3.], dtype=float32)
    """,
)


class OneHotAttrs(Frozen):
    depth: int
    on_value: float = 1.0
    off_value: float = 0.0
    dtype: str = "float32"


def _decompose_one_hot(attrs: OneHotAttrs, indices: Any) -> Any:
    check(attrs.depth >= 0, "one_hot", f"depth is {attrs.depth}; it must not be negative")
    whole = indices if indices.dtype is int64 else cast(indices, dtype="int64")
    line = (1,) * indices.ndim + (attrs.depth,)
    hit = equal(expand_dims(whole, axis=-1), _iota(shape=line, axis=indices.ndim))
    chosen = cast(hit, dtype=attrs.dtype)
    if (attrs.on_value, attrs.off_value) == (1, 0):
        return chosen
    on, off = (
        _full(shape=(), value=v, dtype=attrs.dtype) for v in (attrs.on_value, attrs.off_value)
    )
    return select(chosen, on, off)


def _one_hot_oracle(
    indices: np.ndarray, depth: int, on_value: float, off_value: float, dtype: str
) -> Any:
    hit = convert(indices, int64)[..., None] == np.arange(depth)
    kind = as_dtype(dtype)
    return np.where(
        hit, convert(np.asarray(on_value), kind), convert(np.asarray(off_value), kind)
    ).astype(dtype)


one_hot = composite(
    "one_hot",
    _decompose_one_hot,
    operands="indices",
    attrs=OneHotAttrs,
    indices={"indices": lambda attrs, indices: Positions(attrs.depth, indices.ndim)},
    differentiable=False,
    numpy=_one_hot_oracle,
    samples=(
        (np.array([1, 0, 2, 9], np.float32), {"depth": 3}),
        (
            np.array([[1, 0]], np.int32),
            {"depth": 3, "on_value": 8, "off_value": 1, "dtype": "int32"},
        ),
        (np.zeros((0,), np.float32), {"depth": 2}),
    ),
    doc="""For each number n, a line of zeros with a one at position n.

    Parameters: `depth` the length of the line, `on_value` and `off_value` instead of 1 and 0,
    `dtype`. A number out of range gives no one at all.

    >>> nd.one_hot(nd.array([1, 0]), depth=3).asnumpy()
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """,
)


class ShapeAttrs(Frozen):
    shape: tuple[int, ...]


def _decompose_scatter_nd(attrs: ShapeAttrs, data: Any, indices: Any) -> Any:
    expected = _nd_shape("scatter_nd", attrs.shape, indices.shape)
    check(
        data.shape == expected,
        "scatter_nd",
        f"data should have shape {expected}; it has {data.shape}",
    )
    return _scatter_points("scatter_nd", data, indices, attrs.shape)


scatter_nd = composite(
    "scatter_nd",
    _decompose_scatter_nd,
    operands="data indices",
    attrs=ShapeAttrs,
    grad=lambda a, g, y, data, indices: (gather_nd(g, indices), None),
    numpy=lambda data, indices, shape: _points_oracle(data, indices, shape),
    samples=(
        ((2,), np.array([[0, 2], [1, 3]], np.float32), {"shape": (3, 4)}),
        ((2, 4), np.array([[0, 2]], np.int32), {"shape": (3, 4)}),
    ),
    doc="""Zeros with `data` at points: column i of `indices` holds the coordinates of entry i, -1
    the last along an axis. What meets at one point is added up. A coordinate out of range is a
    `TigonIndexError`.

    Parameters: `shape` of the result.

    >>> nd.scatter_nd(nd.array([2, 3]), nd.array([[0, 1], [1, 0]]), shape=(2, 2)).asnumpy()
    array([[0., 2.],
           [3., 0.]], dtype=float32)
    """,
)
