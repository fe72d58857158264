"""Programs by mpiexec, for tests: root and more ranks than processors are allowed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 300
"""Until a start is given up: that is a hang."""


def mpiexec() -> str:
    """The launcher beside this interpreter, or on the path. Skips the test where there is none."""
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed: pip install 'tigon[mpi]'")
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec: pip install 'tigon[mpi]'")
    return found


def start(
    ranks: int,
    program: Path | str,
    *arguments: str,
    options: Sequence[str] = (),
    **environment: str,
) -> subprocess.Popen:
    """Several ranks of one program, as a process group of its own. `program`: a file, or code.
    `options`: of the launcher."""
    what = [os.fspath(program)] if isinstance(program, Path) else ["-c", program]
    return subprocess.Popen(
        [
            *(mpiexec(), *options, "--oversubscribe", "-n", str(ranks)),
            *(sys.executable, *what, *arguments),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.fspath(ROOT),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def run(ranks: int, program: Path | str, *arguments: str, **others: Any) -> tuple[int, str]:
    """Status and output of all ranks; arguments are those of `start`."""
    process = start(ranks, program, *arguments, **others)
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        output, _ = process.communicate()
        pytest.fail(f"{ranks} ranks were still running after {SECONDS} s:\n{output[-4000:]}")
    return process.returncode, output
