"""Where a program's temporaries lie, and when, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.analysis.memory_picture import plan_picture
from tigon.analysis.memory_plan import MemoryPlan
from tigon.base import TigonError
from tigon.visualization.picture import Picture


def plot_memory(what: Any, title: str = "memory") -> Picture:
    """Address against time for every array of an arena: of a `MemoryPlan`, of what has one (a bound
    executor), or of a hybridized block, all of whose programs so far are drawn.

    Steps, from left to right, are waves of launches: those of one step run together. A rectangle is
    as high as the array is large, and lies where the array lies; where the pointer rests on it, its
    name, type and size are shown. What is not in the arena (inputs, outputs) is told as a sum.

    >>> import tigon as mx
    >>> net = mx.gluon.nn.HybridSequential()
    >>> net.add(mx.gluon.nn.Dense(8, in_units=4), mx.gluon.nn.Dense(2, in_units=8))
    >>> net.initialize()
    >>> net.hybridize()
    >>> y = net(mx.nd.ones((1, 4)))
    >>> plot_memory(net).svg.count("<title>")  # its own, and one temporary's
    2
    """
    return Picture(plan_picture(_plans(what), title), title)


def _plans(what: Any) -> Sequence[tuple[str, MemoryPlan]]:
    if isinstance(what, MemoryPlan):
        return [("", what)]
    if getattr(what, "_is_hybrid", False):
        found = [
            (program.program.name, program.memory_plan)
            for entry in what.compiled
            for program in entry.cached.programs
        ]
        if not found:
            raise TigonError(
                "plot_memory: the block has no programs yet; call hybridize() and the block first"
            )
        return found
    plan = getattr(what, "memory_plan", None)
    if not isinstance(plan, MemoryPlan):
        raise TigonError(
            "plot_memory: expected a MemoryPlan, a bound executor or a hybridized block; given "
            f"{type(what).__name__}"
        )
    return [("", plan)]
