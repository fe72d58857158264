"""Pictures as arrays: (height, width, channels), or batches of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.arithmetic import floor, floor_divide
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import lesser
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.gather import _take
from tigon.ops.primitive.random import KEY_SAMPLE
from tigon.ops.primitive.view import _slice, transpose
from tigon.ops.record import Operator, composite
from tigon.ops.tensor.random import _unit_oracle, unit_interval
from tigon.ops.tensor.slice import flip
from tigon.ops.vision.resize import _resample


def _check_picture(where: str, x: Any) -> None:
    check(
        x.ndim in (3, 4),
        where,
        f"expected (height, width, channels) or a batch of these; given shape {x.shape}",
    )


def _decompose_to_tensor(data: Any) -> Any:
    _check_picture("image.to_tensor", data)
    axes = (2, 0, 1) if data.ndim == 3 else (0, 3, 1, 2)
    return cast(transpose(data, axes=axes), dtype="float32") / 255


to_tensor = composite(
    "_image_to_tensor",
    _decompose_to_tensor,
    numpy=lambda x: np.moveaxis(x, -1, -3).astype(np.float32) / np.float32(255),
    samples=(
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), {}),
        (np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1), {}),
        (np.zeros((0, 3, 4, 1), np.uint8), {}),
    ),
    doc="""A picture of numbers from 0 to 255, channels last, as float32 from 0 to 1, channels
    first.

    >>> nd.image.to_tensor(nd.array([[[0], [255]]], dtype="uint8")).asnumpy()
    array([[[0., 1.]]], dtype=float32)
    """,
)


class NormalizeAttrs(Frozen):
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def _per_channel(numbers: tuple[float, ...], data: Any) -> Any:
    channels = data.shape[-3]
    check(
        len(numbers) in (1, channels),
        "image.normalize",
        f"expected one number or one per channel ({channels}); given {numbers}",
    )
    return constant(np.array(numbers).reshape(-1, 1, 1), data.dtype.name)


def _decompose_normalize(attrs: NormalizeAttrs, data: Any) -> Any:
    check(
        data.ndim in (3, 4),
        "image.normalize",
        f"expected shape (channels, height, width) or a batch; given {data.shape}",
    )
    return (data - _per_channel(attrs.mean, data)) / _per_channel(attrs.std, data)


normalize = composite(
    "_image_normalize",
    _decompose_normalize,
    attrs=NormalizeAttrs,
    dtypes="f",
    numpy=lambda x, mean, std: (
        (x - np.array(mean, x.dtype).reshape(-1, 1, 1)) / np.array(std, x.dtype).reshape(-1, 1, 1)
    ),
    samples=(
        ((3, 2, 4), {"mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 0.5)}),
        ((2, 3, 2, 2), {"mean": 0.5, "std": 2.0}),
    ),
    doc="""Each channel less its mean, divided by its standard deviation.

    Parameters: `mean` and `std`, one number or one per channel (axis -3).

    >>> nd.image.normalize(nd.array([[[1, 3]]]), mean=1, std=2).asnumpy()
    array([[[0., 1.]]], dtype=float32)
    """,
)


def _flip_axis(where: str, x: Any, place: int) -> Any:
    _check_picture(where, x)
    return flip(x, axis=(x.ndim - 3 + place,))


class RandomFlipAttrs(Frozen):
    p: float = 0.5
    ordinal: int = 0


def _flips(name: str, place: int, word: str, shows: str) -> tuple[Operator, Operator]:
    """The certain and the random form."""

    def always(data: Any) -> Any:
        return _flip_axis(f"image.{name}", data, place)

    def sometimes(attrs: RandomFlipAttrs, data: Any, key: Any) -> Any:
        chance = lesser(unit_interval(key, (), "float32", attrs.ordinal), attrs.p)
        return select(cast(chance, dtype=data.dtype.name), always(data), data)

    def turned(x: np.ndarray) -> Any:
        return np.flip(x, x.ndim - 3 + place).copy()

    def drawn(x: np.ndarray, key: np.ndarray, p: float, ordinal: int) -> Any:
        chance = _unit_oracle(key, (), "float32", ordinal) < np.float32(p)
        return turned(x) if chance else x.copy()

    certain = composite(
        f"_image_{name}",
        always,
        numpy=turned,
        samples=(((2, 3, 1), {}), ((2, 2, 3, 1), {})),
        doc=f"""The picture mirrored {word}.

    >>> nd.image.{name}(nd.array([[[1], [2]], [[3], [4]]])).asnumpy().ravel()
    array({shows}, dtype=float32)
    """,
    )
    random = composite(
        f"_image_random_{name}",
        sometimes,
        operands="data key%",
        attrs=RandomFlipAttrs,
        numpy=drawn,
        samples=(((2, 3, 1), KEY_SAMPLE, {}), ((2, 3, 1), KEY_SAMPLE, {"p": 0.99})),
        doc=f"""The picture mirrored {word} with probability `p` (default 0.5).

    >>> nd.image.random_{name}(nd.array([[[1], [2]], [[3], [4]]]), p=1).asnumpy().ravel()
    array({shows}, dtype=float32)
    """,
    )
    return certain, random


flip_left_right, random_flip_left_right = _flips(
    "flip_left_right", 1, "left to right", "[2., 1., 4., 3.]"
)
flip_top_bottom, random_flip_top_bottom = _flips(
    "flip_top_bottom", 0, "top to bottom", "[3., 4., 1., 2.]"
)


class CropAttrs(Frozen):
    x: int
    y: int
    width: int
    height: int


def _decompose_crop(attrs: CropAttrs, data: Any) -> Any:
    _check_picture("image.crop", data)
    lead = data.shape[:-3]
    height, width, channels = data.shape[-3:]
    check(
        attrs.x >= 0
        and attrs.y >= 0
        and 0 < attrs.width <= width - attrs.x
        and 0 < attrs.height <= height - attrs.y,
        "image.crop",
        f"{attrs.width} x {attrs.height} at ({attrs.x}, {attrs.y}) leaves {width} x {height}",
    )
    return _slice(
        data,
        start=(*(0,) * len(lead), attrs.y, attrs.x, 0),
        step=(1,) * data.ndim,
        extents=(*lead, attrs.height, attrs.width, channels),
    )


crop = composite(
    "_image_crop",
    _decompose_crop,
    attrs=CropAttrs,
    numpy=lambda data, x, y, width, height: data[..., y : y + height, x : x + width, :].copy(),
    samples=(
        ((4, 5, 3), {"x": 1, "y": 2, "width": 3, "height": 2}),
        ((2, 4, 5, 1), {"x": 0, "y": 0, "width": 5, "height": 1}),
    ),
    doc="""A part of a picture.

    Parameters: `x`, `y` its upper left corner, `width`, `height`.

    >>> nd.image.crop(nd.zeros((4, 5, 3)), x=1, y=2, width=3, height=2).shape
    (2, 3, 3)
    """,
)


class ResizeAttrs(Frozen):
    size: tuple[int, ...] = ()
    keep_ratio: bool = False
    interp: int = 1


def _resized_to(attrs: ResizeAttrs, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the result."""
    check(
        len(attrs.size) in (1, 2) and min(attrs.size) > 0,
        "image.resize",
        f"size: expected (width, height), or one number for both; given {attrs.size}",
    )
    check(
        attrs.interp in (0, 1),
        "image.resize",
        f"interp: expected 0 (the nearest pixel) or 1 (bilinear); given {attrs.interp}",
    )
    height, width = shape[-3:-1]
    check(
        height * width > 0,
        "image.resize",
        f"data: expected at least one pixel; given shape {shape}",
    )
    if len(attrs.size) == 2:
        return attrs.size[1], attrs.size[0]
    short = attrs.size[0]
    if not attrs.keep_ratio:
        return short, short
    # The shorter side has the size.
    return (height * short // width, short) if height > width else (short, width * short // height)


def _nearest(data: Any, axis: int, count: int) -> Any:
    size = data.shape[axis]
    places = floor_divide(_iota(shape=(count,)) * size, count)
    return _take(data, places, axis=axis)


def _decompose_resize(attrs: ResizeAttrs, data: Any) -> Any:
    _check_picture("image.resize", data)
    height, width = _resized_to(attrs, data.shape)
    axes = {data.ndim - 3: height, data.ndim - 2: width}
    if attrs.interp == 0:
        for axis, count in axes.items():
            data = _nearest(data, axis, count)
        return data
    found = data if data.dtype.is_float else cast(data, dtype="float32")
    for axis, count in axes.items():
        found = _resample(found, axis=axis, size=data.shape[axis], count=count, rule="edges")
    return found if data.dtype.is_float else cast(floor(found + 0.5), dtype=data.dtype.name)


def _resize_oracle(data: np.ndarray, **fields: Any) -> Any:
    attrs = ResizeAttrs(**fields)
    height, width = _resized_to(attrs, data.shape)
    found = data
    if data.dtype.kind != "f" and attrs.interp:
        found = data.astype(np.float32)
    for axis, count in ((data.ndim - 3, height), (data.ndim - 2, width)):
        size = data.shape[axis]
        if attrs.interp == 0:
            found = np.take(found, np.arange(count) * size // count, axis)
            continue
        places = ((np.arange(count) + 0.5) * (size / count) - 0.5).clip(0, size - 1)
        low = np.floor(places).astype(int)
        shape = [count if i == axis else 1 for i in range(data.ndim)]
        share = (places - low).astype(found.dtype).reshape(shape)
        high = np.minimum(low + 1, size - 1)
        found = np.take(found, low, axis) * (1 - share) + np.take(found, high, axis) * share
    if data.dtype.kind == "f" or attrs.interp == 0:
        return found.astype(data.dtype)
    return np.floor(found + np.float32(0.5)).astype(data.dtype)


resize = composite(
    "_image_resize",
    _decompose_resize,
    attrs=ResizeAttrs,
    dtypes="P",
    numpy=_resize_oracle,
    tolerance={"float32": 1e-5},
    samples=(
        ((3, 4, 2), {"size": (7, 5)}),
        ((2, 4, 3, 1), {"size": 6, "keep_ratio": True}),
        ((4, 6, 3), {"size": (3, 2), "interp": 0}),
        ((5, 4, 1), {"size": 3}),
        ((0, 4, 3, 1), {"size": 2}),
    ),
    doc="""A picture, or a batch of them, in another size; numbers of uint8 are rounded.

    Parameters: `size` (width, height), or one number for both; with `keep_ratio` that of the
    shorter side; `interp` 1 (default): bilinear, or 0: the nearest pixel.

    >>> nd.image.resize(nd.zeros((4, 6, 3)), size=(3, 2)).shape
    (2, 3, 3)
    >>> nd.image.resize(nd.array([[[0], [100]]]), size=(4, 1)).asnumpy().ravel()
    array([  0.,  25.,  75., 100.], dtype=float32)
    """,
)
