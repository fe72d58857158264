"""The benchmarks of several ranks work, on small rows; what they measure is not judged here."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.test_tools import evaluate


def test_ranks_are_timed_beside_one_process_and_written(tmp_path):
    pytest.importorskip("mpi4py")
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("<!-- mpi: written by `make bench-mpi`, do not edit -->\n<!-- end of mpi -->\n")
    evaluate(
        f"""
import sys
from dataclasses import replace
import peers, ranks
peers.installed = lambda name: name == "mpi4py"  # others take seconds to import
steps, sums = ranks.WORKS[0], ranks.WORKS[3]
ranks.WORKS = (
    replace(steps, name="step", model="LeNet", shape=(4, 1, 28, 28), labels=10),
    replace(sums, name="sum", count=3000),
)
sys.argv = ["ranks.py", "--rounds", "1", "--seconds", "0.001",
            "--write", {str(page)!r}, "--json", {str(figures)!r}]
ranks.main()
""",
        tmp_path,
    )
    step, total = json.loads(figures.read_text())
    assert set(step["microseconds"]) == {"tigon", "one process"}
    assert set(total["microseconds"]) == {"tigon", "mpi4py"}
    assert all(turns[0] > 0 for row in (step, total) for turns in row["microseconds"].values())
    text = page.read_text()
    assert "| step |" in text and "2 ranks of one thread each" in text and "Open MPI v" in text


def test_goals_are_held_against_means_of_the_quickest_that_they_speak_of(tmp_path):
    printed = evaluate(
        """
from ranks import Found, WORKS, table
from turns import Times
times = {"tigon": (2, 4), "one process": (3, 3), "torch DDP": (9, 9), "torch DDP, b": (3, 5)}
row = Found(times={name: Times(turns, 0) for name, turns in times.items()}, work=WORKS[0])
print(row.ratios())
print(table([row])[-1])
""",
        tmp_path,
    )
    ratios, line = printed.splitlines()
    assert ratios == str(
        {"one process": (1.0, "one process", 1.08), "torch": (0.75, "torch DDP, b", 0.7)}
    )
    assert line.endswith(
        "| 1.00 one process; 0.75 torch DDP, b | <= 1.08 one process; <= 0.7 torch | "
        "met; **missed** |"
    )


def test_sums_are_simulated_message_by_message(tmp_path):
    printed = evaluate(
        """
import doctest
import collectives
from collectives import Network, Step, ring, ring_messages, seconds, tree
assert not doctest.testmod(collectives).failed
net = Network("", 1e-3, 1e6)
for ranks in (2, 3, 8):  # the formula is what its messages take
    assert abs(ring(ranks, 6e4, net) / seconds(ring_messages(ranks, 6e4), net) - 1) < 1e-9
fast = Network("", 1e-3, 1e15)  # a tree waits for as many latencies as it is high, twice
print([round(tree(ranks, 1e6, fast) * 1e3) for ranks in (2, 3, 7, 8, 4096)])
step = Step(1.0, 0.5, ((4.0, 0.5), (2.0, 0.75)))
print([step.together(lambda size: size / 10, when, taken)
       for when, taken in ((False, 0), (True, 0), (True, 1), (True, 0.5))])
""",
        tmp_path,
    )
    heights, steps = printed.splitlines()
    assert heights == "[2, 2, 4, 6, 24]"
    # Two travel for 0.6 together, from 0.5 on: 0.1 beyond the end of the computation.
    assert steps == "[2.1, 1.6, 2.1, 1.8]"
