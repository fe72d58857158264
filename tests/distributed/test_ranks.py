"""Two to four ranks of `checks.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.distributed.launching import run

CHECKS = Path(__file__).with_name("checks.py")


@pytest.mark.parametrize(
    ("ranks", "environment"),
    [
        (2, {}),
        (3, {"TIGON_RANKS_PER_HOST": "1"}),
        (4, {"TIGON_RANKS_PER_HOST": "2"}),
    ],
    ids=["one host", "hosts of one rank", "hosts of several"],
)
def test_ranks(ranks: int, environment: dict[str, str]) -> None:
    status, output = run(ranks, CHECKS, **environment)
    names = [line.split()[1] for line in output.splitlines() if line.startswith("passed ")]
    defined = CHECKS.read_text().split("\n@check\ndef ")[1:]
    assert status == 0, output
    assert names == [one.partition("(")[0] for one in defined], output
