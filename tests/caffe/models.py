"""Files of the tests' own: caffemodels of each generation, and texts that are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.readers.encode import content, numbers, varint

Layers = Mapping[str, Sequence[np.ndarray]]


def blob(array: np.ndarray, old_shape: bool = False) -> bytes:
    """A `BlobProto`; its shape as four extents of old, with leading ones, if asked for."""
    data = numbers(8 if array.dtype == np.float64 else 5, array)
    if old_shape:
        extents = (1,) * (4 - array.ndim) + array.shape
        return b"".join(varint(n << 3) + varint(e) for n, e in enumerate(extents, 1)) + data
    return content(7, content(1, b"".join(map(varint, array.shape)))) + data


def caffemodel(layers: Layers, generation: int = 2, old_shape: bool = False) -> bytes:
    """A `NetParameter` with the arrays of layers."""
    parts = []
    for name, arrays in layers.items():
        blobs = [blob(array, old_shape) for array in arrays]
        if generation == 2:
            own = content(1, name.encode()) + b"".join(content(7, one) for one in blobs)
            parts.append(content(100, own))
            continue
        if generation == 1:
            own = content(4, name.encode()) + b"".join(content(6, one) for one in blobs)
        else:
            inner = content(1, name.encode()) + b"".join(content(50, one) for one in blobs)
            own = content(1, inner)
        parts.append(content(2, own))
    return b"".join(parts)


def refusals(name: str) -> list[tuple[str, str]]:
    """Texts of a file beside this one, each with the error that it raises."""
    _, *cases = (Path(__file__).parent / name).read_text().split("====\n")
    pairs = [case.split("----\n") for case in cases]
    return [(text, wanted.rstrip("\n")) for text, wanted in pairs]
