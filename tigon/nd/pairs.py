"""Functions of two arrays or numbers; of two numbers they are Python's."""

from __future__ import annotations

import math
import operator as python
from collections.abc import Callable
from functools import partial
from typing import Any

from tigon import _native
from tigon.nd.dispatch import PLAIN, NDArray, apply
from tigon.ops import record
from tigon.program.operators import attributes_id, call_id
from tigon.runtime import tracing

_NUMBERS = (bool, int, float)

_ROWS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "add": ("broadcast_add", python.add),
    "subtract": ("broadcast_sub", python.sub),
    "multiply": ("broadcast_mul", python.mul),
    "divide": ("broadcast_div", python.truediv),
    "true_divide": ("broadcast_div", python.truediv),
    "modulo": ("broadcast_mod", python.mod),
    "power": ("broadcast_power", python.pow),
    "pow": ("broadcast_power", python.pow),
    "maximum": ("broadcast_maximum", max),
    "minimum": ("broadcast_minimum", min),
    "hypot": ("broadcast_hypot", math.hypot),
    "equal": ("broadcast_equal", lambda a, b: int(a == b)),
    "not_equal": ("broadcast_not_equal", lambda a, b: int(a != b)),
    "greater": ("broadcast_greater", lambda a, b: int(a > b)),
    "greater_equal": ("broadcast_greater_equal", lambda a, b: int(a >= b)),
    "lesser": ("broadcast_lesser", lambda a, b: int(a < b)),
    "lesser_equal": ("broadcast_lesser_equal", lambda a, b: int(a <= b)),
    "logical_and": ("broadcast_logical_and", lambda a, b: int(bool(a and b))),
    "logical_or": ("broadcast_logical_or", lambda a, b: int(bool(a or b))),
    "logical_xor": ("broadcast_logical_xor", lambda a, b: int(bool(a) != bool(b))),
}


def functions() -> dict[str, Callable[[], Callable[..., Any]]]:
    """By name, for the `nd` namespace, what makes them."""
    return {name: partial(_make, name, *row) for name, row in _ROWS.items()}


def _make(name: str, own: str, on_numbers: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    op = record.get(own)
    attrs = op.make_attrs({})
    identities = (call_id(op), attributes_id(attrs, lasting=True))
    invoke = _native.invoke

    def function(lhs: Any, rhs: Any, out: Any = None, name: str | None = None) -> Any:
        kinds = (type(lhs), type(rhs))
        if NDArray in kinds and PLAIN.issuperset(kinds) and not tracing.active[0]:
            return invoke(*identities, (lhs, rhs), out)
        if isinstance(lhs, _NUMBERS) and isinstance(rhs, _NUMBERS):
            return on_numbers(lhs, rhs)
        return apply(op, attrs, (lhs, rhs), out)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "tigon.nd.op"
    function.__doc__ = op.doc
    return function
