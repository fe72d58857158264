"""Primitives as nodes of ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from tigon.base import TigonError
from tigon.base.dtypes import DType, as_dtype
from tigon.base.extents import is_known
from tigon.contrib.onnx.reading import code_of
from tigon.contrib.onnx.writing.model import Writer, primitive
from tigon.ir.graph import Node

LOWEST = -(2**63) + 1
"""Where a slice ends that runs down through the first element."""


def cast_to(w: Writer, name: str, dtype: DType | str) -> str:
    return w.add("Cast", [name], to=code_of(dtype))


def dtype_of(node: Node) -> DType:
    return node.outputs[0].dtype


# --------------------------------------------------------------------------- elementwise

_SAME = {
    "abs": "Abs",
    "arccos": "Acos",
    "arccosh": "Acosh",
    "arcsin": "Asin",
    "arcsinh": "Asinh",
    "arctan": "Atan",
    "arctanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "negative": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "rint": "Round",
    "_round_even": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "softsign": "Softsign",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
    "_softrelu": "Softplus",
    "mish": "Mish",
    "broadcast_add": "Add",
    "broadcast_sub": "Sub",
    "broadcast_mul": "Mul",
    "broadcast_div": "Div",
    "broadcast_power": "Pow",
    "broadcast_maximum": "Max",
    "broadcast_minimum": "Min",
    "_bitwise_and": "BitwiseAnd",
    "_bitwise_or": "BitwiseOr",
    "_bitwise_xor": "BitwiseXor",
}


@primitive(*_SAME)
def _same(w: Writer, node: Node, inputs: list[str]) -> str:
    if node.op.name in _ROUNDINGS and not dtype_of(node).is_float:
        return inputs[0]
    return w.add(_SAME[node.op.name], w.alike(node, inputs), node.name)


_ROUNDINGS = ("ceil", "floor", "rint", "_round_even", "fix", "trunc", "round")


@primitive("BlockGrad", "_copy", "_copyto", "_detach", "_again", "_kept", "_repeated", "_stored")
def _as_it_is(w: Writer, node: Node, inputs: list[str]) -> str:
    return inputs[0]


_COMPARISONS = {
    "broadcast_equal": ("Equal", False),
    "broadcast_not_equal": ("Equal", True),
    "broadcast_greater": ("Greater", False),
    "broadcast_greater_equal": ("GreaterOrEqual", False),
    "broadcast_lesser": ("Less", False),
    "broadcast_lesser_equal": ("LessOrEqual", False),
}


def _from_truth(w: Writer, name: str, node: Node) -> str:
    return name if dtype_of(node).kind == "b" else cast_to(w, name, dtype_of(node))


@primitive(*_COMPARISONS)
def _compare(w: Writer, node: Node, inputs: list[str]) -> str:
    kind, inverted = _COMPARISONS[node.op.name]
    truth = w.add(kind, w.alike(node, inputs), node.name)
    return _from_truth(w, w.add("Not", [truth]) if inverted else truth, node)


def _truths(w: Writer, node: Node, inputs: Sequence[str]) -> list[str]:
    return [
        name if value.dtype.kind == "b" else cast_to(w, name, "bool")
        for value, name in zip(node.inputs, inputs, strict=True)
    ]


_LOGICAL = {
    "broadcast_logical_and": "And",
    "broadcast_logical_or": "Or",
    "broadcast_logical_xor": "Xor",
    "logical_not": "Not",
}


@primitive(*_LOGICAL)
def _logical(w: Writer, node: Node, inputs: list[str]) -> str:
    return _from_truth(w, w.add(_LOGICAL[node.op.name], _truths(w, node, inputs)), node)


@primitive("_contrib_isnan", "_contrib_isinf", "_contrib_isfinite")
def _kind_of_number(w: Writer, node: Node, inputs: list[str]) -> str:
    if node.op.name == "_contrib_isfinite":
        either = w.add("Or", [w.add("IsNaN", inputs), w.add("IsInf", inputs)])
        return _from_truth(w, w.add("Not", [either]), node)
    kind = "IsNaN" if node.op.name == "_contrib_isnan" else "IsInf"
    return _from_truth(w, w.add(kind, inputs), node)


@primitive("_select")
def _select(w: Writer, node: Node, inputs: list[str]) -> str:
    condition, *values = node.inputs
    truth = inputs[0] if condition.dtype.kind == "b" else cast_to(w, inputs[0], "bool")
    own = dtype_of(node)
    names = [
        w.number(value.node, own) if w.is_weak(value) else name
        for value, name in zip(values, inputs[1:], strict=True)
    ]
    return w.add("Where", [truth, *names], node.name)


def _formula(*names: str, exact: bool = False) -> Any:
    """A converter that is written in functions of operands: `f(o, *operands)`. What is not `exact`
    of whole numbers is computed of floats, whose constants they would cut off."""

    def enter(formula: Any) -> Any:
        def convert(w: Writer, node: Node, inputs: list[str]) -> str:
            own, operands = dtype_of(node), w.alike(node, inputs)
            if node.op.name in _ROUNDINGS and not own.is_float:
                return operands[0]
            if exact or own.is_float:
                return formula(_Maths(w, own), *operands)
            inner = as_dtype("float32" if own.itemsize < 4 else "float64")
            operands = [cast_to(w, name, inner) for name in operands]
            return cast_to(w, formula(_Maths(w, inner), *operands), own)

        primitive(*names)(convert)
        return formula

    return enter


class _Maths:
    """Nodes by the names of their operators; numbers become constants."""

    def __init__(self, w: Writer, dtype: DType) -> None:
        self._w, self._dtype = w, dtype

    def __getattr__(self, kind: str) -> Any:
        def add(*operands: Any, **attributes: Any) -> str:
            names = [
                one if isinstance(one, str) else self._w.constant(one, self._dtype)
                for one in operands
            ]
            return self._w.add(kind, names, **attributes)

        return add


_formula("square", exact=True)(lambda o, x: o.Mul(x, x))
_formula("rsqrt")(lambda o, x: o.Reciprocal(o.Sqrt(x)))
_formula("cbrt")(lambda o, x: o.Mul(o.Sign(x), o.Pow(o.Abs(x), 1 / 3)))
_formula("rcbrt")(lambda o, x: o.Reciprocal(o.Mul(o.Sign(x), o.Pow(o.Abs(x), 1 / 3))))
_formula("log10")(lambda o, x: o.Mul(o.Log(x), 1 / math.log(10)))
_formula("log2")(lambda o, x: o.Mul(o.Log(x), 1 / math.log(2)))
_formula("degrees")(lambda o, x: o.Mul(x, 180 / math.pi))
_formula("radians")(lambda o, x: o.Mul(x, math.pi / 180))
_formula("fix", "trunc")(lambda o, x: o.Mul(o.Sign(x), o.Floor(o.Abs(x))))
_formula("round")(lambda o, x: o.Mul(o.Sign(x), o.Floor(o.Add(o.Abs(x), 0.5))))
_formula("log_sigmoid")(lambda o, x: o.Neg(o.Softplus(o.Neg(x))))
_formula("_normal_cdf")(lambda o, x: o.Mul(o.Add(o.Erf(o.Mul(x, math.sqrt(0.5))), 1), 0.5))
_formula("_gelu")(lambda o, x: o.Mul(x, o.Mul(o.Add(o.Erf(o.Mul(x, math.sqrt(0.5))), 1), 0.5)))
_formula("_one_minus_square", exact=True)(lambda o, x: o.Sub(1, o.Mul(x, x)))


@_formula("log1p")
def _log1p(o: Any, x: str) -> Any:
    """The rounding of 1 + x is divided out again; without it where nothing is added."""
    u = o.Add(x, 1)
    near = o.Mul(o.Log(u), o.Div(x, o.Sub(u, 1)))
    return o.Where(o.Equal(u, 1), x, o.Where(o.Equal(u, x), o.Log(u), near))


@_formula("expm1")
def _expm1(o: Any, x: str) -> Any:
    """The same of exp(x), whose logarithm says for which x it is exact."""
    u = o.Exp(x)
    less = o.Sub(u, 1)
    near = o.Mul(less, o.Div(x, o.Log(u)))
    far = o.Or(o.Equal(u, less), o.Equal(less, -1))
    return o.Where(o.Equal(u, 1), x, o.Where(far, less, near))


@_formula("broadcast_hypot")
def _hypot(o: Any, x: str, y: str) -> Any:
    """By the larger one, whose square may be infinite or 0."""
    x, y = o.Abs(x), o.Abs(y)
    most = o.Max(x, y)
    ratio = o.Div(o.Min(x, y), o.Where(o.Equal(most, 0), o.Add(most, 1), most))
    return o.Where(o.IsInf(most), most, o.Mul(most, o.Sqrt(o.Add(o.Mul(ratio, ratio), 1))))


@primitive("floor_divide")
def _floor_divide(w: Writer, node: Node, inputs: list[str]) -> str:
    x, y = w.alike(node, inputs)
    if dtype_of(node).is_float:
        return w.add("Floor", [w.add("Div", [x, y])], node.name)
    # A quotient of whole numbers is cut off towards 0; that of what a rest leaves is exact.
    return w.add("Div", [w.add("Sub", [x, w.add("Mod", [x, y])]), y], node.name)


@primitive("broadcast_mod")
def _modulo(w: Writer, node: Node, inputs: list[str]) -> str:
    x, y = w.alike(node, inputs)
    if not dtype_of(node).is_float:
        return w.add("Mod", [x, y], node.name)
    return w.add("Sub", [x, w.add("Mul", [w.add("Floor", [w.add("Div", [x, y])]), y])], node.name)


@_formula("arctan2")
def _arctan2(o: Any, y: str, x: str) -> str:
    half = o.Atan(o.Div(y, x))
    turned = o.Where(o.Less(y, 0), o.Sub(half, math.pi), o.Add(half, math.pi))
    upright = o.Mul(o.Sign(y), math.pi / 2)
    return o.Where(o.Greater(x, 0), half, o.Where(o.Less(x, 0), turned, upright))


@primitive("smooth_l1")
def _smooth_l1(w: Writer, node: Node, inputs: list[str]) -> str:
    o, (x,), square = _Maths(w, dtype_of(node)), inputs, node.attrs.scalar**2
    size = o.Abs(x)
    near, far = o.Mul(o.Mul(x, x), 0.5 * square), o.Sub(size, 0.5 / square)
    return o.Where(o.Less(size, 1 / square), near, far)


@primitive("hard_sigmoid")
def _hard_sigmoid(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs = node.attrs
    return w.add("HardSigmoid", inputs, node.name, alpha=float(attrs.alpha), beta=float(attrs.beta))


@primitive("clip")
def _clip(w: Writer, node: Node, inputs: list[str]) -> str:
    limits = [w.constant(limit, dtype_of(node)) for limit in (node.attrs.a_min, node.attrs.a_max)]
    return w.add("Clip", [inputs[0], *limits], node.name)


@primitive("Cast")
def _cast(w: Writer, node: Node, inputs: list[str]) -> str:
    if node.inputs[0].dtype is dtype_of(node):
        return inputs[0]
    return w.add("Cast", inputs, node.name, to=code_of(dtype_of(node)))


# --------------------------------------------------------------------------------- views


@primitive("_reshape")
def _reshape(w: Writer, node: Node, inputs: list[str]) -> str:
    shape = node.outputs[0].shape
    empty = 1 if any(isinstance(n, int) and n == 0 for n in shape) else None
    return w.add("Reshape", [inputs[0], w.integers(shape)], node.name, allowzero=empty)


@primitive("_broadcast")
def _broadcast(w: Writer, node: Node, inputs: list[str]) -> str:
    return w.add("Expand", [inputs[0], w.integers(node.outputs[0].shape)], node.name)


@primitive("transpose")
def _transpose(w: Writer, node: Node, inputs: list[str]) -> str:
    ndim = node.outputs[0].ndim
    axes = node.attrs.axes or tuple(reversed(range(ndim)))
    return w.add("Transpose", inputs, node.name, perm=[axis % ndim for axis in axes])


@primitive("_slice")
def _slice(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, shape = node.attrs, node.inputs[0].shape
    starts, ends, axes, steps = [], [], [], []
    for axis, (start, step, n) in enumerate(
        zip(attrs.start, attrs.step, attrs.extents, strict=True)
    ):
        if isinstance(start, int) and start == 0 and step == 1 and n is shape[axis]:
            continue
        if is_known(start, n, shape[axis]) and (start, step, n) == (0, 1, shape[axis]):
            continue
        end = start + n * step
        if step < 0 and is_known(end) and end < 0:
            end = LOWEST
        starts.append(start), ends.append(end), axes.append(axis), steps.append(step)
    if not axes:
        return inputs[0]
    given = [w.integers(each) for each in (starts, ends, axes, steps)]
    return w.add("Slice", [inputs[0], *given], node.name)


@primitive("_pad")
def _pad(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, (data,) = node.attrs, inputs
    shape = list(node.inputs[0].shape)
    fill = w.constant(attrs.value, dtype_of(node))
    for axis, between in enumerate(attrs.interior or ()):
        if between:
            shape.insert(axis + 1, 1)
            data = w.add("Reshape", [data, w.integers(shape)])
            pads = [0] * len(shape) * 2
            pads[len(shape) + axis + 1] = between
            data = w.add("Pad", [data, w.integers(pads), fill], mode="constant")
            shape[axis : axis + 2] = [shape[axis] * (between + 1)]
            data = w.add("Reshape", [data, w.integers(shape)])
            shape[axis] = shape[axis] - between
            given = [w.integers([each]) for each in (0, shape[axis], axis)]
            data = w.add("Slice", [data, *given])
    pads = [*attrs.before, *attrs.after]
    if all(is_known(each) and each == 0 for each in pads):
        return data
    return w.add("Pad", [data, w.integers(pads), fill], node.name, mode="constant")


@primitive("_join")
def _join(w: Writer, node: Node, inputs: list[str]) -> str:
    return w.add("Concat", inputs, node.name, axis=node.attrs.axis)


@primitive("_window")
def _window(w: Writer, node: Node, inputs: list[str]) -> str:
    """Each spatial axis and that of the kernel, which is read like it, by one list of places."""
    attrs, (data,) = node.attrs, inputs
    shape, n = list(node.inputs[0].shape), len(node.attrs.extents)
    kernel = shape[-n:]
    first = len(shape) - 2 * n
    fixed = [*shape[first:], *attrs.extents]
    if not is_known(*fixed):
        raise TigonError(
            f"export_model: {node.label} slides over an image of open size {shape[first:-n]}, "
            "which only convolutions and pooling do in ONNX; give its size"
        )
    for i in range(n):
        # To (..., places * kernel), so that one index names a place and an element of the kernel.
        axis, own = first + i, first + n + i
        size, width = shape[axis], kernel[i]
        reach = (attrs.extents[i] - 1) * attrs.stride[i] + (width - 1) * attrs.dilate[i] + 1
        pads = [0] * len(shape) * 2
        pads[axis], pads[len(shape) + axis] = attrs.pad[i], max(0, reach - attrs.pad[i] - size)
        fill = w.constant(attrs.fill, dtype_of(node))
        data = w.add("Pad", [data, w.integers(pads), fill], mode="constant")
        padded = size + pads[axis] + pads[len(shape) + axis]
        order = [*(a for a in range(len(shape)) if a not in (axis, own)), axis, own]
        data = w.add("Transpose", [data], perm=order)
        rest = [shape[a] for a in order[:-2]]
        data = w.add("Reshape", [data, w.integers([*rest, padded * width])])
        place = np.arange(attrs.extents[i])[:, None] * attrs.stride[i]
        index = (place + np.arange(width) * attrs.dilate[i]) * width + np.arange(width)
        data = w.add("Gather", [data, w.constant(index, "int64")], axis=len(rest))
        data = w.add("Transpose", [data], perm=[order.index(a) for a in range(len(shape))])
        shape[axis] = attrs.extents[i]
    return data


# ------------------------------------------------------------------ products and reductions


@primitive("_contract")
def _contract(w: Writer, node: Node, inputs: list[str]) -> str:
    a = node.attrs
    plain = {("ab", "bc", "ac"), ("abc", "acd", "abd"), ("abcd", "abde", "abce")}
    letters = dict(zip(dict.fromkeys(a.left + a.right), ascii_letters, strict=False))
    left, right, out = ("".join(letters[x] for x in part) for part in (a.left, a.right, a.out))
    if (left, right, out) in plain:
        return w.add("MatMul", inputs, node.name)
    return w.add("Einsum", inputs, node.name, equation=f"{left},{right}->{out}")


_REDUCTIONS = {
    "_reduce_sum": "ReduceSum",
    "_reduce_prod": "ReduceProd",
    "_reduce_max": "ReduceMax",
    "_reduce_min": "ReduceMin",
}


@primitive(*_REDUCTIONS)
def _reduce(w: Writer, node: Node, inputs: list[str]) -> str:
    if not node.attrs.axes:
        return inputs[0]
    axes = w.integers(node.attrs.axes)
    return w.add(_REDUCTIONS[node.op.name], [inputs[0], axes], node.name, keepdims=0)


@primitive("_reduce_argmax", "_reduce_argmin")
def _place_of_extreme(w: Writer, node: Node, inputs: list[str]) -> str:
    axes, data, name = node.attrs.axes, node.inputs[0], inputs[0]
    kept = [axis for axis in range(data.ndim) if axis not in axes]
    if len(axes) > 1:
        name = w.add("Transpose", [name], perm=[*kept, *axes])
        flat = math.prod(data.shape[axis] for axis in axes)
        name = w.add("Reshape", [name, w.integers([*(data.shape[a] for a in kept), flat])])
    kind = "ArgMax" if node.op.name == "_reduce_argmax" else "ArgMin"
    axis = len(kept) if len(axes) > 1 else axes[0]
    found = w.add(kind, [name], node.name, axis=axis, keepdims=0)
    return found if dtype_of(node).name == "int64" else cast_to(w, found, dtype_of(node))


@primitive("_scan_sum")
def _scan_sum(w: Writer, node: Node, inputs: list[str]) -> str:
    axis = w.constant(node.attrs.axis, "int64")
    return w.add("CumSum", [inputs[0], axis], node.name, reverse=int(node.attrs.reverse))


@primitive("_order")
def _order(w: Writer, node: Node, inputs: list[str]) -> str:
    count = node.outputs[0].shape[-1]
    given = [inputs[0], w.integers([count])]
    largest = 0 if node.attrs.ascending else 1
    return w.add_several("TopK", given, node.name, 2, axis=-1, largest=largest, sorted=1)[1]


# ------------------------------------------------------------------------------ positions


def _whole(w: Writer, node: Node, place: int, name: str) -> str:
    return name if node.inputs[place].dtype.name == "int64" else cast_to(w, name, "int64")


def _within(w: Writer, index: str, size: Any, mode: str) -> str:
    """Positions of `_take` and its kin: those out of range count from the other end, or are the
    nearest that there is."""
    if mode == "wrap":
        return w.add("Mod", [index, w.scalar(size)])
    top = w.scalar(size - 1)
    return w.add("Min", [w.add("Max", [index, w.constant(0, "int64")]), top])


@primitive("_checked_index")
def _checked_index(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, index = node.attrs, _whole(w, node, 0, inputs[0])
    if not attrs.negative:
        return index
    ndim, sizes = node.inputs[0].ndim, list(attrs.sizes)
    size = w.integers(sizes)
    if len(sizes) > 1:
        size = w.add("Reshape", [size, w.integers([len(sizes)] + [1] * (ndim - 1))])
    below = w.add("Less", [index, w.constant(0, "int64")])
    return w.add("Where", [below, w.add("Add", [index, size]), index])


@primitive("_take")
def _take(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, data = node.attrs, node.inputs[0]
    index = _whole(w, node, 1, inputs[1])
    index = _within(w, index, data.shape[attrs.axis], attrs.mode)
    return w.add("Gather", [inputs[0], index], node.name, axis=attrs.axis)


@primitive("_take_along")
def _take_along(w: Writer, node: Node, inputs: list[str]) -> str:
    axis = node.attrs.axis % node.inputs[0].ndim
    index = _within(w, _whole(w, node, 1, inputs[1]), node.inputs[0].shape[axis], "clip")
    return w.add("GatherElements", [inputs[0], index], node.name, axis=axis)


@primitive("_pick")
def _pick(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, data = node.attrs, node.inputs[0]
    axis = attrs.axis % data.ndim
    index = _within(w, _whole(w, node, 1, inputs[1]), data.shape[axis], attrs.mode)
    axes = w.constant([axis], "int64")
    index = w.add("Unsqueeze", [index, axes])
    return w.add("Squeeze", [w.add("GatherElements", [inputs[0], index], axis=axis), axes])


@primitive("_gather_nd")
def _gather_nd(w: Writer, node: Node, inputs: list[str]) -> str:
    index, ndim = _whole(w, node, 1, inputs[1]), node.inputs[1].ndim
    index = w.add("Transpose", [index], perm=[*range(1, ndim), 0])
    return w.add("GatherND", [inputs[0], index], node.name)


@primitive("_scatter_add")
def _scatter_add(w: Writer, node: Node, inputs: list[str]) -> str | None:
    """Rows are added; along another axis they are made rows first."""
    data, index, updates = node.inputs
    at = _whole(w, node, 1, inputs[1])
    at = w.add("Unsqueeze", [at, w.constant([index.ndim], "int64")])
    axis = node.attrs.axis % data.ndim
    if not axis:
        return w.add("ScatterND", [inputs[0], at, inputs[2]], node.name, reduction="add")
    own = [axis, *(a for a in range(data.ndim) if a != axis)]
    along = [*range(axis, axis + index.ndim)]
    order = [*along, *(a for a in range(updates.ndim) if a not in along)]
    rows = [w.add("Transpose", [inputs[0]], perm=own), at]
    rows.append(w.add("Transpose", [inputs[2]], perm=order))
    made = w.add("ScatterND", rows, node.name, reduction="add")
    return w.add("Transpose", [made], perm=[own.index(a) for a in range(data.ndim)])


@primitive("_assign_slice")
def _assign_slice(w: Writer, node: Node, inputs: list[str]) -> str:
    data, value = node.inputs
    if not is_known(*data.shape, *value.shape):
        raise TigonError(
            f"export_model: {node.label} writes into an array of open shape {data.shape}; "
            "give its shape"
        )
    starts, steps = node.attrs.start, node.attrs.step
    lines = [s + np.arange(n) * k for s, k, n in zip(starts, steps, value.shape, strict=True)]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    return w.add("ScatterND", [inputs[0], w.constant(places, "int64"), inputs[1]], node.name)


# ----------------------------------------------------------------------- made of nothing


@primitive("_full")
def _full(w: Writer, node: Node, inputs: list[str]) -> str:
    number = w.constant(node.attrs.value, dtype_of(node))
    shape = node.outputs[0].shape
    return w.add("Expand", [number, w.integers(shape)]) if shape else number


@primitive("_iota")
def _iota(w: Writer, node: Node, inputs: list[str]) -> str:
    attrs, shape, dtype = node.attrs, node.outputs[0].shape, dtype_of(node)
    axis = attrs.axis
    if is_known(shape[axis], attrs.start, attrs.step):
        line = w.constant(attrs.start + np.arange(shape[axis]) * attrs.step, dtype)
    else:
        limits = [w.scalar(0), w.scalar(shape[axis]), w.scalar(1)]
        line = cast_to(w, w.add("Range", limits), dtype)
        line = w.add("Mul", [line, w.constant(attrs.step, dtype)])
        line = w.add("Add", [line, w.constant(attrs.start, dtype)])
    if len(shape) == 1:
        return line
    column = w.add("Reshape", [line, w.integers([-1] + [1] * (len(shape) - axis - 1))])
    return w.add("Expand", [column, w.integers(shape)])


@primitive("_told")
def _told(w: Writer, node: Node, inputs: list[str]) -> str:
    return inputs[0]


# ---------------------------------------------------------------------------- factorizations


@primitive("linalg_det")
def _det(w: Writer, node: Node, inputs: list[str]) -> str:
    found = w.add("Det", inputs, node.name)
    return w.add("Reshape", [found, w.integers(node.outputs[0].shape)])
