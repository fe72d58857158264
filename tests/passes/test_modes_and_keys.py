"""Training mode and random keys reach every node, deferred gradients included."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon.base import TensorType, as_dtype
from tigon.ir import Graph, Value, typed, variable, verify
from tigon.ops import get
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient
from tigon.passes.pipeline import run
from tigon.passes.set_mode import set_mode
from tigon.passes.share_common_subexpressions import share_common_subexpressions
from tigon.passes.thread_keys import KEY_NAME, thread_keys

F64 = as_dtype("float64")
X = TensorType((40, 50), F64)


def dropouts(graph: Graph) -> list:
    return [node for node in graph.nodes if node.op.name == "Dropout"]


def bits(graph: Graph) -> list:
    return [node for node in graph.nodes if node.op.name == "_random_bits"]


def test_no_random_node_no_key() -> None:
    x = variable("x")
    graph = Graph([x], [get("tanh")(x)])
    assert thread_keys(graph) == (graph, 0)


def test_ordinals_follow_the_order_of_the_program() -> None:
    x = variable("x")
    first = get("Dropout")(x, p=0.1)
    second = get("Dropout")(x, p=0.2)
    graph, count = thread_keys(Graph([x], [second, first]))
    assert count == 2
    assert {node.attrs.p: node.attrs.ordinal for node in dropouts(graph)} == {0.1: 0, 0.2: 1}
    assert [value.node.name for value in graph.inputs] == ["x", KEY_NAME]
    again, count = thread_keys(graph)
    assert again is graph and count == 2


def test_draws_whose_results_are_not_used_have_ordinals_too() -> None:
    x = variable("x")
    first, second, third = [get("Dropout")(x, p=p) for p in (0.1, 0.2, 0.3)]
    drawn = [value.node.serial for value in (first, second, third)]
    graph, count = thread_keys(Graph([x], [second]), drawn)
    assert count == 3
    assert [node.attrs.ordinal for node in dropouts(graph)] == [1]
    graph, count = thread_keys(Graph([x], [get("tanh")(x)]), drawn)
    assert count == 3
    assert [value.node.name for value in graph.inputs] == ["x", KEY_NAME]


def test_operators_that_draw_under_some_attributes_only() -> None:
    x = variable("x")
    graph = Graph([x], [get("LeakyReLU")(x, act_type="leaky")])
    assert thread_keys(graph) == (graph, 0)
    drawing = Graph([x], [get("LeakyReLU")(x, act_type="rrelu")])
    assert thread_keys(drawing)[1] == 1


def test_mode_is_settled_once() -> None:
    x = variable("x")
    graph = Graph([x], [get("Dropout")(x)])
    training = set_mode(graph, True)
    assert [node.attrs.training for node in dropouts(training)] == [True]
    assert set_mode(training, True) is training
    assert set_mode(training, False) is training  # settled once
    predicting = set_mode(graph, False)
    assert [node.attrs.training for node in dropouts(predicting)] == [False]
    assert len({graph.key, training.key, predicting.key}) == 3


def _dropout_and_gradient(early: bool) -> Graph:
    """y = dropout(sin(x)) and dx, differentiated before or after keys and mode are settled."""
    x, g = variable("x"), variable("g")
    y = get("Dropout")(get("sin")(x), p=0.5)
    other = get("Dropout")(x, p=0.5)  # takes another number in line
    graph = Graph([x, g], [y, other])
    if early:
        (dx,) = gradient([y], [g], [x])
        assert dx is not None
        graph, _ = thread_keys(set_mode(Graph([x, g], [y, other, dx]), True))
        return typed(graph, {"x": X, "g": X})
    graph, _ = thread_keys(set_mode(graph, True))
    graph = typed(graph, {"x": X, "g": X})
    x, g = graph.inputs[:2]
    (dx,) = gradient(graph.outputs[:1], [g], [x])
    assert dx is not None
    return Graph(graph.inputs, [*graph.outputs, dx])


@pytest.mark.parametrize("early", [True, False])
def test_the_gradient_repeats_the_mask(early: bool) -> None:
    graph = verify(_dropout_and_gradient(early))
    rng = np.random.default_rng(0)
    x, g = rng.uniform(0.5, 1, X.shape), rng.uniform(0.5, 1, X.shape)
    key = np.array([5, 9], np.int64)
    y, other, dx = interpret(decompose(graph), [x, g, key])
    mask = y != 0
    assert 0.3 < mask.mean() < 0.7
    assert not np.array_equal(mask, other != 0)
    assert np.allclose(dx, g * 2 * mask * np.cos(x))


def test_a_recomputed_mask_is_shared() -> None:
    graph = share_common_subexpressions(decompose(_dropout_and_gradient(early=True)))
    assert len(bits(graph)) == 2


def test_prediction_needs_no_key() -> None:
    x, g = variable("x"), variable("g")
    y = get("Dropout")(x)
    (dx,) = gradient([y], [g], [x])
    assert dx is not None
    graph = typed(Graph([x, g], [y, dx]), {"x": X, "g": X})
    result = run(graph, interpret)
    assert not bits(result)
    assert [value.node.inputs[0].node.name for value in result.outputs] == ["x", "g"]  # copies


def test_second_derivatives_of_random_composites() -> None:
    x, g = variable("x"), variable("g")
    y = get("square")(get("Dropout")(x, p=0.5))
    (dx,) = gradient([y], [g], [x])
    assert dx is not None
    (ddx,) = gradient([dx], [g], [x])
    assert ddx is not None
    outputs: list[Value] = [y, ddx]
    graph = typed(thread_keys(set_mode(Graph([x, g], outputs), True))[0], {"x": X, "g": X})
    found = interpret(
        decompose(graph), [np.ones(X.shape), np.ones(X.shape), np.array([1, 2], np.int64)]
    )
    assert np.allclose(found[1], 8 * (found[0] != 0))
