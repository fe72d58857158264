"""The one profile of a process: what it records, whether it does, and what it has so far."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.frozen import Frozen, replace
from tigon.base.locks import reentrant_lock
from tigon.profiler import calls
from tigon.profiler.profile import (
    EVENT,
    Mark,
    Row,
    ThreadSpans,
    add_row,
    with_names_of_operators,
)
from tigon.profiler.trace import write_trace
from tigon.runtime import profiling
from tigon.runtime.profiling import SpanKind

_OF_GRAPHS = (SpanKind.PROGRAM, SpanKind.TASK, SpanKind.KERNEL, SpanKind.COMPILE)
_OF_OPERATORS = (SpanKind.OPERATOR, SpanKind.TASK, SpanKind.KERNEL)
_OF_CALLS = (SpanKind.PYTHON, SpanKind.DATA, SpanKind.BLOCK, SpanKind.WAIT, SpanKind.BACKWARD)


class Config(Frozen):
    """What `set_config` sets."""

    filename: str = "profile.json"
    profile_all: bool = False
    profile_symbolic: bool = True
    profile_imperative: bool = True
    profile_memory: bool = True
    profile_api: bool = True
    continuous_dump: bool = False
    dump_period: float = 1.0
    aggregate_stats: bool = False

    @property
    def kinds(self) -> frozenset[SpanKind]:
        if self.profile_all:
            return frozenset(SpanKind)
        chosen: set[SpanKind] = set()
        chosen.update(_OF_GRAPHS if self.profile_symbolic else ())
        chosen.update(_OF_OPERATORS if self.profile_imperative else ())
        chosen.update(_OF_CALLS if self.profile_api else ())
        return frozenset(chosen)

    @property
    def shows_memory(self) -> bool:
        return self.profile_memory or self.profile_all


MOST = 1 << 22
"""Spans of a profile at most: 256 MB."""


class Session:
    """What is recorded natively is put down here when somebody looks at it. No step of that loses
    anything where it is interrupted, and a signal's handler may look meanwhile."""

    def __init__(self) -> None:
        self.config = Config()
        self.running = False
        self.paused = False
        self.since = 0
        """What ended before is left out of tables."""
        self.begin = 0
        self._finished = False
        """Whether the file is written, and the next `start` begins anew."""
        self._parts: dict[tuple[int, int], ThreadSpans] = {}
        """By session of the native runtime, and thread."""
        self._forgotten = -1
        self._marks: list[Mark] = []
        self._lock = reentrant_lock()
        self._collecting = False
        self._ended = threading.Event()
        self._writer: threading.Thread | None = None

    # -- recording

    def configure(self, changes: dict[str, Any]) -> None:
        check(
            not self.running,
            "profiler.set_config",
            "the profile is being taken; call profiler.set_state('stop') first",
        )
        self.config = replace(self.config, **changes)

    def start(self) -> None:
        if self.running:
            return
        if self._finished:
            self.forget()
        self.collect()
        if not self.begin:
            self.begin = _native.profile.now()
        self.running, self.paused = True, False
        kinds = self.config.kinds
        held = sum(len(part.events) for part in self._parts.values())
        _native.profile.start(sum(1 << kind for kind in kinds), max(0, MOST - held))
        profiling.active[0] = True
        if SpanKind.PYTHON in kinds:
            calls.show_calls(True)
        if self.config.continuous_dump:
            self._ended = threading.Event()
            arguments = (self._ended,)
            self._writer = threading.Thread(
                target=self._write_meanwhile, args=arguments, daemon=True
            )
            self._writer.start()

    def stop(self) -> None:
        if not self.running:
            return
        calls.show_calls(False)
        _native.profile.stop()
        profiling.active[0] = False
        self.running = self.paused = False
        self._ended.set()
        writer, self._writer = self._writer, None
        if writer is not None and writer is not threading.current_thread():
            writer.join()
        self.collect()

    def pause(self) -> None:
        if self.running:
            _native.profile.pause()
            self.paused = True

    def resume(self) -> None:
        if self.running:
            _native.profile.resume()
            self.paused = False

    @property
    def records(self) -> bool:
        return self.running and not self.paused

    def add(self, mark: Mark) -> None:
        self._marks.append(mark)

    def begin_in_child(self) -> None:
        """A forked child has nothing of its parent's profile, and takes none until it is told."""
        config = self.config
        self.__init__()  # type: ignore[misc]
        self.config = config
        profiling.active[0] = False
        calls.show_calls(False)

    def _write_meanwhile(self, ended: threading.Event) -> None:
        while not ended.wait(self.config.dump_period):
            try:
                self.write()
            except OSError as error:
                warnings.warn(
                    f"profiler: continuous_dump ends, as the file cannot be written: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
                return

    # -- what there is

    def collect(self) -> None:
        """Put down what threads have recorded until now."""
        with self._lock:
            number = _native.profile.session()
            if self._collecting or number == self._forgotten:
                return  # a signal's handler, in the middle of it, sees what there was before
            try:
                self._collecting = True
                self._put_down(number)
            finally:
                self._collecting = False

    def _put_down(self, number: int) -> None:
        titles = {thread.native_id: thread.name for thread in threading.enumerate()}
        for taken in _native.profile.take():
            thread, system_id, title, names, first, content, left_out = taken
            before = self._parts.get((number, thread))
            have = 0 if before is None else len(before.events)
            events = np.frombuffer(content, EVENT)[max(have - first, 0) :]
            if before is not None:
                events = np.concatenate([before.events, events])
                title = title or before.title
            title = title or titles.get(system_id, "")
            self._parts[number, thread] = ThreadSpans(
                thread, system_id, title, names, events, left_out
            )
            _native.profile.forget(thread, len(events))

    def threads(self) -> list[ThreadSpans]:
        self.collect()
        found: dict[int, ThreadSpans] = {}
        with self._lock:
            parts = [self._parts[key] for key in sorted(self._parts)]
        for part in map(with_names_of_operators, parts):
            before = found.get(part.number)
            found[part.number] = part if before is None else before.followed_by(part)
        return [
            thread if thread.title else replace(thread, title=f"thread {thread.number}")
            for _, thread in sorted(found.items())
        ]

    def marks(self) -> list[Mark]:
        return [*self._marks]

    def rows_of_marks(self) -> dict[str, dict[str, Row]]:
        """What spans of the program's own took, by kind and name."""
        found: dict[str, dict[str, Row]] = {}
        for mark in self.marks():
            if mark.kind in ("marker", "counter") or mark.end <= self.since:
                continue
            lasted = mark.end - mark.begin
            add_row(found.setdefault(mark.kind, {}), mark.name, Row(1, lasted, lasted, lasted))
        return found

    def write(self, finished: bool = False) -> int:
        """Write the file. How many spans are not in it, as there were too many."""
        threads = self.threads()
        config = self.config
        write_trace(config.filename, threads, self.marks(), self.begin, config.shows_memory)
        self._finished = finished
        return sum(thread.left_out for thread in threads)

    def forget(self) -> None:
        with self._lock:
            self._parts.clear()
            self._marks.clear()
            self._forgotten = _native.profile.session()
        self.begin = self.since = 0
        self._finished = False


session = Session()


def _at_exit() -> None:
    """A program that ends in the middle of its profile gets its file."""
    if not session.running:
        return
    session.stop()
    try:
        session.write()
    except (OSError, TigonError) as error:
        print(f"tigon: the profile is lost: {error}", file=sys.stderr)


atexit.register(_at_exit)
os.register_at_fork(after_in_child=session.begin_in_child)
