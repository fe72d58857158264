"""What is known of a tensor before it exists: its shape and its element type."""

from __future__ import annotations

from math import prod
from typing import Any

from tigon.base.dtypes import DType, as_dtype

Shape = tuple[int, ...]

MOST_AXES = 32
"""Of an array; natively `kMaxDims`."""


class TensorType:
    """Shape and dtype. `weak` marks a Python scalar, which takes the other operand's dtype.

    >>> from tigon.base.dtypes import float32
    >>> TensorType((2, 3), float32)
    float32[2,3]
    >>> TensorType((2, 3), float32).nbytes
    24
    """

    # Written out, not a `Frozen` record: a trace makes and compares thousands.
    __slots__ = ("dtype", "shape", "weak")
    shape: Shape
    dtype: DType
    weak: bool

    def __init__(self, shape: Shape, dtype: DType, weak: bool = False) -> None:
        _set_shape(self, shape)
        _set_dtype(self, dtype)
        _set_weak(self, weak)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"TensorType: '{name}' cannot be set; make another type")

    def __eq__(self, other: object) -> bool:
        if type(other) is not TensorType:
            return NotImplemented
        # Axes are counted first: comparing extents would be a condition where they are unknown.
        return (
            self.dtype is other.dtype
            and self.weak == other.weak
            and len(self.shape) == len(other.shape)
            and self.shape == other.shape
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.weak))

    def __reduce__(self) -> Any:
        return TensorType, (self.shape, self.dtype, self.weak)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{'~' if self.weak else ''}"

    __repr__ = __str__


_set_shape = TensorType.__dict__["shape"].__set__
_set_dtype = TensorType.__dict__["dtype"].__set__
_set_weak = TensorType.__dict__["weak"].__set__


def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    """Element strides of a C-contiguous array.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def type_of(array: Any) -> TensorType:
    """That of an array.

    >>> import numpy as np
    >>> type_of(np.zeros((2, 3), "float32"))
    float32[2,3]
    """
    return TensorType(tuple(array.shape), as_dtype(array.dtype))
