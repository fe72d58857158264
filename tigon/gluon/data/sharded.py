"""Batches that ranks share out among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon.base import check, config
from tigon.distributed.groups import even_part
from tigon.gluon.data.sampler import Sampler
from tigon.gluon.parameters_section import describe as _describe
from tigon.runtime import keys


class ShardedBatchSampler(Sampler):
    """A rank's part of each batch of all ranks: no sample comes twice in an epoch, none is lost,
    and every rank has as many batches, so that their collectives meet.

    Of each batch of all ranks every rank gets `batch_size` samples; of the last one, which may be
    smaller, parts that differ by one at most. Where it has fewer samples than there are ranks, they
    are part of the batch before. `sizes` tells how many samples each batch has on all ranks
    together, which is what gradients are to be divided by: `trainer.step(size)`.

    The order is drawn anew each epoch, from the seed and the number of the epoch alone; it does not
    depend on the number of ranks.

    >>> [list(ShardedBatchSampler(7, 2, shuffle=False, ranks=2, rank=i)) for i in range(2)]
    [[[0, 1], [4, 5]], [[2, 3], [6]]]
    >>> ShardedBatchSampler(7, 2, ranks=2, rank=0).sizes
    [4, 3]
    >>> ShardedBatchSampler(9, 2, ranks=2, rank=0).sizes
    [4, 5]
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        shuffle: bool = True,
        last_batch: str = "keep",
        seed: int | None = None,
        ranks: int | None = None,
        rank: int | None = None,
    ) -> None:
        where = "ShardedBatchSampler"
        check(
            last_batch in ("keep", "discard"),
            where,
            f"last_batch is 'keep' or 'discard'; given {last_batch!r}",
        )
        check(batch_size > 0, where, f"batch_size must be positive; given {batch_size}")
        self._given = (ranks, rank)
        check(
            0 <= self._rank < self._ranks,
            where,
            f"rank: expected a number from 0 to {self._ranks - 1}; given {self._rank}",
        )
        check(
            length >= self._ranks or last_batch == "discard",
            where,
            f"length: expected a sample for each of {self._ranks} ranks at least; given {length}; "
            "start fewer ranks",
        )
        self._length = length
        self._batch_size = batch_size
        self._keeps_last = last_batch == "keep"
        self._shuffle = shuffle
        self._seed = seed
        self.epoch = 0
        """The number of the next epoch."""
        self._seen = 0  # samples of it that all ranks together have had
        self._left: list[int] = []  # of the epoch before, too few for the ranks: they come first

    @property
    def _ranks(self) -> int:
        given = self._given[0]
        return config.launched().size if given is None else given

    @property
    def _rank(self) -> int:
        given = self._given[1]
        return config.launched().rank if given is None else given

    @property
    def sizes(self) -> list[int]:
        """Samples of each batch of the next epoch, or of its rest, on all ranks together."""
        return self._sizes(len(self._left) + self._length - self._seen)

    def _sizes(self, left: int) -> list[int]:
        whole = self._batch_size * self._ranks
        full, rest = divmod(left, whole)
        sizes = [whole] * full
        if rest and self._keeps_last:
            if rest >= self._ranks:
                sizes.append(rest)
            elif sizes:
                sizes[-1] += rest
        return sizes

    def order(self, epoch: int) -> list[int]:
        """All numbers in the order of an epoch, the same on all ranks."""
        if not self._shuffle:
            return list(range(self._length))
        seed = keys.seed_of_all() if self._seed is None else self._seed
        drawn = np.random.default_rng([seed % (1 << 64), epoch, _STREAM])
        return drawn.permutation(self._length).tolist()

    def __iter__(self) -> Iterator[list[int]]:
        order, begin = self._left + self.order(self.epoch), self._seen
        sizes, ranks, rank = self.sizes, self._ranks, self._rank
        self.epoch += 1
        self._seen = 0
        self._left = order[begin + sum(sizes) :] if self._keeps_last else []
        for size in sizes:
            first, last = even_part(size, ranks, rank)
            yield order[begin + first : begin + last]
            begin += size

    def __len__(self) -> int:
        return len(self.sizes)

    def state_dict(self) -> dict[str, Any]:
        """The number of the next epoch, and how many of its samples have been had."""
        return {"epoch": self.epoch, "seen": self._seen, "left": list(self._left)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that epoch, by as many ranks as there are now."""
        self.epoch = int(state["epoch"])
        self._seen = int(state.get("seen", 0))
        self._left = [int(number) for number in state.get("left", ())]

    def after(self, state: dict[str, Any], batches: int) -> dict[str, Any]:
        """What `state_dict` gives when so many batches of the epoch that begins with `state` have
        been had: its rest can be shared out among another number of ranks.

        >>> sampler = ShardedBatchSampler(7, 2, shuffle=False, ranks=2, rank=0)
        >>> state = sampler.after(sampler.state_dict(), 1)
        >>> state
        {'epoch': 0, 'seen': 4, 'left': []}
        >>> alone = ShardedBatchSampler(7, 2, shuffle=False, ranks=1, rank=0)
        >>> alone.load_state_dict(state)
        >>> list(alone), list(alone)
        ([[4, 5], [6]], [[0, 1], [2, 3], [4, 5], [6]])
        """
        seen, left = int(state.get("seen", 0)), list(state.get("left", ()))
        had = sum(self._sizes(len(left) + self._length - seen)[:batches])
        return {"epoch": int(state["epoch"]), "seen": seen + had, "left": left}


_STREAM = 0x5EED
"""Tells these orders from what else is drawn from a seed."""

_describe(
    ShardedBatchSampler,
    length="the number of samples",
    batch_size="samples of each rank in each batch",
    shuffle="whether the order is drawn anew in each epoch",
    last_batch="'keep' or 'discard' the last batch where it is smaller",
    seed="what orders are drawn from; that of mx.random.seed if not given",
    ranks="how many share the batches; those that were started together if not given",
    rank="whose part it is; this one's if not given",
)
