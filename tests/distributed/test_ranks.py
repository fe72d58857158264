"""Two to four ranks of `checks.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.distributed.launching import run

CHECKS = Path(__file__).with_name("checks.py")
NAMES = re.findall(r"^@check\ndef (\w+)", CHECKS.read_text(encoding="utf-8"), re.MULTILINE)
OF_ANY_NUMBER = [
    *NAMES[: NAMES.index("ranks_train_as_one_process_does") + 1],
    "batches_of_different_sizes_are_told",
    "statistics_of_the_batches_of_all_ranks",
    "layers_that_are_divided_among_ranks",
    "samples_are_shared_out_without_loss",
]
"""What may depend on how many ranks there are, and on how they reach each other."""


@pytest.mark.parametrize(
    ("ranks", "environment", "names"),
    [
        (2, {}, NAMES),
        (3, {"TIGON_RANKS_PER_HOST": "1"}, OF_ANY_NUMBER),
        (4, {"TIGON_RANKS_PER_HOST": "2"}, OF_ANY_NUMBER),
    ],
    ids=["one host", "hosts of one rank", "hosts of several"],
)
def test_ranks(ranks: int, environment: dict[str, str], names: list[str]) -> None:
    status, output = run(ranks, CHECKS, *names, **environment)
    passed = re.findall(r"^passed (\w+)", output, re.MULTILINE)
    assert status == 0, output
    assert passed == names, output
