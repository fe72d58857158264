"""Transpositions, which run square by square."""

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
@pytest.mark.parametrize("seed", range(12))
def test_turned_copies(seed: int, dtype: str) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 4)), *random.integers(1, 200, 2).tolist())
    if seed % 2:  # extents around those of squares and blocks
        shape = (2, *random.choice([15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 129], 2).tolist())
    if seed >= 8:  # lines, or columns, that are no square long
        shape = (2, *random.integers(3, 9, 1).tolist(), *random.integers(3, 50, 1).tolist())
        shape = shape if seed % 2 else (shape[0], shape[2], shape[1])
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


@pytest.mark.parametrize(
    "shape, turns",
    [((48, 80), True), ((8, 80), True), ((3, 80), False), ((80, 16), True), ((80, 5), False)],
)
def test_what_is_long_enough_is_turned(shape: tuple[int, int], turns: bool) -> None:
    x = variable("x", TensorType(shape, as_dtype("float32")))
    graph = Graph([x], [get("_stored")(get("transpose")(x))])
    (kernel,) = LoweredGraph(graph, frozenset(), (), (), None).kernels
    (nest,) = kernel.nests
    text = emit_nest(nest.nest, NestPlan(), "turn", cpu.target)
    assert any(name.startswith("transpose") for name in text.helpers) == turns


@pytest.mark.parametrize("extent", [7, 14])
def test_lines_of_a_picture_are_turned_where_memory_tells_them_apart(extent: int) -> None:
    """What is cut out of an image channels last and put channels first: gathered along lines that
    are put together it took three times as long."""
    x = variable("x", TensorType((2, extent + 2, extent + 2, 48), as_dtype("float32")))
    cut = get("_slice")(x, start=(0, 1, 1, 0), step=(1, 1, 1, 1), extents=(2, extent, extent, 48))
    graph = Graph([x], [get("_stored")(get("transpose")(cut, axes=(0, 3, 1, 2)))])
    (kernel,) = LoweredGraph(graph, frozenset(), (), (), None).kernels
    assert "//" not in str(kernel) and "%" not in str(kernel), str(kernel)
    given = [np.random.default_rng(extent).random((2, extent + 2, extent + 2, 48), np.float32)]
    (found,) = compile_graph(graph).run([*map(_native.from_numpy, given)])
    (wanted,) = interpret(graph, given)
    np.testing.assert_array_equal(found.asnumpy(), wanted)
