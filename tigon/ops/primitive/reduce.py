"""Reductions: primitives that combine elements along sorted, non-negative axes, which disappear;
their adjoint; and the sum with MXNet's conventions (axis, keepdims, exclude, shape (1,) for a full
reduction), which gradients are made of.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from math import prod as product
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.dtypes import as_dtype, bool_, int64
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.loop.combine import COMBINES, Combine
from tigon.ops.primitive.arithmetic import towards_zero
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.compare import equal
from tigon.ops.primitive.view import _broadcast, _reshape, normalized_axes, reshape_like
from tigon.ops.record import Family, Operator, composite, primitive

# ---------------------------------------------------------------------------- primitives


class AxesAttrs(Frozen):
    axes: tuple[int, ...]


def _kept(name: str, attrs: AxesAttrs, x: TensorType) -> tuple[int, ...]:
    check(
        attrs.axes == normalized_axes(name, attrs.axes, x.ndim),
        name,
        f"axes {attrs.axes} must be sorted and not negative",
    )
    return tuple(n for axis, n in enumerate(x.shape) if axis not in attrs.axes)


def _infer_reduction(name: str, combine: Combine) -> Callable[..., TensorType]:
    def infer(attrs: AxesAttrs, x: TensorType) -> TensorType:
        shape = _kept(name, attrs, x)
        reduced = product(x.shape[axis] for axis in attrs.axes)
        check(
            reduced or not combine.positional,
            name.strip("_"),
            f"nothing to choose from along the empty axes {attrs.axes} of shape {x.shape}",
        )
        return TensorType(shape, int64 if combine.positional else x.dtype)

    return infer


Samples = tuple[tuple[Any, ...], ...]

_SAMPLES: Samples = (
    ((3, 5), {"axes": (1,)}),
    ((2, 3, 4), {"axes": (0, 2)}),
    ((7,), {"axes": (0,)}),
    ((2, 3), {"axes": ()}),
    ((), {"axes": ()}),
    ((0, 3), {"axes": (1,)}),
)
_WITH_EMPTY = (*_SAMPLES, ((0, 3), {"axes": (0,)}))


def reduction(
    combine: str,
    meaning: str,
    numpy: Callable[..., Any],
    grad: Callable[..., Any] | None,
    **record: Any,
) -> Operator:
    """The primitive that combines elements by a row of `loop/combine.py`."""
    row = COMBINES[combine]
    name = f"_reduce_{ {'maximum': 'max', 'minimum': 'min'}.get(combine, combine) }"
    return primitive(
        name,
        Family.REDUCTION,
        combine=combine,
        attrs=AxesAttrs,
        infer=_infer_reduction(name, row),
        dtypes=row.kinds,
        grad=grad,
        numpy=numpy,
        samples=_SAMPLES if row.positional else _WITH_EMPTY,
        differentiable=not row.positional,
        doc=f"{meaning} over `axes`, which disappear.",
        **record,
    )


def _extreme_oracle(best: np.ufunc) -> Callable[..., Any]:
    def oracle(x: np.ndarray, axes: tuple[int, ...]) -> Any:
        nothing = COMBINES[best.__name__].neutral(as_dtype(x.dtype.name))
        return best.reduce(x, axis=axes, initial=nothing)

    return oracle


def _arg_oracle(best: Any) -> Callable[..., Any]:
    def oracle(x: np.ndarray, axes: tuple[int, ...]) -> Any:
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        outer = [x.shape[axis] for axis in kept]
        if x.size == 0:
            return np.zeros(outer, np.int64)
        rows = x.transpose(*kept, *axes).reshape(*outer, -1)
        return best(rows, axis=-1).astype(np.int64)

    return oracle


_reduce_sum = reduction(
    "sum",
    "Sum",
    lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
    lambda a, g, y, x: (spread(g, x, axis=a.axes),),
)


_reduce_max = reduction(
    "maximum",
    "Largest element (NaN if there is one)",
    _extreme_oracle(np.maximum),
    lambda a, g, y, x: (spread(g, x, axis=a.axes) * equal(x, spread(y, x, axis=a.axes)),),
)
_reduce_min = reduction(
    "minimum",
    "Smallest element (NaN if there is one)",
    _extreme_oracle(np.minimum),
    lambda a, g, y, x: (spread(g, x, axis=a.axes) * equal(x, spread(y, x, axis=a.axes)),),
)
_reduce_argmax = reduction(
    "argmax",
    "Position (int64) of the largest element in the flattened axes, the first if several,",
    _arg_oracle(np.argmax),
    None,
)
_reduce_argmin = reduction(
    "argmin",
    "Position (int64) of the smallest element in the flattened axes, the first if several,",
    _arg_oracle(np.argmin),
    None,
)

# ------------------------------------------------------------------------ MXNet's operators


class SpreadAttrs(Frozen):
    axis: tuple[int, ...] | None = None
    exclude: bool = False


class ReduceAttrs(Frozen):
    axis: tuple[int, ...] | None = None
    keepdims: bool = False
    exclude: bool = False


def reduced_axes(
    where: str, axis: tuple[int, ...] | None, exclude: bool, ndim: int
) -> tuple[int, ...]:
    """The axes that a reduction removes. None means all, or all but none under exclude.

    >>> reduced_axes("sum", (1,), True, 3)
    (0, 2)
    """
    if axis is None:
        return tuple(range(ndim))
    axes = normalized_axes(where, axis, ndim)
    if exclude:
        return tuple(place for place in range(ndim) if place not in axes)
    return axes


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape of the result; a full reduction has shape (1,).

    >>> kept_shape((2, 3), (0, 1), False), kept_shape((2, 3), (1,), True)
    ((1,), (2, 1))
    """
    if keepdims:
        return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    return kept if kept or not shape else (1,)


def _decompose_spread(attrs: SpreadAttrs, data: Any, like: Any) -> Any:
    axes = reduced_axes("_spread", attrs.axis, attrs.exclude, like.ndim)
    column = kept_shape(like.shape, axes, keepdims=True)
    if not same_shape(data.shape, column):
        data = _reshape(data, shape=column)
    return data if same_shape(data.shape, like.shape) else _broadcast(data, shape=like.shape)


def _spread_oracle(
    data: np.ndarray, like: np.ndarray, axis: tuple[int, ...] | None, exclude: bool
) -> Any:
    axes = reduced_axes("_spread", axis, exclude, like.ndim)
    return np.broadcast_to(data.reshape(kept_shape(like.shape, axes, True)), like.shape).copy()


spread: Operator = composite(
    "_spread",
    _decompose_spread,
    operands="data like",
    attrs=SpreadAttrs,
    grad=lambda a, g, y, data, like: (
        reshape_like(sum(g, axis=a.axis, exclude=a.exclude), data),
        None,
    ),
    numpy=_spread_oracle,
    samples=(
        ((3,), (3, 5), {"axis": (1,)}),
        ((3, 1), (3, 5), {"axis": (1,)}),
        ((1,), (2, 3), {}),
        ((3,), (2, 3, 4), {"axis": (1,), "exclude": True}),
        ((0,), (0, 3), {"axis": (1,)}),
    ),
    doc="""A reduced array repeated along the axes it lost, in the shape of `like`: the adjoint of a
    sum over `axis`.""",
)


def _reducing(name: str, primitive_op: Operator, counts: bool = False) -> Callable[..., Any]:
    """`counts`: of bools it is an int64, as in numpy."""

    def decompose(attrs: ReduceAttrs, data: Any) -> Any:
        axes = reduced_axes(name, attrs.axis, attrs.exclude, data.ndim)
        if counts and data.dtype is bool_:
            data = cast(data, dtype="int64")
        result = primitive_op(data, axes=axes)
        shape = kept_shape(data.shape, axes, attrs.keepdims)
        return result if same_shape(result.shape, shape) else _reshape(result, shape=shape)

    return decompose


def _reducing_oracle(rule: Callable[..., Any], counts: bool = False) -> Callable[..., Any]:
    def oracle(
        x: np.ndarray, axis: tuple[int, ...] | None, keepdims: bool, exclude: bool
    ) -> np.ndarray:
        axes = reduced_axes("", axis, exclude, x.ndim)
        if counts and x.dtype == np.bool_:
            x = x.astype(np.int64)
        result = np.asarray(rule(x, axes)).astype(x.dtype)
        return result.reshape(kept_shape(x.shape, axes, keepdims))

    return oracle


_REDUCE_SAMPLES: Samples = (
    ((3, 5), {}),
    ((3, 5), {"axis": 1}),
    ((2, 3, 4), {"axis": (0, -1), "keepdims": True}),
    ((2, 3, 4), {"axis": 1, "exclude": True}),
    ((), {}),
    ((1,), {"keepdims": True}),
    ((0, 3), {"axis": 1}),
)
_PARAMETERS = """

    Parameters: `axis` one axis or several, all if not given; `keepdims` leaves them with extent 1;
    `exclude` reduces all the other axes instead. A full reduction gives shape (1,).

    >>> {example}
    array({shows}, dtype=float32)
    """


def _mean_of(x: np.ndarray, axes: tuple[int, ...]) -> Any:
    count = product(x.shape[axis] for axis in axes)
    with np.errstate(all="ignore"):
        if x.dtype.kind == "f":
            return np.sum(x, axis=axes, dtype=x.dtype) / count
        mean_of = np.frompyfunc(lambda total: towards_zero(total, builtins.max(count, 1)), 1, 1)
        return mean_of(np.sum(x, axis=axes, dtype=object))


def _doc(sentence: str, example: str, shows: str) -> str:
    return sentence + _PARAMETERS.format(example=example, shows=shows)


sum: Operator = composite(
    "sum",
    _reducing("sum", _reduce_sum, counts=True),
    attrs=ReduceAttrs,
    grad=lambda a, g, y, x: (spread(g, x, axis=a.axis, exclude=a.exclude),),
    numpy=_reducing_oracle(lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype), counts=True),
    aliases=("sum_axis",),
    samples=(*_REDUCE_SAMPLES, ((0, 3), {})),
    doc=_doc(
        "Sum of the elements.", "nd.sum(nd.array([[1, 2], [3, 4]]), axis=0).asnumpy()", "[4., 6.]"
    ),
)
