"""Rows chosen by a mask. How many there are is a value, and the shape of what comes out depends on
it: code that is traced decides by it, as by any other value that it asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import not_equal
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import added_at
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.scan import cumsum
from tigon.ops.primitive.view import normalized_axis
from tigon.ops.record import composite, get
from tigon.ops.tensor.slice import slice_axis


class ChosenAttrs(Frozen):
    count: int


def _decompose_chosen(attrs: ChosenAttrs, index: Any) -> Any:
    check(
        index.ndim == 1 and attrs.count >= 0,
        "_chosen_places",
        f"expected a mask of one axis and how many are chosen; given {index.shape} and "
        f"{attrs.count}",
    )
    if not index.shape[0] or not attrs.count:
        return _full(shape=(attrs.count,), value=0, dtype="int64")
    chosen = cast(not_equal(index, 0), dtype="int64")
    behind = attrs.count
    target = select(chosen, cumsum(chosen, axis=0) - 1, behind)
    # Whatever is not chosen is added up behind the last one.
    found = added_at((behind + 1,), target, _iota(shape=index.shape))
    return slice_axis(found, axis=0, begin=0, end=behind)


def _chosen_oracle(index: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros(count, np.int64)
    (places,) = np.nonzero(index)
    found[: len(places)] = places[:count]
    return found


_chosen_places = composite(
    "_chosen_places",
    _decompose_chosen,
    operands="index",
    attrs=ChosenAttrs,
    differentiable=False,
    numpy=_chosen_oracle,
    samples=(
        (np.array([0, 1, 1, 0, 3], np.float32), {"count": 3}),
        (np.array([1, 0, 1], np.int32), {"count": 2}),
        (np.array([0, 0], np.float32), {"count": 0}),
        (np.zeros(0, np.float32), {"count": 0}),
    ),
    doc="""Where a mask is not 0: the first `count` places, which is how many there are.

    >>> nd._chosen_places(nd.array([0, 1, 1]), count=2).asnumpy()
    array([1, 2])
    """,
)


def check_mask(data: Any, index: Any, axis: int) -> int:
    """The axis, counted from the front."""
    axis = normalized_axis("boolean_mask", axis, len(data.shape))
    check(
        tuple(index.shape) == tuple(data.shape[axis : axis + 1]),
        "boolean_mask",
        f"index: expected shape {tuple(data.shape[axis : axis + 1])}, one number for each entry of "
        f"axis {axis}; given {tuple(index.shape)}",
    )
    return axis


def boolean_mask(data: Any, index: Any, axis: int) -> Any:
    """Of symbols that are traced: how many entries are chosen is asked for."""
    axis = check_mask(data, index, axis)
    chosen = cast(not_equal(index, 0), dtype="int64")
    count = int(_reduce_sum(chosen, axes=(0,)))
    return get("take")(data, _chosen_places(index, count=count), axis=axis)
