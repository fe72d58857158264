"""Shared libraries for Linux, written as they are: tables, code, and the names of a few functions.
Nothing in them is an address, so there is nothing to link and nothing to relocate: no linker is
needed, and the same program makes the same bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from tigon.base.multiples import round_up

PAGE = 65536
"""The largest there is among machines. Parts of a file that are mapped apart lie so far apart in
memory, not in the file."""

CODE = 4096
"""Code is made for a place at a multiple of this."""

MACHINES = {"x86-64": 62, "aarch64": 183}

_READ, _WRITE, _RUN = 4, 2, 1
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_PROGBITS, _STRTAB, _HASH, _DYNAMIC_SECTION, _DYNSYM = 1, 3, 5, 6, 11
_WRITTEN, _ALLOC, _EXECUTED = 1, 2, 4
_SECTIONS = ("", ".dynsym", ".dynstr", ".hash", ".rodata", ".text", ".dynamic", ".shstrtab")


def shared_library(
    architecture: str, name: str, tables: bytes, code: bytes, functions: Mapping[str, int]
) -> bytes:
    """The file. `functions`: places in `code`
    by name. Tables lie at a multiple of 64 bytes, code in memory `code_place(...)` bytes after
    them.

    >>> content = shared_library("x86-64", "m.so", b"t" * 8, b"\\xc3", {"m_run": 0})
    >>> place = content.index(b"tttttttt")
    >>> content[:4], place % CODE, content[place + code_place(8) - PAGE]
    (b'\\x7fELF', 0, 195)
    """
    names = sorted(functions)
    strings, at = _strings([*names, name])
    head = 64 + 56 * 5
    symbols_at = head
    strings_at = symbols_at + 24 * (len(names) + 1)
    hash_at = round_up(strings_at + len(strings), 8)
    table = _hash([*names])
    tables_at = round_up(hash_at + len(table), CODE)
    code_at = tables_at + code_place(len(tables)) - PAGE
    dynamic_at = round_up(code_at + len(code), 16)
    symbols = bytes(24)
    for each in names:
        address = code_at + PAGE + functions[each]
        symbols += struct.pack("<IBBHQQ", at[each], 0x12, 0, _SECTIONS.index(".text"), address, 0)
    dynamic = struct.pack(
        "<14q",
        14,
        at[name],
        4,
        hash_at,
        5,
        strings_at,
        6,
        symbols_at,
        10,
        len(strings),
        11,
        24,
        0,
        0,
    )
    segments = [
        (_LOAD, _READ, 0, tables_at + len(tables), 0),
        (_LOAD, _READ | _RUN, code_at, len(code), PAGE),
        (_LOAD, _READ | _WRITE, dynamic_at, len(dynamic), 2 * PAGE),
        (_DYNAMIC, _READ | _WRITE, dynamic_at, len(dynamic), 2 * PAGE),
        (_STACK, _READ | _WRITE, 0, 0, 0),
    ]
    section_names, name_at = _strings(_SECTIONS[1:])
    names_at = dynamic_at + len(dynamic)
    sections_at = round_up(names_at + len(section_names), 8)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        3,
        MACHINES[architecture],
        1,
        0,
        64,
        sections_at,
        0,
        64,
        56,
        len(segments),
        64,
        len(_SECTIONS),
        len(_SECTIONS) - 1,
    )
    for kind, flags, place, size, apart in segments:
        address, alignment = place + apart, PAGE if kind == _LOAD else 16
        numbers = (place, address, address, size, size, alignment)
        header += struct.pack("<IIQQQQQQ", kind, flags, *numbers)
    rows = [
        (0, 0, 0, 0, 0, 0, 0),
        (_DYNSYM, _ALLOC, symbols_at, len(symbols), 2, 1, 24),
        (_STRTAB, _ALLOC, strings_at, len(strings), 0, 0, 0),
        (_HASH, _ALLOC, hash_at, len(table), 1, 0, 4),
        (_PROGBITS, _ALLOC, tables_at, len(tables), 0, 0, 0),
        (_PROGBITS, _ALLOC | _EXECUTED, code_at, len(code), 0, 0, 0),
        (_DYNAMIC_SECTION, _ALLOC | _WRITTEN, dynamic_at, len(dynamic), 2, 0, 16),
        (_STRTAB, 0, names_at, len(section_names), 0, 0, 0),
    ]
    apart = {".text": PAGE, ".dynamic": 2 * PAGE}
    sections = b"".join(
        struct.pack(
            "<IIQQQQIIQQ",
            name_at.get(own, 0),
            kind,
            flags,
            place + apart.get(own, 0) if flags else 0,
            place,
            size,
            link,
            info,
            8 if kind else 0,
            entry,
        )
        for own, (kind, flags, place, size, link, info, entry) in zip(_SECTIONS, rows, strict=True)
    )
    content = bytearray(sections_at + len(sections))
    for place, part in (
        (0, header),
        (symbols_at, symbols),
        (strings_at, strings),
        (hash_at, table),
        (tables_at, tables),
        (code_at, code),
        (dynamic_at, dynamic),
        (names_at, section_names),
        (sections_at, sections),
    ):
        content[place : place + len(part)] = part
    return bytes(content)


def code_place(size: int) -> int:
    """Bytes from the begin of tables of this size to that of code, in memory."""
    return round_up(size, CODE) + PAGE


def _strings(names: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    table, at = b"\0", {}
    for name in names:
        at[name] = len(table)
        table += name.encode() + b"\0"
    return table, at


def _hash(names: Sequence[str]) -> bytes:
    """The table by which names are found, in one bucket: there are few."""
    chain = [number + 1 for number in range(1, len(names))] + [0] if names else []
    words = [1, len(names) + 1, 1 if names else 0, 0, *chain]
    return struct.pack(f"<{len(words)}I", *words)
