"""Reading at positions that are data, and adding at them, its adjoint.

Indices may have any dtype, as in MXNet (float32 by default); they are truncated to int64. Of those
out of range MXNet refuses some and clips, wraps or ignores others, each operator in its own way:
`_checked_index` refuses, and whatever reads its result may take it to be in range. What the records
declare as `indices` is refused if `TIGON_CHECK_INDICES=1` asks for it.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, TigonIndexError, check
from tigon.base.dtypes import bool_, int64
from tigon.base.frozen import Frozen
from tigon.base.types import Shape
from tigon.ir.graph import constant
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.loop.semantics import convert
from tigon.ops.primitive.arithmetic import modulo
from tigon.ops.primitive.choose import cast, clip, select
from tigon.ops.primitive.compare import equal
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import Coords, Read, _reshape, normalized_axis
from tigon.ops.record import Family, Operator, composite, primitive
from tigon.ops.tensor.shape import expand_dims

# ----------------------------------------------------------------------------------- checks


COUNTS = -1
"""The axis of what says how many elements there are, rather than which."""


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
    there, too, and stays; `axis` (of the first row; COUNTS of numbers of elements) and `operator`
    are for the message.

    >>> nd._checked_index(nd.array([0, -1]), sizes=(3,), negative=True).asnumpy()
    array([0, 2])
    """,
)


def checked_counts(counts: Any, extent: Any, operator: str) -> Any:
    """Numbers of elements as int64, from 0 to `extent`; others are a `TigonIndexError`."""
    return _checked_index(counts, sizes=(extent + 1,), axis=COUNTS, operator=operator)


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
    check(0 <= axis < data.ndim, "_index", f"axis {axis} is not one of {data}")
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
        updates.shape == expected,
        "_scatter_add",
        f"updates should have shape {expected}; they have {updates.shape}",
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
    dtypes={"data updates": "fiu"},
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


def added_at(shape: Shape, where: Any, updates: Any, axis: int = 0) -> Any:
    """Zeros of this shape with `updates` added; of bools, whether any is true."""
    counts = updates.dtype is bool_
    if counts:
        updates = cast(updates, dtype="int64")
    zeros = _full(shape=shape, value=0, dtype=updates.dtype.name)
    found = _scatter_add(zeros, where, updates, axis=axis)
    return cast(found, dtype="bool") if counts else found


def _positions(indices: Any, size: int, mode: str) -> Any:
    """Indices as int64 within the range."""
    whole = indices if indices.dtype is int64 else cast(indices, dtype="int64")
    if mode == "wrap":
        return modulo(whole, max(size, 1))
    return clip(whole, a_min=0, a_max=max(size - 1, 0))


def _decompose_take_backward(attrs: TakeAttrs, g: Any, indices: Any, like: Any) -> Any:
    axis = normalized_axis("take", attrs.axis, like.ndim)
    return added_at(like.shape, _positions(indices, like.shape[axis], attrs.mode), g, axis)


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
    check(
        0 <= attrs.axis < like.ndim,
        "_unpick",
        f"axis {attrs.axis} is not one of shape {like.shape}",
    )
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
    updates = _reshape(g, shape=(prod(indices.shape[1:]), *shape[rows:]))
    return _reshape(added_at((size, *shape[rows:]), flat, updates), shape=shape)


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
    check(
        0 <= attrs.axis < like.ndim and g.ndim == index.ndim == like.ndim,
        "_take_along_backward",
        f"expected three operands of more than {attrs.axis} axes; given shapes {g.shape}, "
        f"{index.shape} and {like.shape}",
    )
    where = _positions(index, like.shape[attrs.axis], "clip")
    flat: Any = 0
    for axis, n in enumerate(like.shape):
        line = tuple(m if i == axis else 1 for i, m in enumerate(index.shape))
        place = where if axis == attrs.axis else _iota(shape=line, axis=axis)
        flat = flat * n + place
    size = index.type.size
    where, updates = _reshape(flat, shape=(size,)), _reshape(g, shape=(size,))
    return _reshape(added_at((like.type.size,), where, updates), shape=like.shape)


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
