"""Typed constructors of the loop language, imported as `L` by lowerings. One function per row of
`FUNCTIONS` (Python's keywords with an underscore behind); operands have one dtype, and a Python
number takes the other operand's. What is certain at once is simplified at once, never at the cost
of a bit in floating point.

>>> from tigon.base.dtypes import float32
>>> from tigon.loop.build import add, cast, gt, mul, ne, select
>>> i = axis("i")
>>> add(mul(i, 4), add(1, 2)), mul(i, 1) is i
(add(mul(i, 4), 3), True)
>>> x = load(0, i, float32)
>>> select(gt(x, 0), x, 0)
select(gt(load(0, i), 0.0), load(0, i), 0.0)
>>> ne(cast(gt(x, 0), float32), 0)
gt(load(0, i), 0.0)
>>> add(x, i)
Traceback (most recent call last):
...
tigon.base.errors.InternalError: loop.add: operands must have one dtype; given float32, int64; \
cast one
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from keyword import iskeyword
from struct import Struct
from typing import Any

import numpy as np

from tigon.base.dtypes import DType, bool_, float32, int64, rounded
from tigon.base.errors import InternalError
from tigon.base.extents import RuntimeNumber
from tigon.loop.functions import FUNCTIONS, Function, evaluate
from tigon.loop.grammar import Apply, Axis, Const, Expr, Load, Local, Slot

Number = float | int | bool
Operand = Expr | Number

# ---------------------------------------------------------------------------------- leaves


def const(value: Number, dtype: DType = int64) -> Const:
    """A literal, rounded or wrapped to `dtype`.

    >>> from tigon.base.dtypes import float32, uint8
    >>> const(0.1, float32).value, const(-1, uint8).value
    (0.10000000149011612, 255)
    """
    if dtype is int64 and type(value) is int and -(1 << 63) <= value < 1 << 63:
        return _whole(value)
    if isinstance(value, RuntimeNumber):
        return Const(value, dtype)
    if dtype is float32 and -3e38 < value < 3e38:
        return Const(_SINGLE.unpack(_SINGLE.pack(value))[0], dtype)
    if dtype.kind == "f":
        return Const(float(rounded(np.asarray(value), dtype)), dtype)
    if dtype.kind == "b":
        return Const(bool(value), dtype)
    whole = int(value)
    if whole != value:
        raise InternalError(f"loop.const: expected a whole number for {dtype}; given {value!r}")
    return Const(wrap(whole, dtype), dtype)


_SINGLE = Struct("<f")
_whole = lru_cache(4096)(Const)
"""Literals of int64, asked for all the time: remembering them is quicker than interning."""


def wrap(value: int, dtype: DType) -> int:
    """`value` modulo 2**bits, in the range of the integer `dtype`."""
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def lift(operand: Operand, dtype: DType) -> Expr:
    """An operand as an expression: numbers become constants of `dtype`."""
    return operand if isinstance(operand, Expr) else const(operand, dtype)


def axis(name: str) -> Axis:
    return Axis(name)


def local(name: str, dtype: DType) -> Local:
    return Local(name, dtype)


def slot(index: int, dtype: DType = int64) -> Slot:
    return Slot(index, dtype)


def load(buffer: int, index: Operand, dtype: DType) -> Load:
    index = lift(index, int64)
    if index.dtype is not int64:
        raise InternalError(f"loop.load: expected an int64 index; given {index.dtype} {index!r}")
    return Load(buffer, index, dtype)


def least(dtype: DType) -> Const:
    """The neutral element of `maximum`.

    >>> from tigon.base.dtypes import float32, int8
    >>> least(float32).value, least(int8).value
    (-inf, -128)
    """
    if dtype.kind == "f":
        return const(-np.inf, dtype)
    return const(False if dtype.kind == "b" else int(np.iinfo(dtype.numpy).min), dtype)


def greatest(dtype: DType) -> Const:
    """The neutral element of `minimum`.

    >>> from tigon.base.dtypes import float32, int8
    >>> greatest(float32).value, greatest(int8).value
    (inf, 127)
    """
    if dtype.kind == "f":
        return const(np.inf, dtype)
    return const(True if dtype.kind == "b" else int(np.iinfo(dtype.numpy).max), dtype)


# ------------------------------------------------------------------------------- functions


def apply(function: str, *given: Operand, dtype: DType | None = None) -> Expr:
    """`function` of operands, checked against `FUNCTIONS` and locally simplified; `dtype` only for
    "cast" and "bitcast".

    >>> apply("maximum", axis("i"), 0)
    maximum(i, 0)
    """
    row = FUNCTIONS.get(function)
    operands, result = _quickly(row, given) or typed(function, given, dtype)
    assert row is not None
    if row.exact and all(type(operand) is Const for operand in operands):
        folded = _fold(function, operands, result)
        if folded is not None:
            return folded
    if row.commutes and type(operands[0]) is Const:
        operands = (operands[1], operands[0])
    rule = _RULES.get(function)
    if rule is not None:
        simpler = rule(*operands, result) if dtype is not None else rule(*operands)
        if simpler is not None:
            return simpler
    return Apply(function, operands, result)


def _quickly(
    row: Function | None, given: tuple[Operand, ...]
) -> tuple[tuple[Expr, ...], DType] | None:
    """`typed` for the usual case, two operands of which the first is an expression; else None."""
    if row is None or row.arity != 2 or len(given) != 2:
        return None
    a, b = given
    if not isinstance(a, Expr):
        return None
    dtype = a.dtype
    if not isinstance(b, Expr):
        b = const(b, dtype)
    elif b.dtype is not dtype:
        return None
    if dtype.kind not in row.kinds:
        return None
    return (a, b), bool_ if row.result == "bool" else dtype


def result_given(function: str) -> bool:
    return FUNCTIONS[function].result == "given"


def typed(
    function: str, given: tuple[Operand, ...], dtype: DType | None
) -> tuple[tuple[Expr, ...], DType]:
    record = FUNCTIONS.get(function)
    if record is None:
        raise InternalError(f"loop.{function}: no such function; known: {', '.join(FUNCTIONS)}")
    if len(given) != record.arity:
        raise InternalError(
            f"loop.{function}: expected {record.arity} operands; given {len(given)}"
        )
    condition: tuple[Expr, ...] = ()
    if function in ("select", "seldom"):
        condition, given = (lift(given[0], bool_),), given[1:]
        if condition[0].dtype is not bool_:
            raise InternalError(
                f"loop.{function}: expected a bool condition; given {condition[0].dtype}"
            )
    common = next((operand.dtype for operand in given if isinstance(operand, Expr)), None)
    if common is None and all(type(operand) is int for operand in given):
        common = int64  # index arithmetic
    if common is None:
        raise InternalError(f"loop.{function}: no dtype to give to {given}; use L.const")
    operands = tuple(lift(operand, common) for operand in given)
    if any(operand.dtype is not common for operand in operands):
        names = ", ".join(str(operand.dtype) for operand in operands)
        raise InternalError(
            f"loop.{function}: operands must have one dtype; given {names}; cast one"
        )
    if common.kind not in record.kinds or (common.is_narrow and not record.moves):
        raise InternalError(f"loop.{function}: no meaning for {common}; cast the operand")
    if (dtype is None) == (record.result == "given"):
        raise InternalError(
            f"loop.{function}: a result dtype is for cast and bitcast, and needed there"
        )
    if dtype is None:
        dtype = bool_ if record.result == "bool" else common
    if function == "bitcast" and (dtype.itemsize != common.itemsize or dtype.kind == "b"):
        raise InternalError(f"loop.bitcast: sizes differ: {common} as {dtype}")
    return condition + operands, dtype


def _fold(function: str, operands: tuple[Any, ...], dtype: DType) -> Expr | None:
    if dtype is int64:  # the common case, without numpy
        quick = _INTEGERS.get(function)
        if quick is not None:
            return const(quick(operands[0].value, operands[1].value), int64)
    if any(isinstance(operand.value, RuntimeNumber) for operand in operands):
        return None
    values = tuple(operand.dtype.numpy.type(operand.value) for operand in operands)
    return const(evaluate(function, values, dtype).item(), dtype)


_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "maximum": max,
    "minimum": min,
}

# ----------------------------------------------------- local rules: None means "nothing to do"


def is_const(expr: Expr, value: Number) -> bool:
    """Whether `expr` is the literal `value` (0.0 and -0.0 count as different)."""
    return (
        isinstance(expr, Const)
        and not isinstance(expr.value, RuntimeNumber)
        and expr.value == value
        and (expr.dtype.kind != "f" or np.copysign(1, expr.value) == np.copysign(1, value))
    )


def _add(a: Expr, b: Expr) -> Expr | None:
    if not isinstance(b, Const):
        return None
    if is_const(b, -0.0 if b.dtype.kind == "f" else 0):  # x + 0.0 is not x when x is -0.0
        return a
    if b.dtype.is_integer and isinstance(a, Apply) and a.function == "add":
        first, second = a.operands
        if isinstance(second, Const):
            return apply("add", first, second.value + b.value)
    return None


def _sub(a: Expr, b: Expr) -> Expr | None:
    if is_const(b, 0):
        return a
    if a.dtype.is_integer:
        if a is b:
            return const(0, a.dtype)
        if isinstance(b, Const):
            return apply("add", a, wrap(-b.value, b.dtype))
    return None


def _mul(a: Expr, b: Expr) -> Expr | None:
    if not isinstance(b, Const):
        return None
    if is_const(b, 1):
        return a
    if b.dtype.is_integer:
        if is_const(b, 0):
            return b
        if isinstance(a, Apply) and a.function == "mul" and isinstance(a.operands[1], Const):
            return apply("mul", a.operands[0], a.operands[1].value * b.value)
    return None


def _div(a: Expr, b: Expr) -> Expr | None:
    return a if is_const(b, 1) else None


def _floordiv(a: Expr, b: Expr) -> Expr | None:
    if not a.dtype.is_integer:
        return None
    if is_const(b, 1) or is_const(a, 0):
        return a
    return b if is_const(b, 0) else None


def _mod(a: Expr, b: Expr) -> Expr | None:
    if not a.dtype.is_integer:
        return None
    if is_const(b, 1) or is_const(b, 0):
        return const(0, a.dtype)
    return a if is_const(a, 0) else None


def _involution(function: str) -> Callable[[Expr], Expr | None]:
    def rule(a: Expr) -> Expr | None:
        return a.operands[0] if isinstance(a, Apply) and a.function == function else None

    return rule


def _not(a: Expr) -> Expr | None:
    if not isinstance(a, Apply):
        return None
    if a.function == "not":
        return a.operands[0]
    opposite = _OPPOSITE.get(a.function)
    # An order on floats has no opposite: NaN fails both.
    if opposite and (a.function in ("eq", "ne") or a.operands[0].dtype.kind != "f"):
        return apply(opposite, *a.operands)
    return None


_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}


def _logic(neutral: bool) -> Callable[[Expr, Expr], Expr | None]:
    """`and` (neutral True) and `or` (neutral False)."""

    def rule(a: Expr, b: Expr) -> Expr | None:
        if a is b:
            return a
        if a.dtype is bool_ and isinstance(b, Const):
            return a if b.value is neutral else b
        return None

    return rule


def _idempotent(a: Expr, b: Expr) -> Expr | None:
    return a if a is b else None


def _same(answer: bool) -> Callable[[Expr, Expr], Expr | None]:
    """A comparison of an expression with itself: certain unless it may be NaN."""

    def rule(a: Expr, b: Expr) -> Expr | None:
        return const(answer, bool_) if a is b and a.dtype.kind != "f" else None

    return rule


def _select(condition: Expr, a: Expr, b: Expr) -> Expr | None:
    if isinstance(condition, Const):
        return a if condition.value else b
    if a is b:
        return a
    if isinstance(condition, Apply) and condition.function == "not":
        return apply("select", condition.operands[0], b, a)
    if isinstance(a, Const) and isinstance(b, Const) and a.dtype is bool_:
        return condition if a.value else apply("not", condition)
    return None


def _seldom(condition: Expr, given: Expr, a: Expr, b: Expr) -> Expr | None:
    return _select(condition, a, b) if isinstance(condition, Const) or a is b else None


def _cast(a: Expr, dtype: DType) -> Expr | None:
    if a.dtype is dtype:
        return a
    if isinstance(a, Apply) and a.function == "cast":
        inner = a.operands[0]
        if inner.dtype is dtype and _lossless(dtype, a.dtype):
            return inner
        if inner.dtype is bool_:  # 0 and 1 pass through every dtype
            return apply("cast", inner, dtype=dtype)
    return None


def _against_zero(a: Expr, b: Expr) -> Expr | None:
    """The truth value behind a 0 or 1 that is compared with 0."""
    if isinstance(a, Apply) and a.function == "cast" and isinstance(b, Const) and b.value == 0:
        return a.operands[0] if a.operands[0].dtype is bool_ else None
    return None


def _not_equal(a: Expr, b: Expr) -> Expr | None:
    truth = _against_zero(a, b)
    return truth if truth is not None else _same(False)(a, b)


def _equal(a: Expr, b: Expr) -> Expr | None:
    truth = _against_zero(a, b)
    return apply("not", truth) if truth is not None else _same(True)(a, b)


def _lossless(source: DType, target: DType) -> bool:
    if target.is_narrow:
        return source.itemsize == 1
    return bool(np.can_cast(source.numpy, target.numpy, "safe")) and not (
        source.itemsize == 8 and target.kind == "f" and source.kind in "iu"
    )


def _bitcast(a: Expr, dtype: DType) -> Expr | None:
    if isinstance(a, Apply) and a.function == "bitcast":
        return apply("bitcast", a.operands[0], dtype=dtype)
    return a if a.dtype is dtype else None


_RULES: dict[str, Callable[..., Expr | None]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "floordiv": _floordiv,
    "mod": _mod,
    "neg": _involution("neg"),
    "not": _not,
    "maximum": _idempotent,
    "minimum": _idempotent,
    "eq": _equal,
    "le": _same(True),
    "ge": _same(True),
    "ne": _not_equal,
    "lt": _same(False),
    "gt": _same(False),
    "and": _logic(True),
    "or": _logic(False),
    "select": _select,
    "seldom": _seldom,
    "cast": _cast,
    "bitcast": _bitcast,
}

# --------------------------------------------------------------- one constructor per function


def _constructor(function: str) -> Callable[..., Expr]:
    if result_given(function):

        def given(operand: Operand, dtype: DType) -> Expr:
            return apply(function, operand, dtype=dtype)

        return given

    def same(*operands: Operand) -> Expr:
        return apply(function, *operands)

    return same


def spelled(function: str) -> str:
    """The Python name of a function's constructor.

    >>> spelled("and"), spelled("add")
    ('and_', 'add')
    """
    return function + "_" if iskeyword(function) else function


def __getattr__(name: str) -> Callable[..., Expr]:
    """Made when it is first asked for: a function may be declared at any time."""
    function = name.removesuffix("_")
    if function not in FUNCTIONS or spelled(function) != name:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _constructor(function)
    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"`{function}` as its row in `loop/functions.py` types it."
    globals()[name] = made
    _rows[made] = FUNCTIONS[function]
    return made


_rows: dict[Callable[..., Expr], Function] = {}


def row_of(maker: Callable[..., Any]) -> Function | None:
    """The row of the function that `maker` applies, if that is all it does.

    >>> from tigon.loop import build
    >>> build.row_of(build.exp).kinds
    'f'
    """
    return _rows.get(maker)
