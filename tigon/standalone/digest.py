"""The digest of a file of weights, as `csrc/standalone/runtime.c` computes it."""

from __future__ import annotations

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MIXER = 0xBF58476D1CE4E5B9
_PART = 1 << 20


def digest(content: bytes | memoryview) -> tuple[int, int]:
    """A sum over all words, each mixed with its place, and the sum of all sums on the way.

    >>> digest(b"") == (0, 0), digest(b"a") != digest(b"b")
    (True, True)
    """
    length = len(content)
    count = -(-length // 8)
    low, high = length, length * count
    for begin in range(0, length, 8 * _PART):
        part = bytes(content[begin : begin + 8 * _PART])
        words = np.frombuffer(part + bytes(-len(part) % 8), "<u8")
        first = begin // 8
        places = np.arange(first + 1, first + 1 + len(words), dtype=np.uint64)
        mixed = (words ^ (places * np.uint64(_GOLDEN))) * np.uint64(_MIXER)
        mixed ^= mixed >> np.uint64(32)
        low += int(mixed.sum(dtype=np.uint64))
        high += int((mixed * (np.uint64(count + 1) - places)).sum(dtype=np.uint64))
    return low % 2**64, high % 2**64
