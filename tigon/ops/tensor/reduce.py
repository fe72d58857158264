"""Means, extremes, their positions, and norms."""

from __future__ import annotations

from collections.abc import Callable
from math import prod as product
from typing import Any

import numpy as np

from tigon.base import as_dtype, check
from tigon.base.dtypes import DType, float64, uint64
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import absolute, add, divide, floor_divide, modulo, sign, square
from tigon.ops.primitive.choose import cast, cast_like, select
from tigon.ops.primitive.compare import (
    equal,
    greater,
    isnan,
    lesser,
    logical_and,
    logical_or,
    not_equal,
)
from tigon.ops.primitive.functions import sqrt
from tigon.ops.primitive.reduce import (
    _REDUCE_SAMPLES,
    ReduceAttrs,
    Samples,
    _arg_oracle,
    _doc,
    _extreme_oracle,
    _mean_of,
    _reduce_argmax,
    _reduce_argmin,
    _reduce_max,
    _reduce_min,
    _reducing,
    _reducing_oracle,
    kept_shape,
    reduced_axes,
    spread,
    sum,
)
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import EXPECTED, Operator, composite


def _decompose_mean(attrs: ReduceAttrs, data: Any) -> Any:
    axes = reduced_axes("mean", attrs.axis, attrs.exclude, data.ndim)
    count = product(data.shape[axis] for axis in axes)
    along: dict[str, Any] = {
        "axis": attrs.axis,
        "keepdims": attrs.keepdims,
        "exclude": attrs.exclude,
    }
    if data.dtype.is_float:
        return divide(sum(data, **along), count)
    wide = data if data.dtype is uint64 else cast(data, dtype="int64")
    if data.dtype.itemsize < 8:
        # A narrow integer holds neither the sum nor the count.
        return cast(divide(sum(wide, **along), count), dtype=data.dtype.name)
    # The sum of the quotients is in range where that of the elements may not be.
    rest = sum(modulo(wide, count), **along)
    whole = add(sum(floor_divide(wide, count), **along), floor_divide(rest, count))
    cut = logical_and(lesser(whole, 0), not_equal(modulo(rest, count), 0))
    return add(whole, cut)


mean = composite(
    "mean",
    _decompose_mean,
    attrs=ReduceAttrs,
    dtypes="fiu",
    numpy=_reducing_oracle(_mean_of),
    samples=(*_REDUCE_SAMPLES, ((0, 3), {}), ((300,), {})),
    doc=_doc(
        "Mean of the elements.", "nd.mean(nd.array([[1, 2], [3, 4]]), axis=0).asnumpy()", "[2., 3.]"
    ),
)


def _grad_extreme(a: Any, g: Any, y: Any, x: Any) -> Any:
    """Every element that equals the extreme receives the whole gradient, as in MXNet."""
    back = {"axis": a.axis, "exclude": a.exclude}
    return (spread(g, x, **back) * equal(x, spread(y, x, **back)),)


max = composite(
    "max",
    _reducing("max", _reduce_max),
    attrs=ReduceAttrs,
    grad=_grad_extreme,
    numpy=_reducing_oracle(_extreme_oracle(np.maximum)),
    aliases=("max_axis",),
    samples=_REDUCE_SAMPLES,
    doc=_doc(
        "Largest element.", "nd.max(nd.array([[1, 2], [3, 4]]), axis=0).asnumpy()", "[3., 4.]"
    ),
)

min = composite(
    "min",
    _reducing("min", _reduce_min),
    attrs=ReduceAttrs,
    grad=_grad_extreme,
    numpy=_reducing_oracle(_extreme_oracle(np.minimum)),
    aliases=("min_axis",),
    samples=_REDUCE_SAMPLES,
    doc=_doc(
        "Smallest element.", "nd.min(nd.array([[1, 2], [3, 4]]), axis=0).asnumpy()", "[1., 2.]"
    ),
)

nansum = composite(
    "nansum",
    lambda attrs, data: sum(
        select(isnan(data), 0, data),
        axis=attrs.axis,
        keepdims=attrs.keepdims,
        exclude=attrs.exclude,
    ),
    attrs=ReduceAttrs,
    numpy=_reducing_oracle(lambda x, axes: np.nansum(x, axis=axes, dtype=x.dtype), counts=True),
    samples=(
        *_REDUCE_SAMPLES,
        (np.array([[1, np.nan], [np.nan, np.nan]], np.float32), {"axis": 1}),
    ),
    doc=_doc(
        "Sum of the elements that are numbers.",
        "nd.nansum(nd.array([[1, float('nan')], [3, 4]]), axis=0).asnumpy()",
        "[4., 4.]",
    ),
)


class ArgAttrs(Frozen):
    axis: int | None = None
    keepdims: bool = False


def _choosing(name: str, primitive_op: Operator) -> Callable[..., Any]:
    def decompose(attrs: ArgAttrs, data: Any) -> Any:
        axes = reduced_axes(name, None if attrs.axis is None else (attrs.axis,), False, data.ndim)
        position = cast(primitive_op(data, axes=axes), dtype=_dtype_of_positions(data.dtype))
        return _reshape(position, shape=kept_shape(data.shape, axes, attrs.keepdims))

    return decompose


def _dtype_of_positions(data: DType) -> str:
    """As MXNet has it, but for uint8, in which position 256 would be 0."""
    return data.name if data.kind == "i" else "float32"


def _choosing_oracle(best: Any) -> Callable[..., Any]:
    def oracle(x: np.ndarray, axis: int | None, keepdims: bool) -> Any:
        axes = reduced_axes("", None if axis is None else (axis,), False, x.ndim)
        found = _arg_oracle(best)(x, axes)
        dtype = _dtype_of_positions(as_dtype(x.dtype))
        return found.reshape(kept_shape(x.shape, axes, keepdims)).astype(dtype)

    return oracle


_ARG_SAMPLES: Samples = (
    ((3, 5), {}),
    ((3, 5), {"axis": 1}),
    ((3, 5), {"axis": -2, "keepdims": True}),
    ((7,), {"axis": 0}),
    ((0, 3), {"axis": 1}),
    (np.array([[1, 3, 3], [2, 0, 2]], np.int32), {"axis": 1}),
)
_ARG_DOC = """Position of the {word} element, the first one if several are equal, as float32; int32
    and int64 keep their dtype.

    Parameters: `axis` along which; of the flattened array if not given; `keepdims` leaves that axis
    with extent 1.

    >>> nd.{name}(nd.array([[1, 3, 2], [9, 7, 8]]), axis=1).asnumpy()
    array({shows}, dtype=float32)
    """

argmax = composite(
    "argmax",
    _choosing("argmax", _reduce_argmax),
    attrs=ArgAttrs,
    differentiable=False,
    numpy=_choosing_oracle(np.argmax),
    samples=_ARG_SAMPLES,
    doc=_ARG_DOC.format(word="largest", name="argmax", shows="[1., 0.]"),
)

argmin = composite(
    "argmin",
    _choosing("argmin", _reduce_argmin),
    attrs=ArgAttrs,
    differentiable=False,
    numpy=_choosing_oracle(np.argmin),
    samples=_ARG_SAMPLES,
    doc=_ARG_DOC.format(word="smallest", name="argmin", shows="[0., 1.]"),
)

argmax_channel = composite(
    "argmax_channel",
    lambda data: argmax(data, axis=1),
    differentiable=False,
    numpy=lambda x: np.argmax(x, 1).astype(_dtype_of_positions(as_dtype(x.dtype))),
    samples=(((3, 5), {}), ((2, 3, 4), {}), ((0, 3), {})),
    doc="""Position of the largest element along axis 1, as `argmax` gives it.

    >>> nd.argmax_channel(nd.array([[1, 3, 2], [9, 7, 8]])).asnumpy()
    array([1., 0.], dtype=float32)
    """,
)


class NormAttrs(Frozen):
    ord: int = 2
    axis: tuple[int, ...] | None = None
    out_dtype: str | None = None
    keepdims: bool = False


def _dtypes_of_norm(ord: int) -> str:
    return "fiu" if ord == 1 else "f"


def _decompose_norm(attrs: NormAttrs, data: Any) -> Any:
    check(attrs.ord in (1, 2), "norm", f"ord is 1 or 2; given {attrs.ord}")
    if attrs.out_dtype is not None:
        wanted = _dtypes_of_norm(attrs.ord)
        check(
            as_dtype(attrs.out_dtype).kind in wanted,
            "norm",
            f"out_dtype: expected {EXPECTED[wanted]} for ord {attrs.ord}; given {attrs.out_dtype}",
        )
        data = cast(data, dtype=attrs.out_dtype)
    along: dict[str, Any] = {"axis": attrs.axis, "keepdims": attrs.keepdims}
    if attrs.ord == 1:
        return sum(absolute(data), **along)
    if data.dtype is float64:
        return _length_of_doubles(data, along)
    # No square overflows or vanishes there.
    wide = cast(data, dtype="float32" if data.dtype.is_narrow else "float64")
    return cast(sqrt(sum(square(wide), **along)), dtype=data.dtype.name)


def _length_of_doubles(data: Any, along: dict[str, Any]) -> Any:
    """Blue 1978, "A portable Fortran program to find the Euclidean norm of a vector": the squares
    of large, ordinary and small elements are summed apart, the first and the last scaled."""
    size = absolute(data)
    large, small = greater(size, 2.0**480), lesser(size, 2.0**-480)
    ordinary = select(logical_or(large, small), 0, data)
    most = sum(square(select(large, data * 2.0**-600, 0)), **along)
    middle = sum(square(ordinary), **along)
    least = sum(square(select(small, data * 2.0**600, 0)), **along)
    without_large = select(
        equal(middle, 0),
        sqrt(least) * 2.0**-600,
        sqrt(middle + least * 2.0**-600 * 2.0**-600),
    )
    with_large = sqrt(most + middle * 2.0**-600 * 2.0**-600) * 2.0**600
    return select(equal(most, 0), without_large, with_large)


def _grad_norm(attrs: NormAttrs, g: Any, y: Any, x: Any) -> Any:
    """At 0 the Euclidean norm has no slope; 0 is the least of its subgradients, of all orders."""
    wide, along = cast_like(x, y), {"axis": attrs.axis}
    if attrs.ord == 1:
        return (cast_like(spread(g, x, **along) * sign(wide), x),)
    nothing = equal(y, 0)
    direction = wide / spread(select(nothing, 1, y), x, **along)
    return (cast_like(spread(select(nothing, 0, g), x, **along) * direction, x),)


def _norm_oracle(
    x: np.ndarray,
    ord: int,
    axis: tuple[int, ...] | None,
    keepdims: bool,
    out_dtype: str | None,
) -> np.ndarray:
    x = x.astype(out_dtype or x.dtype)
    axes = reduced_axes("", axis, False, x.ndim)
    total = np.sum(np.abs(x) if ord == 1 else x * x, axis=axes, dtype=x.dtype)
    result = total if ord == 1 else np.sqrt(total)
    return np.asarray(result).reshape(kept_shape(x.shape, axes, keepdims))


norm = composite(
    "norm",
    _decompose_norm,
    attrs=NormAttrs,
    dtypes=lambda attrs: _dtypes_of_norm(attrs.ord) if attrs.out_dtype is None else {},
    grad=_grad_norm,
    numpy=_norm_oracle,
    samples=(
        ((3, 5), {}),
        ((3, 5), {"axis": 1, "ord": 1}),
        ((2, 3, 4), {"axis": (0, 2), "keepdims": True}),
        ((0, 3), {"axis": 0}),
        ((3, 5), {"axis": 0, "out_dtype": "float64"}),
    ),
    doc="""Norm of the elements. Its gradient at 0 is 0.

    Parameters: `ord` 2 (root of the sum of squares) or 1 (sum of absolute values); `axis` one axis
    or several, all if not given; `keepdims` leaves them with extent 1; `out_dtype` computes in
    this dtype.

    >>> nd.norm(nd.array([[3, 4], [6, 8]]), axis=1).asnumpy()
    array([ 5., 10.], dtype=float32)
    """,
)


class L2NormalizationAttrs(Frozen):
    eps: float = 1e-10
    mode: str = "instance"


def _normalized_over(mode: str, ndim: int) -> tuple[int, ...]:
    check(
        mode in ("instance", "channel", "spatial") and ndim > 1,
        "L2Normalization",
        f"mode is instance, channel or spatial, of an array with at least 2 axes; given '{mode}'"
        f" and {ndim} axes",
    )
    if mode == "channel":
        return (1,)
    return tuple(range(1 if mode == "instance" else 2, ndim))


def _decompose_l2_normalization(attrs: L2NormalizationAttrs, data: Any) -> Any:
    axes = _normalized_over(attrs.mode, data.ndim)
    return data / sqrt(sum(square(data), axis=axes, keepdims=True) + attrs.eps)


def _l2_oracle(x: np.ndarray, eps: float, mode: str) -> Any:
    total = np.sum(x * x, axis=_normalized_over(mode, x.ndim), keepdims=True)
    return x / np.sqrt(total + x.dtype.type(eps))


l2_normalization = composite(
    "L2Normalization",
    _decompose_l2_normalization,
    attrs=L2NormalizationAttrs,
    dtypes="f",
    numpy=_l2_oracle,
    samples=(
        ((3, 5), {}),
        ((2, 3, 4), {"mode": "channel"}),
        ((2, 3, 2, 2), {"mode": "spatial"}),
        ((0, 3), {}),
    ),
    doc="""Elements divided by the root of the sum of their squares.

    Parameters: `mode` "instance" (over all axes but the first), "channel" (over axis 1) or
    "spatial" (over the axes behind it); `eps` is added to the sum.

    >>> nd.L2Normalization(nd.array([[3, 4]])).asnumpy()
    array([[0.6, 0.8]], dtype=float32)
    """,
)
