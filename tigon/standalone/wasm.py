"""Modules of WebAssembly, put together from objects as LLVM writes them: one memory, one table of
functions, no imports. Places that objects leave open are filled in, each in as few bytes as its
number takes; what the same objects make is the same to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen
from tigon.base.leb128 import leb128
from tigon.base.multiples import round_up

STACK = 65536
"""Bytes. It lies first: what overflows it ends at address 0, and not in somebody's numbers."""

LINE, PAGE = 64, 65536

STACK_POINTER, TABLES, END = "__stack_pointer", "model_tables", "model_end"
"""Names that the linker gives a meaning: the top of the stack, and where tables and free memory
begin."""

_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT = range(8)
_ELEMENT, _CODE, _DATA = 9, 10, 11
_OF_FUNCTION, _OF_DATA, _OF_GLOBAL, _OF_SECTION = range(4)
_UNDEFINED, _NAMED = 0x10, 0x40
_SEGMENTS, _SYMBOLS = 5, 8
_I32, _FUNCREF = 0x7F, 0x70

_SIGNED = {"index in table", "address, signed"}
_WHOLE = {"index in table, whole", "address, whole"}
_RELOCATIONS = {
    0: "function",
    1: "index in table",
    2: "index in table, whole",
    3: "address",
    4: "address, signed",
    5: "address, whole",
    6: "type",
    7: "global",
    20: "table",
}


class _Relocation(NamedTuple):
    kind: str
    place: int
    index: int
    addend: int


class _Symbol(NamedTuple):
    kind: int
    name: str
    is_defined: bool
    index: int
    """Of a function without those that are imported; of data: of its segment."""
    offset: int


class _Function(NamedTuple):
    type: bytes
    body: bytes
    relocations: tuple[_Relocation, ...]
    """With places from the begin of the body."""


class _Segment(NamedTuple):
    content: bytes
    alignment: int
    relocations: tuple[_Relocation, ...]


class _Object(NamedTuple):
    types: tuple[bytes, ...]
    functions: tuple[_Function, ...]
    segments: tuple[_Segment, ...]
    symbols: tuple[_Symbol, ...]


class Linked(Frozen, eq=False):
    """Objects in order, and what their names mean."""

    objects: tuple[_Object, ...]
    functions: Mapping[str, tuple[int, int]]
    """Object and number in it."""
    table: Mapping[str, int]
    """Functions that are called by number."""
    addresses: tuple[tuple[int, ...], ...]
    """Of the segments of each object."""
    tables: int
    """The address of what `module` is given."""


def link(objects: Sequence[bytes], called: Sequence[str]) -> Linked:
    """Put objects together. `called`: functions that have to have a number in the table."""
    read = tuple(map(_read_object, objects))
    functions: dict[str, tuple[int, int]] = {}
    for number, each in enumerate(read):
        for symbol in each.symbols:
            if symbol.kind == _OF_FUNCTION and symbol.is_defined:
                if symbol.name in functions:
                    raise InternalError(f"wasm: two functions are named {symbol.name}")
                functions[symbol.name] = number, symbol.index
    table = {name: number for number, name in enumerate(called, 1)}
    for each in read:
        for relocation in _relocations(each):
            if relocation.kind.startswith("index in table"):
                name = each.symbols[relocation.index].name
                table.setdefault(name, len(table) + 1)
    at, addresses = STACK, []
    for each in read:
        own = []
        for segment in each.segments:
            at = round_up(at, segment.alignment)
            own.append(at)
            at += len(segment.content)
        addresses.append(tuple(own))
    return Linked(read, functions, table, tuple(addresses), round_up(at, LINE))


def elsewhere(linked: Linked) -> list[str]:
    """Functions that are called and not there.

    >>> elsewhere(link([], []))
    []
    """
    return sorted(
        {
            symbol.name
            for each in linked.objects
            for symbol in each.symbols
            if symbol.kind == _OF_FUNCTION
            and not symbol.is_defined
            and symbol.name not in linked.functions
        }
    )


def module(linked: Linked, tables: bytes, exports: Mapping[str, str]) -> bytes:
    """The file: `tables` at `linked.tables`, and under the keys of `exports` the functions of these
    names, beside the memory."""
    end = round_up(linked.tables + len(tables), LINE)
    places = _Places(linked, end)
    types: dict[bytes, int] = {}
    own_types = [types.setdefault(f.type, len(types)) for o in linked.objects for f in o.functions]
    bodies = [
        _filled(function.body, function.relocations, lambda r, n=number: places.value(n, r, types))
        for number, each in enumerate(linked.objects)
        for function in each.functions
    ]
    data = [
        (address, _filled(s.content, s.relocations, lambda r, n=n: places.value(n, r, types)))
        for n, each in enumerate(linked.objects)
        for address, s in zip(linked.addresses[n], each.segments, strict=True)
    ]
    data = [(at, content) for at, content in data if any(content)]
    called = [places.functions[name] for name in linked.table]
    size = leb128(len(called) + 1)
    exported = [_name("memory") + b"\x02" + leb128(0)]
    exported += [_name(n) + b"\0" + leb128(places.functions[f]) for n, f in exports.items()]
    at_one = b"\x41\x01\x0b"
    sections = [
        (_TYPE, _vector(list(types))),
        (_FUNCTION, _vector(list(map(leb128, own_types)))),
        (_TABLE, _vector([bytes([_FUNCREF, 1]) + size + size])),
        (_MEMORY, _vector([b"\0" + leb128(-(-end // PAGE))])),
        (_GLOBAL, _vector([bytes([_I32, 1, 0x41]) + _signed_leb(STACK) + b"\x0b"])),
        (_EXPORT, _vector(exported)),
        (_ELEMENT, _vector([b"\0" + at_one + _vector(list(map(leb128, called)))])),
        (_CODE, _vector([leb128(len(body)) + body for body in bodies])),
        (_DATA, _vector([_segment(*each) for each in (*data, (linked.tables, tables))])),
    ]
    whole = b"".join(bytes([kind]) + leb128(len(content)) + content for kind, content in sections)
    return b"\0asm\1\0\0\0" + whole


class _Places:
    """What symbols come to."""

    def __init__(self, linked: Linked, end: int) -> None:
        self._linked = linked
        first, firsts = 0, []
        for each in linked.objects:
            firsts.append(first)
            first += len(each.functions)
        self.functions = {n: firsts[o] + index for n, (o, index) in linked.functions.items()}
        self._data = {TABLES: linked.tables, END: end}
        for number, each in enumerate(linked.objects):
            for symbol in each.symbols:
                if symbol.kind == _OF_DATA and symbol.is_defined:
                    self._data[symbol.name] = self._address(number, symbol)

    def _address(self, number: int, symbol: _Symbol) -> int:
        return self._linked.addresses[number][symbol.index] + symbol.offset

    def value(self, number: int, relocation: _Relocation, types: dict[bytes, int]) -> int:
        """What belongs into a place of that object."""
        each, kind = self._linked.objects[number], relocation.kind
        if kind == "type":
            return types.setdefault(each.types[relocation.index], len(types))
        symbol = each.symbols[relocation.index]
        if kind == "function":
            return self.functions[symbol.name]
        if kind.startswith("index in table"):
            return self._linked.table[symbol.name]
        if kind in ("global", "table"):
            if kind == "global" and symbol.name != STACK_POINTER:
                raise InternalError(f"wasm: there is no global {symbol.name}")
            return 0
        own = self._address(number, symbol) if symbol.is_defined else self._data[symbol.name]
        return own + relocation.addend


def _filled(
    content: bytes, relocations: Sequence[_Relocation], value: Callable[[_Relocation], int]
) -> bytes:
    parts, at = [], 0
    for relocation in relocations:
        parts.append(content[at : relocation.place])
        number = value(relocation)
        if relocation.kind in _WHOLE:
            parts.append(number.to_bytes(4, "little"))
            at = relocation.place + 4
        else:
            parts.append((_signed_leb if relocation.kind in _SIGNED else leb128)(number))
            at = relocation.place + 5
    return b"".join([*parts, content[at:]])


def _relocations(each: _Object) -> Iterator[_Relocation]:
    for function in each.functions:
        yield from function.relocations
    for segment in each.segments:
        yield from segment.relocations


# -------------------------------------------------------------------------------------- reading


class _Reader:
    def __init__(self, content: bytes, at: int = 0, end: int | None = None) -> None:
        self.content, self.at = content, at
        self.end = len(content) if end is None else end

    def byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def take(self, size: int) -> bytes:
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self) -> int:
        return self._leb()[0]

    def signed(self) -> int:
        value, bits, last = self._leb()
        return value - (1 << bits) if last & 0x40 else value

    def _leb(self) -> tuple[int, int, int]:
        value = bits = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << bits
            bits += 7
            if byte < 0x80:
                return value, bits, byte

    def name(self) -> str:
        return self.take(self.number()).decode()

    def limits(self) -> None:
        for _ in range(1 + (self.byte() & 1)):
            self.number()

    @property
    def is_at_end(self) -> bool:
        return self.at >= self.end


class _Section(NamedTuple):
    kind: int
    name: str
    """Of a custom one."""
    whole: bytes
    body: _Reader


def sections(content: bytes) -> Iterator[_Section]:
    """The parts of an object."""
    if content[:8] != b"\0asm\1\0\0\0":
        raise InternalError("wasm: expected an object of WebAssembly")
    reader = _Reader(content, 8)
    while not reader.is_at_end:
        begin, kind, size = reader.at, reader.byte(), reader.number()
        body = _Reader(content, reader.at, reader.at + size)
        reader.take(size)
        name = body.name() if kind == _CUSTOM else ""
        yield _Section(kind, name, content[begin : reader.at], body)


def _read_object(content: bytes) -> _Object:
    bodies: dict[int | str, _Reader] = {
        each.name or each.kind: each.body for each in sections(content)
    }

    def section(kind: int | str) -> _Reader:
        return bodies.get(kind, _Reader(bytes(2)))  # which lists nothing

    types = _read_types(section(_TYPE))
    imports = _read_imports(section(_IMPORT))
    own = section(_FUNCTION)
    declared = [types[own.number()] for _ in range(own.number())]
    alignments, symbols = _read_linking(bodies["linking"], imports)
    places = _read_relocations(section("reloc.CODE"))
    functions = _read_bodies(section(_CODE), declared, places)
    places = _read_relocations(section("reloc.DATA"))
    segments = _read_segments(section(_DATA), alignments, places)
    return _Object(types, functions, segments, symbols)


def _read_types(reader: _Reader) -> tuple[bytes, ...]:
    types = []
    for _ in range(reader.number()):
        begin = reader.at
        reader.byte()
        for _ in range(2):
            reader.take(reader.number())
        types.append(reader.content[begin : reader.at])
    return tuple(types)


def _read_imports(reader: _Reader) -> dict[int, list[str]]:
    """Names by kind of symbol."""
    names: dict[int, list[str]] = {_OF_FUNCTION: [], _OF_GLOBAL: []}
    for _ in range(reader.number()):
        reader.name()
        name, kind = reader.name(), reader.byte()
        if kind == 0:
            reader.number()
            names[_OF_FUNCTION].append(name)
        elif kind == 1:
            reader.byte()
            reader.limits()
        elif kind == 2:
            reader.limits()
        else:
            reader.take(2)
            names[_OF_GLOBAL].append(name)
    return names


def _read_bodies(
    reader: _Reader, types: Sequence[bytes], places: Sequence[_Relocation]
) -> tuple[_Function, ...]:
    base, functions, waiting = reader.at, [], list(reversed(places))
    assert reader.number() == len(types)
    for type_ in types:
        size = reader.number()
        begin = reader.at - base
        functions.append(_Function(type_, reader.take(size), _within(waiting, begin, size)))
    return tuple(functions)


def _read_segments(
    reader: _Reader, alignments: Sequence[int], places: Sequence[_Relocation]
) -> tuple[_Segment, ...]:
    base, segments, waiting = reader.at, [], list(reversed(places))
    assert reader.number() == len(alignments)
    for alignment in alignments:
        if reader.number() != 0 or reader.byte() != 0x41:
            raise InternalError("wasm: expected data at a place of the first memory")
        reader.signed()
        reader.byte()
        size = reader.number()
        begin = reader.at - base
        segments.append(_Segment(reader.take(size), alignment, _within(waiting, begin, size)))
    return tuple(segments)


def _within(waiting: list[_Relocation], begin: int, size: int) -> tuple[_Relocation, ...]:
    """Those that lie before `begin + size`, counted from `begin`: they are taken off the end of
    what waits, the first of all being there."""
    own = []
    while waiting and waiting[-1].place < begin + size:
        one = waiting.pop()
        own.append(one._replace(place=one.place - begin))
    return tuple(own)


def _read_relocations(reader: _Reader) -> tuple[_Relocation, ...]:
    reader.number()
    found = []
    for _ in range(reader.number()):
        number = reader.byte()
        if number not in _RELOCATIONS:
            raise InternalError(f"wasm: a relocation of kind {number}, which is not known")
        kind = _RELOCATIONS[number]
        place, index = reader.number(), reader.number()
        addend = reader.signed() if kind.startswith("address") else 0
        found.append(_Relocation(kind, place, index, addend))
    return tuple(found)


def _read_linking(
    reader: _Reader, imports: Mapping[int, Sequence[str]]
) -> tuple[list[int], tuple[_Symbol, ...]]:
    """Alignments of segments, and symbols."""
    if reader.number() != 2:
        raise InternalError("wasm: expected an object of version 2")
    alignments: list[int] = []
    symbols: list[_Symbol] = []
    while not reader.is_at_end:
        kind, size = reader.byte(), reader.number()
        end = reader.at + size
        if kind == _SEGMENTS:
            for _ in range(reader.number()):
                reader.name()
                alignments.append(1 << reader.number())
                reader.number()
        elif kind == _SYMBOLS:
            symbols = [_read_symbol(reader, imports) for _ in range(reader.number())]
        reader.at = end
    return alignments, tuple(symbols)


def _read_symbol(reader: _Reader, imports: Mapping[int, Sequence[str]]) -> _Symbol:
    kind, flags = reader.byte(), reader.number()
    is_defined = not flags & _UNDEFINED
    if kind == _OF_SECTION:
        return _Symbol(kind, "", True, reader.number(), 0)
    if kind == _OF_DATA:
        name, index, offset = reader.name(), 0, 0
        if is_defined:
            index, offset, _ = reader.number(), reader.number(), reader.number()
        return _Symbol(kind, name, is_defined, index, offset)
    index, known = reader.number(), imports.get(kind, ())
    named = is_defined or flags & _NAMED
    name = reader.name() if named else known[index] if index < len(known) else ""
    return _Symbol(kind, name, is_defined, index - len(known) if is_defined else index, 0)


# -------------------------------------------------------------------------------------- writing


def _signed_leb(number: int) -> bytes:
    """A number with a sign.

    >>> _signed_leb(64), _signed_leb(-1)
    (b'\\xc0\\x00', b'\\x7f')
    """
    made = bytearray()
    while not -64 <= number < 64:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number & 0x7F)
    return bytes(made)


def _name(name: str) -> bytes:
    content = name.encode()
    return leb128(len(content)) + content


def _vector(items: Sequence[bytes]) -> bytes:
    return leb128(len(items)) + b"".join(items)


def _segment(address: int, content: bytes) -> bytes:
    return b"\0\x41" + _signed_leb(address) + b"\x0b" + leb128(len(content)) + content
