"""What the tests of the running framework share: fresh processes, arrays, replaced kernels."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tigon.program.target import backend

ROOT = Path(__file__).resolve().parents[2]


# Tests that run in the background are given an ignored Ctrl-C. Errors name lines: on the first.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPTIBLE + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a script printed, if it ended well."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_int64),
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
)

_KEPT: list[object] = []  # the native side remembers addresses for as long as the process lives


@contextmanager
def replaced_kernels(make: Callable[[int], Callable[[], int]]) -> Iterator[None]:
    """Whatever is compiled inside runs `make(number)()` in the place of its kernels, each number
    being that of one launch; the result is the kernel's status. Everything around the kernels (the
    waves, the engine, the tape) is as always."""
    target = backend("cpu")
    count = 0

    def replaced(structures: Sequence[object]) -> list[int]:
        nonlocal count
        addresses = []
        for _ in structures:
            body = make(count)
            count += 1
            function = KERNEL(lambda *_, body=body: body())
            _KEPT.append(function)
            addresses.append(ctypes.cast(function, ctypes.c_void_p).value)
        return addresses

    target.compile = replaced  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del target.compile
