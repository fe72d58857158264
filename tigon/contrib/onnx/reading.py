"""Bytes of a file to a model that may be looked into, and its tensors to arrays.

Nothing here believes a file: sizes are compared with what is there before memory is taken, data
outside of the file stay in its folder, and what is wrong is said with where it was found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.dtypes import DType, as_dtype
from tigon.base.files import AnyPath
from tigon.base.frozen import Frozen
from tigon.readers.shapes import is_possible

OPSETS = range(1, 29)
"""Of the default domain."""

EXACT = 7
"""Before this opset, operators are read that have not changed up to it."""

_INSTALL = "reading ONNX files needs the package onnx; pip install tigon[onnx]"


def package() -> Any:
    """The module `onnx`, or what to install."""
    try:
        import onnx
        import onnx.defs
        import onnx.numpy_helper
    except ImportError as error:
        raise TigonError(f"contrib.onnx: {_INSTALL}") from error
    return onnx


class Model(Frozen, eq=False):
    """A model and where it comes from."""

    proto: Any
    source: str
    """For messages: the path."""
    folder: str | None
    """Where data outside of the file may lie; None where there is no file."""
    opsets: Mapping[str, int]
    """Of each domain."""


def read_model(file: AnyPath | Any) -> Model:
    """The model in a file, or a `ModelProto` that is there already."""
    onnx = package()
    if isinstance(file, onnx.ModelProto):
        model, source, folder = file, "ModelProto", None
    else:
        check(
            isinstance(file, (str, os.PathLike)),
            "contrib.onnx",
            "expected the path of a model, or an onnx.ModelProto; given "
            f"{type(file).__name__}; onnx.load_from_string makes a ModelProto of bytes",
        )
        source = os.fsdecode(file)
        with open(file, "rb") as opened:
            content = opened.read()
        folder = os.path.dirname(os.path.abspath(source))
        model = parsed(content, source)
    check(model.HasField("graph"), source, "expected a model with a graph; given one without")
    opsets = {normal_domain(each.domain): each.version for each in model.opset_import}
    check(
        opsets.get("", OPSETS.start) in OPSETS and opsets,
        source,
        f"expected an operator set of {EXACT} to {OPSETS[-1]} in opset_import; given "
        f"{opsets.get('') if opsets else 'none'}; convert it with onnx.version_converter",
    )
    found = Model(model, source, folder, opsets)
    check_names(found)
    return found


def parsed(content: bytes, source: str) -> Any:
    """The `ModelProto` that these bytes hold."""
    model = package().ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own, which differ between its implementations
        raise TigonError(
            f"{source}: at byte 0 of {len(content)}: expected an ONNX model, as protobuf's "
            f"wire format; given something else: {error}"
        ) from None
    return model


def graphs_of(*graphs: Any) -> Iterator[Any]:
    """Graphs and functions, and the graphs among the attributes of their nodes."""
    waiting = list(graphs)
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting += [each.g for each in node.attribute if each.HasField("g")]


def check_names(model: Model) -> None:
    """Refuse names that are no text, which protobuf hands on as bytes."""
    for graph in graphs_of(model.proto.graph, *model.proto.functions):
        named = [*graph.input, *graph.output, *getattr(graph, "initializer", ())]
        names = [getattr(each, "name", each) for each in named]
        for node in graph.node:
            names += (*node.input, *node.output, node.name, node.op_type, node.domain)
        wrong = next((name for name in names if not isinstance(name, str)), None)
        check(wrong is None, model.source, f"expected names in UTF-8; given {wrong!r}")


def normal_domain(domain: str) -> str:
    """Both spellings of the default domain are one."""
    return "" if domain == "ai.onnx" else domain


# ------------------------------------------------------------------------------ element types

_WHOLE = ("int", "uint")
_NAMES = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "BFLOAT16": "bfloat16",
    "BOOL": "bool",
    **{f"{kind}{bits}".upper(): f"{kind}{bits}" for kind in _WHOLE for bits in (8, 16, 32, 64)},
}
DTYPES = frozenset(_NAMES.values())
"""Names of dtypes that ONNX has, too."""
_TYPE_NAMES = {ours: theirs for theirs, ours in _NAMES.items()}
_IN_BYTES = {"INT4": "int8", "UINT4": "uint8", "INT2": "int8", "UINT2": "uint8"}
"""Numbers narrower than a byte are held in bytes."""


def type_name(code: int) -> str:
    """What ONNX calls an element type."""
    known = package().TensorProto.DataType
    return known.Name(code) if code in known.values() else f"element type {code}"


def code_of(dtype: DType | str) -> int:
    """ONNX's element type for arrays of a dtype.

    >>> code_of("float32"), code_of("int64")
    (1, 7)
    """
    name = dtype if isinstance(dtype, str) else dtype.name
    return int(package().TensorProto.DataType.Value(_TYPE_NAMES[name]))


def dtype_of(code: int, where: str) -> DType:
    """The dtype of arrays of an ONNX element type."""
    name = type_name(code)
    found = _NAMES.get(name) or _IN_BYTES.get(name)
    check(
        found,
        where,
        f"expected elements that tigon has, {', '.join(sorted(_NAMES))}; given {name}",
    )
    assert found is not None
    return as_dtype(found)


def bits_of(code: int) -> int | None:
    """How many bits of a file an element takes; None of types that tigon lacks."""
    name = type_name(code)
    if name in _IN_BYTES:
        return int(name[-1])
    if name == "BFLOAT16":
        return 16
    return 8 * as_dtype(_NAMES[name]).numpy.itemsize if name in _NAMES else None


def narrow_limits(code: int) -> tuple[int, int] | None:
    """The smallest and the largest number of an element type that is held in bytes."""
    name = type_name(code)
    if name not in _IN_BYTES:
        return None
    bits = int(name[-1])
    return (0, 2**bits - 1) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def narrow_type(code: int) -> int:
    """The element type where its numbers are held in wider ones, and 0 otherwise."""
    return code if narrow_limits(code) else 0


# ------------------------------------------------------------------------------------ tensors

_DENSE = 1 << 24
"""Elements that a sparse tensor may have once it is written out."""

_FIELDS = {
    "FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data",
    "UINT32": "uint64_data", "UINT64": "uint64_data",
}  # fmt: skip


def array_of(tensor: Any, model: Model, where: str) -> np.ndarray:
    """The array of a tensor: bfloat16 as float32, what is narrower than a byte in bytes."""
    onnx = package()
    dtype_of(tensor.data_type, where)
    dims = tuple(tensor.dims)
    check(is_possible(dims), where, f"expected extents that an array may have; given {dims}")
    check(not tensor.HasField("segment"), where, "expected a whole tensor; given a segment of one")
    size, name = prod(dims), type_name(tensor.data_type)
    bits = bits_of(tensor.data_type)
    assert bits is not None
    expected = -(-size * bits // 8)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raw = _outside(tensor, model, expected, where)
        own = onnx.TensorProto(data_type=tensor.data_type, dims=dims, raw_data=raw)
    else:
        own = tensor
        if tensor.HasField("raw_data"):
            given, wanted, unit = len(tensor.raw_data), expected, "bytes"
        else:
            given = len(getattr(tensor, _FIELDS.get(name, "int32_data")))
            wanted, unit = (size if bits >= 8 else -(-size * bits // 8)), "numbers"
            if bits < 8:
                given = min(given, wanted)
        check(
            given == wanted,
            where,
            f"expected {wanted} {unit} for {name} of shape {dims}; given {given}",
        )
    array = onnx.numpy_helper.to_array(own)
    if name == "BFLOAT16":
        return np.asarray(array, np.float32)
    return np.asarray(array, dtype_of(tensor.data_type, where).numpy)


def _outside(tensor: Any, model: Model, expected: int, where: str) -> bytes:
    """Bytes of a file beside the model's."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    check(model.folder is not None, where, f"its data are in '{location}'; give the model's path")
    assert model.folder is not None
    inside = os.path.realpath(model.folder)
    path = os.path.realpath(os.path.join(inside, location)) if "\0" not in location else ""
    check(
        location and not os.path.isabs(location) and path.startswith(inside + os.sep),
        where,
        f"expected data in a file within the model's folder; given location '{location}'",
    )
    offset, length = (_whole(told.get(key), where, key) for key in ("offset", "length"))
    length = expected if length is None else length
    check(length == expected, where, f"expected {expected} bytes in '{location}'; given {length}")
    check(os.path.isfile(path), where, f"expected its data in '{location}', which is not there")
    available = os.path.getsize(path)
    start = offset or 0
    check(
        start + expected <= available,
        where,
        f"expected {expected} bytes at {start} of '{location}'; it has {available}",
    )
    with open(path, "rb") as opened:
        opened.seek(start)
        return opened.read(expected)


def _whole(text: str | None, where: str, key: str) -> int | None:
    if text is None:
        return None
    check(text.isdecimal() and len(text) < 20, where, f"{key}: expected a number; given '{text}'")
    return int(text)


def dense_array(sparse: Any, model: Model, where: str) -> np.ndarray:
    """A sparse tensor with its zeros."""
    dims = tuple(sparse.dims)
    check(
        is_possible(dims) and prod(dims) <= _DENSE,
        where,
        f"expected a sparse tensor of at most {_DENSE} elements; given shape {dims}",
    )
    values = array_of(sparse.values, model, where).ravel()
    places = array_of(sparse.indices, model, where)
    check(
        places.dtype == np.int64 and places.shape in ((len(values),), (len(values), len(dims))),
        where,
        f"expected int64 indices for {len(values)} values; given {places.dtype} {places.shape}",
    )
    limits = np.array(dims if places.ndim == 2 else prod(dims))
    check(np.all((places >= 0) & (places < limits)), where, f"an index is outside of shape {dims}")
    result = np.zeros(dims, values.dtype)
    if places.ndim == 2:
        result[tuple(places.T)] = values
    else:
        result.ravel()[places] = values
    return result
