"""Files of HDF5 as its library writes them unless told otherwise: groups of names in trees, arrays
in one piece. Everything is read where it lies, nothing is believed, and no library is needed.

What the library writes only on demand (arrays in chunks, compressed ones, groups of the form of
1.8, links to elsewhere) is refused with what rewrites a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple, NoReturn

import numpy as np

from tigon.base.errors import TigonError
from tigon.base.types import MOST_AXES
from tigon.readers.shapes import is_possible

SIGNATURE = b"\x89HDF\r\n\x1a\n"

MOST = 1 << 18
"""Rows, messages and parts of a file that are looked at: each takes more here than there."""

LONGEST = 1024
"""Bytes of a name at most."""

DEEPEST = 32
"""Groups within groups."""

_NOWHERE = 2**64 - 1
_REWRITE = "h5repack -l CONTI -f NONE OLD NEW rewrites it so that it is"


def is_hdf5(content: bytes | memoryview) -> bool:
    """Whether a file begins as HDF5 does."""
    return bytes(content[: len(SIGNATURE)]) == SIGNATURE


class _Entry(NamedTuple):
    """A name in a group, and the byte where what it names begins."""

    name: str
    place: int


class Dataset:
    """An array of numbers, or a text: `shape`, and `dtype`, which is None for texts."""

    def __init__(
        self,
        file: File,
        path: str,
        place: int,
        shape: tuple[int, ...],
        dtype: np.dtype | None,
        content: memoryview,
    ) -> None:
        self._file = file
        self.path = path
        self.place = place
        """The byte where it is described."""
        self.shape = shape
        self.dtype = dtype
        self._content = content

    def fail(self, message: str) -> NoReturn:
        """Raise an error that says where."""
        self._file.fail(self.place, f"{self.path}: {message}")

    def array(self) -> np.ndarray:
        """Its numbers, over the bytes of the file."""
        if self.dtype is None:
            self.fail("expected numbers; given a text")
        return np.frombuffer(self._content, self.dtype).reshape(self.shape)

    def text(self) -> str:
        """Its text, up to the first zero."""
        if self.dtype is not None:
            self.fail(f"expected a text; given numbers of {self.dtype}")
        try:
            return bytes(self._content).split(b"\0", 1)[0].decode()
        except UnicodeDecodeError:
            self.fail("expected a text in UTF-8")


class File:
    """A file of HDF5: `datasets` by path, such as 'data/conv1/0', in the order of its trees.

    Raises a `TigonError` with the byte where it is damaged, or holds what is not read.
    """

    def __init__(self, content: bytes | memoryview, name: str) -> None:
        self.name = name
        self._content = memoryview(content)
        self._seen: set[int] = set()
        self._left = MOST
        if not is_hdf5(content):
            self.fail(0, "expected a file of HDF5")
        versions = bytes(self._take(8, 8))
        if versions[0] > 1 or versions[5:7] != b"\x08\x08":
            self.fail(
                8,
                f"expected version 0 or 1 with places of 8 bytes; given {versions[0]} with "
                f"{versions[5]} and {versions[6]}; h5repack --low=0 --high=0 OLD NEW rewrites it",
            )
        begin = 24 if versions[0] == 0 else 28
        self._base = self._number(begin)
        self._root = self._number(begin + 40)
        self.datasets = {dataset.path: dataset for dataset in self._walk()}

    # -- bytes

    def fail(self, place: int, message: str) -> NoReturn:
        """Raise an error that says where."""
        raise TigonError(f"{self.name}: at byte {place}: {message}")

    def _take(self, place: int, size: int) -> memoryview:
        if place + size > len(self._content):
            left = max(len(self._content) - place, 0)
            self.fail(place, f"expected {size} bytes; {left} are left")
        return self._content[place : place + size]

    def _number(self, place: int, size: int = 8) -> int:
        return int.from_bytes(self._take(place, size), "little")

    def _place(self, at: int) -> int:
        """The place that stands at a place."""
        return self._base + self._number(at)

    def _visit(self, place: int, mark: bytes, what: str) -> None:
        """Look at a part that begins with a mark."""
        if bytes(self._content[place : place + len(mark)]) != mark:
            self.fail(place, f"expected {what}, which begins with {mark!r}")
        self._once(place)

    def _once(self, place: int) -> None:
        """Raise where a part is looked at again."""
        if place in self._seen:
            self.fail(place, "expected each part in one place; it is there twice")
        self._seen.add(place)
        self._count(place, 1)

    def _count(self, place: int, number: int) -> None:
        """Raise where there is more than any file of its kind holds."""
        self._left -= number
        if self._left < 0:
            self.fail(place, f"holds more than {MOST} parts; is it damaged?")

    # -- groups

    def _walk(self) -> Iterator[Dataset]:
        """Datasets of all groups, from the root on."""
        waiting = [("", self._base + self._root)]
        while waiting:
            path, place = waiting.pop()
            messages = self._messages(place)
            group = next((body for kind, body, _ in messages if kind == 0x11), None)
            if group is None:
                yield self._dataset(path or "/", place, messages)
                continue
            if path.count("/") >= DEEPEST:
                self.fail(place, f"expected at most {DEEPEST} groups within each other")
            entries = list(self._entries(self._place(group), self._place(group + 8)))
            waiting += [
                (f"{path}/{entry.name}" if path else entry.name, entry.place)
                for entry in reversed(entries)
            ]

    def _entries(self, tree: int, heap: int) -> Iterator[_Entry]:
        self._visit(heap, b"HEAP", "names of a group")
        text = self._take(self._place(heap + 24), self._number(heap + 8))
        waiting: list[tuple[int, int | None]] = [(tree, None)]
        while waiting:
            place, level = waiting.pop()
            if level == 0:
                yield from self._rows(place, text)
                continue
            self._visit(place, b"TREE", "a tree of names")
            own, count = self._number(place + 5, 1), self._number(place + 6, 2)
            if self._number(place + 4, 1) != 0 or (level is not None and own != level - 1):
                self.fail(place + 4, "expected a tree of names, each level below the one above it")
            self._count(place, count)
            children = [self._place(place + 32 + 16 * number) for number in range(count)]
            waiting += [(child, own) for child in reversed(children)]

    def _rows(self, place: int, text: memoryview) -> Iterator[_Entry]:
        self._visit(place, b"SNOD", "rows of names")
        count = self._number(place + 6, 2)
        self._count(place, count)
        for row in range(place + 8, place + 8 + 40 * count, 40):
            begin = self._number(row)
            name, end, _ = bytes(text[begin : begin + LONGEST + 1]).partition(b"\0")
            if not (name and end):
                self.fail(row, f"expected a name of 1 to {LONGEST} bytes; given {name[:60]!r}")
            if self._number(row + 16, 4) == 2:
                self.fail(row, f"{name[:60]!r}: links to elsewhere are not followed")
            try:
                yield _Entry(name.decode(), self._place(row + 8))
            except UnicodeDecodeError:
                self.fail(row, f"expected a name in UTF-8; given {name[:60]!r}")

    # -- what is said of an object

    def _messages(self, place: int) -> list[tuple[int, int, int]]:
        """(kind, the place of its content, size) of each message."""
        self._visit(place, b"\x01", "an object of version 1")
        count = self._number(place + 2, 2)
        waiting = [(place + 16, self._number(place + 8, 4))]
        found: list[tuple[int, int, int]] = []
        while waiting:
            at, size = waiting.pop()
            end = at + size
            self._take(at, size)
            while at + 8 <= end and len(found) < count:
                kind, size, flags = (self._number(at + o, n) for o, n in ((0, 2), (2, 2), (4, 1)))
                if flags & 2 and kind in (1, 3, 8):
                    self.fail(at, "expected what is said of an array at the array; " + _REWRITE)
                if at + 8 + size > end:
                    self.fail(at, f"expected {size} bytes; {end - at - 8} are left")
                found.append((kind, at + 8, size))
                self._count(at, 1)
                if kind == 0x10:
                    more = self._place(at + 8)
                    self._once(more)
                    waiting.append((more, self._number(at + 16)))
                at += 8 + size
        return found

    def _dataset(self, path: str, place: int, messages: list[tuple[int, int, int]]) -> Dataset:
        at = {kind: body for kind, body, _ in messages}
        if not {1, 3, 8} <= at.keys():
            self.fail(place, f"{path}: expected a group, or an array with shape, type and place")
        shape = self._shape(at[1], path)
        dtype, size = self._dtype(at[3], path)
        return Dataset(self, path, place, shape, dtype, self._content_of(at[8], path, shape, size))

    def _shape(self, at: int, path: str) -> tuple[int, ...]:
        version, rank = self._number(at, 1), self._number(at + 1, 1)
        is_none = version == 2 and self._number(at + 3, 1) == 2
        if version not in (1, 2) or rank > MOST_AXES or is_none:
            self.fail(at, f"{path}: expected a shape of at most {MOST_AXES} extents; given {rank}")
        begin = at + (8 if version == 1 else 4)
        shape = tuple(self._number(begin + 8 * axis) for axis in range(rank))
        if not is_possible(shape):
            self.fail(at, f"{path}: expected extents that an array may have; given {shape}")
        return shape

    def _dtype(self, at: int, path: str) -> tuple[np.dtype | None, int]:
        """The dtype, None for texts, and bytes of an element."""
        kind, bits, size = (
            self._number(at, 1) & 15,
            self._number(at + 1, 1),
            self._number(at + 4, 4),
        )
        order = ">" if bits & 1 else "<"
        # Behind the size of whole numbers stands where their bits begin, and how many these are.
        if kind == 0 and size in (1, 2, 4, 8) and self._number(at + 8, 4) == 8 * size << 16:
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"), size
        layout = bytes(self._take(at + 8, 8)) if kind == 1 else b""
        if kind == 1 and _FLOATS.get(size) == layout and not bits & 0x40:
            return np.dtype(f"{order}f{size}"), size
        if kind == 3:
            return None, size
        self.fail(
            at, f"{path}: expected numbers or a text; given elements of class {kind}, {size} bytes"
        )

    def _content_of(self, at: int, path: str, shape: tuple[int, ...], size: int) -> memoryview:
        version, kind, total = self._number(at, 1), self._number(at + 1, 1), prod(shape) * size
        if version not in (3, 4) or kind not in (0, 1):
            self.fail(at, f"{path}: expected an array in one piece; {_REWRITE}")
        if kind == 0:
            begin, held = at + 4, self._number(at + 2, 2)
        else:
            begin, held = self._number(at + 2), self._number(at + 10)
            if begin == _NOWHERE and total == 0:
                return self._content[:0]
            begin += self._base
        if held < total:
            self.fail(at, f"{path}: expected {total} bytes of shape {shape}; given {held}")
        return self._take(begin, total)


_FLOATS = {
    2: b"\0\0\x10\0\x0a\x05\0\x0a",
    4: b"\0\0\x20\0\x17\x08\0\x17",
    8: b"\0\0\x40\0\x34\x0b\0\x34",
}
"""By size, where IEEE's floats have exponent and mantissa."""
