"""DataLoader: batches of a dataset, prepared ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from queue import SimpleQueue
from threading import TIMEOUT_MAX, Thread
from typing import Any

import numpy as np

from tigon.base import TigonTimeoutError, check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete
from tigon.context import Context, current_context
from tigon.gluon.data.dataset import ArrayDataset, kept_dtype
from tigon.gluon.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from tigon.gluon.parameters_section import describe as _describe


def default_batchify_fn(samples: list[Any]) -> Any:
    """Stack samples into arrays; tuples become lists of arrays.

    >>> [part.shape for part in default_batchify_fn([(np.zeros(3), 1), (np.ones(3), 2)])]
    [(2, 3), (2,)]
    """
    return _stacked(samples, 0)


_DEEPEST_SAMPLE = 32


def _stacked(samples: list[Any], depth: int) -> Any:
    from tigon import nd

    first = samples[0]
    if isinstance(first, nd.NDArray):
        return nd.stack(*samples)
    if isinstance(first, (tuple, list)):
        check(
            depth < _DEEPEST_SAMPLE,
            "default_batchify_fn",
            f"samples are tuples nested more than {_DEEPEST_SAMPLE} deep; return arrays, or pass a "
            "batchify_fn of your own",
        )
        return [_stacked(list(part), depth + 1) for part in zip(*samples, strict=True)]
    batch = np.asarray(samples)
    return nd.array(batch, dtype=kept_dtype(batch.dtype))


class _Workers:
    """Threads that load batches ahead, on the context of whoever orders them. Nobody waits for
    them, neither the end of a loop nor that of the process: one may be stuck in the dataset's
    code."""

    def __init__(self, load: Callable[[list[int]], Any], count: int) -> None:
        self._count = count
        self._orders: SimpleQueue[tuple[Future[Any], list[int], Context] | None] = SimpleQueue()
        for _ in range(count):
            Thread(target=_work, args=(load, self._orders), daemon=True).start()

    def load(self, indices: list[int]) -> Future[Any]:
        future: Future[Any] = Future()
        self._orders.put((future, indices, current_context()))
        return future

    def dismiss(self) -> None:
        """Let each go when it has done what it is doing."""
        for _ in range(self._count):
            self._orders.put(None)


def _work(load: Callable[[list[int]], Any], orders: SimpleQueue[Any]) -> None:
    while (order := orders.get()) is not None:
        future, indices, context = order
        if not future.set_running_or_notify_cancel():
            continue
        try:
            with context:
                future.set_result(load(indices))
        except BaseException as error:
            future.set_exception(error)
        del order, future  # nor must a batch live until the next one is ordered


class DataLoader(NamesWrongTypes):
    """Iterates over a dataset in batches.

    With `num_workers`, that many threads load up to `prefetch` batches ahead (twice as many as
    there are threads, unless given). A batch that is not there `timeout` seconds after it was asked
    for is a `TigonTimeoutError`. Leaving the loop early waits for no thread.

    >>> from tigon.gluon.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.zeros((5, 2)), np.arange(5)), batch_size=2)
    >>> [data.shape for data, label in loader]
    [(2, 2), (2, 2), (1, 2)]
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
        thread_pool: bool = True,
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
        self._batchify = batchify_fn or default_batchify_fn
        self._num_workers = max(num_workers, 0)
        self._prefetch = max(2 * self._num_workers if prefetch is None else prefetch, 0)
        self._timeout = timeout

    def _load(self, indices: list[int]) -> Any:
        if self._batchify is default_batchify_fn and type(self._dataset) is ArrayDataset:
            batch = self._dataset.rows(indices)
            if batch is not None:
                return batch
        return self._batchify([self._dataset[index] for index in indices])

    def __iter__(self) -> Iterator[Any]:
        if self._num_workers == 0:
            for indices in self._batch_sampler:
                yield self._load(indices)
            return
        workers = _Workers(self._load, self._num_workers)
        pending: deque[tuple[Future[Any], list[int]]] = deque()
        number = 0
        try:
            for indices in self._batch_sampler:
                pending.append((workers.load(indices), indices))
                if len(pending) > self._prefetch:
                    yield self._result(number, *pending.popleft())
                    number += 1
            while pending:
                yield self._result(number, *pending.popleft())
                number += 1
        finally:
            for future, _ in pending:
                future.cancel()
            workers.dismiss()

    def _result(self, number: int, future: Future[Any], indices: list[int]) -> Any:
        try:
            return future.result(min(self._timeout, TIMEOUT_MAX))
        except NotInTime:
            if future.done():  # meanwhile, or the error is the dataset's own
                return future.result()
        samples = ", ".join(str(index) for index in indices[:8])
        raise TigonTimeoutError(
            f"DataLoader: expected batch {number} (samples {samples}"
            f"{', ...' if len(indices) > 8 else ''}) within timeout={self._timeout} seconds; it is "
            "not there; try these samples with dataset[...], give a larger timeout, or "
            "num_workers=0 to see where it is stuck"
        )

    def __len__(self) -> int:
        return len(self._batch_sampler)


_describe(
    DataLoader,
    dataset="samples by number: anything with `[]` and a length",
    batch_size="how many samples a batch has",
    shuffle="whether each epoch has an order of its own",
    sampler="numbers of samples in order, in place of `shuffle`",
    last_batch="what becomes of a last batch that is not full: 'keep', 'discard', 'rollover'",
    batch_sampler="lists of numbers of samples, in place of the four before",
    batchify_fn="a batch from a list of samples; by default arrays of each of their parts",
    num_workers="how many threads load ahead; 0: batches are loaded when they are asked for",
    pin_memory="accepted: there is no memory to be pinned",
    pin_device_id="accepted, as `pin_memory`",
    prefetch="how many batches are loaded ahead; twice the number of threads by default",
    thread_pool="accepted: workers are threads in any case",
    timeout="seconds that a batch is waited for",
)

_complete(globals())
