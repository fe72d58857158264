"""Random graphs through the whole compiler, under every combination of optional passes: all agree
with each other and with the oracles."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.graphs import inputs_for, random_graph
from tests.fuzz.interpret import interpret
from tests.fuzz.residuals import residual_graph
from tigon import _native
from tigon.ir import Graph, show, variable
from tigon.passes.gradient import gradient
from tigon.program.compile import compile_graph
from tigon.program.target import optional_passes

OPTIONAL = frozenset(optional_passes())
COMBINATIONS = [
    frozenset(),
    OPTIONAL,
    *(frozenset({name}) for name in sorted(OPTIONAL)),
    *(OPTIONAL - {name} for name in sorted(OPTIONAL)),
]


def run(graph: Graph, inputs: list[np.ndarray], disabled: frozenset[str]) -> list[np.ndarray]:
    compiled = compile_graph(graph, disabled=disabled)
    arrays = [_native.from_numpy(array) for array in inputs]
    return [array.asnumpy() for array in compiled.run(arrays)]


def check(graph: Graph, inputs: list[np.ndarray], combinations: list[frozenset[str]]) -> None:
    expected = interpret(graph, inputs)
    for disabled in combinations:
        left_out = ", ".join(sorted(disabled)) or "nothing"
        for result, wanted in zip(run(graph, inputs, disabled), expected, strict=True):
            assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
            scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
            np.testing.assert_allclose(
                result,
                wanted,
                rtol=2e-5,
                atol=2e-6 * scale,
                err_msg=f"disabled: {left_out}\n{show(graph)}",
            )


@pytest.mark.parametrize("seed", range(40))
def test_every_combination_of_passes(seed: int) -> None:
    graph = random_graph(seed, steps=12)
    check(graph, inputs_for(graph, seed), COMBINATIONS)


@pytest.mark.parametrize("seed", range(1000, 1060))
def test_unusual_shapes_and_dtypes(seed: int) -> None:
    graph = random_graph(
        seed,
        steps=16,
        extents=(0, 1, 2, 3, 7, 17, 33),
        dtypes=("float32", "float64", "int32", "int64", "uint8", "bool"),
        limit=20_000,
    )
    check(graph, inputs_for(graph, seed), [frozenset(), OPTIONAL])


@pytest.mark.parametrize("seed", range(40))
def test_residuals_at_the_edges_of_tiles(seed: int) -> None:
    graph = residual_graph(seed)
    check(graph, inputs_for(graph, seed), [frozenset(), OPTIONAL])


@pytest.mark.parametrize("seed", range(2000, 2030))
def test_scans_among_other_work(seed: int) -> None:
    graph = random_graph(seed, steps=12, extents=(1, 2, 3, 15, 16, 33), limit=20_000, scans=True)
    check(graph, inputs_for(graph, seed), [frozenset(), OPTIONAL, frozenset({"fuse"})])


@pytest.mark.parametrize("seed", range(3000, 3040))
def test_windows_over_windows(seed: int) -> None:
    graph = random_graph(seed, steps=8, dtypes=("float32",), extents=(1, 2, 4, 9), windows=True)
    check(graph, inputs_for(graph, seed), [frozenset(), OPTIONAL])


@pytest.mark.parametrize("seed", range(30))
def test_gradients(seed: int) -> None:
    graph = random_graph(seed, steps=10, dtypes=("float32",), smooth=True)
    y = graph.outputs[0]
    g = variable("cotangent", y.type)
    found = [value for value in gradient([y], [g], graph.inputs) if value is not None]
    joint = Graph([*graph.inputs, g], [y, *found])
    check(joint, inputs_for(joint, seed), [frozenset(), OPTIONAL])
