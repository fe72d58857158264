"""Whatever is wrong in an ONNX file, reading it raises a `TigonError` that says where, and takes no
more time or memory than the file is worth."""

from __future__ import annotations

import random
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper

import tigon as mx
from tests.formats.test_damaged_files import mutated_bytes
from tests.onnx_files.models import FLOAT, MODELS, Builder, functions
from tigon.contrib.onnx import graph, import_model

PLACE = re.compile(
    r"(evil\.onnx|ModelProto): (at byte \d+|node \d+ '.*' \(.*\)|(sparse )?(initializer|input) '|"
    r"output '|expected |shapes and values|'.*' \(.*\) depends)",
    re.DOTALL,
)
NUMBERS = [-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 64, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1]


def was_read(model: Any, what: object) -> bool:
    """Whether it was read. Everything but a `TigonError` that says where goes through."""
    try:
        import_model(model)
        return True
    except mx.TigonError as error:
        assert len(str(error)) < 4000, what
        assert PLACE.match(str(error)), (what, str(error))
        return False
    except Exception as error:
        raise AssertionError(what) from error


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


@pytest.mark.parametrize("name", MODELS)
def test_changed_models(name: str) -> None:
    draw = random.Random(name)
    model = MODELS[name]()
    assert was_read(model, name)
    for _ in range(COUNT):
        own = changed(model, draw)
        was_read(own, own)


def test_names_are_text(tmp_path: Path) -> None:
    path = tmp_path / "evil.onnx"
    path.write_bytes(MODELS["encoder"]().SerializeToString().replace(b"table", b"t\xffb\xfee"))
    with pytest.raises(mx.TigonError) as error:
        import_model(path)
    assert str(error.value) == rf"{path}: expected names in UTF-8; given b't\xffb\xfee'"


def _nested(depth: int, both: bool) -> Any:
    """Branches within branches."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    other = graph
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=other)
        other = graph if both else other
        graph = helper.make_graph(
            [node], "g", [], [helper.make_tensor_value_info("y", FLOAT, None)]
        )
    b = Builder()
    b.input("x", [2])
    b.input("c", [], TensorProto.BOOL)
    model = b.model("y")
    model.graph.node.extend(graph.node)
    return model


def _doubling(levels: int) -> Any:
    """Each function calls the next one twice."""
    b = Builder()
    b.opsets["own"] = 1
    opsets = [helper.make_opsetid("", b.opset), helper.make_opsetid("own", 1)]
    for level in range(levels):
        calls = [
            helper.make_node(f"f{level + 1}", ["a"], ["m"], domain="own"),
            helper.make_node(f"f{level + 1}", ["m"], ["b"], domain="own"),
        ]
        b.functions.append(helper.make_function("own", f"f{level}", ["a"], ["b"], calls, opsets))
    last = [helper.make_node("Relu", ["a"], ["b"])]
    b.functions.append(helper.make_function("own", f"f{levels}", ["a"], ["b"], last, opsets))
    b.input("x", [2])
    b.node("f0", ["x"], "y", domain="own")
    return b.model("y")


def _calling_itself() -> Any:
    model = functions()
    model.functions[0].node[0].op_type = "Twice"
    model.functions[0].node[0].domain = "own"
    del model.functions[0].node[0].attribute[:]
    return model


def _constant(op: str, *arrays: Any, read: str = "ReduceSum", **attributes: Any) -> Any:
    """A node on numbers of the file alone, and a reshape that asks for its result."""
    b = Builder()
    b.input("x", [4])
    names = [b.number(f"c{k}", array, np.asarray(array).dtype) for k, array in enumerate(arrays)]
    b.node(op, names, "big", **attributes)
    b.node(read, ["big"], "r", keepdims=1)
    b.node("Reshape", ["x", "r"], "y")
    return b.model("y")


def _claiming(*dims: int) -> Any:
    b = Builder()
    b.input("x", [2])
    b.node("Add", ["x", "w"], "y")
    model = b.model("y")
    model.graph.initializer.add(name="w", data_type=FLOAT, dims=dims, raw_data=b"1234")
    return model


def _loop(trips: int) -> Any:
    """States grow, so that iterations are written out."""
    b, body = Builder(), Builder()
    b.input("x", [2])
    body.node("Concat", ["s", "s"], "s1", axis=0)
    body.node("Identity", ["go"], "on")
    told = [("n", TensorProto.INT64), ("go", TensorProto.BOOL), ("s", FLOAT)]
    graph = helper.make_graph(
        body.nodes,
        "body",
        [helper.make_tensor_value_info(name, code, None) for name, code in told],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in ("on", "s1")],
    )
    b.node("Loop", [b.number("m", trips), "", "x"], "y", body=graph)
    return b.model("y")


BOMBS = {
    "a tensor that claims to be large": lambda: _claiming(2**40, 2**40),
    "a product that overflows": lambda: _claiming(2**32, 2**32),
    "no elements of many": lambda: _claiming(0, 2**62),
    "a fill": lambda: _constant(
        "ConstantOfShape",
        [2**20, 2**20],
        value=helper.make_tensor("v", TensorProto.INT64, [1], [1]),
    ),
    "a range": lambda: _constant("Range", 0, 2**40, 1),
    "an expansion": lambda: _constant("Expand", [1], [2**16, 2**16]),
    "a tile": lambda: _constant("Tile", [1, 2], [2**40]),
    "a unit matrix": lambda: _constant("EyeLike", np.zeros((2000, 2000), np.int64), k=1),
    "positions": lambda: _constant("OneHot", [1], 2**40, [0, 1]),
    "a window": lambda: _constant("HannWindow", 2**40),
    "a resize": lambda: _constant("Resize", [[1.0]], [0.0], [2.0**20, 2.0**20]),
    "a power of a loop": lambda: _loop(200),
    "a loop without end": lambda: _loop(2**62),
    "branches in branches": lambda: _nested(25, False),
    "branches in both branches": lambda: _nested(8, True),
    "functions that double": lambda: _doubling(30),
    "functions that double in a line": lambda: _doubling(60),
    "a function that calls itself": _calling_itself,
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_asked_for_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading may fail or not: it takes little memory, and ends."""
    monkeypatch.setattr(graph, "UNROLLED", 1 << 11)
    model = BOMBS[name]()
    tracemalloc.start()
    try:
        was_read(model, name)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**27


COUNT = 170
"""Of each model; as many files with damaged bytes."""


@pytest.mark.parametrize("name", MODELS)
def test_damaged_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(name)
    content = MODELS[name]().SerializeToString()
    monkeypatch.chdir(tmp_path)
    for _ in range(COUNT):
        damaged = mutated_bytes(content, draw)
        Path("evil.onnx").write_bytes(damaged)
        was_read("evil.onnx", damaged)
