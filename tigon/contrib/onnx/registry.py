"""The table of ONNX operators: a row each, which `converts` makes of the function that builds it.

What an operator's inputs and attributes are, and what they are by default, the `onnx` package
says for each opset (`onnx.defs`); a row says how the operator is made of ours, which inputs must be
known while a model is read, and how numbers that are known then, extents above all, are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tigon.base import InternalError
from tigon.base.frozen import Frozen


class Row(Frozen, eq=False):
    """How one operator is converted."""

    name: str
    domain: str
    convert: Callable[..., Any]
    """`(call, *operands)` gives a value or a tuple of them; operands are values, arrays where they
    are `known`, None where they are left out."""
    known: tuple[int, ...] = ()
    """Positions of inputs whose values decide shapes: arrays, while the model is read."""
    shapes: tuple[int, ...] = ()
    """Positions of inputs of which the shape alone matters: operands, not values."""
    fold: Callable[..., Any] | None = None
    """`(call, *arrays)` gives the result where all inputs are known; extents may be unknown."""
    since: int = 1
    until: int | None = None
    """Of the opsets in which it is."""


TABLE: dict[tuple[str, str], Row] = {}


def converts(
    *names: str,
    domain: str = "",
    known: tuple[int, ...] = (),
    shapes: tuple[int, ...] = (),
    fold: Callable[..., Any] | None = None,
    since: int = 1,
    until: int | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the row of these operators."""

    def declare(convert: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            if (domain, name) in TABLE:
                raise InternalError(f"ONNX operator {name} is converted twice")
            TABLE[domain, name] = Row(name, domain, convert, known, shapes, fold, since, until)
        return convert

    return declare
