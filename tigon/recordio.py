"""Record files: many small payloads in one file, one after the other, with or without an index.

>>> import os, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> path = os.path.join(folder.name, "notes")
>>> with MXIndexedRecordIO(path + ".idx", path + ".rec", "w") as notes:
...     for key, text in enumerate([b"first", b"second"]):
...         notes.write_idx(key, text)
>>> with MXIndexedRecordIO(path + ".idx", path + ".rec", "r") as notes:
...     notes.keys, notes.read_idx(1), notes.read()
([0, 1], b'second', None)
>>> folder.cleanup()
"""

from __future__ import annotations

import os
import struct
import weakref
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tigon.base import TigonError, check
from tigon.base.files import NewFile, write_file
from tigon.base.lazy import complete as _complete
from tigon.image.codec import decode, encode

__all__ = [
    "IRHeader",
    "MXIndexedRecordIO",
    "MXRecordIO",
    "pack",
    "pack_img",
    "unpack",
    "unpack_img",
]

MAGIC = 0xCED7230A
"""How every part of a record begins."""

_HEAD = struct.Struct("<II")
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_LENGTH_BITS = 29
_LONGEST = (1 << _LENGTH_BITS) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_BEGINNINGS = (_WHOLE, _FIRST)
_CONTINUATIONS = (_MIDDLE, _LAST)

IRHeader = namedtuple("HEADER", ["flag", "label", "id", "id2"])
"""What stands before the image in a record: how many labels follow (0: `label` is the only one),
the label or labels, and two numbers for the record."""

_IR = struct.Struct("<IfQQ")


class MXRecordIO:
    """A record file, to be read ("r") or written ("w") from its beginning.

    What is written is there when it is closed, whole; until then, and if writing fails, an old file
    of the name stays as it was. Two writers of one file are an error.

    A reader can be pickled and used in another process: it goes on from where it was.

    Parameters
    ----------
    uri
        the path of the file
    flag
        "r" or "w"
    """

    def __init__(self, uri: Any, flag: str) -> None:
        self.uri = os.fspath(uri)
        self.flag = flag
        self.is_open = False
        self._finish: Any = None
        self.open()

    @property
    def _where(self) -> str:
        return type(self).__name__

    @property
    def writable(self) -> bool:
        """Whether it was opened to be written."""
        return self.flag == "w"

    def open(self) -> None:
        """Open it anew: a reader begins at the first record, a writer with an empty file."""
        self._open()

    def _open(self) -> None:
        check(
            self.flag in ("r", "w"),
            self._where,
            f"flag: expected 'r' or 'w'; given {self.flag!r}",
        )
        self.close()
        self._offset = 0
        self._number = 0
        if self.writable:
            new = NewFile(self.uri)
            self._file: Any = new
            self._finish = weakref.finalize(self, new.close)
        else:
            self._file = _Reader(self.uri, self._where)
            self._finish = weakref.finalize(self, self._file.close)
        self.is_open = True

    def close(self) -> None:
        """What was written is in the file from now on."""
        if self.is_open:
            self.is_open = False
            self._finish()

    def __enter__(self) -> MXRecordIO:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None and self.is_open and self.writable:
            self._file.abandon()  # what is not complete does not take the place of what was there
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        check(
            not self.writable,
            self._where,
            f"{self.uri} is open to be written, and only one process can do that; close it first, "
            "or pickle a reader",
        )
        state = dict(self.__dict__)
        for name in ("_file", "_finish"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._finish = None
        was_open, place = self.is_open, (self._offset, self._number)
        self.is_open = False
        if was_open:
            self._open()
            self._offset, self._number = place

    def reset(self) -> None:
        """Back to the first record; a writer begins anew."""
        if self.writable:
            self._needs_open()
            self._file.abandon()
            self.open()
        else:
            self._needs_open()
            self._offset = self._number = 0

    def _needs_open(self) -> None:
        check(self.is_open, self._where, f"{self.uri} is closed; call open(), or reset() first")

    def write(self, buf: Any) -> None:
        """Add a record of these bytes."""
        check(self.writable, self._where, f"{self.uri} was opened with flag 'r'; write needs 'w'")
        self._needs_open()
        if isinstance(buf, str):
            buf = buf.encode()
        content = memoryview(buf).cast("B")
        check(
            len(content) <= _LONGEST,
            self._where,
            f"record {self._number} of {self.uri} has {len(content)} bytes; a record holds "
            f"{_LONGEST} at most: split it",
        )
        for part in _parts(content):
            self._file.write(part)
            self._offset += len(part)
        self._number += 1

    def read(self) -> bytes | None:
        """The next record; None behind the last one."""
        check(
            not self.writable, self._where, f"{self.uri} was opened with flag 'w'; read needs 'r'"
        )
        self._needs_open()
        name = f"record {self._number}" if self._number >= 0 else "the record"
        found = self._file.record(self._offset, name)
        if found is None:
            return None
        content, self._offset = found
        if self._number >= 0:
            self._number += 1
        return content

    def read_at(self, offset: int, name: Any = "") -> bytes:
        """The record that begins at a place; `name`: what errors call it. Threads may call it at
        once."""
        self._needs_open()
        found = self._file.record(offset, f"record {name!r}")
        check(found is not None, self._where, f"{self.uri} ends before byte {offset}")
        content, _ = found
        return content

    def tell(self) -> int:
        """Where the next record begins, in bytes."""
        self._needs_open()
        return self._offset


class MXIndexedRecordIO(MXRecordIO):
    """A record file with an index beside it, lines of key and place, so that any record can be
    read at once.

    Parameters
    ----------
    idx_path
        the path of the index
    uri
        the path of the record file
    flag
        "r" or "w"
    key_type, int by default
        what makes a key of a word of the index
    """

    def __init__(
        self, idx_path: Any, uri: Any, flag: str, key_type: Callable[[str], Any] = int
    ) -> None:
        self.idx_path = os.fspath(idx_path)
        self.key_type = key_type
        self.idx: dict[Any, int] = {}
        self.keys: list[Any] = []
        super().__init__(uri, flag)

    def open(self) -> None:
        super().open()
        self.idx, self.keys = {}, []
        if self.writable:
            self._finish.detach()
            self._finish = weakref.finalize(self, _close_both, self._file, self.idx_path, self.idx)
            return
        try:
            self.idx = _read_index(self.idx_path, self.key_type, self._where)
            self._check_index()
        except BaseException:
            self.close()
            raise
        self.keys = list(self.idx)

    def _check_index(self) -> None:
        """The last record that an index of this file names is a record of it."""
        if not self.idx:
            return
        key = max(self.idx, key=self.idx.__getitem__)
        offset, size = self.idx[key], self._file.size()
        check(
            offset < size,
            self._where,
            f"{self.idx_path} is not the index of {self.uri}: record {key!r} would begin at byte "
            f"{offset} of {size}; give the index that was written with it, or write a new one with "
            "python -m tigon.tools.im2rec --index",
        )

    def seek(self, idx: Any) -> None:
        """Let the next read begin at the record of a key."""
        check(
            not self.writable, self._where, f"{self.uri} was opened with flag 'w'; seek needs 'r'"
        )
        self._offset, self._number = self._place(idx), -1

    def _place(self, idx: Any) -> int:
        place = self.idx.get(idx)
        if place is None:
            some = ", ".join(repr(key) for key in self.keys[:4])
            raise TigonError(
                f"{self._where}: {self.idx_path} has no record {idx!r}; it has {len(self.keys)}: "
                f"{some}{', ...' if len(self.keys) > 4 else ''}"
            )
        return place

    def read_idx(self, idx: Any) -> bytes:
        """The record of a key."""
        self._needs_open()
        check(
            not self.writable, self._where, f"{self.uri} was opened with flag 'w'; read needs 'r'"
        )
        offset = self._place(idx)
        found = self._file.record(offset, f"record {idx!r}", f"; is {self.idx_path} its index?")
        check(found is not None, self._where, f"{self.uri} ends before record {idx!r}")
        content, self._offset = found
        self._number = -1
        return content

    def write_idx(self, idx: Any, buf: Any) -> None:
        """Add a record under a key, one that no other record has."""
        key = self.key_type(idx)
        check(
            key not in self.idx,
            self._where,
            f"{self.uri} has a record {key!r} already; give each a key of its own",
        )
        text = str(key)
        check(
            text and not set(text) & set("\t\n\r"),
            self._where,
            f"a key is a line of the index, without tabs; given {key!r}",
        )
        place = self.tell()
        self.write(buf)
        self.keys.append(key)
        self.idx[key] = place


def _close_both(file: NewFile, idx_path: str, idx: dict[Any, int]) -> None:
    is_kept = file.is_open
    file.close()
    if is_kept:
        lines = "".join(f"{key}\t{place}\n" for key, place in idx.items())
        write_file(idx_path, lines.encode())


def _read_index(path: str, key_type: Callable[[str], Any], where: str) -> dict[Any, int]:
    found: dict[Any, int] = {}
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                key, _, place = line.rstrip("\n").rpartition("\t")
                try:
                    offset = int(place)
                    known = key_type(key)
                except (ValueError, TypeError):
                    offset, known = -1, None
                check(
                    offset >= 0 and offset % 4 == 0,
                    where,
                    f"{path}, line {number}: expected a key ({_name(key_type)}), a tab, and a "
                    f"multiple of 4; given {line.rstrip()!r:.60}; is it an index of records?",
                )
                check(
                    known not in found,
                    where,
                    f"{path}, line {number}: the key {known!r} stands twice; write the index anew "
                    "with python -m tigon.tools.im2rec --index",
                )
                found[known] = offset
    except UnicodeDecodeError:
        raise TigonError(
            f"{where}: {path}: expected lines of text, key and place; it holds other bytes: are "
            "the paths of index and record file exchanged?"
        ) from None
    return found


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


class _Reader:
    """Records by their place. Threads may read at once: nothing moves."""

    def __init__(self, path: str, where: str) -> None:
        self._path = path
        self._where = where
        self._file = open(path, "rb", buffering=0)
        self._descriptor = self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def record(self, offset: int, name: str, hint: str = "") -> tuple[bytes, int] | None:
        """The record that begins at a place, and where the next one does; None at the end."""
        parts: list[bytes] = []
        begin = offset
        wanted = _BEGINNINGS
        while True:
            head = self.head(offset, begin, wanted, name, hint)
            if head is None:
                return None
            kind, length = head
            content = self.content(offset + _HEAD.size, length, begin, name)
            offset += _HEAD.size + length + -length % 4
            parts.append(content)
            if kind in (_WHOLE, _LAST):
                return _MAGIC_BYTES.join(parts), offset
            wanted = _CONTINUATIONS

    def head(
        self, offset: int, begin: int, wanted: tuple[int, ...], name: str, hint: str = ""
    ) -> tuple[int, int] | None:
        """Which part of a record begins at a place, and its length; None at the end of the file."""
        head = os.pread(self._descriptor, _HEAD.size, offset)
        if not head and offset == begin:
            return None
        if len(head) < _HEAD.size:
            self._damaged(
                begin, name, f"expected {_HEAD.size} bytes at byte {offset}; the file ends there"
            )
        magic, word = _HEAD.unpack(head)
        if magic != MAGIC:
            what = "; is it a record file?" if offset == 0 else hint or "; the file is damaged"
            self._damaged(
                begin, name, f"expected {MAGIC:#x} at byte {offset}; found {magic:#x}{what}"
            )
        kind = word >> _LENGTH_BITS
        if kind not in wanted:
            self._damaged(
                begin,
                name,
                f"expected {'its beginning' if _FIRST in wanted else 'its next part'} at byte "
                f"{offset}; found part {kind} of another one{hint}",
            )
        return kind, word & _LONGEST

    def content(self, offset: int, length: int, begin: int, name: str) -> bytes:
        """The bytes of a part."""
        content = os.pread(self._descriptor, length, offset)
        while len(content) < length:  # a read is of 2 GiB at most, and may be of less
            more = os.pread(self._descriptor, length - len(content), offset + len(content))
            if not more:
                self._damaged(
                    begin,
                    name,
                    f"expected {length} bytes from byte {offset}; the file ends after "
                    f"{len(content)} of them",
                )
            content += more
        return content

    def _damaged(self, begin: int, name: str, what: str) -> None:
        raise TigonError(
            f"{self._where}: {self._path}, {name} (byte {begin}): {what}; write the file anew, or "
            "leave this record out"
        )


def _parts(content: memoryview) -> Iterator[bytes | memoryview]:
    """A record as it stands in a file: cut where it holds what records begin with."""
    words = np.frombuffer(content[: len(content) // 4 * 4], "<u4")
    cuts = (np.flatnonzero(words == MAGIC) * 4).tolist()
    begins = [0, *(cut + 4 for cut in cuts)]
    ends = [*cuts, len(content)]
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if not cuts:
            kind = _WHOLE
        else:
            kind = _FIRST if number == 0 else _LAST if number == len(cuts) else _MIDDLE
        yield _HEAD.pack(MAGIC, kind << _LENGTH_BITS | end - begin)
        yield content[begin:end]
        yield bytes(-(end - begin) % 4)


def record_places(uri: Any) -> list[int]:
    """Where the records of a file begin, in bytes: what an index holds. Payloads are not read."""
    path = os.fspath(uri)
    reader = _Reader(path, "record_places")
    places = []
    try:
        offset, size = 0, reader.size()
        begin, wanted = 0, _BEGINNINGS
        while (head := reader.head(offset, begin, wanted, f"record {len(places)}")) is not None:
            kind, length = head
            if offset + _HEAD.size + length > size:
                reader.content(offset + _HEAD.size, length, begin, f"record {len(places)}")
            if kind in (_WHOLE, _LAST):
                places.append(begin)
            offset += _HEAD.size + length + -length % 4
            if kind in (_WHOLE, _LAST):
                begin, wanted = offset, _BEGINNINGS
            else:
                wanted = _CONTINUATIONS
    finally:
        reader.close()
    return places


# ------------------------------------------------------------------------------ images


def pack(header: Any, s: bytes) -> bytes:
    """Header and content as the bytes of a record. Several labels are written before the content.

    >>> pack(IRHeader(0, 3.0, 7, 0), b"...")[-3:]
    b'...'
    >>> unpack(pack(IRHeader(0, [1, 2], 7, 0), b"..."))[0].label
    array([1., 2.], dtype=float32)
    """
    given = IRHeader(*header)
    label = given.label.asnumpy() if hasattr(given.label, "asnumpy") else given.label
    try:
        labels = np.asarray(label, np.float32)
        if labels.ndim == 0:
            return _IR.pack(0, float(labels), given.id, given.id2) + s
        check(
            labels.ndim == 1,
            "pack",
            f"label: expected a number, or a row of them; given {label!r:.60}",
        )
        return _IR.pack(labels.size, 0.0, given.id, given.id2) + labels.tobytes() + s
    except (ValueError, TypeError, struct.error, OverflowError):
        raise TigonError(
            "pack: expected IRHeader(flag, label, id, id2) of a number or a row of numbers and two "
            f"integers from 0 to 2^64 - 1; given {given!r:.120}"
        ) from None


def unpack(s: bytes) -> tuple[Any, bytes]:
    """The header and the content of a record."""
    check(
        len(s) >= _IR.size,
        "unpack",
        f"expected a record of at least {_IR.size} bytes, those of its header; given {len(s)}; was "
        "it written by pack?",
    )
    header = IRHeader(*_IR.unpack_from(s))
    if header.flag == 0:
        return header, s[_IR.size :]
    end = _IR.size + 4 * header.flag
    check(
        len(s) >= end,
        "unpack",
        f"the header says that {header.flag} labels follow ({4 * header.flag} bytes); "
        f"{len(s) - _IR.size} bytes are there; was it written by pack?",
    )
    labels = np.frombuffer(s, "<f4", header.flag, _IR.size)
    return header._replace(label=labels), s[end:]


def pack_img(header: Any, img: Any, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """Header and image as the bytes of a record.

    Parameters
    ----------
    header : IRHeader
    img : array (height, width, 3) of uint8 in the order blue, green, red, or (height, width)
    quality : of JPEG 1 to 100, 95 by default; of PNG the compression, 0 to 9
    img_fmt : ".jpg" (default) or ".png"
    """
    return pack(header, encode(img, quality, img_fmt, channels="BGR"))


def unpack_img(s: bytes, iscolor: int = -1) -> tuple[Any, np.ndarray]:
    """Header and image of a record; the image as a numpy array of uint8 in the order blue, green,
    red. `iscolor`: 1 colour, 0 grey, -1 (default) as the file has it; grey images have two axes."""
    header, content = unpack(s)
    image = decode(content, flag=iscolor, channels="BGR")
    return header, image[:, :, 0] if image.shape[2] == 1 else image


_complete(globals())
