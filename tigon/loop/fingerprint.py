"""Loop nests as text that tells any two of them apart: the key under which code is kept on disk."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tigon.base.dtypes import DType, bool_, float32, int32, uint8
from tigon.base.frozen import Frozen
from tigon.loop import build as L
from tigon.loop.combine import COMBINES, Combine
from tigon.loop.functions import FUNCTIONS, Function
from tigon.loop.grammar import Expr, walk
from tigon.loop.mathematics.parts import DOUBLE, SINGLE


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


def declared_elsewhere() -> str:
    """What functions and reductions mean that are not the package's own: their names alone do not
    tell, in the next process, whether they mean the same. Empty if there are none."""
    if len(FUNCTIONS) == len(_FUNCTIONS) and len(COMBINES) == len(_COMBINES):
        return ""
    return _meanings(
        tuple(row for name, row in sorted(FUNCTIONS.items()) if name not in _FUNCTIONS),
        tuple(row for name, row in sorted(COMBINES.items()) if name not in _COMBINES),
    )


@lru_cache(64)
def _meanings(functions: tuple[Function, ...], combines: tuple[Combine, ...]) -> str:
    found: list[Any] = []
    for function in functions:
        if (expansion := function.expansion) is not None:
            for form in (SINGLE, DOUBLE):
                operands = [L.local(f"x{place}", form.dtype) for place in range(function.arity)]
                found.append((function.name, expansion(*operands, form)))
    for combine in combines:
        for dtype in (float32, int32, uint8, bool_):
            if combine.step is not None and dtype.kind in combine.kinds:
                step = combine.step(L.local("a", dtype), L.local("b", dtype))
                numbers = (combine.neutral(dtype), combine.start and combine.start(dtype))
                found.append((combine.name, step, numbers))
    return fingerprint(tuple(found))


_FUNCTIONS, _COMBINES = frozenset(FUNCTIONS), frozenset(COMBINES)
