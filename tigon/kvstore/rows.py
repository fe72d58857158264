"""Row-sparse arrays on their way between ranks: the rows that were touched travel, and their
numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tigon import _native
from tigon.base.dtypes import BY_CODE
from tigon.nd.stored.base import index_array
from tigon.nd.stored.rows import RowSparseNDArray, added


def part(key: Any, array: Any) -> str:
    """What ranks have to agree about: not how many rows there are."""
    return f"{key!r} rows of {BY_CODE[array.dtype_code].name} {tuple(array.shape)}"


def of_all_rows(array: Any) -> RowSparseNDArray:
    """A dense array as a row-sparse one."""
    if isinstance(array, RowSparseNDArray):
        return array
    return RowSparseNDArray(array.shape, None, array)


def packed(arrays: Sequence[RowSparseNDArray]) -> bytes:
    """Of each the number of rows, their numbers, and these."""
    parts: list[bytes] = []
    for array in arrays:
        rows, values = array.indices.asnumpy(), array.data.bits_to_numpy()
        parts += [np.int64(len(rows)).tobytes(), rows.tobytes(), values.tobytes()]
    return b"".join(parts)


def unpacked(content: bytes, like: Sequence[RowSparseNDArray]) -> list[RowSparseNDArray]:
    """The arrays of another rank, which are like these but for their rows."""
    found, at = [], 0
    for array in like:
        one = np.dtype(array.data[:0].bits_to_numpy().dtype)
        (count,) = np.frombuffer(content, np.int64, 1, at)
        rows = np.frombuffer(content, np.int64, count, at + 8)
        at += 8 + rows.nbytes
        shape = (int(count), *array.shape[1:])
        values = np.frombuffer(content, one, int(np.prod(shape)), at).reshape(shape)
        at += values.nbytes
        device = array.device_index
        found.append(
            RowSparseNDArray(
                array.shape, index_array(rows, device), _native.from_numpy(values, device), True
            )
        )
    return found


def totals(
    every: Sequence[bytes], own: Mapping[Any, RowSparseNDArray]
) -> dict[Any, RowSparseNDArray]:
    """The sums over all ranks, added up in their order where rows meet: all have the same bits."""
    ranks = [unpacked(content, [*own.values()]) for content in every]
    return {key: added([arrays[place] for arrays in ranks]) for place, key in enumerate(own)}
