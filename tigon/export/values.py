"""Arrays from bytes of a file, for both formats that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tigon.base import DType, TigonError

_MOST_BYTES = 2**63 - 1

Fail = Callable[[str, object, int], TigonError]
"""What was expected, what was given, and how many bytes into the values."""


def is_text(name: str) -> bool:
    """JSON can spell halves of surrogate pairs, which no text has."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def written_name(name: str) -> bytes:
    """A name as files hold it."""
    if not is_text(name):
        raise TigonError(f"save: the name {name!r} is no text, it has half of a surrogate pair")
    return name.encode()


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
    array = np.frombuffer(data, dtype.memory.newbyteorder("<"))
    if dtype.name == "bool":
        given = np.frombuffer(data, np.uint8)
        wrong = given > 1
        if wrong.any():
            first = int(wrong.argmax())
            raise fail("0 or 1 for a truth value", int(given[first]), first)
    return array.reshape(tuple(shape))
