"""What every kind of nest is written with: buffers, accesses, coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from tigon.analysis.views import is_computed
from tigon.base.extents import RuntimeExtents, is_one, same_shape
from tigon.base.lazy import computed_once
from tigon.base.types import Shape
from tigon.ir import VARIABLE, Node, Value
from tigon.loop import build as L
from tigon.loop.grammar import (
    AnyNest,
    Axis,
    Buffer,
    Contraction,
    Expr,
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
from tigon.loop.map import expressions_of
from tigon.loop.simplify import Ranges
from tigon.lower.elements import Coords, Elements, delinearize, is_array_constant, linear, squeezed
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.fuse.reads import border_of


class Given(NamedTuple):
    """Numbers of one of several nests that are one but for these."""

    numbers: RuntimeExtents
    values: tuple[float, ...]


class LoweredNest:
    """A nest with concrete numbers, and the value behind each of its buffers (None: scratch)."""

    def __init__(
        self,
        nest: AnyNest | Any,
        values: list[Value | None],
        order: _Order | None = None,
        given: Given | None = None,
    ) -> None:
        """`nest`: a nest, or the `Control` of a loop or branch. `given`: what the numbers among
        those of the nest are that were left open."""
        self.nest = nest
        self.values = values
        self.given = given
        self._order = _Order(nest) if order is None else order

    def known(self) -> AbstractContextManager[None]:
        """Inside, its open numbers are known."""
        return nullcontext() if self.given is None else self.given.numbers.known(self.given.values)

    def over(self, values: list[Value | None], given: Given | None = None) -> LoweredNest:
        """The same nest over other values."""
        return LoweredNest(self.nest, values, self._order, given)

    def in_step(self, read: Value, written: Value) -> bool:
        """Whether both may be the same memory: every read of one is at the element where the same
        point writes the other, and comes before that write. A backend may compute a point's values
        more than once or several points at a time, as long as it keeps to this order."""
        if read.dtype.itemsize != written.dtype.itemsize:
            return False
        from_, to = (
            tuple([place for place, value in enumerate(self.values) if value is wanted])
            for wanted in (read, written)
        )
        return bool(from_ and to) and self._order.in_step(from_, to)


class _Order:
    """In which order a nest reads and writes its buffers."""

    def __init__(self, nest: AnyNest | Any) -> None:
        self._nest = nest
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...]], bool] = {}

    def in_step(self, read: tuple[int, ...], written: tuple[int, ...]) -> bool:
        """`LoweredNest.in_step` of the values of these buffers."""
        found = self._known.get((read, written))
        if found is None:
            found = self._known[read, written] = self._find(read, written)
        return found

    def _find(self, read: tuple[int, ...], written: tuple[int, ...]) -> bool:
        if not isinstance(self._nest, Nest | Contraction):
            return False
        loads, stores = self._accesses
        here = [access for access in stores if access.buffer in written]
        if len(here) != 1:
            return False
        (store,) = here
        return not store.accumulate and all(
            access.index == store.index and access.time <= store.time and access.covers_as(store)
            for access in loads
            if access.buffer in read
        )

    @computed_once
    def _accesses(self) -> tuple[list[_Access], list[_Access]]:
        return _accesses(self._nest)


class _Access:
    """A load or store of a nest. `time`: a run of lets and stores is one moment, since all its
    values are computed before the first is written. `axes`: of the loops around it."""

    __slots__ = ("accumulate", "axes", "buffer", "index", "time")

    def __init__(
        self,
        buffer: int,
        index: Expr,
        time: int,
        axes: dict[str, tuple[Expr, Expr]],
        accumulate: bool = False,
    ) -> None:
        self.buffer = buffer
        self.index = index
        self.time = time
        self.axes = axes
        self.accumulate = accumulate

    def covers_as(self, other: _Access) -> bool:
        """Whether equal indices stand for the same elements in both places."""
        if self.axes == other.axes:
            return True
        names = {part.name for part in walk(self.index) if isinstance(part, Axis)}
        return all(self.axes.get(name) == other.axes.get(name) for name in names)


class _Buffers:
    """Numbers the buffers of one nest."""

    def __init__(self) -> None:
        self.values: list[Value | None] = []
        self.buffers: list[Buffer] = []
        self._index: dict[tuple[Value, str], int] = {}

    def of(self, value: Value, role: str) -> int:
        key = (value, role)
        if key not in self._index:
            self._index[key] = len(self.values)
            self.values.append(value)
            self.buffers.append(Buffer(value.dtype, role))
        return self._index[key]

    def scratch(self, value: Value, extent: int) -> int:
        self.values.append(None)
        self.buffers.append(Buffer(value.dtype, "scratch", L.const(extent)))
        return len(self.values) - 1


class Body:
    """What the lowerings share: buffers, and expressions that stop at memory."""

    def __init__(self, group: Group, fusion: Fusion, ranges: Ranges) -> None:
        self.group = group
        self.fusion = fusion
        self.ranges = ranges
        self.buffers = _Buffers()
        self.bound: dict[Value, Callable[[Coords], Expr | None]] = {}
        self.elements = Elements(ranges, self._stop, fusion.attributes)

    def _stop(self, value: Value, coords: Coords) -> Expr | None:
        if value in self.bound:
            return self.bound[value](coords)
        node = value.node
        if node.op is VARIABLE or is_array_constant(value):
            return self.load(value, coords)
        if not is_computed(node):
            return None
        if self.fusion.group_of[node] is self.group or node in self.group.expanded:
            return None
        return self.load(value, coords)

    def load(self, value: Value, coords: Coords) -> Expr:
        index = linear(coords, value.shape, self.ranges)
        return Load(self.buffers.of(value, "in"), index, value.dtype)

    def store(self, value: Value, coords: Coords, element: Expr) -> Store:
        index = linear(coords, value.shape, self.ranges)
        return Store(self.buffers.of(value, "out"), index, L.cast(element, value.dtype))

    def store_member(self, node: Node, value: Value, here: list[Expr], shape: Shape) -> Store:
        """What a member stores at the point `here` of a domain of this shape."""
        border = border_of(node)
        inner = value if border is None else border.inputs[0]
        coords = reshaped(here, shape, inner.shape, self.ranges)
        element = self.elements.at(inner, coords)
        if border is not None:
            starts = border.attrs.before
            coords = tuple(L.add(c, start) for c, start in zip(coords, starts, strict=True))
        return self.store(value, coords, element)

    def bind_result(self, node: Node, name: str) -> Value:
        """The epilogue reads the element just made. Fusion lets it read no other
        (`_reads_within`), which coordinates do not always show: after a chain of reshapes the same
        place is spelled in other ways."""
        (output,) = node.outputs
        self.bound[output] = lambda coords: Local(name, output.dtype)
        return output

    def stored(self, node: Node) -> list[Value]:
        return [value for value in node.outputs if value in self.fusion.stored]


# ------------------------------------------------------------------------------- helpers


def reshaped(coords: list[Expr], shape: Sequence[int], new: Shape, ranges: Ranges) -> Coords:
    """Coordinates of the same element in an array of another shape and equal size."""
    if same_shape(squeezed(shape), squeezed(new)):
        wide = iter([c for c, e in zip(coords, shape, strict=True) if not is_one(e)])
        return tuple(L.const(0) if is_one(e) else next(wide) for e in new)
    return delinearize(linear(coords, shape, ranges), new, ranges)


def with_axes(stmt: Stmt, axes: tuple[LoopAxis, ...]) -> Stmt:
    """A stage over the axes as they are after collapsing."""
    if isinstance(stmt, Reduce):
        return Reduce(axes, stmt.accumulators)
    if isinstance(stmt, Loop):
        return Loop(axes, stmt.body)
    return stmt


def _accesses(nest: AnyNest) -> tuple[list[_Access], list[_Access]]:
    """Loads and stores of a nest, with the order in which a point makes them."""
    loads: list[_Access] = []
    stores: list[_Access] = []
    time = 0

    def read(exprs: Iterable[Expr], axes: dict[str, tuple[Expr, Expr]]) -> None:
        for expr in exprs:
            for part in walk(expr):
                if isinstance(part, Load):
                    loads.append(_Access(part.buffer, part.index, time, axes))

    def visit(body: Sequence[Stmt], axes: dict[str, tuple[Expr, Expr]]) -> None:
        nonlocal time
        for stmt in body:
            if isinstance(stmt, (Loop, Reduce, Scan)):
                time += 1
                inner = axes | {axis.name: (axis.start, axis.stop) for axis in stmt.axes}
                if not isinstance(stmt, Loop):
                    read(expressions_of([Reduce(stmt.axes, stmt.accumulators)]), inner)
                if not isinstance(stmt, Reduce):
                    visit(stmt.body, inner)
                time += 1
                continue
            read(expressions_of([stmt]), axes)
            if isinstance(stmt, Store):
                stores.append(_Access(stmt.buffer, stmt.index, time, axes, stmt.accumulate))

    assert isinstance(nest, Nest | Contraction)
    if isinstance(nest, Contraction):
        inner = {axis.name: (axis.start, axis.stop) for axis in nest.inner}
        read([nest.left, nest.right], inner)
        time = 1
    visit(nest.body, {})
    return loads, stores
