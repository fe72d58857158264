"""Which shapes arrays may have, whatever a file says."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tigon.base.types import MOST_AXES

LARGEST = 1 << 48
"""Elements of an array, its extents of 0 left out: numpy refuses such a shape, too."""


def is_possible(shape: Sequence[int]) -> bool:
    """Whether an array may have these extents.

    >>> is_possible((2, 0, 3)), is_possible((0, 2**60)), is_possible((1,) * 40), is_possible((-1,))
    (True, False, False, False)
    """
    fits = len(shape) <= MOST_AXES and all(extent >= 0 for extent in shape)
    return fits and prod(max(extent, 1) for extent in shape) < LARGEST
