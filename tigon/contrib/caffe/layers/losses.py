"""Losses and what is measured beside them. A loss is one number."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tigon import sym
from tigon.contrib.caffe.layers.record import Blob, Layer, Shape, layer


def _mask(label: Any, param: Any) -> Any:
    """1 where a label counts, 0 where it is the one to be ignored; None where all count."""
    return label != param.ignore_label if param.has("ignore_label") else None


def _normalized(losses: Any, mask: Any, mode: str, each: int) -> Any:
    """One loss of many, (outer, each), of which those count where the mask is 1."""
    losses = losses if mask is None else sym.broadcast_mul(losses, mask)
    if mode == "NONE":
        return sym.sum(losses)
    if mode == "BATCH_SIZE":
        return sym.mean(losses) * float(each)
    if mode == "FULL" or mask is None:
        return sym.mean(losses)
    return sym.broadcast_div(sym.sum(losses), sym.maximum(sym.sum(mask), 1.0))


def _mode(layer: Layer, default: str) -> str:
    """How a loss is normalized, in the newer words or in the older ones."""
    param = layer.message.loss_param
    if param.has("normalization"):
        mode: str = param.normalization
        return mode
    if param.has("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return default


def _rows(layer: Layer, axis: int) -> tuple[Any, Any, Shape]:
    """Numbers of each class as (outer, classes, inner), and labels as (outer, inner)."""
    (symbol, shape), (label, wanted) = layer.bottoms[:2]
    outer, classes, inner = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    layer.check(
        prod(wanted) == outer * inner,
        f"expected a label for each of {outer * inner} places of {shape} without axis {axis}; "
        f"given shape {wanted}",
        "bottom",
    )
    rows = sym.Reshape(symbol, shape=(-1, classes, inner))
    return rows, sym.Reshape(sym.BlockGrad(label), shape=(-1, inner)), (outer, classes, inner)


def _picked(layer: Layer) -> tuple[Any, Any]:
    """Numbers of each class as (samples, classes), and of each sample that of its label."""
    (symbol, shape), (label, wanted) = layer.bottoms
    layer.check(
        prod(wanted) == shape[0],
        f"expected a label for each of {shape[0]} samples; given shape {wanted}",
        "bottom",
    )
    rows = sym.Reshape(symbol, shape=(-1, prod(shape[1:])))
    return rows, sym.pick(rows, sym.Reshape(sym.BlockGrad(label), shape=(-1,)), axis=1)


@layer(
    "SoftmaxWithLoss",
    "`log_softmax`, `pick`",
    param="softmax_param",
    bottoms=2,
    tops=(1, 2),
    is_loss=True,
)
def softmax_with_loss(layer: Layer) -> Sequence[Blob]:
    symbol, shape = layer.bottoms[0]
    axis = layer.axis("axis", len(shape))
    rows, label, (_, _, inner) = _rows(layer, axis)
    losses = -sym.pick(sym.log_softmax(rows, axis=1), label, axis=1)
    mask = _mask(label, layer.message.loss_param)
    found = [Blob(_normalized(losses, mask, _mode(layer, "VALID"), inner), ())]
    if len(layer.tops) == 2:
        found.append(Blob(sym.softmax(symbol, axis=axis), shape))
    return found


@layer(
    "SigmoidCrossEntropyLoss",
    "`Activation` softrelu",
    param="loss_param",
    bottoms=2,
    is_loss=True,
)
def sigmoid_with_loss(layer: Layer) -> Sequence[Blob]:
    (symbol, shape), (target, wanted) = layer.bottoms
    layer.check(
        prod(shape) == prod(wanted),
        f"expected a target for each number of {shape}; given shape {wanted}",
        "bottom",
    )
    each = prod(shape[1:])
    logits = sym.Reshape(symbol, shape=(-1, each))
    target = sym.Reshape(sym.BlockGrad(target), shape=(-1, each))
    # log(1 + e**x) - x t, whose gradient is sigmoid(x) - t everywhere
    losses = sym.Activation(logits, act_type="softrelu") - logits * target
    mask = _mask(target, layer.message.loss_param)
    return [Blob(_normalized(losses, mask, _mode(layer, "BATCH_SIZE"), each), ())]


@layer("EuclideanLoss", "`square`, `mean`", bottoms=2, is_loss=True)
def euclidean_loss(layer: Layer) -> Sequence[Blob]:
    (left, shape), (right, other) = layer.bottoms
    layer.check(
        shape[:1] == other[:1] and prod(shape) == prod(other),
        f"expected bottoms of as many numbers each; given {shape} and {other}",
        "bottom",
    )
    if shape != other:
        left, right = sym.Flatten(left), sym.Flatten(right)
    half = sym.mean(sym.square(left - right)) * (prod(shape[1:]) / 2)
    return [Blob(half, ())]


@layer("HingeLoss", "`relu`, `pick`", param="hinge_loss_param", bottoms=2, is_loss=True)
def hinge_loss(layer: Layer) -> Sequence[Blob]:
    rows, own = _picked(layer)
    of_others, of_own, not_counted = (
        sym.square(margin) if layer.param.norm == "L2" else margin
        for margin in (sym.relu(1.0 + rows), sym.relu(1.0 - own), sym.relu(1.0 + own))
    )
    total = sym.sum(of_others, axis=1) + of_own - not_counted
    return [Blob(sym.mean(total), ())]


DISTANCE_EPSILON = 1e-4
"""What Caffe adds to a distance that it divides by."""


@layer(
    "ContrastiveLoss",
    "`square`, `sqrt`",
    param="contrastive_loss_param",
    bottoms=3,
    is_loss=True,
)
def contrastive_loss(layer: Layer) -> Sequence[Blob]:
    (left, shape), (right, other), (similar, wanted) = layer.bottoms
    layer.check(
        shape == other and len(shape) >= 2 and prod(wanted) == shape[0],
        f"expected two bottoms of one shape and a number for each sample; given {shape}, {other} "
        f"and {wanted}",
        "bottom",
    )
    margin, features = layer.param.margin, prod(shape[1:])
    difference = sym.Reshape(left - right, shape=(-1, features))
    squared = sym.sum(sym.square(difference), axis=1)
    similar = sym.Reshape(sym.BlockGrad(similar), shape=(-1,))
    if layer.param.legacy_version:
        apart = sym.relu(margin - squared)
    else:
        # The root has no slope at 0. Caffe's gradient divides by the distance and a little more; it
        # is that of `squared` times a number.
        distance = sym.BlockGrad(sym.sqrt(squared))
        short = sym.relu(margin - distance)
        slope = short / (distance + DISTANCE_EPSILON)
        apart = sym.square(short) - slope * (squared - sym.BlockGrad(squared))
    total = similar * squared + (1.0 - similar) * apart
    return [Blob(sym.mean(total) * 0.5, ())]


SMALLEST = 1e-20
"""Probabilities below it count as it."""


@layer("MultinomialLogisticLoss", "`log`, `pick`", bottoms=2, is_loss=True)
def multinomial_logistic_loss(layer: Layer) -> Sequence[Blob]:
    _, picked = _picked(layer)
    return [Blob(-sym.mean(sym.log(sym.clip(picked, a_min=SMALLEST, a_max=3.4e38))), ())]


@layer("Accuracy", "`pick`, comparisons", param="accuracy_param", bottoms=2, tops=(1, 2))
def measure_accuracy(layer: Layer) -> Sequence[Blob]:
    """A label is right if fewer than `top_k` other classes have as much as it has."""
    param, shape = layer.param, layer.bottoms[0].shape
    axis = layer.axis("axis", len(shape))
    rows, label, (_, classes, _) = _rows(layer, axis)
    rows = sym.BlockGrad(rows)
    layer.check(
        1 <= param.top_k <= classes,
        f"top_k: expected 1 to {classes} classes; given {param.top_k}",
        "top_k",
    )
    own = sym.pick(rows, label, axis=1, keepdims=True)
    rivals = sym.sum(sym.broadcast_greater_equal(rows, own), axis=1)
    right = rivals <= float(param.top_k)
    mask = _mask(label, param)
    found = [Blob(_normalized(right, mask, "VALID", 1), ())]
    if len(layer.tops) == 2:
        chosen, right = sym.amp_multicast(sym.one_hot(label, depth=classes), right, num_outputs=2)
        if mask is not None:
            chosen = sym.broadcast_mul(chosen, sym.expand_dims(mask, axis=2))
        hits = sym.broadcast_mul(chosen, sym.expand_dims(right, axis=2))
        counts = sym.maximum(sym.sum(chosen, axis=(0, 1)), 1.0)
        found.append(Blob(sym.broadcast_div(sym.sum(hits, axis=(0, 1)), counts), (classes,)))
    return found
