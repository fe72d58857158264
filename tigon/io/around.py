"""Iterators around other iterators: of another length, or loaded ahead."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import Any

from tigon.base import TigonError, check
from tigon.context import current_context
from tigon.io.batches import DataBatch, DataDesc, DataIter


class _Around(DataIter):
    """Batches that come whole."""

    current_batch: Any = None

    def next(self) -> Any:
        if self.iter_next():
            return self.current_batch
        raise StopIteration

    def getdata(self) -> Any:
        return self.current_batch.data

    def getlabel(self) -> Any:
        return self.current_batch.label

    def getindex(self) -> Any:
        return self.current_batch.index

    def getpad(self) -> Any:
        return self.current_batch.pad


class ResizeIter(_Around):
    """Another iterator, but of `size` batches in an epoch; it begins again where it ends before.

    Parameters
    ----------
    data_iter
        the iterator
    size
        how many batches an epoch has
    reset_internal, True by default
        whether each epoch begins at its first batch; otherwise it goes on
    """

    def __init__(self, data_iter: Any, size: int, reset_internal: bool = True) -> None:
        super().__init__()
        check(size >= 0, "ResizeIter", f"size: expected a number from 0 on; given {size}")
        self.data_iter = data_iter
        self.size = size
        self.reset_internal = reset_internal
        self.cur = 0
        self.provide_data = data_iter.provide_data
        self.provide_label = data_iter.provide_label
        self.batch_size = data_iter.batch_size
        if hasattr(data_iter, "default_bucket_key"):
            self.default_bucket_key = data_iter.default_bucket_key

    def reset(self) -> None:
        """To the beginning of an epoch."""
        self.cur = 0
        if self.reset_internal:
            self.data_iter.reset()

    def iter_next(self) -> bool:
        if self.cur == self.size:
            return False
        try:
            self.current_batch = self.data_iter.next()
        except StopIteration:
            self.data_iter.reset()
            try:
                self.current_batch = self.data_iter.next()
            except StopIteration:
                raise TigonError(
                    "ResizeIter: the iterator has no batches; give it samples"
                ) from None
        self.cur += 1
        return True


class PrefetchingIter(_Around):
    """One iterator or several, whose next batch threads load meanwhile. Batches of several are put
    together.

    Parameters
    ----------
    iters
        the iterators, of one batch size
    rename_data, None by default
        for each of them a dictionary of new names of data
    rename_label, None by default
        for each of them a dictionary of new names of labels
    """

    def __init__(self, iters: Any, rename_data: Any = None, rename_label: Any = None) -> None:
        super().__init__()
        self.iters = list(iters) if isinstance(iters, (list, tuple)) else [iters]
        self.n_iter = len(self.iters)
        check(self.n_iter > 0, "PrefetchingIter", "expected an iterator, or several; given none")
        for name, given in (("rename_data", rename_data), ("rename_label", rename_label)):
            check(
                given is None or len(given) == self.n_iter,
                "PrefetchingIter",
                f"{name}: expected a dictionary for each of {self.n_iter} iterators; given "
                f"{given!r}",
            )
        self.rename_data = rename_data
        self.rename_label = rename_label
        self.batch_size = self.provide_data[0][1][0]
        self._loaders = [_Ahead(one) for one in self.iters]

    @property
    def provide_data(self) -> list[DataDesc]:
        """Descriptions of the data of a batch, by their new names."""
        return self._described([one.provide_data for one in self.iters], self.rename_data)

    @property
    def provide_label(self) -> list[DataDesc]:
        """Descriptions of the labels of a batch, by their new names."""
        return self._described([one.provide_label for one in self.iters], self.rename_label)

    @staticmethod
    def _described(parts: list[Any], renamed: Any) -> list[DataDesc]:
        found = []
        for names, descriptions in zip(renamed or [{}] * len(parts), parts, strict=True):
            for one in descriptions:
                own = one if isinstance(one, DataDesc) else DataDesc(*one)
                found.append(
                    DataDesc(names.get(own.name, own.name), own.shape, own.dtype, own.layout)
                )
        return found

    def reset(self) -> None:
        """To the first batch of all."""
        for one in self._loaders:
            one.reset()

    def iter_next(self) -> bool:
        batches = [one.next() for one in self._loaders]
        ended = [batch is None for batch in batches]
        check(
            all(ended) or not any(ended),
            "PrefetchingIter",
            "one iterator has ended before another; give iterators of as many batches",
        )
        if ended[0]:
            return False
        pads = {batch.pad for batch in batches}
        check(
            len(pads) == 1,
            "PrefetchingIter",
            f"batches of one step have {' and '.join(map(str, sorted(pads, key=str)))} samples of "
            "padding; give iterators of as many samples",
        )
        first = batches[0]
        self.current_batch = DataBatch(
            [array for batch in batches for array in batch.data],
            [array for batch in batches for array in batch.label or []],
            first.pad,
            first.index,
            provide_data=self.provide_data,
            provide_label=self.provide_label,
        )
        return True


class _Ahead:
    """A thread that has the next batch of an iterator ready. Nobody waits for it but who asks for
    the batch."""

    def __init__(self, iterator: Any) -> None:
        self._orders: SimpleQueue[Any] = SimpleQueue()
        self._results: SimpleQueue[Any] = SimpleQueue()
        arguments = (iterator, current_context(), self._orders, self._results)
        Thread(target=_load, args=arguments, daemon=True).start()
        self._orders.put("next")
        self._is_ended = False

    def next(self) -> Any:
        """The next batch; None at the end of the epoch."""
        if self._is_ended:
            return None
        found, error = self._results.get()
        if error is not None:
            self._is_ended = True
            raise error
        if found is None:
            self._is_ended = True
        else:
            self._orders.put("next")
        return found

    def reset(self) -> None:
        if not self._is_ended:
            self._results.get()
        self._is_ended = False
        self._orders.put("reset")
        self._orders.put("next")

    def __del__(self) -> None:
        self._orders.put(None)


def _load(iterator: Any, context: Any, orders: SimpleQueue[Any], results: SimpleQueue[Any]) -> None:
    failed = None
    with context:
        while (order := orders.get()) is not None:
            try:
                if order == "reset":
                    failed = None
                    iterator.reset()
                elif failed is not None:
                    results.put((None, failed))
                else:
                    results.put((iterator.next(), None))
            except StopIteration:
                results.put((None, None))
            except BaseException as error:
                if order == "reset":
                    failed = error
                else:
                    results.put((None, error))
