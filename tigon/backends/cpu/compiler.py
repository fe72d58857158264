"""From functions as text to addresses: LLVM's code generator without its optimiser."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from tigon.backends.cpu.store import ObjectStore
from tigon.backends.cpu.target import Target, host_target
from tigon.backends.cpu.text import Function
from tigon.base.errors import InternalError


class Compiler:
    """One target machine and one loader per process, made at the first compilation (importing
    llvmlite costs 60 ms). Not locked: `CpuBackend` serialises, as llvmlite itself does."""

    def __init__(self, given: Target | None = None) -> None:
        self._lock = threading.Lock()
        self._given = given
        self._target: Target | None = None
        self._machine: Any = None
        self._loader: Any = None
        self._keep: list[Any] = []  # loaded code is never unloaded
        self._helpers: dict[str, int] = {}
        self._modules = 0
        self._store = ObjectStore()
        self.seconds = 0.0
        self.loaded = 0  # functions that came from the store

    @property
    def target(self) -> Target:
        with self._lock:
            if self._target is None:
                self._start()
            assert self._target is not None
            return self._target

    def _start(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        # Loops are emitted in the form addressing modes want; this pass would look for a better
        # one for half of all compilation time, and finds none.
        llvm.set_option("tigon", "-disable-lsr")
        target = self._given or host_target()
        self._machine = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu="", features=target.features, opt=2, reloc="pic", codemodel="default", jit=True
        )
        self._loader = llvm.create_lljit_compiler(self._machine, use_jit_link=False)
        self._target = target

    def assembly(self, functions: Sequence[Function]) -> str:
        """The machine code of functions, as text, for looking at."""
        target = self.target
        return self._machine.emit_assembly(self._parse(module_text(functions, target)))

    def _parse(self, text: str) -> Any:
        import llvmlite.binding as llvm

        try:
            module = llvm.parse_assembly(text, llvm.create_context())
            if os.environ.get("TIGON_DEBUG") == "1":
                module.verify()
        except RuntimeError as error:
            raise InternalError(f"cpu: LLVM refuses the generated code: {error}\n{text}") from error
        return module

    def compile(self, functions: Sequence[Function]) -> list[int]:
        """Addresses of functions, which must have names of their own."""
        self._make_helpers(functions)
        return self._compile(functions)

    def _make_helpers(self, functions: Sequence[Function]) -> None:
        """Compile, once per process, what these functions call and no module has yet."""
        wanted = {name: make for function in functions for name, make in function.helpers.items()}
        missing = [make(name) for name, make in wanted.items() if name not in self._helpers]
        if missing:
            made = self._compile(missing)
            self._helpers.update(
                (function.name, address) for function, address in zip(missing, made, strict=True)
            )

    def _compile(self, functions: Sequence[Function]) -> list[int]:
        import llvmlite.binding as llvm

        target = self.target
        with self._lock:
            begun = time.perf_counter()
            text = module_text(functions, target)
            key = f"{llvm.llvm_version_info} {target}\n{text}"
            image = self._store.load(key)
            if image is None:
                image = self._machine.emit_object(self._parse(text))
                self._store.save(key, image)
            else:
                self.loaded += len(functions)
            self._modules += 1
            builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
            for function in functions:
                builder.export_symbol(function.name)
                for helper in function.helpers:
                    builder.import_symbol(helper, self._helpers[helper])
            library = builder.link(self._loader, f"module{self._modules}")
            self._keep.append(library)
            addresses = [library[function.name] for function in functions]
            self.seconds += time.perf_counter() - begun
        return addresses

    @property
    def modules(self) -> int:
        return self._modules


def module_text(functions: Sequence[Function], target: Target) -> str:
    """One module: declarations shared, functions in order."""
    declarations = sorted(set().union(*(function.declarations for function in functions)))
    return "\n".join(
        [
            f'target triple = "{target.triple}"',
            *declarations,
            *(function.text() for function in functions),
            "attributes #0 = { nounwind }",
            "!0 = !{i32 1}",
        ]
    )
