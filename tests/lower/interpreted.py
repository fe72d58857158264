"""Running lowered nests with the loop interpreter: the oracle below the code generator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tigon.ir import CONSTANT, Graph, Value
from tigon.loop.interpret import interpret
from tigon.lower.fuse.fuser import fuse
from tigon.lower.nests import lower_group


def run_interpreted(
    graph: Graph, feeds: Mapping[str, np.ndarray], fused: bool = True
) -> list[np.ndarray]:
    """Evaluate a typed graph of primitives whose outputs are computed values."""
    memory: dict[Value, np.ndarray] = {}
    for value in graph.inputs:
        memory[value] = np.ascontiguousarray(feeds[value.node.name], value.dtype.numpy).ravel()
    for node in graph.nodes:
        if node.op is CONSTANT and node.attrs.shape:
            value = node.outputs[0]
            memory[value] = np.array(node.attrs.value, value.dtype.numpy)
    fusion = fuse(graph, fused)
    for group in fusion.groups:
        for lowered in lower_group(group, fusion):
            arrays = []
            for value in lowered.values:
                if value is None:
                    arrays.append(None)
                    continue
                if value not in memory:
                    memory[value] = np.zeros(value.type.size, value.dtype.numpy)
                arrays.append(memory[value])
            interpret(lowered.nest, arrays)
    return [memory[value].reshape(value.shape) for value in graph.outputs]
