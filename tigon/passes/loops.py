"""Loops taken apart and put together again, and the same computations for all iterations at once:
what the passes over loops share."""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tigon.base import TensorType
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen, replace
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, topological_order, variable
from tigon.ir.rewrite import substitute, untyped
from tigon.ops.primitive import control as ops
from tigon.ops.primitive.random import KEY_NAME
from tigon.ops.record import Family
from tigon.passes.canonicalize import canonicalize
from tigon.passes.decompose import decompose
from tigon.passes.primitives import broadcast, reshape, slice_region, transpose
from tigon.passes.share_common_subexpressions import share_common_subexpressions


class Entry(Frozen, eq=False):
    """An operand of a loop, and the variable that stands for it within."""

    outer: Value
    inner: Value


class State(Frozen, eq=False):
    outer: Value
    inner: Value
    next: Value


class Loop:
    """A typed loop whose parts can be exchanged. Its body is made of primitives."""

    def __init__(self, node: Node, inputs: Sequence[Value]) -> None:
        attrs = node.attrs
        self.node = node
        types = [value.type for value in inputs]
        condition: Sequence[Value] = ()
        if node.op is ops._while_loop:
            decides, body = ops.while_graphs(attrs, types)
            body = simplified(body)
            own = dict(zip(decides.inputs, body.inputs, strict=True))
            condition = substitute(decides.outputs, own)
        else:
            body = simplified(ops.foreach_body(attrs, types))
        self.condition = condition
        outer = ops.operands_of(attrs, inputs)
        uncounted = replace(attrs, counted=False) if outer.count else attrs
        inner = ops.operands_of(uncounted, body.inputs)
        count = ops.outs_of(attrs)
        self.outs = list(body.outputs[:count])
        self.data = list(map(Entry, outer.data, inner.data))
        self.states = list(map(State, outer.states, inner.states, body.outputs[count:]))
        self.others = list(map(Entry, outer.others, inner.others))
        self.count = outer.count
        self.key = list(map(Entry, outer.key, inner.key))

    @property
    def length(self) -> int:
        """Of the results that are stacked."""
        return self.node.attrs.max_iterations if self.condition else self.data[0].outer.shape[0]

    @property
    def iterations(self) -> tuple[Value, ...]:
        """Their number, where they may be fewer."""
        return self.node.outputs[-1:] if self.condition else self.count

    def results(self) -> list[Value]:
        return [*self.outs, *[state.next for state in self.states]]

    def exchange(self, replacements: Mapping[Value, Value]) -> None:
        """Other values in the place of some within."""
        self.adopt(substitute(self.results(), replacements))

    def adopt(self, results: Sequence[Value]) -> None:
        """The same results, computed otherwise."""
        count = len(self.outs)
        self.outs = list(results[:count])
        self.states = [
            State(state.outer, state.inner, value)
            for state, value in zip(self.states, results[count:], strict=True)
        ]

    def stacked(self, value: Value) -> TensorType:
        """Of the rows of all iterations."""
        return TensorType((self.length, *value.shape), value.dtype)

    def enter(self, outer: Value) -> Value:
        """Rows of another array."""
        entry = Entry(outer, variable("data", ops.row_type(plain(outer.type))))
        self.data.append(entry)
        return entry.inner

    def take(self, outer: Value) -> Value:
        """Another array, the same in all iterations."""
        entry = Entry(outer, variable("other", plain(outer.type)))
        self.others.append(entry)
        return entry.inner

    def drop_unread(self) -> None:
        """Operands that nothing reads; of the data one stays, which tells the length."""
        values = [*self.condition, *self.results()]
        read = {node for node in topological_order(values) if node.op is VARIABLE}
        kept = [entry for entry in self.data if entry.inner.node in read]
        self.data = kept or self.data[:1]
        self.others = [entry for entry in self.others if entry.inner.node in read]

    def closed(self, moved: Mapping[Value, Value] = MappingProxyType({})) -> Node:
        """A node of its parts. Its outputs: those of `outs`, last states, begins of iterations.
        `moved`: what operands have become."""
        own: dict[Value, Value] = {}
        inner = {
            "data": [entry.inner for entry in self.data],
            "state": [state.inner for state in self.states],
            "other": [entry.inner for entry in self.others],
        }
        for kind, values in inner.items():
            for number, value in enumerate(values):
                own[value] = variable(f"{kind}{number}", value.type)
        own.update((entry.inner, variable(KEY_NAME, entry.inner.type)) for entry in self.key)
        variables = list(own.values())
        old = self.node.attrs
        body = untyped(Graph(variables, substitute(self.results(), own)))
        attrs = replace(old, body=body, states=len(self.states))
        if self.condition:
            condition = untyped(Graph(variables, substitute(self.condition, own)))
            added = len(self.outs) - ops.outs_of(old)
            attrs = replace(attrs, condition=condition, residuals=old.residuals + added)
        else:
            attrs = replace(attrs, data=len(self.data))
        outer = (
            *[entry.outer for entry in self.data],
            *[state.outer for state in self.states],
            *[entry.outer for entry in self.others],
            *self.count,
            *[entry.outer for entry in self.key],
        )
        operands = tuple(moved.get(value, value) for value in outer)
        made = Node(self.node.op, operands, attrs, self.node.name, self.node.hints)
        made.serial = self.node.serial
        return made


def simplified(body: Graph) -> Graph:
    """A typed body in primitives, each thing once."""
    return share_common_subexpressions(canonicalize(decompose(body)))


def plain(type_: TensorType) -> TensorType:
    return TensorType(type_.shape, type_.dtype)


def is_open_to_change(node: Node) -> bool:
    """Whether passes may move work out of a loop: all its rows are gone over, and the program has
    not asked for iterations that are computed again."""
    attrs = node.attrs
    return node.op is ops._foreach and not attrs.counted and not attrs.recompute


# ------------------------------------------------------------------- all iterations at once


PURE = frozenset(
    {
        Family.ELEMENTWISE,
        Family.VIEW,
        Family.LEAF,
        Family.REDUCTION,
        Family.CONTRACTION,
    }
)
"""Families whose work may be done elsewhere, and though nobody needs it: it cannot fail."""


def is_pure(node: Node) -> bool:
    return (
        node.op is not VARIABLE
        and node.op is not CONSTANT
        and (node.op.family in PURE and not node.op.takes_key and len(node.outputs) == 1)
    )


class Lifted(Frozen, eq=False):
    """A value for all iterations: stacked along a new first axis, or the same in each."""

    value: Value
    stacked: bool


Leaves = Callable[[Value], "Lifted | None"]


class Lifting:
    """Values of a body outside of its loop. `leaf` gives what is there already."""

    def __init__(self, length: int, leaf: Leaves) -> None:
        self._length = length
        self._leaf = leaf
        self._made: dict[Value, Lifted] = {}

    def lift(self, value: Value) -> Lifted:
        """To be asked only of what `can_lift` or a leaf."""
        pending = [value]
        while pending:
            current = pending[-1]
            if current in self._made:
                pending.pop()
                continue
            found = self._leaf(current)
            if found is None and current.node.op is CONSTANT:
                found = Lifted(current, False)
            if found is None:
                missing = [v for v in current.node.inputs if v not in self._made]
                if missing:
                    pending += missing
                    continue
                operands = [self._made[v] for v in current.node.inputs]
                found = _all_at_once(current.node, operands, self._length)
            self._made[current] = found
            pending.pop()
        return self._made[value]


def outside(value: Value, rows: Mapping[Value, Any], others: Mapping[Value, Any]) -> Lifted | None:
    """What stands around the loop for a row, or for what is the same in each iteration."""
    if value in rows:
        return rows_of(rows[value])
    return Lifted(others[value].outer, False) if value in others else None


def is_product_of_rows(node: Node, is_same: Sequence[bool]) -> bool:
    """Whether it is one by what is the same in each iteration, of its operands those that
    `is_same` says: one large product is more than many small ones."""
    return node.op.family is Family.CONTRACTION and is_same.count(True) == 1


def can_lift(node: Node) -> bool:
    """Whether the node can be computed for all iterations at once, if its operands are."""
    if not is_pure(node):
        return False
    if node.op.family is Family.VIEW:
        return node.op in _VIEWS
    return node.op.family is not Family.REDUCTION or hasattr(node.attrs, "axes")


def _all_at_once(node: Node, operands: Sequence[Lifted], length: int) -> Lifted:
    values = tuple(operand.value for operand in operands)
    if not any(operand.stacked for operand in operands):
        return Lifted(again(node, values, node.attrs), False)
    family = node.op.family
    if family is Family.CONTRACTION:
        return Lifted(contraction(node, operands), True)
    if family is Family.REDUCTION:
        axes = tuple(axis + 1 for axis in node.attrs.axes)
        return Lifted(again(node, values, replace(node.attrs, axes=axes)), True)
    if family is Family.VIEW:
        return Lifted(_VIEWS[node.op](node, values[0], length), True)
    rank = node.outputs[0].ndim
    aligned = tuple(
        _with_rank(operand.value, rank) if operand.stacked else operand.value
        for operand in operands
    )
    return Lifted(again(node, aligned, node.attrs), True)


def is_view(node: Node) -> bool:
    """Whether it is a view that is one of all iterations as well."""
    return node.op in _VIEWS


def again(node: Node, inputs: tuple[Value, ...], attrs: Any) -> Value:
    return Node(node.op, inputs, attrs, node.name, node.hints).outputs[0]


def _with_rank(value: Value, rank: int) -> Value:
    """Stacked rows of `rank` axes, the new ones first."""
    length, *row = value.shape
    missing = rank - len(row)
    return reshape(value, shape=(length, *(1,) * missing, *row)) if missing else value


def _reshaped(node: Node, value: Value, length: int) -> Value:
    return reshape(value, shape=(length, *node.outputs[0].shape))


def _broadcast(node: Node, value: Value, length: int) -> Value:
    shape = node.outputs[0].shape
    return broadcast(_with_rank(value, len(shape)), shape=(length, *shape))


def _transposed(node: Node, value: Value, length: int) -> Value:
    axes = node.attrs.axes or tuple(reversed(range(node.outputs[0].ndim)))
    count = len(axes)
    return transpose(value, axes=(0, *[axis % count + 1 for axis in axes]))


def _sliced(node: Node, value: Value, length: int) -> Value:
    attrs = node.attrs
    return slice_region(
        value,
        start=(0, *attrs.start),
        step=(1, *attrs.step),
        extents=(length, *attrs.extents),
    )


_VIEWS: dict[Any, Callable[[Node, Value, int], Value]] = {
    reshape: _reshaped,
    broadcast: _broadcast,
    transpose: _transposed,
    slice_region: _sliced,
}


def contraction(node: Node, operands: Sequence[Lifted], summed: bool = False) -> Value:
    """The products of all iterations, stacked, or their sum, where both operands differ."""
    attrs = node.attrs
    used = {*attrs.left, *attrs.right}
    label = next(letter for letter in string.ascii_letters if letter not in used)
    left, right = (label if operand.stacked else "" for operand in operands)
    attrs = replace(
        attrs,
        left=left + attrs.left,
        right=right + attrs.right,
        out=("" if summed else label) + attrs.out,
    )
    return again(node, tuple(operand.value for operand in operands), attrs)


def rows_of(entry: Entry) -> Lifted:
    """What iterations see of an array of data, stacked."""
    row = entry.inner.shape
    wanted = (entry.outer.shape[0], *row)
    value = entry.outer
    return Lifted(value if same_shape(value.shape, wanted) else reshape(value, shape=wanted), True)


def cone(values: Collection[Value]) -> set[Node]:
    return set(topological_order(list(values)))
