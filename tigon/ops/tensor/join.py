"""Concatenation, stacking and splitting."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.join import _join
from tigon.ops.primitive.view import _along, _reshape, normalized_axis
from tigon.ops.record import composite
from tigon.ops.tensor.shape import expand_dims, squeezed


class ConcatAttrs(Frozen):
    dim: int = 1
    num_args: int = 0


concat = composite(
    "Concat",
    lambda attrs, *data: _join(*data, axis=normalized_axis("concat", attrs.dim, data[0].ndim)),
    operands="*data",
    attrs=ConcatAttrs,
    dtypes="fiub",
    numpy=lambda *xs, dim, num_args: np.concatenate(xs, dim),
    aliases=("concat", "_rnn_param_concat"),
    samples=(
        ((2, 3), (2, 4), {}),
        ((2, 3), (1, 3), {"dim": -2}),
        ((2, 1, 3), {"dim": 1}),
        ((0, 2), (3, 2), {"dim": 0}),
    ),
    doc="""The arrays one behind the other.

    Parameters: `dim` the axis (default 1); all other extents must be equal.

    >>> nd.concat(nd.array([[1, 2]]), nd.array([[3]]), dim=1).asnumpy()
    array([[1., 2., 3.]], dtype=float32)
    """,
)


class StackAttrs(Frozen):
    axis: int = 0
    num_args: int = 0


def _decompose_stack(attrs: StackAttrs, *data: Any) -> Any:
    check(data, "stack", "expected at least one array; given none")
    axis = normalized_axis("stack", attrs.axis, data[0].ndim + 1)
    return _join(*(expand_dims(x, axis=axis) for x in data), axis=axis)


stack = composite(
    "stack",
    _decompose_stack,
    operands="*data",
    attrs=StackAttrs,
    dtypes="fiub",
    numpy=lambda *xs, axis, num_args: np.stack(xs, axis),
    samples=(((2, 3), (2, 3), {}), ((2,), (2,), (2,), {"axis": -1}), ((0,), (0,), {"axis": 1})),
    doc="""The arrays along a new axis.

    Parameters: `axis` where it goes.

    >>> nd.stack(nd.array([1, 2]), nd.array([3, 4]), axis=1).asnumpy()
    array([[1., 3.],
           [2., 4.]], dtype=float32)
    """,
)


class SplitAttrs(Frozen):
    num_outputs: int
    axis: int = 1
    squeeze_axis: bool = False


def _decompose_split(attrs: SplitAttrs, data: Any) -> Any:
    axis = normalized_axis("split", attrs.axis, data.ndim)
    size = data.shape[axis]
    check(
        attrs.num_outputs > 0 and size % attrs.num_outputs == 0,
        "split",
        f"axis {axis} of shape {data.shape} does not divide into {attrs.num_outputs} equal parts",
    )
    extent = size // attrs.num_outputs
    check(
        not attrs.squeeze_axis or extent == 1,
        "split",
        f"squeeze_axis needs parts of extent 1; they have {extent}",
    )
    parts = []
    for index in range(attrs.num_outputs):
        part = _along(data, axis, index * extent, 1, extent)
        if attrs.squeeze_axis:
            part = _reshape(part, shape=squeezed(part.shape, (axis,)))
        parts.append(part)
    return tuple(parts)


def _split_oracle(
    x: np.ndarray, num_outputs: int, axis: int, squeeze_axis: bool
) -> tuple[np.ndarray, ...]:
    parts = np.split(x, num_outputs, axis)
    if squeeze_axis:
        parts = [part.reshape(squeezed(part.shape, (axis,))) for part in parts]
    return tuple(parts)


split = composite(
    "SliceChannel",
    _decompose_split,
    attrs=SplitAttrs,
    outputs=lambda a: a.num_outputs,
    numpy=_split_oracle,
    aliases=("split",),
    samples=(
        ((2, 6), {"num_outputs": 3}),
        ((2, 3), {"num_outputs": 3, "squeeze_axis": True}),
        ((4, 2), {"num_outputs": 1, "axis": 0}),
        ((4, 0), {"num_outputs": 2, "axis": -2}),
    ),
    doc="""The array cut into equal parts.

    Parameters: `num_outputs` how many, `axis` along which (default 1), `squeeze_axis` drops that
    axis, which then must have extent 1 in each part.

    >>> [part.asnumpy().tolist() for part in nd.split(nd.array([[1, 2, 3, 4]]), num_outputs=2)]
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """,
)


class SplitV2Attrs(Frozen):
    indices: tuple[int, ...] = ()
    axis: int = 0
    squeeze_axis: bool = False
    sections: int = 0


def _cuts(attrs: SplitV2Attrs, size: int) -> list[int]:
    """Where each part begins, and the end."""
    if attrs.sections > 0:
        check(
            size % attrs.sections == 0,
            "split_v2",
            f"extent {size} does not divide into {attrs.sections} equal sections",
        )
        return [size // attrs.sections * i for i in range(attrs.sections + 1)]
    # MXNet's files hold the leading 0.
    inner = attrs.indices[1:] if attrs.indices[:1] == (0,) else attrs.indices
    cuts = [0, *inner, size]
    check(
        all(a <= b for a, b in pairwise(cuts)),
        "split_v2",
        f"indices {attrs.indices} must ascend and stay within {size}",
    )
    return cuts


def _split_v2_count(attrs: SplitV2Attrs) -> int:
    if attrs.sections > 0:
        return attrs.sections
    return len(attrs.indices) + (attrs.indices[:1] != (0,))


def _decompose_split_v2(attrs: SplitV2Attrs, data: Any) -> Any:
    axis = normalized_axis("split_v2", attrs.axis, data.ndim)
    cuts = _cuts(attrs, data.shape[axis])
    parts = []
    for first, last in pairwise(cuts):
        part = _along(data, axis, first if last > first else 0, 1, last - first)
        if attrs.squeeze_axis:
            part = _reshape(part, shape=squeezed(part.shape, (axis,)))
        parts.append(part)
    return tuple(parts)


def _split_v2_oracle(x: np.ndarray, **fields: Any) -> tuple[np.ndarray, ...]:
    attrs = SplitV2Attrs(**fields)
    parts = np.split(x, _cuts(attrs, x.shape[attrs.axis])[1:-1], attrs.axis)
    if attrs.squeeze_axis:
        parts = [part.reshape(squeezed(part.shape, (attrs.axis,))) for part in parts]
    return tuple(parts)


split_v2 = composite(
    "_split_v2",
    _decompose_split_v2,
    attrs=SplitV2Attrs,
    outputs=_split_v2_count,
    numpy=_split_v2_oracle,
    samples=(
        ((5, 2), {"indices": (1, 3)}),
        ((5, 2), {"indices": (0, 1, 3)}),
        ((2, 6), {"sections": 3, "axis": 1}),
        ((3, 2), {"sections": 3, "squeeze_axis": True}),
        ((5, 2), {"indices": (2, 2)}),
    ),
    doc="""The array cut at given places or into equal sections.

    Parameters: `indices` where the second and following parts begin, or `sections` how many equal
    parts; `axis` along which (default 0); `squeeze_axis` drops that axis.

    >>> [part.shape for part in nd._split_v2(nd.zeros((5, 2)), indices=(1, 3))]
    [(1, 2), (2, 2), (2, 2)]
    """,
)
