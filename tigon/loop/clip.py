"""Reductions run over what exists: steps at which nothing but the neutral element is combined, as
beyond the edge of what was padded, are left out of the loops."""

from __future__ import annotations

from functools import reduce

from tigon.base.frozen import replace
from tigon.loop import build as L
from tigon.loop.combine import COMBINES
from tigon.loop.grammar import (
    Accumulator,
    Apply,
    Axis,
    Const,
    Expr,
    Load,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Stmt,
    walk,
)
from tigon.loop.simplify import affine, mentions

_COMPARISONS = {"lt": (0, True), "le": (1, True), "ge": (0, False), "gt": (1, False)}
"""Of `a - b` and a number: below it, or else not below it."""


def clip_reductions(nest: Nest) -> Nest:
    """Turn conditions on single axes of reductions into bounds of these axes.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop.grammar import Buffer, Store
    >>> from tigon.loop.show import show
    >>> place = L.add(L.mul(L.axis("i"), 8), L.axis("k"))
    >>> value = L.select(L.lt(place, 20), L.load(0, place, float32), 0.0)
    >>> total = Reduce((LoopAxis("k", L.const(8)),), (Accumulator("s", "sum", value),))
    >>> out = Store(1, L.axis("i"), L.local("s", float32))
    >>> buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
    >>> print(show(clip_reductions(Nest(buffers, (LoopAxis("i", L.const(3)),), (total, out)))))
    nest b0: float32 in, b1: float32 out
    parallel i < 3:
      s = sum over k < minimum(20 - i * 8, 8): b0[i * 8 + k]
      b1[i] = s
    """
    body = _body(nest.body, frozenset())
    return nest if body == nest.body else replace(nest, body=body)


def _body(body: tuple[Stmt, ...], vector: frozenset[str]) -> tuple[Stmt, ...]:
    """`vector`: the axis around, if one is, whose lanes have bounds in common."""
    made: list[Stmt] = []
    for stmt in body:
        if isinstance(stmt, Reduce):
            stmt = _clip(stmt, vector)
        elif isinstance(stmt, (Loop, Scan)):
            inside = vector | {axis.name for axis in stmt.axes if axis.vector}
            stmt = replace(stmt, body=_body(stmt.body, inside))
        made.append(stmt)
    return tuple(made)


def _clip(stmt: Reduce, vector: frozenset[str]) -> Reduce:
    for condition in _conditions(stmt.accumulators):
        for number, axis in enumerate(stmt.axes):
            # Bounds are known before their loop and those within it, and the same for all lanes.
            unknown = vector | {other.name for other in stmt.axes[number + 1 :]}
            unknown |= {other.name for other in stmt.axes if other.vector and other is not axis}
            made = _bounded(axis, condition, unknown)
            if made is not None and _all_follow(stmt.accumulators, axis.name):
                axes = (*stmt.axes[:number], made, *stmt.axes[number + 1 :])
                left = tuple(_without(each, condition) for each in stmt.accumulators)
                stmt = Reduce(axes, left)
                break
    return stmt


def _conditions(accumulators: tuple[Accumulator, ...]) -> list[Expr]:
    """Those under which, and no others, any of the accumulators changes."""
    common: list[Expr] | None = None
    for each in accumulators:
        value = each.value
        if each.position is not None or not _is_select(value):
            return []
        condition, _, otherwise = value.operands
        neutral = L.const(COMBINES[each.combine].neutral(value.dtype), value.dtype)
        if otherwise != neutral:
            return []
        own = _conjuncts(condition)
        common = own if common is None else [part for part in common if part in own]
    return common or []


def _is_select(value: Expr) -> bool:
    return isinstance(value, Apply) and value.function == "select"


def _conjuncts(condition: Expr) -> list[Expr]:
    parts, found = [condition], []
    while parts:
        part = parts.pop()
        if isinstance(part, Apply) and part.function == "and":
            parts += reversed(part.operands)
        else:
            found.append(part)
    return found


def _all_follow(accumulators: tuple[Accumulator, ...], axis: str) -> bool:
    """Whether what is read depends on the axis: what does not is read before its loop, even if
    that runs zero times."""
    return all(
        mentions(part.index, {axis})
        for each in accumulators
        for part in walk(each.value)
        if isinstance(part, Load)
    )


def _bounded(axis: LoopAxis, condition: Expr, unknown: frozenset[str]) -> LoopAxis | None:
    """The axis where the condition holds, if that is a range of it."""
    if not isinstance(condition, Apply) or condition.function not in _COMPARISONS:
        return None
    parts = walk(condition)
    if not all(isinstance(part, (Axis, Const, Apply)) for part in parts):
        return None
    offset, below = _COMPARISONS[condition.function]
    left, right = condition.operands
    more, less = (affine(L.sub(*pair), {axis.name}) for pair in ((left, right), (right, left)))
    if more is None or less is None or mentions(more[1], unknown):
        return None
    step = more[0].get(axis.name, L.const(0))
    if L.is_const(step, 1):  # axis - limit
        limit, rises = L.add(less[1], offset), not below
    elif L.is_const(step, -1):  # limit - 1 - axis
        limit, rises = L.add(L.sub(more[1], offset), 1), below
    else:
        return None
    if rises:
        return replace(axis, start=L.maximum(axis.start, limit))
    return replace(axis, stop=L.minimum(axis.stop, limit))


def _without(accumulator: Accumulator, condition: Expr) -> Accumulator:
    given, value, otherwise = accumulator.value.operands
    left = [part for part in _conjuncts(given) if part != condition]
    if left:
        value = L.select(reduce(L.and_, left), value, otherwise)
    return replace(accumulator, value=value)
