"""Slices and reversal, and writing to slices."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.extents import is_known
from tigon.base.frozen import Frozen
from tigon.ir.graph import constant
from tigon.ops.primitive.choose import cast
from tigon.ops.primitive.join import _assign_slice
from tigon.ops.primitive.view import _broadcast, _slice, normalized_axes, normalized_axis
from tigon.ops.record import Operator, composite


def slice_range(
    where: str, size: int, begin: int | None, end: int | None, step: int | None
) -> tuple[int, int, int]:
    """Python's slice of an axis as (start, step, extent).

    >>> slice_range("slice", 5, None, None, -2)
    (4, -2, 3)
    """
    check(step != 0, where, "step is 0; use 1, or -1 to go backwards")
    if not is_known(size):
        return _open_range(size, begin, end, 1 if step is None else step)
    found = range(*builtins.slice(begin, end, step).indices(size))
    return (found.start if len(found) else 0), found.step, len(found)


def _open_range(size: int, begin: int | None, end: int | None, step: int) -> tuple[int, int, int]:
    """The same of an extent that is known later, which answers what is compared with it."""
    low, high = (0, size) if step > 0 else (-1, size - 1)

    def place(given: int | None, default: int) -> int:
        if given is None:
            return default
        counted = given + size if given < 0 else given
        return low if counted < low else high if counted > high else counted

    first, last = (low, high) if step > 0 else (high, low)
    start, stop = place(begin, first), place(end, last)
    span = stop - start if step > 0 else start - stop
    extent = -(-span // builtins.abs(step)) if span > 0 else 0
    return (start if extent else 0), step, extent


class SliceAttrs(Frozen):
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] = ()


def _regions(attrs: SliceAttrs, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    count = len(attrs.begin)
    steps = attrs.step or (None,) * count
    check(
        count == len(attrs.end) == len(steps) and count <= len(shape),
        "slice",
        f"begin {attrs.begin}, end {attrs.end}, step {attrs.step} do not fit shape {shape}",
    )
    found = [
        slice_range("slice", *axis)
        for axis in zip(shape, attrs.begin, attrs.end, steps, strict=False)
    ]
    found += [(0, 1, extent) for extent in shape[count:]]
    start, step, extents = zip(*found, strict=True) if found else ((), (), ())
    return {"start": start, "step": step, "extents": extents}


slice = composite(
    "slice",
    lambda attrs, data: _slice(data, **_regions(attrs, data.shape)),
    attrs=SliceAttrs,
    numpy=lambda x, begin, end, step: x[
        tuple(
            builtins.slice(*part)
            for part in zip(begin, end, step or (None,) * len(begin), strict=True)
        )
    ].copy(),
    aliases=("crop",),
    samples=(
        ((3, 4), {"begin": (0, 1), "end": (2, 4)}),
        ((5, 6), {"begin": (None, 4), "end": (None, 0), "step": (2, -1)}),
        ((5, 6), {"begin": (-2,), "end": (None,)}),
        ((3, 0), {"begin": (1,), "end": (3,)}),
        ((4,), {"begin": (3,), "end": (1,)}),
    ),
    doc="""A region of the array, as Python's slices take it.

    Parameters: `begin`, `end` and `step`, one entry per axis from the first on; None for the whole
    axis, negative counted from behind.

    >>> nd.slice(nd.array([[1, 2, 3], [4, 5, 6]]), begin=(0, 1), end=(2, 3)).asnumpy()
    array([[2., 3.],
           [5., 6.]], dtype=float32)
    """,
)


class SliceAxisAttrs(Frozen):
    axis: int
    begin: int
    end: int | None


def _axis_region(
    where: str, shape: tuple[int, ...], axis: int, begin: int | None, end: int | None
) -> dict[str, tuple[int, ...]]:
    place = normalized_axis(where, axis, len(shape))
    start, _, extent = slice_range(where, shape[place], begin, end, None)
    return {
        "start": tuple(start if i == place else 0 for i in range(len(shape))),
        "step": (1,) * len(shape),
        "extents": tuple(extent if i == place else n for i, n in enumerate(shape)),
    }


slice_axis = composite(
    "slice_axis",
    lambda attrs, data: _slice(
        data, **_axis_region("slice_axis", data.shape, attrs.axis, attrs.begin, attrs.end)
    ),
    attrs=SliceAxisAttrs,
    numpy=lambda x, axis, begin, end: np.take(
        x, np.arange(*builtins.slice(begin, end).indices(x.shape[axis])), axis
    ),
    samples=(
        ((3, 4), {"axis": 1, "begin": 1, "end": 3}),
        ((3, 4), {"axis": -2, "begin": -2, "end": None}),
        ((0, 4), {"axis": 1, "begin": 0, "end": 2}),
    ),
    doc="""A range along one axis.

    Parameters: `axis`; `begin`, `end` as in Python's slices, `end` None for the rest.

    >>> nd.slice_axis(nd.array([[1, 2, 3], [4, 5, 6]]), axis=1, begin=0, end=2).asnumpy()
    array([[1., 2.],
           [4., 5.]], dtype=float32)
    """,
)


class AxesAttrs(Frozen):
    axes: tuple[int, ...] = ()


def _like_extents(
    attrs: AxesAttrs, shape: tuple[int, ...], like: tuple[int, ...]
) -> tuple[int, ...]:
    axes = attrs.axes or tuple(range(builtins.min(len(shape), len(like))))
    if not attrs.axes:
        check(len(shape) == len(like), "slice_like", f"ranks differ: {shape} and {like}; give axes")
    places = normalized_axes("slice_like", axes, builtins.min(len(shape), len(like)))
    return tuple(like[i] if i in places else n for i, n in enumerate(shape))


slice_like = composite(
    "slice_like",
    lambda attrs, data, shape_like: _slice(
        data,
        start=(0,) * data.ndim,
        step=(1,) * data.ndim,
        extents=_like_extents(attrs, data.shape, shape_like.shape),
    ),
    operands="data shape_like",
    attrs=AxesAttrs,
    numpy=lambda x, like, axes: x[
        tuple(builtins.slice(n) for n in _like_extents(AxesAttrs(axes), x.shape, like.shape))
    ].copy(),
    samples=(((3, 4), (2, 3), {}), ((3, 4), (2, 3), {"axes": (-1,)}), ((3, 4), (0, 3), {})),
    doc="""The beginning of `data`, in the extents of `shape_like`.

    Parameters: `axes` restricts this to some axes.

    >>> nd.slice_like(nd.array([[1, 2, 3], [4, 5, 6]]), nd.zeros((1, 2))).asnumpy()
    array([[1., 2.]], dtype=float32)
    """,
)


class ReverseAttrs(Frozen):
    axis: tuple[int, ...]


def _decompose_flip(attrs: ReverseAttrs, data: Any) -> Any:
    axes = normalized_axes("reverse", attrs.axis, data.ndim)
    return _slice(
        data,
        start=tuple(n - 1 if i in axes and n else 0 for i, n in enumerate(data.shape)),
        step=tuple(-1 if i in axes else 1 for i in range(data.ndim)),
        extents=data.shape,
    )


flip: Operator = composite(
    "reverse",
    _decompose_flip,
    attrs=ReverseAttrs,
    grad=lambda a, g, y, x: (flip(g, axis=a.axis),),
    numpy=lambda x, axis: np.flip(x, axis).copy(),
    aliases=("flip",),
    samples=(((2, 3), {"axis": 1}), ((2, 3), {"axis": (0, -1)}), ((0, 2), {"axis": 0})),
    doc="""The elements in reverse order along `axis` (one or several).

    >>> nd.flip(nd.array([[1, 2, 3]]), axis=1).asnumpy()
    array([[3., 2., 1.]], dtype=float32)
    """,
)


def _slice_assign_attrs(attrs: SliceAttrs, shape: tuple[int, ...]) -> dict[str, Any]:
    found = _regions(attrs, shape)
    return {"start": found["start"], "step": found["step"]}


def _slice_assign_oracle(
    lhs: np.ndarray,
    rhs: np.ndarray,
    begin: tuple[Any, ...],
    end: tuple[Any, ...],
    step: tuple[Any, ...],
) -> Any:
    result = lhs.copy()
    parts = zip(begin, end, step or (None,) * len(begin), strict=True)
    result[tuple(builtins.slice(*part) for part in parts)] = rhs
    return result


def _decompose_slice_assign(attrs: SliceAttrs, lhs: Any, rhs: Any) -> Any:
    found = _regions(attrs, lhs.shape)
    if rhs.type.weak:
        rhs = cast(rhs, dtype=lhs.dtype.name)
    if rhs.shape != found["extents"]:
        rhs = _broadcast(rhs, shape=found["extents"])
    return _assign_slice(lhs, rhs, start=found["start"], step=found["step"])


slice_assign = composite(
    "_slice_assign",
    _decompose_slice_assign,
    operands="lhs rhs",
    attrs=SliceAttrs,
    dtypes={"lhs rhs": "fiub"},
    numpy=_slice_assign_oracle,
    aliases=("_crop_assign",),
    samples=(
        ((3, 4), (2, 3), {"begin": (0, 1), "end": (2, 4)}),
        ((5, 6), (3, 1), {"begin": (None, 4), "end": (None, 0), "step": (2, -1)}),
        ((3, 0), (2, 0), {"begin": (1,), "end": (3,)}),
    ),
    doc="""`lhs` with a region, given as in `slice`, overwritten by `rhs`, which is broadcast to it.

    >>> nd._slice_assign(nd.zeros((2, 2)), nd.array([[5]]), begin=(0, 1), end=(1, 2)).asnumpy()
    array([[0., 5.],
           [0., 0.]], dtype=float32)
    """,
)


class SliceAssignScalarAttrs(Frozen):
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] = ()
    scalar: float = 0.0


slice_assign_scalar = composite(
    "_slice_assign_scalar",
    lambda attrs, data: slice_assign(
        data, constant(attrs.scalar), begin=attrs.begin, end=attrs.end, step=attrs.step
    ),
    attrs=SliceAssignScalarAttrs,
    numpy=lambda x, begin, end, step, scalar: _slice_assign_oracle(
        x, np.asarray(scalar, x.dtype), begin, end, step
    ),
    aliases=("_crop_assign_scalar",),
    samples=(
        ((3, 4), {"begin": (0, 1), "end": (2, 4), "scalar": 7.0}),
        ((3, 0), {"begin": (1,), "end": (3,)}),
    ),
    doc="""The array with a region, given as in `slice`, overwritten by `scalar`.

    >>> nd._slice_assign_scalar(nd.zeros((2, 2)), begin=(0, 1), end=(1, 2), scalar=5).asnumpy()
    array([[0., 5.],
           [0., 0.]], dtype=float32)
    """,
)
