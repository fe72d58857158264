"""Shared libraries for macOS on x86-64, written as they are, as `elf.py` does for Linux: tables,
code, and the names of a few functions. Memory is the caller's."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence

from tigon.base.leb128 import leb128
from tigon.base.multiples import round_up

_PAGE = 0x1000
_X86_64, _DYLIB = 0x01000007, 6
_FLAGS = 0x1 | 0x4 | 0x80 | 0x100000  # nothing undefined, for dyld, two levels, reexports nothing
_SEGMENT, _SYMBOLS, _DYNAMIC, _LOAD, _ID, _UUID, _BUILD = 0x19, 0x2, 0xB, 0xC, 0xD, 0x1B, 0x32
_EXPORTS = 0x80000022
_SYSTEM = "/usr/lib/libSystem.B.dylib"
"""dyld wants each library to name one; nothing of it is used."""


def dynamic_library(
    architecture: str, name: str, tables: bytes, code: bytes, functions: Mapping[str, int]
) -> bytes:
    """The file. `functions`: places in `code` by name. Code lies `code_place(...)` bytes after
    tables in memory.

    >>> dynamic_library("x86-64", "m.dylib", b"t" * 8, b"\\xc3", {"m_run": 0})[:4].hex()
    'cffaedfe'
    """
    tables_at = _PAGE
    code_at = tables_at + code_place(len(tables))
    links_at = round_up(code_at + len(code), _PAGE)
    addresses = {f"_{each}": code_at + functions[each] for each in sorted(functions)}
    trie = _trie(addresses)
    strings = b"\0" + b"".join(each.encode() + b"\0" for each in addresses)
    symbols, at = b"", 1
    for each, address in addresses.items():
        symbols += struct.pack("<IBBHQ", at, 0x0F, 2, 0, address)
        at += len(each) + 1
    symbols_at = links_at + len(trie)
    strings_at = symbols_at + len(symbols)
    links = trie + symbols + strings
    count = len(addresses)
    commands = [
        _segment("__TEXT", 0, links_at, 5, [("__const", tables_at, len(tables), 0),
                                            ("__text", code_at, len(code), 0x80000400)]),
        _segment("__LINKEDIT", links_at, len(links), 1, []),
        _library(_ID, f"@rpath/{name}", 0),
        struct.pack("<II10I", _EXPORTS, 48, 0, 0, 0, 0, 0, 0, 0, 0, links_at, len(trie)),
        struct.pack("<II4I", _SYMBOLS, 24, symbols_at, count, strings_at, len(strings)),
        struct.pack("<II18I", _DYNAMIC, 80, 0, 0, 0, count, count, *[0] * 13),
        struct.pack("<II16s", _UUID, 24, hashlib.sha256(tables + code).digest()[:16]),
        struct.pack("<IIIIII", _BUILD, 24, 1, 11 << 16, 11 << 16, 0),
        _library(_LOAD, _SYSTEM, 1311 << 16),
    ]  # fmt: skip
    listed = b"".join(commands)
    head = struct.pack("<IIIIIIII", 0xFEEDFACF, _X86_64, 3, _DYLIB, len(commands), len(listed),
                       _FLAGS, 0)  # fmt: skip
    content = bytearray(links_at + len(links))
    for place, part in (
        (0, head + listed),
        (tables_at, tables),
        (code_at, code),
        (links_at, links),
    ):
        content[place : place + len(part)] = part
    return bytes(content)


def code_place(size: int) -> int:
    """Bytes from the begin of tables of this size to that of code, in memory."""
    return round_up(size, _PAGE)


def _segment(
    name: str, at: int, size: int, rights: int, sections: Sequence[tuple[str, int, int, int]]
) -> bytes:
    length, count = 72 + 80 * len(sections), len(sections)
    command = struct.pack("<II16sQQQQiiII", _SEGMENT, length, name.encode(), at,
                          round_up(size, _PAGE), at, size, rights, rights, count, 0)  # fmt: skip
    for section, place, length, flags in sections:
        command += struct.pack("<16s16sQQIIIIIIII", section.encode(), name.encode(), place, length,
                               place, 12, 0, 0, flags, 0, 0, 0)  # fmt: skip
    return command


def _library(command: int, name: str, version: int) -> bytes:
    text = name.encode() + b"\0"
    text += bytes(-len(text) % 8)
    return struct.pack("<IIIIII", command, 24 + len(text), 24, 2, version, version) + text


def _trie(addresses: Mapping[str, int]) -> bytes:
    """What dyld finds names by: a root with an edge for each whole name."""
    leaves = []
    for address in addresses.values():
        told = leb128(0) + leb128(address)  # an ordinary symbol, and where it is
        leaves.append(leb128(len(told)) + told + b"\0")
    size = 0
    while True:  # places have digits, which move places
        edges, at = b"", size
        for name, leaf in zip(addresses, leaves, strict=True):
            edges += name.encode() + b"\0" + leb128(at)
            at += len(leaf)
        root = bytes([0, len(leaves)]) + edges
        if len(root) == size:
            return (root + b"".join(leaves)).ljust(round_up(at, 8), b"\0")
        size = len(root)
