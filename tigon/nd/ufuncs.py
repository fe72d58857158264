"""numpy's ufuncs of arrays: `np.exp(x)`, `numpy_array * x`.

Those that have an operator of ours give an array of ours. There, and wherever a numpy array stands
beside one of ours, it takes its dtype, as Python numbers do. All else is computed by numpy.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.dtypes import as_dtype, own_numbers
from tigon.nd.creation import array
from tigon.ops import record

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "absolute": operator.abs,
    "add": operator.add,
    "divide": operator.truediv,
    "equal": operator.eq,
    "floor_divide": operator.floordiv,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "matmul": operator.matmul,
    "multiply": operator.mul,
    "negative": operator.neg,
    "not_equal": operator.ne,
    "positive": operator.pos,
    "power": operator.pow,
    "remainder": operator.mod,
    "subtract": operator.sub,
}

_OPERATORS: dict[str, str] = {
    **{
        name: name
        for name in """arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh
        degrees exp expm1 floor isfinite isinf isnan log log10 log1p log2 logical_not radians
        reciprocal rint sign sin sinh sqrt square tan tanh trunc""".split()
    },
    **{
        name: f"broadcast_{name}"
        for name in "hypot logical_and logical_or logical_xor maximum minimum".split()
    },
    "deg2rad": "radians",
    "rad2deg": "degrees",
}


def is_ours(item: Any) -> bool:
    """Whether it is an array, or what stands for one while code is traced."""
    return hasattr(item, "apply_op")


def call(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """What `__array_ufunc__` of arrays gives."""
    known = (np.ndarray, np.generic, Number, list, tuple)
    targets = keywords.get("out", ())
    if not all(is_ours(item) or isinstance(item, known) for item in (*inputs, *targets)):
        return NotImplemented
    function = _function(ufunc.__name__)
    if method != "__call__" or keywords or function is None:
        return _by_numpy(ufunc, method, inputs, keywords)
    like = next(item for item in inputs if is_ours(item))
    operands = [item if is_ours(item) else beside(like, item) for item in inputs]
    return function(*operands)


def _function(name: str) -> Callable[..., Any] | None:
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    return record.get(_OPERATORS[name]) if name in _OPERATORS else None


def beside(like: Any, value: Any) -> Any:
    """What numpy holds, as an operand beside an array: of its dtype, where it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Number):
        return value
    values = own_numbers(np.asarray(value))
    dtype = as_dtype(like.dtype)
    if dtype.is_integer and values.size and values.dtype.kind in "iuf":
        limits = np.iinfo(dtype.numpy)
        least, most = values.min(), values.max()
        check(
            limits.min <= least and most <= limits.max,
            "numpy array",
            f"expected numbers that fit {dtype}, the dtype of the other operand; given some from "
            f"{least} to {most}; convert one of them with astype",
        )
    return array(values, ctx=like.context, dtype=dtype.name)


def _by_numpy(
    ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    targets = keywords.pop("out", ())
    written = tuple(None if is_ours(target) else target for target in targets)
    if any(target is not None for target in written):
        keywords["out"] = written
    keywords = {name: _as_numpy(value) for name, value in keywords.items()}
    result = getattr(ufunc, method)(*map(_as_numpy, inputs), **keywords)
    results = result if isinstance(result, tuple) else (result,)
    for target, value in zip(targets, results, strict=False):
        if is_ours(target):
            target[:] = value
    if not targets:
        return result
    found = tuple(
        value if target is None else target for target, value in zip(targets, results, strict=True)
    )
    return found if isinstance(result, tuple) else found[0]


def _as_numpy(item: Any) -> Any:
    return item.asnumpy() if is_ours(item) else item
