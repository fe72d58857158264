"""Order: sort, argsort, topk, shuffle, multinomial.

An element's rank is the number of elements before it: short lines count it by comparing all pairs,
independent comparisons that fuse into one reduction. Longer ones are sorted by a kernel of the
native runtime (`csrc/program/sorting.cpp`), digit by digit, a line on one thread.
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import minimum
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import (
    equal,
    greater,
    greater_equal,
    isnan,
    lesser,
    lesser_equal,
    logical_and,
    logical_or,
)
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import log
from tigon.ops.primitive.gather import _pick, _take, _take_along, _take_along_backward
from tigon.ops.primitive.random import KEY_SAMPLE, _bits_oracle, _random_bits
from tigon.ops.primitive.reduce import _reduce_sum
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
from tigon.ops.tensor.shape import expand_dims
from tigon.ops.tensor.slice import slice_axis

FEW = 64
"""Elements whose ranks are counted by comparing all pairs; longer lines are sorted."""


def _places(ndim: int, extent: int, where: int) -> Any:
    """Coordinates along one axis; int32 doubles the lanes of a vector."""
    shape = tuple(extent if i == where else 1 for i in range(ndim))
    return _iota(shape=shape, axis=where, dtype="int32")


def _counted_ranks(x: Any, axis: int, ascending: bool) -> Any:
    """The number of elements that come before each one: smaller ones, and equal ones further to
    the front."""
    ndim, extent = x.ndim + 1, x.shape[axis]
    own, other = expand_dims(x, axis=axis + 1), expand_dims(x, axis=axis)
    earlier = lesser(_places(ndim, extent, axis + 1), _places(ndim, extent, axis))
    ahead = lesser(other, own) if ascending else greater(other, own)
    tied = logical_and(cast(equal(other, own), dtype="int32"), earlier)
    before = logical_or(cast(ahead, dtype="int32"), tied)
    return cast(_reduce_sum(before, axes=(axis + 1,)), dtype="int64")


def _comparable(x: Any) -> Any:
    """NaN has no place in an order, it counts as infinity; truth values count as numbers."""
    if x.dtype.kind == "b":
        return cast(x, dtype="uint8")
    return select(isnan(x), float("inf"), x) if x.dtype.is_float else x


def order(x: Any, axis: int, ascending: bool) -> Any:
    """Positions (int64) that sort each line; equal elements keep their order."""
    x = _comparable(x)
    if x.shape[axis] <= FEW:
        return inverse(_counted_ranks(x, axis, ascending), axis)
    if axis == x.ndim - 1:
        return _order(x, is_ascend=ascending)
    last = (*(i for i in range(x.ndim) if i != axis), axis)
    return transpose(_order(transpose(x, axes=last), is_ascend=ascending), axes=_inverse(last))


def inverse(permutation: Any, axis: int) -> Any:
    """Of each line, a permutation, the inverse one."""
    places = _iota(shape=permutation.shape, axis=axis)
    return _take_along_backward(places, permutation, permutation, axis=axis)


def _order_oracle(x: np.ndarray, axis: int, ascending: bool) -> np.ndarray:
    key = np.where(np.isnan(x), np.inf, x) if x.dtype.kind == "f" else x.astype(np.int64)
    return np.argsort(key if ascending else -key, axis=axis, kind="stable")


class OrderAttrs(Frozen):
    is_ascend: bool = True


_order = primitive(
    "_order",
    Family.EXTERN,
    dtypes="fiu",
    attrs=OrderAttrs,
    infer=lambda attrs, x: TensorType(x.shape, int64),
    routine=lambda attrs, x: Routine(
        "order", prod(x.shape[:-1]), (x.shape[-1], int(not attrs.is_ascend)), 30 * x.shape[-1]
    ),
    differentiable=False,
    work=Work.SORTING,
    numpy=lambda x, is_ascend: _order_oracle(x, -1, is_ascend),
    samples=(
        ((3, 70), {}),
        ((2, 2, 5), {"is_ascend": False}),
        ((5000,), {}),
        (np.array([[0.0, 1.0, -0.0, -1.0, 0.0]], np.float32), {}),
        ((0, 3), {}),
        ((3, 0), {"is_ascend": False}),
    ),
    doc="""Positions that sort each line along the last axis; equal elements keep their order. There
    is no NaN among them.

    Parameters: `is_ascend` (default True).
    """,
)


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
    return np.take_along_axis(x, _order_oracle(x, axis, is_ascend), axis)


def _decompose_argsort(attrs: ArgsortAttrs, data: Any) -> Any:
    data, axis = _line(data, attrs.axis)
    return cast(order(data, axis, attrs.is_ascend), dtype=attrs.dtype)


def _argsort_oracle(x: np.ndarray, axis: int | None, is_ascend: bool, dtype: str) -> np.ndarray:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    return _order_oracle(x, axis, is_ascend).astype(dtype)


_TIES = np.array([[3, 1, 3, 2, 1], [0, 0, 2, 2, 1]], np.float32)
_WITH_NAN = np.array([2, np.nan, 1, np.nan, 3], np.float32)

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
    sorted_places = order(data, axis, attrs.is_ascend)
    if attrs.ret_typ == "mask":
        rank = inverse(sorted_places, axis)
        return _reshape(cast(lesser(rank, count), dtype=data.dtype.name), shape=shape)
    places = slice_axis(sorted_places, axis=axis, begin=0, end=count)
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
    places = np.take(_order_oracle(x, axis, is_ascend), np.arange(k), axis)
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
