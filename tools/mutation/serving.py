"""A process of pytest that collects files of tests when they are first asked for, and runs lists of
tests in children that it forks, each with one change made (`tools/mutation/patching.py`).

`MUTATION_SERVE` is the number of a socket: requests come in, answers go out; `MUTATION_PACKAGE` is
the folder whose sources change. Importing and
collecting is most of the time that a few quick tests take; here it is done once. Nothing of the
package may be imported before `Live` watches.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tools.mutation.patching import Live

_DIGESTS = "tigon.base.digests"
_PR_SET_PDEATHSIG = 1
_BEGINS, _ENDED, _FAILED = b"b", b"e", b"f"
_LIVE = pytest.StashKey[Live]()
RECORDED = 600.0
"""Seconds of a test that is recorded, at most."""
STARTING = 30.0
"""Seconds until a child begins with its first test, and of all its tests beyond half of what each
may take."""
FRESH, PASSED, FAILED, HUNG = "fresh", "passed", "failed", "hung"


@dataclass(frozen=True)
class Request:
    """Run tests, in this order, until one fails."""

    tests: tuple[tuple[str, float], ...]
    """Each with the seconds that it may take."""
    path: str = ""
    """Which file of the package is changed, from its root; none where nothing is."""
    old: bytes = b""
    new: bytes = b""
    lines: tuple[int, int] = (0, 0)
    record: str = ""
    """A file of tests to run as a whole, noting what each executes."""
    record_to: str = ""
    """The file that this is noted in."""


@dataclass(frozen=True)
class Answer:
    outcome: str
    """`fresh`: this change needs a process of its own; `hung`: a test did not end in its time."""
    test: str = ""
    """Which one failed or hung, or after which the process ended."""


class ServePlugin:
    def __init__(self, number: int, live: Live) -> None:
        self._connection = Connection(number)
        self._live = live
        self._items: dict[str, pytest.Item] = {}
        self._files: set[str] = set()
        self._failed = False
        self._child = 0
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: object) -> None:
        if self._child:
            _kill(self._child)
        os._exit(1)

    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        while True:
            try:
                request = self._connection.recv()
            except EOFError:
                return True
            self._connection.send(self._answer(session, request))

    def _answer(self, session: pytest.Session, request: Request) -> Answer:
        if request.record:
            self._collect(session, [request.record])
            items = [item for item in self._items.values() if _file(item) == request.record]
            if not items:
                return Answer(PASSED)
            return self._fork([(item, RECORDED) for item in items], (), request.record_to)
        self._collect(session, [name.split("::")[0] for name, _ in request.tests])
        patch: Sequence[Any] | None = ()
        if request.path:
            path = os.path.join(os.getcwd(), request.path)
            patch = self._live.patch(path, request.old, request.new, request.lines)
            if patch is None:
                return Answer(FRESH)
            put(Path(path), request.new)  # for modules and processes that are started from now on
        tests = [(self._items[name], s) for name, s in request.tests if name in self._items]
        return self._fork(tests, patch)

    def _collect(self, session: pytest.Session, files: Sequence[str]) -> None:
        new = [file for file in dict.fromkeys(files) if file not in self._files]
        if not new:
            return
        self._files.update(new)
        sys.dont_write_bytecode = False  # nothing is changed yet: the next server has it compiled
        try:
            with self._live.watching():
                for file in new:
                    for item in session.perform_collect([file]):
                        self._items[item.nodeid] = item
        finally:
            sys.dont_write_bytecode = True
        self._live.look()

    def _fork(
        self, tests: Sequence[tuple[pytest.Item, float]], patch: Sequence[Any], record: str = ""
    ) -> Answer:
        begun, write = os.pipe()
        self._child = os.fork()
        if not self._child:
            os.setsid()
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                os.close(begun)
                items = [item for item, _ in tests]
                os.write(write, self._run(items, patch, write, record))
            finally:
                os._exit(0)
        os.close(write)
        try:
            return self._watched(tests, begun)
        finally:
            os.close(begun)
            _kill(self._child)
            self._child = 0

    def _watched(self, tests: Sequence[tuple[pytest.Item, float]], begun: int) -> Answer:
        """The child says when a test begins and how all have ended, by a byte; none is a crash."""
        count, name, seconds = 0, "", STARTING
        end = time.monotonic() + STARTING + sum(seconds for _, seconds in tests) / 2
        while True:
            left = max(min(seconds, end - time.monotonic()), 0)
            ready, _, _ = select.select([begun], [], [], left)
            if not ready:
                return Answer(HUNG, name)
            said = os.read(begun, 1)
            if said != _BEGINS:
                return Answer(PASSED if said == _ENDED else FAILED, name)
            name, seconds = tests[count][0].nodeid, tests[count][1]
            count += 1

    def _run(
        self, items: Sequence[pytest.Item], patch: Sequence[Any], begun: int, record: str
    ) -> bytes:
        for function, code in patch:
            function.__code__ = code
        if digests := sys.modules.get(_DIGESTS):  # of files, one of which has changed
            digests.digest_of.cache_clear()
            digests._of_part.cache_clear()
        if record:
            from tools.mutation.plugin import RecordPlugin  # imports the package

            recorder = RecordPlugin(record)
            items[0].config.pluginmanager.register(recorder)
        for item, following in zip(items, [*items[1:], None], strict=False):
            os.write(begun, _BEGINS)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self._failed and not record:
                return _FAILED
        if record:
            recorder.pytest_sessionfinish()
        return _ENDED


def _kill(group: int) -> None:
    """A child and all that its tests have started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(group, 0)
    except ChildProcessError:
        pass


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


def put(file: Path, content: bytes) -> None:
    """Write a source; what was compiled of it before goes."""
    from tigon.base.files import write_file  # imported late: see above

    for cached in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        cached.unlink()
    write_file(file, content, durable=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, Any]:
    live = Live(os.environ["MUTATION_PACKAGE"])
    early_config.stash[_LIVE] = live
    with live.watching():
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import settings

    # What one change fails at is no example for the next.
    settings.register_profile("mutation", database=None)
    settings.load_profile("mutation")
    number = int(os.environ["MUTATION_SERVE"])
    config.pluginmanager.register(ServePlugin(number, config.stash[_LIVE]))
