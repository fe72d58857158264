"""Batch normalization whose moving statistics are weighted sums, as Caffe's are."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType
from tigon.base.dtypes import float32
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import extent_of, inverse_count, normal_axis, other_axes, vector_of
from tigon.ops.nn.batch_norm import batch_norm
from tigon.ops.primitive.arithmetic import add, divide, multiply
from tigon.ops.primitive.choose import where
from tigon.ops.primitive.compare import equal
from tigon.ops.primitive.view import _broadcast
from tigon.ops.record import composite, same_type
from tigon.ops.tensor.create import ones_like, zeros_like


class SummedBatchNormAttrs(Frozen, kw_only=True):
    eps: float = 1e-5
    momentum: float = 0.999
    use_global_stats: bool | None = None
    axis: int = 1
    training: bool | None = None


NAME = "SummedBatchNorm"


def _infer(
    attrs: SummedBatchNormAttrs,
    data: TensorType,
    mean_sum: TensorType,
    variance_sum: TensorType,
    weight_sum: TensorType,
) -> tuple[TensorType, ...]:
    axis = normal_axis(NAME, attrs.axis, data.ndim)
    for name, given in (("mean_sum", mean_sum), ("variance_sum", variance_sum)):
        meaning = f"one per channel: axis {axis} of data, whose shape is {data.shape}"
        vector_of(NAME, name, given, data.shape[axis], meaning)
    vector_of(NAME, "weight_sum", weight_sum, 1, "the weights of all batches so far")
    states = (mean_sum, variance_sum, weight_sum)
    return same_type(data), *map(same_type, states)


def _uses_batch(attrs: Any) -> bool:
    return bool(attrs.training) if attrs.use_global_stats is None else not attrs.use_global_stats


def _decompose(
    attrs: SummedBatchNormAttrs,
    data: Value,
    mean_sum: Value,
    variance_sum: Value,
    weight_sum: Value,
) -> tuple[Value, ...]:
    axis = attrs.axis % data.ndim
    fields: dict[str, Any] = {"eps": attrs.eps, "axis": axis, "momentum": 0.0}
    gamma, beta = ones_like(mean_sum), zeros_like(mean_sum)
    if not _uses_batch(attrs):
        # Before the first batch the weights are 0, and so are the statistics.
        none = equal(weight_sum, 0.0)
        share = where(none, weight_sum, divide(1.0, where(none, add(weight_sum, 1.0), weight_sum)))
        share = _broadcast(share, shape=mean_sum.shape)
        mean, variance = multiply(mean_sum, share), multiply(variance_sum, share)
        out = batch_norm(data, gamma, beta, mean, variance, training=False, **fields)[0]
        return out, mean_sum, variance_sum, weight_sum
    # With a momentum of 0, the new moving statistics are those of the batch.
    found = batch_norm(data, gamma, beta, mean_sum, variance_sum, training=True, **fields)
    out, mean, variance = found[0], found[3], found[4]
    count = extent_of(data, other_axes(data.ndim, axis))
    if count > 1:  # n / (n - 1): the variance that the batch is a sample of
        variance = add(variance, multiply(variance, inverse_count(count - 1)))
    kept = attrs.momentum
    return (
        out,
        add(multiply(mean_sum, kept), mean),
        add(multiply(variance_sum, kept), variance),
        add(multiply(weight_sum, kept), 1.0),
    )


def _infer_operands(
    attrs: SummedBatchNormAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data, *states = types
    if data is None or not -data.ndim <= attrs.axis < data.ndim:
        return types
    dtype = float32 if data.dtype.is_narrow else data.dtype
    vector = TensorType((data.shape[attrs.axis],), dtype)
    wanted = (vector, vector, TensorType((1,), dtype))
    return [data, *(given or state for given, state in zip(states, wanted, strict=True))]


def _oracle(
    data: np.ndarray,
    mean_sum: np.ndarray,
    variance_sum: np.ndarray,
    weight_sum: np.ndarray,
    **fields: Any,
) -> tuple[np.ndarray, ...]:
    axis = fields["axis"] % data.ndim
    use_global = fields["use_global_stats"]
    use_global = not fields["training"] if use_global is None else use_global
    out, kept = np.empty_like(data), fields["momentum"]
    new = [mean_sum.copy(), variance_sum.copy(), weight_sum.copy()]
    for c in range(data.shape[axis]):
        here = tuple(c if a == axis else slice(None) for a in range(data.ndim))
        x = data[here]
        if use_global:
            share = 1 / weight_sum[0] if weight_sum[0] else 0
            mean, variance = mean_sum[c] * share, variance_sum[c] * share
        else:
            mean, variance = x.mean(), x.var()
            new[0][c] = kept * mean_sum[c] + mean
            new[1][c] = kept * variance_sum[c] + variance * x.size / max(x.size - 1, 1)
        out[here] = (x - mean) / np.sqrt(variance + fields["eps"])
    if not use_global:
        new[2][0] = kept * weight_sum[0] + 1
    return out, *new


_STATES = ((3,), np.array([0.5, 1.0, 2.0]), np.array([1.5]))

summed_batch_norm = composite(
    "_contrib_SummedBatchNorm",
    _decompose,
    operands="data mean_sum! variance_sum! weight_sum!",
    attrs=SummedBatchNormAttrs,
    dtypes="f",
    statistics=("mean_sum", "variance_sum", "weight_sum"),
    infer=_infer,
    outputs=4,
    visible=1,
    mutates={1: "mean_sum", 2: "variance_sum", 3: "weight_sum"},
    initial=dict.fromkeys(("mean_sum", "variance_sum", "weight_sum"), '["zero", {}]'),
    infer_operands=_infer_operands,
    numpy=_oracle,
    samples=[
        ((4, 3), *_STATES, {"training": True}),
        ((2, 3, 4), *_STATES, {"training": True, "momentum": 0.5}),
        ((2, 4, 3), *_STATES, {"axis": -1}),
        ((2, 3), *_STATES[:2], np.array([0.0]), {"eps": 1.0}),
        ((2, 3), *_STATES, {"use_global_stats": False}),
        ((2, 3), *_STATES, {"use_global_stats": True, "training": True}),
    ],
    doc="""Batch normalization without scale and shift, whose moving statistics are sums over all
batches, earlier ones weighted less, and the sum of these weights: Caffe's `BatchNorm`.

In training, each channel is brought to mean 0 and deviation 1, and the sums advance:
`sum = sum * momentum + batch`, where the variance counted is n / (n - 1) times that of the batch.
In prediction, mean and variance are the sums divided by `weight_sum`, or 0 as long as that is 0.

Parameters
----------
data : any shape with channels along `axis`
mean_sum, variance_sum : auxiliary states, one per channel
weight_sum : auxiliary state, one number
eps : added to the variance
momentum : how much of the sums is kept at each step
use_global_stats : use the sums in training, too (True), or the batch in prediction, too (False)
axis : where the channels are

Examples
--------
>>> x, mean, variance = nd.array([[2, 4]]), nd.array([4, 6]), nd.array([8, 8])
>>> nd.contrib.SummedBatchNorm(x, mean, variance, nd.array([2]), eps=0)
<BLANKLINE>
[[0.  0.5]]
<NDArray 1x2 @cpu(0)>
""",
)
