"""What the gradient of a loop would compute again, iteration by iteration, is kept by the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tigon.base.extents import estimate, same_shape
from tigon.base.frozen import Frozen
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, topological_order, variable
from tigon.ir.rewrite import rewrite, substitute
from tigon.ops.primitive import control as ops
from tigon.passes.cut_joint import cheapest_to_keep
from tigon.passes.loops import Loop, simplified
from tigon.passes.primitives import reshape


def keep_residuals(graph: Graph) -> Graph:
    """The graph whose loops stack what loops over the states that their iterations began with read
    of these: values that together take the fewest bytes, among them no fewer than spare all but
    pointwise work a second time. As `cut_joint` does for a program, this does for an iteration."""
    while True:
        found = _one_pair(graph)
        if found is graph:
            return graph
        graph = found


def _one_pair(graph: Graph) -> Graph:
    for node in graph.nodes:
        if not _is_open(node) or node.op is not ops._foreach:
            continue
        sources = dict.fromkeys(
            value.node for value in node.inputs[: node.attrs.data] if _is_begin(value)
        )
        for source in sources:
            found = _Pair(source, node, graph).found()
            if found is not None:
                return _exchanged(graph, found)
    return graph


def _is_open(node: Node) -> bool:
    is_loop = node.op is ops._foreach or node.op is ops._while_loop
    return is_loop and node.types is not None and not node.attrs.recompute


def _is_begin(value: Value) -> bool:
    """Whether it stacks what iterations began with."""
    return _is_open(value.node) and value.index >= len(value.node.attrs.body.outputs)


class _Found(Frozen, eq=False):
    source: Loop
    """With what it keeps among its stacked results, last."""
    reader: Loop
    stand_ins: Mapping[Value, int]
    """Data of the reader -> the stacked result of the source."""


def _exchanged(graph: Graph, found: _Found) -> Graph:
    made: dict[int, Value] = {}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node is found.source.node:
            outputs = list(found.source.closed(dict(zip(node.inputs, inputs, strict=True))).outputs)
            made.update(enumerate(outputs))
            own = len(node.attrs.body.outputs) - node.attrs.states
            return [*outputs[:own], *outputs[len(found.source.outs) :]]
        if node is found.reader.node:
            outer = dict(zip(node.inputs, inputs, strict=True))
            outer.update((value, made[index]) for value, index in found.stand_ins.items())
            return found.reader.closed(outer).outputs
        return None

    return rewrite(graph, rule)


class _Pair:
    """A loop, and one that goes over the states that its iterations began with."""

    def __init__(self, source: Node, reader: Node, graph: Graph) -> None:
        self._source = Loop(source, source.inputs)
        self._reader = Loop(reader, reader.inputs)
        self._graph = graph

    def found(self) -> _Found | None:
        early = self._early()
        crossing = self._crossing(early)
        source = self._source
        same = same_shape((source.length,), (self._reader.length,))
        if not same or source.iterations != self._reader.count or not crossing:
            return None
        values = list(early)
        inner = [entry.inner for entry in (*source.data, *source.others, *source.key)]
        states = [state.inner for state in source.states]
        results = source.results()
        moved = substitute(values, {v: early[v] for v in values if v.node.op is VARIABLE})
        shared = simplified(Graph([*inner, *states], [*results, *moved]))
        source.adopt(shared.outputs[: len(results)])
        within = dict(zip(values, shared.outputs[len(results) :], strict=True))
        present = {
            value
            for value, output in zip(source.outs, source.node.outputs, strict=False)
            if output in self._graph.users or output in self._graph.outputs
        }
        price = {state: float(estimate(state.type.nbytes)) or 1.0 for state in states}
        wanted = [within[value] for value in crossing]
        return self._keeping(within, cheapest_to_keep(wanted, present, price))

    def _keeping(self, within: Mapping[Value, Value], kept: set[Value]) -> _Found | None:
        source, reader = self._source, self._reader
        places = {value: number for number, value in reversed([*enumerate(source.outs)])}
        given = {entry.outer for entry in reader.data}
        stand_ins: dict[Value, int] = {}
        replacements: dict[Value, Value] = {}
        stacked: dict[Value, Value] = {}
        for value, own in within.items():
            if value.node.op is VARIABLE or own not in kept or own.node.op is VARIABLE:
                continue
            if own not in places:
                places[own] = len(source.outs)
                source.outs.append(own)
            if own not in stacked:
                outer = variable("kept", source.stacked(own))
                stand_ins[outer] = places[own]
                stacked[own] = reader.enter(outer)
            row = stacked[own]
            same = same_shape(row.shape, value.shape)
            replacements[value] = row if same else reshape(row, shape=value.shape)
        if not replacements:
            return None
        reader.exchange(replacements)
        reader.drop_unread()
        spared = given.difference(entry.outer for entry in reader.data)
        return _Found(source, reader, stand_ins) if stand_ins or spared else None

    def _early(self) -> dict[Value, Value]:
        """Values of the reader that iterations of the source can compute; of variables, as what."""
        source, reader = self._source, self._reader
        node = source.node
        first = len(source.outs) + len(source.states)
        same: dict[Value, Value] = {entry.outer: entry.inner for entry in source.data}
        same.update(zip(node.outputs, source.outs, strict=False))
        begins = node.outputs[first : first + len(source.states)]
        same.update(zip(begins, (state.inner for state in source.states), strict=True))
        found: dict[Value, Value] = {}
        for entry in reader.data:
            if entry.outer in same:
                inner = same[entry.outer]
                shape = entry.inner.shape
                as_row = inner if same_shape(inner.shape, shape) else reshape(inner, shape=shape)
                found[entry.inner] = as_row
        others = {entry.outer: entry.inner for entry in source.others}
        if node.attrs.ordinal == reader.node.attrs.ordinal:
            others.update((entry.outer, entry.inner) for entry in source.key)
        for entry in (*reader.others, *reader.key):
            if entry.outer in others:
                found[entry.inner] = others[entry.outer]
        for inner_node in topological_order(reader.results()):
            if inner_node.op is VARIABLE or inner_node.op is CONSTANT:
                continue
            if all(v in found or v.node.op is CONSTANT for v in inner_node.inputs):
                found.update((value, value) for value in inner_node.outputs)
        return found

    def _crossing(self, early: Mapping[Value, Value]) -> list[Value]:
        """Those that the rest of the reader reads."""
        results = self._reader.results()
        found = dict.fromkeys(value for value in results if value in early)
        for node in topological_order(results):
            if any(value not in early for value in node.outputs):
                found.update((value, None) for value in node.inputs if value in early)
        return list(found)
