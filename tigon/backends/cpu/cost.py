"""Estimates of time, from the nest with its numbers. They decide how work is cut into chunks and
whether a program runs on the caller's thread; a factor of two does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, prod

from tigon.backends.cpu.target import Target
from tigon.base.dtypes import int64
from tigon.loop.grammar import (
    Apply,
    Axis,
    Const,
    Expr,
    Let,
    Load,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Stmt,
    Store,
    walk,
)
from tigon.loop.semantics import EXACT

CHUNK_US = 8.0
"""A chunk of work worth handing to another thread, which costs about a microsecond."""

STREAM_BYTES = 32 << 20
"""Results larger than any cache are not read back from one: storing past it saves a read."""

_OPERATION_NS = 0.3  # one instruction on one register
_BYTES_PER_NS = 40.0
_SLOW = {"div": 6, "sqrt": 8, "fmod": 60, "rsqrt": 8, "cast": 2}
_ELEMENTARY = 25
_DIVISION_NS = 4.0  # of one integer; vectors of them go through float64


def number(expr: Expr, axes: dict[str, int] | None = None) -> int:
    """The value of a bound when every axis in it is 0 or what `axes` says.

    >>> from tigon.loop import build as L
    >>> number(L.minimum(L.add(L.axis("i"), 8), 5))
    5
    """
    values: dict[Expr, int] = {}
    for node in walk(expr):
        if isinstance(node, Const):
            values[node] = node.value
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
    if function in ("maximum", "minimum"):
        return max(given) if function == "maximum" else min(given)
    if function == "select":
        return given[1] if given[0] else given[2]
    return given[0] if given else 0


def extent(axis: LoopAxis) -> int:
    return max(0, number(axis.stop) - number(axis.start))


@lru_cache(maxsize=4096)
def expression_ns(expr: Expr, lanes: int) -> float:
    """Nanoseconds per element where `lanes` elements are computed together."""
    total = 0.0
    for node in walk(expr):
        if isinstance(node, Load):
            total += node.dtype.itemsize / _BYTES_PER_NS + _OPERATION_NS / lanes
        elif isinstance(node, Apply):
            if node.dtype.is_integer and node.function in ("floordiv", "mod", "truncdiv", "fmod"):
                divisor = node.operands[1]
                shift = isinstance(divisor, Const) and divisor.value in (1, 2, 4, 8, 16)
                total += _OPERATION_NS / lanes if shift else _DIVISION_NS / min(lanes, 5)
                continue
            weight = _SLOW.get(node.function, 1 if node.function in EXACT else _ELEMENTARY)
            total += weight * _OPERATION_NS / lanes
    return total


def body_ns(body: Sequence[Stmt], lanes: int, target: Target) -> float:
    """Nanoseconds for one run of the statements."""
    total = 0.0
    for stmt in body:
        if isinstance(stmt, Let):
            total += expression_ns(stmt.value, lanes)
        elif isinstance(stmt, Store):
            total += expression_ns(stmt.value, lanes) + expression_ns(stmt.index, lanes) / 4
            total += stmt.value.dtype.itemsize / _BYTES_PER_NS
        else:
            width = lanes
            if any(axis.vector for axis in stmt.axes):
                width = target.lanes(4)
            count = prod(extent(axis) for axis in stmt.axes)
            if isinstance(stmt, Loop):
                inner = body_ns(stmt.body, width, target)
            else:
                assert isinstance(stmt, Reduce)
                inner = sum(
                    expression_ns(a.value, width) + 2 * _OPERATION_NS / width
                    for a in stmt.accumulators
                )
            total += count * inner + 2.0
    return total


def lanes(nest: Nest, microseconds: float) -> int:
    """The most lanes that a nest of short vector loops should run at once; 0: any number. Only
    where it pays for another function."""
    longest = _longest(nest.body)
    if longest > 16 or microseconds < 20:
        return 0
    return 4 if longest <= 4 else 16


def _longest(body: Sequence[Stmt]) -> int:
    longest = 0
    for stmt in body:
        if isinstance(stmt, (Loop, Reduce)):
            here = [extent(axis) for axis in stmt.axes if axis.vector]
            inner = _longest(stmt.body) if isinstance(stmt, Loop) else 0
            longest = max([longest, inner, *here])
    return longest


def streams(nest: Nest) -> bool:
    """Whether to store past the caches. Measured on Zen 4: 20 % faster for a multiply-add over
    40 MB, but 30-60 % slower where more is computed per element than it takes to write it."""
    points = prod(extent(axis) for axis in nest.space)
    return points * stored_bytes(nest.body) >= STREAM_BYTES and _arithmetic(nest.body) <= 8


def _arithmetic(body: Sequence[Stmt]) -> float:
    """Instructions per innermost iteration, about."""
    total = 0.0
    for stmt in body:
        if isinstance(stmt, Loop):
            total += _arithmetic(stmt.body)
        elif isinstance(stmt, Reduce):
            total += sum(_instructions(a.value) for a in stmt.accumulators)
        else:
            total += _instructions(stmt.value)
    return total


def _instructions(expr: Expr) -> float:
    return sum(
        _SLOW.get(node.function, 1 if node.function in EXACT else _ELEMENTARY)
        for node in walk(expr)
        if isinstance(node, Apply) and node.dtype is not int64
    )


def stored_bytes(body: Sequence[Stmt]) -> int:
    """Bytes that the statements write to other than scratch memory, at most."""
    total = 0
    for stmt in body:
        if isinstance(stmt, Store) and not stmt.accumulate:
            total += stmt.value.dtype.itemsize
        elif isinstance(stmt, Loop):
            total += prod(extent(axis) for axis in stmt.axes) * stored_bytes(stmt.body)
    return total


def nest_shape(nest: Nest, target: Target) -> tuple[int, int, float]:
    """(points, grain, microseconds on one core) of a nest with numbers."""
    points = prod(extent(axis) for axis in nest.space)
    point_us = body_ns(nest.body, 1, target) / 1000 + 0.002
    return points, max(1, ceil(CHUNK_US / point_us)), points * point_us
