"""Compute at compile time what depends on no input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tigon.base import InternalError
from tigon.ir.graph import (
    CONSTANT,
    VARIABLE,
    ConstantAttrs,
    Graph,
    Node,
    Value,
    has_open_attributes,
    is_open,
)
from tigon.ir.rewrite import rewrite
from tigon.ops.record import Family, has_effect
from tigon.passes.canonicalize import uniform_value
from tigon.passes.primitives import broadcast, full, reshape, slice_region, transpose

Evaluate = Callable[[Graph], "list[np.ndarray]"]
"""Runs a graph without inputs. It must not fold constants itself."""

LIMIT = 16
"""Elements of the largest constant made. Larger ones would live in the program for good, where
computing them again costs little."""

WORK = 1 << 16
"""Elements of the largest operand read at compile time, so that compiling stays quick."""


def fold_constants(graph: Graph, evaluate: Evaluate) -> Graph:
    """Replace small values that depend on no input by constants, weak where they were.

    All are computed by one call of `evaluate`. What is the same number everywhere becomes `_full`
    of that number whatever its size, since that takes no memory.
    """
    graph = _fold_uniform(graph, evaluate)
    wanted = _foldable(graph)
    if not wanted:
        return graph
    folded = {
        value.node: _constant(value, array)
        for value, array in zip(wanted, _evaluated(wanted, evaluate), strict=True)
    }

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return folded[node].outputs if node in folded else None

    return rewrite(graph, rule)


def _evaluated(values: Sequence[Value], evaluate: Evaluate) -> list[np.ndarray]:
    arrays = evaluate(Graph((), values))
    for value, array in zip(values, arrays, strict=True):
        if array.shape != value.shape:
            raise InternalError(
                f"{value.node.label}: folded to shape {array.shape}; expected {value.shape}"
            )
    return arrays


def _constant(value: Value, array: np.ndarray) -> Node:
    literal = array.item() if array.ndim == 0 else tuple(array.ravel().tolist())
    kind = value.type
    attrs = ConstantAttrs(literal, kind.dtype.name, kind.shape, kind.weak)
    return Node(CONSTANT, (), attrs, value.node.name, value.node.hints)


def _foldable(graph: Graph) -> list[Value]:
    """The last small values on the way from constants: one per node to replace."""
    settled: set[Node] = set()
    for node in graph.nodes:
        if is_open(node) or has_effect(node):
            continue
        if node.op is CONSTANT or _is_uniform_leaf(node):
            settled.add(node)
        elif node.op is VARIABLE or node.types is None or len(node.outputs) != 1:
            continue
        elif node.inputs and all(
            value.node in settled and value.type.size <= WORK for value in node.inputs
        ):
            settled.add(node)
    used_outside = {
        value
        for node in graph.nodes
        if node not in settled
        for value in node.inputs
        if value.node in settled
    }
    used_outside.update(value for value in graph.outputs if value.node in settled)
    # From the top down: below a value too large to keep, its parts may still be folded.
    found: list[Value] = []
    for node in reversed(graph.nodes):
        if node not in settled or not any(value in used_outside for value in node.outputs):
            continue
        if node.op is CONSTANT or _is_uniform_leaf(node):
            continue
        value = node.outputs[0]
        if value.type.size <= LIMIT:
            found.append(value)
        else:
            used_outside.update(node.inputs)
    return found[::-1]


def _is_uniform_leaf(node: Node) -> bool:
    return node.op is full


# ------------------------------------------------------------------- the same number everywhere


def _fold_uniform(graph: Graph, evaluate: Evaluate) -> Graph:
    """Elementwise operators and views over `_full` give `_full`.

    Numbers are computed in a first sweep, over scalars of the same dtypes, by one evaluation.
    """
    scalars: dict[Value, Value] = {}
    wanted: list[Value] = []
    for node in graph.nodes:
        made = _scalar_twin(node, scalars)
        if made is None:
            continue
        scalars[node.outputs[0]] = made
        if node.inputs and node.outputs[0].type.size > LIMIT:
            wanted.append(node.outputs[0])
    if not wanted:
        return graph
    computed = [value for value in wanted if scalars[value].node.op is not CONSTANT]
    arrays = _evaluated([scalars[value] for value in computed], evaluate) if computed else []
    numbers = {value: array.item() for value, array in zip(computed, arrays, strict=True)}

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        value = node.outputs[0] if len(node.outputs) == 1 else None
        if value is None or value not in scalars or not node.inputs:
            return None
        if value.type.size <= LIMIT:
            return None
        number = numbers.get(value)
        if number is None:
            number = scalars[value].node.attrs.value
        attrs = full.make_attrs({"shape": value.shape, "dtype": value.dtype.name, "value": number})
        made = Node(full, (), attrs, node.name, node.hints)
        return made.outputs if made.outputs[0].type == value.type else None

    return rewrite(graph, rule)


_SPREADING = (broadcast, reshape, slice_region, transpose)
"""Views whose elements are all elements of their operand."""


def _scalar_twin(node: Node, scalars: dict[Value, Value]) -> Value | None:
    """The 0-d value that each element of a uniform node equals."""
    if node.op is VARIABLE or node.types is None or len(node.outputs) != 1:
        return None
    number = uniform_value(node.outputs[0])
    if number is not None:
        kind = node.outputs[0].type
        attrs = ConstantAttrs(_in_dtype(number, kind.dtype.kind), kind.dtype.name, (), kind.weak)
        return Node(CONSTANT, (), attrs).outputs[0]
    if node.op is CONSTANT or not node.inputs:
        return None
    if node.op not in _SPREADING and has_open_attributes(node):
        return None
    twins = [scalars.get(value) for value in node.inputs]
    if node.op in _SPREADING:
        return twins[0]
    if node.op.family is not Family.ELEMENTWISE or any(twin is None for twin in twins):
        return None
    return Node(node.op, tuple(twin for twin in twins if twin is not None), node.attrs).outputs[0]


def _in_dtype(number: float | int | bool, kind: str) -> float | int | bool:
    return number if kind == "f" else bool(number) if kind == "b" else int(number)
