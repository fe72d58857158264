"""Which trace this thread is in, and under which modes its code runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tigon._native import set_recording, set_training
from tigon.gluon.trace import watch
from tigon.runtime import keys
from tigon.runtime import tracing as hooks

_local = threading.local()


@contextmanager
def modes(recording: bool, training: bool) -> Iterator[None]:
    """Record and train, or not, for the length of a `with`."""
    before = (set_recording(recording), set_training(training))
    try:
        yield
    finally:
        set_recording(before[0])
        set_training(before[1])


def current() -> Any:
    """The trace that this thread is in, if any."""
    return getattr(_local, "trace", None)


def active() -> bool:
    """Whether this thread's code runs on symbols."""
    trace = getattr(_local, "trace", None)
    return trace is not None and not trace.eager


@contextmanager
def paused() -> Iterator[None]:
    """Concrete work in the middle of a trace, such as initializing a parameter."""
    if current() is None:
        yield
        return
    with entered(None), watch.unwatched():
        yield


@contextmanager
def entered(trace: Any) -> Iterator[None]:
    """This thread's code is in a trace, or in none, for the length of a `with`."""
    previous = current()
    before, scopes = hooks.installed(), hooks.set_mode_scopes(0)
    _local.trace = trace
    install(trace)
    try:
        yield
    finally:
        _local.trace = previous
        hooks.set_mode_scopes(scopes)
        if previous is not None and previous.eager:
            install(previous)
        else:
            hooks.install(before)


def install(trace: Any) -> None:
    """Let the front ends know of it."""
    if trace is None:
        hooks.install(hooks.Hooks())
    elif trace.eager:
        hooks.install(hooks.Hooks(eager=trace))
    else:
        giver = trace if trace.typed else None
        hooks.install(hooks.Hooks(trace.array, trace.adapt, trace.value, giver, None))


def reserve_random_key() -> tuple[int, int]:
    """A part of the random stream, for use later. Of one seed it is the same on all ranks, so that
    networks begin alike."""
    _, counter = keys.reserve(1024)
    return keys.seed_of_all(), counter


@contextmanager
def random_key(key: tuple[int, int]) -> Iterator[None]:
    """Draw from a reserved part of the stream."""
    with keys.scope(*key):
        yield
