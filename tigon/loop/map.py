"""Nests and statements made anew from their parts, and the expressions in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon.base.frozen import replace
from tigon.loop.grammar import (
    Accumulator,
    AnyNest,
    Buffer,
    Contraction,
    Expr,
    Extern,
    Fail,
    Let,
    Loop,
    LoopAxis,
    Reduce,
    Scan,
    Stmt,
    Store,
)


class Mapper:
    """Goes through a nest in its order. What becomes of names, bounds and expressions is the
    subclass's; here they stay."""

    def value(self, expr: Expr) -> Expr:
        """What is computed: stored, bound, combined, multiplied, or a condition."""
        return expr

    def index(self, expr: Expr, buffer: int) -> Expr:
        """Where in a buffer a value is stored."""
        return expr

    def position(self, expr: Expr) -> Expr:
        """What a positional accumulator keeps."""
        return expr

    def extent(self, expr: Expr) -> Expr:
        """Of a scratch buffer."""
        return expr

    def number(self, expr: Expr) -> Expr:
        """Of a routine."""
        return expr

    def bound(self, axis: LoopAxis, side: str) -> Expr:
        """`side` is "start" or "stop"."""
        return getattr(axis, side)

    def axis_name(self, name: str) -> str:
        return name

    def local_name(self, name: str) -> str:
        return name

    def nest(self, nest: AnyNest) -> AnyNest:
        if isinstance(nest, Extern):
            return replace(
                nest,
                points=self.number(nest.points),
                numbers=tuple(self.number(number) for number in nest.numbers),
                operations=self.number(nest.operations),
            )
        buffers = tuple(
            buffer
            if buffer.extent is None
            else Buffer(buffer.dtype, buffer.role, self.extent(buffer.extent))
            for buffer in nest.buffers
        )
        if isinstance(nest, Contraction):
            groups: dict[str, Any] = {
                group: self.axes(getattr(nest, group))
                for group in ("batch", "rows", "columns", "inner")
            }
            return Contraction(
                buffers=buffers,
                **groups,
                left=self.value(nest.left),
                right=self.value(nest.right),
                accumulator=self.local_name(nest.accumulator),
                dtype=nest.dtype,
                body=self.body(nest.body),
            )
        return replace(
            nest, buffers=buffers, space=self.axes(nest.space), body=self.body(nest.body)
        )

    def axes(self, axes: tuple[LoopAxis, ...]) -> tuple[LoopAxis, ...]:
        return tuple(
            LoopAxis(
                self.axis_name(axis.name),
                self.bound(axis, "stop"),
                self.bound(axis, "start"),
                axis.vector,
            )
            for axis in axes
        )

    def body(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        return tuple(self.statement(statement) for statement in body)

    def statement(self, statement: Stmt) -> Stmt:
        match statement:
            case Let():
                value = self.value(statement.value)
                return Let(self.local_name(statement.name), value)
            case Store():
                index = self.index(statement.index, statement.buffer)
                value = self.value(statement.value)
                return Store(statement.buffer, index, value, statement.accumulate)
            case Fail():
                return Fail(self.value(statement.condition), statement.status)
            case Loop():
                return Loop(self.axes(statement.axes), self.body(statement.body))
            case Scan():
                (axis,) = self.axes((statement.axis,))
                accumulators = self.accumulators(statement.accumulators)
                return Scan(axis, accumulators, self.body(statement.body))
            case Reduce():
                axes = self.axes(statement.axes)
                return Reduce(axes, self.accumulators(statement.accumulators))

    def accumulators(self, given: tuple[Accumulator, ...]) -> tuple[Accumulator, ...]:
        return tuple(
            Accumulator(
                self.local_name(each.name),
                each.combine,
                self.value(each.value),
                None if each.position is None else self.position(each.position),
            )
            for each in given
        )


class _Rewriting(Mapper):
    def __init__(self, rewrite: Callable[[Expr], Expr]) -> None:
        self._rewrite = rewrite

    def value(self, expr: Expr) -> Expr:
        return self._rewrite(expr)

    position = value

    def index(self, expr: Expr, buffer: int) -> Expr:
        return self._rewrite(expr)


def rewritten(stmt: Stmt, rewrite: Callable[[Expr], Expr]) -> Stmt:
    """A statement with its expressions rewritten, axis bounds aside."""
    return _Rewriting(rewrite).statement(stmt)


def expressions_of(statements: Sequence[Stmt]) -> list[Expr]:
    """The expressions that `rewritten` rewrites."""
    found: list[Expr] = []

    def note(expr: Expr) -> Expr:
        found.append(expr)
        return expr

    mapper = _Rewriting(note)
    for stmt in statements:
        mapper.statement(stmt)
    return found
