"""Every row of `docs/differences.md` is a program that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from differences import ELSEWHERE, RULES, WISHED, Difference, run

ROWS = (*RULES, *ELSEWHERE, *WISHED)


@pytest.mark.parametrize("row", ROWS, ids=[row.topic for row in ROWS])
def test_as_the_page_says(row: Difference) -> None:
    assert "assert" in row.program
    run(row)
