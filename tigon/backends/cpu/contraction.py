"""A `Contraction` as one native function: packed panels, a register tile, an epilogue.

A point of the space is one block of the result, computed over the whole sum. For each block of the
sum, both operands are evaluated (whatever expressions they are) into panels in scratch, and the
register tiles run over the panels. After the last block of the sum the nest's body runs over the
tile while it is in the first-level cache.

Left panel: [row of the tile][k], or [k][row] where the operand is contiguous along the rows.
Right panel: [k][column of the tile]. Columns and rows beyond the end hold garbage that is computed
with and never stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.backends.cpu.emitter import Emitter, spread
from tigon.backends.cpu.nest import PARAMETERS, Body, NestPlan, over_points
from tigon.backends.cpu.plan import Packing, Plan
from tigon.backends.cpu.scalar import binary, compare, intrinsic, select
from tigon.backends.cpu.target import Target
from tigon.backends.cpu.text import Function, Value, element_type, literal, vector_type, zero
from tigon.loop.grammar import Axis, Contraction, Expr, LoopAxis, Slot

NOUGHT = literal(0, "i64")


def emit_contraction(nest: Contraction, plan: Plan, name: str, target: Target) -> Function:
    """The function that computes blocks [begin, end) of a contraction."""
    out = Function(name, PARAMETERS)
    _Contraction(nest, plan, Emitter(out, nest.buffers, target)).emit()
    out.block.terminator = "ret i32 0"
    return out


class _Contraction:
    def __init__(self, nest: Contraction, plan: Plan, emitter: Emitter) -> None:
        self.nest, self.plan, self.e, self.out = nest, plan, emitter, emitter.out
        self.body = Body(emitter, NestPlan())
        self.dtype = nest.dtype
        self.element = element_type(nest.dtype)
        self.lanes = emitter.target.lanes(nest.dtype.itemsize)
        self.width = plan.vectors * self.lanes
        names = (
            "rows columns inner row_block column_block inner_block row_blocks column_blocks"
            " inner_blocks panel tile right_at tiles_at rows_at"
        ).split()
        self.slot = {
            name: emitter.emit(Slot(plan.first_slot + number)) for number, name in enumerate(names)
        }

    # ---------------------------------------------------------------------------- arithmetic

    def op(self, opcode: str, a: Value, b: Value | int) -> Value:
        b = literal(b, "i64") if isinstance(b, int) else b
        if a.is_literal and a.name == "0" and opcode in ("mul", "add"):
            return a if opcode == "mul" else b
        return binary(self.out, opcode, a, b)

    def least(self, a: Value, b: Value) -> Value:
        return select(self.out, compare(self.out, "icmp slt", a, b), a, b)

    def panels(self, size: Value, unit: int) -> Value:
        return self.op("udiv", self.op("add", size, unit - 1), unit)

    def at(self, base: Value, index: Value | int) -> Value:
        index = literal(index, "i64") if isinstance(index, int) else index
        return self.out.op(f"getelementptr {self.element}, ptr {base.name}, {index}", "ptr")

    def loop(self, count: Value, body: Callable[[Value], None], hint: str) -> None:
        def run(index: Value, carried: list[Value]) -> list[Value]:
            body(index)
            return []

        self.e.loop(NOUGHT, count, 1, [], run, hint)

    # ------------------------------------------------------------------------------- the nest

    def emit(self) -> None:
        scratch = Value("ptr", 1, "%scratch")
        self.left_at = scratch
        for name in ("right_at", "tiles_at", "rows_at"):
            place = self.out.op(f"getelementptr i8, ptr %scratch, {self.slot[name]}", "ptr")
            setattr(self, name, place)
        blocks = [
            LoopAxis("column block", Slot(self.plan.first_slot + 7)),
            LoopAxis("row block", Slot(self.plan.first_slot + 6)),
        ]
        over_points(self.e, [*self.nest.batch, *blocks], self.point)

    right_at: Value
    tiles_at: Value
    rows_at: Value

    def point(self) -> None:
        cache = self.e.scopes[-1].cache
        row_block, column_block = cache[Axis("row block")], cache[Axis("column block")]
        self.m0 = self.op("mul", row_block, self.slot["row_block"])
        self.n0 = self.op("mul", column_block, self.slot["column_block"])
        self.m1 = self.least(self.op("add", self.m0, self.slot["row_block"]), self.slot["rows"])
        self.n1 = self.least(
            self.op("add", self.n0, self.slot["column_block"]), self.slot["columns"]
        )
        self.row_panels = self.panels(self.op("sub", self.m1, self.m0), self.plan.rows)
        self.column_panels = self.panels(self.op("sub", self.n1, self.n0), self.width)
        self.loop(self.slot["inner_blocks"], self.inner_block, "inner")

    def inner_block(self, number: Value) -> None:
        self.k0 = self.op("mul", number, self.slot["inner_block"])
        self.k1 = self.least(self.op("add", self.k0, self.slot["inner_block"]), self.slot["inner"])
        self.depth = self.op("sub", self.k1, self.k0)
        self.is_first = compare(self.out, "icmp eq", number, NOUGHT)
        last = self.op("sub", self.slot["inner_blocks"], 1)
        self.is_last = compare(self.out, "icmp eq", number, last)
        self.pack_right()
        self.pack_left()

        def columns(j: Value) -> None:
            right = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
            column = self.op("add", self.n0, self.op("mul", j, self.width))
            before = self.op("mul", j, self.row_panels)

            def rows(i: Value) -> None:
                left = self.at(self.left_at, self.op("mul", i, self.plan.rows * self.plan.depth))
                tile = self.op("mul", self.op("add", before, i), self.slot["tile"])
                row = self.op("add", self.m0, self.op("mul", i, self.plan.rows))
                self.tile(left, right, self.at(self.tiles_at, tile), row, column)

            self.loop(self.row_panels, rows, "rows")

        self.loop(self.column_panels, columns, "columns")

    # ------------------------------------------------------------------------------ the tile

    def tile(self, left: Value, right: Value, tile: Value, row: Value, column: Value) -> None:
        """Multiply two panels into a tile of partial sums; finish it after the last block."""
        e, out, plan = self.e, self.out, self.plan
        kind = vector_type(self.element, self.lanes)
        size = self.dtype.itemsize
        places = [
            (r, v, r * self.width + v * self.lanes)
            for r in range(plan.rows)
            for v in range(plan.vectors)
        ]

        def resume() -> list[Value]:
            return [
                out.op(
                    f"load {kind}, ptr {self.at(tile, offset).name}, align {size}",
                    self.element,
                    self.lanes,
                )
                for _, _, offset in places
            ]

        fresh = [zero(self.element, self.lanes) for _ in places]
        more = binary(out, "xor", self.is_first, literal(True, "i1"))
        sums = e.when(more, fresh, resume, "resume")

        def step(k: Value, sums: list[Value]) -> list[Value]:
            row_of_right = self.at(right, self.op("mul", k, self.width))
            columns = [
                out.op(
                    f"load {kind}, ptr {self.at(row_of_right, v * self.lanes).name}, align {size}",
                    self.element,
                    self.lanes,
                )
                for v in range(plan.vectors)
            ]
            if plan.left.along_inner:
                start, stride = self.at(left, k), plan.depth
            else:
                start, stride = self.at(left, self.op("mul", k, plan.rows)), 1
            made = []
            for r in range(plan.rows):
                one = out.op(
                    f"load {self.element}, ptr {self.at(start, r * stride).name}, align {size}",
                    self.element,
                )
                factor = spread(out, one, self.lanes)
                for v in range(plan.vectors):
                    old = sums[r * plan.vectors + v]
                    made.append(intrinsic(out, "fma", factor, columns[v], old))
            return made

        _, sums = e.loop(NOUGHT, self.depth, 1, sums, step, "sum")
        for (_, _, offset), value in zip(places, sums, strict=True):
            out.emit(f"store {value}, ptr {self.at(tile, offset).name}, align {size}")

        def finish() -> list[Value]:
            self.finish(tile, row, column)
            return []

        e.when(self.is_last, [], finish, "finish")

    def finish(self, tile: Value, row: Value, column: Value) -> None:
        """The nest's body over the live part of a tile."""
        live = self.least(self.op("sub", self.m1, row), literal(self.plan.rows, "i64"))
        end = self.least(self.op("add", column, self.width), self.n1)

        def one_row(r: Value) -> None:
            self.decode(self.nest.rows, self.plan.flat_rows, self.op("add", row, r))
            sums = self.at(tile, self.op("mul", r, self.width))

            def one_run(position: Value) -> None:
                e = self.e
                pointer = self.at(sums, self.op("sub", position, column))
                value = e.read(pointer, self.dtype, e.lanes, e.tail)
                e.bind_local(self.nest.accumulator, self.dtype, value)
                self.body.statements(self.nest.body)

            lanes = self.body.loop_lanes(self.nest.body)
            self.runs(self.nest.columns, self.plan.flat_columns, column, end, lanes, one_run)

        self.loop(live, one_row, "row")

    # ------------------------------------------------------------------------- flat positions

    def decode(self, axes: Sequence[LoopAxis], flat: bool, position: Value) -> None:
        """Bind the axes of a group to what a flat position means."""
        e = self.e
        if not axes:
            return
        for axis in reversed(axes[1:]):
            if flat:
                break
            extent = self.extent(axis)
            e.bind_axis(axis.name, self.op("urem", position, extent))
            position = self.op("udiv", position, extent)
        if flat:
            for axis in axes[:-1]:
                e.bind_axis(axis.name, NOUGHT)
            e.bind_axis(axes[-1].name, position)
        else:
            e.bind_axis(axes[0].name, position)

    def extent(self, axis: LoopAxis) -> Value:
        """At least 1: it divides."""
        made = self.e.emit(axis.stop)
        empty = compare(self.out, "icmp eq", made, NOUGHT)
        return select(self.out, empty, literal(1, "i64"), made)

    def runs(
        self,
        axes: Sequence[LoopAxis],
        flat: bool,
        start: Value,
        end: Value,
        lanes: int,
        body: Callable[[Value], None],
    ) -> None:
        """Vector loops over flat positions [start, end) of a group. `body` is given the flat
        position of its first lane. Where the group is not flat, each run stays within one row of
        its last axis."""
        e = self.e
        if not axes:  # a group of one position
            with e.region():
                e.begin_vector("nothing", start, 1, None)
                body(start)
                e.end_vector()
            return
        last = axes[-1]
        if flat or len(axes) == 1:
            with e.region():
                self.decode(axes[:-1], True, NOUGHT)
                self.vectors(last.name, start, end, lanes, body)
            return
        extent = self.extent(last)
        first_run = self.op("udiv", start, extent)
        last_run = self.op("udiv", self.op("add", end, self.op("sub", extent, 1)), extent)

        def run(number: Value, carried: list[Value]) -> list[Value]:
            self.decode(axes[:-1], False, number)
            base = self.op("mul", number, extent)
            low = self.op("sub", start, base)
            low = select(self.out, compare(self.out, "icmp slt", low, NOUGHT), NOUGHT, low)
            high = self.least(self.op("sub", end, base), extent)
            self.vectors(
                last.name, low, high, lanes, lambda first: body(self.op("add", base, first))
            )
            return []

        e.loop(first_run, last_run, 1, [], run, "run")

    def vectors(
        self, name: str, start: Value, end: Value, lanes: int, body: Callable[[Value], None]
    ) -> None:
        e = self.e

        def run(carried: list[Value]) -> list[Value]:
            axis = e.first() if e.lanes > 1 else Axis(name)
            body(e.emit(axis))
            return []

        if lanes == 1:

            def single(index: Value, carried: list[Value]) -> list[Value]:
                e.begin_vector(name, index, 1, None)
                body(index)
                e.end_vector()
                return []

            e.loop(start, end, 1, [], single, "single")
            return
        self.body.vector_loop(name, start, end, lanes, [], run)

    # -------------------------------------------------------------------------------- packing

    def evaluate(self, operand: Expr, place: Value) -> None:
        """The operand in the current lanes, to consecutive places."""
        e = self.e
        value = e.spread(e.emit(operand), e.lanes)
        e.write(place, value, self.dtype, e.tail)

    def pack_left(self) -> None:
        plan, nest = self.plan, self.nest
        packing = plan.left
        if packing.along_inner:

            def row(i: Value) -> None:
                self.decode(nest.rows, packing.flat_outer, self.op("add", self.m0, i))
                start = self.at(self.left_at, self.op("mul", i, plan.depth))
                self.runs(
                    nest.inner,
                    packing.flat_inner,
                    self.k0,
                    self.k1,
                    self.lanes,
                    lambda k: self.evaluate(nest.left, self.at(start, self.op("sub", k, self.k0))),
                )

            self.loop(self.op("sub", self.m1, self.m0), row, "left")
            return

        vectors = -(-plan.rows // self.lanes)
        kind = vector_type(self.element, self.lanes)
        align = self.dtype.itemsize

        def column(k: Value) -> None:
            self.decode(nest.inner, packing.flat_inner, self.op("add", self.k0, k))
            self.runs(
                nest.rows,
                packing.flat_outer,
                self.m0,
                self.m1,
                self.lanes,
                lambda m: self.evaluate(
                    nest.left, self.at(self.rows_at, self.op("sub", m, self.m0))
                ),
            )
            start = self.at(self.left_at, self.op("mul", k, plan.rows))

            def panel(i: Value) -> None:
                # The last vector reaches into the next k, which is written later.
                source = self.at(self.rows_at, self.op("mul", i, plan.rows))
                target = self.at(start, self.op("mul", i, plan.rows * plan.depth))
                for v in range(vectors):
                    value = self.out.op(
                        f"load {kind}, ptr {self.at(source, v * self.lanes).name}, align {align}",
                        self.element,
                        self.lanes,
                    )
                    place = self.at(target, v * self.lanes)
                    self.out.emit(f"store {value}, ptr {place.name}, align {align}")

            self.loop(self.row_panels, panel, "panel")

        self.loop(self.depth, column, "left")

    def pack_right(self) -> None:
        if self.plan.right.along_inner:
            self.pack_right_turned(self.plan.right)
        else:
            self.pack_right_straight(self.plan.right)

    def pack_right_straight(self, packing: Packing) -> None:
        nest = self.nest

        def row(k: Value) -> None:
            self.decode(nest.inner, packing.flat_inner, self.op("add", self.k0, k))
            offset = self.op("mul", k, self.width)

            def panel(j: Value) -> None:
                start = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
                start = self.at(start, offset)
                column = self.op("add", self.n0, self.op("mul", j, self.width))
                end = self.least(self.op("add", column, self.width), self.n1)
                self.runs(
                    nest.columns,
                    packing.flat_outer,
                    column,
                    end,
                    self.width if packing.flat_outer else self.lanes,
                    lambda n: self.evaluate(nest.right, self.at(start, self.op("sub", n, column))),
                )

            self.loop(self.column_panels, panel, "panel")

        self.loop(self.depth, row, "right")

    def pack_right_turned(self, packing: Packing) -> None:
        """Evaluate a few columns along k, then transpose them square by square."""
        nest, lanes = self.nest, self.lanes
        stride = self.plan.depth
        groups = self.panels(self.op("sub", self.n1, self.n0), lanes)
        squares = self.panels(self.depth, lanes)

        def group(g: Value) -> None:
            first = self.op("add", self.n0, self.op("mul", g, lanes))
            live = self.least(self.op("sub", self.n1, first), literal(lanes, "i64"))

            def column(c: Value) -> None:
                self.decode(nest.columns, packing.flat_outer, self.op("add", first, c))
                start = self.at(self.rows_at, self.op("mul", c, stride))
                self.runs(
                    nest.inner,
                    packing.flat_inner,
                    self.k0,
                    self.k1,
                    lanes,
                    lambda k: self.evaluate(nest.right, self.at(start, self.op("sub", k, self.k0))),
                )

            self.loop(live, column, "right")
            per_panel = self.plan.vectors
            j, v = self.op("udiv", g, per_panel), self.op("urem", g, per_panel)
            target = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
            target = self.at(target, self.op("mul", v, lanes))

            def square(s: Value) -> None:
                k = self.op("mul", s, lanes)
                source = self.at(self.rows_at, k)
                place = self.at(target, self.op("mul", k, self.width))
                self.out.call_helper(
                    f"transpose_{self.element}_{lanes}",
                    lambda name: emit_transpose(name, self.element, lanes, self.dtype.itemsize),
                    source,
                    literal(stride, "i64"),
                    place,
                    literal(self.width, "i64"),
                )

            self.loop(squares, square, "turn")

        self.loop(groups, group, "group")


def emit_transpose(name: str, element: str, lanes: int, align: int) -> Function:
    """`name(source, stride, target, step)`: write a square of lanes x lanes elements with rows and
    columns exchanged. One for all kernels, because choosing instructions for its shuffles takes
    LLVM as long as all the rest of a kernel."""
    parameters = ("ptr %source", "i64 %stride", "ptr %target", "i64 %step")
    out = Function(name, parameters, "void")
    kind = vector_type(element, lanes)

    def places(base: str, stride: str) -> list[Value]:
        pointers = [Value("ptr", 1, base)]
        for _ in range(lanes - 1):
            last = pointers[-1].name
            pointers.append(out.op(f"getelementptr {element}, ptr {last}, i64 {stride}", "ptr"))
        return pointers

    rows = [
        out.op(f"load {kind}, {pointer}, align {align}", element, lanes)
        for pointer in places("%source", "%stride")
    ]
    # Butterflies: exchange the off-diagonal quarters of ever smaller squares.
    half = lanes // 2
    while half:
        low = [i if not i & half else i - half + lanes for i in range(lanes)]
        high = [i + half if not i & half else i + lanes for i in range(lanes)]
        made = list(rows)
        for r in range(lanes):
            if r & half:
                continue
            a, b = rows[r], rows[r + half]
            for place, order in ((r, low), (r + half, high)):
                mask = ", ".join(f"i32 {i}" for i in order)
                made[place] = out.op(
                    f"shufflevector {a}, {b}, <{lanes} x i32> <{mask}>", element, lanes
                )
        rows = made
        half //= 2
    for value, pointer in zip(rows, places("%target", "%step"), strict=True):
        out.emit(f"store {value}, {pointer}, align {align}")
    return out
