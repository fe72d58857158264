"""Code that runs over the positions of axes: flat, like an odometer, or vector by vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.backends.cpu.nest import Body, NestPlan
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import binary, compare, select, smaller
from tigon.backends.llvm.lanes import floor_quotient, spread
from tigon.backends.llvm.text import Value, element_type, literal
from tigon.base.dtypes import DType
from tigon.loop import build as L
from tigon.loop.grammar import Axis, Expr, LoopAxis

NOUGHT = literal(0, "i64")


class Positions:
    """What a contraction and its packing have in common: arithmetic on positions, and loops."""

    def __init__(self, emitter: Emitter, dtype: DType) -> None:
        self.e, self.out = emitter, emitter.out
        self.body = Body(emitter, NestPlan())
        self.dtype = dtype
        self.element = element_type(dtype)
        self.lanes = emitter.target.lanes(dtype.itemsize)

    # ---------------------------------------------------------------------------- arithmetic

    def op(self, opcode: str, a: Value, b: Value | int) -> Value:
        b = literal(b, "i64") if isinstance(b, int) else b
        if a.lanes > 1:
            return binary(self.out, opcode, a, spread(self.out, b, a.lanes))
        if a.is_literal and a.name == "0" and opcode in ("mul", "add"):
            return a if opcode == "mul" else b
        return binary(self.out, opcode, a, b)

    def least(self, a: Value, b: Value) -> Value:
        return smaller(self.out, a, b)

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
        pitch: Value | None = None,
    ) -> None:
        """Vector loops over flat positions [start, end) of a group. `body` is given the flat
        position of its first lane. Each run stays within one row of the merged axes; `pitch`:
        positions from row to row, of which those beyond the row are skipped."""
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
        pitch = pitch or extent
        first_run = self.op("udiv", start, pitch)
        last_run = self.op("udiv", self.op("add", end, self.op("sub", pitch, 1)), pitch)

        def run(number: Value) -> None:
            self.bind(axes[lead:-1], [NOUGHT] * (flat - 1))
            base = self.op("mul", self.op("add", first_run, number), pitch)
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
