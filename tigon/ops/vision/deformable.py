"""Convolutions that read where they are told to: each element of each window at a place of its own
(Dai et al. 2017; with weights, Zhu et al. 2019)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.frozen import Frozen
from tigon.ops.nn._shared import Windows, channels_last
from tigon.ops.primitive.arithmetic import add, maximum, minimum
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import greater_equal, lesser
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Work, composite
from tigon.ops.tensor.matmul import matmul
from tigon.ops.tensor.slice import slice_axis
from tigon.ops.vision.spatial import bilinear, bilinear_oracle
from tigon.ops.vision.suppression import all_of


class DeformableAttrs(Frozen, kw_only=True):
    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_group: int = 1
    num_deformable_group: int = 1
    workspace: int = 1024
    no_bias: bool = False
    layout: str | None = None


class ModulatedAttrs(DeformableAttrs, kw_only=True):
    im2col_step: int = 64


def _geometry(where: str, attrs: DeformableAttrs, data: TensorType) -> tuple[Windows, Any]:
    check(
        data.ndim == 4 and len(attrs.kernel) == 2,
        where,
        "data: expected shape (batch, channels, height, width), and a kernel of two axes; given "
        f"{data.shape} and {attrs.kernel}",
    )
    check(
        not channels_last(where, attrs.layout, 2),
        where,
        f"layout: expected 'NCHW'; given '{attrs.layout}'; transpose the operands",
    )
    geometry = Windows.of(where, attrs.kernel, attrs.stride, attrs.dilate, attrs.pad)
    return geometry, geometry.extents(where, data.shape[2:])


def _shapes(where: str, attrs: DeformableAttrs, data: TensorType) -> dict[str, tuple[int, ...]]:
    """Of all operands, as they must be for this data."""
    _, extents = _geometry(where, attrs, data)
    batch, channels = data.shape[:2]
    for name in ("num_group", "num_deformable_group"):
        groups = getattr(attrs, name)
        check(
            groups > 0 and channels % groups == 0,
            where,
            f"{name}: expected a divisor of the {channels} channels of data; given {groups}",
        )
    check(
        attrs.num_filter > 0 and attrs.num_filter % attrs.num_group == 0,
        where,
        f"num_filter: expected a multiple of num_group, {attrs.num_group}; given "
        f"{attrs.num_filter}",
    )
    places = attrs.num_deformable_group * prod(attrs.kernel)
    return {
        "data": data.shape,
        "offset": (batch, 2 * places, *extents),
        "mask": (batch, places, *extents),
        "weight": (attrs.num_filter, channels // attrs.num_group, *attrs.kernel),
        "bias": (attrs.num_filter,),
    }


def _present(attrs: DeformableAttrs) -> tuple[str, ...]:
    names = ["data", "offset", "weight"]
    if isinstance(attrs, ModulatedAttrs):
        names.insert(2, "mask")
    return tuple(names if attrs.no_bias else [*names, "bias"])


def _infer(where: str) -> Any:
    def infer(attrs: DeformableAttrs, *types: TensorType) -> TensorType:
        shapes = _shapes(where, attrs, types[0])
        names = _present(attrs)
        check(
            len(types) == len(names),
            where,
            f"expected operands {', '.join(names)}, since no_bias is {attrs.no_bias}; given "
            f"{len(types)} of them",
        )
        for name, type_ in zip(names, types, strict=True):
            check(
                type_.shape == shapes[name],
                where,
                f"{name}: expected shape {shapes[name]} for data {types[0].shape}, kernel "
                f"{attrs.kernel}, num_filter {attrs.num_filter}, num_group {attrs.num_group} and "
                f"num_deformable_group {attrs.num_deformable_group}; given {type_.shape}",
            )
        extents = shapes["offset"][2:]
        return TensorType((types[0].shape[0], attrs.num_filter, *extents), types[0].dtype)

    return infer


def _infer_operands(where: str) -> Any:
    def infer_operands(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
        data = types[0]
        if data is None or data.ndim != 4:
            return types
        shapes = _shapes(where, attrs, data)
        names = _present(attrs)
        found = [
            given or TensorType(shapes[name], data.dtype)
            for name, given in zip(names, types, strict=False)
        ]
        return [*found, *types[len(found) :]]

    return infer_operands


def _decompose(where: str) -> Any:
    def decompose(attrs: DeformableAttrs, data: Any, offset: Any, *rest: Any) -> Any:
        given = dict(zip(_present(attrs)[2:], rest, strict=True))
        geometry, extents = _geometry(where, attrs, data.type)
        batch, channels, height, width = data.shape
        groups, elements = attrs.num_deformable_group, prod(attrs.kernel)
        points = elements * prod(extents)
        pictures = _reshape(data, shape=(batch * groups, channels // groups, height, width))
        y, x = _places(attrs, geometry, extents, offset)
        found = _read(pictures, x, y, outside=isinstance(attrs, ModulatedAttrs))
        if "mask" in given:
            found = found * _reshape(given["mask"], shape=(batch * groups, 1, points))
        rows = channels // attrs.num_group * elements
        columns = _reshape(found, shape=(batch, attrs.num_group, rows, prod(extents)))
        filters = attrs.num_filter // attrs.num_group
        weight = _reshape(given["weight"], shape=(1, attrs.num_group, filters, rows))
        result = _reshape(matmul(weight, columns), shape=(batch, attrs.num_filter, *extents))
        if attrs.no_bias:
            return result
        return add(result, _reshape(given["bias"], shape=(1, attrs.num_filter, 1, 1)))

    return decompose


def _places(
    attrs: DeformableAttrs, geometry: Windows, extents: tuple[int, ...], offset: Any
) -> list[Any]:
    """Rows and columns that are read: (batch · groups, elements of the kernel · windows)."""
    batch, groups = offset.shape[0], attrs.num_deformable_group
    dtype = offset.dtype.name
    whole = (batch * groups, *attrs.kernel, 2, *extents)
    moved = _reshape(offset, shape=whole)
    found = []
    for axis in (0, 1):
        own = slice_axis(moved, axis=3, begin=axis, end=axis + 1)
        element = _line(6, 1 + axis, attrs.kernel[axis], dtype) * geometry.dilate[axis]
        window = _line(6, 4 + axis, extents[axis], dtype) * geometry.stride[axis]
        place = own + (element + window - geometry.pad[axis])
        found.append(_reshape(place, shape=(batch * groups, prod(attrs.kernel) * prod(extents))))
    return found


def _line(ndim: int, axis: int, extent: int, dtype: str) -> Any:
    shape = tuple(extent if i == axis else 1 for i in range(ndim))
    return cast(_iota(shape=shape, axis=axis, dtype="int32"), dtype=dtype)


def _read(pictures: Any, x: Any, y: Any, outside: bool) -> Any:
    """What is read at real places: 0 outside of the picture. Up to a pixel `outside` of it what is
    between the border and 0, or else nothing; and then the last pixel reaches to its far side."""
    if outside:
        return bilinear(pictures, x, y)
    height, width = pictures.shape[2:]
    inside = all_of(greater_equal(x, 0), lesser(x, width), greater_equal(y, 0), lesser(y, height))
    found = bilinear(
        pictures, minimum(maximum(x, 0), width - 1), minimum(maximum(y, 0), height - 1)
    )
    return select(_reshape(inside, shape=(x.shape[0], 1, x.shape[1])), found, 0)


def _oracle(data: np.ndarray, offset: np.ndarray, *rest: np.ndarray, **fields: Any) -> Any:
    attrs = (ModulatedAttrs if "im2col_step" in fields else DeformableAttrs)(**fields)
    modulated = isinstance(attrs, ModulatedAttrs)
    given = dict(zip(_present(attrs)[2:], rest, strict=True))
    geometry, extents = _geometry("", attrs, TensorType(data.shape, None))  # type: ignore[arg-type]
    batch, channels, height, width = data.shape
    groups, elements = attrs.num_deformable_group, prod(attrs.kernel)
    columns = np.zeros((batch, channels, elements, *extents), data.dtype)
    moved = offset.reshape(batch, groups, elements, 2, *extents)
    mask = given["mask"].reshape(batch, groups, elements, *extents) if modulated else None
    own = channels // groups
    for n, g, e, i, j in np.ndindex(batch, groups, elements, *extents):
        row, column = divmod(e, attrs.kernel[1])
        y = i * geometry.stride[0] - geometry.pad[0] + row * geometry.dilate[0]
        x = j * geometry.stride[1] - geometry.pad[1] + column * geometry.dilate[1]
        y, x = y + moved[n, g, e, 0, i, j], x + moved[n, g, e, 1, i, j]
        if not modulated:
            if not (0 <= y < height and 0 <= x < width):
                continue
            y, x = min(y, height - 1), min(x, width - 1)
        part = data[n : n + 1, g * own : (g + 1) * own]
        place = np.array([[x]], data.dtype), np.array([[y]], data.dtype)
        value = bilinear_oracle(part, *place)[0, :, 0]
        scale = 1 if mask is None else mask[n, g, e, i, j]
        columns[n, g * own : (g + 1) * own, e, i, j] = value * scale
    rows = channels // attrs.num_group * elements
    split = columns.reshape(batch, attrs.num_group, rows, prod(extents))
    weight = given["weight"].reshape(attrs.num_group, attrs.num_filter // attrs.num_group, rows)
    result = np.einsum("gfr,ngrp->ngfp", weight, split)
    result = result.reshape(batch, attrs.num_filter, *extents).astype(data.dtype)
    return result if attrs.no_bias else result + given["bias"].reshape(1, -1, 1, 1)


_TWO = {"kernel": (2, 2), "num_filter": 4, "num_group": 2, "num_deformable_group": 2}
_WIDE = {"kernel": (3, 2), "num_filter": 3, "stride": (2, 1), "pad": (1, 1), "dilate": (1, 2)}

_PARAMETERS = """`weight` (num_filter, channels / num_group, *kernel), `bias` (num_filter,), absent
    under `no_bias`; `kernel`, `num_filter`, `stride`, `dilate`, `pad`, `num_group` as of
    `Convolution`; `num_deformable_group` parts of the channels, each with places of its own."""

deformable_convolution = composite(
    "_contrib_DeformableConvolution",
    _decompose("DeformableConvolution"),
    operands="data offset weight bias?",
    attrs=DeformableAttrs,
    infer=_infer("DeformableConvolution"),
    infer_operands=_infer_operands("DeformableConvolution"),
    present=_present,
    dtypes="f",
    work=Work.PRODUCT,
    numpy=_oracle,
    tolerance={"float32": 2e-5},
    samples=(
        ((2, 2, 5, 4), (2, 12, 3, 4), (3, 2, 3, 2), (3,), _WIDE),
        ((1, 4, 3, 3), (1, 16, 2, 2), (4, 2, 2, 2), {**_TWO, "no_bias": True}),
        ((0, 2, 3, 3), (0, 8, 2, 2), (1, 2, 2, 2), (1,), {"kernel": (2, 2), "num_filter": 1}),
    ),
    doc=f"""A convolution over pictures, each element of whose windows is read at a place of its
    own, bilinearly between pixels, 0 outside of the picture (Dai et al. 2017).

    Parameters: `data` (batch, channels, height, width); `offset` (batch, num_deformable_group ·
    elements of the kernel · 2, height, width), of each element at each result how far down and how
    far to the right of its place it is read; {_PARAMETERS}

    >>> x = nd.reshape(nd.arange(9), shape=(1, 1, 3, 3))
    >>> nd.contrib.DeformableConvolution(x, nd.ones((1, 2, 3, 3)) * 0.5, nd.ones((1, 1, 1, 1)),
    ...     kernel=(1, 1), num_filter=1, no_bias=True).asnumpy()[0, 0]
    array([[2. , 3. , 3.5],
           [5. , 6. , 6.5],
           [6.5, 7.5, 8. ]], dtype=float32)
    """,
)

modulated_deformable_convolution = composite(
    "_contrib_ModulatedDeformableConvolution",
    _decompose("ModulatedDeformableConvolution"),
    operands="data offset mask weight bias?",
    attrs=ModulatedAttrs,
    infer=_infer("ModulatedDeformableConvolution"),
    infer_operands=_infer_operands("ModulatedDeformableConvolution"),
    present=_present,
    dtypes="f",
    work=Work.PRODUCT,
    numpy=_oracle,
    tolerance={"float32": 2e-5},
    samples=(
        ((2, 2, 5, 4), (2, 12, 3, 4), (2, 6, 3, 4), (3, 2, 3, 2), (3,), _WIDE),
        (
            (1, 4, 3, 3),
            (1, 16, 2, 2),
            (1, 8, 2, 2),
            (4, 2, 2, 2),
            {**_TWO, "no_bias": True},
        ),
    ),
    doc=f"""A convolution over pictures, each element of whose windows is read at a place of its own
    and has a weight there (Zhu et al. 2019). Outside of the picture it reads 0, bilinearly too.

    Parameters: `data` (batch, channels, height, width); `offset` (batch, num_deformable_group ·
    elements of the kernel · 2, height, width), of each element at each result how far down and how
    far to the right of its place it is read; `mask` (batch, num_deformable_group · elements,
    height, width), what it is multiplied with; {_PARAMETERS}

    >>> x = nd.reshape(nd.arange(4), shape=(1, 1, 2, 2))
    >>> nd.contrib.ModulatedDeformableConvolution(
    ...     x, nd.zeros((1, 2, 2, 2)), nd.ones((1, 1, 2, 2)) * 0.5, nd.ones((1, 1, 1, 1)),
    ...     kernel=(1, 1), num_filter=1, no_bias=True).asnumpy()[0, 0]
    array([[0. , 0.5],
           [1. , 1.5]], dtype=float32)
    """,
)
