"""Messages as bytes, over the same tables that they are read by: the tests' own writer."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from tigon.readers.message import Message
from tigon.readers.schema import EnumType, Field, MessageType


def varint(value: int) -> bytes:
    value %= 2**64
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def encoded(message: Message, packed: bool = True) -> bytes:
    """A message on the wire; repeated numbers together or one by one."""
    parts = []
    for field, value in message.given():
        values = value if field.is_repeated else [value]
        is_number = not isinstance(field.kind, MessageType) and field.kind not in (
            "string",
            "bytes",
        )
        if packed and field.is_repeated and is_number and len(values):
            content = b"".join(scalar(field, one) for one in values)
            parts.append(varint(field.number << 3 | 2) + varint(len(content)) + content)
            continue
        for one in values:
            if isinstance(field.kind, MessageType):
                content = encoded(one, packed)
                parts.append(varint(field.number << 3 | 2) + varint(len(content)) + content)
            else:
                form = {"float": 5, "double": 1, "string": 2, "bytes": 2}.get(field.kind, 0) \
                    if isinstance(field.kind, str) else 0  # fmt: skip
                parts.append(varint(field.number << 3 | form) + scalar(field, one))
    return b"".join(parts)


def scalar(field: Field, value: Any) -> bytes:
    if isinstance(field.kind, EnumType):
        return varint(field.kind.numbers[value])
    if field.kind in ("float", "double"):
        return struct.pack("<f" if field.kind == "float" else "<d", value)
    if field.kind in ("string", "bytes"):
        content = value.encode() if isinstance(value, str) else value
        return varint(len(content)) + content
    return varint(int(value))


def content(number: int, value: bytes) -> bytes:
    """Bytes, or a message, as the value of a field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def numbers(number: int, values: np.ndarray) -> bytes:
    """Packed floats or doubles."""
    dtype = "<f8" if values.dtype == np.float64 else "<f4"
    return content(number, values.astype(dtype).tobytes())
