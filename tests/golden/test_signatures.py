"""Defaults of all that users call, as a list: a default that changes shows, whoever relies on it.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites the list; review reads the difference. Operators have
theirs in `docs/operators.md`.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import tigon as mx
from tigon.gluon.function import CompiledFunction
from tigon.ops.signature import FLUENT

HERE = Path(__file__).parent
LIST = HERE / "signatures.txt"
OPERATORS = ("tigon.nd.op", "tigon.sym.op")
"""Where their functions are made, at their first use."""
GIVEN = (CompiledFunction,)
"""Classes whose objects users are given, by `jit` this one, under no name of theirs."""
NAMESPACES = [
    getattr(functions, name)
    for functions in (mx.nd, mx.sym)
    for name in ("random", "contrib", "sparse")
]
"""Of operators, and of some functions beside them."""
CALLED = frozenset(("__init__", "__new__", "__call__"))


def modules() -> list[ModuleType]:
    """Those that users reach by names from the package on, whatever else has been imported."""
    found = [mx]
    for module in found:
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if isinstance(value, ModuleType) and value not in (*found, mx.ops):
                if value.__name__.startswith("tigon."):
                    found.append(value)
    return found


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module offers: what it lists, or else what it defines."""
    if hasattr(module, "__all__"):
        yield from ((name, getattr(module, name)) for name in module.__all__)
    else:
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
                yield name, value


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """What is called of a class and of its bases, by where it is defined."""
    operators = FLUENT if owner in (mx.nd.NDArray, mx.sym.Symbol) else ()
    for base in owner.__mro__:
        for name, member in vars(base).items():
            if (not name.startswith("_") or name in CALLED) and name not in operators:
                yield f"{base.__module__}.{base.__qualname__}.{name}", member


def functions() -> dict[str, FunctionType]:
    """By where they are defined, each once."""
    found = {}
    offered = [pair for module in modules() for pair in public(module)]
    offered += [
        (name, getattr(one, name)) for one in NAMESPACES for name in dir(one) if name[0] != "_"
    ]
    for name, value in [*offered, *((one.__name__, one) for one in GIVEN)]:
        place = f"{getattr(value, '__module__', '')}.{name}"
        for where, member in members(value) if isinstance(value, type) else [(place, value)]:
            member = getattr(member, "__func__", member)
            if isinstance(member, FunctionType) and where.startswith("tigon."):
                member = inspect.unwrap(member)
                inside = member.__module__.startswith("tigon.")  # but what named tuples are given
                if inside and member.__module__ not in OPERATORS:
                    found[where] = member
    return found


def shown(value: Any) -> str:
    """The same on all machines."""
    if isinstance(value, (ModuleType, FunctionType, BuiltinFunctionType)):
        return value.__name__
    return type(value).__name__ if " at 0x" in repr(value) else repr(value)


def lines() -> Iterator[str]:
    for place, function in sorted(functions().items()):
        defaults = [
            f"{parameter.name}={shown(parameter.default)}"
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is not parameter.empty
        ]
        if defaults:
            yield f"{place}: {', '.join(defaults)}"


def test_defaults() -> None:
    found = list(lines())
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        LIST.write_text("\n".join(found) + "\n")
    assert found == LIST.read_text().splitlines()


def test_defaults_are_those_of_the_class_that_users_name() -> None:
    found = functions()
    for name in ("SGD", "Adam"):  # both have been given theirs by one function
        assert f"tigon.optimizer.rules.{name}.__init__" in found


def test_golden_texts_hold_no_place_of_the_machine_that_wrote_them() -> None:
    here = (HERE.parents[1], sys.prefix, sys.base_prefix, tempfile.gettempdir())
    for path in HERE.rglob("*.txt"):
        text = path.read_text()
        assert not [place for place in (" at 0x", *map(str, here)) if place in text], path
