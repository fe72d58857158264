"""Random keys: the seed and a counter of calls. Random bits are a function of both (Philox), so
imperative and traced programs that make the same calls draw the same numbers.

The stream is native (`csrc/call/random_key.h`): a compiled call takes its key itself, and gives it
back if it raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tigon import _native
from tigon.base import check


def seed(value: int) -> None:
    """Start the stream anew."""
    check(
        isinstance(value, (int, np.integer)) and not isinstance(value, bool),
        "random.seed",
        f"expected an integer; given {value!r}",
    )
    # Philox takes 64 bits of key: other integers are wrapped into the range of int64.
    _native.seed_keys(((int(value) + 2**63) % 2**64) - 2**63)


def state() -> tuple[int, int]:
    """Seed and counter of the next random call."""
    return _native.key_state()


take = _native.take_key
"""The key of the next `calls` random operators, as an operand."""


def reserve(calls: int) -> tuple[int, int]:
    """Seed and counter of the next `calls` calls, which the stream then skips."""
    key = take(calls)
    return key.seed, key.counter


@contextmanager
def scope(seed: int, counter: int) -> Iterator[None]:
    """Draws of this thread come from a reserved part of the stream."""
    callbacks = (counter + 1) << 32  # far from those that others count
    previous = _native.set_key_scope((seed, counter, callbacks))
    try:
        yield
    finally:
        _native.set_key_scope(previous)
