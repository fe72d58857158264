"""What scalar functions mean that numpy has no function for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.dtypes import DType, rounded


def convert(array: np.ndarray, dtype: DType) -> Any:
    """`array` as `dtype`: integers wrap, float to integer truncates and saturates, NaN gives 0.

    >>> from tigon.base.dtypes import uint8
    >>> convert(np.array([-1.5, 3.9, 300.0, np.nan]), uint8).tolist()
    [0, 3, 255, 0]
    """
    if dtype.is_narrow:
        return rounded(array, dtype)
    if array.dtype.kind == "f" and dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        whole = np.trunc(np.where(np.isnan(array), 0, array).astype(np.longdouble))
        return np.clip(whole, limits.min, limits.max).astype(dtype.numpy)
    if dtype.kind == "b":
        return array != 0
    return array.astype(dtype.numpy)


def fused_multiply_add(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Any:
    if a.dtype != np.float64:
        # The product of two float32 is exact in float64; the sum is rounded to odd there, so that
        # rounding it again to float32 equals rounding once.
        product = a.astype(np.float64) * b.astype(np.float64)
        addend = c.astype(np.float64)
        total = product + addend
        shadow = total - product
        error = (product - (total - shadow)) + (addend - shadow)
        bits = np.atleast_1d(total).view(np.int64)
        inexact = np.atleast_1d((error != 0) & np.isfinite(total))
        even = (bits & 1) == 0
        away = (np.atleast_1d(error) > 0) == (np.atleast_1d(total) > 0)
        odd = np.where(inexact & even, np.where(away, bits + 1, bits - 1), bits)
        return odd.view(np.float64).reshape(np.shape(total)).astype(a.dtype)
    a, b, c = np.broadcast_arrays(a, b, c)
    product = a * b
    total = product + c
    # Dekker's exact product and Knuth's exact sum; outside the safe range, plain rounding twice.
    product_error = _product_error(a, b, product)
    shadow = total - product
    sum_error = (product - (total - shadow)) + (c - shadow)
    error = product_error + sum_error
    corrected = np.where(error == 0, total, total + error)  # keeps the sign of zero
    return np.where(np.isfinite(corrected), corrected, total)


def _product_error(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> Any:
    def halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = x * 134217729.0
        high = scaled - (scaled - x)
        return high, x - high

    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def truncated_quotient(a: np.ndarray, b: np.ndarray) -> Any:
    quotient = np.floor_divide(a, b)
    inexact = (np.remainder(a, b) != 0) & ((a < 0) != (b < 0)) & (b != 0)
    return np.where(inexact, quotient + 1, quotient).astype(a.dtype)


def shift(apply: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: apply(a, b.astype(a.dtype))


def high_product(a: np.ndarray, b: np.ndarray) -> Any:
    """The upper half of the bits of products of unsigned integers.

    >>> int(high_product(np.uint32(0x80000000), np.uint32(6)))
    3
    """
    bits = 8 * a.dtype.itemsize
    if bits < 64:
        return ((a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(bits)).astype(a.dtype)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    (low, high), (other_low, other_high) = ((x & mask, x >> half) for x in (a, b))
    middle = high * other_low + (low * other_low >> half)
    other_middle = low * other_high + (middle & mask)
    return high * other_high + (middle >> half) + (other_middle >> half)
