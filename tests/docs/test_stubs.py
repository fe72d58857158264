"""Type stubs follow from the operator records, and type checkers understand them."""

from __future__ import annotations

import subprocess
import sys
import venv
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


INSTALLED = """
import tigon as mx
from tigon.gluon import nn
reveal_type(mx.nd.relu(mx.nd.zeros((2,))))
reveal_type(nn.Dense(3))
reveal_type(mx.optimizer.Adam())
nn.Dense("three")
"""


def test_a_type_checker_reads_the_installed_package(tmp_path):
    """From outside, as it lies in an environment: `py.typed` lets it."""
    pytest.importorskip("mypy")
    venv.create(tmp_path / "environment", with_pip=False)
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (packages / "tigon").symlink_to(ROOT / "tigon")
    (tmp_path / "program.py").write_text(INSTALLED)
    python = str(tmp_path / "environment/bin/python")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file=",
            "--python-executable",
            python,
            "program.py",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    for revealed in ("nd.NDArray", "gluon.nn.basic.Dense", "optimizer.rules.Adam"):
        assert f'Revealed type is "tigon.{revealed}"' in done.stdout, done.stdout + done.stderr
    assert 'has incompatible type "str"; expected "int"' in done.stdout
    assert "Found 1 error" in done.stdout


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
