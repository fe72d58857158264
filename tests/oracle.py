"""Graphs and lowering rules in plain numpy: what the compiler is tested against.

`evaluate` runs a graph through the records' `numpy=` oracles; a composite without an oracle is
taken apart. `evaluate_lowering` runs a primitive's `lower` with the loop interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon.base import InternalError, TensorType, as_dtype
from tigon.base.types import contiguous_strides
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, variable
from tigon.loop import build as L
from tigon.loop.grammar import Buffer, Expr, LoopAxis, Nest, Store
from tigon.loop.interpret import interpret
from tigon.loop.semantics import convert
from tigon.ops.record import Family, common_dtype


def evaluate(graph: Graph, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Arrays of the graph's outputs, given those of its inputs by name.

    >>> from tigon.ops.primitive.functions import exp
    >>> x = variable("x", TensorType((2,), as_dtype("float32")))
    >>> evaluate(Graph([x], [exp(x) - 1]), {"x": np.zeros(2, np.float32)})
    [array([0., 0.], dtype=float32)]
    """
    known: dict[Value, np.ndarray] = {}
    for value in graph.inputs:
        array = np.asarray(arrays[value.node.name])
        if value.is_typed and not value.type.weak:
            assert type_of(array) == value.type, (value, array.shape, array.dtype)
        known[value] = array
    _evaluate(graph.nodes, known)
    return [known[value] for value in graph.outputs]


def type_of(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, as_dtype(array.dtype))


def _evaluate(nodes: Sequence[Node], known: dict[Value, np.ndarray]) -> None:
    for node in nodes:
        if node.outputs[0] in known:
            continue
        if node.op is VARIABLE:
            raise InternalError(f"oracle: no array for {node.label}")
        if node.op is CONSTANT:
            # A weak number keeps all its digits until it meets the dtype that it takes.
            dtype = None if node.attrs.weak else as_dtype(node.attrs.dtype).numpy
            literal = np.array(node.attrs.value, dtype)
            known[node.outputs[0]] = literal.reshape(node.attrs.shape)
            continue
        results = apply(node, [known[value] for value in node.inputs])
        for value, array in zip(node.outputs, results, strict=True):
            if value.is_typed and not value.type.weak:
                assert array.shape == value.shape, (node, array.shape, value.type)
                assert array.dtype == value.dtype.numpy, (node, array.dtype, value.type)
            known[value] = array


def apply(node: Node, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """One node: its oracle, or else its decomposition."""
    types = operand_types(node, operands)
    if any(t.weak for t in types) and node.op.family is Family.COMPOSITE:
        return apply_decomposition(node, operands)  # it says what a number's dtype should be
    if any(t.weak for t in types) and not all(t.weak for t in types):
        dtype = common_dtype(node.op.name, *types)
        operands = [
            convert(array, dtype) if t.weak else array
            for array, t in zip(operands, types, strict=True)
        ]
    if node.op.numpy is not None:
        with np.errstate(all="ignore"):
            return [np.asarray(array) for array in node.op.oracle(node.attrs, *operands)]
    return apply_decomposition(node, operands)


def operand_types(node: Node, operands: Sequence[np.ndarray]) -> list[TensorType]:
    """Types of the arrays; Python numbers are weak, and have the dtype a graph gives them."""
    types = []
    for value, array in zip(node.inputs, operands, strict=True):
        weak = value.type.weak if value.is_typed else _is_number(value.node)
        dtype = as_dtype("float32" if weak and array.dtype.kind == "f" else array.dtype)
        types.append(TensorType(array.shape, dtype, weak))
    return types


def _is_number(node: Node) -> bool:
    return node.op is CONSTANT and node.attrs.weak


def apply_decomposition(node: Node, operands: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A composite node through its decomposition; the composites inside use their oracles."""
    types = operand_types(node, operands)
    inputs = [variable(f"operand{i}", t) for i, t in enumerate(types)]
    made = node.op.rule(node.op.decompose, node.attrs, *inputs)
    outputs = made if isinstance(made, tuple) else (made,)
    graph = Graph(inputs, outputs)
    return evaluate(graph, {f"operand{i}": array for i, array in enumerate(operands)})


def evaluate_lowering(node: Node, operands: Sequence[np.ndarray]) -> np.ndarray:
    """A primitive node through its `lower`, element by element, in the loop interpreter."""
    op, result = node.op, node.outputs[0].type
    types = tuple(value.type for value in node.inputs)
    axes = tuple(LoopAxis(f"i{i}", L.const(n)) for i, n in enumerate(result.shape))
    coords = tuple(L.axis(axis.name) for axis in axes)

    def read(index: int, place: Sequence[Expr]) -> Expr:
        assert len(place) == types[index].ndim, (op, index, place)
        return L.load(index, _flat(place, types[index].shape), types[index].dtype)

    element: Any
    if op.family is Family.ELEMENTWISE:
        loads = [
            read(i, [L.const(0) if n == 1 else c for n, c in _aligned(t.shape, coords)])
            for i, t in enumerate(types)
        ]
        element = op.rule(op.lower, node.attrs, *loads)
    else:
        element = op.rule(op.lower, node.attrs, types, coords, read)
    assert element.dtype is result.dtype, (op, element.dtype, result)
    buffers = (*(Buffer(t.dtype, "in") for t in types), Buffer(result.dtype, "out"))
    body = (Store(len(types), _flat(coords, result.shape), element),)
    out = np.zeros(result.size, result.dtype.numpy)
    interpret(
        Nest(buffers, axes, body), [*(np.ascontiguousarray(a).ravel() for a in operands), out]
    )
    return out.reshape(result.shape)


def _aligned(shape: tuple[int, ...], coords: tuple[Expr, ...]) -> list[tuple[int, Expr]]:
    return list(zip(shape, coords[len(coords) - len(shape) :], strict=True))


def _flat(place: Sequence[Expr], shape: tuple[int, ...]) -> Expr:
    total: Expr = L.const(0)
    for coordinate, stride in zip(place, contiguous_strides(shape), strict=True):
        total = L.add(total, L.mul(coordinate, stride))
    return total
