"""Attributes of operators: what a user gives, checked and brought into the declared types."""

from __future__ import annotations

import ast
import math
import re
import sys
import typing
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tigon.base import TigonError
from tigon.base.dtypes import DType, as_dtype
from tigon.base.errors import user_line
from tigon.base.extents import RuntimeExtent, RuntimeNumber
from tigon.base.frozen import MISSING, Frozen, fields
from tigon.base.unread import number_of
from tigon.ir.graph import Graph
from tigon.ir.text import parse

if TYPE_CHECKING:
    from tigon.ops.record import Operator


def attrs_dict(attrs: Any) -> dict[str, Any]:
    """Field name -> value."""
    return dict(vars(attrs))


@cache
def attr_fields(attrs_type: type) -> dict[str, tuple[Any, Any]]:
    """Field name -> (annotation, default). `MISSING` where it must be given."""
    types: dict[str, Any] = {}
    for cls in reversed(attrs_type.__mro__[: attrs_type.__mro__.index(Frozen)]):
        for name, annotation in cls.__annotations__.items():
            types[name] = _evaluated(annotation, cls.__module__)
    return {name: (types[name], default) for name, default in fields(attrs_type).items()}


@cache
def _evaluated(annotation: Any, module: str) -> Any:
    """An annotation that is kept as text. `typing.get_type_hints` would compile each one anew."""
    if not isinstance(annotation, str):
        return annotation
    return eval(annotation, vars(sys.modules[module]))


_made: dict[Any, Any] = {}
_MADE_KEPT = 10_000
_TOLD_APART = (int, str, bool, type(None))
"""Types of values that are the same where they are equal, which floats are not: -0.0 is 0.0."""


def make_attrs(op: Operator, given: Mapping[str, Any]) -> Any:
    """Those of a call. Equal calls share them: a network repeats itself."""
    key: Any = None
    if all(
        type(value) in _TOLD_APART
        or (type(value) is tuple and all(type(each) is int for each in value))
        for value in given.values()
    ):
        key = (op, *given.items(), *map(type, given.values()))
        found = _made.get(key)
        if found is not None:
            return found
    attrs = _make_attrs(op, given)
    if key is not None and attr_fields(op.attrs_type):  # where there are none, a user may be warned
        if len(_made) >= _MADE_KEPT:
            _made.clear()
        _made[key] = attrs
    return attrs


def _make_attrs(op: Operator, given: Mapping[str, Any]) -> Any:
    fields = attr_fields(op.attrs_type)
    values = {}
    for name, value in given.items():
        if name not in fields:
            if not fields and isinstance(value, _PLAIN):
                _drop(op, name)
                continue
            known = ", ".join(fields) or "none"
            raise TigonError(f"{op.name}: has no attribute '{name}'; it knows: {known}")
        values[name] = _coerce(op, name, fields[name][0], value)
    for name, (_, default) in fields.items():
        if name not in values and default is MISSING:
            raise TigonError(f"{op.name}: attribute '{name}' must be given")
    return op.attrs_type(**values)


_PLAIN = (bool, int, float, str, tuple, list, type, type(None), np.dtype, np.generic)
_DROPPED: set[tuple[str, str]] = set()


def _drop(op: Operator, name: str) -> None:
    """MXNet never reads the keywords of an operator without attributes, and programs carry some."""
    if (op.name, name) not in _DROPPED:
        _DROPPED.add((op.name, name))
        warnings.warn(
            f"{op.name}: has no attributes; '{name}' changes nothing, as in MXNet; leave it out "
            f"({user_line()})",
            UserWarning,
            stacklevel=2,
        )


def _coerce(op: Operator, name: str, annotation: Any, value: Any) -> Any:
    """Bring a user's or a file's value into the declared type, or say what was expected."""
    value = number_of(value)
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if Graph in options:
        if isinstance(value, str):
            try:
                value = parse(value, op.find)
            except RecursionError:
                raise TigonError(f"{op.name}: attribute '{name}' is nested too deep") from None
        if isinstance(value, Graph):
            return value
        raise TigonError(
            f"{op.name}: attribute '{name}' expects a graph; given {shown(value):.300}"
        )
    if isinstance(value, str):
        value = _read(value, options)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and float in options:
        return value  # also where an int would do: -0.0 is not 0
    for option in options:
        fits, result = _as_option(op, name, option, value)
        if fits:
            return result
    for option in options:  # a single number where a tuple is wanted
        if typing.get_origin(option) is tuple and isinstance(value, (int, float)):
            return (_coerce(op, name, typing.get_args(option)[0], value),)
    raise TigonError(
        f"{op.name}: attribute '{name}' expects {_describe(annotation)}; given {shown(value):.300}"
    )


def shown(value: Any) -> str:
    """A value in a message: nested too deeply to be printed, it is named by its type."""
    try:
        return repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


_WORDS = {"true": True, "false": False, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def _read(text: str, options: Sequence[Any]) -> Any:
    """A value written in a file; text stays text where text is wanted."""
    if text == "None" and type(None) in options:
        return None
    if str in options:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        # Files written under Python 2 hold shapes such as (3L, 3L).
        return ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _as_option(op: Operator, name: str, option: Any, value: Any) -> tuple[bool, Any]:
    """Whether `value` is, or stands for, a value of this type, and that value."""
    number = isinstance(value, (int, float))
    if option is type(None):
        return value is None, None
    if option is bool:
        return isinstance(value, int) and value in (0, 1), bool(value) if number else None
    if isinstance(value, RuntimeNumber):
        return option is float or (option is int and isinstance(value, RuntimeExtent)), value
    if option is int:
        whole = type(value) is int or (isinstance(value, float) and value.is_integer())
        fits = whole and -(2**63) <= value < 2**63
        return fits, int(value) if fits else None
    if option is float:
        fits = isinstance(value, float) or (number and abs(value) <= sys.float_info.max)
        return fits, _real(value) if fits else None
    if option is str:
        if isinstance(value, (str, DType)):
            return True, str(value)
        if isinstance(value, (type, np.dtype)):
            return True, as_dtype(value).name
        return False, None
    if typing.get_origin(option) is tuple and isinstance(value, (tuple, list)):
        element = typing.get_args(option)[0]
        return True, tuple(_coerce(op, name, element, item) for item in value)
    return False, None


def _real(value: int | float) -> int | float:
    """A number where a float is declared. A whole one that no float equals stays whole: it is
    meant for an integer array."""
    real = float(value)
    return real if real == value or isinstance(value, float) else value


def _is_union(annotation: Any) -> bool:
    return len(typing.get_args(annotation)) > 0 and typing.get_origin(annotation) is not tuple


def _describe(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")
