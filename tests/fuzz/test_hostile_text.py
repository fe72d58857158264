"""Damaged graph text is read or refused with a `TigonError`, never anything else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.graphs import random_graph
from tigon.base import TigonError
from tigon.ir import parse, show
from tigon.ops import get

TEXTS = [show(random_graph(seed, steps=8)) for seed in range(20)]
PIECES = [
    "%",
    "(",
    ")",
    "{",
    "}",
    "'",
    ",",
    "=",
    "-1",
    "1e999",
    "float32",
    "()",
    "\n",
    "nan",
    "9" * 30,
]


@given(
    text=st.sampled_from(TEXTS),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 6), st.sampled_from(["", *PIECES])),
        min_size=1,
        max_size=3,
    ),
)
@settings(max_examples=400, deadline=None)
def test_damaged_text(text: str, edits: list[tuple[float, int, str]]) -> None:
    for place, length, piece in edits:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + length :]
    try:
        parse(text, get)
    except TigonError:
        pass
