"""Records of named values that do not change.

What `dataclasses.dataclass(frozen=True)` makes, without the source that it generates and runs for
every class: half a millisecond each, and there are two hundred kinds of attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
"""The default of a field that must be given."""

FrozenT = TypeVar("FrozenT", bound="Frozen")


@dataclass_transform(frozen_default=True)
class Frozen:
    """The base of such records: fields are the annotations of the class, defaults its attributes.

    Equal if of one class and equal in all fields, and hashable if these are. With `kw_only` fields
    are given by name and may come without a default after others that have one; with `eq=False` a
    record equals itself only.

    >>> class Window(Frozen):
    ...     size: int
    ...     step: int = 1
    >>> window = Window(3)
    >>> window, window == Window(3, step=1), window == Window(3, 2)
    (Window(size=3, step=1), True, False)
    >>> replace(window, step=2)
    Window(size=3, step=2)
    >>> window.step = 2
    Traceback (most recent call last):
    ...
    AttributeError: Window: field 'step' cannot be set, records are frozen; use replace
    """

    _defaults: Mapping[str, Any] = {}
    _required: tuple[str, ...] = ()
    _positional: tuple[str, ...] = ()
    __match_args__: tuple[str, ...] = ()

    def __init_subclass__(cls, *, kw_only: bool = False, eq: bool = True) -> None:
        own = {name: cls.__dict__.get(name, MISSING) for name in cls.__annotations__}
        cls._defaults = {**cls._defaults, **own}
        cls._required = tuple(n for n, value in cls._defaults.items() if value is MISSING)
        cls._positional = () if kw_only else tuple(cls._defaults)
        cls.__match_args__ = cls._positional  # type: ignore[misc]
        if not eq:
            cls.__eq__ = object.__eq__  # type: ignore[method-assign]
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    def __init__(self, *positional: Any, **named: Any) -> None:
        values = self.__dict__
        values.update(self._defaults)  # first, so that all records have their fields in one order
        if positional:
            values.update(zip(self._positional, positional, strict=False))
            if len(positional) > len(self._positional):
                raise TypeError(
                    f"{type(self).__name__}: expected at most {len(self._positional)} values "
                    f"without a name; given {len(positional)}"
                )
        if named:
            values.update(named)
            if len(values) != len(self._defaults):
                self._refuse("has no field", values.keys() - self._defaults.keys())
            if positional and not named.keys().isdisjoint(self._positional[: len(positional)]):
                self._refuse("is given twice", named.keys() & self._positional[: len(positional)])
        for name in self._required:
            if values[name] is MISSING:
                self._refuse("must be given", (name,))

    def _refuse(self, what: str, names: Any) -> None:
        raise TypeError(f"{type(self).__name__}: {what}: {', '.join(sorted(names))}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__}: field '{name}' cannot be set, records are frozen; use replace"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}: field '{name}' cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__qualname__}({fields})"

    def __replace__(self: FrozenT, **changes: Any) -> FrozenT:
        return type(self)(**{**self.__dict__, **changes})


def fields(record: Frozen | type[Frozen]) -> Mapping[str, Any]:
    """Field name -> default, in order; `MISSING` where there is none. `vars` has the values.

    >>> class Window(Frozen):
    ...     size: int
    ...     step: int = 1
    >>> fields(Window)
    {'size': MISSING, 'step': 1}
    """
    return record._defaults


def replace(record: FrozenT, **changes: Any) -> FrozenT:
    """A record with some fields changed."""
    return record.__replace__(**changes)
