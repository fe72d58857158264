"""Arrays as memory, and what adds them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tigon import _native, nd
from tigon.base import InternalError
from tigon.base.dtypes import as_dtype
from tigon.distributed.groups import Combine

_BFLOAT16 = as_dtype("bfloat16").code


def is_unknown_to_numpy(array: Any) -> bool:
    """Whether numpy has no dtype for it (bfloat16): it is added up in float32."""
    return array.dtype_code == _BFLOAT16


def memory(array: Any) -> np.ndarray:
    """The elements of an array that is there, as one axis of its memory. Of dtypes that numpy does
    not have: their bits."""
    if is_unknown_to_numpy(array):
        raise InternalError("memory: bfloat16 has no numpy dtype; convert to float32 first")
    return np.from_dlpack(array).reshape(-1)


def _combine(operator: Any) -> Combine:
    def combine(arrays: Sequence[np.ndarray], out: np.ndarray) -> None:
        if not out.size:
            return
        given = [_native.from_dlpack(array) for array in arrays]
        # Where the result lies in one of them, the program has to know.
        own = [made for made, array in zip(given, arrays, strict=True) if array is out]
        target = own[0] if own else _native.from_dlpack(out)
        operator(given, target)
        target.wait_to_read()

    return combine


def _sum(given: Sequence[Any], target: Any) -> None:
    nd.add_n(*given, out=target)  # from the first to the last


def _pairwise(operator: Any) -> Any:
    def reduce(given: Sequence[Any], target: Any) -> None:
        total = given[0]
        for array in given[1:-1]:
            total = operator(total, array)
        operator(total, given[-1], out=target)

    return reduce


COMBINE: dict[str, Combine] = {
    "sum": _combine(_sum),
    "max": _combine(_pairwise(nd.broadcast_maximum)),
    "min": _combine(_pairwise(nd.broadcast_minimum)),
}
"""By name, what becomes of the elements that ranks have. A NaN among them is the result."""
