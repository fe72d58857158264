"""A backend without code: every nest is verified and every launch has no points."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from tigon.backends.interface import Launchable, NoStore, Structure
from tigon.base.tiles import WIDE
from tigon.loop.abstract import abstract
from tigon.loop.grammar import AnyNest
from tigon.loop.verify import verify

_Kernel = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
)


class NullBackend:
    """Outputs keep whatever their memory held.

    >>> from tigon.base.dtypes import float32
    >>> from tigon.loop import build as L
    >>> from tigon.loop.grammar import Buffer, LoopAxis, Nest, Store
    >>> store = Store(0, L.axis("i"), L.const(1, float32))
    >>> nest = Nest((Buffer(float32, "out"),), (LoopAxis("i", L.const(9)),), (store,))
    >>> launchable = null.prepare(nest)
    >>> launchable.points, len(null.compile([launchable.structure]))
    (0, 1)
    """

    name = "null"

    def __init__(self) -> None:
        # The runtime wants an address even of what it never calls.
        self._function = _Kernel(lambda *_: 0)
        self._address = ctypes.cast(self._function, ctypes.c_void_p).value or 0
        self._known: set[Structure] = set()
        self._modules = 0
        self._hits = 0

    registers = WIDE

    def prepare(self, nest: AnyNest, extents: tuple[int, ...] = ()) -> Launchable:
        verify(nest)
        structure, slots = abstract(nest)
        return Launchable(
            Structure(structure), slots, points=0, grain=1, scratch_bytes=0, cost_us=0.0
        )

    def compile(self, structures: Sequence[Structure]) -> list[int]:
        new = set(structures) - self._known
        self._known |= new
        self._modules += bool(new)
        self._hits += len(structures) - len(new)
        return [self._address] * len(structures)

    def grain(self, points: int, microseconds: float) -> int:
        return 1

    version = "null"

    @property
    def store(self) -> NoStore:
        return NoStore()

    def names(self, structures: Sequence[Structure]) -> list[str]:
        return []

    def find(self, names: Sequence[str]) -> list[int] | None:
        return None

    @property
    def counters(self) -> dict[str, float]:
        return {
            "compilations": len(self._known),
            "compiled": len(self._known),
            "modules": self._modules,
            "compile_seconds": 0.0,
            "cache_hits": self._hits,
        }


null = NullBackend()
