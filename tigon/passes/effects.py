"""Which nodes passes leave alone."""

from __future__ import annotations

from tigon.ir.graph import Node
from tigon.ops.record import Effect


def has_effect(node: Node) -> bool:
    """Whether a call does something that shows elsewhere than in its outputs."""
    return getattr(node.op, "effect", Effect.NONE) is not Effect.NONE
