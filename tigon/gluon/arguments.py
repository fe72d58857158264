"""Arguments that are given by name: by position where they can be, so that a call is of one kind
however it is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon.gluon.trace.kinds import Static

_BY_NAME = Static("by name")
"""Stands before the dictionary of what is passed by name only."""


def packed(args: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Any, ...]:
    """Both as one tuple."""
    return (*args, _BY_NAME, dict(keywords)) if keywords else tuple(args)


def unpacked(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What `packed` packed."""
    return (args[:-2], args[-1]) if len(args) > 1 and args[-2] is _BY_NAME else (args, {})


class Positions:
    """What a function takes by position or by name, in order, and what it is if it is not given."""

    def __init__(self, function: Callable[..., Any], own: int = 0) -> None:
        """`own`: how many of the first ones are given by us."""
        self.names: list[str] = []
        self.defaults: dict[str, Any] = {}
        self.unnamed = 0
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is None:  # of types and of functions in C less is known: by name, what is by name
            return
        own += inspect.ismethod(function)
        names = code.co_varnames[: code.co_argcount]
        given = getattr(function, "__defaults__", None) or ()
        self.defaults = dict(zip(names[len(names) - len(given) :], given, strict=True))
        self.unnamed = max(code.co_posonlyargcount - own, 0)
        self.names = list(names[own:])

    def stop_before(self, names: Mapping[str, Any]) -> Positions:
        """Those before the first of some names, which are given by us."""
        for index, name in enumerate(self.names):
            if name in names:
                del self.names[index:]
                break
        return self

    def arrange(
        self, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call that means the same, with less by name. Whether it fits is found out when the
        function is called."""
        listed, left = list(args), dict(keywords)
        while left and len(listed) < len(self.names):
            name = self.names[len(listed)]
            if name in left and len(listed) >= self.unnamed:
                listed.append(left.pop(name))
            elif name in self.defaults and not left.keys().isdisjoint(self.names[len(listed) :]):
                listed.append(self.defaults[name])
            else:
                break
        return tuple(listed), left
