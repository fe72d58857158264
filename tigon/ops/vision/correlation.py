"""How alike the surroundings of places in two pictures are (Dosovitskiy et al. 2015, "FlowNet")."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import absolute
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _pad, _reshape, _slice
from tigon.ops.primitive.window import _window
from tigon.ops.record import Work, composite


class CorrelationAttrs(Frozen):
    kernel_size: int = 1
    max_displacement: int = 1
    stride1: int = 1
    stride2: int = 1
    pad_size: int = 0
    is_multiply: bool = True


def _counts(attrs: CorrelationAttrs, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Displacements to either side along an axis, and the extents of the result."""

    def expect(condition: object, message: str) -> None:
        check(condition, "Correlation", message)

    for name in ("stride1", "stride2"):
        number = getattr(attrs, name)
        expect(number > 0, f"{name}: expected a number above 0; given {number}")
    for name in ("max_displacement", "pad_size"):
        number = getattr(attrs, name)
        expect(number >= 0, f"{name}: expected 0 or more; given {number}")
    size = attrs.kernel_size
    expect(size > 0 and size % 2, f"kernel_size: expected an odd number; given {size}")
    border = attrs.max_displacement + (size - 1) // 2
    inner = [extent + 2 * attrs.pad_size - 2 * border for extent in shape[2:]]
    expect(
        min(inner) > 0,
        f"data1: expected more than {2 * border} rows and columns, pad_size on either side "
        f"included, for max_displacement {attrs.max_displacement} and kernel_size {size}; given "
        f"{shape} and pad_size {attrs.pad_size}",
    )
    extents = tuple(-(-extent // attrs.stride1) for extent in inner)
    return attrs.max_displacement // attrs.stride2, extents


def _infer(attrs: CorrelationAttrs, data1: TensorType, data2: TensorType) -> TensorType:
    check(
        data1.ndim == 4 and data1.shape == data2.shape,
        "Correlation",
        "data1 and data2: expected one shape (batch, channels, height, width); given "
        f"{data1.shape} and {data2.shape}",
    )
    check(
        data1.shape[1],
        "Correlation",
        f"data1: expected at least one channel, whose mean is taken; given {data1.shape}",
    )
    reach, extents = _counts(attrs, data1.shape)
    return TensorType((data1.shape[0], (2 * reach + 1) ** 2, *extents), data1.dtype)


def _decompose(attrs: CorrelationAttrs, data1: Any, data2: Any) -> Any:
    reach, extents = _counts(attrs, data1.shape)
    batch, channels = data1.shape[:2]
    size, count = attrs.kernel_size, 2 * reach + 1
    spans = tuple((extent - 1) * attrs.stride1 + size for extent in extents)
    pad = attrs.pad_size
    around = (0, 0, pad, pad)
    one, two = (_pad(x, before=around, after=around, value=0.0) for x in (data1, data2))
    begin = attrs.max_displacement
    shape = (batch, channels)
    here = _slice(one, start=(0, 0, begin, begin), step=(1,) * 4, extents=(*shape, *spans))
    first = begin - reach * attrs.stride2
    wide = tuple(span + 2 * reach * attrs.stride2 for span in spans)
    reached = _slice(two, start=(0, 0, first, first), step=(1,) * 4, extents=(*shape, *wide))
    ones = (1, 1)
    moved = _window(
        reached,
        kernel=(count, count),
        stride=ones,
        dilate=(attrs.stride2, attrs.stride2),
        pad=(0, 0),
        extents=spans,
    )
    own = _reshape(here, shape=(*shape, *spans, 1, 1))
    alike = own * moved if attrs.is_multiply else absolute(own - moved)
    return alike


