"""Layers with products, scales and statistics, and those that reduce an axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tigon import sym
from tigon.contrib.caffe.layers.record import Blob, Layer, Shape, layer


@layer("InnerProduct", "`FullyConnected`", param="inner_product_param")
def multiply(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    axis, outputs = layer.axis("axis", len(shape)), param.num_output
    layer.check(outputs > 0, f"num_output: expected 1 or more; given {outputs}", "num_output")
    features = prod(shape[axis:])
    weight_shape = (features, outputs) if param.transpose else (outputs, features)
    weight = layer.array("weight", weight_shape, param.weight_filler)
    weight = sym.transpose(weight) if param.transpose else weight
    operands = [weight]
    if param.bias_term:
        operands.append(layer.array("bias", (outputs,), param.bias_filler))
    fields = {"num_hidden": outputs, "no_bias": not param.bias_term, "name": layer.name}
    if axis == 1:
        return [Blob(sym.FullyConnected(symbol, *operands, **fields), (shape[0], outputs))]
    if axis == 0:
        row = sym.FullyConnected(sym.Reshape(symbol, shape=(1, -1)), *operands, **fields)
        return [Blob(sym.Reshape(row, shape=(-1,)), (outputs,))]
    rows = symbol if axis == len(shape) - 1 else sym.Reshape(symbol, shape=(0,) * axis + (-1,))
    found = sym.FullyConnected(rows, *operands, flatten=False, **fields)
    return [Blob(found, (*shape[:axis], outputs))]


@layer("Embed", "`Embedding`", param="embed_param")
def embed(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    rows, outputs = param.input_dim, param.num_output
    layer.check(rows > 0 and outputs > 0, "expected input_dim and num_output of 1 or more")
    weight = layer.array("weight", (rows, outputs), param.weight_filler)
    found = sym.Embedding(
        sym.BlockGrad(symbol), weight, input_dim=rows, output_dim=outputs, name=layer.name
    )
    if param.bias_term:
        bias = layer.array("bias", (outputs,), param.bias_filler)
        found = sym.broadcast_add(found, sym.Reshape(bias, shape=(1,) * len(shape) + (outputs,)))
    return [Blob(found, (*shape, outputs))]


def _laid_along(layer: Layer, shape: Shape) -> tuple[int, Shape]:
    """The axis where a second bottom, or what is learned, begins, and its shape."""
    param, data = layer.param, layer.bottoms[0].shape
    if len(layer.bottoms) == 1:
        axis = layer.axis("axis", len(data))
        count = param.num_axes
        layer.check(
            -1 <= count <= len(data) - axis,
            f"num_axes: expected -1 to {len(data) - axis} from axis {axis} on; given {count}",
            "num_axes",
        )
        return axis, data[axis:] if count == -1 else data[axis : axis + count]
    axis = layer.axis("axis", len(data)) if shape else 0
    layer.check(
        data[axis : axis + len(shape)] == shape,
        f"expected a second bottom of the extents of the first, {data}, from axis {axis} on; "
        f"given {shape}",
        "bottom",
    )
    return axis, shape


def _spread(symbol: Any, axis: int, own: Shape, ndim: int) -> Any:
    """An array laid along some axes of others, ready to be broadcast."""
    if not own:
        return sym.Reshape(symbol, shape=(1,) * ndim)
    # From the first axis on extents are copied: the batch may be another one.
    kept = (0,) * len(own) if axis == 0 else own
    return sym.Reshape(symbol, shape=(1,) * axis + kept + (1,) * (ndim - axis - len(own)))


@layer("Scale", "`broadcast_mul`, `broadcast_add`", param="scale_param", bottoms=(1, 2))
def scale(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    is_learned = len(layer.bottoms) == 1
    axis, own = _laid_along(layer, layer.bottoms[-1].shape)
    param = layer.param
    factor = layer.array("gamma", own, param.filler) if is_learned else layer.bottoms[1].symbol
    found = sym.broadcast_mul(symbol, _spread(factor, axis, own, len(shape)), name=layer.name)
    if param.bias_term:
        shift = layer.array("beta", own, param.bias_filler)
        found = sym.broadcast_add(found, _spread(shift, axis, own, len(shape)))
    return [Blob(found, shape)]


@layer("Bias", "`broadcast_add`", param="bias_param", bottoms=(1, 2))
def shift(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    is_learned = len(layer.bottoms) == 1
    axis, own = _laid_along(layer, layer.bottoms[-1].shape)
    amount = layer.array("beta", own, layer.param.filler) if is_learned else layer.bottoms[1].symbol
    spread = _spread(amount, axis, own, len(shape))
    return [Blob(sym.broadcast_add(symbol, spread, name=layer.name), shape)]


@layer("BatchNorm", "`contrib.SummedBatchNorm`", param="batch_norm_param", least_axes=2)
def normalize_over_batch(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    states = [
        layer.state(role, own)
        for role, own in (
            ("mean_sum", (shape[1],)),
            ("variance_sum", (shape[1],)),
            ("weight_sum", (1,)),
        )
    ]
    normed = sym.contrib.SummedBatchNorm(
        symbol,
        *states,
        eps=param.eps,
        momentum=param.moving_average_fraction,
        use_global_stats=param.use_global_stats if param.has("use_global_stats") else None,
        name=layer.name,
    )
    return [Blob(normed, shape)]


@layer("Softmax", "`softmax`", param="softmax_param")
def softmax(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    axis = layer.axis("axis", len(shape))
    return [Blob(sym.softmax(symbol, axis=axis, name=layer.name), shape)]


@layer("ArgMax", "`topk`", param="argmax_param")
def find_greatest(layer: Layer) -> Sequence[Blob]:
    """Of equal numbers the last one comes first, as Caffe's sorting has it."""
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    symbol, count = sym.BlockGrad(symbol), param.top_k
    is_along = param.has("axis")
    axis = layer.axis("axis", len(shape)) if is_along else 1
    extent = shape[axis] if is_along else prod(shape[1:])
    layer.check(
        1 <= count <= extent,
        f"top_k: expected 1 to {extent}, of which the greatest are taken; given {count}",
        "top_k",
    )
    symbol = symbol if is_along else sym.Flatten(symbol)
    turned = sym.reverse(symbol, axis=axis)
    values = sym.topk(turned, axis=axis, k=count, ret_typ="value")
    places = extent - 1.0 - sym.topk(turned, axis=axis, k=count, ret_typ="indices")
    if is_along:
        found = values if param.out_max_val else places
        return [Blob(found, (*shape[:axis], count, *shape[axis + 1 :]))]
    alike = sym.amp_multicast(places, values, num_outputs=2)
    parts = [sym.expand_dims(part, axis=1) for part in alike]
    if not param.out_max_val:
        return [Blob(parts[0], (shape[0], 1, count))]
    return [Blob(sym.Concat(*parts, dim=1, name=layer.name), (shape[0], 2, count))]


_BEFORE = {"ASUM": "abs", "SUMSQ": "square"}


@layer("Reduction", "`sum`, `mean`", param="reduction_param")
def reduce(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    axis = layer.axis("axis", len(shape))
    if param.operation in _BEFORE:
        symbol = getattr(sym, _BEFORE[param.operation])(symbol)
    op = sym.mean if param.operation == "MEAN" else sym.sum
    found = op(symbol, axis=tuple(range(axis, len(shape))), name=layer.name)
    return [Blob(found * param.coeff if param.coeff != 1 else found, shape[:axis])]
