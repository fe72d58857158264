"""Object code of earlier processes, in files named by what they were compiled from.

`TIGON_CACHE` names the folder, "0" turns the store off; otherwise it is `tigon/kernels` under the
user's cache folder. Code is loaded only from a folder that nobody else can write to, and only if
it is what was written."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

_VERSION = b"1"
_MOST = 20_000  # files, of 2 to 10 kB


class ObjectStore:
    """A folder of object files; every failure to read or write is a miss, never an error.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = ObjectStore(folder)
    ...     before = store.load("text")
    ...     store.save("text", b"code")
    ...     before, store.load("text"), store.load("other text")
    (None, b'code', None)
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = Path(folder) if folder is not None else _default_folder()
        self._checked = False

    def load(self, key: str) -> bytes | None:
        """What was saved under exactly this key."""
        return self.load_named(name_of(key))

    def load_named(self, name: str) -> bytes | None:
        """The same by the name of the key."""
        if not self.usable:
            return None
        assert self._folder is not None
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        digest, image = content[:32], content[32:]
        return image if hashlib.sha256(image).digest() == digest else None

    def save(self, key: str, image: bytes) -> None:
        if not self.usable:
            return
        assert self._folder is not None
        try:
            # Renaming is atomic: another process sees the whole file or none.
            name = os.path.join(self._folder, name_of(key))
            unfinished = f"{name}.{os.getpid()}.{threading.get_ident()}"
            with open(unfinished, "wb", buffering=0) as file:
                file.write(hashlib.sha256(image).digest() + image)
            os.replace(unfinished, name)
        except OSError:
            self._folder = None

    @property
    def usable(self) -> bool:
        if self._folder is None or self._checked:
            return self._folder is not None
        self._checked = True
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._folder.stat()
            self._forget_the_oldest(self._folder)
        except OSError:
            self._folder = None
            return False
        if hasattr(os, "getuid"):
            others = stat.S_IWGRP | stat.S_IWOTH
            if status.st_uid != os.getuid() or status.st_mode & others:
                self._folder = None
        return self._folder is not None

    @staticmethod
    def _forget_the_oldest(folder: Path) -> None:
        """Once per process, and only when there are very many."""
        files = list(folder.iterdir())
        if len(files) > _MOST:
            files.sort(key=lambda file: file.stat().st_mtime)
            for file in files[: len(files) // 2]:
                file.unlink(missing_ok=True)


def name_of(key: str) -> str:
    """The file of a key."""
    return hashlib.sha256(_VERSION + key.encode()).hexdigest() + ".o"


def _default_folder() -> Path | None:
    given = os.environ.get("TIGON_CACHE")
    if given == "0":
        return None
    if given:
        return Path(given)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    except RuntimeError:
        return None
    return Path(base) / "tigon" / "kernels"
