"""Operators whose rules differ between readers, against what ONNX Runtime has made of them."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import tigon as mx
from tests.onnx_files.operator_cases import CASES, RECORDED, record
from tigon import nd
from tigon.contrib.onnx import import_model

EXPECTED: dict[str, Any] = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_onnx_runtime(name: str) -> None:
    model, inputs = CASES[name]()
    symbol, arguments, states = import_model(model)
    arrays = {key: nd.array(array, dtype=array.dtype) for key, array in inputs.items()}
    bound = symbol.bind(None, arrays | arguments, grad_req="null", aux_states=states)
    for found, (shape, numbers) in zip(bound.forward(), EXPECTED[name], strict=True):
        expected = np.array(numbers).reshape(shape)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-5, atol=2e-5)


def test_what_is_recorded_is_what_onnx_runtime_computes() -> None:
    pytest.importorskip("onnxruntime")
    found = record()
    assert found.keys() == EXPECTED.keys()
    for name, outputs in found.items():
        for (shape, numbers), (recorded, own) in zip(outputs, EXPECTED[name], strict=True):
            assert shape == recorded
            np.testing.assert_allclose(numbers, own, rtol=1e-4, atol=1e-5)


def test_every_model_survives_its_file() -> None:
    """As MXNet's graph text: what is read again computes the same."""
    for name in CASES:
        if not name.startswith("model "):
            continue
        model, inputs = CASES[name]()
        symbol, arguments, states = import_model(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that MXNet does not know some of the operators
            again = mx.sym.load_json(symbol.tojson())
        arrays = {key: nd.array(array, dtype=array.dtype) for key, array in inputs.items()}
        results = [
            each.bind(None, arrays | arguments, grad_req="null", aux_states=states).forward()
            for each in (symbol, again)
        ]
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy(), err_msg=name)
