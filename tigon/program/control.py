"""Launches of loops and branches: numbers for the runtime's `program/control.h`, beside the
programs of their graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tigon import _native
from tigon.base import InternalError, TensorType
from tigon.base.frozen import Frozen
from tigon.ir import Graph, Node
from tigon.lower.control import Control
from tigon.ops.primitive import control as ops

_ITERATION_US = 0.1
"""What an iteration costs beside its programs."""


class StoredControl(Frozen, eq=False):
    """All but the programs."""

    kind: int
    counts: tuple[int, ...]  # data, states, others, stacked results, how many of these are loose
    reverse: bool
    counted: bool
    keyed: bool
    numbers: tuple[int, ...]  # most iterations, ordinal
    row_bytes: tuple[int, ...]
    state_bytes: tuple[int, ...]
    kept: tuple[bool, ...]

    def native(self, programs: Sequence[Any]) -> Any:
        return _native.Control(programs=list(programs), **vars(self))

    def microseconds(self, costs: Sequence[float]) -> float:
        """About; of a loop with a condition the most that it may be."""
        if self.kind == _CHOICE:
            return max(costs) + _ITERATION_US
        return self.numbers[0] * (sum(costs) + _ITERATION_US)


_LOOP, _WHILE, _CHOICE = 0, 1, 2


def graphs_of(node: Node) -> tuple[Graph, ...]:
    """The typed graphs that the node runs: its body first, or the branch where it holds."""
    types = [value.type for value in node.inputs]
    if node.op is ops._foreach:
        return (ops.foreach_body(node.attrs, types),)
    if node.op is ops._while_loop:
        condition, body = ops.while_graphs(node.attrs, types)
        return (body, condition)
    if node.op is ops._cond:
        return ops.cond_graphs(node.attrs, types)
    raise InternalError(f"{node.label}: is no loop and no branch")


def stored_control(control: Control, number: Callable[[Any], Any] = int) -> StoredControl:
    """To be called where the values of run-time extents are known, unless `number` leaves sizes as
    they are."""
    node = control.node
    attrs: Any = node.attrs
    ordinal = attrs.ordinal
    if node.op is ops._cond:
        others = len(node.inputs) - 1 - attrs.keyed
        return StoredControl(
            _CHOICE, (0, 0, others, 0, 0), False, False, attrs.keyed, (0, ordinal), (), (), ()
        )
    given = ops.operands_of(attrs, [value.type for value in node.inputs])
    outs = ops.outs_of(attrs)
    rows = [ops.row_type(type_) for type_ in given.data]
    rows += [TensorType(v.shape[1:], v.dtype) for v in node.outputs[:outs]]
    is_while = node.op is ops._while_loop
    most = attrs.max_iterations if is_while else number(given.data[0].shape[0])
    return StoredControl(
        _WHILE if is_while else _LOOP,
        (
            len(given.data),
            len(given.states),
            len(given.others),
            outs,
            attrs.residuals if is_while else 0,
        ),
        getattr(attrs, "reverse", False),
        bool(given.count),
        attrs.keyed,
        (most, ordinal),
        tuple(number(type_.nbytes) for type_ in rows),
        tuple(number(type_.nbytes) for type_ in given.states),
        control.kept,
    )
