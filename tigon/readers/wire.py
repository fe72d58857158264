"""Messages on the wire (protobuf.dev/programming-guides/encoding).

Nothing here recurses. Numbers that are packed are arrays over the file's own bytes: reading
takes no memory for them.
"""

from __future__ import annotations

import struct
from collections.abc import Container
from typing import Any

import numpy as np

from tigon.readers.message import DEEPEST, Message, Source
from tigon.readers.schema import INTEGERS, EnumType, Field, MessageType

VARINT, EIGHT_BYTES, LENGTH, GROUP, END_OF_GROUP, FOUR_BYTES = range(6)
_NAMES = ("a varint", "eight bytes", "a length and bytes", "a group", "an end of a group",
          "four bytes")  # fmt: skip
_DTYPES = {"float": "<f4", "double": "<f8"}


def read_wire(
    content: bytes | memoryview, kind: MessageType, name: str, only: Container[str] | None = None
) -> Message:
    """The message that these bytes hold, of the given kind; `name` is the file's, for errors.

    What the table does not know is passed over, as protocol buffers do; so are fields whose names
    are not in `only`, if that is given. Raises `TigonError` with the byte and the path of the
    message there where bytes are malformed or missing, or a field is of another kind.

    >>> from tigon.readers.schema import Schema
    >>> kind = Schema("message Blob\\n  name 1 string\\n  data 2 float*")["Blob"]
    >>> blob = read_wire(bytes.fromhex("0a0177 1208 0000803f 00000040"), kind, "weights")
    >>> blob.name, blob.numbers("data", "float32")
    ('w', array([1., 2.], dtype=float32))
    >>> read_wire(bytes.fromhex("0a0177 120800"), kind, "weights")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: weights: at byte 5: data: expected 8 bytes; 1 are left
    """
    return _Reader(Source(name, content), only).read(kind)


class _Reader:
    def __init__(self, source: Source, only: Container[str] | None) -> None:
        self.source = source
        self.bytes = memoryview(source.content).cast("B")  # type: ignore[arg-type]
        self.only = only
        self.at = 0
        self.end = len(self.bytes)
        self.message: Message | None = None
        self.field = ""

    def _fail(self, message: str, place: int | None = None) -> None:
        path = self.message.full_path if self.message is not None else ""
        path = ".".join(part for part in (path, self.field) if part)
        self.source.fail(self.at if place is None else place, message, path)

    def _varint(self) -> int:
        begin, value = self.at, 0
        for shift in range(0, 70, 7):
            if self.at >= self.end:
                self._fail("expected the rest of a varint; the message ends here")
            byte = self.bytes[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (2**64 - 1)
        self._fail("expected a varint of at most ten bytes", begin)
        raise AssertionError

    def _take(self, count: int) -> memoryview:
        if count > self.end - self.at:
            self._fail(f"expected {count} bytes; {self.end - self.at} are left")
        self.at += count
        return self.bytes[self.at - count : self.at]

    def read(self, kind: MessageType) -> Message:
        top = self.message = Message(kind, self.source, 0)
        ends: list[int] = []  # of the messages around this one
        while True:
            while self.at == self.end and ends:
                assert self.message is not None
                self.message, self.end = self.message.within, ends.pop()
            if self.at == self.end:
                return top
            message = self.message
            assert message is not None
            place, self.field = self.at, ""
            tag = self._varint()
            number, form = tag >> 3, tag & 7
            if number == 0 or number >= 2**29 or form > FOUR_BYTES:
                self._fail(f"expected a field; given number {number}, wire type {form}", place)
            field = message.of_type.by_number.get(number)
            if field is None or (self.only is not None and field.name not in self.only):
                self._skip(form, number)
                continue
            self.field = field.name
            if isinstance(field.kind, MessageType):
                self._expect(LENGTH, form, place)
                size = self._varint()
                if size > self.end - self.at:
                    self._fail(f"expected {size} bytes; {self.end - self.at} are left")
                if len(ends) >= DEEPEST:
                    self._fail(f"expected at most {DEEPEST} messages within each other", place)
                ends.append(self.end)
                self.end = self.at + size
                self.message = message.child(field, place)
            elif form == LENGTH and field.is_repeated and field.kind not in ("string", "bytes"):
                for value in self._packed(field):
                    message.put(field, value, place)
            else:
                message.put(field, self._value(field, form, place), place)

    def _expect(self, wanted: int, form: int, place: int) -> None:
        if form != wanted:
            self._fail(f"expected {_NAMES[wanted]}; given {_NAMES[form]}", place)

    def _skip(self, form: int, number: int) -> None:
        """Pass over a field, or over all that is in a group."""
        groups: list[int] = []
        while True:
            if form == VARINT:
                self._varint()
            elif form in (EIGHT_BYTES, FOUR_BYTES):
                self._take(8 if form == EIGHT_BYTES else 4)
            elif form == LENGTH:
                self._take(self._varint())
            elif form == GROUP:
                groups.append(number)
                if len(groups) > DEEPEST:
                    self._fail(f"expected at most {DEEPEST} groups within each other")
            elif form == END_OF_GROUP:
                if not groups or groups.pop() != number:
                    self._fail(f"expected a group {number} before its end")
            else:
                self._fail(f"expected a field; given number {number}, wire type {form}")
            if not groups:
                return
            tag = self._varint()
            number, form = tag >> 3, tag & 7

    def _packed(self, field: Field) -> list[Any]:
        size = self._varint()
        place = self.at
        if field.kind in _DTYPES:
            dtype = np.dtype(_DTYPES[field.kind])
            taken = self._take(size)
            if size % dtype.itemsize:
                self._fail(f"expected {dtype.itemsize} bytes each; given {size} bytes", place)
            return [np.frombuffer(taken, dtype)] if size else []
        if size > self.end - self.at:
            self._fail(f"expected {size} bytes; {self.end - self.at} are left")
        outer, self.end = self.end, self.at + size
        values = []
        while self.at < self.end:
            begin = self.at
            values.append(self._scalar(field, self._varint(), begin))
        self.end = outer
        return values

    def _value(self, field: Field, form: int, place: int) -> Any:
        if field.kind in _DTYPES:
            wanted, size = (FOUR_BYTES, 4) if field.kind == "float" else (EIGHT_BYTES, 8)
            self._expect(wanted, form, place)
            (number,) = struct.unpack("<f" if size == 4 else "<d", self._take(size))
            # The shortest decimal that is this float: 0.01 is 0.01, as it is in text.
            return float(str(np.float32(number))) if size == 4 else number
        if field.kind in ("string", "bytes"):
            self._expect(LENGTH, form, place)
            size = self._varint()
            begin = self.at
            taken = bytes(self._take(size))
            if field.kind == "bytes":
                return taken
            try:
                return taken.decode()
            except UnicodeDecodeError as error:
                self._fail("expected a string in UTF-8", begin + error.start)
        self._expect(VARINT, form, place)
        begin = self.at
        return self._scalar(field, self._varint(), begin)

    def _scalar(self, field: Field, value: int, place: int) -> Any:
        if field.kind == "bool":
            return value != 0
        if value >= 2**63 and field.kind not in ("uint32", "uint64"):
            value -= 2**64
        if isinstance(field.kind, EnumType):
            word = field.kind.words.get(value)
            if word is None:
                self._fail(f"expected one of {', '.join(field.kind.numbers)}; given {value}", place)
            return word
        least, greatest = INTEGERS[field.kind]
        if not least <= value <= greatest:
            self._fail(f"expected a number from {least} to {greatest}; given {value}", place)
        return value
