"""Floats of two bytes, which are integers of 16 bits here: from and to float32, rounded to the
nearest, ties to even. LLVM's own conversions become calls of a library where the machine has no
instruction for them."""

from __future__ import annotations

from tigon.backends.llvm.instructions import binary, compare, convert, intrinsic, same, select
from tigon.backends.llvm.text import Function, Value
from tigon.base.dtypes import DType, bfloat16

_INFINITY = 0x7F800000
_LEAST_NORMAL = 0x38800000  # of float16, as the bits of a float32
_HALF = 0x3F000000


def widened(out: Function, given: Value, source: DType) -> Value:
    """float16 or bfloat16 as float32, which holds all of them."""
    if source is not bfloat16 and out.has_float16:
        half = convert(out, "bitcast", given, "half")
        return convert(out, "fpext", half, "float")
    bits = convert(out, "zext", given, "i32")
    if source is bfloat16:
        return convert(out, "bitcast", _integer(out, "shl", bits, 16), "float")
    magnitude = _integer(out, "shl", _integer(out, "and", bits, 0x7FFF), 13)
    sign = _integer(out, "shl", _integer(out, "and", bits, 0x8000), 16)
    # The exponent of float32 is 112 more; the product makes subnormal numbers normal.
    small = convert(out, "bitcast", magnitude, "float")
    value = binary(out, "fmul", small, same(2.0**112, small))
    special = _test(out, "icmp uge", magnitude, 0x7C00 << 13)
    magnitude = select(
        out,
        special,
        _integer(out, "or", magnitude, _INFINITY),
        convert(out, "bitcast", value, "i32"),
    )
    return convert(out, "bitcast", binary(out, "or", magnitude, sign), "float")


def narrowed(out: Function, given: Value, result: DType) -> Value:
    """float32 as float16 or bfloat16. A NaN stays one, and is quiet."""
    if result is not bfloat16 and out.has_float16:
        return convert(out, "bitcast", convert(out, "fptrunc", given, "half"), "i16")
    bits = convert(out, "bitcast", given, "i32")
    sign = _integer(out, "and", bits, 0x80000000)
    magnitude = _integer(out, "and", bits, 0x7FFFFFFF)
    short = _bfloat16 if result is bfloat16 else _float16
    joined = binary(out, "or", short(out, magnitude), _integer(out, "lshr", sign, 16))
    return convert(out, "trunc", joined, "i16")


def to_odd_float32(out: Function, given: Value) -> Value:
    """float64 as float32; of two neighbours the one with the odd last digit, so that rounding once
    more is as if it had been done at once."""
    near = convert(out, "fptrunc", given, "float")
    back = convert(out, "fpext", near, "double")
    bits = convert(out, "bitcast", near, "i32")

    size, near_size = intrinsic(out, "fabs", given), intrinsic(out, "fabs", back)
    away = compare(out, "fcmp olt", near_size, size)
    neighbour = select(out, away, _integer(out, "add", bits, 1), _integer(out, "sub", bits, 1))
    even = _test(out, "icmp eq", _integer(out, "and", bits, 1), 0)
    finite = compare(out, "fcmp olt", near_size, same(float("inf"), back))
    inexact = binary(
        out, "and", compare(out, "fcmp one", back, given), binary(out, "and", even, finite)
    )
    return convert(out, "bitcast", select(out, inexact, neighbour, bits), "float")


def _bfloat16(out: Function, magnitude: Value) -> Value:
    last = _integer(out, "and", _integer(out, "lshr", magnitude, 16), 1)
    near = binary(out, "add", _integer(out, "add", magnitude, 0x7FFF), last)
    is_nan = _test(out, "icmp ugt", magnitude, _INFINITY)
    quiet = _integer(out, "or", magnitude, 0x00400000)
    return _integer(out, "lshr", select(out, is_nan, quiet, near), 16)


def _float16(out: Function, magnitude: Value) -> Value:
    # Normal: the exponent less 112, and rounding carries into it, to infinity too.
    last = _integer(out, "and", _integer(out, "lshr", magnitude, 13), 1)
    near = _integer(out, "sub", magnitude, (112 << 23) - 0xFFF)
    normal = _integer(out, "lshr", binary(out, "add", near, last), 13)
    # Subnormal: beside a half, the last digits of float32 are those of float16.
    tiny = convert(out, "bitcast", magnitude, "float")
    beside = binary(out, "fadd", tiny, same(0.5, tiny))
    subnormal = _integer(out, "sub", convert(out, "bitcast", beside, "i32"), _HALF)
    size = select(out, _test(out, "icmp ult", magnitude, _LEAST_NORMAL), subnormal, normal)
    huge = _test(out, "icmp uge", magnitude, 0x47800000)  # 65536
    is_nan = _test(out, "icmp ugt", magnitude, _INFINITY)
    special = select(out, is_nan, same(0x7E00, magnitude), same(0x7C00, magnitude))
    return select(out, huge, special, size)


def _integer(out: Function, opcode: str, given: Value, number: int) -> Value:
    return binary(out, opcode, given, same(number, given))


def _test(out: Function, predicate: str, given: Value, number: int) -> Value:
    return compare(out, predicate, given, same(number, given))
