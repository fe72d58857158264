"""The joint graph of a forward part and its gradient, cut in two."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from tigon.analysis.min_cut import INFINITE, cheapest_cut
from tigon.base.extents import estimate
from tigon.base.frozen import Frozen
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, substitute, variable
from tigon.ops.record import POINTWISE, TRANSPARENT


class Cut(Frozen):
    """A joint graph in two halves."""

    forward: Graph  # outputs: results and states, then residuals
    backward: Graph  # inputs: the cotangents used, then what was saved
    saved: list[tuple[str, int]]
    cotangents: list[int]


def cut_joint(joint: Graph, inputs: int, results: int) -> Cut:
    """Divide a graph of primitives whose first `inputs` inputs are the forward graph's (the rest
    are cotangents) and whose first `results` outputs are the forward graph's (the rest are
    gradients).

    The forward values that the backward half reads are saved, or computed again from saved ones:
    whichever set takes the fewest bytes. Only pointwise work and views are ever repeated.
    """
    forward_outputs = joint.outputs[:results]
    late = _reached_from(joint, set(joint.inputs[inputs:]))
    crossing = _crossing(joint, joint.outputs[results:], late)
    order = {node: index for index, node in enumerate(joint.nodes)}
    kept: list[Value] = sorted(
        cheapest_to_keep(crossing, set(forward_outputs)), key=lambda v: (order[v.node], v.index)
    )

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
    gradients = substitute(joint.outputs[results:], stand_ins) if kept else joint.outputs[results:]
    used = set(Graph.of(gradients).inputs)
    cotangents = [i for i, value in enumerate(joint.inputs[inputs:]) if value in used]
    backward = Graph(
        [*[joint.inputs[inputs + i] for i in cotangents], *stand_ins.values()], gradients
    )
    return Cut(Graph(joint.inputs[:inputs], outputs), backward, saved, cotangents)


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
