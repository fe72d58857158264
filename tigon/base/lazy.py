"""Attributes of objects, modules and classes that are computed at their first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class computed_once(Generic[T]):
    """`functools.cached_property` without the lock that it has before Python 3.12: one per class,
    which serialises threads and stays locked in a forked child. Two threads may both compute.

    >>> class Circle:
    ...     radius = 2
    ...     @computed_once
    ...     def diameter(self):
    ...         print("computing")
    ...         return 2 * self.radius
    >>> circle = Circle()
    >>> circle.diameter, circle.diameter
    computing
    (4, 4)
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = self._compute(instance)
        instance.__dict__[self._name] = value
        return value


class _NoAttribute(AttributeError):
    """Says what to use when it is shown. Most are not: imports ask for modules before they are
    there."""

    def __init__(self, module: str, name: str) -> None:
        super().__init__(f"module {module!r} has no attribute {name!r}", name=name)
        self.module = module

    def __str__(self) -> str:
        absent = import_module("tigon.base.absent")
        return absent.message(self.module, self.name) or str(self.args[0])


_NoAttribute.__module__, _NoAttribute.__qualname__ = "builtins", "AttributeError"


def _elsewhere(module: str, name: str) -> Any:
    """A module of MXNet's that has another place here, as `image.image`; else an error."""
    if module.startswith("tigon."):
        found = import_module("tigon.base.places").module_in(module.removeprefix("tigon."), name)
        if found is not None:
            return found
    raise _NoAttribute(module, name) from None


def public_names(namespace: Mapping[str, Any]) -> list[str]:
    """What a module has for its users: what `__all__` says, or else what it defines."""
    module = namespace["__name__"]
    own = namespace.get("__all__")
    if own is None:
        own = [
            name
            for name, member in namespace.items()
            if not name.startswith("_") and getattr(member, "__module__", None) == module
        ]
    return sorted({*own, *(name for name in namespace if name.startswith("__"))})


def complete(namespace: dict[str, Any]) -> None:
    """Of a module all of whose members are there: let `dir` show the public ones, and errors say
    what to use in the place of others.

    >>> module = {"__name__": "tigon.gluon.nn", "Dense": complete, "__all__": ["Dense"]}
    >>> complete(module)
    >>> [name for name in module["__dir__"]() if not name.startswith("__")]
    ['Dense']
    >>> module["__getattr__"]("ReLU")
    Traceback (most recent call last):
    ...
    AttributeError: mx.gluon.nn.ReLU is not there yet; the nearest thing: nn.Activation("relu"); \
see docs/missing.md
    """

    namespace["__getattr__"] = lambda name: _elsewhere(namespace["__name__"], name)
    namespace["__dir__"] = lambda: public_names(namespace)


def continued_by(namespace: dict[str, Any], package: str) -> None:
    """Let a module have what its package has, too: MXNet defines in one file what is here in
    several, and programs name that file.

    >>> module = {"__name__": "json.scanner"}
    >>> continued_by(module, "json")
    >>> module["__getattr__"]("loads") is import_module("json").loads
    True
    """

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise _NoAttribute(namespace["__name__"], name)
        return getattr(import_module(package), name)

    namespace["__getattr__"] = __getattr__


def members_on_demand(
    namespace: dict[str, Any], names: Callable[[], Iterable[str]], make: Callable[[str], Any]
) -> None:
    """Give a module, by its namespace, members that are made at their first use (PEP 562). `make`
    raises KeyError where there is none of a name; `names` are shown by `dir`.

    >>> from types import ModuleType
    >>> module = ModuleType("shapes")
    >>> members_on_demand(vars(module), lambda: ["circle"], {"circle": 3}.__getitem__)
    >>> "circle" in vars(module), module.circle, "circle" in vars(module)
    (False, 3, True)
    >>> module.triangle
    Traceback (most recent call last):
    ...
    AttributeError: module 'shapes' has no attribute 'triangle'
    """

    def __getattr__(name: str) -> Any:
        try:
            made = make(name)
        except KeyError:
            return _elsewhere(namespace["__name__"], name)
        return namespace.setdefault(name, made)

    def __dir__() -> list[str]:
        return sorted({*public_names(namespace), *names()})

    namespace["__getattr__"] = __getattr__
    namespace["__dir__"] = __dir__


def imported_on_demand(namespace: dict[str, Any], names: Mapping[str, str]) -> None:
    """Give a package members that are imported at their first use: each is a module, "json", or
    something in one, "math:pi".

    >>> from types import ModuleType
    >>> package = ModuleType("package")
    >>> imported_on_demand(vars(package), {"pi": "math:pi", "decoder": "json.decoder"})
    >>> package.pi, package.decoder.__name__
    (3.141592653589793, 'json.decoder')
    """

    def find(name: str) -> Any:
        module, _, member = names[name].partition(":")
        found = import_module(module)
        return getattr(found, member) if member else found

    members_on_demand(namespace, lambda: names, find)


class method_on_demand:
    """A method of a class that is made when it is first looked up, and then takes this one's place.

    >>> class Circle: ...
    >>> method_on_demand.install(Circle, "area", lambda: lambda self: 3)
    >>> Circle().area(), type(vars(Circle)["area"]).__name__
    (3, 'function')
    """

    def __init__(self, owner: type, name: str, make: Callable[[], Any]) -> None:
        self._owner, self._name, self._make = owner, name, make

    @classmethod
    def install(cls, owner: type, name: str, make: Callable[[], Any]) -> None:
        setattr(owner, name, cls(owner, name, make))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        function = self._make()
        setattr(self._owner, self._name, function)
        return function.__get__(instance, owner)
