"""The examples run, and what they promise is asserted by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_digits(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/digits.py"), "--output", str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "a fresh process predicts the same digits: True" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {
        "curves.png",
        "digits-symbol.json",
        "digits-0000.params",
    }


def test_benchmarks_run_and_agree(tmp_path):
    """One row: that the contestants' results are compared, and the table is made."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/run.py"), "--only", "1,000 elements"],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| tanh(b*a+1)*0.5+a, 1,000 elements |" in done.stdout
