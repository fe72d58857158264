"""Every record as it runs: imperatively, as a compiled graph, and recorded, with its oracle beside
it. Nothing here names an operator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.registry.test_records import OPERATORS, cases, node_of, operands_of
from tigon import _native, autograd, jit
from tigon.base import TigonError
from tigon.base.dtypes import BY_CODE
from tigon.ir import Graph, Node
from tigon.nd.dispatch import apply, make_function
from tigon.ops.attributes import attrs_dict
from tigon.ops.record import Operator
from tigon.ops.signature import HIDDEN
from tigon.program.cached_graph import CachedGraph
from tigon.program.operators import invoke
from tigon.runtime import keys

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}


def arrays_of(given: list[np.ndarray]) -> list[_native.NDArray]:
    return [_native.from_numpy(array) for array in given]


def as_graph(node: Node) -> CachedGraph:
    return CachedGraph(Graph([value for value in node.inputs], visible(node)), name=node.op.name)


def visible(node: Node) -> list:
    return list(node.outputs[: node.op.visible_count(node.attrs)])


def run(node: Node, arrays: list[_native.NDArray]) -> list[_native.NDArray]:
    result = invoke(node.op, node.attrs, arrays)
    return list(result) if isinstance(result, tuple) else [result]


def assert_close(
    found: np.ndarray,
    expected: np.ndarray,
    op: Operator,
    what: Any,
    given: Sequence[np.ndarray] = (),
) -> None:
    """As close as the least precise of the operands and the result."""
    expected = np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    name = found.dtype.name
    if name == "float64" and any(array.dtype == np.float32 for array in given):
        name = "float32"
    tolerance = max(op.tolerance.get(name, 0.0), TOLERANCE.get(name, 0.0))
    if found.size:
        scale = max(
            1.0, float(np.abs(np.nan_to_num(expected.astype(float), posinf=0, neginf=0)).max())
        )
        np.testing.assert_allclose(found, expected, tolerance, tolerance * scale, err_msg=str(what))


def sampled(op: Operator) -> list[tuple[Node, list[np.ndarray]]]:
    """As few cases as have each sample, and each dtype of each operand, once: compilation costs.
    Each sample comes first."""
    by_sample: dict[Any, list[tuple[Node, list[np.ndarray]]]] = {}
    for node, arrays in cases(op):
        by_sample.setdefault((node.attrs, *[a.shape for a in arrays]), []).append((node, arrays))
    chosen = [found[index % len(found)] for index, found in enumerate(by_sample.values())]
    seen = {place for _, arrays in chosen for place in dtypes_of(arrays)}
    for node, arrays in (case for found in by_sample.values() for case in found):
        if not dtypes_of(arrays) <= seen:
            chosen.append((node, arrays))
            seen |= dtypes_of(arrays)
    return chosen


def dtypes_of(arrays: list[np.ndarray]) -> set[tuple[int, str]]:
    return {(place, array.dtype.name) for place, array in enumerate(arrays)}


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.name)
def test_execution_means_what_the_oracle_says(op: Operator) -> None:
    for node, given in sampled(op):
        what = (node, node.attrs, [value.type for value in node.inputs])
        with np.errstate(all="ignore"):
            expected = op.oracle(node.attrs, *given)[: len(visible(node))]
        imperative = computed(node, given)
        if imperative is None:
            continue
        for found, wanted in zip(imperative, expected, strict=True):
            assert_close(found.asnumpy(), wanted, op, what, given)
        if op.takes_key:  # supplied by whoever runs a graph: tests of randomness cover these
            continue
        training = getattr(node.attrs, "training", False)
        compiled = as_graph(node)(arrays_of(given), training)
        for found, other in zip(compiled, imperative, strict=True):
            # One program or the other: the same kernels.
            np.testing.assert_array_equal(found.asnumpy(), other.asnumpy(), str(what))


def computed(node: Node, given: list[np.ndarray]) -> list[_native.NDArray] | None:
    """None where a number that is an attribute does not fit the dtype, which is refused."""
    refusal = r"the number (\S+) does not fit "
    try:
        return run(node, arrays_of(given))
    except TigonError as error:
        check_refusal(node, error)
    with pytest.raises(TigonError, match=refusal):
        as_graph(node)(arrays_of(given))
    return None


def check_refusal(node: Node, error: TigonError) -> None:
    """What does not fit is a number that the caller has given, and none that the operator makes."""
    found = re.search(r"the number (\S+) does not fit ", str(error))
    assert found, error
    given = np.hstack([v for v in attrs_dict(node.attrs).values() if not isinstance(v, str)] or [0])
    numbers = [float(v) for v in given if isinstance(v, (int, float, np.number))]
    assert float(found[1]) in numbers, (node, node.attrs, str(error))


DIFFERENTIABLE = [op for op in OPERATORS if op.differentiable and not op.takes_key]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_recorded_gradients_agree(op: Operator) -> None:
    """The tape of one operator and the backward half of a compiled graph."""
    for index, sample in enumerate(op.samples[:3]):
        given = operands_of(op, sample, "float64", seed=index)
        node = node_of(op, sample, given)
        shaped = [not isinstance(part, np.ndarray) for part in sample[:-1]]
        results = []
        training = getattr(node.attrs, "training", False)
        graph = as_graph(node)
        for call in (partial(run, node), partial(graph, training=training)):
            arrays = arrays_of(given)
            for array, free in zip(arrays, shaped, strict=True):
                if free and array.dtype_code in (0, 1):
                    array.mark_variable(_native.from_numpy(np.zeros(array.shape)), "write")
            with autograd.record(train_mode=training):
                heads = [h for h in call(arrays) if h.dtype_code in (0, 1)]
            heads = [head for head in heads if head.has_tape]
            if heads:
                seeds = [
                    _native.from_numpy(
                        np.random.default_rng(7)
                        .uniform(-1, 1, h.shape)
                        .astype(BY_CODE[h.dtype_code].numpy)
                    )
                    for h in heads
                ]
                _native.backward(heads, seeds, False)
            results.append([array.grad.asnumpy() for array in arrays if array.grad is not None])
        for imperative, compiled in zip(*results, strict=True):
            assert_close(compiled, imperative, op, (node, node.attrs))


@pytest.mark.parametrize("training", [False, True], ids=["prediction", "training"])
@pytest.mark.parametrize("op", [op for op in OPERATORS if op.takes_key], ids=lambda op: op.name)
def test_the_random_stream_advances_alike(op: Operator, training: bool) -> None:
    """By either way to the dispatcher and traced, and only where the key is of consequence."""
    function = make_function(op, op.name)
    for node, given in sampled(op):
        if any(array.dtype == np.bool_ for array in given):
            continue  # which may well look alike from all sides
        attributes = {k: v for k, v in attrs_dict(node.attrs).items() if k not in HIDDEN}
        key = given and given[-1].dtype == np.int64 and given[-1].shape == (2,)
        operands = arrays_of(given[:-1] if key else given)

        def short(*arrays: Any, attributes: Any = attributes) -> Any:
            return function(*arrays, **attributes)

        def long(*arrays: Any, attributes: Any = attributes) -> Any:
            return apply(op, op.make_attrs(attributes), arrays)

        found = []
        for way in (short, long, jit(short)):
            with autograd.train_mode() if training else autograd.predict_mode():
                keys.seed(7)
                first = as_bytes(way(*operands))
                draws = keys.state()[1]
                others = {as_bytes(way(*operands)) for _ in range(20)} - {first}
            found.append((draws, first))
            certain = attributes.get("p", 0.5) > 0.9  # so that twenty calls are alike
            assert draws == 1 if others else not draws or certain or not first, node.attrs
        assert found[0] == found[1] == found[2], (node.attrs, [draws for draws, _ in found])


def as_bytes(result: Any) -> bytes:
    results = result if isinstance(result, (list, tuple)) else [result]
    return b"|".join(array.asnumpy().tobytes() for array in results)
