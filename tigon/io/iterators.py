"""`NDArrayIter` and the records that describe its batches."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.arguments import NamesWrongTypes


class DataDesc(namedtuple("DataDesc", ["name", "shape"])):
    """Name, shape, dtype and layout of one array of a batch.

    >>> DataDesc("data", (32, 10)).dtype
    'float32'
    """

    dtype: Any
    layout: str

    def __new__(
        cls, name: str, shape: Sequence[int], dtype: Any = "float32", layout: str = "NCHW"
    ) -> DataDesc:
        result = super().__new__(cls, name, tuple(shape))
        result.dtype = dtype
        result.layout = layout
        return result

    def __repr__(self) -> str:
        return f"DataDesc[{self.name},{self.shape},{self.dtype},{self.layout}]"

    @staticmethod
    def get_batch_axis(layout: str | None) -> int:
        """Where the batch is in a layout."""
        return 0 if layout is None else layout.find("N")


class DataBatch(NamesWrongTypes):
    """Lists of arrays: data and labels, and how many samples at the end are padding."""

    def __init__(
        self,
        data: list[Any],
        label: list[Any] | None = None,
        pad: int | None = None,
        index: Any = None,
        bucket_key: Any = None,
        provide_data: Any = None,
        provide_label: Any = None,
    ) -> None:
        for name, arrays in (("data", data), ("label", label)):
            check(
                arrays is None or isinstance(arrays, (list, tuple)),
                "DataBatch",
                f"{name} is a list of arrays; given {type(arrays).__name__}",
            )
        self.data = data
        self.label = label
        self.pad = pad
        self.index = index
        self.bucket_key = bucket_key
        self.provide_data = provide_data
        self.provide_label = provide_label

    def __str__(self) -> str:
        data = [array.shape for array in self.data]
        label = [array.shape for array in self.label or []]
        return f"DataBatch: data shapes: {data} label shapes: {label}"


class DataIter(NamesWrongTypes):
    """Base of the iterators over batches."""

    def __init__(self, batch_size: int = 0) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[DataBatch]:
        return self

    def reset(self) -> None:
        """Back to the first batch."""

    def next(self) -> DataBatch:
        """The next batch; StopIteration at the end."""
        if self.iter_next():
            return DataBatch(self.getdata(), self.getlabel(), self.getpad(), self.getindex())
        raise StopIteration

    def __next__(self) -> DataBatch:
        return self.next()

    def iter_next(self) -> bool:
        """Advance; whether there is a batch."""
        raise NotImplementedError(f"{type(self).__name__}: define iter_next")

    def getdata(self) -> list[Any]:
        """The data of this batch."""
        raise NotImplementedError(f"{type(self).__name__}: define getdata")

    def getlabel(self) -> list[Any]:
        """The labels of this batch."""
        raise NotImplementedError(f"{type(self).__name__}: define getlabel")

    def getindex(self) -> Any:
        """The numbers of the samples, if known."""
        return None

    def getpad(self) -> int:
        """How many samples at the end are padding."""
        return 0


class NDArrayIter(DataIter):
    """Batches of arrays in memory.

    `last_batch_handle`: "pad" fills the last batch from the beginning, "discard" drops it,
    "roll_over" keeps it for the next epoch.

    >>> batches = NDArrayIter(np.zeros((5, 2)), np.arange(5), batch_size=2)
    >>> [(batch.data[0].shape, batch.pad) for batch in batches]
    [((2, 2), 0), ((2, 2), 0), ((2, 2), 1)]
    """

    def __init__(
        self,
        data: Any,
        label: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        last_batch_handle: str = "pad",
        data_name: str = "data",
        label_name: str = "softmax_label",
    ) -> None:
        super().__init__(batch_size)
        check(
            last_batch_handle in ("pad", "discard", "roll_over"),
            "NDArrayIter",
            f"last_batch_handle is 'pad', 'discard' or 'roll_over'; given {last_batch_handle!r}",
        )
        self.data = _named_arrays(data, data_name, required=True)
        self.label = _named_arrays(label, label_name, required=False)
        lengths = {name: len(array) for name, array in (*self.data, *self.label)}
        check(
            len(set(lengths.values())) == 1,
            "NDArrayIter",
            f"all arrays must have the same length; given {lengths}",
        )
        self.num_data = next(iter(lengths.values()))
        check(
            batch_size > 0 and self.num_data > 0,
            "NDArrayIter",
            f"expected samples and a positive batch_size; given {self.num_data} samples and "
            f"batch_size {batch_size}",
        )
        self.shuffle = shuffle
        self.last_batch_handle = last_batch_handle
        self._left_over = np.zeros(0, np.int64)
        self._order = np.arange(self.num_data)
        self._start_epoch()

    def _start_epoch(self) -> None:
        order = np.arange(self.num_data)
        if self.shuffle:
            from tigon import nd

            draws = nd.random.uniform(shape=(self.num_data,), dtype="float64")
            order = draws.asnumpy().argsort()
        self._order = np.concatenate([self._left_over, order])
        self._left_over = np.zeros(0, np.int64)
        self.cursor = -self.batch_size

    @property
    def provide_data(self) -> list[DataDesc]:
        """Descriptions of the data of a batch."""
        return self._describe(self.data)

    @property
    def provide_label(self) -> list[DataDesc]:
        """Descriptions of the labels of a batch."""
        return self._describe(self.label)

    def _describe(self, arrays: Sequence[tuple[str, np.ndarray]]) -> list[DataDesc]:
        return [
            DataDesc(name, (self.batch_size, *array.shape[1:]), array.dtype.name)
            for name, array in arrays
        ]

    def reset(self) -> None:
        if self.last_batch_handle == "roll_over":
            begin = self.cursor if self.cursor < len(self._order) else len(self._order)
            if 0 < len(self._order) - begin < self.batch_size:
                self._left_over = self._order[begin:]
        self._start_epoch()

    hard_reset = reset

    def iter_next(self) -> bool:
        self.cursor += self.batch_size
        left = len(self._order) - self.cursor
        if left <= 0:
            return False
        return left >= self.batch_size or self.last_batch_handle == "pad"

    def _indices(self) -> np.ndarray:
        places = np.arange(self.cursor, self.cursor + self.batch_size)
        return self._order.take(places, mode="wrap")  # more than once where samples are few

    def _batch(self, arrays: Sequence[tuple[str, np.ndarray]]) -> list[Any]:
        from tigon import nd

        indices = self._indices()
        return [nd.array(array[indices], dtype=array.dtype) for _, array in arrays]

    def getdata(self) -> list[Any]:
        return self._batch(self.data)

    def getlabel(self) -> list[Any]:
        return self._batch(self.label)

    def getindex(self) -> np.ndarray:
        return self._indices()

    def getpad(self) -> int:
        return max(self.cursor + self.batch_size - len(self._order), 0)


def _named_arrays(given: Any, name: str, required: bool) -> list[tuple[str, np.ndarray]]:
    """(name, array) pairs from an array, a list or a dictionary of them."""
    if given is None:
        check(not required, "NDArrayIter", "data must be given")
        return []
    if isinstance(given, Mapping):
        pairs = sorted(given.items())
    elif isinstance(given, (list, tuple)):
        names = [name] if len(given) == 1 else [f"_{i}_{name}" for i in range(len(given))]
        pairs = list(zip(names, given, strict=True))
    else:
        pairs = [(name, given)]
    return [(own, _host(array)) for own, array in pairs]


def _host(array: Any) -> np.ndarray:
    if hasattr(array, "asnumpy"):
        return array.asnumpy()
    values = np.asarray(array)
    return values if values.dtype.kind == "b" else values.astype(np.float32)
