"""The laws every graph obeys. Passes are tested against them; a broken one is a bug of ours."""

from __future__ import annotations

from tigon.base import InternalError
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, attrs_key


def verify(graph: Graph) -> Graph:
    """The graph itself, or `InternalError` naming the node that breaks a law.

    Inputs are distinct variables of distinct names, and every variable reached is one of them;
    operands are outputs of their nodes; operand counts and attributes are those the operator
    declares; types are those its rule gives.
    """
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        raise InternalError("graph: a variable is an input twice")
    names: set[str] = set()
    for value in graph.inputs:
        if value.node.op is not VARIABLE:
            raise InternalError(f"graph: input {value!r} is not a variable")
        if value.node.name in names:
            raise InternalError(f"graph: two inputs are named '{value.node.name}'")
        names.add(value.node.name)
    for value in graph.outputs:
        if value is not value.node.outputs[value.index]:
            raise InternalError(f"graph: output {value!r} is a stranger to its node")
    for node in graph.nodes:
        if node.op is VARIABLE and node.outputs[0] not in inputs:
            raise InternalError(f"graph: variable '{node.name}' is used but is no input")
        _verify_node(node)
    return graph


def _verify_node(node: Node) -> None:
    for value in node.inputs:
        if value is not value.node.outputs[value.index]:
            raise InternalError(f"{node.label}: operand {value!r} is a stranger to its node")
    if node.op is VARIABLE or node.op is CONSTANT:
        return
    expected = getattr(node.op, "attrs_type", None)
    if expected is not None and not isinstance(node.attrs, expected):
        raise InternalError(
            f"{node.label}: expected attributes {expected.__name__}; given {node.attrs!r}"
        )
    hash(attrs_key(node.attrs))
    typed = all(value.node.types is not None for value in node.inputs)
    if typed != (node.types is not None):
        raise InternalError(f"{node.label}: typed operands and a typed result go together")
    if node.types is not None:
        found = node.op.infer_types(node.attrs, tuple(value.type for value in node.inputs))
        if found != node.types:
            raise InternalError(f"{node.label}: its type rule gives {found}; it has {node.types}")
