"""Which groups run before which, against the relation worked out whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tigon.base import InternalError
from tigon.lower.fuse import order
from tigon.lower.fuse.group import Group
from tigon.lower.fuse.order import (
    absorb,
    in_order,
    independent,
    may_come_before,
    nothing_between,
    put_before,
)


def before_it(group: Group) -> set[Group]:
    """All that run before a group."""
    found: set[Group] = set()
    stack = [group]
    while stack:
        for other in stack.pop().before:
            if other not in found:
                found.add(other)
                stack.append(other)
    return found


@st.composite
def grown(draw: st.DrawFn) -> list[Group]:
    """Groups as fusion makes them: edges come later than groups, in any direction that no path
    forbids, and independent groups merge."""
    groups = [Group("map", number, (1,)) for number in range(draw(st.integers(2, 12)))]
    for _ in range(draw(st.integers(0, 30))):
        first, second = draw(st.permutations(groups))[:2]
        if draw(st.integers(0, 5)) == 0 and independent(first, second):
            absorb(first, second)
            groups.remove(second)
        elif second not in before_it(first):
            put_before([first], second)
        if len(groups) < 2:
            break
    return groups


@given(grown())
@settings(max_examples=300, deadline=None)
def test_a_search_answers_as_the_whole_relation(groups: list[Group]) -> None:
    for group in groups:
        whole = before_it(group)
        assert group not in whole
        assert all(other.level < group.level for other in whole)
        assert all(group in other.after for other in group.before)
        for other in groups:
            assert may_come_before(other, group) == (other in whole)
            between = {g for g in groups if other in before_it(g) and g in whole} or {
                g for g in groups if group in before_it(g) and g in before_it(other)
            }
            if other is not group:
                assert nothing_between(group, other) == (not between)


@given(grown())
@settings(max_examples=300, deadline=None)
def test_groups_come_in_turns(groups: list[Group]) -> None:
    expected: list[Group] = []
    waiting = list(groups)
    while waiting:
        rest = []
        for group in waiting:
            ready = all(other in expected for other in group.before)
            (expected if ready else rest).append(group)
        waiting = rest
    assert in_order(groups) == expected


def test_a_search_that_goes_too_far_counts_as_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chains side by side, long ones: whether the one leads to the other is not found out."""
    chains = [[Group("map", number, (1,)) for number in range(50)] for _ in range(2)]
    for chain in chains:
        for first, second in pairwise(chain):
            put_before([first], second)
    early, late = chains[0][0], chains[1][-1]
    assert not may_come_before(early, late)
    monkeypatch.setattr(order, "FARTHEST", 20)
    assert may_come_before(early, late) and not may_come_before(late, early)
    assert not may_come_before(chains[0][40], chains[1][45])  # near enough


def test_a_circle_is_an_error_of_ours() -> None:
    first, second = Group("map", 0, (1,)), Group("map", 1, (1,))
    put_before([first], second)
    with pytest.raises(InternalError, match="wait for each other"):
        put_before([second], first)
