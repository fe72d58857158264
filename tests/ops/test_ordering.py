"""Lines long enough to be merged from runs, against numpy's stable sort."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx


@pytest.mark.parametrize(
    ("dtype", "ascending"), [("float32", True), ("int32", False), ("uint8", True)]
)
def test_long_lines_are_sorted_stably(dtype: str, ascending: bool) -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 200, (2, 1500)).astype(dtype)  # many equal ones
    found = mx.nd.argsort(mx.nd.array(data, dtype=dtype), is_ascend=ascending, dtype="int64")
    key = data.astype(np.int64)
    expected = np.argsort(key if ascending else -key, axis=-1, kind="stable")
    np.testing.assert_array_equal(found.asnumpy(), expected)


def test_infinities_and_nan_come_last() -> None:
    data = np.random.default_rng(4).standard_normal(1100).astype(np.float32)
    data[[3, 500, 900]] = np.inf, np.nan, -np.inf
    found = mx.nd.sort(mx.nd.array(data)).asnumpy()
    np.testing.assert_array_equal(found[:-2], np.sort(data)[:-2])
    assert not np.isfinite(found[-2:]).any() and found[0] == -np.inf


def test_any_axis() -> None:
    data = np.random.default_rng(5).standard_normal((1100, 3)).astype(np.float32)
    found = mx.nd.topk(mx.nd.array(data), axis=0, k=4, ret_typ="value").asnumpy()
    np.testing.assert_array_equal(found, -np.sort(-data, axis=0)[:4])
