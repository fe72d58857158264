"""Code and tables as one file: what the loader of a system reads, or a module of WebAssembly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tigon.base import TigonError
from tigon.base.frozen import Frozen
from tigon.standalone import elf, macho, pe, wasm
from tigon.standalone.programs import LevelCode, Linked, Program
from tigon.standalone.runtime import runtime_object, web_runtime

FUNCTIONS = ("create", "destroy", "run", "last_error", "describe", "state", "seed")
WEB_FUNCTIONS = (*FUNCTIONS, "allocate", "release")

WEB = "web"


class System(Frozen):
    """How files of a system are written: what they end with, how far code lies from the begin of
    tables in memory, and the file."""

    suffix: str
    code_place: Callable[[int], int]
    write: Callable[[str, str, bytes, bytes, Mapping[str, int]], bytes]


SYSTEMS = {
    "linux": System(".so", elf.code_place, elf.shared_library),
    "windows": System(".dll", pe.code_place, pe.dynamic_library),
    "macos": System(".dylib", macho.code_place, macho.dynamic_library),
}


def suffix(system: str) -> str:
    """What names of libraries end with."""
    return ".wasm" if system == WEB else SYSTEMS[system].suffix


Level = tuple[LevelCode, Sequence[Program]]


class Image(Protocol):
    """Code of all levels, linked, which waits for the tables."""

    functions: Sequence[Mapping[int, int]]
    """Of each level: what tables call functions by, by the id of a structure."""

    def code(self, size: int) -> list[int]:
        """Of each level, how far its code is from tables that are so long, with what is behind."""
        ...

    def file(self, name: str, prefix: str, tables: bytes) -> bytes: ...


def link(levels: Sequence[Level], machine: str, system: str) -> Image:
    """The runtime is linked to the code of the first level."""
    return WebImage(levels) if system == WEB else NativeImage(levels, machine, system)


class NativeImage:
    """The code of all levels in a row; functions are found by their distance from its begin."""

    def __init__(self, levels: Sequence[Level], machine: str, system: str) -> None:
        self._machine, self._system = machine, SYSTEMS[system]
        self._code, self._begins = b"", []
        linked: list[Linked] = []
        for number, (code, programs) in enumerate(levels):
            one = code.link(programs, b"" if number else runtime_object(machine, system))
            self._code += bytes(-len(self._code) % 4096)
            self._begins.append(len(self._code))
            self._code += one.code
            linked.append(one)
        self._places = linked[0].places
        self.functions = [one.functions for one in linked]

    def code(self, size: int) -> list[int]:
        distance = self._system.code_place(size)
        return [distance + begin for begin in self._begins]

    def file(self, name: str, prefix: str, tables: bytes) -> bytes:
        at = self._places["model_distance"]
        distance = self._system.code_place(len(tables))
        code = bytearray(self._code)
        code[at : at + 8] = (-distance - at).to_bytes(8, "little", signed=True)
        functions = {f"{prefix}_{each}": self._places[f"model_{each}"] for each in FUNCTIONS}
        return self._system.write(self._machine, name, tables, bytes(code), functions)


class WebImage:
    """Functions are numbers of a table, as if code began at address 0."""

    def __init__(self, levels: Sequence[Level]) -> None:
        ((code, programs),) = levels
        images, symbols = code.objects(programs)
        called = list(dict.fromkeys(symbols.values()))
        self._linked = wasm.link([web_runtime(), *images], called)
        missing = wasm.elsewhere(self._linked)
        if missing:
            raise TigonError(
                f"export_wasm: the code calls {', '.join(missing)} of the C library, which a "
                "module does not have; please report it"
            )
        self.functions = [{number: self._linked.table[s] for number, s in symbols.items()}]

    def code(self, size: int) -> list[int]:
        return [-self._linked.tables]

    def file(self, name: str, prefix: str, tables: bytes) -> bytes:
        return wasm.module(self._linked, tables, {each: f"model_{each}" for each in WEB_FUNCTIONS})
