"""What is said about a variable beside its name: texts under names such as `__shape__`, in MXNet's
spelling, which travel with a graph and never change what it computes."""

from __future__ import annotations

import ast
import re
from typing import Any

from tigon.base import DType, TigonError, as_dtype
from tigon.base.dtypes import BY_CODE
from tigon.base.types import MOST_AXES
from tigon.ir.graph import VARIABLE, Node

PartialShape = tuple[int, ...] | None
"""0 stands for an unknown extent, None for an unknown shape."""


def read_shape(name: str, text: str | None) -> PartialShape:
    """The shape of variable `name`.

    >>> read_shape("x", "(8L, 0)"), read_shape("x", "(-1, 3)"), read_shape("x", None)
    ((8, 0), (0, 3), None)
    """
    if text is None:
        return None
    try:
        # Files written under Python 2 hold shapes such as (8L, 3L).
        shape = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))
        if type(shape) is int:
            shape = (shape,)
        is_list = isinstance(shape, (tuple, list)) and len(shape) <= MOST_AXES
        if is_list and all(type(e) is int and -1 <= e < 2**63 for e in shape):
            return tuple(max(e, 0) for e in shape)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    raise TigonError(
        f"variable {name!r:.80}: expected a shape such as (2, 3) in __shape__; given {text!r:.80}"
    )


def read_dtype(name: str, text: str | None) -> DType | None:
    """The dtype of variable `name`.

    >>> read_dtype("x", "0"), read_dtype("x", "-1"), read_dtype("x", "float64")
    (float32, None, float64)
    >>> read_dtype("x", "float16"), read_dtype("x", "5")
    (float16, int8)
    """
    if text is None or text == "-1":
        return None
    if re.fullmatch("[0-9]{1,3}", text) and int(text) in BY_CODE:
        return BY_CODE[int(text)]
    try:
        return as_dtype(text)
    except TigonError:
        raise TigonError(
            f"variable {name!r:.80}: expected the number of a dtype in __dtype__; "
            f"given {text!r:.80}"
        ) from None


def note_initial_values(node: Node) -> None:
    """Say of the variables that `node` reads how they are filled at first, where its operator
    knows: a running variance starts at one, whatever it is called."""
    op: Any = node.op
    initial = getattr(op, "initial", None)
    if not initial:
        return
    for operand, value in zip(op.operands, node.inputs, strict=False):
        if operand.name not in initial:
            continue
        while getattr(value.node.op, "keeps_shapes", False):  # a cast
            value = value.node.inputs[value.index]
        if value.node.op is VARIABLE:
            value.node.hints.setdefault("__init__", initial[operand.name])
