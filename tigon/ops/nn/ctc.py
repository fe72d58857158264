"""CTC: the loss of labels whose places in the sequence are not known.

An alignment gives each step a class: one of the labels, in their order, or the blank, which may
stand anywhere and must stand between two equal labels. The loop over the steps (`_foreach`) carries
the logarithms of what the alignments of each beginning of the labels, blanks between them, come to
so far (Graves et al. 2006, "Connectionist temporal classification"); its gradient is that loop's.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen
from tigon.base.notices import LABEL_CANNOT_FIT
from tigon.ir.graph import Graph, Value, variable
from tigon.ops.nn.softmax import log_softmax, softmax
from tigon.ops.primitive.arithmetic import add, maximum, minimum, multiply, negative, subtract
from tigon.ops.primitive.choose import cast, identity, stop_gradient, where
from tigon.ops.primitive.compare import equal, greater, lesser, lesser_equal, not_equal
from tigon.ops.primitive.control import _foreach
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.functions import exp, log
from tigon.ops.primitive.gather import _checked_index, _pick, _take_along, checked_counts
from tigon.ops.primitive.notice import _told
from tigon.ops.primitive.reduce import _reduce_min, _reduce_sum
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import Work, composite, same_type
from tigon.ops.tensor.create import ones_like
from tigon.ops.tensor.join import concat, stack
from tigon.ops.tensor.slice import slice_axis

_NOTHING = -1e30
"""The logarithm of no chance at all. Of -inf, differences would be no numbers."""


class CTCLossAttrs(Frozen, kw_only=True):
    use_data_lengths: bool = False
    use_label_lengths: bool = False
    blank_label: str = "first"

    @property
    def blank_is_first(self) -> bool:
        return self.blank_label == "first"

    @property
    def padding(self) -> int:
        return 0 if self.blank_is_first else -1


def _present(attrs: CTCLossAttrs) -> tuple[str, ...]:
    given = {"data_lengths": attrs.use_data_lengths, "label_lengths": attrs.use_label_lengths}
    return ("data", "label", *(name for name, used in given.items() if used))


def _lengths_of(attrs: CTCLossAttrs, lengths: tuple[Any, ...]) -> tuple[Any, Any]:
    """Those of data and of labels, None where they are not given."""
    names = _present(attrs)
    check(
        len(lengths) == len(names) - 2,
        "CTCLoss",
        f"expected operands {', '.join(names)}; given {2 + len(lengths)} of them; "
        "use_data_lengths and use_label_lengths say which lengths are given",
    )
    left = list(lengths)
    of_data = left.pop(0) if attrs.use_data_lengths else None
    return of_data, left.pop(0) if attrs.use_label_lengths else None


def _infer(
    attrs: CTCLossAttrs, data: TensorType, label: TensorType, *lengths: TensorType
) -> TensorType:
    def expect(condition: object, message: str) -> None:
        check(condition, "CTCLoss", message)

    given = _lengths_of(attrs, lengths)
    expect(
        attrs.blank_label in ("first", "last"),
        f"blank_label: expected 'first' or 'last'; given '{attrs.blank_label}'",
    )
    expect(
        data.ndim == 3,
        f"data: expected axes (time, batch, classes); given shape {data.shape}; reshape it",
    )
    time, batch, classes = data.shape
    expect(classes > 0, f"data: expected one class or more, the blank; given shape {data.shape}")
    expect(
        label.ndim == 2 and label.shape[0] == batch,
        f"label: expected shape ({batch}, labels), a row for each of the batch of data, "
        f"{data.shape}; given {label.shape}",
    )
    expect(
        label.shape[1] <= time,
        f"label: expected at most {time} columns, a step of data, {data.shape}, for each label; "
        f"given shape {label.shape}; cut off columns of padding, or give more steps",
    )
    for name, found in zip(("data_lengths", "label_lengths"), given, strict=True):
        expect(
            found is None or found.shape == (batch,),
            f"{name}: expected shape ({batch},), a number for each of the batch; given "
            f"{found and found.shape}",
        )
    return TensorType((batch,), data.dtype)


def _infer_operands(attrs: CTCLossAttrs, types: list[TensorType | None]) -> list[TensorType | None]:
    """Lengths are a number for each of the batch."""
    batch = next(
        (
            t.shape[at]
            for t, at in zip(types, (1, 0), strict=False)
            if t is not None and t.ndim > at
        ),
        None,
    )
    if batch is None:
        return types
    return [*types[:2], *(given or TensorType((batch,), float32) for given in types[2:])]


# ------------------------------------------------------------------------------------ meaning


class _Labels(Frozen, eq=False):
    """Labels with blanks before, between and behind them."""

    classes: Value
    """(batch, places): the class of each place, as a position."""
    leaps: Value
    """(batch, places): whether an alignment may leave out the place before this one."""
    count: Value
    """(batch,): labels, blanks not counted."""
    needed: Value
    """(batch,): the least number of steps, of equal neighbours one more."""


def _between(blanks: Value, labels: Value) -> Value:
    """Columns of both in turn, blanks first, and a blank at the end. All blanks are alike."""
    rows, columns = labels.shape
    pairs = stack(_broadcast(blanks, shape=labels.shape), labels, axis=2)
    return concat(_reshape(pairs, shape=(rows, 2 * columns)), blanks, dim=1)


def _read_labels(attrs: CTCLossAttrs, classes: int, label: Value, lengths: Value | None) -> _Labels:
    batch, columns = label.shape
    if not label.dtype.is_float:
        label = cast(label, dtype="int64")  # of what cannot be -1, nothing is padding
    line = _iota(shape=(1, columns), axis=1)
    if lengths is None:
        is_padding = equal(label, attrs.padding)
        ends = where(is_padding, _broadcast(line, shape=label.shape), columns)
        count = minimum(_reduce_min(ends, axes=(1,)), columns)  # of no columns it is the greatest
    else:
        count = checked_counts(lengths, columns, "CTCLoss: label_lengths")
    counts = lesser(line, _reshape(count, shape=(batch, 1)))
    known = classes if attrs.blank_is_first else max(classes - 1, 1)  # padding is read as 0
    read = where(counts, label, 0)
    whole = _checked_index(read, sizes=(known,), axis=1, operator="CTCLoss: label")
    before = slice_axis(
        concat(_full(shape=(batch, 1), value=-1, dtype="int64"), whole, dim=1),
        axis=1,
        begin=0,
        end=-1,
    )
    differs = not_equal(whole, before)
    repeats = multiply(counts, subtract(1, differs))
    blank = 0 if attrs.blank_is_first else classes - 1
    blanks = _full(shape=(batch, 1), value=blank, dtype="int64")
    never = _full(shape=(batch, 1), value=0, dtype="int64")
    return _Labels(
        _between(blanks, whole),
        _between(never, differs),
        count,
        add(count, _reduce_sum(repeats, axes=(1,))),
    )


def _log_of_sum(*logarithms: Value) -> Value:
    """The logarithm of the sum of what these are logarithms of."""
    top = logarithms[0]
    for other in logarithms[1:]:
        top = maximum(top, other)
    top = stop_gradient(top)  # where it lies changes nothing
    total = exp(subtract(logarithms[0], top))
    for other in logarithms[1:]:
        total = add(total, exp(subtract(other, top)))
    return add(top, log(total))


@lru_cache(maxsize=2)
def _step(within_lengths: bool) -> Graph:
    """What a step does: (its row of chances, whether it counts, what alignments come to, leaps, the
    two columns before the first place) gives no result and what they come to then."""
    row = variable("row")
    within = [variable("within")] if within_lengths else []
    so_far, leaps, front = variable("so_far"), variable("leaps"), variable("front")
    stayed = slice_axis(so_far, axis=1, begin=2, end=None)
    stepped = slice_axis(so_far, axis=1, begin=1, end=-1)
    leapt = where(leaps, slice_axis(so_far, axis=1, begin=0, end=-2), _NOTHING)
    after = concat(front, add(row, _log_of_sum(stayed, stepped, leapt)), dim=1)
    if within:
        after = where(within[0], after, so_far)
    return Graph([row, *within, so_far, leaps, front], [after])


def _decompose(attrs: CTCLossAttrs, data: Value, label: Value, *lengths: Value) -> Value:
    time, batch, classes = data.shape
    data_lengths, label_lengths = _lengths_of(attrs, lengths)
    dtype = data.dtype if data.dtype.itemsize >= float32.itemsize else float32
    wide = data if data.dtype is dtype else cast(data, dtype=dtype.name)
    labels = _read_labels(attrs, classes, label, label_lengths)
    places = labels.classes.shape[1]
    chances = maximum(log_softmax(wide, axis=2), _NOTHING)
    where_ = _broadcast(
        _reshape(labels.classes, shape=(1, batch, places)), shape=(time, batch, places)
    )
    rows = [_take_along(chances, where_, axis=2)]
    steps: Value | int = time
    if data_lengths is not None:
        steps = checked_counts(data_lengths, time, "CTCLoss: data_lengths")
        line = _iota(shape=(time, 1, 1), axis=0)
        rows.append(lesser(line, _reshape(steps, shape=(1, batch, 1))))
    # Two columns stand before the places. Before the first step all alignments are in the second
    # of them: from there they step to the first blank or leap to the first label.
    nothing = _full(shape=(batch, 1), value=_NOTHING, dtype=dtype.name)
    everything = _full(shape=(batch, 1), value=0, dtype=dtype.name)
    rest = _full(shape=(batch, places), value=_NOTHING, dtype=dtype.name)
    found = _foreach(
        *rows,
        concat(nothing, everything, rest, dim=1),
        labels.leaps,
        concat(nothing, nothing, dim=1),
        body=_step(data_lengths is not None),
        data=len(rows),
        states=1,
    )
    last = add(multiply(labels.count, 2), 2)
    total = _log_of_sum(_pick(found[0], last, axis=1), _pick(found[0], subtract(last, 1), axis=1))
    total = where(lesser_equal(total, _NOTHING / 2), float("-inf"), total)
    unfit = _told(greater(labels.needed, steps), notice=LABEL_CANNOT_FIT.number, operator="CTCLoss")
    loss = where(unfit, 0, negative(total))
    return loss if data.dtype is dtype else cast(loss, dtype=data.dtype.name)


# ------------------------------------------------------------------------------------ oracle


def _oracle(data: np.ndarray, label: np.ndarray, *lengths: np.ndarray, **fields: Any) -> np.ndarray:
    attrs = CTCLossAttrs(**fields)
    time, batch, classes = data.shape
    data_lengths, label_lengths = _lengths_of(attrs, lengths)
    blank = 0 if attrs.blank_is_first else classes - 1
    losses = np.zeros(batch, data.dtype)
    for sample in range(batch):
        steps = time if data_lengths is None else int(data_lengths[sample])
        row = [int(each) for each in label[sample]]
        if label_lengths is not None:
            row = row[: int(label_lengths[sample])]
        elif attrs.padding in row:
            row = row[: row.index(attrs.padding)]
        repeats = sum(a == b for a, b in pairwise(row))
        if len(row) + repeats > steps:
            continue
        logits = data[:steps, sample].astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
        # How likely each alignment is, by where it is: (labels passed, whether the last step was
        # the blank).
        alignments = {(0, True): 1.0}
        for step in range(steps):
            reached: dict[tuple[int, bool], float] = {}
            for (passed, rests), chance in alignments.items():
                moves = [(passed, True, blank)]
                if not rests:
                    moves.append((passed, False, row[passed - 1]))
                if passed < len(row) and (rests or row[passed] != row[passed - 1]):
                    moves.append((passed + 1, False, row[passed]))
                for place, resting, class_ in moves:
                    key = place, resting
                    reached[key] = reached.get(key, 0.0) + chance * chances[step, class_]
            alignments = reached
        ends = alignments.get((len(row), True), 0.0) + alignments.get((len(row), False), 0.0)
        losses[sample] = -np.log(ends)
    return losses


_FIRST = np.array([[1, 2, 2], [3, 0, 0], [0, 0, 0]], np.float32)
_LAST = np.array([[0, 1], [2, -1]], np.int32)

ctc_loss = composite(
    "CTCLoss",
    _decompose,
    operands="data label data_lengths? label_lengths?",
    attrs=CTCLossAttrs,
    dtypes={"data": "f"},
    infer=_infer,
    present=_present,
    infer_operands=_infer_operands,
    numpy=_oracle,
    work=Work.PRODUCT,
    aliases=("ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss"),
    samples=[
        ((5, 3, 4), _FIRST, {}),
        ((4, 2, 4), _LAST, {"blank_label": "last"}),
        (
            (5, 3, 4),
            _FIRST,
            np.array([5, 1, 0], np.float32),
            np.array([3, 1, 0], np.int32),
            {"use_data_lengths": True, "use_label_lengths": True},
        ),
        (
            (4, 2, 4),
            np.array([[0, 0], [2, 1]], np.float32),
            np.array([3, 4], np.int32),
            {"use_data_lengths": True, "blank_label": "last"},
        ),
        ((3, 3, 4), np.array([[1, 1, 1], [1, 2, 3], [2, 2, 0]], np.float32), {}),
        ((3, 2, 3), np.zeros((2, 0), np.float32), {}),
        ((3, 0, 3), np.zeros((0, 2), np.float32), {}),
    ],
    doc="""The loss of labels whose places in the sequence are not known (CTC; Graves et al. 2006).

The negative logarithm of how likely the labels are, over all alignments: each step has one class,
equal ones in a row count once, and what remains when blanks are left out are the labels.

Parameters
----------
data : (time, batch, classes), before softmax; class 0 or the last one is the blank
label : (batch, labels), at most as many as there are steps: class numbers
data_lengths : of `use_data_lengths`, (batch,): steps that count, at most all
label_lengths : of `use_label_lengths`, (batch,): labels that count, at most all. Without them a
    row ends before its first 0 (blank 'first') or -1 (blank 'last').
use_data_lengths, use_label_lengths : whether these are given
blank_label : 'first': the blank is class 0, labels are 1 and above; 'last': the blank is the last
    class, labels are 0 and above

A loss for each of the batch, (batch,), of data's dtype. Labels that no alignment fits, since they
need more steps (of equal neighbours one more each), have loss 0 and no gradient, and a warning says
so once; where others are impossible, by logits of -inf, the loss is infinite. A label that is no
class, or a length beyond its axis, is a `TigonIndexError`.

Examples
--------
>>> chances = nd.array([[[0.6, 0.3, 0.1]], [[0.2, 0.5, 0.3]]])
>>> nd.CTCLoss(nd.log(chances), nd.array([[1, 0]])).asnumpy().round(5)
array([0.67334], dtype=float32)
>>> nd.CTCLoss(nd.log(chances), nd.array([[0, -1]]), blank_label="last").asnumpy().round(5)
array([1.13943], dtype=float32)
""",
)


# ------------------------------------------------------------------------------------ WarpCTC

_beside_loss = composite(
    "_beside_loss",
    lambda data, loss: identity(data),
    operands="data loss",
    dtypes={"data": "f", "loss": "f"},
    infer=lambda data, loss: same_type(data),
    grad=lambda g, y, data, loss: (None, ones_like(loss)),
    numpy=lambda data, loss: data.copy(),
    is_loss=True,
    check_gradient=False,
    samples=[((2, 3), (2,), {})],
    doc="""The first operand; backward starts with ones at the second, and ignores what comes in.

Examples
--------
>>> nd._beside_loss(nd.array([0.5]), nd.array([3, 4])).asnumpy()
array([0.5], dtype=float32)
""",
)


class WarpCTCAttrs(Frozen, kw_only=True):
    label_length: int
    input_length: int


def _infer_warp(attrs: WarpCTCAttrs, data: TensorType, label: TensorType) -> TensorType:
    steps, length = attrs.input_length, attrs.label_length
    for name, value in (("input_length", steps), ("label_length", length)):
        check(value > 0, "WarpCTC", f"{name}: expected a number above 0; given {value}")
    check(
        data.ndim == 2 and data.shape[0] % steps == 0,
        "WarpCTC",
        f"data: expected shape ({steps} steps * batch, classes), time first; given {data.shape}",
    )
    batch = data.shape[0] // steps
    check(
        label.size == batch * length,
        "WarpCTC",
        f"label: expected {batch} rows of {length} labels, as ({batch * length},) or "
        f"({batch}, {length}); given {label.shape}",
    )
    return same_type(data)


def _warp_operands(attrs: WarpCTCAttrs, types: list[TensorType | None]) -> list[TensorType | None]:
    data, label = types
    if data is None or label is not None or data.ndim != 2 or attrs.input_length <= 0:
        return types
    return [data, TensorType((data.shape[0] // attrs.input_length * attrs.label_length,), float32)]


def _decompose_warp(attrs: WarpCTCAttrs, data: Value, label: Value) -> Value:
    steps, (rows, classes) = attrs.input_length, data.shape
    batch = rows // steps
    loss = ctc_loss(
        _reshape(data, shape=(steps, batch, classes)),
        _reshape(label, shape=(batch, attrs.label_length)),
    )
    return _beside_loss(softmax(data, axis=-1), loss)


def _warp_oracle(data: np.ndarray, label: np.ndarray, **_: Any) -> np.ndarray:
    powers = np.exp(data - data.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


warp_ctc = composite(
    "WarpCTC",
    _decompose_warp,
    operands="data label",
    attrs=WarpCTCAttrs,
    dtypes={"data": "f"},
    infer=_infer_warp,
    infer_operands=_warp_operands,
    numpy=_warp_oracle,
    work=Work.PRODUCT,
    is_loss=True,
    check_gradient=False,
    samples=[((8, 3), np.array([1, 2, 2, 0], np.float32), {"label_length": 2, "input_length": 4})],
    doc="""Softmax whose backward pass is that of `CTCLoss`: what networks for MXNet's plugin of
warp-ctc say.

Parameters
----------
data : (steps * batch, classes), time first, before softmax; class 0 is the blank
label : (batch * label_length,) or (batch, label_length): class numbers; a row ends before its
    first 0
label_length : how many labels a row has room for
input_length : the number of steps

Forward gives the probabilities, of data's shape; backward starts with the gradient of the sum of
the losses, and ignores what comes in.

Examples
--------
>>> chances = nd.log(nd.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]))
>>> nd.WarpCTC(chances, nd.array([1, 0]), label_length=2, input_length=2).asnumpy().round(5)
array([[0.6, 0.3, 0.1],
       [0.2, 0.5, 0.3]], dtype=float32)
""",
)
