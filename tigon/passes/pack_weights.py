"""What prediction makes of weights alone is made once, not at each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base.frozen import Frozen
from tigon.base.tiles import Registers
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite, variable


class PackedGraph(Frozen, eq=False):
    """A graph in two: `packs` makes of `weights`, inputs of the graph by number, what `main` takes
    besides the graph's inputs, after them."""

    packs: Graph
    weights: tuple[int, ...]
    main: Graph


def pack_weights(graph: Graph, registers: Registers) -> PackedGraph | None:
    """Calls whose operators can take an operand packed, and whose operand is an input of the graph,
    take it so. None where there are none."""
    numbers = {value: number for number, value in enumerate(graph.inputs)}
    made: dict[tuple[Any, ...], tuple[Value, Value]] = {}  # what packs give, and what main takes

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op in (VARIABLE, CONSTANT) or node.op.packed is None:
            return None
        packed = node.op.packed(node.attrs, registers, *inputs)
        if packed is None or inputs[packed.operand] not in numbers:
            return None
        result, operand = packed.made, inputs[packed.operand]
        key = (numbers[operand], result.node.op, result.node.attrs)
        if key not in made:
            made[key] = (result, variable(f"_packed{len(made)}", result.type))
        call = packed.call(made[key][1])
        call.node.name = node.name
        return (call,)

    main = rewrite(graph, rule)
    if not made:
        return None
    weights = tuple(sorted({number for number, *_ in made}))
    packs = Graph([graph.inputs[number] for number in weights], [out for out, _ in made.values()])
    inputs = (*main.inputs, *[taken for _, taken in made.values()])
    return PackedGraph(packs, weights, Graph(inputs, main.outputs))
