"""What the machine can do, read from its feature flags (never from its name)."""

from __future__ import annotations

import platform

from tigon.base.frozen import Frozen
from tigon.base.tiles import Registers


class Target(Frozen):
    """`vector_bytes`: width of a register. `registers`: how many there are. `masks`: loads and
    stores of single lanes cost nothing extra. `gathers`: there is an instruction for them.
    `fused`: there is one for multiply-add. `converts_float16`: between float16 and float32."""

    triple: str
    features: str
    vector_bytes: int
    registers: int
    masks: bool
    gathers: bool
    fused: bool = True
    converts_float16: bool = False

    @property
    def file(self) -> Registers:
        return Registers(self.vector_bytes, self.registers)

    def lanes(self, itemsize: int) -> int:
        return max(1, self.vector_bytes // itemsize)


def host_target() -> Target:
    """The target this process runs on."""
    import llvmlite.binding as llvm

    flags = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    features = flags.flatten()
    wide = all(flags.get(f"avx512{part}", False) for part in ("f", "bw", "dq", "vl"))
    if platform.machine().lower() in ("aarch64", "arm64"):
        return Target(triple, features, 16, 32, False, False, converts_float16=True)
    fused, halves = bool(flags.get("fma", False)), bool(flags.get("f16c", False))
    if wide:
        return Target(triple, features, 64, 32, True, True, True, halves)
    if flags.get("avx2", False) and fused:
        return Target(triple, features, 32, 16, False, True, True, halves)
    return Target(triple, features, 16, 16, False, False, fused, halves)
