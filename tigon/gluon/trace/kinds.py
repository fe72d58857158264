"""What tells calls apart before any guard is asked."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from tigon import _native
from tigon.gluon.trace import classes

PLAIN = (*classes.PLAIN, np.generic)
"""Immutable values: they change only by assignment."""


def _same(a: Any, b: Any) -> bool:
    """Whether two hashable values mean one program. Equal values may not, such as 1 and 1.0, or 0.0
    and -0.0; nan, which is not equal to itself, does."""
    pairs = [(a, b)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, tuple):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif type(a) in _WHOLE or not isinstance(a, PLAIN):
            if not a == b:
                return False
        elif _number(a) != _number(b):
            return False
    return True


_WHOLE = frozenset((int, bool, str, bytes, type(None)))
"""Classes of values that are the same where they are equal."""


def _number(value: Any) -> Any:
    """Its type and its bits: equal numbers may differ, by the sign of a zero or a unit, and derived
    classes may compare and show themselves as they like."""
    if isinstance(value, np.generic):
        return (type(value), value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return (type(value), struct.pack("d", value))
    if isinstance(value, complex):
        return (type(value), struct.pack("dd", value.real, value.imag))
    for base in (str, bytes, int):
        if isinstance(value, base):
            return (type(value), value if type(value) is base else base.__repr__(value))
    return (type(value), None)


class Static:
    """An argument that is no array and not looked into: known by equality."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.value) if self.value == self.value else 0


def freeze(value: Any) -> Any:
    """What a value among the arguments contributes to the kind of a call: the content of numbers
    and containers, and which object anything else is; what is read of it is guarded.

    >>> freeze([1, 2]) == freeze([1, 2]), freeze(1) == freeze(1.0), freeze(1) == freeze(True)
    (True, False, False)
    >>> freeze(0.0) == freeze(-0.0), freeze(float("nan")) == freeze(float("nan"))
    (False, True)
    """
    if isinstance(value, Static):
        return value
    if isinstance(value, PLAIN) and not _own_attributes(value):
        return _number(value)
    return _content(value)


def _own_attributes(value: Any) -> dict[str, Any]:
    """What an instance of a class derived from a number, a text or a container holds besides."""
    if type(value) in _EXACT:
        return {}
    own = dict(_native.instance_dict(value) or {})
    for name in classes.slots_of(type(value)):
        if hasattr(value, name):
            own[name] = getattr(value, name)
    return own


_EXACT = frozenset((*PLAIN[:-1], tuple, list, dict, set, frozenset, np.ndarray, range, slice))


def freeze_attributes(value: Any) -> Any:
    """The same of a container, frozen; None if there is nothing."""
    own = _own_attributes(value)
    return freeze(own) if own else None


PLAINLY = 200
"""Containers in one value that are written out wherever they occur."""


class _Content:
    """What is in a value, without nesting: each container in turn, those in it by their number.

    If `numbered`, every container has one number, so that what contains itself ends, and what is
    shared is written once. Else equal content is equal however it is shared.
    What is in a set cannot change: sets `in_set` are known by identity.
    """

    def __init__(self, value: Any, numbered: bool, in_set: bool) -> None:
        self.tokens: list[Any] = []
        self.pending = [value]
        self.known: dict[int, int] | None = {id(value): 0}
        if not numbered:
            self.known = None
        self.in_set = in_set

    def write(self) -> tuple[Any, ...] | None:
        """None if there is too much to be written without numbers."""
        for item in self.pending:  # which grows
            if self.known is None and len(self.pending) > PLAINLY:
                return None
            self._head(item)
        return tuple(self.tokens)

    def _head(self, item: Any) -> None:
        """A container's type and what is in it; of another object which one it is."""
        if isinstance(item, (tuple, list)):
            base: Any = tuple if isinstance(item, tuple) else list
            self.tokens += (type(item), base.__len__(item))
            self._parts(base.__iter__(item))
        elif isinstance(item, (set, frozenset)):
            # In the order in which code goes through it.
            members = _Itself(item) if self.in_set else tuple(_member(i) for i in item)
            self.tokens += (type(item), members)
        elif isinstance(item, dict):
            self.tokens += (type(item), len(item))
            self._parts(item.keys())
            self._parts(item.values())
        elif isinstance(item, np.ndarray):
            layout = (item.shape, item.strides, item.flags.num)
            self.tokens += (type(item), layout, item.dtype.str, item.tobytes())
        elif isinstance(item, slice):
            self.tokens.append(slice)
            self._parts((item.start, item.stop, item.step))
        elif isinstance(item, range):
            self.tokens += (range, item.start, item.stop, item.step)
        elif isinstance(item, PLAIN):
            self.tokens.append(_number(item))
        else:
            self.tokens += (type(item), id(item))
            return
        if own := _own_attributes(item):
            self.tokens.append(self._later(own))

    def _parts(self, items: Iterable[Any]) -> None:
        for item in items:
            if isinstance(item, PLAIN) and not _own_attributes(item):
                self.tokens.append(_number(item))
            elif isinstance(item, Static):
                self.tokens.append(item)
            else:
                self.tokens.append(self._later(item))

    def _later(self, item: Any) -> int:
        number = 0
        if self.known is not None:
            number = self.known.setdefault(id(item), len(self.pending))
            if number < len(self.pending):
                return number
        self.pending.append(item)
        return number


def _content(value: Any, in_set: bool = False) -> Any:
    found = _Content(value, False, in_set).write()
    return _Content(value, True, in_set).write() if found is None else found


def _member(item: Any) -> Any:
    """The same of what is in a set."""
    return freeze(item) if isinstance(item, (*PLAIN, Static)) else _content(item, True)


class _Itself:
    """An object, known by identity and kept alive."""

    __slots__ = ("item",)

    def __init__(self, item: Any) -> None:
        self.item = item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.item is self.item

    def __hash__(self) -> int:
        return id(self.item)
