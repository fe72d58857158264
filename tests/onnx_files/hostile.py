"""Damaged models in ONNX's format: `python -m tests.readers.hostile onnx 100000 7`."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.onnx_files.models import MODELS
from tests.readers.hostile import Case, Hostile, mutated_bytes
from tigon.contrib.onnx import import_model

PLACE = re.compile(
    r"(.*evil\.onnx|ModelProto): (at byte \d+|node \d+ '.*' \(.*\)|(sparse )?(initializer|input) '|"
    r"output '|expected |shapes and values|'.*' \(.*\) depends)",
    re.DOTALL,
)
NUMBERS = [-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 64, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1]


def graphs_of(graph: Any) -> Iterator[Any]:
    """A graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g)


def changed(model: Any, draw: random.Random) -> Any:
    """A model with a few things in it otherwise."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    for _ in range(draw.randint(1, 3)):
        lists = [*graphs_of(own.graph), *own.functions]
        graph = draw.choice([each for each in lists if each.node])
        CHANGES[draw.randrange(len(CHANGES))](own, graph, draw.choice(graph.node), draw)
    return own


def _names(graph: Any) -> list[str]:
    return ["", "nothing", *(name for node in graph.node for name in (*node.input, *node.output))]


def _rename(_model: Any, graph: Any, node: Any, draw: random.Random) -> None:
    ends = draw.choice([node.input, node.output])
    if ends:
        ends[draw.randrange(len(ends))] = draw.choice(_names(graph))


def _number_of_ends(_model: Any, graph: Any, node: Any, draw: random.Random) -> None:
    ends = draw.choice([node.input, node.output])
    if draw.random() < 0.5:
        ends.append(draw.choice(_names(graph)))
    elif ends:
        del ends[-1]


def _operator(_model: Any, _graph: Any, node: Any, draw: random.Random) -> None:
    every = sorted({schema.name for schema in onnx.defs.get_all_schemas()})
    node.op_type = draw.choice(every)


def _attribute(_model: Any, _graph: Any, node: Any, draw: random.Random) -> None:
    if not node.attribute or draw.random() < 0.3:
        schemas = onnx.defs.get_all_schemas()
        names = sorted(schemas[draw.randrange(len(schemas))].attributes) or ["axis"]
        given: Any = [draw.choice(NUMBERS) for _ in range(draw.randrange(4))]
        kind = draw.randrange(4)
        value = given or 1 if kind == 0 else draw.choice(NUMBERS) if kind == 1 else "x"
        value = draw.choice([0.5, float("nan"), 1e30]) if kind == 3 else value
        node.attribute.append(helper.make_attribute(draw.choice(names), value))
        return
    attribute = draw.choice(node.attribute)
    number = draw.choice(NUMBERS)
    kind = draw.randrange(5)
    if kind == 0:
        attribute.i = number
    elif kind == 1 and attribute.ints:
        attribute.ints[draw.randrange(len(attribute.ints))] = number
    elif kind == 2:
        attribute.ints.append(number)
    elif kind == 3:
        attribute.s = draw.choice([b"", b"reverse", b"SAME_UPPER", b"\xff", b"cubic", b"add"])
    else:
        attribute.type = draw.randrange(15)


def _tensor(_model: Any, graph: Any, _node: Any, draw: random.Random) -> None:
    if not getattr(graph, "initializer", ()):
        return
    tensor = draw.choice(graph.initializer)
    kind = draw.randrange(5)
    if kind == 0:
        tensor.dims.append(draw.choice(NUMBERS))
    elif kind == 1 and tensor.dims:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
    elif kind == 2:
        tensor.data_type = draw.randrange(30)
    elif kind == 3:
        tensor.raw_data = bytes(draw.randrange(256) for _ in range(len(tensor.raw_data)))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        place = draw.choice(["", "/etc/passwd", "../x", "evil.onnx", "a\0b"])
        tensor.external_data.add(key="location", value=place)
        tensor.external_data.add(key="offset", value=draw.choice(["0", "-1", "9" * 30, "x"]))


def _shape(model: Any, _graph: Any, _node: Any, draw: random.Random) -> None:
    dims = draw.choice(model.graph.input).type.tensor_type.shape.dim
    if dims and draw.random() < 0.7:
        dims[draw.randrange(len(dims))].dim_value = draw.choice(NUMBERS)
    else:
        dims.add(dim_param=draw.choice(["n", "batch"]))


def _order(_model: Any, graph: Any, _node: Any, draw: random.Random) -> None:
    nodes = list(graph.node)
    draw.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


CHANGES = [_rename, _number_of_ends, _operator, _attribute, _attribute, _tensor, _shape, _order]

MEMORY = 64 << 20
MADE = {name: make() for name, make in MODELS.items()}
BYTES = {name: model.SerializeToString() for name, model in MADE.items()}


def read_bytes(content: bytes) -> None:
    """From a file, alone in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "evil.onnx")
        with open(path, "wb") as file:
            file.write(content)
        import_model(path)


def read_changed(content: bytes) -> None:
    model = onnx.ModelProto()
    model.ParseFromString(content)
    import_model(model)


def _draw(name: str, kind: str, draw: random.Random) -> Case:
    if kind == "bytes":
        return read_bytes, mutated_bytes(BYTES[name], draw)
    return read_changed, changed(MADE[name], draw).SerializeToString()


def of(name: str, kind: str) -> Hostile:
    """Models like one of `MODELS`, damaged in what they say or, `kind` "bytes", in their bytes."""
    return Hostile(lambda draw: _draw(name, kind, draw), PLACE, MEMORY)


HOSTILE = Hostile(
    lambda draw: _draw(draw.choice(list(MODELS)), draw.choice(["bytes", "model"]), draw),
    PLACE,
    MEMORY,
)
