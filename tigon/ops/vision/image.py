"""Pictures as arrays: (height, width, channels), or batches of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import lesser
from tigon.ops.primitive.random import KEY_SAMPLE
from tigon.ops.primitive.view import _slice, transpose
from tigon.ops.record import Operator, composite
from tigon.ops.tensor.random import _unit_oracle, unit_interval
from tigon.ops.tensor.slice import flip


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
