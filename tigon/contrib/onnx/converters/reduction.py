"""Reductions, cumulative sums and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.contrib.onnx.build import (
    axes_of,
    axis_of,
    cast,
    cut,
    flip,
    move,
    number,
    op,
    reduce,
    squeeze,
    unsqueeze,
)
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value
from tigon.ops import get


def _axes(call: Any, ndim: int, axes: np.ndarray | None) -> tuple[int, ...] | None:
    """None where nothing is reduced; an input in later opsets, an attribute before."""
    given = call["axes"] if axes is None else axes.ravel().tolist()
    if given is None or not len(given):
        return None if call["noop_with_empty_axes"] else tuple(range(ndim))
    return axes_of(given, ndim)


def _mean(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    if x.dtype.is_float:
        result = op.mean(x, axis=axes, keepdims=True) if axes else x
        return result if keep else squeeze(result, axes)
    total = reduce("sum", x, axes, keep)
    return op.broadcast_div(total, number(count, total))


def _log_sum_exp(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    """From the largest element, so that nothing overflows."""
    if not axes:
        return x
    top = reduce("max", x, axes, True)
    finite = op.BlockGrad(
        op._select(cast(op._contrib_isfinite(top), top.dtype.name), top, number(0, top))
    )
    total = reduce("sum", op.exp(op.broadcast_sub(x, finite)), axes, True)
    result = op.broadcast_add(op.log(total), finite)
    return result if keep else squeeze(result, axes)


def _extreme(which: str) -> Any:
    def rule(x: Value, axes: tuple[int, ...], keep: bool) -> Value:
        if x.dtype.kind == "b":
            return cast(reduce(which, cast(x, "uint8"), axes, keep), "bool")
        return reduce(which, x, axes, keep)

    return rule


_REDUCTIONS: dict[str, Any] = {
    "ReduceSum": lambda x, axes, keep: reduce("sum", x, axes, keep),
    "ReduceMean": _mean,
    "ReduceMax": _extreme("max"),
    "ReduceMin": _extreme("min"),
    "ReduceProd": lambda x, axes, keep: reduce("prod", x, axes, keep),
    "ReduceL1": lambda x, axes, keep: reduce("sum", op.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: op.sqrt(reduce("sum", x * x, axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: op.log(reduce("sum", x, axes, keep)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": lambda x, axes, keep: reduce("sum", x * x, axes, keep),
}
_FOLDS = {"ReduceSum": np.sum, "ReduceProd": np.prod, "ReduceMax": np.max, "ReduceMin": np.min}


def _declare(name: str, rule: Any) -> None:
    ufunc = _FOLDS.get(name)

    def fold(call: Any, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray | None:
        over = _axes(call, x.ndim, axes)
        if over is None or not x.size:
            return x if over is None else None
        assert ufunc is not None
        found = ufunc(x, axis=over, keepdims=bool(call["keepdims"]))
        return found if x.dtype == object else np.asarray(found).astype(x.dtype)

    @converts(name, known=(1,), fold=fold if ufunc else None)
    def convert(call: Any, x: Value, axes: np.ndarray | None = None) -> Value:
        over = _axes(call, x.ndim, axes)
        if over is None:
            # Nothing is reduced, but what is done to each element still is.
            return rule(x, (), True) if name != "ReduceSum" else op.identity(x)
        result = rule(x, over, bool(call["keepdims"]))
        return op.identity(result) if result is x else result


for _name, _rule in _REDUCTIONS.items():
    _declare(_name, _rule)


def _place(call: Any, x: Value, which: str) -> Value:
    axis = axis_of(call["axis"], x.ndim)
    turned = flip(x, axis) if call["select_last_index"] else x
    found = cast(get(f"_reduce_arg{which}")(turned, axes=(axis,)), "int64")
    if call["select_last_index"]:
        found = op._rminus_scalar(found, scalar=x.shape[axis] - 1)
    return unsqueeze(found, (axis,)) if call["keepdims"] else found


@converts("ArgMax")
def argmax(call: Any, x: Value) -> Value:
    return _place(call, x, "max")


@converts("ArgMin")
def argmin(call: Any, x: Value) -> Value:
    return _place(call, x, "min")


def _cumulated(call: Any, x: Value, axis: np.ndarray, scan: Any, neutral: float) -> Value:
    place = axis_of(int(axis.reshape(())), x.ndim)
    if call["reverse"]:
        x = flip(x, place)
    result = scan(x, place)
    if call["exclusive"] and x.shape[place] != 0:
        first = op._full(
            shape=tuple(1 if i == place else n for i, n in enumerate(x.shape)),
            value=neutral,
            dtype=x.dtype.name,
        )
        result = op.Concat(first, cut(result, place, 0, -1), dim=place)
    return flip(result, place) if call["reverse"] else result


@converts("CumSum", known=(1,))
def cumsum(call: Any, x: Value, axis: np.ndarray) -> Value:
    return _cumulated(call, x, axis, lambda v, place: op._scan_sum(v, axis=place), 0)


@converts("CumProd", known=(1,))
def cumprod(call: Any, x: Value, axis: np.ndarray) -> Value:
    return _cumulated(call, x, axis, _products, 1)


def _products(x: Value, axis: int) -> Value:
    """Doubling steps: each element times what stands so many places before it."""
    step, extent = 1, x.shape[axis]
    while step < extent:
        ones = op._full(
            shape=tuple(step if i == axis else n for i, n in enumerate(x.shape)),
            value=1,
            dtype=x.dtype.name,
        )
        before = op.Concat(ones, cut(x, axis, 0, extent - step), dim=axis)
        x, step = op.broadcast_mul(x, before), 2 * step
    return op.identity(x)


@converts("TopK", known=(1,))
def topk(call: Any, x: Value, k: np.ndarray | None = None) -> tuple[Value, Value]:
    axis = axis_of(call["axis"], x.ndim)
    count = call["k"] if k is None else int(k.reshape(()))
    call.check(0 <= count <= x.shape[axis], f"k: expected 0 to {x.shape[axis]}; given {count}")
    largest = True if call["largest"] is None else bool(call["largest"])
    lines = move(x, axis, x.ndim - 1)
    order = op._order(lines, ascending=not largest, count=count) if count else None
    if order is None:
        empty = tuple(0 if i == axis else n for i, n in enumerate(x.shape))
        return (
            op._full(shape=empty, value=0, dtype=x.dtype.name),
            op._full(shape=empty, value=0, dtype="int64"),
        )
    places = move(order, x.ndim - 1, axis)
    return op._take_along(x, places, axis=axis), places
