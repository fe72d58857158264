"""Transforms of signals, windows, and numbers that are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.contrib.onnx.build import (
    axis_of,
    cast,
    cut,
    iota,
    move,
    op,
    pad,
    reshape,
    unsqueeze,
)
from tigon.contrib.onnx.reading import dtype_of
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant

# ---------------------------------------------------------------------------------- windows


def _declare_window(name: str, weights: tuple[float, ...]) -> None:
    """A sum of cosines."""

    @converts(name, known=(0,))
    def convert(call: Any, size: np.ndarray) -> Value:
        count = int(size.reshape(()))
        call.check(count >= 0, f"expected a size of 0 or more; given {count}")
        span = max(count if call["periodic"] else count - 1, 1)
        place = iota(count, "float64")
        total: Any = None
        for order, weight in enumerate(weights):
            turn = op.cos(place * (2 * math.pi * order / span)) * weight
            total = turn if total is None else total + turn
        code = call["output_datatype"] or 1
        return cast(total, dtype_of(code, call.op).name)


_declare_window("HannWindow", (0.5, -0.5))
_declare_window("HammingWindow", (25 / 46, -21 / 46))
_declare_window("BlackmanWindow", (0.42, -0.5, 0.08))


def _mel(frequency: Any) -> Any:
    return 2595 * np.log10(1 + frequency / 700)


@converts("MelWeightMatrix", known=(0, 1, 2, 3, 4))
def mel_weight_matrix(call: Any, bins: Any, length: Any, rate: Any, low: Any, high: Any) -> Value:
    count, size, per_second = (int(each.reshape(())) for each in (bins, length, rate))
    call.check(
        0 < count <= 1 << 12 and 0 < size <= 1 << 16 and per_second > 0,
        f"expected some bins of a transform; given {count}, {size} and {per_second}",
    )
    rows = size // 2 + 1
    first, last = (_mel(float(each.reshape(()))) for each in (low, high))
    # As in ONNX: the last triangle ends a step below the upper edge, and corners are whole bins.
    edges = first + (last - first) / (count + 2) * np.arange(count + 2)
    places = ((size + 1) * (700 * (10 ** (edges / 2595) - 1)) // per_second).astype(np.int64)
    result = np.zeros((rows, count))
    for column in range(count):
        begin, top, end = places[column : column + 3]
        for row in range(max(begin, 0), min(top + 1, rows)):
            result[row, column] = (row - begin) / (top - begin) if top > begin else 1.0
        for row in range(max(top, 0), min(end, rows)):
            result[row, column] = (end - row) / (end - top) if end > top else result[row, column]
    code = call["output_datatype"] or 1
    dtype = dtype_of(code, call.op)
    return call.reader.array(call.node.output[0], result.astype(np.float32), dtype, False).value


# ------------------------------------------------------------------------------- transforms


def _turns(rows: int, columns: int, size: int, dtype: str) -> tuple[Value, Value]:
    """Cosines and sines of the angles of all pairs, from whole numbers: exact for any size."""
    pair = unsqueeze(iota(rows), (1,)) * unsqueeze(iota(columns), (0,))
    angle = cast(op.broadcast_mod(pair, constant(np.array(size), "int64")), "float64") * (
        2 * math.pi / size
    )
    return cast(op.cos(angle), dtype), cast(op.sin(angle), dtype)


def _transformed(call: Any, x: Value, axis: int, size: int, inverse: bool, half: bool) -> Value:
    """`x` (..., 1 or 2) along an axis, by products with cosines and sines."""
    call.check(size > 0, f"expected a length of 1 or more; given {size}")
    last = x.ndim - 1
    extent = x.shape[axis]
    if extent > size:
        x = cut(x, axis, 0, size)
    elif extent < size and not (inverse and half):
        x = pad(x, (0,) * x.ndim, [size - extent if i == axis else 0 for i in range(x.ndim)])
    lines = move(x, axis, last - 1)
    is_complex = x.shape[last] == 2
    parts = [reshape(cut(lines, last, k, k + 1), lines.shape[:-1]) for k in range(1 + is_complex)]
    if inverse and half:
        return move(_real_again(parts, size), last - 1, axis)
    rows = size // 2 + 1 if half else size
    cosine, sine = _turns(x.shape[axis], rows, size, x.dtype.name)
    sign = 1 if inverse else -1
    real, imaginary = op.dot(parts[0], cosine), op.dot(parts[0], sine) * sign
    if is_complex:
        real = real - op.dot(parts[1], sine) * sign
        imaginary = imaginary + op.dot(parts[1], cosine)
    if inverse:
        real, imaginary = real / size, imaginary / size
    return move(op.stack(real, imaginary, axis=last), last - 1, axis)


def _real_again(parts: list[Value], size: int) -> Value:
    """The signal that has this half of a spectrum; the other half is its mirror."""
    have = parts[0].shape[-1]
    rows = size // 2 + 1
    if have != rows:
        last = parts[0].ndim - 1
        parts = [
            cut(p, last, 0, rows)
            if have > rows
            else pad(p, (0,) * p.ndim, [rows - have if i == last else 0 for i in range(p.ndim)])
            for p in parts
        ]
    cosine, sine = _turns(rows, size, size, parts[0].dtype.name)
    twice = np.full((rows, 1), 2.0 / size)
    twice[0] = 1.0 / size
    if size % 2 == 0:
        twice[-1] = 1.0 / size
    weight = constant(twice, parts[0].dtype.name)
    real = op.dot(parts[0], op.broadcast_mul(cosine, weight))
    if len(parts) == 2:
        real = real - op.dot(parts[1], op.broadcast_mul(sine, weight))
    return unsqueeze(real, (real.ndim,))


@converts("DFT", known=(1, 2))
def dft(call: Any, x: Value, length: Any = None, axis: Any = None) -> Value:
    place = call["axis"] if call.since < 20 else -2 if axis is None else int(axis.reshape(()))
    place = axis_of(place, x.ndim)
    call.check(
        x.ndim > 1 and place < x.ndim - 1 and x.shape[-1] in (1, 2),
        f"expected a signal whose last axis has 1 or 2 places, and another axis; given {x.shape}",
    )
    inverse, half = bool(call["inverse"]), bool(call["onesided"])
    own = x.shape[place]
    if length is not None:
        size = int(length.reshape(()))
    else:
        size = 2 * (own - 1) if inverse and half else own
    return _transformed(call, x, place, size, inverse, half)


@converts("STFT", known=(1, 3))
def stft(
    call: Any, signal: Value, step: np.ndarray, window: Value | None = None, length: Any = None
) -> Value:
    """Spectra of pieces that overlap."""
    hop = int(step.reshape(()))
    size = int(length.reshape(())) if length is not None else None
    if size is None:
        call.check(window is not None, "expected a window or a frame_length; given none")
        assert window is not None
        size = window.shape[0]
    if signal.ndim == 2:
        signal = unsqueeze(signal, (2,))
    count = (signal.shape[1] - size) // hop + 1 if hop > 0 else 0
    call.check(
        hop > 0 and size > 0 and count > 0,
        f"expected pieces of {size} every {hop} within {signal.shape[1]} places",
    )
    places = unsqueeze(iota(count, step=hop), (1,)) + unsqueeze(iota(size), (0,))
    pieces = op.take(signal, places, axis=1)
    if window is not None:
        lead = (size - window.shape[0]) // 2
        held = pad(window, (lead,), (size - window.shape[0] - lead,))
        pieces = op.broadcast_mul(pieces, reshape(held, (1, 1, size, 1)))
    return _transformed(call, pieces, 2, size, False, bool(call["onesided"]))


# -------------------------------------------------------------------------------------- draws


def _dtype(call: Any, like: Value | None = None) -> str:
    if "dtype" in call:
        return str(dtype_of(call["dtype"], call.op).name)
    return "float32" if like is None else str(like.dtype.name)


@converts("RandomNormal")
def random_normal(call: Any) -> Value:
    return op._random_normal(
        loc=call["mean"], scale=call["scale"], shape=call["shape"], dtype=_dtype(call)
    )


@converts("RandomUniform")
def random_uniform(call: Any) -> Value:
    return op._random_uniform(
        low=call["low"], high=call["high"], shape=call["shape"], dtype=_dtype(call)
    )


@converts("RandomNormalLike")
def random_normal_like(call: Any, like: Value) -> Value:
    own = cast(like, _dtype(call, like))
    return op._random_normal_like(own, loc=call["mean"], scale=call["scale"])


@converts("RandomUniformLike")
def random_uniform_like(call: Any, like: Value) -> Value:
    own = cast(like, _dtype(call, like))
    return op._random_uniform_like(own, low=call["low"], high=call["high"])


@converts("Bernoulli")
def bernoulli(call: Any, chances: Value) -> Value:
    drawn = op._random_uniform_like(chances, low=0.0, high=1.0)
    return cast(op.broadcast_lesser(drawn, chances), _dtype(call, chances))


@converts("Multinomial")
def multinomial(call: Any, x: Value) -> Value:
    """Of each row of logarithms."""
    code = call["dtype"] or 6
    return op._sample_multinomial(
        op.softmax(x, axis=-1),
        shape=(call["sample_size"],),
        dtype=dtype_of(code, call.op).name,
    )
