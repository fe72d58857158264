"""Vectors: literals, spreading a number over lanes, folding lanes to a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tigon.backends.llvm.instructions import intrinsic
from tigon.backends.llvm.text import Function, Value, literal, vector_type


def floor_quotient(out: Function, a: Value, b: Value) -> Value:
    """a // b of indices, below 2**53 in size: a quotient that is not whole is further from the
    next whole number than rounding reaches."""
    shift = power_of_two(b)
    if shift is not None:
        return out.op(f"ashr {a}, {literal(shift, 'i64', a.lanes).name}", "i64", a.lanes)
    kind = vector_type("double", a.lanes)
    wide = [out.op(f"sitofp {v} to {kind}", "double", a.lanes) for v in (a, b)]
    quotient = out.op(f"fdiv {wide[0]}, {wide[1].name}", "double", a.lanes)
    quotient = intrinsic(out, "floor", quotient)
    return out.op(f"fptosi {quotient} to {vector_type('i64', a.lanes)}", "i64", a.lanes)


def power_of_two(value: Value) -> int | None:
    """The exponent, if the value is such a literal."""
    text = value.name.removeprefix(f"splat ({value.element} ").removesuffix(")")
    if not text.isdigit() or int(text).bit_count() != 1:
        return None
    return int(text).bit_length() - 1


def literal_vector(value: Value, lanes: int) -> Value:
    return Value(value.element, lanes, f"splat ({value.element} {value.name})")


def spread(out: Function, value: Value, lanes: int) -> Value:
    """The scalar in every lane."""
    if lanes == 1 or value.lanes == lanes:
        return value
    if value.is_literal:
        return literal_vector(value, lanes)
    one = out.op(
        f"insertelement {vector_type(value.element, lanes)} poison, {value}, i64 0",
        value.element,
        lanes,
    )
    return out.op(
        f"shufflevector {one}, {one.type} poison, <{lanes} x i32> zeroinitializer",
        value.element,
        lanes,
    )


def iota(lanes: int, element: str) -> Value:
    if lanes == 1:
        return literal(0, element)
    return Value(element, lanes, "<" + ", ".join(f"{element} {i}" for i in range(lanes)) + ">")


def shuffled(out: Function, a: Value, b: Value, order: Sequence[int]) -> Value:
    """The lanes of two vectors, counted through both, in this order."""
    places = ", ".join(f"i32 {place}" for place in order)
    text = f"shufflevector {a}, {b}, <{len(order)} x i32> <{places}>"
    return out.op(text, a.element, len(order))


def fold_lanes(
    out: Function,
    values: list[Value],
    lanes: int,
    combine: Callable[[list[Value], list[Value]], list[Value]],
) -> list[Value]:
    """Combine the upper half of the lanes with the lower until `lanes` are left: a fixed tree."""
    while values[0].lanes > lanes:
        half = values[0].lanes // 2
        halves = []
        for start in (0, half):
            if half == 1:
                halves.append(
                    [out.op(f"extractelement {v}, i64 {start}", v.element) for v in values]
                )
                continue
            order = range(start, start + half)
            halves.append([shuffled(out, v, v, order) for v in values])
        values = combine(halves[0], halves[1])
    return values


def fold_rows(
    out: Function,
    rows: Sequence[list[Value]],
    combine: Callable[[list[Value], list[Value]], list[Value]],
) -> list[list[Value]]:
    """Of a power of two of vectors, each folded as `fold_lanes` does, but together: half a vector
    of one and half of another are one vector."""
    if len(rows) == 1:
        return [fold_lanes(out, rows[0], 1, combine)]
    packs, each = list(rows), rows[0][0].lanes  # lanes that are left of each row
    while each > 1 or len(packs) > 1:
        half, pairs = each // 2, []
        for number in range(0, len(packs), 2):
            one = packs[number]
            other = packs[number + 1] if len(packs) > 1 else one
            begins = range(0, one[0].lanes * (1 + (len(packs) > 1)), each)
            halves = [
                [
                    shuffled(out, a, b, [at + first + i for at in begins for i in range(half)])
                    for a, b in zip(one, other, strict=True)
                ]
                for first in (0, half)
            ]
            pairs.append(combine(*halves))
        packs, each = pairs, half
    (pack,) = packs
    return [
        [out.op(f"extractelement {value}, i64 {row}", value.element) for value in pack]
        for row in range(len(rows))
    ]
