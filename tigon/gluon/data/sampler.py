"""Samplers: orders of sample numbers, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tigon import nd
from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.gluon.parameters_section import describe as _describe


class Sampler(NamesWrongTypes):
    """Base: `__iter__` and `__len__`."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__}: define __iter__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: define __len__")


class SequentialSampler(Sampler):
    """`start`, `start + 1`, ..."""

    def __init__(self, length: int, start: int = 0) -> None:
        self._length = length
        self._start = start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start, self._start + self._length))

    def __len__(self) -> int:
        return self._length


class RandomSampler(Sampler):
    """A new random order each time, from tigon's random stream."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __iter__(self) -> Iterator[int]:
        order = nd.random.uniform(shape=(max(self._length, 1),), dtype="float64")
        return iter(order.asnumpy()[: self._length].argsort().tolist())

    def __len__(self) -> int:
        return self._length


class FilterSampler(Sampler):
    """The numbers of the samples for which a function is true."""

    def __init__(self, fn: Any, dataset: Any) -> None:
        self._indices = [i for i in range(len(dataset)) if fn(dataset[i])]

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class IntervalSampler(Sampler):
    """Every `interval`-th number from 0 on, then those from 1 on, and so on.

    >>> list(IntervalSampler(10, 3))
    [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
    >>> list(IntervalSampler(10, 3, rollover=False))
    [0, 3, 6, 9]
    """

    def __init__(self, length: int, interval: int, rollover: bool = True) -> None:
        check(
            0 < interval <= length,
            "IntervalSampler",
            f"interval: expected a number from 1 to the length {length}; given {interval}",
        )
        self._length = length
        self._interval = interval
        self._rollover = rollover

    def __iter__(self) -> Iterator[int]:
        for start in range(self._interval if self._rollover else 1):
            yield from range(start, self._length, self._interval)

    def __len__(self) -> int:
        return self._length if self._rollover else -(-self._length // self._interval)


class BatchSampler(Sampler):
    """Batches of another sampler's numbers; `last_batch` is keep, discard or rollover.

    >>> list(BatchSampler(SequentialSampler(5), 2, "discard"))
    [[0, 1], [2, 3]]
    """

    def __init__(self, sampler: Sampler, batch_size: int, last_batch: str = "keep") -> None:
        check(
            last_batch in ("keep", "discard", "rollover"),
            "BatchSampler",
            f"last_batch is 'keep', 'discard' or 'rollover'; given {last_batch!r}",
        )
        check(batch_size > 0, "BatchSampler", f"batch_size must be positive; given {batch_size}")
        self._sampler = sampler
        self._batch_size = batch_size
        self._last_batch = last_batch
        self._left_over: list[Any] = []

    def __iter__(self) -> Iterator[list[Any]]:
        batch, self._left_over = self._left_over, []
        for index in self._sampler:
            batch.append(index)
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch and self._last_batch == "keep":
            yield batch
        elif batch and self._last_batch == "rollover":
            self._left_over = batch

    def state_dict(self) -> dict[str, list[int]]:
        """What is left over from the epoch before."""
        return {"left_over": [int(index) for index in self._left_over]}

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        """Begin the next epoch with what was left over."""
        self._left_over = list(state["left_over"])

    def __len__(self) -> int:
        count = len(self._sampler)
        if self._last_batch == "keep":
            return -(-count // self._batch_size)
        if self._last_batch == "rollover":
            count += len(self._left_over)
        return count // self._batch_size


_describe(
    SequentialSampler,
    RandomSampler,
    FilterSampler,
    IntervalSampler,
    BatchSampler,
    interval="the distance from one number to the next",
    rollover="whether it begins again with the numbers that were left out",
    length="how many samples there are",
    start="the first number",
    fn="of a sample, whether it is taken",
    dataset="the samples",
    sampler="the numbers that are put together",
    batch_size="how many numbers a batch has",
    last_batch="'keep', 'discard', or 'rollover': it begins the next epoch",
)
