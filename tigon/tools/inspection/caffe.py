"""Networks, solvers and arrays of Caffe."""

from __future__ import annotations

import re

from tigon.base import TigonError
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers.record import reason_against
from tigon.contrib.caffe.states import read_state
from tigon.contrib.caffe.upgrade import layers_of, solver_type
from tigon.contrib.caffe.weights import Stored, read_layers
from tigon.readers.hdf5 import is_hdf5
from tigon.readers.text import read_text
from tigon.tools.inspection.report import Format, Missing, Report, Tensor

_TEXT = re.compile(rb"^[ \t]*(layers?[ \t]*\{|input_dim[ \t]*:|base_lr[ \t]*:)", re.MULTILINE)
_SOLVER = re.compile(
    rb"^[ \t]*(base_lr|lr_policy|max_iter|(train_|test_)?net)[ \t]*:", re.MULTILINE
)


def _is_text(content: memoryview, path: str) -> bool:
    return path.endswith(".prototxt") or _TEXT.search(content, 0, 2**16) is not None


def _describe_text(content: memoryview, path: str) -> Report:
    return (_solver if _SOLVER.search(content) else _network)(bytes(content), path)


def _solver(content: bytes, path: str) -> Report:
    solver = read_text(content, SCHEMA["SolverParameter"], path)
    told = ("net", "train_net", "base_lr", "lr_policy", "momentum", "weight_decay", "max_iter")
    facts = [(name, str(getattr(solver, name))) for name in told if solver.has(name)]
    return Report(
        format="a solver of Caffe", facts=[("type", solver_type(solver) or "SGD"), *facts]
    )


def _network(content: bytes, path: str) -> Report:
    net = read_text(content, SCHEMA["NetParameter"], path)
    layers = layers_of(net)
    inputs = [
        Tensor(top, "float32", tuple(shape.dim))
        for layer in layers
        if layer.type == "Input"
        for top, shape in zip(layer.top, layer.input_param.shape, strict=False)
    ]
    return Report(
        format="a network of Caffe, prototxt",
        facts=[("name", net.name)] if net.name else [],
        inputs=inputs,
        operators=[layer.type for layer in layers],
        missing=[
            Missing(layer.type, layer.name, reason)
            for layer in layers
            if (reason := reason_against(layer.type)) is not None
        ],
    )


def _is_binary(content: memoryview, path: str) -> bool:
    return path.endswith(".caffemodel") or (is_hdf5(content) and ".caffemodel" in path)


def _describe_binary(content: memoryview, path: str) -> Report:
    parameters = [
        _tensor(f"{layer}:{blob.index}", blob)
        for layer, blobs in read_layers(bytes(content), path)
        for blob in blobs
    ]
    if not parameters:
        raise TigonError(f"{path}: at byte 0: expected layers with arrays; given none")
    return Report(format=f"a caffemodel{_form(content)}", parameters=parameters)


def _tensor(name: str, blob: Stored) -> Tensor:
    return Tensor(name, blob.dtype.name, blob.shape, "", blob.size * blob.dtype.itemsize)


def _form(content: memoryview) -> str:
    return ", HDF5" if is_hdf5(content) else ""


def _is_state(content: memoryview, path: str) -> bool:
    return path.endswith((".solverstate", ".solverstate.h5"))


def _describe_state(content: memoryview, path: str) -> Report:
    state = read_state(bytes(content), path)
    return Report(
        format=f"the state of a solver of Caffe{_form(content)}",
        facts=[("iterations", str(state.iteration)), ("caffemodel", state.learned_net)],
        parameters=[_tensor(f"history:{blob.index}", blob) for blob in state.history],
    )


FORMATS = (
    Format("Caffe's caffemodels", _is_binary, _describe_binary),
    Format("states of Caffe's solvers", _is_state, _describe_state),
    Format("Caffe's prototxt", _is_text, _describe_text),
)
