"""A program in another element type."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tigon.base.dtypes import DType, as_dtype
from tigon.base.frozen import replace
from tigon.base.types import TensorType
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, constant, graphs_within
from tigon.ir.rewrite import retyped, rewrite


def recast(graph: Graph, old: Collection[str], new: DType) -> Graph:
    """The program that computes in `new` what it computed in the dtypes `old`, given variables of
    that dtype: constants and attributes named `dtype` follow, in graphs within it, too.

    >>> from tigon.ir.graph import constant
    >>> (one,) = recast(Graph.of([constant([0.1, 2], "float32")]), {"float32"}, as_dtype("float16"))
    >>> one.attrs.dtype, one.attrs.value
    ('float16', (0.0999755859375, 2.0))
    """

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is VARIABLE:
            return _variable(node, old, new)
        if node.op is CONSTANT:
            return _constant(node, old, new)
        changed: dict[str, object] = {
            name: other
            for name, inner in graphs_within(node).items()
            if (other := recast(inner, old, new)) is not inner
        }
        if getattr(node.attrs, "dtype", None) in old:
            changed["dtype"] = new.name
        return node.replace(inputs, replace(node.attrs, **changed)).outputs if changed else None

    return rewrite(graph, rule)


def _variable(node: Node, old: Collection[str], new: DType) -> Sequence[Value] | None:
    if node.types is None or node.types[0].dtype.name not in old:
        return None
    return retyped(node, TensorType(node.types[0].shape, new)).outputs


def _constant(node: Node, old: Collection[str], new: DType) -> Sequence[Value] | None:
    own = node.attrs
    if own.weak or own.dtype not in old:
        return None
    made = constant(np.array(own.value, as_dtype(own.dtype).numpy).reshape(own.shape), new.name)
    made.node.name = node.name
    return made.node.outputs
