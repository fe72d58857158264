"""Numbers that stand for one which is read when it is needed."""

from __future__ import annotations

from typing import Any


class Unread:
    """A number that nobody has asked for yet. Where numbers are taken in, it is read first."""

    __slots__ = ()

    of: Any
    """The symbol whose value it is."""

    def value(self) -> Any:
        """The number."""
        raise NotImplementedError


def number_of(given: Any) -> Any:
    """The number, where one is given that is not read yet; anything else is itself.

    >>> number_of(3)
    3
    """
    return given.value() if isinstance(given, Unread) else given
