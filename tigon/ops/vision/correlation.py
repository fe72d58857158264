"""How alike the surroundings of places in two pictures are (Dosovitskiy et al. 2015, "FlowNet")."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.nn._shared import Windows, windows
from tigon.ops.primitive.arithmetic import absolute
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _pad, _reshape, _slice, transpose
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
    ones, none = (1, 1), (0, 0)
    across = Windows((count, count), ones, (attrs.stride2, attrs.stride2), none)
    own = _reshape(here, shape=(*shape, *spans, 1, 1))
    moved = windows(reached, across, spans)
    alike = own * moved if attrs.is_multiply else absolute(own - moved)
    planes = transpose(_reduce_sum(alike, axes=(1,)), axes=(0, 3, 4, 1, 2))
    steps = (attrs.stride1, attrs.stride1)
    around_places = windows(planes, Windows((size, size), steps, ones, none), extents)
    mean = _reduce_sum(around_places, axes=(5, 6)) / (size * size * channels)
    return _reshape(mean, shape=(batch, count * count, *extents))


def _oracle(data1: np.ndarray, data2: np.ndarray, **fields: Any) -> Any:
    attrs = CorrelationAttrs(**fields)
    reach, extents = _counts(attrs, data1.shape)
    pad, size, begin = attrs.pad_size, attrs.kernel_size, attrs.max_displacement
    around = [(0, 0), (0, 0), (pad, pad), (pad, pad)]
    one, two = np.pad(data1, around), np.pad(data2, around)
    result = np.zeros((len(data1), (2 * reach + 1) ** 2, *extents), data1.dtype)
    steps = [step * attrs.stride2 for step in range(-reach, reach + 1)]
    for channel, (down, right) in enumerate((y, x) for y in steps for x in steps):
        for i, j in np.ndindex(*extents):
            y, x = begin + i * attrs.stride1, begin + j * attrs.stride1
            a = one[:, :, y : y + size, x : x + size]
            b = two[:, :, y + down : y + down + size, x + right : x + right + size]
            alike = a * b if attrs.is_multiply else abs(a - b)
            result[:, channel, i, j] = alike.mean((1, 2, 3))
    return result


correlation = composite(
    "Correlation",
    _decompose,
    operands="data1 data2",
    attrs=CorrelationAttrs,
    infer=_infer,
    dtypes="f",
    work=Work.PRODUCT,
    numpy=_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((2, 3, 5, 6), (2, 3, 5, 6), {"pad_size": 1}),
        (
            (1, 2, 8, 7),
            (1, 2, 8, 7),
            {
                "kernel_size": 3,
                "max_displacement": 3,
                "stride1": 2,
                "stride2": 2,
                "pad_size": 3,
                "is_multiply": False,
            },
        ),
        ((1, 1, 2, 2), (1, 1, 2, 2), {"max_displacement": 0}),
        ((0, 2, 3, 3), (0, 2, 3, 3), {}),
    ),
    doc="""How alike the surroundings of places in two pictures are, for all displacements up to a
    bound (Dosovitskiy et al. 2015): (batch, displacements, height, width), the mean of products, or
    of absolute differences.

    Parameters: `data1`, `data2` (batch, channels, height, width); `kernel_size` of surroundings,
    an odd number; displacements from -`max_displacement` to it, `stride2` apart, those in rows
    first; `stride1` between places; `pad_size` zeros around the pictures; `is_multiply` False for
    differences.

    >>> x = nd.array([[[[1, 2], [3, 4]]]])
    >>> nd.Correlation(x, x, max_displacement=0).asnumpy()
    array([[[[ 1.,  4.],
             [ 9., 16.]]]], dtype=float32)
    """,
)
