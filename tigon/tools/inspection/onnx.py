"""Models of ONNX."""

from __future__ import annotations

from math import prod
from typing import Any

from tigon.base import TigonError
from tigon.contrib.onnx import converters as _converters  # noqa: F401  (fills the table)
from tigon.contrib.onnx.reading import (
    Model,
    bits_of,
    check_names,
    graphs_of,
    normal_domain,
    package,
    parsed,
    type_name,
)
from tigon.contrib.onnx.registry import TABLE
from tigon.contrib.onnx.schemas import is_function
from tigon.tools.inspection.report import Format, Missing, Report, Tensor

_VERSION = 0x08
"""The tag of the field that all writers put first."""


def _is_model(content: memoryview, path: str) -> bool:
    return path.endswith(".onnx") or (
        len(content) > 2 and content[0] == _VERSION and 3 <= content[1] < 32 and content[2] == 0x12
    )


def _describe(content: memoryview, path: str) -> Report:
    proto = parsed(bytes(content), path)
    if not proto.HasField("graph"):
        raise TigonError(f"{path}: at byte 0: expected a model with a graph; given one without")
    check_names(Model(proto, path, None, {}))
    graph = proto.graph
    sets = [f"{each.domain or 'ai.onnx'} {each.version}" for each in proto.opset_import]
    constants = {each.name for each in graph.initializer}
    nodes = [node for each in graphs_of(graph) for node in each.node]
    return Report(
        format="a model of ONNX",
        version=str(proto.ir_version),
        facts=[
            ("operator sets", ", ".join(sets) or "none"),
            ("producer", f"{proto.producer_name} {proto.producer_version}".strip() or "not told"),
            ("outputs", ", ".join(each.name for each in graph.output) or "none"),
        ],
        inputs=[_input(each) for each in graph.input if each.name not in constants],
        parameters=[_parameter(each) for each in graph.initializer],
        operators=[f"{each.domain}.{each.op_type}".lstrip(".") for each in nodes],
        missing=_missing(proto, nodes),
    )


def _dtype(code: int) -> str:
    return type_name(code).lower()


def _input(info: Any) -> Tensor:
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        return Tensor(info.name, note="no array")
    shape = None
    if kind.HasField("shape"):
        shape = tuple(max(0, each.dim_value) for each in kind.shape.dim)
    return Tensor(info.name, _dtype(kind.elem_type), shape)


def _parameter(tensor: Any) -> Tensor:
    outside = tensor.data_location == package().TensorProto.EXTERNAL
    shape = tuple(max(0, extent) for extent in tensor.dims)
    size, bits = None, bits_of(tensor.data_type)
    if tensor.raw_data:
        size = len(tensor.raw_data)
    elif not outside and bits is not None:
        size = -(-prod(shape) * bits // 8)
    return Tensor(tensor.name, _dtype(tensor.data_type), shape, "outside" if outside else "", size)


def _missing(proto: Any, nodes: list[Any]) -> list[Missing]:
    own = {(normal_domain(each.domain), each.name) for each in proto.functions}
    found = []
    for node in nodes:
        key = (normal_domain(node.domain), node.op_type)
        if key not in TABLE and key not in own and not is_function(*key):
            found.append(Missing(node.op_type, node.name, "docs/onnx.md lists what is read"))
    return found


FORMATS = (Format("ONNX's models", _is_model, _describe),)
