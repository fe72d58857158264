"""Plans obey their laws, checked by a checker that does not know how they are made."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tigon.analysis.memory_plan import (
    ALIGNMENT,
    MemoryPlan,
    MemoryRow,
    Plan,
    Request,
    _meetings,
    _place_in_time,
    _Placed,
    check_plan,
    plan,
)
from tigon.base import InternalError


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    made: list[Request] = []
    for index in range(draw(st.integers(0, 14))):
        first = draw(st.integers(0, 8))
        last = first + draw(st.integers(0, 4))
        share = tuple(i for i in range(index) if made[i].last == first and draw(st.booleans()))
        nbytes = draw(st.sampled_from((0, 1, 63, 64, 65, 100, 128, 1000, 4096)))
        made.append(Request(f"r{index}", nbytes, first, last, share))
    return made


@given(requests())
@settings(max_examples=300, deadline=None)
def test_random_plans_obey_the_laws(made: list[Request]) -> None:
    found = plan(made)
    check_plan(made, found)
    aligned = [-(-r.nbytes // ALIGNMENT) * ALIGNMENT for r in made]
    assert found.total_bytes <= sum(aligned)
    assert found.slots <= sum(size > 0 for size in aligned)
    assert plan(made) == found


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_buffers_are_found_by_the_steps_at_which_they_live(lives: list[tuple[int, int]]) -> None:
    placed = _Placed(81)
    for index, (first, length) in enumerate(lives):
        placed.add(index, first, first + length)
    for first in range(0, 44, 3):
        for last in (first, first + 1, first + 17):
            expected = [
                index
                for index, (begin, length) in enumerate(lives)
                if begin <= last and begin + length >= first
            ]
            assert sorted(placed.alive_within(first, last)) == expected


@given(requests())
@settings(max_examples=300, deadline=None)
def test_plans_by_time_alone_obey_the_laws(made: list[Request]) -> None:
    """As they are made where too many buffers are alive at once to look at all pairs."""
    sizes = [-(-r.nbytes // ALIGNMENT) * ALIGNMENT for r in made]
    order = sorted(range(len(made)), key=lambda i: (made[i].first, -sizes[i]))
    if made:
        check_plan(made, _place_in_time(made, sizes, order))


def test_what_many_buffers_need_at_once_is_all_that_they_take() -> None:
    """Of 2,000 buffers each is kept for its reader, backwards: as many pairs as there are."""
    count = 1000
    kept = [Request(f"kept{i}", 100, i, 2 * count - i) for i in range(count)]
    passed = [Request(f"passed{i}", 64, count + i, count + i + 1) for i in range(count)]
    found = plan([*kept, *passed])
    check_plan([*kept, *passed], found)
    # The first of those passed on comes on top; the others lie where others have ended.
    assert found.total_bytes <= count * 128 + 3 * 64
    assert _meetings(kept) == count * (count - 1) // 2


@given(requests())
@settings(max_examples=100, deadline=None)
def test_a_shortened_live_range_is_caught_by_the_checker(made: list[Request]) -> None:
    """The checker is not vacuous: two live buffers moved onto each other are seen."""
    found = plan(made)
    for i, a in enumerate(made):
        for j, b in enumerate(made[:i]):
            together = a.first <= b.last and b.first <= a.last
            if not together or not a.nbytes or not b.nbytes:
                continue
            if j in a.may_share or i in b.may_share:
                continue
            offsets = list(found.offsets)
            offsets[i] = offsets[j]
            wrong = Plan(tuple(offsets), found.total_bytes + 8192, found.slots)
            with pytest.raises(InternalError, match="overlap"):
                check_plan(made, wrong)
            return


@pytest.mark.parametrize("layers", [2, 3, 24, 100])
def test_a_chain_needs_two_buffers(layers: int) -> None:
    chain = [Request(f"{i}", 256, i, i + 1) for i in range(layers)]
    assert (plan(chain).slots, plan(chain).total_bytes) == (2, 512)


def test_a_chain_of_shrinking_layers_needs_two_buffers() -> None:
    sizes = [4096, 1024, 512, 2048, 256, 64]
    chain = [Request(f"{i}", size, i, i + 1) for i, size in enumerate(sizes)]
    assert plan(chain).slots == 2
    assert plan(chain).total_bytes == 4096 + 1024


def test_in_place_chain_needs_one() -> None:
    chain = [Request(f"{i}", 256, i, i + 1, (i - 1,) if i else ()) for i in range(24)]
    assert plan(chain) == Plan((0,) * 24, 256, 1)


def test_only_one_of_two_readers_takes_over() -> None:
    made = [Request("x", 64, 0, 1), Request("y", 64, 1, 2, (0,)), Request("z", 64, 1, 2, (0,))]
    found = plan(made)
    check_plan(made, found)
    assert found.total_bytes == 128


def test_no_requests_no_arena() -> None:
    assert plan([]) == Plan((), 0, 0)
    assert plan([Request("empty", 0, 0, 3)]) == Plan((0,), 0, 0)


def test_a_backward_pass_holds_what_it_must() -> None:
    """Forward values live until their gradient: the arena is the peak, not more."""
    n = 20
    forward = [Request(f"h{i}", 512, i, 2 * n - i) for i in range(n)]
    backward = [Request(f"g{i}", 512, n + i, n + i + 1) for i in range(n)]
    assert plan(forward + backward).total_bytes == 512 * (n + 2)


def test_report_is_a_table() -> None:
    report = MemoryPlan(
        240, 1, 128, 320, (MemoryRow("conv0", "temporary", "float32[8]", 32, 0, 2, 64),)
    )
    assert str(report).splitlines() == [
        "240 bytes in all, 320 if nothing were shared; arena of 128 bytes for 1 temporaries",
        "name   kind       type        bytes  steps  offset",
        "conv0  temporary  float32[8]     32   0..2      64",
    ]


def test_large_plans_stay_quick() -> None:
    made = [Request(f"{i}", 64 * (i % 7 + 1), i, i + 1 + i % 5) for i in range(1000)]
    check_plan(made[:200], plan(made[:200]))
    assert plan(made).total_bytes <= 64 * 7 * 8
