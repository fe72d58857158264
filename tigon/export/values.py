"""Arrays from bytes of a file, for both formats that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tigon.base import DType, TigonError
from tigon.base.dtypes import PUBLIC

MOST_AXES = 32
_MOST_BYTES = 2**63 - 1

Fail = Callable[[str, object, int], TigonError]
"""What was expected, what was given, and how many bytes into the values."""


def repeated(names: Sequence[str]) -> str | None:
    """The first name that stands twice."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def size_of(dtype: DType, shape: Sequence[int]) -> int | None:
    """The bytes of an array, or None where no array can be as large. The extents beside an extent
    of 0 count, too: strides are made of them."""
    strides = dtype.itemsize
    for extent in shape:
        strides *= max(extent, 1)
        if strides > _MOST_BYTES:
            return None
    return dtype.itemsize * math.prod(shape)


def array_of(data: memoryview, dtype: DType, shape: Sequence[int], fail: Fail) -> np.ndarray:
    """A read-only view of the bytes, which are as many as `size_of` says."""
    array = np.frombuffer(data, dtype.numpy.newbyteorder("<"))
    wrong: np.ndarray | None = None
    if dtype.name == "bool":
        wrong = np.frombuffer(data, np.uint8) > 1
        expectation = "0 or 1 for a truth value"
    elif dtype.name == "uint64":
        wrong = array > np.iinfo(np.int64).max
        expectation = "whole numbers within int64"
    if wrong is not None and wrong.any():
        first = int(wrong.argmax())
        given = array.view(np.uint8 if dtype.itemsize == 1 else array.dtype)[first]
        raise fail(expectation, int(given), first * dtype.itemsize)
    return array.reshape(tuple(shape))


def widen(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that arrays have today; narrower ones of a file are widened.

    >>> widen(np.ones(2, np.float16)).dtype
    dtype('float32')
    """
    if array.dtype.name in {dtype.name for dtype in PUBLIC}:
        return array
    return array.astype(
        {"float16": np.float32, "int8": np.int32, "int16": np.int32, "uint16": np.int32}.get(
            array.dtype.name, np.int64
        )
    )
