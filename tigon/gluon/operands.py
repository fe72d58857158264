"""Where the arrays come from that the programs of a traced call run on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tigon.context import Context
from tigon.gluon.parameter import Parameter
from tigon.gluon.trace.sources import Source


class Operands:
    """The operands of a call, in order: arguments, by their place among the arrays of the call, and
    arrays of parameters and of those that the code holds, which stay from call to call."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = list(sources)
        self.template: list[Any] = [None] * len(self.sources)
        self.inputs = [
            (slot, which) for slot, (kind, which) in enumerate(self.sources) if kind == "input"
        ]

    def __len__(self) -> int:
        return len(self.sources)

    def bind(self, context: Context | None) -> None:
        """Put the arrays of parameters in their places; they may have been replaced."""
        for slot, (kind, which) in enumerate(self.sources):
            if kind == "parameter":
                # What derived classes add is traced.
                self.template[slot] = Parameter._for(which, context)
            elif kind == "array":
                self.template[slot] = which

    def of(self, leaves: Sequence[Any]) -> list[Any]:
        """The arrays for a call with these arrays among its arguments."""
        arrays = self.template.copy()
        for slot, position in self.inputs:
            arrays[slot] = leaves[position]
        return arrays
