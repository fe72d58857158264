"""One spelling for equal things: drop what does nothing, merge what follows itself.

Every rule is exact, to the bit and the sign of zero. Rules look at a node and the nodes right
below it, which are canonical already; they are applied to a node until none fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tigon.base import InternalError
from tigon.base.extents import RuntimeNumber, is_one, same_shape
from tigon.ir.graph import CONSTANT, VARIABLE, Graph, Node, Value, constant
from tigon.ir.rewrite import rewrite
from tigon.ops.record import Family, Operator
from tigon.passes.primitives import (
    add,
    broadcast,
    cast,
    contract,
    detach,
    divide,
    full,
    identity,
    join,
    maximum,
    minimum,
    multiply,
    negative,
    pad,
    power,
    reduce_argmax,
    reduce_argmin,
    reduce_max,
    reduce_min,
    reduce_prod,
    reduce_sum,
    reshape,
    slice_region,
    stop_gradient,
    subtract,
    sum_to_like,
    transpose,
)

Simplify = Callable[[Node, "tuple[Value, ...]"], "Value | None"]
"""Given a node and its canonical inputs: what to put in its place, or None."""


def canonicalize(graph: Graph) -> Graph:
    """The same graph with fewer and plainer nodes. Only typed nodes are touched.

    To be run once gradients are taken: stop_gradient does nothing from then on, and goes.

    >>> from tigon.base import TensorType, as_dtype
    >>> from tigon.ir import Graph, show, variable
    >>> x = variable("x", TensorType((2, 3), as_dtype("float32")))
    >>> y = transpose(transpose(negative(negative(x)), axes=(1, 0)), axes=(1, 0)) * 1
    >>> print(show(canonicalize(Graph([x], [y]))))
    graph(%x: float32[2,3]) {
      return %x
    }
    """
    return rewrite(graph, _canonical)


def _canonical(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op is VARIABLE or node.op is CONSTANT or node.types is None:
        return None
    if len(node.outputs) != 1:
        return None
    result: Value | None = None
    while True:
        found = _simplify(node, inputs)
        if found is None:
            return None if result is None else (result,)
        if found.type != node.outputs[0].type:
            raise InternalError(
                f"{node.label}: canonicalize turns {node.outputs[0].type} into {found.type}"
            )
        if found in inputs or found.node.op is CONSTANT or found.node.op is VARIABLE:
            return (found,)
        result, node, inputs = found, found.node, found.node.inputs
        if len(node.outputs) != 1:
            return (result,)


def _simplify(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    rules = _RULES.get(node.op, ())
    if node.op.family is Family.ELEMENTWISE:
        rules = (*rules, _drop_implied_broadcasts)
    for rule in rules:
        found = rule(node, inputs)
        # A weak operand in place of a strong result would change dtypes further up.
        if found is not None and found.type == node.outputs[0].type:
            return found
    return None


def _make(op: Operator, inputs: Sequence[Value], like: Node, **attributes: Any) -> Value:
    """A node in place of `like`, whose name it takes."""
    return Node(op, tuple(inputs), op.make_attrs(attributes), like.name, like.hints).outputs[0]


# -------------------------------------------------------------------------- elementwise


def uniform_value(value: Value) -> float | int | bool | None:
    """The number that all elements are, where the graph says so."""
    node = value.node
    number: float | int | bool | None = None
    if node.op is full or (node.op is CONSTANT and not isinstance(node.attrs.value, tuple)):
        number = node.attrs.value
        if isinstance(number, RuntimeNumber):
            return None
    elif node.op is CONSTANT and len({repr(element) for element in node.attrs.value}) == 1:
        number = node.attrs.value[0]
    return number


def _is_number(value: Value, number: float) -> bool:
    found = uniform_value(value)
    # By sign too: x + 0.0 turns -0.0 into 0.0, x + -0.0 and x - 0.0 leave it.
    return (
        found is not None
        and found == number
        and (number != 0 or math.copysign(1, found) == math.copysign(1, number))
    )


def _drop_one(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """x * 1, x / 1 and x to the power of 1 are x."""
    x, y = inputs
    if _is_number(y, 1):
        return x
    return y if node.op is multiply and _is_number(x, 1) else None


def _drop_zero(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """x - 0 is x; x + 0 only for integers, x + -0.0 for floats."""
    x, y = inputs
    if node.op is subtract:
        return x if _is_number(y, 0) else None
    zero = -0.0 if node.outputs[0].dtype.is_float else 0
    if _is_number(y, zero):
        return x
    return y if _is_number(x, zero) else None


def _same_operands(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    return inputs[0] if inputs[0] is inputs[1] else None


def _first_operand(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Where types are equal (checked by the caller) the node does nothing."""
    return inputs[0]


def _double_negative(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    return below.inputs[0] if below.op is negative else None


def _drop_implied_broadcasts(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """An elementwise operator broadcasts by itself: leave only those that set its shape."""
    if not any(value.node.op is broadcast for value in inputs):
        return None
    shape = node.outputs[0].shape
    kept = list(inputs)
    for position, value in enumerate(inputs):
        if value.node.op is broadcast:
            kept[position] = value.node.inputs[0]
            if _numpy_shape([v.shape for v in kept]) != shape:
                kept[position] = value
    if all(new is old for new, old in zip(kept, inputs, strict=True)):
        return None
    return node.replace(tuple(kept)).outputs[0]


def _numpy_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape to which these broadcast, given that they do."""
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    return tuple(
        next((extent for extent in extents if not is_one(extent)), 1)
        for extents in zip(*padded, strict=True)
    )


# -------------------------------------------------------------------------------- views


def _reshape_of_reshape(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    if below.op is not reshape:
        return None
    return _make(reshape, below.inputs, node, shape=node.attrs.shape)


def _reshaped(x: Value, shape: tuple[int, ...], like: Node) -> Value:
    """A canonical value in another shape, canonical again."""
    if same_shape(x.shape, shape):
        return x
    while x.node.op is reshape:
        x = x.node.inputs[0]
    if same_shape(x.shape, shape):
        return x
    return _make(reshape, (x,), like, shape=shape)


def _transpose_of_transpose(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    if below.op is not transpose:
        return None
    inner, outer = _axes(below), _axes(node)
    return _make(transpose, below.inputs, node, axes=tuple(inner[axis] for axis in outer))


def _axes(node: Node) -> tuple[int, ...]:
    ndim = len(node.inputs[0].shape)
    return tuple(axis % ndim for axis in node.attrs.axes) or tuple(reversed(range(ndim)))


def _transpose_in_order(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Moving only axes of extent 1 moves no element: a reshape, or nothing at all."""
    (x,) = inputs
    axes = _axes(node)
    long = [axis for axis in axes if not is_one(x.shape[axis])]
    if x.type.size and long != sorted(long):
        return None
    if list(axes) == sorted(axes) or same_shape(x.shape, node.outputs[0].shape):
        return x
    return _make(reshape, inputs, node, shape=node.outputs[0].shape)


def _broadcast_of_broadcast(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    if below.op is not broadcast:
        return None
    return _make(broadcast, below.inputs, node, shape=node.attrs.shape)


def _slice_of_slice(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    if below.op is not slice_region:
        return None
    inner, outer = below.attrs, node.attrs
    axes = range(len(outer.start))
    return _make(
        slice_region,
        below.inputs,
        node,
        start=tuple(inner.start[i] + outer.start[i] * inner.step[i] for i in axes),
        step=tuple(inner.step[i] * outer.step[i] for i in axes),
        extents=outer.extents,
    )


def _whole_slice(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    attrs = node.attrs
    whole = attrs.extents == inputs[0].shape and all(
        extent == 0 or (start == 0 and (step == 1 or is_one(extent)))
        for start, step, extent in zip(attrs.start, attrs.step, attrs.extents, strict=True)
    )
    return inputs[0] if whole else None


def _slice_step_of_one(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Where one element is taken its step means nothing: say 1, so that equal slices are equal."""
    attrs = node.attrs
    steps = tuple(
        1 if extent <= 1 else step for step, extent in zip(attrs.step, attrs.extents, strict=True)
    )
    if steps == attrs.step:
        return None
    return _make(slice_region, inputs, node, start=attrs.start, step=steps, extents=attrs.extents)


def _pad_of_pad(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    below = inputs[0].node
    if below.op is not pad or repr(below.attrs.value) != repr(node.attrs.value):
        return None
    inner, outer = below.attrs, node.attrs
    if any(outer.interior):
        return None
    return _make(
        pad,
        below.inputs,
        node,
        before=tuple(a + b for a, b in zip(inner.before, outer.before, strict=True)),
        after=tuple(a + b for a, b in zip(inner.after, outer.after, strict=True)),
        value=outer.value,
        interior=inner.interior,
    )


def _pad_of_nothing(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Equal shapes mean that nothing was put anywhere."""
    return inputs[0] if same_shape(inputs[0].shape, node.outputs[0].shape) else None


def _flat_join(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Joins of joins are one join; operands of extent 0 add nothing."""
    axis = node.attrs.axis
    flat: list[Value] = []
    for value in inputs:
        nested = value.node.op is join and value.node.attrs.axis == axis
        flat.extend(value.node.inputs if nested else (value,))
    kept = [value for value in flat if value.shape[axis]] or flat[:1]
    if len(kept) == 1:
        return kept[0]
    if len(kept) == len(inputs) and all(a is b for a, b in zip(kept, inputs, strict=True)):
        return None
    return _make(join, kept, node, axis=axis)


# ----------------------------------------------------------------- reductions, contractions


def _reduce_nothing(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Over no axes, or over axes of extent 1, the result is the only element."""
    shape = inputs[0].shape
    if any(not is_one(shape[axis]) for axis in node.attrs.axes):
        return None
    only = _reshaped(inputs[0], node.outputs[0].shape, node)
    if node.op is reduce_sum and only.dtype.is_float:
        return _make(add, (only, constant(0.0)), node)  # as the sum, which begins with 0.0
    return only


def _position_of_only(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    shape = inputs[0].shape
    if any(not is_one(shape[axis]) for axis in node.attrs.axes):
        return None
    kind = node.outputs[0].type
    return _make(full, (), node, shape=kind.shape, dtype=kind.dtype.name, value=0)


def _contract_of_transpose(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """A transposed operand is the same contraction under permuted labels."""
    labels = [node.attrs.left, node.attrs.right]
    operands = list(inputs)
    for side, value in enumerate(inputs):
        below = value.node
        if below.op is transpose:
            permuted: list[str] = [""] * len(labels[side])
            for label, axis in zip(labels[side], _axes(below), strict=True):
                permuted[axis] = label
            labels[side] = "".join(permuted)
            operands[side] = below.inputs[0]
    if tuple(operands) == inputs:
        return None
    return _make(contract, operands, node, left=labels[0], right=labels[1], out=node.attrs.out)


def _sum_to_same(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    return inputs[0] if same_shape(inputs[0].shape, inputs[1].shape) else None


_RULES: Mapping[Any, tuple[Simplify, ...]] = {
    multiply: (_drop_one,),
    divide: (_drop_one,),
    power: (_drop_one,),
    add: (_drop_zero,),
    subtract: (_drop_zero,),
    maximum: (_same_operands,),
    minimum: (_same_operands,),
    negative: (_double_negative,),
    cast: (_first_operand,),
    identity: (_first_operand,),
    stop_gradient: (_first_operand,),
    detach: (_first_operand,),
    reshape: (_first_operand, _reshape_of_reshape),
    transpose: (_transpose_of_transpose, _transpose_in_order),
    broadcast: (_first_operand, _broadcast_of_broadcast),
    slice_region: (_whole_slice, _slice_step_of_one, _slice_of_slice),
    pad: (_pad_of_nothing, _pad_of_pad),
    join: (_flat_join,),
    reduce_sum: (_reduce_nothing,),
    reduce_prod: (_reduce_nothing,),
    reduce_max: (_reduce_nothing,),
    reduce_min: (_reduce_nothing,),
    reduce_argmax: (_position_of_only,),
    reduce_argmin: (_position_of_only,),
    contract: (_contract_of_transpose,),
    sum_to_like: (_sum_to_same,),
}
