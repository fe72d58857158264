"""Every record against itself: its oracle, its type rule, its decomposition, its lowering and its
gradients have to tell the same story. Nothing here names an operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import tigon.ops
from tests.oracle import apply, apply_decomposition, evaluate, evaluate_lowering, type_of
from tigon.base import TigonError
from tigon.ir.graph import Graph, Node, Value, variable
from tigon.ops.record import Family, Operator, all_operators
from tigon.passes.gradient import gradient

OPERATORS = [op for op in all_operators() if op.name != "_vjp"]
LARGE = ("tigon.ops.nn", "tigon.ops.optimizer", "tigon.ops.vision.resize")
"""Their composites have tests of their own, in tests/ops_nn."""
BASIC = [
    op for op in OPERATORS if op.decompose is None or not op.decompose.__module__.startswith(LARGE)
]
LOWERED = [op for op in BASIC if op.lower is not None]
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


def operands_of(op: Operator, sample: tuple, dtype: str, seed: int = 0) -> list[np.ndarray]:
    """Arrays for a sample. Given arrays keep their values; floats among them take a float dtype."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    arrays = []
    for given in sample[:-1]:
        if isinstance(given, np.ndarray):
            both_float = given.dtype.kind == kind.kind == "f"
            arrays.append(given.astype(kind) if both_float else given)
        elif kind.kind == "f":
            low, high = op.domain or (-2.0, 2.0)
            arrays.append(rng.uniform(low, high, given).astype(kind))
        else:
            low, high = (0, 2) if kind.kind == "b" else (0 if kind.kind == "u" else -5, 6)
            arrays.append(rng.integers(low, high, given).astype(kind))
    return arrays


def node_of(op: Operator, sample: tuple, arrays: Sequence[np.ndarray]) -> Node:
    inputs = tuple(variable(f"x{i}", type_of(array)) for i, array in enumerate(arrays))
    return Node(op, inputs, op.make_attrs(sample[-1]))


def cases(op: Operator) -> Iterator[tuple[Node, list[np.ndarray]]]:
    """Typed nodes with operands: every sample under every dtype that the operator accepts."""
    for sample in op.samples:
        shaped = any(not isinstance(given, np.ndarray) for given in sample[:-1])
        for dtype in DTYPES if shaped else DTYPES[:1]:
            arrays = operands_of(op, sample, dtype)
            try:
                yield node_of(op, sample, arrays), arrays
            except TigonError:
                if dtype == "float32":
                    raise


def assert_close(found: np.ndarray, expected: np.ndarray, op: Operator, what: Any) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    assert found.dtype == expected.dtype, (what, found.dtype, expected.dtype)
    name = found.dtype.name
    tolerance = op.tolerance.get(name, TOLERANCE.get(name, 0.0))
    np.testing.assert_allclose(found, expected, tolerance, tolerance, err_msg=str(what))


def parametrized(operators: Sequence[Operator]) -> Any:
    return pytest.mark.parametrize("op", operators, ids=[op.name for op in operators])


@parametrized(OPERATORS)
def test_record_is_complete(op: Operator) -> None:
    assert op.doc.strip(), "a record explains itself"
    assert op.numpy is not None, "a record has an oracle"
    assert op.samples, "a record has samples"
    if op.differentiable and op.family is not Family.COMPOSITE:
        assert op.grad is not None, "a differentiable primitive has a gradient rule"
    assert (op.family is Family.COMPOSITE) == (op.decompose is not None)


@parametrized(BASIC)
def test_types_are_as_inferred(op: Operator) -> None:
    for node, arrays in cases(op):
        for value, array in zip(node.outputs, apply(node, arrays), strict=True):
            assert type_of(array) == value.type, (node, node.attrs, value.type)


@parametrized([op for op in BASIC if op.decompose is not None])
def test_decomposition_means_the_same(op: Operator) -> None:
    for node, arrays in cases(op):
        what = (node, node.attrs, [type_of(a) for a in arrays])
        expected = op.oracle(node.attrs, *arrays)
        for found, wanted in zip(apply_decomposition(node, arrays), expected, strict=True):
            assert_close(found, wanted, op, what)


@parametrized(LOWERED)
def test_lowering_means_the_same(op: Operator) -> None:
    for node, arrays in cases(op):
        with np.errstate(all="ignore"):
            (expected,) = op.oracle(node.attrs, *arrays)
        what = (node, node.attrs, [type_of(a) for a in arrays])
        assert_close(evaluate_lowering(node, arrays), expected, op, what)


SMOOTH = [
    op for op in BASIC if op.differentiable and not op.is_loss and op.check_gradient is not False
]


@parametrized(SMOOTH)
def test_gradients_to_second_order(op: Operator) -> None:
    wanted = (True,) * len(op.samples) if op.check_gradient is True else op.check_gradient
    for index, sample in enumerate(op.samples):
        if not wanted[index]:
            continue
        arrays = operands_of(op, sample, "float64", seed=index)
        inputs = list(node_of(op, sample, arrays).inputs)
        outputs = list(node_of_inputs(op, sample, inputs).outputs)
        roles = [o for o in op.operands for _ in range(len(arrays) if o.variadic else 1)]
        wrt = [
            i
            for i, given in enumerate(sample[:-1])
            if not isinstance(given, np.ndarray) and not (roles[i].auxiliary or roles[i].random_key)
        ]
        if not all(np.isfinite(a).all() for a in op.oracle(op.make_attrs(sample[-1]), *arrays)):
            continue  # the extreme of nothing, the mean of nothing
        for _ in range(2):
            inputs, arrays, outputs = check_gradient(inputs, arrays, outputs, wrt)
            if not outputs:
                break


def node_of_inputs(op: Operator, sample: tuple, inputs: Sequence[Value]) -> Node:
    return Node(op, tuple(inputs), op.make_attrs(sample[-1]))


def check_gradient(
    inputs: list[Value], arrays: list[np.ndarray], outputs: list[Value], wrt: Sequence[int]
) -> tuple[list[Value], list[np.ndarray], list[Value]]:
    """Compare directional derivatives; returns the gradient as the next function to derive."""
    rng = np.random.default_rng(7)
    floating = [value for value in outputs if value.dtype.is_float]
    cotangents = [variable(f"g{len(inputs)}_{i}", v.type) for i, v in enumerate(floating)]
    weights = [rng.uniform(0.5, 1.5, value.shape).astype(value.dtype.numpy) for value in floating]
    found = gradient(floating, cotangents, [inputs[i] for i in wrt])
    for position, value in zip(wrt, found, strict=True):
        assert value is None or value.type == inputs[position].type
    inputs, arrays = [*inputs, *cotangents], [*arrays, *weights]

    def run(values: Sequence[Value], feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        names = {value.node.name: array for value, array in zip(inputs, feeds, strict=True)}
        return evaluate(Graph(inputs, values), names)

    def total(feeds: Sequence[np.ndarray]) -> float:
        results = run(floating, feeds)
        return float(sum((r * w).sum() for r, w in zip(results, weights, strict=True)))

    kept = [value for value in found if value is not None]
    given = iter(run(kept, arrays))
    step = 1e-5
    for position, value in zip(wrt, found, strict=True):
        direction = rng.uniform(-1, 1, arrays[position].shape)
        slope = 0.0
        for sign in (1, -1):
            moved = list(arrays)
            moved[position] = arrays[position] + sign * step * direction
            slope += sign * total(moved) / (2 * step)
        analytic = 0.0 if value is None else float((next(given) * direction).sum())
        np.testing.assert_allclose(analytic, slope, rtol=1e-5, atol=1e-5)
    return inputs, arrays, kept


def test_names_are_found() -> None:
    for name in tigon.ops.names():
        op = tigon.ops.get(name)
        assert name == op.name or name in op.aliases
    with pytest.raises(TigonError, match=r"^operator 'nonsense': is not known; see tigon\.ops"):
        tigon.ops.get("nonsense")
