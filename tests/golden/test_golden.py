"""Passes on graphs written down. A file holds a graph, a line of dashes, and the graph after.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites what comes after; review reads the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.interpret import interpret
from tigon.ir import Graph, parse, show, verify
from tigon.ops.record import get
from tigon.passes import pipeline
from tigon.passes.canonicalize import canonicalize
from tigon.passes.check_indices import check_indices
from tigon.passes.decompose import decompose
from tigon.passes.fold_constants import fold_constants
from tigon.passes.gradient import gradient
from tigon.passes.remove_dead_code import remove_dead_code
from tigon.passes.replace_empty_values import replace_empty_values
from tigon.passes.set_mode import set_mode
from tigon.passes.share_common_subexpressions import share_common_subexpressions
from tigon.passes.thread_keys import thread_keys
from tigon.passes.thread_states import keep_states, thread_states

HERE = Path(__file__).parent
DIVIDER = "-" * 20


def _gradient(graph: Graph) -> Graph:
    """The first input is the cotangent of the only output; all the others are differentiated."""
    found = gradient(graph.outputs, [graph.inputs[0]], graph.inputs[1:])
    return Graph(graph.inputs, [value for value in found if value is not None])


RUN: dict[str, Callable[[Graph], Graph]] = {
    "canonicalize": canonicalize,
    "check_indices": check_indices,
    "decompose": decompose,
    "fold_constants": lambda graph: fold_constants(graph, interpret),
    "gradient": _gradient,
    "pipeline": lambda graph: pipeline.run(graph, interpret),
    "remove_dead_code": remove_dead_code,
    "replace_empty_values": replace_empty_values,
    "set_mode": lambda graph: set_mode(graph, True),
    "share_common_subexpressions": share_common_subexpressions,
    "thread_keys": lambda graph: thread_keys(graph)[0],
    "thread_states": lambda graph: thread_states(graph)[0],
    "keep_states": lambda graph: keep_states(*thread_states(set_mode(graph, True)))[0],
}

CASES = sorted(
    path.relative_to(HERE).as_posix()
    for path in HERE.glob("*/*.txt")
    if path.parent.name != "lowered"  # `test_lowered.py`
)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = HERE / case
    before, _, after = path.read_text().partition(f"\n{DIVIDER}\n")
    graph = verify(parse(before, get))
    result = show(verify(RUN[case.split("/")[0]](graph)))
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.write_text(f"{before.rstrip()}\n{DIVIDER}\n{result}\n")
        return
    assert result == after.strip(), f"{case}: if this is meant, run `make golden` and commit"


def test_every_pass_has_a_golden_case() -> None:
    assert {case.split("/")[0] for case in CASES} == set(RUN)
