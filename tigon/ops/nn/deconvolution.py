"""Deconvolution: the gradient of a convolution by its data, as an operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.base.frozen import fields as fields_of
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.nn._shared import along
from tigon.ops.nn.convolution import (
    _channels,
    _check_data,
    _check_parameters,
    _is_last,
    _spatial,
    _weight_shape,
    _windows,
    _with_channels,
    convolution_data,
)
from tigon.ops.nn.convolution_oracles import data_oracle
from tigon.ops.primitive.arithmetic import add
from tigon.ops.record import Work, composite


class DeconvolutionAttrs(Frozen, kw_only=True):
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    adj: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    num_filter: int
    num_group: int = 1
    workspace: int = 512
    no_bias: bool = True
    cudnn_tune: str | None = None
    cudnn_off: bool = False
    layout: str | None = None


def _transposed(attrs: DeconvolutionAttrs, spatial: Shape) -> tuple[Shape, Shape]:
    """(pad, spatial extents of the result)."""
    where = "Deconvolution"
    geometry = _windows(where, attrs)
    n = len(attrs.kernel)
    full = tuple(
        s * (size - 1) + reach
        for s, size, reach in zip(geometry.stride, spatial, geometry.reach, strict=True)
    )
    if any(attrs.target_shape):
        target = attrs.target_shape
        check(
            len(target) == n and all(t <= f for t, f in zip(target, full, strict=False)),
            where,
            f"target_shape: expected {n} extents of at most {full}; given {target}",
        )
        # As MXNet does: what is too much goes off both ends, an odd one off the first.
        return tuple((f - t + 1) // 2 for f, t in zip(full, target, strict=True)), target
    adj = attrs.adj or (0,) * n
    check(
        len(adj) == n and all(0 <= a < s for a, s in zip(adj, geometry.stride, strict=False)),
        where,
        f"adj: expected {n} numbers from 0 to stride - 1, stride is {geometry.stride}; given {adj}",
    )
    size = tuple(f - 2 * p + a for f, p, a in zip(full, geometry.pad, adj, strict=True))
    check(
        all(extent > 0 for extent in size) or 0 in spatial,
        where,
        f"pad {geometry.pad} takes away the whole result of shape {full}; use less padding",
    )
    return geometry.pad, size


def _infer_deconvolution(
    attrs: DeconvolutionAttrs,
    data: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
) -> TensorType:
    where = "Deconvolution"
    last = _check_data(where, attrs, data)
    expected = _deconvolution_weight(attrs, last, data)
    _check_parameters(where, attrs, data, weight, expected, bias)
    _, size = _transposed(attrs, _spatial(last, data.shape))
    return TensorType(_with_channels(last, data.shape[0], attrs.num_filter, size), data.dtype)


def _deconvolution_weight(attrs: DeconvolutionAttrs, last: bool, data: TensorType) -> Shape:
    channels = attrs.num_filter // max(attrs.num_group, 1)
    return _weight_shape(last, _channels(last, data.shape), channels, attrs.kernel)


def _deconvolution_operands(
    attrs: DeconvolutionAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data = types[0]
    if data is None or data.ndim != len(attrs.kernel) + 2:
        return types
    last = _is_last("Deconvolution", attrs)
    weight = TensorType(_deconvolution_weight(attrs, last, data), data.dtype)
    bias = TensorType((attrs.num_filter,), data.dtype)
    return [given or e for given, e in zip(types, (data, weight, bias), strict=False)]


def _decompose_deconvolution(
    attrs: DeconvolutionAttrs, data: Value, weight: Value, bias: Value | None = None
) -> Value:
    last = _is_last("Deconvolution", attrs)
    pad, size = _transposed(attrs, _spatial(last, data.shape))
    y = convolution_data(
        data,
        weight,
        kernel=attrs.kernel,
        stride=attrs.stride,
        dilate=attrs.dilate,
        pad=pad,
        num_filter=_channels(last, data.shape),
        num_group=attrs.num_group,
        layout=attrs.layout,
        no_bias=True,
        size=size,
    )
    return y if bias is None else add(y, along(bias, y.ndim - 1 if last else 1, y.ndim))


def _deconvolution_oracle(
    data: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, **fields: Any
) -> np.ndarray:
    attrs = DeconvolutionAttrs(**{name: fields[name] for name in fields_of(DeconvolutionAttrs)})
    last = fields["layout"] in ("NWC", "NHWC", "NDHWC")
    pad, size = _transposed(attrs, _spatial(last, data.shape))
    y = data_oracle(data, weight, **(fields | {"pad": pad, "size": size}))
    if bias is None:
        return y
    return y + (bias if last else bias.reshape(-1, *(1,) * len(size)))


deconvolution = composite(
    "Deconvolution",
    _decompose_deconvolution,
    operands="data weight bias?",
    attrs=DeconvolutionAttrs,
    dtypes="fiu",
    infer=_infer_deconvolution,
    present=lambda attrs: ("data", "weight") if attrs.no_bias else ("data", "weight", "bias"),
    work=Work.PRODUCT,
    numpy=_deconvolution_oracle,
    infer_operands=_deconvolution_operands,
    samples=[
        ((2, 3, 4), (3, 2, 3), {"kernel": (3,), "num_filter": 2}),
        (
            (1, 2, 3, 4),
            (2, 3, 4, 4),
            {"kernel": (4, 4), "num_filter": 3, "stride": (2, 2), "pad": (1, 1)},
        ),
        (
            (1, 4, 3, 2),
            (4, 1, 3, 3),
            (2,),
            {
                "kernel": (3, 3),
                "num_filter": 2,
                "num_group": 2,
                "stride": (2, 2),
                "adj": (1, 1),
                "no_bias": False,
            },
        ),
        (
            (1, 2, 3, 3),
            (2, 2, 4, 4),
            {"kernel": (4, 4), "num_filter": 2, "stride": (2, 2), "target_shape": (6, 5)},
        ),
    ],
    doc="""Transposed convolution: each element of the input adds the kernel, scaled, to the result
(Zeiler et al. 2010).

Parameters
----------
data : (batch, channels, *spatial) by default, see `layout`
weight : (channels, num_filter / num_group, *kernel)
bias : (num_filter,); absent under `no_bias`, which is the default here
kernel, stride, dilate, pad : of the convolution that this one reverses
adj : extra extent at the end of each axis, less than the stride
target_shape : the spatial shape of the result, from which `pad` then follows
num_filter, num_group, no_bias, layout : as for Convolution
workspace, cudnn_tune, cudnn_off : accepted for old programs and without meaning here

Examples
--------
>>> nd.Deconvolution(nd.array([[[1, 2]]]), nd.array([[[1, 1]]]), kernel=(2,), num_filter=1)
<BLANKLINE>
[[[1. 3. 2.]]]
<NDArray 1x1x3 @cpu(0)>
""",
)
