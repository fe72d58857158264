"""Regions that a network proposes (Ren et al. 2015, "Faster R-CNN")."""

from __future__ import annotations

from math import floor, sqrt
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.arithmetic import floor as whole_part
from tigon.ops.primitive.arithmetic import maximum, minimum, modulo
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import greater_equal, lesser, logical_or
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import exp
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape, transpose
from tigon.ops.record import Work, composite
from tigon.ops.tensor.join import concat
from tigon.ops.tensor.order import order
from tigon.ops.tensor.slice import slice_axis
from tigon.ops.vision.boxes import columns_of, rows_at
from tigon.ops.vision.suppression import minimum_of, surviving, surviving_oracle


class ProposalAttrs(Frozen):
    rpn_pre_nms_top_n: int = 6000
    rpn_post_nms_top_n: int = 300
    threshold: float = 0.7
    rpn_min_size: int = 16
    scales: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    feature_stride: int = 16
    output_score: bool = False
    iou_loss: bool = False


def _check_attributes(where: str, attrs: ProposalAttrs) -> None:
    for name in ("scales", "ratios"):
        numbers = getattr(attrs, name)
        check(
            numbers and min(numbers) > 0,
            where,
            f"{name}: expected positive numbers, at least one; given {numbers}",
        )
    for name in ("feature_stride", "rpn_post_nms_top_n"):
        number = getattr(attrs, name)
        check(number > 0, where, f"{name}: expected a number above 0; given {number}")


def _infer(where: str, single: bool) -> Any:
    def infer(
        attrs: ProposalAttrs, cls_prob: TensorType, bbox_pred: TensorType, im_info: TensorType
    ) -> Any:
        _check_attributes(where, attrs)
        kinds = len(attrs.scales) * len(attrs.ratios)
        check(
            cls_prob.ndim == 4 and cls_prob.shape[1] == 2 * kinds,
            where,
            f"cls_prob: expected (batch, {2 * kinds}, height, width), of each of {kinds} anchors "
            f"(scales times ratios) background and foreground; given shape {cls_prob.shape}",
        )
        batch, _, height, width = cls_prob.shape
        check(
            not single or batch == 1,
            where,
            f"cls_prob: expected one picture; given {batch}; use MultiProposal",
        )
        check(
            height * width > 0,
            where,
            f"cls_prob: expected at least one place; given shape {cls_prob.shape}",
        )
        expected = (batch, 4 * kinds, height, width)
        check(
            bbox_pred.shape == expected,
            where,
            f"bbox_pred: expected shape {expected}, four numbers for each anchor; given "
            f"{bbox_pred.shape}",
        )
        check(
            im_info.shape == (batch, 3),
            where,
            f"im_info: expected shape {(batch, 3)}, height, width and scale of each picture; given "
            f"{im_info.shape}",
        )
        rows = batch * attrs.rpn_post_nms_top_n
        found = TensorType((rows, 5), cls_prob.dtype)
        return (found, TensorType((rows, 1), cls_prob.dtype)) if attrs.output_score else found

    return infer


def _anchors(attrs: ProposalAttrs) -> np.ndarray:
    """Corners of the boxes around the first place, of all scales in the first ratio (height to
    width) first. Their extents are whole numbers times the scale."""
    stride = attrs.feature_stride
    middle = 0.5 * (stride - 1)
    found = []
    for ratio in attrs.ratios:
        width = floor(sqrt(floor(stride * stride / ratio)) + 0.5)
        height = floor(width * ratio + 0.5)
        for scale in attrs.scales:
            half = 0.5 * (width * scale - 1), 0.5 * (height * scale - 1)
            found.append([middle - half[0], middle - half[1], middle + half[0], middle + half[1]])
    return np.array(found)


def _decompose(attrs: ProposalAttrs, cls_prob: Any, bbox_pred: Any, im_info: Any) -> Any:
    batch, _, height, width = cls_prob.shape
    kinds = len(attrs.scales) * len(attrs.ratios)
    count = height * width * kinds
    dtype = cls_prob.dtype.name
    # Rows of boxes go over places, then over anchors.
    foreground = slice_axis(cls_prob, axis=1, begin=kinds, end=2 * kinds)
    score = _reshape(transpose(foreground, axes=(0, 2, 3, 1)), shape=(batch, count))
    given = _reshape(bbox_pred, shape=(batch, kinds, 4, height, width))
    deltas = _reshape(transpose(given, axes=(0, 3, 4, 1, 2)), shape=(batch, count, 4))
    parts = [_reshape(part, shape=(batch, count)) for part in columns_of(deltas)]
    high, wide, scale = columns_of(im_info, 0, 3)
    boxes = _clipped(_predicted(attrs, parts, (height, width), dtype), high, wide)
    beyond = logical_or(
        greater_equal(_place(height, 1, width, kinds, dtype), _cells(high, attrs)),
        greater_equal(_place(width, 2, height, kinds, dtype), _cells(wide, attrs)),
    )
    least = scale * attrs.rpn_min_size
    small = logical_or(
        lesser(boxes[2] - boxes[0] + 1, least), lesser(boxes[3] - boxes[1] + 1, least)
    )
    moved = select(small, _broadcast(least / 2, shape=(batch, count)), 0)
    boxes = [boxes[0] - moved, boxes[1] - moved, boxes[2] + moved, boxes[3] + moved]
    score = select(logical_or(beyond, small), -1, score)
    rows = concat(*(_reshape(part, shape=(batch, count, 1)) for part in (*boxes, score)), dim=2)
    before = attrs.rpn_pre_nms_top_n
    first = minimum_of(before, count) if before > 0 else count
    places = slice_axis(order(score, 1, False), axis=1, begin=0, end=first)
    best = rows_at(rows, places)
    alive = surviving(
        [_reshape(part, shape=(batch, first)) for part in columns_of(best)],
        _full(shape=(batch, first), value=1, dtype=dtype),
        attrs.threshold,
        beyond=1,
    )
    return _filled(attrs, best, alive)


def _filled(attrs: ProposalAttrs, best: Any, alive: Any) -> Any:
    """As many as are wanted of those that are left, the first ones again where there are fewer."""
    batch, first = alive.shape
    wanted = attrs.rpn_post_nms_top_n
    left = minimum(_reduce_sum(alive, axes=(1,)), minimum_of(wanted, first))
    numbers = modulo(
        _iota(shape=(1, wanted), axis=1), _reshape(cast(left, dtype="int64"), shape=(batch, 1))
    )
    found = rows_at(rows_at(best, order(alive, 1, False)), numbers)
    picture = cast(_iota(shape=(batch, 1, 1), axis=0), dtype=best.dtype.name)
    picture = _broadcast(picture, shape=(batch, wanted, 1))
    regions = concat(picture, slice_axis(found, axis=2, begin=0, end=4), dim=2)
    regions = _reshape(regions, shape=(batch * wanted, 5))
    if not attrs.output_score:
        return regions
    score = slice_axis(found, axis=2, begin=4, end=5)
    return regions, _reshape(score, shape=(batch * wanted, 1))


def _place(extent: int, axis: int, other: int, kinds: int, dtype: str) -> Any:
    """Of all boxes, the row (axis 1) or the column (axis 2): (1, boxes)."""
    line = _iota(
        shape=tuple(extent if i == axis else 1 for i in range(4)), axis=axis, dtype="int32"
    )
    shape = (1, extent, other, kinds) if axis == 1 else (1, other, extent, kinds)
    whole = _broadcast(cast(line, dtype=dtype), shape=shape)
    return _reshape(whole, shape=(1, extent * other * kinds))


def _cells(extent: Any, attrs: ProposalAttrs) -> Any:
    """Places that a picture covers: what is behind them is padding."""
    return _reshape(whole_part(extent / attrs.feature_stride), shape=(extent.shape[0], 1))


def _predicted(
    attrs: ProposalAttrs, deltas: list[Any], extents: tuple[int, int], dtype: str
) -> list[Any]:
    """Corners of all anchors moved and stretched as predicted."""
    height, width = extents
    base = _anchors(attrs)
    kinds = len(base)
    count = height * width * kinds
    down = _place(height, 1, width, kinds, dtype) * attrs.feature_stride
    across = _place(width, 2, height, kinds, dtype) * attrs.feature_stride
    anchors = []
    for i, moved in enumerate((across, down, across, down)):
        own = constant(base[:, i].reshape(1, 1, kinds), dtype)
        whole = _broadcast(own, shape=(1, height * width, kinds))
        anchors.append(_reshape(whole, shape=(1, count)) + moved)
    if attrs.iou_loss:
        return [anchor + delta for anchor, delta in zip(anchors, deltas, strict=True)]
    sizes = [anchors[i + 2] - anchors[i] + 1 for i in (0, 1)]
    middle = [deltas[i] * sizes[i] + (anchors[i] + 0.5 * (sizes[i] - 1)) for i in (0, 1)]
    half = [0.5 * (exp(deltas[i + 2]) * sizes[i] - 1) for i in (0, 1)]
    return [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]]


def _clipped(boxes: list[Any], high: Any, wide: Any) -> list[Any]:
    limits = (wide - 1, high - 1)
    return [maximum(minimum(side, limits[i % 2]), 0) for i, side in enumerate(boxes)]


def _oracle(cls_prob: np.ndarray, bbox_pred: np.ndarray, im_info: np.ndarray, **fields: Any) -> Any:
    attrs = ProposalAttrs(**fields)
    batch, _, height, width = cls_prob.shape
    kinds = len(_anchors(attrs))
    wanted, dtype = attrs.rpn_post_nms_top_n, cls_prob.dtype
    regions, scores = [], []
    places = np.array([[x, y, x, y] for y in range(height) for x in range(width)])
    base = _anchors(attrs)[None] + places[:, None] * attrs.feature_stride
    base = base.reshape(-1, 4).astype(dtype)
    row, column = (np.repeat(places[:, i], kinds) for i in (1, 0))
    for n in range(batch):
        score = cls_prob[n, kinds:].transpose(1, 2, 0).ravel().copy()
        delta = bbox_pred[n].reshape(kinds, 4, height, width).transpose(2, 3, 0, 1).reshape(-1, 4)
        high, wide, scale = im_info[n]
        if attrs.iou_loss:
            boxes = base + delta
        else:
            size = base[:, 2:] - base[:, :2] + 1
            middle = delta[:, :2] * size + (base[:, :2] + (size - 1) / 2)
            half = (np.exp(delta[:, 2:]) * size - 1) / 2
            boxes = np.concatenate([middle - half, middle + half], 1)
        boxes = np.clip(boxes, 0, np.array([wide, high, wide, high], dtype) - 1).astype(dtype)
        score[(row >= high // attrs.feature_stride) | (column >= wide // attrs.feature_stride)] = -1
        least = attrs.rpn_min_size * scale
        small = (boxes[:, 2:] - boxes[:, :2] + 1 < least).any(1)
        boxes[small] += np.array([-1, -1, 1, 1], dtype) * (least / 2)
        score[small] = -1
        best = np.argsort(-score, kind="stable")
        best = best[: attrs.rpn_pre_nms_top_n] if attrs.rpn_pre_nms_top_n > 0 else best
        kept = surviving_oracle(boxes[best], attrs.threshold, beyond=1)[:wanted]
        chosen = best[np.resize(kept, wanted)]
        regions.append(np.concatenate([np.full((wanted, 1), n, dtype), boxes[chosen]], 1))
        scores.append(score[chosen])
    found = np.concatenate(regions) if regions else np.zeros((0, 5), dtype)
    if not attrs.output_score:
        return found
    flat = np.concatenate(scores) if scores else np.zeros(0, dtype)
    return found, flat.reshape(-1, 1)


_INFO = np.array([[64, 48, 1], [40, 64, 0.5]], np.float32)
_SMALL = {
    "feature_stride": 16,
    "scales": (1.0, 2.0),
    "ratios": (0.5, 1.0),
    "rpn_post_nms_top_n": 5,
    "rpn_min_size": 4,
}


def _proposal(name: str, batch: int, pictures: str, number: str) -> Any:
    where = name.removeprefix("_contrib_")
    shapes = ((batch, 8, 4, 4), (batch, 16, 4, 4), _INFO[:batch])
    return composite(
        name,
        _decompose,
        operands="cls_prob bbox_pred im_info",
        attrs=ProposalAttrs,
        infer=_infer(where, batch == 1),
        dtypes="f",
        outputs=lambda attrs: 2 if attrs.output_score else 1,
        differentiable=False,
        work=Work.PAIRS,
        domain=(0.01, 0.99),
        numpy=_oracle,
        tolerance={"float32": 1e-5},
        samples=(
            (*shapes, {**_SMALL, "output_score": True, "threshold": 0.4}),
            (*shapes, {**_SMALL, "rpn_pre_nms_top_n": 7}),
            (*shapes, {**_SMALL, "iou_loss": True, "rpn_pre_nms_top_n": 0, "rpn_min_size": 30}),
        ),
        doc=f"""Regions of {pictures} where something seems to be: ({number}rpn_post_nms_top_n, 5),
    each with the number of its picture and its corners in pixels, best first, without those that
    overlap a better one; where there are fewer, they come again from the first on. With
    `output_score` the scores, ({number}rpn_post_nms_top_n, 1), are a second result.

    Parameters: `cls_prob` ({number}2 · anchors, height, width), all background scores first;
    `bbox_pred` ({number}4 · anchors, height, width), how anchors are moved, in their extents, and
    stretched, as logarithms (or, under `iou_loss`, what is added to their corners); `im_info`
    height, width and scale of each picture. Anchors at each place, `feature_stride` pixels apart,
    have all `scales` in all `ratios` of height to width. Of the best `rpn_pre_nms_top_n` (0: of
    all) those are taken away that share more than `threshold` with a better one; ones smaller than
    `rpn_min_size` times the scale have the score -1.

    >>> scores = nd.array([[[[0.1, 0.2]], [[0.9, 0.8]]]])
    >>> nd.contrib.{where}(scores, nd.zeros((1, 4, 1, 2)), nd.array([[16, 32, 1]]), scales=(1,),
    ...     ratios=(1,), rpn_post_nms_top_n=2).asnumpy()
    array([[ 0.,  0.,  0., 15., 15.],
           [ 0., 16.,  0., 31., 15.]], dtype=float32)
    """,
    )


proposal = _proposal("_contrib_Proposal", 1, "a picture", "1 · ")
multi_proposal = _proposal("_contrib_MultiProposal", 2, "pictures", "batch · ")
