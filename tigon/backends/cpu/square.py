"""Squares as wide as a register, turned in registers: rows and columns are exchanged."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import binary
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, element_type, literal
from tigon.base.dtypes import DType

TURNED = (4, 8)
"""Bytes of the elements that are turned."""


def turn_square(
    e: Emitter, dtype: DType, source: tuple[Value, Value], target: tuple[Value, Value]
) -> None:
    """Write the rows of `source` as columns of `target`. Of both: where its first element is, and
    how far apart its rows lie."""
    e.out.call_helper(
        f"transpose_{element_type(dtype)}_{e.target.lanes(dtype.itemsize)}",
        lambda name: _emit_transpose(name, e.target, dtype),
        *source,
        *target,
    )


def _emit_transpose(name: str, target: Target, dtype: DType) -> Function:
    """`name(source, stride, target, step)`: write a square, as wide as a register, with rows and
    columns exchanged. A few columns at a time: pieces of 128 bits from all rows, put together so
    that what is left is the same exchange in each piece, by interleaving."""
    out = Function(name, ("ptr %source", "i64 %stride", "ptr %target", "i64 %step"), "void")
    e = Emitter(out, (), target)
    element, size, lanes = element_type(dtype), dtype.itemsize, target.lanes(dtype.itemsize)
    piece = 16 // size

    def at(base: str, index: Value) -> Value:
        return out.op(f"getelementptr {element}, ptr {base}, {index}", "ptr")

    def shuffle(a: Value, b: Value, order: Sequence[int]) -> Value:
        mask = ", ".join(f"i32 {i}" for i in order)
        count = len(order)
        return out.op(f"shufflevector {a}, {b}, <{count} x i32> <{mask}>", element, count)

    offsets = [literal(0, "i64")]
    for _ in range(lanes - 1):
        offsets.append(binary(out, "add", offsets[-1], Value("i64", 1, "%stride")))

    def columns(first: Value, carried: list[Value]) -> list[Value]:
        corner = at("%source", first)
        rows = []
        for r in range(piece):
            parts = [
                out.op(
                    f"load <{piece} x {element}>, {at(corner.name, offset)}, align {size}",
                    element,
                    piece,
                )
                for offset in offsets[r::piece]
            ]
            while len(parts) > 1:
                whole = range(2 * parts[0].lanes)
                parts = [shuffle(a, b, whole) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            rows += parts
        half = piece // 2
        low = [
            start + i
            for start in range(0, lanes, piece)
            for j in range(half)
            for i in (j, lanes + j)
        ]
        rounds = half
        while rounds:
            rows = [
                shuffle(a, b, order)
                for a, b in zip(rows[:half], rows[half:], strict=True)
                for order in (low, [i + half for i in low])
            ]
            rounds //= 2
        place = at("%target", binary(out, "mul", first, Value("i64", 1, "%step")))
        for row in rows:
            out.emit(f"store {row}, {place}, align {size}")
            place = at(place.name, Value("i64", 1, "%step"))
        return []

    e.loop(literal(0, "i64"), literal(lanes, "i64"), piece, [], columns, "columns")
    return out
