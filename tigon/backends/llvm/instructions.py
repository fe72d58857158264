"""Single instructions of LLVM, on one lane or many."""

from __future__ import annotations

from tigon.backends.llvm.text import Function, Value, literal, vector_type


def suffix(element: str) -> str:
    return {"float": "f32", "double": "f64"}.get(element, element)


def binary(out: Function, opcode: str, a: Value, b: Value) -> Value:
    return out.op(f"{opcode} {a.type} {a.name}, {b.name}", a.element, a.lanes)


def compare(out: Function, predicate: str, a: Value, b: Value) -> Value:
    """`predicate` with its instruction, such as "fcmp olt"."""
    return out.op(f"{predicate} {a.type} {a.name}, {b.name}", "i1", a.lanes)


def select(out: Function, condition: Value, a: Value, b: Value) -> Value:
    return out.op(f"select {condition}, {a}, {b}", a.element, a.lanes)


def smaller(out: Function, a: Value, b: Value) -> Value:
    """Of two whole numbers, with a sign."""
    return select(out, compare(out, "icmp slt", a, b), a, b)


def convert(out: Function, opcode: str, a: Value, element: str) -> Value:
    if a.element == element:
        return a
    return out.op(f"{opcode} {a} to {vector_type(element, a.lanes)}", element, a.lanes)


def intrinsic(out: Function, name: str, *operands: Value) -> Value:
    a = operands[0]
    lanes = f"v{a.lanes}" if a.lanes > 1 else ""
    return out.call(f"llvm.{name}.{lanes}{suffix(a.element)}", a.element, a.lanes, *operands)


def multiply_add(out: Function, a: Value, b: Value, c: Value, fused: bool) -> Value:
    """a * b + c for the sums of contractions, which may round once or twice."""
    if fused:
        return intrinsic(out, "fma", a, b, c)
    return binary(out, "fadd", binary(out, "fmul", a, b), c)


def same(value: float | int | bool, like: Value) -> Value:
    return literal(value, like.element, like.lanes)


def is_nan(out: Function, a: Value) -> Value:
    return compare(out, "fcmp uno", a, a)


def logical_not(out: Function, a: Value) -> Value:
    return binary(out, "xor", a, same(-1 if a.element != "i1" else True, a))
