"""DataLoader: batches of a dataset, prepared ahead by processes or threads."""

from __future__ import annotations

import weakref
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import TIMEOUT_MAX, Thread
from typing import Any

from tigon import nd
from tigon.base import TigonTimeoutError, check, config
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete
from tigon.context import Context, current_context
from tigon.gluon.data.loading import (
    Batchify,
    Order,
    default_batchify_fn,
    default_mp_batchify_fn,
    load,
)
from tigon.gluon.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from tigon.gluon.data.workers import WorkerPool, late
from tigon.gluon.parameters_section import describe as _describe
from tigon.runtime import keys

__all__ = ["DataLoader", "ForkingPickler", "default_batchify_fn", "default_mp_batchify_fn"]


class _Threads:
    """Threads that load batches ahead, on the context of whoever orders them. Nobody waits for
    them, neither the end of a loop nor that of the process: one may be stuck in the dataset's
    code."""

    def __init__(self, dataset: Any, batchify: Batchify, count: int) -> None:
        self._count = count
        self._orders: SimpleQueue[tuple[Future[Any], Order, Context] | None] = SimpleQueue()
        self._futures: dict[int, Future[Any]] = {}
        for _ in range(count):
            Thread(target=_work, args=(dataset, batchify, self._orders), daemon=True).start()

    def order(self, order: Order) -> None:
        future = self._futures[order.number] = Future()
        self._orders.put((future, order, current_context()))

    def result(self, order: Order, timeout: float) -> Any:
        future = self._futures.pop(order.number)
        try:
            return future.result(min(timeout, TIMEOUT_MAX))
        except NotInTime:
            if future.done():  # meanwhile, or the error is the dataset's own
                return future.result()
        raise TigonTimeoutError(late(order, timeout))

    def dismiss(self) -> None:
        """Let each go when it has done what it is doing."""
        for future in self._futures.values():
            future.cancel()
        for _ in range(self._count):
            self._orders.put(None)


def _work(dataset: Any, batchify: Batchify, orders: SimpleQueue[Any]) -> None:
    while (item := orders.get()) is not None:
        future, order, context = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            with context:
                future.set_result(load(dataset, batchify, order))
        except BaseException as error:
            future.set_exception(error)
        del item, future  # nor must a batch live until the next one is ordered


class _Processes:
    """An epoch of a pool of processes."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._epoch = pool.begin()

    def order(self, order: Order) -> None:
        self._pool.order(self._epoch, order)

    def result(self, order: Order, timeout: float) -> Any:
        return self._pool.result(self._epoch, order, min(timeout, TIMEOUT_MAX))

    def dismiss(self) -> None:
        self._pool.end(self._epoch)


class _MultiWorkerIter:
    """The batches of an epoch, some of them ordered before they are asked for."""

    def __init__(
        self, orders: Iterator[Order], workers: Any, prefetch: int, timeout: float
    ) -> None:
        self._batches = self._run(orders, workers, prefetch, timeout)

    @staticmethod
    def _run(
        orders: Iterator[Order], workers: Any, prefetch: int, timeout: float
    ) -> Generator[Any, None, None]:
        pending: deque[Order] = deque()
        try:
            for order in orders:
                workers.order(order)
                pending.append(order)
                if len(pending) > prefetch:
                    yield workers.result(pending.popleft(), timeout)
            while pending:
                yield workers.result(pending.popleft(), timeout)
        finally:
            workers.dismiss()

    def __iter__(self) -> _MultiWorkerIter:
        return self

    def __next__(self) -> Any:
        return next(self._batches)


class _Epoch:
    """The order of an epoch, which follows from its key, and how much of it was handed out."""

    def __init__(self, key: tuple[int, int], sampler: Any, begun: tuple[int, int] = (0, 0)) -> None:
        """`begun`: batches and samples of it that were handed out by another loader, and that the
        sampler leaves out."""
        self.key = key
        self.sampler = sampler
        """What the sampler has kept from the epoch before."""
        self._begun = begun
        self.batches = 0
        self.samples = 0
        self.checksum = 0
        self._sums: deque[tuple[int, int]] = deque()

    def orders(self, batch_sampler: Any) -> Iterator[Order]:
        """All of them. What the samplers draw, they draw from streams of this epoch."""
        stream = keys.inner(*self.key)[0]
        number, place = self._begun
        checksum = 0
        batches = None
        while True:
            with keys.scope(*keys.inner(stream + 1, number)):
                batches = iter(batch_sampler) if batches is None else batches
                indices = next(batches, None)
            if indices is None:
                return
            indices = list(indices)
            checksum = zlib.crc32(repr(indices).encode(), checksum)
            self._sums.append((checksum, len(indices)))
            yield Order(number, place, indices, stream)
            place += len(indices)
            number += 1

    def hand_out(self) -> None:
        """One more batch is the loop's."""
        self.batches += 1
        self.checksum, count = self._sums.popleft()
        self.samples += count

    @property
    def begun(self) -> list[int]:
        """Batches and samples that were handed out so far."""
        batches, samples = self._begun
        return [batches + self.batches, samples + self.samples]


class DataLoader(NamesWrongTypes):
    """Iterates over a dataset in batches.

    With `num_workers`, that many processes load up to `prefetch` batches ahead (twice as many as
    there are processes, unless given), or, with `thread_pool`, threads. Processes are started at
    the first epoch and end with the loader. Dataset and `batchify_fn` are sent to them by pickling,
    arrays in them through shared memory, and so are batches sent back. A batch that is not there
    `timeout` seconds after it was asked for is a `TigonTimeoutError`; a process that ends is told
    at once. Leaving the loop early waits for nothing.

    The order of an epoch, and what transforms draw from tigon's random stream, follow from the
    state of `mx.random` at its beginning and the places of the samples alone: they are the same
    with any number of workers. `state_dict()` is the place in an epoch, a few numbers; a loader
    that has loaded it goes on with the next batch of that epoch.

    >>> import numpy as np
    >>> from tigon.gluon.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.zeros((5, 2)), np.arange(5)), batch_size=2)
    >>> [data.shape for data, label in loader]
    [(2, 2), (2, 2), (1, 2)]
    >>> numbers = DataLoader(list(range(6)), batch_size=2, shuffle=True)
    >>> epoch = iter(numbers)
    >>> first, state = next(epoch), numbers.state_dict()
    >>> rest = [batch.asnumpy().tolist() for batch in epoch]
    >>> numbers.load_state_dict(state)
    >>> rest == [batch.asnumpy().tolist() for batch in numbers]
    True
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        sampler: Any = None,
        last_batch: str | None = None,
        batch_sampler: Any = None,
        batchify_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        pin_device_id: int = 0,
        prefetch: int | None = None,
        thread_pool: bool = False,
        timeout: float = 120,
    ) -> None:
        check(timeout > 0, "DataLoader", f"timeout must be positive; given {timeout}")
        if batch_sampler is None:
            check(
                batch_size is not None,
                "DataLoader",
                "batch_size must be given unless batch_sampler is",
            )
            check(
                not (sampler is not None and shuffle),
                "DataLoader",
                "a sampler decides the order; leave shuffle out",
            )
            if sampler is None:
                sampler = (RandomSampler if shuffle else SequentialSampler)(len(dataset))
            batch_sampler = BatchSampler(sampler, batch_size or 1, last_batch or "keep")
        else:
            check(
                batch_size is None and not shuffle and sampler is None and last_batch is None,
                "DataLoader",
                "batch_sampler decides the batches; leave batch_size, shuffle, sampler and "
                "last_batch out",
            )
        self._dataset = dataset
        self._batch_sampler = batch_sampler
        self._batchify_fn = batchify_fn or default_batchify_fn
        self._num_workers = max(num_workers, 0)
        self._prefetch = max(2 * self._num_workers if prefetch is None else prefetch, 0)
        self._timeout = timeout
        self._thread_pool = thread_pool
        self._pool: WorkerPool | None = None
        self._epoch: _Epoch | None = None
        self._resumed: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self._iterate()

    def _iterate(self) -> Generator[Any, None, None]:
        epoch, orders = self._begin()
        if self._num_workers == 0:
            batches: Any = (load(self._dataset, self._batchify_fn, order) for order in orders)
        else:
            batches = _MultiWorkerIter(orders, self._workers(), self._prefetch, self._timeout)
        for batch in batches:
            epoch.hand_out()
            yield batch
            del batch  # or it would live until the next one is there
        if self._epoch is epoch:
            self._epoch = None

    def _workers(self) -> Any:
        if self._thread_pool:
            return _Threads(self._dataset, self._batchify_fn, self._num_workers)
        if self._pool is None or not self._pool.is_usable:
            self._pool = WorkerPool(self._dataset, self._batchify_fn, self._num_workers)
            weakref.finalize(self, self._pool.close)
        return _Processes(self._pool)

    def _begin(self) -> tuple[_Epoch, Iterator[Order]]:
        """A new epoch, or the rest of the one that was loaded."""
        state, self._resumed = self._resumed, None
        if state is None:
            epoch = _Epoch(keys.reserve(1), _state_of(self._batch_sampler))
            self._epoch = epoch
            return epoch, epoch.orders(self._batch_sampler)
        epoch = _Epoch(tuple(state["key"]), state["sampler"], tuple(state.get("begun", (0, 0))))
        orders = epoch.orders(self._batch_sampler)
        for _ in range(state["batches"]):
            found = next(orders, None)
            if found is None:
                break
            epoch.hand_out()
        check(
            (epoch.batches, epoch.checksum) == (state["batches"], state["checksum"]),
            "DataLoader",
            f"the first {state['batches']} batches are others than those before the state was "
            "taken; go on with the same dataset, batch size and samplers, and let samplers draw "
            "from mx.random alone",
        )
        self._epoch = epoch
        return epoch, orders

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch that was begun last: after the batch that was handed out last.
        Numbers, lists and dictionaries of them, that JSON can hold."""
        if self._resumed is not None:
            return self._resumed
        epoch = self._epoch
        state: dict[str, Any] = {"version": 1, "samples": len(self._dataset)}
        if epoch is None:
            return {**state, "key": None, "sampler": _state_of(self._batch_sampler)}
        if hasattr(self._batch_sampler, "after"):  # by other ranks, too: the rest is an epoch
            rest = self._batch_sampler.after(epoch.sampler, epoch.batches)
            state |= {"sampler": rest, "batches": 0, "checksum": 0, "begun": epoch.begun}
            return {**state, "key": list(epoch.key), "rank": config.launched().rank}
        return {
            **state,
            "key": list(epoch.key),
            "sampler": epoch.sampler,
            "batches": epoch.batches,
            "checksum": epoch.checksum,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next loop go on where a loader of the same dataset and samplers was. Where that
        was between two epochs, the next one begins."""
        known = {"version", "samples", "key", "sampler"}
        begun = {"batches", "checksum"}
        check(
            isinstance(state, dict)
            and known <= state.keys()
            and state["version"] == 1
            and (state["key"] is None or begun <= state.keys()),
            "DataLoader.load_state_dict",
            f"expected what state_dict() gives; given {state!r:.80}",
        )
        check(
            state["samples"] == len(self._dataset),
            "DataLoader.load_state_dict",
            f"the state is of a dataset of {state['samples']} samples; this one has "
            f"{len(self._dataset)}",
        )
        if state["sampler"] is not None:
            self._batch_sampler.load_state_dict(state["sampler"])
        # What transforms draw is a rank's own: one that was not there has a stream of its own.
        known_here = state.get("rank", config.launched().rank) == config.launched().rank
        self._resumed = state if state["key"] is not None and known_here else None
        self._epoch = None

    def __len__(self) -> int:
        return len(self._batch_sampler)


def _state_of(sampler: Any) -> Any:
    return sampler.state_dict() if hasattr(sampler, "state_dict") else None


def _as_in_context(data: Any, ctx: Context) -> Any:
    """The arrays in a batch, on a context."""
    if isinstance(data, nd.NDArray):
        return data.as_in_context(ctx)
    if isinstance(data, (list, tuple)):
        return [_as_in_context(part, ctx) for part in data]
    return data


_describe(
    DataLoader,
    dataset="samples by number: anything with `[]` and a length",
    batch_size="how many samples a batch has",
    shuffle="whether each epoch has an order of its own",
    sampler="numbers of samples in order, in place of `shuffle`",
    last_batch="what becomes of a last batch that is not full: 'keep', 'discard', 'rollover'",
    batch_sampler="lists of numbers of samples, in place of the four before",
    batchify_fn="a batch from a list of samples; by default arrays of each of their parts",
    num_workers="how many processes load ahead; 0: batches are loaded when they are asked for",
    pin_memory="accepted: there is no memory to be pinned",
    pin_device_id="accepted, as `pin_memory`",
    prefetch="how many batches are loaded ahead; twice the number of workers by default",
    thread_pool="whether workers are threads of this process",
    timeout="seconds that a batch is waited for",
)

_complete(globals())
