"""What no later iteration reads is computed after a loop: products of all rows at once, and sums of
products over the iterations as one product, whose inner axis they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tigon.base.extents import same_shape
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, topological_order, variable
from tigon.ir.rewrite import rewrite, substitute
from tigon.ops.record import Family
from tigon.passes.loops import (
    Lifted,
    Lifting,
    Loop,
    again,
    can_lift,
    cone,
    contraction,
    is_open_to_change,
    is_product_of_rows,
    is_pure,
    is_view,
    outside,
)
from tigon.passes.primitives import add, reduce_sum


def sink_from_loops(graph: Graph) -> Graph:
    """The graph whose loops compute what their states need; and without results that nobody reads.
    A gradient of a weight is one product over all iterations, rounded as a sum of that length is.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import show, variable
    >>> from tigon.ops import get
    >>> types = [TensorType(shape, as_dtype("float32")) for shape in ((9, 2, 3), (9, 2, 4), (3, 4))]
    >>> x, y, total = (variable(name, type_) for name, type_ in zip("xyt", types))
    >>> body = '''graph(%a, %b, %sum) {
    ...   %0 = _contract(%a, %b) {left='ka', right='kb', out='ab'}
    ...   %1 = broadcast_add(%sum, %0)
    ...   return %1
    ... }'''
    >>> loop = get("_foreach")(x, y, total, body=body, data=2, states=1)
    >>> print(show(sink_from_loops(Graph([x, y, total], loop[:1]))))
    graph(%x: float32[9,2,3], %y: float32[9,2,4], %t: float32[3,4]) {
      %0 = _contract(%x, %y) {left='cka', right='ckb', out='ab'}
      %1 = broadcast_add(%t, %0)
      return %1
    }
    """
    while True:  # what a loop does not read any more, another one need not make
        found = _once(graph)
        if found is graph:
            return graph
        graph = found


def _once(graph: Graph) -> Graph:
    read = {*graph.outputs, *[value for node in graph.nodes for value in node.inputs]}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.types is None or not is_open_to_change(node):
            return None
        return _Sinking(Loop(node, inputs), node, read).run()

    return rewrite(graph, rule, is_open_to_change)


class _Sinking:
    def __init__(self, loop: Loop, node: Node, read: Collection[Value]) -> None:
        self._loop = loop
        self._node = node
        outs, states = len(loop.outs), len(loop.states)
        used = [value in read for value in node.outputs]
        self._wanted = [number for number in range(outs) if used[number]]
        self._ends = used[outs : outs + states]
        self._begins = used[outs + states :]
        self._live = self._live_states()
        self._rows = {entry.inner: entry for entry in loop.data}
        self._others = {entry.inner: entry for entry in loop.others}
        self._states = {state.inner: number for number, state in enumerate(loop.states)}
        self._sums = self._accumulators()
        core = [s.next for i, s in enumerate(loop.states) if i in self._live - set(self._sums)]
        self._core = cone(core)
        self._same: set[Node] = set()
        self._late: dict[Node, bool] = {}
        """Nodes that come after a product that the states do not need: whether they can be computed
        for all iterations at once."""
        self._classify()
        self._stacks: dict[Value, Value] = {}
        """Of what is stacked in the loop: what stands for that outside."""
        self._lifting = Lifting(loop.length, self._leaf)

    def _live_states(self) -> set[int]:
        states = self._loop.states
        live = {i for i, used in enumerate(self._ends) if used or self._begins[i]}
        while True:
            results = [self._loop.outs[i] for i in self._wanted]
            nodes = cone([*results, *[states[i].next for i in live]])
            found = live | {i for i, state in enumerate(states) if state.inner.node in nodes}
            if found == live:
                return live
            live = found

    def _accumulators(self) -> dict[int, Value]:
        """States that only sum up: what each iteration adds."""
        states = self._loop.states
        results = [
            *[self._loop.outs[i] for i in self._wanted],
            *[states[i].next for i in self._live],
        ]
        users: dict[Value, int] = {}
        for node in topological_order(results):
            for value in node.inputs:
                users[value] = users.get(value, 0) + 1
        found = {}
        for number in sorted(self._live):
            state = states[number]
            node = state.next.node
            alone = results.count(state.next) == 1 and state.next not in users
            if node.op is not add or self._begins[number] or not alone:
                continue
            if users.get(state.inner) != 1 or state.inner not in node.inputs:
                continue
            (term,) = (value for value in node.inputs if value is not state.inner)
            if same_shape(term.shape, state.inner.shape) and term.dtype is state.inner.dtype:
                found[number] = term
        return found

    def _classify(self) -> None:
        results = [self._loop.outs[i] for i in self._wanted]
        for node in topological_order([*results, *self._sums.values()]):
            if node.op is CONSTANT or node.outputs[0] in self._others:
                self._same.add(node)
            elif is_pure(node) and all(value.node in self._same for value in node.inputs):
                self._same.add(node)
            elif node not in self._core and node.op is not VARIABLE:
                late = [self._late[v.node] for v in node.inputs if v.node in self._late]
                if late or is_product_of_rows(node, [v.node in self._same for v in node.inputs]):
                    self._late[node] = all(late) and can_lift(node)

    # -- what is there outside

    def _leaf(self, value: Value) -> Lifted | None:
        found = outside(value, self._rows, self._others)
        if found is not None:
            return found
        node = value.node
        if node in self._same or self._late.get(node):
            return None
        if is_view(node) and not self._is_stacked(value):
            return None
        if value not in self._stacks:
            self._stacks[value] = variable("stacked", self._loop.stacked(value))
        return Lifted(self._stacks[value], True)

    def _is_stacked(self, value: Value) -> bool:
        return value in self._stacks or value in [self._loop.outs[i] for i in self._wanted]

    # -- sums over iterations

    def _with_totals(self) -> dict[int, Value]:
        """The accumulators whose sum over the iterations is a product, or made of such."""
        has_total: set[Value] = set()
        for node in topological_order(list(self._sums.values())):
            if node in self._core or node in self._same or not is_pure(node):
                continue
            (value,) = node.outputs
            if node.op.family is Family.CONTRACTION:
                found = all(self._late.get(v.node, True) for v in node.inputs)
            elif node.op is add:
                found = all(
                    v in has_total and same_shape(v.shape, value.shape) for v in node.inputs
                )
            else:
                found = is_view(node) and node.inputs[0] in has_total
            if found:
                has_total.add(value)
        return {number: term for number, term in self._sums.items() if term in has_total}

    def _total(self, term: Value) -> Value:
        made: dict[Value, Value] = {}
        stack = [term]
        while stack:
            node = stack[-1].node
            product = node.op.family is Family.CONTRACTION
            missing = [] if product else [v for v in node.inputs if v not in made]
            if missing:
                stack += missing
                continue
            value = stack.pop()
            if product:
                made[value] = self._product(node)
            else:
                made[value] = again(node, tuple(made[v] for v in node.inputs), node.attrs)
        return made[term]

    def _product(self, node: Node) -> Value:
        """The sum over the iterations."""
        operands = [self._lifting.lift(v) for v in node.inputs]
        if all(operand.stacked for operand in operands):
            return contraction(node, operands, summed=True)
        sums = (reduce_sum(o.value, axes=(0,)) if o.stacked else o.value for o in operands)
        return again(node, tuple(sums), node.attrs)

    def _row_sum(self, term: Value) -> Value | None:
        """The sum over the iterations of what is a sum over a row that is stacked anyway."""
        views = []
        node = term.node
        while is_view(node) and node not in self._core:
            views.append(node)
            node = node.inputs[0].node
        if node in self._core or node.op is not reduce_sum or not self._is_stacked(node.inputs[0]):
            return None
        axes = tuple(axis + 1 for axis in node.attrs.axes)
        found: Value = reduce_sum(self._lifting.lift(node.inputs[0]).value, axes=(0, *axes))
        for view in reversed(views):
            found = again(view, (found,), view.attrs)
        return found

    # -- all together

    def run(self) -> list[Value] | None:
        loop = self._loop
        outer: dict[int, Value] = {}  # output of the node -> what it is outside
        for number in self._wanted:
            value = loop.outs[number]
            if self._late.get(value.node):
                outer[number] = self._lifting.lift(value).value
        first = len(loop.outs)
        sums = {i: self._total(term) for i, term in self._with_totals().items()}
        for number, term in self._sums.items():
            found = None if number in sums else self._row_sum(term)
            if found is not None:
                sums[number] = found
        for number, total in sums.items():
            outer[first + number] = add(loop.states[number].outer, total)
        states = [i for i in range(len(loop.states)) if i in self._live and i not in sums]
        outs = [i for i in self._wanted if i not in outer]
        if not outer and len(outs) == first and len(states) == len(loop.states):
            return None
        return self._closed(outer, outs, states)

    def _closed(
        self, outer: dict[int, Value], outs: Sequence[int], states: Sequence[int]
    ) -> list[Value]:
        loop, first, every = self._loop, len(self._loop.outs), len(self._loop.states)
        results = {loop.outs[number]: place for place, number in reversed([*enumerate(outs)])}
        begins = {loop.states[number].inner: place for place, number in enumerate(states)}
        kept = [loop.outs[number] for number in outs]
        for value in self._stacks:
            if value not in results and value not in begins:
                results[value] = len(kept)
                kept.append(value)
        loop.outs = kept
        loop.states = [loop.states[number] for number in states]
        found = list(self._node.outputs)  # where nobody reads one, it does not matter
        made: Sequence[Value] = ()
        if loop.outs or loop.states:
            loop.drop_unread()
            made = loop.closed().outputs
        for place, number in enumerate(outs):
            found[number] = made[place]
        for place, number in enumerate(states):
            found[first + number] = made[len(kept) + place]
            found[first + every + number] = made[len(kept) + len(states) + place]
        stacked = {
            stand_in: made[results[value]]
            if value in results
            else made[len(kept) + len(states) + begins[value]]
            for value, stand_in in self._stacks.items()
        }
        for number, value in zip(outer, substitute(list(outer.values()), stacked), strict=True):
            found[number] = value
        return found
