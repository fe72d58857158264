"""Graphs cut at calls of effect: each happens once, in order, and all results stay the same."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tigon.base import TensorType
from tigon.base.dtypes import float32
from tigon.ir import Graph, Node, Value, constant, variable
from tigon.ops.primitive.arithmetic import add, multiply
from tigon.ops.primitive.functions import sin
from tigon.ops.record import Effect, Family, NoAttrs, Operand, Operator, all_operators, has_effect
from tigon.passes import pipeline
from tigon.passes.cut_at_effects import EffectStep, PureStep, cut_at_effects

VECTOR = TensorType((3,), float32)

NOTED = Operator(
    "noted",
    Family.HOST,
    (Operand("a"), Operand("b", optional=True)),
    NoAttrs,
    lambda *types: (VECTOR, VECTOR),
    "",
    numpy=lambda *arrays: (sum(arrays) + 1, sum(arrays) * 2),
    outputs=2,
    effect=Effect.HOST,
)


def noted(*operands: Value) -> tuple[Value, ...]:
    return Node(NOTED, operands, NoAttrs()).outputs


def inputs(count: int) -> list[Value]:
    return [variable(f"x{number}", VECTOR) for number in range(count)]


def effects(graph: Graph) -> list[Node]:
    found = [node for node in graph.nodes if has_effect(node)]
    return sorted(found, key=lambda node: node.serial)


def run(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What the steps give, with the oracle of each."""
    cut = cut_at_effects(graph)
    known = list(arrays)
    called = []
    for step in cut.steps:
        given = [known[place] for place in step.inputs]
        if isinstance(step, EffectStep):
            called.append(step.node)
            known += step.node.op.oracle(step.node.attrs, *given)
        else:
            assert not any(map(has_effect, step.graph.nodes))
            assert len(given) == len(step.graph.inputs)
            known += interpret(step.graph, given)
    assert called == effects(graph)
    assert len(set(cut.results)) == len(cut.results)
    assert not set(cut.results).intersection(range(len(arrays)))
    return [known[place] for place in cut.results]


def random_graph(random: Random) -> Graph:
    values = inputs(2)
    given = tuple(values)
    values.append(constant(np.array([1, 2, 3]), "float32"))
    for _ in range(random.randrange(1, 14)):
        a, b = random.choice(values), random.choice(values)
        kind = random.choice(["noted", "noted", "sin", "add", "multiply"])
        if kind == "noted":
            values += noted(a) if random.random() < 0.5 else noted(a, b)
        elif kind == "sin":
            values.append(sin(a))
        else:
            values.append((add if kind == "add" else multiply)(a, b))
    return Graph(given, [random.choice(values) for _ in range(random.randrange(1, 6))])


@pytest.mark.parametrize("seed", range(200))
def test_steps_compute_what_the_graph_does(seed: int) -> None:
    graph = random_graph(Random(seed))
    arrays = [np.float32([0.1, 0.2, 0.3]), np.float32([1, -1, 0.5])]
    expected = interpret(graph, arrays)
    for found, values in zip(run(graph, arrays), expected, strict=True):
        np.testing.assert_array_equal(found, values)


def test_work_is_done_before_effects_it_does_not_wait_for() -> None:
    (x,) = inputs(1)
    first, _ = noted(x)
    before = sin(x)
    second, _ = noted(multiply(first, before))
    graph = Graph([x], [add(second, before)])
    kinds = [type(step) for step in cut_at_effects(graph).steps]
    assert kinds == [PureStep, EffectStep, PureStep, EffectStep, PureStep]
    pure = cut_at_effects(graph).steps[0]
    assert isinstance(pure, PureStep) and pure.graph.outputs == (before,)


def test_passes_leave_effects_alone() -> None:
    """Equal calls stay two, and calls on literals are made when the program runs."""
    (x,) = inputs(1)
    literal = constant(np.ones(3), "float32")
    results = [noted(x)[0], noted(x)[0], noted(literal)[0], noted(literal)[0]]
    graph = Graph([x], results)
    after = pipeline.run(graph, interpret)
    assert len([node for node in after.nodes if has_effect(node)]) == 4


def test_every_record_of_the_registry_is_without_effects() -> None:
    """Those that users register have some."""
    assert len(all_operators()) > 300
    assert all(op.effect is Effect.NONE for op in all_operators())
    assert all((op.begin is None) == (op.family is not Family.HOST) for op in all_operators())
