"""Elementary functions written out."""

from __future__ import annotations

from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Apply, Expr, Load
from tigon.loop.mathematics.parts import FORMATS
from tigon.loop.rewrite import rebuild

_done: dict[Expr, Expr] = {}


def expand(expr: Expr) -> Expr:
    """`expr` with every elementary function of float32 and float64 written out.

    >>> from tigon.base.dtypes import float32
    >>> x = L.load(0, L.axis("i"), float32)
    >>> expand(L.rsqrt(x))
    div(1.0, sqrt(load(0, i)))
    """
    global _done
    if len(_done) > 50_000:
        _done = {}  # not emptied: another thread may be at work in it
    return rebuild(expr, _done, _expanded)


def _expanded(node: Expr, operands: tuple[Expr, ...]) -> Expr:
    if isinstance(node, Load):
        return node if operands == node.operands else L.load(node.buffer, operands[0], node.dtype)
    if not isinstance(node, Apply):
        return node
    expansion = FUNCTIONS[node.function].expansion
    if expansion is None:
        if operands == node.operands:
            return node
        given = node.dtype if L.result_given(node.function) else None
        return L.apply(node.function, *operands, dtype=given)
    return expansion(*operands, FORMATS[node.dtype])
