"""What is done with bytes number by number, as tables: a channel has 256 of them.

The operators themselves fill a table, so that what is looked up is theirs to the bit; and a look-up
costs less than a division."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tigon import _native
from tigon.nd import NDArray, from_numpy
from tigon.nd.views import host


def table_of(change: Callable[[NDArray], NDArray], channels: int) -> np.ndarray:
    """What becomes of each byte of each channel: (channels, 256). `change` takes an image of uint8
    (height, width, channels), and gives it channels first.

    >>> table_of(lambda image: image.transpose((2, 0, 1)) * 2, 1)[0, :3].tolist()
    [0, 2, 4]
    """
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], channels, axis=2)
    return np.ascontiguousarray(host(change(from_numpy(every)))[:, :, 0])


def look_up(image: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """Write to `out` (channels, height, width) what becomes of an image of uint8 (height, width,
    channels), which may be a view, turned around say."""
    if image.shape[2] > 1 and image.strides[2] != 1:
        image = np.ascontiguousarray(image)
    _native.look_up_bytes(image, table, out)
