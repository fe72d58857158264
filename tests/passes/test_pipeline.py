"""The ordered list of passes, and what folding and cleaning up may not do."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fuzz.interpret import interpret
from tests.oracle import evaluate
from tigon.base import InternalError, TensorType, TigonError, as_dtype
from tigon.ir import CONSTANT, Graph, constant, variable
from tigon.ops import get
from tigon.passes import pipeline
from tigon.passes.decompose import decompose
from tigon.passes.fold_constants import LIMIT, fold_constants
from tigon.passes.store_operands import store_operands

F32 = as_dtype("float32")


def x_of(*shape: int) -> object:
    return variable("x", TensorType(shape, F32))


def test_every_step_says_why() -> None:
    for step in pipeline.PIPELINE:
        assert len(step.reason.split()) > 3
    assert [step.name for step in pipeline.PIPELINE if not step.optional] == [
        "check_indices",
        "decompose",
        "replace_empty_values",
        "drop_marks",
        "lay_out_images",
        "split_sums",
        "shorten_views",
        "store_operands",
        "own_outputs",
    ]


@pytest.mark.parametrize("name", ["decompose", "fuse_everything"])
def test_only_optional_passes_can_be_disabled(name: str) -> None:
    with pytest.raises(TigonError, match=f"cannot disable {name}; optional passes are canon"):
        pipeline.run(Graph([], []), interpret, {name})


def test_operands_of_libraries_are_stored_once() -> None:
    """No random graph has such operators, so the laws of passes hold here."""
    x = x_of(2, 3, 3)
    views = [get("transpose")(x, axes=(0, 2, 1)), get("_full")(shape=(3, 3), value=2.0), x]
    outputs = [get("_inverse_or_zero")(view) for view in views]
    graph = Graph([x], [*outputs, get("linalg_trsm")(x, get("exp")(views[0]))])
    stored = store_operands(graph)
    copies = [node for node in stored if node.op.name == "_copy"]
    assert [node.inputs[0] for node in copies] == views[:2]
    assert store_operands(stored) is stored
    given = {"x": np.random.default_rng(0).uniform(1, 2, (2, 3, 3)).astype("float32")}
    for found, wanted in zip(evaluate(stored, given), evaluate(graph, given), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_numbers_become_one_weak_constant() -> None:
    add = get("broadcast_add")
    total = add(add(constant(1), constant(2)), add(constant(3), constant(4)))
    (result,) = fold_constants(Graph([], [total]), interpret).outputs
    assert result.node.op is CONSTANT
    assert (result.node.attrs.value, result.type.weak) == (10, True)
    x = variable("x", TensorType((2,), as_dtype("float64")))
    assert fold_constants(Graph([x], [add(x, total)]), interpret).outputs[0].dtype is x.dtype


def test_one_evaluation_for_all_constants() -> None:
    calls = []

    def counting(graph: Graph) -> list[np.ndarray]:
        calls.append(len(graph.outputs))
        return interpret(graph)

    x = x_of(3)
    mul, add = get("broadcast_mul"), get("broadcast_add")
    y = add(mul(x, mul(constant(2), constant(3))), add(constant(1), constant(1)))
    graph = fold_constants(Graph([x], [y]), counting)  # type: ignore[list-item]
    assert calls == [2]
    assert fold_constants(graph, counting) is graph
    assert calls == [2]


def test_nothing_large_is_made() -> None:
    table = constant(np.arange(4.0), "float32")
    for copies in (LIMIT // 4, LIMIT // 4 + 1):
        wide = get("tanh")(get("_broadcast")(table, shape=(copies, 4)))
        (result,) = fold_constants(Graph([], [wide]), interpret).outputs
        assert (result.node.op is CONSTANT) == (copies * 4 <= LIMIT)


def test_a_wrong_evaluator_is_noticed() -> None:
    total = get("broadcast_add")(constant(1), constant(2))
    with pytest.raises(InternalError, match="folded to shape"):
        fold_constants(Graph([], [total]), lambda graph: [np.zeros(3)])


def test_untyped_composites_cannot_be_decomposed() -> None:
    x = variable("x")
    with pytest.raises(TigonError, match="mean 'm': its type is not known yet"):
        node = get("mean")(x).node
        node.name = "m"
        decompose(Graph([x], node.outputs))


def test_deep_graphs_pass() -> None:
    value = start = variable("x", TensorType((2,), F32))
    for _ in range(5_000):
        value = get("elemwise_add")(value, start)
    graph = pipeline.run(Graph([start], [value]), interpret)
    assert len(graph.nodes) == 5_001
