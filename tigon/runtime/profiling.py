"""What compiled code and front ends tell the profile while one is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from tigon import _native


class SpanKind(IntEnum):
    """As `csrc/profile/profile.h` numbers them."""

    PYTHON = 0
    DATA = 1
    BLOCK = 2
    OPERATOR = 3
    PROGRAM = 4
    TASK = 5
    KERNEL = 6
    WAIT = 7
    BACKWARD = 8
    COMPILE = 9


active = [False]
"""Whether a profile is taken, as one list that everybody holds: asking costs next to nothing."""


@contextmanager
def span(kind: SpanKind, name: str) -> Iterator[None]:
    """Around what this thread does meanwhile."""
    number = _native.profile.begin(kind, name)
    try:
        yield
    finally:
        _native.profile.end(number)


_MOST_PLACES = 1 << 16
_recent: dict[str, str] = {}
_earlier: dict[str, str] = {}  # two generations: programs may make names for ever


def note_place(node: str, place: str) -> None:
    """The user's line that made the node of a graph, by the node's name."""
    global _recent, _earlier
    if len(_recent) >= _MOST_PLACES:
        _earlier, _recent = _recent, {}
    _recent[node] = place


def place_of(node: str) -> str | None:
    """Where the node was made that a kernel is named after, or that of its gradient.

    >>> note_place("fc1_fwd", "net.py:12")
    >>> place_of("fc1_fwd_backward"), place_of("fc2_fwd")
    ('net.py:12', None)
    """
    while True:
        found = _recent.get(node) or _earlier.get(node)
        if found is not None or not node.endswith("_backward"):
            return found
        node = node.removesuffix("_backward")
