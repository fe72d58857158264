"""What was recorded, as arrays: spans by thread, and the memory in use at the end of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tigon.base.frozen import Frozen, replace
from tigon.program.operators import name_of_operator
from tigon.runtime.profiling import SpanKind, place_of

EVENT = np.dtype(
    [
        ("begin", "<i8"),
        ("end", "<i8"),
        ("bytes", "<i8"),
        ("name", "<u4"),
        ("file", "<u4"),
        ("block", "<u4"),
        ("line", "<i4"),
        ("kind", "<u4"),
        ("depth", "<u4"),
    ]
)
"""As `csrc/profile/profile.h` lays them out; times in nanoseconds of one clock."""


class ThreadSpans(Frozen, eq=False):
    """The spans of one thread, in the order in which they ended."""

    number: int
    system_id: int
    title: str
    names: Sequence[str]
    """What the fields `name`, `file` and `block` of events count."""
    events: np.ndarray
    left_out: int = 0

    def followed_by(self, later: ThreadSpans) -> ThreadSpans:
        """Both, with the names of both."""
        numbers: dict[str, int] = {}
        parts = []
        for part in (self, later):
            moved = [numbers.setdefault(name, len(numbers)) for name in part.names]
            events = part.events.copy()
            for field in ("name", "file", "block"):
                events[field] = np.array(moved, "<u4")[events[field]]
            parts.append(events)
        return ThreadSpans(
            self.number,
            self.system_id,
            later.title or self.title,
            [*numbers],
            np.concatenate(parts),
            self.left_out + later.left_out,
        )


class Mark(Frozen, eq=False):
    """What the program itself said: a span from `begin` to `end`, a moment, or a number."""

    kind: str
    name: str
    domain: str
    begin: int
    end: int
    thread: int
    """As the operating system counts."""
    value: float = 0
    scope: str = "process"


class Row(Frozen):
    """How often something was done, and how long it took, in nanoseconds."""

    count: int
    total: int
    least: int
    most: int

    @property
    def mean(self) -> float:
        return self.total / self.count


def with_names_of_operators(thread: ThreadSpans) -> ThreadSpans:
    """The same, whose operators come by their numbers."""
    names, events = [*thread.names], thread.events.copy()
    chosen = events["kind"] == SpanKind.OPERATOR
    for number in np.unique(events["name"][chosen]).tolist():
        events["name"][chosen & (events["name"] == number)] = len(names)
        names.append(name_of_operator(int(names[number].removeprefix("#"))))
    return replace(thread, names=names, events=events)


def rows_by_name(threads: Sequence[ThreadSpans], since: int = 0) -> dict[SpanKind, dict[str, Row]]:
    """What each kind of span took, by name; of what ended after `since`."""
    found: dict[SpanKind, dict[str, Row]] = {}
    for thread in threads:
        events = thread.events[thread.events["end"] > since]
        lasted = events["end"] - events["begin"]
        for kind, name, own in _grouped(events):
            times = lasted[own]
            row = Row(len(times), int(times.sum()), int(times.min()), int(times.max()))
            add_row(found.setdefault(SpanKind(kind), {}), thread.names[name], row)
    return found


def _grouped(events: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    keys = events["kind"].astype(np.int64) << 32 | events["name"]
    order = np.argsort(keys, kind="stable")
    values, firsts = np.unique(keys[order], return_index=True)
    for key, own in zip(values.tolist(), np.split(order, firsts[1:]), strict=False):
        yield key >> 32, key & 0xFFFFFFFF, own


def add_row(rows: dict[str, Row], name: str, row: Row) -> None:
    a = rows.get(name)
    rows[name] = row
    if a is not None:
        least, most = min(a.least, row.least), max(a.most, row.most)
        rows[name] = Row(a.count + row.count, a.total + row.total, least, most)


def memory_over_time(
    threads: Sequence[ThreadSpans], since: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Times, and the bytes of live arrays and arenas at these; neighbours differ."""
    ends = np.concatenate([thread.events["end"] for thread in threads] or [np.zeros(0, np.int64)])
    sizes = np.concatenate([thread.events["bytes"] for thread in threads] or [ends])
    order = np.argsort(ends, kind="stable")
    ends, sizes = ends[order], sizes[order]
    kept = ends > since
    ends, sizes = ends[kept], sizes[kept]
    changed = np.ones(len(sizes), bool)
    changed[1:] = sizes[1:] != sizes[:-1]
    return ends[changed], sizes[changed]


def lines_of(kernel: str) -> list[str]:
    """The user's lines that made what a kernel computes, each once.

    A kernel is named after up to four nodes of its graph, with `+` between.
    """
    places = [place_of(part) for part in kernel.split("+")]
    return list(dict.fromkeys(place for place in places if place is not None))


def kernel_time(threads: Sequence[ThreadSpans], prefixes: Mapping[str, str]) -> dict[str, int]:
    """Nanoseconds that threads spent in kernels, by block: those whose first node's name begins
    with the block's prefix, the longest that does, and those that ran while it was the innermost
    block that was called. `prefixes` maps them to names of blocks; what belongs to none is under
    the empty name."""
    found: dict[str, int] = {}
    by_length = sorted(prefixes, key=len, reverse=True)
    for thread in threads:
        kernels = thread.events[thread.events["kind"] == SpanKind.KERNEL]
        lasted = kernels["end"] - kernels["begin"]
        keys = kernels["name"].astype(np.int64) << 32 | kernels["block"]
        values, inverse = np.unique(keys, return_inverse=True)
        totals = np.bincount(inverse, lasted, len(values)) if len(values) else []
        for key, total in zip(values.tolist(), totals, strict=True):
            first = thread.names[key >> 32].split("+")[0]
            within = thread.names[key & 0xFFFFFFFF]
            block = next((prefixes[p] for p in by_length if p and first.startswith(p)), None)
            if block is None:
                block = within if within in prefixes.values() else ""
            found[block] = found.get(block, 0) + int(total)
    return found
