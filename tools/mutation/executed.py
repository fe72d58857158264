"""Which test executes which lines of the package: recorded once per file of tests, kept beside the
build, and carried over to later states of the sources."""

from __future__ import annotations

import difflib
import hashlib
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tigon.base.files import write_file
from tools.mutation.plugin import mask


@dataclass(frozen=True)
class RecordedTest:
    name: str
    """As pytest calls it."""
    seconds: float
    lines: dict[str, int]
    """Per file of the package: bits of the lines that it executes."""

    @property
    def file(self) -> str:
        return self.name.split("::")[0]

    def executes(self, path: str, ranges: tuple[int, int]) -> bool:
        begin, end = ranges
        found = self.lines.get(path, 0) >> begin
        return bool(found & ((1 << (end - begin + 1)) - 1) if end < 1 << 29 else found)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


class Records:
    """A folder with one record per file of tests, and the sources that the records speak of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "sources").mkdir(parents=True, exist_ok=True)

    def _path(self, test_file: str) -> Path:
        return self._folder / f"{test_file.replace('/', '.')}.pickle"

    def missing(self, root: Path, test_files: Iterable[str]) -> list[str]:
        """Those without a record, or changed since."""
        found = []
        for name in test_files:
            path = self._path(name)
            if not path.exists() or pickle.loads(path.read_bytes())["digest"] != digest(
                (root / name).read_bytes()
            ):
                found.append(name)
        return found

    def add(
        self, root: Path, test_file: str, tests: dict[str, tuple[float, dict[str, int]]]
    ) -> None:
        sources = {}
        for path in {path for _, lines in tests.values() for path in lines}:
            content = (root / path).read_bytes()
            sources[path] = digest(content)
            kept = self._folder / "sources" / sources[path]
            if not kept.exists():
                write_file(kept, content, durable=False)
        content = (root / test_file).read_bytes()
        record = {"digest": digest(content), "sources": sources, "tests": tests}
        write_file(self._path(test_file), pickle.dumps(record), durable=False)

    def tests(self, root: Path, test_files: Iterable[str]) -> list[RecordedTest]:
        """All recorded tests, with lines as they are numbered now."""
        now: dict[str, bytes] = {}
        result = []
        for name in test_files:
            if not self._path(name).exists():
                continue
            record = pickle.loads(self._path(name).read_bytes())
            moved = {}
            for path, then in record["sources"].items():
                if path not in now:
                    file = root / path
                    now[path] = file.read_bytes() if file.exists() else b""
                if digest(now[path]) != then:
                    moved[path] = self._moved(then, now[path])
            for test, (seconds, lines) in record["tests"].items():
                if moved:
                    lines = {
                        path: translate(bits, moved[path]) if path in moved else bits
                        for path, bits in lines.items()
                    }
                result.append(RecordedTest(test, seconds, lines))
        return result

    @cache  # noqa: B019 - one object per process
    def _moved(self, then: str, now: bytes) -> tuple[tuple[int, int], ...]:
        old = (self._folder / "sources" / then).read_bytes()
        return moved_lines(old, now)


def moved_lines(old: bytes, new: bytes) -> tuple[tuple[int, int], ...]:
    """(old, new) numbers of lines that are in both."""
    matcher = difflib.SequenceMatcher(None, old.split(b"\n"), new.split(b"\n"), autojunk=False)
    return tuple(
        (block.a + offset + 1, block.b + offset + 1)
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    )


@cache
def translate(bits: int, moved: tuple[tuple[int, int], ...]) -> int:
    return mask({new for old, new in moved if bits >> old & 1})


def chosen(tests: Iterable[RecordedTest], path: str, seconds: float) -> list[RecordedTest]:
    """As many as the time allows; first those that are about this file and quick."""

    def about(test: RecordedTest) -> float:
        own = test.lines.get(path, 0).bit_count()
        every = sum(bits.bit_count() for bits in test.lines.values())
        return own / max(every, 1) / (test.seconds + 0.05)

    result, left = [], seconds
    for test in sorted(tests, key=about, reverse=True):
        if test.seconds <= left:
            left -= test.seconds
            result.append(test)
    return result
