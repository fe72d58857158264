"""A `Contraction` as one native function: packed panels, a register tile, an epilogue.

A point of the space is one block of the result, computed over the whole sum. For each block of the
sum, both operands are evaluated (whatever expressions they are) into panels in scratch, and the
register tiles run over the panels. After the last block of the sum the nest's body runs over the
tile while it is in the first-level cache.

Columns and rows of the panels beyond the end are computed with and never stored."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.backends.cpu.nest import PARAMETERS, over_points
from tigon.backends.cpu.packing import Block, Operand, call_packing
from tigon.backends.cpu.plan import Plan
from tigon.backends.cpu.positions import NOUGHT, Positions
from tigon.backends.cpu.tile import call_tile
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import compare
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, literal
from tigon.loop.grammar import Axis, Contraction, Expr, Load, LoopAxis, Slot


def emit_contraction(nest: Contraction, plan: Plan, name: str, target: Target) -> Function:
    """The function that computes blocks [begin, end) of a contraction."""
    out = Function(name, PARAMETERS)
    _Contraction(nest, plan, Emitter(out, nest.buffers, target)).emit()
    out.block.terminator = "ret i32 0"
    return out


class _Contraction(Positions):
    def __init__(self, nest: Contraction, plan: Plan, emitter: Emitter) -> None:
        super().__init__(emitter, nest.dtype)
        self.nest, self.plan = nest, plan
        self.width = plan.vectors * self.lanes
        self.window = () if plan.right is None else plan.right.steps
        names = (
            "rows columns inner row_block column_block inner_block row_blocks column_blocks"
            " inner_blocks panel tile left_row left_step right_step right_at tiles_at rows_at"
            " pitch plane planes table_at"
        ).split()
        self.slot = {
            name: emitter.emit(Slot(plan.first_slot + number)) for number, name in enumerate(names)
        }

    # ------------------------------------------------------------------------------- the nest

    def emit(self) -> None:
        scratch = Value("ptr", 1, "%scratch")
        self.left_at = scratch
        for name in ("right_at", "tiles_at", "rows_at", "table_at"):
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
    table_at: Value

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
        if self.plan.left is None:
            self.left_at = self.origin(self.nest.left, self.nest.rows)
        if self.plan.right is None:
            self.right_at = self.origin(self.nest.right, self.nest.columns)
        if self.window:
            self.list_places()
        self.loop(self.slot["inner_blocks"], self.inner_block, "inner")

    def origin(self, operand: Expr, outer: Sequence[LoopAxis]) -> Value:
        """Where an operand that is read where it lies has its first element."""
        assert isinstance(operand, Load)
        with self.e.region():
            for axes in (outer, self.nest.inner):
                self.bind(axes, [NOUGHT] * len(axes))
            index = self.e.emit(operand.index)
        return self.at(self.e.base(operand.buffer), index)

    def list_places(self) -> None:
        """Where in the planes each place of the window lies, for all of a block of the sum."""
        steps = self.window
        number = len(steps)
        extents = [self.extent([axis]) for axis in self.nest.inner[-number:]]
        apart = [self.slot["pitch"], literal(1, "i64")][-number:]

        def places(part: int, index: Value, plane: Value, shift: Value) -> None:
            if part == number:
                shift = self.op("add", shift, self.op("mul", plane, self.slot["plane"]))
                where = self.out.op(f"getelementptr i64, ptr {self.table_at.name}, {index}", "ptr")
                self.out.emit(f"store {shift}, {where}, align 8")
                return
            extent, step = extents[part], steps[part]

            def offset(u: Value) -> None:
                here, lines = plane, u
                if step > 1:
                    several = self.least(extent, literal(step, "i64"))
                    here = self.op("add", self.op("mul", plane, several), self.op("urem", u, step))
                    lines = self.op("udiv", u, step)
                places(
                    part + 1,
                    self.op("add", self.op("mul", index, extent), u),
                    here,
                    self.op("add", shift, self.op("mul", lines, apart[part])),
                )

            self.loop(extent, offset, "place")

        size = extents[0] if number == 1 else self.op("mul", *extents)
        images = self.op("udiv", self.slot["inner_block"], size)
        self.loop(images, lambda image: places(0, image, image, NOUGHT), "image")

    def inner_block(self, number: Value) -> None:
        self.k0 = self.op("mul", number, self.slot["inner_block"])
        self.k1 = self.least(self.op("add", self.k0, self.slot["inner_block"]), self.slot["inner"])
        self.depth = self.op("sub", self.k1, self.k0)
        self.is_first = compare(self.out, "icmp eq", number, NOUGHT)
        last = self.op("sub", self.slot["inner_blocks"], 1)
        self.is_last = compare(self.out, "icmp eq", number, last)
        self.pack()

        def columns(j: Value) -> None:
            column = self.op("add", self.n0, self.op("mul", j, self.width))
            right, self.first_column = self.panel(j, column)
            before = self.op("mul", j, self.row_panels)

            def rows(i: Value) -> None:
                tile = self.op("mul", self.op("add", before, i), self.slot["tile"])
                row = self.op("add", self.m0, self.op("mul", i, self.plan.rows))
                self.tile(i, right, self.at(self.tiles_at, tile), row, column)

            self.loop(self.row_panels, rows, "rows")

        self.loop(self.column_panels, columns, "columns")

    def left_tile(self, number: Value, row: Value) -> tuple[Value, Value]:
        """Where the left operand of a tile begins, and with which row. Where it is not packed, the
        last tile begins early enough to stay inside: it computes some rows again."""
        plan = self.plan
        if plan.left is not None:
            return self.at(self.left_at, self.op("mul", number, plan.rows * plan.depth)), row
        start = self.least(row, self.op("sub", self.slot["rows"], plan.rows))
        offset = self.op("mul", start, self.slot["left_row"])
        offset = self.op("add", offset, self.op("mul", self.k0, self.slot["left_step"]))
        return self.at(self.left_at, offset), start

    first_column: Value

    def panel(self, j: Value, column: Value) -> tuple[Value, Value]:
        """The address of a right panel, and its first column; see `left_tile`."""
        steps = self.window
        if self.plan.right is None:
            start = self.least(column, self.op("sub", self.slot["columns"], self.width))
            offset = self.op("mul", self.k0, self.slot["right_step"])
            return self.at(self.right_at, self.op("add", start, offset)), start
        if not steps:
            return self.at(self.right_at, self.op("mul", j, self.slot["panel"])), column
        origin = self.n0
        if len(steps) > 1:
            line = self.op("udiv", self.n0, self.slot["pitch"])
            origin = self.op("mul", line, self.slot["pitch"])
        return self.at(self.right_at, self.op("sub", column, origin)), column

    def pack(self) -> None:
        """Operands of this block of the sum, into panels."""
        plan, nest = self.plan, self.nest
        stride = literal(plan.depth, "i64")
        width, rows = literal(self.width, "i64"), literal(plan.rows, "i64")
        if plan.right is not None:
            straight = plan.right.along == "outer" and not plan.right.window
            registers = plan.vectors if straight else 0
            form = (nest.inner, nest.buffers, nest.dtype, plan.right, registers)
            right = Operand(False, nest.right, nest.columns, *form)
            place = (self.right_at, self.rows_at, self.n0, self.n1, self.k0, self.k1)
            sizes = (self.column_panels, width, self.slot["panel"], stride)
            if self.window:
                sizes = (self.slot["planes"], NOUGHT, self.slot["plane"], self.slot["pitch"])
            call_packing(self.e, right, Block(*place, *sizes))
        if plan.left is not None:
            registers = -(-plan.rows // self.lanes) if plan.left.along == "outer" else 0
            form = (nest.inner, nest.buffers, nest.dtype, plan.left, registers)
            left = Operand(True, nest.left, nest.rows, *form)
            place = (self.left_at, self.rows_at, self.m0, self.m1, self.k0, self.k1)
            step = literal(plan.rows * plan.depth, "i64")
            call_packing(self.e, left, Block(*place, self.row_panels, rows, step, stride))

    # ------------------------------------------------------------------------------ the tile

    def tile(self, number: Value, right: Value, tile: Value, row: Value, column: Value) -> None:
        """Multiply two panels into a tile of partial sums; finish it after the last block."""
        plan = self.plan
        left, first = self.left_tile(number, row)
        call_tile(
            self.e,
            self.dtype,
            (plan.rows, plan.vectors),
            (left, self.slot["left_row"], self.slot["left_step"]),
            (right, self.slot["right_step"]),
            (tile, self.depth, self.is_first),
            right_list=self.table_at if self.window else None,
        )

        def finish() -> list[Value]:
            before = self.op("mul", self.op("sub", row, first), self.width)
            before = self.op("add", before, self.op("sub", column, self.first_column))
            self.finish(self.at(tile, before), row, column)
            return []

        self.e.when(self.is_last, [], finish, "finish")

    def finish(self, tile: Value, row: Value, column: Value) -> None:
        """The nest's body over the live part of a tile, which begins at `row` and `column`."""
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
            columns, flat = self.nest.columns, self.plan.flat_columns
            pitch = None
            if self.window:
                flat, pitch = 1, self.slot["pitch"]
            self.runs(columns, flat, column, end, lanes, one_run, pitch)

        self.each(self.nest.rows, self.plan.flat_rows, row, live, one_row, "row")
