"""safetensors: arrays by name, with a JSON header. Read and written here in full; the format is
eight bytes of header length, the header, and the values."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from tigon.base import TigonError, as_dtype
from tigon.base.types import MOST_AXES
from tigon.export.values import (
    array_of,
    is_text,
    repeated,
    size_of,
    written_name,
)

_TAGS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
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
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts = []
    at = 0
    # Wide types first, as the library does: every array is then aligned to its own size.
    names = sorted(arrays, key=lambda name: (-np.asarray(arrays[name]).itemsize, name))
    for name in names:
        written_name(name)
        array = np.asarray(arrays[name])
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": _NAMES[as_dtype(array.dtype).name],
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
    return _Reader(memoryview(content), where).read()


def metadata(content: bytes | memoryview, where: str) -> dict[str, str]:
    """What the header says beside the arrays.

    >>> metadata(write({"w": np.arange(2)}, {"format": "np"}), "memory")
    {'format': 'np'}
    """
    reader = _Reader(memoryview(content), where)
    return reader._check_metadata(reader._header().get("__metadata__", {}))


class _Reader:
    def __init__(self, content: memoryview, where: str) -> None:
        self._content = content
        self._where = where
        self._text = ""
        self._start = 8  # of the values

    def _fail(self, at: int, expectation: str, given: object) -> TigonError:
        return TigonError(
            f"{self._where}: at byte {at}: expected {expectation}; given {given}; "
            "the file is damaged, cut off or not a safetensors file"
        )

    def _fail_entry(self, name: str, expectation: str, given: object) -> TigonError:
        """At the entry's place in the header, as far as it is spelt in the usual way."""
        place = max(self._text.find(json.dumps(name, ensure_ascii=False)), 0)
        return self._fail(self._byte(place), expectation, given)

    def _byte(self, character: int) -> int:
        return 8 + len(self._text[:character].encode())

    def read(self) -> dict[str, np.ndarray]:
        header = self._header()
        self._check_metadata(header.pop("__metadata__", {}))
        result = {name: self._array(name, entry) for name, entry in header.items()}
        self._check_layout(header)
        return result

    def _header(self) -> dict[str, Any]:
        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            twice = repeated([name for name, _ in pairs])
            if twice is not None:
                raise self._fail_entry(twice, "every name once", f"{twice!r:.80} twice")
            return dict(pairs)

        count = len(self._content)
        if count < 8:
            raise self._fail(0, "8 bytes of header length", f"{count} bytes")
        length = struct.unpack("<Q", self._content[:8])[0]
        most = min(count - 8, MOST_HEADER)
        if length > most:
            raise self._fail(0, f"a header of at most {most} bytes", length)
        self._start = 8 + length
        try:
            self._text = bytes(self._content[8 : self._start]).decode()
            header = json.loads(self._text, object_pairs_hook=unique)
        except UnicodeDecodeError as error:
            raise self._fail(8 + error.start, "a header in UTF-8", "other bytes") from None
        except json.JSONDecodeError as error:
            at = self._byte(error.pos)
            raise self._fail(at, "the JSON text of the header", error.msg) from None
        except (ValueError, RecursionError) as error:
            raise self._fail(8, "the JSON text of the header", str(error)[:80]) from None
        if not isinstance(header, dict):
            raise self._fail(8, "an object", type(header).__name__)
        return header

    def _check_metadata(self, found: Any) -> dict[str, str]:
        if not isinstance(found, dict) or not all(isinstance(t, str) for t in found.values()):
            raise self._fail_entry("__metadata__", "an object of texts", f"{found!r:.40}")
        return found

    def _array(self, name: str, entry: Any) -> np.ndarray:
        def fail(expectation: str, given: object) -> TigonError:
            return self._fail_entry(name, f"{expectation} for {name!r:.80}", f"{given!r:.80}")

        if not is_text(name):
            raise fail("a name in UTF-8", name)
        if not isinstance(entry, dict):
            raise fail("an object", type(entry).__name__)
        tag, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if not isinstance(tag, str) or tag not in _TAGS:
            raise fail(f"a dtype of {', '.join(_TAGS)}", tag)
        if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(_natural, shape)):
            raise fail("a shape", shape)
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)):
            raise fail("two data_offsets", offsets)
        start, end = offsets
        dtype = as_dtype(_TAGS[tag])
        size = size_of(dtype, shape)
        if size is None:
            raise fail("a shape of less than 2**63 bytes", shape)
        held = len(self._content) - self._start
        if end - start != size or end > held:
            of = f"{dtype} of shape {tuple(shape)}"
            raise fail(f"data_offsets of {size} bytes ({of}) within {held}", offsets)
        first = self._start + start
        return array_of(
            self._content[first : first + size],
            dtype,
            shape,
            lambda expectation, given, offset: self._fail(first + offset, expectation, given),
        )

    def _check_layout(self, header: Mapping[str, Any]) -> None:
        """Values follow one another without holes or overlap, as the format demands."""
        at = 0
        for start, end, name in sorted((*e["data_offsets"], name) for name, e in header.items()):
            if start != at:
                raise self._fail_entry(name, f"values that start at {at}", start)
            at = end
        if self._start + at != len(self._content):
            raise self._fail(self._start + at, "the end of the file", "more bytes")


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
