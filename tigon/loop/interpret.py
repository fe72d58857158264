"""The oracle: runs a nest on numpy arrays as the grammar says, each operation rounded, and notices
what a native kernel would not: reads out of range, of scratch never written, stores that collide.

Axes of the space, of reductions and vector axes become array dimensions; other loops run in
Python. The newest axis is the leading dimension, so that outer values broadcast by themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tigon.base.dtypes import DType
from tigon.base.errors import InternalError
from tigon.loop.combine import COMBINES, Combine
from tigon.loop.functions import evaluate
from tigon.loop.grammar import (
    FIRST_NOTICE,
    Accumulator,
    AnyNest,
    Apply,
    Axis,
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


def interpret(nest: AnyNest, arrays: Sequence[np.ndarray | None], slots: bytes = b"") -> None:
    """Run `nest` on flat arrays, one per buffer (None for scratch); "out" arrays are written.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop import build as L
    >>> from tigon.loop.grammar import Buffer, LoopAxis, Nest, Store
    >>> i = LoopAxis("i", L.const(3))
    >>> body = Store(1, L.axis("i"), L.add(L.load(0, L.axis("i"), float32), 1))
    >>> double = Nest((Buffer(float32, "in"), Buffer(float32, "out")), (i,), (body,))
    >>> out = np.zeros(3, np.float32)
    >>> interpret(double, [np.array([1, 2, 3], np.float32), out])
    >>> out.tolist()
    [2.0, 3.0, 4.0]
    """
    _Run(nest, arrays, slots).run()


class KernelFailure(Exception):
    """A native function would return this status, with these numbers in its scratch memory."""

    def __init__(self, status: int, details: list[int]) -> None:
        super().__init__(f"status {status}: {details}")
        self.status, self.details = status, details


@dataclass
class _Value:
    array: np.ndarray
    bad: np.ndarray | None = None  # where the value came from a forbidden read


@dataclass
class _Scope:
    shape: tuple[int, ...] = ()
    axes: dict[str, np.ndarray] = field(default_factory=dict)
    mask: np.ndarray | None = None  # points that are really visited
    locals: dict[str, _Value] = field(default_factory=dict)


class _Run:
    def __init__(self, nest: AnyNest, arrays: Sequence[np.ndarray | None], slots: bytes) -> None:
        self.nest, self.slots = nest, slots
        self.arrays: list[np.ndarray] = []
        self.written: dict[int, np.ndarray] = {}
        if len(arrays) != len(nest.buffers):
            raise InternalError(
                f"interpret: {len(nest.buffers)} buffers, {len(arrays)} arrays; None for scratch"
            )
        for number, (buffer, array) in enumerate(zip(nest.buffers, arrays, strict=True)):
            if buffer.role == "scratch":
                self.arrays.append(np.empty((0, 0)))
            elif array is None or array.ndim != 1 or array.dtype != buffer.dtype.numpy:
                raise InternalError(f"interpret: buffer {number} needs a flat {buffer.dtype} array")
            else:
                self.arrays.append(array)
        self.points: np.ndarray | None = None

    def run(self) -> None:
        nest = self.nest
        if isinstance(nest, Extern):
            raise InternalError(f"interpret: {nest.routine} has no loops; its record has an oracle")
        if isinstance(nest, Contraction):
            scope = self._enter(_Scope(), nest.batch + nest.rows + nest.columns)
            self._scratch(scope)
            product = Apply("mul", (nest.left, nest.right), nest.dtype)
            total = Accumulator(nest.accumulator, "sum", product)
            self._reduce(Reduce(nest.inner, (total,)), scope)
        else:
            scope = self._enter(_Scope(), nest.space)
            self._scratch(scope)
        self._body(nest.body, scope)

    def _scratch(self, scope: _Scope) -> None:
        count = int(np.prod(scope.shape, dtype=np.int64))
        self.points = np.arange(count).reshape(scope.shape)
        for number, buffer in enumerate(self.nest.buffers):
            if buffer.role == "scratch":
                assert buffer.extent is not None
                extent = int(self._value(buffer.extent, _Scope(), {}).array)
                self.arrays[number] = np.zeros((count, extent), buffer.dtype.numpy)
                self.written[number] = np.zeros((count, extent), bool)

    # --------------------------------------------------------------------------- statements

    def _enter(self, scope: _Scope, axes: tuple[LoopAxis, ...]) -> _Scope:
        for axis in axes:
            memory: dict[Expr, _Value] = {}
            start = self._certain(axis.start, scope, memory)
            stop = self._certain(axis.stop, scope, memory)
            least = int(start.min()) if start.size else 0
            count = max(0, (int(stop.max()) if stop.size else 0) - least)
            running: Any = np.arange(least, least + count, dtype=np.int64)
            running = running.reshape((count,) + (1,) * len(scope.shape))
            inside = (running >= start) & (running < stop)
            mask = scope.mask if inside.all() else inside
            if mask is inside and scope.mask is not None:
                mask = inside & scope.mask
            scope = replace(
                scope,
                shape=(count, *scope.shape),
                axes={**scope.axes, axis.name: running},
                mask=mask,
            )
        return scope

    def _body(self, body: tuple[Stmt, ...], scope: _Scope) -> None:
        scope = replace(scope, locals=dict(scope.locals))
        for statement in body:
            if isinstance(statement, Let):
                scope.locals[statement.name] = self._value(statement.value, scope, {})
            elif isinstance(statement, Store):
                self._store(statement, scope)
            elif isinstance(statement, Reduce):
                self._reduce(statement, scope)
            elif isinstance(statement, Fail):
                self._fail(statement, scope)
            elif isinstance(statement, Scan):
                self._scan(statement, scope)
            else:
                self._loop(statement.axes, statement.body, scope)

    def _fail(self, fail: Fail, scope: _Scope) -> None:
        """Points are independent: which of those that fail is the first one is open."""
        condition = np.broadcast_to(self._certain(fail.condition, scope, {}), scope.shape)
        if condition.any() and fail.status < FIRST_NOTICE:
            scratch = next(iter(self.written), None)
            details = () if scratch is None else self.arrays[scratch][np.argmax(condition.ravel())]
            raise KernelFailure(fail.status, [int(detail) for detail in details])

    def _loop(self, axes: tuple[LoopAxis, ...], body: tuple[Stmt, ...], scope: _Scope) -> None:
        if not axes:
            self._body(body, scope)
            return
        inner = self._enter(scope, axes[:1])
        if axes[0].vector:
            self._loop(axes[1:], body, inner)
            return
        running = inner.axes[axes[0].name]
        for position in range(inner.shape[0]):
            mask = inner.mask
            if mask is not None:
                mask = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, inner.shape))[position]
            one = running[position].reshape((1,) * len(scope.shape))
            step = replace(scope, axes={**scope.axes, axes[0].name: one}, mask=mask)
            self._loop(axes[1:], body, step)

    def _store(self, store: Store, scope: _Scope) -> None:
        memory: dict[Expr, _Value] = {}
        value = self._value(store.value, scope, memory)
        index = np.broadcast_to(self._certain(store.index, scope, memory), scope.shape)
        bad = np.broadcast_to(False if value.bad is None else value.bad, scope.shape)
        array = np.broadcast_to(value.array, scope.shape)
        assert self.points is not None
        scratch = store.buffer in self.written
        owner = np.broadcast_to(self.points, scope.shape) if scratch else None
        if scope.mask is not None:
            mask = np.broadcast_to(scope.mask, scope.shape)
            index, bad, array = index[mask], bad[mask], array[mask]
            owner = owner[mask] if owner is not None else None
        if bad.any():
            raise InternalError(f"interpret: {store} keeps a value read out of range or unwritten")
        target = self.arrays[store.buffer]
        extent = target.shape[-1]
        if index.size and not (0 <= index.min() and index.max() < extent):
            raise InternalError(
                f"interpret: {store} writes {index.min()}..{index.max()} of {extent} elements"
            )
        where = (owner.ravel(), index.ravel()) if owner is not None else index.ravel()
        if store.accumulate:
            np.add.at(target, where, array.ravel())
        else:
            target[where] = array.ravel()
            if not np.array_equal(target[where], array.ravel(), equal_nan=target.dtype.kind == "f"):
                raise InternalError(f"interpret: {store} writes different values to one element")
            if scratch:
                self.written[store.buffer][where] = True

    def _reduce(self, reduce: Reduce, scope: _Scope) -> None:
        inner = self._enter(scope, reduce.axes)
        count = len(reduce.axes)
        memory: dict[Expr, _Value] = {}
        results = {}
        for accumulator in reduce.accumulators:
            value = self._value(accumulator.value, inner, memory)
            array = self._flat(value.array, inner, count)
            bad: Any = None if value.bad is None else self._flat(value.bad, inner, count)
            mask = None if inner.mask is None else self._flat(inner.mask, inner, count)
            combine, dtype = COMBINES[accumulator.combine], accumulator.value.dtype
            if accumulator.position is not None:
                position = self._certain(accumulator.position, inner, memory)
                result = _extreme(combine, array, dtype, self._flat(position, inner, count), mask)
            else:
                if mask is not None:
                    array = np.where(mask, array, combine.neutral(dtype))
                result = combine.reduced(array, dtype)
            if bad is not None:
                bad = (bad if mask is None else bad & mask).any(axis=0)
            results[accumulator.name] = _Value(np.asarray(result), bad)
        scope.locals.update(results)

    def _scan(self, scan: Scan, scope: _Scope) -> None:
        inner = self._enter(scope, (scan.axis,))
        inner = replace(inner, locals=dict(inner.locals))
        memory: dict[Expr, _Value] = {}
        for accumulator in scan.accumulators:
            combine = COMBINES[accumulator.combine]
            value = self._value(accumulator.value, inner, memory)
            array: Any = np.broadcast_to(value.array, inner.shape)
            bad: Any = value.bad
            if bad is not None:
                bad = np.broadcast_to(bad, inner.shape)
            if inner.mask is not None:
                mask = np.broadcast_to(inner.mask, inner.shape)
                array = np.where(mask, array, combine.neutral(accumulator.dtype))
                bad = None if bad is None else bad & mask
            if bad is not None:
                bad = np.logical_or.accumulate(bad, axis=0)
            so_far = combine.accumulated(array, accumulator.dtype)
            inner.locals[accumulator.name] = _Value(so_far, bad)
        # As dimensions, not step by step: what one step stores, no other may read or store.
        self._body(scan.body, inner)

    def _flat(self, array: np.ndarray, scope: _Scope, count: int) -> Any:
        """The `count` newest dimensions as one leading dimension in running order."""
        full = np.broadcast_to(array, scope.shape)
        order = (*reversed(range(count)), *range(count, full.ndim))
        size = int(np.prod(scope.shape[:count], dtype=np.int64))
        return full.transpose(order).reshape((size, *scope.shape[count:]))

    # -------------------------------------------------------------------------- expressions

    def _certain(self, expr: Expr, scope: _Scope, memory: dict[Expr, _Value]) -> np.ndarray:
        value = self._value(expr, scope, memory)
        if value.bad is not None:
            bad = value.bad if scope.mask is None else value.bad & scope.mask
            if bad.any():
                raise InternalError(f"interpret: index {expr!r} depends on a forbidden read")
        return value.array

    def _value(self, expr: Expr, scope: _Scope, memory: dict[Expr, _Value]) -> _Value:
        for node in walk(expr):
            if node not in memory:
                memory[node] = self._node(node, scope, memory)
        return memory[expr]

    def _node(self, node: Expr, scope: _Scope, memory: dict[Expr, _Value]) -> _Value:
        if isinstance(node, Const):
            return _Value(np.asarray(node.value, node.dtype.numpy))
        if isinstance(node, Slot):
            form = "<d" if node.dtype.is_float else "<q"
            (number,) = struct.unpack_from(form, self.slots, 8 * node.index)
            return _Value(np.asarray(number).astype(node.dtype.numpy))
        if isinstance(node, Axis):
            return _Value(scope.axes[node.name])
        if isinstance(node, Local):
            return scope.locals[node.name]
        if isinstance(node, Load):
            return self._load(node, memory[node.index], scope)
        assert isinstance(node, Apply)
        operands = [memory[operand] for operand in node.operands]
        array = evaluate(node.function, tuple(o.array for o in operands), node.dtype)
        if node.function == "select" and any(o.bad is not None for o in operands):
            a, b = (np.asarray(False if o.bad is None else o.bad) for o in operands[1:])
            bad = np.where(operands[0].array, a, b) | _bad(operands[:1])
            return _Value(array, bad)
        return _Value(array, _bad(operands) if any(o.bad is not None for o in operands) else None)

    def _load(self, node: Load, index: _Value, scope: _Scope) -> _Value:
        array = self.arrays[node.buffer]
        extent = array.shape[-1]
        outside = (index.array < 0) | (index.array >= extent)
        bad = outside if index.bad is None else outside | index.bad
        if extent == 0:
            zeros = np.zeros(index.array.shape, node.dtype.numpy)
            return _Value(zeros, np.ones(index.array.shape, bool))
        safe = np.where(outside, 0, index.array)
        if node.buffer in self.written:
            points, safe = np.broadcast_arrays(np.asarray(self.points), safe)
            bad = bad | ~self.written[node.buffer][points, safe]
            return _Value(array[points, safe], bad if bad.any() else None)
        return _Value(array[safe], bad if bad.any() else None)


def _bad(values: Sequence[_Value]) -> Any:
    result: Any = np.asarray(False)
    for value in values:
        if value.bad is not None:
            result = result | value.bad
    return result


def _extreme(
    combine: Combine, array: np.ndarray, dtype: DType, position: np.ndarray, mask: np.ndarray | None
) -> Any:
    if array.shape[0] == 0:
        return np.zeros(array.shape[1:], np.int64)
    key = array
    if mask is not None:
        key = np.where(mask, array, combine.neutral(dtype))
        # Among masked-in elements equal to the worst value the first one still wins.
        first = np.argmax(mask, axis=0)
    best = combine.numpy(key, axis=0)
    if mask is not None:
        chosen = np.take_along_axis(mask, best[None], 0)[0]
        best = np.where(chosen, best, first)
    return np.take_along_axis(position, best[None], 0)[0]
