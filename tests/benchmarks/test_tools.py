"""The tools that watch costs work, on one small row each; what they measure is not judged here."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = runpy.run_path(str(ROOT / "benchmarks" / "check.py"))


def run(tool, *arguments, home):
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / tool), *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        text=True,
    )


def test_the_parts_of_a_call_are_timed(tmp_path):
    done = run("path.py", "--turns", "1", "--calls", "20", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for part in ("imperative", "recorded", "hybridized", "launch", "guard, nothing changed"):
        assert part in done.stdout


def test_the_launches_of_a_step_are_timed(tmp_path):
    done = run("launches.py", "--turns", "1", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for part in ("_step:", "_backward:", "update:", "wave 0", "d0_fwd"):
        assert part in done.stdout


def test_figures_go_between_the_markers_of_pages(tmp_path):
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    lines = (ROOT / "README.md").read_text().splitlines()
    begin, end = [line for line in lines if line.startswith("<!--")]
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    given = ("--only", "softmax of 64", "--rounds", "1", "--write", str(page))
    done = run("run.py", *given, "--readme", str(readme), home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    text = page.read_text()
    assert "| softmax of 64 rows of 10 |" in text
    assert "GFLOP/s of multiply-adds" in text
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_slowdown_is_seen(tmp_path):
    records = tmp_path / "instructions.json"
    name = "slot add, 10 elements"
    records.write_text(json.dumps({CHECK["python"](): {name: 100}}))
    done = run("check.py", "--only", name, "--records", str(records), home=tmp_path)
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert "TOO MANY" in done.stdout


@pytest.mark.parametrize("now, good", [(1049, True), (900, True), (1051, False)])
def test_five_percent_are_too_many(now, good, capsys):
    assert CHECK["compare"]({"row": now, "new": 5}, {"row": 1000}) is good
    assert ("TOO MANY" in capsys.readouterr().out) is not good
