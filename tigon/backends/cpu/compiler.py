"""From functions as text to addresses: LLVM's code generator without its optimiser."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tigon.backends.cpu.store import ObjectStore
from tigon.backends.cpu.target import Target, host_target
from tigon.backends.cpu.text import Function
from tigon.base.errors import InternalError
from tigon.base.frozen import Frozen
from tigon.base.locks import plain_lock


class Job(Frozen):
    """One function to have: a key that says all there is to know about it, and how to write it."""

    key: str
    emit: Callable[[str], Function]


class Compiler:
    """One target machine and one loader per process, made at the first compilation (importing
    llvmlite costs 60 ms). Not locked: `CpuBackend` serialises, as llvmlite itself does."""

    def __init__(self, given: Target | None = None) -> None:
        self._lock = plain_lock()
        self._given = given
        self._target: Target | None = None
        self._machine: Any = None
        self._loader: Any = None
        self._keep: list[Any] = []  # loaded code is never unloaded
        self._helpers: dict[str, int] = {}
        self._libraries: dict[str, dict[str, int]] = {}
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

    def compile(self, jobs: Sequence[Job]) -> list[int]:
        """Addresses of functions. What an earlier process left in the store is not even written
        out as text; the rest becomes one module."""
        addresses: dict[str, int] = {}
        missing = []
        for job in jobs:
            address = self._stored(job.key)
            if address is None:
                missing.append(job)
            else:
                addresses[job.key] = address
        if missing:
            # Names belong to the module.
            functions = [job.emit(f"kernel{number}") for number, job in enumerate(missing)]
            keys = [job.key for job in missing]
            made = self._compile(keys, functions)
            addresses.update(zip(keys, made, strict=True))
        return [addresses[job.key] for job in jobs]

    # -- what earlier processes left

    def _stored(self, key: str) -> int | None:
        """The address of a function whose module is in the store. An entry names the module and
        the function's name in it; the module's file begins with the names it has and needs."""
        entry = self._store.load(self._full(key))
        if entry is None:
            return None
        module, name = entry.decode().split()
        if module not in self._libraries:
            content = self._store.load(module)
            if content is None:
                return None
            begun = time.perf_counter()
            head, _, image = content.partition(b"\n")
            names = json.loads(head)
            if not all(self._has_helper(helper) for helper in names["needs"]):
                return None
            self._libraries[module] = self._link(image, names["has"], names["needs"])
            self.seconds += time.perf_counter() - begun
        self.loaded += 1
        return self._libraries[module].get(name)

    def _has_helper(self, name: str) -> bool:
        if name not in self._helpers:
            address = self._stored(_helper(name))
            if address is None:
                return False
            self._helpers[name] = address
        return True

    def _full(self, key: str) -> str:
        """The key with all else that the code depends on."""
        import llvmlite.binding as llvm

        return f"{generator_version()} {llvm.llvm_version_info} {self.target}\n{key}"

    # -- new code

    def _compile(self, keys: Sequence[str], functions: Sequence[Function]) -> list[int]:
        """Compile functions, and with them the helpers they call that are not there yet."""
        begun = time.perf_counter()
        wanted = dict(zip(keys, functions, strict=True))
        needs: set[str] = set()
        for function in functions:
            self._add_helpers(function, wanted, needs)
        everything = list(wanted.values())
        text = module_text(everything, self.target)
        image = self._machine.emit_object(self._parse(text))
        has = [function.name for function in everything]
        library = self._link(image, has, sorted(needs))
        module = f"module {self._full(text)}"
        module = hashlib.sha256(module.encode()).hexdigest()
        self._libraries[module] = library
        head = json.dumps({"has": has, "needs": sorted(needs)}).encode()
        self._store.save(module, head + b"\n" + image)
        for key, function in wanted.items():
            self._store.save(self._full(key), f"{module} {function.name}".encode())
            if key == _helper(function.name):
                self._helpers[function.name] = library[function.name]
        self.seconds += time.perf_counter() - begun
        return [library[function.name] for function in functions]

    def _add_helpers(
        self, function: Function, wanted: dict[str, Function], needs: set[str]
    ) -> None:
        """What `function` calls, and what that calls: to be compiled, or to be linked with."""
        for name, make in function.helpers.items():
            if name in needs or _helper(name) in wanted:
                continue
            if self._has_helper(name):
                needs.add(name)
            else:
                made = wanted[_helper(name)] = make(name)
                self._add_helpers(made, wanted, needs)

    def _link(self, image: bytes, has: Sequence[str], needs: Sequence[str]) -> dict[str, int]:
        """Load object code; the addresses of its functions."""
        import llvmlite.binding as llvm

        self._modules += 1
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in has:
            builder.export_symbol(name)
        for name in needs:
            builder.import_symbol(name, self._helpers[name])
        library = builder.link(self._loader, f"module{self._modules}")
        self._keep.append(library)
        return {name: library[name] for name in has}

    @property
    def modules(self) -> int:
        return self._modules


@cache
def generator_version() -> str:
    """A digest of the code generator itself: code that another version wrote is not ours."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for folder in (here, here.parents[1] / "loop"):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _helper(name: str) -> str:
    """The key of a helper."""
    return f"helper {name}"


def module_text(functions: Sequence[Function], target: Target) -> str:
    """One module: declarations shared, functions in order."""
    declarations: dict[str, str] = {}
    for function in functions:
        declarations |= function.declarations
    for function in functions:
        declarations.pop(function.name, None)
    return "\n".join(
        [
            f'target triple = "{target.triple}"',
            *sorted(declarations.values()),
            *(function.text() for function in functions),
            "attributes #0 = { nounwind }",
            "!0 = !{i32 1}",
        ]
    )
