"""Arrays of integers have gradients of integers: every record that takes integers and has a slope,
imperatively and as a compiled graph. Nothing here names an operator but to check a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.registry.test_execution import arrays_of, as_graph, run, visible
from tests.registry.test_records import OPERATORS, cases, roles
from tigon import TigonError, autograd, jit, nd
from tigon.base.dtypes import as_dtype
from tigon.ir import Node
from tigon.ops.record import Operator


def whole(op: Operator) -> list[tuple[Node, list[np.ndarray]]]:
    """The first case of each sample in which operands with a slope are signed integers."""
    found: dict[Any, tuple[Node, list[np.ndarray]]] = {}
    for node, arrays in cases(op):
        wanted = sloped(op, arrays)
        if wanted and all(arrays[place].dtype == np.int32 for place in wanted):
            found.setdefault(node.attrs, (node, arrays))
    return list(found.values())


def sloped(op: Operator, arrays: list[np.ndarray]) -> list[int]:
    named = enumerate(roles(op, len(arrays)))
    return [place for place, role in named if not (role.random_key or role.auxiliary)]


WITH_SLOPES = [
    op
    for op in OPERATORS
    if op.differentiable and not op.takes_key and not op.mutates and whole(op)
]


def gradients(call: Any, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    operands = arrays_of(arrays)
    for operand in operands:
        if as_dtype(operand.dtype).has_gradients:
            operand.attach_grad()
            operand.grad[...] = 77  # which shows whether it was written
    with autograd.record():
        results = call(operands)
    autograd.backward([results[0]])
    return [o.grad.asnumpy() for o in operands if o.grad is not None]


@pytest.mark.parametrize("op", WITH_SLOPES, ids=lambda op: op.name)
def test_integers_have_gradients_in_both_ways(op: Operator) -> None:
    assert len(WITH_SLOPES) > 60
    for node, arrays in whole(op):
        if not visible(node) or visible(node)[0].dtype.kind == "b":
            continue
        try:
            imperative = gradients(lambda operands, node=node: run(node, operands), arrays)
        except TigonError as error:  # as numbers beside integers are
            assert "does not fit" in str(error), error
            continue
        graph = as_graph(node)
        training = getattr(node.attrs, "training", False)
        compiled = gradients(lambda operands: graph(operands, training), arrays)  # noqa: B023
        for one, other in zip(imperative, compiled, strict=True):
            np.testing.assert_array_equal(one, other, str(node))


@pytest.mark.parametrize("way", [lambda f: f, jit], ids=["imperative", "hybridized"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: x * x + 3, [4, 10]),  # mxnet 1.9.1
        (lambda x: (x * x).sum(), [4, 10]),
        (lambda x: x**3, [12, 75]),
        (lambda x: x.astype("float32") * 1.5, [1, 1]),
        (lambda x: nd.exp(x), [7, 148]),
        (lambda x: x > 2, [0, 0]),
        (lambda x: (x.astype("float32") * 2).astype("int32") * 3, [0, 0]),
    ],
)
def test_values_of_gradients(way: Any, dtype: str, function: Any, slope: list[int]) -> None:
    x = nd.array([2, 5], dtype=dtype)
    x.attach_grad()
    with autograd.record():
        y = way(function)(x)
    y.backward()
    assert x.grad.dtype == np.dtype(dtype).type
    assert x.grad.asnumpy().tolist() == slope


@pytest.mark.parametrize("way", [lambda f: f, jit], ids=["imperative", "hybridized"])
@pytest.mark.parametrize(
    "function",
    [
        lambda z: z.astype("int32"),
        lambda z: z.astype("int32") * 2,
        lambda z: (z.astype("int32") * 2).astype("float32"),
    ],
)
def test_floats_that_become_integers_have_slope_0_which_is_written(way: Any, function: Any) -> None:
    z = nd.array([1.5, 2])
    z.attach_grad()
    z.grad[:] = 77
    with autograd.record():
        y = way(function)(z)
    y.backward()
    assert z.grad.asnumpy().tolist() == [0, 0]
