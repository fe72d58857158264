"""In which order the axes of an image lie in memory, seen through views."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tigon.base.extents import is_one, same_shape
from tigon.ir import Value
from tigon.ops.primitive.view import (
    _broadcast,
    _common_groups,
    _pad,
    _reshape,
    _slice,
    transpose,
)
from tigon.ops.primitive.window import _unwindow, _window

Order = tuple[int, ...]
"""Axes from the outermost in memory to the innermost."""

_SAME_AXES = (_pad, _slice, _window, _unwindow)
VIEWS = (transpose, _reshape, _broadcast, *_SAME_AXES)


def memory_order(
    value: Value, laid_out: Collection[Value], known: dict[Value, Order | None]
) -> Order:
    """The order of a value's axes, if it is a view of one of `laid_out`, which are row-major;
    otherwise, and where a view mixes axes, it counts as row-major. `known` is filled and asked.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import variable
    >>> x = variable("x", TensorType((2, 5, 6, 3), as_dtype("float32")))
    >>> memory_order(transpose(x, axes=(0, 3, 1, 2)), {x}, {})
    (0, 2, 3, 1)
    >>> memory_order(transpose(x, axes=(0, 3, 1, 2)), (), {})
    (0, 1, 2, 3)

    An extent that is not known yet may lead, as long as views leave it alone:

    >>> from tigon.base.extents import RuntimeExtents
    >>> (batch,) = RuntimeExtents([64]).unknown
    >>> y = variable("y", TensorType((batch, 24, 24, 5, 4), as_dtype("float32")))
    >>> image = _reshape(transpose(y, axes=(0, 3, 4, 1, 2)), shape=(batch, 20, 24, 24))
    >>> memory_order(image, {y}, {})
    (0, 2, 3, 1)
    """
    chain: list[Value] = []
    here = value
    while here not in known and here not in laid_out and here.node.op in VIEWS:
        chain.append(here)
        here = here.node.inputs[0]
    order = tuple(range(here.ndim)) if here in laid_out else known.get(here)
    for view in reversed(chain):
        order = known[view] = None if order is None else _through(view, order)
    return tuple(range(value.ndim)) if order is None else order


def is_same_array(value: Value, root: Value) -> bool:
    """Whether a view of `root` is that array but for axes of extent 1: transpositions and reshapes
    that leave all other axes as they were.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import variable
    >>> y = variable("y", TensorType((2, 5, 6, 3), as_dtype("float32")))
    >>> image = transpose(y, axes=(0, 3, 1, 2))
    >>> groups = _reshape(image, shape=(2, 3, 1, 5, 6))
    >>> is_same_array(transpose(groups, axes=(0, 3, 4, 1, 2)), y), is_same_array(groups, y)
    (True, False)
    >>> is_same_array(_reshape(image, shape=y.shape), y)
    False
    """
    views: list[Value] = []
    while value is not root:
        if value.node.op not in (transpose, _reshape):
            return False
        views.append(value)
        value = value.node.inputs[0]
    axes = [None if is_one(extent) else axis for axis, extent in enumerate(root.shape)]
    for view in reversed(views):
        if view.node.op is transpose:
            axes = [axes[axis] for axis in view.node.attrs.axes or reversed(range(len(axes)))]
            continue
        if not same_shape(_squeezed(view.node.inputs[0].shape), _squeezed(view.shape)):
            return False
        real = iter([axis for axis in axes if axis is not None])
        axes = [None if is_one(extent) else next(real) for extent in view.shape]
    left = [axis for axis in axes if axis is not None]
    return left == sorted(left)


def is_row_major(order: Order) -> bool:
    return order == tuple(range(len(order)))


def with_ones(order: Order, shape: Sequence[int]) -> Order:
    """The order, where axes of extent 1, which lie nowhere, follow the axes before them: that they
    may be repeated there. Only the innermost axis is followed by none.

    >>> with_ones((3, 5, 0, 2, 4, 1), (2, 16, 9, 1, 9, 1))
    (0, 2, 3, 4, 5, 1)
    """
    real = [axis for axis in order if not is_one(shape[axis])]
    if real == sorted(real):
        return tuple(range(len(shape)))
    made, innermost = real[:-1], real[-1]
    for axis in range(len(shape)):
        if is_one(shape[axis]):
            before = next((a for a in range(axis - 1, -1, -1) if a in made), None)
            made.insert(0 if before is None else made.index(before) + 1, axis)
    return (*made, innermost)


def _through(view: Value, order: Order) -> Order:
    node = view.node
    source = node.inputs[0]
    if node.op is transpose:
        axes = node.attrs.axes or tuple(reversed(range(source.ndim)))
        return tuple(axes.index(axis) for axis in order)
    if node.op in _SAME_AXES:
        return order
    if node.op is _broadcast:
        lead = view.ndim - source.ndim
        return (*range(lead), *(axis + lead for axis in with_ones(order, source.shape)))
    return _reshaped_order(source, view, order)


def _reshaped_order(source: Value, view: Value, order: Order) -> Order:
    """Axes that are cut stay together, axes that lie next to each other may become one."""
    row_major = tuple(range(view.ndim))
    shapes = (source.shape, view.shape)
    parts: dict[int, tuple[int, ...]] = {}  # axis of the source -> axes of the view
    lead = _open_lead(*shapes)
    if same_shape(*map(_squeezed, shapes)):
        wide = iter([axis for axis in range(view.ndim) if not is_one(view.shape[axis])])
        groups = [
            ([axis], [next(wide)]) for axis in range(source.ndim) if not is_one(source.shape[axis])
        ]
    elif _are_known(*(shape[lead:] for shape in shapes)):
        groups = [([axis], [axis]) for axis in range(lead)]
        groups += [
            (
                [lead + axis for axis in there if source.shape[lead + axis] != 1],
                [lead + axis for axis in here if view.shape[lead + axis] != 1],
            )
            for there, here in _common_groups(*(shape[lead:] for shape in shapes))
        ]
    else:
        return row_major
    for there, here in groups:
        if len(there) > 1:
            positions = [order.index(axis) for axis in there]
            between = order[positions[0] : positions[-1] + 1]
            if len(here) != 1 or [x for x in between if not is_one(source.shape[x])] != there:
                return row_major
        if there:
            parts[there[0]] = tuple(here)
    made = [new for axis in order for new in parts.get(axis, ())]
    ones = [axis for axis in range(view.ndim) if axis not in made]
    return with_ones((*ones, *made), view.shape)


def _open_lead(a: Sequence[int], b: Sequence[int]) -> int:
    """How many extents, not all of them numbers, two shapes begin with alike."""
    lead = 0
    for one, other in zip(a, b, strict=False):
        if isinstance(one, int) or isinstance(other, int) or not same_shape((one,), (other,)):
            break
        lead += 1
    return lead


def _are_known(*shapes: Sequence[int]) -> bool:
    return all(isinstance(extent, int) and extent for shape in shapes for extent in shape)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if not is_one(extent))
