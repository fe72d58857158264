"""How many elements lie between edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import float32, int64
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import floor, maximum, minimum
from tigon.ops.primitive.choose import cast, identity, select, where
from tigon.ops.primitive.compare import equal, greater_equal, lesser, lesser_equal, logical_and
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import added_at
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, composite
from tigon.ops.tensor.slice import slice_axis


class HistogramAttrs(Frozen):
    bin_cnt: int | None = None
    range: tuple[float, ...] | None = None


def _infer(
    attrs: HistogramAttrs, data: TensorType, bins: TensorType | None = None
) -> tuple[TensorType, TensorType]:
    if bins is not None:
        check(
            bins.ndim == 1 and bins.shape[0] >= 2,
            "histogram",
            f"bins: expected edges, at least two numbers in order; given shape {bins.shape}",
        )
        return TensorType((bins.shape[0] - 1,), int64), TensorType(bins.shape, bins.dtype)
    count, ends = attrs.bin_cnt, attrs.range
    check(
        count is not None and count > 0,
        "histogram",
        f"bins: expected how many, above 0, or an array of edges; given {count}",
    )
    check(
        ends is not None and len(ends) == 2 and ends[0] < ends[1],
        "histogram",
        f"range: expected two numbers, the second one larger; given {ends}",
    )
    assert count is not None
    return TensorType((count,), int64), TensorType((count + 1,), float32)


def _decompose(attrs: HistogramAttrs, data: Any, bins: Any = None) -> Any:
    x = cast(_reshape(data, shape=(data.type.size,)), dtype="float64")
    if bins is not None:
        count = bins.shape[0] - 1
        edges = cast(bins, dtype="float64")
        reached = greater_equal(
            _reshape(x, shape=(x.shape[0], 1)), _reshape(edges, shape=(1, count + 1))
        )
        place = cast(_reduce_sum(reached, axes=(1,)), dtype="int64") - 1
        last = slice_axis(edges, axis=0, begin=count, end=count + 1)
        # The last edge belongs to the last bin.
        within = logical_and(greater_equal(place, 0), lesser(place, count))
        place = where(equal(x, last), count - 1, where(within, place, count))
        shown = identity(bins)
    else:
        assert attrs.bin_cnt is not None and attrs.range is not None
        count, (low, high) = attrs.bin_cnt, attrs.range
        inside = logical_and(greater_equal(x, low), lesser_equal(x, high))
        share = select(inside, (x - low) * (count / (high - low)), 0)
        own = minimum(maximum(cast(floor(share), dtype="int64"), 0), count - 1)
        place = where(inside, own, count)
        steps = cast(_iota(shape=(count + 1,), dtype="int32"), dtype="float64")
        shown = cast(low + steps * ((high - low) / count), dtype="float32")
    ones = _full(shape=x.shape, value=1, dtype="int64")
    found = added_at((count + 1,), place, ones)  # behind the last bin what is in none
    return slice_axis(found, axis=0, begin=0, end=count), shown


def _oracle(
    data: np.ndarray,
    bins: np.ndarray | None = None,
    bin_cnt: int | None = None,
    range: tuple[float, float] | None = None,
) -> Any:
    x = data.astype(float).ravel()
    if bins is not None:
        return np.histogram(x, bins.astype(float))[0].astype(np.int64), bins.copy()
    assert bin_cnt is not None and range is not None
    counts = np.histogram(x, bin_cnt, range)[0].astype(np.int64)
    return counts, np.linspace(*range, bin_cnt + 1).astype(np.float32)


histogram = composite(
    "_histogram",
    _decompose,
    operands="data bins?",
    attrs=HistogramAttrs,
    infer=_infer,
    dtypes={"data": "fiu", "bins": "fiu"},
    present=lambda attrs: ("data",) if attrs.bin_cnt is not None else ("data", "bins"),
    outputs=2,
    differentiable=False,
    work=Work.PAIRS,
    numpy=_oracle,
    samples=(
        ((3, 5), {"bin_cnt": 4, "range": (-1.5, 2.0)}),
        ((7,), np.array([-2, 0, 1, 2], np.float32), {}),
        (np.array([1, 2, 3, 3, 9], np.float32), {"bin_cnt": 2, "range": (1.0, 3.0)}),
        ((0, 2), {"bin_cnt": 3, "range": (0.0, 1.0)}),
    ),
    doc="""How many elements lie between edges, the last of which belongs to the last bin, and the
    edges.

    Parameters: `bins` edges in order; or `bin_cnt` how many bins, of equal width, over `range`.

    >>> nd._histogram(nd.array([1, 2, 3]), bin_cnt=2, range=(1, 3))[0].asnumpy()
    array([1, 2])
    """,
)
