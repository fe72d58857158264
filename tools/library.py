"""Write the code that the package brings: one file per level of the processor, of what the programs
of `tools/library_programs.py` are compiled to.

    python tools/library.py --output FOLDER [--native FILE] [--levels all|own]

Nothing is run: kernels do nothing here, so code for any level is made on any machine of the
architecture; constants are computed by the machine's own code. `--native` is the extension where it
does not lie in the package, as while a wheel is built. Levels are made side by side.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the files")
    parser.add_argument("--native", type=Path, help="the extension, if not in the package")
    parser.add_argument("--levels", default="own", help="all, own, or names")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    prepare(given.native)
    warnings.simplefilter("ignore")  # of numbers that are none
    from tigon.backends.llvm.target import SHIPPED, architecture, host_level

    named = {"all": SHIPPED[architecture()], "own": (host_level(),)}
    levels = named.get(given.levels, given.levels.split(","))
    if given.one:
        return write(levels[0], given.output)
    native = [] if given.native is None else ["--native", str(given.native)]
    command = [sys.executable, __file__, "--output", str(given.output), *native, "--one"]

    def make(level: str) -> None:
        subprocess.run([*command, "--levels", level], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, levels))


def prepare(native: Path | None) -> None:
    """Let `import tigon` find the sources beside this file, and the extension that was given."""
    os.environ |= {"TIGON_CACHE": "0", "TIGON_LIBRARY": "0"}
    sys.path.insert(0, str(ROOT))
    if native is not None:
        spec = importlib.util.spec_from_file_location("tigon._native", native)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)


def write(level: str, folder: Path) -> None:
    began = time.perf_counter()
    from library_programs import run_all

    from tigon import _native
    from tigon.backends.collect import Collector
    from tigon.backends.cpu.backend import CpuBackend
    from tigon.backends.library import open_library, path_of, write_library
    from tigon.backends.llvm.target import LEVELS
    from tigon.base.files import write_file
    from tigon.program.target import compile_for

    collector = Collector(LEVELS[level], Programs())
    compile_for(CpuBackend(LEVELS[level], collector))
    run_all(collector.store.keep)
    code, places, elsewhere = _native.link_anywhere(collector.images)
    functions = {name: places[symbol] for name, symbol in collector.symbols.items()}
    programs = collector.store.programs
    content = write_library(collector.whole_version, code, functions, elsewhere, programs)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(Path(path_of(level, str(folder))), content, durable=False)
    os.environ["TIGON_LIBRARY"] = "1"
    if open_library(level, collector.whole_version, str(folder)) is None:
        raise SystemExit(f"tigon: the library for {level} cannot be opened")
    print(
        f"tigon: library for {level}: {len(functions)} functions, {len(code) / 1e6:.2f} MB; "
        f"{len(programs)} programs, {sum(map(len, programs.values())) / 1e6:.2f} MB; "
        f"{time.perf_counter() - began:.1f} s"
    )


class Programs:
    """A store that keeps whole programs."""

    usable = True

    def __init__(self) -> None:
        self.programs: dict[str, bytes] = {}
        self._keeps = True

    def keep(self, programs: bool) -> None:
        self._keeps = programs

    def load(self, key: str) -> bytes | None:
        return self.programs.get(_name_of(key))

    def load_program(self, name: str) -> bytes | None:
        return self.programs.get(name)

    def load_named(self, name: str) -> None: ...

    def save(self, key: str, image: bytes) -> None:
        if self._keeps:
            self.programs[_name_of(key)] = image


def _name_of(key: str) -> str:
    from tigon.backends.store import name_of

    return name_of(key)


if __name__ == "__main__":
    main()
