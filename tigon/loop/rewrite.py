"""Expressions made anew from their parts, shared parts once. Iterative: they may be deep."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tigon.loop.grammar import Apply, Expr, Load

Make = Callable[[Expr, tuple[Expr, ...]], Expr]
"""Given a node and its operands as they are now: the node as it is to be."""


def rebuild(expr: Expr, done: dict[Expr, Expr], make: Make) -> Expr:
    """`expr` with every node made anew by `make`, operands first.

    `done` says what has been made; it is read and added to, so that several expressions share work,
    and what it holds from the start is a replacement.
    """
    stack = [expr]
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        missing = [operand for operand in node.operands if operand not in done]
        if missing:
            stack.extend(missing)
            continue
        stack.pop()
        done[node] = make(node, tuple(done[operand] for operand in node.operands))
    return done[expr]


def with_operands(expr: Expr, operands: tuple[Expr, ...]) -> Expr:
    """The same expression over other operands, as it stands: nothing is simplified."""
    if operands == expr.operands:
        return expr
    if isinstance(expr, Load):
        return Load(expr.buffer, operands[0], expr.dtype)
    if isinstance(expr, Apply):
        return Apply(expr.function, operands, expr.dtype)
    return expr


def substitute(expr: Expr, replaced: Mapping[Expr, Expr]) -> Expr:
    """`expr` with some of its parts replaced.

    >>> from tigon.loop import build as L
    >>> substitute(L.add(L.axis("i"), 1), {L.axis("i"): L.axis("j")})
    add(j, 1)
    """
    return rebuild(expr, dict(replaced), with_operands)
