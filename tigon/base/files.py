"""Writing a file: the one place that does it. Whoever reads the file, at any time, finds what was
there before or all that was written, never a part of it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import IO, Any

from tigon.base.errors import check

AnyPath = str | bytes | os.PathLike[Any]

TEMPORARY = ".tigon-"
"""How names of unfinished files begin. The rest is random: nobody can have put a file or a link
there before us."""


def write_file(path: AnyPath, content: bytes | memoryview, durable: bool = True) -> None:
    """Make `content` what the file holds. It is written beside the file and takes its place when it
    is complete: a full disk or a killed process leaves the old file, and threads and processes
    that write to one path do not mix.

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


def _replace(
    target: str, content: bytes | memoryview, old: os.stat_result | None, durable: bool
) -> None:
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
    content: bytes | memoryview,
    durable: bool,
    like: os.stat_result | None = None,
) -> None:
    """Write everything, give the file the mode and owner of another, and close it."""
    try:
        left = memoryview(content).cast("B")
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
