"""What a class says of an argument that is of another type than it declares.

Constructors do not look at types: they run into them. Where one does, the annotations of its
`__init__` say which argument it was."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from tigon.base.errors import TigonError, TigonTypeError

Kind = TypeVar("Kind")
_RUN_INTO = (TypeError, ValueError, AttributeError)


def names_wrong_types(kind: type[Kind]) -> type[Kind]:
    """Let the `__init__` that a class defines name the argument whose type it ran into.

    >>> @names_wrong_types
    ... class Layer:
    ...     def __init__(self, units: int) -> None:
    ...         self.half = units // 2
    >>> Layer("many")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonTypeError: Layer: units: expected int; given 'many'
    """
    init: Any = vars(kind).get("__init__")
    if init is None:
        return kind

    @wraps(init)
    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        try:
            init(self, *args, **keywords)
        except _RUN_INTO as error:
            if isinstance(error, TigonError):
                raise
            wrong = _wrong_argument(init, type(self).__name__, (self, *args), keywords)
            if wrong is None:
                raise
            raise TigonTypeError(wrong) from None

    kind.__init__ = __init__  # type: ignore[method-assign]
    return kind


class NamesWrongTypes:
    """Base of classes of this package that all do so; those of users are left alone."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.__module__.startswith("tigon."):
            names_wrong_types(cls)


def _wrong_argument(
    init: Callable[..., None], name: str, args: tuple[Any, ...], keywords: dict[str, Any]
) -> str | None:
    try:
        given = inspect.signature(init).bind(*args, **keywords).arguments
    except TypeError:
        return None  # of number or names of arguments: the error says so
    names = vars(sys.modules[init.__module__])
    for argument, annotation in init.__annotations__.items():
        if argument not in given or inspect.signature(init).parameters[argument].kind in (2, 4):
            continue
        declared = annotation
        if isinstance(annotation, str):
            try:
                declared = eval(annotation, names)
            except NameError:
                continue  # imported for type checkers only
        if not fits(declared, given[argument]):
            return f"{name}: {argument}: expected {annotation}; given {given[argument]!r:.80}"
    return None


def fits(declared: Any, value: Any) -> bool:
    """Whether a value is of a declared type, as far as it can be told.

    >>> fits(int | Sequence[int], (1, 2)), fits(int | Sequence[int], (1, "a")), fits(float, 1)
    (True, False, True)
    """
    origin, inside = typing.get_origin(declared), typing.get_args(declared)
    if declared is Any:
        return True
    if declared is None or declared is type(None):
        return value is None
    if origin in (types.UnionType, typing.Union):
        return any(fits(one, value) for one in inside)
    if declared in (int, float):
        numbers = (int, np.integer) if declared is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers)
    if origin in (Sequence, list, tuple):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and (not inside or all(fits(inside[0], item) for item in value))
        )
    if origin is Mapping or declared is Mapping:
        return isinstance(value, Mapping)
    if origin is Callable:
        return callable(value)
    return isinstance(value, declared) if isinstance(declared, type) else True
