"""What modifiers keep from step to step, beside the states."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from tigon.runtime import tracing


def _trace() -> Any:
    hooks = tracing.installed()
    return hooks.eager or hooks.giver


class Memory:
    """A graph that holds all steps since the last `clear` holds this memory, too. One of a single
    step would do without what was kept before: it gives way."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self._within: Callable[[], Any] = _nothing

    def clear(self) -> None:
        """A sequence begins."""
        self._kept.clear()
        trace = _trace()
        self._within = _nothing if trace is None else weakref.ref(trace)

    def enter(self, where: str) -> None:
        """A step begins."""
        trace, known = _trace(), self._within()
        if trace is known and (trace is None) is (self._within is _nothing):
            return
        if self._within is not _nothing:  # of a graph that is done
            self._kept.clear()
            self._within = _nothing
        tracing.give_way(
            f"{where} keeps arrays from step to step; call unroll within the block, or reset() "
            "before and after the steps"
        )

    def kept(self, name: str) -> Any:
        return self._kept.get(name)

    def keep(self, name: str, value: Any) -> Any:
        eager = tracing.eager()
        self._kept[name] = value if eager is None else eager.concrete(value)
        return value

    def __reduce__(self) -> Any:
        """A copy begins anew."""
        return Memory, ()


def _nothing() -> None:
    return None
