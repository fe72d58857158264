"""Order: sort, argsort, topk, shuffle, multinomial.

One primitive, a routine of the native runtime (`csrc/program/sorting.cpp`), finds the positions
that put lines in order; other operators, which have gradients, take what is there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import minimum
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.compare import (
    greater_equal,
    lesser_equal,
    logical_and,
)
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import log
from tigon.ops.primitive.gather import _pick, _take, _take_along, _take_along_backward
from tigon.ops.primitive.random import KEY_SAMPLE, _bits_oracle, _random_bits
from tigon.ops.primitive.scan import cumsum
from tigon.ops.primitive.view import (
    _broadcast,
    _inverse,
    _reshape,
    normalized_axis,
    transpose,
)
from tigon.ops.record import Family, Routine, Work, composite, primitive
from tigon.ops.tensor.random import _unit_oracle, unit_interval
from tigon.ops.tensor.slice import slice_axis


class OrderAttrs(Frozen):
    ascending: bool = True
    count: int = 0  # positions of each line; 0 for all


def _infer_order(attrs: OrderAttrs, x: TensorType) -> TensorType:
    check(x.ndim > 0, "_order", "expected at least one axis; given a 0-d array")
    check(
        0 <= attrs.count <= x.shape[-1],
        "_order",
        f"expected a count of 0 to {x.shape[-1]}, the elements of a line; given {attrs.count}",
    )
    return TensorType((*x.shape[:-1], attrs.count or x.shape[-1]), int64)


def _order_routine(attrs: OrderAttrs, x: TensorType) -> Routine:
    extent = x.shape[-1]
    numbers = (extent, attrs.count or extent, int(attrs.ascending))
    work = _PASSED if attrs.count else _SORTED
    return Routine("order", math.prod(x.shape[:-1]), numbers, work * extent)


_SORTED, _PASSED = 40, 4
"""Operations of LAPACK that take the time of one element: where all are sorted, and where most are
found not to be among the first."""


def _order_oracle(x: np.ndarray, ascending: bool, count: int = 0) -> np.ndarray:
    key = np.where(np.isnan(x), np.inf, x) if x.dtype.kind == "f" else x
    # By ranks, which unlike the numbers themselves have a negative each.
    ranks = np.unique(key, return_inverse=True)[1].reshape(key.shape)
    places = np.argsort(ranks if ascending else -ranks, axis=-1, kind="stable")
    return places[..., :count] if count else places


_TIES = np.array([[3, 1, 3, 2, 1], [0, 0, 2, 2, 1]], np.float32)
_WITH_NAN = np.array([2, np.nan, 1, np.nan, 3], np.float32)

_order = primitive(
    "_order",
    Family.EXTERN,
    attrs=OrderAttrs,
    dtypes="fiu",
    infer=_infer_order,
    routine=_order_routine,
    differentiable=False,
    work=Work.SORTING,
    numpy=_order_oracle,
    samples=(
        ((3, 5), {}),
        (_TIES, {"ascending": False}),
        (_WITH_NAN, {}),
        ((2, 40), {"count": 3}),
        ((2, 0), {}),
    ),
    doc="""Positions (int64) that sort each line of the last axis: of all elements, or of the first
    `count`. Equal elements keep their order; NaN counts as infinity.""",
)


def order(x: Any, axis: int, ascending: bool, count: int = 0) -> Any:
    """Positions (int64) that sort each line, or those of the first elements; equal elements keep
    their order. Truth values count as numbers."""
    x = cast(x, dtype="uint8") if x.dtype.kind == "b" else x
    if axis == x.ndim - 1:
        return _order(x, ascending=ascending, count=count)
    last = (*(i for i in range(x.ndim) if i != axis), axis)
    found = _order(transpose(x, axes=last), ascending=ascending, count=count)
    return transpose(found, axes=_inverse(last))


def inverse(permutation: Any, axis: int) -> Any:
    """Of each line, a permutation, the inverse one."""
    places = _iota(shape=permutation.shape, axis=axis)
    return _take_along_backward(places, permutation, permutation, axis=axis)


def _order_along(x: np.ndarray, axis: int, ascending: bool) -> np.ndarray:
    return np.moveaxis(_order_oracle(np.moveaxis(x, axis, -1), ascending), -1, axis)


def _line(data: Any, axis: int | None) -> tuple[Any, int]:
    """The data and a non-negative axis; flattened where none is given."""
    if axis is None:
        return _reshape(data, shape=(data.type.size,)), 0
    return data, normalized_axis("sort", axis, data.ndim)


# ----------------------------------------------------------------------------------- sorting


class SortAttrs(Frozen):
    axis: int | None = -1
    is_ascend: bool = True


class ArgsortAttrs(Frozen):
    axis: int | None = -1
    is_ascend: bool = True
    dtype: str = "float32"


def _decompose_sort(attrs: SortAttrs, data: Any) -> Any:
    data, axis = _line(data, attrs.axis)
    return _take_along(data, order(data, axis, attrs.is_ascend), axis=axis)


def _sort_oracle(x: np.ndarray, axis: int | None, is_ascend: bool) -> np.ndarray:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    return np.take_along_axis(x, _order_along(x, axis, is_ascend), axis)


def _decompose_argsort(attrs: ArgsortAttrs, data: Any) -> Any:
    data, axis = _line(data, attrs.axis)
    return cast(order(data, axis, attrs.is_ascend), dtype=attrs.dtype)


def _argsort_oracle(x: np.ndarray, axis: int | None, is_ascend: bool, dtype: str) -> np.ndarray:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    return _order_along(x, axis, is_ascend).astype(dtype)


sort = composite(
    "sort",
    _decompose_sort,
    attrs=SortAttrs,
    work=Work.SORTING,
    numpy=_sort_oracle,
    samples=(
        ((3, 5), {}),
        ((3, 5), {"axis": 0, "is_ascend": False}),
        ((2, 3), {"axis": None}),
        ((7,), {}),
        ((0, 3), {"axis": 0}),
        (_WITH_NAN, {}),
    ),
    doc="""The elements of each line in order. NaN comes last, as infinity does.

    Parameters: `axis` (default the last; None for the flattened array), `is_ascend` (default True).

    >>> nd.sort(nd.array([[3, 1, 2], [9, 8, 7]])).asnumpy()
    array([[1., 2., 3.],
           [7., 8., 9.]], dtype=float32)
    """,
)

argsort = composite(
    "argsort",
    _decompose_argsort,
    attrs=ArgsortAttrs,
    differentiable=False,
    work=Work.SORTING,
    numpy=_argsort_oracle,
    samples=(
        ((3, 5), {}),
        ((3, 5), {"axis": 0, "is_ascend": False, "dtype": "int32"}),
        ((2, 3), {"axis": None}),
        (_TIES, {}),
        (_TIES, {"is_ascend": False}),
        ((0, 3), {"axis": 0}),
    ),
    doc="""Positions that sort each line; equal elements keep their order.

    Parameters: `axis` (default the last; None for the flattened array), `is_ascend` (default
    True), `dtype` of the positions (default float32).

    >>> nd.argsort(nd.array([[3, 1, 2], [9, 8, 7]])).asnumpy()
    array([[1., 2., 0.],
           [2., 1., 0.]], dtype=float32)
    """,
)


class TopkAttrs(Frozen):
    axis: int | None = -1
    k: int = 1
    ret_typ: str = "indices"
    is_ascend: bool = False
    dtype: str = "float32"


def _decompose_topk(attrs: TopkAttrs, data: Any) -> Any:
    check(
        attrs.ret_typ in ("indices", "value", "both", "mask"),
        "topk",
        f"ret_typ is indices, value, both or mask; given '{attrs.ret_typ}'",
    )
    shape = data.shape
    data, axis = _line(data, attrs.axis)
    extent = data.shape[axis]
    count = attrs.k if attrs.k > 0 else extent
    check(count <= extent, "topk", f"k is {count}; there are {extent} elements")
    places = order(data, axis, attrs.is_ascend, max(attrs.k, 0))
    if attrs.ret_typ == "mask":
        ones = _full(shape=places.shape, value=1, dtype=data.dtype.name)
        return _reshape(_take_along_backward(ones, places, data, axis=axis), shape=shape)
    if attrs.ret_typ == "indices":
        return cast(places, dtype=attrs.dtype)
    values = _take_along(data, places, axis=axis)
    return (values, cast(places, dtype=attrs.dtype)) if attrs.ret_typ == "both" else values


def _topk_oracle(
    x: np.ndarray, axis: int | None, k: int, ret_typ: str, is_ascend: bool, dtype: str
) -> Any:
    shape = x.shape
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    k = k if k > 0 else x.shape[axis]
    places = np.take(_order_along(x, axis, is_ascend), np.arange(k), axis)
    if ret_typ == "mask":
        mask = np.zeros(x.shape, x.dtype)
        np.put_along_axis(mask, places, np.ones((), x.dtype), axis)
        return mask.reshape(shape)
    values = np.take_along_axis(x, places, axis)
    indices = places.astype(dtype)
    return {"indices": indices, "value": values, "both": (values, indices)}[ret_typ]


topk = composite(
    "topk",
    _decompose_topk,
    attrs=TopkAttrs,
    outputs=lambda a: 2 if a.ret_typ == "both" else 1,
    work=Work.SORTING,
    numpy=_topk_oracle,
    samples=(
        ((3, 5), {"k": 2}),
        ((3, 5), {"k": 3, "axis": 0, "ret_typ": "value", "is_ascend": True}),
        ((3, 5), {"k": 2, "ret_typ": "both", "dtype": "int32"}),
        ((3, 5), {"k": 2, "ret_typ": "mask"}),
        ((3, 5), {"k": 4, "axis": None, "ret_typ": "value"}),
        (_TIES, {"k": 3}),
    ),
    doc="""The first elements of each line in order.

    Parameters: `k` how many (default 1, 0 for all), `axis` (default the last; None for the
    flattened array), `ret_typ` "indices", "value", "both" (values, indices) or "mask" (1 where an
    element is among them), `is_ascend` the smallest instead of the largest, `dtype` of the indices.

    >>> nd.topk(nd.array([[3, 1, 2], [9, 8, 7]]), k=2).asnumpy()
    array([[0., 2.],
           [0., 1.]], dtype=float32)
    >>> nd.topk(nd.array([[3, 1, 2], [9, 8, 7]]), k=2, ret_typ="mask").asnumpy()
    array([[1., 0., 1.],
           [1., 1., 0.]], dtype=float32)
    """,
)

# ---------------------------------------------------------------------------------- shuffling


class ShuffleAttrs(Frozen):
    ordinal: int = 0


def _decompose_shuffle(attrs: ShuffleAttrs, data: Any, key: Any) -> Any:
    check(data.ndim, "shuffle", "expected at least one axis; given a 0-d array")
    bits = _random_bits(key, shape=data.shape[:1], ordinal=attrs.ordinal)
    return _take(data, order(bits, 0, True), axis=0)


def _shuffle_oracle(data: np.ndarray, key: np.ndarray, ordinal: int) -> np.ndarray:
    return data[np.argsort(_bits_oracle(key, data.shape[:1], ordinal, 0), kind="stable")]


shuffle = composite(
    "_shuffle",
    _decompose_shuffle,
    operands="data key%",
    attrs=ShuffleAttrs,
    work=Work.SORTING,
    numpy=_shuffle_oracle,
    aliases=("shuffle", "random_shuffle"),
    samples=(((7,), KEY_SAMPLE, {}), ((5, 2), KEY_SAMPLE, {"ordinal": 3})),
    doc="""The entries along the first axis in random order.

    >>> sorted(nd.random.shuffle(nd.array([1, 2, 3])).asnumpy().tolist())
    [1.0, 2.0, 3.0]
    """,
)

# -------------------------------------------------------------------------------- multinomial


class MultinomialAttrs(Frozen):
    shape: tuple[int, ...] = ()
    get_prob: bool = False
    dtype: str = "int32"
    ordinal: int = 0


def _drawn_shape(attrs: MultinomialAttrs, lead: tuple[int, ...]) -> tuple[int, ...]:
    return (*lead, *attrs.shape) or (1,)


def _passed(sums: Any, unit: Any, count: int) -> Any:
    """How many of the first `count` sums of its line each number has reached, by bisection: sums of
    what is not negative never fall (`Scan`)."""
    *lead, extent = sums.shape
    lines = math.prod(lead)
    flat = _reshape(sums, shape=(lines * extent,))
    own = (*lead, *(1,) * (unit.ndim - len(lead)))
    first = _reshape(_iota(shape=(lines,), step=extent), shape=own)
    passed: Any = _full(shape=unit.shape, value=0, dtype="int64")
    step = 1
    while step * 2 <= count:
        step *= 2
    while step and count:
        trial = passed + step
        reached = greater_equal(unit, _take(flat, first + minimum(trial, count) - 1))
        both = logical_and(cast(reached, dtype="int64"), lesser_equal(trial, count))
        passed = passed + step * cast(both, dtype="int64")
        step //= 2
    return passed


def _decompose_multinomial(attrs: MultinomialAttrs, data: Any, key: Any) -> Any:
    check(
        data.ndim and data.shape[-1],
        "sample_multinomial",
        f"expected probabilities along the last axis; given shape {data.shape}",
    )
    lead, extent = data.shape[:-1], data.shape[-1]
    draws = tuple(attrs.shape)
    unit = unit_interval(key, (*lead, *draws), data.dtype.name, attrs.ordinal)
    # Of what the chances come to, which rounding may leave below 1: less than that is drawn, so
    # that nothing behind the last of them is.
    sums = cumsum(data, axis=-1)
    total = _reshape(
        slice_axis(sums, axis=-1, begin=-1, end=None), shape=(*lead, *(1,) * len(draws))
    )
    place = _passed(sums, unit * total, extent - 1)
    result = _reshape(cast(place, dtype=attrs.dtype), shape=_drawn_shape(attrs, lead))
    if not attrs.get_prob:
        return result
    full = (*lead, *draws, extent)
    column = _reshape(data, shape=(*lead, *(1,) * len(draws), extent))
    chosen = _pick(_broadcast(column, shape=full), place, axis=len(full) - 1)
    return result, _reshape(log(chosen), shape=result.shape)


def _multinomial_oracle(
    data: np.ndarray,
    key: np.ndarray,
    shape: tuple[int, ...],
    get_prob: bool,
    dtype: str,
    ordinal: int,
) -> Any:
    lead = data.shape[:-1]
    unit = _unit_oracle(key, (*lead, *shape), data.dtype.name, ordinal)
    wide = data.reshape(*lead, *(1,) * len(shape), -1)
    sums = np.cumsum(wide, -1, data.dtype)
    share = unit * sums[..., -1]
    place = np.minimum((share[..., None] >= sums).sum(-1), data.shape[-1] - 1)
    result = place.astype(dtype).reshape((*lead, *shape) or (1,))
    if not get_prob:
        return result
    chosen = np.take_along_axis(
        np.broadcast_to(wide, (*place.shape, data.shape[-1])), place[..., None], -1
    )
    return result, np.log(chosen).reshape(result.shape)


_CHANCES = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0]], np.float32)

sample_multinomial = composite(
    "_sample_multinomial",
    _decompose_multinomial,
    operands="data key%",
    attrs=MultinomialAttrs,
    dtypes="f",
    outputs=lambda a: 2 if a.get_prob else 1,
    work=Work.SORTING,
    numpy=_multinomial_oracle,
    aliases=("sample_multinomial", "random_multinomial"),
    samples=(
        (_CHANCES, KEY_SAMPLE, {}),
        (_CHANCES, KEY_SAMPLE, {"shape": (4,), "get_prob": True}),
        (_CHANCES[0], KEY_SAMPLE, {"shape": (2, 3), "dtype": "int64"}),
        (_CHANCES[0], KEY_SAMPLE, {}),
    ),
    doc="""Positions drawn with the given probabilities.

    Parameters: `data` probabilities along the last axis, each line adding up to 1; `shape` how many
    are drawn for each line; `get_prob` gives the logarithm of their probabilities too, which can be
    differentiated (Williams 1992, "Simple statistical gradient-following algorithms"); `dtype` of
    the positions (default int32).

    >>> nd.sample_multinomial(nd.array([0, 1, 0]), shape=(3,)).asnumpy()
    array([1, 1, 1], dtype=int32)
    """,
)
