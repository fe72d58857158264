"""Random keys: the seed and a counter of calls. Random bits are a function of both (Philox), so
imperative and traced programs that make the same calls draw the same numbers.

The stream is native (`csrc/call/random_key.h`): a compiled call takes its key itself, and gives it
back if it raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tigon import _native
from tigon.base import check, config


def seed(value: int) -> None:
    """Start the stream anew. Ranks that were started together draw different numbers from one seed:
    rank 0 what a process alone draws."""
    check(
        isinstance(value, (int, np.integer)) and not isinstance(value, bool),
        "random.seed",
        f"expected an integer; given {value!r}",
    )
    # Philox takes 64 bits of key: other integers are wrapped into the range of int64.
    wrapped = ((int(value) + 2**63) % 2**64) - 2**63
    _seed_of_all[0] = wrapped
    rank = config.launched().rank
    _native.seed_keys(inner(wrapped, -rank)[0] if rank else wrapped)


def seed_of_all() -> int:
    """What the stream was seeded with, the same on all ranks that were given the same."""
    return _seed_of_all[0]


_seed_of_all = [0]


def state() -> tuple[int, int]:
    """Seed and counter of the next random call."""
    return _native.key_state()


def restore(seed: int, counter: int, of_all: int) -> None:
    """Go on where `state` and `seed_of_all` were asked, on this rank or on the one that it was."""
    _seed_of_all[0] = of_all
    _native.seed_keys(seed)
    reserve(counter)


take = _native.take_key
"""The key of the next `calls` random operators, as an operand."""


def reserve(calls: int) -> tuple[int, int]:
    """Seed and counter of the next `calls` calls, which the stream then skips."""
    key = take(calls)
    return key.seed, key.counter


def permutation(count: int, key: Sequence[int] | None = None) -> np.ndarray:
    """The numbers below `count` in the order that follows from a key; None: the next one."""
    seed, counter = reserve(1) if key is None else key
    return np.random.default_rng([seed % (1 << 64), counter]).permutation(count)


inner = _native.inner_key
"""Seed and counter of a stream that follows from a seed and a number."""

if config.launched().rank:
    seed(0)  # what a stream begins with that nobody has seeded


@contextmanager
def scope(seed: int, counter: int) -> Iterator[None]:
    """Draws of this thread come from a reserved part of the stream."""
    callbacks = (counter + 1) << 32  # far from those that others count
    previous = _native.set_key_scope((seed, counter, callbacks))
    try:
        yield
    finally:
        _native.set_key_scope(previous)


class within:
    """Draws of a loop or a branch, which are one call to those around, draws in it or not. Its
    stream follows from the key of that call; iterations have a stream each."""

    def __enter__(self) -> within:
        key = take(1)
        self._key = key
        self._seed, counter = _native.inner_key(key.seed, key.counter)
        self._previous = _native.set_key_scope((self._seed, counter, 0))
        return self

    def iteration(self, number: int) -> None:
        """From now on draws are of this iteration."""
        _native.set_key_scope((*_native.inner_key(self._seed, number), 0))

    def __exit__(self, kind: object, *_: object) -> None:
        _native.set_key_scope(self._previous)
        if kind is not None:  # as a compiled call that raises
            _native.give_back_key(self._key, 1)
