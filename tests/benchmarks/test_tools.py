"""The tools that watch costs work, on one small row each; what they measure is not judged here."""

from __future__ import annotations

import json
import os
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
        env=environment(home),
        capture_output=True,
        text=True,
    )


def environment(home):
    # Peers may lie where only this process's path leads.
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {"PYTHONPATH": os.pathsep.join(paths), "PATH": "/usr/bin:/bin", "HOME": str(home)}


def evaluate(code, home):
    """What a script prints that can import the modules of the benchmarks: they import frameworks
    whose threads and warnings this process can do without."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home),
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_parts_of_a_call_are_timed(tmp_path):
    done = run("path.py", "--turns", "1", "--calls", "20", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for part in ("imperative", "recorded", "hybridized", "deciding", "launch", "guard, nothing"):
        assert part in done.stdout


def test_the_launches_of_a_step_are_timed(tmp_path):
    done = run("launches.py", "--turns", "1", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for part in ("_step:", "_backward:", "update:", "wave 0", "d0_fwd"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("row", "options"), [("sort of 1,000", ()), ("16 x 16 x 16", ("--products",))]
)
def test_single_operators_are_timed(row, options, tmp_path):
    figures = tmp_path / "figures.json"
    brief = ("--rounds", "1", "--seconds", "0.001", "--json", str(figures))
    done = run("operators.py", "--only", row, *brief, *options, home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert f"| {row} |" in done.stdout
    (own,) = (each for each in json.loads(figures.read_text()) if each["name"] == row)
    assert own["microseconds"]["tigon"][0] > 0


def test_the_loading_of_images_is_timed(tmp_path):
    done = run("loading.py", "--rounds", "1", "--files", "20", "--times", "16", home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| decoded")]
    assert len(rows) == 2
    for row in rows:
        assert all(float(row[place].replace(",", "")) > 0 for place in (1, 4))


def test_figures_go_between_the_markers_of_pages(tmp_path):
    page, readme = tmp_path / "page.md", tmp_path / "README.md"
    lines = (ROOT / "README.md").read_text().splitlines()
    begin, end = [line for line in lines if line.startswith("<!--")]
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    picture = tmp_path / "pictures" / "chart.svg"
    picture.parent.mkdir()
    given = ("--only", "softmax of 64", "--rounds", "1", "--write", str(page))
    given += ("--chart", str(picture))
    done = run("run.py", *given, "--readme", str(readme), home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    text = page.read_text()
    assert "| softmax of 64 rows of 10 |" in text and "(pictures/chart.svg)" in text
    assert "softmax of 64 rows of 10" in picture.read_text()
    assert "GFLOP/s of multiply-adds" in text
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text


def test_without_peers_their_columns_are_empty(tmp_path):
    printed = evaluate(
        """
import sys
sys.modules.update(torch=None, jax=None, onnxruntime=None)
sys.argv = ["run.py", "--only", "network 512-256-128-2, batch 1, hybridized", "--rounds", "1"]
import run
run.main()
""",
        tmp_path,
    )
    assert "no PyTorch, no JAX, no ONNX Runtime" in printed
    (row,) = (line for line in printed.splitlines() if line.startswith("| network"))
    _, _, tigon, imperative, *peers, numpy, ratio, limit, _ = map(str.strip, row.split("|"))
    assert [imperative, *peers] == ["-"] * 4
    assert "(" in tigon and "(" in numpy and ratio.endswith("numpy") and " x " in limit


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_contestants_share_as_many_processors_as_threads(tmp_path):
    done = run(
        "run.py", "--only", "softmax of 64", "--rounds", "1", "--threads", "1", home=tmp_path
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "; 1 threads, float32" in done.stdout
    done = run("run.py", "--threads", "1000", home=tmp_path)
    assert done.returncode == 1 and "1000 threads asked for" in done.stderr


def test_contestants_that_differ_are_not_timed(tmp_path):
    printed = evaluate(
        """
import turns
from workloads import Row
row = Row("sum")
row.enter("one", lambda: 1.0)
row.enter("other", lambda: 1.1)
try:
    turns.measure(row, 1)
except AssertionError as error:
    print(error)
""",
        tmp_path,
    )
    assert "sum: other and one differ" in printed


def test_batch_sizes_are_compared_with_networks_of_their_own(tmp_path):
    printed = evaluate(
        """
import extents
found = extents.measure(1, (3, 5))
print(sorted(extents.ratios_of(found)), *extents.lines(found))
""",
        tmp_path,
    )
    assert printed.startswith("[3, 5]") and "from 3 to 5" in printed


def test_first_calls_are_made_in_fresh_processes(tmp_path):
    printed = evaluate(
        """
import beginnings
(found,) = beginnings.measure(1, beginnings.NETWORK).first.values()
assert found.cold["tigon"] > 0 and found.warm > 0 and found.kernel_compilations > 0
imported = beginnings._import("numpy", "", 1)
assert imported.milliseconds > 0 and imported.resident > 1 and imported.installed > 1
print(found.compilations)
""",
        tmp_path,
    )
    assert printed == "1\n"


def test_goals_are_met_or_missed_or_not_measured(tmp_path):
    printed = evaluate(
        """
import goals
from figures import Figures, Measured
from turns import Times
figures = Figures()
print(goals.table(figures))
jax, tigon = Times((10.0, 20.0, 9.0), 0), Times((5.0, 10.0, 9.0), 0)
figures.rows = [Measured(goals.TRAINING, {"tigon": tigon, "jax": jax}, 0, True)]
print(*goals.table(figures)[2:], sep="\\n")
figures.rows = [Measured(goals.TRAINING, {"tigon": jax, "jax": jax}, 0, True)]
print(*goals.table(figures)[2:], sep="\\n")
""",
        tmp_path,
    )
    assert printed.splitlines() == [
        "[]",
        "| training step, one program | 0.65 x JAX | 0.5 | met |",
        "| training step, one program | 0.65 x JAX | 1 | **missed** |",
    ]


def test_counts_belong_to_compilers(tmp_path):
    compiler = CHECK["_compiler"]
    for text, name in {
        "GCC 12.2.0": "gcc 12",
        "GCC: (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0": "gcc 11",
        "Clang 17.0.6 ": "clang 17",
        "Apple clang version 15.0.0": "clang 15",
        "another": "another",
    }.items():
        assert compiler(text) == name


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_slowdown_is_seen(tmp_path):
    records = tmp_path / "instructions.json"
    name = "slot add, 10 elements"
    records.write_text(json.dumps({CHECK["build"](): {name: 100}}))
    done = run("check.py", "--only", name, "--records", str(records), home=tmp_path)
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert "TOO MANY" in done.stdout
    records.write_text(json.dumps({"another": {name: 100}}))
    done = run("check.py", "--only", name, "--records", str(records), home=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing is recorded for cpython" in done.stdout
    assert "Recorded are: another" in done.stdout


@pytest.mark.parametrize("now, good", [(1019, True), (900, True), (1021, False)])
def test_over_two_percent_are_too_many(now, good, capsys):
    assert CHECK["compare"]({"row": now, "new": 5}, {"row": 1000}) is good
    assert ("TOO MANY" in capsys.readouterr().out) is not good
