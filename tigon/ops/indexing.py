"""Reading and writing at positions that are data.

Indices may have any dtype, as in MXNet (float32 by default); they are truncated to int64. Of those
out of range MXNet refuses some and clips, wraps or ignores others, each operator in its own way:
`_checked_index` refuses, and whatever reads its result may take it to be in range. What the records
declare as `indices` is refused if `TIGON_CHECK_INDICES=1` asks for it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonIndexError, as_dtype, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.loop.semantics import convert
from tigon.ops.creation import _full, _iota
from tigon.ops.elementwise import (
    cast,
    clip,
    equal,
    identity,
    lesser,
    modulo,
    select,
)
from tigon.ops.record import Family, Operator, Positions, composite, primitive
from tigon.ops.reduction import _reduce_sum
from tigon.ops.views import (
    Coords,
    Read,
    _broadcast,
    _reshape,
    expand_dims,
    flip,
    normalized_axis,
)

# ----------------------------------------------------------------------------------- checks


class CheckedIndexAttrs(Frozen):
    sizes: tuple[int, ...]
    axis: int = 0
    operator: str = ""
    negative: bool = False
    ignored: float | None = None


def _infer_checked_index(attrs: CheckedIndexAttrs, indices: TensorType) -> TensorType:
    rows = len(attrs.sizes)
    check(
        rows == 1 or (rows and indices.shape[:1] == (rows,)),
        "_checked_index",
        f"{rows} sizes do not fit indices {indices}",
    )
    return TensorType(indices.shape, int64)


def _checked_index_oracle(
    indices: np.ndarray,
    sizes: tuple[int, ...],
    axis: int,
    operator: str,
    negative: bool,
    ignored: float | None,
) -> np.ndarray:
    size = np.reshape(sizes, (-1,) + (1,) * (indices.ndim - 1)) if len(sizes) > 1 else sizes[0]
    whole = convert(indices, int64)
    bad = (whole >= size) | (whole < (-size if negative else 0)) | np.isnan(indices)
    if ignored is not None:
        bad &= indices != ignored
    if bad.any():
        raise TigonIndexError(f"{operator}: {indices[bad][0]}")
    return np.where(whole < 0, whole + size, whole) if negative else whole


_checked_index = primitive(
    "_checked_index",
    Family.CHECK,
    operands="indices",
    attrs=CheckedIndexAttrs,
    infer=_infer_checked_index,
    differentiable=False,
    numpy=_checked_index_oracle,
    samples=(
        (np.array([[0, -1, 4], [2, -5, 3]], np.float32), {"sizes": (5,), "negative": True}),
        (np.array([[0, -1, 4], [2, -2, 1]], np.int32), {"sizes": (5, 3), "negative": True}),
        (np.array([0, -7, 4], np.float64), {"sizes": (5,), "ignored": -7.0}),
        (np.array(4, np.int64), {"sizes": (5,)}),
        (np.zeros((2, 0), np.int64), {"sizes": (0, 3)}),
    ),
    doc="""Indices as int64, counted from 0; one that is out of range is a `TigonIndexError`.

    Parameters: `sizes` how many elements there are, one number for all indices or one for each of
    their rows; `negative` says that -1 is the last element; `ignored` is a number that may be
    there, too, and stays; `axis` (of the first row) and `operator` are for the message.

    >>> nd._checked_index(nd.array([0, -1]), sizes=(3,), negative=True).asnumpy()
    array([0, 2])
    """,
)

# ------------------------------------------------------------------------------------ take


class TakeAttrs(Frozen):
    axis: int = 0
    mode: str = "clip"


def _check_mode(where: str, mode: str, raises: bool = False) -> None:
    modes = ("clip", "wrap", "raise") if raises else ("clip", "wrap")
    check(
        mode in modes,
        where,
        f"mode: expected {', '.join(map(repr, modes[:-1]))} or {modes[-1]!r}; given {mode!r}",
    )


def _check_nothing(where: str, indices: TensorType, place: str) -> None:
    if indices.size:
        raise TigonIndexError(f"{where}: there is nothing to take {place}; given indices {indices}")


def _infer_take(attrs: TakeAttrs, data: TensorType, indices: TensorType) -> TensorType:
    _check_mode("take", attrs.mode)
    axis = normalized_axis("take", attrs.axis, data.ndim)
    if not data.shape[axis]:
        _check_nothing("take", indices, f"along the empty axis {axis} of shape {data.shape}")
    return TensorType((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype)


def _in_range(index: Expr, size: int, mode: str) -> Expr:
    index = L.cast(index, int64)
    if mode == "wrap":
        return L.mod(index, size)
    return L.maximum(L.minimum(index, size - 1), 0)


def _lower_take(
    attrs: TakeAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    data, indices = types
    axis = attrs.axis % data.ndim
    place = coords[axis : axis + indices.ndim]
    index = _in_range(read(1, place), data.shape[axis], attrs.mode)
    return read(0, (*coords[:axis], index, *coords[axis + indices.ndim :]))


def _oracle_index(indices: np.ndarray, size: int, mode: str) -> Any:
    whole = convert(indices, int64)
    if mode == "wrap":
        return whole % max(size, 1)
    return np.clip(whole, 0, max(size - 1, 0))


def _take_oracle(data: np.ndarray, indices: np.ndarray, axis: int, mode: str) -> Any:
    return np.take(data, _oracle_index(indices, data.shape[axis], mode), axis)


_take = primitive(
    "_take",
    Family.GATHER,
    operands="data indices",
    attrs=TakeAttrs,
    infer=_infer_take,
    lower=_lower_take,
    grad=lambda a, g, y, data, indices: (
        take_backward(g, indices, data, axis=a.axis, mode=a.mode),
        None,
    ),
    numpy=_take_oracle,
    samples=(
        ((5, 3), np.array([0, 4, 2, 2, 9, -1], np.float32), {}),
        ((2, 4), np.array([[1, -1], [7, 0]], np.int32), {"axis": 1, "mode": "wrap"}),
        ((4,), np.array(2, np.int64), {}),
        ((0, 3), np.zeros((0,), np.int64), {}),
    ),
    doc="""Entries of `data` along `axis` at `indices`, whose axes replace that axis.""",
)


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


class AxisAttrs(Frozen):
    axis: int


def _decompose_index(attrs: AxisAttrs, data: Any, indices: Any) -> Any:
    size = data.shape[attrs.axis]
    where = _checked_index(
        indices, sizes=(size,), axis=attrs.axis, operator="x[...]", negative=True
    )
    return _take(data, where, axis=attrs.axis)


def _infer_index(attrs: AxisAttrs, data: TensorType, indices: TensorType) -> TensorType:
    axis = attrs.axis
    if not data.shape[axis]:
        _check_nothing("x[...]", indices, f"along the empty axis {axis} of shape {data.shape}")
    return TensorType((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype)


index = composite(
    "_index",
    _decompose_index,
    operands="data indices",
    attrs=AxisAttrs,
    infer=_infer_index,
    grad=lambda a, g, y, data, indices: (
        take_backward(g, indices, data, axis=a.axis, mode="wrap"),
        None,
    ),
    numpy=lambda data, indices, axis: np.take(data, convert(indices, int64), axis),
    samples=(
        ((5, 3), np.array([0, 4, -5], np.float32), {"axis": 0}),
        ((2, 4), np.array([[1, -1], [-4, 0]], np.int32), {"axis": 1}),
        ((2, 0), np.zeros((2, 0), np.int64), {"axis": 1}),
    ),
    doc="""What `x[..., indices]` means: entries along `axis`, -1 the last one; a position out of
    range is a `TigonIndexError`.""",
)


def _infer_scatter(
    attrs: AxisAttrs, data: TensorType, indices: TensorType, updates: TensorType
) -> TensorType:
    check(0 <= attrs.axis < data.ndim, "_scatter_add", f"axis {attrs.axis} is not one of {data}")
    expected = (*data.shape[: attrs.axis], *indices.shape, *data.shape[attrs.axis + 1 :])
    check(
        updates.shape == expected and updates.dtype is data.dtype,
        "_scatter_add",
        f"updates should be {TensorType(expected, data.dtype)}; they are {updates}",
    )
    return TensorType(data.shape, data.dtype)


def _scatter_oracle(
    data: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int
) -> np.ndarray:
    result = np.moveaxis(data.copy(), axis, 0)
    rows = np.moveaxis(
        updates.reshape(*data.shape[:axis], indices.size, *data.shape[axis + 1 :]), axis, 0
    )
    np.add.at(result, convert(indices, int64).ravel(), rows)
    return np.moveaxis(result, 0, axis)


_scatter_add = primitive(
    "_scatter_add",
    Family.SCATTER,
    operands="data indices updates",
    attrs=AxisAttrs,
    infer=_infer_scatter,
    grad=lambda a, g, y, data, indices, updates: (
        g,
        None,
        _take(g, indices, axis=a.axis),
    ),
    numpy=_scatter_oracle,
    samples=(
        ((5, 3), np.array([0, 4, 0], np.int64), (3, 3), {"axis": 0}),
        ((2, 4), np.array([[1, 3], [1, 1]], np.int64), (2, 2, 2), {"axis": 1}),
        ((3,), np.zeros(0, np.int64), (0,), {"axis": 0}),
    ),
    doc="""`data` with `updates` added at `indices` along `axis`, in the order of the indices, which
    must be in range (the operators that use it see to that).""",
)


def _positions(indices: Any, size: int, mode: str) -> Any:
    """Indices as int64 within the range."""
    whole = indices if indices.dtype is int64 else cast(indices, dtype="int64")
    if mode == "wrap":
        return modulo(whole, max(size, 1))
    return clip(whole, a_min=0, a_max=max(size - 1, 0))


def _decompose_take_backward(attrs: TakeAttrs, g: Any, indices: Any, like: Any) -> Any:
    axis = normalized_axis("take", attrs.axis, like.ndim)
    zeros = _full(shape=like.shape, value=0, dtype=g.dtype.name)
    where = _positions(indices, like.shape[axis], attrs.mode)
    return _scatter_add(zeros, where, g, axis=axis)


def _take_backward_oracle(
    g: np.ndarray, indices: np.ndarray, like: np.ndarray, axis: int, mode: str
) -> np.ndarray:
    axis %= like.ndim
    where = _oracle_index(indices, like.shape[axis], mode)
    return _scatter_oracle(np.zeros(like.shape, g.dtype), where, g, axis)


take_backward: Operator = composite(
    "_take_backward",
    _decompose_take_backward,
    operands="data indices like",
    attrs=TakeAttrs,
    grad=lambda a, g, y, data, indices, like: (
        _take(g, indices, axis=a.axis, mode=a.mode),
        None,
        None,
    ),
    numpy=_take_backward_oracle,
    samples=(
        ((6, 3), np.array([0, 4, 2, 2, 9, -1], np.float32), (5, 3), {}),
        ((2, 2, 2), np.array([[1, -1], [7, 0]], np.int32), (2, 4), {"axis": -1, "mode": "wrap"}),
    ),
    doc="""The adjoint of `take`: `data` added up at `indices`, in the shape of `like`.""",
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


embedding = composite(
    "Embedding",
    _decompose_embedding,
    operands="data weight",
    attrs=EmbeddingAttrs,
    indices={"data": lambda attrs, *_: Positions(attrs.input_dim, 0)},
    grad=_grad_embedding,
    numpy=lambda data, weight, **_: _take_oracle(weight, data, 0, "clip"),
    extra={
        "infer_operands": lambda attrs, types: [
            types[0],
            types[1] or TensorType((attrs.input_dim, attrs.output_dim), as_dtype(attrs.dtype)),
        ]
    },
    samples=(
        (np.array([[0, 3], [3, 9]], np.float32), (4, 2), {"input_dim": 4, "output_dim": 2}),
        (np.zeros((0,), np.int32), (4, 2), {"input_dim": 4, "output_dim": 2}),
    ),
    doc="""Rows of `weight`, one for each number in `data`.

    Parameters: `input_dim` how many rows there are, `output_dim` how long they are. Numbers out of
    range take the first or last row.

    >>> w = nd.array([[1, 2], [3, 4], [5, 6]])
    >>> nd.Embedding(nd.array([2, 0]), w, input_dim=3, output_dim=2).asnumpy()
    array([[5., 6.],
           [1., 2.]], dtype=float32)
    """,
)

# ------------------------------------------------------------------------------------ pick


class RawPickAttrs(Frozen):
    axis: int
    mode: str = "clip"


def _infer_pick(attrs: RawPickAttrs, data: TensorType, index: TensorType) -> TensorType:
    _check_mode("pick", attrs.mode)
    check(0 <= attrs.axis < data.ndim, "pick", f"axis {attrs.axis} is not one of {data}")
    shape = (*data.shape[: attrs.axis], *data.shape[attrs.axis + 1 :])
    check(
        index.shape == shape,
        "pick",
        f"index should have shape {shape}, that of data without axis {attrs.axis}; "
        f"it has {index.shape}",
    )
    if not data.shape[attrs.axis]:
        _check_nothing("pick", index, f"along the empty axis {attrs.axis} of shape {data.shape}")
    return TensorType(shape, data.dtype)


def _lower_pick(
    attrs: RawPickAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    index = _in_range(read(1, coords), types[0].shape[attrs.axis], attrs.mode)
    return read(0, (*coords[: attrs.axis], index, *coords[attrs.axis :]))


def _raw_pick_oracle(data: np.ndarray, index: np.ndarray, axis: int, mode: str) -> np.ndarray:
    where = np.expand_dims(_oracle_index(index, data.shape[axis], mode), axis)
    return np.take_along_axis(data, where, axis).squeeze(axis)


_pick = primitive(
    "_pick",
    Family.GATHER,
    operands="data index",
    attrs=RawPickAttrs,
    infer=_infer_pick,
    lower=_lower_pick,
    grad=lambda a, g, y, data, index: (unpick(g, index, data, axis=a.axis, mode=a.mode), None),
    numpy=_raw_pick_oracle,
    samples=(
        ((3, 4), np.array([0, 3, 9], np.float32), {"axis": 1}),
        ((3, 4), np.array([0, -1, 2, 4], np.int32), {"axis": 0, "mode": "wrap"}),
        ((5,), np.array(2, np.int64), {"axis": 0}),
        ((0, 4), np.zeros(0, np.int64), {"axis": 1}),
    ),
    doc="""Of each line along `axis`, the element at `index`.""",
)


def _decompose_unpick(attrs: RawPickAttrs, g: Any, index: Any, like: Any) -> Any:
    size = like.shape[attrs.axis]
    where = expand_dims(_positions(index, size, attrs.mode), axis=attrs.axis)
    line = tuple(size if i == attrs.axis else 1 for i in range(like.ndim))
    # A comparison instead of a scatter: it fuses with whatever reads it.
    hit = equal(where, _iota(shape=line, axis=attrs.axis))
    return select(cast(hit, dtype=g.dtype.name), expand_dims(g, axis=attrs.axis), 0)


def _unpick_oracle(
    g: np.ndarray, index: np.ndarray, like: np.ndarray, axis: int, mode: str
) -> np.ndarray:
    result = np.zeros(like.shape, g.dtype)
    where = np.expand_dims(_oracle_index(index, like.shape[axis], mode), axis)
    if g.size:
        np.put_along_axis(result, where, np.expand_dims(g, axis), axis)
    return result


unpick: Operator = composite(
    "_unpick",
    _decompose_unpick,
    operands="data index like",
    attrs=RawPickAttrs,
    grad=lambda a, g, y, data, index, like: (
        _pick(g, index, axis=a.axis, mode=a.mode),
        None,
        None,
    ),
    numpy=_unpick_oracle,
    samples=(
        ((3,), np.array([0, 3, 9], np.float32), (3, 4), {"axis": 1}),
        ((4,), np.array([0, -1, 2, 4], np.int32), (3, 4), {"axis": 0, "mode": "wrap"}),
        ((0,), np.zeros(0, np.int64), (0, 4), {"axis": 1}),
    ),
    doc="""Zeros in the shape of `like` with `data` at `index` along `axis`: the adjoint of
    `_pick`.""",
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

# ---------------------------------------------------------------------------------- one_hot


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

# ------------------------------------------------------------------------- gather_nd and kin


def _nd_shape(where: str, data: tuple[int, ...], indices: tuple[int, ...]) -> tuple[int, ...]:
    check(
        len(indices) >= 1 and 1 <= indices[0] <= len(data),
        where,
        f"indices of shape {indices} should have 1 to {len(data)} rows, one per leading axis of "
        f"{data}",
    )
    return (*indices[1:], *data[indices[0] :])


def _points(where: str, indices: Any, shape: tuple[int, ...]) -> Any:
    """The coordinates of points in the leading axes of `shape`, -1 the last of an axis."""
    sizes = shape[: indices.shape[0]]
    return _checked_index(indices, sizes=sizes, operator=where, negative=True)


def _infer_gather_nd(data: TensorType, indices: TensorType) -> TensorType:
    shape = _nd_shape("gather_nd", data.shape, indices.shape)
    if not all(data.shape[: indices.shape[0]]):
        _check_nothing("gather_nd", indices, f"from the empty axes of shape {data.shape}")
    return TensorType(shape, data.dtype)


def _lower_gather_nd(types: tuple[TensorType, ...], coords: Coords, read: Read) -> Expr:
    data, indices = types
    inner = coords[: indices.ndim - 1]
    found = tuple(
        _in_range(read(1, (L.const(row), *inner)), data.shape[row], "clip")
        for row in range(indices.shape[0])
    )
    return read(0, (*found, *coords[indices.ndim - 1 :]))


def _gather_nd_oracle(data: np.ndarray, indices: np.ndarray) -> Any:
    return data[tuple(convert(indices, int64))]


_gather_nd = primitive(
    "_gather_nd",
    Family.GATHER,
    operands="data indices",
    infer=_infer_gather_nd,
    lower=_lower_gather_nd,
    grad=lambda g, y, data, indices: (gather_nd_backward(g, indices, data), None),
    numpy=lambda data, indices: data[
        tuple(_oracle_index(row, n, "clip") for row, n in zip(indices, data.shape, strict=False))
    ],
    samples=(
        ((3, 4), np.array([[0, 2, 1], [1, 3, 0]], np.float32), {}),
        ((3, 4, 2), np.array([[[0, 2]], [[1, 3]]], np.int64), {}),
    ),
    doc="""Entries at points, which must be in range (the operators that use it see to that).""",
)

gather_nd = composite(
    "gather_nd",
    lambda data, indices: _gather_nd(data, _points("gather_nd", indices, data.shape)),
    operands="data indices",
    infer=_infer_gather_nd,
    grad=lambda g, y, data, indices: (gather_nd_backward(g, indices, data), None),
    numpy=_gather_nd_oracle,
    samples=(
        ((3, 4), np.array([[0, 2, -3], [1, 3, -1]], np.float32), {}),
        ((3, 4), np.array([[0, 2, 0]], np.int32), {}),
        ((3, 4, 2), np.array([[[0, 2]], [[1, 3]]], np.int64), {}),
        ((3, 2), np.zeros((1, 0), np.int64), {}),
    ),
    doc="""Entries at points: column i of `indices` holds the coordinates of entry i in the leading
    axes of `data`, -1 the last along an axis. One that is out of range is a `TigonIndexError`.

    >>> nd.gather_nd(nd.array([[1, 2], [3, 4]]), nd.array([[0, 1], [1, 0]])).asnumpy()
    array([2., 3.], dtype=float32)
    """,
)


def _scatter_points(where: str, g: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    """`g` added up at points of zeros of this shape: the points' axes are merged into one."""
    rows = indices.shape[0]
    size = prod(shape[:rows])
    strides = [prod(shape[axis + 1 : rows]) for axis in range(rows)]
    lead = (1,) * (indices.ndim - 1)
    flat = _reduce_sum(_points(where, indices, shape) * _column(strides, lead), axes=(0,))
    flat = _reshape(flat, shape=(prod(indices.shape[1:]),))
    zeros = _full(shape=(size, *shape[rows:]), value=0, dtype=g.dtype.name)
    updates = _reshape(g, shape=(prod(indices.shape[1:]), *shape[rows:]))
    return _reshape(_scatter_add(zeros, flat, updates, axis=0), shape=shape)


def _column(numbers: list[int], lead: tuple[int, ...]) -> Any:
    return constant(np.array(numbers, np.int64).reshape(-1, *lead))


def _points_oracle(g: np.ndarray, indices: np.ndarray, shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, g.dtype)
    np.add.at(result, tuple(convert(indices, int64)), g)
    return result


gather_nd_backward: Operator = composite(
    "_gather_nd_backward",
    lambda g, indices, like: _scatter_points("gather_nd", g, indices, like.shape),
    operands="data indices like",
    grad=lambda g, y, data, indices, like: (gather_nd(g, indices), None, None),
    numpy=lambda g, indices, like: _points_oracle(g, indices, like.shape),
    samples=(
        ((3,), np.array([[0, 2, 2], [1, 3, 3]], np.float32), (3, 4), {}),
        ((3, 4), np.array([[0, 2, 0]], np.int32), (3, 4), {}),
    ),
    doc="""The adjoint of `gather_nd`: `data` added up at points, in the shape of `like`.""",
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

# -------------------------------------------------------------------------------- sequences


class SequenceMaskAttrs(Frozen):
    use_sequence_length: bool = False
    value: float = 0.0
    axis: int = 0


class SequenceAttrs(Frozen):
    use_sequence_length: bool = False
    axis: int = 0


def _sequence_operands(attrs: Any) -> tuple[str, ...]:
    return ("data", "sequence_length") if attrs.use_sequence_length else ("data",)


def _check_lengths(where: str, data: Any, lengths: Any, axis: int) -> None:
    check(axis in (0, 1) and data.ndim >= 2, where, f"axis {axis} of {data.type} is not 0 or 1")
    check(
        lengths.shape == (data.shape[1 - axis],),
        where,
        f"sequence_length should have shape {(data.shape[1 - axis],)}; it has {lengths.shape}",
    )


def _along_batch(x: Any, ndim: int, axis: int) -> Any:
    """A vector over the batch axis, in the rank of the data."""
    size = x.shape[0]
    return _reshape(x, shape=tuple(size if i == 1 - axis else 1 for i in range(ndim)))


def _whole(x: Any) -> Any:
    return x if x.dtype is int64 else cast(x, dtype="int64")


def _decompose_sequence_mask(attrs: SequenceMaskAttrs, data: Any, *rest: Any) -> Any:
    if not attrs.use_sequence_length:
        return identity(data)
    (lengths,) = rest
    _check_lengths("SequenceMask", data, lengths, attrs.axis)
    line = tuple(n if i == attrs.axis else 1 for i, n in enumerate(data.shape))
    inside = lesser(
        _iota(shape=line, axis=attrs.axis), _along_batch(_whole(lengths), data.ndim, attrs.axis)
    )
    return select(cast(inside, dtype=data.dtype.name), data, attrs.value)


def _sequence_mask_oracle(
    data: np.ndarray,
    *rest: np.ndarray,
    use_sequence_length: bool,
    value: float,
    axis: int,
) -> Any:
    result = data.copy()
    filler = convert(np.asarray(value), as_dtype(data.dtype))
    if use_sequence_length:
        for i, length in enumerate(rest[0].astype(int)):
            np.moveaxis(result, (axis, 1 - axis), (0, 1))[length:, i] = filler
    return result


_LENGTHS = np.array([2, 0, 3], np.float32)

sequence_mask = composite(
    "SequenceMask",
    _decompose_sequence_mask,
    operands="data sequence_length?",
    attrs=SequenceMaskAttrs,
    present=_sequence_operands,
    numpy=_sequence_mask_oracle,
    samples=(
        ((4, 3, 2), _LENGTHS, {"use_sequence_length": True, "value": -1.0}),
        ((3, 4), _LENGTHS, {"use_sequence_length": True, "axis": 1}),
        ((3, 4), {}),
    ),
    doc="""Sequences of different length, with `value` behind their ends.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry;
    `axis` 0 or 1 holds time, the other one the batch; `value` (default 0).

    >>> x = nd.array([[1, 2], [3, 4], [5, 6]])
    >>> nd.SequenceMask(x, nd.array([1, 2]), use_sequence_length=True).asnumpy()
    array([[1., 2.],
           [0., 4.],
           [0., 0.]], dtype=float32)
    """,
)


def _decompose_sequence_last(attrs: SequenceAttrs, data: Any, *rest: Any) -> Any:
    check(
        data.ndim >= 2 and attrs.axis in (0, 1), "SequenceLast", "expected axis 0 or 1 of 2 or more"
    )
    size = data.shape[attrs.axis]
    check(size, "SequenceLast", f"the sequences of shape {data.shape} are empty")
    if not attrs.use_sequence_length:
        last = _full(shape=(), value=size - 1, dtype="int64")
        return _take(data, last, axis=attrs.axis)
    (lengths,) = rest
    _check_lengths("SequenceLast", data, lengths, attrs.axis)
    shape = data.shape[: attrs.axis] + data.shape[attrs.axis + 1 :]
    last = _reshape(_whole(lengths) - 1, shape=(lengths.shape[0],) + (1,) * (data.ndim - 2))
    return _pick(data, _broadcast(last, shape=shape), axis=attrs.axis)


def _sequence_last_oracle(
    data: np.ndarray, *rest: np.ndarray, use_sequence_length: bool, axis: int
) -> Any:
    lead = np.moveaxis(data, axis, 0)
    if not use_sequence_length:
        return lead[-1]
    return np.stack([lead[max(n - 1, 0), i] for i, n in enumerate(rest[0].astype(int))])


sequence_last = composite(
    "SequenceLast",
    _decompose_sequence_last,
    operands="data sequence_length?",
    attrs=SequenceAttrs,
    present=_sequence_operands,
    numpy=_sequence_last_oracle,
    samples=(
        ((4, 3, 2), np.array([2, 1, 4], np.float32), {"use_sequence_length": True}),
        ((3, 4), np.array([2, 1, 4], np.int32), {"use_sequence_length": True, "axis": 1}),
        ((3, 4), {}),
    ),
    doc="""The last element of each sequence.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry;
    `axis` 0 or 1 holds time, the other one the batch.

    >>> nd.SequenceLast(nd.array([[1, 2], [3, 4], [5, 6]])).asnumpy()
    array([5., 6.], dtype=float32)
    """,
)


def _decompose_sequence_reverse(attrs: SequenceAttrs, data: Any, *rest: Any) -> Any:
    check(attrs.axis == 0, "SequenceReverse", f"axis is 0; given {attrs.axis}; swap the axes first")
    if not attrs.use_sequence_length:
        return flip(data, axis=0)
    (lengths,) = rest
    _check_lengths("SequenceReverse", data, lengths, 0)
    line = _iota(shape=(data.shape[0], 1), axis=0)
    ends = _reshape(_whole(lengths), shape=(1, lengths.shape[0]))
    turned = select(lesser(line, ends), ends - 1 - line, line)
    shape = (*turned.shape, *(1,) * (data.ndim - 2))
    index = _broadcast(_reshape(turned, shape=shape), shape=data.shape)
    return _take_along(data, index, axis=0)


def _sequence_reverse_oracle(
    data: np.ndarray, *rest: np.ndarray, use_sequence_length: bool, axis: int
) -> Any:
    if not use_sequence_length:
        return data[::-1].copy()
    result = data.copy()
    for i, n in enumerate(rest[0].astype(int)):
        result[:n, i] = data[:n, i][::-1]
    return result


def _infer_take_along(attrs: AxisAttrs, data: TensorType, index: TensorType) -> TensorType:
    fits = (
        0 <= attrs.axis < data.ndim == index.ndim
        and all(
            i == attrs.axis or n == m
            for i, (n, m) in enumerate(zip(data.shape, index.shape, strict=True))
        )
        and (data.shape[attrs.axis] or not index.size)
    )
    check(fits, "_take_along", f"index {index} does not fit {data} along axis {attrs.axis}")
    return TensorType(index.shape, data.dtype)


def _lower_take_along(
    attrs: AxisAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    index = _in_range(read(1, coords), types[0].shape[attrs.axis], "clip")
    return read(0, (*coords[: attrs.axis], index, *coords[attrs.axis + 1 :]))


_take_along = primitive(
    "_take_along",
    Family.GATHER,
    operands="data index",
    attrs=AxisAttrs,
    infer=_infer_take_along,
    lower=_lower_take_along,
    grad=lambda a, g, y, data, index: (_take_along_backward(g, index, data, axis=a.axis), None),
    numpy=lambda data, index, axis: np.take_along_axis(
        data, _oracle_index(index, data.shape[axis], "clip"), axis
    ),
    samples=(
        ((3, 4), np.array([[0, 3], [1, 1], [9, 0]], np.int64), {"axis": 1}),
        ((3, 2), np.array([[0, 2]], np.float32), {"axis": 0}),
        ((0, 4), np.zeros((0, 2), np.int64), {"axis": 1}),
    ),
    doc="""Of each line along `axis`, the elements at the positions in the same line of `index`.""",
)


def _decompose_take_along_backward(attrs: AxisAttrs, g: Any, index: Any, like: Any) -> Any:
    """As a scatter into the flattened array."""
    where = _positions(index, like.shape[attrs.axis], "clip")
    flat: Any = 0
    for axis, n in enumerate(like.shape):
        line = tuple(m if i == axis else 1 for i, m in enumerate(index.shape))
        place = where if axis == attrs.axis else _iota(shape=line, axis=axis)
        flat = flat * n + place
    size = index.type.size
    total = _scatter_add(
        _full(shape=(like.type.size,), value=0, dtype=g.dtype.name),
        _reshape(flat, shape=(size,)),
        _reshape(g, shape=(size,)),
        axis=0,
    )
    return _reshape(total, shape=like.shape)


def _take_along_backward_oracle(
    g: np.ndarray, index: np.ndarray, like: np.ndarray, axis: int
) -> Any:
    result = np.zeros(like.shape, g.dtype)
    places: list[Any] = list(np.indices(index.shape))
    places[axis] = _oracle_index(index, like.shape[axis], "clip")
    np.add.at(result, tuple(places), g)
    return result


_take_along_backward: Operator = composite(
    "_take_along_backward",
    _decompose_take_along_backward,
    operands="data index like",
    attrs=AxisAttrs,
    grad=lambda a, g, y, data, index, like: (
        _take_along(g, index, axis=a.axis),
        None,
        None,
    ),
    numpy=_take_along_backward_oracle,
    samples=(
        ((3, 2), np.array([[0, 3], [1, 1], [9, 0]], np.int64), (3, 4), {"axis": 1}),
        ((1, 2), np.array([[0, 2]], np.float32), (3, 2), {"axis": 0}),
    ),
    doc="""The adjoint of `_take_along`: `data` added up at `index`, in the shape of `like`.""",
)

sequence_reverse = composite(
    "SequenceReverse",
    _decompose_sequence_reverse,
    operands="data sequence_length?",
    attrs=SequenceAttrs,
    present=_sequence_operands,
    numpy=_sequence_reverse_oracle,
    samples=(
        ((4, 3, 2), np.array([2, 1, 4], np.float32), {"use_sequence_length": True}),
        ((4, 3), np.array([0, 3, 2], np.int32), {"use_sequence_length": True}),
        ((3, 4), {}),
    ),
    doc="""Each sequence in reverse order; what lies behind its end stays.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry.
    Time is axis 0, the batch axis 1.

    >>> nd.SequenceReverse(nd.array([[1, 2], [3, 4], [5, 6]])).asnumpy()
    array([[5., 6.],
           [3., 4.],
           [1., 2.]], dtype=float32)
    """,
)
