"""A `Contraction` as one native function: packed panels, a register tile, an epilogue.

A point of the space is one block of the result, computed over the whole sum. For each block of the
sum, both operands are evaluated (whatever expressions they are) into panels in scratch, and the
register tiles run over the panels. After the last block of the sum the nest's body runs over the
tile while it is in the first-level cache.

Left panel: [row of the tile][k], or [k][row] where the operand is contiguous along the rows.
Right panel: [k][column of the tile]. Columns and rows beyond the end are computed with and never
stored; they are cleared, because whatever was in scratch may be denormal numbers, which some
processors multiply a hundred times slower."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.backends.cpu.emitter import Emitter, floor_quotient, iota, spread
from tigon.backends.cpu.nest import PARAMETERS, Body, NestPlan, over_points
from tigon.backends.cpu.plan import Packing, Plan
from tigon.backends.cpu.scalar import binary, compare, multiply_add, select
from tigon.backends.cpu.target import Target
from tigon.backends.cpu.text import Function, Value, element_type, literal, vector_type, zero
from tigon.base.dtypes import DType
from tigon.loop import build as L
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
        if a.lanes > 1:
            return binary(self.out, opcode, a, spread(self.out, b, a.lanes))
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
        plan = self.plan
        stride, step = (1, plan.rows) if plan.left.along == "outer" else (plan.depth, 1)
        name = f"tile_{self.element}_{plan.rows}x{plan.vectors}x{self.lanes}_{stride}_{step}"
        self.out.call_helper(
            name,
            lambda name: emit_tile(
                name, self.e.target, self.dtype, plan.rows, plan.vectors, stride, step
            ),
            left,
            right,
            tile,
            self.depth,
            self.is_first,
        )

        def finish() -> list[Value]:
            self.finish(tile, row, column)
            return []

        self.e.when(self.is_last, [], finish, "finish")

    def finish(self, tile: Value, row: Value, column: Value) -> None:
        """The nest's body over the live part of a tile."""
        live = self.least(self.op("sub", self.m1, row), literal(self.plan.rows, "i64"))
        end = self.least(self.op("add", column, self.width), self.n1)

        def one_row(r: Value) -> None:
            sums = self.at(tile, self.op("mul", r, self.width))

            def one_run(position: Value) -> None:
                e = self.e
                pointer = self.at(sums, self.op("sub", position, column))
                value = e.read(pointer, self.dtype, e.lanes, e.tail)
                e.bind_local(self.nest.accumulator, self.dtype, value)
                self.body.statements(self.nest.body)

            lanes = self.body.loop_lanes(self.nest.body)
            self.runs(self.nest.columns, self.plan.flat_columns, column, end, lanes, one_run)

        self.each(self.nest.rows, self.plan.flat_rows, row, live, one_row, "row")

    # ------------------------------------------------------------------------- flat positions

    def decode(self, axes: Sequence[LoopAxis], flat: int, position: Value) -> list[Value]:
        """What a flat position means for each axis of a group, of which the last `flat` count as
        one."""
        values: list[Value] = []
        rest = len(axes) - flat
        for number in range(len(axes) - 1, 0, -1):
            if number > rest:
                continue
            extent = self.extent(axes[number:]) if number == rest else self.extent([axes[number]])
            if position.lanes == 1:
                values.append(self.op("urem", position, extent))
                position = self.op("udiv", position, extent)
            else:
                extent = self.e.spread(extent, position.lanes)
                quotient = floor_quotient(self.out, position, extent)
                values.append(self.op("sub", position, self.op("mul", quotient, extent)))
                position = quotient
        if axes:
            values.append(position)
        values.reverse()
        return self.spelled(axes, flat, values)

    @staticmethod
    def spelled(axes: Sequence[LoopAxis], flat: int, values: list[Value]) -> list[Value]:
        """Values of all axes from those of the leading ones and of the merged ones."""
        if not axes:
            return []
        return [*values[:-1], *[NOUGHT] * (flat - 1), values[-1]]

    def bind(self, axes: Sequence[LoopAxis], values: Sequence[Value]) -> None:
        for axis, value in zip(axes, values, strict=True):
            self.e.bind_axis(axis.name, value)

    def extent(self, axes: Sequence[LoopAxis]) -> Value:
        """Of all the axes together, at least 1: it divides."""
        total: Expr = axes[0].stop
        for axis in axes[1:]:
            total = L.apply("mul", total, axis.stop)
        return self.e.emit(L.apply("maximum", total, L.const(1)))

    def each(
        self,
        axes: Sequence[LoopAxis],
        flat: int,
        start: Value,
        number: Value,
        body: Callable[[Value], None],
        hint: str,
    ) -> None:
        """`number` flat positions of a group from `start`, its axes advancing like an odometer.
        `body` is given how many went before."""
        e = self.e
        lead = len(axes) - flat
        extents = [self.extent([axis]) for axis in axes[1:lead]]
        if lead and axes:
            extents.append(self.extent(axes[lead:]))
        first = self.decode(axes, flat, start)
        carried = [*first[:lead], *first[-1:]]

        def run(index: Value, values: list[Value]) -> list[Value]:
            self.bind(axes, self.spelled(axes, flat, values))
            body(index)
            following: list[Value] = []
            step = literal(1, "i64")
            for value, extent in zip(reversed(values[1:]), reversed(extents), strict=True):
                advanced = self.op("add", value, step)
                wrapped = compare(self.out, "icmp eq", advanced, extent)
                following.append(select(self.out, wrapped, NOUGHT, advanced))
                step = self.out.op(f"zext {wrapped} to i64", "i64")
            if values:
                following.append(self.op("add", values[0], step))
            return following[::-1]

        e.loop(NOUGHT, number, 1, carried, run, hint)

    def runs(
        self,
        axes: Sequence[LoopAxis],
        flat: int,
        start: Value,
        end: Value,
        lanes: int,
        body: Callable[[Value], None],
    ) -> None:
        """Vector loops over flat positions [start, end) of a group. `body` is given the flat
        position of its first lane. Each run stays within one row of the merged axes."""
        e = self.e
        if not axes:  # a group of one position
            with e.region():
                e.begin_vector("nothing", start, 1, None)
                body(start)
                e.end_vector()
            return
        lead, last = len(axes) - flat, axes[-1]
        if not lead:
            with e.region():
                self.bind(axes[:-1], [NOUGHT] * (flat - 1))
                self.vectors(last.name, start, end, lanes, body)
            return
        extent = self.extent(axes[lead:])
        first_run = self.op("udiv", start, extent)
        last_run = self.op("udiv", self.op("add", end, self.op("sub", extent, 1)), extent)

        def run(number: Value) -> None:
            self.bind(axes[lead:-1], [NOUGHT] * (flat - 1))
            base = self.op("mul", self.op("add", first_run, number), extent)
            low = self.op("sub", start, base)
            low = select(self.out, compare(self.out, "icmp slt", low, NOUGHT), NOUGHT, low)
            high = self.least(self.op("sub", end, base), extent)
            self.vectors(
                last.name, low, high, lanes, lambda first: body(self.op("add", base, first))
            )

        number = self.op("sub", last_run, first_run)
        self.each(axes[:lead], 1, first_run, number, run, "run")

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
        """The operand in the current lanes, to consecutive places. Lanes that are not live are
        written, too: there is room, and what follows is written later."""
        e = self.e
        value = e.spread(e.emit(operand), e.lanes)
        e.write(place, value, self.dtype, None)

    def clear(self, start: Value, count: Value) -> None:
        """Zeros from an address, a whole vector at a time."""
        kind, size = vector_type(self.element, self.lanes), self.dtype.itemsize

        def vector(index: Value) -> None:
            place = self.at(start, self.op("mul", index, self.lanes))
            self.out.emit(f"store {kind} zeroinitializer, {place}, align {size}")

        self.loop(self.panels(count, self.lanes), vector, "clear")

    def clear_rows(self, base: Value, stride: int, start: Value, end: Value) -> None:
        """Rows [start, end) of a packed operand, each as long as the block of the sum."""

        def row(index: Value) -> None:
            at = self.op("mul", self.op("add", start, index), stride)
            self.clear(self.at(base, at), self.depth)

        self.loop(self.op("sub", end, start), row, "clear.row")

    def pack_left(self) -> None:
        plan, nest, packing = self.plan, self.nest, self.plan.left
        live = self.op("sub", self.m1, self.m0)
        padded = self.op("mul", self.row_panels, plan.rows)
        if packing.along == "outer":
            self.clear(self.rows_at, padded)
        else:
            self.clear_rows(self.left_at, plan.depth, live, padded)
        if packing.along == "gather" or packing.window:

            def place(i: Value, k: Value) -> Value:
                return self.at(self.at(self.left_at, self.op("mul", i, plan.depth)), k)

            self.gathered(
                nest.left,
                (nest.inner, packing.flat_inner, self.k0, self.k1),
                (nest.rows, packing.flat_outer, self.m0, live),
                place,
                packing.window,
            )
            return
        if packing.along == "inner":

            def row(i: Value) -> None:
                start = self.at(self.left_at, self.op("mul", i, plan.depth))
                self.evaluate_runs(
                    nest.left, nest.inner, packing.flat_inner, self.k0, self.k1, start
                )

            self.each(nest.rows, packing.flat_outer, self.m0, live, row, "left")
            return

        vectors = -(-plan.rows // self.lanes)
        kind = vector_type(self.element, self.lanes)
        align = self.dtype.itemsize

        def column(k: Value) -> None:
            self.evaluate_runs(
                nest.left, nest.rows, packing.flat_outer, self.m0, self.m1, self.rows_at
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

        self.each(nest.inner, packing.flat_inner, self.k0, self.depth, column, "left")

    def evaluate_runs(
        self,
        operand: Expr,
        axes: Sequence[LoopAxis],
        flat: int,
        start: Value,
        end: Value,
        place: Value,
        lanes: int = 0,
    ) -> None:
        """The operand along a group of axes, to consecutive places."""
        self.runs(
            axes,
            flat,
            start,
            end,
            lanes or self.lanes,
            lambda first: self.evaluate(operand, self.at(place, self.op("sub", first, start))),
        )

    def gathered(
        self,
        operand: Expr,
        vector: tuple[Sequence[LoopAxis], int, Value, Value],
        scalar: tuple[Sequence[LoopAxis], int, Value, Value],
        place: Callable[[Value, Value], Value],
        window: bool,
    ) -> None:
        """The operand with every lane at a position of its own: `vector` is a group with its
        range, `scalar` one with start and count. Lanes beyond the end repeat the last position.
        `place` is given the offsets into both. `window`: the lanes lie next to each other in
        memory and only their guards tell them apart."""
        e, lanes = self.e, self.lanes
        axes, flat, start, end = vector
        last = self.op("sub", end, 1)

        def group(g: Value) -> None:
            offset = self.op("mul", g, lanes)
            first = spread(self.out, self.op("add", start, offset), lanes)
            position = binary(self.out, "add", first, iota(lanes, "i64"))
            position = self.least(position, spread(self.out, last, lanes))
            values = self.decode(axes, flat, position)
            named = {axis.name: value for axis, value in zip(axes, values, strict=True)}
            with e.region():
                e.begin_gather(named, lanes, window)
                self.each(
                    scalar[0],
                    scalar[1],
                    scalar[2],
                    scalar[3],
                    lambda number: self.evaluate(operand, place(number, offset)),
                    "gather",
                )
                e.end_vector()

        self.loop(self.panels(self.op("sub", end, start), lanes), group, "group")

    def pack_right(self) -> None:
        packing, nest = self.plan.right, self.nest
        if packing.along == "inner":
            self.pack_right_turned(packing)
        elif packing.along == "outer" and not packing.window:
            self.pack_right_straight(packing)
        else:

            def place(k: Value, offset: Value) -> Value:
                panel = self.op("mul", self.op("udiv", offset, self.width), self.slot["panel"])
                start = self.at(self.right_at, panel)
                start = self.at(start, self.op("urem", offset, self.width))
                return self.at(start, self.op("mul", k, self.width))

            self.gathered(
                nest.right,
                (nest.columns, packing.flat_outer, self.n0, self.n1),
                (nest.inner, packing.flat_inner, self.k0, self.depth),
                place,
                packing.window,
            )

    def pack_right_straight(self, packing: Packing) -> None:
        nest, lanes = self.nest, self.lanes
        kind = vector_type(self.element, lanes)
        align = self.dtype.itemsize

        def one_run(k: Value) -> None:
            """A panel's row is part of the run, one vector of several registers."""
            offset = self.op("mul", k, self.width)

            def panel(j: Value) -> None:
                start = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
                start = self.at(start, offset)
                column = self.op("add", self.n0, self.op("mul", j, self.width))
                end = self.least(self.op("add", column, self.width), self.n1)
                self.evaluate_runs(
                    nest.right, nest.columns, packing.flat_outer, column, end, start, self.width
                )

            self.loop(self.column_panels, panel, "panel")

        def many_runs(k: Value) -> None:
            """Runs would be cut again by panels: put them together first."""
            self.evaluate_runs(
                nest.right, nest.columns, packing.flat_outer, self.n0, self.n1, self.rows_at
            )
            offset = self.op("mul", k, self.width)

            def panel(j: Value) -> None:
                source = self.at(self.rows_at, self.op("mul", j, self.width))
                target = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
                target = self.at(target, offset)
                for v in range(self.plan.vectors):
                    place = self.at(source, v * lanes)
                    value = self.out.op(f"load {kind}, {place}, align {align}", self.element, lanes)
                    self.out.emit(f"store {value}, {self.at(target, v * lanes)}, align {align}")

            self.loop(self.column_panels, panel, "panel")

        whole = packing.flat_outer == len(nest.columns)
        if not whole:
            self.clear(self.rows_at, self.op("mul", self.column_panels, self.width))
        self.each(
            nest.inner,
            packing.flat_inner,
            self.k0,
            self.depth,
            one_run if whole else many_runs,
            "right",
        )

    def pack_right_turned(self, packing: Packing) -> None:
        """Evaluate a few columns along k, then transpose them square by square."""
        nest, lanes = self.nest, self.lanes
        stride = self.plan.depth
        groups = self.panels(self.op("sub", self.n1, self.n0), lanes)
        squares = self.panels(self.depth, lanes)

        def group(g: Value) -> None:
            first = self.op("add", self.n0, self.op("mul", g, lanes))
            live = self.least(self.op("sub", self.n1, first), literal(lanes, "i64"))

            self.clear_rows(self.rows_at, stride, live, literal(lanes, "i64"))

            def place(c: Value, k: Value) -> Value:
                return self.at(self.at(self.rows_at, self.op("mul", c, stride)), k)

            def column(c: Value) -> None:
                self.evaluate_runs(
                    nest.right, nest.inner, packing.flat_inner, self.k0, self.k1, place(c, NOUGHT)
                )

            if packing.window:
                self.gathered(
                    nest.right,
                    (nest.inner, packing.flat_inner, self.k0, self.k1),
                    (nest.columns, packing.flat_outer, first, live),
                    place,
                    True,
                )
            else:
                self.each(nest.columns, packing.flat_outer, first, live, column, "right")
            per_panel = self.plan.vectors
            j, v = self.op("udiv", g, per_panel), self.op("urem", g, per_panel)
            target = self.at(self.right_at, self.op("mul", j, self.slot["panel"]))
            target = self.at(target, self.op("mul", v, lanes))

            def square(s: Value) -> None:
                k = self.op("mul", s, lanes)
                self.out.call_helper(
                    f"transpose_{self.element}_{lanes}",
                    lambda name: emit_transpose(name, self.element, lanes, self.dtype.itemsize),
                    self.at(self.rows_at, k),
                    literal(stride, "i64"),
                    self.at(target, self.op("mul", k, self.width)),
                    literal(self.width, "i64"),
                )

            self.loop(squares, square, "turn")

        self.loop(groups, group, "group")


def emit_tile(
    name: str, target: Target, dtype: DType, rows: int, vectors: int, stride: int, step: int
) -> Function:
    """`name(left, right, tile, depth, first)`: add the product of a left panel, whose element
    (row, k) is at row * stride + k * step, and a right panel to the tile, or store it if `first`.
    One for all kernels of these sizes: it is half of the code of a contraction."""
    parameters = ("ptr %left", "ptr %right", "ptr %tile", "i64 %depth", "i1 %first")
    out = Function(name, parameters, "void")
    e = Emitter(out, (), target)
    lanes, element, size = target.lanes(dtype.itemsize), element_type(dtype), dtype.itemsize
    kind = vector_type(element, lanes)
    left, right, tile = (Value("ptr", 1, f"%{p}") for p in ("left", "right", "tile"))

    def at(base: Value, index: str) -> Value:
        return out.op(f"getelementptr {element}, {base}, i64 {index}", "ptr")

    def load(pointer: Value) -> Value:
        return out.op(f"load {kind}, {pointer}, align {size}", element, lanes)

    places = [str(number * lanes) for number in range(rows * vectors)]
    fresh = [zero(element, lanes) for _ in places]
    more = out.op("xor i1 %first, true", "i1")
    sums = e.when(more, fresh, lambda: [load(at(tile, place)) for place in places], "resume")

    def body(k: Value, sums: list[Value]) -> list[Value]:
        across = at(right, out.op(f"mul {k}, {vectors * lanes}", "i64").name)
        columns = [load(at(across, str(v * lanes))) for v in range(vectors)]
        start = at(left, out.op(f"mul {k}, {step}", "i64").name if step != 1 else k.name)
        made = []
        for r in range(rows):
            pointer = at(start, str(r * stride))
            one = out.op(f"load {element}, {pointer}, align {size}", element)
            factor = spread(out, one, lanes)
            for v in range(vectors):
                old = sums[r * vectors + v]
                made.append(multiply_add(out, factor, columns[v], old, target.fused))
        return made

    _, sums = e.loop(NOUGHT, Value("i64", 1, "%depth"), 1, sums, body, "sum")
    for place, value in zip(places, sums, strict=True):
        out.emit(f"store {value}, {at(tile, place)}, align {size}")
    return out


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
