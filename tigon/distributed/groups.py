"""How arrays are added up and passed on between ranks: by memory that the ranks of a host share, or
by messages.

Arrays are cut into pieces that stay in a cache. Of each piece every rank adds up a part, in the
order of the ranks, and all get that result: so all end with the same bits, and the next run gets
them again. What is added is added by a program of ours (`combine`), never by MPI, whose libraries
differ in what becomes of NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from tigon.base import config

PIECE = 1 << 22
"""Bytes of a piece: its parts stay in the caches of those who pass it on, and each piece costs two
barriers."""

FEW = 1 << 12
"""Bytes up to which one exchange of everything beats two of parts."""

Combine = Callable[[Sequence[np.ndarray], np.ndarray], None]
"""(what the ranks have, in order, where the result goes: among these, or apart)."""


class Group(Protocol):
    """Ranks that add up. Arrays have one axis; `bounds` are the ends of the ranks' parts."""

    def allreduce(self, flat: np.ndarray, combine: Combine) -> None:
        """All get what is combined of all."""

    def reduce_parts(self, flat: np.ndarray, bounds: Sequence[int], combine: Combine) -> None:
        """Each gets its part of that; what else is in `flat` stays as it was."""

    def gather_parts(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        """All get the parts that each has."""

    def free(self) -> None:
        """On the channel's thread, by all ranks: give back what MPI holds."""


def even_parts(count: int, ranks: int) -> list[int]:
    """Bounds of parts of sizes that differ by one at most.

    >>> even_parts(7, 3)
    [0, 3, 5, 7]
    """
    return [0, *(even_part(count, ranks, rank)[1] for rank in range(ranks))]


def even_part(count: int, ranks: int, rank: int) -> tuple[int, int]:
    """Where one of these begins and ends.

    >>> [even_part(7, 3, rank) for rank in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    small, larger = divmod(count, ranks)
    begin = rank * small + min(rank, larger)
    return begin, begin + small + (rank < larger)


def pieces(count: int, most: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of pieces of `most` at most."""
    for begin in range(0, count, most):
        yield begin, min(count, begin + most)


class Shared:
    """Ranks of one host, by a window of memory that all of them have.

    It has two halves, used in turn: who writes into one has seen all others begin with the other,
    so that nobody reads there any more."""

    def __init__(self, channel: Any, communicator: Any, mpi: Any) -> None:
        self.rank, self.size = communicator.rank, communicator.size
        self._channel = channel
        self._communicator = communicator
        self._mpi = mpi
        self._half = 0
        channel.call(self._allocate, config.rank_timeout())

    def _allocate(self) -> None:
        mpi = self._mpi
        self._window = mpi.Win.Allocate_shared(2 * PIECE, 1, comm=self._communicator)
        self._window.Lock_all()
        segments = [self._window.Shared_query(rank)[0] for rank in range(self.size)]
        self._halves = [
            [np.frombuffer(memory, np.uint8, PIECE, half * PIECE) for memory in segments]
            for half in range(2)
        ]

    def free(self) -> None:
        """On the channel's thread, by all ranks."""
        self._halves = []
        self._window.Unlock_all()
        self._window.Free()

    def _next(self, dtype: np.dtype) -> list[np.ndarray]:
        """The half whose turn it is, as the ranks' segments."""
        self._half ^= 1
        return [segment.view(dtype) for segment in self._halves[self._half]]

    def _barrier(self) -> None:
        def start() -> list[Any]:
            self._window.Sync()
            return [self._communicator.Ibarrier()]

        self._channel.exchange(start)

    def allreduce(self, flat: np.ndarray, combine: Combine, beyond: Group | None = None) -> None:
        """`beyond`: who adds up the same part on other hosts."""
        for begin, end in pieces(flat.size, PIECE // flat.itemsize):
            piece = flat[begin:end]
            segments = self._next(flat.dtype)
            segments[self.rank][: piece.size] = piece
            self._barrier()
            bounds = even_parts(piece.size, self.size)
            own = slice(bounds[self.rank], bounds[self.rank + 1])
            # Nobody else reads this part of what is one's own: the result may lie there.
            mine = [segment[own] for segment in segments]
            combine(mine, mine[self.rank])
            if beyond is not None:
                beyond.allreduce(mine[self.rank], combine)
            self._barrier()
            for rank, segment in enumerate(segments):
                part = slice(bounds[rank], bounds[rank + 1])
                piece[part] = segment[part]

    def reduce_parts(self, flat: np.ndarray, bounds: Sequence[int], combine: Combine) -> None:
        most = PIECE // flat.itemsize // self.size
        for begin, end in pieces(_longest(bounds), most):
            segments = self._next(flat.dtype)
            for rank in range(self.size):
                part = _part(flat, bounds, rank, begin, end)
                segments[self.rank][rank * most :][: part.size] = part
            self._barrier()
            part = _part(flat, bounds, self.rank, begin, end)
            given = [segment[self.rank * most :][: part.size] for segment in segments]
            combine(given, part)

    def gather_parts(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        for begin, end in pieces(_longest(bounds), PIECE // flat.itemsize):
            segments = self._next(flat.dtype)
            part = _part(flat, bounds, self.rank, begin, end)
            segments[self.rank][: part.size] = part
            self._barrier()
            for rank, segment in enumerate(segments):
                if rank != self.rank:
                    part = _part(flat, bounds, rank, begin, end)
                    part[...] = segment[: part.size]


class Messages:
    """Ranks anywhere, by messages: each sends the others their parts of a piece, adds up its own,
    and sends that to all."""

    def __init__(self, channel: Any, communicator: Any, mpi: Any) -> None:
        self.rank, self.size = communicator.rank, communicator.size
        self._channel = channel
        self._communicator = communicator
        self._byte = mpi.BYTE

    def free(self) -> None:
        """On the channel's thread, by all ranks."""

    def allreduce(self, flat: np.ndarray, combine: Combine) -> None:
        for begin, end in pieces(flat.size, PIECE // flat.itemsize):
            piece = flat[begin:end]
            bounds = even_parts(piece.size, self.size)
            self.reduce_parts(piece, bounds, combine)
            self.gather_parts(piece, bounds)

    def reduce_parts(self, flat: np.ndarray, bounds: Sequence[int], combine: Combine) -> None:
        most = max(1, PIECE // flat.itemsize // self.size)
        for begin, end in pieces(_longest(bounds), most):
            part = _part(flat, bounds, self.rank, begin, end)
            received = np.empty((self.size, part.size), flat.dtype)
            sizes, places = _spans(flat, bounds, begin, end)
            sent = [_bytes(flat), sizes, places, self._byte]
            own = [part.nbytes] * self.size
            taken = [_bytes(received), own, [part.nbytes * i for i in range(self.size)], self._byte]
            self._channel.exchange(
                lambda sent=sent, taken=taken: [self._communicator.Ialltoallv(sent, taken)]
            )
            combine(list(received), part)

    def gather_parts(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        most = max(1, PIECE // flat.itemsize)
        for begin, end in pieces(_longest(bounds), most):
            sizes, places = _spans(flat, bounds, begin, end)
            # Of its own, since MPI may not be given memory twice.
            own = _part(flat, bounds, self.rank, begin, end).copy()
            sent = [_bytes(own), own.nbytes, self._byte]
            taken = [_bytes(flat), sizes, places, self._byte]
            self._channel.exchange(
                lambda sent=sent, taken=taken: [self._communicator.Iallgatherv(sent, taken)]
            )

    def allreduce_by_all(self, flat: np.ndarray, combine: Combine) -> None:
        """The same for few elements: each rank gets all and adds up all, in one exchange."""
        received = np.empty((self.size, flat.size), flat.dtype)
        sent = [_bytes(flat), self._byte]
        taken = [_bytes(received), flat.nbytes, self._byte]
        self._channel.exchange(lambda: [self._communicator.Iallgather(sent, taken)])
        combine(list(received), flat)

    def exchange_rows(self, rows: np.ndarray, received: np.ndarray) -> None:
        """Row r of rank s becomes row s of rank r."""
        flat, taken = _bytes(rows), _bytes(received)
        bytes_of_row = flat.size // self.size
        starts = [bytes_of_row * rank for rank in range(self.size)]
        for begin, end in pieces(bytes_of_row, max(1, PIECE // self.size)):
            sizes, places = [end - begin] * self.size, [start + begin for start in starts]
            self._channel.exchange(
                lambda sizes=sizes, places=places: [
                    self._communicator.Ialltoallv(
                        [flat, sizes, places, self._byte], [taken, sizes, places, self._byte]
                    )
                ]
            )

    def of_the_next(self, own: np.ndarray) -> np.ndarray:
        """The bytes of the rank after this one, of any length; the last one gets the first's."""
        before, after = (self.rank - 1) % self.size, (self.rank + 1) % self.size

        def pass_on(given: np.ndarray, taken: np.ndarray) -> None:
            self._channel.exchange(
                lambda: [
                    self._communicator.Irecv([taken, self._byte], after),
                    self._communicator.Isend([given, self._byte], before),
                ]
            )

        sizes = np.zeros(self.size, np.int64)
        mine = np.array([own.size], np.int64)
        self._channel.exchange(lambda: [self._communicator.Iallgather(mine, sizes)])
        taken = np.empty(int(sizes[after]), np.uint8)
        for begin, end in pieces(int(sizes.max()), PIECE):  # all ranks wait as often
            pass_on(own[begin:end], taken[begin:end])
        return taken

    def broadcast(self, flat: np.ndarray, root: int) -> None:
        """All get what the root has."""
        whole = _bytes(flat)
        for begin, end in pieces(whole.size, PIECE):
            piece = whole[begin:end]
            self._channel.exchange(
                lambda piece=piece: [self._communicator.Ibcast([piece, self._byte], root)]
            )


class Layered:
    """Hosts of as many ranks each: by shared memory within a host, and of each piece rank r of a
    host adds up its part with rank r of the others."""

    def __init__(self, within: Shared, across: Messages, everywhere: Messages) -> None:
        self.within, self.across, self.everywhere = within, across, everywhere

    def allreduce(self, flat: np.ndarray, combine: Combine) -> None:
        self.within.allreduce(flat, combine, self.across)

    def reduce_parts(self, flat: np.ndarray, bounds: Sequence[int], combine: Combine) -> None:
        self.everywhere.reduce_parts(flat, bounds, combine)

    def gather_parts(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        self.everywhere.gather_parts(flat, bounds)

    def free(self) -> None:
        """On the channel's thread, by all ranks."""
        self.within.free()


def _longest(bounds: Sequence[int]) -> int:
    return max(end - begin for begin, end in pairwise(bounds))


def _part(flat: np.ndarray, bounds: Sequence[int], rank: int, begin: int, end: int) -> np.ndarray:
    """Of a rank's part the piece from `begin` to `end`."""
    first, last = bounds[rank], bounds[rank + 1]
    return flat[min(first + begin, last) : min(first + end, last)]


def _spans(
    flat: np.ndarray, bounds: Sequence[int], begin: int, end: int
) -> tuple[list[int], list[int]]:
    """Bytes of these pieces, and where they begin, by rank."""
    sizes, places = [], []
    for first, last in pairwise(bounds):
        start = min(first + begin, last)
        sizes.append((min(first + end, last) - start) * flat.itemsize)
        places.append(start * flat.itemsize)
    return sizes, places


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
