"""What does not depend on the states of a loop is computed before it: products of rows for all rows
at once, and what is the same in each iteration once."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, topological_order
from tigon.ir.rewrite import rewrite
from tigon.ops.record import TRANSPARENT
from tigon.passes.loops import (
    Lifted,
    Lifting,
    Loop,
    can_lift,
    is_open_to_change,
    is_product_of_rows,
    is_pure,
    outside,
)


def hoist_from_loops(graph: Graph) -> Graph:
    """The graph whose loops compute what depends on their states, and little besides. A product of
    a row and of what is the same in each iteration becomes a product of all rows: it rounds as a
    product of that size does.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import show, variable
    >>> from tigon.ops import get
    >>> types = [TensorType(shape, as_dtype("float32")) for shape in ((9, 2, 3), (2, 3), (3, 3))]
    >>> x, s, w = (variable(name, type_) for name, type_ in zip("xsw", types))
    >>> body = '''graph(%d, %s, %w) {
    ...   %0 = _contract(%d, %w) {left='ab', right='bc', out='ac'}
    ...   %1 = broadcast_add(%0, %s)
    ...   return %1
    ... }'''
    >>> loop = get("_foreach")(x, s, w, body=body, data=1, states=1)
    >>> print(show(hoist_from_loops(Graph([x, s, w], loop[:1]))).split("\\n")[1].strip())
    %0 = _contract(%x, %w) {left='dab', right='bc', out='dac'}
    """
    return rewrite(graph, _hoist, is_open_to_change)


def _hoist(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.types is None or not is_open_to_change(node):
        return None
    loop = Loop(node, inputs)
    if not _Hoisting(loop).run():
        return None
    loop.drop_unread()
    return loop.closed().outputs


class _Hoisting:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._rows = {entry.inner: entry for entry in loop.data}
        self._others = {entry.inner: entry for entry in loop.others}
        self._lifting = Lifting(loop.length, self._leaf)
        self._free: dict[Node, bool] = {}
        """Nodes that do not depend on states, and whether they are the same in each iteration."""

    def run(self) -> bool:
        """Whether anything has moved."""
        results = self._loop.results()
        for node in topological_order(results):
            self._classify(node)
        replacements: dict[Value, Value] = {}
        stack = [value.node for value in results]
        for value in results:
            self._consider(value, replacements)
        seen = set(stack)
        while stack:
            node = stack.pop()
            if node.outputs[0] in replacements:
                continue
            for value in node.inputs:
                self._consider(value, replacements)
                if value.node not in seen:
                    seen.add(value.node)
                    stack.append(value.node)
        if replacements:
            self._loop.exchange(replacements)
        return bool(replacements)

    def _classify(self, node: Node) -> None:
        if node.op is CONSTANT:
            self._free[node] = True
        elif node.op is VARIABLE:
            if node.outputs[0] in self._rows:
                self._free[node] = False
            elif node.outputs[0] in self._others:
                self._free[node] = True
        elif is_pure(node) and all(value.node in self._free for value in node.inputs):
            same = all(self._free[value.node] for value in node.inputs)
            if same or can_lift(node):
                self._free[node] = same

    def _consider(self, value: Value, replacements: dict[Value, Value]) -> None:
        node = value.node
        if value in replacements or node not in self._free or node.op in (VARIABLE, CONSTANT):
            return
        same = self._free[node]
        if same and node.op.family not in TRANSPARENT:
            replacements[value] = self._loop.take(self._lifting.lift(value).value)
        elif not same and is_product_of_rows(node, [self._free[v.node] for v in node.inputs]):
            replacements[value] = self._loop.enter(self._lifting.lift(value).value)

    def _leaf(self, value: Value) -> Lifted | None:
        return outside(value, self._rows, self._others)
