"""Shared libraries for Windows, written as they are, as `elf.py` does for Linux: tables, code, and
the names of a few functions. They import nothing, so memory is the caller's."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from tigon.base.multiples import round_up

_PAGE, _SECTOR = 0x1000, 0x200
_BASE = 0x180000000
_READ, _RUN, _CODE, _DATA, _DISCARDED = 0x40000000, 0x20000000, 0x20, 0x40, 0x02000000
_DLL = 0x2022  # runs, knows large addresses, is a library
_ANYWHERE = 0x160  # may lie at any address of 64 bits; data does not run
_CONSOLE = 3


def dynamic_library(
    architecture: str, name: str, tables: bytes, code: bytes, functions: Mapping[str, int]
) -> bytes:
    """The file. `functions`: places in `code` by name. Code lies `code_place(...)` bytes after
    tables in memory.

    >>> dynamic_library("x86-64", "m.dll", b"t" * 8, b"\\xc3", {"m_run": 0})[:2]
    b'MZ'
    """
    tables_at = _PAGE
    code_at = tables_at + code_place(len(tables))
    exports_at = code_at + round_up(len(code), _PAGE)
    exports = _exports(name, exports_at, {each: code_at + at for each, at in functions.items()})
    relocated_at = exports_at + round_up(len(exports), _PAGE)
    nothing = struct.pack("<IIHH", 0, 12, 0, 0)  # who has no list of addresses may not be moved
    sections = [
        (b".rdata", tables_at, tables, _READ | _DATA),
        (b".text", code_at, code, _READ | _RUN | _CODE),
        (b".edata", exports_at, exports, _READ | _DATA),
        (b".reloc", relocated_at, nothing, _READ | _DATA | _DISCARDED),
    ]
    directories = [(0, 0)] * 16
    directories[0] = exports_at, len(exports)
    directories[5] = relocated_at, len(nothing)
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, 240, _DLL)
    head += struct.pack("<HBBIIIII", 0x20B, 14, 0, round_up(len(code), _SECTOR), 0, 0, 0, code_at)
    head += struct.pack("<QIIHHHHHHI", _BASE, _PAGE, _SECTOR, 6, 0, 0, 0, 6, 0, 0)
    size_of_head = round_up(len(head) + 168 + 40 * len(sections), _SECTOR)
    head += struct.pack("<IIIHH", relocated_at + _PAGE, size_of_head, 0, _CONSOLE, _ANYWHERE)
    head += struct.pack("<QQQQII", 1 << 20, _PAGE, 1 << 20, _PAGE, 0, len(directories))
    head += b"".join(struct.pack("<II", *each) for each in directories)
    body, at = b"", size_of_head
    for section, place, content, flags in sections:
        stored = round_up(len(content), _SECTOR)
        numbers = (len(content), place, stored, at, 0, 0, 0, 0, flags)
        head += struct.pack("<8sIIIIIIHHI", section, *numbers)
        body += content.ljust(stored, b"\0")
        at += stored
    return head.ljust(size_of_head, b"\0") + body


def code_place(size: int) -> int:
    """Bytes from the begin of tables of this size to that of code, in memory."""
    return round_up(size, _PAGE)


def _exports(name: str, at: int, addresses: Mapping[str, int]) -> bytes:
    """The table of what others find by name."""
    names = sorted(addresses)
    count = len(names)
    addresses_at = at + 40
    names_at, numbers_at = addresses_at + 4 * count, addresses_at + 8 * count
    texts, text_at = b"", numbers_at + 2 * count
    places = []
    for each in (*names, name):
        places.append(text_at + len(texts))
        texts += each.encode() + b"\0"
    table = struct.pack("<IIHHIIIIIII", 0, 0, 0, 0, places[-1], 1, count, count, addresses_at,
                        names_at, numbers_at)  # fmt: skip
    table += struct.pack(f"<{count}I", *[addresses[each] for each in names])
    table += struct.pack(f"<{count}I", *places[:-1])
    return table + struct.pack(f"<{count}H", *range(count)) + texts
