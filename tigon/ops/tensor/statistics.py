"""Moments, finiteness and closeness."""

from __future__ import annotations

import warnings
from math import prod as product
from typing import Any

import numpy as np

from tigon.base import as_dtype, check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.arithmetic import absolute, divide, minimum, multiply, square
from tigon.ops.primitive.choose import cast, select
from tigon.ops.primitive.compare import (
    equal,
    greater,
    isfinite,
    lesser_equal,
    logical_and,
    logical_or,
)
from tigon.ops.primitive.functions import sqrt
from tigon.ops.primitive.join import _join
from tigon.ops.primitive.reduce import (
    _reduce_min,
    _reduce_sum,
    kept_shape,
    reduced_axes,
    sum,
)
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import composite
from tigon.ops.tensor.create import ones_like
from tigon.ops.tensor.reduce import mean, norm


class MomentsAttrs(Frozen):
    axes: tuple[int, ...] | None = None
    keepdims: bool = False


def _decompose_moments(attrs: MomentsAttrs, data: Any) -> Any:
    centre = mean(data, axis=attrs.axes, keepdims=True)
    variance = mean(square(data - centre), axis=attrs.axes, keepdims=attrs.keepdims)
    return mean(data, axis=attrs.axes, keepdims=attrs.keepdims), variance


def _moments_oracle(x: np.ndarray, axes: tuple[int, ...] | None, keepdims: bool) -> Any:
    shape = (1,) if axes is None and not keepdims else None
    found = [f(x, axis=axes, keepdims=keepdims, dtype=x.dtype) for f in (np.mean, np.var)]
    return tuple(np.asarray(f) if shape is None else np.reshape(f, shape) for f in found)


moments = composite(
    "moments",
    _decompose_moments,
    attrs=MomentsAttrs,
    dtypes="f",
    outputs=2,
    numpy=_moments_oracle,
    samples=(((3, 5), {"axes": 0}), ((2, 3, 4), {"axes": (0, 2), "keepdims": True}), ((3,), {})),
    doc="""Mean and variance.

    Parameters: `axes` one axis or several, all if not given; `keepdims` leaves them with extent 1.

    >>> [part.asnumpy().tolist() for part in nd.moments(nd.array([[1, 2], [3, 6]]), axes=0)]
    [[2.0, 4.0], [1.0, 4.0]]
    """,
)


class SpreadAttrs(Frozen):
    axis: tuple[int, ...] | None = None
    ddof: int = 0
    keepdims: bool = False
    dtype: str | None = None


def _from_mean(where: str, attrs: SpreadAttrs, data: Any) -> tuple[Any, Any]:
    """Numbers less their mean, and by what the sum of their squares is divided."""
    axes = reduced_axes(where, attrs.axis, False, data.ndim)
    count = max(product(data.shape[axis] for axis in axes) - attrs.ddof, 0)
    if attrs.dtype is not None:
        dtype = as_dtype(attrs.dtype)
        check(dtype.is_float, where, f"dtype: expected a floating-point type; given {dtype}")
        data = cast(data, dtype=attrs.dtype)
    return data - mean(data, axis=attrs.axis, keepdims=True), count


def _decompose_var(attrs: SpreadAttrs, data: Any) -> Any:
    rest, count = _from_mean("var", attrs, data)
    return divide(sum(square(rest), axis=attrs.axis, keepdims=attrs.keepdims), count)


def _decompose_std(attrs: SpreadAttrs, data: Any) -> Any:
    rest, count = _from_mean("std", attrs, data)
    length = norm(rest, axis=attrs.axis, keepdims=attrs.keepdims)
    return divide(length, sqrt(multiply(ones_like(length), count)))


def _spread_oracle(function: Any) -> Any:
    def oracle(
        x: np.ndarray, axis: tuple[int, ...] | None, ddof: int, keepdims: bool, dtype: str | None
    ) -> np.ndarray:
        axes = reduced_axes("", axis, False, x.ndim)
        x = x.astype(dtype or x.dtype)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what has fewer than `ddof` degrees of freedom
            found = np.asarray(function(x, axis=axes, ddof=ddof, dtype=x.dtype))
        return found.reshape(kept_shape(x.shape, axes, keepdims))

    return oracle


_SPREAD_SAMPLES: tuple[tuple[Any, ...], ...] = (
    ((3, 5), {"axis": 0}),
    ((2, 3, 4), {"axis": (0, -1), "keepdims": True, "ddof": 1}),
    ((5,), {}),
    ((3, 2), {"axis": 1, "dtype": "float64"}),
    ((0, 3), {"axis": 1}),
)
_SPREAD_DOC = """{what} of the elements.

    Parameters: `axis` one axis or several, all if not given; `ddof` (default 0) how many degrees of
    freedom are taken from the count that {divides}: 1 for a sample; `keepdims` leaves reduced
    axes with extent 1; `dtype` what to convert to first.

    Over all axes the result has shape (1,). Where no degree of freedom is left it is NaN.{more}

    >>> nd.{name}(nd.array([[1, 2], [3, 6]]), axis=0).asnumpy()
    array({shows}, dtype=float32)
    """

variance = composite(
    "var",
    _decompose_var,
    attrs=SpreadAttrs,
    dtypes="f",
    numpy=_spread_oracle(np.var),
    aliases=("_npi_var",),
    samples=_SPREAD_SAMPLES,
    doc=_SPREAD_DOC.format(
        what="Variance, the mean squared distance from the mean,",
        divides="the sum of squares is divided by",
        more="\n    `sym.var` of a text is a variable, of a symbol this.",
        name="var",
        shows="[1., 4.]",
    ),
)

standard_deviation = composite(
    "std",
    _decompose_std,
    attrs=SpreadAttrs,
    dtypes="f",
    numpy=_spread_oracle(np.std),
    aliases=("_npi_std",),
    samples=_SPREAD_SAMPLES,
    doc=_SPREAD_DOC.format(
        what="Standard deviation, the root of the variance,",
        divides="the sum of squares is divided by",
        more=" Where all elements are\n    equal, the gradient is 0.",
        name="std",
        shows="[1., 2.]",
    ),
)


class CountAttrs(Frozen):
    num_arrays: int = 0


class FiniteAttrs(Frozen):
    num_arrays: int = 0
    init_output: bool = True


def _all_finite(data: Any) -> Any:
    ok = cast(isfinite(data), dtype="float32")
    return _reshape(_reduce_min(ok, axes=tuple(range(data.ndim))), shape=(1,))


def _decompose_finite(attrs: FiniteAttrs, *data: Any) -> Any:
    check(data, "multi_all_finite", "expected at least one array; given none")
    result = minimum(_all_finite(data[0]), 1)
    for one in data[1:]:
        result = minimum(result, _all_finite(one))
    return result


def _finite_oracle(*xs: np.ndarray, **_: Any) -> Any:
    return np.array([float(all(np.isfinite(x).all() for x in xs))], np.float32)


_INFINITE = np.array([1, np.inf], np.float32)

all_finite = composite(
    "all_finite",
    lambda attrs, data: _decompose_finite(attrs, data),
    attrs=FiniteAttrs,
    differentiable=False,
    numpy=_finite_oracle,
    samples=(((2, 3), {}), (_INFINITE, {}), ((0,), {})),
    doc="""1 if no element is infinite or NaN, else 0.

    >>> nd.all_finite(nd.array([1, float("inf")])).asnumpy()
    array([0.], dtype=float32)
    """,
)

multi_all_finite = composite(
    "multi_all_finite",
    _decompose_finite,
    operands="*data",
    attrs=FiniteAttrs,
    differentiable=False,
    numpy=_finite_oracle,
    samples=(((2, 3), (4,), {}), ((2, 3), _INFINITE, {})),
    doc="""1 if no element of any array is infinite or NaN, else 0.

    >>> nd.multi_all_finite(nd.array([1, 2]), nd.array([3])).asnumpy()
    array([1.], dtype=float32)
    """,
)


def _decompose_sum_sq(attrs: CountAttrs, *data: Any) -> Any:
    sums = [_reshape(_reduce_sum(square(x), axes=tuple(range(x.ndim))), shape=(1,)) for x in data]
    return _join(*sums, axis=0)


multi_sum_sq = composite(
    "multi_sum_sq",
    _decompose_sum_sq,
    operands="*data",
    attrs=CountAttrs,
    dtypes="fiu",
    numpy=lambda *xs, num_arrays: np.array([(x * x).sum(dtype=x.dtype) for x in xs], xs[0].dtype),
    samples=(((2, 3), (4,), {}), ((5,), {}), ((0,), (2,), {})),
    doc="""The sum of squares of each array.

    >>> nd.multi_sum_sq(nd.array([1, 2]), nd.array([3])).asnumpy()
    array([5., 9.], dtype=float32)
    """,
)


class LarsAttrs(Frozen):
    eta: float
    eps: float
    rescale_grad: float = 1.0


def _decompose_lars(attrs: LarsAttrs, lrs: Any, weights: Any, grads: Any, wds: Any) -> Any:
    shapes = [x.shape for x in (lrs, weights, grads, wds)]
    check(
        len(set(shapes)) == 1,
        "multi_lars",
        f"expected a number for each weight in all four operands; given {shapes}",
    )
    weight, grad = sqrt(weights), sqrt(grads) * attrs.rescale_grad
    usual = logical_and(greater(weights, 0), greater(grads, 0))
    return lrs * select(usual, attrs.eta * weight / (grad + wds * weight + attrs.eps), 1)


def _lars_oracle(
    lrs: np.ndarray,
    weights: np.ndarray,
    grads: np.ndarray,
    wds: np.ndarray,
    eta: float,
    eps: float,
    rescale_grad: float,
) -> np.ndarray:
    weight, grad = np.sqrt(weights.astype(float)), np.sqrt(grads.astype(float)) * rescale_grad
    with np.errstate(all="ignore"):
        trust = eta * weight / (grad + wds * weight + eps)
    return (lrs * np.where((weights > 0) & (grads > 0), trust, 1)).astype(lrs.dtype)


multi_lars = composite(
    "multi_lars",
    _decompose_lars,
    operands="lrs weights_sum_sq grads_sum_sq wds",
    attrs=LarsAttrs,
    dtypes="f",
    differentiable=False,
    numpy=_lars_oracle,
    domain=(0.1, 2.0),
    samples=(
        ((3,), (3,), (3,), (3,), {"eta": 0.001, "eps": 1e-6, "rescale_grad": 0.5}),
        ((3,), np.array([0, 2, 1.0]), np.array([1, 0, 3.0]), (3,), {"eta": 0.1, "eps": 1e-6}),
    ),
    doc="""Rates of LARS (You et al. 2017), one for each weight: `lr * eta * |weight| / (|grad| +
    wd * |weight| + eps)`, of sums of squares as `multi_sum_sq` gives them. Where one of them is 0
    the rate stays as it is.

    Parameters: `eta`, `eps`; `rescale_grad` (default 1) a factor on the gradient.

    >>> one = nd.array([1])
    >>> nd.multi_lars(one, nd.array([4]), nd.array([4]), nd.array([1]), eta=2, eps=0).asnumpy()
    array([1.], dtype=float32)
    """,
)


class AllcloseAttrs(Frozen):
    rtol: float = 1e-05
    atol: float = 1e-08
    equal_nan: bool = True


def _decompose_allclose(attrs: AllcloseAttrs, a: Any, b: Any) -> Any:
    # The difference of equal infinities is NaN: ask for equality first.
    near = lesser_equal(absolute(a - b), absolute(b) * attrs.rtol + attrs.atol)
    close = logical_or(equal(a, b), near)
    if attrs.equal_nan:
        close = logical_or(close, logical_and(1 - equal(a, a), 1 - equal(b, b)))
    return _reshape(
        _reduce_min(cast(close, dtype="float32"), axes=tuple(range(a.ndim))), shape=(1,)
    )


allclose = composite(
    "_contrib_allclose",
    _decompose_allclose,
    operands="a b",
    attrs=AllcloseAttrs,
    dtypes="fiu",
    differentiable=False,
    numpy=lambda a, b, rtol, atol, equal_nan: np.array(
        [np.allclose(a, b, rtol, atol, equal_nan)], np.float32
    ),
    samples=(
        ((2, 3), (2, 3), {}),
        (_INFINITE, _INFINITE, {}),
        (np.array([1, np.nan], np.float32), np.array([1 + 1e-6, np.nan], np.float32), {}),
    ),
    doc="""1 if all elements of two arrays agree to abs(a - b) <= atol + rtol · abs(b), else 0.

    Parameters: `rtol`, `atol`, `equal_nan` whether NaN equals NaN.

    >>> nd.contrib.allclose(nd.array([1, 2]), nd.array([1, 2.1])).asnumpy()
    array([0.], dtype=float32)
    """,
)
