"""Random small changes of the package, each tried by the tests that execute the changed line.

make mutate SECONDS=600 SEED=3 PART=gluon JOBS=1     changes in tigon/gluon, for ten minutes
make mutate AT=tigon/metric.py:120-160               all changes of these lines

Changes are made in copies of the tree, under build/mutation. What no test notices is printed with
its difference, and a summary per part at the end. Which test executes which lines is recorded
first, once per file of tests (`tools/mutation/executed.py`): about as long as the tests take. Tests
run in children of a process that has collected them (`tools/mutation/serving.py`), or, where the
change is of what runs at import, in a process of their own. A change whose tests do not end counts
as noticed, and so does one that crashes.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import itertools
import os
import pickle
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from tigon.base.files import write_file
from tigon.base.progress import Progress
from tools.mutation.executed import RecordedTest, Records, chosen
from tools.mutation.mutants import Mutant, differs, in_words, mutants
from tools.mutation.serving import FRESH, HUNG, PASSED, Answer, Request, put

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "mutation"
COPIED = ("tigon", "tests", "tools", "benchmarks", "docs", "examples", "csrc")
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile")
SHARED_CODE = ("tigon/backends/", "tigon/program/stored.py", "tigon/base/files.py")
"""Where a change could leave wrong machine code in the cache."""
FIRST, FILES_FIRST = 8.0, 3
"""Seconds of the tests that are run before all others, and of how many files."""
QUICK = 0.2
"""Seconds of a test that reads signatures, at most."""
SIGNATURES = "tests/golden/test_signatures.py"
"""What knows the defaults of all that users call, and is asked first where one changes."""
WAIT, WAIT_FOR_ONE = 30.0, 10.0
"""Seconds beyond a multiple of what tests took: of all tests of a process, of one in a child."""
_MEMORY = 12 << 30
_PR_SET_PDEATHSIG = 1


class Runner:
    """One copy of the tree, in which tests are run, one process at a time."""

    def __init__(self) -> None:
        number, self._lock = _free_place()
        self.root = HOME / f"tree-{number}"
        self._running: subprocess.Popen[bytes] | None = None
        self._server: Server | None = None
        self._fit: set[str] = set()
        self._unfit: set[str] = set()
        """Tests that pass, and that fail, in a child of the server without any change."""
        self._cache = HOME / "cache"
        self.imports = str(self.root)
        """Where Python finds packages."""
        self.package = "tigon"
        for name in COPIED:
            _same(ROOT / name, self.root / name)
        for name in FILES:
            if (ROOT / name).exists():
                write_file(self.root / name, (ROOT / name).read_bytes(), durable=False)
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(self.root / "tigon")], check=True
        )

    def _start(
        self,
        plugin: str,
        arguments: Sequence[str],
        folder: str,
        environment: dict[str, str],
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        full = {
            **os.environ,
            "PYTHONPATH": self.imports,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TIGON_CACHE": str(self._cache),
            "MUTATION_PACKAGE": f"{self.root / self.package}{os.sep}",
            "HYPOTHESIS_STORAGE_DIRECTORY": folder,
            **environment,
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", f"tools.mutation.{plugin}"]
        command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler"]
        return subprocess.Popen(
            [*command, "--hypothesis-seed=0", f"--basetemp={folder}/tests", *arguments],
            cwd=self.root,
            env=full,
            pass_fds=pass_fds,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_bounded,
        )

    def pytest(
        self, arguments: Sequence[str], seconds: float, fresh: bool = False, **environment: str
    ) -> int | None:
        """The exit status; None if it did not end in time."""
        with tempfile.TemporaryDirectory() as folder:
            if fresh:
                environment["TIGON_CACHE"] = folder
            self._running = self._start("plugin", arguments, folder, environment)
            try:
                if _stopped.is_set():
                    return None
                return self._running.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _kill(self._running)

    def end(self) -> None:
        """Nothing that a test has started is left behind."""
        if self._running is not None:
            _kill(self._running)
        if self._server is not None:
            self._server.end()

    def lives(
        self, mutant: Mutant, source: bytes, tests: Sequence[RecordedTest]
    ) -> tuple[bool, bool]:
        """Whether the tests pass on the changed sources; whether they ended."""
        file = self.root / mutant.path
        try:
            forked = self._forked(mutant, source, tests)
            if forked is not None:
                return forked
            put(file, mutant.applied(source))
            for batch in _batches(tests):
                status = self._run(batch, mutant.path.startswith(SHARED_CODE))
                if status not in (0, 5):  # 5: none of these tests is there any more
                    return False, status is not None
            return True, True
        finally:
            put(file, source)

    def _forked(
        self, mutant: Mutant, source: bytes, tests: Sequence[RecordedTest]
    ) -> tuple[bool, bool] | None:
        """The same by children of the server; None for a change that these cannot make."""
        if mutant.path.startswith(SHARED_CODE):
            return None
        new, (lines, *_) = mutant.applied(source), mutant.executed[::-1]
        for batch in _batches(tests):  # each has files that are collected when it is asked
            left = [test for test in _by_file(batch) if test.name not in self._unfit]
            while left:
                answer = self._ask(left, mutant.path, source, new, lines)
                put(self.root / mutant.path, source)
                if answer.outcome == FRESH:
                    return None
                if answer.outcome == PASSED:
                    break
                if self._passes_unchanged(left, answer.test):
                    return False, answer.outcome != HUNG
                left = [test for test in left if test.name not in self._unfit]
        return True, True

    def _passes_unchanged(self, tests: Sequence[RecordedTest], name: str) -> bool:
        """Whether a test passes in a child at all: asked when it first notices a change."""
        if name and name not in self._fit:
            (test,) = (test for test in tests if test.name == name)
            passes = self._ask([test]).outcome == PASSED
            (self._fit if passes else self._unfit).add(name)
        return name not in self._unfit

    def _ask(
        self,
        tests: Sequence[RecordedTest],
        path: str = "",
        old: bytes = b"",
        new: bytes = b"",
        lines: tuple[int, int] = (0, 0),
        record: str = "",
        record_to: str = "",
    ) -> Answer:
        if _stopped.is_set():
            return Answer(PASSED)
        timed = tuple((test.name, WAIT_FOR_ONE + 3 * test.seconds) for test in tests)
        if self._server is None:
            self._server = Server(self._start)
        try:
            return self._server.ask(Request(timed, path, old, new, lines, record, record_to))
        except (EOFError, OSError):  # it has crashed
            self._server.end()
            self._server = None
            return Answer(FRESH)

    def _run(self, tests: Sequence[RecordedTest], fresh: bool) -> int | None:
        seconds = WAIT + 5 * sum(test.seconds for test in tests)
        with tempfile.TemporaryDirectory() as folder:
            names = f"{folder}/tests.txt"
            write_file(names, "\n".join(test.name for test in tests).encode(), durable=False)
            files = list(dict.fromkeys(test.file for test in tests))
            return self.pytest(["-x", *files], seconds, fresh, MUTATION_TESTS=names)

    def record(self, records: Records, test_file: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder, "executed.pickle")
            answer = self._ask((), record=test_file, record_to=str(written))
            content = written.read_bytes() if written.exists() else b""
        if not content:
            if not _stopped.is_set():
                print(f"{test_file}: {answer}; left out", flush=True)
            return
        records.add(self.root, test_file, pickle.loads(content))


class Server:
    """The process that `tools/mutation/serving.py` describes."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            environment = {"MUTATION_SERVE": str(number)}
            self._process = start("serving", (), self._folder.name, environment, (number,))
        self._connection = Connection(ours.detach())

    def ask(self, request: Request) -> Answer:
        self._connection.send(request)
        answer: Answer = self._connection.recv()
        return answer

    def end(self) -> None:
        self._process.terminate()  # it ends its child
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        _kill(self._process)
        self._folder.cleanup()


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _free_place() -> tuple[int, IO[bytes]]:
    """The number of a tree that no other process uses, and the file that is locked as long."""
    for number in itertools.count():
        path = HOME / f"lock-{number}"
        if not path.exists():
            HOME.mkdir(parents=True, exist_ok=True)
            write_file(path, b"", durable=False)
        file = open(path, "rb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, file
        except BlockingIOError:
            file.close()
    raise AssertionError


def _batches(tests: Sequence[RecordedTest]) -> Iterator[list[RecordedTest]]:
    """Those that come first, of few files, which take time to be collected; then the others."""
    files = list(dict.fromkeys(test.file for test in tests))[:FILES_FIRST]
    first: list[RecordedTest] = []
    seconds = 0.0
    for test in tests:
        if test.file in files and seconds < FIRST:
            seconds += test.seconds
            first.append(test)
    yield first
    chosen_first = {test.name for test in first}
    if others := [test for test in tests if test.name not in chosen_first]:
        yield others


def _by_file(tests: Sequence[RecordedTest]) -> list[RecordedTest]:
    """Fixtures of a file are made once."""
    files = {test.file: place for place, test in reversed(list(enumerate(tests)))}
    return sorted(tests, key=lambda test: files[test.file])


def _bounded() -> None:
    """In the child: it ends with us, and takes no more than its memory."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


def _same(source: Path, target: Path) -> None:
    """Make one folder what the other is; what did not change keeps its time."""
    ours = {p.relative_to(source) for p in source.rglob("*") if "__pycache__" not in p.parts}
    if target.exists():
        for path in sorted(target.rglob("*"), reverse=True):
            if "__pycache__" in path.parts or path.relative_to(target) in ours:
                continue
            path.rmdir() if path.is_dir() else path.unlink()
    for name in sorted(ours):
        here, there = source / name, target / name
        if here.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        elif not there.exists() or here.read_bytes() != there.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            write_file(there, here.read_bytes(), durable=False)


def part_of(path: str) -> str:
    """`tigon/metric.py` is of metric, `tigon/gluon/nn/basic.py` of gluon/nn."""
    folders = path.removeprefix("tigon/").removesuffix(".py").split("/")
    if len(folders) == 1:
        return folders[0]
    return "/".join(folders[:-1][:2]) if folders[0] == "gluon" else folders[0]


def _within(path: str, parts: Sequence[str]) -> bool:
    name = path.removeprefix("tigon/").removesuffix(".py") + "/"
    return not parts or any(name.startswith(part.strip("/") + "/") for part in parts)


class Check:
    """The random sequence of mutants, and what has become of them."""

    def __init__(self, options: argparse.Namespace, tests: list[RecordedTest]) -> None:
        self._options = options
        self._bar = Progress(None, "trying", "changes")
        self._random = random.Random(options.seed)
        self._tests = tests
        self._lock = threading.Lock()
        files = {test.file for test in tests}
        of_signatures = {f for f in files if b"signature(" in (ROOT / f).read_bytes()}
        self._readers = [
            t
            for t in tests
            if t.file == SIGNATURES or (t.file in of_signatures and t.seconds < QUICK)
        ]
        self._sources: dict[str, bytes] = {}
        self._end = time.monotonic() + options.seconds
        self.counts: dict[str, Counter[str]] = {}
        parts = [part for part in options.part.split(",") if part]
        paths = sorted({path for test in tests for path in test.lines})
        paths = [path for path in paths if _within(path, parts)]
        place, begin, end = _place(options.at)
        if place:
            paths = [place]
        self._queue: list[Mutant] = []
        for path in paths:
            self._sources[path] = (ROOT / path).read_bytes()
            for mutant in mutants(path, self._sources[path]):
                if not place or begin <= mutant.lines[0] <= mutant.lines[1] <= end:
                    self._queue.append(mutant)
        self._random.shuffle(self._queue)
        if place:
            self._queue.sort(key=lambda mutant: -mutant.begin)  # taken from the end

    def next(self) -> tuple[Mutant, list[RecordedTest]] | None:
        """The next one that tests execute; None at the end of the time."""
        with self._lock:
            while self._queue and time.monotonic() < self._end:
                mutant = self._queue.pop()
                if not differs(mutant, self._sources[mutant.path]):
                    continue
                # Defaults are also read without a call.
                more = self._readers if mutant.kind == "default" else ()
                for ranges in mutant.executed:
                    if tests := self._asked(mutant, ranges, more):
                        return mutant, tests
            return None

    def _asked(
        self, mutant: Mutant, ranges: tuple[int, int], more: Sequence[RecordedTest]
    ) -> list[RecordedTest]:
        tests = {t.name: t for t in self._tests if t.executes(mutant.path, ranges)}
        tests.update({test.name: test for test in more})
        found = chosen(tests.values(), mutant.path, self._options.limit)
        return sorted(found, key=lambda t: t.file != SIGNATURES or mutant.kind != "default")

    def work(self, runner: Runner) -> None:
        while (found := self.next()) is not None:
            mutant, tests = found
            source = self._sources[mutant.path]
            begin = time.monotonic()
            lives, ended = runner.lives(mutant, source, tests)
            if _stopped.is_set():
                return
            with self._lock:
                counts = self.counts.setdefault(part_of(mutant.path), Counter())
                counts["tried"] += 1
                counts["lived"] += lives
                counts["hung"] += not ended
                self._bar.step()
                if lives:
                    seconds = time.monotonic() - begin
                    lived = f"  lived: {len(tests)} tests, {seconds:.0f} s\n"
                    self._bar.say("\n".join([*in_words(mutant, source), lived]))

    def summary(self) -> Iterator[str]:
        self._bar.close()
        yield f"{'part':<24}{'tried':>7}{'noticed':>9}{'lived':>7}{'hung':>6}"
        rows = [*sorted(self.counts.items()), ("all", sum(self.counts.values(), Counter()))]
        for name, counts in rows:
            tried, lived = counts["tried"], counts["lived"]
            share = f"{(tried - lived) / tried:.0%}" if tried else "-"
            yield f"{name:<24}{tried:>7}{share:>9}{lived:>7}{counts['hung']:>6}"


def _place(text: str) -> tuple[str, int, int]:
    """`file:first-last`, or `file:line`, or a file."""
    path, _, lines = text.partition(":")
    first, _, last = lines.partition("-")
    return path, int(first or 1), int(last or first or 1 << 30)


_stopped = threading.Event()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.mutation", description="See the module's text.")
    parser.add_argument("--seconds", type=float, default=600, help="for trying, after recording")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="", help="folders or modules of tigon/, by commas")
    parser.add_argument("--at", default="", help="all changes at file:first-last, in order")
    parser.add_argument("--tests", default="tests", help="files and folders of tests that count")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=60, help="seconds of tests per change")
    options = parser.parse_args(arguments)
    runners = [Runner() for _ in range(options.jobs)]

    def stop(number: int, frame: object) -> None:
        _stopped.set()
        for runner in runners:
            runner.end()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    records = Records(HOME / "executed")
    test_files = _test_files(options.tests)
    missing = records.missing(ROOT, test_files)
    if missing:
        print(f"recording what {len(missing)} files of tests execute", flush=True)

    def record(runner: Runner) -> None:
        while missing and not _stopped.is_set():
            runner.record(records, missing.pop(0))
            bar.step()

    with Progress(len(missing), "recording", "files") as bar:
        _at_once(record, runners)
    check = Check(options, records.tests(ROOT, test_files))
    _at_once(check.work, runners)
    for runner in runners:
        runner.end()
    print(*check.summary(), sep="\n")
    return 0


def _test_files(chosen: str) -> list[str]:
    places = [ROOT / place for place in chosen.replace(",", " ").split()]
    found = {
        file
        for place in places
        for file in ([place] if place.is_file() else place.rglob("test_*.py"))
    }
    return sorted(str(file.relative_to(ROOT)) for file in found)


def _at_once(work: Callable[[Runner], None], runners: Sequence[Runner]) -> None:
    with ThreadPoolExecutor(len(runners)) as pool:
        for result in [pool.submit(work, runner) for runner in runners]:
            result.result()


if __name__ == "__main__":
    sys.exit(main())
