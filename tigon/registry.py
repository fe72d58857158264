"""`mx.registry`: classes by name, for programs that keep registers of their own.

>>> class Filter: ...
>>> register, create = get_register_func(Filter, "filter"), get_create_func(Filter, "filter")
>>> @register
... class Blur(Filter):
...     def __init__(self, size=3):
...         self.size = size
>>> create("blur", size=5).size, create('["blur", {"size": 7}]').size
(5, 7)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

from tigon.base import TigonError, check
from tigon.base.lazy import complete as _complete

_REGISTERS: dict[type, dict[str, type]] = {}


def get_registry(base_class: type) -> dict[str, type]:
    """The registered subclasses, by name: a copy."""
    return dict(_REGISTERS.get(base_class, {}))


def get_register_func(base_class: type, nickname: str) -> Callable[..., type]:
    """A function that registers a subclass under its own name, or another one, in lower case. A
    later class of the name takes its place, with a warning."""

    def register(klass: type, name: str | None = None) -> type:
        check(
            isinstance(klass, type) and issubclass(klass, base_class),
            f"register {nickname}",
            f"expected a class derived from {base_class.__name__}; given {klass!r:.80}",
        )
        known = _REGISTERS.setdefault(base_class, {})
        key = (klass.__name__ if name is None else name).lower()
        before = known.get(key)
        if before is not None and before is not klass:
            warnings.warn(
                f"{nickname} '{key}' is {klass.__module__}.{klass.__name__} from now on; it was "
                f"{before.__module__}.{before.__name__}",
                UserWarning,
                stacklevel=2,
            )
        known[key] = klass
        return klass

    register.__doc__ = f"Register a {nickname}."
    return register


def get_alias_func(base_class: type, nickname: str) -> Callable[..., Any]:
    """A function of names, for a decorator that registers a subclass under each of them."""
    register = get_register_func(base_class, nickname)

    def alias(*aliases: str) -> Callable[[type], type]:
        def under_each(klass: type) -> type:
            for name in aliases:
                register(klass, name)
            return klass

        return under_each

    return alias


def get_create_func(base_class: type, nickname: str) -> Callable[..., Any]:
    """A function that makes an object of a registered class: of its name and arguments, of JSON of
    these (`'["name", {...}]'`), of a dictionary with the name under `nickname`. An object is given
    back as it is."""
    where = f"create {nickname}"

    def create(*args: Any, **kwargs: Any) -> Any:
        first, *rest = args if args else (kwargs.pop(nickname, None),)
        if isinstance(first, base_class):
            check(
                not rest and not kwargs,
                where,
                f"a {nickname} was given; leave the other arguments out",
            )
            return first
        name, fields = _described(first, nickname, where)
        known = _REGISTERS.get(base_class, {})
        found = known.get(name.lower())
        if found is None:
            names = ", ".join(sorted(known)) or "none so far"
            raise TigonError(f"{where}: '{name:.80}' is not registered; registered: {names}")
        return found(*rest, **{**fields, **kwargs})

    create.__doc__ = f"Make a {nickname} of a registered class."
    return create


def _described(given: Any, nickname: str, where: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments."""
    if isinstance(given, str) and given.lstrip()[:1] in ("[", "{"):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise TigonError(f"{where}: expected JSON; given {given!r:.80}: {error}") from None
    if isinstance(given, list) and len(given) == 2 and isinstance(given[1], dict):
        name, fields = given
    elif isinstance(given, dict):
        name = given.get(nickname)
        fields = {key: value for key, value in given.items() if key != nickname}
    else:
        name, fields = given, {}
    check(
        isinstance(name, str),
        where,
        f"expected a name, or a dictionary with one under '{nickname}'; given {given!r:.80}",
    )
    return name, fields


__all__ = ["get_alias_func", "get_create_func", "get_register_func", "get_registry"]

_complete(globals())
