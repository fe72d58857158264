"""The joint graph of a forward part and its gradient, cut in two."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from tigon.analysis.min_cut import INFINITE, cheapest_cut
from tigon.base.extents import estimate
from tigon.base.frozen import Frozen
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite, substitute, variable
from tigon.ops.record import POINTWISE, TRANSPARENT
from tigon.passes.primitives import again as begin_again
from tigon.passes.primitives import repeated


class Cut(Frozen):
    """A joint graph in two halves."""

    forward: Graph  # outputs: results and states, then residuals
    backward: Graph  # inputs: the cotangents used, then what was saved
    saved: list[tuple[str, int]]
    cotangents: list[int]


class Forward(Frozen):
    """The forward part of a graph of primitives that holds its gradient, too."""

    nodes: tuple[Node, ...]  # in order, variables and constants aside
    results: frozenset[Value]  # in memory anyway
    read: tuple[Value, ...]  # by the rest of the graph


class Choice(Frozen):
    """Values to keep; all else that the gradient reads is computed again."""

    kept: frozenset[Value]
    again: frozenset[Value]
    """Of what is computed again, values that are in memory then: the rest follows pointwise."""
    nbytes: int
    """Estimated: what is kept, and what the largest part takes that is computed again at once."""
    work: float
    """Of what is computed twice and is more than pointwise, in products of numbers."""


def cheapest(forward: Forward) -> Choice:
    """The fewest bytes with which nothing but pointwise work and views is repeated."""
    kept = frozenset(cheapest_to_keep(forward.read, set(forward.results)))
    taken = [value for value in kept if not is_leaf(value.node) and value not in forward.results]
    return Choice(kept, frozenset(), sum(int(estimate(value.type.nbytes)) for value in taken), 0.0)


def forward_half(joint: Graph, inputs: int, results: int) -> Forward:
    """All that does not depend on cotangents, of a graph as `cut_joint` takes it."""
    late = _reached_from(joint, set(joint.inputs[inputs:]))
    return Forward(
        tuple(node for node in joint.nodes if node not in late and not is_leaf(node)),
        frozenset(joint.outputs[:results]),
        tuple(_crossing(joint, joint.outputs[results:], late)),
    )


def cut_joint(joint: Graph, inputs: int, results: int, choice: Choice | None = None) -> Cut:
    """Divide a graph of primitives whose first `inputs` inputs are the forward graph's (the rest
    are cotangents) and whose first `results` outputs are the forward graph's (the rest are
    gradients).

    The forward values that the backward half reads are saved, or computed again from saved ones:
    whichever set takes the fewest bytes, and only pointwise work and views are repeated; or as
    `choice` says.
    """
    forward_outputs = joint.outputs[:results]
    choice = choice or cheapest(forward_half(joint, inputs, results))
    order = {node: index for index, node in enumerate(joint.nodes)}
    kept = sorted(choice.kept, key=lambda value: (order[value.node], value.index))

    position = {value: index for index, value in enumerate(joint.inputs[:inputs])}
    outputs = list(forward_outputs)
    number: dict[Value, int] = {}
    for place, value in enumerate(outputs):
        number.setdefault(value, place)
    saved: list[tuple[str, int]] = []
    stand_ins: dict[Value, Value] = {}
    for index, value in enumerate(kept):
        if value in position:
            saved.append(("input", position[value]))
        else:
            if value not in number:
                number[value] = len(outputs)
                outputs.append(value)
            saved.append(("output", number[value]))
        stand_ins[value] = variable(f"_saved{index}", value.type)
    gradients = repeat(joint.outputs[results:], stand_ins, choice.again)
    used = set(Graph.of(gradients).inputs)
    cotangents = [i for i, value in enumerate(joint.inputs[inputs:]) if value in used]
    backward = Graph(
        [*[joint.inputs[inputs + i] for i in cotangents], *stand_ins.values()], gradients
    )
    return Cut(Graph(joint.inputs[:inputs], outputs), backward, saved, cotangents)


def repeat(
    outputs: Sequence[Value], kept: Mapping[Value, Value], again: Collection[Value]
) -> tuple[Value, ...]:
    """The same expressions over `kept` values and those of `again`, which are computed from kept
    ones, in memory: what follows from them pointwise is computed where it is read."""
    if not again:
        return substitute(outputs, kept) if kept else tuple(outputs)
    leaves = {value: begin_again(given) for value, given in kept.items()}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not any(value in leaves or value in again for value in node.outputs):
            return None
        made = node.replace(inputs)
        return tuple(
            leaves[old] if old in leaves else repeated(new) if old in again else new
            for old, new in zip(node.outputs, made.outputs, strict=True)
        )

    computed = rewrite(Graph((), (*leaves, *again)), rule).outputs[len(leaves) :]
    later = {old: begin_again(new) for old, new in zip(again, computed, strict=True)}
    return substitute(outputs, {**kept, **later})


def is_leaf(node: Node) -> bool:
    return node.op is VARIABLE or node.op is CONSTANT


def _reached_from(graph: Graph, sources: set[Value]) -> set[Node]:
    late = {value.node for value in sources}
    for node in graph.nodes:
        if any(value.node in late for value in node.inputs):
            late.add(node)
    return late


def _crossing(graph: Graph, gradients: Sequence[Value], late: set[Node]) -> list[Value]:
    """Forward values that the backward half reads."""
    found = dict.fromkeys(value for value in gradients if value.node not in late)
    stack = [value.node for value in gradients if value.node in late]
    seen = set(stack)
    while stack:
        for value in stack.pop().inputs:
            if value.node in late:
                if value.node not in seen:
                    seen.add(value.node)
                    stack.append(value.node)
            else:
                found[value] = None
    return [value for value in found if value.node.op is not CONSTANT]


def cheapest_to_keep(
    crossing: Sequence[Value],
    present: set[Value],
    price: Mapping[Value, float] = MappingProxyType({}),
) -> set[Value]:
    """Values to keep so that all of `crossing` can be had in the backward half. `present` ones are
    in memory anyway, and so are variables, but for those that have a `price`."""
    cost: dict[Hashable, float] = {}
    operands: dict[Hashable, Sequence[Hashable]] = {}
    given: list[Value] = []
    stack = list(crossing)
    while stack:
        value = stack.pop()
        node = value.node
        if value in cost or node.op is CONSTANT:
            continue
        if node.op is VARIABLE or value in present:
            cost[value] = price.get(value, 0.0)
        elif node.op.family in TRANSPARENT:
            cost[value] = INFINITE  # a view is read through, never copied
        else:
            cost[value] = float(estimate(value.type.nbytes)) or 1.0
        if node.op is VARIABLE or not (
            node.op.family in TRANSPARENT or node.op.family in POINTWISE
        ):
            given.append(value)
            continue
        operands[value] = [v for v in node.inputs if v.node.op is not CONSTANT]
        stack.extend(node.inputs)
    return cast("set[Value]", cheapest_cut(cost, operands, given, crossing))
