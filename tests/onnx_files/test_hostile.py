"""Whatever is wrong in an ONNX file, reading it raises a `TigonError` that says where, and takes no
more time or memory than the file is worth."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from onnx import TensorProto, helper

import tigon as mx
from tests.onnx_files.hostile import MADE, PLACE, of
from tests.onnx_files.models import FLOAT, MODELS, Builder, functions
from tests.readers.hostile import run
from tigon.contrib.onnx import graph, import_model


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


@pytest.mark.parametrize("kind", ["model", "bytes"])
@pytest.mark.parametrize("name", MODELS)
def test_damaged_models(name: str, kind: str) -> None:
    assert was_read(MADE[name], name)
    run(of(name, kind), 170, name)


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


def _on_image(op: str, *arrays: Any, **attributes: Any) -> Any:
    b = Builder()
    b.input("x", [1, 1, 4, 4])
    names = [b.number(f"c{k}", array, np.float32) for k, array in enumerate(arrays)]
    b.node(op, ["x", *names], "y", **attributes)
    return b.model("y")


BOMBS = {
    **{
        f"{op} with {count} around": partial(
            _on_image, op, kernel_shape=[2, 2], pads=[count, 0, 0, 0], count_include_pad=1
        )
        for op in ("AveragePool", "MaxPool", "LpPool")
        for count in (10**6, 10**8, 2**40, 2**62)
        if op == "AveragePool" or count > 10**8
    },
    "a wide window": lambda: _on_image(
        "AveragePool", kernel_shape=[2**40, 2**40], pads=[2**40, 0, 0, 2**40]
    ),
    "a wide window of every second": lambda: _on_image(
        "AveragePool", kernel_shape=[2**30, 1], dilations=[2, 1], pads=[2**31 - 1, 0, 0, 0]
    ),
    "a picture shrunk to one": lambda: _on_image(
        "Resize", [0.0], [1.0, 1.0, 1e-7, 1e-7], mode="linear", antialias=1
    ),
    "a long line shrunk": lambda: _on_image(
        "Resize", [0.0], [1.0, 1.0, 1.0, 2e-3], mode="cubic", antialias=1
    ),
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
