"""The one profile of a process: what it records, whether it does, and what it has so far."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import Any

from tigon import _native
from tigon.base import TigonError, check
from tigon.base.frozen import Frozen, replace
from tigon.base.locks import plain_lock
from tigon.profiler import calls
from tigon.profiler.profile import Mark, Row, ThreadSpans, added, from_native
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


class Session:
    """Guarded by its lock, as threads and the end of the process use it."""

    def __init__(self) -> None:
        self.config = Config()
        self.running = False
        self.paused = False
        self.process = os.getpid()
        self.since = 0
        """What ended before is left out of tables."""
        self.begin = 0
        self._threads: dict[int, ThreadSpans] = {}
        self._marks: list[Mark] = []
        self._lock = plain_lock()
        self._ended = threading.Event()

    # -- recording

    def configure(self, changes: dict[str, Any]) -> None:
        check(
            not self.running,
            "profiler.set_config",
            "the profile is being taken; call profiler.set_state('stop') first",
        )
        self.config = replace(self.config, **changes)

    def start(self) -> None:
        self._forget_parent()
        if self.running:
            return
        if not self.begin:
            self.begin = _native.profile.now()
        self.running, self.paused = True, False
        kinds = self.config.kinds
        _native.profile.start(sum(1 << kind for kind in kinds))
        profiling.active[0] = True
        if SpanKind.PYTHON in kinds:
            calls.show_calls(True)
        if self.config.continuous_dump:
            self._ended = threading.Event()
            arguments = (self._ended,)
            threading.Thread(target=self._write_meanwhile, args=arguments, daemon=True).start()

    def stop(self) -> None:
        self._forget_parent()
        if not self.running:
            return
        self._ended.set()
        calls.show_calls(False)
        _native.profile.stop()
        profiling.active[0] = False
        self.running = self.paused = False
        self.collect()

    def pause(self) -> None:
        self._check_running("pause")
        _native.profile.pause()
        self.paused = True

    def resume(self) -> None:
        self._check_running("resume")
        _native.profile.resume()
        self.paused = False

    @property
    def records(self) -> bool:
        return self.running and not self.paused and self.process == os.getpid()

    def add(self, mark: Mark) -> None:
        with self._lock:
            self._marks.append(mark)

    def _check_running(self, what: str) -> None:
        self._forget_parent()
        check(
            self.running,
            f"profiler.{what}",
            "no profile is being taken; call profiler.set_state('run') first",
        )

    def _forget_parent(self) -> None:
        """A forked child has nothing of its parent's profile, and takes none until it is told."""
        if self.process == os.getpid():
            return
        config = self.config
        self.__init__()  # type: ignore[misc]
        self.config = config
        profiling.active[0] = False

    def _write_meanwhile(self, ended: threading.Event) -> None:
        while not ended.wait(self.config.dump_period):
            self.write()

    # -- what there is

    def collect(self) -> None:
        """Take over what threads have recorded until now."""
        with self._lock:
            for found in from_native(_native.profile.take(True)):
                before = self._threads.get(found.number)
                self._threads[found.number] = found if before is None else before.followed_by(found)

    def threads(self) -> list[ThreadSpans]:
        self._forget_parent()
        self.collect()
        with self._lock:
            return sorted(self._threads.values(), key=lambda thread: thread.number)

    def marks(self) -> list[Mark]:
        with self._lock:
            return [*self._marks]

    def rows_of_marks(self) -> dict[str, dict[str, Row]]:
        """What spans of the program's own took, by kind and name."""
        found: dict[str, dict[str, Row]] = {}
        for mark in self.marks():
            if mark.kind in ("marker", "counter") or mark.end <= self.since:
                continue
            lasted = mark.end - mark.begin
            row = Row(1, lasted, lasted, lasted)
            rows = found.setdefault(mark.kind, {})
            before = rows.get(mark.name)
            rows[mark.name] = row if before is None else added(before, row)
        return found

    def write(self) -> int:
        """Write the file. How many spans are not in it, as there were too many."""
        threads = self.threads()
        config = self.config
        write_trace(config.filename, threads, self.marks(), self.begin, config.shows_memory)
        return sum(thread.left_out for thread in threads)

    def forget(self) -> None:
        with self._lock:
            self._threads.clear()
            self._marks.clear()
        self.begin = self.since = 0


session = Session()


def _at_exit() -> None:
    """A program that ends in the middle of its profile gets its file."""
    if session.process != os.getpid() or not session.running:
        return
    session.stop()
    try:
        session.write()
    except (OSError, TigonError) as error:
        print(f"tigon: the profile is lost: {error}", file=sys.stderr)


atexit.register(_at_exit)
