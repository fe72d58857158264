"""Squares as wide as a register, turned in registers: rows and columns are exchanged."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.backends.llvm.emitter import Emitter
from tigon.backends.llvm.instructions import binary, compare, select, smaller
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function, Value, element_type, literal
from tigon.base.dtypes import DType

TURNED = (4, 8)
"""Bytes of the elements that are turned."""


def turn_square(
    e: Emitter,
    dtype: DType,
    source: tuple[Value, Value],
    target: tuple[Value, Value],
    extents: tuple[Value, Value] | None = None,
) -> None:
    """Write the rows of `source` as columns of `target`. Of both: where its first element is, and
    how far apart its rows lie. `extents`: how many lines and columns of the target there are, up to
    as many as a register has lanes, where they may be fewer, for machines with masks."""
    kind = f"{element_type(dtype)}_{e.target.lanes(dtype.itemsize)}"
    e.out.call_helper(
        f"transpose_{kind}" if extents is None else f"transpose_some_{kind}",
        lambda name: _emit_transpose(name, e.target, dtype, extents is not None),
        *source,
        *target,
        *(extents or ()),
    )


def fewest(dtype: DType) -> int:
    """Lines, and columns, of a square that is not whole."""
    return 16 // dtype.itemsize


def _emit_transpose(name: str, target: Target, dtype: DType, is_some: bool) -> Function:
    """`name(source, stride, target, step)`: write a square, as wide as a register, with rows and
    columns exchanged. A few lines at a time: pieces of 128 bits from all rows, put together so that
    what is left is the same exchange in each piece, by interleaving. With `is_some` follow `lines`
    and `columns`: the last lines begin early enough to stay inside, and instead of further rows the
    last one is read again, and not written."""
    parameters = ("ptr %source", "i64 %stride", "ptr %target", "i64 %step")
    out = Function(
        name, (*parameters, "i64 %lines", "i64 %columns") if is_some else parameters, "void"
    )
    e = Emitter(out, (), target)
    element, size, lanes = element_type(dtype), dtype.itemsize, target.lanes(dtype.itemsize)
    piece = 16 // size

    def at(base: str, index: Value) -> Value:
        return out.op(f"getelementptr {element}, ptr {base}, {index}", "ptr")

    def shuffle(a: Value, b: Value, order: Sequence[int]) -> Value:
        mask = ", ".join(f"i32 {i}" for i in order)
        return out.op(f"shufflevector {a}, {b}, <{len(order)} x i32> <{mask}>", element, len(order))

    stride, columns = Value("i64", 1, "%stride"), Value("i64", 1, "%columns")
    lines = Value("i64", 1, "%lines") if is_some else literal(lanes, "i64")
    offsets = [literal(0, "i64")]
    for row in range(1, lanes):
        following = binary(out, "add", offsets[-1], stride)
        if is_some:
            is_there = compare(out, "icmp slt", literal(row, "i64"), columns)
            following = select(out, is_there, following, offsets[-1])
        offsets.append(following)
    live = e.live_lanes(columns, lanes) if is_some else None
    latest = binary(out, "sub", lines, literal(piece, "i64"))

    def some(first: Value, carried: list[Value]) -> list[Value]:
        if is_some:
            first = smaller(out, first, latest)
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
            e.write(place, row, dtype, live)
            place = at(place.name, Value("i64", 1, "%step"))
        return []

    e.loop(literal(0, "i64"), lines, piece, [], some, "lines")
    return out
