"""Write `tigon/standalone/runtime-wasm32.o`, what modules of WebAssembly run beside their kernels:
`csrc/standalone/runtime.c` as zig compiles it (`pip install tigon[export]`).

    make wasm

Compilers for WebAssembly are at few hands and large, the object is small: it is kept beside the
package's sources, with a digest of the C that it was made of, which a test compares.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tigon.base.files import write_file
from tigon.standalone.runtime import WEB_RUNTIME
from tigon.standalone.wasm import sections

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("csrc/standalone/runtime.c", "csrc/standalone/tables.h", "tigon/standalone/model.h")
OPTIONS = (
    "-target wasm32-freestanding "
    "-mcpu=generic+bulk_memory+mutable_globals+nontrapping_fptoint+sign_ext "
    "-std=c11 -Oz -ffreestanding -fno-builtin -fno-jump-tables -fvisibility=hidden "
    "-fno-sanitize=all -Wall -Wextra -Werror"
).split()
KEPT = ("", "linking", "reloc.CODE", "reloc.DATA")
"""Sections, by name; those that say how the object is to run have none."""
SECTION = b"sources"


def digest() -> bytes:
    """Of the sources, but for comments and how lines are broken."""
    found = hashlib.sha256()
    for source in SOURCES:
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
        found.update(" ".join(text.split()).encode() + b"\0")
    return found.digest()


def compiled() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "runtime.o"
        command = [sys.executable, "-m", "ziglang", "cc", *OPTIONS, "-I", "csrc", "-I", "."]
        command += ["-c", SOURCES[0], "-o", str(made)]
        subprocess.run(command, check=True, cwd=ROOT)
        return made.read_bytes()


def signed(content: bytes) -> bytes:
    """The object without what tells of its making, and with the digest."""
    kept = b"".join(each.whole for each in sections(content) if each.name in KEPT)
    body = bytes([len(SECTION)]) + SECTION + digest()
    return content[:8] + kept + bytes([0, len(body)]) + body


if __name__ == "__main__":
    write_file(WEB_RUNTIME, signed(compiled()))
    print(f"{WEB_RUNTIME.relative_to(ROOT)}: {WEB_RUNTIME.stat().st_size} bytes")
