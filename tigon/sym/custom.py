"""`sym.Custom`: operators written in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tigon.ops.custom import split_call
from tigon.ops.signature import Signature
from tigon.sym.functions import compose


def Custom(
    *data: Any,
    op_type: str = "",
    name: str | None = None,
    attr: Mapping[str, str] | None = None,
    **attributes: Any,
) -> Any:
    """Append an operator that was registered with `mx.operator.register(op_type)`. Operands and
    auxiliary states that are not given become variables named after it."""
    op, attrs, operands = split_call(op_type, data, attributes)
    return compose(op, Signature(op), attrs, operands, name, "custom", attr)
