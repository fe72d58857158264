"""Defaults of all that users call, as a list: a default that changes shows, whoever relies on it.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites the list; review reads the difference. Functions of
`nd` and `sym` have theirs in the stubs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import tigon as mx

LIST = Path(__file__).parent / "signatures.txt"
INSIDE = frozenset(
    "analysis backends base ir library loop lower nd ops passes program readers sym".split()
)
"""Parts that users do not call, and those of the stubs."""
LEFT_OUT = frozenset(("tigon.__main__", "tigon.gluon.data.worker", "tigon.distributed"))
"""Modules that run something where they are imported."""
CALLED = frozenset(("__init__", "__new__", "__call__"))


def modules() -> Iterator[ModuleType]:
    yield mx
    for found in pkgutil.walk_packages(mx.__path__, "tigon."):
        name = found.name
        inside = name.split(".")[1] in INSIDE or name.split(".")[-1].startswith("_")
        if not inside and not any(name == out or name.startswith(f"{out}.") for out in LEFT_OUT):
            yield importlib.import_module(name)


def functions() -> dict[str, FunctionType]:
    """By where they are defined, each once: public functions, and what public classes define."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            members = vars(value).items() if isinstance(value, type) else [("", value)]
            for inner, member in members:
                member = getattr(member, "__func__", member)
                public = not inner.startswith("_") or inner in CALLED
                if public and isinstance(member, FunctionType):
                    member = inspect.unwrap(member)
                    if not member.__module__.startswith("tigon."):
                        continue  # what a named tuple has been given
                    found[f"{member.__module__}.{member.__qualname__}"] = member
    return found


def shown(value: Any) -> str:
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
