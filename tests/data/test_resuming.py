"""A loader's place in an epoch, kept and taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.data import worker_datasets as sets
from tests.data.test_workers import message, plain
from tigon.gluon.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler


def make(last_batch: str = "keep", **options: Any) -> DataLoader:
    return DataLoader(sets.Drawing(11), 3, shuffle=True, last_batch=last_batch, **options)


@pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
def test_an_interrupted_epoch_goes_on(last_batch: str) -> None:
    mx.random.seed(2)
    whole = make(last_batch)
    epochs = [[plain(batch) for batch in whole] for _ in range(3)]
    for epoch, batches in enumerate(epochs):
        for stop in range(1, len(batches) + 1):
            mx.random.seed(2)
            first = make(last_batch)
            for _ in range(epoch):
                list(first)
            running = iter(first)
            assert [plain(next(running)) for _ in range(stop)] == batches[:stop]
            state = json.loads(json.dumps(first.state_dict()))
            again = make(last_batch, num_workers=stop % 3, thread_pool=True)
            mx.random.seed(99)
            again.load_state_dict(state)
            assert again.state_dict() == state
            assert [plain(batch) for batch in again] == batches[stop:]


@pytest.mark.alone
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 3), (1, 2)])
def test_with_other_numbers_of_workers(before: int, after: int) -> None:
    mx.random.seed(2)
    whole = [plain(batch) for batch in make("rollover")]
    mx.random.seed(2)
    first = make("rollover", num_workers=before)
    running = iter(first)
    next(running)
    again = make("rollover", num_workers=after)
    again.load_state_dict(first.state_dict())
    assert [plain(batch) for batch in again] == whole[1:]


def test_epochs_that_follow_are_those_that_would_have_followed() -> None:
    def rest(loader: DataLoader) -> Any:
        return [[plain(batch) for batch in loader] for _ in range(2)]

    loader = make("rollover")
    running = iter(loader)
    next(running)
    state, stream = loader.state_dict(), mx.runtime.keys.state()
    wanted = [[plain(batch) for batch in running], *rest(loader)]
    again = make("rollover")
    mx.random.seed(stream[0])
    mx.runtime.keys.reserve(stream[1])
    again.load_state_dict(state)
    assert [[plain(batch) for batch in again], *rest(again)] == wanted
    between = loader.state_dict()
    assert between["key"] is None
    third = make("rollover")
    third.load_state_dict(between)
    assert third.state_dict() == between


def test_states_of_something_else() -> None:
    loader = make()
    running = iter(loader)
    next(running)
    state = loader.state_dict()
    assert message(lambda: DataLoader(sets.Drawing(12), 3).load_state_dict(state)) == (
        "DataLoader.load_state_dict: the state is of a dataset of 11 samples; this one has 12"
    )
    assert "expected what state_dict() gives; given {}" in message(
        lambda: make().load_state_dict({})
    )
    for missing in state:
        part = {name: value for name, value in state.items() if name != missing}
        assert "expected what state_dict() gives" in message(
            lambda part=part: make().load_state_dict(part)
        )
    for other in (DataLoader(sets.Drawing(11), 2, shuffle=True), DataLoader(sets.Drawing(11), 3)):
        other.load_state_dict(state)
        assert "are others than those before the state was taken" in message(
            lambda other=other: list(other)
        )


class Backwards:
    """A sampler of one's own that draws from numpy, which no key of an epoch knows of."""

    def __init__(self, draws: bool) -> None:
        self.draws = draws

    def __iter__(self) -> Iterator[int]:
        order = np.arange(8)[::-1]
        return iter(np.random.permutation(order).tolist() if self.draws else order.tolist())

    def __len__(self) -> int:
        return 8


def test_samplers_of_ones_own() -> None:
    for draws in (False, True):
        loader = DataLoader(list(range(8)), 2, sampler=Backwards(draws))
        running = iter(loader)
        next(running)
        loader.load_state_dict(loader.state_dict())
        if draws:
            assert "let samplers draw from mx.random alone" in message(lambda x=loader: list(x))
        else:
            assert [batch.asnumpy().tolist() for batch in loader] == [[5, 4], [3, 2], [1, 0]]


def test_samplers_that_keep_something() -> None:
    sampler = BatchSampler(SequentialSampler(5), 2, "rollover")
    assert list(sampler) == [[0, 1], [2, 3]]
    other = BatchSampler(SequentialSampler(5), 2, "rollover")
    other.load_state_dict(sampler.state_dict())
    assert list(other) == [[4, 0], [1, 2], [3, 4]]
    mx.random.seed(1)
    first = list(RandomSampler(50))
    mx.random.seed(1)
    assert list(RandomSampler(50)) == first and sorted(first) == list(range(50))
