"""Boxes: their corners, what they share, and how they are written relative to others."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import maximum, minimum
from tigon.ops.primitive.choose import select
from tigon.ops.primitive.compare import greater, lesser_equal
from tigon.ops.primitive.create import _full
from tigon.ops.primitive.functions import exp, log
from tigon.ops.primitive.gather import _take_along
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import Positions, composite
from tigon.ops.tensor.join import concat
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


# ----------------------------------------------------------------- boxes relative to others


def rows_at(rows: Any, places: Any) -> Any:
    """Rows of (batch, n, width) at `places` (batch, m): (batch, m, width)."""
    batch, count = places.shape
    wide = (batch, count, rows.shape[2])
    index = _broadcast(_reshape(places, shape=(batch, count, 1)), shape=wide)
    return _take_along(rows, index, axis=1)


def _infer_encode(
    samples: TensorType,
    matches: TensorType,
    anchors: TensorType,
    refs: TensorType,
    means: TensorType,
    stds: TensorType,
) -> tuple[TensorType, TensorType]:
    check(
        samples.ndim == 2 and matches.shape == samples.shape,
        "box_encode",
        f"samples and matches: expected one shape (batch, boxes); given {samples.shape} and "
        f"{matches.shape}",
    )
    check(
        anchors.shape == (*samples.shape, 4),
        "box_encode",
        f"anchors: expected shape {(*samples.shape, 4)}, the corners of each box; given "
        f"{anchors.shape}",
    )
    check(
        refs.ndim == 3 and refs.shape[0] == samples.shape[0] and refs.shape[2] == 4,
        "box_encode",
        f"refs: expected shape ({samples.shape[0]}, boxes, 4), corners; given {refs.shape}",
    )
    for name, given in (("means", means), ("stds", stds)):
        check(
            given.shape == (4,),
            "box_encode",
            f"{name}: expected four numbers, of x, y, width and height; given shape {given.shape}",
        )
    return TensorType(anchors.shape, anchors.dtype), TensorType(anchors.shape, anchors.dtype)


def _matched(
    samples: TensorType, matches: TensorType, anchors: TensorType, refs: TensorType, *_: TensorType
) -> Positions:
    return Positions(refs.shape[1], 1, ignored=-1.0)


def _decompose_encode(
    samples: Any, matches: Any, anchors: Any, refs: Any, means: Any, stds: Any
) -> Any:
    if not refs.shape[1]:
        nothing = _full(shape=anchors.shape, value=0, dtype=anchors.dtype.name)
        return nothing, nothing
    own, other = centers(columns_of(anchors)), centers(columns_of(rows_at(refs, matches)))
    parts = [(other[i] - own[i]) / own[i + 2] for i in (0, 1)]
    parts += [log(other[i] / own[i]) for i in (2, 3)]
    chosen = _reshape(greater(samples, 0.5), shape=(*samples.shape, 1))
    mask = _broadcast(chosen, shape=anchors.shape)
    return select(mask, (concat(*parts, dim=2) - means) / stds, 0), mask


def _encode_oracle(
    samples: np.ndarray,
    matches: np.ndarray,
    anchors: np.ndarray,
    refs: np.ndarray,
    means: np.ndarray,
    stds: np.ndarray,
) -> Any:
    if not refs.shape[1]:
        return np.zeros_like(anchors), np.zeros_like(anchors)
    places = matches.astype(int).clip(0, refs.shape[1] - 1)
    found = np.take_along_axis(refs, places[..., None], 1)

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x[..., :2] + x[..., 2:]) / 2, x[..., 2:] - x[..., :2]

    (own, size), (other, wanted) = split(anchors), split(found)
    both = np.concatenate([(other - own) / size, np.log(wanted / size)], -1)
    mask = np.broadcast_to(samples[..., None] > 0.5, anchors.shape)
    return np.where(mask, (both - means) / stds, 0).astype(anchors.dtype), mask.astype(
        anchors.dtype
    )


_ANCHORS = np.array([[[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.6, 0.8], [0, 0, 1, 1]]], np.float32)
_REFS = np.array([[[0.1, 0.2, 0.3, 0.4], [0.3, 0.1, 0.9, 0.7]]], np.float32)
_SAMPLES = np.array([[1, -1, 1]], np.float32)
_MATCHES = np.array([[0, 0, 1]], np.float32)

box_encode = composite(
    "_contrib_box_encode",
    _decompose_encode,
    operands="samples matches anchors refs means stds",
    infer=_infer_encode,
    dtypes={"samples anchors refs means stds": "f"},
    outputs=2,
    differentiable=False,
    numpy=_encode_oracle,
    indices={"matches": _matched},
    tolerance={"float32": 1e-5},
    samples=(
        (
            _SAMPLES,
            _MATCHES,
            _ANCHORS,
            _REFS,
            np.zeros(4, np.float32),
            np.array([0.1, 0.1, 0.2, 0.2], np.float32),
            {},
        ),
        (
            _SAMPLES[:, :0],
            _MATCHES[:, :0],
            _ANCHORS[:, :0],
            _REFS,
            np.ones(4, np.float32),
            np.ones(4, np.float32),
            {},
        ),
    ),
    doc="""Boxes as numbers relative to the anchors that should predict them. Two results, both
    (batch, anchors, 4): offsets of the middle in extents of the anchor and logarithms of the ratio
    of extents, and 1 where they count.

    Parameters: `samples` (batch, anchors), above 0.5 where a box is to be predicted; `matches`
    (batch, anchors), which of `refs` (batch, boxes, 4) it is; `anchors` (batch, anchors, 4), both
    by their corners; `means` which are subtracted, and `stds` by which the rest is divided, four
    numbers each.

    >>> one = nd.array([[1]])
    >>> anchors, refs = nd.array([[[0, 0, 2, 2]]]), nd.array([[[1, 0, 3, 2]]])
    >>> offsets, mask = nd.contrib.box_encode(
    ...     one, one * 0, anchors, refs, nd.zeros(4), nd.array([0.1, 0.1, 0.2, 0.2]))
    >>> offsets.asnumpy(), mask.asnumpy()
    (array([[[5., 0., 0., 0.]]], dtype=float32), array([[[1., 1., 1., 1.]]], dtype=float32))
    """,
)


class BoxDecodeAttrs(Frozen):
    std0: float = 1.0
    std1: float = 1.0
    std2: float = 1.0
    std3: float = 1.0
    clip: float = -1.0
    format: str = "center"


def _infer_decode(attrs: BoxDecodeAttrs, data: TensorType, anchors: TensorType) -> TensorType:
    check_format("box_decode", "format", attrs.format)
    check(
        data.ndim == 3 and data.shape[2] == 4,
        "box_decode",
        f"data: expected shape (batch, boxes, 4); given {data.shape}",
    )
    check(
        anchors.shape == (1, *data.shape[1:]),
        "box_decode",
        f"anchors: expected shape {(1, *data.shape[1:])}; given {anchors.shape}",
    )
    return TensorType(data.shape, data.dtype)


def _decompose_decode(attrs: BoxDecodeAttrs, data: Any, anchors: Any) -> Any:
    scales = (attrs.std0, attrs.std1, attrs.std2, attrs.std3)
    own = columns_of(anchors)
    own = centers(own) if attrs.format == "corner" else own
    given = [part * scale for part, scale in zip(columns_of(data), scales, strict=True)]
    middle = [given[i] * own[i + 2] + own[i] for i in (0, 1)]
    powers = [minimum(given[i], attrs.clip) if attrs.clip > 0 else given[i] for i in (2, 3)]
    half = [exp(power) * own[i] / 2 for power, i in zip(powers, (2, 3), strict=True)]
    return concat(
        *(middle[i] - half[i] for i in (0, 1)), *(middle[i] + half[i] for i in (0, 1)), dim=2
    )


def _decode_oracle(data: np.ndarray, anchors: np.ndarray, **fields: Any) -> Any:
    attrs = BoxDecodeAttrs(**fields)
    first, last = anchors[..., :2], anchors[..., 2:]
    own, size = ((first + last) / 2, last - first) if attrs.format == "corner" else (first, last)
    given = data * np.array([attrs.std0, attrs.std1, attrs.std2, attrs.std3], data.dtype)
    middle = given[..., :2] * size + own
    powers = np.minimum(given[..., 2:], attrs.clip) if attrs.clip > 0 else given[..., 2:]
    half = np.exp(powers) * size / 2
    return np.concatenate([middle - half, middle + half], -1).astype(data.dtype)


box_decode = composite(
    "_contrib_box_decode",
    _decompose_decode,
    operands="data anchors",
    attrs=BoxDecodeAttrs,
    infer=_infer_decode,
    dtypes="f",
    differentiable=False,
    numpy=_decode_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((2, 3, 4), (1, 3, 4), {}),
        ((1, 3, 4), _ANCHORS, {"format": "corner", "clip": 0.5, "std0": 0.1, "std3": 0.2}),
        ((2, 0, 4), (1, 0, 4), {}),
    ),
    doc="""Boxes, by their corners, from numbers relative to anchors: what undoes `box_encode`
    without means.

    Parameters: `data` (batch, boxes, 4), which `std0` to `std3` (default 1) are multiplied with;
    `anchors` (1, boxes, 4), whose `format` is "center" (default: x, y, width, height) or "corner"
    (x1, y1, x2, y2); `clip`, if above 0, the largest logarithm of a ratio of extents.

    >>> anchors = nd.array([[[0, 0, 2, 2]]])
    >>> nd.contrib.box_decode(nd.array([[[0.5, 0, 0, 0]]]), anchors, format="corner").asnumpy()
    array([[[1., 0., 3., 2.]]], dtype=float32)
    """,
)
