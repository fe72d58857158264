"""MXNet's .params: lists of arrays, with or without names. Versions 1, 2, 3 and the oldest, which
has no number, are read; version 2 is written. Sparse arrays are read as such, or as dense ones."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tigon.base import DType, TigonError, check
from tigon.base.dtypes import BY_CODE, as_dtype
from tigon.base.foreign import kind_of
from tigon.base.types import MOST_AXES
from tigon.export.values import array_of, repeated, size_of, written_name

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

ROW_SPARSE, CSR = 1, 2
_PARTS = {0: 0, ROW_SPARSE: 1, CSR: 2}
"""Storage type -> how many arrays of positions stand beside the values."""


def write(arrays: Sequence[np.ndarray | Sparse] | Mapping[str, np.ndarray | Sparse]) -> bytes:
    """The bytes of a file.

    >>> read(write({"w": np.ones((2, 1), np.float32)}), "memory")
    {'w': array([[1.],
           [1.]], dtype=float32)}
    """
    names = list(arrays) if isinstance(arrays, Mapping) else []
    values = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(values))]
    for array in values:
        sparse = isinstance(array, Sparse)
        parts.extend(_write_sparse(array) if sparse else _write_array(np.asarray(array)))
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


def _write_sparse(array: Sparse) -> list[bytes]:
    values = np.ascontiguousarray(array.values)
    places = [array.indices] if array.pointers is None else [array.pointers, array.indices]
    places = [np.ascontiguousarray(one, np.int64) for one in places]
    storage = ROW_SPARSE if array.pointers is None else CSR
    head = [struct.pack("<Ii", V2, storage), _long(values.shape), _long(array.shape)]
    head.append(struct.pack("<iii", 1, 0, as_dtype(values.dtype).code))
    head += [struct.pack("<i", _INT64) + _long(one.shape) for one in places]
    return [*head, values.tobytes(), *[one.tobytes() for one in places]]


def _long(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


_INT64 = as_dtype("int64").code


class Sparse(NamedTuple):
    """An array of which a file holds only some rows, or some elements of each row."""

    shape: tuple[int, ...]
    values: np.ndarray
    """Whole rows; or the elements, row by row."""
    indices: np.ndarray
    """int64: which rows these are; or the column of each element."""
    pointers: np.ndarray | None = None
    """int64, of elements: where in `values` each row begins, and the end."""

    @property
    def storage(self) -> str:
        """'row_sparse' or 'csr', as MXNet calls them."""
        return "row_sparse" if self.pointers is None else "csr"

    def dense(self) -> np.ndarray:
        """The whole array; what the file does not hold is zero.

        >>> Sparse((3, 2), np.ones((1, 2), np.float32), np.array([2])).dense().tolist()
        [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
        """
        whole = np.zeros(self.shape, self.values.dtype)
        if self.pointers is None:
            whole[self.indices] = self.values
        else:
            whole[self.rows(), self.indices] = self.values
        return whole

    def rows(self) -> np.ndarray:
        """The row of each of the values.

        >>> Sparse((2, 9), np.ones(3), np.array([4, 5, 6]), np.array([0, 1, 3])).rows()
        array([0, 1, 1])
        """
        if self.pointers is None:
            return self.indices
        return np.repeat(np.arange(len(self.pointers) - 1), np.diff(self.pointers))


class Entry(NamedTuple):
    """An array as it stands in a file."""

    version: int
    """0 to 3."""
    array: np.ndarray | Sparse
    at: int
    """The byte where it begins."""


MOST_TIMES, ALWAYS = 256, 2**24
"""Sparse arrays become dense ones of so many times the bytes of a file, or of so many bytes: a
number in a file must not decide how much memory is asked for."""


def read(content: bytes | memoryview, where: str) -> list[np.ndarray] | dict[str, np.ndarray]:
    """The arrays of a file: a dict if it has names, else a list. They are read-only views of
    `content`, but for those that are stored sparsely: these are made dense."""
    found = entries(content, where)
    listed = list(found.values()) if isinstance(found, dict) else found
    most = max(MOST_TIMES * len(content), ALWAYS)
    wanted = 0
    for entry in listed:
        if isinstance(entry.array, Sparse):
            wanted += math.prod(entry.array.shape) * entry.array.values.itemsize
            check(
                wanted <= most,
                where,
                f"at byte {entry.at}: up to here its sparse arrays would take {wanted} bytes as "
                f"dense ones; a file of {len(content)} bytes is trusted with {most}; take the "
                "parts: tigon.export.params.entries",
            )
    dense = [e.array.dense() if isinstance(e.array, Sparse) else e.array for e in listed]
    return dict(zip(found, dense, strict=True)) if isinstance(found, dict) else dense


def entries(content: bytes | memoryview, where: str) -> list[Entry] | dict[str, Entry]:
    """The same as they are stored, `Sparse` where they are: none of these is made dense.

    >>> entries(write({"w": np.ones((2, 1), np.float32)}), "memory")["w"].version
    2
    """
    return _Reader(content, where).read()


def read_record(content: bytes, where: str) -> np.ndarray:
    """One dense array, from the bytes that stand for it in a file."""
    reader = _Reader(content, where)
    array = reader._entry().array
    if isinstance(array, Sparse):
        raise reader._fail("dense storage (0)", f"a {array.storage} array", 4)
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

    def read(self) -> list[Entry] | dict[str, Entry]:
        magic = self._number("Q", "the list's mark")
        if magic != LIST_MAGIC:
            foreign = kind_of(self._content)
            check(foreign is None, self._where, f"expected a .params file; given {foreign}")
            raise self._fail(f"the list's mark {LIST_MAGIC:#x}", f"{magic:#x}", 0)
        self._number("Q", "the reserved word")
        arrays = [self._entry() for _ in range(self._count("arrays", 4))]
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

    def _entry(self) -> Entry:
        at = self._at
        magic = self._number("I", "an array's mark")
        if magic not in (V1, V2, V3):
            shape = self._shape("I", magic)
            return Entry(0, self._values(shape) if shape else _never_filled(), at)
        version = magic - V1 + 1
        storage = self._number("i", "the storage type") if version > 1 else 0
        if storage not in _PARTS:
            raise self._fail("storage type 0, 1 or 2", storage, at + 4)
        stored = self._long_shape() if storage else None
        shape = self._long_shape()
        if shape is None or (not shape and version < 3):
            return Entry(version, _never_filled(), at)
        if storage:
            return Entry(version, self._sparse(storage, stored, shape, at + 4), at)
        return Entry(version, self._values(shape), at)

    def _sparse(
        self, storage: int, stored: tuple[int, ...] | None, shape: tuple[int, ...], at: int
    ) -> Sparse:
        """The rest of an array whose storage type stands `at` this byte."""
        axes = 1 if storage == ROW_SPARSE else 2
        if stored is None or len(shape) < axes or (storage == CSR and len(shape) > axes):
            what = "rows" if storage == ROW_SPARSE else "two axes"
            raise self._fail(f"a shape with {what}", f"{shape}, of which {stored} is stored", at)
        self._numbers("ii", "a context")
        dtype = self._dtype()
        held = [(self._dtype(), self._long_shape()) for _ in range(_PARTS[storage])]
        start = self._at
        values = self._array(dtype, stored)
        rest = [self._positions(kind, extents) for kind, extents in held]
        if size_of(dtype, shape) is None:
            raise self._fail("a shape of less than 2**63 bytes", f"{dtype} of shape {shape}", at)
        if storage == ROW_SPARSE:
            (indices,) = rest
            if stored != (len(indices), *shape[1:]):
                raise self._fail(f"{len(indices)} rows of {shape}", f"shape {stored}", at)
            self._check_positions(indices, shape[0], "rows", start)
            if len(np.unique(indices)) != len(indices):
                raise self._fail("every row once", "one that stands twice", start)
            return Sparse(shape, values, indices)
        pointers, indices = rest
        if stored != indices.shape:
            raise self._fail(f"{len(indices)} elements, one per column", f"shape {stored}", at)
        self._check_positions(indices, shape[1], "columns", start)
        if not len(pointers) and not len(indices):  # as MXNet writes one that was never filled
            return Sparse(shape, values, indices, pointers)
        steps = np.diff(pointers)
        rises = len(steps) == shape[0] and pointers[0] == 0 and (steps >= 0).all()
        if not rises or pointers[-1] != len(indices):
            what = f"where {shape[0]} rows of {len(indices)} elements begin and end, rising from 0"
            raise self._fail(what, f"{len(pointers)} numbers", start)
        found = Sparse(shape, values, indices, pointers)
        if len(np.unique(found.rows() * shape[1] + indices)) != len(indices):
            raise self._fail("every column of a row once", "one that stands twice", start)
        return found

    def _positions(self, dtype: DType, shape: tuple[int, ...] | None) -> np.ndarray:
        at = self._at
        if shape is None or len(shape) != 1 or not dtype.is_integer:
            raise self._fail("whole numbers along one axis", f"{dtype} of shape {shape}", at)
        return self._array(dtype, shape).astype(np.int64)

    def _check_positions(self, found: np.ndarray, extent: int, what: str, at: int) -> None:
        wrong = (found < 0) | (found >= extent)
        if wrong.any():
            raise self._fail(f"{what} from 0 to {extent - 1}", int(found[wrong.argmax()]), at)

    def _long_shape(self) -> tuple[int, ...] | None:
        return self._shape("q", self._number("i", "the number of axes"))

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
        return self._array(self._dtype(), shape)

    def _dtype(self) -> DType:
        at = self._at
        code = self._number("i", "a dtype")
        dtype: DType | None = BY_CODE.get(code)
        if dtype is None:
            known = ", ".join(f"{d.code} ({d})" for d in BY_CODE.values())
            raise self._fail(f"a dtype out of {known}", code, at)
        return dtype

    def _array(self, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        # A hostile shape is compared, never allocated.
        size = size_of(dtype, shape)
        if size is None:
            at = self._at - 4
            raise self._fail("a shape of less than 2**63 bytes", f"{dtype} of shape {shape}", at)
        data = self._take(size, f"{dtype} values of shape {shape}")
        start = self._at - size

        def fail(expectation: str, given: object, offset: int) -> TigonError:
            return self._fail(expectation, given, start + offset)

        return array_of(data, dtype, shape, fail)


def _never_filled() -> np.ndarray:
    return np.empty((0,), np.float32)
