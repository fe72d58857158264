"""A graph with operators of effect, as what runs step by step: graphs without, and these operators
between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tigon.base.frozen import Frozen
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, variable
from tigon.ops.record import has_effect
from tigon.passes.thread_states import order_of_calls


class PureStep(Frozen, eq=False):
    """A graph without effects. What it computes takes the next places."""

    graph: Graph
    inputs: tuple[int, ...]  # the place of each


class EffectStep(Frozen, eq=False):
    """One call of an operator of effect. All of its outputs take the next places."""

    node: Node
    inputs: tuple[int, ...]


class Steps(Frozen, eq=False):
    """Places hold the inputs of the graph, then what the steps make."""

    steps: tuple[PureStep | EffectStep, ...]
    results: tuple[int, ...]  # the place of each output of the graph, no place twice


def cut_at_effects(graph: Graph) -> Steps:
    """Cut the graph between its effects, which happen in the order in which the program made the
    calls, each of them once. What does not wait for one is computed before it.

    To be run when modes and states are settled, and before all passes that merge, drop or repeat:
    these see graphs without effects only.
    """
    return _Cut(graph).steps()


class _Cut:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._place = {value: place for place, value in enumerate(graph.inputs)}
        self._places = len(graph.inputs)
        self._effects: list[Node] = []
        self._after: dict[Node, int] = {}  # how many effects each node has to wait for
        self._level: list[list[Node]] = [[]]  # other nodes, by that number
        for node in order_of_calls(graph.nodes):
            after = max((self._after[value.node] for value in node.inputs), default=0)
            if has_effect(node):
                self._effects.append(node)
                self._level.append([])
                after = len(self._effects)
            elif node.op is not VARIABLE and node.op is not CONSTANT:
                self._level[after].append(node)
            self._after[node] = after
        self._kept = set(graph.outputs)
        """What has a place of its own: results, and what is read after the step that makes it."""
        for node in graph.nodes:
            for value in node.inputs:
                if has_effect(node) or self._after[value.node] < self._after[node]:
                    self._kept.add(value)

    def steps(self) -> Steps:
        made: list[PureStep | EffectStep] = []
        results: dict[int, int] = {}  # output of the graph -> place
        for level, nodes in enumerate(self._level):
            if level:
                node = self._effects[level - 1]
                made.append(EffectStep(node, tuple(self._place[value] for value in node.inputs)))
                self._give_places(node.outputs)
            wanted = self._wanted(level, nodes)
            copies = self._copies(level, wanted, results)
            step = self._pure(nodes, [*wanted, *[value for _, value in copies]])
            if step is None:
                continue
            made.append(step)
            self._give_places(wanted)
            for output, _ in copies:
                results[output] = self._places
                self._places += 1
        taken = tuple(
            results.get(output, self._place.get(value, -1))
            for output, value in enumerate(self._graph.outputs)
        )
        return Steps(tuple(made), taken)

    def _give_places(self, values: Iterable[Value]) -> None:
        for value in values:
            self._place[value] = self._places
            self._places += 1

    def _wanted(self, level: int, nodes: Sequence[Node]) -> list[Value]:
        """What is computed here and kept; literals that effects read, before the first."""
        literals = {
            value: None
            for node in ([] if level else self._effects)
            for value in node.inputs
            if value.node.op is CONSTANT
        }
        return [*literals, *[v for node in nodes for v in node.outputs if v in self._kept]]

    def _copies(
        self, level: int, wanted: Sequence[Value], results: dict[int, int]
    ) -> list[tuple[int, Value]]:
        """Outputs of the graph that need an array besides the one that stands in the value's place:
        arguments, literals, and what is a result already."""
        copies = []
        first: set[Value] = set()
        for output, value in enumerate(self._graph.outputs):
            if self._after[value.node] != level or output in results:
                continue
            leaf = value.node.op is VARIABLE or value.node.op is CONSTANT
            if leaf or value in first:
                copies.append((output, value))
            first.add(value)
        return copies

    def _pure(self, nodes: Sequence[Node], outputs: Sequence[Value]) -> PureStep | None:
        """The nodes of one level, over variables for what is there already."""
        if not outputs:
            return None
        inner: dict[Value, Value] = {}
        inputs: dict[Value, Value] = {}  # of the whole -> of the step

        def entered(value: Value) -> Value:
            if value in inner:
                return inner[value]
            if value.node.op is CONSTANT:
                return value
            if value not in inputs:
                place = self._place[value]
                type_ = value.type if value.is_typed else None
                is_input = value.node.op is VARIABLE
                inputs[value] = value if is_input else variable(f"_step{place}", type_)
            return inputs[value]

        for node in nodes:
            operands = tuple(map(entered, node.inputs))
            same = all(new is old for new, old in zip(operands, node.inputs, strict=True))
            made = node if same else node.replace(operands)
            inner.update(zip(node.outputs, made.outputs, strict=True))
        graph = Graph.of([entered(value) for value in outputs])
        whole = {own: value for value, own in inputs.items()}
        return PureStep(graph, tuple(self._place[whole[value]] for value in graph.inputs))
