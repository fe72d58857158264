"""Element types. Their codes are those of MXNet's parameter files: one number serves everywhere."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from math import isfinite
from typing import Any

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
        """numpy's dtype that holds its values: of bfloat16, which numpy lacks, float32. Arrays of
        values and arrays of memory (`to_memory`) are one thing for all others."""
        return np.dtype("float32" if self is bfloat16 else self.name)

    @property
    def memory(self) -> np.dtype:
        """numpy's dtype for elements as they lie in memory: of bfloat16 records of their bits, as
        MXNet has them."""
        return _BITS if self is bfloat16 else np.dtype(self.name)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_narrow(self) -> bool:
        """A float that arithmetic is not done in, but in float32, and rounded."""
        return self.kind == "f" and self.itemsize == 2

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


def rounded(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Numbers as those of a dtype, which numpy's dtype of them holds.

    >>> rounded(np.array([0.1, 257.0]), bfloat16).tolist()
    [0.10009765625, 256.0]
    """
    with np.errstate(over="ignore"):
        return from_memory(to_memory(values, dtype), dtype)


def to_memory(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Numbers as elements of a dtype lie in memory; floats to the nearest, ties to even."""
    values = np.asarray(values)
    if dtype is not bfloat16:
        with np.errstate(over="ignore"):
            return values.astype(dtype.memory, copy=False)
    if values.dtype.name == "bfloat16":
        return values.view(_BITS)
    if values.dtype == _BITS:
        return values
    bits = np.ascontiguousarray(_to_odd_float32(values)).view(np.uint32)
    near = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    quiet = bits | np.uint32(0x00400000)
    is_nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    short = (np.where(is_nan, quiet, near) >> np.uint32(16)).astype(np.uint16)
    return short.reshape(values.shape).view(_BITS)


def _to_odd_float32(values: np.ndarray) -> np.ndarray:
    """Numbers in float32; of those between two, the one with the odd last digit, so that rounding
    once more is as if it had been done at once."""
    if values.dtype in (np.float32, np.float16) or values.dtype.itemsize < 4:
        return values.astype(np.float32)
    wide = np.atleast_1d(values.astype(np.float64))
    with np.errstate(over="ignore"):
        near = wide.astype(np.float32)
    bits, back = near.view(np.int32), near.astype(np.float64)
    away = np.where(np.abs(back) < np.abs(wide), bits + 1, bits - 1)
    odd = np.where((back != wide) & np.isfinite(near) & (bits % 2 == 0), away, bits)
    return odd.view(np.float32)


def own_numbers(values: np.ndarray) -> np.ndarray:
    """An array in one of numpy's own dtypes: one of bfloat16, as `ml_dtypes` or MXNet has them,
    becomes float32."""
    if values.dtype.kind != "V":
        return values
    if values.dtype.name == "bfloat16":
        return values.astype(np.float32)
    return from_memory(values, bfloat16) if values.dtype == _BITS else values


def numbers_of(array: Any) -> np.ndarray:
    """The values of an array of ours, for code that computes with them in numpy."""
    read = getattr(array, "bits_to_numpy", None) or array.asnumpy
    return own_numbers(read())


def numpy_type(dtype: DType) -> type | np.dtype:
    """What users see as the dtype of an array: numpy's type. Of bfloat16 it is that of `ml_dtypes`,
    where this is installed, and records of bits elsewhere, as in MXNet."""
    return dtype.numpy.type if dtype is not bfloat16 else _bfloat16_of_numpy()


@lru_cache(1)
def _bfloat16_of_numpy() -> type | np.dtype:
    """Looked for once: a module that is missing is sought in every folder each time."""
    try:
        return import_module("ml_dtypes").bfloat16
    except ImportError:
        return _BITS


def from_memory(elements: np.ndarray, dtype: DType) -> np.ndarray:
    """What `to_memory` made, as numbers."""
    if dtype is not bfloat16:
        return elements
    return (elements["bfloat16"].astype(np.uint32) << np.uint32(16)).view(np.float32)


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
bfloat16 = DType("bfloat16", 12, 2, "f")

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
    bfloat16,
)

_BITS = np.dtype([("bfloat16", "<u2")])

BY_CODE = {dtype.code: dtype for dtype in ALL}
_BY_NAME = {dtype.name: dtype for dtype in ALL}


def as_dtype(given: object, where: str = "dtype") -> DType:
    """The `DType` for a name, numpy dtype, Python type or `DType`; `where` begins the message.

    >>> as_dtype(int), as_dtype(np.float64), as_dtype("uint8")
    (int64, float64, uint8)
    >>> as_dtype("complex64")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    tigon.base.errors.TigonError: dtype: expected one of float32, float64, float16, ...
    """
    if isinstance(given, DType):
        return given
    if type(given) is str and (known := _BY_NAME.get(given)) is not None:
        return known
    try:
        dtype = np.dtype(given)  # type: ignore[call-overload]
        name = "bfloat16" if dtype == _BITS else dtype.name
    except (TypeError, ValueError, SyntaxError):  # numpy reads text as a little language
        name = str(given)
    found = _BY_NAME.get(name)
    if found is None:
        names = ", ".join(dtype.name for dtype in ALL)
        raise TigonError(
            f"{where}: expected one of {names}; given {given!r:.80}; convert the data first"
        )
    return found


def check_dtype(where: str, dtype: object) -> DType:
    """A dtype that an operator is given; None is float32."""
    return float32 if dtype is None else as_dtype(dtype, f"{where}: dtype")
