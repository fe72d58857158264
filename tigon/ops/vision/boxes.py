"""Boxes: intersection over union."""

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


def _corners(boxes: Any, kind: str) -> list[Any]:
    parts = [slice_axis(boxes, axis=-1, begin=i, end=i + 1) for i in range(4)]
    if kind == "corner":
        return parts
    x, y, width, height = parts
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _decompose_box_iou(attrs: BoxIouAttrs, lhs: Any, rhs: Any) -> Any:
    check(
        attrs.format in ("corner", "center"),
        "box_iou",
        f"format is corner or center; given '{attrs.format}'",
    )
    check(
        lhs.ndim and rhs.ndim and lhs.shape[-1] == rhs.shape[-1] == 4,
        "box_iou",
        f"expected four numbers per box; given {lhs.shape} and {rhs.shape}",
    )
    shape = (*lhs.shape[:-1], *rhs.shape[:-1])
    columns = [
        _reshape(part, shape=(*lhs.shape[:-1], *(1,) * (rhs.ndim - 1)))
        for part in _corners(lhs, attrs.format)
    ]
    rows = [_reshape(part, shape=rhs.shape[:-1]) for part in _corners(rhs, attrs.format)]
    sides = [
        maximum(minimum(columns[i + 2], rows[i + 2]) - maximum(columns[i], rows[i]), 0)
        for i in (0, 1)
    ]
    shared = sides[0] * sides[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (columns, rows)]
    union = areas[0] + areas[1] - shared
    # Empty boxes have no area to share.
    found = select(lesser_equal(union, 0), 0, shared / select(lesser_equal(union, 0), 1, union))
    return found if same_shape(found.shape, shape) else _broadcast(found, shape=shape)


def _box_iou_oracle(lhs: np.ndarray, rhs: np.ndarray, format: str) -> Any:
    def corners(x: np.ndarray) -> Any:
        if format == "corner":
            return x
        half = (x[..., 2:] / 2).astype(x.dtype)
        return np.concatenate([x[..., :2] - half, x[..., :2] + half], -1)

    shape = (*lhs.shape[:-1], *rhs.shape[:-1])
    a = corners(lhs).reshape(-1, 1, 4)
    b = corners(rhs).reshape(1, -1, 4)
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0)
    shared, *areas = (
        sizes.prod(-1, dtype=lhs.dtype)
        for sizes in (sides, a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2])
    )
    union = areas[0] + areas[1] - shared
    with np.errstate(all="ignore"):
        return np.where(union <= 0, 0, shared / union).astype(lhs.dtype).reshape(shape)


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
