"""Scans: of each line, what the elements up to each one come to."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import add
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.view import _reshape, normalized_axis
from tigon.ops.record import EXPECTED, Family, Operator, composite, primitive

# ---------------------------------------------------------------------------- primitives


class ScanAttrs(Frozen):
    axis: int
    reverse: bool = False
    in_order: bool = False
    """One element after the other, not a vector of them at once: how sums of blocks must be added
    for the sums behind them to be the same as at the end of each block."""


def _infer_scan(attrs: ScanAttrs, x: TensorType) -> TensorType:
    check(
        0 <= attrs.axis < x.ndim,
        "_scan_sum",
        f"axis is one of the {x.ndim} of the array, not negative; given {attrs.axis}",
    )
    return TensorType(x.shape, x.dtype)


def _scan_oracle(x: np.ndarray, axis: int, reverse: bool, in_order: bool) -> np.ndarray:
    turned = np.flip(x, axis) if reverse else x
    sums = np.cumsum(turned, axis, x.dtype)
    return np.flip(sums, axis).copy() if reverse else sums


_scan_sum: Operator = primitive(
    "_scan_sum",
    Family.SCAN,
    combine="sum",
    joining=add,
    attrs=ScanAttrs,
    infer=_infer_scan,
    dtypes="fiu",
    grad=lambda a, g, y, x: (
        _scan_sum(g, axis=a.axis, reverse=not a.reverse, in_order=a.in_order),
    ),
    numpy=_scan_oracle,
    samples=(
        ((3, 5), {"axis": 1}),
        ((3, 5), {"axis": 0, "reverse": True}),
        ((2, 70), {"axis": 1, "reverse": True}),
        ((40,), {"axis": 0, "in_order": True}),
        ((2, 1, 3), {"axis": 1}),
        ((0, 3), {"axis": 0}),
    ),
    doc="""Sums along `axis` up to each element, or from each one to the end if `reverse`.""",
)

# ----------------------------------------------------------------------------- cumulative sums


class CumsumAttrs(Frozen):
    axis: int | None = None
    dtype: str | None = None


def _decompose_cumsum(attrs: CumsumAttrs, data: Any) -> Any:
    dtype = attrs.dtype or ("int64" if data.dtype.kind == "b" else None)
    if dtype is not None:
        check(
            as_dtype(dtype).kind != "b",
            "cumsum",
            f"dtype: expected {EXPECTED['fiu']}; given {dtype}",
        )
        data = cast(data, dtype=dtype)
    if attrs.axis is None:
        return _scan_sum(_reshape(data, shape=(data.type.size,)), axis=0)
    return _scan_sum(data, axis=normalized_axis("cumsum", attrs.axis, data.ndim))


def _cumsum_oracle(x: np.ndarray, axis: int | None, dtype: str | None) -> np.ndarray:
    return np.cumsum(x, axis, dtype or ("int64" if x.dtype.kind == "b" else x.dtype))


cumsum = composite(
    "_np_cumsum",
    _decompose_cumsum,
    attrs=CumsumAttrs,
    numpy=_cumsum_oracle,
    aliases=("cumsum",),
    samples=(
        ((3, 5), {"axis": 1}),
        ((3, 5), {}),
        ((3, 5), {"axis": 0, "dtype": "float64"}),
        ((2, 3, 4), {"axis": -2}),
        ((), {}),
        ((0, 3), {"axis": 1}),
        (np.array([1, np.inf, 2], np.float32), {}),
    ),
    doc="""Sums of the elements up to each one.

    Parameters: `axis`; of the flattened array if not given; `dtype` to compute in, by default that
    of the array, int64 for truth values.

    Integers wrap. Each floating-point sum is that of one tree over the elements up to there, at
    most 4096 plus a 4096th of them deep, whatever the number of threads; sums never fall where
    nothing negative is added.

    >>> nd.cumsum(nd.array([[1, 2, 3], [4, 5, 6]]), axis=1).asnumpy()
    array([[ 1.,  3.,  6.],
           [ 4.,  9., 15.]], dtype=float32)
    """,
)
