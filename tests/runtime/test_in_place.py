"""Memory that is shared on purpose: donated inputs, outputs over inputs, arenas reused in place.
Random graphs, each against itself run without any sharing."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.fuzz.graphs import inputs_for, random_graph
from tests.fuzz.residuals import residual_graph
from tigon import _native, autograd
from tigon.analysis.memory_plan import ALIGNMENT, Request, check_plan
from tigon.ir import Graph, show
from tigon.program import lowered as lowering
from tigon.program.cached_graph import CachedGraph
from tigon.program.compile import compile_graph

SEEDS = range(120)


def graph_of(seed: int) -> tuple[Graph, list[np.ndarray]]:
    """Anything at all, or products with residuals, whose extents lie around the edges of tiles."""
    if seed % 2:
        graph = residual_graph(seed)
    else:
        extents, dtypes = (1, 2, 3, 8, 17), ("float32", "int32")
        graph = random_graph(seed, steps=10, extents=extents, dtypes=dtypes)
    # More than one result: intermediate ones, each of which may take an input's memory.
    chooser = random.Random(seed)
    inner = [value for node in graph.nodes for value in node.outputs if value.is_typed]
    results = dict.fromkeys([*graph.outputs, *chooser.sample(inner, min(2, len(inner)))])
    return Graph(graph.inputs, tuple(results)), inputs_for(graph, seed)


def arrays_of(inputs: list[np.ndarray]) -> list[_native.NDArray]:
    return [_native.from_numpy(array) for array in inputs]


def assert_same(found: list, expected: list[np.ndarray], graph: Graph) -> None:
    for result, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result.asnumpy(), wanted, err_msg=show(graph))


@pytest.mark.parametrize("seed", SEEDS)
def test_donation_changes_no_result(seed: int) -> None:
    graph, inputs = graph_of(seed)
    cached = CachedGraph(graph, name="graph")
    expected = [array.asnumpy() for array in cached(arrays_of(inputs))]
    chooser = random.Random(seed)
    for donated in (range(len(inputs)), chooser.sample(range(len(inputs)), len(inputs) // 2)):
        arrays = arrays_of(inputs)
        assert_same(cached(arrays, donate=tuple(donated)), expected, graph)
        assert [array.donated for array in arrays] == [i in donated for i in range(len(inputs))]


@pytest.mark.parametrize("seed", SEEDS)
def test_results_over_inputs_are_the_same(seed: int) -> None:
    """`out=` names inputs of the same type, whether or not the program can work in place."""
    graph, inputs = graph_of(seed)
    compiled = compile_graph(graph)
    expected = [array.asnumpy() for array in compiled.run(arrays_of(inputs))]
    for threshold in (_native.inline_threshold(), 0.0):  # inline and pushed
        arrays = arrays_of(inputs)
        free = list(range(len(arrays)))
        random.Random(seed).shuffle(free)
        targets = []
        for value in graph.outputs:
            fitting = [i for i in free if inputs[i].shape == value.shape]
            fitting = [i for i in fitting if inputs[i].dtype == value.dtype.numpy]
            targets.append(arrays[fitting[0]] if fitting else None)
            free = [i for i in free if i not in fitting[:1]]
        before = _native.inline_threshold()
        _native.set_inline_threshold(threshold)
        try:
            results = compiled.run(arrays, out=targets)
        finally:
            _native.set_inline_threshold(before)
        assert_same(list(results), expected, graph)
        for target, wanted in zip(targets, expected, strict=True):
            if target is not None:
                np.testing.assert_array_equal(target.asnumpy(), wanted)


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("seed", SEEDS)
def test_plans_of_programs_obey_the_laws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that execution obeys, under the checker that does not know how it was made."""
    checked = 0

    def checking(requests: list[Request]) -> object:
        nonlocal checked
        found = original(requests)
        check_plan(requests, found)
        for request in requests:
            assert request.first <= request.last and request.nbytes >= 0
        assert found.total_bytes % ALIGNMENT == 0
        checked += 1
        return found

    original = lowering.plan
    monkeypatch.setattr(lowering, "plan", checking)
    graph, _ = graph_of(seed)
    compiled = compile_graph(graph, disabled=frozenset({"fuse"}))
    assert checked and compiled.program.arena_bytes == compiled.memory_plan.arena_bytes


@pytest.mark.parametrize("seed", SEEDS)
def test_reuse_within_a_program_changes_no_result(seed: int) -> None:
    """Intermediates over one another, against the same kernels without that."""
    graph, inputs = graph_of(seed)
    expected = [array.asnumpy() for array in compile_graph(graph).run(arrays_of(inputs))]
    lowered = lowering.LoweredGraph(graph, frozenset(), (), ())
    lowered.takes_over = [[] for _ in lowered.takes_over]
    alone = lowered.program().run(arrays_of(inputs))
    assert_same(list(alone), expected, graph)


@pytest.mark.parametrize("seed", range(12))
def test_what_backward_reads_is_not_overwritten(seed: int) -> None:
    """Recording keeps donated memory alive: gradients are those without donation."""
    graph = random_graph(seed, steps=8, dtypes=("float32",), smooth=True)
    inputs = inputs_for(graph, seed)
    cached = CachedGraph(graph, name="graph")
    gradients = []
    for donate in ((), tuple(range(len(inputs)))):
        arrays = arrays_of(inputs)
        filled = [_native.from_numpy(np.zeros(a.shape, a.dtype)) for a in inputs]
        for array, gradient in zip(arrays, filled, strict=True):
            if gradient.dtype_code == 0:
                array.mark_variable(gradient, "write")
        with autograd.record():
            heads = [head for head in cached(arrays, donate=donate) if head.has_tape]
        if heads:
            _native.backward(heads, [], False)
        gradients.append([gradient.asnumpy() for gradient in filled])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one, other)
