"""Convolution and Deconvolution.

A convolution is a contraction of windows: windows are a view, so that the packing of the matrix
product reads them where they lie and no column matrix is ever written. The operator is bilinear,
and so its two gradients and it itself are closed under differentiation:

    y  = C(x, w)      dx = D(g, w)      dw = W(x, g)
    gradients of D(g, w) under h: C(h, w) and W(h, g);   of W(x, g) under v: D(g, v) and C(x, v)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.extents import estimate, is_known, same_shape
from tigon.base.frozen import Frozen
from tigon.base.tiles import Registers, panel_width
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import (
    CHANNELS_LAST,
    Phases,
    Windows,
    along,
    channels_last,
    reversed_axes,
    to_channels_first,
    unwindows,
    windows,
)
from tigon.ops.nn.convolution_oracles import convolution_oracle, data_oracle, weight_oracle
from tigon.ops.primitive.arithmetic import add
from tigon.ops.primitive.choose import stored
from tigon.ops.primitive.contract import _contract
from tigon.ops.primitive.reduce import sum as sum_
from tigon.ops.primitive.view import _pad, _reshape, transpose
from tigon.ops.record import Packed, Work, composite

SPATIAL = "xyz"
KERNEL = "uvw"
PHASE = "rst"


class ConvolutionAttrs(Frozen, kw_only=True):
    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_filter: int
    num_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    cudnn_tune: str | None = None
    cudnn_off: bool = False
    layout: str | None = None


class ConvolutionDataAttrs(ConvolutionAttrs, kw_only=True):
    size: tuple[int, ...] = ()
    """Spatial extents of the result, where no operand shows them."""


def _windows(where: str, attrs: Any) -> Windows:
    return Windows.of(where, attrs.kernel, attrs.stride, attrs.dilate, attrs.pad)


def _is_last(where: str, attrs: Any) -> bool:
    return channels_last(where, attrs.layout, len(attrs.kernel))


def _channels(last: bool, shape: Shape) -> int:
    return shape[-1] if last else shape[1]


def _spatial(last: bool, shape: Shape) -> Shape:
    return shape[1:-1] if last else shape[2:]


def _with_channels(last: bool, batch: int, channels: int, spatial: Shape) -> Shape:
    return (batch, *spatial, channels) if last else (batch, channels, *spatial)


def _weight_shape(last: bool, filters: int, channels: int, kernel: Shape) -> Shape:
    """Of `filters` filters over `channels` channels each (those of one group)."""
    return (filters, *kernel, channels) if last else (filters, channels, *kernel)


# --------------------------------------------------------------- contraction and labels


class _Labels:
    """The labels of data, weight and result for one layout: n batch, g group, c channel of the
    input, f filter, xyz spatial, uvw kernel."""

    def __init__(self, attrs: Any, last: bool, pointwise: bool) -> None:
        n = len(attrs.kernel)
        spatial = SPATIAL[:n]
        kernel = "" if pointwise else KERNEL[:n]
        group = "g" if attrs.num_group > 1 else ""
        self.windows = f"n{group}c{spatial}{kernel}"
        self.unwindowed = f"n{group}f{spatial}{kernel}"
        self.weight = f"{group}f{kernel}c" if last else f"{group}fc{kernel}"
        self.result = f"n{spatial}{group}f" if last else f"n{group}f{spatial}"
        self.data = f"n{spatial}{group}c" if last else f"n{group}c{spatial}"


def _grouped(x: Value, groups: int) -> Value:
    """Channels first, with the channels of each group on an axis of their own."""
    if groups == 1:
        return x
    batch, channels, *spatial = x.shape
    return _reshape(x, shape=(batch, groups, channels // groups, *spatial))


def _grouped_weight(weight: Value, attrs: Any, last: bool, pointwise: bool) -> Value:
    filters, groups = weight.shape[0], attrs.num_group
    rest = weight.shape[1:]
    if pointwise:
        rest = rest[-1:] if last else rest[:1]
    head = (groups, filters // groups) if groups > 1 else (filters,)
    shape = (*head, *rest)
    return weight if same_shape(shape, weight.shape) else _reshape(weight, shape=shape)


def _as_channels_first(x: Value, last: bool) -> Value:
    return to_channels_first(x) if last else x


def _is_single(attrs: Any) -> bool:
    """A kernel of one element: it needs no kernel axes."""
    return all(extent == 1 for extent in attrs.kernel)


def _data_windows(where: str, attrs: Any, data: Value, extents: Shape) -> Value:
    """The windows that the kernel sees, channels first, grouped; without kernel axes if it is a
    single element."""
    geometry = _windows(where, attrs)
    x = _grouped(_as_channels_first(data, _is_last(where, attrs)), attrs.num_group)
    if geometry.is_pointwise:
        return x
    found = windows(x, geometry, extents)
    if _is_single(attrs):
        return _reshape(found, shape=found.shape[: -len(attrs.kernel)])
    return found


# ------------------------------------------------------------------------- convolution


def _decompose(
    attrs: ConvolutionAttrs, data: Value, weight: Value, bias: Value | None = None
) -> Value:
    last, single = _is_last("Convolution", attrs), _is_single(attrs)
    labels = _Labels(attrs, last, single)
    weight = _grouped_weight(weight, attrs, last, single)
    return _convolved(attrs, data, weight, labels, labels.weight, labels.result, bias)


def _convolved(
    attrs: ConvolutionAttrs,
    data: Value,
    weight: Value,
    labels: _Labels,
    right: str,
    out: str,
    bias: Value | None,
) -> Value:
    """Windows of the data with a weight of labels `right`, whose filters may be on several axes."""
    where = "Convolution"
    last = _is_last(where, attrs)
    extents = _windows(where, attrs).extents(where, _spatial(last, data.shape))
    windowed = _data_windows(where, attrs, data, extents)
    y = _contract(windowed, weight, left=labels.windows, right=right, out=out)
    shape = _with_channels(last, data.shape[0], attrs.num_filter, extents)
    if not same_shape(y.shape, shape):
        y = _reshape(y, shape=shape)
    if bias is None:
        return y
    return add(y, along(bias, len(shape) - 1 if last else 1, len(shape)))


def _decompose_data(
    attrs: ConvolutionDataAttrs, g: Value, weight: Value, like: Value | None = None
) -> Value:
    """D: what each element of the input receives from the windows that it is in."""
    where = "Convolution"
    last = _is_last(where, attrs)
    size = attrs.size if like is None else _spatial(last, like.shape)
    channels = _channels(last, weight.shape) * attrs.num_group
    shape = _with_channels(last, g.shape[0], channels, size)
    geometry = _windows(where, attrs).striding_alone(_spatial(last, g.shape))
    single = _is_single(attrs)
    labels = _Labels(attrs, last, single)
    filters = _grouped_weight(weight, attrs, last, single)
    cotangent = _grouped(_as_channels_first(g, last), attrs.num_group)
    if single:
        # Contract first, on the coarse grid, then spread: no product with what is 0.
        n = len(attrs.kernel)
        coarse = _contract(
            cotangent, filters, left=labels.unwindowed, right=labels.weight, out=labels.windows
        )
        if not geometry.is_pointwise:
            coarse = unwindows(coarse, geometry, size)
            coarse = _reshape(coarse, shape=coarse.shape[:-n])
        flat = _reshape(coarse, shape=(g.shape[0], channels, *size))
        return transpose(flat, axes=(0, *range(2, n + 2), 1)) if last else flat
    strided = any(step > 1 for step in geometry.stride)
    if strided and any(step > 1 for step in geometry.dilate):
        x = _contract(
            unwindows(cotangent, geometry, size),
            filters,
            left=labels.unwindowed,
            right=labels.weight,
            out=labels.data,
        )
    elif strided:
        x = _by_phases(geometry, cotangent, filters, labels, size, last)
    else:
        x = _contract(
            _turned_windows(cotangent, geometry, size),
            reversed_axes(filters, _kernel_axes(labels)),
            left=labels.unwindowed,
            right=labels.weight,
            out=labels.data,
        )
    return x if same_shape(x.shape, shape) else _reshape(x, shape=shape)


def _kernel_axes(labels: _Labels) -> tuple[int, ...]:
    return tuple(axis for axis, label in enumerate(labels.weight) if label in KERNEL)


def _turned_windows(g: Value, geometry: Windows, size: Shape) -> Value:
    """With a stride of 1, elements see windows as windows see elements, from the other side."""
    ones = (1,) * len(size)
    pad = tuple(reach - 1 - p for reach, p in zip(geometry.reach, geometry.pad, strict=True))
    return windows(g, Windows(geometry.kernel, ones, geometry.dilate, pad), size)


def _by_phases(
    geometry: Windows, g: Value, filters: Value, labels: _Labels, size: Shape, last: bool
) -> Value:
    """Elements whose places differ by a whole stride meet the same part of the kernel, so that the
    part becomes a filter of its own: one product, without the zeros between strides."""
    phases = Phases.of(geometry, size)
    kernel = _kernel_axes(labels)
    grown = list(filters.shape)
    cut: list[int] = []
    names = ""
    for axis, (label, extent) in enumerate(zip(labels.weight, filters.shape, strict=True)):
        if axis not in kernel:
            cut.append(extent)
            names += label
            continue
        place = KERNEL.index(label)
        grown[axis] = phases.whole[place]
        cut += [phases.count[place], phases.stride[place]]
        names += label + PHASE[place]
    after = tuple(new - old for new, old in zip(grown, filters.shape, strict=True))
    if any(after):
        filters = _pad(filters, before=(0,) * filters.ndim, after=after, value=0.0)
    parts = reversed_axes(
        _reshape(filters, shape=tuple(cut)),
        [axis for axis, label in enumerate(names) if label in KERNEL],
    )
    out = "".join(
        label + PHASE[SPATIAL.index(label)] if label in SPATIAL else label for label in labels.data
    )
    x = _contract(phases.windows(g), parts, left=labels.unwindowed, right=names, out=out)
    return phases.woven(x, out.index(SPATIAL[0]))


def _decompose_weight(attrs: ConvolutionAttrs, data: Value, g: Value) -> Value:
    """W: what each element of the kernel receives from all windows."""
    where = "Convolution"
    last = _is_last(where, attrs)
    single = _is_single(attrs)
    labels = _Labels(attrs, last, single)
    cotangent = g
    if attrs.num_group > 1:
        batch, *rest = g.shape
        filters = _channels(last, g.shape)
        split = (attrs.num_group, filters // attrs.num_group)
        middle = (*rest[:-1], *split) if last else (*split, *rest[1:])
        cotangent = _reshape(g, shape=(batch, *middle))
    found = _contract(
        _data_windows(where, attrs, data, _spatial(last, g.shape)),
        cotangent,
        left=labels.windows,
        right=labels.result,
        out=labels.weight,
    )
    channels = _channels(last, data.shape) // attrs.num_group
    shape = _weight_shape(last, _channels(last, g.shape), channels, attrs.kernel)
    return found if same_shape(found.shape, shape) else _reshape(found, shape=shape)


# ---------------------------------------------------------------------- weights in panels


class PanelAttrs(Frozen):
    width: int
    layout: str | None = None


def _decompose_panels(attrs: PanelAttrs, weight: Value) -> Value:
    filters, *rest = weight.shape
    cut = _reshape(weight, shape=(filters // attrs.width, attrs.width, *rest))
    last = attrs.layout in CHANNELS_LAST
    summed = (cut.ndim - 1, *range(2, cut.ndim - 1)) if last else tuple(range(2, cut.ndim))
    return stored(transpose(cut, axes=(0, *summed, 1)))


def _infer_panels(attrs: PanelAttrs, weight: TensorType) -> TensorType:
    filters, *rest = weight.shape
    check(
        attrs.width > 0 and filters % attrs.width == 0,
        "_convolution_panels",
        f"panels of {attrs.width} do not divide {filters} filters",
    )
    summed = (rest[-1], *rest[:-1]) if attrs.layout in CHANNELS_LAST else tuple(rest)
    return TensorType((filters // attrs.width, *summed, attrs.width), weight.dtype)


def _panels_oracle(weight: np.ndarray, width: int, layout: str | None = None) -> np.ndarray:
    first = np.moveaxis(weight, -1, 1) if layout in CHANNELS_LAST else weight
    cut = first.reshape(-1, width, *first.shape[1:])
    return np.ascontiguousarray(np.moveaxis(cut, 1, -1))


def _decompose_over_panels(
    attrs: ConvolutionAttrs, data: Value, panels: Value, bias: Value | None = None
) -> Value:
    single = _is_single(attrs)
    labels = _Labels(attrs, _is_last("Convolution", attrs), single)
    if single:
        panels = _reshape(panels, shape=(*panels.shape[:2], panels.shape[-1]))
    summed = "".join(label for label in labels.windows if label in labels.weight)
    out = labels.result.replace("f", "pf")
    return _convolved(attrs, data, panels, labels, f"p{summed}f", out, bias)


def _infer_over_panels(
    attrs: ConvolutionAttrs, data: TensorType, panels: TensorType, bias: TensorType | None = None
) -> TensorType:
    last = _check_data("Convolution", attrs, data)
    channels, width = _channels(last, data.shape), panels.shape[-1]
    expected = (attrs.num_filter // max(width, 1), channels, *attrs.kernel, width)
    check(
        panels.shape == expected,
        "_convolution_over_panels",
        f"panels: expected shape {expected}; given {panels.shape}",
    )
    weight = TensorType(_weight_shape(last, attrs.num_filter, channels, attrs.kernel), panels.dtype)
    return _infer(attrs, data, weight, bias)


def _over_panels_oracle(
    data: np.ndarray, panels: np.ndarray, *bias: np.ndarray, **fields: Any
) -> np.ndarray:
    weight = np.moveaxis(panels, -1, 1)
    weight = weight.reshape(-1, *weight.shape[2:])
    if fields["layout"] in CHANNELS_LAST:
        weight = np.moveaxis(weight, 1, -1)
    result: np.ndarray = convolution_oracle(data, weight, *bias, **fields)
    return result


def _packed(
    attrs: ConvolutionAttrs, registers: Registers, data: Value, weight: Value, *bias: Value
) -> Packed | None:
    """The weight in panels, for a call that prediction makes again and again."""
    where = "Convolution"
    last = _is_last(where, attrs)
    filters = weight.shape[0]
    if attrs.num_group != 1 or not data.dtype.is_float or not is_known(*weight.shape):
        return None
    extents = _windows(where, attrs).extents(where, _spatial(last, data.shape))
    line, lanes = estimate(extents[-1]), registers.lanes(data.dtype.itemsize)
    width = panel_width(line, filters, lanes, registers) if line > 1 else None
    if width is None:
        return None
    panels = convolution_panels(weight, width=width, layout=attrs.layout)
    fields = attrs_dict(attrs)
    return Packed(1, panels, lambda made: convolution_over_panels(data, made, *bias, **fields))


# ------------------------------------------------------------------------------- types


def _check_data(where: str, attrs: Any, data: TensorType) -> bool:
    n = len(attrs.kernel)
    last = _is_last(where, attrs)
    layout = attrs.layout if attrs.layout not in (None, "None") else ("NCW", "NCHW", "NCDHW")[n - 1]
    check(
        data.ndim == n + 2,
        where,
        f"data: expected {n + 2} axes, {layout}, for kernel {attrs.kernel}; given {data.shape}",
    )
    check(attrs.num_group >= 1, where, f"num_group: expected at least 1; given {attrs.num_group}")
    check(
        attrs.num_filter >= 1, where, f"num_filter: expected at least 1; given {attrs.num_filter}"
    )
    check(
        _channels(last, data.shape) % attrs.num_group == 0,
        where,
        f"the {_channels(last, data.shape)} channels of data do not divide into num_group="
        f"{attrs.num_group} equal groups",
    )
    check(
        attrs.num_filter % attrs.num_group == 0,
        where,
        f"num_filter={attrs.num_filter} does not divide into num_group={attrs.num_group} groups",
    )
    return last


def _check_parameters(
    where: str,
    attrs: Any,
    data: TensorType,
    weight: TensorType,
    expected: Shape,
    bias: TensorType | None,
) -> None:
    check(
        weight.shape == expected,
        where,
        f"weight: expected shape {expected} for data of shape {data.shape} with kernel "
        f"{attrs.kernel}, num_filter={attrs.num_filter}, num_group={attrs.num_group}; "
        f"given {weight.shape}",
    )
    check(
        (bias is None) == attrs.no_bias,
        where,
        "a bias was given although no_bias is True; leave one of them out"
        if attrs.no_bias
        else "bias is missing; give it, or set no_bias=True",
    )
    if bias is not None:
        check(
            bias.shape == (attrs.num_filter,),
            where,
            f"bias: expected shape ({attrs.num_filter},), one per filter; given {bias.shape}",
        )


def _infer(
    attrs: ConvolutionAttrs,
    data: TensorType,
    weight: TensorType,
    bias: TensorType | None = None,
) -> TensorType:
    where = "Convolution"
    geometry = _windows(where, attrs)
    last = _check_data(where, attrs, data)
    channels = _channels(last, data.shape) // attrs.num_group
    expected = _weight_shape(last, attrs.num_filter, channels, attrs.kernel)
    _check_parameters(where, attrs, data, weight, expected, bias)
    extents = geometry.extents(where, _spatial(last, data.shape))
    return TensorType(_with_channels(last, data.shape[0], attrs.num_filter, extents), data.dtype)


def _infer_operands(
    attrs: ConvolutionAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data = types[0]
    if data is None or data.ndim != len(attrs.kernel) + 2:
        return types
    last = _is_last("Convolution", attrs)
    channels = _channels(last, data.shape) // max(attrs.num_group, 1)
    weight = TensorType(_weight_shape(last, attrs.num_filter, channels, attrs.kernel), data.dtype)
    bias = TensorType((attrs.num_filter,), data.dtype)
    return [given or e for given, e in zip(types, (data, weight, bias), strict=False)]


def _infer_data(
    attrs: ConvolutionDataAttrs, g: TensorType, weight: TensorType, like: TensorType | None = None
) -> TensorType:
    last = _is_last("Convolution", attrs)
    size = attrs.size if like is None else _spatial(last, like.shape)
    channels = _channels(last, weight.shape) * attrs.num_group
    return TensorType(_with_channels(last, g.shape[0], channels, size), g.dtype)


def _infer_weight(attrs: ConvolutionAttrs, data: TensorType, g: TensorType) -> TensorType:
    last = _is_last("Convolution", attrs)
    check(
        attrs.num_group > 0,
        "Convolution",
        f"num_group: expected a positive number; given {attrs.num_group}",
    )
    channels = _channels(last, data.shape) // attrs.num_group
    return TensorType(
        _weight_shape(last, _channels(last, g.shape), channels, attrs.kernel), g.dtype
    )


# --------------------------------------------------------------------------- gradients


def _plain(attrs: Any) -> dict[str, Any]:
    """The fields that all three operators share, without bias."""
    fields = attrs_dict(attrs)
    fields.pop("size", None)
    return fields | {"no_bias": True}


def _grad(
    attrs: ConvolutionAttrs, g: Value, y: Value, data: Value, *parameters: Value
) -> tuple[Any, ...]:
    weight, *bias = parameters
    plain = _plain(attrs)
    gradients = (
        convolution_data(g, weight, data, **plain),
        convolution_weight(data, g, **plain),
    )
    if not bias:
        return gradients
    axis = len(attrs.kernel) + 1 if _is_last("Convolution", attrs) else 1
    return (*gradients, sum_(g, axis=(axis,), exclude=True))


def _grad_data(
    attrs: ConvolutionDataAttrs, h: Value, y: Value, g: Value, weight: Value, *like: Value
) -> tuple[Any, ...]:
    plain = _plain(attrs)
    return (
        convolution(h, weight, **plain),
        convolution_weight(h, g, **plain),
        *(None for _ in like),
    )


def _grad_weight(
    attrs: ConvolutionAttrs, v: Value, y: Value, data: Value, g: Value
) -> tuple[Any, ...]:
    plain = _plain(attrs)
    return convolution_data(g, v, data, **plain), convolution(data, v, **plain)


# ----------------------------------------------------------------------------- records

_SAMPLES = [
    ((2, 3, 7), (4, 3, 3), (4,), {"kernel": (3,), "num_filter": 4}),
    ((2, 3, 6, 5), (4, 3, 3, 2), (4,), {"kernel": (3, 2), "num_filter": 4, "pad": (1, 0)}),
    (
        (1, 2, 9, 8),
        (2, 2, 3, 3),
        {
            "kernel": (3, 3),
            "num_filter": 2,
            "stride": (2, 3),
            "dilate": (2, 1),
            "pad": (2, 1),
            "no_bias": True,
        },
    ),
    ((2, 4, 5, 4), (6, 2, 2, 2), (6,), {"kernel": (2, 2), "num_filter": 6, "num_group": 2}),
    ((1, 3, 5, 5), (3, 1, 3, 3), (3,), {"kernel": (3, 3), "num_filter": 3, "num_group": 3}),
    ((2, 3, 4, 4), (5, 3, 1, 1), (5,), {"kernel": (1, 1), "num_filter": 5}),
    (
        (2, 4, 5, 4),
        (2, 2, 1, 1),
        {"kernel": (1, 1), "num_filter": 2, "stride": (2, 2), "num_group": 2, "no_bias": True},
    ),
    ((1, 2, 4, 3, 4), (2, 2, 2, 2, 2), (2,), {"kernel": (2, 2, 2), "num_filter": 2}),
    (
        (2, 5, 6, 4),
        (2, 3, 3, 2),
        (2,),
        {"kernel": (3, 3), "num_filter": 2, "num_group": 2, "layout": "NHWC", "pad": (1, 1)},
    ),
    (
        (2, 5, 6, 3),
        (2, 1, 1, 3),
        (2,),
        {"kernel": (1, 1), "num_filter": 2, "stride": (2, 1), "layout": "NHWC"},
    ),
]

convolution = composite(
    "Convolution",
    _decompose,
    operands="data weight bias?",
    attrs=ConvolutionAttrs,
    dtypes="fiu",
    infer=_infer,
    grad=_grad,
    present=lambda attrs: ("data", "weight") if attrs.no_bias else ("data", "weight", "bias"),
    work=Work.PRODUCT,
    numpy=convolution_oracle,
    aliases=("Convolution_v1",),
    infer_operands=_infer_operands,
    packed=_packed,
    samples=_SAMPLES,
    doc="""Convolution over one, two or three spatial axes (LeCun et al. 1989):
`y[n, f, o] = sum over c, k of x[n, c, o * stride + k * dilate - pad] * w[f, c, k] + b[f]`.

Parameters
----------
data : (batch, channels, *spatial) by default, see `layout`
weight : (num_filter, channels / num_group, *kernel); channels last under layouts that end in C
bias : (num_filter,); absent under `no_bias`
kernel : extents of the kernel; as many as there are spatial axes
stride, dilate, pad : step between windows, step within them, zeros on either side
num_filter : number of results per place
num_group : channels and filters are cut into so many groups that do not see each other
no_bias : leave the bias out
layout : 'NCW', 'NCHW', 'NCDHW' (default) or 'NWC', 'NHWC', 'NDHWC'
workspace, cudnn_tune, cudnn_off : accepted for old programs and without meaning here

Examples
--------
>>> x = nd.ones((1, 1, 3, 3))
>>> nd.Convolution(x, nd.ones((1, 1, 2, 2)), nd.zeros(1), kernel=(2, 2), num_filter=1)
<BLANKLINE>
[[[[4. 4.]
   [4. 4.]]]]
<NDArray 1x1x2x2 @cpu(0)>
""",
)

convolution_panels = composite(
    "_convolution_panels",
    _decompose_panels,
    operands="weight",
    attrs=PanelAttrs,
    dtypes="fiu",
    infer=_infer_panels,
    differentiable=False,
    numpy=_panels_oracle,
    samples=[
        ((4, 3, 2), {"width": 2}),
        ((4, 3, 2, 2), {"width": 4}),
        ((4, 2, 2, 3), {"width": 2, "layout": "NHWC"}),
    ],
    doc="""A convolution's weight in panels of `width` filters: (panels, channels, *kernel, width).

>>> nd._convolution_panels(nd.array([[[1, 2]], [[3, 4]]]), width=2).asnumpy().tolist()
[[[[1.0, 3.0], [2.0, 4.0]]]]
""",
)

convolution_over_panels = composite(
    "_convolution_over_panels",
    _decompose_over_panels,
    operands="data panels bias?",
    attrs=ConvolutionAttrs,
    dtypes="fiu",
    infer=_infer_over_panels,
    differentiable=False,
    present=lambda attrs: ("data", "panels") if attrs.no_bias else ("data", "panels", "bias"),
    work=Work.PRODUCT,
    numpy=_over_panels_oracle,
    samples=[
        ((2, 3, 7), (2, 3, 3, 2), (4,), {"kernel": (3,), "num_filter": 4}),
        (
            (2, 5, 6, 3),
            (1, 3, 1, 1, 2),
            {"kernel": (1, 1), "num_filter": 2, "layout": "NHWC", "no_bias": True},
        ),
        (
            (1, 2, 6, 5),
            (2, 2, 3, 3, 2),
            {"kernel": (3, 3), "num_filter": 4, "pad": (1, 1), "stride": (2, 1), "no_bias": True},
        ),
    ],
    doc="""`Convolution` with its weight as `_convolution_panels` makes it; without a gradient.

>>> panels = nd._convolution_panels(nd.array([[[1, 2]], [[3, 4]]]), width=2)
>>> x = nd.array([[[1, 1, 2]]])
>>> nd._convolution_over_panels(x, panels, kernel=2, num_filter=2, no_bias=True).asnumpy()
array([[[ 3.,  5.],
        [ 7., 11.]]], dtype=float32)
""",
)

convolution_data = composite(
    "_backward_Convolution_data",
    _decompose_data,
    operands="g weight like?",
    attrs=ConvolutionDataAttrs,
    dtypes={"g weight": "fiu"},
    infer=_infer_data,
    grad=_grad_data,
    work=Work.PRODUCT,
    numpy=data_oracle,
    samples=[
        (
            (2, 4, 3, 2),
            (4, 3, 3, 3),
            {
                "kernel": (3, 3),
                "num_filter": 4,
                "stride": (2, 2),
                "pad": (1, 1),
                "size": (6, 4),
                "no_bias": True,
            },
        ),
        (
            (2, 4, 3),
            (4, 1, 2),
            (2, 2, 4),
            {"kernel": (2,), "num_filter": 4, "num_group": 2, "no_bias": True},
        ),
        (
            (1, 2, 3, 4),
            (4, 1, 1, 2),
            {
                "kernel": (1, 1),
                "num_filter": 4,
                "stride": (2, 1),
                "num_group": 2,
                "layout": "NHWC",
                "size": (3, 3),
                "no_bias": True,
            },
        ),
    ],
    doc="""The cotangent of a convolution's data, itself a (transposed) convolution.

Parameters
----------
g : cotangent of the convolution's result
weight : the convolution's weight
like : the convolution's data, of which only the shape counts; otherwise `size` gives it

Examples
--------
>>> g = nd.ones((1, 1, 1))
>>> nd._backward_Convolution_data(g, nd.array([[[1, 2]]]), kernel=(2,), num_filter=1, size=(2,))
<BLANKLINE>
[[[1. 2.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)

convolution_weight = composite(
    "_backward_Convolution_weight",
    _decompose_weight,
    operands="data g",
    attrs=ConvolutionAttrs,
    dtypes="fiu",
    infer=_infer_weight,
    grad=_grad_weight,
    work=Work.PRODUCT,
    numpy=weight_oracle,
    samples=[
        (
            (2, 3, 6, 4),
            (2, 4, 3, 2),
            {
                "kernel": (3, 3),
                "num_filter": 4,
                "stride": (2, 2),
                "pad": (1, 1),
                "no_bias": True,
            },
        ),
        (
            (2, 5, 2),
            (2, 4, 4),
            {"kernel": (2,), "num_filter": 4, "num_group": 2, "layout": "NWC", "no_bias": True},
        ),
    ],
    doc="""The cotangent of a convolution's weight.

Parameters
----------
data : the convolution's data
g : cotangent of the convolution's result

Examples
--------
>>> x, g = nd.array([[[1, 2, 4]]]), nd.ones((1, 1, 2))
>>> nd._backward_Convolution_weight(x, g, kernel=(2,), num_filter=1)
<BLANKLINE>
[[[3. 6.]]]
<NDArray 1x1x2 @cpu(0)>
""",
)
