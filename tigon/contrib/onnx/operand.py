"""What a name of an ONNX graph stands for: a value of our graph, an array that is known while the
graph is read, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype
from tigon.base.dtypes import DType
from tigon.base.extents import RuntimeExtent
from tigon.ir.graph import Value, constant

SMALL = 64
"""Elements of the largest array that is written into the graph; a larger one is a parameter."""

FOLDED = 1 << 12
"""Elements of the largest array that is computed with while the graph is read."""


class Operand:
    """One result of a node, an input, or an initializer.

    `known` may hold extents that are not known yet, as an array of objects.
    """

    __slots__ = ("_known", "_make", "_value", "narrow", "type")

    def __init__(
        self,
        type: TensorType,
        value: Value | None = None,
        known: np.ndarray | None = None,
        make: Callable[[], Value] | None = None,
        narrow: int = 0,
    ) -> None:
        """`make` gives the value where one is asked for; `narrow` is the ONNX element type of
        numbers that are held in wider ones."""
        self.type = type
        self._value = value
        self._known = known
        self._make = make
        self.narrow = narrow

    @classmethod
    def of(cls, value: Value, known: np.ndarray | None = None) -> Operand:
        return cls(value.type, value, known)

    @classmethod
    def of_known(
        cls,
        array: np.ndarray,
        make: Callable[[], Value] | None = None,
        dtype: DType | None = None,
    ) -> Operand:
        """`dtype` is that of extents, int64 if not given."""
        own = dtype or as_dtype("int64" if array.dtype == object else array.dtype)
        return cls(TensorType(array.shape, own), None, array, make)

    @property
    def known(self) -> np.ndarray | None:
        """The array, where it is there without computing anything."""
        return self._known

    @property
    def value(self) -> Value:
        if self._value is None:
            assert self._make is not None or self._known is not None
            self._value = self._make() if self._make is not None else constant(self._known)
        return self._value

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def dtype(self) -> Any:
        return self.type.dtype


def plain(array: np.ndarray, dtype: DType) -> np.ndarray:
    """As numbers of the dtype where no extent of it is unknown."""
    if array.dtype != object or any(isinstance(each, RuntimeExtent) for each in array.flat):
        return array
    return array.astype(dtype.numpy)
