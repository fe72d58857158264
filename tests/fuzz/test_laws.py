"""Laws of every pass, on random graphs: the result verifies, means the same, is a fixed point;
nothing changed means the same object; text round-trips. Passes that round otherwise, drop shapes or
have two results have laws of their own."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.fuzz.graphs import graphs, inputs_for
from tests.fuzz.interpret import interpret
from tigon.analysis.views import is_computed
from tigon.base.tiles import WIDE
from tigon.ir import Graph, parse, show, variable, verify
from tigon.ops.record import get
from tigon.passes import pipeline
from tigon.passes.canonicalize import canonicalize
from tigon.passes.cut_joint import cut_joint
from tigon.passes.decompose import decompose
from tigon.passes.drop_closing_reshapes import drop_closing_reshapes
from tigon.passes.gradient import gradient
from tigon.passes.own_outputs import own_outputs
from tigon.passes.set_mode import set_mode
from tigon.passes.split_sums import split_sums
from tigon.passes.thread_keys import thread_keys
from tigon.passes.thread_states import thread_states


def in_pipeline() -> dict[str, Callable[[Graph], Graph]]:
    """Every pass that each graph goes through, by name."""

    def runs(step: pipeline.Pass) -> Callable[[Graph], Graph]:
        further = [interpret] if step.evaluates else [WIDE] if step.lays_out else []
        return lambda graph: step.run(graph, *further)

    return {step.name: runs(step) for step in pipeline.PIPELINE}


def _keys(graph: Graph) -> Graph:
    return thread_keys(graph)[0]


def _states(graph: Graph) -> Graph:
    return thread_states(graph)[0]


def _mode(graph: Graph) -> Graph:
    return set_mode(graph, True)


OTHER_LAWS = {
    "check_indices",  # raises: `tests/frontend/test_index_errors.py`
    "drop_closing_reshapes",
    "split_sums",
}
PASSES: dict[str, Callable[[Graph], Graph]] = {
    **{name: step for name, step in in_pipeline().items() if name not in OTHER_LAWS},
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


SMALL_PARTS = {"LONG": 4, "BLOCK": 3, "SCAN_BLOCK": 2, "WORTH_SHARING": 16, "DEEP": 1}


@given(graph=graphs(composites=False, smooth=True, scans=True, extents=(3, 5, 8)))
@fuzzed
def test_sums_in_parts_differ_by_rounding(graph: Graph) -> None:
    lines = [
        get("_reshape")(value, shape=(value.type.size,))
        for value in graph.outputs
        if value.dtype.is_float and value.type.size >= 2 * SMALL_PARTS["LONG"]
    ]
    assume(lines)
    totals = [get("_reduce_sum")(line, axes=(0,)) for line in lines]
    ends = [get("_scan_sum")(line, axis=0, reverse=True) for line in lines]
    whole = Graph(graph.inputs, [*graph.outputs, *totals, *ends])
    with patch.multiple("tigon.passes.split_sums", FEW_RESULTS=2000, **SMALL_PARTS):
        result = verify(split_sums(whole))
    for old, new in zip(whole.outputs, result.outputs, strict=True):
        assert new.type == old.type
        assert new is not old or old in graph.outputs
    inputs = inputs_for(graph)
    assert_close(interpret(result, inputs), interpret(whole, inputs))


@given(graph=graphs(composites=False))
@fuzzed
def test_each_output_is_computed_for_itself(graph: Graph) -> None:
    outputs = own_outputs(Graph(graph.inputs, [*graph.inputs, *graph.outputs, *graph.outputs]))
    assert len(set(outputs.outputs)) == len(outputs.outputs)
    assert all(is_computed(value.node) for value in outputs.outputs)


@given(graph=graphs(composites=False, extents=(0, 1, 2, 3, 5)))
@fuzzed
def test_without_closing_reshapes_bytes_are_the_same(graph: Graph) -> None:
    flat = [get("_reshape")(value, shape=(value.type.size,)) for value in graph.outputs]
    closed = own_outputs(canonicalize(Graph(graph.inputs, flat)))
    result = verify(drop_closing_reshapes(closed))
    for value in result.outputs:
        source = value
        while source.node.op in (get("_copy"), get("_reshape")):
            (source,) = source.node.inputs
        assert source is value or not is_computed(source.node) or source in result.outputs
    assert drop_closing_reshapes(result) is result
    assert [v.dtype for v in result.outputs] == [v.dtype for v in closed.outputs]
    inputs = inputs_for(graph)
    for found, wanted in zip(interpret(result, inputs), interpret(closed, inputs), strict=True):
        assert found.tobytes() == wanted.tobytes()


@given(graph=graphs(composites=False, smooth=True, dtypes=("float32",)))
@fuzzed
def test_the_halves_of_a_joint_graph_are_the_whole(graph: Graph) -> None:
    cotangents = [variable(f"c{i}", value.type) for i, value in enumerate(graph.outputs)]
    found = [g for g in gradient(graph.outputs, cotangents, graph.inputs) if g is not None]
    joint = decompose(Graph((*graph.inputs, *cotangents), (*graph.outputs, *found)))
    given, results = len(graph.inputs), len(graph.outputs)
    cut = cut_joint(joint, given, results)
    inputs = inputs_for(joint)
    forward = interpret(verify(cut.forward), inputs[:given])
    for kind, index in cut.saved:
        assert kind == "input" or index < results or is_computed(cut.forward.outputs[index].node)
    saved = [inputs[index] if kind == "input" else forward[index] for kind, index in cut.saved]
    used = [inputs[given + index] for index in cut.cotangents]
    backward = interpret(verify(cut.backward), [*used, *saved])
    assert_same_bits([*forward[:results], *backward], interpret(joint, inputs))


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
    disabled = frozenset(COMBINATIONS[combination])
    result = verify(pipeline.run(graph, interpret, disabled, keep_shapes=False))
    wanted = interpret(decompose(graph), inputs)
    found = zip(interpret(result, inputs), wanted, strict=True)
    assert_same_bits([array.reshape(like.shape) for array, like in found], wanted)
