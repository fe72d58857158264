"""Operands of contractions, copied into panels.

Packing a block of an operand is a function of its own, which all kernels share whose operand has
the same form, whatever they do with the product: what differs between them comes as arguments.

Left panels: [row of the panel][k], or [k][row] where the operand is contiguous along the rows.
Right panels: [k][column of the panel]. What lies beyond the last row or column is cleared, because
whatever was in scratch may be denormal numbers, which some processors multiply a hundred times
slower."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from tigon.backends.cpu.plan import Packing
from tigon.backends.cpu.positions import NOUGHT, Positions
from tigon.backends.cpu.square import turn_square
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import binary
from tigon.backends.llvm.lanes import floor_quotient, iota, spread
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, element_type, literal, vector_type
from tigon.base.dtypes import DType
from tigon.base.frozen import Frozen, replace
from tigon.loop.fingerprint import fingerprint
from tigon.loop.grammar import Axis, Buffer, Expr, Load, LoopAxis, Slot
from tigon.loop.rewrite import rebuild, with_operands


class Block(Frozen):
    """The block to pack, and where to. Its first panel is at `panels`, the next one `step` elements
    later; a panel has `unit` rows or columns, of which there are [first, end) in all; `line` is
    room for a few rows, `stride` elements apart."""

    panels: Value
    line: Value
    first: Value
    end: Value
    k0: Value
    k1: Value
    count: Value  # panels
    unit: Value
    step: Value
    stride: Value


_BLOCK = ("panels", "line", "first", "end", "k0", "k1", "count", "unit", "step", "stride")


class Operand(Frozen):
    """All that the code for packing an operand depends on. `vectors`: the registers of one row of
    a panel, where they are written out one by one; otherwise 0."""

    left: bool
    value: Expr
    outer: tuple[LoopAxis, ...]
    inner: tuple[LoopAxis, ...]
    buffers: tuple[Buffer, ...]
    dtype: DType
    packing: Packing
    vectors: int


def call_packing(e: Emitter, operand: Operand, block: Block) -> None:
    """Pack a block of `operand`, whose buffers, slots and axes are the emitter's."""
    form, name, buffers, numbers = _form(operand)
    arguments = [getattr(block, field) for field in _BLOCK]
    arguments += [e.base(buffer) for buffer in buffers]
    arguments += [e.emit(number) for number in numbers]
    e.out.call_helper(name, lambda name: _emit(name, form, e.target, numbers), *arguments)


@lru_cache(1000)
def _form(operand: Operand) -> tuple[Operand, str, tuple[int, ...], tuple[Expr, ...]]:
    """The operand with names and numbers of its own, the name of the function that packs it, and
    what of the nest the function is given: buffers, and batch axes and slots."""
    axes = [axis.name for axis in (*operand.outer, *operand.inner)]
    new: dict[Expr, Expr] = {Axis(name): Axis(f"a{n}") for n, name in enumerate(axes)}
    buffers: dict[int, int] = {}
    numbers: list[Expr] = []

    def make(node: Expr, operands: tuple[Expr, ...]) -> Expr:
        if isinstance(node, Load):
            number = buffers.setdefault(node.buffer, len(buffers))
            return Load(number, operands[0], node.dtype)
        if isinstance(node, Axis):  # of the batch
            numbers.append(node)
            return Axis(f"b{len(numbers)}")
        if isinstance(node, Slot):
            numbers.append(node)
            return Slot(len(numbers), node.dtype)
        return with_operands(node, operands)

    def group(axes: Sequence[LoopAxis]) -> tuple[LoopAxis, ...]:
        # The extent of the leading axis is never asked for: a position is divided by the others.
        whole = operand.packing.along == "slide"
        stops = [axis.stop if n or whole else axis.start for n, axis in enumerate(axes)]
        return tuple(
            replace(axis, name=new[Axis(axis.name)].name, stop=rebuild(stop, new, make))  # type: ignore[attr-defined]
            for axis, stop in zip(axes, stops, strict=True)
        )

    form = replace(
        operand,
        value=rebuild(operand.value, new, make),
        outer=group(operand.outer),
        inner=group(operand.inner),
        buffers=tuple(replace(operand.buffers[number], extent=None) for number in buffers),
    )
    digest = hashlib.sha256(fingerprint(form).encode()).hexdigest()
    side = "left" if operand.left else "right"
    return form, f"pack_{side}_{digest[:32]}", tuple(buffers), tuple(numbers)


def _emit(name: str, form: Operand, target: Target, numbers: Sequence[Expr]) -> Function:
    """The function that packs a block of an operand of this form."""
    pointers = _BLOCK[:2]
    block = Block(*(Value("ptr" if f in pointers else "i64", 1, f"%{f}") for f in _BLOCK))
    bases = [Value("ptr", 1, f"%buffer{number}") for number in range(len(form.buffers))]
    given = [
        Value(element_type(number.dtype), 1, f"%number{position}")
        for position, number in enumerate(numbers, 1)
    ]
    parameters = [*(getattr(block, field) for field in _BLOCK), *bases, *given]
    out = Function(name, list(map(str, parameters)), "void")
    e = Emitter(out, form.buffers, target)
    cache = e.scopes[0].cache
    for position, base in enumerate(bases):
        cache["base", position] = base
    for position, (number, value) in enumerate(zip(numbers, given, strict=True), 1):
        if isinstance(number, Axis):
            e.bind_axis(f"b{position}", value)
        else:
            cache[Slot(position, number.dtype)] = value
    packer = _Packer(e, form, block)
    packer.pack_left() if form.left else packer.pack_right()
    return out


class _Packer(Positions):
    def __init__(self, emitter: Emitter, operand: Operand, block: Block) -> None:
        super().__init__(emitter, operand.dtype)
        self.operand, self.packing, self.block = operand, operand.packing, block
        self.depth = self.op("sub", block.k1, block.k0)

    # ---------------------------------------------------------------------------- what both do

    def evaluate(self, place: Value) -> None:
        """The operand in the current lanes, to consecutive places. Lanes that are not live are
        written, too: there is room, and what follows is written later."""
        e = self.e
        value = e.spread(e.emit(self.operand.value), e.lanes)
        e.write(place, value, self.dtype, None)

    def clear(self, start: Value, count: Value) -> None:
        """Zeros from an address, a whole vector at a time."""
        kind, size = vector_type(self.element, self.lanes), self.dtype.itemsize

        def vector(index: Value) -> None:
            place = self.at(start, self.op("mul", index, self.lanes))
            self.out.emit(f"store {kind} zeroinitializer, {place}, align {size}")

        self.loop(self.panels(count, self.lanes), vector, "clear")

    def clear_rows(self, base: Value, start: Value, end: Value) -> None:
        """Rows [start, end) of a packed operand, each as long as the block of the sum."""

        def row(index: Value) -> None:
            at = self.op("mul", self.op("add", start, index), self.block.stride)
            self.clear(self.at(base, at), self.depth)

        self.loop(self.op("sub", end, start), row, "clear.row")

    def along_inner(self, place: Value) -> None:
        """The operand along the block of the sum, to consecutive places."""
        block = self.block
        axes, flat = self.operand.inner, self.packing.flat_inner
        self.evaluate_runs(axes, flat, block.k0, block.k1, place)

    def along_outer(self, start: Value, end: Value, place: Value, lanes: int = 0) -> None:
        """The operand along a range of rows or columns, to consecutive places."""
        axes, flat = self.operand.outer, self.packing.flat_outer
        self.evaluate_runs(axes, flat, start, end, place, lanes)

    def evaluate_runs(
        self,
        axes: Sequence[LoopAxis],
        flat: int,
        start: Value,
        end: Value,
        place: Value,
        lanes: int = 0,
    ) -> None:
        self.runs(
            axes,
            flat,
            start,
            end,
            lanes or self.lanes,
            lambda first: self.evaluate(self.at(place, self.op("sub", first, start))),
        )

    def each_inner(self, body: Callable[[Value], None]) -> None:
        axes, flat = self.operand.inner, self.packing.flat_inner
        self.each(axes, flat, self.block.k0, self.depth, body, "inner")

    def each_outer(self, first: Value, live: Value, body: Callable[[Value], None]) -> None:
        self.each(self.operand.outer, self.packing.flat_outer, first, live, body, "outer")

    def gather_inner(
        self, first: Value, live: Value, place: Callable[[Value, Value], Value]
    ) -> None:
        """Lanes along the sum, for `live` rows or columns from `first`."""
        operand, packing, block = self.operand, self.packing, self.block
        self.gathered(
            (operand.inner, packing.flat_inner, block.k0, block.k1),
            (operand.outer, packing.flat_outer, first, live),
            lambda offset: lambda number: place(number, offset),
        )

    def gathered(
        self,
        vector: tuple[Sequence[LoopAxis], int, Value, Value],
        scalar: tuple[Sequence[LoopAxis], int, Value, Value],
        place: Callable[[Value], Callable[[Value], Value]],
    ) -> None:
        """The operand with every lane at a position of its own: `vector` is a group with its
        range, `scalar` one with start and count. Lanes beyond the end repeat the last position.
        `place` is given the offset into `vector`, and what it gives that into `scalar`. Of a
        window, the lanes lie next to each other in memory and only their guards tell them apart."""
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
                e.begin_gather(named, lanes, self.packing.window)
                at = place(offset)
                self.each(*scalar, lambda number: self.evaluate(at(number)), "gather")
                e.end_vector()

        self.loop(self.panels(self.op("sub", end, start), lanes), group, "group")

    def move(self, source: Value, target: Value) -> None:
        """One row of a panel, register by register."""
        kind, align = vector_type(self.element, self.lanes), self.dtype.itemsize
        for v in range(self.operand.vectors):
            place = self.at(source, v * self.lanes)
            value = self.out.op(f"load {kind}, {place}, align {align}", self.element, self.lanes)
            self.out.emit(f"store {value}, {self.at(target, v * self.lanes)}, align {align}")

    # -------------------------------------------------------------------------------- left

    def pack_left(self) -> None:
        packing, block = self.packing, self.block
        live = self.op("sub", block.end, block.first)
        padded = self.op("mul", block.count, block.unit)

        def row_at(i: Value) -> Value:
            return self.at(block.panels, self.op("mul", i, block.stride))

        if packing.along == "outer":
            self.pack_left_columns(padded)
            return
        self.clear_rows(block.panels, live, padded)
        if packing.along == "gather" or packing.window:
            self.gather_inner(block.first, live, lambda i, k: self.at(row_at(i), k))
        else:
            self.each_outer(block.first, live, lambda i: self.along_inner(row_at(i)))

    def pack_left_columns(self, padded: Value) -> None:
        block = self.block
        self.clear(block.line, padded)

        def column(k: Value) -> None:
            self.along_outer(block.first, block.end, block.line)
            start = self.at(block.panels, self.op("mul", k, block.unit))

            def panel(i: Value) -> None:
                # The last vector reaches into the next k, which is written later.
                source = self.at(block.line, self.op("mul", i, block.unit))
                self.move(source, self.at(start, self.op("mul", i, block.step)))

            self.loop(block.count, panel, "panel")

        self.each_inner(column)

    # -------------------------------------------------------------------------------- right

    def pack_right(self) -> None:
        packing, block = self.packing, self.block
        if packing.along == "slide":
            self.pack_right_sliding()
        elif packing.along == "inner":
            self.pack_right_turned()
        elif packing.along == "outer" and not packing.window:
            self.pack_right_straight()
        else:

            def place(offset: Value) -> Callable[[Value], Value]:
                panel = self.op("mul", self.op("udiv", offset, block.unit), block.step)
                panel = self.op("add", panel, self.op("urem", offset, block.unit))
                start = self.at(block.panels, panel)
                return lambda k: self.at(start, self.op("mul", k, block.unit))

            operand = self.operand
            self.gathered(
                (operand.outer, packing.flat_outer, block.first, block.end),
                (operand.inner, packing.flat_inner, block.k0, self.depth),
                place,
            )

    def pack_right_straight(self) -> None:
        block = self.block

        def one_run(k: Value) -> None:
            """A panel's row is part of the run, one vector of several registers."""
            offset = self.op("mul", k, block.unit)

            def panel(j: Value) -> None:
                start = self.at(block.panels, self.op("mul", j, block.step))
                start = self.at(start, offset)
                column = self.op("add", block.first, self.op("mul", j, block.unit))
                end = self.least(self.op("add", column, block.unit), block.end)
                vectors = self.operand.vectors
                self.along_outer(column, end, start, (vectors & -vectors) * self.lanes)

            self.loop(block.count, panel, "panel")

        def many_runs(k: Value) -> None:
            """Runs would be cut again by panels: put them together first."""
            self.along_outer(block.first, block.end, block.line)
            offset = self.op("mul", k, block.unit)

            def panel(j: Value) -> None:
                source = self.at(block.line, self.op("mul", j, block.unit))
                target = self.at(block.panels, self.op("mul", j, block.step))
                self.move(source, self.at(target, offset))

            self.loop(block.count, panel, "panel")

        whole = self.packing.flat_outer == len(self.operand.outer)
        if not whole:
            self.clear(block.line, self.op("mul", block.count, block.unit))
        self.each_inner(one_run if whole else many_runs)

    def pack_right_sliding(self) -> None:
        """The image under the window, as planes: `step` elements of them, `stride` to a line,
        `count` elements in all."""
        block, steps = self.block, self.packing.steps
        number = len(steps)
        lead, window = self.operand.inner[:-number], self.operand.inner[-number:]
        extents = [self.extent([axis]) for axis in window]
        size = extents[0] if number == 1 else self.op("mul", *extents)
        self.clear(block.panels, block.count)
        start, images = self.op("udiv", block.k0, size), self.op("udiv", self.depth, size)

        def each_image(body: Callable[[Value], None]) -> None:
            self.each(lead, min(1, len(lead)), start, images, body, "image")

        several = [
            None if step == 1 else self.least(extent, literal(step, "i64"))
            for extent, step in zip(extents, steps, strict=True)
        ]

        def remainders(part: int, plane: Value, reach: list[Value]) -> None:
            """Over the remainders of the window's places, axis by axis."""
            if part == number:
                made(plane, reach)
                return
            axis, extent, step, count = window[part], extents[part], steps[part], several[part]
            if count is None:
                self.e.bind_axis(axis.name, NOUGHT)
                remainders(part + 1, plane, [*reach, self.op("sub", extent, 1)])
                return
            first = self.op("mul", plane, count)

            def remainder(rest: Value) -> None:
                self.e.bind_axis(axis.name, rest)
                beyond = self.op("udiv", self.op("sub", self.op("sub", extent, 1), rest), step)
                remainders(part + 1, self.op("add", first, rest), [*reach, beyond])

            self.loop(count, remainder, "plane")

        planes = literal(1, "i64")
        for count in several:
            planes = planes if count is None else self.op("mul", planes, count)

        def made(plane: Value, reach: list[Value]) -> None:
            def place(image: Value, offset: Value) -> Value:
                number = self.op("add", self.op("mul", image, planes), plane)
                start = self.at(block.panels, self.op("mul", number, block.step))
                return self.at(start, offset)

            pack = self.gather_plane if self.packing.flat_outer > 1 else self.pack_lines
            pack(reach, each_image, place)

        with self.e.region():
            remainders(0, NOUGHT, [])

    def pack_lines(
        self,
        reach: list[Value],
        each_image: Callable[[Callable[[Value], None]], None],
        place: Callable[[Value, Value], Value],
    ) -> None:
        """One plane of all images, a vector's width of every line after the other: what guards
        say of a place within a line is worked out once."""
        block, e, lanes = self.block, self.e, self.lanes
        *lines, last = self.operand.outer
        start, stop = (NOUGHT, self.extent([last])) if lines else (block.first, block.end)
        size = self.op("sub", self.op("add", stop, reach[-1]), start)
        live = self.least(size, literal(lanes, "i64"))
        low, end = self.lines() if lines else (NOUGHT, NOUGHT)

        def group(g: Value) -> None:
            # The last vector ends with the line, lest it write over the next one.
            offset = self.least(self.op("mul", g, lanes), self.op("sub", size, live))
            first = spread(self.out, self.op("add", start, offset), lanes)
            position = binary(self.out, "add", first, iota(lanes, "i64"))
            live_lanes = None if self.packing.whole else e.live_lanes(live, lanes)

            def image(index: Value) -> None:
                if not lines:
                    self.evaluate(place(index, offset))
                    return

                def line(number: Value) -> None:
                    e.bind_axis(lines[0].name, self.op("add", low, number))
                    at = self.op("add", self.op("mul", number, block.stride), offset)
                    self.evaluate(place(index, at))

                self.loop(self.op("sub", self.op("add", end, reach[0]), low), line, "line")

            with e.region():
                e.begin_gather({last.name: position}, lanes, self.packing.window)
                e.tail = live_lanes
                each_image(image)
                e.end_vector()

        self.loop(self.panels(size, lanes), group, "group")

    def gather_plane(
        self,
        reach: list[Value],
        each_image: Callable[[Callable[[Value], None]], None],
        place: Callable[[Value, Value], Value],
    ) -> None:
        """The same plane of all images, a vector of it after the other, whatever lines it lies in:
        of short lines, each would be a vector of its own."""
        block, e, lanes = self.block, self.e, self.lanes
        line, last = self.operand.outer
        low, stop = self.lines()
        size = self.op("mul", self.op("sub", self.op("add", stop, reach[0]), low), block.stride)
        furthest = self.op("sub", self.op("add", self.extent([last]), reach[1]), 1)

        def group(g: Value) -> None:
            offset = self.op("mul", g, lanes)
            position = binary(self.out, "add", spread(self.out, offset, lanes), iota(lanes, "i64"))
            position = self.least(position, spread(self.out, self.op("sub", size, 1), lanes))
            quotient = floor_quotient(self.out, position, spread(self.out, block.stride, lanes))
            rest = self.op("sub", position, self.op("mul", quotient, block.stride))
            rest = self.least(rest, spread(self.out, furthest, lanes))
            named = {line.name: self.op("add", quotient, low), last.name: rest}
            with e.region():
                e.begin_gather(named, lanes, False)
                each_image(lambda image: self.evaluate(place(image, offset)))
                e.end_vector()

        self.loop(self.panels(size, lanes), group, "group")

    def lines(self) -> tuple[Value, Value]:
        """The lines of the image that hold the columns of the block."""
        block = self.block
        last = self.op("sub", block.end, 1)
        low = self.op("udiv", block.first, block.stride)
        return low, self.op("add", self.op("udiv", last, block.stride), 1)

    def pack_right_turned(self) -> None:
        """Evaluate a few columns along k, then transpose them square by square."""
        block, lanes = self.block, self.lanes
        groups = self.panels(self.op("sub", block.end, block.first), lanes)
        squares = self.panels(self.depth, lanes)
        per_panel = self.op("udiv", block.unit, lanes)

        def group(g: Value) -> None:
            first = self.op("add", block.first, self.op("mul", g, lanes))
            live = self.least(self.op("sub", block.end, first), literal(lanes, "i64"))
            self.clear_rows(block.line, live, literal(lanes, "i64"))

            def row_at(c: Value) -> Value:
                return self.at(block.line, self.op("mul", c, block.stride))

            if self.packing.window:
                self.gather_inner(first, live, lambda c, k: self.at(row_at(c), k))
            else:
                self.each_outer(first, live, lambda c: self.along_inner(row_at(c)))
            j, v = self.op("udiv", g, per_panel), self.op("urem", g, per_panel)
            target = self.at(block.panels, self.op("mul", j, block.step))
            target = self.at(target, self.op("mul", v, lanes))

            def square(s: Value) -> None:
                k = self.op("mul", s, lanes)
                turn_square(
                    self.e,
                    self.dtype,
                    (self.at(block.line, k), block.stride),
                    (self.at(target, self.op("mul", k, block.unit)), block.unit),
                )

            self.loop(squares, square, "turn")

        self.loop(groups, group, "group")
