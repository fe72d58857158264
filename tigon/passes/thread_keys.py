"""Give random operators their key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import InternalError, TensorType
from tigon.base.dtypes import int64
from tigon.base.frozen import replace
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, graphs_within, variable
from tigon.ir.rewrite import rewrite
from tigon.ops.primitive.random import KEY_NAME as KEY_NAME
from tigon.passes.gradient import follow_forward

KEY_TYPE = TensorType((2,), int64)
"""Seed and call counter."""


def thread_keys(
    graph: Graph, drawn: Sequence[int] = (), first: int = 0, always: bool = False
) -> tuple[Graph, int]:
    """Pass one key variable (the last graph input) to all random nodes; also gives the number of
    draws.

    Nodes are numbered (attribute `ordinal`) in the order in which the program made them, which
    is the order in which the same program draws when it runs imperatively. `drawn` are the serials
    of all random nodes that the program made: one whose result is not used is not in the graph, but
    has drawn all the same. The caller advances the call counter by the number of draws. To be run
    before gradients and decomposition: a recomputed node then has the same ordinal, and so draws
    the same numbers.

    A loop or a branch draws once, as seen from around: its graphs have a key of their own, which
    follows from that (`csrc/program/control.h`). Numbers begin at `first`; the key becomes an input
    `always`, or where something draws.
    """
    random = {node: node.serial for node in graph.nodes if _takes_key(node)}
    serials = serials_of_draws(graph, drawn)
    if not serials and not always:
        return graph, 0
    present = [value for value in graph.inputs if value.node.name == KEY_NAME]
    key = present[0] if present else variable(KEY_NAME, KEY_TYPE)
    ordinals = {serial: ordinal for ordinal, serial in enumerate(serials, first)}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in random:
            return follow_forward(node, inputs)
        ordinal = ordinals[node.serial]
        if key in inputs and node.attrs.ordinal == ordinal:
            return None
        if not node.op.draws(node.attrs):  # a loop that only counts as a draw
            return follow_forward(node, inputs)
        attrs = replace(node.attrs, ordinal=ordinal, **_within(node))
        return node.replace(inputs if key in inputs else (*inputs, key), attrs).outputs

    result = rewrite(graph, rule)
    if not present:
        result = Graph((*result.inputs, key), result.outputs)
    return result, len(serials)


def _within(node: Node) -> dict[str, Any]:
    """Of a loop or a branch: its graphs with their key, and what is to know of it."""
    graphs = graphs_within(node)
    if not graphs:
        return {}
    changed: dict[str, Any] = {"keyed": True}
    draws = 0
    for name, graph in graphs.items():
        keyed, own = thread_keys(graph, first=draws, always=True)
        changed[name] = keyed
        if name == "condition":  # of the same iteration
            draws = own
    return changed


def serials_of_draws(graph: Graph, drawn: Sequence[int] = ()) -> list[int]:
    """The serials of all random nodes, in order: those of the graph and those `drawn` besides."""
    return sorted({*drawn, *[node.serial for node in graph.nodes if _takes_key(node)]})


def _takes_key(node: Node) -> bool:
    if node.op is VARIABLE or node.op is CONSTANT or not node.op.advances_stream(node.attrs):
        return False
    if graphs_within(node):
        return True
    keys = [operand.random_key for operand in node.op.operands]
    if sum(keys) != 1 or not keys[-1] or not hasattr(node.attrs, "ordinal"):
        raise InternalError(
            f"{node.op.name}: a random operator declares its key last and has an attribute "
            "'ordinal'"
        )
    return True
