"""Python's collector of cycles, kept from looking where there is nothing to collect."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collections meanwhile, by any thread. For work that makes many objects which stay or are
    freed by their counts: the collector would go through all objects of the process, numpy's and
    LLVM's included, 10 ms each time. Where threads may overlap, they hold one lock around this.

    >>> with collector_paused():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    enabled = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if enabled:
            gc.enable()
