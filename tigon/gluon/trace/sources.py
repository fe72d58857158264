"""What the caller of traced code has for the variables of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tigon.base import check
from tigon.ir import Value

Source = tuple[str, Any]
"""What the caller has: ("input", number), ("parameter", it) or ("array", it)."""


def source_of(value: Value, sources: Mapping[Value, Source]) -> Source:
    """What the caller has for an input of a traced graph."""
    check(
        value in sources,
        "hybridize",
        f"the traced code used the symbol '{value.node.name}', which belongs to no argument and no "
        "parameter; create symbols outside of blocks only",
    )
    return sources[value]
