"""What nodes and groups are, but for the values they read, as keys: for what is alike is worked out
once.

A network repeats itself: a thousand layers are one a thousand times.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from tigon.analysis.views import is_computed
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.ir.graph import attrs_key
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
            if node.op is CONSTANT or node.op.family is not Family.CONTROL:
                types = tuple([value.type for value in node.inputs])
                key = (node.op, attrs_key(node.attrs), types, node.types)
            found = self._known[node] = self._numbers.setdefault(key, len(self._numbers))
        return found


_MENTIONED, _GIVEN, _COMPUTED, _NUMBER = -1, -2, -3, -4


class Spelling:
    """Writes out what is read, down to memory, as a key."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self.key: list[Any] = []
        self.values: list[Value] = []
        """Those that the key mentions by their numbers."""
        self.numbers: dict[Value, int] = {}

    def mention(self, values: Iterable[Value]) -> None:
        for value in values:
            self.numbers[value] = len(self.values)
            self.values.append(value)

    def read(self, operands: Iterable[Value], expanded: Container[Node] = ()) -> None:
        """Operands, through views and what is `expanded`."""
        key, kinds, numbers = self.key, self._kinds, self.numbers
        stack = [*operands][::-1]
        while stack:
            value = stack.pop()
            number, node = numbers.get(value), value.node
            if number is not None:
                key += (_MENTIONED, number)
            elif node.op is CONSTANT and not node.attrs.shape:
                key += (_NUMBER, kinds.of(node))
            elif node.op is VARIABLE or node.op is CONSTANT:
                key.append(_GIVEN)
                self.mention((value,))
            elif is_computed(node) and node not in expanded:
                key.append(_COMPUTED)
                self.mention((value,))
            else:
                self.mention(node.outputs)
                key += (kinds.of(node), value.index)
                stack += node.inputs[::-1]
