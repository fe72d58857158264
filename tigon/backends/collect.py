"""A compiler whose code is kept and not run: for other machines, or for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tigon import _native
from tigon.backends.interface import NoStore, Store
from tigon.backends.llvm.objects import Compiler
from tigon.backends.llvm.target import Target, host_target
from tigon.backends.llvm.toolchain import Toolchain

_NOTHING = """
define i32 @nothing(ptr %buffers, ptr %slots, ptr %scratch, i64 %begin, i64 %end) {
  ret i32 0
}
"""


class Collector(Compiler):
    """Keeps object code; where its functions are to run in this process, they do nothing."""

    def __init__(
        self, target: Target, store: Store | None = None, threads: int | None = None
    ) -> None:
        """`threads`: to compile with. Where code is cut into modules depends on it: bytes that are
        to be the same everywhere are made by one."""
        super().__init__(target)
        self._most_threads = threads
        self.store: Any = NoStore() if store is None else store
        self.images: list[bytes] = []
        self.symbols: dict[str, str] = {}
        """What functions are called in the objects, by the names of a store."""
        tools = Toolchain(host_target())
        machine_code = tools.object_compiler(1)
        machine_code.add(f'target triple = "{tools.target.triple}"{_NOTHING}')
        made = [code for code in machine_code.finish() if isinstance(code, bytes)]
        self._nothing = _native.load_code(made, {})["nothing"]

    @property
    def library(self) -> None:
        """Code that is there already is not collected."""
        return None

    def _threads(self, jobs: int) -> int:
        return super()._threads(jobs) if self._most_threads is None else self._most_threads

    def _link(
        self, library: str, images: Sequence[bytes], has: Sequence[str], needs: Sequence[str]
    ) -> dict[str, int]:
        return dict.fromkeys(has, self._nothing)

    def _keep(
        self, library: str, images: Sequence[bytes], needs: Sequence[str], names: Mapping[str, str]
    ) -> None:
        self.images += images
        self.symbols |= {self.name(key): symbol for key, symbol in names.items()}
