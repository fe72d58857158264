"""Element types. Their codes are those of MXNet's parameter files: one number serves everywhere."""

from __future__ import annotations

from math import isfinite

import numpy as np

from tigon.base.errors import TigonError
from tigon.base.frozen import Frozen


class DType(Frozen, eq=False):
    """One element type. Instances are unique: compare with `is` or `==`.

    >>> as_dtype("float32").itemsize
    4
    """

    name: str
    code: int
    itemsize: int
    kind: str  # 'f' float, 'i' signed, 'u' unsigned, 'b' bool

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def has_gradients(self) -> bool:
        """Whether arrays of it may have gradients, which are of the same dtype."""
        return self.kind != "b"

    def __reduce__(self) -> tuple[object, ...]:
        return as_dtype, (self.name,)

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


def whole_number(where: str, number: float, dtype: DType) -> int:
    """A Python number beside an array of integers or truth values, as MXNet takes it: a fraction is
    dropped. What does not fit then would stand for another number.

    >>> whole_number("add", -2.5, int32)
    -2
    >>> whole_number("add", 300, uint8)
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: add: the number 300 does not fit uint8, which holds 0 to 255; \
use another dtype (astype converts an array)
    """
    bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize - (dtype.kind == "i")
    least, most = -(1 << bits) if dtype.kind == "i" else 0, (1 << bits) - 1
    whole = int(number) if isfinite(number) else None
    if whole is None or not least <= whole <= most or (dtype.kind == "b" and whole != number):
        raise TigonError(
            f"{where}: the number {number!r} does not fit {dtype}, which holds {least} to {most}; "
            "use another dtype (astype converts an array)"
        )
    return whole


float32 = DType("float32", 0, 4, "f")
float64 = DType("float64", 1, 8, "f")
float16 = DType("float16", 2, 2, "f")
uint8 = DType("uint8", 3, 1, "u")
int32 = DType("int32", 4, 4, "i")
int8 = DType("int8", 5, 1, "i")
int64 = DType("int64", 6, 8, "i")
bool_ = DType("bool", 7, 1, "b")
int16 = DType("int16", 8, 2, "i")
uint16 = DType("uint16", 9, 2, "u")
uint32 = DType("uint32", 10, 4, "u")
uint64 = DType("uint64", 11, 8, "u")

ALL = (
    float32,
    float64,
    float16,
    uint8,
    int32,
    int8,
    int64,
    bool_,
    int16,
    uint16,
    uint32,
    uint64,
)
PUBLIC = (float32, float64, int32, int64, uint8, bool_)
"""The types a user's array may have today; the others occur inside kernels only."""

BY_CODE = {dtype.code: dtype for dtype in ALL}
_BY_NAME = {dtype.name: dtype for dtype in ALL}


def as_dtype(given: object) -> DType:
    """The `DType` for a name, numpy dtype, Python type or `DType`.

    >>> as_dtype(int), as_dtype(np.float64), as_dtype("uint8")
    (int64, float64, uint8)
    >>> as_dtype("complex64")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: dtype: expected one of float32, float64, int32, ...
    """
    if isinstance(given, DType):
        return given
    try:
        name = np.dtype(given).name  # type: ignore[call-overload]
    except (TypeError, ValueError, SyntaxError):  # numpy reads text as a little language
        name = str(given)
    found = _BY_NAME.get(name)
    if found is None:
        names = ", ".join(dtype.name for dtype in PUBLIC)
        raise TigonError(
            f"dtype: expected one of {names}; given {given!r:.80}; convert the data first"
        )
    return found


def check_dtype(where: str, dtype: object) -> DType:
    """A dtype that users' arrays can have; None is float32."""
    found = float32 if dtype is None else as_dtype(dtype)
    if found not in PUBLIC:
        known = ", ".join(map(str, PUBLIC))
        raise TigonError(
            f"{where}: expected a dtype of {known}; given {found}; convert the data first"
        )
    return found
