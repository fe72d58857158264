"""`mx.engine`: how many operations MXNet hands to its engine at once. Here each call is one
program, and a hybridized block is one too: the number is kept for those who ask, and changes
nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tigon.base import check
from tigon.base.lazy import complete as _complete

_held = threading.local()


def set_bulk_size(size: int) -> int:
    """Set the number for this thread; gives the one before, at first 0.

    >>> set_bulk_size(10), set_bulk_size(0)
    (0, 10)
    """
    check(
        isinstance(size, int) and size >= 0,
        "set_bulk_size",
        f"expected a whole number that is not negative; given {size!r}",
    )
    before, _held.size = getattr(_held, "size", 0), size
    return before


@contextmanager
def bulk(size: int) -> Iterator[None]:
    """Another number inside of a `with` statement.

    >>> with bulk(10):
    ...     set_bulk_size(10)
    10
    """
    before = set_bulk_size(size)
    try:
        yield
    finally:
        set_bulk_size(before)


__all__ = ["bulk", "set_bulk_size"]

_complete(globals())
