"""Descriptions (`DataDesc`) of what a module is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tigon.base import check
from tigon.io import DataDesc


def described(where: str, what: str, shapes: Sequence[Any]) -> list[DataDesc]:
    """Descriptions of arrays, from these or from (name, shape)."""
    found = []
    for one in shapes:
        if not isinstance(one, DataDesc):
            check(
                isinstance(one, (list, tuple)) and len(one) >= 2,
                where,
                f"{what}: expected a list of (name, shape) or DataDesc; given {one!r:.80} in it",
            )
            one = DataDesc(*one)
        found.append(one)
    return found


def of_shapes(known: Sequence[DataDesc], shapes: Sequence[tuple[int, ...]]) -> list[DataDesc]:
    """The same arrays in other shapes."""
    return [
        DataDesc(one.name, shape, one.dtype, one.layout)
        for one, shape in zip(known, shapes, strict=False)
    ]


def of_samples(one: DataDesc, count: int) -> DataDesc:
    """The same array of so many samples; one without an axis of samples stays as it is."""
    shape, axis = list(one.shape), DataDesc.get_batch_axis(one.layout)
    if 0 <= axis < len(shape):
        shape[axis] = count
    return DataDesc(one.name, tuple(shape), one.dtype, one.layout)
