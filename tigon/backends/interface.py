"""What a device must offer to run loop nests. The compiler talks to it through two verbs:

    launchable = backend.prepare(nest)                     # numbers become a parameter block
    [address, ...] = backend.compile([launchable.structure, ...])

A backend sees loop nests and names of routines, never a graph or an operator. Memory, copies and
synchronization belong to the native runtime.

The memory plan puts results over operands where each point of a nest reads an element before it
writes it (`LoweredNest.in_step`). A backend may run points in any order, several as one, and
compute values more than once, but of what it runs as one it computes all values of a run of lets
and stores before it writes the first (`tests/backends/test_in_place.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from tigon.base.frozen import Frozen
from tigon.base.tiles import Registers
from tigon.loop.grammar import AnyNest


class Structure(Frozen):
    """What a native function is compiled from, and the key under which it is found again; an
    `Extern` is found only.

    `nest` has slots instead of numbers. `variant` is the schedule that the backend chose from the
    extents (tiles, special cases); other code passes it on without looking."""

    nest: AnyNest
    variant: Hashable = None


class Launchable(Frozen):
    """One launch, up to its buffers. Buffer i of the launch is `nest.buffers[i]`; a buffer whose
    role is "scratch" gets no memory from the runtime: its entry is ignored and may be null."""

    structure: Structure
    slots: bytes  # the parameter block, 8 bytes per entry
    points: int  # size of the parallel space; 0 means that there is nothing to run
    grain: int  # fewest points worth a chunk of their own
    scratch_bytes: int  # private memory of each call, 64-byte aligned
    cost_us: float  # estimate for all points on one core
    open: tuple[tuple[int, str, Any], ...] = ()
    """Slots with numbers that other launches of the nest have others of: place, form, number."""

    def packed(self) -> bytes:
        """The parameter block with these numbers as they are now known."""
        if not self.open:
            return self.slots
        block = bytearray(self.slots)
        for place, form, number in self.open:
            struct.pack_into(form, block, 8 * place, number)
        return bytes(block)


class Store(Protocol):
    """Content by key; every failure is a miss."""

    @property
    def usable(self) -> bool: ...
    def load(self, key: str) -> bytes | None: ...
    def load_program(self, name: str) -> bytes | None:
        """The same by the name of a key."""

    def save(self, key: str, image: bytes) -> None: ...


class NoStore:
    """Finds nothing, keeps nothing."""

    usable = False

    def load(self, key: str) -> bytes | None:
        return None

    def load_program(self, name: str) -> bytes | None:
        return None

    def load_named(self, name: str) -> bytes | None:
        return None

    def save(self, key: str, image: bytes) -> None: ...


class Backend(Protocol):
    """A device's compiler."""

    name: str

    def prepare(self, nest: AnyNest, extents: tuple[int, ...] = ()) -> Launchable:
        """Choose a schedule for a nest. Cheap: compiles nothing. `extents` are the values of the
        run-time extents among its numbers, which are known at this moment (`RuntimeExtents.known`).
        """

    def compile(self, structures: Sequence[Structure]) -> list[int]:
        """Addresses of the native functions, in order. Equal structures give the same address,
        new ones are compiled together in one module. Addresses stay valid for the life of the
        process. Any thread may call."""

    def grain(self, points: int, microseconds: float) -> int:
        """The grain of a launch of so many points that take so long on one core."""

    @property
    def version(self) -> str:
        """All that schedules and code depend on besides the nests."""

    @property
    def registers(self) -> Registers:
        """What a tile of a product may fill."""

    @property
    def store(self) -> Store:
        """Where what was compiled is kept for later processes."""

    def names(self, structures: Sequence[Structure]) -> list[str]:
        """Names under which a later process finds the functions of compiled structures."""

    def find(self, names: Sequence[str]) -> list[int] | None:
        """Addresses of functions that an earlier process compiled; None if one is missing."""

    @property
    def counters(self) -> dict[str, float]:
        """compilations (functions made native in this process), compiled (those that the compiler
        ran for, with what they call), loaded (those that another process had compiled before, or
        the package brings), modules, compile_seconds, cache_hits."""
