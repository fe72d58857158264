"""Operators that end a network: forward they predict, backward they start with their own gradient
and ignore the one that comes in."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from tigon.base import TensorType, check
from tigon.base.extents import same_shape
from tigon.base.frozen import Frozen
from tigon.base.types import Shape
from tigon.ir.graph import Value
from tigon.ops.attributes import attrs_dict
from tigon.ops.nn._shared import along_shape, label_per_row
from tigon.ops.nn.softmax import softmax_over
from tigon.ops.primitive.activation import sigmoid
from tigon.ops.primitive.arithmetic import add, divide, maximum, multiply, negative, sign, subtract
from tigon.ops.primitive.choose import cast, identity, where
from tigon.ops.primitive.compare import equal, greater, not_equal
from tigon.ops.primitive.create import _full, _iota
from tigon.ops.primitive.reduce import _reduce_sum
from tigon.ops.primitive.view import _reshape
from tigon.ops.record import Positions, composite, same_type
from tigon.ops.tensor.create import ones_like

_NORMALIZATIONS = ("null", "batch", "valid")


def _check_normalization(name: str, given: str) -> None:
    check(
        given in _NORMALIZATIONS,
        name,
        f"normalization: expected one of {', '.join(_NORMALIZATIONS)}; given '{given}'",
    )


def _in_dtype(x: Value, like: Value) -> Value:
    return x if x.dtype is like.dtype else cast(x, dtype=like.dtype.name)


def _total(x: Value) -> Value:
    """The sum of everything, with no axes left."""
    return _reduce_sum(x, axes=tuple(range(x.ndim))) if x.ndim else x


def _infer_gradient(attrs: Any, y: TensorType, *_: TensorType) -> TensorType:
    """Of the gradients below: like the output, their first operand."""
    return same_type(y)


# ----------------------------------------------------------------------- SoftmaxOutput


class SoftmaxOutputAttrs(Frozen, kw_only=True):
    grad_scale: float = 1.0
    ignore_label: float = -1.0
    multi_output: bool = False
    use_ignore: bool = False
    preserve_shape: bool = False
    normalization: str = "null"
    out_grad: bool = False
    smooth_alpha: float = 0.0


def _class_axes(attrs: SoftmaxOutputAttrs, ndim: int) -> tuple[int, ...]:
    """The axes over which the probabilities add up to 1."""
    if attrs.multi_output:
        return (1,)
    return (ndim - 1,) if attrs.preserve_shape else tuple(range(1, ndim))


def _label_shape(attrs: SoftmaxOutputAttrs, data: Shape) -> Shape:
    axes = _class_axes(attrs, len(data))
    return tuple(extent for axis, extent in enumerate(data) if axis not in axes)


def _infer_softmax_output(
    attrs: SoftmaxOutputAttrs, data: TensorType, label: TensorType
) -> TensorType:
    name = "SoftmaxOutput"
    _check_normalization(name, attrs.normalization)
    check(data.ndim >= 2, name, f"data: expected at least two axes; given shape {data.shape}")
    expected = _label_shape(attrs, data.shape)
    check(
        label.shape == data.shape or label.size == prod(expected),
        name,
        f"label: expected shape {expected}, one class each, or {data.shape}, probabilities; "
        f"given {label.shape}",
    )
    return same_type(data)


def _softmax_output_operands(
    attrs: SoftmaxOutputAttrs, types: list[TensorType | None]
) -> list[TensorType | None]:
    data, label = types
    if data is None or data.ndim < 2:
        return types
    return [data, label or TensorType(_label_shape(attrs, data.shape), data.dtype)]


def _class_positions(shape: Shape, axes: Shape, dtype: str) -> Value:
    """The number of the class along the class axes."""
    step = 1
    total: Value | None = None
    for axis in reversed(axes):
        part = _iota(
            shape=along_shape(shape[axis], axis, len(shape)), axis=axis, step=step, dtype=dtype
        )
        total = part if total is None else add(total, part)
        step *= shape[axis]
    assert total is not None
    return total


def _decompose_softmax_output_gradient(
    attrs: SoftmaxOutputAttrs, g: Value, y: Value, label: Value
) -> Value:
    axes = _class_axes(attrs, y.ndim)
    label = _in_dtype(label, y)
    classes = prod(y.shape[axis] for axis in axes)
    if same_shape(label.shape, y.shape):
        result = multiply(subtract(y, label), attrs.grad_scale)
        return multiply(result, g) if attrs.out_grad else result
    row = tuple(1 if axis in axes else extent for axis, extent in enumerate(y.shape))
    label = _reshape(label, shape=row)
    hit = equal(_class_positions(y.shape, axes, y.dtype.name), label)
    if attrs.smooth_alpha:
        off = attrs.smooth_alpha / max(classes - 1, 1)
        target: Value = where(hit, 1.0 - attrs.smooth_alpha, _constant_like(y, off))
    else:
        target = hit
    result = subtract(y, target)
    counts = not_equal(label, attrs.ignore_label)
    if attrs.use_ignore:
        result = where(counts, result, 0.0)
    scale = attrs.grad_scale
    if attrs.normalization != "valid" and attrs.multi_output:
        scale /= max(prod(y.shape[2:]), 1)
    if attrs.normalization == "batch":
        scale /= max(y.shape[0], 1)
    result = multiply(result, scale) if scale != 1.0 else result
    if attrs.normalization == "valid":
        result = divide(result, maximum(_total(counts), 1.0))
    return multiply(result, g) if attrs.out_grad else result


def _classes(
    attrs: SoftmaxOutputAttrs, data: TensorType, label: TensorType, read: bool
) -> Positions | None:
    if same_shape(label.shape, data.shape):
        return None  # probabilities
    axes = _class_axes(attrs, data.ndim)
    count = prod(data.shape[axis] for axis in axes)
    ignored = attrs.ignore_label if attrs.use_ignore else None
    return Positions(count, axes[0], ignored, read=read)


def _constant_like(y: Value, value: float) -> Value:
    return _full(shape=(), dtype=y.dtype.name, value=value)


def _softmax_output_oracle(data: np.ndarray, label: np.ndarray, **fields: Any) -> np.ndarray:
    axes = _class_axes(SoftmaxOutputAttrs(**fields), data.ndim)
    powers = np.exp(data - data.max(axis=axes, keepdims=True))
    return powers / powers.sum(axis=axes, keepdims=True)


def _softmax_output_gradient_oracle(
    g: np.ndarray, y: np.ndarray, label: np.ndarray, **fields: Any
) -> np.ndarray:
    scale = fields["grad_scale"]
    if same_shape(label.shape, y.shape):
        return (y - label) * scale * (g if fields["out_grad"] else 1)
    if fields["multi_output"]:
        rows = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1]).copy()
    else:
        last = fields["preserve_shape"]
        rows = y.reshape((-1, y.shape[-1]) if last else (len(y), -1)).copy()
    valid = 0
    for row, target in zip(rows, label.reshape(-1), strict=True):
        ignored = target == fields["ignore_label"]
        valid += not ignored
        for c in range(len(row)):
            alpha = fields["smooth_alpha"]
            row[c] -= 1 - alpha if c == int(target) else alpha / (len(row) - 1) if alpha else 0
        if fields["use_ignore"] and ignored:
            row[:] = 0
    if fields["normalization"] != "valid" and fields["multi_output"]:
        scale /= prod(y.shape[2:])
    if fields["normalization"] == "batch":
        scale /= len(y)
    if fields["normalization"] == "valid":
        scale /= max(valid, 1)
    if fields["multi_output"]:
        shape = (y.shape[0], *y.shape[2:], y.shape[1])
        result = np.moveaxis(rows.reshape(shape), -1, 1)
    else:
        result = rows.reshape(y.shape)
    return result * scale * (g if fields["out_grad"] else 1)


_LABELS = np.array([1, 0, 3], np.float64)

_softmax_output_gradient = composite(
    "_backward_SoftmaxOutput",
    _decompose_softmax_output_gradient,
    operands="g output label",
    attrs=SoftmaxOutputAttrs,
    dtypes={"g output": "f"},
    indices={"label": lambda attrs, g, y, label: _classes(attrs, y, label, True)},
    infer=_infer_gradient,
    numpy=_softmax_output_gradient_oracle,
    samples=[
        ((3, 4), (3, 4), _LABELS, {}),
        ((3, 4), (3, 4), _LABELS, {"normalization": "batch", "grad_scale": 0.5}),
        (
            (3, 4),
            (3, 4),
            np.array([1.0, -1.0, 3.0]),
            {"use_ignore": True, "normalization": "valid"},
        ),
        ((3, 4), (3, 4), _LABELS, {"smooth_alpha": 0.1, "out_grad": True}),
        (
            (1, 4, 3),
            (1, 4, 3),
            np.array([[1.0, 0.0, 3.0]]),
            {"multi_output": True},
        ),
        ((1, 3, 4), (1, 3, 4), np.array([[1.0, 0.0, 3.0]]), {"preserve_shape": True}),
        ((3, 4), (3, 4), (3, 4), {}),
    ],
    doc="""The gradient that `SoftmaxOutput` starts backward with: probabilities less targets.

Examples
--------
>>> y = nd.array([[0.25, 0.75]])
>>> nd._backward_SoftmaxOutput(y, y, nd.array([1]))
<BLANKLINE>
[[ 0.25 -0.25]]
<NDArray 1x2 @cpu(0)>
""",
)

softmax_output = composite(
    "SoftmaxOutput",
    lambda attrs, data, label: softmax_over(data, _class_axes(attrs, data.ndim)),
    operands="data label",
    attrs=SoftmaxOutputAttrs,
    dtypes={"data": "f"},
    indices={"label": lambda attrs, data, label: _classes(attrs, data, label, False)},
    infer=_infer_softmax_output,
    grad=lambda attrs, g, y, data, label: (
        _softmax_output_gradient(g, y, label, **attrs_dict(attrs)),
        None,
    ),
    numpy=_softmax_output_oracle,
    aliases=("Softmax",),
    is_loss=True,
    infer_operands=_softmax_output_operands,
    samples=[
        ((3, 4), _LABELS, {}),
        ((2, 3, 2), np.zeros(2), {}),
        ((2, 4, 3), np.zeros((2, 3)), {"multi_output": True}),
        ((2, 3, 4), np.zeros((2, 3)), {"preserve_shape": True}),
    ],
    doc="""Softmax whose backward pass is that of the cross entropy with `label`.

Forward gives the probabilities; backward starts with `probabilities - one_hot(label)` and ignores
what comes in, unless `out_grad` is set.

Parameters
----------
data : (batch, classes, ...), before softmax
label : class numbers, one per row; or probabilities, of data's shape
grad_scale : factor of the gradient
ignore_label : with `use_ignore`, rows with this label have no gradient
multi_output : classes lie along axis 1, with a label for each place behind it
use_ignore : see `ignore_label`
preserve_shape : classes lie along the last axis, with a label for each place before it
normalization : 'null'; 'batch' divides by the batch; 'valid' by the number of labels that are not
    ignored
out_grad : multiply with the gradient that comes in
smooth_alpha : label smoothing: so much of the target goes to the other classes

Examples
--------
>>> nd.SoftmaxOutput(nd.array([[1, 1]]), nd.array([0]))
<BLANKLINE>
[[0.5 0.5]]
<NDArray 1x2 @cpu(0)>
""",
)

# ------------------------------------------------------------------- regression outputs


class RegressionAttrs(Frozen, kw_only=True):
    grad_scale: float = 1.0


def _infer_regression(name: str) -> Callable[..., TensorType]:
    def infer(attrs: RegressionAttrs, data: TensorType, label: TensorType) -> TensorType:
        check(
            label.size == data.size,
            name,
            f"label: expected {data.size} numbers in shape {data.shape}, one per prediction; "
            f"given {label.shape}",
        )
        return same_type(data)

    return infer


def _label_like_data(attrs: Any, types: list[TensorType | None]) -> list[TensorType | None]:
    data, label = types
    if data is None:
        return types
    # MXNet's rule: a column of predictions takes a vector of labels.
    shape = data.shape[:1] if data.ndim == 2 and data.shape[1] == 1 else data.shape
    return [data, label or TensorType(shape, data.dtype)]


def _regression(
    name: str, forward: Any, slope: Any, oracle: Any, formula: str, example: str
) -> Any:
    def decompose(attrs: RegressionAttrs, y: Value, label: Value) -> Value:
        target = _in_dtype(label, y)
        if not same_shape(target.shape, y.shape):
            target = _reshape(target, shape=y.shape)
        each = max(y.type.size // max(y.shape[0], 1), 1) if y.ndim else 1
        result = slope(subtract(y, target))
        scale = attrs.grad_scale / each
        return multiply(result, scale) if scale != 1.0 else result

    def gradient_oracle(y: np.ndarray, label: np.ndarray, grad_scale: float) -> np.ndarray:
        difference = y - label.reshape(y.shape).astype(y.dtype)
        if name == "MAERegressionOutput":
            difference = np.sign(difference)
        return difference * grad_scale / (y.size / len(y))

    gradient = composite(
        f"_backward_{name}",
        decompose,
        operands="output label",
        attrs=RegressionAttrs,
        dtypes={"output": "f"},
        infer=_infer_gradient,
        numpy=gradient_oracle,
        samples=[((3, 4), (3, 4), {"grad_scale": 0.5}), ((3, 1), (3,), {})],
        doc=f"""The gradient that `{name}` starts backward with.

Examples
--------
>>> nd._backward_{name}(nd.array([[2]]), nd.array([1]))
<BLANKLINE>
[[1.]]
<NDArray 1x1 @cpu(0)>
""",
    )
    return composite(
        name,
        lambda attrs, data, label: forward(data),
        operands="data label",
        attrs=RegressionAttrs,
        dtypes={"data": "f"},
        infer=_infer_regression(name),
        grad=lambda attrs, g, y, data, label: (
            gradient(y, label, grad_scale=attrs.grad_scale),
            None,
        ),
        numpy=lambda data, label, grad_scale: oracle(data),
        is_loss=True,
        infer_operands=_label_like_data,
        samples=[((3, 4), (3, 4), {}), ((3, 1), (3,), {"grad_scale": 2.0})],
        doc=f"""{formula}

Backward ignores the gradient that comes in.

Parameters
----------
data : predictions
label : what they should be, as many numbers
grad_scale : factor of the gradient

Examples
--------
>>> nd.{name}(nd.array([0]), nd.array([1]))
<BLANKLINE>
{example}
<NDArray 1 @cpu(0)>
""",
    )


linear_regression_output = _regression(
    "LinearRegressionOutput",
    identity,
    lambda difference: difference,
    lambda data: data,
    "Gives data as it is; the gradient is that of half the squared error, per sample divided by "
    "the\nnumber of its outputs: `(data - label) * grad_scale / outputs`.",
    "[0.]",
)

logistic_regression_output = _regression(
    "LogisticRegressionOutput",
    sigmoid,
    lambda difference: difference,
    lambda data: 1 / (1 + np.exp(-data)),
    "Gives `sigmoid(data)`; the gradient is that of the binary cross entropy:\n"
    "`(sigmoid(data) - label) * grad_scale / outputs`.",
    "[0.5]",
)

mae_regression_output = _regression(
    "MAERegressionOutput",
    identity,
    sign,
    lambda data: data,
    "Gives data as it is; the gradient is that of the absolute error:\n"
    "`sign(data - label) * grad_scale / outputs`.",
    "[0.]",
)

# ---------------------------------------------------------------------------- MakeLoss


class MakeLossAttrs(Frozen, kw_only=True):
    grad_scale: float = 1.0
    valid_thresh: float = 0.0
    normalization: str = "null"


def _infer_make_loss(attrs: MakeLossAttrs, data: TensorType) -> TensorType:
    _check_normalization("MakeLoss", attrs.normalization)
    return same_type(data)


def _decompose_make_loss_gradient(attrs: MakeLossAttrs, data: Value) -> Value:
    scale = attrs.grad_scale
    if attrs.normalization == "batch":
        scale /= max(data.shape[0], 1) if data.ndim else 1
    result = _full(shape=data.shape, dtype=data.dtype.name, value=scale)
    if attrs.normalization == "valid":
        return divide(result, maximum(_total(greater(data, attrs.valid_thresh)), 1.0))
    return result


def _make_loss_gradient_oracle(
    data: np.ndarray, grad_scale: float, valid_thresh: float, normalization: str
) -> np.ndarray:
    count = {
        "null": 1,
        "batch": len(data),
        "valid": max(int((data > valid_thresh).sum()), 1),
    }
    return np.full_like(data, grad_scale / count[normalization])


_make_loss_gradient = composite(
    "_backward_MakeLoss",
    _decompose_make_loss_gradient,
    attrs=MakeLossAttrs,
    dtypes="f",
    infer=lambda attrs, data: same_type(data),
    numpy=_make_loss_gradient_oracle,
    differentiable=False,
    samples=[
        ((3, 2), {"grad_scale": 3.0}),
        ((3, 2), {"normalization": "batch"}),
        ((3, 2), {"normalization": "valid"}),
    ],
    doc="""The gradient that `MakeLoss` starts backward with.

Examples
--------
>>> nd._backward_MakeLoss(nd.array([5, 6]), grad_scale=0.5)
<BLANKLINE>
[0.5 0.5]
<NDArray 2 @cpu(0)>
""",
)

make_loss_output = composite(
    "MakeLoss",
    lambda attrs, data: identity(data),
    attrs=MakeLossAttrs,
    dtypes="f",
    infer=_infer_make_loss,
    grad=lambda attrs, g, y, data: (_make_loss_gradient(data, **attrs_dict(attrs)),),
    numpy=lambda data, **_: data,
    is_loss=True,
    samples=[((3, 2), {"grad_scale": 3.0})],
    doc="""Makes any value a loss: it passes through, and backward starts here with `grad_scale`.

Parameters
----------
data : the loss, any shape
grad_scale : the gradient of each element
valid_thresh : with normalization 'valid', elements above it are counted
normalization : 'null'; 'batch' divides by the first extent; 'valid' by the count above

Examples
--------
>>> nd.MakeLoss(nd.array([3]))
<BLANKLINE>
[3.]
<NDArray 1 @cpu(0)>
""",
)

make_loss = composite(
    "make_loss",
    identity,
    infer=same_type,
    grad=lambda g, y, data: (ones_like(data),),
    numpy=lambda data: data,
    is_loss=True,
    samples=[((3, 2), {})],
    doc="""Makes any value a loss: it passes through, and backward starts here with ones.

Parameters
----------
data : the loss, any shape

Examples
--------
>>> nd.make_loss(nd.array([3]))
<BLANKLINE>
[3.]
<NDArray 1 @cpu(0)>
""",
)

# --------------------------------------------------------------------------- SVMOutput


class SVMOutputAttrs(Frozen, kw_only=True):
    margin: float = 1.0
    regularization_coefficient: float = 1.0
    use_linear: bool = False


def _infer_svm(attrs: SVMOutputAttrs, data: TensorType, label: TensorType) -> TensorType:
    name = "SVMOutput"
    check(data.ndim == 2, name, f"data: expected shape (batch, classes); given {data.shape}")
    check(
        label.shape == data.shape[:1],
        name,
        f"label: expected shape {data.shape[:1]}, one class per row; given {label.shape}",
    )
    return same_type(data)


def _decompose_svm_gradient(attrs: SVMOutputAttrs, y: Value, label: Value) -> Value:
    rows = _reshape(_in_dtype(label, y), shape=(y.shape[0], 1))
    hit = equal(_class_positions(y.shape, (1,), y.dtype.name), rows)
    towards = where(hit, y, negative(y))
    if attrs.use_linear:
        size = multiply(greater(attrs.margin, towards), attrs.regularization_coefficient)
    else:
        gap = maximum(subtract(attrs.margin, towards), 0.0)
        size = multiply(gap, 2.0 * attrs.regularization_coefficient)
    return where(hit, negative(size), size)


def _svm_gradient_oracle(
    y: np.ndarray,
    label: np.ndarray,
    margin: float,
    regularization_coefficient: float,
    use_linear: bool,
) -> np.ndarray:
    result = np.zeros_like(y)
    for (n, c), score in np.ndenumerate(y):
        side = 1 if c == int(label[n]) else -1
        gap = margin - side * score
        if gap > 0:
            result[n, c] = -side * regularization_coefficient * (1 if use_linear else 2 * gap)
    return result


_svm_gradient = composite(
    "_backward_SVMOutput",
    _decompose_svm_gradient,
    operands="output label",
    attrs=SVMOutputAttrs,
    dtypes={"output": "f"},
    indices={"label": lambda attrs, y, _: Positions(y.shape[1], 1)},
    infer=_infer_gradient,
    numpy=_svm_gradient_oracle,
    samples=[((3, 4), _LABELS, {}), ((3, 4), _LABELS, {"use_linear": True, "margin": 0.5})],
    doc="""The gradient that `SVMOutput` starts backward with.

Examples
--------
>>> nd._backward_SVMOutput(nd.array([[0, 0]]), nd.array([1]), use_linear=True)
<BLANKLINE>
[[ 1. -1.]]
<NDArray 1x2 @cpu(0)>
""",
)

svm_output = composite(
    "SVMOutput",
    lambda attrs, data, label: identity(data),
    operands="data label",
    attrs=SVMOutputAttrs,
    dtypes={"data": "f"},
    indices={"label": lambda attrs, data, _: Positions(data.shape[1], 1, read=False)},
    infer=_infer_svm,
    grad=lambda attrs, g, y, data, label: (_svm_gradient(y, label, **attrs_dict(attrs)), None),
    numpy=lambda data, label, **_: data,
    is_loss=True,
    infer_operands=label_per_row,
    samples=[((3, 4), _LABELS, {})],
    doc="""Scores whose gradient is that of a support vector machine with one class against all.

Parameters
----------
data : (batch, classes), the scores, which pass through
label : (batch,), class numbers
margin : by how much the right class should be above 0, and the others below
regularization_coefficient : factor of the gradient
use_linear : the hinge loss itself instead of its square

Examples
--------
>>> nd.SVMOutput(nd.array([[3, 1]]), nd.array([0]))
<BLANKLINE>
[[3. 1.]]
<NDArray 1x2 @cpu(0)>
""",
)
