"""What becomes one kernel, and that lowered loops mean what the graph means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.lower.interpreted import run_interpreted
from tests.oracle import evaluate
from tigon.base import TensorType
from tigon.base.dtypes import float32
from tigon.ir import Graph, Value, variable
from tigon.ops import get
from tigon.program.compile import compile_graph
from tigon.program.lowered import prepare


def given(name: str, *shape: int) -> Value:
    return variable(name, TensorType(shape, float32))


def kernels(outputs: Sequence[Value]) -> int:
    return len(compile_graph(Graph.of(outputs)).kernels)


def check_meaning(outputs: Sequence[Value]) -> None:
    """Interpreted loops, fused and not, against the records' oracles."""
    graph = Graph.of(outputs)
    random = np.random.default_rng(0)
    feeds = {
        v.node.name: random.uniform(0.1, 1, v.shape).astype(v.dtype.numpy) for v in graph.inputs
    }
    expected = evaluate(graph, feeds)
    primitives = prepare(graph)
    for fused in (True, False):
        for got, want in zip(run_interpreted(primitives, feeds, fused), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def softmax() -> list[Value]:
    return [get("softmax")(given("x", 5, 33))]


def log_softmax_and_pick() -> list[Value]:
    x, label = given("x", 6, 10), given("label", 6)
    return [get("pick")(get("log_softmax")(x), label)]


def layer_norm() -> list[Value]:
    return [get("LayerNorm")(given("x", 4, 32), given("gamma", 32), given("beta", 32))]


def batch_norm_predicting() -> list[Value]:
    x = given("x", 2, 3, 4, 5)
    out = get("BatchNorm")(x, *[given(n, 3) for n in ("gamma", "beta", "mean", "variance")])
    return [out[0]]


def dense_bias_relu() -> list[Value]:
    x, weight, bias = given("x", 8, 20), given("weight", 7, 20), given("bias", 7)
    return [get("relu")(get("FullyConnected")(x, weight, bias, num_hidden=7))]


def convolution_bias_relu() -> list[Value]:
    x, weight, bias = given("x", 2, 3, 7, 8), given("weight", 4, 3, 3, 3), given("bias", 4)
    y = get("Convolution")(x, weight, bias, kernel=(3, 3), num_filter=4, pad=(1, 1))
    return [get("Activation")(y, act_type="relu")]


def multiply_add() -> list[Value]:
    return [given("b", 10) * given("a", 10) + 1]


def momentum_over_all_parameters() -> list[Value]:
    outputs: list[Value] = []
    for index, shape in enumerate([(8, 4, 3, 3), (8,), (10, 72), (10,)]):
        weight, grad, mom = (given(f"{n}{index}", *shape) for n in ("weight", "grad", "mom"))
        outputs += get("sgd_mom_update")(weight, grad, mom, lr=0.1, momentum=0.9, wd=1e-4)
    return outputs


ONE_KERNEL = [
    softmax,
    log_softmax_and_pick,
    layer_norm,
    batch_norm_predicting,
    dense_bias_relu,
    convolution_bias_relu,
    multiply_add,
    momentum_over_all_parameters,
]


@pytest.mark.parametrize("build", ONE_KERNEL, ids=lambda f: f.__name__)
def test_is_one_kernel(build) -> None:
    assert kernels(build()) == 1


def pooling_then_dense() -> list[Value]:
    x = given("x", 2, 3, 8, 8)
    pooled = get("Pooling")(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    return [get("FullyConnected")(pooled, given("weight", 5, 48), num_hidden=5, no_bias=True)]


def shared_by_two_branches() -> list[Value]:
    x = given("x", 4, 6)
    shared = get("exp")(x)
    return [get("sum")(shared, axis=1), shared * 2, get("transpose")(shared)]


def residual_beside_a_product() -> list[Value]:
    x, weight = given("x", 6, 6), given("weight", 6, 6)
    return [get("relu")(get("dot")(x, weight) + x)]


def joined() -> list[Value]:
    x, y = given("x", 3, 4), given("y", 3, 5)
    return [get("concat")(get("exp")(x), y * 2, dim=1) + 1]


def column_sums() -> list[Value]:
    x = given("x", 40, 9)
    return [get("sum")(x * x, axis=0), get("mean")(x, axis=(0, 1))]


def reduction_of_a_reduction() -> list[Value]:
    x = given("x", 4, 5, 6)
    return [get("max")(get("sum")(x, axis=2), axis=1)]


@pytest.mark.parametrize(
    "build",
    [
        *ONE_KERNEL,
        pooling_then_dense,
        shared_by_two_branches,
        residual_beside_a_product,
        joined,
        column_sums,
        reduction_of_a_reduction,
    ],
    ids=lambda f: f.__name__,
)
def test_loops_mean_what_the_graph_means(build) -> None:
    check_meaning(build())


def test_long_reductions_run_in_blocks() -> None:
    x = given("x", 300_001)
    graph = prepare(Graph.of([get("sum")(x)]))
    assert [len(node.inputs[0].shape) for node in graph.nodes if node.op.name == "_reduce_sum"] == [
        2,
        1,
    ]


def test_constants_are_folded_before_execution() -> None:
    from tigon.ir import constant

    one, two, three, four = (constant(number) for number in (1, 2, 3, 4))
    graph = prepare(Graph((), [(one + two) + (three + four)]))
    (output,) = graph.outputs
    assert output.node.op.name == "_copy"
    assert output.node.inputs[0].node.attrs.value == 10


def test_deep_products_with_few_results_run_in_parts() -> None:
    x, y = given("x", 4096, 24), given("y", 4096, 60)
    product = get("dot")(x, y, transpose_a=True)
    contraction, reduction = [
        node
        for node in prepare(Graph.of([product])).nodes
        if node.op.name in ("_contract", "_reduce_sum")
    ]
    assert contraction.outputs[0].shape == (4, 24, 60)
    assert reduction.outputs[0].shape == (24, 60)
    check_meaning([product])


def centred(rows: int) -> list[Value]:
    x, g = given("x", rows, 16), given("g", rows, 16)
    mean = get("sum")(x, axis=0, keepdims=True) * (0.5 / rows)
    away = get("broadcast_sub")(x, mean)
    variance = get("sum")(away * away, axis=0, keepdims=True)
    moved = get("sum")(away * g, axis=0, keepdims=True)
    return [get("broadcast_mul")(away, moved / (variance + 1))]


def test_what_is_one_subtraction_away_is_not_written() -> None:
    """Several readers, none of which can be in step with another."""
    assert compile_graph(Graph.of(centred(4096))).memory_plan.arena_bytes < 4 * 4096 * 16
    check_meaning(centred(20))


def test_what_takes_long_is_computed_once() -> None:
    """Whoever moves it computes it, but not each of several."""
    x = given("x", 64, 48)
    value = get("tanh")(x)
    cut = [get("slice_axis")(value, axis=1, begin=at, end=at + 20) for at in (3, 25)]
    for outputs in (cut[:1], cut):
        compiled = compile_graph(Graph.of(outputs))
        assert sum(str(kernel).count("tanh(") for kernel in compiled.kernels) == 1
        assert (compiled.memory_plan.arena_bytes == 0) == (len(outputs) == 1)
        check_meaning(outputs)
