"""Types that differ in extents only, as one set of types with run-time extents.

Which extents vary is learned from the calls: those in which the types seen so far differ. Axes that
always changed together are taken for one extent (the batch of the data and that of the labels),
which is a condition like any other: where it does not hold, the family does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tigon.base import TensorType
from tigon.base.extents import RuntimeExtents

Types = Mapping[str, TensorType]


def kind_of(types: Types) -> tuple[tuple[str, int], ...]:
    """What all members of a family have in common: dtypes and numbers of axes."""
    return tuple((type_.dtype.name, type_.ndim) for type_ in types.values())


class ShapeFamily:
    """Types seen, all of one kind.

    >>> from tigon.base.dtypes import float32
    >>> def batch(n): return {"x": TensorType((n, 3), float32), "y": TensorType((n,), float32)}
    >>> family = ShapeFamily([batch(64), batch(10)])
    >>> family.types(RuntimeExtents([64]))
    {'x': float32[n0,3], 'y': float32[n0]}
    >>> family.values(batch(7)), family.values({**batch(7), "y": TensorType((8,), float32)})
    ((7,), None)
    """

    def __init__(self, seen: Sequence[Types]) -> None:
        self._first = seen[0]
        self._number: dict[tuple[str, int], int] = {}  # (variable, axis) -> extent
        columns: dict[tuple[int, ...], int] = {}
        for name in self._first:
            shapes = (types[name].shape for types in seen)
            for axis, column in enumerate(zip(*shapes, strict=True)):
                if len(set(column)) > 1:
                    number = columns.setdefault(column, len(columns))
                    self._number[name, axis] = number
        self._count = len(columns)

    def types(self, extents: RuntimeExtents) -> dict[str, TensorType]:
        """The types with `extents` in the places of those that vary."""
        return {
            name: TensorType(
                tuple(
                    extents.unknown[self._number[name, axis]]
                    if (name, axis) in self._number
                    else extent
                    for axis, extent in enumerate(type_.shape)
                ),
                type_.dtype,
            )
            for name, type_ in self._first.items()
        }

    def values(self, types: Types) -> tuple[int, ...] | None:
        """What the run-time extents are in `types`; None where these do not belong here."""
        found: dict[int, int] = {}
        for name, first in self._first.items():
            pairs = zip(first.shape, types[name].shape, strict=True)
            for axis, (fixed, extent) in enumerate(pairs):
                number = self._number.get((name, axis))
                expected = fixed if number is None else found.setdefault(number, extent)
                if extent != expected:
                    return None
        return tuple(found[number] for number in range(self._count))
