"""Boxes: their corners, what they share, and how they are written relative to others."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import maximum, minimum
from tigon.ops.primitive.choose import select
from tigon.ops.primitive.compare import lesser_equal
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import composite
from tigon.ops.tensor.slice import slice_axis


class BoxIouAttrs(Frozen):
    format: str = "corner"


def check_format(where: str, name: str, given: str) -> None:
    check(
        given in ("corner", "center"),
        where,
        f"{name}: expected 'corner' (x1, y1, x2, y2) or 'center' (x, y, width, height); given "
        f"'{given}'",
    )


def columns_of(boxes: Any, first: int = 0, count: int = 4) -> list[Any]:
    """Each of some numbers of all boxes: (..., 1)."""
    return [slice_axis(boxes, axis=-1, begin=i, end=i + 1) for i in range(first, first + count)]


def corners(parts: list[Any], kind: str) -> list[Any]:
    """x1, y1, x2, y2 of boxes in some format."""
    if kind == "corner":
        return parts
    x, y, width, height = parts
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def centers(parts: list[Any]) -> list[Any]:
    """x, y, width, height of boxes by their corners."""
    x1, y1, x2, y2 = parts
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def overlap(a: list[Any], b: list[Any], areas: tuple[Any, Any], beyond: int = 0) -> Any:
    """What boxes share of what they cover together; 0 where they cover nothing. `beyond` 1: the
    last pixel belongs to a box."""
    sides = [maximum(minimum(a[i + 2], b[i + 2]) - maximum(a[i], b[i]) + beyond, 0) for i in (0, 1)]
    shared = sides[0] * sides[1]
    union = areas[0] + areas[1] - shared
    # Empty boxes have no area to share.
    nothing = lesser_equal(union, 0)
    return select(nothing, 0, shared / select(nothing, 1, union))


def overlap_oracle(a: np.ndarray, b: np.ndarray, beyond: int = 0) -> Any:
    """Of boxes by their corners, along the last axis."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + beyond
    shared, *areas = (
        sizes.prod(-1, dtype=a.dtype)
        for sizes in (
            np.maximum(sides, 0),
            a[..., 2:] - a[..., :2] + beyond,
            b[..., 2:] - b[..., :2] + beyond,
        )
    )
    union = areas[0] + areas[1] - shared
    with np.errstate(all="ignore"):
        return np.where(union <= 0, 0, shared / union).astype(a.dtype)


def corners_oracle(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "corner":
        return x
    half = (x[..., 2:] / 2).astype(x.dtype)
    return np.concatenate([x[..., :2] - half, x[..., :2] + half], -1)


def _decompose_box_iou(attrs: BoxIouAttrs, lhs: Any, rhs: Any) -> Any:
    check_format("box_iou", "format", attrs.format)
    check(
        lhs.ndim and rhs.ndim and lhs.shape[-1] == rhs.shape[-1] == 4,
        "box_iou",
        f"expected four numbers per box; given {lhs.shape} and {rhs.shape}",
    )
    shape = (*lhs.shape[:-1], *rhs.shape[:-1])
    columns = [
        _reshape(part, shape=(*lhs.shape[:-1], *(1,) * (rhs.ndim - 1)))
        for part in corners(columns_of(lhs), attrs.format)
    ]
    rows = [_reshape(part, shape=rhs.shape[:-1]) for part in corners(columns_of(rhs), attrs.format)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (columns, rows)]
    found = overlap(columns, rows, (areas[0], areas[1]))
    return found if same_shape(found.shape, shape) else _broadcast(found, shape=shape)


def _box_iou_oracle(lhs: np.ndarray, rhs: np.ndarray, format: str) -> Any:
    a = corners_oracle(lhs, format).reshape(-1, 1, 4)
    b = corners_oracle(rhs, format).reshape(1, -1, 4)
    return overlap_oracle(a, b).reshape(*lhs.shape[:-1], *rhs.shape[:-1])


_BOXES = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 5]], np.float32)

box_iou = composite(
    "_contrib_box_iou",
    _decompose_box_iou,
    operands="lhs rhs",
    attrs=BoxIouAttrs,
    dtypes="fiu",
    differentiable=False,
    numpy=_box_iou_oracle,
    samples=(
        (_BOXES, _BOXES, {}),
        (_BOXES, _BOXES[:2], {"format": "center"}),
        (_BOXES.reshape(3, 1, 4), _BOXES[1], {}),
    ),
    doc="""Shared area of each pair of boxes, divided by the area that they cover together.

    Parameters: `format` "corner" (x1, y1, x2, y2) or "center" (x, y, width, height).

    >>> nd.contrib.box_iou(nd.array([[0, 0, 2, 2]]), nd.array([[1, 0, 3, 2]])).asnumpy()
    array([[0.3333]], dtype=float32)
    """,
)
