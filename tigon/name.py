"""Automatic names of symbols: `fullyconnected0`, `_plus0`, and so on."""

from __future__ import annotations

import threading
from typing import Any

_scope = threading.local()


class _Current(type):
    @property
    def current(cls) -> Any:
        """The manager in force in this thread."""
        return current()


class NameManager(metaclass=_Current):
    """Counts per hint; as a context manager it starts counting afresh.

    >>> with NameManager() as names:
    ...     names.get(None, "dot"), names.get(None, "dot"), names.get("mine", "dot")
    ('dot0', 'dot1', 'mine')
    """

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}
        self._previous: list[NameManager | None] = []

    def get(self, name: str | None, hint: str) -> str:
        """The given name, or the next one of the hint."""
        if name:
            return name
        number = self._counter.get(hint, 0)
        self._counter[hint] = number + 1
        return f"{hint}{number}"

    def __enter__(self) -> NameManager:
        self._previous.append(getattr(_scope, "value", None))
        _scope.value = self
        return self

    def __exit__(self, *_: object) -> None:
        _scope.value = self._previous.pop()


class Prefix(NameManager):
    """Puts a prefix before every name, given ones included.

    >>> with Prefix("block_") as names:
    ...     names.get(None, "dot"), names.get("w", "dot")
    ('block_dot0', 'block_w')
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        return self._prefix + super().get(name, hint)


def current() -> NameManager:
    """The manager in force in this thread."""
    found = getattr(_scope, "value", None)
    if found is None:
        found = _scope.value = NameManager()
    return found
