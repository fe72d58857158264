"""A routine of a library over a batch."""

from __future__ import annotations

from tigon.base.dtypes import float64
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Const, Extern
from tigon.lower.body import LoweredNest
from tigon.lower.fuse.group import Group


def lower_extern(group: Group) -> LoweredNest:
    """Its operands are in memory as they are (`passes/store_operands.py`)."""
    (node,) = group.members
    op = node.op
    assert op.routine is not None
    call = op.rule(op.routine, node.attrs, *(value.type for value in node.inputs))
    buffers = [Buffer(value.dtype, "in") for value in node.inputs]
    buffers += [Buffer(value.dtype, "out") for value in node.outputs]
    nest = Extern(
        call.name,
        node.inputs[0].dtype,
        tuple(buffers),
        L.const(call.points),
        tuple(map(_number, call.numbers)),
        L.const(call.operations),
    )
    return LoweredNest(nest, [*node.inputs, *node.outputs])


def _number(number: int | float) -> Const:
    return Const(number, float64) if isinstance(number, float) else L.const(number)
