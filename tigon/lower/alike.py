"""Groups that differ in nothing but the values they touch, and in numbers that lowering passes on,
are lowered once.

What lowering looks at is written out as a key, values as numbers in order of their first mention;
groups of one key have the same nests, over the values that have these numbers. Ordinary floats, and
the place of a single element (the rate of one among a thousand parameters), are left open when a
second group of the key has others: then they are slots that are packed for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tigon.base.dtypes import float32, float64
from tigon.base.extents import (
    RuntimeExtent,
    RuntimeExtents,
    RuntimeNumber,
    RuntimeScalar,
    UnknownExtent,
)
from tigon.base.frozen import replace
from tigon.loop.functions import FUNCTIONS
from tigon.loop.grammar import Apply, Const, Contraction, Expr, Load, Nest, walk
from tigon.loop.map import expressions_of
from tigon.lower.body import Given, LoweredNest
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.fuse.spelling import Spelling, with_open_numbers
from tigon.lower.nests import lower_group


class AlikeGroups:
    """Lowers the groups of one graph. `opens`: whether numbers may be left open."""

    def __init__(self, fusion: Fusion, opens: bool) -> None:
        self._fusion = fusion
        self._opens = opens
        self._lowered: dict[Any, _Lowered] = {}
        self._open: dict[Any, _Lowered | None] = {}

    def lower(self, group: Group) -> list[LoweredNest]:
        spelling = self._spell(group)
        key, numbers = tuple(spelling.key), tuple(spelling.open_numbers)
        found = self._lowered.get(key)
        if found is None:
            found = self._lowered[key] = _Lowered(lower_group(group, self._fusion), spelling)
            return found.nests
        if found.numbers == numbers:
            return found.over(spelling.values, None)
        if key not in self._open:
            self._open[key] = self._lower_open(group, spelling) if self._opens else None
        open_ = self._open[key]
        if open_ is not None:
            return open_.over(spelling.values, Given(open_.extents, numbers))
        exact = (key, numbers)
        if exact not in self._lowered:
            self._lowered[exact] = _Lowered(lower_group(group, self._fusion), spelling)
        return self._lowered[exact].over(spelling.values, None)

    def _spell(self, group: Group) -> Spelling:
        stored = self._fusion.stored
        spelling = Spelling(self._fusion.kinds)
        for node in group.members:
            spelling.mention(node.outputs)
        key = spelling.key
        key += (group.kind, group.shape, group.axes)
        for node in group.members:
            key += (self._fusion.kinds.of(node), node in group.rows)
            key += [value in stored for value in node.outputs]
            spelling.read(node.inputs, group.expanded)
        return spelling

    def _lower_open(self, group: Group, spelling: Spelling) -> _Lowered | None:
        """With its numbers left open; None where something depends on them."""
        extents = RuntimeExtents([11] * len(spelling.open_numbers))
        places: Iterator[RuntimeNumber] = iter(
            [
                RuntimeScalar(extents, place) if type(number) is float else extents.unknown[place]
                for place, number in enumerate(spelling.open_numbers)
            ]
        )
        attributes = {node: with_open_numbers(node, places) for node in spelling.opened}
        try:
            nests = lower_group(group, replace(self._fusion, attributes=attributes))
        except (UnknownExtent, TypeError):  # something asks for a number, or computes with it
            return None
        if extents.guards or not all(map(_passes_on, nests)):
            return None
        return _Lowered(nests, spelling, extents)


class _Lowered:
    """The nests of groups of one key; values as the numbers that the key has for them."""

    def __init__(
        self,
        nests: list[LoweredNest],
        spelling: Spelling,
        extents: RuntimeExtents | None = None,
    ) -> None:
        self.nests = nests
        self.numbers = tuple(spelling.open_numbers)
        self._extents = extents
        self._values = [
            [None if value is None else spelling.numbers[value] for value in nest.values]
            for nest in nests
        ]

    @property
    def extents(self) -> RuntimeExtents:
        assert self._extents is not None
        return self._extents

    def over(self, values: Sequence[Any], given: Given | None) -> list[LoweredNest]:
        return [
            nest.over([None if number is None else values[number] for number in numbers], given)
            for nest, numbers in zip(self.nests, self._values, strict=True)
        ]


def _passes_on(lowered: LoweredNest) -> bool:
    """Whether the open numbers of a nest are such that code does not depend on: floats that
    arithmetic takes as they are, and places of single elements."""
    nest = lowered.nest
    if isinstance(nest, Nest):
        exprs = expressions_of(nest.body)
    elif isinstance(nest, Contraction):
        exprs = [nest.left, nest.right, *expressions_of(nest.body)]
    else:
        return False
    return all(_takes_open_numbers(part) for expr in exprs for part in walk(expr))


def _takes_open_numbers(expr: Expr) -> bool:
    if isinstance(expr, Load) and isinstance(expr.index, Const):
        return not isinstance(expr.index.value, RuntimeScalar)
    numbers = [
        operand
        for operand in expr.operands
        if isinstance(operand, Const) and isinstance(operand.value, RuntimeNumber)
    ]
    if not numbers:
        return True
    return (
        isinstance(expr, Apply)
        and FUNCTIONS[expr.function].fixed == ()
        and all(operand.dtype in (float32, float64) for operand in numbers)
        and not any(isinstance(operand.value, RuntimeExtent) for operand in numbers)
        and not all(isinstance(operand, Const) for operand in expr.operands)
    )
