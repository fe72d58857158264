"""Transpositions, which run square by square where both axes are a square long."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon import _native
from tigon.backends.cpu.backend import cpu
from tigon.backends.cpu.nest import NestPlan, emit_nest
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, variable
from tigon.ops import get
from tigon.program.compile import compile_graph
from tigon.program.lowered import LoweredGraph


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("seed", range(8))
def test_turned_copies(seed: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 4)), *random.integers(1, 200, 2).tolist())
    if seed % 2:  # extents around those of squares and blocks
        shape = (2, *random.choice([15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 129], 2).tolist())
    x = variable("x", TensorType(shape, as_dtype(dtype)))
    cut = get("_slice")(
        x, start=(0, shape[1] - 1, 0), step=(1, -1, 1), extents=(shape[0], shape[1], shape[2])
    )
    outputs = [
        get("transpose")(x, axes=(0, 2, 1)),
        get("transpose")(x, axes=(2, 1, 0)),
        get("transpose")(x, axes=(2, 0, 1)),
        get("transpose")(cut, axes=(0, 2, 1)),
        get("abs")(get("transpose")(x, axes=(0, 2, 1))),
    ]
    graph = Graph([x], [get("_stored")(each) for each in outputs])
    given = [(random.random(shape) * 100).astype(dtype)]
    found = compile_graph(graph).run([*map(_native.from_numpy, given)])
    for one, wanted in zip(found, interpret(graph, given), strict=True):
        np.testing.assert_array_equal(one.asnumpy(), wanted)


@pytest.mark.parametrize("shape, squares", [((48, 80), 1), ((8, 80), 0), ((80, 16), 1)])
def test_what_has_lines_of_squares_is_turned(shape: tuple[int, int], squares: int) -> None:
    x = variable("x", TensorType(shape, as_dtype("float32")))
    graph = Graph([x], [get("_stored")(get("transpose")(x))])
    (kernel,) = LoweredGraph(graph, frozenset(), (), (), None).kernels
    (nest,) = kernel.nests
    text = emit_nest(nest.nest, NestPlan(), "turn", cpu.target)
    assert len([name for name in text.helpers if name.startswith("transpose")]) == squares
