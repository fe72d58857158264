"""Boxes that others make superfluous, and pairs of what belongs together: greedy choices, each of
which depends on those before it. They are loops over candidates (`_foreach`) that look at all
others at once, and go on for as many candidates as there are."""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.ir.graph import Graph, variable
from tigon.ops.primitive.arithmetic import floor_divide, maximum, minimum, negative
from tigon.ops.primitive.choose import cast, identity, select, stop_gradient, where
from tigon.ops.primitive.compare import (
    equal,
    greater,
    greater_equal,
    isnan,
    lesser,
    logical_and,
    not_equal,
)
from tigon.ops.primitive.control import _foreach
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import _take, _take_along
from tigon.ops.primitive.reduce import _reduce_max, _reduce_min, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _pad, _reshape
from tigon.ops.record import Work, composite
from tigon.ops.tensor.join import concat
from tigon.ops.tensor.order import order
from tigon.ops.tensor.slice import slice_axis
from tigon.ops.vision.boxes import (
    centers,
    check_format,
    columns_of,
    corners,
    corners_oracle,
    overlap,
    overlap_oracle,
    rows_at,
)


def _like(x: Any, name: str) -> Any:
    """A variable of a loop's body that stands for this operand."""
    return variable(name, TensorType(x.shape, x.dtype))


def all_of(*conditions: Any) -> Any:
    result = conditions[0]
    for condition in conditions[1:]:
        result = logical_and(result, condition)
    return result


def count_type(number: Any) -> Any:
    """A number of iterations, as loops take it."""
    return _reshape(cast(number, dtype="int64"), shape=(1,))


# ------------------------------------------------------------------------- superfluous boxes


def surviving(
    boxes: list[Any],
    alive: Any,
    threshold: float,
    classes: Any = None,
    inclusive: bool = False,
    beyond: int = 0,
) -> Any:
    """Which boxes are left when each that is left takes away those behind it that overlap it: 1 or
    0 in the shape of `alive` (batch, boxes), which says which there are. They are the first ones
    of their row, best first.

    Overlapping is by more than `threshold`, or, `inclusive`, by as much; of different `classes`
    boxes do not see each other."""
    _, count = alive.shape
    if not count:
        return alive
    areas = [
        maximum(boxes[i + 2] - boxes[i] + beyond, 0) if not beyond else boxes[i + 2] - boxes[i] + 1
        for i in (0, 1)
    ]
    others = [*boxes, areas[0] * areas[1], *([] if classes is None else [classes])]
    number = variable("number", TensorType((1,), int64))
    left = _like(alive, "left")
    known = [_like(x, f"known{i}") for i, x in enumerate(others)]
    own = [_take(x, number, axis=1) for x in (left, *known)]
    shared = overlap(own[1:5], known[:4], (own[5], known[4]), beyond)
    behind = greater(_iota(shape=(1, count), axis=1), _reshape(number, shape=(1, 1)))
    conditions = [
        own[0],
        cast(behind, dtype=alive.dtype.name),
        (greater_equal if inclusive else greater)(shared, threshold),
    ]
    if classes is not None:
        conditions.append(equal(own[6], known[5]))
    after = select(all_of(*conditions), 0, left)
    body = Graph([number, left, *known], [after])
    most = _reduce_max(_reduce_sum(alive, axes=(1,)), axes=(0,))
    found = _foreach(
        _iota(shape=(count,)),
        alive,
        *others,
        count_type(most),
        body=body,
        data=1,
        states=1,
        counted=True,
    )
    return found[0]


def surviving_oracle(
    boxes: np.ndarray,
    threshold: float,
    classes: np.ndarray | None = None,
    inclusive: bool = False,
    beyond: int = 0,
) -> list[int]:
    """Of boxes, best first, the numbers of those that are left."""
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            shared = overlap_oracle(boxes[i], boxes[i + 1 :], beyond)
            hit = shared >= threshold if inclusive else shared > threshold
            if classes is not None:
                hit &= classes[i + 1 :] == classes[i]
            alive[i + 1 :] &= ~hit
    return list(np.flatnonzero(alive))


class BoxNmsAttrs(Frozen):
    overlap_thresh: float = 0.5
    valid_thresh: float = 0.0
    topk: int = -1
    coord_start: int = 2
    score_index: int = 1
    id_index: int = -1
    background_id: int = -1
    force_suppress: bool = False
    in_format: str = "corner"
    out_format: str = "corner"


def _check_nms(attrs: BoxNmsAttrs, shape: tuple[int, ...]) -> None:
    def expect(condition: object, message: str) -> None:
        check(condition, "box_nms", message)

    check_format("box_nms", "in_format", attrs.in_format)
    check_format("box_nms", "out_format", attrs.out_format)
    expect(
        len(shape) >= 2 and shape[-1] >= 5,
        "data: expected (..., boxes, numbers), at least a score and four coordinates for each box; "
        f"given shape {shape}",
    )
    width, first = shape[-1], attrs.coord_start
    expect(
        0 <= first <= width - 4,
        f"coord_start: expected 0 to {width - 4}, where four of {width} numbers begin; given "
        f"{first}",
    )
    places = {"score_index": attrs.score_index}
    if attrs.id_index >= 0:
        places["id_index"] = attrs.id_index
    for name, place in places.items():
        expect(
            0 <= place < width and not first <= place < first + 4,
            f"{name}: expected a place among {width} numbers, but not among the coordinates at "
            f"{first} to {first + 3}; given {place}",
        )
    expect(
        attrs.id_index != attrs.score_index,
        f"id_index: expected another place than that of the score; both are {attrs.id_index}",
    )


def _decompose_box_nms(attrs: BoxNmsAttrs, data: Any) -> Any:
    _check_nms(attrs, data.shape)
    *lead, extent, width = data.shape
    count = extent if attrs.topk < 0 else minimum_of(attrs.topk, extent)
    if attrs.topk == 0 or not extent:  # of none: as in MXNet, everything is left as it is
        return identity(data)
    batch = prod(lead)
    rows = _reshape(data, shape=(batch, extent, width))
    known = stop_gradient(rows)

    def column(x: Any, place: int) -> Any:
        return _reshape(
            slice_axis(x, axis=2, begin=place, end=place + 1), shape=(batch, x.shape[1])
        )

    scores = column(known, attrs.score_index)
    valid = greater(scores, attrs.valid_thresh)
    if attrs.id_index >= 0 and attrs.background_id >= 0:
        valid = logical_and(valid, not_equal(column(known, attrs.id_index), attrs.background_id))
    places = order(select(valid, scores, -inf), 1, False)
    if attrs.topk >= 0:
        places = slice_axis(places, axis=1, begin=0, end=count)
    best = rows_at(known, places)
    line = _iota(shape=(1, count), axis=1)
    among = lesser(line, _reduce_sum_kept(cast(valid, dtype="int64")))
    alive = surviving(
        corners([column(best, attrs.coord_start + i) for i in range(4)], attrs.in_format),
        cast(among, dtype=data.dtype.name),
        attrs.overlap_thresh,
        column(best, attrs.id_index) if attrs.id_index >= 0 and not attrs.force_suppress else None,
    )
    front = order(alive, 1, False)
    found = rows_at(rows, _take_along(places, front, axis=1))
    if attrs.in_format != attrs.out_format:
        first = attrs.coord_start
        parts = columns_of(found, first)
        turned = corners(parts, "center") if attrs.out_format == "corner" else centers(parts)
        before = columns_of(found, 0, first)
        found = concat(*before, *turned, *columns_of(found, first + 4, width - first - 4), dim=2)
    there = lesser(line, _reduce_sum_kept(cast(alive, dtype="int64")))
    kept = where(_reshape(there, shape=(batch, count, 1)), found, -1)
    if attrs.topk >= 0:
        kept = _pad(kept, before=(0, 0, 0), after=(0, extent - count, 0), value=-1.0)
    return _reshape(kept, shape=data.shape)


def minimum_of(a: int, b: int) -> int:
    """Of extents, which may be known only at run time."""
    return a if a <= b else b


def _reduce_sum_kept(x: Any) -> Any:
    return _reshape(_reduce_sum(x, axes=(1,)), shape=(x.shape[0], 1))


def _box_nms_oracle(data: np.ndarray, **fields: Any) -> Any:
    attrs = BoxNmsAttrs(**fields)
    if attrs.topk == 0 or not data.size:
        return data.copy()
    result = np.full_like(data, -1).reshape(-1, *data.shape[-2:])
    first = attrs.coord_start
    for rows, out in zip(data.reshape(result.shape), result, strict=True):
        valid = rows[:, attrs.score_index] > attrs.valid_thresh
        if attrs.id_index >= 0 and attrs.background_id >= 0:
            valid &= rows[:, attrs.id_index] != attrs.background_id
        kept = rows[valid]
        kept = kept[np.argsort(-kept[:, attrs.score_index], kind="stable")]
        kept = kept[: attrs.topk] if attrs.topk > 0 else kept
        own = attrs.id_index >= 0 and not attrs.force_suppress
        boxes = corners_oracle(kept[:, first : first + 4], attrs.in_format)
        places = surviving_oracle(
            boxes, attrs.overlap_thresh, kept[:, attrs.id_index] if own else None
        )
        out[: len(places)] = kept[places]
        if attrs.in_format != attrs.out_format:
            given = kept[places, first : first + 4]
            if attrs.out_format == "corner":
                turned = corners_oracle(given, "center")
            else:
                a, b = given[:, :2], given[:, 2:]
                turned = np.concatenate([(a + b) / 2, b - a], 1)
            out[: len(places), first : first + 4] = turned
    return result.reshape(data.shape)


_SCORED = np.array(
    [
        [0, 0.55, 0.1, 0.15, 0.25, 0.3],
        [1, 0.45, 0.1, 0.15, 0.25, 0.3],
        [0, 0.35, 0.1, 0.15, 0.18, 0.24],
        [2, 0.65, 0.5, 0.4, 0.7, 0.9],
        [2, -0.5, 0.5, 0.4, 0.7, 0.9],
        [2, np.nan, 0.5, 0.4, 0.7, 0.9],
    ],
    np.float32,
)

box_nms = composite(
    "_contrib_box_nms",
    _decompose_box_nms,
    attrs=BoxNmsAttrs,
    dtypes="f",
    work=Work.PAIRS,
    domain=(0.05, 0.95),
    numpy=_box_nms_oracle,
    aliases=("_contrib_box_non_maximum_suppression",),
    samples=(
        ((2, 5, 6), {"id_index": 0, "overlap_thresh": 0.1, "force_suppress": True}),
        ((7, 5), {"coord_start": 1, "score_index": 0, "in_format": "center", "topk": 3}),
        ((2, 1, 6, 7), {"in_format": "center", "out_format": "center", "overlap_thresh": 0.2}),
        (_SCORED, {"overlap_thresh": 0.1, "id_index": 0}),
        (_SCORED, {"overlap_thresh": 0.1, "id_index": 0, "background_id": 0}),
        (_SCORED, {"valid_thresh": 0.4, "out_format": "center"}),
        ((0, 3, 6), {}),
        ((2, 0, 6), {}),
    ),
    doc="""Boxes without those that overlap a better one (non-maximum suppression): each row that
    is kept in order of its score, and behind them rows of -1.

    Parameters: `data` (..., boxes, numbers), for each box a score at `score_index` (default 1) and
    four coordinates from `coord_start` (default 2) on, and what else there is. Boxes of a score up
    to `valid_thresh` (default 0) are left out, those behind the best `topk` (default -1: of none),
    and those whose class, at `id_index` (default -1: there is none), is `background_id`; then each
    that shares more than `overlap_thresh` (default 0.5) with a better one of its class, or, under
    `force_suppress`, of any. `in_format` and `out_format` "corner" (x1, y1, x2, y2) or "center"
    (x, y, width, height).

    Gradients go to the rows that are kept.

    >>> x = nd.array([[0.7, 0, 0, 2, 2], [0.9, 0, 0, 2, 1.8], [0.8, 5, 5, 6, 6]])
    >>> nd.contrib.box_nms(x, score_index=0, coord_start=1).asnumpy()
    array([[ 0.9,  0. ,  0. ,  2. ,  1.8],
           [ 0.8,  5. ,  5. ,  6. ,  6. ],
           [-1. , -1. , -1. , -1. , -1. ]], dtype=float32)
    """,
)

# --------------------------------------------------------------------------- pairs


def best_pairs(scores: Any, threshold: float, rounds: int, most: Any = None) -> tuple[Any, Any]:
    """Of scores (batch, rows, columns) pairs, the best first, of what is not in a pair yet, until
    none is above `threshold` or there are `rounds` of them: the column of each row (int64), the row
    of each column, and -1 where there is none. `most`: a number of rounds that are enough."""
    batch, rows, columns = scores.shape
    of_row = _full(shape=(batch, rows), value=-1, dtype="int64")
    of_column = _full(shape=(batch, columns), value=-1, dtype="int64")
    if not rows or not columns:
        return of_row, of_column
    given = variable("number", TensorType((1,), int64))
    first, second, known = _like(of_row, "row"), _like(of_column, "column"), _like(scores, "score")
    free = logical_and(
        _reshape(cast(lesser(first, 0), dtype=scores.dtype.name), shape=(batch, rows, 1)),
        _reshape(cast(lesser(second, 0), dtype=scores.dtype.name), shape=(batch, 1, columns)),
    )
    left = select(free, known, -inf)
    best = _reshape(_reduce_max(left, axes=(1, 2)), shape=(batch, 1, 1))
    places = _reshape(_iota(shape=(rows * columns,)), shape=(1, rows, columns))
    beyond = rows * columns
    at = where(equal(left, best), places, beyond)
    place = _reshape(_reduce_min(at, axes=(1, 2)), shape=(batch, 1))
    row = floor_divide(place, columns)
    column = place - row * columns
    good = cast(greater(_reshape(best, shape=(batch, 1)), threshold), dtype="int64")

    def with_pair(state: Any, own: Any, other: Any, extent: int) -> Any:
        hit = equal(_iota(shape=(1, extent), axis=1), own)
        return select(logical_and(hit, good), _broadcast(other, shape=state.shape), state)

    body = Graph(
        [given, first, second, known],
        [with_pair(first, row, column, rows), with_pair(second, column, row, columns)],
    )
    count = [] if most is None else [count_type(minimum(most, rounds))]
    found = _foreach(
        _iota(shape=(rounds,)),
        of_row,
        of_column,
        scores,
        *count,
        body=body,
        data=1,
        states=2,
        counted=bool(count),
    )
    return found[0], found[1]


def pairs_oracle(
    scores: np.ndarray, threshold: float, rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of one matrix."""
    of_row, of_column = np.full(scores.shape[0], -1), np.full(scores.shape[1], -1)
    left = scores.copy()
    for _ in range(rounds):
        if not left.size or not left.max() > threshold:
            break
        row, column = np.unravel_index(left.argmax(), left.shape)
        of_row[row], of_column[column] = column, row
        left[row], left[:, column] = -np.inf, -np.inf
    return of_row, of_column


class MatchingAttrs(Frozen):
    threshold: float
    is_ascend: bool = False
    topk: int = -1


def _decompose_matching(attrs: MatchingAttrs, data: Any) -> Any:
    check(
        data.ndim >= 2,
        "bipartite_matching",
        f"data: expected scores (..., rows, columns); given shape {data.shape}",
    )
    *lead, rows, columns = data.shape
    scores = _reshape(stop_gradient(data), shape=(prod(lead), rows, columns))
    scores = select(isnan(scores), inf if attrs.is_ascend else -inf, scores)
    if attrs.is_ascend:
        scores = negative(scores)
    threshold = -attrs.threshold if attrs.is_ascend else attrs.threshold
    rounds = minimum_of(rows, columns)
    rounds = minimum_of(rounds, attrs.topk) if attrs.topk > 0 else rounds
    above = greater(scores, threshold)
    most = _reduce_max(_reduce_sum(cast(_any(above), dtype="int64"), axes=(1,)), axes=(0,))
    found = best_pairs(scores, threshold, rounds, most)
    return tuple(
        _reshape(cast(part, dtype=data.dtype.name), shape=(*lead, part.shape[1])) for part in found
    )


def _any(above: Any) -> Any:
    return _reduce_max(above, axes=(2,))


def _matching_oracle(data: np.ndarray, threshold: float, is_ascend: bool, topk: int) -> Any:
    *lead, rows, columns = data.shape
    clean = np.where(np.isnan(data), np.inf if is_ascend else -np.inf, data)
    found = [
        pairs_oracle(
            -scores if is_ascend else scores,
            -threshold if is_ascend else threshold,
            topk if topk > 0 else max(rows, columns),
        )
        for scores in clean.reshape(prod(lead), rows, columns)
    ]
    return tuple(
        np.array([pair[i] for pair in found], data.dtype).reshape(*lead, data.shape[i - 2])
        for i in (0, 1)
    )


_TABLE = np.array([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]], np.float32)

bipartite_matching = composite(
    "_contrib_bipartite_matching",
    _decompose_matching,
    attrs=MatchingAttrs,
    dtypes="f",
    outputs=2,
    differentiable=False,
    work=Work.PRODUCT,
    numpy=_matching_oracle,
    samples=(
        ((2, 4, 3), {"threshold": 0.0}),
        ((3, 5), {"threshold": 1.0, "is_ascend": True, "topk": 2}),
        (_TABLE, {"threshold": 1e-12}),
        (_TABLE, {"threshold": 0.35, "topk": 1}),
        (np.array([[np.nan, 1], [1, 1]], np.float32), {"threshold": 0.5}),
        ((2, 0, 3), {"threshold": 0.0}),
        ((0, 2, 3), {"threshold": 0.0}),
    ),
    doc="""Pairs of rows and columns: the best score first, then the best of what is not in a pair
    yet, and so on. Two results: the column of each row, and the row of each column; -1 where there
    is none.

    Parameters: `data` scores (..., rows, columns); `threshold` which a score must be above;
    `is_ascend` the smallest are the best, and must be below; `topk` pairs at most (default -1: of
    no matter how many).

    >>> x, y = nd.contrib.bipartite_matching(
    ...     nd.array([[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]]), threshold=1e-12)
    >>> x.asnumpy(), y.asnumpy()
    (array([ 1., -1.,  0.], dtype=float32), array([2., 0.], dtype=float32))
    """,
)
