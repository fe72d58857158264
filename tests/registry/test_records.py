"""Every record against itself: its oracle, its type rule, its decomposition, its lowering and its
gradients have to tell the same story. Nothing here names an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import tigon.ops
from tests.oracle import apply, apply_decomposition, evaluate, evaluate_lowering, type_of
from tigon.base import TigonError
from tigon.base.dtypes import (
    DType,
    as_dtype,
    bool_,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint64,
)
from tigon.ir.graph import Graph, Node, Value, variable
from tigon.loop.semantics import convert
from tigon.ops.record import Family, Operand, Operator, all_operators, is_of
from tigon.passes.gradient import gradient

OPERATORS = [op for op in all_operators() if op.name != "_vjp" and op.family is not Family.CONTROL]
"""Loops and branches have tests of their own, in tests/ops/test_control.py."""
LARGE = ("tigon.ops.nn", "tigon.ops.optimizer", "tigon.ops.vision.resize")
"""Their composites have tests of their own, in tests/ops_nn."""
BASIC = [
    op for op in OPERATORS if op.decompose is None or not op.decompose.__module__.startswith(LARGE)
]
LOWERED = [op for op in BASIC if op.lower is not None]
USUAL = (float32, float64, int32, int64, uint8, bool_)
EXTREME = (int8, uint64)
"""The least and the greatest of the integers that are seldom met; those between are lowered only
(`test_dtypes.py`), and narrow floats have a file of their own (`test_narrow_floats.py`)."""
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


def operands_of(op: Operator, sample: tuple, dtype: str, seed: int = 0) -> list[np.ndarray]:
    """Arrays for a sample. Given arrays keep their values; floats among them take a float dtype."""
    kind = as_dtype(dtype)
    own = [as_dtype(getattr(given, "dtype", kind)) for given in sample[:-1]]
    return filled(op, sample, [kind if d.is_float and kind.is_float else d for d in own], seed)


def filled(op: Operator, sample: tuple, dtypes: Sequence[DType], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = []
    for given, dtype in zip(sample[:-1], dtypes, strict=True):
        if isinstance(given, np.ndarray):
            arrays.append(nearest(given, dtype))
        elif dtype.is_float:
            low, high = op.domain or (-2.0, 2.0)
            arrays.append(rng.uniform(low, high, given).astype(dtype.numpy))
            if op.sampled is not None and len(arrays) == 1:
                arrays[0] = op.sampled(arrays[0])
        else:
            low, high = {"b": (0, 2), "u": (0, 6), "i": (-5, 6)}[dtype.kind]
            arrays.append(rng.integers(low, high, given).astype(dtype.numpy))
    return arrays


def nearest(array: np.ndarray, dtype: DType) -> np.ndarray:
    """In another dtype. What does not fit becomes the nearest limit: positions stay positions."""
    if dtype.is_integer and array.dtype.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        array = array.clip(limits.min, limits.max)
    return convert(array, dtype)


def roles(op: Operator, count: int) -> list[Operand]:
    """What each of `count` operands is."""
    return [op.operands[min(place, len(op.operands) - 1)] for place in range(count)]


Declared = list[tuple[list[int], str]]
"""Operands that have one dtype, and its kinds; one that is not declared is by itself."""


def declared(op: Operator, sample: tuple) -> Declared:
    count = len(sample) - 1
    found = [(op.members(a, count), a.kinds) for a in op.alike(op.make_attrs(sample[-1]))]
    named = {place for places, _ in found for place in places}
    keys = {place for place, role in enumerate(roles(op, count)) if role.random_key}
    alone = [([place], "fiub") for place in range(count) if place not in named | keys]
    return [(places, kinds) for places, kinds in found if places] + alone


def usual(op: Operator, sample: tuple) -> list[DType]:
    """Dtypes that a sample is given where nothing is said: float32 if that is declared."""
    dtypes = [
        as_dtype(given.dtype) if isinstance(given, np.ndarray) else float32 for given in sample[:-1]
    ]
    dtypes = [float32 if dtype.is_float else dtype for dtype in dtypes]
    for places, kinds in declared(op, sample):
        if any(not is_of(dtypes[place], kinds) for place in places) or len(places) > 1:
            for place in places:
                dtypes[place] = float32 if is_of(float32, kinds) else int32
    return dtypes


def assignments(
    op: Operator, sample: tuple, dtypes: Sequence[DType] = ()
) -> list[tuple[DType, ...]]:
    """Dtypes of the operands: each one that is declared, of all where it is of all, and alone."""
    groups, plain = declared(op, sample), usual(op, sample)
    found = [tuple(plain)]
    for dtype in dtypes or (*USUAL, *EXTREME):
        every = list(plain)
        for places, kinds in groups:
            changed = [(place, dtype) for place in places if is_of(dtype, kinds)]
            alone = list(plain)
            for place, new in changed:
                alone[place] = new
                if len(places) > 1 or not isinstance(sample[place], np.ndarray):
                    every[place] = new
            found.append(tuple(alone))
        found.append(tuple(every))
    return list(dict.fromkeys(found))


def node_of(op: Operator, sample: tuple, arrays: Sequence[np.ndarray]) -> Node:
    inputs = tuple(variable(f"x{i}", type_of(array)) for i, array in enumerate(arrays))
    return Node(op, inputs, op.make_attrs(sample[-1]))


def cases(op: Operator) -> Iterator[tuple[Node, list[np.ndarray]]]:
    """Typed nodes with operands: every sample under every dtype that the operator declares."""
    for sample in op.samples:
        for dtypes in assignments(op, sample):
            arrays = filled(op, sample, dtypes, 0)
            yield node_of(op, sample, arrays), arrays


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
        role = roles(op, len(arrays))
        wrt = [
            i
            for i, given in enumerate(sample[:-1])
            if not isinstance(given, np.ndarray) and not (role[i].auxiliary or role[i].random_key)
        ]
        if not all(np.isfinite(a).all() for a in op.oracle(op.make_attrs(sample[-1]), *arrays)):
            continue  # the extreme of nothing, the mean of nothing
        for _ in range(2):
            inputs, arrays, outputs = check_gradient(inputs, arrays, outputs, wrt, op.sampled)
            if not outputs:
                break


def node_of_inputs(op: Operator, sample: tuple, inputs: Sequence[Value]) -> Node:
    return Node(op, tuple(inputs), op.make_attrs(sample[-1]))


def check_gradient(
    inputs: list[Value],
    arrays: list[np.ndarray],
    outputs: list[Value],
    wrt: Sequence[int],
    sampled: Callable[[np.ndarray], np.ndarray] | None,
) -> tuple[list[Value], list[np.ndarray], list[Value]]:
    """Compare directional derivatives; returns the gradient as the next function to derive.
    `sampled`: the first operand moves along what it makes of directions."""
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
        if position == 0 and sampled is not None:
            direction = sampled(direction) - sampled(np.zeros_like(direction))
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
