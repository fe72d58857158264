"""Resizing: each number is a weighted sum of a few of the image's, along one axis after the other.

Pixels are squares: the middle of the first is half a pixel from the edge, in both sizes. Beyond the
edge the last pixel goes on.

Weights are computed here. Images of uint8 and float32 are summed by native code, in the order and
with the roundings of `_along`, which sums those of other dtypes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check

NEAREST, BILINEAR, BICUBIC, AREA, LANCZOS = range(5)


def resample(where: str, image: np.ndarray, width: int, height: int, how: int) -> np.ndarray:
    """The image (height, width, channels) in another size, of its dtype; integers are rounded."""
    check(
        width > 0 and height > 0,
        where,
        f"expected a positive width and height; given {width} and {height}",
    )
    old_height, old_width = image.shape[:2]
    if (old_height, old_width) == (height, width):
        return image
    check(
        image.dtype != np.bool_ or how == NEAREST,
        where,
        "expected numbers; given bool: cast it first, or take the nearest pixel (interp=0)",
    )
    if how == NEAREST:
        rows = np.arange(height, dtype=np.int64) * old_height // height
        columns = np.arange(width, dtype=np.int64) * old_width // width
        if image.dtype.isbuiltin != 1:  # numpy gives no buffer of bfloat16
            return image[rows][:, columns]
        found = np.empty((height, width, image.shape[2]), image.dtype)
        _native.pick_pixels(_rows_of_pixels(image), rows, columns, found)
        return found
    if image.dtype in (np.uint8, np.float32):
        found = np.empty((height, width, image.shape[2]), image.dtype)
        taps = [
            None if old == size else _taps(old, size, how)
            for old, size in ((old_height, height), (old_width, width))
        ]
        _native.resample_image(_rows_of_pixels(image), *taps, found)
        return found
    found = image
    for axis, size in ((0, height), (1, width)):  # rows first: they are moved as they are
        found = _along(found, axis, size, how)
    if image.dtype.kind not in "iu":  # bfloat16 has a kind of its own
        return found.astype(image.dtype, copy=False)
    limits = np.iinfo(image.dtype)
    found += 0.5
    np.floor(found, out=found)
    return np.clip(found, limits.min, limits.max, out=found).astype(image.dtype)


def _rows_of_pixels(image: np.ndarray) -> np.ndarray:
    """The image, or a copy if a row's pixels do not lie side by side."""
    pixel = image.shape[2] * image.itemsize
    if image.strides[1:] == (pixel, image.itemsize):
        return image
    return np.ascontiguousarray(image)


@lru_cache(64)  # images of a data set have few sizes
def _taps(old: int, size: int, how: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel of each new one (size,), and the weights in float32 of those from there on
    (taps, size)."""
    low, taps, weights = _weights(old, size, how)
    return low + taps[0], weights.astype(np.float32)


def _along(image: np.ndarray, axis: int, size: int, how: int) -> np.ndarray:
    """Sums along an axis, in float32 at least."""
    old = image.shape[axis]
    if old == size:
        return image
    low, taps, weights = _weights(old, size, how)
    shape = [size if i == axis else 1 for i in range(image.ndim)]
    dtype = np.result_type(image.dtype, np.float32)  # float64 for integers of 32 bits and more
    total: Any = None
    for tap, one in zip(taps, weights.astype(dtype), strict=True):
        taken = np.take(image, low + tap, axis, mode="clip")
        part = np.multiply(taken, one.reshape(shape), dtype=dtype)
        total = part if total is None else np.add(total, part, out=total)
    return total


def _weights(old: int, size: int, how: int) -> tuple[np.ndarray, range, np.ndarray]:
    """For each new pixel one of the old ones, which others are looked at from there, and the weight
    of each."""
    if how == AREA and size < old:
        low, taps, weights = _covered(old, size)
    else:
        taps, weight = _KERNELS[BILINEAR if how == AREA else how]
        places = (np.arange(size) + 0.5) * (old / size) - 0.5
        low = np.floor(places).astype(np.int64)
        weights = np.stack([weight(places - low - tap) for tap in taps])
    return low, taps, weights / weights.sum(0)


def _covered(old: int, size: int) -> tuple[np.ndarray, range, np.ndarray]:
    """The first pixel that each new one covers, those from there on, and the part of each."""
    edges = np.arange(size + 1) * (old / size)
    low = np.floor(edges[:-1]).astype(np.int64)
    taps = range(-(-old // size) + 1)
    weights = np.stack(
        [np.minimum(edges[1:], low + tap + 1) - np.maximum(edges[:-1], low + tap) for tap in taps]
    )
    return low, taps, weights.clip(0, None)


def _linear(distance: np.ndarray) -> np.ndarray:
    return 1 - np.abs(distance)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys (1981) with the slope -3/4."""
    x, slope = np.abs(distance), -0.75
    near = ((slope + 2) * x - (slope + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * slope - 4 * slope
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _lanczos(distance: np.ndarray) -> np.ndarray:
    return np.where(np.abs(distance) < 4, np.sinc(distance) * np.sinc(distance / 4), 0.0)


_KERNELS: dict[int, tuple[range, Callable[[np.ndarray], np.ndarray]]] = {
    BILINEAR: (range(0, 2), _linear),
    BICUBIC: (range(-1, 3), _cubic),
    LANCZOS: (range(-3, 5), _lanczos),
}
