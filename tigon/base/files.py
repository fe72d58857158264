"""Writing a file: the one place that does it. Whoever reads the file, at any time, finds what was
there before or all that was written, never a part of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, Any, TypeAlias

from tigon.base.errors import TigonError, check

AnyPath = str | bytes | os.PathLike[Any]

TEMPORARY = ".tigon-"
"""How names of unfinished files begin. The rest is random: nobody can have put a file or a link
there before us."""


Content: TypeAlias = "bytes | memoryview | Iterator[bytes]"


def write_file(path: AnyPath, content: Content, durable: bool = True) -> None:
    """Make `content`, bytes or parts of them in order, what the file holds. It is written beside
    the file and takes its place when it is complete: a full disk or a killed process leaves the old
    file, and threads and processes that write to one path do not mix.

    A file keeps its mode and owner; one that may not be written to is not replaced either. Of a
    symbolic link the target is replaced, not the link; other hard links keep the old content. A
    pipe, a device or the name of an open file (/dev/stdout) is written to as it is. `durable`: on
    return the content is on the disk; waiting for that does not pay where it can be made again.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x"
    ...     write_file(path, b"old")
    ...     write_file(path, b"new")
    ...     path.read_bytes(), os.listdir(folder)
    (b'new', ['x'])
    """
    name = os.fsdecode(path)
    try:
        old = _status(name)
        if old is None or (stat.S_ISREG(old.st_mode) and not _is_descriptor(name)):
            target = os.path.realpath(name) if os.path.islink(name) else name
            _replace(target, content, old, durable)
        else:
            _write(os.open(name, os.O_WRONLY | os.O_TRUNC), content, durable=False)
    except OSError as error:
        # The name of the temporary file says nothing to the caller.
        raise OSError(error.errno, error.strerror, name) from error


def open_log(path: AnyPath, mode: str = "a") -> IO[str]:
    """A text file that lines are added to while a program runs: behind those that are there ("a"),
    or instead of them ("w"). What is written is there at once."""
    check(mode in ("a", "w"), "open_log", f"expected mode 'a' or 'w'; given {mode!r}")
    return open(path, mode, buffering=1, encoding="utf-8")


_ENOUGH_TO_WRITE = 1 << 20


def open_records(path: AnyPath) -> IO[bytes]:
    """A new file that records are appended to while others read it, in parts of some kilobytes."""
    return open(path, "xb")


class NewFile:
    """A file that is written part by part, and is there when it is closed: readers find what was
    there before until then. Only one at a time writes to a path, in all processes: what two of
    them have written would not go together. What a killed process has left is written over.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "x")
    ...     new = NewFile(path)
    ...     new.write(b"first, ")
    ...     new.write(b"second")
    ...     before = os.listdir(folder)
    ...     new.close()
    ...     before, os.listdir(folder), Path(path).read_text()
    (['.x.tigon-unfinished'], ['x'], 'first, second')
    """

    def __init__(self, path: AnyPath) -> None:
        self.name = os.fsdecode(path)
        self._target = os.path.realpath(self.name)
        self._old = _status(self._target)
        if self._old is not None and not os.access(self._target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.name)
        check(
            self._old is None or stat.S_ISREG(self._old.st_mode),
            "NewFile",
            f"expected the path of a file; {self.name} is something else",
        )
        folder, base = os.path.split(self._target)
        self._unfinished = os.path.join(folder, f".{base}.tigon-unfinished")
        try:
            self._descriptor = self._begin()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from error
        self._waiting = bytearray()

    def _begin(self) -> int:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        while True:
            descriptor = os.open(self._unfinished, flags, 0o666 if self._old is None else 0o600)
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(self._unfinished)):
                    os.ftruncate(descriptor, 0)
                    return descriptor
            except FileNotFoundError:
                pass  # as where it is another file by now: someone finished it meanwhile
            except BlockingIOError:
                os.close(descriptor)
                raise TigonError(
                    f"{self.name}: expected to be its only writer; another one, of this process or "
                    "of another, has not closed it; close that one first, or write to another file"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    @property
    def is_open(self) -> bool:
        """Whether it is still written."""
        return self._descriptor >= 0

    def write(self, content: bytes | memoryview) -> None:
        """Add to the end."""
        self._waiting += content
        if len(self._waiting) >= _ENOUGH_TO_WRITE:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(bytes(self._waiting))
        self._waiting.clear()
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        """Let the file take its place; if that fails, the old one stays."""
        if self._descriptor < 0:
            return
        try:
            self._flush()
            if self._old is not None:
                _take_over_owner(self._descriptor, self._old)
            os.fsync(self._descriptor)
            os.replace(self._unfinished, self._target)
        except OSError as error:
            self.abandon()
            raise OSError(error.errno, error.strerror, self.name) from error
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
        _sync_folder(os.path.dirname(self._target) or os.curdir)

    def abandon(self) -> None:
        """Leave the old file, if there is one, as it is."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.unlink(self._unfinished)
            os.close(descriptor)


def anonymous_file(name: str, content: Iterable[bytes | memoryview] = ()) -> int:
    """The descriptor of a file in memory that has no path: it is gone with its last reader."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(name)
    else:
        from tempfile import TemporaryFile

        with TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    for part in content:
        left = memoryview(part).cast("B")
        while left:
            left = left[os.write(descriptor, left) :]
    return descriptor


def grow(descriptor: int, size: int) -> None:
    """Let a file of ours have that many bytes."""
    os.ftruncate(descriptor, size)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a killed process did not finish.

    >>> is_temporary(_temporary()), is_temporary(".tigon-notes")
    (True, False)
    """
    random = name.removeprefix(TEMPORARY)
    digits = len(random) == 32 and set(random) <= set("0123456789abcdef")
    return name.startswith(TEMPORARY) and digits


def _temporary() -> str:
    return TEMPORARY + os.urandom(16).hex()


def _status(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _is_descriptor(name: str) -> bool:
    """Whether the name stands for an open file, as /dev/stdout does: who holds it open would not
    see what takes its place, and it may have no other name."""
    while os.path.islink(name):
        folder = os.path.realpath(os.path.dirname(name))
        if folder.startswith("/proc/"):
            return True
        name = os.path.join(folder, os.readlink(name))
    return False


def _replace(target: str, content: Content, old: os.stat_result | None, durable: bool) -> None:
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, _temporary())
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        # What replaces a private file is private from the beginning.
        descriptor = os.open(temporary, exclusive, 0o666 if old is None else 0o600)
        _write(descriptor, content, durable, old)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder or os.curdir)


def _write(
    descriptor: int,
    content: Content,
    durable: bool,
    like: os.stat_result | None = None,
) -> None:
    """Write everything, give the file the mode and owner of another, and close it."""
    try:
        for part in content if isinstance(content, Iterator) else (content,):
            left = memoryview(part).cast("B")
            while left:
                left = left[os.write(descriptor, left) :]  # a part only, where the disk is full
        if like is not None:
            _take_over_owner(descriptor, like)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_over_owner(descriptor: int, old: os.stat_result) -> None:
    mode = old.st_mode & 0o777
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            mode &= ~0o070  # what another group may is nothing that this one may
    os.fchmod(descriptor, mode)


def _sync_folder(folder: str) -> None:
    """The new name is on the disk, too; not every file system can promise that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
