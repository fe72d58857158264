"""Type stubs follow from the operator records, and type checkers understand them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_are_up_to_date():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/stubs.py"), "--check"],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


PROGRAM = """
from tigon import nd, sym
x = nd.zeros((2, 3))
reveal_type(nd.relu(x) + 1)
reveal_type(x.softmax(axis=1).sum())
reveal_type(sym.FullyConnected(sym.var("x"), num_hidden=3))
nd.relu(x, bogus=1)
import tigon as mx
reveal_type(mx.gluon.nn.Dense)
reveal_type(mx.viz.print_summary)
mx.no_such_part
"""


def test_a_type_checker_understands_them(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--config-file=", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.count('"tigon.nd.NDArray"') == 2
    assert done.stdout.count('"tigon.sym.Symbol"') == 1
    assert "-> tigon.gluon.nn.basic.Dense" in done.stdout and "def (symbol: Any" in done.stdout
    assert 'Module has no attribute "no_such_part"' in done.stdout
    assert 'Unexpected keyword argument "bogus" for "relu"' in done.stdout
