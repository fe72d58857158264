"""Where every intermediate lies in one arena, decided before the program runs."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from tigon.base import InternalError
from tigon.base.frozen import Frozen

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


class Request(Frozen):
    """One buffer: alive from step `first` to step `last`, both included.

    `may_share` lists requests whose memory this one may take over in place, if they end at the
    step where it begins. The caller promises that nothing else reads them at that step.
    """

    name: str
    nbytes: int
    first: int
    last: int
    may_share: tuple[int, ...] = ()


class Plan(Frozen):
    """One offset per request, the size of the arena, and the most buffers in it at one step."""

    offsets: tuple[int, ...]
    total_bytes: int
    slots: int


def plan(requests: Sequence[Request], alignment: int = ALIGNMENT) -> Plan:
    """Offsets such that buffers alive at the same step never overlap.

    Placement is greedy: each buffer goes where a finished one hands over, else into the tightest
    gap that holds it. Large ones first usually wins; early ones first wins on nested lifetimes.

    >>> chain = [Request(f"layer{i}", 100, i, i + 1) for i in range(24)]
    >>> plan(chain).slots, plan(chain).total_bytes
    (2, 256)
    >>> inplace = [Request(f"{i}", 100, i, i + 1, (i - 1,) if i else ()) for i in range(24)]
    >>> plan(inplace).slots
    1
    """
    sizes = [-(-request.nbytes // alignment) * alignment for request in requests]
    by_size = sorted(range(len(requests)), key=lambda i: (-sizes[i], requests[i].first))
    by_time = sorted(range(len(requests)), key=lambda i: (requests[i].first, -sizes[i]))
    if _meetings(requests) > MOST_MEETINGS:
        return _place_in_time(requests, sizes, by_time)
    best: Plan | None = None
    least = _live_peak(requests, sizes)
    for order in (by_size, by_time):
        found = _place(requests, sizes, order)
        if best is None or found.total_bytes < best.total_bytes:
            best = found
        # Nothing can be smaller; another variant would only cost compile time.
        if best.total_bytes <= least:
            break
    if best is None:
        raise InternalError("memory plan: no variant was tried")
    return best


MOST_MEETINGS = 200_000
"""Pairs of buffers alive at once that are looked at. A thousand layers that keep values for their
gradients have a million; then buffers are placed by time alone, against free memory instead."""


def _meetings(requests: Sequence[Request]) -> int:
    """Pairs alive at one step: those begun before a buffer ends but for those ended before it
    begins, of the buffers before it in order of their begin."""
    ends = sorted(request.last for request in requests)
    firsts = sorted(request.first for request in requests)
    return sum(begun - bisect_left(ends, first) for begun, first in enumerate(firsts))


def _place_in_time(requests: Sequence[Request], sizes: Sequence[int], order: Sequence[int]) -> Plan:
    """Each buffer, in order of their begin, in the place of one that hands over, else in the
    tightest stretch of memory that is free by then."""
    offsets = [0] * len(requests)
    memory = _Memory()
    ending = iter(sorted(order, key=lambda index: requests[index].last))
    next_to_end = next(ending)
    for index in order:
        request = requests[index]
        while requests[next_to_end].last < request.first:
            if sizes[next_to_end]:
                memory.release(next_to_end, offsets[next_to_end], sizes)
            next_to_end = next(ending)
        if sizes[index] == 0:
            continue
        for source in request.may_share:
            if _hands_over(requests, source, index) and all(
                _hands_over(requests, other, index) for other in memory.at[offsets[source]]
            ):
                offsets[index] = offsets[source]
                memory.at[offsets[source]].append(index)
                break
        else:
            offsets[index] = memory.take(sizes[index])
            memory.at[offsets[index]] = [index]
    return Plan(tuple(offsets), memory.top, _most_at_once(requests, sizes, offsets))


class _Memory:
    """The stretches that are free, and the buffers that begin at each taken place."""

    def __init__(self) -> None:
        self.top = 0
        self.at: dict[int, list[int]] = {}
        self._free: list[tuple[int, int]] = []  # (size, start), in order
        self._by_start: dict[int, int] = {}
        self._by_end: dict[int, int] = {}

    def take(self, size: int) -> int:
        number = bisect_left(self._free, (size, 0))
        if number == len(self._free):
            # Above all others: what is free below the top is a part of it.
            start = self._by_end.get(self.top)
            if start is None:
                start = self.top
            else:
                self._remove(start, self.top)
            self.top = start + size
            return start
        found, start = self._free[number]
        self._remove(start, start + found)
        self._add(start + size, start + found)
        return start

    def release(self, index: int, start: int, sizes: Sequence[int]) -> None:
        here = self.at[start]
        before = max(sizes[other] for other in here)
        here.remove(index)
        after = max((sizes[other] for other in here), default=0)
        begin, end = start + after, start + before
        if begin == end:
            return
        if begin in self._by_end:
            begin = self._by_end[begin]
            self._remove(begin, start + after)
        if end in self._by_start:
            end = self._by_start[end]
            self._remove(start + before, end)
        self._add(begin, end)

    def _add(self, start: int, end: int) -> None:
        if start < end:
            self._by_start[start], self._by_end[end] = end, start
            insort(self._free, (end - start, start))

    def _remove(self, start: int, end: int) -> None:
        del self._by_start[start], self._by_end[end]
        del self._free[bisect_left(self._free, (end - start, start))]


def _live_peak(requests: Sequence[Request], sizes: Sequence[int]) -> int:
    """A lower bound: the most bytes alive at once, in-place successors counted as free."""
    change: dict[int, int] = {}
    for request, size in zip(requests, sizes, strict=True):
        # A buffer that may start in another's place is counted from the step after.
        first = request.first + 1 if request.may_share else request.first
        if first <= request.last:
            change[first] = change.get(first, 0) + size
            change[request.last + 1] = change.get(request.last + 1, 0) - size
    live = peak = 0
    for step in sorted(change):
        live += change[step]
        peak = max(peak, live)
    return peak


def _place(requests: Sequence[Request], sizes: Sequence[int], order: Sequence[int]) -> Plan:
    offsets = [0] * len(requests)
    placed = _Placed(1 + max((request.last for request in requests), default=0))
    takers: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        for source in request.may_share:
            takers.setdefault(source, []).append(index)
    for index in order:
        if sizes[index] == 0:
            continue
        request = requests[index]
        rivals = placed.alive_within(request.first, request.last)
        offset = _in_place(requests, sizes, offsets, index, takers.get(index, ()), rivals)
        if offset is None:
            taken = sorted((offsets[i], offsets[i] + sizes[i]) for i in rivals)
            offset = _tightest_gap(taken, sizes[index])
        offsets[index] = offset
        placed.add(index, request.first, request.last)
    total = max((o + size for o, size in zip(offsets, sizes, strict=True) if size), default=0)
    return Plan(tuple(offsets), total, _most_at_once(requests, sizes, offsets))


def _most_at_once(requests: Sequence[Request], sizes: Sequence[int], offsets: Sequence[int]) -> int:
    """The most places taken at one step; a buffer and its successor in place count once."""
    events = []
    for request, size, offset in zip(requests, sizes, offsets, strict=True):
        if size:
            events += [(request.first, 1, offset), (request.last + 1, -1, offset)]
    events.sort()
    here: dict[int, int] = {}
    most = step = 0
    for at, change, offset in events:
        if at != step:
            most, step = max(most, len(here)), at
        here[offset] = here.get(offset, 0) + change
        if not here[offset]:
            del here[offset]
    return most


class _Placed:
    """Buffers by the steps at which they are alive. Finding those of a stretch of steps takes as
    long as there are such, and a little for the logarithm of how many steps there are.

    A stretch is a whole multiple of its length, a power of two, known as (length, multiple)."""

    def __init__(self, steps: int) -> None:
        self._lengths = [1 << bit for bit in range(steps.bit_length() + 1)]
        self._begun: dict[tuple[int, int], list[int]] = {}
        self._throughout: dict[tuple[int, int], list[int]] = {}
        """Each buffer in the fewest stretches that its life is made of."""

    def add(self, index: int, first: int, last: int) -> None:
        for length in self._lengths:
            self._begun.setdefault((length, first // length), []).append(index)
        for stretch in _stretches(first, last + 1):
            self._throughout.setdefault(stretch, []).append(index)

    def alive_within(self, first: int, last: int) -> list[int]:
        """Those alive at some step from `first` to `last`."""
        found: list[int] = []
        for stretch in _stretches(first + 1, last + 1):
            found += self._begun.get(stretch, ())
        for length in self._lengths:
            found += self._throughout.get((length, first // length), ())
        return found


def _stretches(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest that steps from `start` up to `end` are made of."""
    length = 1
    while start < end:
        if start & 1:
            yield length, start
            start += 1
        if end & 1:
            end -= 1
            yield length, end
        start, end, length = start >> 1, end >> 1, length << 1


def _in_place(
    requests: Sequence[Request],
    sizes: Sequence[int],
    offsets: Sequence[int],
    index: int,
    takers: Sequence[int],
    rivals: Sequence[int],
) -> int | None:
    """The place of a buffer to take over from, or to hand over to, if all others permit."""
    present = set(rivals)
    for partner in (*requests[index].may_share, *takers):
        if partner not in present:
            continue
        pair = (partner, index) if partner in requests[index].may_share else (index, partner)
        if not _hands_over(requests, *pair):
            continue
        start, end = offsets[partner], offsets[partner] + sizes[index]
        if all(
            offsets[i] >= end
            or offsets[i] + sizes[i] <= start
            or (
                offsets[i] == start
                and (_hands_over(requests, i, index) or _hands_over(requests, index, i))
            )
            for i in rivals
        ):
            return start
    return None


def _hands_over(requests: Sequence[Request], source: int, taker: int) -> bool:
    return (
        source in requests[taker].may_share
        and requests[source].last == requests[taker].first
        and requests[source].first < requests[taker].first
        and requests[taker].nbytes <= requests[source].nbytes
    )


def _tightest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """Where `size` bytes fit best between stretches in order of their start; else above them."""
    best: tuple[int, int] | None = None
    top = 0
    for start, end in taken:
        if start - top >= size and (best is None or (start - top, top) < best):
            best = (start - top, top)
        top = max(top, end)
    return top if best is None else best[1]


def check_plan(requests: Sequence[Request], found: Plan, alignment: int = ALIGNMENT) -> None:
    """Raise `InternalError` unless the plan obeys its laws. Knows nothing of how it was made."""
    if len(found.offsets) != len(requests):
        raise InternalError("memory plan: one offset per request is missing")
    for request, offset in zip(requests, found.offsets, strict=True):
        if offset % alignment or offset < 0 or offset + request.nbytes > found.total_bytes:
            if request.nbytes or offset % alignment:
                raise InternalError(f"memory plan: '{request.name}' lies outside at {offset}")
    for later, b in enumerate(requests):
        for earlier, a in enumerate(requests[:later]):
            if a.first > b.last or b.first > a.last:
                continue
            start_a, start_b = found.offsets[earlier], found.offsets[later]
            if start_a + a.nbytes <= start_b or start_b + b.nbytes <= start_a:
                continue
            if start_a == start_b and (
                (earlier in b.may_share and a.last == b.first and b.nbytes <= a.nbytes)
                or (later in a.may_share and b.last == a.first and a.nbytes <= b.nbytes)
            ):
                continue
            raise InternalError(
                f"memory plan: '{a.name}' and '{b.name}' are alive together and overlap"
            )


# ------------------------------------------------------------------- what users are shown


class MemoryRow(Frozen):
    """One array of a program. `offset` is None for what lies outside the arena."""

    name: str
    kind: str
    """"input", "output" or "temporary"."""
    type: str
    nbytes: int
    first: int = 0
    last: int = 0
    offset: int | None = None


class MemoryPlan(Frozen):
    """What a program needs: `executor.memory_plan`. Bytes are those of the arrays themselves.

    >>> report = MemoryPlan(240, 0, 0, 320, rows=(
    ...     MemoryRow("A", "input", "float64[10]", 80),
    ...     MemoryRow("B", "input", "float64[10]", 80),
    ...     MemoryRow("D", "output", "float64[10]", 80, 0, 1),
    ... ))
    >>> print(report)
    240 bytes in all, 320 if nothing were shared; arena of 0 bytes for 0 temporaries
    name  kind    type         bytes  steps  offset
    A     input   float64[10]     80   0..0       -
    B     input   float64[10]     80   0..0       -
    D     output  float64[10]     80   0..1       -
    """

    total_bytes: int
    """Inputs, outputs and temporaries as planned."""
    temporaries: int
    """Slots in the arena."""
    arena_bytes: int
    unplanned_bytes: int
    """What the same arrays would take if each had memory of its own, fused ones included."""
    rows: tuple[MemoryRow, ...] = ()

    def _repr_html_(self) -> str:
        from tigon.analysis.memory_picture import plan_picture

        return plan_picture([("", self)])

    def __str__(self) -> str:
        head = (
            f"{self.total_bytes} bytes in all, {self.unplanned_bytes} if nothing were shared; "
            f"arena of {self.arena_bytes} bytes for {self.temporaries} temporaries"
        )
        table = [("name", "kind", "type", "bytes", "steps", "offset")]
        for row in self.rows:
            offset = "-" if row.offset is None else str(row.offset)
            steps = f"{row.first}..{row.last}"
            table.append((row.name, row.kind, row.type, str(row.nbytes), steps, offset))
        if len(table) == 1:
            return head
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = []
        for row_text in table:
            left = [text.ljust(width) for text, width in zip(row_text[:3], widths[:3], strict=True)]
            right = [
                text.rjust(width) for text, width in zip(row_text[3:], widths[3:], strict=True)
            ]
            lines.append("  ".join([*left, *right]))
        return "\n".join([head, *lines])
