"""Random loops: on arrays, hybridized and bound they are the same, gradients are those of
differences, and the passes over loops change rounding at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.graphs import DrawChooser, RandomChooser
from tests.fuzz.interpret import interpret
from tests.fuzz.loops import NAMES, Program, random_program
from tigon import autograd, gluon, nd, sym
from tigon.base import TensorType, as_dtype
from tigon.base.frozen import replace
from tigon.ir import Graph, parse, show, typed, verify
from tigon.ops import get
from tigon.ops.primitive import control
from tigon.passes import control_gradient
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient
from tigon.passes.hoist_from_loops import hoist_from_loops
from tigon.passes.keep_residuals import keep_residuals
from tigon.passes.sink_from_loops import sink_from_loops

Results = tuple[list[np.ndarray], dict[str, np.ndarray]]
"""Outputs, and gradients by name."""

fuzzed = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    return random_program(DrawChooser(draw))


def arrays(program: Program) -> dict[str, nd.NDArray]:
    return {n: nd.array(a, dtype="float64") for n, a in program.inputs().items()}


def heads(outputs: list[Any]) -> list[np.ndarray]:
    """What loss slopes along, by output."""
    draw = np.random.default_rng(5)
    return [draw.uniform(-1, 1, output.shape) for output in outputs]


class Of(gluon.nn.HybridBlock):
    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def hybrid_forward(self, F: Any, *inputs: Any) -> Any:
        outputs = self.program.run(F, dict(zip(NAMES, inputs, strict=True)))
        return [*outputs, inputs[0] * 0 + 1] if len(outputs) < 2 else outputs


def by_block(program: Program, hybridize: bool) -> Results:
    net = Of(program)
    if hybridize:
        net.hybridize(strict=True)
    given = arrays(program)
    for array in given.values():
        array.attach_grad()
    with autograd.record():
        outputs = list(net(*given.values()))
    slopes = [nd.array(slope, dtype="float64") for slope in heads(outputs)]
    autograd.backward(outputs, slopes)
    return [out.asnumpy() for out in outputs], {n: a.grad.asnumpy() for n, a in given.items()}


def by_binding(program: Program) -> Results:
    outputs = Of(program).hybrid_forward(sym, *map(sym.var, NAMES))
    group = sym.Group(outputs)
    given = {n: a for n, a in arrays(program).items() if n in group.list_arguments()}
    slopes = {n: nd.zeros_like(a) for n, a in given.items()}
    executor = group.bind(given["x"].context if "x" in given else nd.ones(1).context, given, slopes)
    made = executor.forward(is_train=True)
    executor.backward([nd.array(slope, dtype="float64") for slope in heads(made)])
    return [out.asnumpy() for out in made], {n: a.asnumpy() for n, a in slopes.items()}


def assert_alike(found: Results, wanted: Results) -> None:
    for one, other in zip(found[0], wanted[0], strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, 1e-9, 1e-9)
    for name in found[1].keys() & wanted[1].keys():
        np.testing.assert_allclose(found[1][name], wanted[1][name], 1e-8, 1e-8, err_msg=name)


def assert_gradients_are_slopes(program: Program, slopes: dict[str, np.ndarray]) -> None:
    """Along one direction of all inputs."""
    draw = np.random.default_rng(9)
    base = program.inputs()
    directions = {name: draw.uniform(-1, 1, array.shape) for name, array in base.items()}

    def loss(step: float) -> float:
        moved = [
            nd.array(array + step * directions[name], dtype="float64")
            for name, array in base.items()
        ]
        outputs = list(Of(program)(*moved))
        pairs = zip(outputs, heads(outputs), strict=True)
        return sum(float((out.asnumpy() * head).sum()) for out, head in pairs)

    step = 1e-5
    wanted = (loss(step) - loss(-step)) / (2 * step)
    found = sum(float((slopes[name] * directions[name]).sum()) for name in slopes)
    np.testing.assert_allclose(found, wanted, 1e-6, 1e-6)


@given(program=programs())
@fuzzed
def test_a_loop_is_the_same_everywhere(program: Program) -> None:
    plain = by_block(program, hybridize=False)
    assert_alike(by_block(program, hybridize=True), plain)
    assert_alike(by_binding(program), plain)
    assert_gradients_are_slopes(program, plain[1])


# -------------------------------------------------------------------------------- passes


def joint_graph(program: Program, order: int = 1) -> Graph:
    """Results and gradients, in primitives."""
    outputs = Of(program).hybrid_forward(sym, *map(sym.var, NAMES))
    values = [symbol._values[0] for symbol in outputs]
    float64 = as_dtype("float64")
    types = {name: TensorType(shape, float64) for name, shape in program.shapes.items()}
    inputs = {v.node.name: v for v in Graph.of(values).inputs}
    made = typed(Graph(list(inputs.values()), values), types)
    results, slopes = list(made.outputs), []
    for _ in range(order):
        ones = [get("ones_like")(value) for value in results]
        found = gradient(results, ones, made.inputs)
        results = [value for value in found if value is not None]
        slopes += results
    return decompose(Graph(made.inputs, [*made.outputs, *slopes]))


PASSES: dict[str, Callable[[Graph], Graph]] = {
    "keep_residuals": keep_residuals,
    "hoist_from_loops": hoist_from_loops,
    "sink_from_loops": sink_from_loops,
    "all": lambda graph: sink_from_loops(hoist_from_loops(keep_residuals(graph))),
}


def check_law(name: str, graph: Graph, program: Program) -> None:
    run = PASSES[name]
    result = verify(run(graph))
    assert [value.type for value in result.outputs] == [value.type for value in graph.outputs]
    given = program.inputs()
    inputs = [given[value.node.name] for value in graph.inputs]
    for one, other in zip(interpret(result, inputs), interpret(graph, inputs), strict=True):
        np.testing.assert_allclose(one, other, 1e-9, 1e-9)
    if name != "all":
        assert run(result) is result
    if result.key == graph.key:
        assert result is graph
    assert parse(show(result), get).key == result.key


@pytest.mark.parametrize("name", PASSES)
@given(program=programs())
@fuzzed
def test_a_pass_over_loops(name: str, program: Program) -> None:
    check_law(name, joint_graph(program), program)


@pytest.mark.parametrize("seed", range(6))
def test_passes_over_gradients_of_gradients(seed: int) -> None:
    program = random_program(RandomChooser(seed))
    check_law("all", joint_graph(program, order=2), program)


# ----------------------------------------------------------------------------- mutations


def without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of loops leave out the row that was gone over last."""
    made = control_gradient.Node

    def node(op: Any, operands: Any, attrs: Any, name: str = "") -> Any:
        if op is control._foreach and not attrs.counted and not attrs.keyed:
            length = operands[0].shape[0]
            less = get("_full")(shape=(1,), value=max(length - 1, 0), dtype="int64")
            return made(op, (*operands, less), replace(attrs, counted=True), name)
        return made(op, operands, attrs, name)

    monkeypatch.setattr(control_gradient, "Node", node)


def test_a_gradient_that_drops_a_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    body = (1, 1, (("dot", 0, 0), ("tanh", -1, 0), ("add", 1, -1)), (0,), (1,), False)
    program = Program(4, ("foreach", *body))
    plain = by_block(program, hybridize=False)
    assert_alike(by_block(program, hybridize=True), plain)
    without_a_step(monkeypatch)
    broken = by_block(program, hybridize=True)
    for one, other in zip(broken[0], plain[0], strict=True):
        np.testing.assert_allclose(one, other, 1e-9)
    with pytest.raises(AssertionError):
        assert_gradients_are_slopes(program, broken[1])
    with pytest.raises(AssertionError):
        assert_alike(broken, plain)
