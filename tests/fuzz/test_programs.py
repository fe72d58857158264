"""Random programs mean the same compiled as imperatively, whatever of their state changes between
the calls: results, side effects, gradients, running statistics and the random stream.

Here are as many programs as take half a minute on one core; `make fuzz` tries others, for longer.
"""

from __future__ import annotations

import ast

import pytest

from tests.fuzz.program_runs import Outcome, Summary, compare, evaluated, outcome_of, shrunk
from tests.fuzz.programs import (
    ARRAYS,
    DECISIONS,
    NUMBERS,
    RESULTS,
    STATEMENTS,
    STATES,
    UNCOMPILED,
    Writer,
    program,
)
from tigon.gluon import graphs as traced_graphs

EACH = 100


@pytest.mark.parametrize("first", range(0, 600, EACH))
def test_programs_mean_the_same_compiled(first: int) -> None:
    summary = Summary()
    for seed in range(first, first + EACH):
        source, outcome = outcome_of(seed)
        summary.add(seed, outcome)
        assert not outcome.invalid, f"program {seed} is none: {outcome.error}\n{source}"
        assert outcome.difference is None, shrunk(seed, source, outcome, seconds=10)
    # Programs that are not compiled, or that end at once, would find nothing.
    assert summary.compiled >= EACH / 2, summary
    assert summary.ended <= EACH / 20, summary


def test_every_piece_is_written() -> None:
    """Each state, statement, number, array and result stands in some program."""
    used: set[str] = set()

    class Noting(Writer):
        def use(self, feature):
            used.add(feature.name)
            return super().use(feature)

        def fill(self, text, number):
            used.add(text)
            return super().fill(text, number)

    for seed in range(2000):
        Noting(seed).write()
    wanted = {feature.name for feature in (*STATES, *STATEMENTS, *DECISIONS, *UNCOMPILED)}
    wanted |= {*NUMBERS, *ARRAYS, *(result for result, _ in RESULTS)}
    assert not wanted - used


def test_a_seed_is_a_program() -> None:
    assert program(3) == program(3)
    assert program(3) != program(4)


def _first_failure(count: int) -> tuple[int, str, Outcome]:
    for seed in range(count):
        source, outcome = outcome_of(seed)
        if outcome.difference is not None:
            return seed, source, outcome
    pytest.fail(f"none of {count} programs shows it")


def test_a_stale_graph_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were guards not compared, the programs would show it."""
    holds = traced_graphs.Entry.holds
    monkeypatch.setattr(traced_graphs.Entry, "holds", lambda entry: holds(entry) or True)
    seed, source, outcome = _first_failure(60)
    text = shrunk(seed, source, outcome, seconds=10)
    small = text.partition("\n\n")[2]
    assert len(small) < len(source) / 2, small
    with evaluated():
        assert compare(small).difference is not None
    ast.parse(small)


def test_a_wrong_random_stream_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were unused draws forgotten, the numbers drawn afterwards would differ."""
    made = traced_graphs.compiled_graph
    monkeypatch.setattr(
        traced_graphs,
        "compiled_graph",
        lambda graph, name, known, drawn, *others: made(graph, name, known, (), *others),
    )
    for seed in range(400):
        _, outcome = outcome_of(seed)
        if outcome.where == "random numbers drawn afterwards":
            return
    pytest.fail("no program shows it")
