"""The CPU backend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tigon.backends.cpu import cost, routines
from tigon.backends.cpu.contraction import emit_contraction
from tigon.backends.cpu.nest import NestPlan, emit_nest, scratch_bytes
from tigon.backends.cpu.plain import as_nest
from tigon.backends.cpu.plan import Plan, Tile, arrange, choose, contraction_shape
from tigon.backends.interface import Launchable, Structure
from tigon.backends.llvm.objects import Compiler, Job
from tigon.backends.llvm.scalar import EMITTED
from tigon.backends.llvm.target import Target
from tigon.backends.llvm.text import Function
from tigon.backends.store import ObjectStore
from tigon.base import InternalError
from tigon.base.locks import lock_without_forks
from tigon.loop.abstract import abstract
from tigon.loop.expand import expand as expand_functions
from tigon.loop.fingerprint import fingerprint
from tigon.loop.grammar import (
    AnyNest,
    Apply,
    Contraction,
    Expr,
    Extern,
    Nest,
    walk,
)
from tigon.loop.map import Mapper

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
        self._prepared: dict[tuple[AnyNest, tuple[int, ...]], Launchable] = {}
        self._tiles: dict[AnyNest, dict[Tile, None]] = {}  # by structure, in order of first use
        self._found: dict[str, int] = {}  # functions of earlier processes, by name
        self._hits = 0

    # ------------------------------------------------------------------------------ verbs

    def prepare(self, nest: AnyNest, extents: tuple[int, ...] = ()) -> Launchable:
        found = self._prepared.get((nest, extents))
        if found is None:
            if len(self._prepared) >= NESTS_KEPT:
                self._prepared.clear()
            found = self._prepared[nest, extents] = self._prepare(nest, bool(extents))
        return found

    def compile(self, structures: Sequence[Structure]) -> list[int]:
        with self._lock:
            looped = [s for s in structures if not isinstance(s.nest, Extern)]
            missing = [s for s in dict.fromkeys(looped) if s not in self._addresses]
            self._hits += len(looped) - len(missing)
            if missing:
                jobs = [Job(fingerprint(s), partial(self.emit, s)) for s in missing]
                made = self._compiler.compile(jobs)
                self._addresses.update(zip(missing, made, strict=True))
            return [
                routines.address(structure.nest)
                if isinstance(structure.nest, Extern)
                else self._addresses[structure]
                for structure in structures
            ]

    def grain(self, points: int, microseconds: float) -> int:
        return cost.grain(points, microseconds)

    @property
    def version(self) -> str:
        return self._compiler.version

    @property
    def store(self) -> ObjectStore:
        return self._compiler.store

    def names(self, structures: Sequence[Structure]) -> list[str]:
        return [
            routines.name(structure.nest)
            if isinstance(structure.nest, Extern)
            else self._compiler.name(fingerprint(structure))
            for structure in structures
        ]

    def find(self, names: Sequence[str]) -> list[int] | None:
        with self._lock:
            found = []
            for name in names:
                address = self._found.get(name) or routines.find(name) or self._compiler.find(name)
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

    def _prepare(self, nest: AnyNest, is_open: bool) -> Launchable:
        if isinstance(nest, Extern):
            return routines.prepare(nest)
        target = self._compiler.target
        plain = as_nest(nest) if isinstance(nest, Contraction) else None
        if plain is not None:
            nest = plain
        if isinstance(nest, Contraction):
            nest, slide = arrange(nest, target)
            structure, slots = abstract(nest)
            # Among the many sizes of one program, code is not multiplied for a little speed.
            tiles = self._tiles.setdefault(structure, {})
            present = tuple(tiles) if is_open else ()
            plan, blocks, scratch = choose(nest, slide, target, len(slots) // 8, present)
            tiles[plan.rows, plan.vectors] = None
            points, grain, microseconds = contraction_shape(nest, plan, blocks, target)
            return Launchable(
                Structure(structure, plan),
                slots + blocks.pack(),
                points,
                grain,
                scratch,
                microseconds,
            )
        structure, slots = abstract(nest)
        points, grain, microseconds = cost.nest_shape(nest, target)
        variant = NestPlan(plain is not None, cost.streams(nest), cost.lanes(nest, microseconds))
        return Launchable(
            Structure(structure, variant),
            slots,
            points,
            grain,
            scratch_bytes(nest.buffers),
            microseconds,
        )

    def emit(self, structure: Structure, name: str) -> Function:
        """The function for a structure, as LLVM IR."""
        nest = structure.nest
        if isinstance(nest, Extern):
            raise InternalError(f"cpu: {nest.routine} is a routine of a library, not loops")
        nest = expand(nest)
        target = self._compiler.target
        if isinstance(nest, Contraction):
            assert isinstance(structure.variant, Plan)
            return emit_contraction(nest, structure.variant, name, target)
        assert isinstance(nest, Nest) and isinstance(structure.variant, NestPlan)
        return emit_nest(nest, structure.variant, name, target)

    def llvm(self, structure: Structure) -> str:
        """The generated LLVM IR, for looking at."""
        return self.emit(structure, "kernel").text()

    def assembly(self, structure: Structure) -> str:
        """The generated machine code as text, for looking at."""
        return self._compiler.assembly([self.emit(structure, "kernel")])


class _Expander(Mapper):
    def value(self, expr: Expr) -> Expr:
        if all(node.function in EMITTED for node in walk(expr) if isinstance(node, Apply)):
            return expr
        return expand_functions(expr)


def expand(nest: AnyNest) -> AnyNest:
    """Elementary functions written out as arithmetic."""
    return _Expander().nest(nest)


cpu = CpuBackend()
"""The one backend of the process for its own cores."""
