"""`nd.Custom`: operators written in Python."""

from __future__ import annotations

from typing import Any

from tigon.base import check
from tigon.nd.dispatch import apply
from tigon.ops.custom import label_of, split_call


def Custom(
    *data: Any, op_type: str = "", out: Any = None, name: str | None = None, **attributes: Any
) -> Any:
    """Call an operator that was registered with `mx.operator.register(op_type)`.

    Operands come by position or by the names that it lists, auxiliary states after the others;
    attributes come by name and reach it as text.
    """
    op, attrs, operands = split_call(op_type, data, attributes)
    for operand, own in zip(operands, op.operands, strict=True):
        names = ", ".join(o.name for o in op.operands)
        check(
            operand is not None,
            label_of(op_type),
            f"expected operands ({names}); '{own.name}' is not given",
        )
    return apply(op, attrs, operands, out)
