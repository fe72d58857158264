"""Structure and numbers of a nest: what shares a native function."""

from __future__ import annotations

from tigon.base.dtypes import float32
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
