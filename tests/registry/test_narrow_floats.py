"""Every record on float16 or bfloat16: what the oracle makes of the same numbers in float32,
rounded once; imperatively, as a compiled graph, and recorded. Nothing here names an operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.registry.test_execution import TOLERANCE, as_graph, run, visible
from tests.registry.test_records import OPERATORS, declared, filled, roles, usual
from tigon import _native, autograd, jit
from tigon.base import TensorType
from tigon.base.dtypes import (
    BY_CODE,
    DType,
    bfloat16,
    float16,
    float32,
    from_memory,
    rounded,
    to_memory,
)
from tigon.ir import Node, Value, variable
from tigon.nd.dispatch import apply
from tigon.ops.record import Family, Operator, is_of
from tigon.passes.widen_floats import in_wide

ONE = {float16: 2.0**-10, bfloat16: 2.0**-7}
"""A unit in the last place of 1."""


def narrow(op: Operator, sample: tuple, dtype: DType = float16) -> list[DType] | None:
    """Dtypes with narrow floats for all that may be one together; None where nothing may."""
    dtypes, found = usual(op, sample), False
    for places, kinds in declared(op, sample):
        if is_of(dtype, kinds) and dtypes[places[0]] is float32:
            found = True
            for place in places:
                dtypes[place] = dtype
    return dtypes if found else None


def cases(op: Operator) -> Iterator[tuple[Node, list[np.ndarray]]]:
    """Every sample in one of both, the first one in both. Arrays hold the numbers of narrow floats
    in float32."""
    both = (float16, bfloat16)
    for place, sample in [(1, op.samples[0]), *enumerate(op.samples)]:
        dtypes = narrow(op, sample, both[place % 2])
        if dtypes is None:
            continue
        values = [
            rounded(array, dtype) if dtype.is_narrow else array
            for array, dtype in zip(filled(op, sample, dtypes, 0), dtypes, strict=True)
        ]
        inputs = tuple(
            variable(f"x{i}", TensorType(array.shape, dtype))
            for i, (array, dtype) in enumerate(zip(values, dtypes, strict=True))
        )
        yield Node(op, inputs, op.make_attrs(sample[-1])), values


def arrays_of(node: Node, values: Sequence[np.ndarray]) -> list[_native.NDArray]:
    return [
        _native.from_numpy(to_memory(array, value.dtype))
        for array, value in zip(values, node.inputs, strict=True)
    ]


def numbers(array: _native.NDArray) -> np.ndarray:
    values = from_memory(array.bits_to_numpy(), BY_CODE[array.dtype_code])
    return values.astype(np.float32) if BY_CODE[array.dtype_code].is_narrow else values


def widened(value: Value) -> Value:
    dtype = float32 if value.dtype.is_narrow else value.dtype
    return variable(value.node.name, TensorType(value.shape, dtype))


def assert_near(
    found: np.ndarray, wanted: np.ndarray, dtype: DType, op: Operator, what: Any
) -> None:
    """Rounded to the same number, or to the next where float32 is just beside the middle of two."""
    if not dtype.is_narrow:
        name = dtype.name
        tolerance = max(op.tolerance.get(name, 0.0), TOLERANCE.get(name, 0.0))
        np.testing.assert_allclose(found, wanted, tolerance, tolerance, err_msg=str(what))
        return
    wanted = rounded(wanted, dtype).astype(np.float32)
    tolerance = ONE[dtype] * 1.01 + op.tolerance.get("float32", 0.0)
    np.testing.assert_allclose(found, wanted, tolerance, 1e-5, err_msg=str(what))


NARROW = [op for op in OPERATORS if any(narrow(op, sample) for sample in op.samples)]


@pytest.mark.parametrize("op", NARROW, ids=lambda op: op.name)
def test_narrow_floats_are_computed_with_in_float32(op: Operator) -> None:
    """Of a few cases: other samples are those of `test_execution`, and what widens is one mechanism
    for all."""
    for node, values in islice(cases(op), 3):
        what = (node, node.attrs, [value.type for value in node.inputs])
        wide = [
            v.astype(np.float32) if i.dtype.is_narrow else v
            for v, i in zip(values, node.inputs, strict=True)
        ]
        with np.errstate(all="ignore"):
            expected = op.oracle(in_wide(node.attrs), *wide)
        imperative = run(node, arrays_of(node, values))
        for found, wanted, value in zip(imperative, expected, visible(node), strict=False):
            assert BY_CODE[found.dtype_code] is value.dtype, what
            assert_near(numbers(found), np.asarray(wanted), value.dtype, op, what)
        if op.takes_key:
            continue
        compiled = as_graph(node)(arrays_of(node, values), getattr(node.attrs, "training", False))
        for found, other in zip(compiled, imperative, strict=True):
            np.testing.assert_array_equal(numbers(found), numbers(other), str(what))


DIFFERENTIABLE = [op for op in NARROW if op.differentiable and not op.takes_key]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_gradients_of_narrow_floats_are_those_of_float32_rounded(op: Operator) -> None:
    """Of one case in each: `test_recorded_gradients_agree` has the others in float64."""
    for node, values in islice(cases(op), 2):
        role = roles(op, len(values))
        training = getattr(node.attrs, "training", False)
        graph = as_graph(node)
        wide = Node(op, tuple(map(widened, node.inputs)), in_wide(node.attrs))
        results = []
        for kind, call in (
            (node, partial(run, node)),
            (node, partial(graph, training=training)),
            (wide, partial(run, wide)),
        ):
            arrays = arrays_of(kind, values)
            for array, value, r in zip(arrays, node.inputs, role, strict=True):
                if value.dtype.is_narrow and not r.auxiliary:
                    zeros = np.zeros(array.shape, BY_CODE[array.dtype_code].memory)
                    array.mark_variable(_native.from_numpy(zeros), "write")
            with autograd.record(train_mode=training):
                heads = [h for h in call(arrays) if BY_CODE[h.dtype_code].is_float]
            heads = [head for head in heads if head.has_tape]
            if heads:
                random = np.random.default_rng(7)
                seeds = [rounded(random.uniform(0.5, 1, h.shape), bfloat16) for h in heads]
                seeds = [
                    _native.from_numpy(to_memory(s, BY_CODE[h.dtype_code]))
                    for s, h in zip(seeds, heads, strict=True)
                ]
                _native.backward(heads, seeds, False)
            results.append([numbers(a.grad) for a in arrays if a.grad is not None])
        dtypes = [value.dtype for value in node.inputs if value.dtype.is_narrow]
        for imperative, compiled, wanted in zip(*results, strict=True):
            np.testing.assert_array_equal(imperative, compiled, str((node, node.attrs)))
            dtype = dtypes[0]
            scale = max(1.0, float(abs(np.nan_to_num(wanted, posinf=0, neginf=0)).max(initial=0)))
            np.testing.assert_allclose(
                imperative, wanted, 4 * ONE[dtype], 4 * ONE[dtype] * scale, str((node, node.attrs))
            )


BINARY = [
    op
    for op in OPERATORS
    if op.family is Family.ELEMENTWISE
    and len(op.operands) == 2
    and any(is_of(float16, kinds) for _, kinds in declared(op, op.samples[0]))
    and all(not isinstance(given, np.ndarray) for given in op.samples[0][:-1])
]


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_a_number_beside_narrow_floats_is_one_of_them(op: Operator, dtype: DType) -> None:
    """Rounded first, in every way of running: the operator's, a compiled graph's, and recorded."""
    attrs, number = op.make_attrs(op.samples[0][-1]), 0.7
    (low, high), random = op.domain or (0.2, 2.0), np.random.default_rng(3)
    values = rounded(np.append(random.uniform(max(low, 0.2), high, 60), number), dtype)
    for reverse in (False, True):
        x = _native.from_numpy(to_memory(values, dtype))

        def call(x: Any, reverse: bool = reverse) -> Any:
            return apply(op, attrs, (number, x) if reverse else (x, number))

        found = call(x)
        other = rounded(np.array(number), dtype).astype(np.float32)
        operands = (other, values) if reverse else (values, other)
        with np.errstate(all="ignore"):
            (expected,) = op.oracle(attrs, *(one.astype(np.float32) for one in operands))
        assert_near(numbers(found), np.asarray(expected), BY_CODE[found.dtype_code], op, reverse)
        np.testing.assert_array_equal(numbers(jit(call)(x)), numbers(found))
        if not op.differentiable:
            continue
        slopes = []
        for way in (call, jit(call)):
            x.mark_variable(_native.from_numpy(np.zeros(x.shape, dtype.memory)), "write")
            with autograd.record():
                y = way(x)
            _native.backward([y], [None], False)
            slopes.append(numbers(x.grad))
        np.testing.assert_array_equal(*slopes)


SCALAR = [op for op in OPERATORS if list(op.samples[0][-1]) == ["scalar"] and op.name[0] == "_"]


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("op", SCALAR, ids=lambda op: op.name)
def test_so_is_the_number_of_a_file(op: Operator, dtype: DType) -> None:
    low, high = op.domain or (0.5, 2.0)
    values = rounded(np.append(np.linspace(max(low, 0.2), high, 60), 0.7), dtype)
    x = _native.from_numpy(to_memory(values, dtype))
    found = apply(op, op.make_attrs({"scalar": 0.7}), (x,))
    own = op.make_attrs({"scalar": float(rounded(np.array(0.7), dtype))})
    with np.errstate(all="ignore"):
        (expected,) = op.oracle(own, values.astype(np.float32))
    assert_near(numbers(found), np.asarray(expected), BY_CODE[found.dtype_code], op, op.name)


AS_DATA = {"moving_avg"}
"""A state of which MXNet says that it is of its data's dtype."""


def test_states_are_float32_beside_narrow_floats() -> None:
    """What is counted or averaged over batches stops where a step is less than half a unit."""
    for op in OPERATORS:
        states = {operand.name for operand in op.operands if operand.auxiliary} - AS_DATA
        assert states <= set(op.statistics), op.name
        if states and op.infer_operands is not None:
            sample = op.samples[0]
            data = TensorType(np.shape(filled(op, sample, usual(op, sample), 0)[0]), float16)
            attrs = op.make_attrs(sample[-1])
            types = op.infer_operands(attrs, [data] + [None] * (len(op.operands) - 1))
            for operand, given in zip(op.operands, types, strict=False):
                assert operand.name not in states or given.dtype is float32, op.name
