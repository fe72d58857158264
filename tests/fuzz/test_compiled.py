"""Compiled programs on random graphs: the records' oracles, the loop interpreter and native code
agree, whichever optional passes run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.graphs import inputs_for, random_graph
from tests.fuzz.interpret import interpret
from tests.lower.interpreted import run_interpreted
from tigon import _native
from tigon.ir import Graph
from tigon.runtime.compile import compile_graph, optional_passes, prepare

PASSES = optional_passes()
COMBINATIONS = [
    frozenset(),
    frozenset({"all"}),
    *[frozenset(PASSES) - {name} for name in PASSES],
    *[frozenset({name}) for name in PASSES],
]
"""Every pass, none, each alone, all but each."""


def run(graph: Graph, arrays: list[np.ndarray], disabled: frozenset[str]) -> list[np.ndarray]:
    compiled = compile_graph(graph, disabled=disabled)
    return [a.asnumpy() for a in compiled.run([_native.from_numpy(array) for array in arrays])]


def assert_close(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for result, expected in zip(got, want, strict=True):
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        # Sums of many float32 terms cancel; oracles add them in another order.
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
        double = expected.dtype == np.float64
        tolerance = (1e-9 if double else 1e-4) * float(scale)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("seed", range(60))
def test_compiled_random_graphs(seed: int) -> None:
    graph = random_graph(seed, steps=14)
    arrays = inputs_for(graph, seed)
    expected = interpret(graph, arrays)
    feeds = {v.node.name: a for v, a in zip(graph.inputs, arrays, strict=True)}
    with np.errstate(all="ignore"):
        assert_close(run_interpreted(prepare(graph), feeds), expected)
    everything = run(graph, arrays, frozenset())
    assert_close(everything, expected)
    disabled = COMBINATIONS[1 + seed % (len(COMBINATIONS) - 1)]
    assert_close(run(graph, arrays, disabled), expected)
