"""ONNX's own node tests: all by the operators' meaning in numpy, one of each operator natively.
Which fail is known exactly (`tools/onnx_nodes.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.oracle import evaluate
from tigon.base import TigonError

onnx = pytest.importorskip("onnx")
onnx_page = pytest.importorskip("tools.onnx_page", exc_type=ImportError)
onnx_nodes = pytest.importorskip("tools.onnx_nodes", exc_type=ImportError)


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    return onnx_nodes.cases()


def by_meaning(symbol: Any, arrays: Mapping[str, Any]) -> list[np.ndarray]:
    """In numpy, without compiling; natively where the oracle has no numbers for it."""
    graph = onnx_nodes.typed_graph(symbol, arrays)
    narrow = any(v.dtype.is_narrow for node in graph.nodes for v in node.outputs)
    if narrow or any(getattr(node.op, "takes_key", False) for node in graph.nodes):
        return onnx_nodes.natively(symbol, arrays)
    plain = {
        name: array.asnumpy() if hasattr(array, "asnumpy") else np.asarray(array)
        for name, array in arrays.items()
    }
    return evaluate(graph, {v.node.name: plain[v.node.name] for v in graph.inputs})


def test_every_case_passes_but_those_that_are_listed(cases: list[Any]) -> None:
    assert len(cases) > 1600
    wrong = {case.name: onnx_nodes.failure(case, by_meaning) for case in cases}
    expected = dict(onnx_nodes.expected_to_fail(cases))
    surprising = {name: why for name, why in wrong.items() if why and name not in expected}
    assert not surprising
    assert not {name for name in expected if not wrong[name]}
    assert len(expected) < 0.05 * len(cases)


def test_one_case_of_each_operator_natively(cases: list[Any]) -> None:
    expected = dict(onnx_nodes.expected_to_fail(cases))
    first = {case.operator: case for case in cases if case.name not in expected}
    wrong = {case.name: onnx_nodes.failure(case) for case in first.values()}
    assert not {name: why for name, why in wrong.items() if why}


AXES = re.compile(r"(scan_.*_)?axes|(time_|batch_)?axis")
PER_TENSOR = {"QuantizeLinear", "DequantizeLinear"}
"""A single scale belongs to no axis, whatever the node says."""


def test_axes_that_are_not_there_are_refused(cases: list[Any]) -> None:
    """Every attribute that names axes, of every operator."""
    tried = set()
    for case in cases:
        (node, *others) = case.model.graph.node
        opsets = {each.domain: each.version for each in case.model.opset_import}
        if others or node.op_type in PER_TENSOR:
            continue
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        for name, declared in schema.attributes.items():
            if not AXES.fullmatch(name) or (node.op_type, name) in tried:
                continue
            tried.add((node.op_type, name))
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            (own,) = model.graph.node
            kept = [each for each in own.attribute if each.name != name]
            count = sum(len(each.ints) for each in own.attribute) or 1
            wrong = 99 if declared.type == onnx.AttributeProto.INT else [99] * count
            del own.attribute[:]
            own.attribute.extend([*kept, onnx.helper.make_attribute(name, wrong)])
            changed = case._replace(model=model)
            with pytest.raises(TigonError, match=rf"\({node.op_type}\): "):
                onnx_nodes.results(changed, by_meaning)
    assert len(tried) > 25


def test_the_page_is_up_to_date(cases: list[Any]) -> None:
    assert onnx_page.PAGE.read_text() == onnx_page.page(cases), "run make docs"
