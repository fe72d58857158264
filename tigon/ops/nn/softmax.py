"""Softmax and its kin. Each is a maximum, a sum and elementwise work over the same rows, so that
all of it becomes one kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tigon.base import TensorType, as_dtype, check
from tigon.base.frozen import Frozen
from tigon.ir.graph import Value
from tigon.ops.nn._shared import along_shape, keep, label_per_row, normal_axis
from tigon.ops.primitive.arithmetic import multiply, negative, reciprocal, subtract
from tigon.ops.primitive.choose import cast, cast_like, where
from tigon.ops.primitive.compare import equal, lesser
from tigon.ops.primitive.create import _iota
from tigon.ops.primitive.functions import exp, log
from tigon.ops.primitive.reduce import _reduce_max, _reduce_sum
from tigon.ops.primitive.reduce import sum as sum_
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Operator, Positions, composite, same_type
from tigon.ops.tensor.index import pick


class SoftmaxAttrs(Frozen, kw_only=True):
    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False


class LogSoftmaxAttrs(Frozen, kw_only=True):
    axis: int = -1
    temperature: float | None = None
    dtype: str | None = None
    use_length: bool = False


# ------------------------------------------------------------------------- the parts


def _shifted(data: Value, axes: tuple[int, ...]) -> Value:
    """`data - max(data)`: at most 0, so that exp cannot overflow."""
    return subtract(data, keep(_reduce_max, data, axes))


def softmax_over(data: Value, axes: tuple[int, ...]) -> Value:
    """Softmax of a typed value over some axes."""
    exponentials = exp(_shifted(data, axes))
    # One division per row instead of one per element.
    return multiply(exponentials, reciprocal(keep(_reduce_sum, exponentials, axes)))


def log_softmax_over(data: Value, axes: tuple[int, ...]) -> Value:
    """The logarithm of softmax over some axes, exact where softmax itself would vanish."""
    shifted = _shifted(data, axes)
    return subtract(shifted, log(keep(_reduce_sum, exp(shifted), axes)))


def _valid(data: Value, length: Value, axis: int) -> Value:
    """1 where the position along the axis is below the row's length, else 0."""
    row = tuple(1 if a == axis else extent for a, extent in enumerate(data.shape))
    extent = data.shape[axis]
    positions = _iota(
        shape=along_shape(extent, axis, data.ndim), axis=axis, dtype=length.dtype.name
    )
    return lesser(positions, _reshape(length, shape=row))


def _prepared(attrs: Any, data: Value) -> Value:
    if attrs.temperature not in (None, 1.0):
        data = multiply(data, 1.0 / attrs.temperature)
    if attrs.dtype not in (None, "None") and as_dtype(attrs.dtype) is not data.dtype:
        data = cast(data, dtype=as_dtype(attrs.dtype).name)
    return data


def _decompose_softmax(attrs: SoftmaxAttrs, data: Value, length: Value | None = None) -> Value:
    data = _prepared(attrs, data)
    axis = normal_axis("softmax", attrs.axis, data.ndim)
    if length is None:
        return softmax_over(data, (axis,))
    valid = _valid(data, length, axis)
    return where(valid, softmax_over(where(valid, data, -np.inf), (axis,)), 0.0)


def _decompose_log_softmax(
    attrs: LogSoftmaxAttrs, data: Value, length: Value | None = None
) -> Value:
    data = _prepared(attrs, data)
    axis = normal_axis("log_softmax", attrs.axis, data.ndim)
    if length is None:
        return log_softmax_over(data, (axis,))
    valid = _valid(data, length, axis)
    return where(valid, log_softmax_over(where(valid, data, -np.inf), (axis,)), -np.inf)


# ------------------------------------------------------------------------------ types


def _infer(name: str) -> Callable[..., TensorType]:
    def infer(attrs: Any, data: TensorType, length: TensorType | None = None) -> TensorType:
        check(data.ndim > 0, name, "data: expected at least one axis; given a scalar; reshape it")
        axis = normal_axis(name, attrs.axis, data.ndim)
        check(
            attrs.temperature is None or attrs.temperature != 0.0,
            name,
            "temperature: given 0; the smaller it is, the sharper the result, but it divides",
        )
        check(
            attrs.use_length == (length is not None),
            name,
            "use_length is set, but length is missing; give it as second operand"
            if attrs.use_length
            else "a length was given; set use_length=True so that it counts",
        )
        if length is not None:
            expected = tuple(n for a, n in enumerate(data.shape) if a != axis) or (1,)
            check(
                length.shape == expected,
                name,
                f"length: expected shape {expected}, that of data without axis {axis}; "
                f"given {length.shape}",
            )
        dtype = as_dtype(attrs.dtype) if attrs.dtype not in (None, "None") else data.dtype
        check(dtype.is_float, name, f"dtype: expected a floating-point type; given {dtype}")
        return TensorType(data.shape, dtype)

    return infer


def _present(attrs: Any) -> tuple[str, ...]:
    return ("data", "length") if attrs.use_length else ("data",)


# -------------------------------------------------------------------------- gradients


def _back_through_preparation(attrs: Any, g: Value) -> Value:
    """From the cotangent of what entered softmax to that of data."""
    if attrs.temperature not in (None, 1.0):
        g = multiply(g, 1.0 / attrs.temperature)
    return g


def _softmax_core(axis: int, g: Value, y: Value) -> Value:
    return multiply(y, subtract(g, sum_(multiply(g, y), axis=axis, keepdims=True)))


def _grad_softmax(attrs: SoftmaxAttrs, g: Value, y: Value, *operands: Value) -> tuple[Any, ...]:
    gx = _cast_back(attrs, _softmax_core(attrs.axis, g, y), operands[0])
    return (_back_through_preparation(attrs, gx), *(None for _ in operands[1:]))


def _cast_back(attrs: Any, gx: Value, data: Value) -> Value:
    if attrs.dtype in (None, "None"):
        return gx
    return cast_like(gx, data)


def _grad_log_softmax(
    attrs: LogSoftmaxAttrs, g: Value, y: Value, *operands: Value
) -> tuple[Any, ...]:
    if len(operands) > 1:
        # Past the length y is -inf and exp(y) is 0: only the cotangent there must not count.
        g = where(_is_masked(y), 0.0, g)
    total = sum_(g, axis=attrs.axis, keepdims=True)
    gx = _cast_back(attrs, subtract(g, multiply(exp(y), total)), operands[0])
    return (_back_through_preparation(attrs, gx), *(None for _ in operands[1:]))


def _is_masked(y: Value) -> Value:
    return equal(y, -np.inf)


# ---------------------------------------------------------------------------- records


def _softmax_oracle(
    data: np.ndarray,
    length: np.ndarray | None = None,
    *,
    axis: int,
    temperature: float | None,
    dtype: str | None,
    use_length: bool,
) -> np.ndarray:
    result = np.zeros(data.shape, dtype or data.dtype)
    for index in np.ndindex(*(n for a, n in enumerate(data.shape) if a != axis % data.ndim)):
        where_ = list(index)
        where_.insert(axis % data.ndim, slice(None))
        place = tuple(where_)
        row = data[place] / (temperature or 1.0)
        count = (
            len(row)
            if length is None
            else int(length.reshape(-1)[0] if not index else length[index])
        )
        if count == 0:
            continue
        powers = np.exp(row[:count] - row[:count].max())
        values = np.zeros_like(row)
        values[:count] = powers / powers.sum()
        result[place] = values
    return result


def _log_softmax_oracle(data: np.ndarray, *length: np.ndarray, **fields: Any) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(_softmax_oracle(data, *length, **fields))


_LENGTHS = np.array([[2, 3], [1, 4]], np.int32)

softmax = composite(
    "softmax",
    _decompose_softmax,
    operands="data length?",
    attrs=SoftmaxAttrs,
    dtypes={"data": "f", "length": "iu"},
    infer=_infer("softmax"),
    grad=_grad_softmax,
    present=_present,
    numpy=_softmax_oracle,
    samples=[
        ((3, 5), {}),
        ((2, 3, 4), {"axis": 1}),
        ((2, 3, 2), {"axis": 0, "temperature": 2.0}),
        ((7,), {}),
        ((2, 4, 2), _LENGTHS, {"axis": 1, "use_length": True}),
        ((0, 3), {}),
    ],
    doc="""`exp(x / temperature) / sum(exp(x / temperature))` along an axis, without overflow.

Parameters
----------
data : floating-point, any shape
length : with `use_length`, how many positions of each row count (integers, the shape of data
    without `axis`); the result is 0 beyond
axis : along which the results add up to 1
temperature : the smaller, the sharper
dtype : of the result, if it should differ from that of data
use_length : whether `length` is given

Examples
--------
>>> nd.softmax(nd.array([[1, 1], [0, 0]]))
<BLANKLINE>
[[0.5 0.5]
 [0.5 0.5]]
<NDArray 2x2 @cpu(0)>
""",
)

log_softmax = composite(
    "log_softmax",
    _decompose_log_softmax,
    operands="data length?",
    attrs=LogSoftmaxAttrs,
    dtypes={"data": "f", "length": "iu"},
    infer=_infer("log_softmax"),
    grad=_grad_log_softmax,
    present=_present,
    numpy=_log_softmax_oracle,
    samples=[
        ((3, 5), {}),
        ((2, 3, 4), {"axis": 1}),
        ((2, 3), {"axis": 0, "temperature": 0.5}),
    ],
    doc="""The logarithm of `softmax`, exact where softmax itself would vanish.

Parameters
----------
data : floating-point, any shape
length : with `use_length`, how many positions of each row count; -inf beyond
axis : along which the exponentials of the results add up to 1
temperature, dtype, use_length : as for softmax

Examples
--------
>>> nd.log_softmax(nd.array([[0, 0]]))
<BLANKLINE>
[[-0.6931472 -0.6931472]]
<NDArray 1x2 @cpu(0)>
""",
)


def _grad_softmin(attrs: SoftmaxAttrs, g: Value, y: Value, *operands: Value) -> tuple[Any, ...]:
    first, *rest = _grad_softmax(attrs, g, y, *operands)
    return (negative(first), *rest)


softmin = composite(
    "softmin",
    lambda attrs, data, *length: _decompose_softmax(attrs, negative(data), *length),
    operands="data length?",
    attrs=SoftmaxAttrs,
    dtypes={"data": "f", "length": "iu"},
    infer=_infer("softmin"),
    grad=_grad_softmin,
    present=_present,
    numpy=lambda data, *length, **fields: _softmax_oracle(-data, *length, **fields),
    samples=[((3, 5), {}), ((2, 3, 4), {"axis": 1})],
    doc="""`softmax(-data)`: the smallest gets most.

Parameters
----------
data : floating-point, any shape
length, axis, temperature, dtype, use_length : as for softmax

Examples
--------
>>> nd.softmin(nd.array([[3, 3]]))
<BLANKLINE>
[[0.5 0.5]]
<NDArray 1x2 @cpu(0)>
""",
)

# ------------------------------------------------------------------- SoftmaxActivation


class SoftmaxActivationAttrs(Frozen, kw_only=True):
    mode: str = "instance"


def softmax_axes(where: str, mode: str, data: TensorType) -> tuple[int, ...]:
    """'channel': axis 1; 'instance': all axes but the first, taken as one."""
    check(
        mode in ("instance", "channel"),
        where,
        f"mode: expected 'instance' or 'channel'; given '{mode}'",
    )
    check(data.ndim >= 2, where, f"data: expected at least two axes; given shape {data.shape}")
    return (1,) if mode == "channel" else tuple(range(1, data.ndim))


def _infer_activation(attrs: SoftmaxActivationAttrs, data: TensorType) -> TensorType:
    softmax_axes("SoftmaxActivation", attrs.mode, data)
    return same_type(data)


def _activation_oracle(data: np.ndarray, mode: str) -> np.ndarray:
    axes = 1 if mode == "channel" else tuple(range(1, data.ndim))
    powers = np.exp(data - data.max(axis=axes, keepdims=True))
    return powers / powers.sum(axis=axes, keepdims=True)


def _grad_activation(
    attrs: SoftmaxActivationAttrs, g: Value, y: Value, data: Value
) -> tuple[Any, ...]:
    if attrs.mode == "channel":
        return (_softmax_core(1, g, y),)
    total = sum_(multiply(g, y), axis=(0,), exclude=True, keepdims=True)
    return (multiply(y, subtract(g, total)),)


softmax_activation: Operator = composite(
    "SoftmaxActivation",
    lambda attrs, data: softmax_over(
        data, softmax_axes("SoftmaxActivation", attrs.mode, data.type)
    ),
    attrs=SoftmaxActivationAttrs,
    dtypes="f",
    infer=_infer_activation,
    grad=_grad_activation,
    numpy=_activation_oracle,
    samples=[((3, 5), {}), ((2, 3, 4), {}), ((2, 3, 4), {"mode": "channel"})],
    doc="""Softmax as old models call it; new ones use `softmax`.

Parameters
----------
data : at least two axes, the first the batch
mode : 'instance' over all the other axes together; 'channel' over axis 1

Examples
--------
>>> nd.SoftmaxActivation(nd.array([[2, 2]]))
<BLANKLINE>
[[0.5 0.5]]
<NDArray 1x2 @cpu(0)>
""",
)

# -------------------------------------------------------------- softmax_cross_entropy


def _infer_cross_entropy(data: TensorType, label: TensorType) -> TensorType:
    name = "softmax_cross_entropy"
    check(data.ndim == 2, name, f"data: expected shape (batch, classes); given {data.shape}")
    check(
        label.shape == data.shape[:1],
        name,
        f"label: expected shape {data.shape[:1]}, one class per row of data; given {label.shape}",
    )
    return TensorType((1,), data.dtype)


def _cross_entropy_oracle(data: np.ndarray, label: np.ndarray) -> np.ndarray:
    total = 0.0
    for row, target in zip(data, label, strict=True):
        total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[int(target)]
    return np.array([total], data.dtype)


softmax_cross_entropy = composite(
    "softmax_cross_entropy",
    lambda data, label: negative(sum_(pick(log_softmax(data, axis=-1), label, axis=-1), axis=None)),
    operands="data label",
    dtypes={"data": "f"},
    infer=_infer_cross_entropy,
    indices={"label": lambda data, _: Positions(data.shape[1], 1)},
    numpy=_cross_entropy_oracle,
    samples=[((3, 4), np.array([0, 3, 1], np.float32), {})],
    infer_operands=label_per_row,
    doc="""`-sum(log(softmax(data)[i, label[i]]))`: the cross entropy of a whole batch, one number.

Parameters
----------
data : shape (batch, classes), before softmax
label : shape (batch,), class numbers

Examples
--------
>>> nd.softmax_cross_entropy(nd.array([[0, 0], [0, 0]]), nd.array([0, 1]))
<BLANKLINE>
[1.3862944]
<NDArray 1 @cpu(0)>
""",
)
