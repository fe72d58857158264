"""Who has come to a wait for other ranks, and who has not.

No MPI notices a rank that is stopped, or computes for ever. So whoever waits for long tells all
others that it is here, by a small message on a communicator of its own, and whoever gets one and
waits, too, answers. Who is silent until time is up has not arrived, and is named. Waits that end
soon cost nothing of this.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from tigon.distributed.agreement import ranks_text

_TAG = 0x716
"""Of these messages: the first ones travel by the communicator of all, before there is another."""

_SOON = 0.05
"""Seconds of a wait before anything is asked: longer than the turn of another process."""

_UNTIL_NAMED = 1.0
"""Seconds that the launcher may need to tell who has ended, after MPI knows that somebody has."""


class Watch:
    """Of one communicator, on the channel's thread."""

    def __init__(self, mpi: Any, communicator: Any, timeout: Callable[[], float]) -> None:
        """`timeout`: seconds that a wait may take from now on."""
        self._mpi = mpi
        self.communicator = communicator
        self._timeout = timeout
        self._others = [rank for rank in range(communicator.size) if rank != communicator.rank]
        self.number = 0
        """Of waits that have ended here. All ranks make the same ones, in the same order."""
        self._told = -1
        self._heard: dict[int, dict[str, Any]] = {}  # by rank, its last message
        self._sent: list[Any] = []
        self._is_asked = False
        self.held: Callable[[], Any] = lambda: None
        """What the others are told besides: what this rank could restore."""

    def look(self, waited: float) -> bool:
        """Tell and hear who is here; whether time is up."""
        limit = self._timeout()
        if waited > min(_SOON, limit / 4):
            self._receive()
            if self._told != self.number and (self._is_asked or waited > min(1.0, limit / 4)):
                self._told, self._is_asked = self.number, False
                self.tell({"at": self.number, "held": self.held()})
        return waited > limit or any(self.said(rank, "is_up") for rank in self._others)

    def ended(self) -> None:
        """A wait has ended."""
        self.number += 1

    def tell(self, what: Mapping[str, Any], to: int | None = None) -> None:
        """Send a few words to all others, or to one."""
        content = np.frombuffer(json.dumps(what).encode(), np.uint8)
        self._sent = [one for one in self._sent if not one[0].Test()]
        for rank in self._others if to is None else [to]:
            message = [content, self._mpi.BYTE]
            self._sent.append((self.communicator.Isend(message, rank, _TAG), content))

    def _receive(self) -> None:
        mpi, status = self._mpi, self._mpi.Status()
        while self.communicator.Iprobe(mpi.ANY_SOURCE, _TAG, status):
            content = np.zeros(status.Get_count(mpi.BYTE), np.uint8)
            self.communicator.Recv([content, mpi.BYTE], status.Get_source(), _TAG)
            said = json.loads(content.tobytes())
            self._heard[status.Get_source()] = {**self._heard.get(status.Get_source(), {}), **said}
            self._is_asked = True

    def missing(self) -> list[int]:
        """Who has not told of coming to this wait, or to a later one."""
        return [r for r in self._others if self._heard.get(r, {}).get("at", -1) < self.number]

    def said(self, rank: int, what: str) -> Any:
        """What a rank has told last."""
        return self._heard.get(rank, {}).get(what)

    def wait_for(self, ranks: list[int], what: str, seconds: float) -> bool:
        """Whether all of these have told it, in time."""
        until = time.monotonic() + seconds
        while any(self.said(rank, what) is None for rank in ranks):
            if time.monotonic() > until:
                return False
            time.sleep(1e-3)
            self._receive()
        return True

    # -- with fault tolerance

    def failed(self) -> list[int]:
        """Who has ended, as far as MPI knows; waits for it a little."""
        until = time.monotonic() + _UNTIL_NAMED
        while True:
            # Of what it hears MPI takes note while it is asked for something; this communicator may
            # be revoked, and that of all never is.
            with suppress(self._mpi.Exception):  # from a lost one nothing will come: it says so
                self._mpi.COMM_WORLD.Iprobe(self._mpi.ANY_SOURCE, _TAG)
            group = self.communicator.Get_failed()
            if group.size or time.monotonic() > until:
                break
            time.sleep(1e-3)
        own = self.communicator.Get_group()
        found = self._mpi.Group.Translate_ranks(group, list(range(group.size)), own)
        return sorted(found)


def names(ranks: list[int], hosts: list[str]) -> str:
    """Ranks with their hosts.

    >>> names([1, 2], ["a", "b", "b"]), names([0], ["a"])
    ('ranks 1 and 2 on b', 'rank 0 on a')
    """
    places = list(dict.fromkeys(hosts[rank] for rank in ranks))
    return " and ".join(
        ranks_text([rank for rank in ranks if hosts[rank] == place]) + (place and f" on {place}")
        for place in places
    )
