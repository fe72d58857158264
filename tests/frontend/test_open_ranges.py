"""`arange(infer_range=True)` without a stop takes its extent from what it meets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym

ROW = np.array([4.0, 1.0, 2.0], np.float32)


@pytest.mark.parametrize(
    ("meet", "expected"),
    [
        (lambda x, steps: x + steps, ROW + np.arange(3)),
        (lambda x, steps: steps + x, ROW + np.arange(3)),
        (lambda x, steps: (2 - steps * 3) * x, (2 - 3 * np.arange(3)) * ROW),
        (lambda x, steps: sym.elemwise_mul(x, steps.exp()), ROW * np.exp(np.arange(3))),
        (lambda x, steps: sym.broadcast_lesser(steps, x), np.arange(3) < ROW),
        (lambda x, steps: steps.astype("float64") + x.astype("float64"), ROW + np.arange(3)),
    ],
)
def test_it_has_as_many_numbers_as_what_it_meets(meet: Any, expected: Any) -> None:
    x = sym.var("x")
    symbol = meet(x, sym.arange(infer_range=True))
    assert symbol.list_arguments() == ["x"]
    for net in (symbol, sym.load_json(symbol.tojson())):
        (found,) = net.eval(x=nd.array(ROW))
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-6)


def test_its_numbers_are_those_that_were_asked_for() -> None:
    steps = sym.arange(start=5, step=-2, repeat=2, infer_range=True, dtype="int64")
    (found,) = (steps + sym.var("x", dtype="int64")).eval(x=nd.zeros((2, 5), dtype="int64"))
    assert found.dtype == np.int64
    assert found.asnumpy().tolist() == [[5, 5, 3, 3, 1]] * 2
    with_stop = sym.arange(1, 4, infer_range=True)
    assert with_stop.eval()[0].asnumpy().tolist() == [1, 2, 3]


class Positions(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        steps = F.arange(0, x.shape[-1]) if F is nd else F.arange(start=0, infer_range=True)
        return x * (steps + 1)


def test_traced_code_has_it_for_every_shape() -> None:
    plain, traced = Positions(), Positions()
    traced.hybridize()
    for shape in ((3,), (2, 4), (3,)):
        x = nd.ones(shape)
        x.attach_grad()
        slopes = []
        for net in (plain, traced):
            with autograd.record():
                y = net(x)
            y.backward()
            slopes.append((y.asnumpy().tolist(), x.grad.asnumpy().tolist()))
        assert slopes[0] == slopes[1]


@pytest.mark.parametrize(
    "use",
    [
        lambda steps: steps.list_arguments(),
        lambda steps: sym.reshape(steps, shape=(1, -1)),
        lambda steps: sym.concat(sym.var("x"), steps, dim=0),
        lambda steps: sym.Group([steps]),
        lambda steps: (steps * 2).infer_shape(),
    ],
)
def test_what_needs_its_extent_before_says_so(use: Any) -> None:
    with pytest.raises(mx.TigonError, match=r"meets element by element.*give it a stop"):
        use(sym.arange(infer_range=True))
