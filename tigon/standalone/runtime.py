"""The runtime of exported libraries as object code: what the package brings, or, for another
architecture, what zig makes of its source."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tigon.backends.llvm.target import architecture
from tigon.base import TigonError, check

_FOLDER = Path(__file__).resolve().parents[1] / "library"
_OPTIONS = (
    "-std=c11 -Os -fPIC -ffreestanding -fno-builtin -fno-stack-protector -fno-jump-tables "
    "-fno-asynchronous-unwind-tables -fvisibility=hidden -fno-sanitize=all"
).split()


def runtime_object(machine: str, system: str) -> bytes:
    """For this architecture and system."""
    other = "" if system == "linux" else f"-{system}"
    path = _FOLDER / f"standalone-{machine}{other}.o"
    try:
        return path.read_bytes()
    except OSError as error:
        if machine != architecture():
            check(
                system == "linux",
                "export_native",
                f"libraries for {system} are written on {machine}; this machine is "
                f"{architecture()}",
            )
            return _made_by_zig(machine)
        raise TigonError(
            f"export_native: {path} is missing ({error.strerror}); it comes with the package; "
            "install it again, or run `make build`"
        ) from None


WEB_RUNTIME = Path(__file__).parent / "runtime-wasm32.o"
"""Which `tools/wasm_runtime.py` writes: few compilers at hand make such."""


def web_runtime() -> bytes:
    """For modules of WebAssembly."""
    return WEB_RUNTIME.read_bytes()


def _made_by_zig(machine: str) -> bytes:
    check(
        find_spec("ziglang") is not None,
        "export_native",
        f"the runtime for {machine} is compiled where it is first needed; pip install "
        "tigon[export], which brings a compiler for it (ziglang)",
    )
    source = _FOLDER / "runtime"
    includes = ["-I", str(source), "-I", str(_FOLDER.parents[1])]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "runtime.o"
        target = f"{machine.replace('-', '_')}-linux-musl"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target]
        command += [*_OPTIONS, *includes, "-c", str(source / "standalone/runtime.c")]
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True)
        check(
            done.returncode == 0,
            "export_native",
            f"zig does not compile the runtime for {machine}: {done.stderr[-500:]}",
        )
        return made.read_bytes()
