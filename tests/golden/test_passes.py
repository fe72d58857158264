"""Passes on graphs written down. A file holds a graph, a line of dashes, and the graph after.

`make golden` (TIGON_UPDATE_GOLDEN=1) rewrites what comes after; review reads the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.interpret import interpret
from tests.fuzz.test_laws import in_pipeline
from tigon.base.dtypes import float16
from tigon.contrib.amp.policies import policy_of
from tigon.ir import Graph, parse, show, verify
from tigon.ops.record import get
from tigon.passes import pipeline
from tigon.passes.cut_joint import cut_joint
from tigon.passes.gradient import gradient
from tigon.passes.insert_casts import insert_casts, remove_casts
from tigon.passes.set_mode import set_mode
from tigon.passes.thread_keys import thread_keys
from tigon.passes.thread_states import keep_states, thread_states

HERE = Path(__file__).parent / "passes"
DIVIDER = "-" * 20


def _gradient(graph: Graph) -> Graph:
    """The first input is the cotangent of the only output; all the others are differentiated."""
    found = gradient(graph.outputs, [graph.inputs[0]], graph.inputs[1:])
    return Graph(graph.inputs, [value for value in found if value is not None])


def _cut(joint: Graph) -> str:
    """The last inputs are cotangents, by name; one result, the rest are gradients."""
    cotangents = [value for value in joint.inputs if value.node.name.startswith("_cotangent")]
    cut = cut_joint(joint, len(joint.inputs) - len(cotangents), 1)
    halves = f"{show(verify(cut.forward))}\n{show(verify(cut.backward))}"
    return f"{halves}\nsaved {cut.saved}, cotangents {cut.cotangents}"


def _with_casts(graph: Graph) -> Graph:
    policy = policy_of("test", float16, None, "low", None, None)
    return insert_casts(graph, policy, ["excluded"])


RUN: dict[str, Callable[[Graph], Graph | str]] = {
    **in_pipeline(),
    "cut_joint": _cut,
    "gradient": _gradient,
    "insert_casts": _with_casts,
    "pipeline": lambda graph: pipeline.run(graph, interpret),
    "remove_casts": remove_casts,
    "set_mode": lambda graph: set_mode(graph, True),
    "thread_keys": lambda graph: thread_keys(graph)[0],
    "thread_states": lambda graph: thread_states(graph)[0],
    "keep_states": lambda graph: keep_states(*thread_states(set_mode(graph, True)))[0],
}

CASES = sorted(path.relative_to(HERE).as_posix() for path in HERE.glob("*/*.txt"))


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = HERE / case
    before, _, after = path.read_text().partition(f"\n{DIVIDER}\n")
    graph = verify(parse(before, get))
    made = RUN[case.split("/")[0]](graph)
    result = show(verify(made)) if isinstance(made, Graph) else made
    if os.environ.get("TIGON_UPDATE_GOLDEN"):
        path.write_text(f"{before.rstrip()}\n{DIVIDER}\n{result}\n")
        return
    assert result == after.strip(), f"{case}: if this is meant, run `make golden` and commit"


def test_every_pass_has_a_golden_case() -> None:
    assert {case.split("/")[0] for case in CASES} == set(RUN)
