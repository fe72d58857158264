"""MXNet's .params: lists of arrays, with or without names. Versions 1, 2, 3 and the oldest, which
has no number, are read; version 2 is written."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon.base import DType, TigonError, check
from tigon.base.dtypes import BY_CODE, as_dtype
from tigon.export.values import MOST_AXES, array_of, repeated, size_of, written_name

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

Arrays = "list[np.ndarray] | dict[str, np.ndarray]"


def write(arrays: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a file.

    >>> read(write({"w": np.ones((2, 1), np.float32)}), "memory")
    {'w': array([[1.],
           [1.]], dtype=float32)}
    """
    names = list(arrays) if isinstance(arrays, Mapping) else []
    values = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(values))]
    for array in values:
        parts.extend(_write_array(np.asarray(array)))
    parts.append(struct.pack("<Q", len(names)))
    for name in names:
        encoded = written_name(name)
        parts.append(struct.pack("<Q", len(encoded)) + encoded)
    return b"".join(parts)


def _write_array(array: np.ndarray) -> list[bytes]:
    code = as_dtype(array.dtype).code
    # A scalar exists in version 3 only: in version 2 no axes means no array.
    magic = V2 if array.ndim else V3
    head = struct.pack(f"<Iii{array.ndim}q", magic, 0, array.ndim, *array.shape)
    return [head, struct.pack("<iii", 1, 0, code), np.ascontiguousarray(array).tobytes()]


def read(content: bytes | memoryview, where: str) -> list[np.ndarray] | dict[str, np.ndarray]:
    """The arrays of a file: a dict if it has names, else a list. They are read-only views of
    `content`."""
    return _Reader(content, where).read()


def read_record(content: bytes, where: str) -> np.ndarray:
    """One array, from the bytes that stand for it in a file."""
    reader = _Reader(content, where)
    array = reader._array()
    if reader._at != len(content):
        raise reader._fail("the end of the array", f"{len(content) - reader._at} more bytes")
    return array


def plain_names(arrays: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Arrays by the names of parameters. MXNet's files of whole models say of each whether it is an
    argument or an auxiliary state.

    >>> plain_names({"arg:fc_weight": 1, "aux:bn_moving_mean": 2}, "the file")
    {'fc_weight': 1, 'bn_moving_mean': 2}
    """
    names = [name[4:] if name.startswith(("arg:", "aux:")) else name for name in arrays]
    twice = repeated(names)
    check(
        twice is None,
        source,
        f"expected every parameter once; given several arrays named {twice!r:.80} but for 'arg:' "
        "and 'aux:' before it; rename one, or drop it",
    )
    return dict(zip(names, arrays.values(), strict=True))


class _Reader:
    def __init__(self, content: bytes | memoryview, where: str) -> None:
        self._content = memoryview(content)
        self._where = where
        self._at = 0

    def _fail(self, expectation: str, given: object, at: int | None = None) -> TigonError:
        position = self._at if at is None else at
        return TigonError(
            f"{self._where}: at byte {position}: expected {expectation}; given {given}; "
            "the file is damaged, cut off or not a .params file"
        )

    def _take(self, count: int, what: str) -> memoryview:
        left = len(self._content) - self._at
        if count > left:
            raise self._fail(f"{count} bytes of {what}", f"{left} until the end")
        start = self._at
        self._at += count
        return self._content[start : self._at]

    def _numbers(self, form: str, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}"), what))

    def _number(self, form: str, what: str) -> int:
        return self._numbers(form, what)[0]

    def _count(self, what: str, least_bytes: int) -> int:
        """A number of things that take at least so many bytes each."""
        at = self._at
        count = self._number("Q", f"the number of {what}")
        most = (len(self._content) - self._at) // least_bytes
        if count > most:
            raise self._fail(f"at most {most} {what} in what is left of the file", count, at)
        return count

    def read(self) -> list[np.ndarray] | dict[str, np.ndarray]:
        magic = self._number("Q", "the list's mark")
        if magic != LIST_MAGIC:
            raise self._fail(f"the list's mark {LIST_MAGIC:#x}", f"{magic:#x}", 0)
        self._number("Q", "the reserved word")
        arrays = [self._array() for _ in range(self._count("arrays", 4))]
        names = [self._name() for _ in range(self._count("names", 8))]
        if self._at != len(self._content):
            raise self._fail("the end of the file", f"{len(self._content) - self._at} more bytes")
        if not names:
            return arrays
        if len(names) != len(arrays):
            raise self._fail(f"{len(arrays)} names, one per array", len(names))
        twice = repeated(names)
        if twice is not None:
            raise self._fail("every name once", f"{twice!r:.80} twice")
        return dict(zip(names, arrays, strict=True))

    def _name(self) -> str:
        at = self._at
        length = self._count("bytes of a name", 1)
        try:
            return bytes(self._take(length, "a name")).decode()
        except UnicodeDecodeError:
            raise self._fail("a name in UTF-8", "other bytes", at) from None

    def _array(self) -> np.ndarray:
        at = self._at
        magic = self._number("I", "an array's mark")
        if magic in (V2, V3):
            storage = self._number("i", "the storage type")
            if storage != 0:
                raise self._fail("dense storage (0)", f"storage type {storage}", at + 4)
            shape = self._shape("q", self._number("i", "the number of axes"))
            if shape is None or (magic == V2 and not shape):
                return np.empty((0,), np.float32)  # an array that was never filled
        elif magic == V1:
            shape = self._shape("q", self._number("i", "the number of axes"))
        else:
            shape = self._shape("I", magic)
        if magic != V3 and not shape:
            return np.empty((0,), np.float32)
        return self._values(shape or ())

    def _shape(self, form: str, ndim: int) -> tuple[int, ...] | None:
        at = self._at - 4
        if ndim == -1:
            return None
        if not 0 <= ndim <= MOST_AXES:
            raise self._fail(f"an array's mark, or 0 to {MOST_AXES} axes", ndim, at)
        shape = self._numbers(f"{ndim}{form}", "a shape")
        if -1 in shape:
            return None
        if any(extent < 0 for extent in shape):
            raise self._fail("extents that are not negative", shape, at + 4)
        return shape

    def _values(self, shape: tuple[int, ...]) -> np.ndarray:
        self._numbers("ii", "a context")
        at = self._at
        code = self._number("i", "a dtype")
        dtype: DType | None = BY_CODE.get(code)
        if dtype is None:
            known = ", ".join(f"{d.code} ({d})" for d in BY_CODE.values())
            raise self._fail(f"a dtype out of {known}", code, at)
        # A hostile shape is compared, never allocated.
        size = size_of(dtype, shape)
        if size is None:
            raise self._fail("a shape of less than 2**63 bytes", f"{dtype} of shape {shape}", at)
        data = self._take(size, f"{dtype} values of shape {shape}")
        start = self._at - size

        def fail(expectation: str, given: object, offset: int) -> TigonError:
            return self._fail(expectation, given, start + offset)

        return array_of(data, dtype, shape, fail)
