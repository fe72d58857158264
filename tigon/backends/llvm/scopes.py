"""Where code is written: scopes, one per loop around the current place, and the loops themselves.

A scope is a straight line of blocks, interrupted by the loops inside it. What is computed for an
inner loop but does not depend on it is appended to the outer scope's open block, which is the inner
loop's preheader."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.backends.llvm.lanes import literal_vector, spread
from tigon.backends.llvm.text import Block, Function, Value
from tigon.base.dtypes import DType
from tigon.base.errors import InternalError
from tigon.loop.grammar import Axis, Expr, Local


class Scope:
    __slots__ = ("block", "cache", "volatile")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.cache: dict[object, Value] = {}
        self.volatile: dict[object, Value] = {}  # read from buffers that this nest writes


class Scopes:
    """The places of a function at which code is being written, and what is known there."""

    def __init__(self, out: Function) -> None:
        self.out = out
        self.scopes = [Scope(out.block)]
        self.levels: dict[str, int] = {}  # axis or local -> index of its scope
        self.varying: frozenset[str] = frozenset()  # names whose value differs between lanes
        self.definitions: dict[str, Expr] = {}  # locals, for the analysis of indices
        self._place: int | None = None

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

    def spread(self, value: Value, lanes: int, level: int | None = None) -> Value:
        """A number in every lane, once per scope; vectors as they are."""
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

    def may_branch(self) -> bool:
        """Not in front of a loop that has begun."""
        return self._place is None or self._place == self.depth

    def either(
        self,
        condition: Value,
        then: Callable[[], Value],
        otherwise: Callable[[], Value],
        seldom: bool = False,
    ) -> Value:
        """`then() if condition else otherwise()`, of straight lines that leave nothing in caches:
        no value of one way is known on the other. `seldom`: the condition mostly fails."""
        out = self.out
        one, other, after = (out.new_block(hint) for hint in ("then", "else", "both"))
        out.branch(condition, one, other, seldom)
        values = []
        for way, make in ((one, then), (other, otherwise)):
            out.block = way
            values.append(make())
            out.jump(after)
        joined = out.phi(after, values[0].element, values[0].lanes, values[0], one)
        joined.close(values[1], other)
        self.scopes[-1].block = out.block = after
        return joined

    def view(self) -> _View:
        """One of several views of the innermost scope: what is bound and computed in one is not
        known in the others, but all write into the same straight line, turn by turn."""
        return _View(self)

    def inner(self, block: Block) -> _Inner:
        return _Inner(self, block)

    def region(self) -> _Region:
        """A scope of its own in the same straight line: names bound in it may be bound again."""
        return _Region(self, self.scopes[-1].block)


class _Place:
    __slots__ = ("level", "owner", "same", "saved")

    def __init__(self, owner: Scopes, level: int) -> None:
        self.owner, self.level = owner, level

    def __enter__(self) -> None:
        owner = self.owner
        block = owner.scopes[self.level].block
        self.saved = (owner.out.block, owner._place)
        self.same = owner.out.block is block
        owner.out.block, owner._place = block, self.level

    def __exit__(self, *exception: object) -> None:
        owner = self.owner
        block, owner._place = self.saved
        # The scope written to may have gone on in another block.
        owner.out.block = owner.scopes[self.level].block if self.same else block


class _Inner:
    """A scope for the length of a `with`; names bound in it are forgotten afterwards."""

    __slots__ = ("block", "owner", "saved")

    def __init__(self, owner: Scopes, block: Block) -> None:
        self.owner, self.block = owner, block

    def __enter__(self) -> None:
        owner = self.owner
        self.saved = (dict(owner.levels), dict(owner.definitions), owner.varying)
        owner.scopes.append(Scope(self.block))
        owner.out.block = self.block

    def __exit__(self, *exception: object) -> None:
        owner = self.owner
        owner.scopes.pop()
        owner.levels, owner.definitions, owner.varying = self.saved
        owner.out.block = owner.scopes[-1].block


class _Region(_Inner):
    def __exit__(self, *exception: object) -> None:
        last = self.owner.scopes[-1].block
        super().__exit__(*exception)
        self.owner.scopes[-1].block = self.owner.out.block = last


class _View:
    """Entered as often as one likes."""

    __slots__ = ("definitions", "levels", "owner", "scope", "varying")

    def __init__(self, owner: Scopes) -> None:
        self.owner, self.scope = owner, Scope(owner.scopes[-1].block)
        self.levels, self.definitions = dict(owner.levels), dict(owner.definitions)
        self.varying = owner.varying

    def _exchange(self) -> None:
        owner = self.owner
        owner.scopes[-1], self.scope = self.scope, owner.scopes[-1]
        owner.levels, self.levels = self.levels, owner.levels
        owner.definitions, self.definitions = self.definitions, owner.definitions
        owner.varying, self.varying = self.varying, owner.varying

    def __enter__(self) -> None:
        block = self.owner.scopes[-1].block
        self._exchange()
        self.owner.scopes[-1].block = self.owner.out.block = block

    def __exit__(self, *exception: object) -> None:
        block = self.owner.scopes[-1].block
        self._exchange()
        self.owner.scopes[-1].block = self.owner.out.block = block
