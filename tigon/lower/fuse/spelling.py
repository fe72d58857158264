"""What nodes and groups are, but for the values they read, as keys: for what is alike is worked out
once.

A network repeats itself: a thousand layers are one a thousand times.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from math import isfinite
from typing import Any

from tigon.analysis.views import is_computed
from tigon.base.frozen import replace
from tigon.ir import CONSTANT, VARIABLE, Node, Value
from tigon.ir.graph import attrs_key
from tigon.ops.record import Family


class Kinds:
    """Numbers what nodes are: operator, attributes and types."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._known: dict[Node, int] = {}
        self._open: dict[Node, tuple[int, tuple[float, ...]]] = {}

    def of(self, node: Node) -> int:
        found = self._known.get(node)
        if found is None:
            key: Any = node  # a loop or a branch is like itself alone
            if node.op is CONSTANT or node.op.family is not Family.CONTROL:
                types = tuple([value.type for value in node.inputs])
                key = (node.op, attrs_key(node.attrs), types, node.types)
            found = self._known[node] = self._numbers.setdefault(key, len(self._numbers))
        return found

    def without_numbers(self, node: Node) -> tuple[int, tuple[float, ...]]:
        """The same of a number, or of a view that picks one element of a variable, but for the
        number or the place, which come beside it: lowering passes them on, and where something is
        computed they do not tell."""
        found = self._open.get(node)
        if found is None:
            found = self._open[node] = self._opened(node)
        return found

    def _opened(self, node: Node) -> tuple[int, tuple[float, ...]]:
        if node.op is CONSTANT:
            attrs = node.attrs
            if not _is_ordinary(attrs.value):
                return self.of(node), ()
            key: Any = (CONSTANT, "open", node.types)
            return self._numbers.setdefault(key, len(self._numbers)), (attrs.value,)
        offsets = node.op.offsets
        places = getattr(node.attrs, offsets)
        picks = node.inputs[0].node.op is VARIABLE and node.outputs[0].type.size == 1
        if not picks or not any(places):
            return self.of(node), ()
        rest = {**vars(node.attrs), offsets: tuple([place > 0 for place in places])}
        key = (node.op, *rest.items(), node.inputs[0].type, node.types)
        return (
            self._numbers.setdefault(key, len(self._numbers)),
            tuple([place for place in places if place > 0]),
        )


def _is_ordinary(number: Any) -> bool:
    """Whether it is a float that no code is special about."""
    return type(number) is float and isfinite(number) and number not in (0.0, 1.0, -1.0)


def with_open_numbers(node: Node, numbers: Iterator[Any]) -> Any:
    """The attributes of a node whose numbers were left out, with others in their place."""
    if node.op is CONSTANT:
        return replace(node.attrs, value=next(numbers))
    places = getattr(node.attrs, node.op.offsets)
    found = tuple([next(numbers) if place > 0 else place for place in places])
    return replace(node.attrs, **{node.op.offsets: found})


_MENTIONED, _GIVEN, _COMPUTED, _NUMBER = -1, -2, -3, -4


class Spelling:
    """Writes out what is read, down to memory, as a key."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self.key: list[Any] = []
        self.values: list[Value] = []
        """Those that the key mentions by their numbers."""
        self.numbers: dict[Value, int] = {}
        self.opened: dict[Node, None] = {}
        """Those whose numbers are not in the key, in order."""
        self.open_numbers: list[float] = []
        """These."""

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
                self.mention((value,))
                key += (_NUMBER, self._open(node))
            elif node.op is VARIABLE or node.op is CONSTANT:
                key.append(_GIVEN)
                self.mention((value,))
            elif is_computed(node) and node not in expanded:
                key.append(_COMPUTED)
                self.mention((value,))
            else:
                self.mention(node.outputs)
                key += (self._open(node) if node.op.offsets else kinds.of(node), value.index)
                stack += node.inputs[::-1]

    def _open(self, node: Node) -> int:
        kind, found = self._kinds.without_numbers(node)
        if found:
            self.opened[node] = None
            self.open_numbers += found
        return kind
