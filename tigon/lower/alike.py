"""Groups that differ in nothing but the values they touch are lowered once.

A network repeats itself: a thousand layers are one group a thousand times. What lowering looks at
is written out as a key, values as numbers in order of their first mention; groups of one key have
the same nests, over the values that have these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tigon.analysis.views import is_computed
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.ir.graph import attrs_key
from tigon.lower.body import LoweredNest
from tigon.lower.fuse.group import Fusion, Group
from tigon.lower.nests import lower_group
from tigon.ops.record import Family


class Kinds:
    """Numbers what nodes are: operator, attributes and types."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._known: dict[Node, int] = {}

    def of(self, node: Node) -> int:
        found = self._known.get(node)
        if found is None:
            key: Any = node  # a loop or a branch is like itself alone
            if node.op is CONSTANT or node.op is VARIABLE or node.op.family is not Family.CONTROL:
                types = tuple([value.node.types[value.index] for value in node.inputs])  # type: ignore[index]
                key = (node.op, attrs_key(node.attrs), types, node.types)
            found = self._known[node] = self._numbers.setdefault(key, len(self._numbers))
        return found


_MENTIONED, _FROM_MEMORY, _NUMBER = -1, -2, -3


class Spelling:
    """Writes out what is read, down to memory, as a key."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self.key: list[Any] = []
        self.values: list[Value] = []
        """Those that the key mentions by their numbers."""
        self._numbers: dict[Value, int] = {}

    def mention(self, values: Iterable[Value]) -> None:
        for value in values:
            self._numbers[value] = len(self.values)
            self.values.append(value)

    def read(self, operands: Iterable[Value], expanded: Iterable[Node] = ()) -> None:
        """Operands, through views and what is `expanded`."""
        key, kinds, numbers = self.key, self._kinds, self._numbers
        stack = [*operands][::-1]
        while stack:
            value = stack.pop()
            number, node = numbers.get(value), value.node
            if number is not None:
                key += (_MENTIONED, number)
            elif node.op is CONSTANT and not node.attrs.shape:
                key += (_NUMBER, kinds.of(node))
            elif (
                node.op is VARIABLE
                or node.op is CONSTANT
                or (is_computed(node) and node not in expanded)
            ):
                key.append(_FROM_MEMORY)
                self.mention((value,))
            else:
                self.mention(node.outputs)
                key += (kinds.of(node), value.index)
                stack += node.inputs[::-1]


class AlikeGroups:
    """Lowers the groups of one graph."""

    def __init__(self, fusion: Fusion) -> None:
        self._fusion = fusion
        self._kinds = Kinds()
        self._lowered: dict[Any, list[LoweredNest]] = {}
        self._numbers: dict[Any, list[list[int | None]]] = {}

    def lower(self, group: Group) -> list[LoweredNest]:
        key, values = self._spell(group)
        nests = self._lowered.get(key)
        if nests is None:
            nests = self._lowered[key] = lower_group(group, self._fusion)
            number = {value: place for place, value in enumerate(values)}
            self._numbers[key] = [
                [None if value is None else number[value] for value in nest.values]
                for nest in nests
            ]
            return nests
        return [
            nest.over([None if number is None else values[number] for number in numbers])
            for nest, numbers in zip(nests, self._numbers[key], strict=True)
        ]

    def _spell(self, group: Group) -> tuple[Any, list[Value]]:
        stored = self._fusion.stored
        spelling = Spelling(self._kinds)
        for node in group.members:
            spelling.mention(node.outputs)
        key = spelling.key
        key += (group.kind, group.shape, group.axes)
        for node in group.members:
            key += (self._kinds.of(node), node in group.rows)
            key += [value in stored for value in node.outputs]
            spelling.read(node.inputs, group.expanded)
        return tuple(key), spelling.values
