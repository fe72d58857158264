"""Object code and programs of earlier processes, in files named by what they were made from.

`TIGON_CACHE` names the folder, "0" turns the store off; otherwise it is `tigon/kernels` under the
user's cache folder. Entries are loaded only from a folder that nobody else can write to, and only
if they are what was written under that name. A folder that was empty when it was first used is
marked as ours; in any other we have a folder of our own. Only files of a marked folder, with names
as we make them, are ever read, counted or removed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tigon.backends.library import Library
from tigon.base import config
from tigon.base.files import is_temporary, write_file

MARK = "tigon-cache"
OWN_FOLDER = "tigon-kernels"
"""Where we are in a folder that holds other things."""
_MARK_TEXT = b"tigon keeps compiled kernels and programs in this folder. It may be deleted.\n"

_VERSION = b"tigon 2\n"
_DIGEST = 32
_NAME = re.compile(r"[0-9a-f]{64}\.o")
_MOST = 20_000  # files, of 2 to 10 kB


class ObjectStore:
    """A folder of entries; every failure to read or write is a miss, never an error.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = ObjectStore(folder)
    ...     before = store.load("text")
    ...     store.save("text", b"code")
    ...     before, store.load("text"), store.load("other text")
    (None, b'code', None)
    """

    def __init__(
        self, folder: str | None = None, shipped: Callable[[], Library | None] = lambda: None
    ) -> None:
        """`shipped`: what the package brings, which is asked first, for programs."""
        self._folder = Path(folder) if folder is not None else _default_folder()
        self._shipped = shipped
        self._checked = False
        self.on_refused: Callable[[], object] = lambda: None
        """Called for an entry that is there and is not what was written under its name."""

    def load(self, key: str) -> bytes | None:
        """What was saved under exactly this key."""
        return self.load_program(name_of(key))

    def load_program(self, name: str) -> bytes | None:
        """The same by the name of the key, from what the package brings, too."""
        shipped = self._shipped()
        program = None if shipped is None else shipped.program(name)
        return self.load_named(name) if program is None else program

    def load_named(self, name: str) -> bytes | None:
        """The same from the folder alone."""
        if not self._has_folder:
            return None
        assert self._folder is not None
        content = _content_of(self._folder / name)
        if content is None:
            return None
        head = len(_VERSION) + _DIGEST
        image = content[head:]
        if content[:head] != _head(name, image):
            self.on_refused()
            return None
        return image

    def save(self, key: str, image: bytes) -> None:
        if not self._has_folder:
            return
        assert self._folder is not None
        name = name_of(key)
        path = self._folder / name
        if os.path.lexists(path) and not _is_file(path):
            return
        try:
            # Waiting for the disk would cost more than compiling; what a crash left is refused.
            write_file(path, _head(name, image) + image, durable=False)
        except OSError:
            self._folder = None

    @property
    def usable(self) -> bool:
        """Whether it is worth while to ask."""
        return self._has_folder or self._shipped() is not None

    @property
    def _has_folder(self) -> bool:
        if self._folder is None or self._checked:
            return self._folder is not None
        self._checked = True
        try:
            self._folder = _marked(self._folder)
            if self._folder is not None:
                _forget_the_oldest(self._folder)
        except OSError:
            self._folder = None
        return self._folder is not None


def name_of(key: str) -> str:
    """The file of a key."""
    return hashlib.sha256(_VERSION + key.encode()).hexdigest() + ".o"


def _is_file(path: Path) -> bool:
    """Not a link, which would lead elsewhere, nor a pipe, which would wait."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if _is_file(path) else None
    except OSError:
        return None


def _head(name: str, image: bytes) -> bytes:
    """What an entry begins with: the same content under another name begins otherwise."""
    return _VERSION + hashlib.sha256(name.encode() + image).digest()


def _marked(folder: Path) -> Path | None:
    """The folder, or one of our own in it; None where somebody else could write to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        return None
    if not _is_marked(folder):
        if all(is_temporary(name) for name in os.listdir(folder)):
            write_file(folder / MARK, _MARK_TEXT, durable=False)
        elif not _is_marked(folder):  # not even by another process, just now
            return None if folder.name == OWN_FOLDER else _marked(folder / OWN_FOLDER)
    return folder


def _is_marked(folder: Path) -> bool:
    return _content_of(folder / MARK) == _MARK_TEXT


def _is_private(folder: Path) -> bool:
    status = folder.stat()
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.getuid() and not status.st_mode & others


def _forget_the_oldest(folder: Path) -> None:
    """Once per process, and only when there are very many."""
    files = list(_own_files(folder))
    if len(files) > _MOST:
        files.sort()
        for _, path in files[: len(files) // 2]:
            with suppress(OSError):
                os.unlink(path)


def _own_files(folder: Path) -> Iterator[tuple[float, str]]:
    """When they were last changed, and where they are."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) or is_temporary(entry.name):
                with suppress(OSError):  # gone since
                    if entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False).st_mtime, entry.path


def _default_folder() -> Path | None:
    given = config.text("TIGON_CACHE")
    if given == "0":
        return None
    if given:
        return Path(given)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    except RuntimeError:
        return None
    return Path(base) / "tigon" / "kernels"
