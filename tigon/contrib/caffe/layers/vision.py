"""Layers over images: convolutions, pooling, local response normalization, cropping."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tigon import sym
from tigon.contrib.caffe.layers.record import ANY, Blob, Layer, Shape, layer

MOST_AXES = 3


def _spatial(layer: Layer, field: str, ndim: int, default: int | None) -> Shape:
    """A setting for each spatial axis: given once for all, for each, or as `_h` and `_w`."""
    param = layer.param
    name = field.removesuffix("_size")
    given = getattr(param, field)
    if not isinstance(given, list):
        given = [given] if param.has(field) else []
    if f"{name}_h" in param.of_type.by_name and (param.has(f"{name}_h") or param.has(f"{name}_w")):
        layer.check(
            ndim == 2 and not given,
            f"{name}_h and {name}_w are for two spatial axes, without {field}",
            f"{name}_h",
        )
        given = [getattr(param, f"{name}_h"), getattr(param, f"{name}_w")]
    given = [default] if not given and default is not None else given
    layer.check(
        len(given) in (1, ndim),
        f"{field}: expected one number, or one for each of {ndim} spatial axes; given {given}",
        field,
    )
    least = 0 if name == "pad" else 1
    layer.check(
        all(extent >= least for extent in given),
        f"{field}: expected numbers from {least} on; given {given}",
        field,
    )
    return tuple(given * ndim if len(given) == 1 else given)


def _geometry(layer: Layer) -> tuple[dict[str, Any], list[int]]:
    """What both kinds of convolution say about spatial axes, and how far a kernel reaches along
    each."""
    param, shape = layer.param, layer.bottoms[0].shape
    layer.same_shapes()
    layer.check(
        len(shape) <= MOST_AXES + 2,
        f"expected a bottom of 3 to {MOST_AXES + 2} axes (batch, channels, spatial); given {shape}",
        "bottom",
    )
    axis = layer.axis("axis", len(shape))
    layer.check(axis == 1, f"axis: expected channels at axis 1; given {axis}", "axis")
    layer.check(
        len(layer.bottoms) == len(layer.tops),
        f"expected as many tops as bottoms; given {len(layer.tops)} and {len(layer.bottoms)}",
        "top",
    )
    ndim, outputs, group = len(shape) - 2, param.num_output, param.group
    layer.check(outputs > 0, f"num_output: expected 1 or more; given {outputs}", "num_output")
    layer.check(
        group > 0 and shape[1] % group == 0 and outputs % group == 0,
        f"group: expected a divisor of {shape[1]} channels and {outputs} outputs; given {group}",
        "group",
    )
    kernel = _spatial(layer, "kernel_size", ndim, None)
    stride, pad = _spatial(layer, "stride", ndim, 1), _spatial(layer, "pad", ndim, 0)
    dilation = _spatial(layer, "dilation", ndim, 1)
    fields = {
        "kernel": kernel,
        "stride": stride,
        "pad": pad,
        "dilate": dilation,
        "num_filter": outputs,
        "num_group": group,
        "no_bias": not param.bias_term,
    }
    return fields, [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]


def _weights(layer: Layer, weight: Shape, outputs: int) -> list[Any]:
    arrays = [layer.array("weight", weight, layer.param.weight_filler)]
    if layer.param.bias_term:
        arrays.append(layer.array("bias", (outputs,), layer.param.bias_filler))
    return arrays


def _each(layer: Layer, op: Any, arrays: list[Any], shape: Shape, fields: Any) -> list[Blob]:
    """The same arrays for each bottom."""
    found = []
    for number, bottom in enumerate(layer.bottoms):
        name = layer.name if len(layer.bottoms) == 1 else f"{layer.name}_{number}"
        found.append(Blob(op(bottom.symbol, *arrays, name=name, **fields), shape))
    return found


@layer(
    "Convolution",
    "`Convolution`",
    param="convolution_param",
    bottoms=(1, ANY),
    tops=(1, ANY),
    least_axes=3,
)
def convolve(layer: Layer) -> Sequence[Blob]:
    batch, channels, *spatial = layer.bottoms[0].shape
    fields, reach = _geometry(layer)
    kernel, outputs = fields["kernel"], fields["num_filter"]
    extents = []
    for size, k, s, p in zip(spatial, reach, fields["stride"], fields["pad"], strict=True):
        layer.check(
            size + 2 * p >= k,
            f"a kernel spans {k} elements, but the axis has {size} and padding {p} on either side",
            "kernel_size",
        )
        extents.append((size + 2 * p - k) // s + 1)  # rounded down, unlike pooling
    arrays = _weights(layer, (outputs, channels // fields["num_group"], *kernel), outputs)
    return _each(layer, sym.Convolution, arrays, (batch, outputs, *extents), fields)


@layer(
    "Deconvolution",
    "`Deconvolution`",
    param="convolution_param",
    bottoms=(1, ANY),
    tops=(1, ANY),
    least_axes=3,
)
def deconvolve(layer: Layer) -> Sequence[Blob]:
    batch, channels, *spatial = layer.bottoms[0].shape
    fields, reach = _geometry(layer)
    kernel, outputs = fields["kernel"], fields["num_filter"]
    rows = zip(spatial, reach, fields["stride"], fields["pad"], strict=True)
    extents = tuple(s * (size - 1) + k - 2 * p for size, k, s, p in rows)
    layer.check(
        all(extent > 0 for extent in extents), f"pad: nothing is left: {extents} elements", "pad"
    )
    arrays = _weights(layer, (channels, outputs // fields["num_group"], *kernel), outputs)
    return _each(layer, sym.Deconvolution, arrays, (batch, outputs, *extents), fields)


@layer("Pooling", "`Pooling`, rounded up and clipped", param="pooling_param")
def pool(layer: Layer) -> Sequence[Blob]:
    param, shape = layer.param, layer.bottoms[0].shape
    layer.check(
        len(shape) == 4,
        f"expected a bottom of 4 axes (batch, channels, height, width); given {shape}",
        "bottom",
    )
    layer.check(param.pool != "STOCHASTIC", "pool: STOCHASTIC is not read; use MAX or AVE", "pool")
    kind = {"MAX": "max", "AVE": "avg"}[param.pool]
    if param.global_pooling:
        layer.check(
            not any(param.has(f) for f in ("kernel_size", "kernel_h", "kernel_w")),
            "global_pooling takes the size of the bottom; leave the kernel out",
            "global_pooling",
        )
        pooled = sym.Pooling(
            layer.bottoms[0].symbol, global_pool=True, pool_type=kind, name=layer.name
        )
        return [Blob(pooled, (*shape[:2], 1, 1))]
    kernel = _spatial(layer, "kernel_size", 2, None)
    stride, pad = _spatial(layer, "stride", 2, 1), _spatial(layer, "pad", 2, 0)
    layer.check(
        all(p < k for p, k in zip(pad, kernel, strict=True)),
        f"pad: expected less than the kernel, {kernel}; given {pad}",
        "pad",
    )
    extents, hangs_over = [], False
    for size, k, s, p in zip(shape[2:], kernel, stride, pad, strict=True):
        is_down = param.round_mode == "FLOOR"
        count = ((size + 2 * p - k) // s if is_down else -(-(size + 2 * p - k) // s)) + 1
        layer.check(
            count > 0,
            f"a window spans {k} elements, but the axis has {size} and padding {p} on either side",
            "kernel_size",
        )
        hangs_over |= not is_down and (p > 0 or s > k or size < k)
        extents.append(count - 1 if (count - 1) * s >= size + p else count)
    # MXNet's `full` is the same as long as no window would begin behind the data.
    convention = "clipped" if hangs_over else "full"
    pooled = sym.Pooling(
        layer.bottoms[0].symbol,
        kernel=kernel,
        stride=stride,
        pad=pad,
        pool_type=kind,
        pooling_convention="valid" if param.round_mode == "FLOOR" else convention,
        name=layer.name,
    )
    return [Blob(pooled, (*shape[:2], *extents))]


@layer("LRN", "`LRN`; within channels, averages by `Pooling`", param="lrn_param")
def normalize_locally(layer: Layer) -> Sequence[Blob]:
    param, bottom = layer.param, layer.bottoms[0]
    size = param.local_size
    layer.check(size % 2 == 1, f"local_size: expected an odd number; given {size}", "local_size")
    layer.check(
        len(bottom.shape) == 4,
        f"expected a bottom of 4 axes (batch, channels, height, width); given {bottom.shape}",
        "bottom",
    )
    if param.norm_region == "ACROSS_CHANNELS":
        normed = sym.LRN(
            bottom.symbol,
            alpha=param.alpha,
            beta=param.beta,
            knorm=param.k,
            nsize=size,
            name=layer.name,
        )
        return [Blob(normed, bottom.shape)]
    # Averages over windows that are all of one size: the border counts. `k` is not used here.
    mean = sym.Pooling(
        sym.square(bottom.symbol),
        kernel=(size, size),
        pad=(size // 2, size // 2),
        pool_type="avg",
    )
    scale = (1.0 + param.alpha * mean) ** -param.beta
    return [Blob(sym.broadcast_mul(bottom.symbol, scale, name=layer.name), bottom.shape)]


@layer("Crop", "`slice_axis`, `slice_like`", param="crop_param", bottoms=2)
def crop(layer: Layer) -> Sequence[Blob]:
    (symbol, shape), (reference, wanted) = layer.bottoms
    axis = layer.axis("axis", len(shape))
    layer.check(
        len(wanted) == len(shape),
        f"expected bottoms of as many axes; given {shape} and {wanted}",
        "bottom",
    )
    axes, offsets = range(axis, len(shape)), layer.param.offset or [0]
    layer.check(
        len(offsets) in (1, len(axes)),
        f"offset: expected one number, or one for each of {len(axes)} axes; given {offsets}",
        "offset",
    )
    offsets = offsets * len(axes) if len(offsets) == 1 else offsets
    for a, offset in zip(axes, offsets, strict=True):
        layer.check(
            offset + wanted[a] <= shape[a],
            f"offset: axis {a} has {shape[a]} elements; {wanted[a]} from {offset} on are wanted",
            "offset",
        )
        if offset:
            symbol = sym.slice_axis(symbol, axis=a, begin=offset, end=None)
    cropped = sym.slice_like(symbol, sym.BlockGrad(reference), axes=tuple(axes), name=layer.name)
    return [Blob(cropped, (*shape[:axis], *wanted[axis:]))]


@layer("MVN", "`mean`, `square`, `sqrt`", param="mvn_param")
def normalize_mean_and_variance(layer: Layer) -> Sequence[Blob]:
    param, (symbol, shape) = layer.param, layer.bottoms[0]
    axes = tuple(range(1 if param.across_channels else 2, len(shape)))
    layer.check(
        axes and prod(shape), f"expected a bottom of 3 axes or more; given {shape}", "bottom"
    )
    centred = sym.broadcast_sub(symbol, sym.mean(symbol, axis=axes, keepdims=True))
    if not param.normalize_variance:
        return [Blob(sym.identity(centred, name=layer.name), shape)]
    variance = sym.mean(sym.square(centred), axis=axes, keepdims=True)
    return [
        Blob(sym.broadcast_div(centred, sym.sqrt(variance) + param.eps, name=layer.name), shape)
    ]
