"""How arrays are added up and passed on between ranks: by memory that the ranks of a host share, or
by messages.

Arrays are cut into pieces that stay in a cache. Of each piece every rank adds up a part, in the
order of the ranks, and all get that result: so all end with the same bits, and the next run gets
them again. What is added is added by a program of ours (`combine`), never by MPI, whose libraries
differ in what becomes of NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np

from tigon.distributed import settings
from tigon.distributed.parts import Parts

PIECE = 1 << 22
"""Bytes of a piece: its parts stay in the caches of those who pass it on, and each piece costs two
barriers."""

FEW = 1 << 12
"""Bytes up to which one exchange of everything beats two of parts."""

Combine = Callable[[Sequence[np.ndarray], np.ndarray], None]
"""(what the ranks have, in order, where the result goes: among these, or apart)."""


class Group(Protocol):
    """Ranks that add up. Arrays have one axis."""

    def allreduce(
        self, flat: np.ndarray, combine: Combine, given: np.ndarray | None = None
    ) -> None:
        """All get what is combined of all, in `flat`. `given`: what this one has, if that is not
        there."""

    def reduce_parts(self, parts: Parts, own: np.ndarray, combine: Combine) -> None:
        """Each gets, in `own`, what is combined of its part of all."""

    def gather_parts(self, parts: Parts) -> None:
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


class _Piece:
    """A piece of an array, and where its parts lie in the segments of all ranks."""

    def __init__(self, segments: list[np.ndarray], begin: int, end: int, most: int) -> None:
        self._segments = segments
        self._most = most
        bounds = even_parts(end - begin, len(segments))
        self._parts = [slice(begin + first, begin + last) for first, last in pairwise(bounds)]

    def part(self, flat: np.ndarray, rank: int) -> np.ndarray:
        """What of the array a rank adds up."""
        return flat[self._parts[rank]]

    def place(self, owner: int, rank: int) -> np.ndarray:
        """Where an owner shows what the rank adds up; its own, when it is added up."""
        part = self._parts[rank]
        first = rank * self._most
        return self._segments[owner][first : first + part.stop - part.start]


class Shared:
    """Ranks of one host, by a window of memory that all of them have.

    It has two halves, used in turn: who writes into one has seen all others begin with the other,
    so that nobody reads there any more."""

    def __init__(self, channel: Any, communicator: Any, mpi: Any) -> None:
        self.rank, self.size = communicator.rank, communicator.size
        self._channel = channel
        self._communicator = communicator
        self._mpi = mpi
        self._others = [rank for rank in range(self.size) if rank != self.rank]
        self._half = 0
        channel.call(self._allocate, settings.timeout())

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

    def allreduce(
        self,
        flat: np.ndarray,
        combine: Combine,
        given: np.ndarray | None = None,
        beyond: Group | None = None,
    ) -> None:
        """`beyond`: who adds up the same part on other hosts.

        Between two barriers a rank combines its part of one piece, takes the others' parts of the
        piece before, and shows them theirs of the next. Each part has its own place in a segment,
        so that no place is written while another rank reads it."""
        given = flat if given is None else given
        most = PIECE // flat.itemsize // self.size
        before: _Piece | None = None
        now: _Piece | None = None
        # Twice more than there are pieces: the last ones are still to be combined, and taken.
        for span in [*pieces(flat.size, most * self.size), None, None]:
            if now is not None:
                own = now.part(given, self.rank)
                shown = [now.place(rank, self.rank) for rank in range(self.size)]
                shown[self.rank] = own
                result = now.place(self.rank, self.rank)
                combine(shown, result)
                if beyond is not None:
                    beyond.allreduce(result, combine)
            after = span and _Piece(self._next(flat.dtype), *span, most)
            if after is not None:
                for rank in self._others:
                    after.place(self.rank, rank)[...] = after.part(given, rank)
            if before is not None:
                for rank in range(self.size):
                    before.part(flat, rank)[...] = before.place(rank, rank)
            before, now = now, after
            if before is not None or now is not None:
                self._barrier()

    def reduce_parts(self, parts: Parts, own: np.ndarray, combine: Combine) -> None:
        most = PIECE // own.itemsize // self.size
        for begin, end in pieces(max(parts.sizes), most):
            segments = self._next(own.dtype)
            for rank in self._others:
                parts.read(rank, begin, end, segments[self.rank][rank * most :])
            mine = parts.read(self.rank, begin, end, own[begin:end])
            self._barrier()
            shown = [segment[self.rank * most :][: mine.size] for segment in segments]
            shown[self.rank] = mine
            combine(shown, mine)

    def gather_parts(self, parts: Parts) -> None:
        for begin, end in pieces(max(parts.sizes), PIECE // parts.dtype.itemsize):
            segments = self._next(parts.dtype)
            parts.read(self.rank, begin, end, segments[self.rank])
            self._barrier()
            for rank in self._others:
                parts.write(rank, begin, end, segments[rank])


class Messages:
    """Ranks anywhere, by messages: each sends the others their parts of a piece, adds up its own,
    and sends that to all. What is one's own is sent to nobody."""

    def __init__(self, channel: Any, communicator: Any, mpi: Any) -> None:
        self.rank, self.size = communicator.rank, communicator.size
        self._channel = channel
        self._communicator = communicator
        self._byte = mpi.BYTE
        self._in_place = mpi.IN_PLACE

    def free(self) -> None:
        """On the channel's thread, by all ranks."""

    def allreduce(
        self, flat: np.ndarray, combine: Combine, given: np.ndarray | None = None
    ) -> None:
        given = flat if given is None else given
        passing: Callable[[], list[Any]] = list  # what passes on the sums of the piece before
        for begin, end in pieces(flat.size, PIECE // flat.itemsize):
            piece, source = flat[begin:end], given[begin:end]
            bounds = even_parts(piece.size, self.size)
            counts = [last - first for first, last in pairwise(bounds)]
            own = slice(bounds[self.rank], bounds[self.rank + 1])
            sent = [_bytes(source), *self._but_own(flat.itemsize, counts, bounds[:-1]), self._byte]
            received = np.empty((self.size, counts[self.rank]), flat.dtype)
            # Those of a piece travel while the sums of the one before are passed on.
            self._exchange(passing, self._taking(sent, received))
            target = piece[own]
            shown = list(received)
            shown[self.rank] = target if given is flat else source[own]
            combine(shown, target)
            passing = self._passing(piece, counts)
        self._channel.exchange(passing)

    def reduce_parts(self, parts: Parts, own: np.ndarray, combine: Combine) -> None:
        for begin, end in self._pieces(parts):
            counts = [parts.count(rank, begin, end) for rank in range(self.size)]
            places = [0, *accumulate(counts)]
            buffer = np.empty(places[-1], own.dtype)
            for rank, place in enumerate(places[:-1]):
                if rank != self.rank:
                    parts.read(rank, begin, end, buffer[place:])
            mine = parts.read(self.rank, begin, end, own[begin:end])
            sent = [_bytes(buffer), *self._but_own(own.itemsize, counts, places[:-1]), self._byte]
            received = np.empty((self.size, mine.size), own.dtype)
            self._channel.exchange(self._taking(sent, received))
            shown = list(received)
            shown[self.rank] = mine
            combine(shown, mine)

    def gather_parts(self, parts: Parts) -> None:
        for begin, end in self._pieces(parts):
            counts = [parts.count(rank, begin, end) for rank in range(self.size)]
            places = [0, *accumulate(counts)]
            buffer = np.empty(places[-1], parts.dtype)
            parts.read(self.rank, begin, end, buffer[places[self.rank] :])
            self._channel.exchange(self._passing(buffer, counts))
            for rank, place in enumerate(places[:-1]):
                if rank != self.rank:
                    parts.write(rank, begin, end, buffer[place:])

    def _pieces(self, parts: Parts) -> Iterator[tuple[int, int]]:
        return pieces(max(parts.sizes), max(1, PIECE // parts.dtype.itemsize // self.size))

    def _but_own(
        self, itemsize: int, counts: Sequence[int], places: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Bytes that others get of these elements, and where they lie."""
        sizes = [itemsize * count for count in counts]
        sizes[self.rank] = 0
        return sizes, [itemsize * place for place in places]

    def _taking(self, sent: list[Any], received: np.ndarray) -> Callable[[], list[Any]]:
        """What fills the rows of the others; one's own stays empty."""
        counts = [received.shape[1]] * self.size
        places = [received.shape[1] * rank for rank in range(self.size)]
        sizes = self._but_own(received.itemsize, counts, places)
        taken = [_bytes(received), *sizes, self._byte]
        return lambda: [self._communicator.Ialltoallv(sent, taken)]

    def _passing(self, flat: np.ndarray, counts: Sequence[int]) -> Callable[[], list[Any]]:
        """What gives all ranks what each has in its place."""
        sizes = [flat.itemsize * count for count in counts]
        taken = [_bytes(flat), sizes, [*accumulate(sizes[:-1], initial=0)], self._byte]
        return lambda: [self._communicator.Iallgatherv(self._in_place, taken)]

    def _exchange(self, *starts: Callable[[], list[Any]]) -> None:
        self._channel.exchange(lambda: [request for start in starts for request in start()])

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

    def allreduce(
        self, flat: np.ndarray, combine: Combine, given: np.ndarray | None = None
    ) -> None:
        self.within.allreduce(flat, combine, given, self.across)

    def reduce_parts(self, parts: Parts, own: np.ndarray, combine: Combine) -> None:
        self.everywhere.reduce_parts(parts, own, combine)

    def gather_parts(self, parts: Parts) -> None:
        self.everywhere.gather_parts(parts)

    def free(self) -> None:
        """On the channel's thread, by all ranks."""
        self.within.free()


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)
