"""A graph's numpy meaning: every node through its record's oracle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tigon.base import as_dtype
from tigon.ir import CONSTANT, Graph, Node, Value
from tigon.loop.semantics import convert
from tigon.ops.record import Family, common_dtype


def interpret(graph: Graph, inputs: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """Arrays of the outputs, given those of the inputs."""
    arrays: dict[Value, np.ndarray] = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        if node.outputs[0] in arrays:
            continue
        if node.op is CONSTANT:
            # A weak number keeps all its digits until it meets the dtype that it takes.
            float_literal = node.attrs.weak and isinstance(node.attrs.value, float)
            kind = np.float64 if float_literal else as_dtype(node.attrs.dtype).numpy
            arrays[node.outputs[0]] = np.array(node.attrs.value, kind).reshape(node.attrs.shape)
            continue
        with np.errstate(all="ignore"):
            results = node.op.oracle(node.attrs, *_operands(node, arrays))
        for value, array in zip(node.outputs, results, strict=True):
            result = np.asarray(array)
            assert result.shape == value.shape, (node, result.shape, value.shape)
            assert result.dtype == value.dtype.numpy, (node, result.dtype, value.type)
            arrays[value] = result
    return [arrays[value] for value in graph.outputs]


def _operands(node: Node, arrays: dict[Value, np.ndarray]) -> list[np.ndarray]:
    """Weak numbers take the dtype of the others."""
    found = [arrays[value] for value in node.inputs]
    if node.op.family is Family.ELEMENTWISE or any(value.type.weak for value in node.inputs):
        dtype = common_dtype(node.op.name, *(value.type for value in node.inputs))
        return [
            convert(array, dtype) if value.type.weak else array
            for array, value in zip(found, node.inputs, strict=True)
        ]
    return found
