"""Numbers of which each rank has a part, where they lie: in one array, or in many."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np


class Parts:
    """Per rank the arrays, of one axis and one dtype, that its part consists of, in order.

    >>> numbers = np.arange(6.0)
    >>> parts = Parts([[numbers[4:], numbers[:1]], [numbers[1:4]]], numbers.dtype)
    >>> parts.sizes, parts.read(0, 1, 4, np.zeros(3)).tolist()
    ([3, 3], [5.0, 0.0])
    """

    def __init__(self, arrays: Sequence[Sequence[np.ndarray]], dtype: np.dtype) -> None:
        self.dtype = dtype
        self._arrays = arrays
        self._starts = [[*accumulate((one.size for one in own), initial=0)] for own in arrays]
        self.sizes = [starts[-1] for starts in self._starts]
        """How many numbers each rank's part has."""

    @classmethod
    def of(cls, flat: np.ndarray, bounds: Sequence[int]) -> Parts:
        """Those of one array, between these bounds.

        >>> Parts.of(np.zeros(5), [0, 2, 5]).sizes
        [2, 3]
        """
        return cls([[flat[first:last]] for first, last in pairwise(bounds)], flat.dtype)

    def read(self, rank: int, begin: int, end: int, target: np.ndarray) -> np.ndarray:
        """Copy what a rank's part has from `begin` to `end` to the beginning of an array; what of
        that was written."""
        place = 0
        for source in self._pieces(rank, begin, end):
            target[place : place + source.size] = source
            place += source.size
        return target[:place]

    def write(self, rank: int, begin: int, end: int, source: np.ndarray) -> None:
        """The other way."""
        place = 0
        for target in self._pieces(rank, begin, end):
            target[...] = source[place : place + target.size]
            place += target.size

    def count(self, rank: int, begin: int, end: int) -> int:
        """How many of these there are."""
        return max(0, min(end, self.sizes[rank]) - begin)

    def _pieces(self, rank: int, begin: int, end: int) -> Iterator[np.ndarray]:
        starts = self._starts[rank]
        for number in range(bisect_right(starts, begin) - 1, len(self._arrays[rank])):
            first = starts[number]
            if first >= end:
                return
            yield self._arrays[rank][number][max(0, begin - first) : end - first]
