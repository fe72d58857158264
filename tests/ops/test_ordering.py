"""The routine that puts lines in order, against numpy's stable sort: each of its ways (few
elements, digits of either width, the first few of many), each dtype, equal ones among them."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tigon import _native, autograd, nd
from tigon.base.dtypes import ALL

EXTENTS = (1, 2, 24, 25, 300, 5000)
ORDERED = [dtype.name for dtype in ALL if dtype.name != "bfloat16"]


def lines(extent: int, dtype: str) -> np.ndarray:
    """Small numbers, many of them equal, and the ends of what the dtype holds."""
    made = np.random.default_rng(extent).integers(-40, 40, (3, extent)).astype(dtype)
    if extent > 20 and made.dtype.kind != "b":
        numbers = np.finfo if made.dtype.kind == "f" else np.iinfo
        made[0, 3:5] = numbers(made.dtype).min, numbers(made.dtype).max
    if extent > 20 and made.dtype.kind == "f":
        made[1, 2:8] = -0.0, 0.0, -0.0, np.inf, np.nan, -np.inf
        made[2, ::7] = -np.nan
    return made


def expected_order(data: np.ndarray, ascending: bool) -> np.ndarray:
    key = np.where(np.isnan(data), np.inf, data) if data.dtype.kind == "f" else data
    ranks = np.unique(key, return_inverse=True)[1].reshape(data.shape)
    return np.argsort(ranks if ascending else -ranks, axis=-1, kind="stable")


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("dtype", ORDERED)
def test_lines_are_sorted_stably(dtype: str, ascending: bool) -> None:
    for extent in EXTENTS:
        data = lines(extent, dtype)
        found = nd.argsort(nd.array(data, dtype=dtype), is_ascend=ascending, dtype="int64")
        np.testing.assert_array_equal(found.asnumpy(), expected_order(data, ascending))


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint32", "int64"])
def test_the_first_are_those_of_the_whole_order(dtype: str, ascending: bool) -> None:
    for extent in EXTENTS:
        data = lines(extent, dtype)
        order = expected_order(data, ascending)
        for count in {1, 2, 7, extent // 9, extent // 7, extent - 1, extent}:
            if 0 < count <= extent:
                found = nd.topk(
                    nd.array(data, dtype=dtype), k=count, is_ascend=ascending, dtype="int64"
                )
                np.testing.assert_array_equal(found.asnumpy(), order[:, :count])


@pytest.mark.parametrize("turned", [True, False])
def test_the_first_of_what_gets_better_and_better(turned: bool) -> None:
    data = np.arange(3000, dtype=np.float32) // 4  # in fours, of which some are dropped
    data = data[::-1].copy() if turned else data
    order = np.argsort(-data, kind="stable")
    for count in (1, 3, 30, 200):
        found = nd.topk(nd.array(data), k=count, dtype="int64").asnumpy()
        np.testing.assert_array_equal(found, order[:count])


def test_digits_that_all_have_in_common() -> None:
    for numbers in (np.full(5000, 7), np.arange(5000) % 3 + (1 << 40), np.arange(5000) << 33):
        found = nd.argsort(nd.array(numbers, dtype="int64"), dtype="int64").asnumpy()
        np.testing.assert_array_equal(found, np.argsort(numbers, kind="stable"))


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


def test_a_mask_has_as_many_as_wanted_where_some_are_equal() -> None:
    data = np.array([[1, 2, 2, 2, 0], [3, 3, 3, 3, 3]], np.float32)
    mask = nd.topk(nd.array(data), k=2, ret_typ="mask").asnumpy()
    assert mask.tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]]


def test_the_gradient_goes_to_the_first() -> None:
    x = nd.array([[1, 4, 2, 3]])
    x.attach_grad()
    with autograd.record():
        y = nd.topk(x, k=2, ret_typ="value") * nd.array([[10, 20]])
    y.backward()
    assert x.grad.asnumpy().tolist() == [[0, 10, 0, 20]]


def test_a_result_is_written_where_it_is_wanted() -> None:
    out = nd.zeros((3,), dtype="int32")
    nd.argsort(nd.array([3, 1, 2]), dtype="int32", out=out)
    assert out.asnumpy().tolist() == [1, 2, 0]


def test_sorting_compiles_no_more_for_long_lines() -> None:
    """The functions generated for a line are those that convert it, whatever its length."""

    def compiled(extent: int) -> int:
        before = mx.runtime.stats()["kernel_compilations"]
        nd.argsort(nd.ones((extent,), dtype="int16"), dtype="uint8").wait_to_read()
        return mx.runtime.stats()["kernel_compilations"] - before

    assert compiled(60_011) <= 2
    assert compiled(60_012) <= 2  # for any extent, from now on
    assert compiled(60_013) == compiled(5_003) == 0


def test_sorting_needs_no_library() -> None:
    assert not _native.routine_needs_library("order")
    assert _native.routine_needs_library("potrf")
