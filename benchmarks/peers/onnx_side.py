"""ONNX Runtime: models made by the package `onnx`, all of its fusions, threads that spin (its
default, and its quickest); inputs and outputs are bound where a row lets memory be used again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from inputs import Layers
from processors import processors

VERSION = onnxruntime.__version__


class Model:
    """A graph of the operators of ONNX, node after node."""

    def __init__(self, *shapes: tuple[int, ...]) -> None:
        self.inputs = [f"x{index}" for index in range(len(shapes))]
        self._shapes = shapes
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names = (f"v{index}" for index in itertools.count())

    def constant(self, array: np.ndarray) -> str:
        name = next(self._names)
        self._constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *operands: str, **attributes: Any) -> str:
        name = next(self._names)
        self._nodes.append(onnx.helper.make_node(operator, operands, [name], **attributes))
        return name

    def serialized(self, output: str, rank: int) -> bytes:
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "benchmark",
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, shape in zip(self.inputs, self._shapes, strict=True)
            ],
            [helper.make_tensor_value_info(output, kind, [None] * rank)],
            self._constants,
        )
        # Old versions of both: every ONNX Runtime of the last years reads them.
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return made.SerializeToString()


def session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = processors(), 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def call(model: bytes, *arrays: np.ndarray) -> Callable[[], Any]:
    """A call that returns its result in an array of its own."""
    made = session(model)
    names = [given.name for given in made.get_inputs()]
    feed = dict(zip(names, arrays, strict=True))
    return lambda: made.run(None, feed)[0]


def bound(
    model: bytes, shape: tuple[int, ...], *arrays: np.ndarray
) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """A call that reads and writes the same memory each time, and one that returns the result."""
    made = session(model)
    binding, value = made.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy
    for given, array in zip(made.get_inputs(), arrays, strict=True):
        binding.bind_ortvalue_input(given.name, value(array))
    output = value(np.zeros(shape, np.float32))
    binding.bind_ortvalue_output(made.get_outputs()[0].name, output)

    def run() -> None:
        made.run_with_iobinding(binding)

    def result() -> np.ndarray:
        run()
        return output.numpy()

    return run, result


def network(layers: Layers, rows: int) -> bytes:
    model = Model((rows, layers[0][0].shape[1]))
    (x,) = model.inputs
    for index, (weight, bias) in enumerate(layers):
        x = model.add("Gemm", x, model.constant(weight), model.constant(bias), transB=1)
        if index < len(layers) - 1:
            x = model.add("Relu", x)
    return model.serialized(x, 2)


def formula(size: int, chained: bool) -> bytes:
    """`b * a + 1`, and with `chained` `tanh(b * a + 1) * 0.5 + a`."""
    model = Model((size,), (size,))
    a, b = model.inputs
    y = model.add("Add", model.add("Mul", b, a), model.constant(np.float32(1)))
    if chained:
        half = model.constant(np.float32(0.5))
        y = model.add("Add", model.add("Mul", model.add("Tanh", y), half), a)
    return model.serialized(y, 1)


def product(left: tuple[int, ...], right: tuple[int, ...]) -> bytes:
    model = Model(left, right)
    return model.serialized(model.add("MatMul", *model.inputs), len(left))


def residual_network(classes: int = 1000) -> bytes:
    """ResNet-18 (version 1) for one image of 224 by 224; its weights are random."""
    random = np.random.RandomState(0)
    model = Model((1, 3, 224, 224))

    def convolved(x: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        weight = random.randn(outputs, inputs, kernel, kernel).astype(np.float32)
        weight /= np.float32(np.sqrt(inputs * kernel * kernel))
        pad = kernel // 2
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        x = model.add("Conv", x, model.constant(weight), **sizes)
        ones, zeros = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
        return model.add("BatchNormalization", x, *map(model.constant, (ones, zeros, zeros, ones)))

    x = model.add("Relu", convolved(model.inputs[0], 3, 64, 7, 2))
    x = model.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = 64
    for channels, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            y = model.add("Relu", convolved(x, before, channels, 3, stride))
            y = convolved(y, channels, channels, 3, 1)
            if before != channels:
                x = convolved(x, before, channels, 1, stride)
            x = model.add("Relu", model.add("Add", x, y))
            before = channels
    x = model.add("Flatten", model.add("GlobalAveragePool", x))
    weight = random.randn(classes, 512).astype(np.float32) * np.float32(0.01)
    bias = np.zeros(classes, np.float32)
    return model.serialized(
        model.add("Gemm", x, model.constant(weight), model.constant(bias), transB=1), 2
    )


def convolution(shape: tuple[int, ...], weight: np.ndarray, **attributes: Any) -> bytes:
    """Of data of this shape with a constant weight."""
    model = Model(shape)
    kernel = weight.shape[2:]
    (x,) = model.inputs
    y = model.add("Conv", x, model.constant(weight), kernel_shape=kernel, **attributes)
    return model.serialized(y, len(shape))
