"""What convolutions and their gradients are in numpy: loops over groups and kernel places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon.base.types import Shape


def _full_fields(fields: dict[str, Any]) -> tuple[Shape, Shape, Shape, Shape, int, bool]:
    kernel = fields["kernel"]
    n = len(kernel)
    stride = fields["stride"] or (1,) * n
    dilate = fields["dilate"] or (1,) * n
    pad = fields["pad"] or (0,) * n
    last = fields["layout"] in ("NWC", "NHWC", "NDHWC")
    return kernel, stride, dilate, pad, fields["num_group"], last


def _first(array: np.ndarray, last: bool) -> np.ndarray:
    return np.moveaxis(array, -1, 1) if last else array


def _places(
    kernel: Shape, stride: Shape, dilate: Shape, extents: Shape
) -> Iterator[tuple[Shape, tuple[slice, ...]]]:
    """For each place in the kernel: the slices of the padded input that it meets."""
    for place in np.ndindex(*kernel):
        yield (
            place,
            tuple(
                slice(k * d, k * d + s * (e - 1) + 1, s)
                for k, d, s, e in zip(place, dilate, stride, extents, strict=True)
            ),
        )


def convolution_oracle(
    data: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, **fields: Any
) -> np.ndarray:
    """By loops over groups and places in the kernel."""
    kernel, stride, dilate, pad, groups, last = _full_fields(fields)
    x, w = _first(data, last), _first(weight, last)
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    extents = tuple(
        (size - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(x.shape[2:], kernel, dilate, stride, strict=True)
    )
    filters, channels = w.shape[:2]
    y = np.zeros((x.shape[0], filters, *extents), data.dtype)
    for f in range(filters):
        first = f // (filters // groups) * channels
        for place, where in _places(kernel, stride, dilate, extents):
            for c in range(channels):
                seen, tap = (slice(None), first + c, *where), (f, c, *place)
                y[:, f] += x[seen] * w[tap]
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(kernel))
    return np.moveaxis(y, 1, -1) if last else y


def data_oracle(
    g: np.ndarray, weight: np.ndarray, like: np.ndarray | None = None, **fields: Any
) -> np.ndarray:
    kernel, stride, dilate, pad, groups, last = _full_fields(fields)
    y, w = _first(g, last), _first(weight, last)
    size = fields["size"] if like is None else _first(like, last).shape[2:]
    filters, channels = w.shape[:2]
    padded = tuple(
        # Windows may stop short of the end, or reach beyond it in a Deconvolution.
        max(n + 2 * p, (e - 1) * s + (k - 1) * d + 1)
        for n, p, e, s, k, d in zip(size, pad, y.shape[2:], stride, kernel, dilate, strict=True)
    )
    x = np.zeros((y.shape[0], channels * groups, *padded), g.dtype)
    for f in range(filters):
        first = f // (filters // groups) * channels
        for place, where in _places(kernel, stride, dilate, y.shape[2:]):
            for c in range(channels):
                seen, tap = (slice(None), first + c, *where), (f, c, *place)
                x[seen] += y[:, f] * w[tap]
    inside = tuple(slice(p, p + n) for p, n in zip(pad, size, strict=True))
    whole = (slice(None), slice(None), *inside)
    x = x[whole]
    return np.moveaxis(x, 1, -1) if last else x


def weight_oracle(data: np.ndarray, g: np.ndarray, **fields: Any) -> np.ndarray:
    kernel, stride, dilate, pad, groups, last = _full_fields(fields)
    x, y = _first(data, last), _first(g, last)
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pad)))
    filters, channels = y.shape[1], x.shape[1] // groups
    w = np.zeros((filters, channels, *kernel), data.dtype)
    for f in range(filters):
        first = f // (filters // groups) * channels
        for place, where in _places(kernel, stride, dilate, y.shape[2:]):
            for c in range(channels):
                seen, tap = (slice(None), first + c, *where), (f, c, *place)
                w[tap] = (x[seen] * y[:, f]).sum()
    return np.moveaxis(w, 1, -1) if last else w
