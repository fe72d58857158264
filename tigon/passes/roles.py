"""Which declared operand each input of a node is."""

from __future__ import annotations

from typing import Any

from tigon.ops.record import Operand, Operator


def operand_roles(op: Operator, attrs: Any, count: int) -> list[Operand]:
    """The declared operand behind each of `count` inputs.

    Operands absent under these attributes (`present`) are skipped, unless so many inputs are given
    that they are among them; a variadic one takes what the others leave.
    """
    declared = list(op.operands)
    if op.present is not None:
        there = set(op.present(attrs))
        wanted = [o for o in declared if o.name in there or o.random_key]
        if len(wanted) >= count or any(o.variadic for o in wanted):
            declared = wanted
    roles: list[Operand] = []
    for position, operand in enumerate(declared):
        if operand.variadic:
            after = len(declared) - position - 1
            roles += [operand] * max(count - len(roles) - after, 0)
        else:
            roles.append(operand)
    return roles[:count]
