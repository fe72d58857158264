"""Loops over rows, in values: ONNX's bodies see rows of a vector as 0-d arrays, ours as vectors of
one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon import sym
from tigon.contrib.onnx.build import op
from tigon.ir.graph import Value
from tigon.sym import Symbol

Body = Callable[[list[Value], list[Value]], "tuple[Sequence[Value], Sequence[Value]]"]
"""`(rows, states)` gives results and the next states."""


def over_rows(
    body: Body, data: Sequence[Value], states: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    """The stacked results of each row, and the last states."""

    def run(rows: list[Symbol], before: list[Symbol]) -> tuple[list[Symbol], list[Symbol]]:
        own = [
            op._reshape(value, shape=()) if each.ndim == 1 else value
            for value, each in zip(values_of(rows), data, strict=True)
        ]
        results, after = body(own, values_of(before))
        return symbols_of(results), symbols_of(after)

    outs, last = sym.contrib.foreach(run, symbols_of(data), symbols_of(states))
    return values_of(outs), values_of(last)


def symbols_of(values: Sequence[Value]) -> list[Symbol]:
    return [Symbol((value,)) for value in values]


def values_of(symbols: Any) -> list[Value]:
    return [value for symbol in symbols for value in symbol._values]
