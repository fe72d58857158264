"""Sequences of cells: steps as a list or as one array, and states to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon import nd
from tigon.base import check
from tigon.nd import NDArray
from tigon.ops.primitive.gather import COUNTS
from tigon.sym.symbol import Symbol


def is_list(given: Any) -> bool:
    return isinstance(given, (list, tuple))


def time_axis(where: str, layout: str) -> int:
    check(layout in ("NTC", "TNC"), where, f"layout: expected 'NTC' or 'TNC'; given {layout!r}")
    return layout.index("T")


def as_steps(where: str, length: int, inputs: Any, layout: str) -> list[Any]:
    """One array of a batch per step."""
    axis = time_axis(where, layout)
    check(
        isinstance(length, int) and length > 0,
        where,
        f"length: expected a number of steps, at least 1; given {length!r}",
    )
    if is_list(inputs):
        check(
            len(inputs) == length,
            where,
            f"inputs: expected {length} arrays, one for each step; given {len(inputs)}",
        )
        return list(inputs)
    if isinstance(inputs, NDArray):
        given = tuple(inputs.shape)
        check(
            len(given) > axis and given[axis] == length,
            where,
            f"inputs: expected {length} steps along axis {axis} of layout {layout}; given shape "
            f"{given}",
        )
    steps = nd.split(inputs, num_outputs=length, axis=axis, squeeze_axis=True)
    return list(steps) if length > 1 else [steps]


def as_array(where: str, steps: Any, layout: str) -> Any:
    return nd.stack(*steps, axis=time_axis(where, layout)) if is_list(steps) else steps


def formatted(where: str, length: int, outputs: Any, layout: str, merge: bool | None) -> Any:
    """`merge`: one array, or False: a list; None: as it is."""
    if merge is None:
        return outputs
    if merge:
        return as_array(where, outputs, layout)
    return as_steps(where, length, outputs, layout)


def checked_lengths(where: str, length: int, lengths: Any) -> Any:
    """Lengths that are no more than the steps; of a symbol that is to be a file, as they are."""
    if type(lengths) is Symbol:
        return lengths
    return nd._internal._checked_index(
        lengths, sizes=(length + 1,), axis=COUNTS, operator=f"{where}: valid_length"
    )


def masked(where: str, outputs: Any, lengths: Any, layout: str) -> Any:
    """One array, with 0 behind the ends."""
    return nd.SequenceMask(
        as_array(where, outputs, layout),
        lengths,
        use_sequence_length=True,
        axis=time_axis(where, layout),
    )


def at_ends(stages: Sequence[Sequence[Any]], lengths: Any) -> list[Any]:
    """Of the states after each step those at the ends."""
    return [
        nd.SequenceLast(nd.stack(*kind, axis=0), lengths, use_sequence_length=True, axis=0)
        for kind in zip(*stages, strict=True)
    ]


def reversed_steps(where: str, steps: list[Any], lengths: Any, layout: str) -> list[Any]:
    """From the last step to the first; with lengths, each sequence by itself."""
    if lengths is None:
        return steps[::-1]
    turned = nd.SequenceReverse(nd.stack(*steps, axis=0), lengths, use_sequence_length=True)
    return as_steps(where, len(steps), turned, "TNC")


def states_for(cell: Any, inputs: Any, batch_axis: int) -> list[Any]:
    """Zeros for a batch like that of `inputs`."""
    first = inputs[0] if is_list(inputs) else inputs
    batch_axis = 0 if is_list(inputs) else batch_axis
    if isinstance(first, NDArray):
        return cell.begin_state(
            batch_size=first.shape[batch_axis], func=nd.zeros, ctx=first.context, dtype=first.dtype
        )
    return [zeros_like_batch(first, batch_axis, info["shape"], 0) for info in cell.state_info(0)]


def zeros_like_batch(x: Any, batch_axis: int, shape: tuple[int, ...], place: int) -> Any:
    """Zeros of this shape, but for the batch at axis `place`, which is that of a symbol of any
    shape."""
    if batch_axis:
        x = nd.swapaxes(x, dim1=0, dim2=batch_axis)
    column = nd.slice_axis(nd.reshape(x, shape=(0, -1)), axis=1, begin=0, end=1)
    flat = tuple(-1 if axis == place else 1 for axis in range(len(shape)))
    others = tuple(1 if axis == place else extent for axis, extent in enumerate(shape))
    return nd.tile(nd.zeros_like(nd.reshape(column, shape=flat)), reps=others)
