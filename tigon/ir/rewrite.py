"""How passes make new graphs: bottom-up, sharing what did not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tigon.base import TensorType
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, VariableAttrs, number_anew

Rule = Callable[[Node, tuple[Value, ...]], "Sequence[Value] | None"]
"""Given a node and its already rewritten inputs: its new outputs, or None to keep it."""


def rewrite(graph: Graph, rule: Rule, concerned: Callable[[Node], bool] | None = None) -> Graph:
    """Apply `rule` to every node, inputs first. The same object comes back when nothing changed:
    at once where no node is `concerned`, without which there is nothing that the rule replaces."""
    if concerned is not None and not any(map(concerned, graph.nodes)):
        return graph
    replaced: dict[Value, Value] = {}
    new_of = replaced.get
    for node in graph.nodes:
        inputs = node.inputs
        if replaced and inputs:
            found = tuple([new_of(value, value) for value in inputs])
            if found != inputs:  # by identity: values are equal to themselves only
                inputs = found
        outputs = rule(node, inputs)
        if outputs is None:
            if inputs is node.inputs:
                continue
            outputs = node.replace(inputs).outputs
        for old, new in zip(node.outputs, outputs, strict=True):
            if new is not old:
                replaced[old] = new
    if not replaced:
        return graph
    return Graph(
        [replaced.get(value, value) for value in graph.inputs],
        [replaced.get(value, value) for value in graph.outputs],
    )


def substitute(outputs: Sequence[Value], replacements: Mapping[Value, Value]) -> tuple[Value, ...]:
    """The same expressions over other leaves.

    Used to apply a graph to new inputs: `substitute(graph.outputs, dict(zip(graph.inputs, xs)))`.
    """
    leaves = tuple(replacements)
    graph = Graph((), (*leaves, *outputs))

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not any(value in replacements for value in node.outputs):
            return None
        return tuple(replacements.get(value, value) for value in node.outputs)

    return rewrite(graph, rule).outputs[len(leaves) :]


def copied(
    outputs: Sequence[Value],
    replacements: Mapping[Value, Value],
    adapt: Callable[[Node], Sequence[Value]] | None = None,
) -> tuple[Value, ...]:
    """The same program once more, over other leaves: its calls are calls of their own, made now, in
    the order of the old ones. What draws draws anew, and states advance once more. `adapt` gives
    the outputs to use of each new node."""
    leaves = tuple(replacements)
    graph = Graph((), (*leaves, *outputs))
    made: list[Node] = []

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if any(value in replacements for value in node.outputs):
            return tuple(replacements.get(value, value) for value in node.outputs)
        if node.op is VARIABLE or node.op is CONSTANT:
            return None
        made.append(node.replace(inputs))
        return made[-1].outputs

    result = rewrite(graph, rule)
    number_anew(made)
    if adapt is not None:
        new = set(made)

        def adapted(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node not in new:
                return None
            return adapt(node if inputs == node.inputs else node.replace(inputs))

        result = rewrite(result, adapted)
    return result.outputs[len(leaves) :]


def renamed(outputs: Sequence[Value], name_of: Callable[[str], str]) -> tuple[Value, ...]:
    """The same program, with other names for variables and nodes; what has none gets none."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        name = name_of(node.name) if node.name else ""
        return None if name == node.name else node.replace(inputs, name=name).outputs

    return rewrite(Graph.of(outputs), rule).outputs


def typed(graph: Graph, types: Mapping[str, TensorType]) -> Graph:
    """The graph with its variables given types by name, and so every node typed and checked."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is not VARIABLE or node.name not in types or node.types == (types[node.name],):
            return None
        return retyped(node, types[node.name]).outputs

    return rewrite(graph, rule)


def untyped(graph: Graph) -> Graph:
    """The graph as it is before its variables have types."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is not VARIABLE or node.types is None:
            return None
        return retyped(node, None).outputs

    return rewrite(graph, rule)


def retyped(node: Node, type: TensorType | None) -> Node:
    """A variable of another type, in its place in the order of the program."""
    made = Node(VARIABLE, (), VariableAttrs(type), node.name, node.hints)
    made.serial = node.serial
    return made
