"""How the points of a launch are cut into chunks."""

from __future__ import annotations

from math import log2, sqrt

CHUNK_US = 0.8
"""The least work to cut off for another thread that is awake: beginning a chunk costs 30 ns, and a
thread that has nothing left may wait for the length of one."""


def grain(points: int, microseconds: float) -> int:
    """Points of a chunk. With chunks of c microseconds, work of w loses 0.03 * w / c to beginning
    them and c / 2 to the thread that ends last. A power of two of them: threads mostly come in
    such numbers, too.

    >>> grain(64, 13.0), grain(64, 1300.0), grain(7, 0.5)
    (4, 1, 7)
    """
    chunk_us = max(CHUNK_US, 0.17 * sqrt(microseconds))
    chunks = 1 << int(log2(max(1.0, min(points, microseconds / chunk_us))))
    return max(1, points // chunks)
