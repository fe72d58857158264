"""States as values: what one call leaves in a state is what the next one reads."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value
from tigon.ir.rewrite import rewrite
from tigon.passes.gradient import follow_forward
from tigon.passes.primitives import stop_gradient

States = tuple[tuple[int, int], ...]
"""Pairs (output, input whose new state it is)."""


def thread_states(graph: Graph, calls: Sequence[Node] = ()) -> tuple[Graph, States]:
    """Let states flow from call to call, in the order in which the program made them; the last
    value of each that is an input of the graph becomes a further output.

    `calls` are the nodes with states that the program made: one whose result is not used is not in
    the graph, but has advanced its states all the same. To be run before the mode is settled: a
    call that turns out not to advance anything hands its states through (`keep_states`).
    """
    every = (*graph.outputs, *[value for node in calls for value in node.outputs])
    nodes = Graph(graph.inputs, every).nodes
    if not any(map(states_of, nodes)):
        return graph, ()
    flow = _Flow()
    for node in order_of_calls(nodes):
        flow.visit(node)
    outputs = [flow.read(value) for value in graph.outputs]
    states = []
    for position, value in enumerate(graph.inputs):
        if value in flow.advanced:
            states.append((len(outputs), position))
            outputs.append(flow.latest(value))
    return Graph(graph.inputs, outputs), tuple(states)


def keep_states(graph: Graph, states: States) -> tuple[Graph, States]:
    """Without the states that nothing advances. To be run when the mode is settled."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        own = states_of(node)
        if not own or node.op.advances(node.attrs):
            return None
        outputs = list((node if inputs == node.inputs else node.replace(inputs)).outputs)
        for output, position in own.items():
            outputs[output] = inputs[position]
        return outputs

    if not states:
        return graph, states
    graph = rewrite(graph, rule)
    results = len(graph.outputs) - len(states)
    moved = [(o, i) for o, i in states if graph.outputs[o] is not graph.inputs[i]]
    outputs = [*graph.outputs[:results], *[graph.outputs[output] for output, _ in moved]]
    kept = tuple((results + index, source) for index, (_, source) in enumerate(moved))
    return Graph(graph.inputs, outputs), kept


def shares_states(nodes: Sequence[Node]) -> bool:
    """Whether the order of calls matters: some state is met by two of them."""
    met: set[Value] = set()
    states = {node.inputs[i] for node in nodes for i in states_of(node).values()}
    for node in nodes:
        for value in states.intersection(node.inputs):
            if value in met:
                return True
            met.add(value)
    return False


def states_of(node: Node) -> dict[int, int]:
    """Output -> operand whose new state it is."""
    if node.op is VARIABLE or node.op is CONSTANT or not node.op.mutates:
        return {}
    return node.op.states(node.attrs, len(node.inputs))


class _Flow:
    """The program, call by call, with what each state holds by now."""

    def __init__(self) -> None:
        self.advanced: dict[Value, Value] = {}  # state -> what the next call has made of it
        self._moved: dict[Value, Value] = {}  # value of the given graph -> the same over new inputs
        self._seen: dict[Value, Value] = {}  # state -> how others see it

    def visit(self, node: Node) -> None:
        own = set(states_of(node).values())
        inputs = tuple(
            self.latest(value) if position in own else self.read(value)
            for position, value in enumerate(node.inputs)
        )
        outputs = follow_forward(node, inputs)
        if outputs is None:
            outputs = node.outputs if inputs == node.inputs else node.replace(inputs).outputs
        for old, new in zip(node.outputs, outputs, strict=True):
            if new is not old:
                self._moved[old] = new
        for output, position in states_of(node).items():
            self.advanced[inputs[position]] = outputs[output]

    def latest(self, value: Value) -> Value:
        """The value, or what later calls have made of it."""
        value = self._moved.get(value, value)
        while value in self.advanced:
            value = self.advanced[value]
        return value

    def read(self, value: Value) -> Value:
        """The same for those who only read: no gradient flows into how a state has advanced."""
        plain = self._moved.get(value, value)
        if plain not in self.advanced:
            return plain
        state = self.latest(value)
        if state not in self._seen:
            seen = self._seen[state] = stop_gradient(state)
            seen.node.serial = state.node.serial  # before the next call, should it be asked again
        return self._seen[state]


def order_of_calls(nodes: Sequence[Node]) -> list[Node]:
    """As the program made them, so far as operands come before their users."""
    waiting: dict[Node, int] = {}
    users: dict[Node, list[Node]] = {}
    ready = []
    place = {node: index for index, node in enumerate(nodes)}
    for node in nodes:
        operands = {value.node for value in node.inputs}
        waiting[node] = len(operands)
        for operand in operands:
            users.setdefault(operand, []).append(node)
        if not operands:
            ready.append((node.serial, place[node]))
    heapify(ready)
    order: list[Node] = []
    while ready:
        node = nodes[heappop(ready)[1]]
        order.append(node)
        for user in users.get(node, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heappush(ready, (user.serial, place[user]))
    return order
