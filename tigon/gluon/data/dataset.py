"""Datasets: sequences of samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tigon import nd, recordio
from tigon.base import check
from tigon.base.arguments import NamesWrongTypes
from tigon.base.lazy import complete as _complete
from tigon.gluon.parameters_section import describe as _describe


class Dataset(NamesWrongTypes):
    """Base: `__getitem__` and `__len__`.

    >>> SimpleDataset([1, 2, 3]).transform(lambda x: x * 10)[2]
    30
    """

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: define __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: define __len__")

    def filter(self, function: Callable[[Any], bool]) -> Dataset:
        """The samples for which `function` is true; each is asked once, at once."""
        return Subset(self, [i for i in range(len(self)) if function(self[i])])

    def shard(self, num_shards: int, index: int) -> Dataset:
        """Part `index` of `num_shards` nearly equal parts.

        >>> [len(SimpleDataset(range(10)).shard(3, i)) for i in range(3)]
        [4, 3, 3]
        """
        check(
            num_shards > 0,
            "Dataset.shard",
            f"num_shards: expected a positive number; given {num_shards}",
        )
        check(
            0 <= index < num_shards,
            "Dataset.shard",
            f"index must be in 0..{num_shards - 1}; given {index}",
        )
        size, rest = divmod(len(self), num_shards)
        start = size * index + min(index, rest)
        return Subset(self, range(start, start + size + (index < rest)))

    def take(self, count: int | None) -> Dataset:
        """The first `count` samples."""
        check(
            count is None or count >= 0,
            "Dataset.take",
            f"count: expected None or a number from 0 on; given {count}",
        )
        total = len(self)
        return Subset(self, range(total if count is None else min(count, total)))

    def sample(self, sampler: Any) -> Dataset:
        """The samples whose numbers a sampler gives."""
        return Subset(self, list(sampler))

    def transform(self, fn: Callable[..., Any], lazy: bool = True) -> Dataset:
        """`fn` of each sample, when it is asked for or (not `lazy`) at once."""
        changed = _Transformed(self, fn)
        return changed if lazy else SimpleDataset([changed[i] for i in range(len(self))])

    def transform_first(self, fn: Callable[..., Any], lazy: bool = True) -> Dataset:
        """`fn` of the first element of each sample."""
        return self.transform(_FirstOnly(fn), lazy)


class SimpleDataset(Dataset):
    """Any sequence as a dataset."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Any:
        return self._data[index]


class Subset(Dataset):
    """Chosen samples of another dataset."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self._dataset = dataset
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._indices[index]]


class _Transformed(Dataset):
    def __init__(self, dataset: Dataset, function: Callable[..., Any]) -> None:
        self._dataset = dataset
        self._function = function

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        item = self._dataset[index]
        return self._function(*item) if isinstance(item, tuple) else self._function(item)


class _FirstOnly:
    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, first: Any, *rest: Any) -> Any:
        return (self._function(first), *rest) if rest else self._function(first)


class RecordFileDataset(Dataset):
    """The records of a file with an index beside it, as bytes.

    The index is the file whose name ends in `.idx` where that of the records ends in `.rec`."""

    def __init__(self, filename: Any) -> None:
        self.filename = os.fspath(filename)
        self.idx_file = os.path.splitext(self.filename)[0] + ".idx"
        check(
            os.path.exists(self.idx_file),
            "RecordFileDataset",
            f"expected the index of {self.filename} at {self.idx_file}; it is not there; write it "
            f"with python -m tigon.tools.im2rec --index {self.filename}",
        )
        self._record = recordio.MXIndexedRecordIO(self.idx_file, self.filename, "r")

    def __getitem__(self, index: int) -> bytes:
        return self._record.read_idx(self._record.keys[index])

    def __len__(self) -> int:
        return len(self._record.keys)


class ArrayDataset(Dataset):
    """Samples across several arrays of equal length. Of an NDArray with more than one axis they are
    NDArrays; of one with one axis, and of numpy's arrays, what numpy gives.

    >>> ArrayDataset([1, 2], ["a", "b"])[1]
    (2, 'b')
    >>> ArrayDataset(nd.zeros((5, 2, 3)))[1].shape
    (2, 3)
    """

    def __init__(self, *arrays: Any) -> None:
        check(len(arrays) > 0, "ArrayDataset", "there are no arrays; give at least one")
        lengths = [len(array) for array in arrays]
        check(
            len(set(lengths)) == 1,
            "ArrayDataset",
            f"all arrays must have the same length; given {lengths}",
        )
        self._length = lengths[0]
        # One copy to the host: rows of an NDArray would each cost an operator.
        self._data = [array.asnumpy() if hasattr(array, "asnumpy") else array for array in arrays]
        self._gives_arrays = [
            isinstance(array, nd.NDArray) and len(array.shape) > 1 for array in arrays
        ]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        found = [
            # A copy: what is written to a sample by the engine would race with `rows`.
            nd.array(data[index], dtype=data.dtype) if is_array else data[index]
            for data, is_array in zip(self._data, self._gives_arrays, strict=True)
        ]
        return found[0] if len(found) == 1 else tuple(found)

    def rows(self, indices: list[int]) -> Any:
        """The rows of a batch at once, where all data are numpy arrays; else None."""
        if not all(isinstance(data, np.ndarray) for data in self._data):
            return None
        return [data[indices] for data in self._data]


_describe(
    SimpleDataset,
    ArrayDataset,
    RecordFileDataset,
    filename="the path of the record file",
    data="the samples",
    arrays="arrays or lists of one length, of which a sample has one element each",
)

_complete(globals())
