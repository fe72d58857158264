"""The code that the package brings: functions and programs of ordinary networks, compiled where the
package was built, one file for each level of the processor.

A file is one piece of position-independent code, every call in it resolved, with two tables beside
it: where functions are, and programs, by the names under which the store of a user would keep them.
It is mapped as it is, read where it is used, and shared by processes. It begins with what it was
made by and for, and a checksum: what is damaged, or was made by another version, is not used."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from zlib import compress, crc32, decompress

from tigon import _native
from tigon.base import config

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "library")
_FORMAT = "tigon library 1"
_PAGE = 65536  # the largest there is
_NAME = 32
"""Letters of a name that the tables hold: half of a digest tells functions apart."""


class Library:
    """One file, open. Whoever reads it holds no lock: nothing in it changes."""

    def __init__(self, path: str, head: Mapping[str, int], content: memoryview) -> None:
        self._content = bytes(content[: head["begin"]])
        tables = json.loads(bytes(content[: head["tables"]]))
        self._functions: dict[str, int] = tables["functions"]
        self._programs: dict[str, list[int]] = tables["programs"]
        begin = head["begin"]
        size, elsewhere = head["code"], tables["elsewhere"]
        self._code = _native.map_code(path, begin, size, elsewhere) if size else 0

    def function(self, name: str) -> int | None:
        """The address of a function, by the name that the store would give its entry."""
        place = self._functions.get(name[:_NAME])
        return None if place is None else self._code + place

    def program(self, name: str) -> bytes | None:
        """The entry of a program."""
        found = self._programs.get(name[:_NAME])
        return None if found is None else decompress(self._content[found[0] : found[0] + found[1]])


def path_of(level: str, folder: str | None = None) -> str:
    return os.path.join(FOLDER if folder is None else folder, f"{level}.tigon")


def open_library(level: str, made_by: str, folder: str | None = None) -> Library | None:
    """The library for a level, if there is one that `made_by` made; else None. A file that is there
    and cannot be used is told of."""
    if config.text("TIGON_LIBRARY") == "0":
        return None
    path = path_of(level, folder)
    try:
        with open(path, "rb", buffering=0) as file:
            whole = memoryview(file.read())
    except OSError:
        return None
    try:
        line, _, _ = bytes(whole[:4096]).partition(b"\n")
        head = json.loads(line)
        content = whole[len(line) + 1 :]
        if head["format"] != _FORMAT or head["made_by"] != made_by:
            raise _NotOursError("was made by another version of tigon")
        if head["length"] != len(content) or head["checksum"] != crc32(content):
            raise _NotOursError("is damaged")
        return Library(path, head, content)
    except _NotOursError as error:
        what = str(error)
    except (ValueError, KeyError, TypeError):
        what = "is damaged"
    except (RuntimeError, AssertionError) as error:  # a folder that nothing may run from, say
        what = f"cannot be used ({error})"
    if config.text("TIGON_NOTICES") != "0":
        print(f"tigon: {path} {what}; programs are compiled instead", file=sys.stderr)
    return None


class _NotOursError(Exception):
    pass


def write_library(
    made_by: str,
    code: bytes,
    functions: Mapping[str, int],
    elsewhere: Mapping[str, int],
    programs: Mapping[str, bytes],
) -> bytes:
    """The content of a file. `functions`: places in `code`; by name, as programs. `elsewhere`: of
    the ways to functions of the C library, by their names there."""
    programs = {name: compress(content, 9) for name, content in programs.items()}
    table = {name[:_NAME]: [0, len(content)] for name, content in programs.items()}
    tables = {
        "functions": {name[:_NAME]: place for name, place in functions.items()},
        "elsewhere": dict(elsewhere),
    }
    if len(table) != len(programs) or len(tables["functions"]) != len(functions):
        raise ValueError("two names begin alike")
    length = 0
    for _ in range(3):  # places have digits, which move places
        begin = length
        for name, content in sorted(programs.items()):
            table[name[:_NAME]][0] = begin
            begin += len(content)
        text = json.dumps(tables | {"programs": table}, separators=(",", ":")).encode()
        length = len(text) // 4096 * 4096 + 4096
    content = text.ljust(length) + b"".join(part for _, part in sorted(programs.items()))
    head = {"format": _FORMAT, "made_by": made_by, "tables": length}
    # Code begins at a page of the file; the line before all has a length of its own.
    line = 1024
    padding = -(line + len(content)) % _PAGE
    content += bytes(padding) + code
    head |= {"begin": line + len(content) - len(code), "code": len(code)}
    head |= {"length": len(content), "checksum": crc32(content)}
    return json.dumps(head).encode().ljust(line - 1) + b"\n" + content
