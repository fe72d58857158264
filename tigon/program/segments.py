"""Parts of a call that run one after another: what one leaves in a state, the next one reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tigon.ir import VARIABLE, Graph, Node, Value
from tigon.ir.graph import topological_order
from tigon.passes.primitives import stop_gradient
from tigon.passes.set_mode import set_mode
from tigon.passes.thread_states import States, keep_states, thread_states


def cut_off(
    outputs: Sequence[Value], calls: Sequence[Node], training: bool
) -> tuple[Graph, States]:
    """A graph of these outputs, in this mode, and then of the new states of `calls`, through which
    no gradient flows; and which output is the new state of which input."""
    reached = Graph.of([*outputs, *[node.outputs[0] for node in calls]])
    threaded, states = thread_states(Graph(reached.inputs, outputs), calls)
    graph, moves = keep_states(set_mode(threaded, training), states)
    results = list(graph.outputs)
    for output, _ in moves:
        results[output] = stop_gradient(results[output])
    return Graph(graph.inputs, results), moves


def joined(origin: Mapping[Value, Value], values: Sequence[Value]) -> list[Value]:
    """The same values with no cut between the parts: `origin` tells what each variable stands for
    that was the result of an earlier part, in the order in which these were made. Nodes keep their
    serials."""
    moved: dict[Value, Value] = {}
    seen: set[Node] = set()
    for target in (*origin.values(), *values):
        for node in topological_order([target]):
            if node in seen or node.op is VARIABLE:
                continue
            seen.add(node)
            inputs = tuple(_found(value, origin, moved) for value in node.inputs)
            if inputs != node.inputs:
                moved.update(zip(node.outputs, node.replace(inputs).outputs, strict=True))
    return [_found(value, origin, moved) for value in values]


def _found(value: Value, origin: Mapping[Value, Value], moved: Mapping[Value, Value]) -> Value:
    while value in origin:
        value = origin[value]
    return moved.get(value, value)
