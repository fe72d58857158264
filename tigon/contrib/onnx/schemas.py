"""What the `onnx` package says of operators: attributes with their types and defaults, how many
inputs and outputs there are, and what functions they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.contrib.onnx.frame import Frame
from tigon.contrib.onnx.operand import Operand
from tigon.contrib.onnx.reading import EXACT, package


def means_the_same(name: str, schema: Any) -> bool:
    """Whether what is there before opset 7 is what is read."""
    own = package().defs.get_schema(name, EXACT, "")
    return bool(own.since_version == schema.since_version)


def check_counts(schema: Any, node: Any) -> None:
    """Refuse a node that has more or fewer inputs or outputs, or lacks one that must be there."""
    for what, given, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        check(
            least <= given <= most,
            what,
            f"expected {least} to {most} of them; given {given}",
        )
    declared = list(schema.inputs)
    for position, name in enumerate(node.input):
        if not name:
            formal = declared[min(position, len(declared) - 1)]
            left_out = formal.option.name == "Optional"
            check(left_out, f"input {position}", "must not be left out")


def attributes_of(schema: Any, node: Any, frame: Frame) -> dict[str, Any]:
    """By name, those that have a default included."""
    declared = schema.attributes
    found = {}
    for name, attribute in bound(schema, node, frame).items():
        known = declared.get(name)
        check(
            known is not None,
            f"attribute '{name}'",
            f"is not one of {node.op_type}; there are {', '.join(sorted(declared)) or 'none'}",
        )
        check(
            int(attribute.type) == int(known.type),
            f"attribute '{name}'",
            f"expected {known.type.name}; given type {attribute.type}",
        )
        found[name] = _plain(attribute, name)
    for name, known in declared.items():
        check(name in found or not known.required, f"attribute '{name}'", "is missing")
    return found


def bound(schema: Any | None, node: Any, frame: Frame) -> dict[str, Any]:
    """The attributes of a node by name, those of a function's call in place of references to
    them; with the schema's defaults, if that is given."""
    found = {}
    for name, declared in schema.attributes.items() if schema is not None else ():
        if declared.default_value.type:
            found[name] = declared.default_value
    for attribute in node.attribute:
        given = attribute
        if attribute.ref_attr_name:
            given = (frame.attributes or {}).get(attribute.ref_attr_name)
            if given is None:
                continue
        if given.name != attribute.name:
            own = package().AttributeProto()
            own.CopyFrom(given)
            own.name = attribute.name
            given = own
        found[attribute.name] = given
    return found


def _plain(attribute: Any, name: str) -> Any:
    kinds = package().AttributeProto
    kind = attribute.type
    if kind == kinds.FLOAT:
        return float(attribute.f)
    if kind == kinds.INT:
        return int(attribute.i)
    if kind == kinds.STRING:
        return _text(attribute.s)
    if kind == kinds.FLOATS:
        return tuple(map(float, attribute.floats))
    if kind == kinds.INTS:
        return tuple(map(int, attribute.ints))
    if kind == kinds.STRINGS:
        return tuple(map(_text, attribute.strings))
    if kind == kinds.TENSOR:
        return attribute.t
    if kind == kinds.SPARSE_TENSOR:
        return attribute.sparse_tensor
    check(kind == kinds.GRAPH, f"attribute '{name}'", f"is of type {kind}, which nothing reads")
    return attribute.g


def is_function(domain: str, name: str) -> bool:
    """Whether the `onnx` package says what an operator is made of."""
    defs = package().defs
    if not defs.has(name, domain):
        return False
    schema = defs.get_schema(name, domain=domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def function_of(
    schema: Any,
    node: Any,
    operands: Sequence[Operand | None],
    opset: int,
    frame: Frame,
) -> Any | None:
    """What the operator is made of, as the `onnx` package says."""
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= opset]
        text = schema.get_function_with_opset_version(max(versions)) if versions else b""
    elif schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
        own = package().NodeProto()
        own.CopyFrom(node)
        del own.attribute[:]
        own.attribute.extend(bound(schema, node, frame).values())
        types = [_type_proto(operand).SerializeToString() for operand in operands]
        text = (
            schema.get_context_dependent_function_with_opset_version(
                max(versions), own.SerializeToString(), types
            )
            if versions
            else b""
        )
    else:
        return None
    if not text:
        return None
    function = package().FunctionProto()
    function.ParseFromString(text)
    return function


def _type_proto(operand: Operand | None) -> Any:
    onnx = package()
    if operand is None:
        return onnx.TypeProto()
    code = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(operand.dtype.numpy))
    if operand.dtype.name == "bfloat16":
        code = onnx.TensorProto.BFLOAT16
    shape = [n if isinstance(n, int) else None for n in operand.shape]
    return onnx.helper.make_tensor_type_proto(code, shape)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
