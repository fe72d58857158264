"""A graph called again and again: variants, residuals, states, donation, random keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import _native, autograd, nd, sym
from tigon.gluon import nn
from tigon.ir import Graph, variable
from tigon.program.cached_graph import CachedGraph
from tigon.runtime import keys

FLOAT = 4


def graph_of(build: Callable[..., Any], *shapes: tuple[int, ...]) -> CachedGraph:
    """A cached graph of `build` on variables x0, x1, ... without types of their own."""
    outputs = build(*[sym.var(f"x{number}") for number in range(len(shapes))])
    if isinstance(outputs, (list, tuple)):
        outputs = sym.Group(outputs)
    return CachedGraph(outputs._graph(), name="graph")


def arrays_of(*shapes: tuple[int, ...], attach: bool = True) -> list[Any]:
    random = np.random.default_rng(1)
    arrays = [nd.array(random.uniform(0.2, 1, shape)) for shape in shapes]
    if attach:
        for array in arrays:
            array.attach_grad()
    return arrays


def recorded(graph: CachedGraph, arrays: Sequence[Any], training: bool = True) -> list[Any]:
    with autograd.record(train_mode=training):
        results = graph(arrays)
        total = results[0].sum()
        for other in results[1:]:
            total = total + other.sum()
    total.backward()
    return results


# -------------------------------------------------------------------------------- residuals


def residuals(build: Callable[..., Any], *shapes: tuple[int, ...]) -> list[tuple[str, int]]:
    """Operator and bytes of what a recorded call keeps beyond its inputs and results."""
    graph, arrays = graph_of(build, *shapes), arrays_of(*shapes)
    results = recorded(graph, arrays)
    forward = graph.programs[0]
    assert forward.program.visible >= len(results)
    extra = forward.graph.outputs[forward.program.visible :]
    return [(value.node.op.name, value.type.nbytes) for value in extra]


def test_elementwise_work_is_computed_again() -> None:
    assert residuals(lambda x: sym.exp(x * 2 + 1) * sym.sigmoid(x), (50, 3)) == []


def test_softmax_and_losses_need_their_results_at_most() -> None:
    def loss(scores: Any, label: Any) -> Any:
        return sym.pick(sym.log_softmax(scores), label) * -1

    assert residuals(lambda x: sym.softmax(x), (6, 40)) == []
    kept = sum(nbytes for _, nbytes in residuals(loss, (6, 40), (6,)))
    assert kept <= 2 * 6 * FLOAT  # of each row, not of each score


def test_masks_are_not_stored() -> None:
    assert residuals(lambda x: sym.relu(x * 2), (50, 3)) == []
    assert residuals(lambda x: sym.Dropout(x * 2, p=0.5), (50, 3)) == []
    assert residuals(lambda x: sym.where(x > 0.5, x, x * x), (50, 3)) == []
    assert residuals(lambda x: sym.clip(x * 3, 0.9, 2), (50, 3)) == []


def test_normalization_keeps_statistics_of_rows() -> None:
    def normalized(x: Any, gamma: Any, beta: Any) -> Any:
        return sym.LayerNorm(x, gamma, beta)

    kept = residuals(normalized, (6, 500), (500,), (500,))
    assert 0 < sum(nbytes for _, nbytes in kept) <= 2 * 6 * FLOAT


def test_a_network_keeps_one_array_per_layer() -> None:
    rows, width, layers = 8, 16, 5
    size = rows * width * FLOAT

    def network(x: Any, *weights: Any) -> Any:
        for weight in weights:
            x = sym.FullyConnected(x, weight, num_hidden=width, no_bias=True)
            x = sym.Dropout(sym.Activation(x, act_type="tanh"), p=0.1)
        return x

    kept = residuals(network, (rows, width), *[(width, width)] * layers)
    # The last layer's comes back from its result.
    assert sum(nbytes for _, nbytes in kept) <= layers * size


def test_what_is_computed_again_is_what_was() -> None:
    """The mask of backward is the mask of forward, though it is drawn a second time."""
    graph = graph_of(lambda x: sym.Dropout(sym.tanh(x) * 3, p=0.5), (4000,))
    for _ in range(3):
        arrays = arrays_of((4000,))
        (y,) = recorded(graph, arrays)
        value, gradient = y.asnumpy(), arrays[0].grad.asnumpy()
        np.testing.assert_array_equal(value != 0, gradient != 0)
        assert 0.4 < (value != 0).mean() < 0.6


def test_gradients_of_the_graph_are_those_of_the_tape() -> None:
    def build(F: Any, x: Any, w: Any, g: Any) -> Any:
        h = F.FullyConnected(x, w, num_hidden=7, no_bias=True)
        h = F.LayerNorm(F.relu(h), g, g * 0.1)
        return F.log_softmax(F.exp(h) * x.sum(axis=1, keepdims=True))

    shapes = (5, 9), (7, 9), (7,)
    graph = graph_of(lambda *xs: build(sym, *xs), *shapes)
    compiled, imperative = arrays_of(*shapes), arrays_of(*shapes)
    weights = nd.array(np.random.default_rng(3).normal(size=(5, 7)))
    with autograd.record():
        loss = (graph(compiled)[0] * weights).sum()
    loss.backward()
    with autograd.record():
        loss = (build(nd, *imperative) * weights).sum()
    loss.backward()
    for one, other in zip(compiled, imperative, strict=True):
        np.testing.assert_allclose(one.grad.asnumpy(), other.grad.asnumpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, True)])
def test_only_wanted_gradients_are_computed(wanted: tuple[bool, bool]) -> None:
    graph = graph_of(lambda a, b: sym.dot(a, b), (4, 5), (5, 6))
    arrays = arrays_of((4, 5), (5, 6), attach=False)
    for array, want in zip(arrays, wanted, strict=True):
        if want:
            array.attach_grad()
    recorded(graph, arrays)
    _forward, backward = graph.programs
    assert len(backward.graph.outputs) == sum(wanted)
    assert [array.grad is not None for array in arrays] == list(wanted)
    # One operand's gradient reads the other operand only.
    assert len(backward.graph.inputs) == 1 + sum(wanted)


def test_a_result_nobody_differentiates_costs_no_backward() -> None:
    graph = graph_of(lambda a: [a * a, sym.exp(a)], (3,))
    (a,) = arrays_of((3,))
    with autograd.record():
        first, _second = graph([a])
    first.backward()
    np.testing.assert_allclose(a.grad.asnumpy(), 2 * a.asnumpy())


# --------------------------------------------------------------------------------- variants


def test_variants_are_by_type_and_mode_and_made_once() -> None:
    graph = graph_of(lambda x: sym.Dropout(x, p=0.5) + 1, (3,))
    for _ in range(3):
        for training in (False, True):
            for dtype in ("float32", "float64"):
                for length in (3, 4):
                    (y,) = graph([nd.ones(length, dtype=dtype)], training)
                    assert y.shape == (length,) and y.dtype is np.dtype(dtype).type
    assert len(graph.programs) == 8
    before = mx.runtime.stats()["compilations"]
    graph([nd.ones(4)], True)
    assert mx.runtime.stats()["compilations"] == before


def test_variants_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that change with every call do not fill the memory."""
    monkeypatch.setattr("tigon.program.cached_graph.SEQUENCES_KEPT", 3)
    graph = graph_of(lambda x: x * 2, (1,))
    for extent in (1, 2, 3, 4, 5, 4):
        (result,) = graph([nd.ones((extent,))])
        assert result.asnumpy().tolist() == [2] * extent
    types = [program.memory_plan.rows[0].type for program in graph.programs]
    assert types == ["float32[3]", "float32[4]", "float32[5]"]


def test_the_mode_is_that_of_the_thread_unless_given() -> None:
    graph = graph_of(lambda x: sym.Dropout(x, p=0.9), (100,))
    x = nd.ones(100)
    assert graph([x])[0].asnumpy().tolist() == [1] * 100
    with autograd.train_mode():
        assert 0 in graph([x])[0].asnumpy()
        assert graph([x], False)[0].asnumpy().tolist() == [1] * 100


def test_names_are_distinct_and_arrays_counted() -> None:
    one, other = variable("a"), variable("a")
    with pytest.raises(mx.TigonError, match=r"^f: two different variables are named \['a'\]"):
        CachedGraph(Graph([one, other], [one + other]), name="f")
    graph = graph_of(lambda a, b: a + b, (1,), (1,))
    with pytest.raises(mx.TigonError, match=r"^graph: expected 2 arrays; given 1$"):
        graph([nd.ones(1)])
    # Nothing was remembered of the failed call.
    assert graph([nd.ones(1), nd.ones(1)])[0].asscalar() == 2


def test_shapes_that_do_not_fit_leave_the_graph_as_it_was() -> None:
    graph = graph_of(lambda a, b: sym.dot(a, b), (2, 3), (3, 2))
    for _ in range(2):
        with pytest.raises(mx.TigonError, match="dot"):
            graph(arrays_of((2, 3), (4, 2)))
        assert graph(arrays_of((2, 3), (3, 2)))[0].shape == (2, 2)


# ------------------------------------------------------------------------ states, out, donation


def batch_norm(momentum: float = 0.9) -> CachedGraph:
    names = ("data", "gamma", "beta", "moving_mean", "moving_var")
    return CachedGraph(
        sym.BatchNorm(*map(sym.var, names), momentum=momentum, fix_gamma=False)._graph(),
        name="normalization",
    )


def test_states_advance_in_training_as_imperatively() -> None:
    graph = batch_norm()
    random = np.random.default_rng(0)

    def states() -> list[Any]:
        return [nd.ones(3), nd.zeros(3), nd.zeros(3), nd.ones(3)]

    compiled, imperative = states(), states()
    held = compiled[2]
    for _ in range(4):
        x = nd.array(random.normal(size=(8, 3)))
        with autograd.train_mode():
            (ours,) = graph([x, *compiled])
            theirs = nd.BatchNorm(x, *imperative, momentum=0.9, fix_gamma=False)
        np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), rtol=1e-5, atol=1e-6)
        for one, other in zip(compiled, imperative, strict=True):
            np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-5, atol=1e-7)
    assert held is compiled[2] and np.abs(held.asnumpy()).sum() > 0
    before = held.asnumpy()
    graph([x, *compiled], False)
    np.testing.assert_array_equal(held.asnumpy(), before)


def test_states_advance_once_per_recorded_call() -> None:
    graph = batch_norm(momentum=0.5)
    mean, variance = nd.zeros(1), nd.ones(1)
    x = nd.array([[1.0], [3.0]])
    x.attach_grad()
    with autograd.record():
        (y,) = graph([x, nd.ones(1), nd.zeros(1), mean, variance])
    y.backward()
    assert mean.asscalar() == 1.0  # half way to 2; backward does not count
    assert x.grad.shape == (2, 1)


def test_results_go_where_out_says() -> None:
    graph = graph_of(lambda a, b: [a + b, a * b], (4,), (4,))
    a, b = arrays_of((4,), (4,), attach=False)
    total = nd.zeros(4)
    storage = total.storage_id
    first, second = graph.compiled([a, b]).run([a, b], out=[total, None])
    assert first is total and total.storage_id == storage
    np.testing.assert_allclose(total.asnumpy(), a.asnumpy() + b.asnumpy())
    np.testing.assert_allclose(second.asnumpy(), a.asnumpy() * b.asnumpy())
    # Over an operand: in step in place, out of step through fresh memory.
    values = a.asnumpy()
    graph.compiled([a, b]).run([a, b], out=[a, None])
    np.testing.assert_allclose(a.asnumpy(), values + b.asnumpy())
    turned = graph_of(lambda a: sym.flip(a, axis=0), (4,))
    values = a.asnumpy()
    turned.compiled([a]).run([a], out=[a])
    np.testing.assert_array_equal(a.asnumpy(), values[::-1])
    with pytest.raises(mx.TigonError, match=r"^graph: out=: expected float32 \(4,\); given"):
        graph.compiled([a, b]).run([a, b], out=[nd.zeros(5), None])


def test_donated_memory_is_used_once() -> None:
    graph = graph_of(lambda a, b: [a + 1, sym.tanh(b)], (4,), (4,))
    a, b = arrays_of((4,), (4,), attach=False)
    expected = a.asnumpy() + 1, np.tanh(b.asnumpy())
    storages = {a.storage_id, b.storage_id}
    results = graph([a, b], donate=(0, 1))
    assert {result.storage_id for result in results} == storages
    assert a.donated and b.donated
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.asnumpy(), wanted, rtol=1e-6)
    with pytest.raises(mx.TigonError, match="donated"):
        graph([a, nd.ones(4)])


def test_what_others_still_read_is_not_overwritten() -> None:
    """A view or an alias of a donated array, and one argument given twice."""
    graph = graph_of(lambda a, b: a + b, (4,), (4,))
    a, b = arrays_of((4,), (4,), attach=False)
    view, values = a[1:3], a.asnumpy()
    (result,) = graph([a, b], donate=(0,))
    result += 100
    np.testing.assert_array_equal(view.asnumpy(), values[1:3])
    c = nd.ones(4)
    (result,) = graph([c, c], donate=(0,))
    assert result.asnumpy().tolist() == [2] * 4


# ------------------------------------------------------------------------------ random keys


def noisy(F: Any, x: Any) -> Any:
    return F.Dropout(F.Dropout(x, p=0.5) + F.random.uniform(shape=(64,)), p=0.2)


def test_the_same_seed_draws_the_same_either_way() -> None:
    graph = graph_of(lambda x: noisy(sym, x), (64,))
    x = nd.ones(64)
    draws = []
    for run in (lambda: graph([x])[0], lambda: noisy(nd, x)):
        mx.random.seed(7)
        with autograd.train_mode():
            draws.append([run().asnumpy() for _ in range(3)])
    for compiled, imperative in zip(*draws, strict=True):
        np.testing.assert_allclose(compiled, imperative, rtol=1e-6)
    assert not np.array_equal(draws[0][0], draws[0][1])


def test_hybridizing_keeps_the_stream() -> None:
    """Draws after a compiled call continue where the imperative program would be."""
    drawn = []
    for hybrid in (False, True):
        net = nn.HybridSequential()
        net.add(nn.Dropout(0.5), nn.Dropout(0.5))
        net.initialize()
        if hybrid:
            net.hybridize()
        mx.random.seed(3)
        x = nd.ones((8, 8))
        with autograd.record():
            masks = [net(x).asnumpy() for _ in range(3)]
        drawn.append([*masks, nd.random.normal(shape=(5,)).asnumpy()])
    for imperative, compiled in zip(*drawn, strict=True):
        np.testing.assert_allclose(imperative, compiled, rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_the_stream_advances_alike_in_either_mode(training: bool) -> None:
    graph = graph_of(lambda x: noisy(sym, x), (64,))
    states = []
    for run in (lambda: graph([nd.ones(64)], training), lambda: noisy(nd, nd.ones(64))):
        mx.random.seed(2)
        with autograd.train_mode() if training else autograd.predict_mode():
            run()
        states.append(keys.state())
    assert states[0] == states[1] and states[0][0] == 2


def test_tape_nodes_know_their_graph() -> None:
    graph = graph_of(lambda x: x * x, (3,))
    (x,) = arrays_of((3,))
    with autograd.record():
        (y,) = graph([x])
    node, index = _native.tape_node(y)
    assert (index, node.output_count) == (0, 1)
    assert [value.node.op.name for value in node.tag.graph.outputs] == ["broadcast_mul"]
    del node
    (gradient,) = autograd.grad(y, [x], create_graph=True)
    (second,) = autograd.grad(gradient, [x])
    assert second.asnumpy().tolist() == [2, 2, 2]


def test_an_imperative_call_that_raises_draws_nothing() -> None:
    x = nd.ones(4)
    for call in (
        lambda out: nd.Dropout(x, p=0.5, mode="always", out=out),
        lambda out: nd.random.uniform(shape=(4,), out=out),
    ):
        mx.random.seed(3)
        with pytest.raises(mx.TigonError, match=r"out=: expected float32 \(4,\)"):
            call(nd.zeros(5))
        assert keys.state() == (3, 0)
        call(nd.zeros(4))
        assert keys.state() == (3, 1)
