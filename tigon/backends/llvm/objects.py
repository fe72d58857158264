"""From functions as text to addresses: LLVM's code generator without its optimiser."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tigon import _native
from tigon.backends.library import Library, open_library
from tigon.backends.llvm.target import LEVELS, Target, host_target
from tigon.backends.store import ObjectStore, name_of
from tigon.base import InternalError
from tigon.base.digests import compiler_version, digest_of
from tigon.base.frozen import Frozen
from tigon.base.lazy import computed_once
from tigon.base.locks import plain_lock
from tigon.loop.fingerprint import declared_elsewhere

if TYPE_CHECKING:  # what compiles is imported where something has to be compiled
    from tigon.backends.llvm.text import Function
    from tigon.backends.llvm.toolchain import Toolchain

PORTION = 250
"""Lines of a module where threads share the work: 6 ms of it, with what each module costs apart
from its functions below a tenth."""


class Job(Frozen):
    """One function to have: a key that says all there is to know about it, and how to write it."""

    key: str
    emit: Callable[[str], Function]


class Compiler:
    """All that was compiled or loaded. Not locked: the backend serialises."""

    def __init__(self, given: Target | None = None) -> None:
        self._lock = plain_lock()
        self._target = given
        self._tools: Toolchain | None = None
        self._helpers: dict[str, int] = {}
        self._libraries: dict[str, dict[str, int]] = {}
        self._loading: set[str] = set()
        self.store = ObjectStore(shipped=lambda: self.library)
        self._version = ""
        self.modules = 0
        self.seconds = 0.0
        self.compiled = 0  # functions
        self.loaded = 0  # functions that came from the store or the library

    @computed_once
    def library(self) -> Library | None:
        """What the package brings for this target."""
        level = next((name for name, target in LEVELS.items() if target == self.target), None)
        return None if level is None else open_library(level, self.whole_version)

    @property
    def tools(self) -> Toolchain:
        with self._lock:
            if self._tools is None:
                from tigon.backends.llvm.toolchain import Toolchain

                self._tools = Toolchain(self.target)
            return self._tools

    @property
    def target(self) -> Target:
        if self._target is None:
            self._target = host_target()
        return self._target

    def assembly(self, functions: Sequence[Function]) -> str:
        """The machine code of functions, as text, for looking at."""
        return self.tools.assembly(module_text(functions, self.target))

    def compile(self, jobs: Sequence[Job]) -> list[int]:
        """Addresses of functions. What an earlier process left in the store is not even written
        out as text."""
        addresses: dict[str, int] = {}
        missing = []
        for job in jobs:
            address = self._stored(job.key)
            if address is None:
                missing.append(job)
            else:
                addresses[job.key] = address
        if missing:
            addresses |= self._compile(missing)
        return [addresses[job.key] for job in jobs]

    # -- what earlier processes left

    def _stored(self, key: str) -> int | None:
        return self.find(self.name(key))

    def name(self, key: str) -> str:
        """Under which a later process finds the function of that key."""
        return name_of(self._full(key))

    def find(self, name: str) -> int | None:
        """The address of a function that the package brings, or whose library is in the store. An
        entry there names the library and the function's name in it; a library begins with the names
        it has and needs."""
        if self.library is not None and (address := self.library.function(name)) is not None:
            self.loaded += 1
            return address
        entry = self.store.load_named(name)
        if entry is None:
            return None
        library, name = entry.decode().split()
        if library not in self._libraries and not self._load(library):
            return None
        self.loaded += 1
        return self._libraries[library].get(name)

    def _load(self, library: str) -> bool:
        content = None if library in self._loading else self.store.load(library)
        if content is None:
            return False
        begun = time.perf_counter()
        head, _, rest = content.partition(b"\n")
        names = json.loads(head)
        # Processes that ran at the same time may have left two libraries that need each other.
        self._loading.add(library)
        try:
            if not all(self._has_helper(helper) for helper in names["needs"]):
                return False
        finally:
            self._loading.remove(library)
        self._link(library, _cut(rest, names["sizes"]), names["has"], names["needs"])
        self.seconds += time.perf_counter() - begun
        return True

    def _has_helper(self, name: str) -> bool:
        if name not in self._helpers:
            address = self._stored(_helper(name))
            if address is None:
                return False
            self._helpers[name] = address
        return True

    def _full(self, key: str) -> str:
        """The key with all else that the code depends on."""
        return f"{self.version}{declared_elsewhere()}\n{key}"

    @property
    def version(self) -> str:
        """A digest of the generator and of what is generated for: not of single machines, nor of
        the versions of LLVM, all of which are given the same text."""
        if not self._version:
            version = f"{generator_version()} {self.target}"
            self._version = hashlib.sha256(version.encode()).hexdigest()
        return self._version

    @property
    def whole_version(self) -> str:
        """The same with all that graphs go through before: of programs."""
        return hashlib.sha256(f"{compiler_version()} {self.target}".encode()).hexdigest()

    # -- new code

    def _compile(self, jobs: Sequence[Job]) -> dict[str, int]:
        """Write functions, and the helpers they call that are not there yet; compile them, by
        portions that begin while the next ones are written; link them as one library."""
        begun = time.perf_counter()
        portions = _Portions(self.tools, self.target, self._threads(len(jobs)))
        names: dict[str, str] = {}  # by key
        needs: set[str] = set()
        for job in jobs:
            function = job.emit(_symbol(self.name(job.key)))
            names[job.key] = function.name
            portions.add(function)
            for helper in self._new_helpers(function, names, needs):
                portions.add(helper)
        images = portions.finish()
        has, wanted = list(names.values()), sorted(needs)
        library = hashlib.sha256(self._full("\n".join(portions.texts)).encode()).hexdigest()
        addresses = self._link(library, images, has, wanted)
        self._keep(library, images, wanted, names)
        for key, name in names.items():
            if key == _helper(name):
                self._helpers[name] = addresses[name]
        self.compiled += len(names)
        self.seconds += time.perf_counter() - begun
        return {key: addresses[name] for key, name in names.items()}

    def _threads(self, jobs: int) -> int:
        return self.tools.threads() if jobs > 1 else 1

    def _keep(
        self, library: str, images: Sequence[bytes], needs: Sequence[str], names: Mapping[str, str]
    ) -> None:
        """For later processes; `names` of functions, by key."""
        sizes = [len(image) for image in images]
        head = json.dumps({"has": [*names.values()], "needs": needs, "sizes": sizes}).encode()
        self.store.save(library, b"\n".join((head, b"".join(images))))
        for key, name in names.items():
            self.store.save(self._full(key), f"{library} {name}".encode())

    def _new_helpers(
        self, function: Function, names: dict[str, str], needs: set[str]
    ) -> Iterator[Function]:
        """What `function` calls, and what that calls, if nobody has compiled it; the names of the
        rest go to `needs`."""
        for name, make in function.helpers.items():
            if name in needs or _helper(name) in names:
                continue
            if self._has_helper(name):
                needs.add(name)
            else:
                names[_helper(name)] = name
                made = make(name)
                yield made
                yield from self._new_helpers(made, names, needs)

    def _link(
        self, library: str, images: Sequence[bytes], has: Sequence[str], needs: Sequence[str]
    ) -> dict[str, int]:
        self.modules += 1
        addresses = _native.load_code(images, {name: self._helpers[name] for name in needs})
        self._libraries[library] = addresses
        return addresses


class _Portions:
    """Functions that become modules of about one size, for threads to compile; one module for one
    thread. What is computed does not depend on where they are cut."""

    def __init__(self, tools: Toolchain, target: Target, threads: int) -> None:
        self._target = target
        self._compiler = tools.object_compiler(threads)
        self._most = PORTION if threads > 1 else None
        self._waiting: list[Function] = []
        self._lines = 0
        self.texts: list[str] = []

    def add(self, function: Function) -> None:
        self._waiting.append(function)
        self._lines += function.lines
        if self._most is not None and self._lines >= self._most:
            self._cut()

    def _cut(self) -> None:
        text = module_text(self._waiting, self._target)
        self.texts.append(text)
        self._compiler.add(text)
        self._waiting, self._lines = [], 0

    def finish(self) -> list[bytes]:
        if self._waiting:
            self._cut()
        images = []
        for text, code in zip(self.texts, self._compiler.finish(), strict=True):
            if isinstance(code, str):
                raise InternalError(f"llvm: LLVM refuses the generated code: {code}\n{text}")
            images.append(code)
        return images


def _cut(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(content[start : start + size])
        start += size
    return parts


def generator_version() -> str:
    """A digest of the code generator itself: code that another version wrote is not ours."""
    return digest_of("backends", "loop")


def _symbol(name: str) -> str:
    """What the function found under that name is called: no two in one library are alike."""
    return f"kernel_{name[:32]}"


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
            '!1 = !{!"branch_weights", i32 1, i32 2000}',
        ]
    )
