"""Operators written in Python, for tests: what they compute is known, and every call is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tigon as mx
from tigon import nd
from tigon.ops.custom import _kinds

LOG: list[str] = []
"""What was called, in order."""


@contextmanager
def only_here() -> Iterator[list[str]]:
    """The log, empty at first; nothing else is registered, and what is, is forgotten."""
    before = dict(_kinds)
    _kinds.clear()
    LOG.clear()
    try:
        yield LOG
    finally:
        nd.waitall()
        _kinds.clear()
        _kinds.update(before)
        LOG.clear()


def register(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    need_top_grad: bool = True,
    **methods: Any,
) -> None:
    """An operator of these functions of the arguments of `CustomOp`'s methods; `methods` are those
    of the CustomOpProp, or what they return."""

    class Op(mx.operator.CustomOp):
        def forward(self, **given: Any) -> None:
            LOG.append(name)
            forward(self, **given)

        def backward(self, **given: Any) -> None:
            LOG.append(f"{name} backward")
            assert backward is not None
            backward(self, **given)

    class Prop(mx.operator.CustomOpProp):
        def __init__(self, **attributes: str) -> None:
            super().__init__(need_top_grad)
            self.attributes = attributes

        def create_operator(self, ctx: Any, in_shapes: Any, in_dtypes: Any) -> Any:
            LOG.append(f"create {name} {in_shapes}")
            op = Op()
            op.attributes = self.attributes
            return op

    for method, answer in methods.items():
        setattr(Prop, method, answer if callable(answer) else lambda self, a=answer: a)
    mx.operator.register(name)(Prop)


def register_square(name: str = "square") -> None:
    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        op.assign(out_data[0], req[0], in_data[0] * in_data[0])

    def backward(op: Any, in_data: Any, out_grad: Any, in_grad: Any, req: Any, **_: Any) -> None:
        op.assign(in_grad[0], req[0], 2 * in_data[0] * out_grad[0])

    register(name, forward, backward)


def register_sum_and_product(name: str = "sum_and_product") -> None:
    """Two operands, two results."""

    def forward(op: Any, in_data: Any, out_data: Any, req: Any, **_: Any) -> None:
        a, b = in_data
        op.assign(out_data[0], req[0], a + b)
        op.assign(out_data[1], req[1], a * b)

    def backward(op: Any, in_data: Any, out_grad: Any, in_grad: Any, req: Any, **_: Any) -> None:
        a, b = in_data
        g, h = out_grad
        op.assign(in_grad[0], req[0], g + h * b)
        op.assign(in_grad[1], req[1], g + h * a)

    register(name, forward, backward, list_arguments=["a", "b"], list_outputs=["sum", "product"])


def register_counter(name: str = "counter") -> None:
    """The operand plus the number of calls before, which is its state."""

    def forward(op: Any, in_data: Any, out_data: Any, aux: Any, req: Any, **_: Any) -> None:
        op.assign(out_data[0], req[0], in_data[0] + aux[0])
        aux[0][:] += 1

    def backward(op: Any, out_grad: Any, in_grad: Any, req: Any, **_: Any) -> None:
        op.assign(in_grad[0], req[0], out_grad[0])

    register(
        name,
        forward,
        backward,
        list_auxiliary_states=["count"],
        infer_shape=lambda self, shapes: (shapes, [shapes[0]], [[1]]),
    )
