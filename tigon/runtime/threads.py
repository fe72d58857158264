"""How many threads a rank computes with, where several share the processors of a host."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from fractions import Fraction

from tigon import _native
from tigon.base import config


def allowed_cores() -> list[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_of(own: Collection[int], all_on_host: Sequence[Collection[int]]) -> int:
    """Threads of a rank that may run on the processors `own`, where the ranks of its host, itself
    among them, may run on these: each processor is shared by those that may run there.

    >>> share_of([0, 1], [[0, 1], [2, 3]]), share_of([0, 1, 2, 3], [[0, 1, 2, 3]] * 2)
    (2, 2)
    >>> share_of([0], [[0], [0]])
    1
    """
    users = [sum(core in each for each in all_on_host) for core in own]
    return max(1, int(sum(Fraction(1, count) for count in users)))


def settle(count: int) -> None:
    """Compute with so many threads, unless the user has said how many, or fewer are allowed."""
    if not config.text("TIGON_NUM_THREADS"):
        _native.set_num_threads(min(count, _native.num_threads()))


def settle_by_launch() -> None:
    """Before ranks know of each other: a launcher that binds them has said where they run; of one
    that does not, all run everywhere."""
    launch = config.launched()
    if launch.size > 1:
        config.note_rank_process()
    if launch.local_size > 1:
        cores = allowed_cores()
        bound = len(cores) < (os.cpu_count() or 1)
        settle(share_of(cores, [cores] * (1 if bound else launch.local_size)))
