"""Bars are drawn on terminals, of loops that take a while, and nowhere else."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
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
