"""Numbers held in few bits: to them, from them, and products of them.

Products are exact, in int32. The rest is computed in floats and rounded once, to even.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tigon.contrib.onnx.build import (
    axis_of,
    cast,
    matmul,
    number,
    op,
    reshape,
    unsqueeze,
)
from tigon.contrib.onnx.converters.window import convolve
from tigon.contrib.onnx.operand import Operand
from tigon.contrib.onnx.reading import dtype_of, narrow_limits, narrow_type
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value


def _spread(call: Any, x: Value, given: Value) -> Value:
    """Scales or zero points along the axis, or the blocks, that they belong to."""
    if given.ndim == 0 or given.type.size == 1:
        return reshape(given, ())
    axis = axis_of(call["axis"], x.ndim)
    if given.ndim == 1:
        call.check(
            given.shape[0] == x.shape[axis], f"{given.shape[0]} scales for {x.shape[axis]} places"
        )
        return reshape(given, [x.shape[axis] if i == axis else 1 for i in range(x.ndim)])
    size = call["block_size"]
    call.check(
        size and given.ndim == x.ndim and -(-x.shape[axis] // size) == given.shape[axis],
        f"block_size {size}: scales of shape {given.shape} do not fit {x.shape}",
    )
    repeated = op.repeat(given, repeats=size, axis=axis)
    return op.slice_axis(repeated, axis=axis, begin=0, end=x.shape[axis])


def _limits(dtype: str, narrow: int) -> tuple[int, int]:
    found = narrow_limits(narrow)
    if found is not None:
        return found
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def _held(x: Value, zero: Value | None, dtype: str, narrow: int = 0) -> Value:
    """Floats rounded to even, moved by the zero point, and kept within limits."""
    rounded = op._round_even(x)
    if zero is not None:
        rounded = op.broadcast_add(rounded, cast(zero, rounded.dtype.name))
    low, high = _limits(dtype, narrow)
    return cast(op.clip(rounded, a_min=low, a_max=high), dtype)


@converts("QuantizeLinear")
def quantize_linear(call: Any, x: Value, scale: Value, zero: Value | None = None) -> Any:
    code = call["output_dtype"] or 0
    if zero is not None:
        dtype, narrow = zero.dtype.name, call.operands[2].narrow
    else:
        dtype = dtype_of(code, call.op).name if code else "uint8"
        narrow = narrow_type(code)
    call.check(dtype in _WHOLE, f"expected a zero point of whole numbers; given {dtype}")
    wide = "float64" if "32" in dtype else "float32"
    divided = op.broadcast_div(cast(x, wide), cast(_spread(call, x, scale), wide))
    own = None if zero is None else _spread(call, x, zero)
    value = _held(divided, own, dtype, narrow)
    return Operand(value.type, value, narrow=narrow)


_WHOLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


@converts("DequantizeLinear")
def dequantize_linear(call: Any, x: Value, scale: Value, zero: Value | None = None) -> Value:
    dtype = scale.dtype.name
    wide = "float64" if x.dtype.name == "int32" else "float32"
    own = cast(x, wide)
    if zero is not None:
        own = op.broadcast_sub(own, cast(_spread(call, x, zero), wide))
    result = op.broadcast_mul(own, cast(_spread(call, x, scale), wide))
    code = call["output_dtype"]
    return cast(result, dtype_of(code, call.op).name if code else dtype)


@converts("DynamicQuantizeLinear")
def dynamic_quantize_linear(_call: Any, x: Value) -> tuple[Value, Value, Value]:
    every = tuple(range(x.ndim))
    zero = number(0, x)
    low = op.broadcast_minimum(op._reduce_min(x, axes=every) if every else x, zero)
    high = op.broadcast_maximum(op._reduce_max(x, axes=every) if every else x, zero)
    scale = (high - low) / 255.0
    safe = op._select(scale, scale, number(1, scale))
    point = op.clip(
        op._round_even(op.clip(-low / safe, a_min=0.0, a_max=255.0)), a_min=0.0, a_max=255.0
    )
    held = op.clip(op._round_even(op.broadcast_div(x, safe)) + point, a_min=0.0, a_max=255.0)
    return cast(held, "uint8"), scale, cast(point, "uint8")


# -------------------------------------------------------------------------------- products


def _moved(x: Value, zero: Value | None, by_row: bool) -> Value:
    """int32, without the zero point: one for all, or one for each row or column."""
    own = cast(x, "int32")
    if zero is None:
        return own
    zero = cast(zero, "int32")
    if zero.ndim == 1 and zero.shape[0] > 1:
        zero = unsqueeze(zero, (1,)) if by_row else zero
    elif zero.type.size == 1:
        zero = reshape(zero, ())
    return op.broadcast_sub(own, zero)


@converts("MatMulInteger")
def matmul_integer(
    _call: Any, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value:
    return matmul(_moved(a, a_zero, True), _moved(b, b_zero, False))


def _scaled(call: Any, x: Value, scales: list[Value], y_scale: Value, y_zero: Value) -> Value:
    """An exact product by its scales, to the numbers of the result."""
    wide = cast(x, "float64")
    for scale in scales:
        wide = op.broadcast_mul(wide, cast(scale, "float64"))
    point = reshape(y_zero, ()) if y_zero.type.size == 1 else y_zero
    own = reshape(y_scale, ()) if y_scale.type.size == 1 else y_scale
    divided = op.broadcast_div(wide, cast(own, "float64"))
    return _held(divided, point, y_zero.dtype.name)


def _row_scale(scale: Value, by_row: bool) -> Value:
    if scale.ndim == 1 and scale.shape[0] > 1:
        return unsqueeze(scale, (1,)) if by_row else scale
    return reshape(scale, ()) if scale.type.size == 1 else scale


@converts("QLinearMatMul")
def qlinear_matmul(
    call: Any,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    product = matmul(_moved(a, a_zero, True), _moved(b, b_zero, False))
    scales = [_row_scale(a_scale, True), _row_scale(b_scale, False)]
    return _scaled(call, product, scales, y_scale, y_zero)


def _per_filter(x: Value, ndim: int) -> Value:
    if x.ndim == 1 and x.shape[0] > 1:
        return reshape(x, (x.shape[0], *(1,) * (ndim - 1)))
    return reshape(x, ())


@converts("ConvInteger")
def conv_integer(
    call: Any, x: Value, weight: Value, x_zero: Value | None = None, w_zero: Value | None = None
) -> Value:
    own = cast(weight, "int32")
    if w_zero is not None:
        own = op.broadcast_sub(own, cast(_per_filter(w_zero, weight.ndim), "int32"))
    return convolve(call, _moved(x, x_zero, False), own)


@converts("QLinearConv")
def qlinear_conv(
    call: Any,
    x: Value,
    x_scale: Value,
    x_zero: Value,
    weight: Value,
    w_scale: Value,
    w_zero: Value,
    y_scale: Value,
    y_zero: Value,
    bias: Value | None = None,
) -> Value:
    own = op.broadcast_sub(cast(weight, "int32"), cast(_per_filter(w_zero, weight.ndim), "int32"))
    product = convolve(call, _moved(x, x_zero, False), own, bias)
    scale = _per_filter(w_scale, weight.ndim - 1)
    return _scaled(call, product, [reshape(x_scale, ()), scale], y_scale, y_zero)
