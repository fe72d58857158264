"""What a program says of itself in its profile: spans, moments and numbers of its own."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.profiler.profile import Mark
from tigon.profiler.session import session
from tigon.profiler.trace import SCOPES


def _text(where: str, name: Any) -> str:
    check(
        isinstance(name, str),
        f"profiler.{where}",
        f"name: expected a string; given {name!r}",
    )
    return name.encode("utf-8", "backslashreplace").decode()


def _check_domain(where: str, domain: Any) -> Domain:
    check(
        isinstance(domain, Domain),
        f"profiler.{where}",
        f"domain: expected a profiler.Domain; given {type(domain).__name__}; make one with "
        "profiler.Domain(name)",
    )
    return domain


def _number(value: Any) -> float:
    """Of Python, of numpy, or an array of one element."""
    if hasattr(value, "item") and not isinstance(value, (bool, int, float)):
        value = value.asscalar() if hasattr(value, "asscalar") else value.item()
    check(
        isinstance(value, (bool, int, float, np.integer, np.floating)),
        "profiler.Counter",
        f"value: expected a number; given {type(value).__name__}",
    )
    return int(value) if isinstance(value, (bool, int, np.integer)) else float(value)


class Domain:
    """What belongs together: a name, under which viewers group spans.

    >>> domain = Domain("data")
    >>> task = domain.new_task("read")
    >>> str(task), str(domain.new_counter("files", 3))
    ('read', 'files')
    """

    def __init__(self, name: str) -> None:
        self.name = _text("Domain", name)

    def __str__(self) -> str:
        return self.name

    def new_task(self, name: str) -> Task:
        return Task(self, name)

    def new_frame(self, name: str) -> Frame:
        return Frame(self, name)

    def new_counter(self, name: str, value: float | None = None) -> Counter:
        return Counter(self, name, value)

    def new_marker(self, name: str) -> Marker:
        return Marker(self, name)


class _Spanned:
    """From `start` to `stop`, or around a `with` block. Others may begin before it has ended."""

    _kind = ""

    def __init__(self, domain: Domain | None, name: str) -> None:
        if domain is not None:
            _check_domain(type(self).__name__, domain)
        self.domain = domain
        self.name = _text(type(self).__name__, name)
        self._begun: int | None = None

    def __str__(self) -> str:
        return self.name

    def start(self) -> None:
        """Nothing is recorded where no profile is taken."""
        self._begun = _native.profile.now() if session.records else None

    def stop(self) -> None:
        begun, self._begun = self._begun, None
        if begun is None or not session.running:
            return
        session.add(
            Mark(
                self._kind,
                self.name,
                "" if self.domain is None else self.domain.name,
                begun,
                _native.profile.now(),
                threading.get_native_id(),
            )
        )

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Task(_Spanned):
    """A piece of work, of any length, on any threads.

    >>> with Task(Domain("data"), "read") as task:
    ...     str(task)
    'read'
    """

    _kind = "task of the program"

    def __init__(self, domain: Domain, name: str) -> None:
        super().__init__(domain, name)


class Frame(_Spanned):
    """One of many alike, as a picture of a film or a step of training.

    >>> str(Frame(Domain("training"), "step"))
    'step'
    """

    _kind = "frame"

    def __init__(self, domain: Domain, name: str) -> None:
        super().__init__(domain, name)


class Event(_Spanned):
    """A piece of work of one thread, without a domain.

    >>> str(Event("load"))
    'load'
    """

    _kind = "event"

    def __init__(self, name: str) -> None:
        super().__init__(None, name)


class Counter:
    """A number over time.

    >>> counter = Counter(Domain("data"), "files", 1)
    >>> counter += 2
    >>> counter.value
    3
    """

    def __init__(self, domain: Domain, name: str, value: float | None = None) -> None:
        self.domain = _check_domain("Counter", domain)
        self.name = _text("Counter", name)
        self.value: float = 0
        if value is not None:
            self.set_value(value)

    def __str__(self) -> str:
        return self.name

    def set_value(self, value: float) -> None:
        self.value = _number(value)
        if session.records:
            now = _native.profile.now()
            thread = threading.get_native_id()
            session.add(Mark("counter", self.name, self.domain.name, now, now, thread, self.value))

    def increment(self, delta: float = 1) -> None:
        self.set_value(self.value + _number(delta))

    def decrement(self, delta: float = 1) -> None:
        self.set_value(self.value - _number(delta))

    def __iadd__(self, delta: float) -> Counter:
        self.increment(delta)
        return self

    def __isub__(self, delta: float) -> Counter:
        self.decrement(delta)
        return self


class Marker:
    """A moment.

    >>> marker = Marker(Domain("training"), "best so far")
    >>> marker.mark("thread")
    >>> marker.mark("everywhere")
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: Marker.mark: scope: expected one of 'global', 'process', \
'thread', 'task', 'instant'; given 'everywhere'; choose how far viewers draw it
    """

    def __init__(self, domain: Domain, name: str) -> None:
        self.domain = _check_domain("Marker", domain)
        self.name = _text("Marker", name)

    def __str__(self) -> str:
        return self.name

    def mark(self, scope: str = "process") -> None:
        check(
            scope in SCOPES,
            "Marker.mark",
            f"scope: expected one of {', '.join(map(repr, SCOPES))}; given {scope!r}; "
            "choose how far viewers draw it",
        )
        if session.records:
            now = _native.profile.now()
            thread = threading.get_native_id()
            session.add(Mark("marker", self.name, self.domain.name, now, now, thread, scope=scope))
