"""A message that was read: values by name, and where in the file each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from tigon.base.errors import TigonError
from tigon.readers.schema import Field, MessageType

DEEPEST = 100
"""Messages within messages, as many levels as protocol buffers read."""

MOST_MESSAGES = 1 << 20
"""What a file may hold at most. An empty message takes two bytes there and a hundred times as many
here."""


class Source:
    """A file: its name for errors, and its content, which places are counted in."""

    __slots__ = ("content", "messages", "name")

    def __init__(self, name: str, content: str | bytes | memoryview) -> None:
        self.name = name
        self.content = content
        self.messages = 0

    def position(self, place: int) -> str:
        """How errors name a place: by line and column, or by byte.

        >>> Source("net", "a: 1\\nb: 2").position(8), Source("net", b"").position(8)
        ('line 2, column 4', 'at byte 8')
        """
        if not isinstance(self.content, str):
            return f"at byte {place}"
        line = self.content.count("\n", 0, place) + 1
        return f"line {line}, column {place - self.content.rfind(chr(10), 0, place)}"

    def fail(self, place: int, message: str, path: str = "") -> NoReturn:
        """Raise an error that says where."""
        inside = f"{path}: " if path else ""
        raise TigonError(f"{self.name}: {self.position(place)}: {inside}{message}")

    def count_message(self, place: int) -> None:
        """Raise where a file holds more messages than any of its kind."""
        self.messages += 1
        if self.messages > MOST_MESSAGES:
            self.fail(place, f"holds more than {MOST_MESSAGES} messages; is it damaged?")


class Message:
    """Values of fields, read as attributes: what the file does not say has its default, repeated
    fields are lists, messages that are not there are empty ones.

    >>> from tigon.readers.schema import Schema
    >>> from tigon.readers.text import read_text
    >>> table = Schema('''
    ... message Shape
    ...   dim 1 int64*
    ... message Layer
    ...   name 1 string
    ...   stride 2 uint32 = 1
    ...   shape 3 Shape
    ... ''')
    >>> layer = read_text("name: 'conv' shape { dim: 3 dim: 4 }", table["Layer"], "net")
    >>> layer.name, layer.stride, layer.shape.dim, layer.has("stride")
    ('conv', 1, [3, 4], False)
    """

    __slots__ = (
        "_places",
        "_values",
        "as_field",
        "as_item",
        "begins_at",
        "in_file",
        "of_type",
        "within",
    )

    def __init__(
        self,
        kind: MessageType,
        source: Source,
        place: int,
        parent: Message | None = None,
        inside: str = "",
        index: int | None = None,
    ) -> None:
        self.of_type = kind
        self.in_file = source
        self.begins_at = place
        self.within = parent
        self.as_field = inside
        """The name of the field that it is the value of."""
        self.as_item = index
        self._values: dict[str, Any] = {}
        self._places: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        field = self.of_type.by_name[name]
        if name in self._values:
            value = self._values[name]
            return _flat(value) if field.is_repeated else value
        if field.is_repeated:
            return []
        if isinstance(field.kind, MessageType):
            return Message(field.kind, self.in_file, self.begins_at, self, name)
        return field.default

    def has(self, name: str) -> bool:
        """Whether the file gives the field."""
        return name in self._values

    def given(self) -> Iterator[tuple[Field, Any]]:
        """The fields that the file gives, with their values."""
        for name in self._values:
            yield self.of_type.by_name[name], getattr(self, name)

    def numbers(self, name: str, dtype: str) -> np.ndarray:
        """The numbers of a repeated field; of packed ones on the wire no copy is made."""
        parts = self._values.get(name, [])
        if len(parts) == 1 and isinstance(parts[0], np.ndarray):
            return parts[0].astype(dtype, copy=False)
        arrays = [np.atleast_1d(np.asarray(part, dtype)) for part in parts]
        return np.concatenate(arrays) if arrays else np.zeros(0, dtype)

    def put(self, field: Field, value: Any, place: int) -> None:
        """Add what a reader has found; a field that is not repeated takes the last value."""
        if field.is_repeated:
            self._values.setdefault(field.name, []).append(value)
            self._places.setdefault(field.name, place)
        else:
            self._values[field.name] = value
            self._places[field.name] = place

    def child(self, field: Field, place: int) -> Message:
        """The message that begins at a place. One field twice is one message, as of all protocol
        buffers."""
        assert isinstance(field.kind, MessageType)
        if not field.is_repeated and field.name in self._values:
            found = self._values[field.name]
            assert isinstance(found, Message)
            return found
        self.in_file.count_message(place)
        index = len(self._values.get(field.name, ())) if field.is_repeated else None
        made = Message(field.kind, self.in_file, place, self, field.name, index)
        self.put(field, made, place)
        return made

    def with_values(self, values: Mapping[str, Any], kind: MessageType | None = None) -> Message:
        """One at the same place, of another kind if given, with these values; repeated fields are
        lists."""
        made = Message(
            kind or self.of_type,
            self.in_file,
            self.begins_at,
            self.within,
            self.as_field,
            self.as_item,
        )
        made._values = dict(values)
        made._places = {name: self._places.get(name, self.begins_at) for name in values}
        return made

    def all_values(self) -> dict[str, Any]:
        """What the file gives, by name."""
        return dict(self._values)

    @property
    def full_path(self) -> str:
        """How errors name it: `layer[2].convolution_param`."""
        parts: list[str] = []
        message: Message | None = self
        while message is not None and message.as_field:
            index = "" if message.as_item is None else f"[{message.as_item}]"
            parts.append(message.as_field + index)
            message = message.within
        return ".".join(reversed(parts))

    def fail(self, message: str, field: str = "") -> NoReturn:
        """Raise an error at a field, or at the beginning of the message."""
        place = self._places.get(field, self.begins_at)
        path = ".".join(part for part in (self.full_path, field) if part)
        self.in_file.fail(place, message, path)

    def check(self, condition: object, message: str, field: str = "") -> None:
        """Raise an error at a field unless `condition` holds."""
        if not condition:
            self.fail(message, field)

    def __repr__(self) -> str:
        return f"Message({self.of_type.name}: {', '.join(self._values)})"


def _flat(parts: list[Any]) -> list[Any]:
    """Numbers that came packed, and others."""
    if not any(isinstance(part, np.ndarray) for part in parts):
        return list(parts)
    flat: list[Any] = []
    for part in parts:
        flat += part.tolist() if isinstance(part, np.ndarray) else [part]
    return flat
