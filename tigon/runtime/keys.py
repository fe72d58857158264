"""Random keys: the seed and a counter of calls. Random bits are a function of both (Philox), so
imperative and traced programs that make the same calls draw the same numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tigon import _native
from tigon.base import check
from tigon.base.locks import plain_lock

_lock = plain_lock()
_seed = 0
_counter = 0


def seed(value: int) -> None:
    """Start the stream anew."""
    global _seed, _counter
    check(
        isinstance(value, (int, np.integer)) and not isinstance(value, bool),
        "random.seed",
        f"expected an integer; given {value!r}",
    )
    with _lock:
        # Philox takes 64 bits of key: other integers are wrapped into the range of int64.
        _seed = ((int(value) + 2**63) % 2**64) - 2**63
        _counter = 0


def state() -> tuple[int, int]:
    """Seed and counter of the next random call."""
    return _seed, _counter


def take(calls: int = 1) -> _native.NDArray:
    """The key of the next `calls` random operators, as an int64 array (seed, counter)."""
    key = reserve(calls)
    return _native.from_numpy(np.array(key, np.int64))


def give_back(key: _native.NDArray, calls: int) -> None:
    """Undo a `take` for a call that raised, unless something was drawn since."""
    global _counter
    seed, counter = key.asnumpy().tolist()
    scope = getattr(_local, "scope", None)
    if scope is not None:
        if scope == [seed, counter + calls]:
            scope[1] = counter
        return
    with _lock:
        if (_seed, _counter) == (seed, counter + calls):
            _counter = counter


def drawing(calls: int, run: Callable[..., Any], arrays: Sequence[Any], *rest: Any) -> Any:
    """Call `run` on these arrays and a key of so many calls. If it raises, nothing was drawn."""
    key = take(calls)
    try:
        return run([*arrays, key], *rest)
    except BaseException:  # an interruption, too
        give_back(key, calls)
        raise


_local = threading.local()


def reserve(calls: int) -> tuple[int, int]:
    """Seed and counter of the next `calls` calls, which the stream then skips."""
    global _counter
    scope = getattr(_local, "scope", None)
    if scope is not None:
        key = (scope[0], scope[1])
        scope[1] += calls
        return key
    with _lock:
        key = (_seed, _counter)
        _counter += calls
    return key


@contextmanager
def scope(seed: int, counter: int) -> Iterator[None]:
    """Draws of this thread come from a reserved part of the stream."""
    previous = getattr(_local, "scope", None)
    _local.scope = [seed, counter]
    try:
        yield
    finally:
        _local.scope = previous
