"""What the package's own code is, as short text: what another version made is not taken for ours.

Contents count, and nothing else: not where files lie, nor when they were written, so that what was
made where a package was built is found where it is installed."""

from __future__ import annotations

import os
from functools import cache

from tigon import _native

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


COMPILER = ("analysis", "backends", "base", "ir", "loop", "lower", "ops", "passes", "program")
"""Parts of the package from graphs to programs."""


def compiler_version() -> str:
    """A digest of all that has a say in what a graph is compiled to."""
    return f"{digest_of(*COMPILER)} {_native.PROGRAM_VERSION}"


@cache
def digest_of(*parts: str) -> str:
    """A digest of the Python files of parts of the package: folders, by name.

    >>> digest_of("base") == digest_of("base"), digest_of("base") == digest_of("loop")
    (True, False)
    """
    import hashlib  # who only imports the package compiles nothing

    return hashlib.sha256("".join(map(_of_part, parts)).encode()).hexdigest()


@cache
def _of_part(part: str) -> str:
    import hashlib

    digest = hashlib.sha256()
    top = os.path.join(_ROOT, part)
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            if name.endswith(".py"):
                path = f"{folder}{os.sep}{name}"
                with open(path, "rb", buffering=0) as file:  # megabytes in all: no copies
                    content = file.read()
                place = path[len(top) + 1 :].replace(os.sep, "/")
                digest.update(f"{place} {len(content)}\n".encode())
                digest.update(content)
    return f"{part} {digest.hexdigest()}\n"
