"""The node tests that the `onnx` package carries, and which of them fail why: what `docs/onnx.md`
and the tests are made of."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx

from tigon import nd
from tigon.base import TensorType, TigonError
from tigon.base.dtypes import BY_CODE
from tigon.contrib.onnx import import_model
from tigon.contrib.onnx.frame import NeedsValue
from tigon.ir.graph import Graph
from tigon.ir.rewrite import typed

ELEMENTS = frozenset(
    """
    FLOAT DOUBLE FLOAT16 BFLOAT16 BOOL INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64
    """.split()
)
LEFT_OUT = frozenset(("ImageDecoder", "TfIdfVectorizer"))

REASONS = {
    r"test_(bernoulli|training_dropout(_default)?(_mask)?$)": "random numbers are tigon's own",
    r"test_nonmaxsuppression": "the shape of the result depends on values",
    r"test_unique": "the shape of the result depends on values",
    r"test_bitcast_.*float": "no operator of tigon reads the bits of a float",
    r"test_ai_onnx_ml_tree_ensemble": "trees are no array programs",
    r"test_dft_inverse(_opset19)?$": "expects rounding errors of 2e-7 where the result is 0",
}
"""Of cases that fail, by the beginnings of their names."""

AS_THE_RUNTIME: dict[str, str] = {
    r"test_attention_4d_causal_fp16": "one unit in the last place of float16",
}
"""Of cases whose recorded numbers ONNX Runtime does not give either: what differs."""


class Case(NamedTuple):
    name: str
    model: Any
    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]
    rtol: float
    atol: float

    @property
    def operator(self) -> str:
        """What it tries: that of the file that it comes from, for expanded functions too."""
        return str(self.model.graph.node[0].op_type)


def cases() -> list[Case]:
    """All with tensors of floats, integers and bools alone."""
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        loaded = load_node_model_tests()
    return [_case(each) for each in loaded if _is_plain(each.model)]


def _is_plain(model: Any) -> bool:
    for node in model.graph.node:
        if node.op_type in LEFT_OUT or "preview" in node.domain:
            return False
    named = onnx.TensorProto.DataType.Name
    for given in (*model.graph.input, *model.graph.output):
        if given.type.WhichOneof("value") != "tensor_type":
            return False
        if named(given.type.tensor_type.elem_type) not in ELEMENTS:
            return False
    return True


def _case(loaded: Any) -> Case:
    inputs, outputs = loaded.data_sets[0]
    names = [each.name for each in loaded.model.graph.input]
    arrays = dict(zip(names, map(_array, inputs), strict=True))
    return Case(
        loaded.name, loaded.model, arrays, list(map(_array, outputs)), loaded.rtol, loaded.atol
    )


def _array(given: Any) -> np.ndarray:
    if isinstance(given, onnx.TensorProto):
        given = onnx.numpy_helper.to_array(given)
    return np.asarray(given)


Evaluate = Callable[[Any, Mapping[str, Any]], "list[np.ndarray]"]
"""`(symbol, arrays by name)` gives the outputs."""


def natively(symbol: Any, arrays: Mapping[str, Any]) -> list[np.ndarray]:
    """As a program."""
    given = {}
    for value in Graph.of(symbol._values).inputs:
        name, dtype = value.node.name, BY_CODE[int(value.node.hints["__dtype__"])].name
        array = arrays[name]
        if not isinstance(array, nd.NDArray):
            array = nd.array(np.asarray(array, _plain(array)), dtype=dtype)
        given[name] = array
    states = {name: given.pop(name) for name in symbol.list_auxiliary_states()}
    bound = symbol.bind(None, given, grad_req="null", aux_states=states)
    return [each.asnumpy() for each in bound.forward()]


def _plain(array: np.ndarray) -> Any:
    return np.float32 if array.dtype.name == "bfloat16" else array.dtype


def typed_graph(symbol: Any, arrays: Mapping[str, Any]) -> Graph:
    """The graph for arrays of these shapes."""
    graph = Graph.of(symbol._values)
    types = {}
    for value in graph.inputs:
        dtype = BY_CODE[int(value.node.hints["__dtype__"])]
        types[value.node.name] = TensorType(tuple(arrays[value.node.name].shape), dtype)
    return typed(graph, types)


def results(case: Case, evaluate: Evaluate) -> list[np.ndarray]:
    """What tigon computes. Inputs that decide shapes are known when the model is read."""
    values: dict[str, np.ndarray] = {}
    while True:
        try:
            symbol, arguments, states = import_model(case.model, values=values)
            break
        except NeedsValue as error:
            assert not values.keys() >= set(error.inputs), error
            values.update({name: case.inputs[name] for name in error.inputs})
    return evaluate(symbol, {**case.inputs, **arguments, **states})


def failure(case: Case, evaluate: Evaluate = natively) -> str:
    """What is wrong; nothing if it passes."""
    try:
        found = results(case, evaluate)
    except TigonError as error:
        return str(error)
    for own, expected in zip(found, case.outputs, strict=True):
        wrong = difference(own, expected, case.rtol, case.atol)
        if wrong:
            return wrong
    return ""


def difference(own: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> str:
    """As ONNX's own runner compares: two units in the last place of bfloat16 are allowed."""
    if own.shape != expected.shape or own.dtype.name != expected.dtype.name:
        return f"{own.dtype} {own.shape} where {expected.dtype} {expected.shape} is expected"
    if own.dtype.name == "bfloat16":
        own, expected, rtol = own.astype("float32"), expected.astype("float32"), 2.0**-6
    if np.allclose(own, expected, rtol, atol, equal_nan=True):
        return ""
    with np.errstate(all="ignore"):
        wide = np.abs(own.astype("float64") - expected.astype("float64"))
    return f"differs by up to {np.nanmax(wide):.3g}"


def reason(name: str, table: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in table.items() if re.match(pattern, name)), None)


def expected_to_fail(every: list[Case]) -> Iterator[tuple[str, str]]:
    """Names and reasons."""
    for case in every:
        why = reason(case.name, REASONS) or reason(case.name, AS_THE_RUNTIME)
        if why is not None:
            yield case.name, why
