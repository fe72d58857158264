"""Described networks as models of ONNX, which ONNX Runtime and OpenVINO read alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from description import DATA, Description, Node

from peers.onnx_side import Model


def model(description: Description, values: Mapping[str, np.ndarray]) -> bytes:
    made = Model(description.shapes[DATA])
    dense = {node.inputs[1] for node in description.nodes if _is_product_of_rows(node)}
    found = {
        name: made.constant(np.ascontiguousarray(value.T) if name in dense else value)
        for name, value in values.items()
    }
    (found[DATA],) = made.inputs
    for node in description.nodes:
        operands = [found[name] for name in node.inputs]
        found[node.name] = RULES[node.operator](made, node, *operands)
    return made.serialized(found[description.output], len(description.nodes[-1].shape))


def _is_product_of_rows(node: Node) -> bool:
    """Dense layers that leave all axes but the last alone are a MatMul, the others a Gemm."""
    return node.operator == "FullyConnected" and not node.get("flatten", True)


def _convolution(made: Model, node: Node, *operands: str) -> str:
    kernel = node.attributes["kernel"]
    return made.add(
        "Conv",
        *operands,
        kernel_shape=kernel,
        strides=node.get("stride", (1,) * len(kernel)),
        pads=2 * node.get("pad", (0,) * len(kernel)),
        dilations=node.get("dilate", (1,) * len(kernel)),
        group=node.get("num_group", 1),
    )


def _pooling(made: Model, node: Node, x: str) -> str:
    if node.get("global_pool", False):
        return made.add("GlobalAveragePool", x)
    kernel = node.attributes["kernel"]
    operator = {"max": "MaxPool", "avg": "AveragePool"}[node.get("pool_type", "max")]
    return made.add(
        operator,
        x,
        kernel_shape=kernel,
        strides=node.get("stride", (1,) * len(kernel)),
        pads=2 * node.get("pad", (0,) * len(kernel)),
    )


def _activation(made: Model, node: Node, x: str) -> str:
    assert node.get("act_type", "relu") == "relu", node
    return made.add("Relu", x)


def _clip(made: Model, node: Node, x: str) -> str:
    bounds = (np.float32(node.get(name, 0)) for name in ("a_min", "a_max"))
    return made.add("Clip", x, *map(made.constant, bounds))


def _dense(made: Model, node: Node, x: str, weight: str, *bias: str) -> str:
    if not _is_product_of_rows(node):
        return made.add("Gemm", made.add("Flatten", x), weight, *bias, transB=1)
    y = made.add("MatMul", x, weight)
    return made.add("Add", y, *bias) if bias else y


def _batch_dot(made: Model, node: Node, *operands: str) -> str:
    turned = (node.get("transpose_a", False), node.get("transpose_b", False))
    return made.add(
        "MatMul",
        *(
            made.add("Transpose", x, perm=(0, 2, 1)) if turn else x
            for x, turn in zip(operands, turned, strict=True)
        ),
    )


def _scaled(made: Model, node: Node, x: str) -> str:
    return made.add("Mul", x, made.constant(np.float32(node.attributes["scalar"])))


RULES: dict[str, Callable[..., str]] = {
    "Convolution": _convolution,
    "BatchNorm": lambda made, node, *operands: made.add(
        "BatchNormalization", *operands, epsilon=node.get("eps", 1e-3)
    ),
    "Activation": _activation,
    "clip": _clip,
    "Pooling": _pooling,
    "FullyConnected": _dense,
    "batch_dot": _batch_dot,
    "broadcast_add": lambda made, node, *operands: made.add("Add", *operands),
    "_mul_scalar": _scaled,
    "Flatten": lambda made, node, x: made.add("Flatten", x),
    "Reshape": lambda made, node, x: made.add(
        "Reshape", x, made.constant(np.array(node.shape, np.int64))
    ),
    "transpose": lambda made, node, x: made.add("Transpose", x, perm=node.attributes["axes"]),
    "softmax": lambda made, node, x: made.add("Softmax", x, axis=node.get("axis", -1)),
    "LayerNorm": lambda made, node, *operands: made.add(
        "LayerNormalization", *operands, axis=-1, epsilon=node.get("eps", 1e-5)
    ),
}
