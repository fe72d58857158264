"""The scalar functions of the loop language in LLVM IR, for one lane or many.

Every function is one of `loop/functions.py` and means exactly what `evaluate` there computes;
elementary functions arrive expanded to arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tigon.backends.llvm.instructions import (
    binary,
    compare,
    convert,
    intrinsic,
    is_nan,
    logical_not,
    multiply_add,
    same,
    select,
)
from tigon.backends.llvm.lanes import power_of_two
from tigon.backends.llvm.narrow import narrowed, to_odd_float32, widened
from tigon.backends.llvm.text import (
    Function,
    Value,
    constant,
    element_type,
    vector_type,
    zero,
)
from tigon.base.dtypes import DType, float32, float64
from tigon.base.errors import InternalError
from tigon.loop.grammar import Apply, Const, Expr, walk

Emit = Callable[..., Value]


def emit_function(
    out: Function, function: str, operands: tuple[Value, ...], source: DType, result: DType
) -> Value:
    """Append `function` of operands of dtype `source` (for select: of the branches)."""
    try:
        emit = _TABLE[function]
    except KeyError:
        raise InternalError(
            f"llvm: no code for the function {function!r}; expand it first"
        ) from None
    return emit(out, operands, source, result)


def emit_expression(out: Function, expr: Expr, values: dict[Expr, Value]) -> Value:
    """Append a small expression of given values."""
    lanes = next(iter(values.values())).lanes
    for node in walk(expr):
        if isinstance(node, Const):
            values[node] = constant(node.value, node.dtype, lanes)
        elif isinstance(node, Apply):
            operands = tuple(values[operand] for operand in node.operands)
            source = node.operands[-1].dtype
            values[node] = emit_function(out, node.function, operands, source, node.dtype)
    return values[expr]


# ------------------------------------------------------------------------------ arithmetic


def _arithmetic(floating: str, integer: str) -> Emit:
    def emit(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
        return binary(out, floating if source.is_float else integer, *operands)

    return emit


def _neg(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    (a,) = operands
    if source.is_float:
        return out.op(f"fneg {a}", a.element, a.lanes)
    return binary(out, "sub", zero(a.element, a.lanes), a)


def _abs(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    (a,) = operands
    if source.is_float:
        return intrinsic(out, "fabs", a)
    if source.kind != "i":
        return a
    negative = compare(out, "icmp slt", a, zero(a.element, a.lanes))
    return select(out, negative, binary(out, "sub", zero(a.element, a.lanes), a), a)


def _integer_division(
    out: Function, a: Value, b: Value, signed: bool
) -> tuple[Value, Value, Value]:
    """Quotient and remainder rounded towards zero, both 0 for a zero divisor, and that test.
    The least integer by -1 wraps: dividing by -1 is negation here, for the instruction traps."""
    nought = zero(a.element, a.lanes)
    none = compare(out, "icmp eq", b, nought)
    divisor = select(out, none, same(1, b), b)
    if not signed:
        quotient = binary(out, "udiv", a, divisor)
    else:
        minus = compare(out, "icmp eq", b, same(-1, b))
        quotient = binary(out, "sdiv", a, select(out, minus, same(1, b), divisor))
        quotient = select(out, minus, binary(out, "sub", nought, a), quotient)
    rest = binary(out, "sub", a, binary(out, "mul", quotient, divisor))
    return select(out, none, nought, quotient), select(out, none, nought, rest), none


def _signs_differ(out: Function, a: Value, b: Value) -> Value:
    return compare(out, "icmp slt", binary(out, "xor", a, b), zero(a.element, a.lanes))


def _floor_adjust(out: Function, rest: Value, b: Value) -> Value:
    """Where truncation and floor differ: the remainder is not 0 and has the other sign."""
    some = compare(out, "icmp ne", rest, zero(rest.element, rest.lanes))
    return binary(out, "and", some, _signs_differ(out, rest, b))


def _truncdiv(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    return _integer_division(out, a, b, source.kind == "i")[0]


def _mulhi(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    """By products of twice the bits. Of a vector of 32 bits every second element is where the lower
    half of a wide one lies: no vector is made wider."""
    a, b = operands
    bits, lanes = 8 * source.itemsize, a.lanes
    wide = f"i{2 * bits}"
    if source.itemsize != 4 or lanes % 2:
        full = binary(out, "mul", convert(out, "zext", a, wide), convert(out, "zext", b, wide))
        return convert(out, "trunc", binary(out, "lshr", full, same(bits, full)), a.element)
    paired = vector_type("i64", lanes // 2)
    pairs = [out.op(f"bitcast {value} to {paired}", "i64", lanes // 2) for value in operands]
    low, half = same(0xFFFFFFFF, pairs[0]), same(32, pairs[0])
    even = binary(out, "mul", *(binary(out, "and", pair, low) for pair in pairs))
    odd = binary(out, "mul", *(binary(out, "lshr", pair, half) for pair in pairs))
    above = binary(out, "and", odd, same(-1 << 32, odd))
    joined = binary(out, "or", binary(out, "lshr", even, half), above)
    return out.op(f"bitcast {joined} to {a.type}", a.element, lanes)


def _floordiv(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    if source.is_float:
        return _float_divmod(out, a, b)[0]
    shift = power_of_two(b)
    if shift is not None:
        return binary(out, "ashr" if source.kind == "i" else "lshr", a, same(shift, a))
    quotient, rest, _ = _integer_division(out, a, b, source.kind == "i")
    if source.kind != "i":
        return quotient
    adjust = _floor_adjust(out, rest, b)
    return select(out, adjust, binary(out, "sub", quotient, same(1, a)), quotient)


def _mod(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    if source.is_float:
        return _float_divmod(out, a, b)[1]
    shift = power_of_two(b)
    if shift is not None:
        return binary(out, "and", a, same((1 << shift) - 1, a))
    _, rest, _ = _integer_division(out, a, b, source.kind == "i")
    if source.kind != "i":
        return rest
    adjust = _floor_adjust(out, rest, b)
    return select(out, adjust, binary(out, "add", rest, b), rest)


def _fmod(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    if source.is_float:
        return binary(out, "frem", a, b)
    return _integer_division(out, a, b, source.kind == "i")[1]


def _float_divmod(out: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """Floor division and remainder exactly as Python and numpy round them."""
    nought = zero(a.element, a.lanes)
    rest = binary(out, "frem", a, b)
    some = compare(out, "fcmp une", rest, nought)
    negative = compare(out, "fcmp olt", b, nought)
    differ = binary(out, "xor", negative, compare(out, "fcmp olt", rest, nought))
    adjust = binary(out, "and", some, differ)
    exact = binary(out, "fdiv", binary(out, "fsub", a, rest), b)
    exact = select(out, adjust, binary(out, "fsub", exact, same(1.0, a)), exact)
    modulus = select(out, adjust, binary(out, "fadd", rest, b), rest)
    modulus = select(out, some, modulus, intrinsic(out, "copysign", nought, b))
    quotient = binary(out, "fdiv", a, b)
    floor = intrinsic(out, "floor", exact)
    above = compare(out, "fcmp ogt", binary(out, "fsub", exact, floor), same(0.5, a))
    floor = select(out, above, binary(out, "fadd", floor, same(1.0, a)), floor)
    signed_zero = intrinsic(out, "copysign", nought, quotient)
    floor = select(out, compare(out, "fcmp une", exact, nought), floor, signed_zero)
    by_zero = compare(out, "fcmp oeq", b, nought)
    return (
        select(out, by_zero, quotient, floor),
        select(out, by_zero, rest, modulus),
    )


def _fma(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    if out.has_fma:
        return intrinsic(out, "fma", *operands)
    return (_fma_of_float32 if source is float32 else _fma_of_float64)(out, *operands)


def _fma_of_float32(out: Function, a: Value, b: Value, c: Value) -> Value:
    """In float64, where the product is exact; of 2**29 results one is the other neighbour."""
    a, b, c = (convert(out, "fpext", each, "double") for each in (a, b, c))
    return convert(out, "fptrunc", binary(out, "fadd", binary(out, "fmul", a, b), c), "float")


def _fma_of_float64(out: Function, a: Value, b: Value, c: Value) -> Value:
    """Dekker's exact product and Knuth's exact sum; where these overflow, rounded twice."""

    def sub(x: Value, y: Value) -> Value:
        return binary(out, "fsub", x, y)

    def halves(x: Value) -> tuple[Value, Value]:
        scaled = binary(out, "fmul", x, same(134217729.0, x))
        high = sub(scaled, sub(scaled, x))
        return high, sub(x, high)

    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    product = binary(out, "fmul", a, b)
    total = binary(out, "fadd", product, c)
    rest = sub(binary(out, "fmul", a_high, b_high), product)
    for left, right in ((a_high, b_low), (a_low, b_high), (a_low, b_low)):
        rest = binary(out, "fadd", rest, binary(out, "fmul", left, right))
    shadow = sub(total, product)
    error = binary(out, "fadd", sub(product, sub(total, shadow)), sub(c, shadow))
    error = binary(out, "fadd", error, rest)
    corrected = binary(out, "fadd", total, error)
    # Without an error the sign of a zero stays; an error that is no number is none.
    some = compare(out, "fcmp one", error, zero(error.element, error.lanes))
    finite = compare(out, "fcmp olt", intrinsic(out, "fabs", corrected), same(float("inf"), a))
    return select(out, binary(out, "and", some, finite), corrected, total)


def _multiply_add(out: Function, operands: tuple[Value, ...], *_: DType) -> Value:
    a, b, c = operands
    return multiply_add(out, a, b, c, out.has_fma)


# ----------------------------------------------------------------------- order and logic


def _extreme(floating: str, signed: str, unsigned: str) -> Emit:
    def emit(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
        a, b = operands
        if not source.is_float:
            predicate = signed if source.kind == "i" else unsigned
            return select(out, compare(out, predicate, a, b), a, b)
        if b.is_literal:
            a, b = b, a
        # select(a > b, a, b) is one instruction and answers b when either is NaN, so only a NaN
        # in a remains to be seen to; a literal is none.
        chosen = select(out, compare(out, floating, a, b), a, b)
        if a.is_literal and not _nan_literal(a):
            return chosen
        return select(out, is_nan(out, a), a, chosen)

    return emit


def _nan_literal(a: Value) -> bool:
    return "0x7FF8" in a.name or "0xH7E00" in a.name


def _comparison(floating: str, signed: str, unsigned: str) -> Emit:
    def emit(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
        if source.is_float:
            return compare(out, f"fcmp {floating}", *operands)
        return compare(out, f"icmp {signed if source.kind == 'i' else unsigned}", *operands)

    return emit


def _bitwise(opcode: str) -> Emit:
    def emit(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
        return binary(out, opcode, *operands)

    return emit


def _not(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    return logical_not(out, operands[0])


def _shl(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    bits = 8 * source.itemsize
    if b.is_literal:
        return _shift_literal(out, "shl", a, b, bits)
    small = compare(out, "icmp ult", b, same(bits, b))
    shifted = binary(out, "shl", a, select(out, small, b, zero(b.element, b.lanes)))
    return select(out, small, shifted, zero(a.element, a.lanes))


def _shr(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    a, b = operands
    bits = 8 * source.itemsize
    opcode = "ashr" if source.kind == "i" else "lshr"
    if b.is_literal:
        return _shift_literal(out, opcode, a, b, bits)
    small = compare(out, "icmp ult", b, same(bits, b))
    if source.kind == "i":
        return binary(out, opcode, a, select(out, small, b, same(bits - 1, b)))
    shifted = binary(out, opcode, a, select(out, small, b, zero(b.element, b.lanes)))
    return select(out, small, shifted, zero(a.element, a.lanes))


def _shift_literal(out: Function, opcode: str, a: Value, b: Value, bits: int) -> Value:
    text = b.name
    count = (
        int(text[text.rindex(" ") : -1])
        if text.startswith("splat")
        else (0 if text == "zeroinitializer" else int(text))
    )
    if 0 <= count < bits:
        return binary(out, opcode, a, b)
    if opcode == "ashr":
        return binary(out, opcode, a, same(bits - 1, b))
    return zero(a.element, a.lanes)


def _select(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    return select(out, *operands)


# ----------------------------------------------------------------------------- conversions


def _cast(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    (a,) = operands
    element = element_type(result)
    if source is result:
        return a
    if source.is_narrow:
        return _cast(out, (widened(out, a, source),), float32, result)
    if result.is_narrow:
        return narrowed(out, _before_narrowing(out, a, source), result)
    if result.kind == "b":
        test = "fcmp une" if source.is_float else "icmp ne"
        return compare(out, test, a, zero(a.element, a.lanes))
    if source.is_float and result.is_float:
        opcode = "fpext" if result.itemsize > source.itemsize else "fptrunc"
        return convert(out, opcode, a, element)
    if source.is_float:
        return _saturate(out, a, source, result)
    if result.is_float:
        opcode = "sitofp" if source.kind == "i" else "uitofp"
        return convert(out, opcode, a, element)
    if source.kind == "b":
        return convert(out, "zext", a, element)
    if result.itemsize < source.itemsize:
        return convert(out, "trunc", a, element)
    if result.itemsize > source.itemsize:
        return convert(out, "sext" if source.kind == "i" else "zext", a, element)
    return a


def _before_narrowing(out: Function, a: Value, source: DType) -> Value:
    """A float32 whose rounding is that of the number itself."""
    if source is float32 or source.itemsize < 4:
        return _cast(out, (a,), source, float32)
    return to_odd_float32(out, _cast(out, (a,), source, float64))


def _saturate(out: Function, a: Value, source: DType, result: DType) -> Value:
    """To the integer towards zero; the nearest one where there is none, of NaN 0. LLVM has this as
    an intrinsic, and makes of it a sequence per lane: a conversion, and what of it does not count
    replaced, stays in vectors."""
    opcode = "fptosi" if result.kind == "i" else "fptoui"
    limits = np.iinfo(result.numpy)
    least, beyond = int(limits.min), int(limits.max) + 1  # powers of two: floats hold them
    chosen = convert(out, opcode, a, element_type(result))
    low = compare(out, "fcmp olt", a, same(least, a))
    chosen = select(out, low, same(least, chosen), chosen)
    high = compare(out, "fcmp oge", a, same(beyond, a))
    chosen = select(out, high, same(beyond - 1, chosen), chosen)
    return select(out, is_nan(out, a), same(0, chosen), chosen)


def _bitcast(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
    return convert(out, "bitcast", operands[0], element_type(result))


def _rounding(name: str) -> Emit:
    def emit(out: Function, operands: tuple[Value, ...], source: DType, result: DType) -> Value:
        return intrinsic(out, name, operands[0])

    return emit


_TABLE: dict[str, Emit] = {
    "add": _arithmetic("fadd", "add"),
    "sub": _arithmetic("fsub", "sub"),
    "mul": _arithmetic("fmul", "mul"),
    "div": _arithmetic("fdiv", "fdiv"),
    "mulhi": _mulhi,
    "floordiv": _floordiv,
    "mod": _mod,
    "fmod": _fmod,
    "truncdiv": _truncdiv,
    "neg": _neg,
    "abs": _abs,
    "fma": _fma,
    "multiply_add": _multiply_add,
    "maximum": _extreme("fcmp ogt", "icmp sgt", "icmp ugt"),
    "minimum": _extreme("fcmp olt", "icmp slt", "icmp ult"),
    "eq": _comparison("oeq", "eq", "eq"),
    "ne": _comparison("une", "ne", "ne"),
    "lt": _comparison("olt", "slt", "ult"),
    "le": _comparison("ole", "sle", "ule"),
    "gt": _comparison("ogt", "sgt", "ugt"),
    "ge": _comparison("oge", "sge", "uge"),
    "and": _bitwise("and"),
    "or": _bitwise("or"),
    "xor": _bitwise("xor"),
    "not": _not,
    "shl": _shl,
    "shr": _shr,
    "select": _select,
    "seldom": _select,
    "cast": _cast,
    "bitcast": _bitcast,
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "trunc": _rounding("trunc"),
    "rint": _rounding("roundeven"),
    "sqrt": _rounding("sqrt"),
}

EMITTED = frozenset(_TABLE)
"""Functions with code of their own; all others are expanded to these before emission."""
