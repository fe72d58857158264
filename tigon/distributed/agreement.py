"""Ranks tell each other what they are about to do, before they do it.

A collective that one rank calls and another does not, or for another array, would wait for ever, or
mix up numbers. So each begins with 32 bytes from every rank: the number of the call, and a digest
of what it is. Where these differ, all ranks tell what they wanted, and all raise the same error,
which names who differs. It costs what a barrier costs, which most of them need anyway.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import numpy as np

from tigon.base import TigonError

_MOST = 1 << 20
"""Bytes of a description that are sent."""


class Signature:
    """What ranks have to agree about: the name of a call, and its parts in order.

    >>> Signature("allreduce", ("float32 (3, 4)",)).digest == Signature("allreduce", ()).digest
    False
    """

    __slots__ = ("digest", "labels", "name", "parts")

    def __init__(self, name: str, parts: Sequence[str], labels: Sequence[str] = ()) -> None:
        """`labels` say more of the parts, and need not agree."""
        self.name = name
        self.parts = tuple(parts)
        self.labels = labels
        self.digest = _digest(self.name, self.parts)

    def text(self) -> str:
        told = zip_longest(self.parts, self.labels, fillvalue="")
        return "\n".join(
            (self.name, *[f"{part} ({more})" if more else part for part, more in told])
        )


@lru_cache(maxsize=4096)
def _digest(name: str, parts: tuple[str, ...]) -> bytes:
    whole = "\n".join((name, *parts)).encode()
    return hashlib.blake2b(whole, digest_size=24).digest()


class Agreement:
    """The numbered calls of one communicator."""

    def __init__(self, channel: Any, communicator: Any) -> None:
        self._channel = channel
        self._communicator = communicator
        self.size = communicator.size
        self.count = 0
        self._own = np.zeros(4, np.int64)
        self._all = np.zeros((self.size, 4), np.int64)
        self._lock = threading.Lock()

    def check(self, signature: Signature) -> None:
        """Return when all ranks have come to this call; raise on all of them if they differ."""
        with self._lock:
            self._own[0] = self.count
            self._own[1:] = np.frombuffer(signature.digest, np.int64)
            self._channel.exchange(
                lambda: [self._communicator.Iallgather(self._own, self._all)],
            )
            self.count += 1
            if (self._all == self._all[0]).all():
                return
            texts = self._gather(signature.text().encode()[:_MOST])
            # From here on they count alike again.
            number, self.count = self.count, int(self._all[:, 0].max()) + 1
        raise TigonError(difference(number, [text.decode(errors="replace") for text in texts]))

    def gather(self, signature: Signature, own: bytes) -> list[bytes]:
        """Bytes of all ranks, by rank."""
        self.check(signature)
        return self._gather(own)

    def _gather(self, own: bytes) -> list[bytes]:
        channel = self._channel
        sent = np.frombuffer(own, np.uint8)
        return channel.call(
            lambda: gathered(self._communicator, sent, channel.finish, channel.byte)
        )


def gathered(
    communicator: Any, own: np.ndarray, finish: Callable[[list[Any]], None], byte: Any
) -> list[bytes]:
    """On the channel's thread: what all ranks have, of any length, by rank."""
    sizes = np.zeros(communicator.size, np.int64)
    finish([communicator.Iallgather(np.array([own.size], np.int64), sizes)])
    ends = np.cumsum(sizes)
    whole = np.zeros(int(ends[-1]), np.uint8)
    taken = [whole, sizes.tolist(), (ends - sizes).tolist(), byte]
    finish([communicator.Iallgatherv([own, byte], taken)])
    return [
        whole[end - size : end].tobytes()
        for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)
    ]


def difference(number: int, texts: Sequence[str]) -> str:
    """What is said where ranks differ; `texts` are their signatures.

    >>> print(difference(3, ["push\\nw float32 (2,)", "push\\nw float32 (3,)"]))
    collective 3: ranks differ: rank 0: push of w float32 (2,); rank 1: push of w float32 (3,); \
all ranks have to make the same calls in the same order, with arrays of the same names, shapes \
and dtypes
    """
    calls = [text.split("\n") for text in texts]
    names = Counter(call[0] for call in calls)
    place = 0
    if len(names) == 1:
        longest = max(map(len, calls))
        padded = [[*call, *["nothing more"] * (longest - len(call))] for call in calls]
        place = next((i for i in range(longest) if len({call[i] for call in padded}) > 1), 0)
        said = [f"{call[0]} of {call[place]}" if place else call[0] for call in padded]
    else:
        said = [call[0] + (f" of {call[1]}" if len(call) > 1 else "") for call in calls]
    groups: dict[str, list[int]] = {}
    for rank, what in enumerate(said):
        groups.setdefault(what, []).append(rank)
    if len(groups) == 1:  # they differ in how many calls they have made
        told = f"after a different number of calls, all: {said[0]}"
    else:
        fewest_first = sorted(groups.items(), key=lambda item: (len(item[1]), item[1]))
        told = "; ".join(f"{ranks_text(ranks)}: {what:.300}" for what, ranks in fewest_first)
    return (
        f"collective {number}: ranks differ: {told}; all ranks have to make the same calls in the "
        "same order, with arrays of the same names, shapes and dtypes"
    )


def ranks_text(ranks: Sequence[int]) -> str:
    """How ranks are named.

    >>> ranks_text([2]), ranks_text([0, 1, 3])
    ('rank 2', 'ranks 0, 1 and 3')
    """
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > 8:
        return f"{len(ranks)} ranks from {ranks[0]} on"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"
