"""safetensors: arrays by name, with a JSON header. Read and written here in full; the format is
eight bytes of header length, the header, and the values."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tigon.base import TigonError, as_dtype

_TAGS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {name: tag for tag, name in _TAGS.items()}
MOST_HEADER = 100_000_000


def write(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file.

    >>> read(write({"w": np.arange(2)}), "memory")
    {'w': array([0, 1])}
    """
    import json  # not with the module: few programs come by

    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts = []
    at = 0
    # Wide types first, as the library does: every array is then aligned to its own size.
    names = sorted(arrays, key=lambda name: (-np.asarray(arrays[name]).itemsize, name))
    for name in names:
        array = np.asarray(arrays[name])
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def is_safetensors(content: bytes | memoryview) -> bool:
    """Whether the content starts like such a file."""
    if len(content) < 9:
        return False
    return struct.unpack("<Q", content[:8])[0] <= len(content) - 8 and content[8] == ord("{")


def read(content: bytes | memoryview, where: str) -> dict[str, np.ndarray]:
    """The arrays of a file, as read-only views of `content`."""
    data = memoryview(content)
    if len(data) < 8:
        raise _fail(where, 0, "8 bytes of header length", f"{len(data)} bytes")
    length = struct.unpack("<Q", data[:8])[0]
    if length > min(len(data) - 8, MOST_HEADER):
        raise _fail(where, 0, f"a header of at most {len(data) - 8} bytes", f"{length}")
    header = _header(data[8 : 8 + length], where)
    values = data[8 + length :]
    result = {
        name: _array(where, name, entry, values)
        for name, entry in header.items()
        if name != "__metadata__"
    }
    _check_layout(where, header, len(values))
    return result


def _fail(where: str, at: int, expectation: str, given: object) -> TigonError:
    return TigonError(
        f"{where}: at byte {at}: expected {expectation}; given {given}; "
        "the file is damaged, cut off or not a safetensors file"
    )


def _header(text: memoryview, where: str) -> dict[str, Any]:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _fail(where, 8, "every name once", "a name twice")
        return found

    try:
        header = json.loads(bytes(text).decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _fail(where, 8, "the JSON text of the header", str(error)[:80]) from None
    if not isinstance(header, dict):
        raise _fail(where, 8, "an object", type(header).__name__)
    return header


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _array(where: str, name: str, entry: Any, values: memoryview) -> np.ndarray:
    if not isinstance(entry, dict):
        raise _fail(where, 8, f"an object for '{name}'", type(entry).__name__)
    tag, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(tag, str) or tag not in _TAGS:
        raise _fail(where, 8, f"a dtype of {', '.join(_TAGS)} for '{name}'", repr(tag)[:40])
    if not isinstance(shape, list) or len(shape) > 32 or not all(map(_natural, shape)):
        raise _fail(where, 8, f"a shape for '{name}'", repr(shape)[:40])
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)):
        raise _fail(where, 8, f"two data_offsets for '{name}'", repr(offsets)[:40])
    start, end = offsets
    dtype = as_dtype(_TAGS[tag])
    size = math.prod(shape) * dtype.itemsize
    if end - start != size or end > len(values):
        raise _fail(
            where,
            8,
            f"{size} bytes for '{name}' ({dtype} of shape {tuple(shape)}) within {len(values)}",
            f"data_offsets {offsets}",
        )
    return np.frombuffer(values[start:end], dtype.numpy.newbyteorder("<")).reshape(shape)


def _check_layout(where: str, header: Mapping[str, Any], size: int) -> None:
    """Values follow one another without holes or overlap, as the format demands."""
    spans = sorted(
        tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__"
    )
    at = 0
    for start, end in spans:
        if start != at:
            raise _fail(where, 8, f"values that start at {at}", start)
        at = end
    if at != size:
        raise _fail(where, 8, f"values that end with the file, at {size}", at)
