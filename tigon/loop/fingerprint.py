"""Loop nests as text that tells any two of them apart: the key under which code is kept on disk."""

from __future__ import annotations

from typing import Any

from tigon.base.dtypes import DType
from tigon.base.frozen import Frozen
from tigon.loop.grammar import Expr, walk


def fingerprint(item: Any) -> str:
    """A nest, statement or expression, or a record or tuple of such and of plain values, as
    text. Equal text means equal items; shared subexpressions are written once.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop import build as L
    >>> x = L.load(0, L.axis("i"), float32)
    >>> print(fingerprint(L.mul(x, x)))
    #2
    #0=Axis int64 'i'
    #1=Load float32 0 #0
    #2=Apply float32 'mul' (#1,#1,)
    """
    numbers: dict[Expr, int] = {}
    lines: list[str] = []

    def text(part: Any) -> str:
        if isinstance(part, Expr):
            # Fields are looked up only: what they mention was written before them.
            for node in () if part in numbers else walk(part):
                if node not in numbers:
                    fields = " ".join(text(field) for field in node._fields)
                    lines.append(f"#{len(numbers)}={type(node).__name__} {node.dtype} {fields}")
                    numbers[node] = len(numbers)
            return f"#{numbers[part]}"
        if isinstance(part, tuple):
            return f"({''.join(text(each) + ',' for each in part)})"
        if isinstance(part, DType):
            return part.name
        if isinstance(part, Frozen):
            fields = ",".join(map(text, vars(part).values()))
            return f"{type(part).__name__}({fields})"
        return repr(part)

    head = text(item)
    return "\n".join([head, *lines])
