"""Kernels that compute the last lines or results more than once: their result may lie where an
operand lay, and what they read the second time must not be what they wrote the first time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import nd


def random(*shape: int) -> Any:
    return nd.array(np.random.RandomState(sum(shape)).randn(*shape))


def lines(x: Any, w: Any) -> Any:
    """A sum that a product is added to, in its memory, and a reader that keeps it in memory."""
    total = nd.batch_dot(w, x) + nd.sum(x, axis=1, keepdims=True)
    return nd.slice_axis(total, axis=2, begin=1, end=9)


def dots(x: Any, w: Any, z: Any) -> Any:
    return nd.reverse(nd.dot(x, w, transpose_b=True) + nd.sum(z, axis=0), axis=0)


@pytest.mark.parametrize("count", range(1, 14))
def test_lines_of_a_batch(count: int) -> None:
    x, w = random(count, 50, 16), random(count, 1, 50)
    np.testing.assert_array_equal(mx.jit(lines)(x, w).asnumpy(), lines(x, w).asnumpy())


@pytest.mark.parametrize("count", range(7, 14))
def test_dot_products(count: int) -> None:
    x, w, z = random(2, 40), random(count, 40), random(6, 2, count)
    np.testing.assert_array_equal(mx.jit(dots)(x, w, z).asnumpy(), dots(x, w, z).asnumpy())
