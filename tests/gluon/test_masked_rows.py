"""`boolean_mask`: the shape of its result is a value, by which traced code decides."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym


class ByF(gluon.HybridBlock):
    def hybrid_forward(self, F, x, mask):
        rows = F.contrib.boolean_mask(x * 2, mask)
        return (rows * rows).sum() + rows.shape[0], rows


class ByNd(gluon.HybridBlock):
    def forward(self, x, mask):
        rows = nd.contrib.boolean_mask(x * 2, mask > 0.5)
        return (rows * rows).sum() + rows.shape[0], rows


MASKS = ([0, 1, 1, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1])


def results(net: gluon.Block, mask: list[int]) -> list[np.ndarray]:
    x = nd.array(np.arange(10).reshape(5, 2))
    x.attach_grad()
    with autograd.record():
        total, rows = net(x, nd.array(mask))
    total.backward()
    return [total.asnumpy(), rows.asnumpy(), x.grad.asnumpy()]


@pytest.mark.parametrize("kind", [ByF, ByNd])
def test_hybridized_it_means_the_same(kind: type[gluon.HybridBlock]) -> None:
    plain, traced = ByNd(), kind()
    traced.hybridize(strict=True)
    for _ in range(2):
        for mask in MASKS:
            for found, wanted in zip(results(traced, mask), results(plain, mask), strict=True):
                np.testing.assert_array_equal(found, wanted)
    assert "4 paths" in traced.explain(), traced.explain()  # of two masks three rows are chosen


def test_too_many_counts_make_the_block_give_way_and_stay_right() -> None:
    net = ByF()
    net.hybridize()
    x = nd.array(np.arange(24).reshape(12, 2))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for count in range(12):
            mask = nd.array([1] * count + [0] * (12 - count))
            _, rows = net(x, mask)
            np.testing.assert_array_equal(rows.asnumpy(), 2 * x.asnumpy()[:count])
    assert any("has given 8 different values" in str(one.message) for one in seen)


def test_along_another_axis_and_of_captured_arrays() -> None:
    mask = nd.array([1, 0, 1])
    keep = mx.jit(lambda x: nd.contrib.boolean_mask(x, mask, axis=1))
    assert keep(nd.array([[1, 2, 3], [4, 5, 6]])).asnumpy().tolist() == [[1, 3], [4, 6]]
    mask[:] = nd.array([0, 1, 0])
    assert keep(nd.array([[1, 2, 3], [4, 5, 6]])).asnumpy().tolist() == [[2], [5]]


def test_what_is_refused() -> None:
    with pytest.raises(mx.MXNetError, match=r"^boolean_mask: how many entries there are depends"):
        sym.contrib.boolean_mask(sym.var("data"), sym.var("index"))
    refusal = r"boolean_mask: index: expected shape \(3,\), one number for each entry of axis 0; "
    for call in (nd.contrib.boolean_mask, mx.jit(nd.contrib.boolean_mask)):
        with pytest.raises(mx.MXNetError, match=refusal + r"given \(2,\)"):
            call(nd.ones((3, 2)), nd.ones(2))
