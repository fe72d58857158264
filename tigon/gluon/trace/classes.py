"""Whose a class or an object is, and whether it can be looked into."""

from __future__ import annotations

import datetime
import re
import struct
import sys
import threading
import weakref
from collections import OrderedDict, abc, deque
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np

from tigon import _native
from tigon.gluon.trace import watch

PLAIN = (int, float, bool, complex, str, bytes, type(None))
"""Of values that never change and have no inside."""


def is_read_by_others(value: Any) -> bool:
    """Whether methods that nobody watches read what it holds: those of a schedule, a metric or a
    dataset of ours, of a mapping or sequence of a library, which holds what is in it in attributes
    of its own, and of what the user derives from these and other classes."""
    kind = type(value)
    if any(base.__module__.startswith(_OWN_RECORDS) for base in type.mro(kind)):
        return True
    if is_users(kind):
        return any(map(_is_of_library, type.mro(kind)))
    return isinstance(value, (abc.Mapping, abc.Sequence, abc.Set)) or kind.__module__ in (
        "queue",
        "threading",
    )


_OWN_RECORDS = (
    "tigon.lr_scheduler",
    "tigon.metric",
    "tigon.initializer",
    "tigon.gluon.data",
    "tigon.optimizer",
)

_WITHOUT_STATE = frozenset("abc _collections_abc collections.abc typing contextlib enum".split())


def _is_of_library(base: type) -> bool:
    """Whether it is a class of a library, in Python, whose instances may hold something."""
    if not is_written_in_python(base) or is_users(base) or base.__module__ in _WITHOUT_STATE:
        return False
    return not base.__module__.startswith("tigon.")


def is_written_in_python(kind: type) -> bool:
    """Whether a class was made by a class statement, or as such are."""
    return bool(kind.__flags__ & (1 << 9))


def defines(kind: type, name: str) -> type:
    """The class that a name of a class is found in."""
    return next(base for base in type.mro(kind) if name in vars(base))


def slots_of(kind: type) -> list[str]:
    """Attributes that lie in the instances themselves."""
    return [
        name
        for base in type.mro(kind)
        if is_written_in_python(base)
        for name, found in vars(base).items()
        if isinstance(found, MemberDescriptorType)
    ]


def is_users(kind: type) -> bool:
    """Whether a class is written in Python and belongs neither to a library nor to us."""
    if not is_written_in_python(kind):
        return False
    module = kind.__module__
    if not isinstance(module, str) or module.split(".")[0] not in watch.UNWATCHED_MODULES:
        return True
    # A program's own file may have the name of a module of the standard library.
    path = getattr(sys.modules.get(module), "__file__", None)
    return path is not None and watch.is_user(path)


def is_own_module(value: Any) -> bool:
    """Whether it is a module of ours, such as `nd`."""
    if not issubclass(type(value), ModuleType):
        return False
    return watch.is_own(vars(value).get("__file__") or "")


def is_made_by(code: CodeType, value: Any) -> bool:
    """Whether this is the code of `__init__` of the value's class."""
    made_by = _native.type_lookup(type(value), "__init__")
    return isinstance(made_by, FunctionType) and made_by.__code__ is code


def users_bases(kind: type) -> list[type]:
    """The user's classes among a class and its bases."""
    return [base for base in type.mro(kind) if is_users(base)] if kind is not type else []


def is_record(value: Any) -> bool:
    """Whether it is an instance of a class of the user's, other than a container."""
    kind = type(value)  # `isinstance` would ask the value
    return is_users(kind) and not issubclass(kind, (tuple, list, dict, set, frozenset))


_TRANSPARENT: tuple[type, ...] = (
    object,
    type,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    tuple,
    list,
    dict,
    set,
    frozenset,
    slice,
    property,
    BaseException,
    ModuleType,
    SimpleNamespace,
    OrderedDict,
    deque,
    threading.local,
    weakref.ReferenceType,
    re.Pattern,
    re.Match,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    np.ndarray,
    np.generic,
    np.ufunc,
)
"""Classes of C whose instances are looked into by rules of their own, or never change; and theirs
below them."""

_POINTER = struct.calcsize("P")

_UNCHANGING = frozenset(
    "builtins types typing functools operator decimal zoneinfo _struct _typing".split()
)
"""Modules of C whose other classes have instances that never change, or have rules of their own."""


def is_hidden(value: Any) -> bool:
    """Whether it is opaque, or a method of what is, such as `lock.acquire`."""
    owner = value.__self__ if isinstance(value, BuiltinFunctionType) else value
    return is_opaque(type(owner))


_known: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def is_opaque(kind: type) -> bool:
    """Whether instances hold something in memory of their own that is neither an attribute nor a
    slot: a lock, a connection, an element of a tree. What changes there nobody can see."""
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = any(_adds_memory(base) for base in type.mro(kind))
    return known


def _adds_memory(base: type) -> bool:
    """Whether a class of C adds memory to what its base has."""
    below = base.__base__
    module = base.__module__
    if below is None or issubclass(base, _TRANSPARENT[1:]) or module in _UNCHANGING:
        return False
    if not isinstance(module, str) or module.split(".")[0] == "tigon":
        return False
    if hasattr(base, "__get__"):  # descriptors do not change
        return False
    slots = sum(isinstance(found, MemberDescriptorType) for found in vars(base).values())
    slots += (base.__dictoffset__ != 0) > (below.__dictoffset__ != 0)
    slots += (base.__weakrefoffset__ != 0) > (below.__weakrefoffset__ != 0)
    return base.__basicsize__ - below.__basicsize__ > slots * _POINTER
