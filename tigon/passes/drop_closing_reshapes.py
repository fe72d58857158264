"""What is written at the end of a program has an order of elements, and no shape."""

from __future__ import annotations

from tigon.analysis.views import is_computed
from tigon.ir import Graph, Value
from tigon.passes.primitives import identity, reshape


def drop_closing_reshapes(graph: Graph) -> Graph:
    """Outputs that are copies of reshaped values, as these values: the same bytes in order, written
    by the kernel that computes them. An output may come out in another shape.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> from tigon.ops import get
    >>> x = variable("x", TensorType((2, 3), as_dtype("float32")))
    >>> flat = identity(reshape(get("exp")(x), shape=(6,)))
    >>> print(show(drop_closing_reshapes(Graph([x], [flat]))))
    graph(%x: float32[2,3]) {
      %0 = exp(%x)
      return %0
    }
    """
    taken = set(graph.outputs)
    outputs: list[Value] = []
    for value in graph.outputs:
        source = value.node.inputs[0] if value.node.op is identity else value
        while source.node.op is reshape:
            source = source.node.inputs[0]
        if source is not value and is_computed(source.node) and source not in taken:
            taken.add(source)
            value = source
        outputs.append(value)
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return Graph(graph.inputs, outputs)
