"""What Caffe's layers compute, in numpy and float64, written after its documentation and without
the operators that they become: `FORWARD[type](layer, bottoms, blobs)` gives the tops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Arrays = Sequence[np.ndarray]
FORWARD: dict[str, Callable[[Any, Arrays, Arrays], list[np.ndarray]]] = {}


def forward(*types: str) -> Callable[[Any], Any]:
    def declare(function: Any) -> Any:
        for name in types:
            FORWARD[name] = function
        return function

    return declare


def element(name: str, function: Callable[..., np.ndarray]) -> None:
    FORWARD[name] = lambda layer, bottoms, blobs: [function(layer, *bottoms)]


def _each(given: Any, count: int, default: int) -> list[int]:
    given = list(given) if isinstance(given, (list, tuple)) else [given]
    given = given or [default]
    return given * count if len(given) == 1 else given


def _windowed(param: Any, count: int) -> tuple[list[int], ...]:
    kernel = [param.kernel_h, param.kernel_w] if param.has("kernel_h") else param.kernel_size
    stride = [param.stride_h, param.stride_w] if param.has("stride_h") else param.stride
    pad = [param.pad_h, param.pad_w] if param.has("pad_h") else param.pad
    return _each(kernel, count, 0), _each(stride, count, 1), _each(pad, count, 0)


# ------------------------------------------------------------------------------ images


@forward("Convolution")
def convolution(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    param, weight = layer.convolution_param, blobs[0]
    tops = []
    for x in bottoms:
        ndim, group = x.ndim - 2, param.group
        kernel, stride, pad = _windowed(param, ndim)
        dilation = _each(param.dilation, ndim, 1)
        rows = list(zip(x.shape[2:], kernel, stride, pad, dilation, strict=True))
        extents = [(n + 2 * p - (d * (k - 1) + 1)) // s + 1 for n, k, s, p, d in rows]
        y = np.zeros((x.shape[0], param.num_output, *extents))
        x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
        per, out = x.shape[1] // group, param.num_output // group
        for place in np.ndindex(*extents):
            for tap in np.ndindex(*kernel):
                at = tuple(
                    o * s + t * d for o, t, (_, _, s, _, d) in zip(place, tap, rows, strict=True)
                )
                for g in range(group):
                    seen = x[(slice(None), slice(g * per, (g + 1) * per), *at)]
                    own = weight[(slice(g * out, (g + 1) * out), slice(None), *tap)]
                    y[(slice(None), slice(g * out, (g + 1) * out), *place)] += seen @ own.T
        if param.bias_term:
            y += blobs[1].reshape(-1, *(1,) * ndim)
        tops.append(y)
    return tops


@forward("Deconvolution")
def deconvolution(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    """Each number of the bottom adds the kernel, times it, to the top."""
    (x,), param, weight = bottoms, layer.convolution_param, blobs[0]
    ndim, group = x.ndim - 2, param.group
    kernel, stride, pad = _windowed(param, ndim)
    rows = list(zip(x.shape[2:], kernel, stride, strict=True))
    y = np.zeros((x.shape[0], param.num_output, *(s * (n - 1) + k for n, k, s in rows)))
    per, out = x.shape[1] // group, param.num_output // group
    for place in np.ndindex(*x.shape[2:]):
        for tap in np.ndindex(*kernel):
            at = tuple(o * s + t for o, t, (_, _, s) in zip(place, tap, rows, strict=True))
            for g in range(group):
                seen = x[(slice(None), slice(g * per, (g + 1) * per), *place)]
                own = weight[(slice(g * per, (g + 1) * per), slice(None), *tap)]
                y[(slice(None), slice(g * out, (g + 1) * out), *at)] += seen @ own
    inside = tuple(slice(p, n - p) for p, n in zip(pad, y.shape[2:], strict=True))
    y = y[(slice(None), slice(None), *inside)]
    return [y + blobs[1].reshape(-1, *(1,) * ndim) if param.bias_term else y]


@forward("Pooling")
def pooling(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.pooling_param
    height, width = x.shape[2:]
    if param.global_pooling:
        kernel, stride, pad = [height, width], [1, 1], [0, 0]
    else:
        kernel, stride, pad = _windowed(param, 2)
    rounded = math.floor if param.round_mode == "FLOOR" else math.ceil
    counts = []
    for n, k, s, p in zip((height, width), kernel, stride, pad, strict=True):
        count = rounded((n + 2 * p - k) / s) + 1
        if any(pad) and (count - 1) * s >= n + p:
            count -= 1
        counts.append(count)
    y = np.zeros((*x.shape[:2], *counts))
    for i, j in np.ndindex(*counts):
        top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        bottom, right = min(top + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
        size = (bottom - top) * (right - left)
        seen = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        if param.pool == "MAX":
            y[:, :, i, j] = seen.max(axis=(2, 3))
        else:
            y[:, :, i, j] = seen.sum(axis=(2, 3)) / size
    return [y]


@forward("LRN")
def lrn(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.lrn_param
    size, half = param.local_size, param.local_size // 2
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        if param.norm_region == "ACROSS_CHANNELS":
            seen = x[n, max(c - half, 0) : c + half + 1, h, w]
            scale = param.k + param.alpha / size * (seen**2).sum()
        else:
            seen = x[n, c, max(h - half, 0) : h + half + 1, max(w - half, 0) : w + half + 1]
            scale = 1 + param.alpha / size**2 * (seen**2).sum()
        y[n, c, h, w] = x[n, c, h, w] * scale**-param.beta
    return [y]


@forward("Crop")
def crop(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, like = bottoms
    axis = layer.crop_param.axis % x.ndim
    offsets = _each(layer.crop_param.offset, x.ndim - axis, 0)
    for a, offset in enumerate(offsets, axis):
        x = x.take(range(offset, offset + like.shape[a]), axis=a)
    return [x]


@forward("MVN")
def mvn(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.mvn_param
    axes = tuple(range(1 if param.across_channels else 2, x.ndim))
    y = x - x.mean(axis=axes, keepdims=True)
    if param.normalize_variance:
        y = y / (np.sqrt((y**2).mean(axis=axes, keepdims=True)) + param.eps)
    return [y]


# ----------------------------------------------------------------------------- neurons

element("ReLU", lambda layer, x: np.where(x > 0, x, layer.relu_param.negative_slope * x))
element("Sigmoid", lambda layer, x: 1 / (1 + np.exp(-x)))
element("TanH", lambda layer, x: np.tanh(x))
element("BNLL", lambda layer, x: np.log1p(np.exp(x)))
element("AbsVal", lambda layer, x: np.abs(x))
element("ELU", lambda layer, x: np.where(x > 0, x, layer.elu_param.alpha * np.expm1(x)))
element("Threshold", lambda layer, x: (x > layer.threshold_param.threshold).astype(float))
element("Swish", lambda layer, x: x / (1 + np.exp(-layer.swish_param.beta * x)))
element("Clip", lambda layer, x: np.clip(x, layer.clip_param.min, layer.clip_param.max))
element("Dropout", lambda layer, x: x)
element("Softmax", lambda layer, x: softmax(x, layer.softmax_param.axis))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@forward("PReLU")
def prelu(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,) = bottoms
    return [np.where(x > 0, x, x * blobs[0].reshape(-1, *(1,) * (x.ndim - 2)))]


def _inner(param: Any, x: np.ndarray) -> np.ndarray:
    return param.shift + param.scale * x


element("Power", lambda layer, x: _inner(layer.power_param, x) ** layer.power_param.power)


@forward("Exp", "Log")
def exponential(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), is_exp = bottoms, layer.type == "Exp"
    param = layer.exp_param if is_exp else layer.log_param
    base = math.e if param.base == -1 else param.base
    inner = _inner(param, x)
    return [base**inner if is_exp else np.log(inner) / math.log(base)]


@forward("Eltwise")
def eltwise(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    param = layer.eltwise_param
    if param.operation == "PROD":
        return [np.prod(bottoms, axis=0)]
    if param.operation == "MAX":
        return [np.max(bottoms, axis=0)]
    coefficients = param.coeff or [1] * len(bottoms)
    return [sum(c * x for c, x in zip(coefficients, bottoms, strict=True))]


# ------------------------------------------------------- products, scales, reductions


@forward("InnerProduct")
def inner_product(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.inner_product_param
    axis = param.axis % x.ndim
    weight = blobs[0].T if param.transpose else blobs[0]
    y = x.reshape(math.prod(x.shape[:axis]), -1) @ weight.T
    y = y + blobs[1] if param.bias_term else y
    return [y.reshape(*x.shape[:axis], -1)]


@forward("Embed")
def embed(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    y = blobs[0][bottoms[0].astype(int)]
    return [y + blobs[1] if layer.embed_param.bias_term else y]


@forward("Scale", "Bias")
def scale(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, is_scale = bottoms[0], layer.type == "Scale"
    param = layer.scale_param if is_scale else layer.bias_param
    arrays = [*bottoms[1:], *blobs]
    axis = param.axis % x.ndim
    spread = [a.reshape(a.shape + (1,) * (x.ndim - axis - a.ndim)) if a.size > 1 else a.ravel()
              for a in arrays]  # fmt: skip
    if not is_scale:
        return [x + spread[0]]
    return [x * spread[0] + spread[1] if param.bias_term else x * spread[0]]


@forward("BatchNorm")
def batch_norm(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    """In training: statistics of the batch, unless the layer says otherwise."""
    (x,), param = bottoms, layer.batch_norm_param
    axes = (0, *range(2, x.ndim))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    if param.use_global_stats:
        mean, variance = (blob / blobs[2] for blob in blobs[:2])
    shape = (-1, *(1,) * (x.ndim - 2))
    return [(x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + param.eps)]


@forward("ArgMax")
def argmax(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.argmax_param
    rows = x if param.has("axis") else x.reshape(len(x), -1)
    axis = param.axis % x.ndim if param.has("axis") else 1
    order = np.argsort(rows, axis=axis, kind="stable")
    order = np.flip(order, axis=axis).take(range(param.top_k), axis=axis)
    values = np.take_along_axis(rows, order, axis=axis)
    if param.has("axis"):
        return [values if param.out_max_val else order.astype(float)]
    return [np.stack([order, values] if param.out_max_val else [order], axis=1).astype(float)]


@forward("Reduction")
def reduction(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.reduction_param
    axis = param.axis % x.ndim
    x = {"ASUM": np.abs, "SUMSQ": np.square}.get(param.operation, np.asarray)(x)
    rows = x.reshape(*x.shape[:axis], -1)
    y = rows.mean(axis=-1) if param.operation == "MEAN" else rows.sum(axis=-1)
    return [y * param.coeff]


# --------------------------------------------------------------------------- arranging


@forward("Concat")
def concat(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    param = layer.concat_param
    axis = param.concat_dim if param.has("concat_dim") else param.axis
    return [np.concatenate(bottoms, axis=axis)]


@forward("Slice")
def slices(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    param = layer.slice_param
    axis = param.slice_dim if param.has("slice_dim") else param.axis
    return np.split(bottoms[0], param.slice_point or len(layer.top), axis=axis)


@forward("Split")
def split(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    return [bottoms[0]] * len(layer.top)


@forward("Flatten")
def flatten(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.flatten_param
    first, last = param.axis % x.ndim, param.end_axis % x.ndim
    return [x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])]


@forward("Reshape")
def reshape(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.reshape_param
    first = param.axis if param.axis >= 0 else x.ndim + 1 + param.axis
    last = x.ndim if param.num_axes == -1 else first + param.num_axes
    inner = [d or x.shape[first + place] for place, d in enumerate(param.shape.dim)]
    return [x.reshape(*x.shape[:first], *inner, *x.shape[last:])]


@forward("Tile")
def tile(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x,), param = bottoms, layer.tile_param
    return [np.concatenate([x] * param.tiles, axis=param.axis)]


@forward("BatchReindex")
def batch_reindex(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    return [bottoms[0][bottoms[1].astype(int)]]


@forward("Parameter")
def parameter(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    return [blobs[0]]


# ------------------------------------------------------------------------------ losses


def _normalizer(layer: Any, default: str, outer: int, inner: int, counted: int) -> float:
    param = layer.loss_param
    mode = default
    if param.has("normalization"):
        mode = param.normalization
    elif param.has("normalize"):
        mode = "VALID" if param.normalize else "BATCH_SIZE"
    sizes = {"FULL": outer * inner, "VALID": counted, "BATCH_SIZE": outer, "NONE": 1}
    return max(1.0, sizes[mode])


def _places(x: np.ndarray, label: np.ndarray, axis: int) -> Any:
    """Each place beside the class axis: its numbers and its label."""
    axis %= x.ndim
    rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
    return zip(rows, label.ravel().astype(int), strict=True)


@forward("SoftmaxWithLoss")
def softmax_with_loss(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, label = bottoms
    axis, param = layer.softmax_param.axis % x.ndim, layer.loss_param
    ignored = param.ignore_label if param.has("ignore_label") else None
    total, counted = 0.0, 0
    for row, own in _places(softmax(x, axis), label, axis):
        if own != ignored:
            total, counted = total - math.log(row[own]), counted + 1
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    loss = np.array(total / _normalizer(layer, "VALID", outer, inner, counted))
    return [loss, softmax(x, axis)][: len(layer.top)]


@forward("SigmoidCrossEntropyLoss")
def sigmoid_loss(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, t, param = bottoms[0], bottoms[1].reshape(bottoms[0].shape), layer.loss_param
    p = 1 / (1 + np.exp(-x))
    each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    keep = t != param.ignore_label if param.has("ignore_label") else np.ones_like(t, bool)
    inner = math.prod(x.shape[1:])
    divisor = _normalizer(layer, "BATCH_SIZE", len(x), inner, int(keep.sum()))
    return [np.array(each[keep].sum() / divisor)]


@forward("EuclideanLoss")
def euclidean(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    a, b = bottoms
    return [((a.ravel() - b.ravel()) ** 2).sum() / (2 * len(a))]


@forward("HingeLoss")
def hinge(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, label = bottoms
    rows = x.reshape(len(x), -1).copy()
    for row, own in zip(rows, label.ravel().astype(int), strict=True):
        row[own] *= -1
    margins = np.maximum(0, 1 + rows)
    if layer.hinge_loss_param.norm == "L2":
        margins = margins**2
    return [margins.sum() / len(x)]


@forward("ContrastiveLoss")
def contrastive(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    a, b, similar = bottoms
    margin, total = layer.contrastive_loss_param.margin, 0.0
    for one, other, alike in zip(a, b, similar.ravel(), strict=True):
        squared = ((one - other) ** 2).sum()
        if alike:
            total += squared
        elif layer.contrastive_loss_param.legacy_version:
            total += max(margin - squared, 0)
        else:
            total += max(margin - math.sqrt(squared), 0) ** 2
    return [np.array(total / (2 * len(a)))]


@forward("MultinomialLogisticLoss")
def multinomial(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    x, label = bottoms
    rows = x.reshape(len(x), -1)
    picked = [max(row[int(own)], 1e-20) for row, own in zip(rows, label.ravel(), strict=True)]
    return [np.array(-np.log(picked).mean())]


@forward("Accuracy")
def accuracy(layer: Any, bottoms: Arrays, blobs: Arrays) -> list[np.ndarray]:
    (x, label), param = bottoms, layer.accuracy_param
    ignored = param.ignore_label if param.has("ignore_label") else None
    classes = x.shape[param.axis]
    hits, counts = np.zeros(classes), np.zeros(classes)
    for row, own in _places(x, label, param.axis):
        if own != ignored:
            better = sum(other >= row[own] for other in row) - 1
            hits[own] += better < param.top_k
            counts[own] += 1
    per_class = np.divide(hits, counts, out=np.zeros(classes), where=counts > 0)
    return [np.array(hits.sum() / max(counts.sum(), 1)), per_class][: len(layer.top)]
