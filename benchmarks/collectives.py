"""Sums over ranks on networks that are not here, message by message: what `scaling.py` is made of.

A message takes the port of its sender and that of its receiver for as long as its bytes take, and
arrives a latency later; ports send and receive at the same time. Adding up is not counted: it goes
at the speed of caches.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

PIECE = 1 << 21
"""Bytes that travel at once through a tree."""


@dataclass(frozen=True)
class Network:
    """Seconds from sender to receiver, bytes a second in each direction, and who says so."""

    name: str
    latency: float
    bandwidth: float
    source: str = ""


class Message(NamedTuple):
    sender: int
    receiver: int
    size: float
    after: Sequence[int] = ()  # messages that have to be there before


def seconds(messages: Sequence[Message], network: Network) -> float:
    """Until the last of these is there. Who is ready first has its ports first.

    >>> slow = Network("", latency=1.0, bandwidth=10.0)
    >>> seconds([Message(0, 1, 20), Message(0, 2, 20), Message(1, 2, 10, after=[0])], slow)
    6.0
    """
    later: list[list[int]] = [[] for _ in messages]
    missing = [len(message.after) for message in messages]
    for number, message in enumerate(messages):
        for before in message.after:
            later[before].append(number)
    ready = [0.0] * len(messages)
    sends: dict[int, float] = {}
    receives: dict[int, float] = {}
    queue = [(0.0, number) for number, count in enumerate(missing) if not count]
    heapq.heapify(queue)
    end = 0.0
    while queue:
        at, number = heapq.heappop(queue)
        sender, receiver, size, _ = messages[number]
        free = max(at, sends.get(sender, 0.0), receives.get(receiver, 0.0))
        if free > at:  # others may be ready before the ports are
            heapq.heappush(queue, (free, number))
            continue
        sends[sender] = receives[receiver] = at + size / network.bandwidth
        arrives = at + size / network.bandwidth + network.latency
        end = max(end, arrives)
        for other in later[number]:
            ready[other] = max(ready[other], arrives)
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(queue, (ready[other], other))
    return end


def ring_messages(ranks: int, size: float) -> list[Message]:
    """Each rank passes a part on to the next one: once around to add up, once to tell."""
    made = []
    for step in range(2 * (ranks - 1)):
        for rank in range(ranks):
            before = [(step - 1) * ranks + (rank - 1) % ranks] if step else []
            made.append(Message(rank, (rank + 1) % ranks, size / ranks, before))
    return made


def tree_messages(ranks: int, size: float) -> list[Message]:
    """Up a binary tree and down again, in pieces that follow each other."""
    pieces = max(1, round(size / PIECE))
    each = size / pieces
    made: list[Message] = []
    for _ in range(pieces):
        up: dict[int, int] = {}  # by rank, its message to its parent
        for rank in range(ranks - 1, 0, -1):
            below = [up[child] for child in (2 * rank + 1, 2 * rank + 2) if child < ranks]
            up[rank] = len(made)
            made.append(Message(rank, (rank - 1) // 2, each, below))
        down: dict[int, list[int]] = {0: [up[child] for child in (1, 2) if child < ranks]}
        for rank in range(1, ranks):
            parent = (rank - 1) // 2
            made.append(Message(parent, rank, each, down[parent]))
            down[rank] = [len(made) - 1]
    return made


@cache
def ring(ranks: int, size: float, network: Network) -> float:
    """All ranks do the same at the same time, so it is a formula: `seconds` of its messages."""
    return 2 * (ranks - 1) * (network.latency + size / ranks / network.bandwidth)


@cache
def tree(ranks: int, size: float, network: Network) -> float:
    return seconds(tree_messages(ranks, size), network)


Collective = Callable[[int, float, Network], float]


@dataclass(frozen=True)
class Step:
    """Of one rank: seconds of forward and backward and of the update, and the gradients by buckets,
    (bytes, share of forward and backward after which they are there), as they travel."""

    compute: float
    update: float
    buckets: tuple[tuple[float, float], ...]

    def together(
        self, travel: Callable[[float], float], overlapped: bool, taken: float = 0.0
    ) -> float:
        """Seconds of a step whose buckets take so long to travel, one after the other; none before
        all gradients are there, unless `overlapped`. `taken`: the share of the rank's processor
        that a bucket on its way uses.

        >>> step = Step(1.0, 0.5, ((8.0, 0.5), (4.0, 1.0)))
        >>> step.together(lambda size: size / 10, overlapped=False)
        2.7
        >>> step.together(lambda size: size / 10, overlapped=True)
        2.2
        """
        time = done = 0.0  # and of the computation
        for size, share in self.buckets:
            needed = (share if overlapped else 1.0) * self.compute
            if done < needed:  # nothing is on its way meanwhile
                time += needed - done
                done = needed
            took = travel(size)
            time += took
            done = min(self.compute, done + took * (1 - taken))
        return round(time + self.compute - done + self.update, 12)
