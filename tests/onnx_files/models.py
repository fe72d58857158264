"""Small models that the tests read, change and damage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.UINT8,
)


class Builder:
    """A graph, node by node."""

    def __init__(self, opset: int = 21, seed: int = 0) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.inputs: list[Any] = []
        self.functions: list[Any] = []
        self.opsets = {"": opset}
        self._draw = np.random.default_rng(seed)

    def input(self, name: str, shape: Sequence[Any], code: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, code, shape))
        return name

    def weight(self, name: str, *shape: int, positive: bool = False) -> str:
        array = self._draw.normal(size=shape).astype(np.float32) * 0.4
        self.initializers[name] = np.abs(array) + 0.5 if positive else array
        return name

    def number(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self.initializers[name] = np.array(value, dtype)
        return name

    def node(self, op: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def model(self, *outputs: str | tuple[str, int]) -> Any:
        listed = [each if isinstance(each, tuple) else (each, FLOAT) for each in outputs]
        graph = helper.make_graph(
            self.nodes,
            "net",
            self.inputs,
            [helper.make_tensor_value_info(name, code, None) for name, code in listed],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
        )
        imports = [helper.make_opsetid(domain, number) for domain, number in self.opsets.items()]
        return helper.make_model(
            graph, opset_imports=imports, ir_version=10, functions=self.functions
        )


def network() -> Any:
    """Convolution, normalization, pooling and a linear layer, for any batch."""
    b = Builder()
    b.input("x", ["batch", 3, 8, 8])
    b.node("Conv", ["x", b.weight("w", 4, 3, 3, 3), b.weight("b", 4)], "c", pads=[1, 1, 1, 1])
    states = [b.weight("scale", 4), b.weight("bias", 4), b.weight("mean", 4)]
    b.node("BatchNormalization", ["c", *states, b.weight("variance", 4, positive=True)], "n")
    b.node("Relu", ["n"], "r")
    b.node("MaxPool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2])
    b.node("GlobalAveragePool", ["p"], "g")
    b.node("Flatten", ["g"], "f")
    b.node("Gemm", ["f", b.weight("fc", 5, 4), b.weight("fb", 5)], "y", name="dense", transB=1)
    return b.model("y")


def encoder(width: int = 8, heads: int = 2) -> Any:
    """Attention as exporters write it: shapes are computed from those of the input, whose batch and
    steps are open."""
    b = Builder(opset=18)
    b.input("ids", ["batch", "steps"], INT64)
    b.node("Gather", [b.weight("table", 11, width), "ids"], "e")
    b.node("Shape", ["ids"], "shape")
    zero, one = b.number("zero", 0), b.number("one", 1)
    first = b.number("first", [0])
    for name, place in (("batch", zero), ("steps", one)):
        b.node("Gather", ["shape", place], name)
        b.node("Unsqueeze", [name, first], f"{name}1")
    b.node("Slice", [b.weight("positions", 32, width), first, "steps1", first], "p")
    b.node("Add", ["e", "p"], "x")
    rest = b.number("rest", [heads, width // heads])
    b.node("Concat", ["batch1", "steps1", rest], "apart", axis=0)
    for part in "qkv":
        b.node("MatMul", ["x", b.weight(f"w{part}", width, width)], f"{part}0")
        b.node("Reshape", [f"{part}0", "apart"], f"{part}1")
        order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        b.node("Transpose", [f"{part}1"], part, perm=order)
    b.node("MatMul", ["q", "k"], "a0")
    b.node("Cast", [b.number("size", width // heads)], "sizef", to=FLOAT)
    b.node("Sqrt", ["sizef"], "root")
    b.node("Div", ["a0", "root"], "a1")
    b.node("Range", [zero, "steps", one], "line")
    b.node("Unsqueeze", ["line", b.number("last", [1])], "rows")
    b.node("Unsqueeze", ["line", first], "columns")
    b.node("Less", ["rows", "columns"], "later")
    b.node("Where", ["later", b.number("never", -1e9, np.float32), "a1"], "a2")
    b.node("Softmax", ["a2"], "a3", axis=-1)
    b.node("MatMul", ["a3", "v"], "o0")
    b.node("Transpose", ["o0"], "o1", perm=[0, 2, 1, 3])
    b.node("Concat", ["batch1", "steps1", b.number("width", [width])], "whole", axis=0)
    b.node("Reshape", ["o1", "whole"], "o2")
    b.node("Add", ["o2", "x"], "o3")
    weights = [b.weight("gamma", width), b.weight("beta", width)]
    b.node("LayerNormalization", ["o3", *weights], "y")
    return b.model("y")


def recurrent() -> Any:
    b = Builder()
    b.input("x", [4, "batch", 3])
    weights = [b.weight("w", 2, 8, 3), b.weight("r", 2, 8, 2), b.weight("b", 2, 16)]
    b.node("LSTM", ["x", *weights], "y", "h", "c", hidden_size=2, direction="bidirectional")
    return b.model("y", "h", "c")


def control() -> Any:
    """A branch, a loop of known length, a loop that a value ends, and a scan."""
    b = Builder()
    b.input("x", [3])
    b.node("ReduceSum", ["x"], "total", keepdims=0)
    b.node("Greater", ["total", b.number("zero", 0, np.float32)], "positive")
    then, other = Builder(), Builder()
    then.node("Add", ["x", "x"], "t")
    other.node("Neg", ["x"], "o")
    b.node(
        "If",
        ["positive"],
        "i",
        then_branch=_graph(then, [], ["t"]),
        else_branch=_graph(other, [], ["o"]),
    )
    body = Builder()
    body.node("Add", ["s", "i"], "s1")
    body.node("Mul", ["s1", "s1"], "row")
    body.node("Identity", ["go"], "on")
    counted = _graph(body, [("n", INT64), ("go", BOOL), ("s", FLOAT)], ["on", "s1", "row"])
    b.node(
        "Loop", [b.number("four", 4), b.number("true", True, bool), "x"], "l", "rows", body=counted
    )
    body = Builder()
    body.node("Add", ["s", b.number("half", 0.5, np.float32)], "s1")
    body.node("ReduceMax", ["s1"], "top", keepdims=0)
    body.node("Less", ["top", b.number("limit", 5, np.float32)], "on")
    ended = _graph(body, [("n", INT64), ("go", BOOL), ("s", FLOAT)], ["on", "s1"])
    b.node("Loop", [b.number("most", 20), "true", "l"], "w", body=ended)
    body = Builder()
    body.node("Add", ["s", "row"], "s1")
    body.node("Identity", ["s1"], "out")
    scanned = _graph(body, [("s", FLOAT), ("row", FLOAT)], ["s1", "out"])
    b.node("Scan", ["w", "rows"], "last", "sums", body=scanned, num_scan_inputs=1)
    return b.model("last", "sums")


def _graph(b: Builder, inputs: Sequence[tuple[str, int]], outputs: Sequence[str]) -> Any:
    def told(name: str, code: int) -> Any:
        return helper.make_tensor_value_info(name, code, [] if name in ("n", "go", "on") else [3])

    return helper.make_graph(
        b.nodes,
        "body",
        [told(name, code) for name, code in inputs],
        [told(name, BOOL if name == "on" else FLOAT) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in b.initializers.items()],
    )


def quantized() -> Any:
    b = Builder()
    b.input("x", [2, 3, 6, 6])
    scale = b.number("scale", 0.0517, np.float32)
    zero = b.number("zero", 128, np.uint8)
    b.node("QuantizeLinear", ["x", scale, zero], "q")
    weights = [
        b.number("w", np.arange(54).reshape(2, 3, 3, 3) % 7 - 3, np.int8),
        b.number("ws", [0.0213, 0.0317], np.float32),
        b.number("wz", [0, 0], np.int8),
    ]
    b.node("QLinearConv", ["q", scale, zero, *weights, scale, zero], "c", pads=[1, 1, 1, 1])
    b.node("DequantizeLinear", ["c", scale, zero], "d")
    sizes = b.number("sizes", [2, 2, 9, 4])
    b.node("Resize", ["d", "", "", sizes], "y", mode="linear")
    return b.model("y")


def functions() -> Any:
    """A function that calls another, with an attribute that is handed on."""
    b = Builder()
    b.opsets["own"] = 1
    opsets = [helper.make_opsetid("", b.opset), helper.make_opsetid("own", 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    handed = AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    leaky.attribute.append(handed)
    inner = helper.make_function("own", "Bent", ["a"], ["b"], [leaky], opsets, ["slope"])
    call = helper.make_node("Bent", ["a"], ["m"], domain="own", slope=0.25)
    twice = helper.make_node("Add", ["m", "m"], ["b"])
    outer = helper.make_function("own", "Twice", ["a"], ["b"], [call, twice], opsets)
    b.functions += [inner, outer]
    b.input("x", ["n", 2])
    b.node("Twice", ["x"], "y", domain="own")
    return b.model("y")


MODELS = {
    each.__name__: each for each in (network, encoder, recurrent, control, quantized, functions)
}
