"""Checks a nest against the grammar. A failure is a bug of a lowering: `InternalError`."""

from __future__ import annotations

from tigon.base.dtypes import DType, bool_, int64
from tigon.base.errors import InternalError, TigonError
from tigon.loop import build as L
from tigon.loop.combine import COMBINES
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import (
    Accumulator,
    AnyNest,
    Apply,
    Axis,
    Buffer,
    Const,
    Contraction,
    Expr,
    Extern,
    Fail,
    Let,
    Load,
    Local,
    LoopAxis,
    Reduce,
    Scan,
    Slot,
    Stmt,
    Store,
    walk,
)
from tigon.loop.show import show
from tigon.loop.simplify import affine, axes_of

_ROLES = ("in", "out", "scratch")


def verify(nest: AnyNest) -> None:
    """Raise `InternalError` unless `nest` is well formed.

    >>> from tigon.loop.grammar import Nest
    >>> verify(Nest((Buffer(int64, "out"),), (), (Store(0, L.const(0), L.axis("i")),)))
    Traceback (most recent call last):
    ...
    tigon.base.errors.InternalError: loop.verify: axis i is not in scope
    nest b0: int64 out
    b0[0] = i
    """
    try:
        _Check(nest).run()
    except _Broken as broken:
        raise InternalError(f"loop.verify: {broken}\n{show(nest)}") from None


class _Broken(Exception):
    pass


def _require(condition: object, message: str) -> None:
    if not condition:
        raise _Broken(message)


class _Check:
    def __init__(self, nest: AnyNest) -> None:
        self.nest = nest
        self.axes: dict[str, LoopAxis] = {}
        self.locals: dict[str, DType] = {}
        self.well_typed: set[Expr] = set()

    def run(self) -> None:
        nest = self.nest
        for number, buffer in enumerate(nest.buffers):
            self._buffer(number, buffer)
        if isinstance(nest, Extern):
            self._expr(nest.points, int64, "number of points")
            for part in (*nest.numbers, nest.operations):
                _require(isinstance(part, (Const, Slot)), f"{part!r} is no number of a routine")
            return
        if isinstance(nest, Contraction):
            self._contraction(nest)
            return
        for axis in nest.space:
            self._outer_axis(axis)
            self._enter(axis)
        self._body(nest.body, outermost=True)

    def _buffer(self, number: int, buffer: Buffer) -> None:
        _require(buffer.role in _ROLES, f"buffer {number}: no such role {buffer.role!r}")
        scratch = buffer.role == "scratch"
        _require(
            (buffer.extent is not None) == scratch,
            f"buffer {number}: an extent belongs to scratch, and only there",
        )
        if buffer.extent is not None:
            self._expr(buffer.extent, int64, "scratch extent")

    def _outer_axis(self, axis: LoopAxis) -> None:
        _require(not axis.vector, f"axis {axis.name} of the space cannot be a vector axis")
        _require(L.is_const(axis.start, 0), f"axis {axis.name} of the space must start at 0")

    def _enter(self, axis: LoopAxis) -> None:
        _require(axis.name not in self.axes, f"axis {axis.name} is already in scope")
        self._expr(axis.start, int64, f"start of {axis.name}")
        self._expr(axis.stop, int64, f"stop of {axis.name}")
        if axis.vector:
            outer = next((other.name for other in self.axes.values() if other.vector), None)
            _require(outer is None, f"vector axis {axis.name} inside vector axis {outer}")
        self.axes[axis.name] = axis

    def _body(self, body: tuple[Stmt, ...], outermost: bool = False) -> None:
        outer = dict(self.locals)
        for statement in body:
            if isinstance(statement, Let):
                self._expr(statement.value, None, f"let {statement.name}")
                self._bind(statement.name, statement.value.dtype)
            elif isinstance(statement, Store):
                self._store(statement)
            elif isinstance(statement, Reduce):
                self._reduce(statement)
            elif isinstance(statement, Fail):
                _require(outermost, "a failure belongs directly into the body of a nest")
                _require(statement.status > 0, f"status {statement.status} is none of a failure")
                self._expr(statement.condition, bool_, "condition of a failure")
            elif isinstance(statement, Scan):
                self._scan(statement)
            else:
                for axis in statement.axes:
                    self._enter(axis)
                self._body(statement.body)
                for axis in statement.axes:
                    del self.axes[axis.name]
        self.locals = outer

    def _bind(self, name: str, dtype: DType) -> None:
        _require(name not in self.locals, f"local {name} is bound twice")
        self.locals[name] = dtype

    def _store(self, store: Store) -> None:
        buffer = self._known(store.buffer)
        self._expr(store.index, int64, f"index into buffer {store.buffer}")
        self._expr(store.value, buffer.dtype, f"value for buffer {store.buffer}")
        _require(buffer.role != "in", f"buffer {store.buffer} is an input and cannot be written")
        vector = next((axis.name for axis in self.axes.values() if axis.vector), None)
        if vector is not None:
            found = affine(store.index, {vector})
            varies = found is None or vector in found[0]
            _require(
                varies,
                f"all lanes of {vector} store to one element of buffer {store.buffer}",
            )
            _require(
                not store.accumulate or (found is not None and varies),
                f"lanes of {vector} might accumulate into one element of buffer {store.buffer}",
            )

    def _reduce(self, reduce: Reduce) -> None:
        for axis in reduce.axes:
            self._enter(axis)
        for accumulator in reduce.accumulators:
            self._accumulator(accumulator)
        for axis in reduce.axes:
            del self.axes[axis.name]
        for accumulator in reduce.accumulators:
            self._bind(accumulator.name, accumulator.dtype)

    def _scan(self, scan: Scan) -> None:
        self._enter(scan.axis)
        outer = dict(self.locals)
        for accumulator in scan.accumulators:
            self._accumulator(accumulator)
            _require(
                accumulator.position is None,
                f"accumulator {accumulator.name}: a scan keeps values, not positions",
            )
        for accumulator in scan.accumulators:
            self._bind(accumulator.name, accumulator.dtype)
        self._body(scan.body)
        self.locals = outer
        del self.axes[scan.axis.name]

    def _accumulator(self, accumulator: Accumulator) -> None:
        where = f"accumulator {accumulator.name}"
        combine = COMBINES.get(accumulator.combine)
        if combine is None:
            raise _Broken(f"{where}: no such combination {accumulator.combine!r}")
        self._expr(accumulator.value, None, where)
        kind = accumulator.value.dtype.kind
        _require(kind in combine.kinds, f"{where}: no {combine.name} of {kind!r}")
        _require(
            (accumulator.position is not None) == combine.positional,
            f"{where}: a position belongs to argmax and argmin, and only there",
        )
        if accumulator.position is not None:
            self._expr(accumulator.position, int64, f"position of {where}")

    def _contraction(self, nest: Contraction) -> None:
        groups = {
            name: tuple(axis.name for axis in getattr(nest, name))
            for name in ("batch", "rows", "columns", "inner")
        }
        for name in groups:
            for axis in getattr(nest, name):
                self._outer_axis(axis)
                self._enter(axis)
        for side, absent in (("left", "columns"), ("right", "rows")):
            self._expr(getattr(nest, side), nest.dtype, side)
            wrong = axes_of(getattr(nest, side)) & set(groups[absent])
            _require(not wrong, f"{side} mentions {absent} axes {sorted(wrong)}")
        for axis in nest.inner:
            del self.axes[axis.name]
        self._bind(nest.accumulator, nest.dtype)
        _require(
            all(isinstance(statement, (Let, Store)) for statement in nest.body),
            "the body of a contraction holds Let and Store only",
        )
        self._body(nest.body)

    def _known(self, number: int) -> Buffer:
        _require(0 <= number < len(self.nest.buffers), f"no buffer {number}")
        return self.nest.buffers[number]

    def _expr(self, expr: Expr, dtype: DType | None, where: str) -> None:
        _require(
            dtype is None or expr.dtype is dtype,
            f"{where}: expected {dtype}, given {expr.dtype}",
        )
        for node in walk(expr):
            if isinstance(node, Axis):
                _require(node.name in self.axes, f"axis {node.name} is not in scope")
            elif isinstance(node, Local):
                _require(
                    self.locals.get(node.name) is node.dtype,
                    f"local {node.name} of {node.dtype} is not in scope",
                )
            elif node not in self.well_typed:
                self._typed(node)
                self.well_typed.add(node)

    def _typed(self, node: Expr) -> None:
        if isinstance(node, Load):
            buffer = self._known(node.buffer)
            _require(
                node.dtype is buffer.dtype,
                f"{node!r} reads {node.dtype} from buffer {node.buffer} of {buffer.dtype}",
            )
            _require(node.index.dtype is int64, f"{node!r}: the index is {node.index.dtype}")
        elif isinstance(node, Apply):
            _require(node.function in FUNCTIONS, f"no function {node.function!r}")
            given = node.dtype if L.result_given(node.function) else None
            try:
                _, dtype = L.typed(node.function, node.operands, given)
            except (InternalError, TigonError) as error:
                raise _Broken(str(error)) from None
            _require(dtype is node.dtype, f"{node!r} is {dtype}, not {node.dtype}")
        else:
            _require(isinstance(node, (Const, Slot)), f"unknown expression {type(node).__name__}")
