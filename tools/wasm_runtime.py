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

ROOT = Path(__file__).resolve().parent.parent
OBJECT = ROOT / "tigon/standalone/runtime-wasm32.o"
SOURCES = ("csrc/standalone/runtime.c", "csrc/standalone/tables.h", "tigon/standalone/model.h")
OPTIONS = (
    "-target wasm32-freestanding "
    "-mcpu=generic+bulk_memory+mutable_globals+nontrapping_fptoint+sign_ext "
    "-std=c11 -Oz -ffreestanding -fno-builtin -fno-jump-tables -fvisibility=hidden "
    "-fno-sanitize=all -Wall -Wextra -Werror"
).split()
KEPT = (b"linking", b"reloc.CODE", b"reloc.DATA")
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
    made, at = bytearray(content[:8]), 8
    while at < len(content):
        begin, kind = at, content[at]
        size, at = _number(content, at + 1)
        length, name_at = _number(content, at)
        if kind != 0 or content[name_at : name_at + length] in KEPT:
            made += content[begin : at + size]
        at += size
    body = bytes([len(SECTION)]) + SECTION + digest()
    return bytes(made) + bytes([0, len(body)]) + body


def _number(content: bytes, at: int) -> tuple[int, int]:
    """What stands there, in sevens of bits, and where the next begins."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


if __name__ == "__main__":
    write_file(OBJECT, signed(compiled()))
    print(f"{OBJECT.relative_to(ROOT)}: {OBJECT.stat().st_size} bytes")
