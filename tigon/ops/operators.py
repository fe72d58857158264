"""Python's operators on graph values.

`==` and `!=` stay comparisons of identity: values are keys of dictionaries in every pass. Use
`equal` and `not_equal`.
"""

from __future__ import annotations

from typing import Any

from tigon.ir.graph import Value
from tigon.ops.primitive.arithmetic import (
    absolute,
    add,
    divide,
    floor_divide,
    modulo,
    multiply,
    negative,
    subtract,
)
from tigon.ops.primitive.compare import greater, greater_equal, lesser, lesser_equal
from tigon.ops.primitive.functions import power
from tigon.ops.record import Operator
from tigon.ops.tensor.matmul import matmul

BINARY: dict[str, Operator] = {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": divide,
    "floordiv": floor_divide,
    "mod": modulo,
    "pow": power,
    "matmul": matmul,
}
"""Operators with a reflected form."""

COMPARISON: dict[str, Operator] = {
    "lt": lesser,
    "le": lesser_equal,
    "gt": greater,
    "ge": greater_equal,
}

UNARY: dict[str, Operator] = {"neg": negative, "abs": absolute}


def install(cls: type = Value) -> None:
    """Give `cls` the methods `__add__`, `__radd__`, ..., made from the records."""
    for name, op in (BINARY | COMPARISON).items():
        setattr(cls, f"__{name}__", _forward(op))
    for name, op in BINARY.items():
        setattr(cls, f"__r{name}__", _reflected(op))
    for name, op in UNARY.items():
        setattr(cls, f"__{name}__", _alone(op))


def _forward(op: Operator) -> Any:
    def method(self: Any, other: Any) -> Any:
        return op(self, other)

    return method


def _reflected(op: Operator) -> Any:
    def method(self: Any, other: Any) -> Any:
        return op(other, self)

    return method


def _alone(op: Operator) -> Any:
    def method(self: Any) -> Any:
        return op(self)

    return method
