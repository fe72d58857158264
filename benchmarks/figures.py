"""What a run of the benchmark found, as one value that pages and charts are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from beginnings import Beginnings
from extents import ratios_of
from turns import Times

OTHERS = ("torch", "jax", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Measured:
    """One row: times by contestant, and the least time of the machine, 0 where the call limits."""

    name: str
    times: dict[str, Times]
    limit: float
    main: bool

    def best_other(self) -> str | None:
        """The quickest of the others in their columns."""
        there = [name for name in OTHERS if name in self.times]
        return min(there, key=lambda name: self.times[name].median, default=None)


@dataclass
class Figures:
    conditions: list[str] = field(default_factory=list)
    rows: list[Measured] = field(default_factory=list)
    extents: dict[int, tuple[Times, Times]] = field(default_factory=dict)
    beginnings: Beginnings = field(default_factory=Beginnings)

    def row(self, name: str) -> Measured:
        for found in self.rows:
            if found.name == name:
                return found
        raise KeyError(name)

    def json(self) -> dict[str, Any]:
        """All of it in lists, dictionaries, numbers and words."""
        return {
            "conditions": self.conditions,
            "rows": [
                {
                    "name": row.name,
                    "limit": row.limit,
                    "main": row.main,
                    "microseconds": {
                        name: {"median": t.median, "mean": t.mean, "turns": list(t.turns)}
                        for name, t in row.times.items()
                    },
                }
                for row in self.rows
            ],
            "batch sizes": {str(size): ratio for size, ratio in ratios_of(self.extents).items()},
            **asdict(self.beginnings),
        }
