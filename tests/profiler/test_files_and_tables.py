"""What is made of a profile, from spans that are written here: traces, tables, sessions in one."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tigon.profiler.profile import (
    EVENT,
    Mark,
    Row,
    ThreadSpans,
    memory_over_time,
    rows_by_name,
)
from tigon.profiler.table import as_json, as_table
from tigon.profiler.trace import trace_events, write_trace
from tigon.runtime.profiling import SpanKind, note_place


def _spans(number: int, title: str, names: list[str], *rows: tuple[int, ...]) -> ThreadSpans:
    return ThreadSpans(number, 70 + number, title, names, np.array(list(rows), EVENT))


def _made() -> tuple[list[ThreadSpans], list[Mark]]:
    names = ["", "net.py", "step", "net0", "tanh", "fc_fwd+relu_fwd", "later"]
    first = _spans(
        0,
        "MainThread",
        names,
        (3000, 3500, 100, 4, 1, 3, 12, SpanKind.KERNEL, 2),
        (3000, 4000, 300, 3, 1, 3, 12, SpanKind.BLOCK, 1),
        (2000, 4000, 300, 2, 1, 0, 9, SpanKind.PYTHON, 0),
        (5000, 8000, 200, 4, 0, 0, 0, SpanKind.KERNEL, 0),
    )
    second = _spans(3, "worker 1", names, (2500, 6500, 700, 5, 0, 0, 0, SpanKind.KERNEL, 0))
    marks = [
        Mark("task of the program", "read", "data", 2000, 9000, 70),
        Mark("event", "load", "", 2500, 3000, 70),
        Mark("counter", "items", "data", 2200, 2200, 70, 4),
        Mark("marker", "here", "data", 2300, 2300, 70, scope="global"),
    ]
    return [first, second], marks


def test_a_trace_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    note_place("fc_fwd", "net.py:31")
    threads, marks = _made()

    def thread(tid: int, title: str, place: int) -> list[dict[str, Any]]:
        own = {"pid": 7, "tid": tid}
        return [
            {"ph": "M", "name": "thread_name", **own, "args": {"name": title}},
            {"ph": "M", "name": "thread_sort_index", **own, "args": {"sort_index": place}},
        ]

    def span(tid: int, name: str, cat: str, ts: float, dur: float, **args: Any) -> dict[str, Any]:
        own = {"ph": "X", "pid": 7, "tid": tid, "name": name, "cat": cat}
        return {**own, "ts": ts, "dur": dur, "args": args}

    def memory(ts: float, size: int) -> dict[str, Any]:
        return {"ph": "C", "name": "memory", "pid": 7, "ts": ts, "args": {"bytes": size}}

    def mark(ph: str, name: str, ts: float, **more: Any) -> dict[str, Any]:
        return {"ph": ph, "name": name, "pid": 7, "tid": 70, "ts": ts, **more}

    at = {"line": "net.py:12"}
    expected = [
        {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "tigon"}},
        *thread(70, "MainThread", 0),
        span(70, "step", "python", 1.0, 2.0, line="net.py:9"),
        span(70, "net0", "block", 2.0, 1.0, **at),
        span(70, "tanh", "kernel", 2.0, 0.5, **at, block="net0"),
        span(70, "tanh", "kernel", 4.0, 3.0),
        *thread(73, "worker 1", 1),
        span(73, "fc_fwd+relu_fwd", "kernel", 1.5, 4.0, **{"made at": ["net.py:31"]}),
        memory(2.5, 100),
        memory(3.0, 300),
        memory(5.5, 700),
        memory(7.0, 200),
        mark("b", "read", 1.0, cat="data", id=0),
        mark("e", "read", 8.0, cat="data", id=0),
        mark("b", "load", 1.5, cat="event", id=1),
        mark("e", "load", 2.0, cat="event", id=1),
        mark("C", "items", 1.2, args={"items": 4}),
        mark("i", "here", 1.3, cat="data", s="g"),
    ]
    assert [*trace_events(threads, marks, 1000, True)] == expected
    without = [event for event in expected if event["name"] != "memory"]
    assert [*trace_events(threads, marks, 1000, False)] == without
    for scope, letter in {"process": "p", "thread": "t", "task": "t", "instant": "t"}.items():
        moment = Mark("marker", "here", "data", 2300, 2300, 70, scope=scope)
        assert [*trace_events([], [moment], 0, False)][-1]["s"] == letter


def test_a_file_of_many_parts(tmp_path: Path) -> None:
    rows = [(k, k + 1, 0, 1, 0, 0, 0, SpanKind.KERNEL, 0) for k in range(25_001)]
    thread = _spans(0, "many", ["", "x"], *rows)
    write_trace(str(tmp_path / "many.json"), [thread], [], 0)
    found = json.loads((tmp_path / "many.json").read_text())
    assert found["displayTimeUnit"] == "ms"
    begins = [event["ts"] for event in found["traceEvents"] if event["ph"] == "X"]
    assert begins == [k / 1000 for k in range(25_001)]


def test_tables_as_a_whole() -> None:
    threads, _ = _made()
    _, sizes = memory_over_time(threads)
    rows = rows_by_name(threads)
    assert rows[SpanKind.KERNEL] == {
        "tanh": Row(2, 3500, 500, 3000),
        "fc_fwd+relu_fwd": Row(1, 4000, 4000, 4000),
    }
    assert rows_by_name(threads, 4000)[SpanKind.KERNEL]["tanh"] == Row(1, 3000, 3000, 3000)
    assert memory_over_time(threads, 4000)[0].tolist() == [6500, 8000]
    sections = {"kernel": rows[SpanKind.KERNEL], "python": rows[SpanKind.PYTHON]}
    assert json.loads(as_json(sections, sizes, "count", False)) == {
        "Time": {
            "kernel": {
                "tanh": {
                    "Count": 2,
                    "Total": 3500 / 1e6,
                    "Min": 500 / 1e6,
                    "Max": 3000 / 1e6,
                    "Avg": 1750 / 1e6,
                },
                "fc_fwd+relu_fwd": dict.fromkeys(("Total", "Min", "Max", "Avg"), 4000 / 1e6)
                | {"Count": 1},
            },
            "python": {
                "step": dict.fromkeys(("Total", "Min", "Max", "Avg"), 2000 / 1e6) | {"Count": 1}
            },
        },
        "Memory": {
            "Device Storage": {"Memory:cpu": {"Count": 4, "Min": 0.1, "Max": 0.7, "Avg": 0.325}}
        },
        "Unit": {"Time": "ms", "Memory": "kb"},
    }
    table = as_table(
        {"kernel": {"x" * 50: Row(3, 6_000_000, 1_000_000, 3_000_000)}}, sizes, "avg", True
    )
    lines = [re.sub(r" +", " ", line) for line in table.split("\n")]
    assert lines == [
        "",
        "Profile Statistics:",
        "\tNote the difference in units for different entries.",
        "",
        "Device Storage",
        "=================",
        "Name Total Count Min Use (kB) Max Use (kB) Avg Use (kB)",
        "---- ----------- ------------ ------------ ------------",
        "Memory:cpu 4 0.1000 0.7000 0.3250",
        "",
        "Kernels",
        "=================",
        "Name Total Count Time (ms) Min Time (ms) Max Time (ms) Avg Time (ms)",
        "---- ----------- --------- ------------- ------------- -------------",
        f"{'x' * 37}... 3 6.0000 1.0000 3.0000 2.0000",
        "",
    ]
    assert "Device Storage" not in as_table({}, np.zeros(0), "avg", True)


def test_spans_of_two_sessions_are_those_of_one_thread() -> None:
    (first, _), _ = _made()
    other = _spans(0, "", ["", "tanh", "net.py"], (9000, 9500, 50, 1, 2, 1, 4, SpanKind.KERNEL, 0))
    both = first.followed_by(other)
    assert (both.title, len(both.events)) == ("MainThread", 5)
    last = both.events[-1]
    assert [both.names[last[field]] for field in ("name", "file", "block")] == [
        "tanh",
        "net.py",
        "tanh",
    ]
    assert rows_by_name([both])[SpanKind.KERNEL]["tanh"] == Row(3, 4000, 500, 3000)
    for threads in ([first, other], [other, first]):
        assert rows_by_name(threads)[SpanKind.KERNEL]["tanh"] == Row(3, 4000, 500, 3000)
