"""Expressions that are written once and used over many values.

What a call is made of depends on its operator, attributes and types: of a thousand equal layers it
is worked out for one. Copies cost a tenth of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tigon.ir.graph import Node, Value, number_anew, topological_order

NAME = "\0"
"""In names of a template: the name that its user gives."""


class Template:
    """Nodes between variables of its own and results.

    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops.primitive.arithmetic import multiply
    >>> own, x, y = variable("own"), variable("x"), variable("y")
    >>> square = Template([own], [multiply(own, own)])
    >>> print(show(Graph([x, y], [*square.over([x]), *square.over([y], "second")])))
    graph(%x, %y) {
      %0 = broadcast_mul(%x, %x)
      %1 = broadcast_mul(%y, %y)
      return %0, %1
    }
    """

    def __init__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        number = {value: place for place, value in enumerate(inputs)}
        self._steps = []
        own = {value.node for value in inputs}
        nodes = [node for node in topological_order(outputs) if node not in own]
        for node in nodes:
            self._steps.append((node, [number[value] for value in node.inputs]))
            for value in node.outputs:
                number[value] = len(number)
        self._outputs = [number[value] for value in outputs]
        serials = [node.serial for node in nodes]
        self._in_order = serials == sorted(serials)

    def over(
        self, values: Sequence[Value], name: str = "", hints: Mapping[str, str] | None = None
    ) -> tuple[Value, ...]:
        """The results with `values` in the place of the variables, made of fresh nodes. `name` and
        `hints` are for those that have none, and for names that speak of `NAME`."""
        given = [*values]
        made = []
        for node, inputs in self._steps:
            own = node.name
            copy = Node(
                node.op,
                tuple([given[place] for place in inputs]),
                node.attrs,
                own.replace(NAME, name) if own else own,
                node.hints or hints,
                node.types,
            )
            made.append(copy)
            given += copy.outputs
        if not self._in_order:
            for old, copy in zip(self._steps, made, strict=True):
                copy.serial = old[0].serial  # their order among each other
            number_anew(made)
        return tuple([given[place] for place in self._outputs])
