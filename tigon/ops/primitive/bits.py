"""Whole numbers as rows of bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.ops.record import Operator, elementwise

_NUMBERS = np.array([[0, 1, 5, 12], [7, 3, 96, 31]], np.int32)
_OTHERS = np.array([3, 6, 1, 0], np.int32)


def _of_bits(
    name: str, meaning: str, lower: Any, oracle: Any, example: tuple[str, str, str]
) -> Operator:
    return elementwise(
        name,
        operands="lhs rhs",
        lower=lower,
        dtypes="iu",
        differentiable=False,
        numpy=oracle,
        samples=(
            (_NUMBERS, _OTHERS, {}),
            (_NUMBERS, _NUMBERS, {}),
            (_NUMBERS[:0, :3], _NUMBERS[:1, :3], {}),
        ),
        doc=f"""{meaning}

    >>> x, y = (nd.array(n, dtype="int32") for n in ({example[0]}, {example[1]}))
    >>> nd.{name}(x, y).asnumpy()
    {example[2]}
    """,
    )


bitwise_and = _of_bits(
    "_bitwise_and",
    "The bits that both numbers have.",
    lambda x, y: L.and_(x, y),
    np.bitwise_and,
    ("[5, 6]", "[3, 3]", "array([1, 2], dtype=int32)"),
)
bitwise_or = _of_bits(
    "_bitwise_or",
    "The bits that one of the numbers has, or both.",
    lambda x, y: L.or_(x, y),
    np.bitwise_or,
    ("[5, 6]", "[3, 3]", "array([7, 7], dtype=int32)"),
)
bitwise_xor = _of_bits(
    "_bitwise_xor",
    "The bits that one of the numbers has and the other has not.",
    lambda x, y: L.xor(x, y),
    np.bitwise_xor,
    ("[5, 6]", "[3, 3]", "array([6, 5], dtype=int32)"),
)


def _within(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    """Whether so many places are fewer than there are, and a number of them that is."""
    bits = 8 * x.dtype.numpy.itemsize
    fits = L.lt(y, bits) if y.dtype.kind == "u" else L.and_(L.ge(y, 0), L.lt(y, bits))
    return fits, L.and_(y, bits - 1)


def _lower_left(x: Expr, y: Expr) -> Expr:
    fits, places = _within(x, y)
    return L.select(fits, L.shl(x, places), 0)


def _lower_right(x: Expr, y: Expr) -> Expr:
    fits, places = _within(x, y)
    gone = 0 if x.dtype.kind == "u" else L.shr(x, 8 * x.dtype.numpy.itemsize - 1)
    return L.select(fits, L.shr(x, places), gone)


left_shift = _of_bits(
    "_left_shift",
    "The bits moved up by as many places as the second number says; what leaves is lost.",
    _lower_left,
    np.left_shift,
    ("[1, 3]", "[2, 1]", "array([4, 6], dtype=int32)"),
)
right_shift = _of_bits(
    "_right_shift",
    "The bits moved down by as many places as the second number says; a sign stays.",
    _lower_right,
    np.right_shift,
    ("[8, -3]", "[2, 1]", "array([ 2, -2], dtype=int32)"),
)
