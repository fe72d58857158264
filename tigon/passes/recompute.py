"""What a gradient reads of the forward part, computed a second time instead of kept.

The forward part is cut into segments where few bytes cross; of some segments only what they begin
with is kept, and the rest is computed again when the gradient comes to them (A. Griewank and
A. Walther, 2000; T. Chen et al., arXiv 1604.06174). Which segments is a trade: memory is the kept
bytes and those of the largest segment that is computed again, time is what is computed twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from tigon.analysis.multiply_adds import products_of
from tigon.base.extents import estimate
from tigon.base.frozen import replace
from tigon.ir import CONSTANT, VARIABLE, Graph, Node, Value, rewrite
from tigon.ops.record import TRANSPARENT, Family, has_effect
from tigon.passes.cut_joint import Choice as Choice
from tigon.passes.cut_joint import Forward, cheapest, is_leaf, repeat
from tigon.passes.primitives import again, kept

SEGMENTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
PRODUCTS_PER_BYTE = 4
"""That a processor multiplies while it moves one byte: what repeated elementwise work counts."""


def forward_part(graph: Graph, results: int) -> Forward:
    """All that the first `results` outputs of a graph of primitives are made by."""
    own = set(Graph.of(graph.outputs[:results]).nodes)
    nodes = [node for node in graph.nodes if node in own and not is_leaf(node)]
    read = _read_from(graph, results, own)
    return Forward(tuple(nodes), frozenset(graph.outputs[:results]), read)


def _read_from(graph: Graph, results: int, own: Collection[Node]) -> tuple[Value, ...]:
    """What the rest of the graph reads of its own part."""
    read: dict[Value, None] = {}
    for node in graph.nodes:
        if node not in own:
            read.update(dict.fromkeys(value for value in node.inputs if value.node in own))
    read.update(dict.fromkeys(value for value in graph.outputs[results:] if value.node in own))
    return tuple(value for value in read if value.node.op is not CONSTANT)


def choices(forward: Forward) -> Iterator[Choice]:
    """The first computes nothing twice but what is cheaper repeated than kept."""
    first = cheapest(forward)
    yield first
    kept = first.kept
    forward = replace(forward, nodes=_just_before_use(forward.nodes))
    place = {node: number for number, node in enumerate(forward.nodes)}
    taken = [0] * len(forward.nodes)
    for value in kept:
        if value.node in place and value not in forward.results:
            taken[place[value.node]] += _bytes(value)
    crossing = _crossing_bytes(forward, place)
    seen = {kept}
    for count in SEGMENTS:
        starts = _starts(taken, crossing, count)
        for repeated_segments in range(1, len(starts) + 1):
            choice = _with_repeats(forward, kept, place, taken, starts, repeated_segments)
            if choice is not None and choice.kept not in seen:
                seen.add(choice.kept)
                yield choice


def recompute(graph: Graph, results: int, choice: Choice) -> Graph:
    """The graph with a second copy of what the rest of it reads of the part that its first
    `results` outputs are made by, where `choice` does not keep that."""
    own = set(Graph.of(graph.outputs[:results]).nodes)
    read = _read_from(graph, results, own)
    outputs = frozenset(graph.outputs[:results])
    in_memory: dict[Value, Value] = {}

    def store(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if is_leaf(node) or choice.kept.isdisjoint(node.outputs):
            return None
        made = node.replace(inputs).outputs
        made = tuple(
            kept(new) if old in choice.kept and old not in outputs else new
            for old, new in zip(node.outputs, made, strict=True)
        )
        in_memory.update(zip(node.outputs, made, strict=True))
        return made

    forward = rewrite(Graph(graph.inputs, (*graph.outputs[:results], *read)), store)
    values = {value: in_memory.get(value, value) for value in choice.kept}
    marked = {old: again(new) for old, new in values.items()}
    copies = repeat(read, marked, choice.again)
    copy_of = dict(zip(read, copies, strict=True))

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node in own or copy_of.keys().isdisjoint(inputs):
            return None
        return node.replace(tuple(copy_of.get(value, value) for value in inputs)).outputs

    rest = rewrite(graph, rule).outputs[results:]
    rest = tuple(copy_of.get(value, value) for value in rest)
    return Graph(graph.inputs, [*forward.outputs[:results], *rest])


def drop_marks(graph: Graph) -> Graph:
    """Without the marks of what is computed a second time: from here on nothing is merged."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return inputs if node.op is again else None

    return rewrite(graph, rule, lambda node: node.op is again)


def _just_before_use(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """In an order in which what follows from little, such as a mask from a random key, comes where
    it is needed: all of them at the beginning would cross all segments."""
    level: dict[Node, int] = {}
    first_use: dict[Node, int] = {}
    for node in nodes:
        level[node] = max((level.get(value.node, -1) for value in node.inputs), default=-1) + 1
    for node in reversed(nodes):
        level[node] = first_use.get(node, level[node] + 1) - 1
        for value in node.inputs:
            first_use[value.node] = min(first_use.get(value.node, level[node]), level[node])
    return tuple(sorted(nodes, key=level.__getitem__))


def _bytes(value: Value) -> int:
    return int(estimate(value.type.nbytes))


def _crossing_bytes(forward: Forward, place: Mapping[Node, int]) -> list[int]:
    """Before each node: what was computed by then and is read from then on, inputs and results
    aside."""
    last: dict[Value, int] = {}
    for number, node in enumerate(forward.nodes):
        for value in node.inputs:
            while value.node in place and value.node.op.family in TRANSPARENT and value.node.inputs:
                value = value.node.inputs[0]
            last[value] = number
    change = [0] * (len(forward.nodes) + 1)
    for value, number in last.items():
        if value.node in place and value not in forward.results:
            change[place[value.node] + 1] += _bytes(value)
            change[number + 1] -= _bytes(value)
    return list(accumulate(change))


def _starts(taken: Sequence[int], crossing: Sequence[int], count: int) -> list[int]:
    """Where `count` segments of about equally many bytes begin: each where least crosses, near its
    share."""
    total = sum(taken)
    before = [0, *accumulate(taken)]
    starts = [0]
    for segment in range(1, count):
        low, high = (total * (segment + side) / count for side in (-0.4, 0.4))
        places = [
            place for place in range(starts[-1] + 1, len(taken)) if low <= before[place] <= high
        ]
        if places:
            wanted = total * segment / count
            starts.append(min(places, key=lambda at: (crossing[at], abs(before[at] - wanted))))
    return starts


def _with_repeats(
    forward: Forward,
    kept: frozenset[Value],
    place: Mapping[Node, int],
    taken: Sequence[int],
    starts: Sequence[int],
    count: int,
) -> Choice | None:
    """The first `count` segments computed again; None where one of them has an effect."""
    bounds = [*starts, len(forward.nodes)]
    end = bounds[count]
    if any(has_effect(node) for node in forward.nodes[:end]):
        return None
    segments = list(pairwise(bounds[: count + 1]))
    wanted: dict[int, list[Value]] = {first: [] for first, _ in segments}
    lasting: set[Value] = set()
    for value in kept:
        number = place.get(value.node, end)
        if number >= end or value in forward.results:
            lasting.add(value)
        else:
            wanted[max(first for first in wanted if first <= number)].append(value)
    twice = frozenset(value for values in wanted.values() for value in values)
    nodes: set[Node] = set()
    for first, todo in wanted.items():
        seen: set[Value] = set()
        while todo:
            value = todo.pop()
            node = value.node
            if value in seen or node.op is CONSTANT:
                continue
            seen.add(value)
            early = is_leaf(node) or place[node] < first
            if value in forward.results or (early and node.op.family not in TRANSPARENT):
                lasting.add(value)
            else:
                nodes.add(node)
                todo += node.inputs
    nodes -= {value.node for value in lasting}
    stays = sum(
        _bytes(value)
        for value in lasting
        if value.node.op is not VARIABLE and value not in forward.results
    )
    largest = max(sum(taken[first:after]) for first, after in segments)
    return Choice(
        frozenset(lasting), twice - lasting, stays + largest, float(sum(map(_work, nodes)))
    )


def _work(node: Node) -> int:
    moved = sum(map(_bytes, node.outputs)) * PRODUCTS_PER_BYTE
    return moved + (products_of(node) if node.op.family is Family.CONTRACTION else 0)
