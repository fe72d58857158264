"""Expressions of the loop language as LLVM IR.

The optimiser is never run over the result, so its work is done here: every subexpression is
computed once, at the outermost loop whose axes it needs.

Assumed of every nest: an index is in range whenever the axes it mentions are, even if some loop
between them and the load runs zero times. And an index that is made of axes alone is not kept in
range by data: a condition on values that were loaded chooses between results, not between what may
be read. Otherwise a branch of each of n nested choices would be computed under conditions of its
own, 2 ** n of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeGuard

import numpy as np

from tigon.backends.llvm.facts import Analysis, Facts
from tigon.backends.llvm.instructions import compare, logical_not, select
from tigon.backends.llvm.lanes import floor_quotient, iota, spread
from tigon.backends.llvm.memory import Memory
from tigon.backends.llvm.narrow import narrowed
from tigon.backends.llvm.scalar import emit_function
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import (
    Function,
    Value,
    constant,
    element_type,
    literal,
)
from tigon.base.dtypes import DType, int64
from tigon.base.errors import InternalError
from tigon.base.recursion import descend
from tigon.loop import build as L
from tigon.loop.fingerprint import fingerprint
from tigon.loop.functions import evaluate
from tigon.loop.grammar import Apply, Axis, Buffer, Const, Expr, Load, Local, Slot, walk
from tigon.loop.rewrite import substitute

Guard = tuple[Expr, ...]
"""Conditions under which a load happens; each is itself evaluated under those before it."""

ZERO, ONE = Const(0), Const(1)

_TURNED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}

GIVEN = "given"
"""The name of what the rare case of a `seldom` is computed from."""


class Emitter(Memory):
    """Writes code for expressions at the current place of a function.

    While a vector loop is being written, `lanes` > 1 and expressions that depend on its axis give
    vectors."""

    def __init__(self, out: Function, buffers: Sequence[Buffer], target: Target) -> None:
        super().__init__(out, buffers, target)
        self.axis: str | None = None
        self.lanes = 1
        self.whole = False
        analysis = Analysis(buffers)
        self.facts = analysis.of
        self._facts = analysis.known
        self._literals: dict[Const, Value] = {}
        self._affine: dict[Expr, tuple[Expr, Expr] | None] = {}
        self._parts: dict[Expr, tuple[Expr, Expr]] = {}
        self._rare_values: dict[Apply, Expr] = {}
        self._firsts: dict[Expr, Expr] = {}  # axes with lanes of their own, in the first lane
        # What is needed under a guard anyway: its other uses need no stronger guard. With loads
        # alone, a value that both branches of a select share would be worked out under each, which
        # doubles with every select of a chain.
        self._certain: dict[Guard, frozenset[Expr]] = {(): frozenset()}

    # ------------------------------------------------------------------------------ places

    def varies(self, expr: Expr) -> bool:
        """Whether the value differs between the lanes of the current vector loop."""
        return bool(self.varying) and not self.varying.isdisjoint(self.facts(expr).names)

    def level(self, expr: Expr, guard: Guard = ()) -> int:
        facts = self._facts.get(expr) or self.facts(expr)
        return self._level(facts, guard)

    def _level(self, facts: Facts, guard: Guard) -> int:
        if facts.volatile:
            return len(self.scopes) - 1
        level, levels = 0, self.levels
        for name in facts.names:
            found = levels[name]
            if found > level:
                level = found
        if guard and facts.loads:
            level = max(level, *(self.level(condition) for condition in guard))
        return level

    def let(self, name: str, value: Expr) -> None:
        """`Let`: computed now, so that later stores cannot change it."""
        made = self.emit(value)
        level = self.level(value)
        self.bind_local(name, value.dtype, made, level)
        if not self.facts(value).volatile:
            self.definitions[name] = value

    # ------------------------------------------------------------------------- expressions

    def emit(self, expr: Expr, guard: Guard = ()) -> Value:
        """The value of `expr`: a vector if it varies, a scalar otherwise."""
        found = self._find(expr, guard)
        if found is not None:
            return found
        outer = self._certain
        if not guard:
            self._certain = {(): outer[()] | self.facts(expr).certain}
        value = self._emit(expr, guard)
        self._certain = outer
        return value

    def _emit(self, expr: Expr, guard: Guard) -> Value:
        stack: list[tuple[Expr, Guard]] = [(expr, guard)]
        children: dict[tuple[Expr, Guard], list[tuple[Expr, Guard]]] = {}
        while stack:
            entry = stack[-1]
            known = children.get(entry)
            if known is None:
                if self._find(*entry) is not None:
                    stack.pop()
                    continue
                known = children[entry] = self._children(*entry)
                missing = [child for child in known if self._find(*child) is None]
                if missing:
                    missing.reverse()
                    stack += missing
                    continue
            stack.pop()
            if self._find(*entry) is None:
                self._compute(*entry, known)
        found = self._find(expr, guard)
        assert found is not None
        return found

    def vector(self, expr: Expr, guard: Guard = ()) -> Value:
        """The value of `expr`, spread over the lanes if it does not vary."""
        value = self.emit(expr, guard)
        return self.spread(value, self.lanes, self.level(expr, guard))

    def _key(self, expr: Expr, guard: Guard) -> object:
        return (expr, guard) if guard and self.facts(expr).loads else expr

    def _weakest(self, expr: Expr, guard: Guard) -> Guard:
        """The shortest prefix of the guard under which `expr` or all it loads are needed anyway."""
        loads = self.facts(expr).loads
        if not loads:
            return ()
        for length in range(len(guard)):
            certain = self._certain[guard[:length]]
            if expr in certain or loads <= certain:
                return guard[:length]
        return guard

    def _find(self, expr: Expr, guard: Guard) -> Value | None:
        if type(expr) is Const:
            found = self._literals.get(expr)
            if found is None:
                found = constant(expr.value, expr.dtype)
                self._literals[expr] = found
            return found
        facts = self._facts.get(expr) or self.facts(expr)
        key = (expr, guard) if guard and facts.loads else expr
        if facts.volatile:
            return self.scopes[-1].volatile.get(key)
        return self.scopes[self._level(facts, guard)].cache.get(key)

    def _children(self, expr: Expr, guard: Guard) -> list[tuple[Expr, Guard]]:
        if isinstance(expr, Load):
            parts = [(part, guard) for part in self._address_parts(expr)]
        elif not isinstance(expr, Apply):
            return []
        elif (limit := self._lane_limit(expr)) is not None:
            parts = [(limit[0], guard)]
        elif expr.function == "select" and self.facts(expr).loads:
            condition, a, b = expr.operands
            parts = [
                (condition, guard),
                (a, self._under(guard, condition, a)),
                (b, self._under(guard, L.apply("not", condition), b)),
            ]
        else:
            operands = expr.operands
            if expr.function == "seldom":
                condition, given, value, otherwise = operands
                operands = (condition, given if self._is_rare(expr) else value, otherwise)
            if expr.function == "mod" and self._divides_indices(expr):
                operands = (Apply("floordiv", operands, expr.dtype), *operands)
            parts = [(operand, guard) for operand in operands]
        return (
            [(part, self._weakest(part, under)) for part, under in parts]
            if guard or (isinstance(expr, Apply) and expr.function == "select")
            else parts
        )

    def _under(self, guard: Guard, condition: Expr, branch: Expr) -> Guard:
        if condition in guard:
            return guard
        longer = (*guard, condition)
        known = self._certain.get(longer, self._certain[guard])
        self._certain[longer] = known | self.facts(branch).certain
        return longer

    def _compute(self, expr: Expr, guard: Guard, children: Sequence[tuple[Expr, Guard]]) -> None:
        level = self.level(expr, guard)
        volatile = self.facts(expr).volatile
        if isinstance(expr, Load):
            mask = self._guard_value(guard) if guard else None
        with self.at(level):
            if isinstance(expr, Apply):
                value = self._apply(expr, children)
            elif isinstance(expr, Load):
                value = self._load(expr, children, mask)
            elif isinstance(expr, Slot):
                value = self._slot(expr)
            elif isinstance(expr, Axis) and expr.name == self.axis:
                value = self._vector_axis()
            else:
                raise InternalError(f"llvm: {type(expr).__name__} {expr!r} is not bound here")
        scope = self.scopes[level]
        (scope.volatile if volatile else scope.cache)[self._key(expr, guard)] = value

    def _apply(self, expr: Apply, children: Sequence[tuple[Expr, Guard]]) -> Value:
        values = []
        for child, under in children:
            value = self._find(child, under)
            assert value is not None
            values.append(value)
        limit = self._lane_limit(expr)
        if limit is not None:
            return self._lanes_up_to(values[0], below=limit[1])
        lanes = max(value.lanes for value in values)
        if lanes > 1:
            values = [
                self.spread(value, lanes, self.level(*child))
                for child, value in zip(children, values, strict=True)
            ]
        if self._divides_indices(expr):
            if expr.function == "floordiv":
                return floor_quotient(self.out, *values)
            quotient, dividend, divisor = values
            whole = self.out.op(f"mul {quotient}, {divisor.name}", "i64", lanes)
            return self.out.op(f"sub {dividend}, {whole.name}", "i64", lanes)
        if expr.function == "seldom" and self._is_rare(expr):
            return self._seldom(expr, *values)
        source = expr.operands[-1].dtype
        return emit_function(self.out, expr.function, tuple(values), source, expr.dtype)

    def _is_rare(self, expr: Apply) -> bool:
        """Whether the third operand is computed from the second alone."""
        return _rare_case(self._rare_value(expr)).is_alone

    def _rare_value(self, expr: Apply) -> Expr:
        """The third operand, of an argument in the place of the second: the same for all calls."""
        found = self._rare_values.get(expr)
        if found is None:
            _, given, value, _ = expr.operands
            found = substitute(value, {given: L.local(GIVEN, given.dtype)})
            self._rare_values[expr] = found
        return found

    def _seldom(self, expr: Apply, condition: Value, given: Value, otherwise: Value) -> Value:
        """The rare case is worked out by a function of its own, so that neither the code nor the
        registers of the usual one are burdened with it."""
        out, dtype, lanes = self.out, expr.dtype, otherwise.lanes
        argument = L.local(GIVEN, dtype)
        value = self._rare_value(expr)
        digest = _rare_case(value).digest
        place = out.at_start(f"alloca {otherwise.type}", "ptr")
        arguments = [place, Value("ptr", 1, "%slots")][: 1 + _rare_case(value).has_slots]

        def rare() -> Value:
            self.write(place, given, dtype, None)
            out.call_helper(
                f"seldom_{lanes}_{digest[:32]}",
                lambda name: _emit_seldom(name, argument, value, self.target, lanes),
                *arguments,
            )
            return select(out, condition, self.read(place, dtype, lanes), otherwise)

        if not self.may_branch():
            return rare()
        some = condition
        if lanes > 1:
            some = out.call(f"llvm.vector.reduce.or.v{lanes}i1", "i1", 1, condition)
        return self.either(some, rare, lambda: otherwise, seldom=True)

    def _lane_limit(self, expr: Apply) -> tuple[Expr, bool] | None:
        """Of a comparison that holds in all lanes below a number, or in all others: that number,
        which one scalar tells, and which of both."""
        function, axis = expr.function, self.axis
        if axis is None or self.lanes == 1 or function not in ("lt", "le", "gt", "ge"):
            return None
        if expr.operands[0].dtype is not int64 or not self.varies(expr):
            return None
        function, sides = self._of_quotient(function, *expr.operands)
        left, right = map(self.affine, sides)
        if left is None or right is None:
            return None
        step = L.apply("sub", left[0], right[0])
        if not isinstance(step, Const) or step.value not in (1, -1, 2, -2):
            return None
        # step * lane + rest < 0, or not
        rest = L.apply("sub", left[1], right[1])
        rest = L.apply("add", rest, L.apply("mul", step, self.first()))
        if function in ("le", "gt"):
            rest = L.apply("sub", rest, 1)
        below, count = function in ("lt", "le"), abs(step.value)
        if step.value > 0:
            return L.floordiv(L.sub(count - 1, rest), count), below
        return L.add(L.floordiv(rest, count), 1), not below

    def _of_quotient(self, function: str, left: Expr, right: Expr) -> tuple[str, tuple[Expr, Expr]]:
        """A comparison of a quotient as one of the dividend."""
        if self.varies(right) and not self.varies(left):
            left, right, function = right, left, _TURNED[function]
        while isinstance(left, Apply) and left.function == "add" and not self.varies(right):
            of_left, other = left.operands
            if self.varies(other):
                of_left, other = other, of_left
            if self.varies(other) or not _is_quotient(of_left):
                break
            left, right = of_left, L.sub(right, other)
        if not _is_quotient(left) or self.varies(right):
            return function, (left, right)
        dividend, divisor = left.operands
        if not isinstance(divisor, Const) or divisor.value <= 0:
            return function, (left, right)
        if function in ("le", "gt"):
            right, function = L.add(right, 1), "lt" if function == "le" else "ge"
        return function, (dividend, L.mul(right, divisor))

    def _lanes_up_to(self, limit: Value, below: bool) -> Value:
        """The mask of the lanes below a number of whatever size, or of the others."""
        out, lanes = self.out, self.lanes
        for test, bound in (("slt", 0), ("sgt", lanes)):
            edge = literal(bound, "i64")
            limit = select(out, compare(out, f"icmp {test}", limit, edge), edge, limit)
        mask = self.live_lanes(limit, lanes)
        return mask if below else logical_not(out, mask)

    def _divides_indices(self, expr: Apply) -> bool:
        """Vectors of int64 have no division, but indices are exact in float64."""
        return (
            expr.function in ("floordiv", "mod")
            and expr.dtype is int64
            and self.varies(expr)
            and all(isinstance(node, (Const, Slot, Axis, Apply)) for node in walk(expr))
        )

    def _slot(self, expr: Slot) -> Value:
        out, dtype = self.out, expr.dtype
        pointer = out.op(f"getelementptr i64, ptr %slots, i64 {expr.index}", "ptr")
        if dtype.is_float:
            value = out.op(f"load double, ptr {pointer.name}, align 8", "double")
            if dtype.itemsize == 8:
                return value
            single = out.op(f"fptrunc {value} to float", "float")
            return narrowed(out, single, dtype) if dtype.is_narrow else single
        value = out.op(f"load i64, ptr {pointer.name}, align 8", "i64")
        if dtype.kind == "b":
            return out.op(f"icmp ne {value}, 0", "i1")
        if dtype.itemsize == 8:
            return value
        return out.op(f"trunc {value} to {element_type(dtype)}", element_type(dtype))

    # --------------------------------------------------------------------------- vector axis

    def first(self) -> Axis:
        """The vector axis in the first lane: a scalar."""
        return Axis(f"{self.axis}.first")

    def lane(self) -> Axis:
        """0, 1, 2, ... across the lanes, the same in every iteration."""
        return Axis(f"{self.axis}.lane{self.lanes}")

    def begin_vector(
        self, name: str, first: Value, lanes: int, tail: Value | None, whole: bool = False
    ) -> None:
        """Enter a vector loop's body, whose scope has just been opened. `whole`: the first lane is
        at a multiple of the lanes."""
        self.axis, self.lanes, self.tail, self.whole = name, lanes, tail, whole
        self._affine, self._parts = {}, {}
        if lanes == 1:
            self.bind_axis(name, first)
            return
        self.levels[name] = self.depth
        self.bind_axis(self.first().name, first)
        self.levels[self.lane().name] = 0
        self.scopes[0].cache[self.lane()] = iota(lanes, "i64")
        self.varying = frozenset((name, self.lane().name))

    def begin_gather(self, values: dict[str, Value], lanes: int, window: bool) -> None:
        """Several axes have a value of their own in each lane; no axis runs evenly. `window`: all
        the same, what varies of any index grows by 1 from lane to lane."""
        self.axis, self.lanes, self.tail, self.whole = None, lanes, None, False
        self._affine, self._parts = {}, {}
        for name, value in values.items():
            self.bind_axis(name, value)
            if window and value.lanes > 1:
                first = f"{name}.first"
                self.bind_axis(first, self.out.op(f"extractelement {value}, i64 0", "i64"))
                self._firsts[Axis(name)] = Axis(first)
        self.varying = frozenset(name for name, value in values.items() if value.lanes > 1)

    def end_vector(self) -> None:
        self.axis, self.lanes, self.tail, self.whole = None, 1, None, False
        self.varying = frozenset()
        self._affine, self._parts = {}, {}
        self._firsts = {}

    def _vector_axis(self) -> Value:
        level = self.levels[self.first().name]
        first = self.spread(self.scopes[level].cache[self.first()], self.lanes, level)
        return self.out.op(f"add {first}, {iota(self.lanes, 'i64').name}", "i64", self.lanes)

    def affine(self, expr: Expr) -> tuple[Expr, Expr] | None:
        """`expr` as coefficient * vector axis + rest, neither of which varies; or None."""
        known = self._affine
        return known[expr] if expr in known else descend(known, expr, self._find_affine)

    def _find_affine(self, expr: Expr) -> tuple[Expr, Expr] | None:
        if not self.varies(expr):
            return ZERO, expr
        if isinstance(expr, Axis):
            return (ONE, ZERO) if expr.name == self.axis else None
        if isinstance(expr, Local):
            definition = self.definitions.get(expr.name)
            return None if definition is None else self.affine(definition)
        if not isinstance(expr, Apply) or expr.function not in ("add", "sub", "neg", "mul"):
            return None
        parts = [self.affine(operand) for operand in expr.operands]
        if any(part is None for part in parts):
            return None
        known = [part for part in parts if part is not None]
        if expr.function != "mul":
            return tuple(  # type: ignore[return-value]
                L.apply(expr.function, *(part[i] for part in known)) for i in (0, 1)
            )
        a, b = known
        if a[0] is ZERO:
            a, b = b, a
        if b[0] is not ZERO:
            return None
        return L.apply("mul", a[0], b[1]), L.apply("mul", a[1], b[1])

    # --------------------------------------------------------------------------------- loads

    def _address_parts(self, expr: Load) -> tuple[Expr, ...]:
        """The index expressions that addressing this load needs."""
        if not self.varies(expr.index):
            return (expr.index,)
        return self._index_parts(expr.index)

    def _index_parts(self, index: Expr) -> tuple[Expr, ...]:
        """(scalar start,) of a contiguous run, or (scalar start, vector of offsets)."""
        if self._firsts:
            return (substitute(index, self._firsts),)
        split = self.affine(index)
        if split is None:
            return self._apart(index)
        coefficient, rest = split
        if coefficient is ZERO:
            return (rest,)
        if coefficient is ONE:
            return (L.apply("add", rest, self.first()),)
        start = L.apply("add", rest, L.apply("mul", coefficient, self.first()))
        return start, L.apply("mul", self.lane(), coefficient)

    def _apart(self, index: Expr) -> tuple[Expr, Expr]:
        """`index` as a scalar start plus offsets that vary: what differs between iterations of an
        enclosing loop is then often only the start."""
        known = self._parts
        return known[index] if index in known else descend(known, index, self._find_parts)

    def _find_parts(self, index: Expr) -> tuple[Expr, Expr]:
        if not self.varies(index):
            return index, ZERO
        if isinstance(index, Apply) and index.function in ("add", "sub"):
            (start, offset), (start2, offset2) = map(self._apart, index.operands)
            function = index.function
            return L.apply(function, start, start2), L.apply(function, offset, offset2)
        if isinstance(index, Apply) and index.function == "mul":
            factor, other = index.operands
            if self.varies(factor):
                factor, other = other, factor
            if not self.varies(factor):
                return tuple(L.mul(factor, part) for part in self._apart(other))  # type: ignore
        if self._divides_lanes(index):
            dividend, divisor = index.operands
            lane = substitute(dividend, {Axis(self.axis or ""): self.lane()})
            if index.function == "mod":
                return ZERO, L.mod(lane, divisor)
            return L.floordiv(self.first(), divisor), L.floordiv(lane, divisor)
        return ZERO, index

    def _divides_lanes(self, index: Expr) -> TypeGuard[Apply]:
        """Whether it is the vector axis, or that and a number, divided, or what is left, and the
        same in every vector but for where that begins."""
        if not isinstance(index, Apply) or index.function not in ("floordiv", "mod"):
            return False
        axis, divisor = index.operands
        if isinstance(axis, Apply) and axis.function == "add":
            axis, offset = axis.operands
            if not isinstance(offset, Const):
                return False
        number = divisor.value if isinstance(divisor, Const) else 0
        return (
            axis == Axis(self.axis or "") and self.whole and number > 0 and not self.lanes % number
        )

    def _pattern(self, offsets: Expr) -> tuple[int, ...] | None:
        """Numbers that are the same whenever the code runs, lane by lane."""
        values: dict[Expr, np.ndarray] = {self.lane(): np.arange(self.lanes)}
        for node in walk(offsets):
            if isinstance(node, Const):
                values[node] = np.asarray(node.value)
            elif isinstance(node, Apply):
                operands = tuple(values[operand] for operand in node.operands)
                values[node] = evaluate(node.function, operands, node.dtype)
            elif node not in values:
                return None
        return tuple(int(place) for place in np.broadcast_to(values[offsets], self.lanes))

    def _guard_value(self, guard: Guard) -> Value:
        """The conjunction, computed in the scope of its deepest condition."""
        before: Value | None = None
        level, volatile = 0, False
        for length, condition in enumerate(guard, 1):
            level = max(level, self.level(condition))
            volatile = volatile or self.facts(condition).volatile
            key = ("guard", guard[:length])
            scope = self.scopes[level]
            found = None if volatile else scope.cache.get(key)
            if found is None:
                found = self.emit(condition, guard[: length - 1])
                if before is not None:
                    with self.at(level):
                        lanes = max(found.lanes, before.lanes)
                        a, b = self.spread(before, lanes), self.spread(found, lanes)
                        found = self.out.op(f"and {a}, {b.name}", "i1", lanes)
                if not volatile:
                    scope.cache[key] = found
            before = found
        assert before is not None
        return before

    def _load(
        self, expr: Load, children: Sequence[tuple[Expr, Guard]], mask: Value | None
    ) -> Value:
        parts = []
        for part, under in children:
            value = self._find(part, under)
            assert value is not None
            parts.append(value)
        dtype = expr.dtype
        varies = self.varies(expr.index)
        if not varies:
            pointer = self.pointer(expr.buffer, parts[0])
            if mask is not None and mask.lanes > 1 and self.tail is not None:
                mask = self.both(mask, self.tail)
            return self.read_one(pointer, dtype, mask)  # a number, as whatever uses it expects
        lanes = self.lanes
        if mask is not None:
            mask = self.spread(mask, lanes)
        if self.tail is not None:
            mask = self.tail if mask is None else self.both(mask, self.tail)
        if len(parts) == 1:
            return self.read(self.pointer(expr.buffer, parts[0]), dtype, lanes, mask)
        start = self.pointer(expr.buffer, parts[0])
        offsets = self.spread(parts[1], lanes)
        pattern = self._pattern(self._index_parts(expr.index)[1])
        if pattern is None or not self.is_near(pattern, mask):
            return self._read_apart(start, self.level(*children[1]), offsets, dtype, mask)
        if mask is None or self.target.masks:
            return self.read_pattern(start, pattern, dtype, mask)
        if not self.may_branch():
            return self.gather(start, offsets, dtype, mask)
        return self.either(
            self.out.call(f"llvm.vector.reduce.and.v{lanes}i1", "i1", 1, mask),
            lambda: self.read_pattern(start, pattern, dtype),
            lambda: self.gather(start, offsets, dtype, mask),
        )

    def _read_apart(
        self, start: Value, level: int, offsets: Value, dtype: DType, mask: Value | None
    ) -> Value:
        """Elements that may lie anywhere, as far from a start as was found at that level. What is
        packed often lies in a row, which is told there once: then a vector is read, if the machine
        has no instruction for the rest."""
        packs = self.axis is None and mask is None and offsets.lanes > 1
        if not packs or self.has_gather(dtype) or not self.may_branch():
            return self.gather(start, offsets, dtype, mask)
        lanes = offsets.lanes
        cache = self.scopes[level].cache
        key = ("in a row", offsets.name)
        if key not in cache:
            with self.at(level):
                first = self.out.op(f"extractelement {offsets}, i64 0", "i64")
                row = self.out.op(
                    f"add {spread(self.out, first, lanes)}, {iota(lanes, 'i64').name}", "i64", lanes
                )
                equal = compare(self.out, "icmp eq", row, offsets)
                name = f"llvm.vector.reduce.and.v{lanes}i1"
                cache[key] = self.out.call(name, "i1", 1, equal)
                cache["first", offsets.name] = first
        first = cache["first", offsets.name]
        return self.either(
            cache[key],
            lambda: self.read(self.beside(start, first, dtype), dtype, lanes),
            lambda: self.gather(start, offsets, dtype, None),
        )

    # -------------------------------------------------------------------------------- stores

    def store(self, buffer: int, index: Expr, value: Expr, accumulate: bool) -> None:
        self.prepare_store(buffer, index, value, accumulate)()

    def prepare_store(
        self, buffer: int, index: Expr, value: Expr, accumulate: bool
    ) -> Callable[[], None]:
        """Compute value and address now; the returned function writes."""
        dtype = self.buffers[buffer].dtype
        if value.dtype is not dtype:
            raise InternalError(f"llvm: storing {value.dtype} into a buffer of {dtype}")
        made = self.emit(value)
        if not self.varies(index):
            if made.lanes > 1:
                raise InternalError("llvm: the lanes of a vector loop store to one element")
            place = self.pointer(buffer, self.emit(index))
            return lambda: self.put(place, made, dtype, accumulate)
        vector = self.spread(made, self.lanes)
        parts = [self.emit(part) for part in self._index_parts(index)]
        start = self.pointer(buffer, parts[0])
        if len(parts) == 1:
            return lambda: self.put(start, vector, dtype, accumulate)
        return lambda: self.scatter(start, parts[1], vector, dtype, accumulate)


class _RareCase(NamedTuple):
    is_alone: bool
    """Whether it needs nothing but its argument and slots."""
    has_slots: bool
    digest: str


@lru_cache(256)
def _rare_case(value: Expr) -> _RareCase:
    parts = [*walk(value)]
    return _RareCase(
        all(isinstance(p, (Const, Slot, Apply)) or _is_argument(p) for p in parts),
        any(type(part) is Slot for part in parts),
        hashlib.sha256(fingerprint(value).encode()).hexdigest(),
    )


def _is_argument(expr: Expr) -> bool:
    return isinstance(expr, Local) and expr.name == GIVEN


def _is_quotient(expr: Expr) -> TypeGuard[Apply]:
    return isinstance(expr, Apply) and expr.function == "floordiv"


def _emit_seldom(name: str, argument: Local, value: Expr, target: Target, lanes: int) -> Function:
    """The function that puts `value` where it finds `argument`."""
    out = Function(name, ["ptr %place", "ptr %slots"][: 1 + _rare_case(value).has_slots], "void")
    e = Emitter(out, (), target)
    place, dtype = Value("ptr", 1, "%place"), argument.dtype
    e.lanes = lanes
    e.bind_local(argument.name, dtype, e.read(place, dtype, lanes))
    e.write(place, e.vector(value), dtype, None)
    return out
