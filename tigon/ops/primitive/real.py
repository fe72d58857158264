"""Functions of real numbers, which integers are put through as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base.dtypes import as_dtype, float64
from tigon.loop import build as L
from tigon.loop.grammar import Expr
from tigon.loop.semantics import convert
from tigon.ops.record import Operator, composite, elementwise, get


def real_function(
    name: str,
    *,
    lower: Callable[[Expr], Expr],
    grad: Callable[[Any, Any, Any], tuple[Any]],
    numpy: Callable[[np.ndarray], Any],
    **record: Any,
) -> Operator:
    """A primitive of one operand whose rules are written for floats. Of integers it is computed in
    float64, its gradient as well, and what comes out is made an integer of their dtype as `Cast`
    does it: without its fraction, between the limits, NaN as 0."""

    def lower_any(x: Expr) -> Expr:
        if x.dtype.is_float:
            return lower(x)
        return L.cast(lower(L.cast(x, float64)), x.dtype)

    def grad_any(g: Any, y: Any, x: Any) -> tuple[Any]:
        if x.is_typed and x.dtype.is_float:
            return grad(g, y, x)
        real = in_real_numbers(x)
        (slope,) = grad(in_real_numbers(g), op(real), real)
        return (in_dtype_of(x, slope),)

    def numpy_any(x: np.ndarray) -> Any:
        if x.dtype.kind == "f":
            return numpy(x)
        with np.errstate(all="ignore"):
            return convert(np.asarray(numpy(x.astype(np.float64))), as_dtype(x.dtype))

    op = elementwise(name, lower=lower_any, grad=grad_any, numpy=numpy_any, dtypes="fiu", **record)
    return op


def in_real_numbers(x: Any) -> Any:
    """Floats as they are, integers in float64: what a rule for floats can take."""
    return x if x.is_typed and x.dtype.is_float else _in_real_numbers(x)


def in_dtype_of(x: Any, slope: Any) -> Any:
    """The cotangent of `x`, which was computed in real numbers."""
    return slope if x.is_typed and x.dtype.is_float else get("_cast_like")(slope, x)


_in_real_numbers = composite(
    "_in_real_numbers",
    lambda data: data if data.dtype.is_float else get("Cast")(data, dtype="float64"),
    grad=lambda g, y, data: (get("_cast_like")(g, data),),
    numpy=lambda x: x if x.dtype.kind == "f" else x.astype(np.float64),
    dtypes="fiu",
    samples=(((2, 3), {}), ((0, 2), {})),
    doc="""Floats as they are, integers in float64.""",
)
