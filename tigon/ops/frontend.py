"""The modules of a front end: a function for every registered name, made at its first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from tigon.base.lazy import members_on_demand
from tigon.ops import record
from tigon.ops.record import Operator
from tigon.ops.signature import NAMESPACES, SHARED, placement

Function = Callable[..., Any]

GROUPS = ("op", "_internal", *NAMESPACES)
"""Modules within a front end: all operators, those of inner names, and the users' namespaces."""


def publish(
    namespace: dict[str, Any],
    operands: str,
    make: Callable[[Operator, str], Function],
    pairs: Mapping[str, Callable[[], Function]],
    own: Mapping[str, Mapping[str, Function]],
    later: Mapping[str, Mapping[str, Callable[[], Function]]] | None = None,
) -> Callable[[str], Function]:
    """Fill a module, whose own members stay, and make its groups. `pairs` are made instead of a
    record's function in the module itself; those of `own` stand in their group, and those of
    `later` are made there at their first use. Returns what finds the module's function of a name,
    or raises KeyError."""

    @cache
    def of_record(name: str) -> Function:
        if not record.is_known(name):
            raise KeyError(name)
        return make(record.get(name), name)

    def find(name: str) -> Function:
        return pairs[name]() if name in pairs else of_record(name)

    def public() -> list[str]:
        return [name for name in (*record.names(), *pairs, *GROUPS) if not name.startswith("_")]

    members_on_demand(namespace, public, find)
    for group in GROUPS:
        name = f"{namespace['__name__']}.{group}"
        module = ModuleType(name, f"Operators of the group '{group}' on {operands}.")
        module.__file__ = namespace["__file__"]  # what is made in it is no change by a program
        _fill(vars(module), group, of_record, own.get(group, {}), (later or {}).get(group, {}))
        namespace[group] = sys.modules[name] = module
    return find


def _fill(
    namespace: dict[str, Any],
    group: str,
    of_record: Callable[[str], Function],
    own: Mapping[str, Function],
    later: Mapping[str, Callable[[], Function]],
) -> None:
    namespace.update(own)
    members_on_demand(
        namespace,
        lambda: [*members(group), *own, *later],
        lambda short: later[short]() if short in later else of_record(registered(group, short)),
    )


def registered(group: str, short: str) -> str:
    """The registered name behind a group's member, or KeyError.

    >>> registered("linalg", "gemm2"), registered("op", "relu"), registered("_internal", "_copy")
    ('linalg_gemm2', 'relu', '_copy')
    """
    if group == "op" or (group == "_internal" and short.startswith("_")):
        return short
    for prefix in reversed(NAMESPACES.get(group, ())):
        if record.is_known(prefix + short):
            return prefix + short
    if short in SHARED.get(group, ()):
        return short
    raise KeyError(short)


def members(group: str) -> list[str]:
    """The names within a group, sorted."""
    names = record.names()
    if group == "op":
        return names
    if group == "_internal":
        return [name for name in names if name.startswith("_")]
    placed = (placement(name) for name in names)
    own = {found[1] for found in placed if found is not None and found[0] == group}
    return sorted(own | SHARED.get(group, frozenset()))
