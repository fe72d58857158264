"""Products of attention over interleaved heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tigon.base import check
from tigon.base.frozen import Frozen
from tigon.ops.primitive.view import _reshape, transpose
from tigon.ops.record import Work, composite
from tigon.ops.tensor.matmul import batch_dot
from tigon.ops.tensor.slice import slice_axis


def _by_root_of_size(where: str, data: Any) -> Any:
    return data / math.sqrt(data.shape[-1])


div_sqrt_dim = composite(
    "_contrib_div_sqrt_dim",
    lambda data: _by_root_of_size("div_sqrt_dim", data),
    dtypes="f",
    numpy=lambda x: (x / x.dtype.type(math.sqrt(x.shape[-1]))).astype(x.dtype),
    samples=(((2, 3), {}), ((0, 4), {})),
    domain=(-2.0, 2.0),
    doc="""The elements divided by the root of the last extent.

    >>> nd.contrib.div_sqrt_dim(nd.array([[2, 4, 6, 8]])).asnumpy()
    array([[1., 2., 3., 4.]], dtype=float32)
    """,
)


class HeadsAttrs(Frozen):
    heads: int


def _split_heads(x: Any, heads: int, parts: int) -> list[Any]:
    """(length, batch, heads · parts · size) as `parts` arrays of (batch · heads, length, size)."""
    check(
        x.ndim == 3 and heads > 0 and x.shape[2] % (heads * parts) == 0,
        "interleaved_matmul",
        f"shape {x.shape} should be (length, batch, {heads} heads · {parts} projections · size)",
    )
    length, batch, width = x.shape
    size = width // (heads * parts)
    apart = _reshape(x, shape=(length, batch * heads, parts, size))
    found = []
    for part in range(parts):
        one = slice_axis(apart, axis=2, begin=part, end=part + 1)
        flat = _reshape(one, shape=(length, batch * heads, size))
        found.append(transpose(flat, axes=(1, 0, 2)))
    return found


def _join_heads(x: Any, heads: int) -> Any:
    """(batch · heads, length, size) as (length, batch, heads · size)."""
    lines, length, size = x.shape
    return _reshape(transpose(x, axes=(1, 0, 2)), shape=(length, lines // heads, heads * size))


def _scores(queries: Any, keys: Any) -> Any:
    return batch_dot(_by_root_of_size("interleaved_matmul", queries), keys, transpose_b=True)


def _selfatt_qk(attrs: HeadsAttrs, data: Any) -> Any:
    queries, keys, _ = _split_heads(data, attrs.heads, 3)
    return _scores(queries, keys)


def _encdec_qk(attrs: HeadsAttrs, queries: Any, keys_values: Any) -> Any:
    (own,) = _split_heads(queries, attrs.heads, 1)
    return _scores(own, _split_heads(keys_values, attrs.heads, 2)[0])


def _weighted(attrs: HeadsAttrs, data: Any, attention: Any, parts: int) -> Any:
    values = _split_heads(data, attrs.heads, parts)[-1]
    return _join_heads(batch_dot(attention, values), attrs.heads)


def _heads_of(x: np.ndarray, heads: int, parts: int) -> np.ndarray:
    length, batch, width = x.shape
    size = width // (heads * parts)
    return (
        x.reshape(length, batch, heads, parts, size)
        .transpose(3, 1, 2, 0, 4)
        .reshape(parts, batch * heads, length, size)
    )


def _scores_oracle(q: np.ndarray, k: np.ndarray) -> Any:
    scale = q.dtype.type(math.sqrt(q.shape[-1]))
    return np.einsum("bqd,bkd->bqk", (q / scale).astype(q.dtype), k)


def _weighted_oracle(data: np.ndarray, attention: np.ndarray, heads: int, parts: int) -> Any:
    values = _heads_of(data, heads, parts)[-1]
    mixed = np.einsum("bqk,bkd->qbd", attention, values)
    batch = data.shape[1]
    return mixed.reshape(attention.shape[1], batch, -1)


_HEADS_DOC = """

    Parameters: `heads` how many; projections of one head lie side by side in the last axis of an
    array of shape (length, batch, width).

    >>> {example}
    {shows}
    """

interleaved_matmul_selfatt_qk = composite(
    "_contrib_interleaved_matmul_selfatt_qk",
    _selfatt_qk,
    operands="queries_keys_values",
    attrs=HeadsAttrs,
    dtypes="f",
    work=Work.PRODUCT,
    numpy=lambda x, heads: _scores_oracle(*_heads_of(x, heads, 3)[:2]),
    samples=(((3, 2, 12), {"heads": 2}), ((2, 1, 9), {"heads": 1})),
    doc="""Attention scores: products of queries and keys, divided by the root of their size."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_selfatt_qk(nd.ones((3, 2, 12)), heads=2).shape",
        shows="(4, 3, 3)",
    ),
)

interleaved_matmul_selfatt_valatt = composite(
    "_contrib_interleaved_matmul_selfatt_valatt",
    lambda attrs, data, attention: _weighted(attrs, data, attention, 3),
    operands="queries_keys_values attention",
    attrs=HeadsAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=lambda x, attention, heads: _weighted_oracle(x, attention, heads, 3),
    samples=(((3, 2, 12), (4, 3, 3), {"heads": 2}),),
    doc="""Values weighted by attention."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_selfatt_valatt("
        "nd.ones((3, 2, 12)), nd.ones((4, 3, 3)), heads=2).shape",
        shows="(3, 2, 4)",
    ),
)

interleaved_matmul_encdec_qk = composite(
    "_contrib_interleaved_matmul_encdec_qk",
    _encdec_qk,
    operands="queries keys_values",
    attrs=HeadsAttrs,
    dtypes="f",
    work=Work.PRODUCT,
    numpy=lambda q, kv, heads: _scores_oracle(
        _heads_of(q, heads, 1)[0], _heads_of(kv, heads, 2)[0]
    ),
    samples=(((3, 2, 4), (5, 2, 8), {"heads": 2}),),
    doc="""Attention scores between two sequences, divided by the root of the queries' size."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_encdec_qk("
        "nd.ones((3, 2, 4)), nd.ones((5, 2, 8)), heads=2).shape",
        shows="(4, 3, 5)",
    ),
)

interleaved_matmul_encdec_valatt = composite(
    "_contrib_interleaved_matmul_encdec_valatt",
    lambda attrs, data, attention: _weighted(attrs, data, attention, 2),
    operands="keys_values attention",
    attrs=HeadsAttrs,
    dtypes="fiu",
    work=Work.PRODUCT,
    numpy=lambda x, attention, heads: _weighted_oracle(x, attention, heads, 2),
    samples=(((5, 2, 8), (4, 3, 5), {"heads": 2}),),
    doc="""Values of another sequence weighted by attention."""
    + _HEADS_DOC.format(
        example="nd.contrib.interleaved_matmul_encdec_valatt("
        "nd.ones((5, 2, 8)), nd.ones((4, 3, 5)), heads=2).shape",
        shows="(3, 2, 4)",
    ),
)
