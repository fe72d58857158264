"""`NDArrayIter`: batches of arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import as_dtype, check
from tigon.base.dtypes import numpy_type
from tigon.io.batches import DataDesc, DataIter
from tigon.nd.stored import CSRNDArray, csr_matrix
from tigon.runtime import keys


class NDArrayIter(DataIter):
    """Batches of arrays in memory: of `nd.sparse.CSRNDArray` such ones.

    `last_batch_handle`: "pad" fills the last batch from the beginning, "discard" drops it,
    "roll_over" keeps it for the next epoch, whose first batch it begins.

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
        self.data = named_arrays(data, data_name, required=True)
        self.label = named_arrays(label, label_name, required=False)
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
        self._begin(list(keys.reserve(1)) if self.shuffle else None)

    def _begin(self, key: list[int] | None) -> None:
        """An epoch in the order that follows from a key; with none, in that of the arrays."""
        count = self.num_data
        order = np.arange(count) if key is None else keys.permutation(count, key)
        self._key, self._begun_with = key, self._left_over
        self._order = np.concatenate([self._left_over, order])
        self._left_over = np.zeros(0, np.int64)
        self.cursor = -self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch: after the batch that was given last.

        >>> batches = NDArrayIter(np.arange(6), batch_size=2, shuffle=True)
        >>> first, state = batches.next(), batches.state_dict()
        >>> second = batches.next().data[0].asnumpy().tolist()
        >>> batches.reset()
        >>> batches.load_state_dict(state)
        >>> batches.next().data[0].asnumpy().tolist() == second
        True
        """
        return {
            "samples": self.num_data,
            "batch_size": self.batch_size,
            "key": self._key,
            "left_over": self._begun_with.tolist(),
            "cursor": self.cursor,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where an iterator over the same arrays was."""
        own = self.state_dict()
        check(
            isinstance(state, Mapping) and own.keys() <= state.keys(),
            "NDArrayIter.load_state_dict",
            f"expected what state_dict() gives; given {state!r:.80}",
        )
        for name in ("samples", "batch_size"):
            check(
                state[name] == own[name],
                "NDArrayIter.load_state_dict",
                f"{name}: the state is of {state[name]}, this iterator has {own[name]}",
            )
        check(
            (state["key"] is not None) == self.shuffle,
            "NDArrayIter.load_state_dict",
            f"the state is of shuffle={state['key'] is not None}; this iterator has "
            f"shuffle={self.shuffle}",
        )
        self._left_over = np.array(state["left_over"], np.int64)
        self._begin(state["key"])
        self.cursor = int(state["cursor"])

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
            DataDesc(name, (self.batch_size, *array.shape[1:]), numpy_type(as_dtype(array.dtype)))
            for name, array in arrays
        ]

    def reset(self) -> None:
        """To the first batch of the next epoch; "roll_over" keeps what is left of this one."""
        if self.last_batch_handle == "roll_over":
            begin = self.cursor if self.cursor < len(self._order) else len(self._order)
            if 0 < len(self._order) - begin < self.batch_size:
                self._left_over = self._order[begin:]
        self._start_epoch()

    def hard_reset(self) -> None:
        """To the first batch, and nothing is kept of what was left over."""
        self._left_over = np.zeros(0, np.int64)
        self._start_epoch()

    def iter_next(self) -> bool:
        self.cursor += self.batch_size
        left = len(self._order) - self.cursor
        if left <= 0:
            return False
        return left >= self.batch_size or self.last_batch_handle == "pad"

    def _batch(self, arrays: Sequence[tuple[str, np.ndarray]]) -> list[Any]:
        check(
            0 <= self.cursor < len(self._order),
            "NDArrayIter",
            "there is no batch here; call next(), or reset() at the end of an epoch",
        )
        places = np.arange(self.cursor, self.cursor + self.batch_size)
        indices = self._order.take(places, mode="wrap")  # more than once where samples are few
        return [
            array.take_rows(indices)
            if isinstance(array, CSRNDArray)
            else nd.array(array[indices], dtype=array.dtype)
            for _, array in arrays
        ]

    def getdata(self) -> list[Any]:
        return self._batch(self.data)

    def getlabel(self) -> list[Any]:
        return self._batch(self.label)

    def getpad(self) -> int:
        if self.cursor < 0:
            return 0
        return max(self.cursor + self.batch_size - len(self._order), 0)


def named_arrays(given: Any, name: str, required: bool) -> list[tuple[str, np.ndarray]]:
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
    check(
        len(pairs) > 0 or not required,
        "NDArrayIter",
        "expected an array, or a list or dictionary of them; given an empty one",
    )
    return [(own, _host(own, array)) for own, array in pairs]


def _host(name: str, array: Any) -> Any:
    if isinstance(array, CSRNDArray) or hasattr(array, "tocsr"):
        return csr_matrix(array)
    if hasattr(array, "asnumpy"):
        return array.asnumpy()
    values = np.asarray(array)
    check(
        values.dtype.kind in "biuf" and values.ndim > 0,
        "NDArrayIter",
        f"{name}: expected an array of numbers with an axis of samples; given "
        f"{type(array).__name__} of dtype {values.dtype} and shape {values.shape}",
    )
    return values if values.dtype.kind == "b" else values.astype(np.float32)
