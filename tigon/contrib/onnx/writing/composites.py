"""Layers as ONNX has them; what is not here is written as the primitives that it is made of."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base.extents import is_known
from tigon.contrib.onnx.reading import code_of
from tigon.contrib.onnx.writing.model import Writer, composite
from tigon.ir.graph import Node
from tigon.ops.nn.convolution import CHANNELS_LAST
from tigon.ops.nn.recurrent import GATES, weight_shapes


def _is_channels_last(node: Node) -> bool:
    return node.attrs.layout in CHANNELS_LAST


def _per_axis(given: tuple[int, ...], n: int, default: int) -> list[int]:
    return list(given) or [default] * n


def _geometry(attrs: Any) -> dict[str, Any]:
    n = len(attrs.kernel)
    pad = _per_axis(attrs.pad, n, 0)
    return {
        "kernel_shape": list(attrs.kernel),
        "strides": _per_axis(attrs.stride, n, 1),
        "dilations": _per_axis(attrs.dilate, n, 1),
        "pads": [*pad, *pad],
        "group": attrs.num_group,
    }


@composite("Convolution")
def _convolution(w: Writer, node: Node, inputs: list[str]) -> str | None:
    if _is_channels_last(node):
        return None
    return w.add("Conv", inputs, node.name, **_geometry(node.attrs))


@composite("Deconvolution")
def _deconvolution(w: Writer, node: Node, inputs: list[str]) -> str | None:
    attrs = node.attrs
    if _is_channels_last(node) or attrs.target_shape:
        return None
    further = _per_axis(attrs.adj, len(attrs.kernel), 0)
    given = _geometry(attrs)
    return w.add("ConvTranspose", inputs, node.name, output_padding=further, **given)


@composite("FullyConnected")
def _fully_connected(w: Writer, node: Node, inputs: list[str]) -> str:
    data, *rest = inputs
    if node.attrs.flatten:
        if node.inputs[0].ndim != 2:
            data = w.add("Flatten", [data], axis=1)
        return w.add("Gemm", [data, *rest], node.name, transB=1)
    weight = w.add("Transpose", [rest[0]], perm=[1, 0])
    product = w.add("MatMul", [data, weight], node.name)
    return product if node.attrs.no_bias else w.add("Add", [product, rest[1]], node.name)


@composite("Pooling")
def _pooling(w: Writer, node: Node, inputs: list[str]) -> str | None:
    attrs, data = node.attrs, node.inputs[0]
    if _is_channels_last(node) or attrs.pool_type not in ("max", "avg"):
        return None
    if attrs.global_pool:
        kind = "GlobalMaxPool" if attrs.pool_type == "max" else "GlobalAveragePool"
        return w.add(kind, inputs, node.name)
    n = len(attrs.kernel)
    before = _per_axis(attrs.pad, n, 0)
    stride = _per_axis(attrs.stride, n, 1)
    sizes, places = data.shape[2:], node.outputs[0].shape[2:]
    after = before
    if attrs.pooling_convention != "valid":
        # Rounded up: the last window ends in further padding, which a maximum does not see.
        if attrs.pool_type != "max" or not is_known(*sizes):
            return None
        after = [
            max(0, (place - 1) * s + k - size - b)
            for place, s, k, size, b in zip(
                places, stride, attrs.kernel, sizes, before, strict=True
            )
        ]
    given: dict[str, Any] = {"kernel_shape": list(attrs.kernel), "strides": stride}
    if attrs.pool_type == "max":
        return w.add("MaxPool", inputs, node.name, pads=[*before, *after], **given)
    counted = int(attrs.count_include_pad is not False)
    pads = [*before, *after]
    return w.add("AveragePool", inputs, node.name, pads=pads, count_include_pad=counted, **given)


@composite("BatchNorm")
def _batch_norm(w: Writer, node: Node, inputs: list[str]) -> list[str] | None:
    attrs, (data, gamma, beta, mean, variance) = node.attrs, inputs
    if attrs.axis % node.inputs[0].ndim != 1 or attrs.output_mean_var or attrs.training:
        return None
    if attrs.fix_gamma:
        gamma = w.constant(np.ones(node.inputs[1].shape), node.inputs[1].dtype)
    given = [data, gamma, beta, mean, variance]
    made = w.add("BatchNormalization", given, node.name, epsilon=float(attrs.eps))
    return [made]


@composite("LayerNorm")
def _layer_norm(w: Writer, node: Node, inputs: list[str]) -> list[str] | None:
    attrs = node.attrs
    if attrs.output_mean_var or attrs.axis not in (-1, node.inputs[0].ndim - 1):
        return None
    made = w.add("LayerNormalization", inputs, node.name, axis=-1, epsilon=float(attrs.eps))
    return [made]


@composite("InstanceNorm")
def _instance_norm(w: Writer, node: Node, inputs: list[str]) -> str:
    return w.add("InstanceNormalization", inputs, node.name, epsilon=float(node.attrs.eps))


@composite("LRN")
def _lrn(w: Writer, node: Node, inputs: list[str]) -> str:
    a = node.attrs
    given = {"alpha": float(a.alpha), "beta": float(a.beta), "bias": float(a.knorm)}
    return w.add("LRN", inputs, node.name, size=a.nsize, **given)


@composite("shape_array")
def _shape_array(w: Writer, node: Node, inputs: list[str]) -> str:
    return w.add("Shape", inputs, node.name)


@composite("size_array")
def _size_array(w: Writer, node: Node, inputs: list[str]) -> str:
    return w.add("Reshape", [w.add("Size", inputs), w.integers([1])], node.name)


@composite("softmax", "log_softmax")
def _softmax(w: Writer, node: Node, inputs: list[str]) -> str | None:
    attrs = node.attrs
    plain = attrs.temperature in (None, 1.0) and attrs.dtype is None and not attrs.use_length
    if not plain or not node.inputs[0].dtype.is_float:
        return None
    kind = "Softmax" if node.op.name == "softmax" else "LogSoftmax"
    return w.add(kind, inputs[:1], node.name, axis=attrs.axis)


# ----------------------------------------------------------------------------- recurrent

_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_relu": (0,), "rnn_tanh": (0,)}
"""Our gates in ONNX's order: input, output, forget, cell; update, reset, hidden."""


@composite("RNN")
def _rnn(w: Writer, node: Node, inputs: list[str]) -> list[str] | None:
    """Layer by layer, on weights cut from the flat parameters."""
    a, (data, parameters, *states) = node.attrs, inputs
    if a.projection_size or a.clips or not is_known(node.inputs[0].shape[2]):
        return None
    features, size, gates = node.inputs[0].shape[2], a.state_size, GATES[a.mode]
    shapes = [shape for own in weight_shapes(a, features) for shape in own]
    shapes += [(gates * size,)] * (2 * a.num_layers * a.directions)
    sizes = w.integers([prod(shape) for shape in shapes])
    flat = w.add_several("Split", [parameters, sizes], "", len(shapes), axis=0)
    pieces = [
        _in_order(w, part, shape, a.mode, size) for part, shape in zip(flat, shapes, strict=True)
    ]
    half = a.num_layers * a.directions
    weights, biases = pieces[: 2 * half], pieces[2 * half :]
    lengths = ""
    if a.use_sequence_length:
        lengths = w.add("Cast", [states.pop()], to=code_of("int32"))
    last: list[list[str]] = [[], []]
    for layer in range(a.num_layers):
        rows = range(layer * a.directions, (layer + 1) * a.directions)
        own = [
            w.add("Concat", [_row(w, weights[2 * i + which]) for i in rows], axis=0)
            for which in (0, 1)
        ]
        joined = [
            _row(w, w.add("Concat", [biases[2 * i + which] for which in (0, 1)], axis=0))
            for i in rows
        ]
        bias = w.add("Concat", joined, axis=0)
        begins = [
            w.add("Slice", [state, *(w.integers([n]) for n in (rows[0], rows[-1] + 1, 0))])
            for state in states
        ]
        given = [data, *own, bias, lengths, *begins]
        results = w.add_several(
            "RNN" if a.mode.startswith("rnn") else a.mode.upper(),
            given,
            node.name,
            2 + a.is_lstm,
            hidden_size=size,
            direction="bidirectional" if a.bidirectional else "forward",
            linear_before_reset=1 if a.mode == "gru" else None,
            activations=["Relu"] * a.directions if a.mode == "rnn_relu" else None,
        )
        data = w.add("Transpose", [results[0]], perm=[0, 2, 1, 3])
        shape = (*node.inputs[0].shape[:2], a.directions * size)
        data = w.add("Reshape", [data, w.integers(shape)])
        for found, result in zip(last, results[1:], strict=False):
            found.append(result)
    ends = [w.add("Concat", found, axis=0) for found in last if found]
    return [data, *ends] if a.state_outputs else [data]


def _in_order(w: Writer, name: str, shape: tuple[int, ...], mode: str, size: int) -> str:
    """Weights or biases of one layer and direction, gate by gate as ONNX has them."""
    order = _ORDER[mode]
    name = w.add("Reshape", [name, w.integers((len(order), size, *shape[1:]))])
    if list(order) != sorted(order):
        name = w.add("Gather", [name, w.constant(list(order), "int64")], axis=0)
    return w.add("Reshape", [name, w.integers(shape)])


def _row(w: Writer, name: str) -> str:
    return w.add("Unsqueeze", [name, w.constant([0], "int64")])
