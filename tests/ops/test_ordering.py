"""Lines long enough to be sorted digit by digit, against stable sorts of numpy and Python."""

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


LINES = {
    "float32": [-np.inf, -3.5, -0.0, 0.0, 1e-40, 2.5, np.inf],
    "float64": [-np.inf, -1e300, -0.0, 0.0, 5e-324, 1 + 1e-15, 1.0, np.inf],
    "float16": [-3.5, -0.0, 0.0, 2.5, 6e4],
    "bfloat16": [-3.5, -0.0, 0.0, 2.5],
    "int8": [-128, -1, 0, 1, 127],
    "int16": [-(2**15), -1, 0, 255, 256, 2**15 - 1],
    "int32": [-(2**31), -1, 0, 65535, 65536, 2**31 - 1],
    "int64": [-(2**63), -(2**32), -1, 0, 2**32, 2**63 - 1],
    "uint8": [0, 1, 127, 128, 255],
    "uint16": [0, 255, 256, 2**16 - 1],
    "uint32": [0, 2**31 - 1, 2**31, 2**32 - 1],
    "uint64": [0, 2**63 - 1, 2**63, 2**64 - 1],
    "bool": [False, True],
}


@pytest.mark.parametrize("count", [65, 5000])  # of short digits, and of long ones
@pytest.mark.parametrize("dtype", LINES)
def test_every_dtype_is_sorted_both_ways(dtype: str, count: int) -> None:
    """Python's integers and floats compare these exactly, and its sort is stable."""
    rng = np.random.default_rng(6)
    values = LINES[dtype]
    line = [values[place] for place in rng.integers(0, len(values), count)]
    given = mx.nd.array(np.array(line, "float32" if dtype == "bfloat16" else dtype), dtype=dtype)
    exact = given.astype("float64").tolist() if dtype in ("float16", "bfloat16") else line
    for ascending in (True, False):
        found = mx.nd.argsort(given, is_ascend=ascending, dtype="int64").asnumpy()
        # Reversed twice, equal elements keep their order.
        expected = sorted(range(count), key=lambda place: exact[place])
        if not ascending:
            expected = sorted(reversed(range(count)), key=lambda place: exact[place])[::-1]
        assert found.tolist() == expected


def test_sorting_does_not_depend_on_how_many_lines_there_are() -> None:
    data = np.random.default_rng(7).standard_normal((64, 300)).astype(np.float32)
    together = mx.nd.argsort(mx.nd.array(data), dtype="int64").asnumpy()
    for line, found in zip(data, together, strict=True):
        alone = mx.nd.argsort(mx.nd.array(line), dtype="int64").asnumpy()
        np.testing.assert_array_equal(alone, found)
