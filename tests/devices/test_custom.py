"""The tests of `tests.frontend.test_custom`, with arrays on `mirror(0)`: the code gets copies in
the processor's memory, and what it writes goes back."""

from __future__ import annotations

from typing import Any

import pytest

import tigon as mx
from tests.frontend.custom_operators import register
from tests.frontend.test_custom import *  # noqa: F403
from tigon import nd
from tigon.ops.custom import _kinds

# Of operands that are elsewhere the gradient reads the copies.
del test_overwritten_operands_are_noticed  # noqa: F821

pytestmark = pytest.mark.usefixtures("on_mirror")


def test_the_code_is_told_where_its_arrays_are() -> None:
    told: list[Any] = []

    def forward(op: Any, in_data: Any, out_data: Any, **_: Any) -> None:
        told.extend((in_data[0].context, out_data[0].context, mx.current_context()))

    register("look", forward)
    kind = _kinds["look"].make
    made = kind.create_operator

    def create_operator(self: Any, ctx: Any, shapes: Any, types: Any) -> Any:
        told.append(ctx)
        return made(self, ctx, shapes, types)

    kind.create_operator = create_operator
    y = nd.Custom(nd.ones(2), op_type="look")
    y.wait_to_read()
    assert told == [mx.cpu(0)] * 4 and y.context == mx.current_context() != mx.cpu(0)
