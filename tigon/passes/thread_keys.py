"""Give random operators their key."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.base import InternalError, TensorType
from tigon.base.dtypes import int64
from tigon.base.frozen import replace
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, variable
from tigon.ir.rewrite import rewrite
from tigon.passes.gradient import follow_forward

KEY_NAME = "_random_key"
KEY_TYPE = TensorType((2,), int64)
"""Seed and call counter."""


def thread_keys(graph: Graph, drawn: Sequence[int] = ()) -> tuple[Graph, int]:
    """Pass one key variable (the last graph input) to all random nodes; also gives the number of
    draws.

    Nodes are numbered (attribute `ordinal`) in the order in which the program made them, which
    is the order in which the same program draws when it runs imperatively. `drawn` are the serials
    of all random nodes that the program made: one whose result is not used is not in the graph, but
    has drawn all the same. The caller advances the call counter by the number of draws. To be run
    before gradients and decomposition: a recomputed node then has the same ordinal, and so draws
    the same numbers.
    """
    random = {node: node.serial for node in graph.nodes if _takes_key(node)}
    serials = serials_of_draws(graph, drawn)
    if not serials:
        return graph, 0
    present = [value for value in graph.inputs if value.node.name == KEY_NAME]
    key = present[0] if present else variable(KEY_NAME, KEY_TYPE)
    ordinals = {serial: ordinal for ordinal, serial in enumerate(serials)}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in random:
            return follow_forward(node, inputs)
        ordinal = ordinals[node.serial]
        if key in inputs and node.attrs.ordinal == ordinal:
            return None
        attrs = replace(node.attrs, ordinal=ordinal)
        return node.replace(inputs if key in inputs else (*inputs, key), attrs).outputs

    result = rewrite(graph, rule)
    if not present:
        result = Graph((*result.inputs, key), result.outputs)
    return result, len(serials)


def serials_of_draws(graph: Graph, drawn: Sequence[int] = ()) -> list[int]:
    """The serials of all random nodes, in order: those of the graph and those `drawn` besides."""
    return sorted({*drawn, *[node.serial for node in graph.nodes if _takes_key(node)]})


def _takes_key(node: Node) -> bool:
    if node.op is VARIABLE or node.op is CONSTANT or not node.op.draws(node.attrs):
        return False
    keys = [operand.random_key for operand in node.op.operands]
    if sum(keys) != 1 or not keys[-1] or not hasattr(node.attrs, "ordinal"):
        raise InternalError(
            f"{node.op.name}: a random operator declares its key last and has an attribute "
            "'ordinal'"
        )
    return True
