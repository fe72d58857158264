"""Several processes that train together, on one machine or many, by MPI.

    mpiexec -n 4 python train.py

starts four of them; a process that nothing has started with others is rank 0 of 1, and all of this
works in it, too.

>>> rank(), size()
(0, 1)
"""

from __future__ import annotations

from tigon.base import config
from tigon.base.lazy import complete as _complete
from tigon.distributed.agreement import Signature
from tigon.distributed.failures import run, set_timeout
from tigon.distributed.inorder import at_once
from tigon.distributed.operators import (
    allgather,
    allreduce,
    alltoall,
    broadcast,
    reduce_scatter,
)
from tigon.distributed.world import World, describe


def rank() -> int:
    """The number of this process, from 0; MPI is not asked.

    >>> rank()
    0
    """
    return config.launched().rank


def size() -> int:
    """How many ranks were started together.

    >>> size()
    1
    """
    return config.launched().size


def local_rank() -> int:
    """The number of this process among those of its host, from 0.

    >>> local_rank()
    0
    """
    return config.launched().local_rank


def barrier(timeout: float | None = None) -> None:
    """Wait until all ranks are here, and have done what they called before. `timeout`: seconds, for
    this wait alone, in place of those of `set_timeout`.

    >>> barrier()
    """

    def wait(ranks: World) -> None:
        with ranks.within(timeout):
            ranks.check(Signature("barrier", ()))

    at_once(wait, "barrier")


__all__ = [
    "allgather",
    "allreduce",
    "alltoall",
    "barrier",
    "broadcast",
    "describe",
    "local_rank",
    "rank",
    "reduce_scatter",
    "run",
    "set_timeout",
    "size",
]

_complete(globals())
