"""Comparison and logic, element by element: 0 or 1 in the operands' dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import as_dtype
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.record import Operator, elementwise


def _truth(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """0 or 1 in the operands' dtype."""

    def lower(*operands: Expr) -> Expr:
        return L.cast(function(*operands), operands[0].dtype)

    return lower


def _is_true(x: Expr) -> Expr:
    return L.ne(x, 0)


def _truth_oracle(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arrays: np.asarray(rule(*arrays)).astype(arrays[0].dtype)


def _predicate(
    name: str,
    meaning: str,
    example: str,
    shows: str,
    lower: Callable[..., Expr],
    oracle: Callable[..., Any],
    operands: str = "lhs rhs",
    aliases: tuple[str, ...] = (),
    **record: Any,
) -> Operator:
    """An operator that answers 0 or 1."""
    return elementwise(
        name,
        operands=operands,
        lower=_truth(lower),
        numpy=_truth_oracle(oracle),
        aliases=aliases,
        differentiable=False,
        answers_truth=True,
        domain=(-2.0, 2.0),
        doc=f"""1 where {meaning}, else 0, in the operands' dtype.

    >>> {example}
    {shows}
    """,
        **record,
    )


equal: Operator = _predicate(
    "broadcast_equal",
    "both elements are equal",
    "nd.broadcast_equal(nd.array([1, 2]), nd.array([1, 3])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.eq,
    np.equal,
    aliases=("_equal", "_Equal", "equal"),
)
not_equal = _predicate(
    "broadcast_not_equal",
    "the elements differ",
    "nd.broadcast_not_equal(nd.array([1, 2]), nd.array([1, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.ne,
    np.not_equal,
    aliases=("_not_equal", "_Not_Equal", "not_equal"),
)
lesser: Operator = _predicate(
    "broadcast_lesser",
    "the first element is smaller",
    "nd.broadcast_lesser(nd.array([1, 2]), nd.array([2, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.lt,
    np.less,
    aliases=("_lesser", "_Lesser", "lesser", "less"),
)
lesser_equal: Operator = _predicate(
    "broadcast_lesser_equal",
    "the first element is smaller or equal",
    "nd.broadcast_lesser_equal(nd.array([1, 3]), nd.array([2, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    L.le,
    np.less_equal,
    aliases=("_lesser_equal", "_Lesser_Equal", "lesser_equal", "less_equal"),
)
greater: Operator = _predicate(
    "broadcast_greater",
    "the first element is larger",
    "nd.broadcast_greater(nd.array([1, 3]), nd.array([2, 2])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.gt,
    np.greater,
    aliases=("_greater", "_Greater", "greater"),
)
greater_equal: Operator = _predicate(
    "broadcast_greater_equal",
    "the first element is larger or equal",
    "nd.broadcast_greater_equal(nd.array([1, 2]), nd.array([2, 2])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    L.ge,
    np.greater_equal,
    aliases=("_greater_equal", "_Greater_Equal", "greater_equal"),
)
logical_and: Operator = _predicate(
    "broadcast_logical_and",
    "both elements are not 0",
    "nd.broadcast_logical_and(nd.array([0, 2]), nd.array([1, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x, y: L.and_(_is_true(x), _is_true(y)),
    np.logical_and,
    aliases=("_logical_and", "_Logical_And", "logical_and"),
)
logical_or = _predicate(
    "broadcast_logical_or",
    "at least one of the elements is not 0",
    "nd.broadcast_logical_or(nd.array([0, 2]), nd.array([0, 3])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x, y: L.or_(_is_true(x), _is_true(y)),
    np.logical_or,
    aliases=("_logical_or", "_Logical_Or", "logical_or"),
)
logical_xor = _predicate(
    "broadcast_logical_xor",
    "exactly one of the elements is not 0",
    "nd.broadcast_logical_xor(nd.array([0, 2]), nd.array([1, 3])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    lambda x, y: L.xor(_is_true(x), _is_true(y)),
    np.logical_xor,
    aliases=("_logical_xor", "_Logical_Xor", "logical_xor"),
)
logical_not = _predicate(
    "logical_not",
    "the element is 0",
    "nd.logical_not(nd.array([0, 2])).asnumpy()",
    "array([1., 0.], dtype=float32)",
    lambda x: L.eq(x, 0),
    np.logical_not,
    operands="data",
)
isnan = _predicate(
    "_contrib_isnan",
    "the element is not a number",
    "nd.contrib.isnan(nd.array([1, float('nan')])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x: L.ne(x, x),
    np.isnan,
    operands="data",
    aliases=("isnan",),
)
isinf = _predicate(
    "_contrib_isinf",
    "the element is infinite",
    "nd.contrib.isinf(nd.array([1, -float('inf')])).asnumpy()",
    "array([0., 1.], dtype=float32)",
    lambda x: L.eq(L.abs(x), math.inf) if x.dtype.is_float else L.const(False, as_dtype("bool")),
    np.isinf,
    operands="data",
    aliases=("isinf",),
)
isfinite = _predicate(
    "_contrib_isfinite",
    "the element is neither infinite nor NaN",
    "nd.contrib.isfinite(nd.array([1, float('nan'), float('inf')])).asnumpy()",
    "array([1., 0., 0.], dtype=float32)",
    lambda x: L.lt(L.abs(x), math.inf) if x.dtype.is_float else L.const(True, as_dtype("bool")),
    np.isfinite,
    operands="data",
    aliases=("isfinite",),
)
