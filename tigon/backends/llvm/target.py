"""What code is generated for: levels of an architecture, not single machines, so that code made
elsewhere is found by its level.

A level is a set of instructions, and what the generator makes of them. A machine's level is the
last one all of whose instructions it has; the native runtime asks the processor, LLVM is not
needed for it."""

from __future__ import annotations

import platform
from functools import cache

from tigon import _native
from tigon.base import check, config
from tigon.base.frozen import Frozen
from tigon.base.tiles import Registers


class Speeds(Frozen):
    """What was measured of machines of a level, on one core: nanoseconds, and bytes and operations
    in one of them. They decide how work is cut into chunks, where it runs and what is stored past
    the caches, never what is computed; a factor of two does not matter.

    `operation`: one instruction on one register. `gather`: an element from anywhere. `loop`,
    `point`: to begin one. `chain`: a step of a scan, which waits for the one before. `division`: of
    one integer; vectors of them go through float64. `cache_bytes`, `memory_bytes`: read or written.
    `multiply_adds`: on whole vectors, of products; `strided_multiply_adds` of those whose operands
    are read where they lie. `packed`: an element that is copied into a panel. `stream_bytes`:
    results larger than any cache, which are not read back from one: storing past it saves a read.
    """

    operation: float = 0.15
    gather: float = 0.8
    loop: float = 1.0
    point: float = 2.0
    chain: float = 1.5
    division: float = 4.0
    cache_bytes: float = 100.0
    memory_bytes: float = 40.0
    multiply_adds: float = 4.0
    strided_multiply_adds: float = 5.5
    packed: float = 0.3
    stream_bytes: int = 32 << 20


class Target(Frozen):
    """`features`: instructions, by LLVM's names. `vector_bytes`: width of a register. `registers`:
    how many there are. `masks`: loads and stores of single lanes cost nothing extra. `gathers`:
    there is an instruction for them. `fused`: there is one for multiply-add. `converts_float16`:
    between float16 and float32. `pointer_bytes`: of an address in memory. `speeds`: those measured
    on Zen 4 and 5, for want of others."""

    triple: str
    features: str
    vector_bytes: int
    registers: int
    masks: bool
    gathers: bool
    fused: bool = True
    converts_float16: bool = False
    pointer_bytes: int = 8
    speeds: Speeds = Speeds()

    @property
    def register_file(self) -> Registers:
        return Registers(self.vector_bytes, self.registers)

    def lanes(self, itemsize: int) -> int:
        return max(1, self.vector_bytes // itemsize)


_OLDEST = "cx8 fxsr mmx sse sse2 x87".split()
_V2 = [*_OLDEST, *"cx16 popcnt sahf sse3 ssse3 sse4.1 sse4.2".split()]
_V3 = [*_V2, *"avx avx2 bmi bmi2 f16c fma lzcnt movbe".split()]
_V4 = [*_V3, *"avx512f avx512bw avx512cd avx512dq avx512vl".split()]
_V4_NARROW = [*_V4, *"avx512bf16 avx512vnni".split()]


def _x86_64(names: list[str], *shape: int | bool) -> Target:
    return Target("x86_64-unknown-linux-gnu", ",".join(f"+{name}" for name in names), *shape)  # type: ignore[arg-type]


# Triples name the kind of object code, which our own loader reads on every system.
LEVELS: dict[str, Target] = {
    "x86-64": _x86_64(_OLDEST, 16, 16, False, False, False),
    "x86-64-v2": _x86_64(_V2, 16, 16, False, False, False),
    "x86-64-v3": _x86_64(_V3, 32, 16, False, True, True, True),
    "x86-64-v4": _x86_64(_V4, 64, 32, True, True, True, True),
    "x86-64-v4-narrow": _x86_64(_V4_NARROW, 64, 32, True, True, True, True),
    "aarch64": Target(
        "aarch64-unknown-linux-gnu", "+fp-armv8,+neon", 16, 32, False, False, True, True
    ),
}
"""By name, of one architecture from the least to the most. "narrow": with products of bfloat16 and
int8."""

WEB = Target(
    "wasm32-unknown-unknown",
    "+simd128,+bulk-memory,+mutable-globals,+nontrapping-fptoint,+sign-ext",
    16,
    14,
    False,
    False,
    False,
    pointer_bytes=4,
)
"""What all engines of WebAssembly have had since 2023; relaxed SIMD, which some lack, is not in it.
Most machines below them have 16 registers, of which an engine keeps one, and a product that is not
added at once takes another."""

SHIPPED = {
    "x86-64": ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-narrow"),
    "aarch64": ("aarch64",),
}
"""Levels that packages bring code for, by architecture."""


def architecture() -> str:
    """That of this machine, as levels begin.

    >>> architecture() in SHIPPED
    True
    """
    return "aarch64" if platform.machine().lower() in ("aarch64", "arm64") else "x86-64"


def architecture_of(level: str) -> str:
    """Of which architecture a level is.

    >>> architecture_of("x86-64-v3"), architecture_of("aarch64")
    ('x86-64', 'aarch64')
    """
    return "x86-64" if level.startswith("x86-64") else level


@cache
def host_level() -> str:
    """The level of the machine that this process runs on.

    >>> host_level().startswith(architecture())
    True
    """
    if architecture() == "aarch64":
        return "aarch64"
    there = {*_OLDEST, *_native.processor_features()}
    return [
        name
        for name, target in LEVELS.items()
        if name.startswith("x86-64") and _names(target) <= there
    ][-1]


def _names(target: Target) -> set[str]:
    return set(target.features.replace("+", "").split(","))


def chosen_level() -> str:
    """The level to generate for: `TIGON_LEVEL`, or that of the machine."""
    given, host = config.text("TIGON_LEVEL"), host_level()
    order = [name for name in LEVELS if name.startswith(architecture())]
    possible = order[: order.index(host) + 1]
    check(
        not given or given in possible,
        "TIGON_LEVEL",
        f"this machine runs code for {', '.join(possible)}; given {given!r}",
    )
    return given or host


def host_target() -> Target:
    """What this process generates code for."""
    return LEVELS[chosen_level()]
