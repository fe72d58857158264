"""What iterators give: batches, and descriptions of the arrays in them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.arguments import NamesWrongTypes


class DataDesc(namedtuple("DataDesc", ["name", "shape"])):
    """Name, shape, dtype and layout of one array of a batch.

    >>> DataDesc("data", (32, 10)).dtype
    <class 'numpy.float32'>
    >>> DataDesc("data", (32, 10)) == ("data", (32, 10))
    True
    """

    dtype: Any
    layout: str

    def __new__(
        cls, name: str, shape: Sequence[int], dtype: Any = np.float32, layout: str = "NCHW"
    ) -> DataDesc:
        result = super().__new__(cls, name, tuple(shape))
        result.dtype = dtype
        result.layout = layout
        return result

    def __getnewargs__(self) -> tuple[Any, ...]:  # type: ignore[override]
        return self.name, self.shape, self.dtype, self.layout

    def __repr__(self) -> str:
        return f"DataDesc[{self.name},{self.shape},{self.dtype},{self.layout}]"

    @staticmethod
    def get_batch_axis(layout: str | None) -> int:
        """Where the batch is in a layout.

        >>> DataDesc.get_batch_axis("TNC"), DataDesc.get_batch_axis(None)
        (1, 0)
        """
        return 0 if layout is None else layout.find("N")

    @staticmethod
    def get_list(shapes: Any, types: Any) -> list[DataDesc]:
        """Descriptions from lists of (name, shape) and of (name, dtype).

        >>> DataDesc.get_list([("a", (1,))], [("a", "int32")])
        [DataDesc[a,(1,),int32,NCHW]]
        """
        if types is None:
            return [DataDesc(name, shape) for name, shape in shapes]
        known = dict(types)
        unknown = [name for name, _ in shapes if name not in known]
        check(
            not unknown,
            "DataDesc.get_list",
            f"expected a dtype for each shape; there is none for {', '.join(unknown)}",
        )
        return [DataDesc(name, shape, known[name]) for name, shape in shapes]


def part_of(where: str, count: int, num_parts: int, part_index: int) -> slice:
    """Which of so many samples are in one of `num_parts` parts."""
    check(
        num_parts > 0 and 0 <= part_index < num_parts,
        where,
        f"part_index: expected a number from 0 to num_parts - 1; given {part_index} of {num_parts}",
    )
    return slice(count * part_index // num_parts, count * (part_index + 1) // num_parts)


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
        label = [array.shape for array in self.label] if self.label else None
        return f"{type(self).__name__}: data shapes: {data} label shapes: {label}"


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

    def getdata(self) -> Any:
        """The data of this batch."""
        raise NotImplementedError(f"{type(self).__name__}: define getdata")

    def getlabel(self) -> Any:
        """The labels of this batch; None: there are none."""
        return None

    def getindex(self) -> Any:
        """The numbers of the samples, if known."""
        return None

    def getpad(self) -> int | None:
        """How many samples at the end are padding."""
        return 0


class MXDataIter(DataIter):
    """Base of the iterators over files: they have one array of data and one of labels."""

    def next(self) -> DataBatch:
        if not self.iter_next():
            raise StopIteration
        return DataBatch([self.getdata()], [self.getlabel()], self.getpad(), self.getindex())
