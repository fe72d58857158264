"""Products of elements. The slope of a product at an element is the product of the others, a
quotient wherever no element is 0; the operators here have that, and its own slope, at zeros too.
"""

from __future__ import annotations

from math import prod as product
from typing import Any

import numpy as np

from tigon.ops.primitive.choose import cast_like, select
from tigon.ops.primitive.compare import equal, isnan
from tigon.ops.primitive.create import _full
from tigon.ops.primitive.real import in_dtype_of, in_real_numbers
from tigon.ops.primitive.reduce import (
    _REDUCE_SAMPLES,
    ReduceAttrs,
    SpreadAttrs,
    _doc,
    _reduce_sum,
    _reducing,
    _reducing_oracle,
    reduced_axes,
    reduction,
    spread,
)
from tigon.ops.primitive.scan import _scan_sum
from tigon.ops.primitive.view import _broadcast, _pad, _reshape, _slice
from tigon.ops.record import Operator, composite


def _slope(g: Any, x: Any, **along: Any) -> Any:
    real = in_real_numbers(x)
    others = _products_of_others(real, **along)
    return in_dtype_of(x, spread(in_real_numbers(g), real, **along) * others)


_reduce_prod: Operator = reduction(
    "prod",
    "Product",
    lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype),
    lambda a, g, y, x: (_slope(g, x, axis=a.axes),),
    domain=(0.5, 2.0),
)

prod: Operator = composite(
    "prod",
    _reducing("prod", _reduce_prod, counts=True),
    attrs=ReduceAttrs,
    grad=lambda a, g, y, x: (_slope(g, x, axis=a.axis, exclude=a.exclude),),
    numpy=_reducing_oracle(lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype), counts=True),
    domain=(0.5, 2.0),
    samples=(*_REDUCE_SAMPLES, ((0, 3), {})),
    doc=_doc(
        "Product of the elements.",
        "nd.prod(nd.array([[1, 2], [3, 4]]), axis=0).asnumpy()",
        "[3., 8.]",
    ),
)


nanprod = composite(
    "nanprod",
    lambda attrs, data: prod(
        select(isnan(data), 1, data),
        axis=attrs.axis,
        keepdims=attrs.keepdims,
        exclude=attrs.exclude,
    ),
    attrs=ReduceAttrs,
    numpy=_reducing_oracle(lambda x, axes: np.nanprod(x, axis=axes, dtype=x.dtype), counts=True),
    domain=(0.5, 2.0),
    samples=(
        *_REDUCE_SAMPLES,
        (np.array([[1, np.nan], [np.nan, np.nan]], np.float32), {"axis": 1}),
    ),
    doc=_doc(
        "Product of the elements that are numbers.",
        "nd.nanprod(nd.array([[1, float('nan')], [3, 4]]), axis=0).asnumpy()",
        "[3., 4.]",
    ),
)


def _along(attrs: SpreadAttrs) -> dict[str, Any]:
    return {"axis": attrs.axis, "exclude": attrs.exclude}


def _multiplied(x: Any, axes: dict[str, Any]) -> Any:
    return spread(prod(x, **axes), x, **axes)


def _sums_before(x: Any, axis: int, reverse: bool) -> Any:
    """Of each element the sum of those before it along `axis`, or of those after it."""
    ends = [0] * x.ndim
    one, start = list(ends), list(ends)
    one[axis] = 1
    scanned = _scan_sum(x, axis=axis, reverse=reverse)
    if reverse:
        start[axis] = 1
    before, after = (ends, one) if reverse else (one, ends)
    wider = _pad(scanned, before=tuple(before), after=tuple(after))
    return _slice(wider, start=tuple(start), step=(1,) * x.ndim, extents=x.shape)


def _decompose_sums_of_others(attrs: SpreadAttrs, x: Any) -> Any:
    """The sum before and the sum after: the whole without the element would lose small numbers
    beside a large one."""
    axes = reduced_axes("_sums_of_others", attrs.axis, attrs.exclude, x.ndim)
    if len(axes) == x.ndim > 1:  # one line
        line = _reshape(x, shape=(x.type.size,))
        return _reshape(_sums_of_others(line, axis=(0,)), shape=x.shape)
    total = _full(shape=x.shape, dtype=x.dtype.name, value=0.0)
    rest, shape = x, list(x.shape)
    for axis in reversed(axes):
        others = _sums_before(rest, axis, False) + _sums_before(rest, axis, True)
        total = total + _broadcast(others, shape=x.shape)
        shape[axis] = 1
        rest = _reshape(_reduce_sum(rest, axes=(axis,)), shape=tuple(shape))
    return total


def _decompose_products_of_others(attrs: SpreadAttrs, x: Any) -> Any:
    """y / x, except where zeros make that 0 / 0: one zero alone leaves the product of the rest to
    itself and nothing to the others, two leave nothing."""
    axes = _along(attrs)
    zero = cast_like(equal(x, 0), x)
    filled = select(zero, 1, x)
    alone = equal(_sums_of_others(zero, **axes), 0)
    return select(alone, _multiplied(filled, axes) / filled, 0)


def _decompose_products_of_pairs(attrs: SpreadAttrs, u: Any, x: Any) -> Any:
    """As above: of the products without i and j those are not 0 that leave out every zero."""
    axes = _along(attrs)
    zero = cast_like(equal(x, 0), x)
    filled = select(zero, 1, x)
    zeros = _sums_of_others(zero, **axes)  # besides j
    share = u / filled
    others = select(
        equal(zeros, 0),
        _sums_of_others(select(zero, 0, share), **axes),
        select(equal(zeros, 1), _sums_of_others(select(zero, share, 0), **axes), 0),
    )
    return _multiplied(filled, axes) / filled * others


def _grad_products_of_pairs(attrs: SpreadAttrs, h: Any, y: Any, u: Any, x: Any) -> Any:
    """The slope at x, a sum over products without three elements, is nan where elements are 0."""
    axes = _along(attrs)
    a, b = u / x, h / x

    def others(v: Any) -> Any:
        return _sums_of_others(v, **axes)

    triples = others(a) * others(b) - others(a * b)
    return _products_of_pairs(h, x, **axes), _multiplied(x, axes) / x * triples


def _sums_of_others_oracle(x: np.ndarray, axis: tuple[int, ...] | None, exclude: bool) -> Any:
    axes = reduced_axes("", axis, exclude, x.ndim)
    return (np.sum(x, axes, dtype=x.dtype, keepdims=True) - x).astype(x.dtype)


def _leaving_out(
    x: np.ndarray, axis: tuple[int, ...] | None, exclude: bool, weights: np.ndarray | None
) -> np.ndarray:
    """By definition: of every row the products without one element each, or, with weights, the
    weighted sums of those without one more."""
    axes = reduced_axes("", axis, exclude, x.ndim)
    kept = [place for place in range(x.ndim) if place not in axes]
    order = (*kept, *axes)
    moved = x.transpose(order)
    outer = moved.shape[: len(kept)]
    rows = moved.reshape(product(outer), product(moved.shape[len(kept) :]))
    without = [np.delete(rows, place, axis=1) for place in range(rows.shape[1])]
    if weights is None:
        columns = [np.prod(rest, axis=1) for rest in without]
    else:
        weight_rows = weights.transpose(order).reshape(rows.shape)
        columns = [
            (np.delete(weight_rows, place, axis=1) * _leaving_out(rest, (1,), False, None)).sum(1)
            for place, rest in enumerate(without)
        ]
    result = np.stack(columns, axis=1) if columns else rows
    return result.reshape(moved.shape).transpose(np.argsort(order)).astype(x.dtype)


_OTHERS_SAMPLES: tuple[tuple[Any, ...], ...] = (
    (np.array([[2.0, 3.0, 5.0], [0.0, 3.0, 5.0], [0.0, 3.0, 0.0]]), {"axis": (1,)}),
    ((2, 3, 2), {"axis": (1,), "exclude": True}),
    ((2, 3), {}),
    ((0, 3), {"axis": (1,)}),
)

_sums_of_others: Operator = composite(
    "_sums_of_others",
    _decompose_sums_of_others,
    attrs=SpreadAttrs,
    dtypes="fiu",
    grad=lambda a, g, y, x: (_sums_of_others(g, **_along(a)),),
    numpy=_sums_of_others_oracle,
    samples=_OTHERS_SAMPLES,
    doc="""For each element the sum of the others along `axis`.""",
)

_products_of_others: Operator = composite(
    "_products_of_others",
    _decompose_products_of_others,
    attrs=SpreadAttrs,
    dtypes="f",
    grad=lambda a, g, y, x: (_products_of_pairs(g, x, **_along(a)),),
    numpy=lambda x, axis, exclude: _leaving_out(x, axis, exclude, None),
    domain=(0.5, 2.0),
    samples=_OTHERS_SAMPLES,
    doc="""The slope of `prod`: for each element the product of the others along `axis`.""",
)

_products_of_pairs: Operator = composite(
    "_products_of_pairs",
    _decompose_products_of_pairs,
    operands="weight data",
    attrs=SpreadAttrs,
    dtypes="f",
    grad=_grad_products_of_pairs,
    numpy=lambda u, x, axis, exclude: _leaving_out(x, axis, exclude, u),
    domain=(0.5, 2.0),
    samples=tuple((sample[0], *sample) for sample in _OTHERS_SAMPLES),
    doc="""The slope of `_products_of_others`: for each element j of `data` the sum over all others
    i of weight_i times the product of what is neither i nor j.""",
)
