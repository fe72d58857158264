"""Sequences of different lengths in one batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import as_dtype, check
from tigon.base.dtypes import int64
from tigon.base.frozen import Frozen
from tigon.loop.semantics import convert
from tigon.ops.primitive.choose import cast, identity, select
from tigon.ops.primitive.compare import lesser
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.gather import _pick, _take, _take_along, checked_counts
from tigon.ops.primitive.view import _broadcast, _reshape
from tigon.ops.record import composite
from tigon.ops.tensor.slice import flip


class SequenceMaskAttrs(Frozen):
    use_sequence_length: bool = False
    value: float = 0.0
    axis: int = 0


class SequenceAttrs(Frozen):
    use_sequence_length: bool = False
    axis: int = 0


def _sequence_operands(attrs: Any) -> tuple[str, ...]:
    return ("data", "sequence_length") if attrs.use_sequence_length else ("data",)


def _check_lengths(where: str, data: Any, lengths: Any, axis: int) -> None:
    check(axis in (0, 1) and data.ndim >= 2, where, f"axis {axis} of {data.type} is not 0 or 1")
    check(
        lengths.shape == (data.shape[1 - axis],),
        where,
        f"sequence_length should have shape {(data.shape[1 - axis],)}; it has {lengths.shape}",
    )


def _along_batch(x: Any, ndim: int, axis: int) -> Any:
    """A vector over the batch axis, in the rank of the data."""
    size = x.shape[0]
    return _reshape(x, shape=tuple(size if i == 1 - axis else 1 for i in range(ndim)))


def _whole(x: Any) -> Any:
    return x if x.dtype is int64 else cast(x, dtype="int64")


def _ends(where: str, lengths: Any, steps: int) -> Any:
    """Lengths as int64, from 0 to the number of steps; others are refused."""
    return checked_counts(lengths, steps, f"{where}: sequence_length")


def _decompose_sequence_mask(attrs: SequenceMaskAttrs, data: Any, *rest: Any) -> Any:
    if not attrs.use_sequence_length:
        return identity(data)
    (lengths,) = rest
    _check_lengths("SequenceMask", data, lengths, attrs.axis)
    line = tuple(n if i == attrs.axis else 1 for i, n in enumerate(data.shape))
    inside = lesser(
        _iota(shape=line, axis=attrs.axis), _along_batch(_whole(lengths), data.ndim, attrs.axis)
    )
    return select(cast(inside, dtype=data.dtype.name), data, attrs.value)


def _sequence_mask_oracle(
    data: np.ndarray,
    *rest: np.ndarray,
    use_sequence_length: bool,
    value: float,
    axis: int,
) -> Any:
    result = data.copy()
    filler = convert(np.asarray(value), as_dtype(data.dtype))
    if use_sequence_length:
        for i, length in enumerate(rest[0].astype(int)):
            np.moveaxis(result, (axis, 1 - axis), (0, 1))[length:, i] = filler
    return result


_LENGTHS = np.array([2, 0, 3], np.float32)

sequence_mask = composite(
    "SequenceMask",
    _decompose_sequence_mask,
    operands="data sequence_length?",
    attrs=SequenceMaskAttrs,
    present=_sequence_operands,
    numpy=_sequence_mask_oracle,
    samples=(
        ((4, 3, 2), _LENGTHS, {"use_sequence_length": True, "value": -1.0}),
        ((3, 4), _LENGTHS, {"use_sequence_length": True, "axis": 1}),
        ((3, 4), {}),
    ),
    doc="""Sequences of different length, with `value` behind their ends.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry;
    `axis` 0 or 1 holds time, the other one the batch; `value` (default 0).

    >>> x = nd.array([[1, 2], [3, 4], [5, 6]])
    >>> nd.SequenceMask(x, nd.array([1, 2]), use_sequence_length=True).asnumpy()
    array([[1., 2.],
           [0., 4.],
           [0., 0.]], dtype=float32)
    """,
)


def _decompose_sequence_last(attrs: SequenceAttrs, data: Any, *rest: Any) -> Any:
    check(
        data.ndim >= 2 and attrs.axis in (0, 1), "SequenceLast", "expected axis 0 or 1 of 2 or more"
    )
    size = data.shape[attrs.axis]
    check(size, "SequenceLast", f"the sequences of shape {data.shape} are empty")
    if not attrs.use_sequence_length:
        last = _full(shape=(), value=size - 1, dtype="int64")
        return _take(data, last, axis=attrs.axis)
    (lengths,) = rest
    _check_lengths("SequenceLast", data, lengths, attrs.axis)
    shape = data.shape[: attrs.axis] + data.shape[attrs.axis + 1 :]
    ends = _ends("SequenceLast", lengths, size)
    last = _reshape(ends - 1, shape=(lengths.shape[0],) + (1,) * (data.ndim - 2))
    return _pick(data, _broadcast(last, shape=shape), axis=attrs.axis)


def _sequence_last_oracle(
    data: np.ndarray, *rest: np.ndarray, use_sequence_length: bool, axis: int
) -> Any:
    lead = np.moveaxis(data, axis, 0)
    if not use_sequence_length:
        return lead[-1]
    return np.stack([lead[max(n - 1, 0), i] for i, n in enumerate(rest[0].astype(int))])


sequence_last = composite(
    "SequenceLast",
    _decompose_sequence_last,
    operands="data sequence_length?",
    attrs=SequenceAttrs,
    present=_sequence_operands,
    numpy=_sequence_last_oracle,
    samples=(
        ((4, 3, 2), np.array([2, 1, 4], np.float32), {"use_sequence_length": True}),
        ((3, 4), np.array([2, 1, 4], np.int32), {"use_sequence_length": True, "axis": 1}),
        ((3, 4), {}),
    ),
    doc="""The last element of each sequence.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry,
    from 0 (which counts as 1) to the extent of time; `axis` 0 or 1 holds time, the other one the
    batch.

    >>> nd.SequenceLast(nd.array([[1, 2], [3, 4], [5, 6]])).asnumpy()
    array([5., 6.], dtype=float32)
    """,
)


def _decompose_sequence_reverse(attrs: SequenceAttrs, data: Any, *rest: Any) -> Any:
    check(attrs.axis == 0, "SequenceReverse", f"axis is 0; given {attrs.axis}; swap the axes first")
    if not attrs.use_sequence_length:
        return flip(data, axis=0)
    (lengths,) = rest
    _check_lengths("SequenceReverse", data, lengths, 0)
    line = _iota(shape=(data.shape[0], 1), axis=0)
    own = _ends("SequenceReverse", lengths, data.shape[0])
    ends = _reshape(own, shape=(1, lengths.shape[0]))
    turned = select(lesser(line, ends), ends - 1 - line, line)
    shape = (*turned.shape, *(1,) * (data.ndim - 2))
    index = _broadcast(_reshape(turned, shape=shape), shape=data.shape)
    return _take_along(data, index, axis=0)


def _sequence_reverse_oracle(
    data: np.ndarray, *rest: np.ndarray, use_sequence_length: bool, axis: int
) -> Any:
    if not use_sequence_length:
        return data[::-1].copy()
    result = data.copy()
    for i, n in enumerate(rest[0].astype(int)):
        result[:n, i] = data[:n, i][::-1]
    return result


sequence_reverse = composite(
    "SequenceReverse",
    _decompose_sequence_reverse,
    operands="data sequence_length?",
    attrs=SequenceAttrs,
    present=_sequence_operands,
    numpy=_sequence_reverse_oracle,
    samples=(
        ((4, 3, 2), np.array([2, 1, 4], np.float32), {"use_sequence_length": True}),
        ((4, 3), np.array([0, 3, 2], np.int32), {"use_sequence_length": True}),
        ((3, 4), {}),
    ),
    doc="""Each sequence in reverse order; what lies behind its end stays.

    Parameters: `use_sequence_length` says that `sequence_length` is given, one per batch entry,
    from 0 to the extent of time. Time is axis 0, the batch axis 1.

    >>> nd.SequenceReverse(nd.array([[1, 2], [3, 4], [5, 6]])).asnumpy()
    array([[5., 6.],
           [3., 4.],
           [1., 2.]], dtype=float32)
    """,
)
