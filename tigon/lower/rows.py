"""Maps and reductions as loops over rows.

The innermost axis of the domain is where memory is contiguous, so it is the vector axis. If it is
reduced, each point of the space is one row: reductions run along it, then a loop writes what has
full extent. If it is kept, lanes are columns: reductions run across them, one result per lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tigon.analysis.blocks import BLOCK, COLUMN_BLOCK
from tigon.analysis.views import is_computed
from tigon.base import InternalError
from tigon.base.extents import estimate, is_one
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.loop import build as L
from tigon.loop.clip import clip_reductions
from tigon.loop.combine import COMBINES
from tigon.loop.grammar import (
    Accumulator,
    Axis,
    Const,
    Expr,
    Load,
    Local,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Stmt,
    Store,
    walk,
)
from tigon.loop.map import expressions_of, rewritten
from tigon.loop.simplify import affine
from tigon.lower.body import Body, LoweredNest, reshaped, with_axes
from tigon.lower.collapse import FULL_VECTOR, Extent, collapse, unfold, widen
from tigon.lower.elements import Coords, Elements, arithmetic_cost, axes_over, linear
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.fuse.reads import node_domain
from tigon.ops.record import POINTWISE, Family

NARROW = 16
"""Rows shorter than this do not fill a vector."""

SCRATCH_LIMIT = 32 << 10
"""Bytes of a row kept aside rather than computed again: it has to stay in the first-level cache."""


class Rows(Body):
    """Elementwise work and reductions over one domain."""

    def __init__(self, group: Group, fusion: Fusion) -> None:
        self.coords, ranges = axes_over(group.shape)
        super().__init__(group, fusion, ranges)
        reduced = group.axes or ()
        axes = [Extent(f"i{a}", e) for a, e in enumerate(group.shape) if not is_one(e)]
        self.inner = [axis for axis in axes if int(axis.name[1:]) in reduced]
        self.outer = [axis for axis in axes if int(axis.name[1:]) not in reduced]
        self.outer_coords = [c for a, c in enumerate(self.coords) if a not in reduced]
        self.rows_are_contiguous = bool(self.inner) and (
            not self.outer or axes[-1] is self.inner[-1]
        )
        self.scratch: dict[Node, int] = {}

    def lower(self) -> LoweredNest:
        reductions = self._reductions_in_levels()
        stages: list[Stmt] = []
        kept = self._worth_keeping(reductions)
        for level, nodes in enumerate(reductions):
            stages.extend(self._keep(kept, level))
            stages.append(self._reduce(nodes))
        stages.extend(self._keep(kept, len(reductions)))
        full: list[Stmt] = []
        row: list[Stmt] = []
        for node in self.group.members:
            for value in self.stored(node):
                stores = row if node in self.group.rows else full
                stores.append(self.store_member(node, value, *self._point(node)))
        return self._schedule(stages, full, row)

    def own_coords(self, node: Node, value: Value) -> Coords:
        """The coordinates of a member's element at the current point or row."""
        here, shape = self._point(node)
        return reshaped(here, shape, value.shape, self.ranges)

    def _point(self, node: Node) -> tuple[list[Expr], tuple[int, ...]]:
        """Where a member is computed, and within what."""
        if node in self.group.rows:
            return self.outer_coords, self.group.outer_shape
        return list(self.coords), self.group.shape

    # -- reductions

    def _reductions_in_levels(self) -> list[list[Node]]:
        """Reductions that do not depend on each other run together."""
        level: dict[Node, int] = {}
        for node in self.group.members:
            below = [level[n] for n in self._members_below(node) if n in level]
            if node.op.family is Family.REDUCTION:
                level[node] = max(below, default=-1) + 1
        count = max(level.values(), default=-1) + 1
        return [[node for node in level if level[node] == step] for step in range(count)]

    def _members_below(self, node: Node) -> list[Node]:
        """Every node that `node` reads inside the kernel, directly or not."""
        found: list[Node] = []
        seen = {node}
        stack = [value.node for value in node.inputs]
        while stack:
            current = stack.pop()
            if current in seen or not self._inside(current):
                continue
            seen.add(current)
            found.append(current)
            stack.extend(value.node for value in current.inputs)
        return found

    def _inside(self, node: Node) -> bool:
        if node.op is VARIABLE or node.op is CONSTANT:
            return False
        return (
            not is_computed(node)
            or node in self.group.expanded
            or self.fusion.group_of[node] is self.group
        )

    def _reduce(self, nodes: list[Node]) -> Reduce:
        accumulators = []
        for node in nodes:
            output = node.outputs[0]
            name = f"r{self.group.members.index(node)}"
            value = self.elements.at(node.inputs[0], self._input_coords(node))
            arg = COMBINES[node.op.combine].positional
            accumulators.append(
                Accumulator(
                    name,
                    node.op.combine,
                    value if arg else L.cast(value, output.dtype),
                    self._position(node) if arg else None,
                )
            )
            self.bound[output] = self._row_local(node, accumulators[-1])
        return Reduce(
            tuple(LoopAxis(a.name, L.const(a.extent)) for a in self.inner), tuple(accumulators)
        )

    def _input_coords(self, node: Node) -> Coords:
        return reshaped(list(self.coords), self.group.shape, node_domain(node), self.ranges)

    def _position(self, node: Node) -> Expr:
        """Place of an element within the flattened reduced axes."""
        domain, coords = node_domain(node), self._input_coords(node)
        axes = node.attrs.axes
        return linear([coords[a] for a in axes], [domain[a] for a in axes], self.ranges)

    def _row_local(self, node: Node, accumulator: Accumulator) -> Callable[[Coords], Expr]:
        expected = self.own_coords(node, node.outputs[0])
        dtype = node.outputs[0].dtype

        def read(coords: Coords) -> Expr:
            if coords != expected:
                raise InternalError(f"{node.label}: its result is read from another row")
            return L.cast(Local(accumulator.name, accumulator.dtype), dtype)

        return read

    # -- rows kept aside

    def _worth_keeping(self, reductions: list[list[Node]]) -> dict[Node, int]:
        """Costly full members that several stages use, with the stage that needs them first."""
        if (
            not reductions
            or not self.rows_are_contiguous
            or estimate(self.inner[-1].extent) < NARROW
        ):
            return {}
        size = 1
        for axis in self.inner:
            size *= axis.extent
        stages: list[list[Node]] = [*reductions, []]
        for node in self.group.members:
            if node not in self.group.rows and self.stored(node):
                stages[-1].append(node)
        uses: dict[Node, list[int]] = {}
        for step, nodes in enumerate(stages):
            reached = set()
            for node in nodes:
                reached.update(self._full_below(node))
            for node in reached:
                uses.setdefault(node, []).append(step)
        return {
            node: steps[0]
            for node, steps in uses.items()
            if len(steps) > 1
            and estimate(size) * node.outputs[0].dtype.itemsize <= SCRATCH_LIMIT
            and self._own_cost(node) >= 10
        }

    def _full_below(self, node: Node) -> set[Node]:
        """Full elementwise members that a stage computes anew for `node`; stops at reductions."""
        found: set[Node] = set()
        if node.op.family in POINTWISE:
            found.add(node)
        stack = [value.node for value in node.inputs]
        while stack:
            current = stack.pop()
            if current in found or not self._inside(current) or current in self.group.rows:
                continue
            if current.op.family in POINTWISE and current in self.group.members:
                found.add(current)
            stack.extend(value.node for value in current.inputs)
        return found

    def _own_cost(self, node: Node) -> int:
        coords, ranges = axes_over(node.outputs[0].shape, "k")
        opaque = Elements(ranges, lambda v, c: Local(f"v{id(v)}", v.dtype))
        return arithmetic_cost(opaque.formula(node, coords))

    def _keep(self, kept: dict[Node, int], step: int) -> list[Stmt]:
        """The loop that computes, once, what this and a later stage use."""
        stores: list[Stmt] = []
        names = [axis.name for axis in self.inner]
        sizes = [axis.extent for axis in self.inner]
        index = linear([Axis(name) for name in names], sizes, self.ranges)
        for node in [node for node in self.group.members if kept.get(node) == step]:
            value = node.outputs[0]
            coords = self.own_coords(node, value)
            element = self.elements.at(value, coords)
            total = 1
            for extent in sizes:
                total *= extent
            buffer = self.buffers.scratch(value, total)
            stores.append(Store(buffer, index, element))
            self.bound[value] = self._scratch_reader(node, value, coords, buffer, index)
        if not stores:
            return []
        self.elements = Elements(self.ranges, self._stop)  # what was expanded is now memory
        return [Loop(tuple(LoopAxis(a.name, L.const(a.extent)) for a in self.inner), tuple(stores))]

    def _scratch_reader(
        self, node: Node, value: Value, expected: Coords, buffer: int, index: Expr
    ) -> Callable[[Coords], Expr | None]:
        def read(coords: Coords) -> Expr | None:
            if coords != expected:
                return None  # out of step: computed again
            return Load(buffer, index, value.dtype)

        return read

    # -- loops

    def _schedule(self, stages: list[Stmt], full: list[Stmt], row: list[Stmt]) -> LoweredNest:
        exprs = list(expressions_of([*stages, *full, *row]))
        (outer, inner), rewrite = collapse((self.outer, self.inner), exprs)
        along_rows = inner and (self.rows_are_contiguous or not outer)
        if along_rows and outer and estimate(inner[-1].extent) < NARROW:
            along_rows = not dense_along(outer[-1].name, map(rewrite, exprs))
        vector = inner[-1].name if along_rows else None
        turned = None
        if not inner:
            shortest = SHORT_SQUARE if _is_copy([*stages, *full, *row]) else SQUARE + 1
            turned = turned_along(outer, map(rewrite, exprs), shortest)
        if vector is None and turned is None:
            outer, rewrite = widen(outer, rewrite)
            if outer:
                outer, rewrite = unfold(outer, rewrite, exprs)
            if not inner:
                turned = turned_along(outer, map(rewrite, exprs), shortest)
        inner_axes = tuple(
            LoopAxis(a.name, L.const(a.extent), vector=a.name == vector) for a in inner
        )
        body: list[Stmt] = []
        for stage in stages:
            body.append(with_axes(rewritten(stage, rewrite), inner_axes))
        full = [rewritten(stmt, rewrite) for stmt in full]
        row = [rewritten(stmt, rewrite) for stmt in row]
        if full and inner_axes:
            body.append(Loop(inner_axes, tuple(full)))
        else:
            body.extend(full)
        body.extend(row)
        space = [LoopAxis(axis.name, L.const(axis.extent)) for axis in outer]
        if turned is not None:
            space, body = in_squares(outer, turned, space, body)
        elif vector is None and outer:
            space, body = across(outer, space, body, COLUMN_BLOCK if inner else BLOCK)
        nest = Nest(tuple(self.buffers.buffers), tuple(space), tuple(body))
        return LoweredNest(clip_reductions(nest), self.buffers.values)


def _is_copy(body: Sequence[Stmt]) -> bool:
    """Whether elements are moved as they are, which is quick in squares of any length."""
    return len(body) == 1 and isinstance(body[0], Store) and isinstance(body[0].value, Load)


def dense_along(axis: str, exprs: Iterable[Expr]) -> bool:
    """Whether neighbours along `axis` are near in memory: true of pooling windows, not of rows."""
    for expr in exprs:
        for part in walk(expr):
            if isinstance(part, Load):
                form = affine(part.index, {axis})
                stride = form[0].get(axis) if form else None
                if isinstance(stride, Const) and 0 < estimate(stride.value) <= 4:
                    return True
    return False


SQUARE = 64
"""Places of a vector loop that reads across memory, for each of which a cache line stays near while
its neighbours are read."""


SHORT_SQUARE = 4
"""Of a copy: lines of a picture of 7x7 are turned quicker than they are gathered."""


def turned_along(outer: Sequence[Extent], exprs: Iterable[Expr], shortest: int) -> int | None:
    """The axis along which lies in memory what is read across it, if something is: a transposition
    runs over that axis before it goes on. Not where the last axis is shorter than `shortest`."""
    if len(outer) < 2 or estimate(outer[-1].extent) < shortest:
        return None
    names = {axis.name for axis in outer}
    last = outer[-1].name
    for expr in exprs:
        for part in walk(expr):
            form = affine(part.index, names) if isinstance(part, Load) else None
            if form is None:
                continue
            steps = {name: step.value for name, step in form[0].items() if isinstance(step, Const)}
            if len(steps) == len(form[0]) and estimate(steps.get(last, 0)) >= FULL_VECTOR:
                for number, axis in enumerate(outer[:-1]):
                    if steps.get(axis.name) == 1 and estimate(axis.extent) > 1:
                        return number
    return None


def in_squares(
    outer: Sequence[Extent], turned: int, space: list[LoopAxis], body: list[Stmt]
) -> tuple[list[LoopAxis], list[Stmt]]:
    """A few places of the last axis per point, and of the turned one as many."""
    axis = outer[turned]
    kept = [other for other in outer if other is not axis]
    rest, body = across(kept, [space[outer.index(other)] for other in kept], body, SQUARE // 2)
    (loop,) = body
    assert isinstance(loop, Loop)
    own, (around,) = across([axis], [space[turned]], [], SQUARE)
    assert isinstance(around, Loop)
    lines = LoopAxis(axis.name, around.axes[0].stop, around.axes[0].start)
    return [*rest, *own], [Loop((lines, *loop.axes), loop.body)]


def across(
    outer: Sequence[Extent], space: list[LoopAxis], body: list[Stmt], block: int
) -> tuple[list[LoopAxis], list[Stmt]]:
    """Make the last outer axis the vector axis: a loop in the point, in blocks if it is long."""
    last = outer[-1]
    if estimate(last.extent) <= 2 * block:
        loop = LoopAxis(last.name, L.const(last.extent), vector=True)
        return space[:-1], [Loop((loop,), tuple(body))]
    blocks = f"{last.name}_block"
    start = L.mul(Axis(blocks), block)
    stop = L.minimum(L.add(start, block), last.extent)
    loop = LoopAxis(last.name, stop, start, vector=True)
    count = -(-last.extent // block)
    return [*space[:-1], LoopAxis(blocks, L.const(count))], [Loop((loop,), tuple(body))]
