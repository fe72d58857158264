"""Arrays made from nothing: constant ones and counting ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.dtypes import float64, whole_number
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.loop.semantics import convert
from tigon.ops.primitive.view import Coords, Read, _broadcast
from tigon.ops.record import Creation, Family, primitive


class FullAttrs(Frozen):
    shape: tuple[int, ...] = (1,)
    value: int | float = 0
    dtype: str = "float32"


def _checked_shape(where: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    check(all(n >= 0 for n in shape), where, f"shape {shape} has a negative extent")
    return shape


def _number(value: int | float, dtype: str) -> Any:
    kind = as_dtype(dtype)
    if kind.is_float or isinstance(value, RuntimeNumber):
        return value
    return bool(value) if kind.kind == "b" else whole_number("full", value, kind)


def _infer_full(attrs: FullAttrs) -> TensorType:
    _number(attrs.value, attrs.dtype)
    return TensorType(_checked_shape("full", attrs.shape), as_dtype(attrs.dtype))


def everywhere(shape: tuple[int, ...], number: Any) -> Any:
    return _broadcast(number, shape=shape)


def _created_full(attrs: FullAttrs) -> Creation | None:
    dtype = as_dtype(attrs.dtype)
    return Creation(everywhere, dtype, (_number(attrs.value, attrs.dtype),))


_full = primitive(
    "_full",
    Family.LEAF,
    operands="",
    attrs=FullAttrs,
    infer=_infer_full,
    lower=lambda a, types, coords, read: L.const(_number(a.value, a.dtype), as_dtype(a.dtype)),
    differentiable=False,
    numpy=lambda shape, value, dtype: np.full(shape, _number(value, dtype), dtype),
    created=_created_full,
    aliases=("full",),
    samples=(
        ({"shape": (2, 3), "value": 1.5},),
        ({"shape": (), "value": 3, "dtype": "int32"},),
        ({"shape": (0, 2), "value": 1, "dtype": "bool"},),
        ({"shape": (3,), "value": float("inf"), "dtype": "float64"},),
    ),
    doc="""An array filled with one number.

    Parameters: `shape`, `value`, `dtype` (default float32).

    >>> nd._full(shape=(2, 2), value=7).asnumpy()
    array([[7., 7.],
           [7., 7.]], dtype=float32)
    """,
)


full = _full


class IotaAttrs(Frozen):
    shape: tuple[int, ...]
    axis: int = 0
    start: int | float = 0
    step: int | float = 1
    dtype: str = "int64"


def _infer_iota(attrs: IotaAttrs) -> TensorType:
    check(
        0 <= attrs.axis < len(attrs.shape),
        "_iota",
        f"axis {attrs.axis} is not one of shape {attrs.shape}",
    )
    return TensorType(_checked_shape("_iota", attrs.shape), as_dtype(attrs.dtype))


def _lower_iota(
    attrs: IotaAttrs, types: tuple[TensorType, ...], coords: Coords, read: Read
) -> Expr:
    dtype, place = as_dtype(attrs.dtype), coords[attrs.axis]
    start, step = attrs.start, attrs.step
    if dtype.is_integer:  # a whole number may be spelled as a float, such as a step of 1.0
        start, step = _whole(start), _whole(step)
    if isinstance(start, int) and isinstance(step, int):
        return L.cast(L.add(L.mul(place, step), start), dtype)
    # In double precision, rounded once: else errors of a float32 step would grow with the index.
    wide = L.add(L.mul(L.cast(place, float64), attrs.step), attrs.start)
    return L.cast(wide, dtype)


def _whole(number: int | float) -> int | float:
    is_whole = isinstance(number, float) and number.is_integer() and abs(number) < 2.0**63
    return int(number) if is_whole else number


def _line(length: int, start: int | float, step: int | float, dtype: str) -> np.ndarray:
    """start, start + step, ... exactly, then converted."""
    kind = as_dtype(dtype)
    if kind.is_integer and all(isinstance(_whole(number), int) for number in (start, step)):
        numbers = [L.wrap(int(start) + i * int(step), kind) for i in range(length)]
        return np.array(numbers, kind.numpy)
    return np.asarray(convert(np.arange(length) * step + start, kind))


def _iota_oracle(
    shape: tuple[int, ...], axis: int, start: int | float, step: int | float, dtype: str
) -> Any:
    line = _line(shape[axis], start, step, dtype)
    column = line.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(column, shape).copy()


_iota = primitive(
    "_iota",
    Family.LEAF,
    operands="",
    attrs=IotaAttrs,
    infer=_infer_iota,
    lower=_lower_iota,
    differentiable=False,
    numpy=_iota_oracle,
    samples=(
        ({"shape": (5,)},),
        ({"shape": (2, 3), "axis": 1, "start": 1, "step": -2, "dtype": "int32"},),
        ({"shape": (4,), "start": 0.5, "step": 0.25, "dtype": "float32"},),
        ({"shape": (0, 3), "axis": 1},),
    ),
    doc="""start + step · (coordinate along `axis`).""",
)
