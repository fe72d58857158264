"""Iterators over rows of files: CSV, LibSVM, MNIST. The file is read once; batches are made of it
as they are asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import nd
from tigon.base import TigonError, as_dtype, check
from tigon.context import Context, check_context
from tigon.gluon.data.vision import files
from tigon.io.batches import DataDesc, MXDataIter, part_of
from tigon.nd.stored import CSRNDArray, csr_matrix
from tigon.runtime import keys


class RowsIter(MXDataIter):
    """Batches of rows in memory, in order or in one that is drawn. The last batch is filled up from
    the beginning (`round_batch`), or left out."""

    def __init__(
        self,
        batch_size: int,
        round_batch: bool = True,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = None,
        ctx: Any = None,
    ) -> None:
        super().__init__(int(batch_size))
        where = type(self).__name__
        check(
            self.batch_size > 0,
            where,
            f"batch_size: expected a positive number; given {batch_size}",
        )
        self.data_name = data_name
        self.label_name = label_name
        self._context = check_context(where, Context(ctx) if isinstance(ctx, str) else ctx)
        self._round = round_batch
        self._dtype = as_dtype("float32" if dtype is None else dtype).name
        self._shuffled = False
        self._begin = -self.batch_size

    def _take(self, data: Any, label: np.ndarray, num_parts: int, part_index: int) -> None:
        """These rows, or a part of them."""
        where = type(self).__name__
        part = part_of(where, len(data), num_parts, part_index)
        check(
            len(data) == len(label),
            where,
            f"there are {len(data)} rows of data and {len(label)} labels; give files that belong "
            "together",
        )
        self._data, self._label = data[part], label[part]
        check(
            len(self._data) > 0,
            where,
            f"part {part_index} of {num_parts} of {len(data)} rows is empty; give a file with rows",
        )
        self._order = np.arange(len(self._data))

    @property
    def provide_data(self) -> list[DataDesc]:
        """Descriptions of the data of a batch."""
        return [DataDesc(self.data_name, (self.batch_size, *self._data.shape[1:]), self._dtype)]

    @property
    def provide_label(self) -> list[DataDesc]:
        """Descriptions of the labels of a batch."""
        return [DataDesc(self.label_name, (self.batch_size, *self._label.shape[1:]))]

    def reset(self) -> None:
        """To the first batch of the next epoch."""
        self._begin = -self.batch_size
        if self._shuffled:
            self._shuffle()

    def _shuffle(self) -> None:
        self._order = keys.permutation(len(self._data))

    def iter_next(self) -> int:  # type: ignore[override]
        self._begin += self.batch_size
        left = len(self._data) - self._begin
        return int(left > 0 and (self._round or left >= self.batch_size))

    def _rows(self, array: Any, dtype: str) -> Any:
        places = np.arange(self._begin, self._begin + self.batch_size)
        check(
            0 <= self._begin < len(self._data),
            type(self).__name__,
            "there is no batch here; call next(), or reset() at the end of an epoch",
        )
        order = self._order.take(places, mode="wrap")
        if isinstance(array, CSRNDArray):
            return array.take_rows(order).as_in_context(self._context).astype(dtype, copy=False)
        rows = array[order]
        return nd.array(rows, ctx=self._context, dtype=dtype)

    def getdata(self) -> Any:
        return self._rows(self._data, self._dtype)

    def getlabel(self) -> Any:
        return self._rows(self._label, "float32")

    def getindex(self) -> np.ndarray:
        places = np.arange(self._begin, self._begin + self.batch_size)
        return self._order.take(places, mode="wrap").astype(np.uint64)

    def getpad(self) -> int:
        return max(self._begin + self.batch_size - len(self._data), 0)


def required(where: str, **given: Any) -> None:
    """That arguments without a default were given."""
    for name, value in given.items():
        check(value is not None, where, f"{name} must be given")


def shape_of(where: str, name: str, given: Any) -> tuple[int, ...]:
    """A shape that a user gave."""
    shape = (given,) if isinstance(given, int) else tuple(given)
    check(
        len(shape) > 0 and all(isinstance(n, (int, np.integer)) and n > 0 for n in shape),
        where,
        f"{name}: expected positive extents; given {given!r}",
    )
    return tuple(int(extent) for extent in shape)


def accepted(where: str, given: dict[str, Any], *names: str) -> None:
    """Old programs give what has no meaning here: these names, and no others."""
    unknown = sorted(given.keys() - set(names) - {"name", "verbose", "prefetch_buffer"})
    check(
        not unknown,
        where,
        f"unexpected arguments {', '.join(unknown)}; see its documentation for those there are",
    )


def _lines(path: Any, where: str) -> list[str]:
    try:
        return files.read_whole(path, where).decode().splitlines()
    except UnicodeDecodeError:
        raise TigonError(
            f"{where}: {os.fspath(path)}: expected lines of text; it holds other bytes"
        ) from None


class CSVIter(RowsIter):
    """Batches of the rows of a CSV file.

    Parameters
    ----------
    data_csv
        the path of the data: a sample on each line
    data_shape
        the shape of a sample
    label_csv
        the path of the labels; without one they are 0
    label_shape, (1,) by default
        the shape of a label
    batch_size, 1 by default
        how many samples a batch has
    round_batch, True by default
        whether a last batch that is not full is given, filled up from the beginning; its `pad` says
        with how many. Otherwise it is left out
    num_parts, 1 by default
        into how many parts the rows are cut
    part_index, 0 by default
        which of them is read
    data_name, label_name
        names in `provide_data` and `provide_label`
    dtype, float32 by default
        of the data
    """

    def __init__(
        self,
        data_csv: Any = None,
        data_shape: Any = None,
        label_csv: Any = None,
        label_shape: Any = (1,),
        batch_size: int = 1,
        round_batch: bool = True,
        num_parts: int = 1,
        part_index: int = 0,
        data_name: str = "data",
        label_name: str = "label",
        dtype: Any = None,
        ctx: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, round_batch, data_name, label_name, dtype, ctx)
        accepted("CSVIter", kwargs)
        required("CSVIter", data_csv=data_csv, data_shape=data_shape)
        shape = shape_of("CSVIter", "data_shape", data_shape)
        data = _read_csv(data_csv, shape, np.dtype(self._dtype))
        if label_csv is None:
            label = np.zeros(len(data), np.float32)
        else:
            label = _read_csv(
                label_csv, shape_of("CSVIter", "label_shape", label_shape), np.dtype(np.float32)
            )
            label = label[:, 0] if label.shape[1:] == (1,) else label
        self._take(data, label, num_parts, part_index)


def _read_csv(path: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    lines = [line for line in _lines(path, "CSVIter") if line.strip()]
    columns = math.prod(shape)
    found = np.empty((len(lines), columns), dtype)
    convert = float if dtype.kind == "f" else int
    whole = np.iinfo(dtype) if dtype.kind in "iu" else None
    for number, line in enumerate(lines):
        words = line.split(",")
        check(
            len(words) == columns,
            "CSVIter",
            f"{os.fspath(path)}, line {number + 1}: expected {columns} numbers, for shape {shape}; "
            f"given {len(words)}",
        )
        try:
            row = [convert(word) for word in words]
            if whole and not all(whole.min <= one <= whole.max for one in row):
                raise OverflowError  # numpy before 2 would wrap around
            found[number] = row
        except (ValueError, OverflowError):
            raise TigonError(
                f"CSVIter: {os.fspath(path)}, line {number + 1}: expected numbers of "
                f"{dtype.name}; given {line!r:.60}"
            ) from None
    return found.reshape(-1, *shape)


class LibSVMIter(RowsIter):
    """Batches of the rows of a LibSVM file: `label place:number ...`, places from 0 on.

    Data of batches is sparse, `nd.sparse.CSRNDArray`; labels are dense.

    Parameters
    ----------
    data_libsvm
        the path of the data
    data_shape
        (n,): how many numbers a sample has
    label_libsvm
        the path of the labels, lines of the same form; without one they are those of the data
    label_shape, (1,) by default
        the shape of a label
    batch_size, 1 by default
        how many samples a batch has
    round_batch, True by default
        whether a last batch that is not full is given, filled up from the beginning. Otherwise it
        is left out
    num_parts, 1 by default
        into how many parts the rows are cut
    part_index, 0 by default
        which of them is read
    data_name, label_name
        names in `provide_data` and `provide_label`
    dtype, float32 by default
        of the data
    """

    def __init__(
        self,
        data_libsvm: Any = None,
        data_shape: Any = None,
        label_libsvm: Any = None,
        label_shape: Any = (1,),
        batch_size: int = 1,
        round_batch: bool = True,
        num_parts: int = 1,
        part_index: int = 0,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = None,
        ctx: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, round_batch, data_name, label_name, dtype, ctx)
        accepted("LibSVMIter", kwargs)
        required("LibSVMIter", data_libsvm=data_libsvm, data_shape=data_shape)
        (columns,) = _one_axis("data_shape", data_shape)
        data, label = _read_libsvm(data_libsvm, columns)
        if label_libsvm is not None:
            (labels,) = _one_axis("label_shape", label_shape)
            label = _read_libsvm(label_libsvm, labels)[0].asnumpy()
            label = label[:, 0] if labels == 1 else label
        self._take(data, label, num_parts, part_index)


def _one_axis(name: str, given: Any) -> tuple[int, ...]:
    shape = shape_of("LibSVMIter", name, given)
    check(len(shape) == 1, "LibSVMIter", f"{name}: expected one extent; given {given!r}")
    return shape


def _read_libsvm(path: Any, columns: int) -> tuple[CSRNDArray, np.ndarray]:
    lines = [line.split("#")[0].split() for line in _lines(path, "LibSVMIter")]
    rows = [(number, words) for number, words in enumerate(lines, 1) if words]
    label, found = np.zeros(len(rows), np.float32), []
    for row, (number, words) in enumerate(rows):
        try:
            first = words[0]
            label[row] = 0 if ":" in first else float(first)
            own: dict[int, float] = {}
            for word in words if ":" in first else words[1:]:
                place, value = word.split(":")
                _check_place(path, number, int(place), columns)
                own[int(place)] = float(value)
            found.append(own)
        except ValueError:
            raise TigonError(
                f"LibSVMIter: {os.fspath(path)}, line {number}: expected a label and "
                f"place:number; given {' '.join(words)!r:.60}"
            ) from None
    values = [value for own in found for _, value in sorted(own.items())]
    places = [place for own in found for place in sorted(own)]
    ends = np.cumsum([0, *map(len, found)])
    parts = (np.array(values, np.float32), places, ends)
    return csr_matrix(parts, shape=(len(rows), columns)), label


def _check_place(path: Any, number: int, place: int, columns: int) -> None:
    check(
        0 <= place < columns,
        "LibSVMIter",
        f"{os.fspath(path)}, line {number}: expected places from 0 to {columns - 1}, as data_shape "
        f"says; given {place}",
    )


class MNISTIter(RowsIter):
    """Batches of MNIST's images and labels, numbers from 0 to 1.

    Parameters
    ----------
    image, label
        the paths of the published files, packed or not
    batch_size, 128 by default
        how many samples a batch has; the last one, if it is not full, is left out
    shuffle, True by default
        whether each epoch has an order of its own
    flat, False by default
        whether images are rows of numbers, and not (1, height, width)
    seed, None by default
        of the order; None: it is drawn from `mx.random`
    silent, False by default
        accepted
    num_parts, 1 by default
        into how many parts the images are cut
    part_index, 0 by default
        which of them is read
    data_name, label_name
        names in `provide_data` and `provide_label`
    """

    def __init__(
        self,
        image: Any = "./train-images-idx3-ubyte",
        label: Any = "./train-labels-idx1-ubyte",
        batch_size: int = 128,
        shuffle: bool = True,
        flat: bool = False,
        seed: int | None = None,
        silent: bool = False,
        num_parts: int = 1,
        part_index: int = 0,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = None,
        ctx: Any = None,
        input_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, False, data_name, label_name, dtype, ctx)
        accepted("MNISTIter", kwargs)
        images = files.read_idx(image, 3, "MNISTIter")
        labels = files.read_idx(label, 1, "MNISTIter")
        images = images.reshape(len(images), -1) if flat else images[:, None]
        self._take(images, labels.astype(np.float32), num_parts, part_index)
        check(
            len(self._data) >= self.batch_size,
            "MNISTIter",
            f"there are {len(self._data)} images, fewer than the {self.batch_size} of one batch",
        )
        self._shuffled = shuffle
        self._seed = seed
        if shuffle:
            self._shuffle()

    def _shuffle(self) -> None:
        if self._seed is None:
            super()._shuffle()
        else:
            self._order = np.random.default_rng(self._seed).permutation(len(self._data))
            self._seed += 1

    def getdata(self) -> Any:
        return self._rows(self._data, "float32") * (1 / 256)
