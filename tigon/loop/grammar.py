"""The loop language: everything a backend sees, on one page.

    expr  := Const | Slot | Axis | Local | Load | Apply
    stmt  := Store | Let | Reduce | Scan | Loop | Fail
    nest  := Nest(buffers, space, body) | Contraction(buffers, batch, rows, columns, inner, ...)

Expressions are scalar and pure. An index is an int64 expression counted in elements. A nest's
`space` is the part that may run in parallel: its points are independent, the runtime hands out
ranges of them. Inside a point the body runs in order. Nothing here depends on the thread count.

A nest is lowered with concrete numbers; `loop.abstract` then replaces numbers by `Slot`s, so that
one native function serves every shape, stride and scalar of the same structure.

Expressions are interned: equal expressions are the same object, so a shared subexpression is
computed once and a tree that is exponential on paper stays small.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from tigon.base.dtypes import DType, int64
from tigon.base.extents import RuntimeNumber
from tigon.base.frozen import Frozen
from tigon.base.locks import reentrant_lock
from tigon.loop.functions import FUNCTIONS

# ------------------------------------------------------------------------------ expressions


# Reentrant: collecting garbage inside may run a destructor that builds.
_interning = reentrant_lock()


class Expr:
    """A scalar value. Immutable and interned: `==` is `is`."""

    __slots__ = ("__weakref__", "_fields", "dtype")
    _interned: ClassVar[WeakValueDictionary[tuple[Any, ...], Expr]] = WeakValueDictionary()
    _fields: tuple[Any, ...]
    dtype: DType

    def __new__(cls, dtype: DType, *fields: Any) -> Any:
        return cls._intern((cls, dtype.code, *fields), dtype, fields)

    @classmethod
    def _intern(cls, key: tuple[Any, ...], dtype: DType, fields: tuple[Any, ...]) -> Any:
        found = Expr._interned.get(key)
        if found is None:
            with _interning:  # two threads must not make two of one expression
                found = Expr._interned.get(key)
                if found is None:
                    found = object.__new__(cls)
                    object.__setattr__(found, "dtype", dtype)
                    object.__setattr__(found, "_fields", fields)
                    Expr._interned[key] = found
        return found

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    @property
    def operands(self) -> tuple[Expr, ...]:
        return ()

    def __repr__(self) -> str:
        return _text(self, 12)


def _text(expr: Expr, depth: int) -> str:
    """Bounded in depth, since a shared graph may be exponential as a tree."""
    if isinstance(expr, (Axis, Local)):
        return expr.name
    if isinstance(expr, Const):
        return repr(expr.value)
    if isinstance(expr, Slot):
        return f"${expr.index}"
    if depth == 0:
        return "..."
    inner = []
    for operand in expr.operands:
        inner.append(_text(operand, depth - 1))
    if isinstance(expr, Load):
        return f"load({expr.buffer}, {inner[0]})"
    assert isinstance(expr, Apply)
    if FUNCTIONS[expr.function].result == "given":
        inner.append(str(expr.dtype))
    return f"{expr.function}({', '.join(inner)})"


class Const(Expr):
    """A literal number, or one that is known when the kernel is launched."""

    __slots__ = ()

    def __new__(cls, value: float | int | bool | RuntimeNumber, dtype: DType = int64) -> Const:
        if isinstance(value, RuntimeNumber):
            return cls._intern((cls, dtype.code, value), dtype, (value,))
        kind = float if dtype.kind == "f" else bool if dtype.kind == "b" else int
        value = kind(value)
        # repr separates 0.0 from -0.0, which compare equal, and unites NaN, which does not.
        return cls._intern((cls, dtype.code, repr(value)), dtype, (value,))

    @property
    def value(self) -> Any:
        return self._fields[0]


class Slot(Expr):
    """A number given when the kernel is launched: entry `index` of its parameter block.
    Each entry has 8 bytes: an int64, or a float64 that is rounded to `dtype` on reading."""

    __slots__ = ()

    def __new__(cls, index: int, dtype: DType = int64) -> Slot:
        return Expr.__new__(cls, dtype, index)

    @property
    def index(self) -> int:
        return self._fields[0]


class Axis(Expr):
    """The running value (int64) of the loop axis of this name."""

    __slots__ = ()

    def __new__(cls, name: str) -> Axis:
        return Expr.__new__(cls, int64, name)

    @property
    def name(self) -> str:
        return self._fields[0]


class Local(Expr):
    """A value bound earlier in the same or an enclosing body by `Let` or `Reduce`, or by the `Scan`
    around it."""

    __slots__ = ()

    def __new__(cls, name: str, dtype: DType) -> Local:
        return Expr.__new__(cls, dtype, name)

    @property
    def name(self) -> str:
        return self._fields[0]


class Load(Expr):
    """Element `index` of buffer number `buffer`. Out-of-range indices are never evaluated:
    guard a load with `select`, whose untaken branch loads nothing."""

    __slots__ = ()

    def __new__(cls, buffer: int, index: Expr, dtype: DType) -> Load:
        return Expr.__new__(cls, dtype, buffer, index)

    @property
    def buffer(self) -> int:
        return self._fields[0]

    @property
    def index(self) -> Expr:
        return self._fields[1]

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self._fields[1],)


class Apply(Expr):
    """A scalar function of operands. Names and typing are in `loop/functions.py`."""

    __slots__ = ()

    def __new__(cls, function: str, operands: tuple[Expr, ...], dtype: DType) -> Apply:
        return Expr.__new__(cls, dtype, function, operands)

    @property
    def function(self) -> str:
        return self._fields[0]

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self._fields[1]


# ------------------------------------------------------------------------------- statements


class LoopAxis(Frozen):
    """`for name in range(start, stop)`, step 1. At most one vector axis encloses a statement: its
    iterations run `lanes` at a time. Of a reduction, it is the axis whose partial results are
    kept per lane and combined at the end in a fixed tree."""

    name: str
    stop: Expr
    start: Expr = Const(0)
    vector: bool = False


class Store(Frozen):
    """buffer[index] = value, or buffer[index] += value when `accumulate` (then never inside a
    vector axis whose lanes could meet the same element)."""

    buffer: int
    index: Expr
    value: Expr
    accumulate: bool = False


class Let(Frozen):
    """Bind `Local(name, value.dtype)` for the statements that follow in this body."""

    name: str
    value: Expr


class Accumulator(Frozen):
    """One result of a `Reduce`: `combine` over all iterations of `value`, bound to `name`.

    `combine` is a row of `loop/combine.py`. A positional one ("argmax", "argmin") binds the int64
    value of `position` at the first occurrence (a NaN counts as the extreme, as in numpy)."""

    name: str
    combine: str
    value: Expr
    position: Expr | None = None

    @property
    def dtype(self) -> DType:
        return self.value.dtype if self.position is None else int64


class Reduce(Frozen):
    """Run over `axes` (outermost first) and bind every accumulator afterwards. An empty range
    gives the neutral element (0, 1, -inf or the least integer, ...)."""

    axes: tuple[LoopAxis, ...]
    accumulators: tuple[Accumulator, ...]


class Scan(Frozen):
    """Run over `axis` from its start and, at each step, run `body` with every accumulator bound to
    what it has combined so far, this step included. No positional ones.

    Along a vector axis the elements of a vector are combined in a fixed binary tree and then, on
    the right, with what came before them. In any case a sum never falls where what is added is not
    negative, and stays where it is 0: each step's value is that of one tree over all elements, the
    later ones left out."""

    axis: LoopAxis
    accumulators: tuple[Accumulator, ...]
    body: tuple[Stmt, ...]

    @property
    def axes(self) -> tuple[LoopAxis]:
        return (self.axis,)


class Loop(Frozen):
    """Run `body` over `axes`, outermost first."""

    axes: tuple[LoopAxis, ...]
    body: tuple[Stmt, ...]


class Fail(Frozen):
    """Where `condition` holds, the function ends here and returns `status`; what the runtime does
    with it is in `csrc/program.cpp`. The first scratch buffer may tell more about it. Only directly
    in the body of a nest."""

    condition: Expr
    status: int


INDEX_OUT_OF_RANGE = 5
"""A status. Scratch holds the index, how many there are, the least that is right, and the axis."""

FIRST_NOTICE = 64
"""From here on a status is no failure: the program goes on, and the user is told once."""


Stmt = Store | Let | Reduce | Scan | Loop | Fail

# ------------------------------------------------------------------------------------ nests


class Buffer(Frozen):
    """An array that a nest touches. `role`: "in", "out" or "scratch" (private to one point of the
    space, `extent` elements, contents undefined at the start). An "out" buffer may also be read
    where the same point has already written it."""

    dtype: DType
    role: str
    extent: Expr | None = None


class Nest(Frozen):
    """`for point in space (parallel): body`."""

    buffers: tuple[Buffer, ...]
    space: tuple[LoopAxis, ...]  # never vector; start is 0
    body: tuple[Stmt, ...]


class Contraction(Frozen):
    """accumulator[b, m, n] = sum over k of left(b, m, k) * right(b, k, n), then `body`.

    `batch`, `rows` (m), `columns` (n) and `inner` (k) are groups of axes, outermost first; `left`
    mentions batch, rows and inner axes, `right` batch, inner and columns, `body` (Let and Store
    only) batch, rows and columns, and `Local(accumulator, dtype)`. Axes start at 0. `columns`
    holds the axis along which the output is contiguous, if any. Sums run over k in blocks whose
    size depends on the extents only. The backend chooses tiles, packing and the parallel grid."""

    buffers: tuple[Buffer, ...]
    batch: tuple[LoopAxis, ...]
    rows: tuple[LoopAxis, ...]
    columns: tuple[LoopAxis, ...]
    inner: tuple[LoopAxis, ...]
    left: Expr
    right: Expr
    accumulator: str
    dtype: DType
    body: tuple[Stmt, ...]


class Extern(Frozen):
    """A routine of the native runtime, which calls a library: no loops that anyone could look into.

    Buffers are dense, in order of the routine's operands and results, each of `points` equal parts;
    point p works on the p-th of each. `numbers` are the routine's own, constants of int64 or
    float64. `operations`, of one point, serve estimates. Its slots are `points`, the numbers and
    `operations`."""

    routine: str
    dtype: DType
    buffers: tuple[Buffer, ...]
    points: Expr
    numbers: tuple[Expr, ...]
    operations: Expr


AnyNest = Nest | Contraction | Extern


def walk(expr: Expr, stop: Container[Expr] = ()) -> Iterator[Expr]:
    """Every distinct subexpression once, operands before users; what is below `expr` and in `stop`
    is left out."""
    seen: set[Expr] = set()
    stack: list[tuple[Expr, bool]] = [(expr, False)]
    while stack:
        node, done = stack.pop()
        if done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            operands = node.operands
            if stop:
                operands = tuple(operand for operand in operands if operand not in stop)
            stack.extend((operand, False) for operand in operands)
