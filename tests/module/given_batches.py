"""An iterator over batches that are made already."""

from __future__ import annotations

from collections.abc import Sequence

from tigon.io import DataBatch, DataDesc, DataIter


class GivenBatches(DataIter):
    """These batches in every epoch. `described`: data and labels, as `provide_data` and
    `provide_label` say them."""

    def __init__(
        self, made: Sequence[DataBatch], described: tuple[list[DataDesc], list[DataDesc]]
    ) -> None:
        self.provide_data, self.provide_label = described
        super().__init__(self.provide_data[0].shape[0])
        self.made = made
        self.place = 0

    def reset(self) -> None:
        self.place = 0

    def next(self) -> DataBatch:
        if self.place == len(self.made):
            raise StopIteration
        self.place += 1
        return self.made[self.place - 1]
