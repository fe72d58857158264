"""Merging loop axes that memory does not distinguish: (64, 784) added to (64, 784) is one loop over
50,176 elements, and one native function for every shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tigon.base.dtypes import int64
from tigon.base.extents import estimate, is_known
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.grammar import Apply, Axis, Const, Expr, Load, walk
from tigon.loop.rewrite import rebuild, with_operands
from tigon.loop.simplify import affine, simplify


class Extent(Frozen):
    """A loop axis with a known extent."""

    name: str
    extent: int


def collapse(
    classes: Sequence[Sequence[Extent]], exprs: Iterable[Expr]
) -> tuple[list[list[Extent]], Callable[[Expr], Expr]]:
    """Merge neighbours within each class of axes (outermost first), where every index among
    `exprs` permits. Returns the new classes and the rewriting of expressions that goes with them.
    A merged axis keeps the name of its innermost part."""
    names = [axis.name for axes in classes for axis in axes]
    roots = _index_roots(exprs, frozenset(names))
    if roots is None:
        return [list(axes) for axes in classes], lambda expr: expr
    gone: set[str] = set()
    merged = []
    for axes in classes:
        kept: list[Extent] = []
        for axis in reversed(axes):
            if kept and _follows(axis.name, kept[-1], roots.values()):
                gone.add(axis.name)
                kept[-1] = Extent(kept[-1].name, kept[-1].extent * axis.extent)
            else:
                kept.append(axis)
        merged.append(kept[::-1])
    if not gone:
        return merged, lambda expr: expr
    order = [axis.name for axes in merged for axis in axes]
    return merged, _Rewriter({root: _rebuild(terms, order) for root, terms in roots.items()})


FULL_VECTOR = 16
"""Iterations that fill a vector of the widest machines, in float32."""


def widen(
    axes: Sequence[Extent], rewrite: Callable[[Expr], Expr]
) -> tuple[list[Extent], Callable[[Expr], Expr]]:
    """Merge short innermost axes into the next one even where memory tells them apart: an array of
    three columns is one loop, and what varies with the column is found by division. Vectors of
    three lanes would waste the rest."""
    axes = list(axes)
    while len(axes) > 1 and estimate(axes[-1].extent) < FULL_VECTOR:
        outer, inner = axes[-2], axes[-1]
        axes[-2:] = [Extent(inner.name, outer.extent * inner.extent)]
        rewrite = _divided(axes, outer, inner, rewrite)
    return axes, rewrite


def _divided(
    axes: Sequence[Extent], outer: Extent, inner: Extent, before: Callable[[Expr], Expr]
) -> Callable[[Expr], Expr]:
    merged = Axis(inner.name)
    substitute = _Rewriter(
        {
            Axis(outer.name): L.floordiv(merged, inner.extent),
            merged: L.mod(merged, inner.extent),
        }
    )
    ranges = {axis.name: (0, axis.extent) for axis in axes}
    return lambda expr: simplify(substitute(before(expr)), ranges)


def unfold(
    axes: Sequence[Extent], rewrite: Callable[[Expr], Expr], exprs: Iterable[Expr]
) -> tuple[list[Extent], Callable[[Expr], Expr]]:
    """Cut the innermost axis where something begins again along it, as in an array made of copies
    of another: what was a remainder, gathered, is then a line of its own."""
    last = axes[-1]
    whole = Axis(last.name)
    periods = {
        node.operands[1].value
        for expr in exprs
        for node in walk(rewrite(expr))
        if isinstance(node, Apply)
        and node.function in ("mod", "floordiv")
        and node.operands[0] == whole
        and isinstance(node.operands[1], Const)
    }
    periods = {n for n in periods if isinstance(n, int) and n >= FULL_VECTOR}
    if not periods or not is_known(last.extent):
        return list(axes), rewrite
    period = min(periods)
    if period >= last.extent or last.extent % period:
        return list(axes), rewrite
    outer, inner = (
        Extent(f"{last.name}_turn", last.extent // period),
        Extent(last.name, period),
    )
    substitute = _Rewriter({whole: L.add(L.mul(Axis(outer.name), period), whole)})
    made = [*axes[:-1], outer, inner]
    ranges = {axis.name: (0, axis.extent) for axis in made}
    return made, lambda expr: simplify(substitute(rewrite(expr)), ranges)


Terms = tuple[dict[str, int], Expr]


def _index_roots(exprs: Iterable[Expr], axes: frozenset[str]) -> dict[Expr, Terms] | None:
    """The largest affine index expressions in `exprs`; None when an axis occurs otherwise."""
    roots: dict[Expr, Terms] = {}
    seen: set[Expr] = set()
    stack = list(exprs)
    while stack:
        expr = stack.pop()
        if expr in seen:
            continue
        seen.add(expr)
        if expr.dtype is int64 and not isinstance(expr, (Load, Const)):
            form = affine(expr, axes)
            if form is not None:
                coefficients, rest = form
                if all(isinstance(c, Const) for c in coefficients.values()):
                    if coefficients:
                        roots[expr] = ({n: c.value for n, c in coefficients.items()}, rest)  # type: ignore[attr-defined]
                    stack.append(rest)
                    continue
            if isinstance(expr, Axis):
                return None
        stack.extend(expr.operands)
    return roots


def _follows(outer: str, inner: Extent, roots: Iterable[Terms]) -> bool:
    return all(terms.get(outer, 0) == terms.get(inner.name, 0) * inner.extent for terms, _ in roots)


def _rebuild(terms: Terms, order: Sequence[str]) -> Expr:
    coefficients, rest = terms
    total: Expr = L.const(0)
    for name in order:
        if coefficients.get(name):
            total = L.add(total, L.mul(Axis(name), coefficients[name]))
    return L.add(total, rest)


class _Rewriter:
    """Replaces subexpressions; remembers, so that what several expressions share stays shared."""

    def __init__(self, replaced: dict[Expr, Expr]) -> None:
        self._done = dict(replaced)

    def __call__(self, expr: Expr) -> Expr:
        return rebuild(expr, self._done, with_operands)
