"""Structure and numbers of a nest: what shares a native function."""

from __future__ import annotations

import numpy as np
import pytest

from tigon.base.dtypes import ALL, DType, bfloat16, float32
from tigon.loop import build as L
from tigon.loop.abstract import abstract, bind
from tigon.loop.grammar import Buffer, LoopAxis, Nest, Store


def test_exponents_share_one_function_unless_they_are_plain() -> None:
    def power(exponent: float) -> Nest:
        value = L.pow(L.load(0, L.axis("i"), float32), exponent)
        buffers = (Buffer(float32, "in"), Buffer(float32, "out"))
        return Nest(buffers, (LoopAxis("i", L.const(5)),), (Store(1, L.axis("i"), value),))

    assert abstract(power(0.7))[0] is abstract(power(-2.3))[0]
    assert abstract(power(0.7))[0] is not abstract(power(0.5))[0]
    assert bind(*abstract(power(0.7))).body[0].value is L.pow(L.load(0, L.axis("a0"), float32), 0.7)


def numbers_of(dtype: DType) -> list[float]:
    """Small ones, those at the ends, and what is no number."""
    if dtype.is_float:
        return [0.0, 1.0, -2.0, 7.5, 1e4, float("inf"), -float("inf")]
    if dtype.kind == "b":
        return [0, 1]
    limits = np.iinfo(dtype.numpy)
    return [0, 1, 2, 7, 100, int(limits.min), int(limits.max), int(limits.max) - 1]


@pytest.mark.parametrize("dtype", [one for one in ALL if one is not bfloat16], ids=str)
def test_numbers_come_back_as_they_were(dtype: DType) -> None:
    buffers, axes = (Buffer(dtype, "in"), Buffer(dtype, "out")), (LoopAxis("a0", L.const(5)),)
    functions = ("and", "xor") if dtype.kind == "b" else ("add", "mul", "maximum", "lt")
    for function in functions:
        for number in numbers_of(dtype):
            given = L.load(0, L.axis("a0"), dtype), L.const(number, dtype)
            value = L.cast(L.apply(function, *given), dtype)
            nest = Nest(buffers, axes, (Store(1, L.axis("a0"), value),))
            assert bind(*abstract(nest)).body[0].value is value, (function, number)
