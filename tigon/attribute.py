"""`AttrScope`: attributes for all symbols that are created inside."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tigon.base import check

_scope = threading.local()


class _Current(type):
    @property
    def current(cls) -> Any:
        """The scope in force in this thread."""
        return current()


class AttrScope(metaclass=_Current):
    """Attributes (strings) that the symbols created inside carry.

    >>> with AttrScope(ctx_group="stage1"):
    ...     current().get({"__lr_mult__": "2"})
    {'ctx_group': 'stage1', '__lr_mult__': '2'}
    """

    def __init__(self, **attributes: str) -> None:
        for name, value in attributes.items():
            check(
                isinstance(value, str),
                "AttrScope",
                f"attribute '{name}' expects a string; given {value!r}",
            )
        self._own = dict(attributes)
        self._attributes = dict(attributes)
        self._previous: list[AttrScope | None] = []

    def get(self, attributes: Mapping[str, str] | None) -> dict[str, str]:
        """The scope's attributes, the given ones on top."""
        return {**self._attributes, **(attributes or {})}

    def __enter__(self) -> AttrScope:
        outer = getattr(_scope, "value", None)
        self._previous.append(outer)
        self._attributes = {**(outer._attributes if outer else {}), **self._own}
        _scope.value = self
        return self

    def __exit__(self, *_: object) -> None:
        _scope.value = self._previous.pop()


_EMPTY = AttrScope()


def current() -> AttrScope:
    """The scope in force in this thread."""
    return getattr(_scope, "value", None) or _EMPTY
