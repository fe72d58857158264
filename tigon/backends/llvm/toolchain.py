"""LLVM, through llvmlite: its code generator, for several threads at once."""

from __future__ import annotations

import ctypes
from typing import Any

from tigon import _native
from tigon.backends.llvm.target import Target
from tigon.base import config

_MOST_THREADS = 8

_FUNCTIONS = {
    "create_context": "ContextCreate",
    "dispose_context": "ContextDispose",
    "parse": "ParseAssembly",
    "verify": "VerifyModule",
    "emit": "TargetMachineEmitToMemory",
    "dispose_module": "DisposeModule",
    "buffer_start": "GetBufferStart",
    "buffer_size": "GetBufferSize",
    "dispose_buffer": "DisposeMemoryBuffer",
    "dispose_string": "DisposeString",
}


class Toolchain:
    """Made at the first compilation: importing llvmlite costs 60 ms."""

    def __init__(self, target: Target) -> None:
        import llvmlite.binding as llvm
        from llvmlite.binding import ffi

        if target.triple.partition("-")[0] == llvm.get_default_triple().partition("-")[0]:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        else:
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        # Loops are emitted in the form addressing modes want; this pass would look for a better
        # one for half of all compilation time, and finds none.
        llvm.set_option("tigon", "-disable-lsr")
        self.target = target
        self._machines = [self._machine()]
        library = ctypes.CDLL(ffi.lib._name)
        self._functions = {
            name: _address(getattr(library, f"LLVMPY_{function}"))
            for name, function in _FUNCTIONS.items()
        }
        if not config.is_on("TIGON_DEBUG"):
            self._functions["verify"] = 0

    def _machine(self) -> Any:
        import llvmlite.binding as llvm

        target = self.target
        # Functions of WebAssembly are found by their numbers wherever they are.
        reloc = "static" if target.triple.startswith("wasm") else "pic"
        return llvm.Target.from_triple(target.triple).create_target_machine(
            cpu="", features=target.features, opt=2, reloc=reloc, codemodel="default", jit=True
        )

    def threads(self) -> int:
        """How many may compile at a time: as many as compute."""
        return min(_native.num_threads(), _MOST_THREADS)

    def object_compiler(self, threads: int) -> _native.ObjectCompiler:
        """What compiles modules on up to so many threads, the caller's included."""
        while len(self._machines) < threads:
            self._machines.append(self._machine())
        machines = [_address(machine) for machine in self._machines[:threads]]
        return _native.ObjectCompiler(self._functions, machines)

    def assembly(self, text: str) -> str:
        """Machine code as text, for looking at."""
        import llvmlite.binding as llvm

        module = llvm.parse_assembly(text, llvm.create_context())
        return self._machines[0].emit_assembly(module)


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
