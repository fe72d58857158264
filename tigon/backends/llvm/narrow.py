"""Floats of two bytes, which are integers of 16 bits here: from and to float32, rounded to the
nearest, ties to even. LLVM's own conversions become calls of a library where the machine has no
instruction for them."""

from __future__ import annotations

from tigon.backends.llvm.text import Function, Value, literal, vector_type
from tigon.base.dtypes import DType, bfloat16

_INFINITY = 0x7F800000
_LEAST_NORMAL = 0x38800000  # of float16, as the bits of a float32
_HALF = 0x3F000000


def widened(out: Function, given: Value, source: DType) -> Value:
    """float16 or bfloat16 as float32, which holds all of them."""
    if source is not bfloat16 and out.has_float16:
        half = _as(out, "bitcast", given, "half")
        return _as(out, "fpext", half, "float")
    bits = _as(out, "zext", given, "i32")
    if source is bfloat16:
        return _as(out, "bitcast", _integer(out, "shl", bits, 16), "float")
    magnitude = _integer(out, "shl", _integer(out, "and", bits, 0x7FFF), 13)
    sign = _integer(out, "shl", _integer(out, "and", bits, 0x8000), 16)
    # The exponent of float32 is 112 more; the product makes subnormal numbers normal.
    small = _as(out, "bitcast", magnitude, "float")
    value = out.op(f"fmul {small}, {_literal(2.0**112, small).name}", "float", given.lanes)
    special = _test(out, "icmp uge", magnitude, 0x7C00 << 13)
    magnitude = _select(
        out,
        special,
        _integer(out, "or", magnitude, _INFINITY),
        _as(out, "bitcast", value, "i32"),
    )
    return _as(out, "bitcast", _combined(out, "or", magnitude, sign), "float")


def narrowed(out: Function, given: Value, result: DType) -> Value:
    """float32 as float16 or bfloat16. A NaN stays one, and is quiet."""
    if result is not bfloat16 and out.has_float16:
        return _as(out, "bitcast", _as(out, "fptrunc", given, "half"), "i16")
    bits = _as(out, "bitcast", given, "i32")
    sign = _integer(out, "and", bits, 0x80000000)
    magnitude = _integer(out, "and", bits, 0x7FFFFFFF)
    short = _bfloat16 if result is bfloat16 else _float16
    joined = _combined(out, "or", short(out, magnitude), _integer(out, "lshr", sign, 16))
    return _as(out, "trunc", joined, "i16")


def to_odd_float32(out: Function, given: Value) -> Value:
    """float64 as float32; of two neighbours the one with the odd last digit, so that rounding once
    more is as if it had been done at once."""
    near = _as(out, "fptrunc", given, "float")
    back = _as(out, "fpext", near, "double")
    bits = _as(out, "bitcast", near, "i32")

    def size(value: Value) -> Value:
        lanes = f"v{value.lanes}" if value.lanes > 1 else ""
        return out.call(f"llvm.fabs.{lanes}f64", "double", value.lanes, value)

    def test(predicate: str, a: Value, b: Value) -> Value:
        return out.op(f"fcmp {predicate} {a}, {b.name}", "i1", a.lanes)

    away = test("olt", size(back), size(given))
    neighbour = _select(out, away, _integer(out, "add", bits, 1), _integer(out, "sub", bits, 1))
    even = _test(out, "icmp eq", _integer(out, "and", bits, 1), 0)
    finite = test("olt", size(back), _literal(float("inf"), back))
    inexact = _combined(out, "and", test("one", back, given), _combined(out, "and", even, finite))
    return _as(out, "bitcast", _select(out, inexact, neighbour, bits), "float")


def _bfloat16(out: Function, magnitude: Value) -> Value:
    last = _integer(out, "and", _integer(out, "lshr", magnitude, 16), 1)
    near = _combined(out, "add", _integer(out, "add", magnitude, 0x7FFF), last)
    is_nan = _test(out, "icmp ugt", magnitude, _INFINITY)
    quiet = _integer(out, "or", magnitude, 0x00400000)
    return _integer(out, "lshr", _select(out, is_nan, quiet, near), 16)


def _float16(out: Function, magnitude: Value) -> Value:
    # Normal: the exponent less 112, and rounding carries into it, to infinity too.
    last = _integer(out, "and", _integer(out, "lshr", magnitude, 13), 1)
    near = _integer(out, "sub", magnitude, (112 << 23) - 0xFFF)
    normal = _integer(out, "lshr", _combined(out, "add", near, last), 13)
    # Subnormal: beside a half, the last digits of float32 are those of float16.
    tiny = _as(out, "bitcast", magnitude, "float")
    beside = out.op(f"fadd {tiny}, {_literal(0.5, tiny).name}", "float", tiny.lanes)
    subnormal = _integer(out, "sub", _as(out, "bitcast", beside, "i32"), _HALF)
    size = _select(out, _test(out, "icmp ult", magnitude, _LEAST_NORMAL), subnormal, normal)
    huge = _test(out, "icmp uge", magnitude, 0x47800000)  # 65536
    is_nan = _test(out, "icmp ugt", magnitude, _INFINITY)
    special = _select(out, is_nan, _literal(0x7E00, magnitude), _literal(0x7C00, magnitude))
    return _select(out, huge, special, size)


def _literal(value: float | int, like: Value) -> Value:
    return literal(value, like.element, like.lanes)


def _as(out: Function, opcode: str, given: Value, element: str) -> Value:
    return out.op(f"{opcode} {given} to {vector_type(element, given.lanes)}", element, given.lanes)


def _combined(out: Function, opcode: str, a: Value, b: Value) -> Value:
    return out.op(f"{opcode} {a}, {b.name}", a.element, a.lanes)


def _integer(out: Function, opcode: str, given: Value, number: int) -> Value:
    return _combined(out, opcode, given, _literal(number, given))


def _test(out: Function, predicate: str, given: Value, number: int) -> Value:
    return out.op(f"{predicate} {given}, {_literal(number, given).name}", "i1", given.lanes)


def _select(out: Function, condition: Value, a: Value, b: Value) -> Value:
    return out.op(f"select {condition}, {a}, {b}", a.element, a.lanes)
