"""Several processes that train together, on one machine or many, by MPI.

    mpiexec -n 4 python train.py

starts four of them; a process that nothing has started with others is rank 0 of 1, and all of this
works in it, too.

>>> rank(), size()
(0, 1)
"""

from __future__ import annotations

from tigon import _native
from tigon.base.launch import launched
from tigon.base.lazy import complete as _complete
from tigon.distributed.agreement import Signature
from tigon.distributed.operators import (
    allgather,
    allreduce,
    alltoall,
    broadcast,
    reduce_scatter,
)
from tigon.distributed.world import describe, world
from tigon.ops.record import Effect
from tigon.program.host import run_host


def rank() -> int:
    """The number of this process, from 0; MPI is not asked.

    >>> rank()
    0
    """
    return launched().rank


def size() -> int:
    """How many ranks were started together.

    >>> size()
    1
    """
    return launched().size


def local_rank() -> int:
    """The number of this process among those of its host."""
    return launched().local_rank


def barrier() -> None:
    """Wait until all ranks are here, and have done what they called before."""
    ranks, signature, done = world(), Signature("barrier", ()), _native.empty((1,), 0)
    run_host(lambda: ranks.check(signature), [], [done], "barrier", Effect.CHANNEL)
    done.wait_to_read()


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
    "size",
]

_complete(globals())
