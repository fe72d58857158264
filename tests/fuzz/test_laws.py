"""Laws of every pass, on random graphs: the result verifies, means the same, is a fixed point;
nothing changed means the same object; text round-trips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.graphs import graphs, inputs_for
from tests.fuzz.interpret import interpret
from tigon.ir import Graph, parse, show, verify
from tigon.ops.record import get
from tigon.passes import pipeline
from tigon.passes.decompose import decompose
from tigon.passes.set_mode import set_mode
from tigon.passes.shorten_views import shorten_views
from tigon.passes.thread_keys import thread_keys
from tigon.passes.thread_states import thread_states


def in_pipeline() -> dict[str, Callable[[Graph], Graph]]:
    """Every pass that each graph goes through, by name."""

    def runs(step: pipeline.Pass) -> Callable[[Graph], Graph]:
        return lambda graph: step.run(graph, interpret) if step.evaluates else step.run(graph)

    return {step.name: runs(step) for step in pipeline.PIPELINE}


def _keys(graph: Graph) -> Graph:
    return thread_keys(graph)[0]


def _states(graph: Graph) -> Graph:
    return thread_states(graph)[0]


def _mode(graph: Graph) -> Graph:
    return set_mode(graph, True)


PASSES: dict[str, Callable[[Graph], Graph]] = {
    **{name: step for name, step in in_pipeline().items() if name != "check_indices"},
    "shorten_views": shorten_views,
    "set_mode": _mode,
    "thread_keys": _keys,
    "thread_states": _states,
}

fuzzed = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_same_bits(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Equal, -0.0 told from 0.0; every NaN is as good as another."""
    for result, wanted in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(result, wanted, equal_nan=result.dtype.kind == "f")
        if result.dtype.kind == "f":
            number = ~np.isnan(wanted)
            assert np.array_equal(np.signbit(result[number]), np.signbit(wanted[number]))


def assert_close(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Composites may round otherwise than their oracles."""
    for result, wanted in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (wanted.dtype, wanted.shape)
        assert np.allclose(result, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", PASSES)
@given(graph=graphs(composites=False, extents=(0, 1, 2, 3, 5)))
@fuzzed
def test_a_pass_on_primitives(name: str, graph: Graph) -> None:
    run = PASSES[name]
    result = verify(run(graph))
    inputs = inputs_for(graph)
    assert [v.node.name for v in result.inputs] == [v.node.name for v in graph.inputs]
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    assert_same_bits(interpret(result, inputs), interpret(graph, inputs))
    assert run(result) is result
    if result.key == graph.key:
        assert result is graph


@pytest.mark.parametrize("name", PASSES)
@given(graph=graphs())
@fuzzed
def test_a_pass_on_composites(name: str, graph: Graph) -> None:
    run = PASSES[name]
    result = verify(run(graph))
    inputs = inputs_for(graph)
    assert [v.type for v in result.outputs] == [v.type for v in graph.outputs]
    assert_close(interpret(result, inputs), interpret(graph, inputs))
    assert run(result) is result


@given(graph=graphs())
@fuzzed
def test_text_round_trips(graph: Graph) -> None:
    again = parse(show(graph), get)
    assert again.key == graph.key
    assert show(again) == show(graph)


OPTIONAL = pipeline.optional_passes()
COMBINATIONS = {
    "all": (),
    "none": OPTIONAL,
    **{f"only {name}": tuple(o for o in OPTIONAL if o != name) for name in OPTIONAL},
    **{f"all but {name}": (name,) for name in OPTIONAL},
}


@pytest.mark.parametrize("combination", COMBINATIONS)
@given(graph=graphs())
@settings(parent=fuzzed, max_examples=25)
def test_every_combination_of_passes_means_the_same(combination: str, graph: Graph) -> None:
    inputs = inputs_for(graph)
    result = verify(pipeline.run(graph, interpret, frozenset(COMBINATIONS[combination])))
    assert_same_bits(interpret(result, inputs), interpret(decompose(graph), inputs))
