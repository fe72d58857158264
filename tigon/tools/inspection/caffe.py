"""Networks, solvers and arrays of Caffe."""

from __future__ import annotations

import re

from tigon.base import TigonError
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers.record import RECORDS, REFUSED
from tigon.contrib.caffe.upgrade import layers_of, solver_type
from tigon.contrib.caffe.weights import read_layers, shape_of_blob
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
            Missing(layer.type, layer.name, REFUSED.get(layer.type, "it is not known here"))
            for layer in layers
            if layer.type not in RECORDS
        ],
    )


def _is_binary(content: memoryview, path: str) -> bool:
    return path.endswith(".caffemodel")


def _describe_binary(content: memoryview, path: str) -> Report:
    parameters = []
    for layer, blobs in read_layers(bytes(content), path):
        for number, blob in enumerate(blobs):
            wide = blob.has("double_data")
            count = len(
                blob.numbers("double_data", "float64") if wide else blob.numbers("data", "float32")
            )
            dtype = "float64" if wide else "float32"
            size = count * (8 if wide else 4)
            parameters.append(Tensor(f"{layer}:{number}", dtype, shape_of_blob(blob), "", size))
    if not parameters:
        raise TigonError(f"{path}: at byte 0: expected layers with arrays; given none")
    return Report(format="a caffemodel", parameters=parameters)


FORMATS = (
    Format("Caffe's caffemodels", _is_binary, _describe_binary),
    Format("Caffe's prototxt", _is_text, _describe_text),
)
