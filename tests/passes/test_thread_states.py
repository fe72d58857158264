"""States as values: which calls read what, and what comes out."""

from __future__ import annotations

from tigon import nd, sym
from tigon.ir import Graph, Value, variable
from tigon.ir.rewrite import copied
from tigon.ops import get
from tigon.passes.set_mode import set_mode
from tigon.passes.thread_states import keep_states, order_of_calls, thread_states

NAMES = ("x", "gamma", "beta", "mean", "var")


def operands() -> list[Value]:
    return [variable(name) for name in NAMES]


def norm(*values: Value, **attributes: object) -> Value:
    return get("BatchNorm")(*values, **attributes)[0]


def test_no_states_no_change() -> None:
    x = variable("x")
    graph = Graph([x], [get("tanh")(x)])
    assert thread_states(graph) == (graph, ())
    assert thread_states(graph)[0] is graph
    assert keep_states(graph, ()) == (graph, ())


def test_the_second_call_reads_what_the_first_has_left() -> None:
    x, *states = operands()
    first = norm(x, *states)
    second = norm(x, *states)
    for outputs in ([first, second], [second, first]):
        graph, pairs = thread_states(Graph([x, *states], outputs))
        one, two = (graph.outputs[outputs.index(value)].node for value in (first, second))
        assert two.inputs[3:] == one.outputs[3:]
        assert pairs == ((2, 3), (3, 4))
        assert graph.outputs[2:] == two.outputs[3:]


def test_a_call_without_a_user_comes_out() -> None:
    x, *states = operands()
    call = norm(x, *states).node
    y = get("tanh")(x)
    graph, pairs = thread_states(Graph([x, *states], [y]), [call])
    assert graph.outputs == (y, *call.outputs[3:])
    assert pairs == ((1, 3), (2, 4))


def test_it_may_be_asked_again() -> None:
    x, *states = operands()
    values = [norm(x, *states)]
    for _ in range(3):
        values.append(get("broadcast_mul")(values[-1], states[2]))
        values.append(norm(values[-1], *states))
    graph, pairs = thread_states(Graph([x, *states], values))
    once = Graph(graph.inputs, graph.outputs[: len(values)])
    again, same = thread_states(once)
    assert again.key == graph.key and same == pairs
    other = Graph(once.inputs, copied(once.outputs, {}))
    assert thread_states(other)[0].key == graph.key


def test_prediction_hands_states_through() -> None:
    x, *states = operands()
    graph, pairs = thread_states(Graph([x, *states], [norm(norm(x, *states), *states)]))
    for training, kept in ((True, pairs), (False, ())):
        settled, left = keep_states(set_mode(graph, training), pairs)
        assert left == kept
        assert len(settled.outputs) == 1 + len(kept)
    predicted = keep_states(set_mode(graph, False), pairs)[0].outputs[0].node
    assert predicted.inputs[3:] == tuple(graph.inputs[3:])


def test_operands_come_before_their_users_whatever_the_order_of_making() -> None:
    x, y = sym.var("x"), sym.var("y")
    early = sym.tanh(x)
    late = early(x=sym.exp(y))  # an old call over a newer operand
    order = order_of_calls(Graph.of(late._values).nodes)
    for position, node in enumerate(order):
        assert all(value.node in order[:position] for value in node.inputs)
    assert nd.array([0]).shape == late.eval(y=nd.array([0]))[0].shape
