"""What is written to terminals while bars are drawn there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

from tigon.base.locks import reentrant_lock

lock = reentrant_lock()
"""Whoever draws or clears a bar holds it."""

open_bars: WeakSet[Any] = WeakSet()
"""With `is_seen`, `clear` and `refresh`."""


def is_terminal(stream: Any) -> bool:
    """Whether a stream is there, open, and leads to a terminal.

    >>> is_terminal(None)
    False
    """
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none, or closed
        return False


def columns(stream: Any) -> int:
    """How wide a terminal is, now; of other streams what the environment says in `COLUMNS`, else
    what the terminal of the program has, or 80."""
    with suppress(OSError, ValueError, AttributeError):
        found = os.get_terminal_size(stream.fileno()).columns
        if found > 1:
            return found
    import shutil

    return max(shutil.get_terminal_size().columns, 2)


@contextmanager
def between_bars(stream: Any) -> Iterator[None]:
    """What is written to `stream` stands on lines of its own: if it is a terminal, the lines of
    bars are empty meanwhile, and are drawn again.

    >>> import sys
    >>> with between_bars(sys.stdout):
    ...     print("halfway")
    halfway
    """
    if not open_bars or not is_terminal(stream):
        yield
        return
    with lock:
        seen = [bar for bar in list(open_bars) if bar.is_seen()]
        for bar in seen:
            bar.clear()
        try:
            yield
        finally:
            for bar in seen:
                bar.refresh()
