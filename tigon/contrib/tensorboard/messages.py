"""The few messages of TensorFlow's event files, as protocol buffers lay them out, and the records
around them.

A field is its number and kind as one varint, then its value: a varint (0), eight bytes (1), a
length and bytes (2), or four bytes (5) (protobuf.dev/programming-guides/encoding). Numbers of
fields are those of `event.proto`, `summary.proto` and `tensor.proto` in tensorflow/core. A record
is the length of its content (uint64), its masked checksum (uint32), the content, and the content's
masked checksum; the checksum is CRC-32C (RFC 3720, B.4), little endian
(tensorflow/core/lib/io/record_writer.h).

>>> number(2, 5).hex(), text(1, "a").hex(), single(2, 1.0).hex()
('1005', '0a0161', '150000803f')
>>> hex(checksum(b"123456789"))
'0xe3069283'
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tigon.base.leb128 import leb128

DT_STRING = 7


def number(field: int, value: int) -> bytes:
    """A whole number, not negative."""
    return leb128(field << 3) + leb128(value)


def double(field: int, value: float) -> bytes:
    return leb128(field << 3 | 1) + struct.pack("<d", value)


def single(field: int, value: float) -> bytes:
    return leb128(field << 3 | 5) + struct.pack("<f", value)


def doubles(field: int, values: Iterable[float]) -> bytes:
    """Several, packed."""
    return content(field, b"".join(struct.pack("<d", value) for value in values))


def content(field: int, value: bytes) -> bytes:
    """Bytes, or a message."""
    return leb128(field << 3 | 2) + leb128(len(value)) + value


def text(field: int, value: str) -> bytes:
    return content(field, value.encode("utf-8", "replace"))


def event(seconds: float, step: int, summary: bytes) -> bytes:
    """An `Event` with a `Summary` of one value."""
    return double(1, seconds) + number(2, step % (1 << 64)) + content(5, content(1, summary))


def first_event(seconds: float) -> bytes:
    """What each file begins with: the version of the format."""
    return double(1, seconds) + text(3, "brain.Event:2")


def image(height: int, width: int, channels: int, encoded: bytes) -> bytes:
    return number(1, height) + number(2, width) + number(3, channels) + content(4, encoded)


def histogram(values: Iterable[float], limits: Iterable[float], counts: Iterable[float]) -> bytes:
    """`HistogramProto`. `values`: least, greatest, how many, sum, sum of squares."""
    fields = b"".join(double(place, value) for place, value in enumerate(values, 1))
    return fields + doubles(6, limits) + doubles(7, counts)


def string_tensor(value: str) -> bytes:
    """A `TensorProto` of one text."""
    return number(1, DT_STRING) + content(2, content(2, number(1, 1))) + text(8, value)


def plugin(name: str) -> bytes:
    """`SummaryMetadata` that says who shows the value."""
    return content(1, text(1, name))


def record(data: bytes) -> bytes:
    """What is written to the file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def checksum(data: bytes) -> int:
    """CRC-32C."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    value = checksum(data)
    value = ((value >> 15) | (value << 17)) + 0xA282EAD8
    return struct.pack("<I", value & 0xFFFFFFFF)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()
