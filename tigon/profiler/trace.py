"""A profile as a file that Perfetto and Chrome's about:tracing show.

Format: Trace Event Format (Google, 2016): complete events `X`, which nest by their times, async
spans `b` and `e`, counters `C`, instants `i`, metadata `M`. Times in microseconds.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tigon.base.files import write_file
from tigon.profiler.profile import Mark, ThreadSpans, lines_of, memory_over_time
from tigon.runtime.profiling import SpanKind


def write_trace(
    path: str,
    threads: Sequence[ThreadSpans],
    marks: Sequence[Mark],
    begin: int,
    memory: bool = True,
) -> None:
    """Write the file, whole or not at all. `begin` is its time 0; `memory`: with the memory in use
    over time."""
    write_file(path, _content(trace_events(threads, marks, begin, memory)))


def _content(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """In parts: a profile may have millions of events."""
    yield b'{"displayTimeUnit":"ms","traceEvents":[\n'
    end = ""
    while part := [*itertools.islice(events, 10_000)]:
        lines = (json.dumps(event, separators=(",", ":"), allow_nan=False) for event in part)
        yield (end + ",\n".join(lines)).encode()
        end = ",\n"
    yield b"\n]}\n"


def trace_events(
    threads: Sequence[ThreadSpans], marks: Sequence[Mark], begin: int, memory: bool
) -> Iterator[dict[str, Any]]:
    process = os.getpid()

    def at(time: int) -> float:
        return (time - begin) / 1000

    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": "tigon"}}
    for place, thread in enumerate(threads):
        own = {"pid": process, "tid": thread.system_id}
        yield {"ph": "M", "name": "thread_name", **own, "args": {"name": thread.title}}
        yield {"ph": "M", "name": "thread_sort_index", **own, "args": {"sort_index": place}}
        # From the outside in: of those that begin together the one around the others is first.
        events = thread.events
        order = np.lexsort((events["depth"], -events["end"], events["begin"]))
        for first in range(0, len(order), 10_000):
            for event in events[order[first : first + 10_000]].tolist():
                yield {"ph": "X", **own, **_span(thread, event, at)}
    if memory:
        times, sizes = memory_over_time(threads)
        for time, size in zip(times.tolist(), sizes.tolist(), strict=True):
            yield {
                "ph": "C",
                "name": "memory",
                "pid": process,
                "ts": at(time),
                "args": {"bytes": size},
            }
    for number, mark in enumerate(marks):
        yield from _of_mark(mark, number, process, at)


def _span(thread: ThreadSpans, event: tuple[Any, ...], at: Any) -> dict[str, Any]:
    begin, end, _, name, file, block, line, kind, _ = event
    shown = thread.names[name]
    args: dict[str, Any] = {}
    if file:
        args["line"] = f"{thread.names[file]}:{line}"
    if block and kind != SpanKind.BLOCK:
        args["block"] = thread.names[block]
    if kind == SpanKind.KERNEL:
        made = lines_of(shown)
        if made:
            args["made at"] = made
    return {
        "name": shown,
        "cat": SpanKind(kind).name.lower(),
        "ts": at(begin),
        "dur": (end - begin) / 1000,
        "args": args,
    }


SCOPES = {"global": "g", "process": "p", "thread": "t", "task": "t", "instant": "t"}


def _of_mark(mark: Mark, number: int, process: int, at: Any) -> Iterator[dict[str, Any]]:
    own = {"name": mark.name, "pid": process, "tid": mark.thread}
    if mark.kind == "counter":
        if math.isfinite(mark.value):  # others are no JSON
            yield {"ph": "C", **own, "ts": at(mark.begin), "args": {mark.name: mark.value}}
    elif mark.kind == "marker":
        yield {
            "ph": "i",
            **own,
            "cat": mark.domain,
            "ts": at(mark.begin),
            "s": SCOPES[mark.scope],
        }
    else:
        spanned = {**own, "cat": mark.domain or mark.kind, "id": number}
        yield {"ph": "b", **spanned, "ts": at(mark.begin)}
        yield {"ph": "e", **spanned, "ts": at(mark.end)}
