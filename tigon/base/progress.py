"""How far long loops are, on standard error where that is a terminal; elsewhere nothing is written.

tqdm draws, where it is installed (`pip install tigon[progress]`), and a line of text else. What
`logging` writes to a terminal meanwhile stands on lines of its own."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

from tigon.base.terminal import between_bars, columns, is_terminal, lock, open_bars

Item = TypeVar("Item")

SECONDS = 1.0
"""Loops that are shorter than this draw nothing."""

_BETWEEN = 0.1
"""Seconds between two drawings, at least."""


def is_shown() -> bool:
    """Whether anybody sees a bar: standard error is there, and is a terminal."""
    return is_terminal(sys.stderr)


def drawn(
    total: int | None,
    unit: str,
    leave: bool,
    text: Callable[[int], str] | None = None,
    **options: Any,
) -> Bar:
    """A bar with `n`, `advance` and `close`: tqdm's, or one of `text`, of how much is done."""
    try:
        from tqdm import tqdm
    except ImportError:
        what = options.get("desc", "")
        of = "" if total is None else f"/{total}"
        return Bar(
            _Plain(
                text or (lambda done: f"{what}: {done}{of} {unit}"),
                leave,
                options.get("delay", 0.0),
            )
        )
    # Without a delay tqdm has drawn it at once.
    return Bar(tqdm(total=total, unit=unit, leave=leave, **options), not options.get("delay"))


class Bar:
    """A bar that is open, drawn by tqdm or as text. Lines of logs are written before it. Where it
    cannot be drawn any more, as its terminal is gone, the loop goes on without."""

    def __init__(self, drawing: Any, is_seen: bool = False) -> None:
        self._drawing = drawing
        self._start = None if is_seen else drawing.last_print_t
        self._is_open = True
        _opened(self)

    @property
    def n(self) -> int:
        """How much is done."""
        return int(self._drawing.n)

    def advance(self, more: int) -> None:
        """So much more is done."""
        self._draw(self._drawing.update, more)

    def clear(self) -> None:
        """Leave the line empty."""
        self._draw(self._drawing.clear)

    def refresh(self) -> None:
        """Draw it, now."""
        self._draw(self._drawing.refresh)

    def is_seen(self) -> bool:
        """Whether it was drawn yet."""
        return bool(self._is_open and self._drawing.last_print_t != self._start)

    def close(self) -> None:
        """It goes, or stays as it is; either way it is drawn no more."""
        self._draw(self._drawing.close)
        self._is_open = False
        _closed(self)

    def __del__(self) -> None:
        if self.__dict__.get("_is_open"):
            self.close()

    def _draw(self, function: Callable[..., Any], *arguments: Any) -> None:
        with lock:
            if self._is_open:
                try:
                    function(*arguments)
                except (OSError, ValueError):  # hung up, closed
                    self._is_open = False


class _Plain:
    """A line that is written over itself, with tqdm's methods."""

    def __init__(self, text: Callable[[int], str], leave: bool, delay: float) -> None:
        self._text, self._leave, self.n = text, leave, 0
        self._stream = sys.stderr
        self._first = time.monotonic() + delay
        self.last_print_t = 0.0
        self._width = 0
        self._told = -1

    def update(self, more: int) -> None:
        self.n += more
        if time.monotonic() >= max(self._first, self.last_print_t + _BETWEEN):
            self.refresh()

    def refresh(self) -> None:
        self._draw(self._text(self.n))
        self._told, self.last_print_t = self.n, time.monotonic()

    def _draw(self, line: str) -> None:
        line = line[: columns(self._stream) - 1]  # in the last column the cursor goes on
        self._stream.write(f"\r{line}{' ' * (self._width - len(line))}")
        self._stream.flush()
        self._width = len(line)

    def clear(self) -> None:
        if self._width:
            self._draw("")
            self._stream.write("\r")
            self._stream.flush()

    def close(self) -> None:
        if self._leave:
            if self._told != self.n:
                self.refresh()
            self._stream.write("\n")
            self._stream.flush()
        else:
            self.clear()


# ---------------------------------------------------------------------- lines of logs

_put: tuple[Any, Any] | None = None
"""While bars are open: what stands in the place of `Handler.handle`, and what stood there."""


def _opened(bar: Bar) -> None:
    global _put
    with lock:
        open_bars.add(bar)
        if _put is None:
            before = logging.Handler.handle

            def handle(handler: logging.Handler, record: logging.LogRecord) -> Any:
                with between_bars(getattr(handler, "stream", None)):
                    return before(handler, record)

            _put = handle, before
            logging.Handler.handle = handle  # type: ignore[method-assign, assignment]


def _closed(bar: Bar) -> None:
    global _put
    with lock:
        open_bars.discard(bar)
        if not open_bars and _put is not None:
            ours, before = _put
            _put = None
            if logging.Handler.handle is ours:  # or somebody's, which calls it, stands there
                logging.Handler.handle = before  # type: ignore[method-assign]


class Progress:
    """A bar of `total` steps (None: nobody knows how many), called `what`, that goes when it is
    closed. It is drawn where somebody sees it, and after a second.

    >>> with Progress(3, "reading", "files") as bar:
    ...     for _ in range(3):
    ...         bar.step()
    """

    def __init__(self, total: int | None, what: str, unit: str = "steps") -> None:
        self._bar: Bar | None = None
        if is_shown():
            self._bar = drawn(total, unit, False, desc=what, delay=SECONDS)

    def step(self, more: int = 1) -> None:
        """So many steps more are done."""
        if self._bar is not None:
            self._bar.advance(more)

    def say(self, text: str, file: IO[str] | None = None) -> None:
        """Print a line (to standard output, or `file`) that no bar runs into."""
        with between_bars(sys.stdout if file is None else file):
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
        except Exception:  # of any kind: a loop that nobody watches would not even ask
            total = None
    with Progress(total, what, unit) as bar:
        for item in items:
            yield item
            del item  # or a batch would live until the next one is there
            bar.step()
