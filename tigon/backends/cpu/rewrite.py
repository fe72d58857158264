"""Expressions with some of their leaves replaced."""

from __future__ import annotations

from collections.abc import Mapping

from tigon.loop.grammar import Apply, Expr, Load, walk


def substitute(expr: Expr, new: Mapping[Expr, Expr]) -> Expr:
    """`expr` with some of its leaves replaced.

    >>> from tigon.loop import build as L
    >>> substitute(L.add(L.axis("i"), 1), {L.axis("i"): L.axis("j")})
    add(j, 1)
    """
    made = dict(new)
    for node in walk(expr):
        if node in made:
            continue
        operands = tuple(made[operand] for operand in node.operands)
        if operands == node.operands:
            made[node] = node
        elif isinstance(node, Load):
            made[node] = Load(node.buffer, operands[0], node.dtype)
        else:
            assert isinstance(node, Apply)
            made[node] = Apply(node.function, operands, node.dtype)
    return made[expr]
