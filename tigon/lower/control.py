"""A loop or a branch: one launch, which runs the programs of its graphs."""

from __future__ import annotations

from tigon.base.frozen import Frozen
from tigon.ir import Node, Value
from tigon.loop.grammar import Buffer
from tigon.lower.body import LoweredNest
from tigon.lower.fuse.group import Fusion, Group
from tigon.ops.primitive.control import outs_of


class Control(Frozen, eq=False):
    """In the place of a nest. No backend sees it: `program/control.py` makes its launch. Operands
    are in memory as they are (`passes/store_operands.py`)."""

    node: Node
    buffers: tuple[Buffer, ...]
    kept: tuple[bool, ...]
    """Of a loop: the states whose values at the begin of each iteration are wanted."""

    def __str__(self) -> str:
        within = ", ".join(str(value.type) for value in self.node.outputs)
        return f"control {self.node.label} -> {within}"


def lower_control(group: Group, fusion: Fusion) -> LoweredNest:
    (node,) = group.members
    states = getattr(node.attrs, "states", 0)
    first = states and outs_of(node.attrs) + states
    stacks = node.outputs[first : first + states]
    kept = tuple(value in fusion.stored for value in stacks)
    unwanted = {value for value, wanted in zip(stacks, kept, strict=True) if not wanted}
    results: list[Value] = [value for value in node.outputs if value not in unwanted]
    buffers = [Buffer(value.dtype, "in") for value in node.inputs]
    buffers += [Buffer(value.dtype, "out") for value in results]
    return LoweredNest(Control(node, tuple(buffers), kept), [*node.inputs, *results])
