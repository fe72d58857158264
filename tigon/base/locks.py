"""Locks that a forked child can use.

A fork copies every lock as it is, but only the thread that forks lives on: what another thread held
would stay locked in the child for ever. So would the lock of a module that another thread imports,
which is Python's own: forks wait for such imports, too.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager
from importlib import _bootstrap
from typing import Any, TypeAlias
from weakref import WeakSet

# The second parameter says that no exception is swallowed.
Lock: TypeAlias = "AbstractContextManager[bool, None]"

_freed: WeakSet[Any] = WeakSet()
_waited_for = threading.RLock()


def plain_lock() -> Lock:
    """A lock that is free in a forked child. For state that single Python steps change.

    >>> with plain_lock():
    ...     pass
    """
    made = threading.Lock()
    _freed.add(made)
    return made


def reentrant_lock() -> Lock:
    """The same, for a thread that may come back to it while it holds it.

    >>> lock = reentrant_lock()
    >>> with lock, lock:
    ...     pass
    """
    made = threading.RLock()
    _freed.add(made)
    return made


def lock_without_forks() -> Lock:
    """The reentrant lock that forks wait for: one in all, or a fork and its holders could wait for
    each other. For state that must not be copied half changed, such as that of a C library."""
    return _waited_for


_LONGEST_IMPORT = 2.0
"""Seconds that a fork waits for imports: one that itself waits for the fork must not stop both."""


def _is_importing_elsewhere() -> bool:
    """Whether another thread imports a module of ours."""
    locks: dict[Any, Any] = getattr(_bootstrap, "_module_locks", {})
    found = [lock() for name, lock in [*locks.items()] if str(name).startswith("tigon")]
    here = (None, threading.get_ident())
    return any(lock is not None and getattr(lock, "owner", None) not in here for lock in found)


def _before() -> None:
    stop = time.monotonic() + _LONGEST_IMPORT
    _waited_for.acquire()
    while _is_importing_elsewhere() and time.monotonic() < stop:
        _waited_for.release()  # the import may need it
        time.sleep(0.001)
        _waited_for.acquire()


def _after_in_child() -> None:
    _waited_for.release()
    for lock in list(_freed):
        lock._at_fork_reinit()


os.register_at_fork(
    before=_before,
    after_in_parent=_waited_for.release,
    after_in_child=_after_in_child,
)
