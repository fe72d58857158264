"""Batches that ranks share out among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tigon.base import check, config
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
        launch = config.launched()
        self._ranks = launch.size if ranks is None else ranks
        self._rank = launch.rank if rank is None else rank
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
        self._shuffle = shuffle
        self._seed = seed
        self.epoch = 0
        """The number of the next epoch."""
        whole = batch_size * self._ranks
        full, rest = divmod(length, whole)
        self.sizes = [whole] * full
        """Samples of each batch on all ranks together."""
        if rest and last_batch == "keep":
            if rest >= self._ranks:
                self.sizes.append(rest)
            else:
                self.sizes[-1] += rest

    def order(self, epoch: int) -> list[int]:
        """All numbers in the order of an epoch, the same on all ranks."""
        if not self._shuffle:
            return list(range(self._length))
        seed = keys.seed_of_all() if self._seed is None else self._seed
        drawn = np.random.default_rng([seed % (1 << 64), epoch, _STREAM])
        return drawn.permutation(self._length).tolist()

    def __iter__(self) -> Iterator[list[int]]:
        order, begin = self.order(self.epoch), 0
        self.epoch += 1
        for size in self.sizes:
            small, larger = divmod(size, self._ranks)
            first = begin + self._rank * small + min(self._rank, larger)
            yield order[first : first + small + (self._rank < larger)]
            begin += size

    def __len__(self) -> int:
        return len(self.sizes)

    def state_dict(self) -> dict[str, Any]:
        """The number of the next epoch."""
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that epoch."""
        self.epoch = int(state["epoch"])


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
