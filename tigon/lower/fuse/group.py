"""Nodes that become one kernel.

A group has a domain, the shape over which its loops run. *Full* members have one element per
point of the domain; once the group holds a reduction, *row* members have one per point of the axes
that are kept. Softmax is one group: max and sum are reductions over the rows of one domain, the
rest full members of it. A contraction takes the elementwise work on its result as its epilogue,
and so does a scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tigon.base.extents import is_one, same, same_shape
from tigon.base.frozen import Frozen
from tigon.ir import Node, Value
from tigon.loop.grammar import Expr
from tigon.lower.elements import Coords, squeezed
from tigon.lower.fuse.spelling import Kinds

EPILOGUES = ("contract", "scan")
"""Kinds of groups that are one node and elementwise work on its result."""


CLOSED = ("join", "scatter", "check", "notice", "extern", "control")
"""Kinds of groups that are one node alone."""


class Group:
    """Nodes that become one kernel."""

    def __init__(
        self, kind: str, number: int, shape: tuple[int, ...], axes: tuple[int, ...] | None = None
    ) -> None:
        self.kind = kind  # "map", "contract", "scan", or one of CLOSED
        self.number = number  # in order of creation
        self.shape = shape
        self.axes = axes  # of the domain, reduced; None: no reduction (yet)
        self.members: list[Node] = []
        self.rows: set[Node] = set()  # the members of row level
        self.expanded: set[Node] = set()  # other groups' nodes computed again here
        # Those that run before it, for it reads what they make; in an order, so that the same
        # program is fused alike in each process.
        self.before: dict[Group, None] = {}
        self.after: dict[Group, None] = {}
        self.level = 0  # greater than that of each group before it

    @property
    def outer_shape(self) -> tuple[int, ...]:
        axes = self.axes or ()
        return tuple(e for a, e in enumerate(self.shape) if a not in axes)


class Fusion(Frozen, eq=False):
    """The groups in an order they can run in, and the values that need memory."""

    groups: list[Group]
    stored: set[Value]
    group_of: dict[Node, Group]
    kinds: Kinds
    attributes: Mapping[Node, Any] = MappingProxyType({})
    """Of nodes, in the place of their own: where numbers among them are left open."""


def outer_part(
    coords: Coords, domain: tuple[int, ...], group: Group
) -> tuple[list[Expr], list[int]] | None:
    """Of a full member's coordinates, those along the group's kept axes."""
    if not same_shape(squeezed(domain), squeezed(group.shape)):
        return None
    axes = group.axes or ()
    kept = [not is_one(e) and a not in axes for a, e in enumerate(group.shape)]
    wide = [k for k, e in zip(kept, group.shape, strict=True) if not is_one(e)]
    mine = [(c, e) for c, e in zip(coords, domain, strict=True) if not is_one(e)]
    outer = [pair for pair, keep in zip(mine, wide, strict=True) if keep]
    return [c for c, _ in outer], [e for _, e in outer]


def same_rows(group: Group, domain: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Equal domains, unit axes aside, with the same axes reduced."""

    def marked(shape: tuple[int, ...], reduced: tuple[int, ...]) -> list[tuple[int, bool]]:
        return [(e, a in reduced) for a, e in enumerate(shape) if not is_one(e)]

    ours, theirs = marked(group.shape, group.axes or ()), marked(domain, axes)
    return len(ours) == len(theirs) and all(
        a[1] == b[1] and same(a[0], b[0]) for a, b in zip(ours, theirs, strict=True)
    )
