"""The tool that changes the package: what it changes, which tests it asks, what it says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from tools.mutation import __main__ as tool
from tools.mutation.executed import RecordedTest, Records, chosen, moved_lines, translate
from tools.mutation.mutants import Mutant, differs, in_words, mutants
from tools.mutation.patching import changed as changed_code
from tools.mutation.patching import same
from tools.mutation.plugin import Recorder, mask

ROOT = Path(__file__).resolve().parents[2]


def changed(text: str) -> dict[str, list[str]]:
    """Per kind the programs that are made of one."""
    source = textwrap.dedent(text).encode()
    found: dict[str, list[str]] = {}
    for mutant in mutants("tigon/toy.py", source):
        if differs(mutant, source):
            found.setdefault(mutant.kind, []).append(mutant.applied(source).decode().strip())
    return found


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("x = a < b", "comparison", ["x = a <= b", "x = a >= b"]),
        ("x = a is not b", "comparison", ["x = a is b"]),
        ("x = a in b", "comparison", ["x = a not in b"]),
        ("x = a and b", "boolean operator", ["x = a or b"]),
        ("x = a and b", "dropped clause", ["x = (b)", "x = (a)"]),
        ("x = a - b", "arithmetic", ["x = a + b"]),
        ("x = a * b", "arithmetic", ["x = a / b", "x = a + b"]),
        ("x = -a", "dropped sign", ["x = (a)"]),
        ("x = 3", "constant", ["x = 4", "x = 2"]),
        ("x = 0.5", "constant", ["x = (0.5 * 2)"]),
        ("x = True", "constant", ["x = False"]),
        ("x = 'word'", "constant", ["x = 'word_'"]),
        ("x = f(a, b)", "swapped arguments", ["x = f(b, a)"]),
        ("x = f(a, b=c)", "dropped keyword", ["x = f(a)"]),
        ("x = f(b=c, d=e)", "dropped keyword", ["x = f( d=e)", "x = f(b=c)"]),
        ("x = min(a)", "other function", ["x = max(a)"]),
        ("x = a if b else c", "condition", ["x = a if (not (b)) else c"]),
        ("x = {a for a in b if c}", "condition",
         ["x = {a for a in b if True}", "x = {a for a in b if (not (c))}"]),
        ("def f(a=1): a", "default", ["def f(a=2): a", "def f(a=0): a"]),
        ("def f():\n    g()", "dropped statement", ["def f():\n    pass"]),
        ("def f():\n    a.b = c", "dropped statement", ["def f():\n    pass"]),
        ("check(a, 'f', 'no')", "condition", ["check((not (a)), 'f', 'no')"]),
        ("for a in b:\n    break", "other jump", ["for a in b:\n    continue"]),
    ],
)  # fmt: skip
def test_what_is_changed(text: str, kind: str, expected: list[str]) -> None:
    assert changed(text)[kind] == expected


@pytest.mark.parametrize(
    "text",
    [
        '"""Of 3 things."""',
        "def f(a: int) -> 'int':\n    return a",
        "def __repr__(self):\n    return 1 + 2",
        "assert a == 1",
        "x = f'{a + 1}'",
        "x: int",
        "from a import b",
        "__all__ = ['a']",
        "x = 'several words'",
        "x = zip(strict=True)",
    ],
)
def test_what_nobody_runs_is_left_alone(text: str) -> None:
    assert changed(text) == {}


def test_words_of_messages_are_left_alone() -> None:
    found = changed("def f():\n    check(a == 1, 'f', 'word')\n    raise TigonError('word')\n")
    assert "word_" not in str(found)
    assert sorted(found) == ["comparison", "constant", "dropped statement"]


def test_what_runs_at_import_belongs_to_all_that_use_the_module() -> None:
    source = b"A = {1: lambda x: x + 1}\n\n\ndef f():\n    return 2\n"
    executed = {source[m.begin : m.end]: m.executed for m in mutants("tigon/toy.py", source)}
    assert executed[b"2"] == ((5, 5), (5, 5))
    whole = ((1, 1 << 30),)
    assert next(m.executed for m in mutants("tigon/toy.py", source) if m.begin < 8) == whole


def test_differences_say_where() -> None:
    source = b"x = 1\ny = a < b\n"
    (first, *_) = (m for m in mutants("tigon/toy.py", source) if m.kind == "comparison")
    assert list(in_words(first, source)) == [
        "@@ tigon/toy.py:2 @@ comparison", "-y = a < b", "+y = a <= b"
    ]  # fmt: skip


def test_lines_that_a_call_executes() -> None:
    recorder = Recorder()
    for _ in range(2):
        recorder.start()
        tool.part_of("x")  # not of the package
        from tigon.base.errors import check

        check(True, "f", "holds")
        lines = recorder.stop()
        assert list(lines) == ["tigon/base/errors.py"]
        (line,) = lines["tigon/base/errors.py"] - {check.__code__.co_firstlineno}
        assert (
            "if not condition" in (ROOT / "tigon/base/errors.py").read_text().split("\n")[line - 1]
        )


def test_lines_move_with_the_sources() -> None:
    moved = moved_lines(b"a\nb\nc\n", b"new\na\nchanged\nc\n")
    assert translate(mask({1, 2, 3}), moved) == mask({2, 4})


def test_which_tests_are_asked() -> None:
    about = RecordedTest(
        "a.py::about", 1.0, {"tigon/toy.py": mask({1, 2, 5}), "tigon/other.py": mask({1})}
    )
    slow = RecordedTest("a.py::slow", 9.0, {"tigon/toy.py": mask({1, 2, 5})})
    broad = RecordedTest(
        "b.py::broad", 1.0, {"tigon/toy.py": mask({2}), "tigon/other.py": mask({1, 2, 3})}
    )
    assert about.executes("tigon/toy.py", (3, 5)) and not broad.executes("tigon/toy.py", (3, 5))
    assert broad.executes("tigon/toy.py", (1, 1 << 30))
    assert not about.executes("tigon/none.py", (1, 1 << 30))
    assert chosen([broad, slow, about], "tigon/toy.py", 100) == [about, broad, slow]
    assert chosen([broad, slow, about], "tigon/toy.py", 3) == [about, broad]
    assert about.file == "a.py"


def test_few_files_come_first() -> None:
    tests = [RecordedTest(f"{n % 5}.py::t{n}", 1.0, {}) for n in range(30)]
    first, others = tool._batches(tests)
    assert {test.file for test in first} == {"0.py", "1.py", "2.py"} and len(first) == 8
    assert sorted(t.name for t in (*first, *others)) == sorted(t.name for t in tests)
    assert list(tool._batches(tests[:1])) == [tests[:1]]


def test_records_of_changed_tests_are_missing(tmp_path: Path) -> None:
    for name in ("tigon", "tests"):
        (tmp_path / name).mkdir()
    source, test_file = tmp_path / "tigon" / "toy.py", tmp_path / "tests" / "test_toy.py"
    source.write_text("a\nb\n")
    test_file.write_text("1")
    records, names = Records(tmp_path / "records"), ["tests/test_toy.py"]
    assert records.missing(tmp_path, names) == names
    records.add(tmp_path, names[0], {"tests/test_toy.py::t": (1.0, {"tigon/toy.py": mask({2})})})
    assert records.missing(tmp_path, names) == []
    source.write_text("new\na\nb\n")
    (test,) = Records(tmp_path / "records").tests(tmp_path, names)
    assert test.lines == {"tigon/toy.py": mask({3})}
    test_file.write_text("2")
    assert records.missing(tmp_path, names) == names


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("tigon/metric.py", "metric"),
        ("tigon/gluon/nn/basic.py", "gluon/nn"),
        ("tigon/gluon/loss.py", "gluon"),
        ("tigon/ops/nn/loss.py", "ops"),
    ],
)
def test_parts(path: str, part: str) -> None:
    assert tool.part_of(path) == part
    assert tool._within(path, [part]) and tool._within(path, []) and not tool._within(path, ["met"])


def code(text: str) -> CodeType:
    return compile(textwrap.dedent(text), "toy.py", "exec")


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("def f():\n    return 1", "def f():\n    return 2", ["<module>", "f"]),
        ("def f():\n    return 1", "def f():\n    return 1.0", ["<module>", "f"]),
        ("def f():\n    return 0.0", "def f():\n    return -0.0", ["<module>", "f"]),
        ("class A:\n    def f(): g()", "class A:\n    def f(): pass", ["<module>", "A", "f"]),
        ("def f(): return lambda: 1, lambda: 2", "def f(): return lambda: 1, lambda: 3",
         ["<module>", "f", "<lambda>"]),
        ("def f(a=1): return a", "def f(a=2): return a", ["<module>"]),
        ("class A:\n    a = 1", "class A:\n    a = 2", ["<module>", "A"]),
        ("f = lambda: 1, lambda: 2", "f = lambda: 2, lambda: 1", None),
    ],
)  # fmt: skip
def test_which_code_was_changed(old: str, new: str, names: list[str] | None) -> None:
    found = changed_code(code(old), code(new))
    assert names == (found and [before.co_name for before, _ in found])
    assert same(code(old), code(f"\n\n{old}")) and not same(code(old), code(new))


TOY = """
import functools


def f(x):
    return x + 1


def default(x=1):
    return x


def once():
    return 1 + 1


VALUE = once()


@functools.cache
def kept(x):
    def inner(y):
        return x * y
    return inner
"""
TESTS = """
import os
import sys
import time

import pytest
from toys import toy


def test_sum():
    assert toy.f(1) == 2

def test_nothing():
    toy.f(1), toy.default(), toy.once()

def test_default():
    assert toy.default() == 1

def test_at_import():
    assert toy.VALUE == 2

def test_nested():
    assert toy.kept(2)(3) == 6

def test_late():
    import toys.late
    assert toys.late.g() == 4

def test_unfit():
    assert "MUTATION_SERVE" not in os.environ
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tool.Runner]:
    """One in a folder of its own, with two modules and a file of tests."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "toys").mkdir()
    (folder / "toys" / "toy.py").write_text(TOY)
    (folder / "toys" / "late.py").write_text("def g():\n    return 3 + 1\n")
    (folder / "test_toy.py").write_text(TESTS)
    made = tool.Runner.__new__(tool.Runner)
    made.root, made._running, made._server = folder, None, None
    made._cache, made.imports, made.package = folder / "cache", f"{folder}:{ROOT}", "toys"
    made._fit, made._unfit = set(), set()
    yield made
    made.end()


NOTICED, LIVES, HANGS = (False, True), (True, True), (False, False)


@pytest.mark.parametrize(
    ("tests", "old", "new", "outcome", "forked"),
    [
        ("sum", "x + 1", "x - 1", NOTICED, True),
        ("nothing sum", "x + 1", "x - 1", NOTICED, True),
        ("nothing", "x + 1", "x - 1", LIVES, True),
        ("nothing", "x + 1", "__import__('time').sleep(60)", HANGS, True),
        ("sum", "x + 1", "__import__('os')._exit(0)", NOTICED, True),
        ("nested", "x * y", "x + y", NOTICED, True),
        ("late", "3 + 1", "3 - 1", NOTICED, True),
        ("unfit nothing", "x + 1", "x - 1", LIVES, True),
        ("unfit sum", "x + 1", "x - 1", NOTICED, True),
        ("default", "x=1", "x=2", NOTICED, False),
        ("at_import", "1 + 1", "1 - 1", NOTICED, False),
    ],
)
def test_a_change_is_noticed_or_lives(
    runner: tool.Runner,
    monkeypatch: pytest.MonkeyPatch,
    tests: str,
    old: str,
    new: str,
    outcome: tuple[bool, bool],
    forked: bool,
) -> None:
    monkeypatch.setattr(tool, "WAIT_FOR_ONE", 2.0 if outcome is HANGS else 60.0)
    path = "toys/toy.py" if old in TOY else "toys/late.py"
    source = (runner.root / path).read_bytes()
    at = source.index(old.encode())
    line = source.count(b"\n", 0, at) + 1
    mutant = Mutant(path, "toy", at, at + len(old), new, (line, line), ((line, line),))
    chosen_tests = [RecordedTest(f"test_toy.py::test_{name}", 0.0, {}) for name in tests.split()]
    started = runner._running
    assert runner.lives(mutant, source, chosen_tests) == outcome
    assert (runner._running is started) is forked
    assert (runner.root / path).read_bytes() == source
    assert runner._running is None or runner._running.poll() is not None


def test_what_a_file_of_tests_executes_is_recorded(runner: tool.Runner, tmp_path: Path) -> None:
    records = Records(tmp_path)
    runner.record(records, "test_toy.py")
    assert records.missing(runner.root, ["test_toy.py"]) == []
    names = [test.name for test in records.tests(runner.root, ["test_toy.py"])]
    assert "test_toy.py::test_sum" in names and "test_toy.py::test_unfit" not in names


def test_help_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.mutation", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--seed" in done.stdout
