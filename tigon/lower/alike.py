"""Groups that differ in nothing but the values they touch are lowered once.

What lowering looks at is written out as a key, values as numbers in order of their first mention;
groups of one key have the same nests, over the values that have these numbers.
"""

from __future__ import annotations

from typing import Any

from tigon.lower.body import LoweredNest
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.fuse.spelling import Spelling
from tigon.lower.nests import lower_group


class AlikeGroups:
    """Lowers the groups of one graph."""

    def __init__(self, fusion: Fusion) -> None:
        self._fusion = fusion
        self._lowered: dict[Any, list[LoweredNest]] = {}
        self._numbers: dict[Any, list[list[int | None]]] = {}

    def lower(self, group: Group) -> list[LoweredNest]:
        spelling = self._spell(group)
        key, values = tuple(spelling.key), spelling.values
        nests = self._lowered.get(key)
        if nests is None:
            nests = self._lowered[key] = lower_group(group, self._fusion)
            self._numbers[key] = [
                [None if value is None else spelling.numbers[value] for value in nest.values]
                for nest in nests
            ]
            return nests
        return [
            nest.over([None if number is None else values[number] for number in numbers])
            for nest, numbers in zip(nests, self._numbers[key], strict=True)
        ]

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
