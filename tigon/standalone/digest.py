"""The digest of a file of weights, as `csrc/standalone/runtime.c` computes it."""

from __future__ import annotations

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_PART = 1 << 20


def digest(content: bytes | memoryview) -> tuple[int, int]:
    """Two sums over all words, each mixed with its place.

    >>> digest(b"") == (0, 0), digest(b"a") != digest(b"b")
    (True, True)
    """
    length = len(content)
    low, high = length, 0
    for begin in range(0, length, 8 * _PART):
        part = bytes(content[begin : begin + 8 * _PART])
        words = np.frombuffer(part + bytes(-len(part) % 8), "<u8")
        first = begin // 8 + 1
        places = np.arange(first, first + len(words), dtype=np.uint64) * np.uint64(_GOLDEN)
        mixed = _mixed(words ^ places)
        low += int(mixed.sum(dtype=np.uint64))
        high += int((mixed * (places | np.uint64(1))).sum(dtype=np.uint64))
    return low % 2**64, high % 2**64


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
