"""The CPU backend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from tigon.backends.cpu.chunks import grain
from tigon.backends.interface import Launchable, Structure
from tigon.backends.llvm.objects import Compiler, Job
from tigon.backends.llvm.target import Target
from tigon.backends.store import ObjectStore
from tigon.base.extents import RuntimeExtents
from tigon.base.lazy import computed_once
from tigon.base.locks import lock_without_forks
from tigon.base.tiles import Registers
from tigon.loop.fingerprint import declared_elsewhere, fingerprint
from tigon.loop.grammar import AnyNest, Extern

if TYPE_CHECKING:  # what generates code is imported where some is wanted
    from tigon.backends.cpu.generator import Formulas, Generator
    from tigon.backends.llvm.text import Function

ROUTINE = "routine "
"""How stored programs begin the names of routines."""

NESTS_KEPT = 10_000
"""Nests remembered with how they are launched: shapes that change must not fill the memory."""


class CpuBackend:
    """Native code for the machine this process runs on.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop import build as L
    >>> from tigon.loop.grammar import Buffer, Loop, LoopAxis, Nest, Store
    >>> store = Store(1, L.axis("i"), L.add(L.load(0, L.axis("i"), float32), 1.0))
    >>> row = Loop((LoopAxis("i", L.const(1000), vector=True),), (store,))
    >>> nest = Nest((Buffer(float32, "in"), Buffer(float32, "out")), (), (row,))
    >>> launchable = cpu.prepare(nest)
    >>> launchable.points, len(launchable.slots)
    (1, 8)
    >>> [address] = cpu.compile([launchable.structure])
    >>> cpu.compile([launchable.structure]) == [address]
    True
    """

    name = "cpu"

    def __init__(self, target: Target | None = None, compiler: Compiler | None = None) -> None:
        """`target`: generate for less than the machine offers, as tests do. `compiler`: for
        another machine."""
        self._compiler = Compiler(target) if compiler is None else compiler
        self._lock = lock_without_forks()
        self._addresses: dict[Structure, int] = {}
        self._names: dict[tuple[Structure, str], str] = {}  # and by what is declared elsewhere
        self._prepared: dict[tuple[AnyNest, tuple[int, ...]], Launchable] = {}
        self._found: dict[str, int] = {}  # functions of earlier processes, by name
        self._hits = 0

    # ------------------------------------------------------------------------------ verbs

    def prepare(self, nest: AnyNest, extents: tuple[int, ...] = ()) -> Launchable:
        found = self._prepared.get((nest, extents))
        if found is None:
            if len(self._prepared) >= NESTS_KEPT:
                self._prepared.clear()
            found = self._prepared[nest, extents] = self._generator.prepare(nest, bool(extents))
        return found

    def formulas(self, nest: AnyNest, extents: RuntimeExtents, values: Sequence[int]) -> Formulas:
        """A launch with formulas in run-time extents for numbers, as it is for these values of
        them; to be asked within `extents.supposed(values)`."""
        return self._generator.formulas(nest, extents, values)

    def compile(self, structures: Sequence[Structure]) -> list[int]:
        with self._lock:
            # Launches of one nest share an object, and hashing one is slow.
            unlike = {id(structure): structure for structure in structures}
            looped = dict.fromkeys(s for s in unlike.values() if not isinstance(s.nest, Extern))
            missing = [s for s in looped if s not in self._addresses]
            self._hits += sum(not isinstance(s.nest, Extern) for s in structures) - len(missing)
            if missing:
                keys = list(map(fingerprint, missing))
                jobs = [
                    Job(key, partial(self.emit, structure))
                    for key, structure in zip(keys, missing, strict=True)
                ]
                made = self._compiler.compile(jobs)
                self._addresses.update(zip(missing, made, strict=True))
                declared = declared_elsewhere()
                for structure, key in zip(missing, keys, strict=True):
                    self._names[structure, declared] = self._compiler.name(key)
            addresses = {
                number: _routines().address(structure.nest)
                if isinstance(structure.nest, Extern)
                else self._addresses[structure]
                for number, structure in unlike.items()
            }
            return [addresses[id(structure)] for structure in structures]

    def grain(self, points: int, microseconds: float) -> int:
        return grain(points, microseconds)

    @property
    def version(self) -> str:
        return self._compiler.version

    @property
    def registers(self) -> Registers:
        return self._compiler.target.register_file

    @property
    def store(self) -> ObjectStore:
        return self._compiler.store

    def names(self, structures: Sequence[Structure]) -> list[str]:
        names = {
            number: ROUTINE + _routines().name(structure.nest)
            if isinstance(structure.nest, Extern)
            else self._name(structure)
            for number, structure in {id(one): one for one in structures}.items()
        }
        return [names[id(structure)] for structure in structures]

    def _name(self, structure: Structure) -> str:
        key = (structure, declared_elsewhere())
        if key not in self._names:
            self._names[key] = self._compiler.name(fingerprint(structure))
        return self._names[key]

    def find(self, names: Sequence[str]) -> list[int] | None:
        with self._lock:
            found = []
            for name in names:
                address = self._found.get(name)
                if address is None and name.startswith(ROUTINE):
                    address = _routines().find(name.removeprefix(ROUTINE))
                elif address is None:
                    address = self._compiler.find(name)
                if address is None:
                    return None
                self._found[name] = address
                found.append(address)
            return found

    @property
    def target(self) -> Target:
        return self._compiler.target

    @property
    def counters(self) -> dict[str, float]:
        return {
            "compilations": len(self._addresses),
            "compiled": self._compiler.compiled,
            "loaded": self._compiler.loaded,
            "modules": self._compiler.modules,
            "compile_seconds": self._compiler.seconds,
            "cache_hits": self._hits,
        }

    # ----------------------------------------------------------------------------- inside

    @computed_once
    def _generator(self) -> Generator:
        from tigon.backends.cpu.generator import Generator

        return Generator(self.target)

    def emit(self, structure: Structure, name: str) -> Function:
        """The function for a structure, as LLVM IR."""
        return self._generator.emit(structure, name)

    def llvm(self, structure: Structure) -> str:
        """The generated LLVM IR, for looking at."""
        return self.emit(structure, "kernel").text()

    def assembly(self, structure: Structure) -> str:
        """The generated machine code as text, for looking at."""
        return self._compiler.assembly([self.emit(structure, "kernel")])


def _routines() -> ModuleType:
    import tigon.backends.cpu.routines as routines  # which few programs have

    return routines


cpu = CpuBackend()
"""The one backend of the process for its own cores."""
