"""What every composite owes: its decomposition means what its oracle says, and its gradients are
those of finite differences, to second order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.fuzz.interpret import interpret
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Node, Value, variable
from tigon.ops.primitive.arithmetic import multiply
from tigon.ops.record import Operator
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient
from tigon.passes.roles import operand_roles


def arrays_of(op: Operator, sample: tuple, dtype: str, seed: int = 0) -> tuple[list, dict]:
    """Operands and attributes of a sample."""
    *given, attributes = sample
    rng = np.random.default_rng(seed)
    low, high = op.domain or (-2.0, 2.0)
    arrays = []
    for shape in given:
        if isinstance(shape, np.ndarray):
            arrays.append(shape.astype(dtype) if shape.dtype.kind == "f" else shape)
        else:
            arrays.append(rng.uniform(low, high, shape).astype(dtype))
    return arrays, attributes


def inputs_for(arrays: Sequence[np.ndarray]) -> list[Value]:
    return [variable(f"x{i}", TensorType(a.shape, as_dtype(a.dtype))) for i, a in enumerate(arrays)]


def check_meaning(op: Operator, sample: tuple, dtype: str) -> None:
    """Inferred types, decomposition and oracle agree."""
    arrays, attributes = arrays_of(op, sample, dtype)
    inputs = inputs_for(arrays)
    node = Node(op, tuple(inputs), op.make_attrs(attributes))
    found = interpret(decompose(Graph(inputs, node.outputs)), arrays)
    expected = op.oracle(node.attrs, *arrays)
    tolerance = 1e-10 if dtype == "float64" else 2e-5
    assert len(found) == len(expected)
    for given, wanted, value in zip(found, expected, node.outputs, strict=True):
        wanted = np.asarray(wanted)
        assert given.shape == wanted.shape == value.shape
        assert given.dtype == wanted.dtype == value.dtype.numpy
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)


def _total(graph: Graph, weights: Sequence[np.ndarray], arrays: Sequence[np.ndarray]) -> float:
    results = interpret(graph, arrays)
    return sum(float((r * w).sum()) for r, w in zip(results, weights, strict=True))


def check_gradient(op: Operator, sample: tuple, order: int = 2, seed: int = 1) -> None:
    """The directional derivative along a random direction equals finite differences; then the same
    for the gradient itself."""
    arrays, attributes = arrays_of(op, sample, "float64", seed)
    inputs = inputs_for(arrays)
    node = Node(op, tuple(inputs), op.make_attrs(attributes))
    outputs = list(node.outputs[: op.visible_count(node.attrs)])
    roles = operand_roles(op, node.attrs, len(arrays))
    skipped = [operand.random_key or operand.auxiliary for operand in roles]
    wrt = [
        i
        for i, array in enumerate(arrays)
        if array.dtype.kind == "f" and not skipped[i] and not isinstance(sample[i], np.ndarray)
    ]
    for _ in range(order):
        inputs, outputs, arrays = _check_once(inputs, outputs, arrays, wrt, seed)
        if not outputs:
            return


def _check_once(
    inputs: list[Value], outputs: list[Value], arrays: list, wrt: list[int], seed: int
) -> tuple[list[Value], list[Value], list]:
    rng = np.random.default_rng(seed + 10)
    cotangents = [variable(f"g{len(inputs)}_{i}", v.type) for i, v in enumerate(outputs)]
    weights = [rng.uniform(-1, 1, v.shape) for v in outputs]
    found = gradient(outputs, cotangents, [inputs[i] for i in wrt])
    for position, cotangent in zip(wrt, found, strict=True):
        if cotangent is not None:
            assert cotangent.shape == inputs[position].shape
    forward = decompose(Graph(inputs, outputs))
    backward = decompose(Graph([*inputs, *cotangents], [g for g in found if g is not None]))
    values = iter(interpret(backward, [*arrays, *weights]))
    h = 1e-6
    for position, cotangent in zip(wrt, found, strict=True):
        direction = rng.uniform(-1, 1, arrays[position].shape)
        moved = [list(arrays), list(arrays)]
        moved[0][position] = arrays[position] + h * direction
        moved[1][position] = arrays[position] - h * direction
        expected = (_total(forward, weights, moved[0]) - _total(forward, weights, moved[1])) / (
            2 * h
        )
        given = float((next(values) * direction).sum()) if cotangent is not None else 0.0
        np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-5)
    kept = [g for g in found if g is not None]
    # A linear functional of the gradient, so that the second pass sees it as one function.
    scaled = [multiply(g, 1.0) for g in kept]
    return [*inputs, *cotangents], scaled, [*arrays, *weights]
