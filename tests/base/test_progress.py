"""Bars are drawn on terminals, of loops that take a while, and nowhere else."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tigon.base import progress as bars
from tigon.base.progress import Progress, progress

ROOT = Path(__file__).resolve().parents[2]

LOOP = """
import sys, time
{absent}
from tigon.base import progress as bars
bars.SECONDS = {delay}
for number in bars.progress(range(12), "counting", "numbers"):
    time.sleep(0.02)
with bars.Progress(3, "saying", "words") as bar:
    for word in "abc":
        time.sleep(0.12)
        bar.step()
        bar.say(word)
"""
WITHOUT_TQDM = "sys.modules['tqdm'] = None"


def on_a_terminal(program: str) -> tuple[str, str]:
    """What a program writes to its output, and to a terminal that is its standard error."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=other, cwd=ROOT
    )
    os.close(other)
    seen = b""
    while True:
        try:
            more = os.read(own, 4096)
        except OSError:  # nobody has the other end any more
            break
        if not more:
            break
        seen += more
    os.close(own)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    process.stdout.close()
    assert process.wait() == 0, seen.decode()
    return said, seen.decode()


def last_line(seen: str) -> str:
    """What is left on the line when all is written."""
    line: list[str] = []
    place = 0
    for character in seen.replace("\x1b[A", ""):
        if character == "\r":
            place = 0
        elif character == "\n":
            line, place = [], 0
        else:
            line[place : place + 1] = [character]
            place += 1
    return "".join(line).strip()


def test_a_terminal_shows_a_bar_that_goes_when_the_loop_is_over() -> None:
    said, seen = on_a_terminal(LOOP.format(absent=WITHOUT_TQDM, delay=0.05))
    assert "\rcounting: " in seen and "/12 numbers" in seen and "\rsaying: 3/3 words" in seen
    assert said.split() == ["a", "b", "c"] and last_line(seen) == ""


def test_tqdm_draws_where_it_is_installed() -> None:
    pytest.importorskip("tqdm")
    said, seen = on_a_terminal(LOOP.format(absent="", delay=0.05))
    assert "counting: " in seen and "/12" in seen and said.split() == ["a", "b", "c"]
    assert "saying: " in seen and last_line(seen) == ""


def test_short_loops_and_files_show_nothing() -> None:
    program = LOOP.format(absent=WITHOUT_TQDM, delay=60)
    assert on_a_terminal(program)[1] == ""
    done = subprocess.run(
        [sys.executable, "-c", LOOP.format(absent=WITHOUT_TQDM, delay=0)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr, done.returncode) == (["a", "b", "c"], "", 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setitem(sys.modules, "tqdm", None)  # type: ignore[arg-type]
    monkeypatch.setattr(bars, "SECONDS", 0.0)
    monkeypatch.setattr(bars, "_BETWEEN", 0.0)
    return found


def test_a_loop_that_is_left_clears_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    for number in progress(range(5), "going", "steps"):
        if number == 3:
            break
    assert "\rgoing: 3/5 steps" in screen.getvalue() and last_line(screen.getvalue()) == ""
    with pytest.raises(KeyError), Progress(None, "failing") as bar:
        bar.step(2)
        raise KeyError
    assert "\rfailing: 2 steps" in screen.getvalue() and last_line(screen.getvalue()) == ""


def test_items_are_passed_on_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)

    class Item:
        alive = 0

        def __init__(self) -> None:
            Item.alive += 1

        def __del__(self) -> None:
            Item.alive -= 1

    items = (Item() for _ in range(3))
    count = 0
    for item in progress(items, "items"):
        count += 1
        assert Item.alive == 1
        del item
    assert count == 3 and Item.alive == 0 and "\ritems: 2 batches" in screen.getvalue()


@pytest.mark.parametrize("gone", [None, "closed"])
def test_without_standard_error(monkeypatch: pytest.MonkeyPatch, gone: Any) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None if gone is None else closed)
    assert list(progress([1, 2], "counting")) == [1, 2]
    with Progress(2, "counting") as bar:
        bar.step()


class Uncounted:
    """What a loop goes over, of a length that nobody knows."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __len__(self) -> int:
        raise self.error

    def __iter__(self) -> Any:
        return iter("abc")


@pytest.mark.parametrize("error", [TypeError, NotImplementedError, RuntimeError])
def test_what_has_no_length_is_counted(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    screen = terminal(monkeypatch)
    assert list(progress(Uncounted(error), "going", "steps")) == ["a", "b", "c"]
    assert "\rgoing: 3 steps" in screen.getvalue()


# ---------------------------------------------------------------------- lines of logs


def lines_of(seen: str) -> list[str]:
    """The lines of a screen."""
    rows = [""]
    place = 0
    for character in seen.replace("\x1b[A", ""):
        if character == "\r":
            place = 0
        elif character == "\n":
            rows.append("")
            place = 0
        else:
            rows[-1] = rows[-1][:place] + character + rows[-1][place + 1 :]
            place += 1
    return [row.rstrip() for row in rows]


@pytest.fixture
def told() -> Any:
    """A logger of its own, whose handlers go with it."""
    found = logging.getLogger("tests.progress")
    found.propagate = False
    found.setLevel(logging.INFO)
    yield found
    found.handlers.clear()
    found.propagate = True


def test_logs_stand_on_lines_of_their_own(
    monkeypatch: pytest.MonkeyPatch, told: logging.Logger
) -> None:
    screen = terminal(monkeypatch)
    handle = logging.Handler.handle
    with pytest.raises(KeyError), Progress(3, "outer") as outer:
        outer.step()
        told.addHandler(logging.StreamHandler())  # while a bar is open
        for number in progress(range(2), "inner"):
            told.info("line %d", number)
        told.info("between")
        assert lines_of(screen.getvalue())[-1] == "outer: 1/3 steps"
        raise KeyError
    told.info("after")
    assert lines_of(screen.getvalue()) == ["line 0", "line 1", "between", "after", ""]
    assert logging.Handler.handle is handle


def test_logs_elsewhere_leave_bars_alone(
    monkeypatch: pytest.MonkeyPatch, told: logging.Logger
) -> None:
    screen = terminal(monkeypatch)
    file = io.StringIO()
    for handler in (logging.StreamHandler(file), logging.NullHandler()):
        told.addHandler(handler)
    with Progress(3, "going") as bar:
        bar.step()
        drawn = screen.getvalue()
        told.info("a line")
        assert screen.getvalue() == drawn and file.getvalue() == "a line\n"


def test_a_bar_that_was_not_drawn_yet_is_not_drawn_by_logs(
    monkeypatch: pytest.MonkeyPatch, told: logging.Logger
) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setattr(bars, "SECONDS", 60.0)
    told.addHandler(logging.StreamHandler(screen))
    with Progress(3, "going") as bar:
        bar.step()
        told.info("a line")
    assert screen.getvalue() == "a line\n"


def test_functions_that_others_put_there_stay(
    monkeypatch: pytest.MonkeyPatch, told: logging.Logger
) -> None:
    screen = terminal(monkeypatch)
    own = logging.StreamHandler(screen)
    told.addHandler(own)
    handle = logging.Handler.handle
    seen: list[str] = []

    def a_bar() -> None:
        with Progress(3, "going") as bar:
            bar.step()
            told.info("during")

    with Progress(3, "first"):
        ours = logging.Handler.handle

        def theirs(handler: Any, record: Any) -> Any:
            if handler is own:
                seen.append(record.getMessage())
            return ours(handler, record)

        monkeypatch.setattr(logging.Handler, "handle", theirs)
    a_bar()
    a_bar()
    told.info("after")
    assert logging.Handler.handle is theirs and seen == ["during", "during", "after"]
    monkeypatch.setattr(logging.Handler, "handle", handle)
    with Progress(3, "last"):
        assert logging.Handler.handle is not handle
        monkeypatch.setattr(logging.Handler, "handle", handle)  # they take away ours, too
    a_bar()
    assert logging.Handler.handle is handle
    assert lines_of(screen.getvalue()) == ["during", "during", "after", "during", ""]


def test_threads_log_and_draw(monkeypatch: pytest.MonkeyPatch, told: logging.Logger) -> None:
    screen = terminal(monkeypatch)
    told.addHandler(logging.StreamHandler(screen))

    def run(name: str) -> None:
        for number in progress(range(200), name):
            told.info("%s %d", name, number)

    threads = [Thread(target=run, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = lines_of(screen.getvalue())
    wanted = [f"{name} {number}" for name in ("one", "two", "three") for number in range(200)]
    assert sorted(lines[:-1]) == sorted(wanted)


LOGGING = """
import logging, sys, time
{absent}
from tigon.base import progress as bars
bars.SECONDS = 0.05
logging.basicConfig(level=20)
for number in bars.progress(range(20), "counting"):
    time.sleep(0.02)
    if number % 5 == 4:
        logging.info("line %d", number)
"""


@pytest.mark.parametrize("absent", [WITHOUT_TQDM, ""])
def test_logs_on_a_terminal(absent: str) -> None:
    if not absent:
        pytest.importorskip("tqdm")
    seen = on_a_terminal(LOGGING.format(absent=absent))[1]
    assert "counting: " in seen
    assert lines_of(seen) == [f"INFO:root:line {number}" for number in (4, 9, 14, 19)] + [""]


# ---------------------------------------------------------------------------- terminals


def test_lines_are_not_longer_than_those_of_the_terminal() -> None:
    program = LOOP.format(absent=WITHOUT_TQDM, delay=0.05).replace("counting", "c" * 300)
    seen = on_a_terminal(program)[1]
    assert f"\r{'c' * 99}" in seen and max(map(len, seen.split("\r"))) == 99


@pytest.mark.parametrize("absent", [WITHOUT_TQDM, ""])
@pytest.mark.parametrize("end", ["sys.stderr = None", "sys.stderr.close()"])
def test_standard_error_that_goes_meanwhile(absent: str, end: str) -> None:
    if not absent:
        pytest.importorskip("tqdm")
    program = f"""
import sys, time
{absent}
from tigon.base import progress as bars
bars.SECONDS = 0
for number in bars.progress(range(12), "counting"):
    time.sleep(0.02)
    if number == 6:
        {end}
print("done")
"""
    said, seen = on_a_terminal(program)
    assert said == "done\n" and "counting: " in seen
