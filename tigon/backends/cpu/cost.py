"""Estimates of time, from the nest with its numbers and the speeds of its target. They decide how
work is cut into chunks and whether a program runs on the caller's thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from tigon.backends.cpu.chunks import grain
from tigon.backends.llvm.target import Target
from tigon.base.dtypes import int64
from tigon.base.extents import as_known
from tigon.loop.combine import COMBINES
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import (
    Apply,
    Axis,
    Const,
    Expr,
    Fail,
    Let,
    Load,
    Local,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Stmt,
    Store,
    walk,
)
from tigon.loop.simplify import affine


def number(expr: Expr, axes: dict[str, int] | None = None) -> int:
    """The value of a bound when every axis in it is 0 or what `axes` says; a formula, where it is
    made of run-time extents that are not known.

    >>> from tigon.loop import build as L
    >>> number(L.minimum(L.add(L.axis("i"), 8), 5))
    5
    """
    if isinstance(expr, Const):
        return as_known(expr.value)
    values: dict[Expr, int] = {}
    for node in walk(expr):
        if isinstance(node, Const):
            values[node] = as_known(node.value)
        elif isinstance(node, Axis):
            values[node] = (axes or {}).get(node.name, 0)
        elif isinstance(node, Apply):
            values[node] = _number_of(node.function, [values[o] for o in node.operands])
        else:
            values[node] = 1
    return values[expr]


def _number_of(function: str, given: list[int]) -> int:
    if function == "add":
        return given[0] + given[1]
    if function == "sub":
        return given[0] - given[1]
    if function == "mul":
        return given[0] * given[1]
    if function == "floordiv":
        return given[0] // given[1] if given[1] else 0
    if function == "mod":
        return given[0] % given[1] if given[1] else 0
    if function == "neg":
        return -given[0]
    if function in ("maximum", "minimum"):
        return max(given) if function == "maximum" else min(given)
    if function == "select":
        return given[1] if given[0] else given[2]
    return given[0] if given else 0


def extent(axis: LoopAxis) -> int:
    return max(0, number(axis.stop) - number(axis.start))


def given_extent(axis: LoopAxis) -> Any:
    """The same of an axis that begins at 0, to be written into a nest: as a formula, if it is one,
    also where its extents are known."""
    return (
        axis.stop.value
        if isinstance(axis.stop, Const) and number(axis.start) == 0
        else extent(axis)
    )


class _Estimate:
    """Adds up a nest as the emitter will write it: every subexpression once for each combination
    of the axes that it mentions, as vectors where the vector axis is among them."""

    def __init__(self, target: Target) -> None:
        self.nanoseconds = 0.0
        self.bytes = 0.0
        self._target = target
        self._speeds = target.speeds
        self._extents: dict[str, int] = {}
        self._closure: dict[str, frozenset[str]] = {}  # an axis and those its bounds mention
        self._locals: dict[str, frozenset[str]] = {}
        self._vector: set[str] = set()
        self._seen: dict[Expr, frozenset[str]] = {}

    def enter(self, axes: Sequence[LoopAxis]) -> None:
        for axis in axes:
            self._extents[axis.name] = extent(axis)
            bounds = self.axes_of(axis.start) | self.axes_of(axis.stop)
            self._closure[axis.name] = bounds | {axis.name}
            if axis.vector:
                self._vector.add(axis.name)

    def times(self, axes: frozenset[str]) -> float:
        return prod((self._extents[name] for name in axes), start=1.0)

    def width(self, axes: frozenset[str], itemsize: int) -> int:
        return self._target.lanes(max(4, itemsize)) if axes & self._vector else 1

    def axes_of(self, expr: Expr) -> frozenset[str]:
        self.expression(expr)
        return self._seen[expr]

    def expression(self, expr: Expr) -> None:
        for node in walk(expr):
            if node in self._seen:
                continue
            axes: frozenset[str] = frozenset()
            if isinstance(node, Axis):
                axes = self._closure.get(node.name, axes)
            elif isinstance(node, Local):
                axes = self._locals.get(node.name, axes)
            else:
                axes = axes.union(*(self._seen[operand] for operand in node.operands))
            self._seen[node] = axes
            if isinstance(node, Load):
                self.bytes += self.times(axes) * node.dtype.itemsize
                self.nanoseconds += self.times(axes) * self._access(node.index, axes)
            elif isinstance(node, Apply):
                self.nanoseconds += self.times(axes) * self._operation(node, axes)

    def _access(self, index: Expr, axes: frozenset[str]) -> float:
        """Of one element: part of a vector, or gathered."""
        moving = axes & self._vector
        if not moving:
            return self._speeds.operation
        split = affine(index, moving)
        steps = [] if split is None else list(split[0].values())
        if steps and all(isinstance(step, Const) and step.value in (0, 1) for step in steps):
            return self._speeds.operation / self._target.lanes(4)
        return self._speeds.gather

    def _operation(self, node: Apply, axes: frozenset[str]) -> float:
        lanes = self.width(axes, node.dtype.itemsize)
        if node.dtype.is_integer and node.function in ("floordiv", "mod", "truncdiv", "fmod"):
            divisor = node.operands[1]
            shift = isinstance(divisor, Const) and divisor.value in (1, 2, 4, 8, 16)
            speeds = self._speeds
            return speeds.operation / lanes if shift else speeds.division / min(lanes, 5)
        return FUNCTIONS[node.function].price * self._speeds.operation / lanes

    def body(self, body: Sequence[Stmt], around: frozenset[str]) -> None:
        for stmt in body:
            if isinstance(stmt, Let):
                self._locals[stmt.name] = self.axes_of(stmt.value)
            elif isinstance(stmt, Store):
                self.expression(stmt.value)
                self.expression(stmt.index)
                self.bytes += self.times(around) * stmt.value.dtype.itemsize
                self.nanoseconds += self.times(around) * self._access(
                    stmt.index, self._seen[stmt.index]
                )
            elif isinstance(stmt, Fail):
                self.expression(stmt.condition)
            else:
                self.enter(stmt.axes)
                inside = around | {axis.name for axis in stmt.axes}
                self.nanoseconds += self._speeds.loop * self.times(around)
                if isinstance(stmt, Scan):
                    for each in stmt.accumulators:
                        self.expression(each.value)
                        self._locals[each.name] = inside
                        lanes = self.width(inside, each.value.dtype.itemsize)
                        self.nanoseconds += self._speeds.chain / lanes * self.times(inside)
                if not isinstance(stmt, Reduce):
                    self.body(stmt.body, inside)
                    continue
                for each in stmt.accumulators:
                    self.expression(each.value)
                    lanes = self.width(inside, each.value.dtype.itemsize)
                    weight = 1 + COMBINES[each.combine].price(each.value.dtype)
                    each_ns = weight * self._speeds.operation / lanes
                    self.nanoseconds += each_ns * self.times(inside)
                    self._locals[each.name] = around


def lanes(nest: Nest, microseconds: float) -> int:
    """The most lanes that a nest of short vector loops should run at once; 0: any number. Only
    where it pays for another function."""
    most = longest(nest.body)
    if most > 16 or microseconds < 20:
        return 0
    return 4 if most <= 4 else 16


def single(nest: Nest, microseconds: float, target: Target) -> int:
    """The lanes of the one vector that all loops of a point are, where they are several and short,
    and there is work enough for a function of its own; 0 elsewhere. Two registers at most: they are
    summed up in the order in which a loop does it."""
    loops = [stmt for stmt in nest.body if isinstance(stmt, (Loop, Reduce))]
    axes = {axis for stmt in loops for axis in stmt.axes}
    if not target.masks or microseconds < 20 or len(loops) < 2 or len(axes) != 1:
        return 0
    (axis,) = axes
    plain = all(
        isinstance(stmt, (Let, Store, Reduce))
        or (isinstance(stmt, Loop) and all(isinstance(s, (Let, Store)) for s in stmt.body))
        for stmt in nest.body
    )
    start_is_zero = isinstance(axis.start, Const) and number(axis.start) == 0
    dtypes = [buffer.dtype for buffer in nest.buffers]
    dtypes += [
        a.value.dtype for stmt in loops if isinstance(stmt, Reduce) for a in stmt.accumulators
    ]
    most = 2 * target.lanes(max(dtype.itemsize for dtype in dtypes))
    count = extent(axis)
    if not (plain and axis.vector and start_is_zero and 0 < count <= most):
        return 0
    return max(4, 1 << (count - 1).bit_length())


def near(nest: Nest) -> bool:
    """Whether there are positions of extremes, and all are below 2**31 - 1."""
    last = list(_last_positions(nest.body))
    return bool(last) and max(last) < (1 << 31) - 1


def _last_positions(body: Sequence[Stmt]) -> Iterator[int]:
    for stmt in body:
        if isinstance(stmt, (Loop, Scan)):
            yield from _last_positions(stmt.body)
        elif isinstance(stmt, Reduce):
            ends = {axis.name: max(0, number(axis.stop) - 1) for axis in stmt.axes}
            for each in stmt.accumulators:
                if each.position is not None:
                    yield number(each.position, ends)


def longest(body: Sequence[Stmt]) -> int:
    """Of the vector loops."""
    most = 0
    for stmt in body:
        if isinstance(stmt, (Loop, Reduce, Scan)):
            here = [extent(axis) for axis in stmt.axes if axis.vector]
            inner = 0 if isinstance(stmt, Reduce) else longest(stmt.body)
            most = max([most, inner, *here])
    return most


def streams(nest: Nest, target: Target) -> bool:
    """Whether to store past the caches. Measured on Zen 4: 20 % faster for a multiply-add over
    40 MB, but 30-60 % slower where more is computed per element than it takes to write it."""
    points = prod(extent(axis) for axis in nest.space)
    large = points * stored_bytes(nest.body) >= target.speeds.stream_bytes
    return large and _arithmetic(nest.body) <= 8


def _arithmetic(body: Sequence[Stmt]) -> float:
    """Instructions per innermost iteration, about."""
    total = 0.0
    for stmt in body:
        if isinstance(stmt, Loop):
            total += _arithmetic(stmt.body)
        elif isinstance(stmt, (Reduce, Scan)):
            total += sum(_instructions(a.value) for a in stmt.accumulators)
            total += _arithmetic(stmt.body) if isinstance(stmt, Scan) else 0.0
        else:
            total += _instructions(stmt.condition if isinstance(stmt, Fail) else stmt.value)
    return total


def _instructions(expr: Expr) -> float:
    return sum(
        FUNCTIONS[node.function].price
        for node in walk(expr)
        if isinstance(node, Apply) and node.dtype is not int64
    )


def stored_bytes(body: Sequence[Stmt]) -> int:
    """Bytes that the statements write to other than scratch memory, at most."""
    total = 0
    for stmt in body:
        if isinstance(stmt, Store) and not stmt.accumulate:
            total += stmt.value.dtype.itemsize
        elif isinstance(stmt, (Loop, Scan)):
            total += prod(extent(axis) for axis in stmt.axes) * stored_bytes(stmt.body)
    return total


def nest_shape(nest: Nest, target: Target) -> tuple[int, int, float]:
    """(points, grain, microseconds on one core) of a nest with numbers."""
    points = prod(extent(axis) for axis in nest.space)
    estimate = _Estimate(target)
    estimate.enter(nest.space)
    estimate.body(nest.body, frozenset(axis.name for axis in nest.space))
    speeds = target.speeds
    rate = speeds.cache_bytes if estimate.bytes < 1 << 20 else speeds.memory_bytes
    nanoseconds = estimate.nanoseconds + estimate.bytes / rate + speeds.point * points
    microseconds = nanoseconds / 1000
    return points, grain(points, microseconds), microseconds
