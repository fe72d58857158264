"""Detection by boxes at all places (Liu et al. 2016, "SSD"): anchors, what they should predict, and
the boxes that predictions mean."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.arithmetic import add, maximum
from tigon.ops.primitive.choose import cast, clip, select, where
from tigon.ops.primitive.compare import (
    equal,
    greater,
    greater_equal,
    lesser,
    logical_and,
    logical_or,
)
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import exp, log
from tigon.ops.primitive.gather import _take_along
from tigon.ops.primitive.reduce import _reduce_max, _reduce_sum
from tigon.ops.primitive.scan import cumsum
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import Work, composite
from tigon.ops.tensor.join import concat, stack
from tigon.ops.tensor.order import inverse, order
from tigon.ops.tensor.reduce import argmax
from tigon.ops.tensor.slice import slice_axis
from tigon.ops.vision.boxes import centers, columns_of, overlap, overlap_oracle, rows_at
from tigon.ops.vision.suppression import (
    best_pairs,
    minimum_of,
    pairs_oracle,
    surviving,
    surviving_oracle,
)

# ----------------------------------------------------------------------------------- anchors


class PriorAttrs(Frozen):
    sizes: tuple[float, ...] = (1.0,)
    ratios: tuple[float, ...] = (1.0,)
    clip: bool = False
    steps: tuple[float, ...] = (-1.0, -1.0)
    offsets: tuple[float, ...] = (0.5, 0.5)


def _check_prior(attrs: PriorAttrs, shape: tuple[int, ...]) -> None:
    def expect(condition: object, message: str) -> None:
        check(condition, "MultiBoxPrior", message)

    expect(
        len(shape) == 4,
        f"data: expected shape (batch, channels, height, width); given {shape}",
    )
    for name in ("sizes", "ratios"):
        numbers = getattr(attrs, name)
        expect(
            numbers and min(numbers) > 0,
            f"{name}: expected positive numbers, at least one; given {numbers}",
        )
    for name in ("steps", "offsets"):
        numbers = getattr(attrs, name)
        expect(len(numbers) == 2, f"{name}: expected two numbers, of y and x; given {numbers}")
    expect(
        min(attrs.steps) > 0 or max(attrs.steps) < 0,
        f"steps: expected two positive numbers, or (-1, -1) for those between the places of data; "
        f"given {attrs.steps}",
    )


def _halves(attrs: PriorAttrs) -> np.ndarray:
    """Half the width (of a square picture) and height of each box at a place: all sizes in the
    first ratio, then the first size in the other ratios."""
    first = [(size, attrs.ratios[0]) for size in attrs.sizes]
    shapes = first + [(attrs.sizes[0], ratio) for ratio in attrs.ratios[1:]]
    return np.array([(size * sqrt(ratio) / 2, size / sqrt(ratio) / 2) for size, ratio in shapes])


def _decompose_prior(attrs: PriorAttrs, data: Any) -> Any:
    _check_prior(attrs, data.shape)
    height, width = data.shape[2:]
    if not height or not width:
        return _full(shape=(1, 0, 4), value=0, dtype=data.dtype.name)
    halves = _halves(attrs)
    kinds, dtype = len(halves), data.dtype.name
    steps = attrs.steps if attrs.steps[0] > 0 else (1 / height, 1 / width)

    def middle(extent: int, axis: int, which: int) -> Any:
        shape = tuple(extent if i == axis else 1 for i in range(3))
        places = _iota(shape=shape, axis=axis, dtype="int32")
        return (cast(places, dtype=dtype) + attrs.offsets[which]) * steps[which]

    y, x = middle(height, 0, 0), middle(width, 1, 1)
    half_x, half_y = (constant(halves[:, i].reshape(1, 1, kinds), dtype) for i in (0, 1))
    half_x = half_x * (height / width)
    sides = [x - half_x, y - half_y, x + half_x, y + half_y]
    whole = [_broadcast(side, shape=(height, width, kinds)) for side in sides]
    boxes = _reshape(stack(*whole, axis=3), shape=(1, height * width * kinds, 4))
    return clip(boxes, a_min=0, a_max=1) if attrs.clip else boxes


def _prior_oracle(data: np.ndarray, **fields: Any) -> Any:
    attrs = PriorAttrs(**fields)
    height, width = data.shape[2:]
    if not height or not width:
        return np.zeros((1, 0, 4), data.dtype)
    steps = attrs.steps if attrs.steps[0] > 0 else (1 / height, 1 / width)
    found = []
    for row in range(height):
        for column in range(width):
            y, x = (row + attrs.offsets[0]) * steps[0], (column + attrs.offsets[1]) * steps[1]
            for half_x, half_y in _halves(attrs):
                half_x = half_x * height / width
                found.append([x - half_x, y - half_y, x + half_x, y + half_y])
    boxes = np.array(found, data.dtype)[None]
    return np.clip(boxes, 0, 1) if attrs.clip else boxes


multibox_prior = composite(
    "_contrib_MultiBoxPrior",
    _decompose_prior,
    attrs=PriorAttrs,
    dtypes="f",
    differentiable=False,
    numpy=_prior_oracle,
    samples=(
        ((2, 1, 3, 4), {"sizes": (0.5, 0.2), "ratios": (1, 2, 0.5)}),
        ((1, 3, 2, 2), {}),
        ((1, 1, 1, 2), {"sizes": (2.0,), "ratios": (2.0, 1.0), "clip": True}),
        ((1, 1, 2, 1), {"sizes": (0.5,), "steps": (0.5, 0.25), "offsets": (0, 0)}),
        ((1, 1, 0, 2), {}),
    ),
    doc="""Boxes of several shapes around every place of a picture (anchors): (1, boxes, 4) by
    their corners, of the picture's extents; at each place sizes + ratios - 1 of them.

    Parameters: `data` (batch, channels, height, width), of which only the extents count; `sizes`
    of boxes relative to the height, in the first of the `ratios` (width to height); the first size
    comes in all ratios; `clip` cuts boxes at the borders; `steps` between places in y and x
    (default (-1, -1): so that they fill the picture); `offsets` of the first place in steps
    (default (0.5, 0.5)).

    >>> nd.contrib.MultiBoxPrior(nd.zeros((1, 3, 1, 2)), sizes=(0.5, 0.25), ratios=(1, 2)).shape
    (1, 6, 4)
    >>> nd.contrib.MultiBoxPrior(nd.zeros((1, 3, 1, 1)), sizes=(0.5,)).asnumpy()
    array([[[0.25, 0.25, 0.75, 0.75]]], dtype=float32)
    """,
)

# ----------------------------------------------------------------------------------- targets

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def check_variances(where: str, given: tuple[float, ...]) -> None:
    check(
        len(given) == 4 and min(given) > 0,
        where,
        f"variances: expected four positive numbers, of x, y, width and height; given {given}",
    )


class TargetAttrs(Frozen):
    overlap_threshold: float = 0.5
    ignore_label: float = -1.0
    negative_mining_ratio: float = -1.0
    negative_mining_thresh: float = 0.5
    minimum_negative_samples: int = 0
    variances: tuple[float, ...] = VARIANCES


def _infer_target(
    attrs: TargetAttrs, anchor: TensorType, label: TensorType, cls_pred: TensorType
) -> tuple[TensorType, ...]:
    check_variances("MultiBoxTarget", attrs.variances)
    _check_anchors("MultiBoxTarget", anchor)
    anchors = anchor.shape[1]
    check(
        label.ndim == 3 and label.shape[2] >= 5,
        "MultiBoxTarget",
        "label: expected (batch, labels, 5): class and corners x1, y1, x2, y2 of each, and rows of "
        f"-1 behind the last; given shape {label.shape}",
    )
    batch = label.shape[0]
    check(
        cls_pred.ndim == 3 and cls_pred.shape[0] == batch and cls_pred.shape[2] == anchors,
        "MultiBoxTarget",
        f"cls_pred: expected (batch {batch}, classes, anchors {anchors}); given shape "
        f"{cls_pred.shape}; transpose it, axes=(0, 2, 1)?",
    )
    check(
        attrs.negative_mining_ratio <= 0 or cls_pred.shape[1],
        "MultiBoxTarget",
        f"cls_pred: expected scores of at least the background; given shape {cls_pred.shape}",
    )
    wide = TensorType((batch, anchors * 4), anchor.dtype)
    return wide, wide, TensorType((batch, anchors), anchor.dtype)


def _check_anchors(where: str, anchor: TensorType) -> None:
    check(
        anchor.ndim == 3 and anchor.shape[0] == 1 and anchor.shape[2] == 4,
        where,
        f"anchor: expected (1, anchors, 4), as MultiBoxPrior gives; given shape {anchor.shape}",
    )


def _decompose_target(attrs: TargetAttrs, anchor: Any, label: Any, cls_pred: Any) -> Any:
    _, anchors, _ = anchor.shape
    batch, labels, _ = label.shape
    dtype = anchor.dtype.name
    if not (batch and anchors and labels):
        nothing = _full(shape=(batch, anchors * 4), value=0, dtype=dtype)
        none = _full(shape=(batch, anchors), value=attrs.ignore_label, dtype=dtype)
        return nothing, nothing, none
    classes = _reshape(slice_axis(label, axis=2, begin=0, end=1), shape=(batch, labels))
    # Behind the first label of class -1 there are none.
    there = equal(cumsum(equal(classes, -1), axis=1), 0)
    own = [_reshape(part, shape=(1, anchors, 1)) for part in columns_of(anchor)]
    boxes = [_reshape(part, shape=(batch, 1, labels)) for part in columns_of(label, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (own, boxes)]
    shared = overlap(own, boxes, (areas[0], areas[1]))
    shared = select(_reshape(there, shape=(batch, 1, labels)), shared, -1)
    most = _reduce_max(_reduce_sum(there, axes=(1,)), axes=(0,))
    paired, _ = best_pairs(shared, 1e-6, minimum_of(anchors, labels), most)
    best = _reduce_max(shared, axes=(2,))
    nearest = cast(argmax(shared, axis=2), dtype="int64")
    near = greater(best, attrs.overlap_threshold if attrs.overlap_threshold > 0 else 2.0)
    in_pair = greater_equal(paired, 0)
    positive = logical_or(cast(in_pair, dtype=dtype), near)
    match = where(in_pair, paired, nearest)
    if attrs.negative_mining_ratio > 0:
        chosen = _mined(attrs, cls_pred, positive, best)
    else:
        chosen = 1 - positive
    known = cast(greater(_reduce_sum(there, axes=(1,)), 0), dtype=dtype)
    known = _reshape(known, shape=(batch, 1))
    positive = positive * known
    kind = add(_take_along(classes, match, axis=1), 1)
    ignored = _full(shape=(batch, anchors), value=attrs.ignore_label, dtype=dtype)
    cls_target = select(positive, kind, select(chosen * known, 0, ignored))
    offsets = _offsets(
        attrs.variances, anchor, rows_at(slice_axis(label, axis=2, begin=1, end=5), match)
    )
    wide = (batch, anchors * 4)
    mask = _broadcast(_reshape(positive, shape=(batch, anchors, 1)), shape=(batch, anchors, 4))
    loc_target = select(mask, offsets, 0)
    return _reshape(loc_target, shape=wide), _reshape(mask, shape=wide), cls_target


def _mined(attrs: TargetAttrs, cls_pred: Any, positive: Any, best: Any) -> Any:
    """Of what overlaps no label much, those that look least like background."""
    batch, anchors = positive.shape
    top = _reduce_max(cls_pred, axes=(1,))
    background = _reshape(slice_axis(cls_pred, axis=1, begin=0, end=1), shape=(batch, anchors))
    powers = exp(cls_pred - _reshape(top, shape=(batch, 1, anchors)))
    chance = exp(background - top) / _reduce_sum(powers, axes=(1,))
    candidate = logical_and(1 - positive, lesser(best, attrs.negative_mining_thresh))
    place = inverse(order(select(candidate, chance, 2), 1, True), 1)
    count = _reduce_sum(positive, axes=(1,)) * attrs.negative_mining_ratio
    wanted = maximum(cast(count, dtype="int64"), attrs.minimum_negative_samples)
    first = lesser(place, _reshape(wanted, shape=(batch, 1)))
    return logical_and(candidate, cast(first, dtype=positive.dtype.name))


def _offsets(variances: tuple[float, ...], anchor: Any, boxes: Any) -> Any:
    """Boxes (batch, n, 4) as numbers relative to anchors; of those without extents no matter
    what."""
    own, other = centers(columns_of(anchor)), centers(columns_of(boxes))
    parts = [(other[i] - own[i]) / own[i + 2] / variances[i] for i in (0, 1)]
    parts += [log(other[i] / own[i]) / variances[i] for i in (2, 3)]
    return concat(*parts, dim=2)


def _target_oracle(
    anchor: np.ndarray, label: np.ndarray, cls_pred: np.ndarray, **fields: Any
) -> Any:
    attrs = TargetAttrs(**fields)
    count, dtype = anchor.shape[1], anchor.dtype
    target = np.zeros((len(label), count, 4), dtype)
    mask = np.zeros((len(label), count, 4), dtype)
    kinds = np.full((len(label), count), attrs.ignore_label, dtype)
    for n, rows in enumerate(label):
        ends = np.flatnonzero(rows[:, 0] == -1)
        rows = rows[: ends[0]] if len(ends) else rows
        if not len(rows) or not count:
            continue
        shared = overlap_oracle(anchor[0][:, None], rows[None, :, 1:5])
        match, _ = pairs_oracle(shared, 1e-6, len(rows))
        positive = match >= 0
        best = shared.max(1)
        if attrs.overlap_threshold > 0:
            positive |= best > attrs.overlap_threshold
        match = np.where(match >= 0, match, shared.argmax(1))
        negative = ~positive
        if attrs.negative_mining_ratio > 0:
            powers = np.exp(cls_pred[n] - cls_pred[n].max(0))
            chance = powers[0] / powers.sum(0, dtype=dtype)
            candidates = np.flatnonzero(negative & (best < attrs.negative_mining_thresh))
            wanted = int(positive.sum() * dtype.type(attrs.negative_mining_ratio))
            wanted = max(wanted, attrs.minimum_negative_samples)
            hardest = candidates[np.argsort(chance[candidates], kind="stable")][:wanted]
            negative = np.isin(np.arange(count), hardest)
        kinds[n][negative] = 0
        kinds[n][positive] = rows[match[positive], 0] + 1
        mask[n][positive] = 1
        a, b = anchor[0][positive], rows[match[positive], 1:5]
        size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
        moved = ((b[:, :2] + b[:, 2:]) / 2 - (a[:, :2] + a[:, 2:]) / 2) / size_a
        both = np.concatenate([moved, np.log(size_b / size_a)], 1)
        target[n][positive] = both / np.array(attrs.variances, dtype)
    wide = (len(label), count * 4)
    return target.reshape(wide), mask.reshape(wide), kinds


_ANCHORS = np.array(
    [[[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.6, 0.6], [0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]]],
    np.float32,
)
_LABELS = np.array(
    [
        [[1, 0.2, 0.2, 0.5, 0.6], [-1, -1, -1, -1, -1], [0, 0.1, 0.1, 0.3, 0.3]],
        [[0, 0.1, 0.1, 0.3, 0.35], [1, 0.5, 0.55, 0.9, 0.9], [2, 0.55, 0.5, 0.9, 0.85]],
        [[-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1]],
    ],
    np.float32,
)

multibox_target = composite(
    "_contrib_MultiBoxTarget",
    _decompose_target,
    operands="anchor label cls_pred",
    attrs=TargetAttrs,
    infer=_infer_target,
    dtypes="f",
    outputs=3,
    differentiable=False,
    work=Work.PRODUCT,
    numpy=_target_oracle,
    tolerance={"float32": 2e-5},
    samples=(
        (_ANCHORS, _LABELS, (3, 3, 4), {}),
        (
            _ANCHORS,
            _LABELS,
            (3, 3, 4),
            {
                "negative_mining_ratio": 1.0,
                "negative_mining_thresh": 0.6,
                "overlap_threshold": 0.3,
                "variances": (0.1, 0.2, 0.3, 0.4),
                "ignore_label": -2.0,
            },
        ),
        (_ANCHORS, _LABELS, (3, 2, 4), {"overlap_threshold": 0.0}),
        (
            _ANCHORS,
            _LABELS,
            (3, 2, 4),
            {"negative_mining_ratio": 0.1, "minimum_negative_samples": 2},
        ),
        (_ANCHORS[:, :0], _LABELS, (3, 2, 0), {}),
        (_ANCHORS, _LABELS[:, :0], (3, 2, 4), {}),
    ),
    doc="""What anchors should predict, given the boxes that are in a picture. Three results:
    offsets of their boxes (batch, 4 · anchors), 1 where these count (the same shape), and classes
    (batch, anchors), of which 0 is the background.

    Labels choose anchors first, the pair that overlaps most before all others; then each anchor
    that overlaps some label by more than `overlap_threshold` takes the one that it overlaps most.

    Parameters: `anchor` (1, anchors, 4) from `MultiBoxPrior`; `label` (batch, labels, 5), class and
    corners, behind the last of them rows of -1; `cls_pred` (batch, classes, anchors), scores that
    only mining reads. With a `negative_mining_ratio` above 0 not all other anchors are background:
    so many times as there are matched ones (`minimum_negative_samples` at least), those that look
    least like it, if they overlap labels by less than `negative_mining_thresh`; the rest has the
    class `ignore_label` (default -1), as all have where there is no label. Offsets are divided by
    `variances`.

    >>> anchors = nd.array([[[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.6, 0.6]]])
    >>> label = nd.array([[[1, 0.2, 0.2, 0.5, 0.6]]])
    >>> offset, mask, kind = nd.contrib.MultiBoxTarget(anchors, label, nd.zeros((1, 3, 2)))
    >>> kind.asnumpy(), mask.asnumpy()
    (array([[0., 2.]], dtype=float32), array([[0., 0., 0., 0., 1., 1., 1., 1.]], dtype=float32))
    """,
)

# ---------------------------------------------------------------------------------- detection


class DetectionAttrs(Frozen):
    clip: bool = True
    threshold: float = 0.01
    background_id: int = 0
    nms_threshold: float = 0.5
    force_suppress: bool = False
    variances: tuple[float, ...] = VARIANCES
    nms_topk: int = -1


def _infer_detection(
    attrs: DetectionAttrs, cls_prob: TensorType, loc_pred: TensorType, anchor: TensorType
) -> TensorType:
    check_variances("MultiBoxDetection", attrs.variances)
    _check_anchors("MultiBoxDetection", anchor)
    anchors = anchor.shape[1]
    check(
        cls_prob.ndim == 3 and cls_prob.shape[1] >= 1 and cls_prob.shape[2] == anchors,
        "MultiBoxDetection",
        f"cls_prob: expected (batch, classes, anchors {anchors}), class 0 the background; given "
        f"shape {cls_prob.shape}; transpose it, axes=(0, 2, 1)?",
    )
    batch = cls_prob.shape[0]
    check(
        loc_pred.shape == (batch, anchors * 4),
        "MultiBoxDetection",
        f"loc_pred: expected shape {(batch, anchors * 4)}, four numbers for each anchor; given "
        f"{loc_pred.shape}; reshape it, shape=(0, -1)?",
    )
    return TensorType((batch, anchors, 6), cls_prob.dtype)


def _decompose_detection(attrs: DetectionAttrs, cls_prob: Any, loc_pred: Any, anchor: Any) -> Any:
    batch, classes, anchors = cls_prob.shape
    dtype = cls_prob.dtype.name
    if classes == 1 or not anchors:
        return _full(shape=(batch, anchors, 6), value=-1, dtype=dtype)
    foreground = slice_axis(cls_prob, axis=1, begin=1, end=classes)
    score = _reduce_max(foreground, axes=(1,))
    kind = argmax(foreground, axis=1)
    valid = logical_and(greater(score, -1), greater_equal(score, attrs.threshold))
    boxes = _boxes_of(attrs, loc_pred, anchor)
    lead = [_reshape(part, shape=(batch, anchors, 1)) for part in (cast(kind, dtype=dtype), score)]
    rows = concat(*lead, boxes, dim=2)
    rows = rows_at(rows, order(valid, 1, False))  # those that are valid in front
    count = _reshape(_reduce_sum(cast(valid, dtype="int64"), axes=(1,)), shape=(batch, 1))
    line = _iota(shape=(1, anchors), axis=1)
    among = cast(lesser(line, count), dtype=dtype)

    def column(x: Any, place: int) -> Any:
        return _reshape(slice_axis(x, axis=2, begin=place, end=place + 1), shape=(batch, anchors))

    if 0 < attrs.nms_threshold <= 1:
        left = among
        best = rows_at(rows, order(select(among, column(rows, 1), -2), 1, False))
        if 0 < attrs.nms_topk < anchors:
            first = lesser(line, attrs.nms_topk)
            left = logical_and(among, cast(first, dtype=dtype))
            best = where(_reshape(first, shape=(1, anchors, 1)), best, rows)
        alive = surviving(
            [column(best, 2 + i) for i in range(4)],
            left,
            attrs.nms_threshold,
            None if attrs.force_suppress else column(best, 0),
            inclusive=True,
        )
        own = select(alive, column(best, 0), -1)
        rows = concat(
            _reshape(own, shape=(batch, anchors, 1)),
            slice_axis(best, axis=2, begin=1, end=6),
            dim=2,
        )
    return select(_reshape(among, shape=(batch, anchors, 1)), rows, -1)


def _boxes_of(attrs: DetectionAttrs, loc_pred: Any, anchor: Any) -> Any:
    batch, anchors = loc_pred.shape[0], anchor.shape[1]
    own = centers(columns_of(anchor))
    given = columns_of(_reshape(loc_pred, shape=(batch, anchors, 4)))
    middle = [given[i] * attrs.variances[i] * own[i + 2] + own[i] for i in (0, 1)]
    half = [exp(given[i] * attrs.variances[i]) * own[i] / 2 for i in (2, 3)]
    sides = [middle[i] - half[i] for i in (0, 1)] + [middle[i] + half[i] for i in (0, 1)]
    boxes = concat(*sides, dim=2)
    return clip(boxes, a_min=0, a_max=1) if attrs.clip else boxes


def _detection_oracle(
    cls_prob: np.ndarray, loc_pred: np.ndarray, anchor: np.ndarray, **fields: Any
) -> Any:
    attrs = DetectionAttrs(**fields)
    batch, classes, count = cls_prob.shape
    result = np.full((batch, count, 6), -1, cls_prob.dtype)
    if classes == 1 or not count:
        return result
    a, b = anchor[0][:, :2], anchor[0][:, 2:]
    scale = np.array(attrs.variances, cls_prob.dtype)
    for n in range(batch):
        kinds, scores = cls_prob[n, 1:].argmax(0), cls_prob[n, 1:].max(0)
        given = loc_pred[n].reshape(count, 4) * scale
        middle = given[:, :2] * (b - a) + (a + b) / 2
        half = np.exp(given[:, 2:]) * (b - a) / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        boxes = np.clip(boxes, 0, 1) if attrs.clip else boxes
        valid = (scores > -1) & (scores >= attrs.threshold)
        rows = np.concatenate([kinds[:, None], scores[:, None], boxes], 1)[valid]
        rows = rows.astype(cls_prob.dtype)
        if 0 < attrs.nms_threshold <= 1:
            most = min(attrs.nms_topk, len(rows)) if attrs.nms_topk > 0 else len(rows)
            best = rows.copy()
            best[:most] = rows[np.argsort(-rows[:, 1], kind="stable")[:most]]
            own = None if attrs.force_suppress else best[:most, 0]
            kept = surviving_oracle(best[:most, 2:], attrs.nms_threshold, own, inclusive=True)
            gone = ~np.isin(np.arange(len(rows)), kept)
            best[gone, 0] = -1
            rows = best
        result[n, : len(rows)] = rows
    return result


_PROBABILITIES = np.array(
    [[[0.2, 0.1, 0.6, 0.3], [0.7, 0.8, 0.25, 0.1], [0.1, 0.1, 0.15, 0.6]]], np.float32
)

multibox_detection = composite(
    "_contrib_MultiBoxDetection",
    _decompose_detection,
    operands="cls_prob loc_pred anchor",
    attrs=DetectionAttrs,
    infer=_infer_detection,
    dtypes="f",
    differentiable=False,
    work=Work.PAIRS,
    numpy=_detection_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        (_PROBABILITIES, (1, 16), _ANCHORS, {"nms_threshold": 0.05}),
        (_PROBABILITIES, (1, 16), _ANCHORS, {"nms_topk": 2, "threshold": 0.3, "clip": False}),
        (
            _PROBABILITIES,
            (1, 16),
            _ANCHORS,
            {"force_suppress": True, "nms_threshold": 0.1, "variances": (0.2, 0.1, 0.2, 0.1)},
        ),
        (_PROBABILITIES, (1, 16), _ANCHORS, {"nms_threshold": -1.0}),
        (_PROBABILITIES[:, :1], (1, 16), _ANCHORS, {}),
        (_PROBABILITIES[:, :, :0], (1, 0), _ANCHORS[:, :0], {}),
    ),
    doc="""The boxes that predictions mean: (batch, anchors, 6), for each box its class, its score
    and its corners; best first, and behind them rows of -1. The class of a box is -1 where a better
    one that overlaps it was kept.

    Parameters: `cls_prob` (batch, classes, anchors), class 0 the background; classes of the result
    are counted from 0 without it. `loc_pred` (batch, 4 · anchors), offsets as `MultiBoxTarget`
    gives them; `anchor` (1, anchors, 4). Boxes of a score below `threshold` (default 0.01) are left
    out; `nms_threshold` (default 0.5; not from 0 to 1: nothing is taken away) is how much a box may
    share with a better one of its class, or, under `force_suppress`, of any; behind the best
    `nms_topk` all are taken away (default -1: none). `clip` cuts boxes at the borders; `variances`
    scale offsets. `background_id` is read by nobody, as in MXNet.

    >>> anchors = nd.array([[[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.6, 0.6]]])
    >>> scores = nd.array([[[0.2, 0.1], [0.7, 0.9]]])
    >>> nd.contrib.MultiBoxDetection(scores, nd.zeros((1, 8)), anchors).asnumpy().round(2)
    array([[[0. , 0.9, 0.2, 0.2, 0.6, 0.6],
            [0. , 0.7, 0.1, 0.1, 0.3, 0.3]]], dtype=float32)
    """,
)
