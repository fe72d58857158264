"""Attention and rotary positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.contrib.onnx.build import (
    cast,
    compare,
    concat,
    cut,
    matmul,
    number,
    op,
    pad,
    reshape,
    transpose,
    unsqueeze,
    where,
)
from tigon.contrib.onnx.reading import dtype_of
from tigon.contrib.onnx.registry import converts
from tigon.ir.graph import Value, constant


def _heads(call: Any, x: Value, count: int | None) -> Value:
    """(batch, heads, steps, size), of whatever was given."""
    if x.ndim == 4:
        return x
    call.check(
        x.ndim == 3 and count and x.shape[2] % count == 0,
        f"expected 4 axes, or 3 with the number of heads; given {x.shape} and {count} heads",
    )
    assert count
    apart = reshape(x, (x.shape[0], x.shape[1], count, x.shape[2] // count))
    return transpose(apart, (0, 2, 1, 3))


def _allowed(call: Any, queries: int, keys: int, past: int, lengths: Value | None) -> list[Value]:
    """Who may look at whom: bools that broadcast to (batch, heads, queries, keys)."""
    found = []
    rows = op._iota(shape=(1, 1, queries, 1), axis=2)
    columns = op._iota(shape=(1, 1, 1, keys), axis=3)
    ends = None
    if lengths is not None:
        ends = reshape(cast(lengths, "int64"), (lengths.shape[0], 1, 1, 1))
        found.append(compare("lesser", columns, ends))
    place = rows + past if ends is None else op.broadcast_add(rows, ends - queries)
    if call["is_causal"]:
        found.append(compare("lesser_equal", columns, place))
    behind, ahead = call["left_window_size"], call["right_window_size"]
    if behind is not None and behind >= 0:
        found.append(compare("greater_equal", columns, place - behind))
    if ahead is not None and ahead >= 0:
        found.append(compare("lesser_equal", columns, place + ahead))
    return found


@converts("Attention")
def attention(
    call: Any,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    lengths: Value | None = None,
) -> list[Value]:
    flat = query.ndim == 3
    query = _heads(call, query, call["q_num_heads"])
    key, value = (_heads(call, each, call["kv_num_heads"]) for each in (key, value))
    past = 0
    call.check((past_key is None) == (past_value is None), "expected past_key with past_value")
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        key, value = concat([past_key, key], 2), concat([past_value, value], 2)
    present = [key, value]
    groups = query.shape[1] // key.shape[1]
    call.check(
        groups * key.shape[1] == query.shape[1],
        f"{query.shape[1]} heads of queries are no multiple of {key.shape[1]} heads of keys",
    )
    if groups > 1:
        key, value = (op.repeat(each, repeats=groups, axis=1) for each in (key, value))
    scale = 1 / math.sqrt(query.shape[3]) if call["scale"] is None else call["scale"]
    call.check(scale >= 0, f"scale: expected 0 or more; given {scale}")
    root = number(math.sqrt(scale), query)  # of both, as narrow floats overflow otherwise
    scores = matmul(
        op.broadcast_mul(query, root),
        op.broadcast_mul(transpose(key, (0, 1, 3, 2)), root),
    )
    shown = [scores]
    if call["softcap"]:
        scores = op.tanh(scores / call["softcap"]) * call["softcap"]
    shown.append(scores)
    bias = _bias(call, query, key, mask, past, lengths)
    if bias is not None:
        scores = op.broadcast_add(scores, bias)
    shown.append(scores)
    shares = _shares(call, scores, bias)
    shown.append(shares)
    result = matmul(shares, value)
    if flat:
        result = transpose(result, (0, 2, 1, 3))
        result = reshape(result, (*result.shape[:2], result.shape[2] * result.shape[3]))
    mode = call["qk_matmul_output_mode"] or 0
    call.check(0 <= mode < 4, f"qk_matmul_output_mode: expected 0 to 3; given {mode}")
    return [result, *present, shown[mode]]


def _bias(
    call: Any, query: Value, key: Value, mask: Value | None, past: int, lengths: Value | None
) -> Value | None:
    """What is added to scores: minus infinity where nobody may look."""
    queries, keys = query.shape[2], key.shape[2]
    zero, never = (number(n, query) for n in (0, -np.inf))
    allowed = _allowed(call, queries, keys, past, lengths)
    bias: Value | None = None
    if mask is not None:
        short = keys - mask.shape[-1]
        is_truth = mask.dtype.kind == "b"
        if is_truth:
            bias = where(mask, zero, never)
        else:
            bias = cast(mask, query.dtype.name)
        if short > 0:
            lead = (0,) * (mask.ndim - 1)
            bias = pad(bias, (*lead, 0), (*lead, short), -np.inf)
    for each in allowed:
        own = where(each, zero, never)
        bias = own if bias is None else op.broadcast_add(bias, own)
    return bias


def _shares(call: Any, scores: Value, bias: Value | None) -> Value:
    """Rows that may look at nothing are zeros."""
    dtype = scores.dtype.name
    code = call["softmax_precision"]
    wide = cast(scores, dtype_of(code, call.op).name) if code else scores
    if bias is None:
        return cast(op.softmax(wide, axis=-1), dtype)
    top = op.max(bias, axis=(bias.ndim - 1,), keepdims=True)
    sees = compare("greater", top, number(-np.inf, top))
    held = where(sees, wide, number(0, wide))
    return where(sees, cast(op.softmax(held, axis=-1), dtype), constant(np.array(0), dtype))


@converts("RotaryEmbedding")
def rotary_embedding(
    call: Any, x: Value, cosines: Value, sines: Value, positions: Value | None = None
) -> Value:
    flat = x.ndim == 3
    shape = x.shape
    if flat:
        heads = call["num_heads"]
        call.check(heads and shape[2] % heads == 0, f"num_heads: {heads} of {shape[2]} numbers")
        x = reshape(x, (shape[0], shape[1], heads, shape[2] // heads))
    else:
        x = transpose(x, (0, 2, 1, 3))
    size = call["rotary_embedding_dim"] or x.shape[3]
    call.check(0 < size <= x.shape[3] and size % 2 == 0, f"rotary_embedding_dim: given {size}")
    turned, rest = cut(x, 3, 0, size), cut(x, 3, size, x.shape[3])
    if positions is not None:
        cosines, sines = (
            op.take(each, positions, axis=0, mode="raise") for each in (cosines, sines)
        )
    cosines, sines = (unsqueeze(each, (2,)) for each in (cosines, sines))
    if call["interleaved"]:
        first, second = cut(turned, 3, 0, None, 2), cut(turned, 3, 1, None, 2)
    else:
        first, second = cut(turned, 3, 0, size // 2), cut(turned, 3, size // 2, size)
    real = op.broadcast_mul(cosines, first) - op.broadcast_mul(sines, second)
    imaginary = op.broadcast_mul(sines, first) + op.broadcast_mul(cosines, second)
    if call["interleaved"]:
        result = reshape(op.stack(real, imaginary, axis=4), turned.shape)
    else:
        result = concat([real, imaginary], 3)
    if size < x.shape[3]:
        result = concat([result, rest], 3)
    return reshape(result, shape) if flat else transpose(result, (0, 2, 1, 3))
