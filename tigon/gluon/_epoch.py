"""One number that grows whenever something a trace may have read is changed.

A hybridized call compares it with the number of its last full check: equal means that no
attribute, child, hook or parameter array of any block was replaced since, so nothing needs to be
compared again. One integer per process: the check costs tens of nanoseconds, a false alarm a few
microseconds.
"""

from __future__ import annotations

from tigon._native import set_epoch

current = 0


def advance() -> None:
    """Say that a block or a parameter was changed."""
    global current
    current += 1
    set_epoch(current)
