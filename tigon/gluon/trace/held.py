"""What objects and errors hold that traced code has made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from tigon import _native
from tigon.base import TigonError, nested
from tigon.base.unread import Unread
from tigon.sym.traced import ArraySymbol

SYMBOLIC = (ArraySymbol, Unread)
"""What stands for an array, or for a number in one, while code is traced."""

MOST_HELD = 1000
"""Objects in an error that are looked into."""


def attributes(held: Any) -> list[tuple[str, Any]]:
    """What an instance holds, by attribute; nothing for arrays, classes and functions."""
    kind = type(held)
    if issubclass(kind, (*SYMBOLIC, type, ModuleType, FunctionType)):
        return []
    if kind.__module__.startswith("tigon.") and not issubclass(kind, BaseException):
        return []  # blocks, say, which an error names
    found = dict(_native.instance_dict(held) or {})
    for kind in type.mro(type(held)):
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(held, name):
                found[name] = getattr(held, name)
    if isinstance(held, BaseException):
        found["args"] = held.args
    return [(name, item) for name, item in found.items() if isinstance(name, str)]


def set_attribute(held: Any, name: str, value: Any) -> None:
    """Without running its class's code, which may refuse."""
    put: Any = BaseException.__setattr__ if isinstance(held, BaseException) else object.__setattr__
    put(held, name, value)


def in_error(error: BaseException | None, has_reached: Callable[[Any], bool]) -> Iterator[Any]:
    """An error, those that led to it, and objects in them that the code has not found there."""
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending and len(seen) < MOST_HELD:
        held = pending.pop()
        if held is None or id(held) in seen or has_reached(held):
            continue
        seen.add(id(held))
        yield held
        if isinstance(held, BaseException):
            pending += [held.__cause__, held.__context__, *getattr(held, "exceptions", ())]
        for _, item in attributes(held):
            try:
                leaves = [*nested.leaves(item, "hybridize")]
            except TigonError:  # nested too deep
                continue
            pending += [leaf for leaf in leaves if attributes(leaf)]
