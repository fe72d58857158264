"""Tables of fields: which messages a format has, and of each the names, numbers and kinds of its
fields.

A table is text, a line each: `enum NAME: WORD NUMBER, ...`, `message NAME`, and below a message its
fields as `name number kind`, a star behind the kind where a field is repeated, ` = default` where
one is declared.

>>> table = Schema('''
... enum Pool: MAX 0, AVE 1
... message Layer
...   name 1 string
...   pool 2 Pool = MAX
...   kernel_size 3 uint32*
...   inner 4 Layer*
... ''')
>>> table["Layer"].by_name["kernel_size"].number
3
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tigon.base.errors import InternalError

INTEGERS: Mapping[str, tuple[int, int]] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
"""Least and greatest number of each kind of whole numbers."""

_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(INTEGERS, 0),
    "bool": False,
    "float": 0.0,
    "double": 0.0,
    "string": "",
    "bytes": b"",
}

RESERVED = frozenset(
    """
    all_values as_field as_item begins_at check child fail full_path given has in_file numbers
    of_type put with_values within
    """.split()
)
"""What messages say of themselves (`tigon/readers/message.py`): no field is called so."""


class EnumType:
    """Words and their numbers."""

    __slots__ = ("name", "numbers", "words")

    def __init__(self, name: str, numbers: Mapping[str, int]) -> None:
        self.name = name
        self.numbers = numbers
        self.words = {number: word for word, number in numbers.items()}


class Field:
    """One field of a message. `kind` is the name of a scalar kind, an `EnumType` or a
    `MessageType`; the value of an enum is its word."""

    __slots__ = ("default", "is_repeated", "kind", "name", "number")

    def __init__(
        self, name: str, number: int, kind: Any, is_repeated: bool, default: str | None
    ) -> None:
        self.name = name
        self.number = number
        self.kind: Any = kind
        self.is_repeated = is_repeated
        self.default: Any = default

    def resolve(self, kinds: Mapping[str, EnumType | MessageType]) -> None:
        """Let names stand for what they name."""
        if self.kind in _DEFAULTS:
            kind = type(_DEFAULTS[self.kind])
            if self.default is None:
                self.default = _DEFAULTS[self.kind]
            else:
                self.default = self.default == "true" if kind is bool else kind(self.default)
            return
        if self.kind not in kinds:
            raise InternalError(f"field {self.name}: kind {self.kind} is not declared")
        self.kind = kinds[self.kind]
        if isinstance(self.kind, EnumType) and self.default is None:
            self.default = next(iter(self.kind.numbers))

    def __repr__(self) -> str:
        return f"Field({self.name})"


class MessageType:
    """The fields of one kind of message."""

    __slots__ = ("by_name", "by_number", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.by_name: dict[str, Field] = {}
        self.by_number: dict[int, Field] = {}

    def add(self, field: Field) -> None:
        """Declare a field."""
        is_taken = field.name in self.by_name or field.number in self.by_number
        if is_taken or field.name in RESERVED:
            raise InternalError(f"{self.name}: {field.name} {field.number} is taken already")
        self.by_name[field.name] = self.by_number[field.number] = field

    def __iter__(self) -> Iterator[Field]:
        return iter(self.by_name.values())


class Schema:
    """The messages of a format, by name."""

    def __init__(self, table: str) -> None:
        self._kinds: dict[str, EnumType | MessageType] = {}
        message = MessageType("")
        for line in table.strip().splitlines():
            words = line.split()
            if words[0] == "enum":
                pairs = (part.split() for part in line.partition(":")[2].split(","))
                name = words[1].rstrip(":")
                self._kinds[name] = EnumType(name, {word: int(number) for word, number in pairs})
            elif words[0] == "message":
                message = self._kinds[words[1]] = MessageType(words[1])
            else:
                name, number, of = words[:3]
                default = words[4] if len(words) > 4 else None
                message.add(Field(name, int(number), of.rstrip("*"), "*" in of, default))
        for kind in self._kinds.values():
            if isinstance(kind, MessageType):
                for field in kind:
                    field.resolve(self._kinds)

    def __getitem__(self, name: str) -> MessageType:
        found = self._kinds[name]
        assert isinstance(found, MessageType)
        return found
