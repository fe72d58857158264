"""Layers that compute element by element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from tigon import sym
from tigon.contrib.caffe.layers.record import ANY, Blob, Layer
from tigon.contrib.caffe.layers.record import layer as any_layer

layer = partial(any_layer, least_axes=0)


def _one(layer: Layer, symbol: Any) -> Sequence[Blob]:
    return [Blob(symbol, layer.bottoms[0].shape)]


def _activation(kind: str) -> Any:
    def rule(layer: Layer) -> Sequence[Blob]:
        data = layer.bottoms[0].symbol
        return _one(layer, sym.Activation(data, act_type=kind, name=layer.name))

    return rule


layer("Sigmoid", "`Activation`", param="sigmoid_param")(_activation("sigmoid"))
layer("TanH", "`Activation`", param="tanh_param")(_activation("tanh"))
layer("BNLL", "`Activation` softrelu")(_activation("softrelu"))


@layer("ReLU", "`Activation`, or `LeakyReLU` with `negative_slope`", param="relu_param")
def rectify(layer: Layer) -> Sequence[Blob]:
    slope, data = layer.param.negative_slope, layer.bottoms[0].symbol
    if slope == 0:
        return _activation("relu")(layer)
    return _one(layer, sym.LeakyReLU(data, act_type="leaky", slope=slope, name=layer.name))


@layer("PReLU", "`LeakyReLU` prelu", param="prelu_param", least_axes=2)
def rectify_with_learned_slopes(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    slopes = layer.array(
        "slope", () if layer.param.channel_shared else (shape[1],), layer.param.filler
    )
    return _one(layer, sym.LeakyReLU(symbol, slopes, act_type="prelu", name=layer.name))


@layer("ELU", "`LeakyReLU` elu", param="elu_param")
def rectify_exponentially(layer: Layer) -> Sequence[Blob]:
    data, alpha = layer.bottoms[0].symbol, layer.param.alpha
    return _one(layer, sym.LeakyReLU(data, act_type="elu", slope=alpha, name=layer.name))


@layer("AbsVal", "`abs`")
def take_absolute(layer: Layer) -> Sequence[Blob]:
    return _one(layer, sym.abs(layer.bottoms[0].symbol, name=layer.name))


def _shifted(layer: Layer) -> Any:
    """shift + scale * x"""
    symbol, param = layer.bottoms[0].symbol, layer.param
    symbol = symbol * param.scale if param.scale != 1 else symbol
    return symbol + param.shift if param.shift != 0 else symbol


@layer("Power", "arithmetic with numbers", param="power_param")
def raise_to_power(layer: Layer) -> Sequence[Blob]:
    inner, power = _shifted(layer), layer.param.power
    if power == 1:
        return _one(layer, sym.identity(inner, name=layer.name))
    return _one(layer, sym.square(inner, name=layer.name) if power == 2 else inner**power)


def _base(layer: Layer) -> float:
    """The natural logarithm of a base, of which -1 stands for e."""
    base = layer.param.base
    layer.check(base == -1 or base > 0, f"base: expected a positive one; given {base}", "base")
    layer.check(base != 1 or layer.record.type == "Exp", "base: 1 has no logarithms", "base")
    return 1.0 if base == -1 else math.log(base)


@layer("Exp", "`exp`", param="exp_param")
def take_exponential(layer: Layer) -> Sequence[Blob]:
    inner, base = _shifted(layer), _base(layer)
    return _one(layer, sym.exp(inner * base if base != 1 else inner, name=layer.name))


@layer("Log", "`log`", param="log_param")
def take_logarithm(layer: Layer) -> Sequence[Blob]:
    base, found = _base(layer), sym.log(_shifted(layer), name=layer.name)
    return _one(layer, found * (1 / base) if base != 1 else found)


@layer("Threshold", "a comparison", param="threshold_param")
def compare_with_threshold(layer: Layer) -> Sequence[Blob]:
    return _one(layer, sym.BlockGrad(layer.bottoms[0].symbol) > layer.param.threshold)


@layer("Swish", "`x * sigmoid(beta * x)`", param="swish_param")
def swish(layer: Layer) -> Sequence[Blob]:
    data = layer.bottoms[0].symbol
    gate = sym.sigmoid(data * layer.param.beta)
    return _one(layer, sym.broadcast_mul(data, gate, name=layer.name))


@layer("Clip", "`clip`", param="clip_param")
def clip(layer: Layer) -> Sequence[Blob]:
    low, high = layer.param.min, layer.param.max
    layer.check(low <= high, f"expected min <= max; given {low} and {high}", "min")
    data = layer.bottoms[0].symbol
    return _one(layer, sym.clip(data, a_min=low, a_max=high, name=layer.name))


@layer("Dropout", "`Dropout`", param="dropout_param")
def drop(layer: Layer) -> Sequence[Blob]:
    ratio = layer.param.dropout_ratio
    layer.check(
        0 <= ratio < 1, f"dropout_ratio: expected 0 to less than 1; given {ratio}", "dropout_ratio"
    )
    return _one(layer, sym.Dropout(layer.bottoms[0].symbol, p=ratio, name=layer.name))


@layer("Eltwise", "`broadcast_mul`, `add_n`, `broadcast_maximum`", param="eltwise_param",
       bottoms=(2, ANY))  # fmt: skip
def combine(layer: Layer) -> Sequence[Blob]:
    param, symbols = layer.param, [bottom.symbol for bottom in layer.bottoms]
    layer.same_shapes()
    coefficients = param.coeff
    layer.check(
        not coefficients or (param.operation == "SUM" and len(coefficients) == len(symbols)),
        f"coeff: expected, for SUM alone, one for each of {len(symbols)} bottoms; "
        f"given {len(coefficients)} for {param.operation}",
        "coeff",
    )
    if param.operation == "SUM":
        scaled = [
            symbol if coefficient == 1 else symbol * coefficient
            for symbol, coefficient in zip(
                symbols, coefficients or [1.0] * len(symbols), strict=True
            )
        ]
        return _one(layer, sym.add_n(*scaled, name=layer.name))
    op = sym.broadcast_mul if param.operation == "PROD" else sym.broadcast_maximum
    total = symbols[0]
    for symbol in symbols[1:]:
        total = op(total, symbol)
    return _one(layer, total)
