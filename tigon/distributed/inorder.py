"""What ranks do together, in the order in which their programs call for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tigon import _native
from tigon.base.dtypes import float32
from tigon.distributed.world import World, world
from tigon.ops.record import Effect
from tigon.program.host import run_host

T = TypeVar("T")


def later(
    function: Callable[[World], None], reads: Sequence[Any], writes: Sequence[Any], name: str
) -> None:
    """Call a function when what it reads and writes is there, and all that this program called for
    before has been done."""
    ranks = world()
    run_host(ranks.turn(function, name), reads, writes, name, Effect.CHANNEL)


def at_once(function: Callable[[World], T], name: str) -> T:
    """The same, and wait for what it gives; what it raises is raised here."""
    made: list[T] = []
    done = _native.empty((1,), float32.code)
    later(lambda ranks: made.append(function(ranks)), [], [done], name)
    done.wait_to_read()
    return made[0]
