"""Expressions and loops of the loop language as LLVM IR.

The optimiser is never run over the result, so its work is done here: every subexpression is
computed once, at the outermost loop whose axes it needs. A scope is one such level: a straight
line of blocks, interrupted by the loops inside it. What is computed for an inner loop but does not
depend on it is appended to the outer scope's open block, which is the inner loop's preheader.

Assumed of every nest: an index is in range whenever the axes it mentions are, even if some loop
between them and the load runs zero times. And an index that is made of axes alone is not kept in
range by data: a condition on values that were loaded chooses between results, not between what may
be read. Otherwise a branch of each of n nested choices would be computed under conditions of its
own, 2 ** n of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from tigon.backends.llvm.lanes import floor_quotient, iota, literal_vector, spread, suffix
from tigon.backends.llvm.scalar import emit_function, select
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import (
    Block,
    Function,
    Value,
    element_type,
    literal,
    memory_type,
    vector_type,
    zero,
)
from tigon.base.dtypes import DType, int64
from tigon.base.errors import InternalError
from tigon.base.recursion import descend
from tigon.loop import build as L
from tigon.loop.fingerprint import fingerprint
from tigon.loop.grammar import Apply, Axis, Buffer, Const, Expr, Load, Local, Slot, walk
from tigon.loop.rewrite import substitute

Guard = tuple[Expr, ...]
"""Conditions under which a load happens; each is itself evaluated under those before it."""

ZERO, ONE = Const(0), Const(1)

GIVEN = "given"
"""The name of what the rare case of a `seldom` is computed from."""


class Scope:
    __slots__ = ("block", "cache", "volatile")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.cache: dict[object, Value] = {}
        self.volatile: dict[object, Value] = {}  # read from buffers that this nest writes


class Facts:
    """What an expression mentions: axes and locals by name, its loads, whether one of them is of
    a written buffer; and, of its loads and the selects that have some, what is needed whatever
    its selects decide."""

    __slots__ = ("certain", "loads", "names", "volatile")

    def __init__(
        self,
        names: frozenset[str],
        loads: frozenset[Load],
        certain: frozenset[Expr],
        volatile: bool,
    ) -> None:
        self.names = names
        self.loads = loads
        self.certain = certain
        self.volatile = volatile


_CONNECTIVES = frozenset(("and", "or", "xor", "not"))
_NO_NAMES: frozenset[str] = frozenset()
_NO_LOADS: frozenset[Load] = frozenset()
_NONE: frozenset[Expr] = frozenset()
_NOTHING = Facts(_NO_NAMES, _NO_LOADS, _NONE, False)


def _union(a: frozenset[Any], b: frozenset[Any]) -> frozenset[Any]:
    return a | b if a and b and a is not b else a or b


class Emitter:
    """Writes code for expressions at the current place of a function.

    While a vector loop is being written, `lanes` > 1 and expressions that depend on its axis give
    vectors; `tail` is the mask of live lanes in the last, incomplete iteration."""

    def __init__(self, out: Function, buffers: Sequence[Buffer], target: Target) -> None:
        self.out = out
        self.buffers = buffers
        self.target = target
        self.written = frozenset(i for i, b in enumerate(buffers) if b.role != "in")
        self.scopes = [Scope(out.block)]
        self.levels: dict[str, int] = {}  # axis or local -> index of its scope
        self.varying: frozenset[str] = _NO_NAMES  # names whose value differs between lanes
        self.definitions: dict[str, Expr] = {}  # locals, for the analysis of indices
        self.axis: str | None = None
        self.lanes = 1
        self.tail: Value | None = None
        self._facts: dict[Expr, Facts] = {}
        self._literals: dict[Const, Value] = {}
        self._affine: dict[Expr, tuple[Expr, Expr] | None] = {}
        self._parts: dict[Expr, tuple[Expr, Expr]] = {}
        self._of_data: dict[Expr, bool] = {}
        self._of_axes: dict[Load, bool] = {}
        self.streams = False  # whole vectors are stored past the caches
        self._firsts: dict[Expr, Expr] = {}  # axes with lanes of their own, in the first lane
        self._dummy: Value | None = None
        # What is needed under a guard anyway: its other uses need no stronger guard. With loads
        # alone, a value that both branches of a select share would be worked out under each, which
        # doubles with every select of a chain.
        self._certain: dict[Guard, frozenset[Expr]] = {(): _NONE}
        self._place: int | None = None

    # ------------------------------------------------------------------------------ facts

    def facts(self, expr: Expr) -> Facts:
        known = self._facts
        found = known.get(expr)
        if found is not None:
            return found
        stack = [expr]
        while stack:
            node = stack[-1]
            operands = node.operands
            missing = [operand for operand in operands if operand not in known]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node not in known:
                known[node] = self._find_facts(node, [known[operand] for operand in operands])
        return known[expr]

    def _find_facts(self, node: Expr, parts: Sequence[Facts]) -> Facts:
        if not parts:
            if isinstance(node, (Axis, Local)):
                return Facts(frozenset((node.name,)), _NO_LOADS, _NONE, False)
            return _NOTHING
        if isinstance(node, Load):
            (index,) = parts
            own = frozenset((node,))
            volatile = index.volatile or node.buffer in self.written
            return Facts(index.names, index.loads | own, index.certain | own, volatile)
        # Most operands mention nothing, or nothing new: the sets are shared then.
        names, loads, certain, volatile = _NO_NAMES, _NO_LOADS, _NONE, False
        for part in parts:
            names = _union(names, part.names)
            loads = _union(loads, part.loads)
            certain = _union(certain, part.certain)
            volatile = volatile or part.volatile
        if loads and isinstance(node, Apply) and node.function == "select":
            certain = parts[0].certain | (parts[1].certain & parts[2].certain)
            if self._is_of_data(node.operands[0]):
                either = parts[1].certain | parts[2].certain
                certain |= {
                    part
                    for part in either - certain
                    if isinstance(part, Load) and self._is_of_axes(part)
                }
            certain |= {node}
        return Facts(names, loads, certain, volatile)

    def _is_of_data(self, condition: Expr) -> bool:
        """Whether every comparison in a condition is of something that was loaded or summed up."""
        found = self._of_data.get(condition)
        if found is None:
            compared: list[Expr] = []
            parts, seen = [condition], {condition}
            while parts:
                part = parts.pop()
                if isinstance(part, Apply) and part.function in _CONNECTIVES:
                    parts += [operand for operand in part.operands if operand not in seen]
                    seen.update(part.operands)
                else:
                    compared.append(part)
            found = self._of_data[condition] = all(
                any(isinstance(node, (Load, Local)) for node in walk(part)) for part in compared
            )
        return found

    def _is_of_axes(self, load: Load) -> bool:
        """Whether its index is arithmetic on axes and numbers, and on nothing else."""
        found = self._of_axes.get(load)
        if found is None:
            found = self._of_axes[load] = all(
                isinstance(node, (Const, Slot, Axis, Apply)) and node.dtype.kind in "ib"
                for node in walk(load.index)
            )
        return found

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

    # ------------------------------------------------------------------------------ places

    @property
    def depth(self) -> int:
        return len(self.scopes) - 1

    def at(self, level: int) -> _Place:
        """Write into the scope of this level for the length of a `with`."""
        return _Place(self, level)

    def invalidate(self) -> None:
        """A store happened: forget what was read from written buffers."""
        for scope in self.scopes:
            scope.volatile.clear()

    def bind_axis(self, name: str, value: Value) -> None:
        self.levels[name] = self.depth
        self.scopes[-1].cache[Axis(name)] = value

    def bind_local(self, name: str, dtype: DType, value: Value, level: int | None = None) -> None:
        level = self.depth if level is None else level
        self.levels[name] = level
        self.scopes[level].cache[Local(name, dtype)] = value
        if value.lanes > 1:
            self.varying |= {name}

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

    def spread(self, value: Value, lanes: int, level: int | None = None) -> Value:
        if lanes == 1 or value.lanes == lanes:
            return value
        if value.lanes != 1:
            raise InternalError(f"llvm: {value} cannot have {lanes} lanes")
        if value.is_literal:
            return literal_vector(value, lanes)
        if level is None:
            level = self.depth if self._place is None else self._place
        key = ("spread", value.name, lanes)
        scope = self.scopes[level]
        found = scope.cache.get(key)
        if found is None:
            with self.at(level):
                found = spread(self.out, value, lanes)
            scope.cache[key] = found
        return found

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
                found = literal(expr.value, element_type(expr.dtype))
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
        _, given, value, _ = expr.operands
        argument = L.local(GIVEN, given.dtype)
        parts = walk(substitute(value, {given: argument}))
        return all(part is argument or isinstance(part, (Const, Slot, Apply)) for part in parts)

    def _seldom(self, expr: Apply, condition: Value, given: Value, otherwise: Value) -> Value:
        """The rare case is worked out by a function of its own, so that neither the code nor the
        registers of the usual one are burdened with it."""
        out, dtype, lanes = self.out, expr.dtype, otherwise.lanes
        argument = L.local(GIVEN, dtype)
        value = substitute(expr.operands[2], {expr.operands[1]: argument})
        digest = hashlib.sha256(fingerprint(value).encode()).hexdigest()
        place = out.at_start(f"alloca {otherwise.type}", "ptr")
        arguments = [place, Value("ptr", 1, "%slots")][: 1 + _has_slots(value)]

        def rare() -> Value:
            self.write(place, given, dtype, None)
            out.call_helper(
                f"seldom_{lanes}_{digest[:32]}",
                lambda name: _emit_seldom(name, argument, value, self.target, lanes),
                *arguments,
            )
            return select(out, condition, self.read(place, dtype, lanes), otherwise)

        if self._place != self.depth:
            return rare()  # in front of a loop that has begun, code cannot branch any more
        some = condition
        if lanes > 1:
            some = out.call(f"llvm.vector.reduce.or.v{lanes}i1", "i1", 1, condition)
        before, inside, after = out.block, out.new_block("seldom"), out.new_block("seldom.end")
        out.branch(some, inside, after, seldom=True)
        out.block = inside
        chosen = rare()
        out.jump(after)
        joined = out.phi(after, chosen.element, lanes, otherwise, before)
        joined.close(chosen, inside)
        self.scopes[-1].block = out.block = after
        return joined

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
            return out.op(f"fptrunc {value} to {element_type(dtype)}", element_type(dtype))
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

    def begin_vector(self, name: str, first: Value, lanes: int, tail: Value | None) -> None:
        """Enter a vector loop's body, whose scope has just been opened."""
        self.axis, self.lanes, self.tail = name, lanes, tail
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
        self.axis, self.lanes, self.tail = None, lanes, None
        self._affine, self._parts = {}, {}
        for name, value in values.items():
            self.bind_axis(name, value)
            if window and value.lanes > 1:
                first = f"{name}.first"
                self.bind_axis(first, self.out.op(f"extractelement {value}, i64 0", "i64"))
                self._firsts[Axis(name)] = Axis(first)
        self.varying = frozenset(name for name, value in values.items() if value.lanes > 1)

    def end_vector(self) -> None:
        self.axis, self.lanes, self.tail = None, 1, None
        self.varying = _NO_NAMES
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
        return ZERO, index

    def pointer(self, buffer: int, index: Value) -> Value:
        """Address of an element; a vector of addresses for a vector of indices."""
        base = self.base(buffer)
        element = memory_type(self.buffers[buffer].dtype)
        if index.is_literal and index.lanes == 1 and index.name == "0":
            return base
        return self.out.op(f"getelementptr {element}, ptr {base.name}, {index}", "ptr", index.lanes)

    def base(self, buffer: int) -> Value:
        key = ("base", buffer)
        found = self.scopes[0].cache.get(key)
        if found is None:
            with self.at(0):
                slot = self.out.op(f"getelementptr ptr, ptr %buffers, i64 {buffer}", "ptr")
                found = self.out.op(f"load ptr, ptr {slot.name}, align 8", "ptr")
            self.scopes[0].cache[key] = found
        return found

    def dummy(self) -> Value:
        """Somewhere to read when a guard forbids the real address."""
        if self._dummy is None:
            with self.at(0):
                self._dummy = self.out.op("alloca i64, align 8", "ptr")
                self.out.emit(f"store i64 0, ptr {self._dummy.name}, align 8")
        return self._dummy

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
            if mask is not None and mask.lanes > 1:
                # One element for all lanes: a number, as whatever uses it expects, read if any
                # lane may read it.
                if self.tail is not None:
                    mask = self.both(mask, self.tail)
                mask = self.out.call(f"llvm.vector.reduce.or.v{mask.lanes}i1", "i1", 1, mask)
            if mask is not None:
                pointer = self.out.op(f"select {mask}, {pointer}, {self.dummy()}", "ptr")
            return self.read(pointer, dtype)
        lanes = self.lanes
        if mask is not None:
            mask = self.spread(mask, lanes)
        if self.tail is not None:
            mask = self.tail if mask is None else self.both(mask, self.tail)
        if len(parts) == 1:
            return self.read(self.pointer(expr.buffer, parts[0]), dtype, lanes, mask)
        start = self.pointer(expr.buffer, parts[0])
        return self.gather(start, self.spread(parts[1], lanes), dtype, mask)

    def both(self, a: Value, b: Value) -> Value:
        return self.out.op(f"and {a}, {b.name}", "i1", a.lanes)

    def read(
        self, pointer: Value, dtype: DType, lanes: int = 1, mask: Value | None = None
    ) -> Value:
        """Consecutive elements from an address."""
        out, element = self.out, memory_type(dtype)
        kind = vector_type(element, lanes)
        if mask is None:
            value = out.op(
                f"load {kind}, ptr {pointer.name}, align {dtype.itemsize}", element, lanes
            )
        else:
            value = out.call(
                f"llvm.masked.load.v{lanes}{suffix(element)}.p0",
                element,
                lanes,
                pointer,
                literal(dtype.itemsize, "i32"),
                mask,
                zero(element, lanes),
            )
        return self._from_memory(value, dtype)

    def _from_memory(self, value: Value, dtype: DType) -> Value:
        if dtype.kind != "b":
            return value
        return self.out.op(f"icmp ne {value}, {zero('i8', value.lanes).name}", "i1", value.lanes)

    def gather(self, start: Value, offsets: Value, dtype: DType, mask: Value | None) -> Value:
        """Elements at start + offsets, in the lanes that `mask` allows."""
        out, element, lanes = self.out, memory_type(dtype), offsets.lanes
        if self.target.gathers and dtype.itemsize >= 4:
            pointers = out.op(f"getelementptr {element}, ptr {start.name}, {offsets}", "ptr", lanes)
            return out.call(
                f"llvm.masked.gather.v{lanes}{suffix(element)}.v{lanes}p0",
                element,
                lanes,
                pointers,
                literal(dtype.itemsize, "i32"),
                mask or literal(True, "i1", lanes),
                zero(element, lanes),
            )
        # One by one; LLVM would branch around every lane.
        value = Value(element, lanes, "poison")
        for lane in range(lanes):
            offset = out.op(f"extractelement {offsets}, i64 {lane}", "i64")
            pointer = out.op(f"getelementptr {element}, ptr {start.name}, {offset}", "ptr")
            if mask is not None:
                live = out.op(f"extractelement {mask}, i64 {lane}", "i1")
                pointer = out.op(f"select {live}, {pointer}, {self.dummy()}", "ptr")
            one = out.op(f"load {element}, ptr {pointer.name}, align {dtype.itemsize}", element)
            value = out.op(f"insertelement {value}, {one}, i64 {lane}", element, lanes)
        return self._from_memory(value, dtype)

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
            return lambda: self._write(place, made, dtype, accumulate)
        vector = self.spread(made, self.lanes)
        parts = [self.emit(part) for part in self._index_parts(index)]
        start = self.pointer(buffer, parts[0])
        if len(parts) == 1:
            return lambda: self._write(start, vector, dtype, accumulate)
        return lambda: self._scatter(start, parts[1], vector, dtype, accumulate)

    def _accumulated(self, old: Value, new: Value, dtype: DType) -> Value:
        return emit_function(self.out, "add", (old, new), dtype, dtype)

    def _write(self, pointer: Value, value: Value, dtype: DType, accumulate: bool) -> None:
        mask = self.tail if value.lanes > 1 else None
        if accumulate:
            value = self._accumulated(self.read(pointer, dtype, value.lanes, mask), value, dtype)
        elif self.streams and value.lanes > 1 and mask is None:
            self._stream(pointer, value, dtype)
            return
        self.write(pointer, value, dtype, mask)

    def _stream(self, pointer: Value, value: Value, dtype: DType) -> None:
        """Past the caches, where the address allows: the same way all through a loop, so that the
        branch costs nothing."""
        out, value = self.out, self._to_memory(value, dtype)
        size = value.lanes * dtype.itemsize
        address = out.op(f"ptrtoint {pointer} to i64", "i64")
        offset = out.op(f"and {address}, {size - 1}", "i64")
        aligned = out.op(f"icmp eq {offset}, 0", "i1")
        fast, slow, after = (out.new_block(hint) for hint in ("stream", "store", "stored"))
        out.branch(aligned, fast, slow)
        for block, tail in ((fast, f"align {size}, !nontemporal !0"), (slow, "align 1")):
            out.block = block
            out.emit(f"store {value}, ptr {pointer.name}, {tail}")
            out.jump(after)
        self.scopes[-1].block = out.block = after

    def write(self, pointer: Value, value: Value, dtype: DType, mask: Value | None) -> None:
        """Consecutive elements to an address."""
        out, value = self.out, self._to_memory(value, dtype)
        if mask is None:
            out.emit(f"store {value}, ptr {pointer.name}, align {dtype.itemsize}")
            return
        out.call_void(
            f"llvm.masked.store.v{value.lanes}{suffix(value.element)}.p0",
            value,
            pointer,
            literal(dtype.itemsize, "i32"),
            mask,
        )

    def _to_memory(self, value: Value, dtype: DType) -> Value:
        if dtype.kind != "b":
            return value
        return self.out.op(f"zext {value} to {vector_type('i8', value.lanes)}", "i8", value.lanes)

    def _scatter(
        self, start: Value, offsets: Value, value: Value, dtype: DType, accumulate: bool
    ) -> None:
        out, lanes = self.out, value.lanes
        if accumulate:
            old = self.gather(start, offsets, dtype, self.tail)
            value = self._accumulated(old, value, dtype)
        value = self._to_memory(value, dtype)
        pointers = out.op(
            f"getelementptr {value.element}, ptr {start.name}, {offsets}", "ptr", lanes
        )
        out.call_void(
            f"llvm.masked.scatter.v{lanes}{suffix(value.element)}.v{lanes}p0",
            value,
            pointers,
            literal(dtype.itemsize, "i32"),
            self.tail or literal(True, "i1", lanes),
        )

    # --------------------------------------------------------------------------------- loops

    def loop(
        self,
        start: Value,
        stop: Value,
        step: int,
        carried: Sequence[Value],
        body: Callable[[Value, list[Value]], list[Value]],
        hint: str = "loop",
    ) -> tuple[Value, list[Value]]:
        """`for i in range(start, stop, step): carried = body(i, carried)`; gives the first i not
        run and the last `carried`."""
        out, outer = self.out, self.scopes[-1]
        before = outer.block
        header, inside = out.new_block(hint), out.new_block(f"{hint}.body")
        out.block = before
        out.jump(header)
        index = out.phi(header, "i64", 1, start, before)
        phis = [out.phi(header, v.element, v.lanes, v, before) for v in carried]
        out.block = header
        condition = out.op(f"icmp slt {index}, {stop.name}", "i1")
        with self.inner(inside):
            results = body(index, list(phis))
            latch = self.scopes[-1].block
            out.block = latch
            following = out.op(f"add nsw {index}, {step}", "i64")
            out.jump(header)
            index.close(following, latch)
            for phi, result in zip(phis, results, strict=True):
                phi.close(result, latch)
        after = out.new_block(f"{hint}.end")
        out.block = header
        out.branch(condition, inside, after)
        outer.block = out.block = after
        return index, list(phis)

    def when(
        self,
        condition: Value,
        carried: Sequence[Value],
        body: Callable[[], list[Value]],
        hint: str = "when",
    ) -> list[Value]:
        """`if condition: carried = body()`."""
        out, outer = self.out, self.scopes[-1]
        before = outer.block
        inside = out.new_block(hint)
        with self.inner(inside):
            results = body()
            last = self.scopes[-1].block
        after = out.new_block(f"{hint}.end")
        out.block = before
        out.branch(condition, inside, after)
        out.block = last
        out.jump(after)
        joined: list[Value] = []
        for old, new in zip(carried, results, strict=True):
            phi = out.phi(after, new.element, new.lanes, old, before)
            phi.close(new, last)
            joined.append(phi)
        outer.block = out.block = after
        return joined

    def inner(self, block: Block) -> _Inner:
        return _Inner(self, block)

    def region(self) -> _Region:
        """A scope of its own in the same straight line: names bound in it may be bound again."""
        return _Region(self, self.scopes[-1].block)

    def live_lanes(self, live: Value, lanes: int) -> Value:
        """Mask of the first `live` lanes, of which there are at most `lanes`."""
        out = self.out
        element = "i8" if lanes <= 64 else "i32"
        narrow = spread(out, out.op(f"trunc {live} to {element}", element), lanes)
        return out.op(
            f"icmp ult {narrow.type} {iota(lanes, element).name}, {narrow.name}", "i1", lanes
        )


class _Place:
    __slots__ = ("emitter", "level", "same", "saved")

    def __init__(self, emitter: Emitter, level: int) -> None:
        self.emitter, self.level = emitter, level

    def __enter__(self) -> None:
        emitter = self.emitter
        block = emitter.scopes[self.level].block
        self.saved = (emitter.out.block, emitter._place)
        self.same = emitter.out.block is block
        emitter.out.block, emitter._place = block, self.level

    def __exit__(self, *exception: object) -> None:
        emitter = self.emitter
        block, emitter._place = self.saved
        # The scope written to may have gone on in another block.
        emitter.out.block = emitter.scopes[self.level].block if self.same else block


class _Inner:
    """A scope for the length of a `with`; names bound in it are forgotten afterwards."""

    __slots__ = ("block", "emitter", "saved")

    def __init__(self, emitter: Emitter, block: Block) -> None:
        self.emitter, self.block = emitter, block

    def __enter__(self) -> None:
        e = self.emitter
        self.saved = (dict(e.levels), dict(e.definitions), e.varying)
        e.scopes.append(Scope(self.block))
        e.out.block = self.block

    def __exit__(self, *exception: object) -> None:
        e = self.emitter
        e.scopes.pop()
        e.levels, e.definitions, e.varying = self.saved
        e.out.block = e.scopes[-1].block


class _Region(_Inner):
    def __exit__(self, *exception: object) -> None:
        last = self.emitter.scopes[-1].block
        super().__exit__(*exception)
        self.emitter.scopes[-1].block = self.emitter.out.block = last


def _has_slots(expr: Expr) -> bool:
    return any(type(node) is Slot for node in walk(expr))


def _emit_seldom(name: str, argument: Local, value: Expr, target: Target, lanes: int) -> Function:
    """The function that puts `value` where it finds `argument`."""
    out = Function(name, ["ptr %place", "ptr %slots"][: 1 + _has_slots(value)], "void")
    e = Emitter(out, (), target)
    place, dtype = Value("ptr", 1, "%place"), argument.dtype
    e.lanes = lanes
    e.bind_local(argument.name, dtype, e.read(place, dtype, lanes))
    e.write(place, e.vector(value), dtype, None)
    return out
