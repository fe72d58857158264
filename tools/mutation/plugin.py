"""What the mutation check needs inside of pytest: which lines each test executes, and running a
list of tests.

`MUTATION_RECORD` names a file that is written: per test that passed its seconds and the lines of
`tigon/` that it executed. `MUTATION_TESTS` names a file with the tests to be run, one per line, in
the order of their files; all others are left out.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Generator
from types import CodeType, FrameType
from typing import Any

import pytest

from tigon.base.files import write_file

_ROOT = os.getcwd() + os.sep
_PACKAGE = os.path.join(_ROOT, "tigon") + os.sep
_CALLS = 30
"""How often a function is watched in one test while there are lines that it has not reached."""


class _Seen:
    """The lines of one function that the present test has executed."""

    def __init__(self, code: CodeType) -> None:
        self.code = code  # holds it, as its id is the key
        self.path = code.co_filename.removeprefix(_ROOT)
        self.count = len({line for _, _, line in code.co_lines() if line})
        self.lines: set[int] = set()
        self.calls = 0


class Recorder:
    """Follows calls into the package, line by line only as long as there is something to see."""

    def __init__(self) -> None:
        self._known: dict[int, _Seen | None] = {}
        self._active: list[_Seen] = []

    def start(self) -> None:
        for seen in self._active:
            seen.lines, seen.calls = set(), 0
        self._active = []
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def stop(self) -> dict[str, set[int]]:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        lines: dict[str, set[int]] = {}
        for seen in self._active:
            lines.setdefault(seen.path, set()).update(seen.lines)
        return lines

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        try:
            seen = self._known[id(code)]
        except KeyError:
            seen = _Seen(code) if code.co_filename.startswith(_PACKAGE) else None
            self._known[id(code)] = seen
            if seen is None:
                self._known[-id(code)] = code  # type: ignore[assignment]  # keeps its id taken
        if seen is None or seen.calls > _CALLS or len(seen.lines) >= seen.count:
            return None
        if not seen.calls:
            self._active.append(seen)
        seen.calls += 1
        lines = seen.lines
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                lines.add(frame.f_lineno)
            return line

        return line


def mask(lines: set[int]) -> int:
    """A set of small numbers as the bits of one."""
    result = 0
    for line in lines:
        result |= 1 << line
    return result


class RecordPlugin:
    def __init__(self, path: str) -> None:
        self._path = path
        self._recorder = Recorder()
        self._tests: dict[str, tuple[float, dict[str, int]]] = {}
        self._failed: set[str] = set()
        self._equal: dict[int, int] = {}  # one object for equal masks: pickled once

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        begin = time.perf_counter()
        self._recorder.start()
        try:
            return (yield)
        finally:
            lines = self._recorder.stop()
            seconds = time.perf_counter() - begin
            if item.get_closest_marker("alone") is None and item.nodeid not in self._failed:
                found = {path: mask(numbers) for path, numbers in lines.items()}
                masks = {path: self._equal.setdefault(bits, bits) for path, bits in found.items()}
                self._tests[item.nodeid] = (seconds, masks)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        write_file(self._path, pickle.dumps(self._tests), durable=False)


class SelectPlugin:
    def __init__(self, path: str) -> None:
        with open(path) as file:
            self._chosen = frozenset(file.read().splitlines())

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        left_out = [item for item in items if item.nodeid not in self._chosen]
        items[:] = [item for item in items if item.nodeid in self._chosen]
        config.hook.pytest_deselected(items=left_out)


def pytest_configure(config: pytest.Config) -> None:
    if path := os.environ.get("MUTATION_RECORD"):
        config.pluginmanager.register(RecordPlugin(path))
    if path := os.environ.get("MUTATION_TESTS"):
        config.pluginmanager.register(SelectPlugin(path))
