"""Padding: constant, edge and reflection."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.join import _join
from tigon.ops.primitive.view import _along, _broadcast, _pad
from tigon.ops.record import composite


class PadAttrs(Frozen):
    mode: str
    pad_width: tuple[int, ...]
    constant_value: float = 0.0


def _decompose_pad(attrs: PadAttrs, data: Any) -> Any:
    _check_pad(attrs, data.shape)
    before, after = attrs.pad_width[::2], attrs.pad_width[1::2]
    if attrs.mode == "constant":
        return _pad(data, before=before, after=after, value=attrs.constant_value)
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        size = data.shape[axis]
        parts = []
        if first:
            parts.append(
                _edge(data, axis, 0, first)
                if attrs.mode == "edge"
                else _along(data, axis, first, -1, first)
            )
        parts.append(data)
        if last:
            parts.append(
                _edge(data, axis, size - 1, last)
                if attrs.mode == "edge"
                else _along(data, axis, size - 2, -1, last)
            )
        if len(parts) > 1:
            data = _join(*parts, axis=axis)
    return data


def _check_pad(attrs: PadAttrs, shape: tuple[int, ...]) -> None:
    check(
        attrs.mode in ("constant", "edge", "reflect"),
        "Pad",
        f"mode is constant, edge or reflect; given '{attrs.mode}'",
    )
    check(
        len(attrs.pad_width) == 2 * len(shape) and all(n >= 0 for n in attrs.pad_width),
        "Pad",
        f"pad_width {attrs.pad_width} must give two widths for each axis of shape {shape}",
    )
    for axis, size in enumerate(shape):
        widths = attrs.pad_width[2 * axis : 2 * axis + 2]
        if any(widths):
            least = builtins.max(widths) + 1 if attrs.mode == "reflect" else 1
            check(
                attrs.mode == "constant" or size >= least,
                "Pad",
                f"{attrs.mode} by {widths} needs extent {least} in axis {axis} of shape {shape}",
            )


def _edge(data: Any, axis: int, place: int, width: int) -> Any:
    one = _along(data, axis, place, 1, 1)
    return _broadcast(one, shape=tuple(width if i == axis else n for i, n in enumerate(data.shape)))


def _pad_oracle(x: np.ndarray, mode: str, pad_width: tuple[int, ...], constant_value: float) -> Any:
    pairs = list(zip(pad_width[::2], pad_width[1::2], strict=True))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_value)
    return np.pad(x, pairs, mode=mode)  # type: ignore[call-overload]


pad = composite(
    "Pad",
    _decompose_pad,
    attrs=PadAttrs,
    numpy=_pad_oracle,
    aliases=("pad",),
    samples=(
        ((2, 3), {"mode": "constant", "pad_width": (1, 0, 0, 2), "constant_value": 3.0}),
        ((2, 1, 3, 4), {"mode": "edge", "pad_width": (0, 0, 0, 0, 1, 2, 3, 0)}),
        ((1, 2, 3, 4), {"mode": "reflect", "pad_width": (0, 0, 0, 0, 2, 1, 0, 3)}),
        ((0, 2), {"mode": "constant", "pad_width": (0, 1, 1, 0)}),
    ),
    doc="""The array with a border.

    Parameters: `mode` "constant" (filled with `constant_value`), "edge" (the outermost element) or
    "reflect" (mirrored at the outermost element); `pad_width` before and after for each axis.

    >>> nd.pad(nd.array([[1, 2, 3]]), mode="constant", pad_width=(0, 0, 1, 1)).asnumpy()
    array([[0., 1., 2., 3., 0.]], dtype=float32)
    >>> nd.pad(nd.array([[1, 2, 3]]), mode="reflect", pad_width=(0, 0, 2, 2)).asnumpy()
    array([[3., 2., 1., 2., 3., 2., 1.]], dtype=float32)
    """,
)
