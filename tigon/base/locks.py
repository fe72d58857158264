"""Locks that a forked child can use.

A fork copies every lock as it is, but only the thread that forks lives on: what another thread held
would stay locked in the child for ever.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

_freed: WeakSet[Any] = WeakSet()
_waited_for: WeakSet[Any] = WeakSet()
_held: list[Any] = []


def plain_lock() -> Any:
    """A lock that is free in a forked child. For state that single Python steps change.

    >>> with plain_lock():
    ...     pass
    """
    made = threading.Lock()
    _freed.add(made)
    return made


def reentrant_lock() -> Any:
    """The same, for a thread that may come back to it while it holds it.

    >>> lock = reentrant_lock()
    >>> with lock, lock:
    ...     pass
    """
    made = threading.RLock()
    _freed.add(made)
    return made


def lock_without_forks() -> Any:
    """A reentrant lock that forks wait for. For state that must not be copied half changed, such as
    that of a C library."""
    made = threading.RLock()
    _waited_for.add(made)
    return made


def _before() -> None:
    for lock in list(_waited_for):
        lock.acquire()
        _held.append(lock)


def _after_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _after_in_parent()
    for lock in list(_freed):
        lock._at_fork_reinit()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
