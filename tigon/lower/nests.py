"""A group of nodes, written as loop nests.

The innermost axis of the domain is where memory is contiguous, so it is the vector axis. If it is
reduced, each point of the space is one row: reductions run along it, then a loop writes what has
full extent. If it is kept, lanes are columns: reductions run across them, one result per lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from tigon.base import InternalError
from tigon.base.dtypes import int64
from tigon.base.extents import estimate, is_one, same_shape
from tigon.base.types import Shape
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.loop import build as L
from tigon.loop.grammar import (
    INDEX_OUT_OF_RANGE,
    Accumulator,
    AnyNest,
    Axis,
    Buffer,
    Const,
    Contraction,
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
from tigon.loop.rewrite import substitute
from tigon.loop.simplify import Ranges, affine, simplify
from tigon.lower.collapse import Extent, collapse, widen
from tigon.lower.elements import (
    POINTWISE,
    Coords,
    Elements,
    arithmetic_cost,
    axes_over,
    delinearize,
    is_array_constant,
    linear,
    squeezed,
)
from tigon.lower.fuse import Fusion, Group, is_computed, node_domain
from tigon.ops.record import Family

BLOCK = 4096
"""Elements of a long vector loop that one point of the space handles."""

COLUMN_BLOCK = 256
"""The same for columns, when the point runs over all rows."""

NARROW = 16
"""Rows shorter than this do not fill a vector."""

SCRATCH_LIMIT = 32 << 10
"""Bytes of a row kept aside rather than computed again: it has to stay in the first-level cache."""


class LoweredNest:
    """A nest with concrete numbers, and the value behind each of its buffers (None: scratch)."""

    def __init__(self, nest: AnyNest, values: list[Value | None]) -> None:
        self.nest = nest
        self.values = values

    def in_step(self, read: Value, written: Value) -> bool:
        """Whether both may be the same memory: every read of one is at the element where the same
        point writes the other, and comes before that write. A backend may compute a point's values
        more than once or several points at a time, as long as it keeps to this order."""
        if read not in self.values or written not in self.values:
            return False
        if read.dtype.itemsize != written.dtype.itemsize:
            return False
        loads, stores = self._accesses
        here = [access for access in stores if self.values[access.buffer] is written]
        if len(here) != 1:
            return False
        (store,) = here
        return not store.accumulate and all(
            access.index == store.index and access.time <= store.time and access.covers_as(store)
            for access in loads
            if self.values[access.buffer] is read
        )

    @cached_property
    def _accesses(self) -> tuple[list[_Access], list[_Access]]:
        return _accesses(self.nest)


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


def lower_group(group: Group, fusion: Fusion) -> list[LoweredNest]:
    """The nests of one kernel; none if all its results are empty."""
    results = [value for node in group.members for value in node.outputs]
    if not any(value.type.size for value in results if value in fusion.stored):
        return []
    match group.kind:
        case "map":
            return [_Rows(group, fusion).lower()]
        case "contract":
            return [_lower_contraction(group, fusion)]
        case "scan":
            return [_lower_scan(group, fusion)]
        case "join":
            return _lower_join(group, fusion)
        case "scatter":
            return [_lower_scatter(group, fusion)]
        case "check":
            return [_lower_check(group, fusion)]
    raise InternalError(f"lower: unknown kind of group {group.kind}")


class _Body:
    """What the lowerings share: buffers, and expressions that stop at memory."""

    def __init__(self, group: Group, fusion: Fusion, ranges: Ranges) -> None:
        self.group = group
        self.fusion = fusion
        self.ranges = ranges
        self.buffers = _Buffers()
        self.bound: dict[Value, Callable[[Coords], Expr | None]] = {}
        self.elements = Elements(ranges, self._stop)

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

    def bind_result(self, node: Node, name: str) -> Value:
        """The epilogue reads the element just made. Fusion lets it read no other
        (`_reads_within`), which coordinates do not always show: after a chain of reshapes the same
        place is spelled in other ways."""
        (output,) = node.outputs
        self.bound[output] = lambda coords: Local(name, output.dtype)
        return output

    def stored(self, node: Node) -> list[Value]:
        return [value for value in node.outputs if value in self.fusion.stored]


# ----------------------------------------------------------------- maps and reductions


class _Rows(_Body):
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
                coords = self.own_coords(node, value)
                element = self._element(node, value, coords)
                (row if node in self.group.rows else full).append(
                    self.store(value, coords, element)
                )
        return self._schedule(stages, full, row)

    def own_coords(self, node: Node, value: Value) -> Coords:
        """The coordinates of a member's element at the current point or row."""
        row = node in self.group.rows
        here = self.outer_coords if row else list(self.coords)
        shape = self.group.outer_shape if row else self.group.shape
        return _reshaped(here, shape, value.shape, self.ranges)

    def _element(self, node: Node, value: Value, coords: Coords) -> Expr:
        return self.elements.at(value, coords)

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
            arg = node.op.combine.startswith("arg")
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
        return _reshaped(list(self.coords), self.group.shape, node_domain(node), self.ranges)

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
        exprs = list(_exprs([*stages, *full, *row]))
        (outer, inner), rewrite = collapse((self.outer, self.inner), exprs)
        along_rows = inner and (self.rows_are_contiguous or not outer)
        if along_rows and outer and estimate(inner[-1].extent) < NARROW:
            along_rows = not _dense_along(outer[-1].name, map(rewrite, exprs))
        vector = inner[-1].name if along_rows else None
        if vector is None:
            outer, rewrite = widen(outer, rewrite)
        inner_axes = tuple(
            LoopAxis(a.name, L.const(a.extent), vector=a.name == vector) for a in inner
        )
        body: list[Stmt] = []
        for stage in stages:
            body.append(_with_axes(_rewritten(stage, rewrite), inner_axes))
        full = [_rewritten(stmt, rewrite) for stmt in full]
        row = [_rewritten(stmt, rewrite) for stmt in row]
        if full and inner_axes:
            body.append(Loop(inner_axes, tuple(full)))
        else:
            body.extend(full)
        body.extend(row)
        space = [LoopAxis(axis.name, L.const(axis.extent)) for axis in outer]
        if vector is None and outer:
            space, body = _across(outer, space, body, COLUMN_BLOCK if inner else BLOCK)
        nest = Nest(tuple(self.buffers.buffers), tuple(space), tuple(body))
        return LoweredNest(nest, self.buffers.values)


def _dense_along(axis: str, exprs: Iterable[Expr]) -> bool:
    """Whether neighbours along `axis` are near in memory: true of pooling windows, not of rows."""
    for expr in exprs:
        for part in walk(expr):
            if isinstance(part, Load):
                form = affine(part.index, {axis})
                stride = form[0].get(axis) if form else None
                if isinstance(stride, Const) and 0 < estimate(stride.value) <= 4:
                    return True
    return False


def _across(
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


# --------------------------------------------------------------------------- contractions


def _lower_contraction(group: Group, fusion: Fusion) -> LoweredNest:
    node = next(n for n in group.members if n.op.family is Family.CONTRACTION)
    lhs, rhs = node.inputs
    left, right, out = node.attrs.left, node.attrs.right, node.attrs.out
    extents = dict(zip(left, lhs.shape, strict=True)) | dict(zip(right, rhs.shape, strict=True))
    wide = [label for label in out if not is_one(extents[label])]
    if wide and wide[-1] not in right:
        # The output is contiguous along the columns: let the right operand provide them.
        lhs, rhs, left, right = rhs, lhs, right, left
    ranges = {f"l{label}": (0, max(extent, 1)) for label, extent in extents.items()}
    body = _Body(group, fusion, ranges)
    axis = {
        label: L.const(0) if is_one(extent) else Axis(f"l{label}")
        for label, extent in extents.items()
    }

    def axes_of(labels: str, keep: Callable[[str], bool]) -> list[Extent]:
        return [Extent(f"l{x}", extents[x]) for x in labels if not is_one(extents[x]) and keep(x)]

    classes = (
        axes_of(out, lambda x: x in left and x in right),
        axes_of(out, lambda x: x in left and x not in right),
        axes_of(out, lambda x: x in right and x not in left),
        axes_of(left, lambda x: x not in out),
    )
    left_element = body.elements.at(lhs, tuple(axis[x] for x in left))
    right_element = body.elements.at(rhs, tuple(axis[x] for x in right))
    here: list[Expr] = [axis[label] for label in out]
    output = body.bind_result(node, "sum")
    stores: list[Stmt] = []
    for member in group.members:
        for value in body.stored(member):
            coords = _reshaped(here, output.shape, value.shape, ranges)
            stores.append(body.store(value, coords, body.elements.at(value, coords)))
    dtype = output.dtype
    parts = [L.cast(left_element, dtype), L.cast(right_element, dtype)]
    merged, rewrite = collapse(classes, [*parts, *_exprs(stores)])
    batch, rows, columns, inner = (
        tuple(LoopAxis(a.name, L.const(a.extent)) for a in axes) for axes in merged
    )
    nest = Contraction(
        tuple(body.buffers.buffers),
        batch,
        rows,
        columns,
        inner,
        rewrite(parts[0]),
        rewrite(parts[1]),
        "sum",
        dtype,
        tuple(_rewritten(stmt, rewrite) for stmt in stores),
    )
    return LoweredNest(nest, body.buffers.values)


# ------------------------------------------------------------------------------------ scans


def _lower_scan(group: Group, fusion: Fusion) -> LoweredNest:
    """Each line in order, by one point; lines are what runs in parallel. Along a contiguous line
    vectors hold neighbours, else elements of neighbouring lines."""
    node = next(n for n in group.members if n.op.family is Family.SCAN)
    output, along = node.outputs[0], node.attrs.axis
    here, ranges = axes_over(output.shape)
    body = _Body(group, fusion, ranges)
    element = L.cast(body.elements.at(node.inputs[0], here), output.dtype)
    body.bind_result(node, "so_far")
    stores: list[Stmt] = []
    for member in group.members:
        for value in body.stored(member):
            coords = _reshaped(list(here), output.shape, value.shape, ranges)
            stores.append(body.store(value, coords, body.elements.at(value, coords)))
    axes = [Extent(f"i{a}", e) for a, e in enumerate(output.shape) if not is_one(e)]
    line = Extent(f"i{along}", output.shape[along])
    outer = [axis for axis in axes if axis.name != line.name]
    if node.attrs.reverse:
        last = L.sub(line.extent - 1, Axis(line.name))
        mirror: dict[Expr, Expr] = {Axis(line.name): last}
        element = simplify(substitute(element, mirror), ranges)
        stores = [_rewritten(s, lambda e: simplify(substitute(e, mirror), ranges)) for s in stores]
    exprs = [element, *_exprs(stores)]
    (outer,), rewrite = collapse((outer,), exprs)
    contiguous = not outer or axes[-1].name == line.name
    narrow = estimate(line.extent) < NARROW
    # Decided by the extents alone, for this is how sums are rounded: in a tree or in order.
    vector = contiguous and not narrow and not node.attrs.in_order
    if contiguous and narrow and outer:
        contiguous = not _dense_along(outer[-1].name, map(rewrite, exprs))
    if not contiguous:
        outer, rewrite = widen(outer, rewrite)
    axis = LoopAxis(line.name, L.const(line.extent), vector=vector)
    total = Accumulator("so_far", node.op.combine, rewrite(element))
    statements: list[Stmt] = [
        Scan(axis, (total,), tuple(_rewritten(store, rewrite) for store in stores))
    ]
    space = [LoopAxis(a.name, L.const(a.extent)) for a in outer]
    if outer and not contiguous:
        space, statements = _across(outer, space, statements, COLUMN_BLOCK)
    nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(statements))
    return LoweredNest(nest, body.buffers.values)


# -------------------------------------------------------------------- joins and scatters


def _lower_join(group: Group, fusion: Fusion) -> list[LoweredNest]:
    """One nest per operand, each writing its part."""
    (node,) = group.members
    output = node.outputs[0]
    axis = node.attrs.axis
    offset = 0
    nests = []
    for operand in node.inputs:
        coords, ranges = axes_over(operand.shape)
        body = _Body(group, fusion, ranges)
        target = list(coords)
        target[axis] = simplify(L.add(coords[axis], offset), ranges)
        index = linear(target, output.shape, ranges)
        store = Store(body.buffers.of(output, "out"), index, body.elements.at(operand, coords))
        axes = [Extent(f"i{a}", e) for a, e in enumerate(operand.shape) if not is_one(e)]
        (outer,), rewrite = collapse((axes,), _exprs([store]))
        outer, rewrite = widen(outer, rewrite)
        statements: list[Stmt] = [_rewritten(store, rewrite)]
        space = [LoopAxis(a.name, L.const(a.extent)) for a in outer]
        if outer:
            space, statements = _across(outer, space, statements, BLOCK)
        if operand.type.size:
            nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(statements))
            nests.append(LoweredNest(nest, body.buffers.values))
        offset += operand.shape[axis]
    return nests


def _lower_scatter(group: Group, fusion: Fusion) -> LoweredNest:
    """Rows are added in the order of their indices, each point of the space on its own columns, so
    that the result does not depend on the number of threads."""
    (node,) = group.members
    data, indices, updates = node.inputs
    output = node.outputs[0]
    axis = node.attrs.axis
    before, after = data.shape[:axis], data.shape[axis + 1 :]
    lead, ranges = axes_over(before, "p")
    tail, tail_ranges = axes_over(after, "q")
    place, place_ranges = axes_over(indices.shape, "n")
    ranges = {**ranges, "v": (0, max(data.shape[axis], 1)), **place_ranges, **tail_ranges}
    body = _Body(group, fusion, ranges)
    where = (*lead, L.axis("v"), *tail)
    copy: Stmt = body.store(output, where, body.elements.at(data, where))
    index = L.cast(body.elements.at(indices, place), L.const(0).dtype)
    target = L.local("row", index.dtype)
    bounded = L.maximum(L.minimum(index, data.shape[axis] - 1), 0)
    update = body.elements.at(updates, (*lead, *place, *tail))
    position = linear((*lead, L.const(0), *tail), output.shape, ranges)
    stride = 1
    for extent in after:
        stride *= extent
    address = L.add(L.mul(target, stride), position)
    add: Stmt = Store(body.buffers.of(output, "out"), address, L.cast(update, output.dtype), True)
    columns = [Extent(f"q{a}", e) for a, e in enumerate(after) if not is_one(e)]
    (columns,), rewrite = collapse((columns,), [*_exprs([copy, add]), index])
    copy, add = _rewritten(copy, rewrite), _rewritten(add, rewrite)
    space = [LoopAxis(f"p{a}", L.const(e)) for a, e in enumerate(before) if not is_one(e)]
    row = LoopAxis("v", L.const(data.shape[axis]))
    each = tuple(
        LoopAxis(f"n{a}", L.const(e)) for a, e in enumerate(indices.shape) if not is_one(e)
    )

    def over_columns(stmt: Stmt) -> Stmt:
        return Loop((*outer, *last), (stmt,)) if columns else stmt

    outer = [LoopAxis(a.name, L.const(a.extent)) for a in columns[:-1]]
    last: tuple[LoopAxis, ...] = ()
    if columns:
        inmost = columns[-1]
        space, (wrapped,) = _across(
            columns[-1:], [*space, LoopAxis(inmost.name, L.const(inmost.extent))], [], BLOCK
        )
        assert isinstance(wrapped, Loop)
        last = wrapped.axes
    statements = (
        Loop((row,), (over_columns(copy),)),
        Loop(each, (Let("row", bounded), over_columns(add))) if each else None,
    )
    flat: list[Stmt] = [statements[0]]
    flat.extend([statements[1]] if statements[1] else [Let("row", bounded), over_columns(add)])
    nest = Nest(tuple(body.buffers.buffers), tuple(space), tuple(flat))
    return LoweredNest(nest, body.buffers.values)


# --------------------------------------------------------------------------------- checks


def _lower_check(group: Group, fusion: Fusion) -> LoweredNest:
    """Each point looks through its block of indices, fails or writes it."""
    (node,) = group.members
    (indices,) = node.inputs
    output, attrs = node.outputs[0], node.attrs
    dtype = output.dtype
    coords, ranges = axes_over(indices.shape)
    body = _Body(group, fusion, ranges)
    given = body.elements.at(indices, coords)
    index = L.cast(given, dtype)
    if given.dtype.is_float:
        index = L.select(L.ne(given, given), L.greatest(dtype), index)
    checked = index
    if attrs.ignored is not None:
        checked = L.select(L.eq(given, L.const(attrs.ignored, given.dtype)), 0, index)
    rows = len(attrs.sizes) > 1
    size, least, axis = L.lift(attrs.sizes[0], dtype), L.lift(0, int64), L.lift(attrs.axis, int64)
    if rows:
        for row, extent in enumerate(attrs.sizes[1:], 1):
            size = L.select(L.eq(coords[0], row), extent, size)
        axis = L.add(coords[0], axis)
    if attrs.negative:
        least = L.neg(size)
        index = L.select(L.lt(index, 0), L.add(index, size), index)
    store = body.store(output, coords, index)
    wide = [Extent(f"i{a}", e) for a, e in enumerate(indices.shape) if not is_one(e)]
    lead, rest = (wide[:1], wide[1:]) if rows else ([], wide)
    (rest,), rewrite = collapse((rest,), [store.index, store.value, checked])
    space = [LoopAxis(a.name, L.const(a.extent)) for a in (*lead, *rest)]
    inner: tuple[LoopAxis, ...] = ()
    if rest:
        space, wrapped = _across(rest, space, [], BLOCK)
        inner = wrapped[0].axes  # type: ignore[union-attr]
    high, low = L.local("high", dtype), L.local("low", dtype)
    highest = Accumulator("high", "maximum", rewrite(checked))
    lowest = Accumulator("low", "minimum", rewrite(checked))
    too_high = L.le(size, high)
    details = body.buffers.scratch(output, 4)
    told = (L.select(too_high, high, low), size, least, axis)
    write = _rewritten(store, rewrite)
    nest = Nest(
        tuple(body.buffers.buffers),
        tuple(space),
        (
            Reduce(inner, (highest, lowest)),
            *(Store(details, L.const(n), rewrite(detail)) for n, detail in enumerate(told)),
            Fail(rewrite(L.or_(too_high, L.lt(low, least))), INDEX_OUT_OF_RANGE),
            Loop(inner, (write,)) if inner else write,
        ),
    )
    return LoweredNest(nest, body.buffers.values)


# ------------------------------------------------------------------------------- helpers


def _reshaped(coords: list[Expr], shape: Sequence[int], new: Shape, ranges: Ranges) -> Coords:
    """Coordinates of the same element in an array of another shape and equal size."""
    if same_shape(squeezed(shape), squeezed(new)):
        wide = iter([c for c, e in zip(coords, shape, strict=True) if not is_one(e)])
        return tuple(L.const(0) if is_one(e) else next(wide) for e in new)
    return delinearize(linear(coords, shape, ranges), new, ranges)


def _exprs(statements: Sequence[Stmt]) -> list[Expr]:
    """The expressions of statements, axis bounds aside."""
    found: list[Expr] = []
    for stmt in statements:
        match stmt:
            case Store():
                found += [stmt.index, stmt.value]
            case Let():
                found.append(stmt.value)
            case Fail():
                found.append(stmt.condition)
            case Reduce():
                for accumulator in stmt.accumulators:
                    found.append(accumulator.value)
                    if accumulator.position is not None:
                        found.append(accumulator.position)
            case Scan():
                found += [accumulator.value for accumulator in stmt.accumulators]
                found += _exprs(stmt.body)
            case Loop():
                found += _exprs(stmt.body)
    return found


def _rewritten(stmt: Stmt, rewrite: Callable[[Expr], Expr]) -> Stmt:
    match stmt:
        case Store():
            return Store(stmt.buffer, rewrite(stmt.index), rewrite(stmt.value), stmt.accumulate)
        case Let():
            return Let(stmt.name, rewrite(stmt.value))
        case Reduce():
            return Reduce(
                stmt.axes,
                tuple(
                    Accumulator(
                        a.name,
                        a.combine,
                        rewrite(a.value),
                        None if a.position is None else rewrite(a.position),
                    )
                    for a in stmt.accumulators
                ),
            )
        case Fail():
            return Fail(rewrite(stmt.condition), stmt.status)
        case Loop():
            return Loop(stmt.axes, tuple(_rewritten(inner, rewrite) for inner in stmt.body))
    raise InternalError(f"lower: unknown statement {stmt}")


def _with_axes(stmt: Stmt, axes: tuple[LoopAxis, ...]) -> Stmt:
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
                own = (stmt.axis,) if isinstance(stmt, Scan) else stmt.axes
                inner = axes | {axis.name: (axis.start, axis.stop) for axis in own}
                if not isinstance(stmt, Loop):
                    read(_exprs([Reduce(own, stmt.accumulators)]), inner)
                if not isinstance(stmt, Reduce):
                    visit(stmt.body, inner)
                time += 1
                continue
            read(_exprs([stmt]), axes)
            if isinstance(stmt, Store):
                stores.append(_Access(stmt.buffer, stmt.index, time, axes, stmt.accumulate))

    if isinstance(nest, Contraction):
        inner = {axis.name: (axis.start, axis.stop) for axis in nest.inner}
        read([nest.left, nest.right], inner)
        time = 1
    visit(nest.body, {})
    return loads, stores
