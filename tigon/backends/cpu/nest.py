"""A `Nest` as one native function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tigon.backends.cpu.square import TURNED, fewest, turn_square
from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import (
    binary,
    compare,
    convert,
    is_nan,
    logical_not,
    multiply_add,
    same,
    select,
    smaller,
)
from tigon.backends.llvm.lanes import fold_lanes, fold_rows, shuffled, spread
from tigon.backends.llvm.scalar import emit_expression
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, element_type, literal
from tigon.base.dtypes import DType, int64
from tigon.base.errors import InternalError
from tigon.base.extents import as_known
from tigon.base.frozen import Frozen, replace
from tigon.base.multiples import round_up
from tigon.loop import build as L
from tigon.loop.combine import COMBINES
from tigon.loop.expand import expand
from tigon.loop.grammar import (
    Accumulator,
    Apply,
    Buffer,
    Const,
    Expr,
    Fail,
    Let,
    Load,
    Loop,
    LoopAxis,
    Nest,
    Reduce,
    Scan,
    Slot,
    Stmt,
    Store,
)
from tigon.loop.simplify import affine

PARAMETERS = ("ptr %buffers", "ptr %slots", "ptr %scratch", "i64 %begin", "i64 %end")

_HEAVY = 24  # operations per element that make a mask cheap beside them
_NOWHERE = {"i32": (1 << 31) - 1, "i64": (1 << 63) - 1}  # position of the extreme of nothing


class NestPlan(Frozen):
    """What the backend decides about a nest from its numbers. `fuse`: sums of products round once
    per step, for nests that are contractions. `stream`: store past the caches. `lanes`: no vector
    loop runs longer than this power of two, if not 0. `single`: all vector loops of a point are one
    masked vector of so many lanes, if not 0: what one has computed, the next still has. `near`:
    positions of extremes fit 32 bits, which doubles the lanes of a register. `wide`: as many
    vectors at once as there are registers for, since each step reads from another page."""

    fuse: bool = False
    stream: bool = False
    lanes: int = 0
    single: int = 0
    near: bool = False
    wide: bool = False


def emit_nest(nest: Nest, plan: NestPlan, name: str, target: Target) -> Function:
    """The function that runs points [begin, end) of the nest's space."""
    out = Function(name, PARAMETERS)
    emitter = Emitter(out, nest.buffers, target)
    emitter.streams = plan.stream
    place_scratch(emitter, nest.buffers)
    body = Body(emitter, plan)
    if plan.single:
        over_short_rows(body, nest)
    else:
        over_points(emitter, nest.space, lambda: body.statements(nest.body))
    if plan.stream and target.triple.startswith("x86_64"):
        # Whoever is told that the points are done must also see them.
        out.call_void("llvm.x86.sse.sfence")
    out.block.terminator = "ret i32 0"
    return out


def place_scratch(emitter: Emitter, buffers: Sequence[Buffer], offset: Value | None = None) -> None:
    """Give every scratch buffer its part of the call's private memory."""
    out = emitter.out
    for number, buffer in enumerate(buffers):
        if buffer.role != "scratch":
            continue
        assert buffer.extent is not None
        pointer = Value("ptr", 1, "%scratch")
        if offset is not None:
            pointer = out.op(f"getelementptr i8, ptr %scratch, {offset}", "ptr")
        emitter.scopes[0].cache["base", number] = pointer
        size = L.mul(buffer.extent, buffer.dtype.itemsize)
        size = L.mul(L.floordiv(L.add(size, 63), 64), 64)
        made = emitter.emit(size)
        offset = made if offset is None else binary(out, "add", offset, made)


def scratch_bytes(buffers: Sequence[Buffer]) -> int:
    """What `place_scratch` hands out when the extents are numbers, or formulas."""
    total = 0
    for buffer in buffers:
        if buffer.role == "scratch":
            if not isinstance(buffer.extent, Const):
                raise InternalError(f"cpu: the extent of a scratch buffer is {buffer.extent!r}")
            total += round_up(as_known(buffer.extent.value) * buffer.dtype.itemsize, 64)
    return total


def over_points(emitter: Emitter, space: Sequence[LoopAxis], body: Callable[[], None]) -> None:
    """Loop over the flat points and bind the axes of the space, advancing them like an odometer:
    a division per point and axis would cost more than many a body."""
    out = emitter.out
    begin, end = Value("i64", 1, "%begin"), Value("i64", 1, "%end")
    extents = [emitter.emit(axis.stop) for axis in space]
    starts: list[Value] = []
    rest = begin
    for extent in reversed(extents[1:]):
        starts.append(binary(out, "urem", rest, extent))
        rest = binary(out, "udiv", rest, extent)
    if space:
        starts.append(rest)
    starts.reverse()

    def point(flat: Value, carried: list[Value]) -> list[Value]:
        for axis, value in zip(space, carried, strict=True):
            emitter.bind_axis(axis.name, value)
        body()
        following: list[Value] = []
        step = literal(1, "i64")
        for value, extent in zip(reversed(carried[1:]), reversed(extents[1:]), strict=True):
            advanced = binary(out, "add", value, step)
            wrapped = compare(out, "icmp eq", advanced, extent)
            following.append(select(out, wrapped, literal(0, "i64"), advanced))
            step = out.op(f"zext {wrapped} to i64", "i64")
        if carried:
            following.append(binary(out, "add", carried[0], step))
        return following[::-1]

    emitter.loop(begin, end, 1, starts, point, "point")


_IN_STEP = 4


def over_short_rows(body: Body, nest: Nest) -> None:
    """Points whose loops are one vector each. Where one axis counts them, several are worked out in
    step, which share what it takes to fold their lanes; not those with scratch memory, which is
    that of one point."""
    axis = body.single_axis(nest.body)
    has_scratch = any(buffer.role == "scratch" for buffer in nest.buffers)
    if len(nest.space) != 1 or not isinstance(axis.stop, Slot) or has_scratch:
        over_points(body.e, nest.space, lambda: body.in_step(nest.body, [None]))
        return
    e, (point,) = body.e, nest.space
    begin, end = Value("i64", 1, "%begin"), Value("i64", 1, "%end")

    def run(first: Value, count: int) -> list[Value]:
        places = [literal(number, "i64") for number in range(count)]
        body.in_step(nest.body, [(point.name, binary(e.out, "add", first, p)) for p in places])
        return []

    last = binary(e.out, "sub", end, literal(_IN_STEP - 1, "i64"))
    left, _ = e.loop(begin, last, _IN_STEP, [], lambda first, _: run(first, _IN_STEP), "points")
    e.loop(left, end, 1, [], lambda first, _: run(first, 1), "point")


class State:
    """What one accumulator carries around its loops: its value and, for arg*, the position."""

    def __init__(self, accumulator: Accumulator, values: list[Value]) -> None:
        self.accumulator = accumulator
        self.values = values


class Body:
    """Statements, in order."""

    def __init__(self, emitter: Emitter, plan: NestPlan) -> None:
        self.e = emitter
        self.plan = plan

    def statements(self, body: Sequence[Stmt]) -> None:
        """Stores wait until all values beside them are computed: an output may share the memory of
        an input that a later statement reads, at the same element or, where a point computes
        several, at theirs. Only a read of a buffer that the nest itself writes ends the waiting.
        """
        waiting: list[Callable[[], None]] = []
        pending: set[int] = set()

        def flush() -> None:
            for write in waiting:
                write()
            if waiting:
                self.e.invalidate()
            waiting.clear()
            pending.clear()

        def reads_pending(stmt: Let | Store) -> bool:
            exprs = (stmt.value,) if isinstance(stmt, Let) else (stmt.index, stmt.value)
            return bool(pending) and any(
                load.buffer in pending for expr in exprs for load in self.e.facts(expr).loads
            )

        for stmt in body:
            if not isinstance(stmt, (Let, Store)):
                flush()
                self.nested(stmt)
                continue
            if reads_pending(stmt):
                flush()
            if isinstance(stmt, Let):
                self.e.let(stmt.name, stmt.value)
            else:
                place, value = stmt.index, stmt.value
                write = self.e.prepare_store(stmt.buffer, place, value, stmt.accumulate)
                waiting.append(write)
                pending.add(stmt.buffer)
        flush()

    def nested(self, stmt: Loop | Reduce | Scan | Fail) -> None:
        """A statement with statements or control flow of its own."""
        if isinstance(stmt, Fail):
            self.fail(stmt)
        elif isinstance(stmt, Reduce):
            self.reduce(stmt)
        else:
            if isinstance(stmt, Scan):
                self.scan(stmt)
            else:
                self.loops(stmt.axes, stmt.body)
            self.e.invalidate()

    def fail(self, stmt: Fail) -> None:
        e, out = self.e, self.e.out
        condition = e.emit(stmt.condition)
        here = e.scopes[-1]
        stop, following = out.new_block("fail"), out.new_block("right")
        stop.terminator = f"ret i32 {stmt.status}"
        out.block = here.block
        out.branch(condition, stop, following)
        here.block = out.block = following

    # ---------------------------------------------------------------------------- one vector

    def single_axis(self, body: Sequence[Stmt]) -> LoopAxis:
        (axis,) = {axis for stmt in body if isinstance(stmt, (Loop, Reduce)) for axis in stmt.axes}
        return axis

    def in_step(self, body: Sequence[Stmt], points: Sequence[tuple[str, Value] | None]) -> None:
        """The statements of several points whose loops are one vector each, the same one: each
        statement of all points before the next. A point is its axis and where it is there, or None
        where that is bound already."""
        e, lanes, axis = self.e, self.plan.single, self.single_axis(body)
        live = e.live_lanes(e.emit(axis.stop), lanes)
        with e.region():
            views = [e.view() for _ in points]
            for view, point in zip(views, points, strict=True):
                with view:
                    if point is not None:
                        e.bind_axis(*point)
                    e.begin_vector(axis.name, literal(0, "i64"), lanes, live, True)
            for stmt in body:
                if not isinstance(stmt, Reduce):
                    for view in views:
                        with view:
                            self.statements(stmt.body if isinstance(stmt, Loop) else (stmt,))
                    continue
                for accumulator in stmt.accumulators:
                    rows = []
                    for view in views:
                        with view:
                            state = State(accumulator, self.neutral(accumulator, lanes))
                            rows.append(self.accumulate(state, True))
                    folded = fold_rows(e.out, rows, self.combiner(accumulator))
                    for view, values in zip(views, folded, strict=True):
                        with view:
                            self.bind(accumulator, values)
            e.end_vector()

    # --------------------------------------------------------------------------------- loops

    def loops(self, axes: Sequence[LoopAxis], body: Sequence[Stmt]) -> None:
        turn = _Turn.of(axes, body)
        if turn is not None:
            axes = self.turn(axes, turn)
        lanes = self.loop_lanes(body)
        work = _work(value for stmt in body for value in _values(stmt))

        def run(carried: list[Value]) -> list[Value]:
            self.statements(body)
            return []

        self.over(axes, lanes, [], run, work >= _HEAVY)

    def turn(self, axes: Sequence[LoopAxis], turn: _Turn) -> Sequence[LoopAxis]:
        """The copy, square by square; the last squares begin early enough to stay inside. Where one
        axis is no square long, and there are masks, squares have as many lines and columns as there
        are. What is left are the same axes, without a line if that has been all: where one is
        shorter still, it has been nothing."""
        e, out = self.e, self.e.out
        lines, columns = axes
        load, lanes = turn.load, e.target.lanes(turn.load.dtype.itemsize)
        ends = [(e.emit(axis.start), e.emit(axis.stop)) for axis in axes]
        extents = [binary(out, "sub", stop, start) for start, stop in ends]
        apart = [e.emit(step) for step in turn.apart]
        (first_line, last_line), (first_column, last_column) = ends

        def have(number: int) -> Value:
            least = literal(number, "i64")
            return binary(
                out, "and", *(compare(out, "icmp sge", extent, least) for extent in extents)
            )

        def squares(end: Value, least: int, is_some: bool) -> None:
            final = [binary(out, "sub", stop, literal(least, "i64")) for _, stop in ends]

            def along(line: Value, carried: list[Value]) -> list[Value]:
                line = smaller(out, line, final[0])
                e.bind_axis(lines.name, line)

                def square(column: Value, carried: list[Value]) -> list[Value]:
                    column = smaller(out, column, final[1])
                    e.bind_axis(columns.name, column)
                    places = [
                        out.op(
                            f"getelementptr {element_type(load.dtype)}, {e.base(buffer)}, "
                            f"{e.emit(index)}",
                            "ptr",
                        )
                        for buffer, index in ((one.buffer, one.index) for one in (load, turn.store))
                    ]
                    given = (load.dtype, (places[0], apart[0]), (places[1], apart[1]))
                    if is_some:
                        left = [
                            smaller(out, binary(out, "sub", stop, first), literal(lanes, "i64"))
                            for first, stop in ((line, last_line), (column, last_column))
                        ]
                        turn_square(e, *given, (left[0], left[1]))
                    else:
                        turn_square(e, *given)
                    return []

                return e.loop(first_column, last_column, lanes, [], square, "columns")[1]

            e.loop(first_line, end, lanes, [], along, "squares")

        whole = have(lanes)
        done = select(out, whole, last_line, first_line)
        squares(done, lanes, False)
        if e.target.masks:
            least = fewest(load.dtype)
            some = select(out, have(least), last_line, first_line)
            squares(select(out, whole, first_line, some), least, True)
            done = select(out, whole, done, some)
        e.bind_local("turned", int64, done)
        return replace(lines, start=L.local("turned", int64)), columns

    def over(
        self,
        axes: Sequence[LoopAxis],
        lanes: int,
        carried: list[Value],
        body: Callable[[list[Value]], list[Value]],
        heavy: bool,
    ) -> list[Value]:
        """Run over the axes, outermost first. The vector axis runs `lanes` at a time where the
        target has masks; elsewhere `body` must cope with being written for one lane, too."""
        if not axes:
            return body(carried)
        axis, rest = axes[0], axes[1:]

        def deeper(inner: list[Value]) -> list[Value]:
            return self.over(rest, lanes, inner, body, heavy)

        start, stop = self.e.emit(axis.start), self.e.emit(axis.stop)
        if axis.vector and lanes > 1:
            return self.vector_loop(axis.name, start, stop, lanes, carried, deeper, heavy)

        def run(index: Value, inner: list[Value]) -> list[Value]:
            self.e.bind_axis(axis.name, index)
            return deeper(inner)

        return self.e.loop(start, stop, 1, carried, run, "loop")[1]

    def vector_loop(
        self,
        name: str,
        start: Value,
        stop: Value,
        lanes: int,
        carried: list[Value],
        body: Callable[[list[Value]], list[Value]],
        heavy: bool = False,
    ) -> list[Value]:
        """Whole vectors, then a masked one or, without masks, one element at a time. A `heavy`
        body is written once only, with a mask all through: that costs it little."""
        e = self.e
        if e.axis is not None:
            raise InternalError(f"cpu: vector axis {name} inside vector axis {e.axis}")
        from_zero = start.is_literal and start.name == "0"

        def whole(first: Value, inner: list[Value]) -> list[Value]:
            e.begin_vector(name, first, lanes, None, from_zero)
            results = body(inner)
            e.end_vector()
            return results

        if heavy and e.target.masks:

            def partial(first: Value, inner: list[Value]) -> list[Value]:
                rest = binary(e.out, "sub", stop, first)
                limit = literal(lanes, "i64")
                live = select(e.out, compare(e.out, "icmp slt", rest, limit), rest, limit)
                e.begin_vector(name, first, lanes, e.live_lanes(live, lanes), from_zero)
                results = body(inner)
                e.end_vector()
                return results

            return e.loop(start, stop, lanes, carried, partial, "masked")[1]
        with e.at(e.depth):
            last = binary(e.out, "sub", stop, literal(lanes - 1, "i64"))
        first, carried = e.loop(start, last, lanes, carried, whole, "vector")
        if not e.target.masks:

            def single(index: Value, inner: list[Value]) -> list[Value]:
                e.begin_vector(name, index, 1, None)
                results = body(inner)
                e.end_vector()
                return results

            return e.loop(first, stop, 1, carried, single, "rest")[1]
        more = compare(e.out, "icmp slt", first, stop)

        def masked() -> list[Value]:
            live = binary(e.out, "sub", stop, first)
            e.begin_vector(name, first, lanes, e.live_lanes(live, lanes), from_zero)
            results = body(carried)
            e.end_vector()
            return results

        return e.when(more, carried, masked, "tail")

    def loop_lanes(self, body: Sequence[Stmt]) -> int:
        """Lanes of a vector loop around `body`."""
        values = [value for stmt in body for value in _values(stmt)]
        size, work = max(1, _widest(values)), _work(values)
        chained = any(isinstance(stmt, (Reduce, Scan, Loop)) for stmt in body)
        lanes = self.e.target.lanes(size)
        # Several vectors at once hide latency where the body is a chain through one accumulator.
        if chained:
            lanes *= self.e.target.registers // 2 if self.plan.wide else _vectors(work)
        return self.capped(lanes)

    def capped(self, lanes: int) -> int:
        return min(lanes, self.plan.lanes) if self.plan.lanes else lanes

    # ---------------------------------------------------------------------------- reductions

    def reduce(self, stmt: Reduce) -> None:
        e = self.e
        lanes = 1
        if any(axis.vector for axis in stmt.axes):
            lanes = self.reduce_lanes(stmt)
        twice = lanes > 1 and not e.target.masks  # single elements go to accumulators of their own
        states = [State(a, self.neutral(a, self.width(a, lanes))) for a in stmt.accumulators]
        singles = [State(a, self.neutral(a, 1)) for a in stmt.accumulators] if twice else []

        def run(carried: list[Value]) -> list[Value]:
            given = _split(carried, [*states, *singles])
            for state, values in zip([*states, *singles], given, strict=True):
                state.values = values
            live = singles if twice and e.lanes == 1 else states
            for state in live:
                state.values = self.accumulate(state, lanes > 1)
            return [value for state in [*states, *singles] for value in state.values]

        carried = [value for state in [*states, *singles] for value in state.values]
        heavy = _work(a.value for a in stmt.accumulators) >= _HEAVY
        results = _split(self.over(stmt.axes, lanes, carried, run, heavy), [*states, *singles])
        for number, state in enumerate(states):
            values = results[number]
            combine = self.combiner(state.accumulator)
            if lanes > 1:
                values = fold_lanes(e.out, values, 1, combine)
            if twice:
                values = combine(values, results[len(states) + number])
            self.bind(state.accumulator, values)

    def scan(self, stmt: Scan) -> None:
        e, out = self.e, self.e.out
        lanes = 1
        if stmt.axis.vector:
            lanes = self.capped(e.target.lanes(_widest(_values(stmt))))
        # Along a vector axis what is carried is the last lane.
        start = [
            self.nothing(a, 1 if stmt.axis.vector else self.width(a, 1)) for a in stmt.accumulators
        ]

        def run(carried: list[Value]) -> list[Value]:
            following = []
            for accumulator, before in zip(stmt.accumulators, carried, strict=True):
                combine = self.combiner(accumulator)
                value = e.spread(
                    e.emit(accumulator.value),
                    e.lanes if stmt.axis.vector else before.lanes,
                    e.level(accumulator.value),
                )
                if stmt.axis.vector and e.lanes > 1:
                    value = self.so_far(accumulator, value)
                (value,) = combine([spread(out, before, value.lanes)], [value])
                e.bind_local(accumulator.name, accumulator.dtype, value)
                if stmt.axis.vector and e.lanes > 1:
                    last = e.lanes - 1
                    value = out.op(f"extractelement {value}, i64 {last}", value.element)
                following.append(value)
            self.statements(stmt.body)
            return following

        heavy = _work(a.value for a in stmt.accumulators) >= _HEAVY
        self.over((stmt.axis,), lanes, start, run, heavy)

    def so_far(self, accumulator: Accumulator, value: Value) -> Value:
        """Each lane combined with those before it: the upper half of every two lanes, four, eight,
        ... takes what the lower half has come to. Dead lanes are the last ones."""
        out, lanes, combine = self.e.out, value.lanes, self.combiner(accumulator)
        nothing = self.nothing(accumulator, lanes)
        width = 1
        while width < lanes:
            order = [lane // width * width - 1 if lane & width else lanes for lane in range(lanes)]
            before = shuffled(out, value, nothing, order)
            (value,) = combine([before], [value])
            width *= 2
        return value

    def nothing(self, accumulator: Accumulator, lanes: int) -> Value:
        """What changes no element that it is combined with, not even -0.0."""
        combine, dtype = COMBINES[accumulator.combine], accumulator.dtype
        number = (combine.start or combine.neutral)(dtype)
        return literal(L.const(number, dtype).value, element_type(dtype), lanes)

    @property
    def position_type(self) -> str:
        return "i32" if self.plan.near else "i64"

    def bind(self, accumulator: Accumulator, values: list[Value]) -> None:
        value = values[-1]
        if accumulator.position is not None and self.plan.near:
            nothing = compare(self.e.out, "icmp eq", value, same(_NOWHERE["i32"], value))
            value = convert(self.e.out, "sext", value, "i64")
            value = select(self.e.out, nothing, same(_NOWHERE["i64"], value), value)
        self.e.bind_local(accumulator.name, accumulator.dtype, value)

    def width(self, accumulator: Accumulator, lanes: int) -> int:
        """Lanes of an accumulator: those of its own vector axis or of an enclosing one."""
        if lanes > 1:
            return lanes
        parts = [accumulator.value]
        if accumulator.position is not None:
            parts.append(accumulator.position)
        return self.e.lanes if any(self.e.varies(part) for part in parts) else 1

    def reduce_lanes(self, stmt: Reduce) -> int:
        size = _widest([a.value for a in stmt.accumulators])
        work = _work(a.value for a in stmt.accumulators)
        work += sum(8 if a.position is not None else 1 for a in stmt.accumulators)
        lanes = self.e.target.lanes(size)
        return self.capped(lanes * _vectors(work))

    def neutral(self, accumulator: Accumulator, lanes: int) -> list[Value]:
        combine, dtype = COMBINES[accumulator.combine], accumulator.value.dtype
        number = L.const(combine.neutral(dtype), dtype)
        values = [literal(number.value, element_type(dtype), lanes)]
        if combine.positional:
            element = self.position_type
            values.append(literal(_NOWHERE[element], element, lanes))
        return values

    def accumulate(self, state: State, masked: bool) -> list[Value]:
        """One iteration. Lanes that are not live keep what they have."""
        e, accumulator, old = self.e, state.accumulator, state.values
        lanes = old[0].lanes
        product = accumulator.value
        if (
            self.plan.fuse
            and accumulator.combine == "sum"
            and isinstance(product, Apply)
            and product.function == "mul"
            and product.dtype.is_float
        ):
            a, b = (e.spread(e.emit(o), lanes, e.level(o)) for o in product.operands)
            total = multiply_add(e.out, a, b, old[0], e.target.fused)
            return self.keep_dead_lanes([total], old, masked)
        value = e.emit(accumulator.value)
        values = [e.spread(value, lanes, e.level(accumulator.value))]
        if accumulator.position is not None:
            position = e.emit(accumulator.position)
            level = e.level(accumulator.position)
            if self.plan.near:
                with e.at(level):
                    position = convert(e.out, "trunc", position, "i32")
            values.append(e.spread(position, lanes, level))
            order = COMBINES[accumulator.combine].order
            better = self.better_later(old, values, accumulator.value.dtype, order)
            return self.keep_dead_lanes(better, old, masked)
        return self.keep_dead_lanes(self.combiner(accumulator)(old, values), old, masked)

    def keep_dead_lanes(self, new: list[Value], old: list[Value], masked: bool) -> list[Value]:
        e = self.e
        if not masked or e.tail is None:
            return new
        return [select(e.out, e.tail, a, b) for a, b in zip(new, old, strict=True)]

    def combiner(
        self, accumulator: Accumulator
    ) -> Callable[[list[Value], list[Value]], list[Value]]:
        combine, dtype, out = COMBINES[accumulator.combine], accumulator.value.dtype, self.e.out
        if combine.step is None:
            return lambda a, b: self.better(a, b, dtype, combine.order)
        one, other = L.local("one", dtype), L.local("other", dtype)
        step = expand(combine.step(one, other))
        return lambda a, b: [emit_expression(out, step, {one: a[0], other: b[0]})]

    def better_later(self, a: list[Value], b: list[Value], dtype: DType, order: str) -> list[Value]:
        """The same of a position that is behind the other, as in each lane's loop; an extreme of
        nothing is not."""
        out = self.e.out
        (old, old_at), (new, new_at) = a, b
        if dtype.is_float:
            beats = compare(out, f"fcmp u{order}", new, old)
            beats = binary(out, "and", beats, logical_not(out, is_nan(out, old)))
        else:
            beats = compare(out, f"icmp {'s' if dtype.kind == 'i' else 'u'}{order}", new, old)
        first = compare(out, "icmp eq", old_at, same(_NOWHERE[old_at.element], old_at))
        wins = binary(out, "or", beats, first)
        return [select(out, wins, new, old), select(out, wins, new_at, old_at)]

    def better(self, a: list[Value], b: list[Value], dtype: DType, order: str) -> list[Value]:
        """Of (value, position) pairs the more extreme, at a tie the earlier; NaN is extreme."""
        out = self.e.out
        (old, old_at), (new, new_at) = a, b
        if dtype.is_float:
            # Unordered or better, unless the old one is NaN: then only an earlier NaN wins.
            beats = compare(out, f"fcmp u{order}", new, old)
            held = is_nan(out, old)
            beats = binary(out, "and", beats, logical_not(out, held))
            ties = compare(out, "fcmp oeq", new, old)
            ties = binary(out, "or", ties, binary(out, "and", held, is_nan(out, new)))
        else:
            sign = "s" if dtype.kind == "i" else "u"
            beats = compare(out, f"icmp {sign}{order}", new, old)
            ties = compare(out, "icmp eq", new, old)
        earlier = compare(out, "icmp slt", new_at, old_at)
        wins = binary(out, "or", beats, binary(out, "and", ties, earlier))
        return [select(out, wins, new, old), select(out, wins, new_at, old_at)]


class _Turn(Frozen):
    """A copy along two axes that lies along one where it is read and along the other, that of
    vectors, where it is written. `apart`: how far apart lie what is read along the second and what
    is written along the first."""

    store: Store
    load: Load
    apart: tuple[Expr, Expr]

    @staticmethod
    def of(axes: Sequence[LoopAxis], body: Sequence[Stmt]) -> _Turn | None:
        if len(axes) != 2 or axes[0].vector or not axes[1].vector or len(body) != 1:
            return None
        (store,) = body
        if not isinstance(store, Store) or store.accumulate or not isinstance(store.value, Load):
            return None
        load = store.value
        lines, columns = (axis.name for axis in axes)
        read, written = (affine(one.index, {lines, columns}) for one in (load, store))
        if read is None or written is None or load.dtype.itemsize not in TURNED:
            return None
        across, down = read[0].get(columns), written[0].get(lines)
        if across is None or down is None:
            return None
        ones = read[0].get(lines), written[0].get(columns)
        return _Turn(store, load, (across, down)) if ones == (L.const(1), L.const(1)) else None


def _split(values: list[Value], states: Sequence[State]) -> list[list[Value]]:
    parts, start = [], 0
    for state in states:
        count = len(state.values)
        parts.append(values[start : start + count])
        start += count
    return parts


def _values(stmt: Stmt) -> list[Expr]:
    """The value expressions of a statement and of those inside it (no indices)."""
    if isinstance(stmt, (Store, Let)):
        return [stmt.value]
    if isinstance(stmt, Fail):
        return [stmt.condition]
    if isinstance(stmt, Reduce):
        return [a.value for a in stmt.accumulators]
    if isinstance(stmt, Scan):
        own = [a.value for a in stmt.accumulators]
        return own + [value for inner in stmt.body for value in _values(inner)]
    return [value for inner in stmt.body for value in _values(inner)]


def _data(expr: Expr, seen: set[Expr]) -> Iterator[Expr]:
    """Subexpressions that are data, not addresses, and not `seen` before."""
    stack = [expr]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        if isinstance(node, Apply):
            stack.extend(node.operands)


def _widest(exprs: Sequence[Expr]) -> int:
    """Largest element size among the data of expressions, int64 arithmetic and what is read from
    one place only, such as a key, apart."""
    size = 0
    together: set[Expr] = set()  # what several expressions share is looked at once
    for expr in exprs:
        seen = together if _is_sized(expr) else set()
        sizes = [node.dtype.itemsize for node in _data(expr, seen) if _is_sized(node)]
        size = max(size, max(sizes, default=0 if seen is together else expr.dtype.itemsize))
    return size


def _is_sized(expr: Expr) -> bool:
    if isinstance(expr, Load):
        return not isinstance(expr.index, (Const, Slot))
    return isinstance(expr, Apply) and expr.dtype is not int64


def _vectors(work: int) -> int:
    """How many vectors at once a reduction of so many operations runs."""
    return 4 if work <= 8 else 2 if work <= 24 else 1


def _work(exprs: Iterable[Expr]) -> int:
    """Operations per element, expression by expression; counted no further than anyone asks."""
    work = 0
    for expr in exprs:
        for node in _data(expr, set()):
            work += isinstance(node, (Apply, Load))
            if work > _HEAVY:
                return work
    return work
