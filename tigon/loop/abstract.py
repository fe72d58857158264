"""Splits a nest into structure and numbers. Nests that differ in extents, strides, offsets and
scalars only have one structure, hence one native function; the numbers are given at launch.

Kept as they are, because they decide the code: 0, 1 and -1 (but offsets and limits of 1 are
numbers), a step of 2 along a vector, infinities and NaN, shift counts, small powers of two that
divide, and what a vector's axis is shifted by before, bit masks, the constants of hash functions
(uint32, uint64), and exponents that make a power a product or a root.
Equal numbers of different origin stay different slots: an image that happens to be square is no
special case. What is one by construction is one slot: the stop of an axis that several statements
run over, the index by which several statements reach one buffer. The place of a single number (a
rate among those of all parameters) is a slot, be it 0 or 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import isfinite
from typing import Any

from tigon.base.dtypes import int64
from tigon.base.errors import InternalError
from tigon.base.extents import RuntimeNumber
from tigon.base.locks import reentrant_lock
from tigon.loop import build as L
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import (
    AnyNest,
    Apply,
    Axis,
    Const,
    Expr,
    Load,
    Local,
    LoopAxis,
    Slot,
)
from tigon.loop.map import Mapper
from tigon.loop.rewrite import rebuild

_BITWISE = frozenset(("and", "or", "xor", "shl", "shr", "bitcast"))
_OFFSET = frozenset("add sub lt le gt ge eq ne floordiv mod truncdiv maximum minimum".split())
"""Where 1 and -1 of int64 are numbers like any other: a padding of 1 is a padding."""
_FIXED = (0, 1, -1)
_SHIFTS = (2, 4, 8, 16)  # divisors that need no division

Number = tuple[str, Any]
"""How a slot is packed, and its value: a run-time extent is one when it is packed, not before."""

NESTS_KEPT = 10_000
"""Nests remembered with their structure. The structures stay: there is native code for each."""

_done: dict[AnyNest, tuple[AnyNest, tuple[Number, ...]]] = {}
_structures: dict[AnyNest, AnyNest] = {}
_lock = reentrant_lock()


def abstract(nest: AnyNest) -> tuple[AnyNest, bytes]:
    """The structure of `nest`, one object for all nests that have it, and its numbers: the
    parameter block, 8 bytes per slot.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop.grammar import Buffer, Nest, Store
    >>> def scale(count, factor):
    ...     x = L.load(0, L.axis("i"), float32)
    ...     store = Store(1, L.axis("i"), L.mul(x, factor))
    ...     buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
    ...     return Nest(buffers, (LoopAxis("i", L.const(count)),), (store,))
    >>> (one, first), (other, second) = abstract(scale(5, 2.0)), abstract(scale(7, 3.0))
    >>> one is other, struct.unpack("<qd", first), struct.unpack("<qd", second)
    (True, (5, 2.0), (7, 3.0))
    """
    structure, numbers = numbers_of(nest)
    return structure, pack(numbers)


def pack(numbers: Iterable[Number]) -> bytes:
    """A parameter block."""
    return b"".join(struct.pack(form, value) for form, value in numbers)


def numbers_of(nest: AnyNest) -> tuple[AnyNest, tuple[Number, ...]]:
    """The structure, and the numbers as they are: those of extents that are not known yet, too."""
    found = _done.get(nest)
    if found is None:
        rewriter = _Abstract()
        structure = rewriter.nest(nest)
        with _lock:
            if len(_done) >= NESTS_KEPT:
                _done.clear()
            structure = _structures.setdefault(structure, structure)
            found = _done[nest] = structure, tuple(rewriter.values)
    return found


def open_numbers(nest: AnyNest) -> tuple[tuple[int, str, RuntimeNumber], ...]:
    """The slots of a nest that hold what is known at launch only: where each is, how it is packed,
    and what."""
    return tuple(
        (place, form, value)
        for place, (form, value) in enumerate(numbers_of(nest)[1])
        if isinstance(value, RuntimeNumber)
    )


def bind(structure: AnyNest, values: bytes) -> AnyNest:
    """The concrete nest: every slot replaced by its number.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop.grammar import Buffer, Nest, Store
    >>> store = Store(0, L.axis("i"), L.slot(1, float32))
    >>> bound = bind(Nest((Buffer(float32, "out"),), (LoopAxis("i", L.slot(0)),), (store,)),
    ...              struct.pack("<qd", 3, 0.5))
    >>> bound.space[0].stop, bound.body[0].value
    (3, 0.5)
    """
    return _Bind(values).nest(structure)


class _Abstract(Mapper):
    def __init__(self) -> None:
        self.values: list[Number] = []
        self._names: dict[tuple[str, str], str] = {}
        self._counts = {"a": 0, "v": 0}
        self._vectors: set[Expr] = set()
        self._pairs: set[tuple[Expr, ...]] = set()  # a vector axis and a step of 2
        self._bounds: dict[tuple[str, str, Expr], Expr] = {}
        self._memory: dict[tuple[object, Expr], Expr] = {}

    def value(self, expr: Expr) -> Expr:
        return self.expr(expr, "value")

    position = value

    def index(self, expr: Expr, buffer: int) -> Expr:
        return self.expr(expr, buffer)

    def extent(self, expr: Expr) -> Expr:
        return self.expr(expr, "extent")

    def axis_name(self, name: str) -> str:
        return self.name(name, "a")

    def axes(self, axes: tuple[LoopAxis, ...]) -> tuple[LoopAxis, ...]:
        vectors = [Axis(axis.name) for axis in axes if axis.vector]
        self._vectors.update(vectors)
        self._pairs.update((axis, L.const(2)) for axis in vectors)
        return super().axes(axes)

    def local_name(self, name: str) -> str:
        return self.name(name, "v")

    def number(self, expr: Expr) -> Expr:
        assert isinstance(expr, Const)
        return self._slot(expr)

    def name(self, name: str, prefix: str) -> str:
        found = self._names.get((prefix, name))
        if found is None:
            found = self._names[prefix, name] = f"{prefix}{self._counts[prefix]}"
            self._counts[prefix] += 1
        return found

    def bound(self, axis: LoopAxis, side: str) -> Expr:
        given = getattr(axis, side)
        key = (axis.name, side, given)
        found = self._bounds.get(key)
        if found is None:
            if isinstance(given, Const) and not (side == "start" and given.value == 0):
                found = self._slot(given)
            else:
                found = self.expr(given, key)
            self._bounds[key] = found
        return found

    def _slot(self, const: Const) -> Slot:
        form = "<d" if const.dtype.is_float else "<q"
        self.values.append((form, const.value))
        return Slot(len(self.values) - 1, const.dtype)

    def expr(self, expr: Expr, context: object) -> Expr:
        """`context` tells indices of different buffers apart: within one context an expression is
        always replaced by the same one, so that sharing is kept."""
        memory = self._memory
        stack: list[tuple[object, Expr]] = [(context, expr)]
        while stack:
            here, node = entry = stack[-1]
            if entry in memory:
                stack.pop()
                continue
            inner = node.buffer if isinstance(node, Load) else here
            missing = [
                (inner, operand)
                for operand in node.operands
                if not isinstance(operand, Const) and (inner, operand) not in memory
            ]
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            memory[entry] = self._rebuild(node, inner)
        return memory[context, expr]

    def _rebuild(self, node: Expr, context: object) -> Expr:
        if isinstance(node, Axis):
            return Axis(self.name(node.name, "a"))
        if isinstance(node, Local):
            return Local(self.name(node.name, "v"), node.dtype)
        if isinstance(node, Slot):
            raise InternalError(f"loop.abstract: the nest has a slot already: {node!r}")
        if isinstance(node, Const):
            return self._number(node, "")
        if isinstance(node, Load) and isinstance(node.index, Const):
            # The place of one number, say a rate among those of all parameters.
            return Load(node.buffer, self._slot(node.index), node.dtype)
        operands = tuple(
            self._number(operand, node.function if isinstance(node, Apply) else "")
            if isinstance(operand, Const)
            else self._memory[context, operand]
            for operand in node.operands
        )
        if isinstance(node, Load):
            return Load(node.buffer, operands[0], node.dtype)
        assert isinstance(node, Apply)
        if node.function == "mul" and node.operands in self._pairs:
            operands = (operands[0], node.operands[1])
        if (shifted := self._divided_by_shifts(node)) is not None:
            operands = (
                Apply("add", (Axis(self.name(shifted[0].name, "a")), shifted[1]), int64),
                operands[1],
            )
        return Apply(node.function, operands, node.dtype)

    def _divided_by_shifts(self, node: Apply) -> tuple[Axis, Const] | None:
        """A vector axis with a small offset, where that is divided: of lines that begin in the
        middle of a pair."""
        if node.function not in ("floordiv", "mod") or node.dtype is not int64:
            return None
        left, right = node.operands
        if not isinstance(right, Const) or right.value not in _SHIFTS:
            return None
        if not isinstance(left, Apply) or left.function != "add":
            return None
        axis, offset = left.operands
        if not isinstance(axis, Axis) or axis not in self._vectors:
            return None
        if not isinstance(offset, Const) or not isinstance(offset.value, int):
            return None
        return (axis, offset) if 0 < abs(offset.value) < right.value else None

    def _number(self, const: Const, user: str) -> Expr:
        dtype, value = const.dtype, const.value
        if isinstance(value, RuntimeNumber):
            return self._slot(const)  # whatever it is now, it will be something else
        fixed = (0,) if dtype is int64 and user in _OFFSET else _FIXED
        if user in _BITWISE or value in fixed:
            return const
        if user and ((kept := FUNCTIONS[user].fixed) is None or value in kept):
            return const
        if user in ("floordiv", "mod") and dtype is int64 and value in _SHIFTS:
            return const
        if dtype.kind == "b" or (dtype.kind == "u" and dtype.itemsize >= 4) or not isfinite(value):
            return const
        return self._slot(const)


class _Bind(Mapper):
    def __init__(self, values: bytes) -> None:
        self._values = values
        self._memory: dict[Expr, Expr] = {}

    def bound(self, axis: LoopAxis, side: str) -> Expr:
        return self.value(getattr(axis, side))

    def index(self, expr: Expr, buffer: int) -> Expr:
        return self.value(expr)

    def value(self, expr: Expr) -> Expr:
        return rebuild(expr, self._memory, self._number)

    position = extent = number = value

    def _number(self, node: Expr, operands: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Slot):
            form = "<d" if node.dtype.is_float else "<q"
            (number,) = struct.unpack_from(form, self._values, 8 * node.index)
            return Const(number, node.dtype)
        if isinstance(node, Load):
            return Load(node.buffer, operands[0], node.dtype)
        if isinstance(node, Apply):
            given = node.dtype if L.result_given(node.function) else None
            return L.apply(node.function, *operands, dtype=given)
        return node
