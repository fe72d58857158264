"""How far long loops are, on standard error where that is a terminal; elsewhere nothing is written.

tqdm draws, where it is installed (`pip install tigon[progress]`), and a line of text else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

Item = TypeVar("Item")

SECONDS = 1.0
"""Loops that are shorter than this draw nothing."""

_BETWEEN = 0.1
"""Seconds between two drawings, at least."""


def is_shown() -> bool:
    """Whether anybody sees a bar: standard error is there, and is a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def drawn(
    total: int | None,
    unit: str,
    leave: bool,
    text: Callable[[int], str] | None = None,
    **options: Any,
) -> Any:
    """A bar with `n`, `update` and `close`: tqdm's, or one of `text`, of how much is done."""
    try:
        from tqdm import tqdm
    except ImportError:
        what = options.get("desc", "")
        of = "" if total is None else f"/{total}"
        return _Plain(
            text or (lambda done: f"{what}: {done}{of} {unit}"), leave, options.get("delay", 0.0)
        )
    return tqdm(total=total, unit=unit, leave=leave, **options)


class _Plain:
    """A bar that is written over itself."""

    def __init__(self, text: Callable[[int], str], leave: bool, delay: float) -> None:
        self._text, self._leave, self.n = text, leave, 0
        self._next = time.monotonic() + delay
        self._width = 0

    def update(self, more: int) -> None:
        self.n += more
        if time.monotonic() >= self._next:
            self._draw(self._text(self.n))
            self._next = time.monotonic() + (0 if self._leave else _BETWEEN)

    def _draw(self, line: str) -> None:
        sys.stderr.write(f"\r{line}{' ' * (self._width - len(line))}")
        sys.stderr.flush()
        self._width = len(line)

    def clear(self) -> None:
        """Leave the line empty."""
        if self._width:
            self._draw("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def close(self) -> None:
        if self._leave:
            sys.stderr.write("\n")
        else:
            self.clear()


class Progress:
    """A bar of `total` steps (None: nobody knows how many), called `what`, that goes when it is
    closed. It is drawn where somebody sees it, and after a second.

    >>> with Progress(3, "reading", "files") as bar:
    ...     for _ in range(3):
    ...         bar.step()
    """

    def __init__(self, total: int | None, what: str, unit: str = "steps") -> None:
        self._bar: Any = None
        if is_shown():
            self._bar = drawn(total, unit, False, desc=what, delay=SECONDS)

    def step(self, more: int = 1) -> None:
        """So many steps more are done."""
        if self._bar is not None:
            self._bar.update(more)

    def say(self, text: str, file: IO[str] | None = None) -> None:
        """Print a line (to standard output, or `file`) that no bar runs into."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=file, flush=True)

    def close(self) -> None:
        """The loop is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *of: object) -> None:
        self.close()


def progress(
    items: Iterable[Item], what: str, unit: str = "batches", total: int | None = None
) -> Iterator[Item]:
    """The items, one by one, with a bar where somebody sees it. `total` is how many there are,
    `len(items)` unless given.

    >>> list(progress([1, 2], "counting"))
    [1, 2]
    """
    return _shown(items, what, unit, total) if is_shown() else iter(items)


def _shown(items: Iterable[Item], what: str, unit: str, total: int | None) -> Iterator[Item]:
    if total is None:
        try:
            total = len(items)  # type: ignore[arg-type]
        except TypeError:
            total = None
    with Progress(total, what, unit) as bar:
        for item in items:
            yield item
            del item  # or a batch would live until the next one is there
            bar.step()
