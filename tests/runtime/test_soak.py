"""A day's work of ever new shapes, scaled down: memory and caches stay within their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.runtime.support import lines_of, run_script

SCRIPT = """
import json
from benchmarks.soak import Soak, figures, shrink_caches

bounds = shrink_caches(128)
work = Soak(SEED, largest=50_000, longest=30)
noted = []
for rounds in (ROUNDS, ROUNDS, 3 * ROUNDS):
    work.run(rounds)
    noted.append(figures())
print(json.dumps([bounds, *noted]))
"""


def soaked(seed: int, rounds: int) -> Any:
    script = SCRIPT.replace("SEED", str(seed)).replace("ROUNDS", str(rounds))
    (line,) = lines_of(run_script(script))
    return json.loads(line)


@pytest.fixture(scope="module")
def noted() -> Any:
    """Bounds, and figures after 60, 120 and 300 rounds of work."""
    return soaked(3, 60)


def test_caches_stay_within_their_bounds(noted: Any) -> None:
    bounds, *figures = noted
    for row in figures:
        for name, most in bounds.items():
            assert row[name] <= most, name


def test_nothing_but_native_code_grows(noted: Any) -> None:
    """Code that was loaded stays: some kilobytes for each structure of loops, of which work of this
    kind has a few hundred, whatever the shapes are."""
    _, _, before, after = noted
    assert after["resident"] <= before["resident"] + 40e6
    assert after["bytes_now"] <= before["bytes_now"] + 5e6
    assert after["pool_bytes"] <= 2 * 20e6 + 64e6
    assert after["tape_nodes"] <= before["tape_nodes"] + 10
    assert after["types"] <= 1000
    assert after["native_functions"] <= 350
    assert after["objects"] <= 1.6 * before["objects"]
