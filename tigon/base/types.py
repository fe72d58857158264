"""What is known of a tensor before it exists: its shape and its element type."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tigon.base.dtypes import DType

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and dtype. `weak` marks a Python scalar, which takes the other operand's dtype.

    >>> from tigon.base.dtypes import float32
    >>> TensorType((2, 3), float32)
    float32[2,3]
    >>> TensorType((2, 3), float32).nbytes
    24
    """

    shape: Shape
    dtype: DType
    weak: bool = False

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
