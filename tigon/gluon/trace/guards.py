"""What a trace may read, and the guards of it, which are compared natively at every call.

A guard is what was read: the name in a dictionary, a cell, the element of a list, and the very
object that was found there, or the value of an immutable one. Nothing is copied deeply. Which names
are read of an object is over-estimated: all those that the code of any frame of the trace mentions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tigon import _native
from tigon.gluon.trace import surroundings

MISSING = _native.MISSING


class GuardSet:
    """Native guards with a description each; first those of an earlier trace."""

    def __init__(self, before: GuardSet | None = None) -> None:
        self.native = _native.Guards()
        self.described: list[str] = []
        self._known: set[Any] = set()
        self._known_before: frozenset[Any] = frozenset()
        if before is not None:
            self.native.begin_with(before.native)
            self.described = list(before.described)
            self._known_before = frozenset(before._known)
            self._known = set(before._known)

    def _is_known(self, *key: Any) -> bool:
        """Whether the earlier trace guards the same."""
        self._known.add(key)
        return key in self._known_before

    def add(self, what: str, kind: str, *arguments: Any) -> None:
        owner, *rest = arguments  # which the guard keeps
        names = [part for part in rest if isinstance(part, str) or _are_names(part)]
        if self._is_known(kind, id(owner), *names):
            return
        getattr(self.native, kind)(*arguments)
        self.described.append(what)

    def add_name(self, what: str, space: dict[str, Any], name: str) -> None:
        """A name of a module or an attribute: those of one dictionary are one guard. `what` is said
        before the name."""
        if self._is_known(id(space), name):
            return
        if self.native.name(space, name) == len(self.described):
            self.described.append(what)

    def failed(self) -> str | None:
        """The first that does not hold, in words."""
        number = self.native.failed()
        if number < 0:
            return None
        name = self.native.differing_name(number)
        return self.described[number] + ("" if name is None else name)

    def __len__(self) -> int:
        return len(self.described)


def _are_names(given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(part, str) for part in given)


class Reach:
    """What is within reach of the code of one trace, by which names, and what of it is guarded.
    `give_way(reason)` is called for what cannot be guarded."""

    def __init__(
        self,
        give_way: Callable[[str], None],
        before: tuple[GuardSet, GuardSet] | None = None,
    ) -> None:
        steady, lasting = before or (None, None)
        self.steady = GuardSet(steady)
        """Of blocks: compared when some block or parameter was changed."""
        self.lasting = GuardSet(lasting)
        """Compared at every call."""
        self.give_way = give_way
        self.names: dict[str, None] = {"forward": None, "hybrid_forward": None}
        """What the code may read of any object."""
        self.asked: set[str] = set()
        """Those of them that may be missing: `hasattr`, `except AttributeError`."""
        self.everything = False
        """Whether it may read any name."""
        self.pending: list[Any] = []
        """What is within reach and not looked into yet."""
        self._seen: dict[tuple[int, str], Any] = {}
        self._modules = 0
        self._readers: dict[int, surroundings.Surrounding] = {}

    def add(self, value: Any) -> None:
        """The value is within reach of the code."""
        self.pending.append(value)

    def is_new(self, owner: Any, what: str) -> bool:
        """Whether this of an object, which is kept, is asked for the first time."""
        key = (id(owner), what)
        return key not in self._seen and self._seen.setdefault(key, owner) is owner

    def new_names(self, names: Iterable[str]) -> list[str]:
        """Those among names that are read for the first time."""
        new = [name for name in names if name not in self.names]
        self.names.update(dict.fromkeys(new))
        return new

    def named(self, what: str, space: dict[str, Any], name: str) -> None:
        """A name of a module was read."""
        self.item(self.lasting, space, name, what)

    def item(self, table: GuardSet, space: dict[str, Any], name: str, what: str) -> None:
        """An attribute was read; `what` is said before its name."""
        if self.is_new(space, name):
            table.add_name(what, space, name)

    def names_of(self, value: Any, space: Any) -> None:
        """All names of an object or a module were read: there may be no others later."""
        if self.is_new(value, "<names>"):
            names = tuple(space)
            self.lasting.add(
                f"the names of a {type(value).__name__}", "check", lambda: tuple(space) == names
            )

    def surroundings(self, value: Any) -> None:
        """State that is set elsewhere is guarded where something may read it."""
        if self._modules != len(sys.modules):  # some were loaded
            self._modules, self._readers = len(sys.modules), surroundings.readers()
        found = self._readers.get(id(value))
        if found is None or not self.is_new(found, ""):
            return
        if found is surroundings.ENVIRONMENT:
            self.lasting.add(found.what, "mapping", os.environ._data)  # type: ignore[attr-defined]
        else:
            known, state = found.state(), found.state
            self.lasting.add(found.what, "check", lambda: bool(state() == known))
