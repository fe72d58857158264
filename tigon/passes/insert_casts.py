"""Mixed precision of a graph that is there: casts go into it, and out of it again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from tigon.base.dtypes import DType, float32
from tigon.base.frozen import replace
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    Graph,
    Node,
    Value,
    VariableAttrs,
    attrs_key,
    graphs_within,
)
from tigon.ir.rewrite import rewrite
from tigon.ops.casting import Policy, cast_operands, cast_value, plain
from tigon.ops.mxnet import amp_cast, amp_multicast
from tigon.ops.record import Family, Operator


def insert_casts(graph: Graph, policy: Policy, excluded: Collection[str] = ()) -> Graph:
    """Casts before the operators for which a policy asks, each value once for each dtype. Nodes
    whose names are `excluded` take what they are given. Types are not needed.

    >>> from tigon.base.dtypes import float16
    >>> from tigon.ir import show, variable
    >>> from tigon.ops import get
    >>> x, w = variable("x"), variable("w")
    >>> y = get("FullyConnected")(x, w, num_hidden=2, no_bias=True)
    >>> policy = Policy(float16, {"FullyConnected": float16}, {})
    >>> print(show(insert_casts(Graph([x, w], [y]), policy)))
    graph(%x, %w) {
      %0 = amp_cast(%x) {dtype='float16'} 'x_amp_cast'
      %1 = amp_cast(%w) {dtype='float16'} 'w_amp_cast'
      %2 = FullyConnected(%0, %1) {num_hidden=2, no_bias=True}
      return %2
    }
    """
    made: dict[Any, Sequence[Value]] = {}

    def make(op: Operator, inputs: tuple[Value, ...], attrs: Any, name: str) -> Sequence[Value]:
        key = (op, inputs, attrs_key(attrs))
        if key not in made:
            made[key] = plain(op, inputs, attrs, name)
        return made[key]

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is VARIABLE or node.op is CONSTANT or node.name in excluded:
            return None
        within = _within(node, inputs, lambda inner: _in_loop(inner, policy, excluded))
        node = node if within is None else within[0].node
        if node.op.family is Family.CONTROL:
            wide = tuple(cast_value(value, float32, make) for value in inputs)
            return within if wide == inputs else node.replace(wide).outputs
        asked = policy.rule(node.op, node.attrs)
        cast = cast_operands(asked, node.op, node.attrs, inputs, make, node.name)
        return within if cast == inputs else node.replace(cast).outputs

    return rewrite(graph, rule)


def _in_loop(graph: Graph, policy: Policy, excluded: Collection[str]) -> Graph:
    """A body or a branch: it gives float32, as it takes, so that states keep their dtypes and
    branches agree."""
    made = insert_casts(graph, policy, excluded)
    if made is graph:
        return graph
    outputs = [cast_value(value, float32, plain) for value in made.outputs]
    return Graph(made.inputs, outputs)


_DTYPE, _MARK = "__dtype__", "__amp_cast__"
"""Hints of a variable: what dtype it has, and that this was a cast before."""


def cast_variables(graph: Graph, names: Collection[str], dtype: DType) -> Graph:
    """Variables of these names that are read through casts to a dtype alone are of that dtype
    themselves, and the casts are gone. Their hints say so, to files as well."""

    def narrows(value: Value) -> bool:
        users = graph.users.get(value, ())
        return (
            value.node.name in names
            and bool(users)
            and value not in graph.outputs
            and all(user.op is amp_cast and user.attrs.dtype == dtype.name for user in users)
        )

    narrow = {value for value in graph.inputs if narrows(value)}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is VARIABLE and node.outputs[0] in narrow:
            return _with_hints(node, {**node.hints, _DTYPE: str(dtype.code), _MARK: dtype.name})
        if node.op is amp_cast and node.inputs[0] in narrow:
            return inputs
        return None

    return rewrite(graph, rule)


def _with_hints(node: Node, hints: dict[str, str]) -> Sequence[Value]:
    made = Node(VARIABLE, (), VariableAttrs(), node.name, hints)
    made.serial = node.serial
    return made.outputs


def remove_casts(graph: Graph) -> Graph:
    """The graph without `amp_cast` and `amp_multicast`; variables that took a cast's place are of
    float32 again.

    >>> from tigon.ir import show, variable
    >>> from tigon.ops import get
    >>> x = variable("x")
    >>> print(show(remove_casts(Graph([x], [get("exp")(amp_cast(x, dtype="float16"))]))))
    graph(%x) {
      %0 = exp(%x)
      return %0
    }
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is amp_cast or node.op is amp_multicast:
            return inputs
        if node.op is VARIABLE and _MARK in node.hints:
            kept = {name: text for name, text in node.hints.items() if name not in (_DTYPE, _MARK)}
            return _with_hints(node, kept)
        return _within(node, inputs, remove_casts)

    return rewrite(graph, rule)


def _within(
    node: Node, inputs: tuple[Value, ...], change: Callable[[Graph], Graph]
) -> Sequence[Value] | None:
    """The node with its own graphs changed, bodies of loops and branches; None if none is."""
    graphs = graphs_within(node)
    changed = {name: change(inner) for name, inner in graphs.items()}
    if all(changed[name] is inner for name, inner in graphs.items()):
        return None
    return node.replace(inputs, replace(node.attrs, **changed)).outputs
