"""Differentiating a gradient through layers, imperatively and hybridized, against differences."""

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

C = np.random.default_rng(5).normal(size=(6, 2))


def penalty(hybridized, layer, weight=None):
    """The squared norm of an input gradient, and its gradient with respect to a weight."""
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="tanh", in_units=3))
    if layer is not None:
        net.add(layer())
    net.add(nn.Dense(2, activation="sigmoid", in_units=4))
    mx.random.seed(0)
    net.initialize(mx.init.Normal(1.0))
    net.cast("float64")
    if weight is not None:
        net[0].weight.set_data(nd.array(weight, dtype="float64"))
    net.hybridize(hybridized)
    x = nd.array(np.random.default_rng(0).normal(size=(6, 3)), dtype="float64")
    x.attach_grad()
    mx.random.seed(3)
    with autograd.record():
        y = net(x) * nd.array(C, dtype="float64")
        (dx,) = autograd.grad([y], [x], create_graph=True)
        result = (dx * dx).sum()
    result.backward()
    return result.asscalar(), net[0].weight.grad().asnumpy(), net[0].weight.data().asnumpy()


LAYERS = {
    "none": None,
    "dropout": lambda: nn.Dropout(0.5),
    "batch norm": lambda: nn.BatchNorm(in_channels=4),
    "layer norm": lambda: nn.LayerNorm(in_channels=4),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_gradient_penalty(layer):
    value, gradient, weight = penalty(False, layer)
    hybrid_value, hybrid_gradient, _ = penalty(True, layer)
    assert np.isclose(value, hybrid_value, rtol=1e-12)
    assert np.allclose(gradient, hybrid_gradient, rtol=1e-9, atol=1e-12)
    step = 1e-5
    for index in [(0, 0), (1, 2), (3, 1)]:
        shifted = np.zeros_like(weight)
        shifted[index] = step
        slope = (
            penalty(False, layer, weight + shifted)[0] - penalty(False, layer, weight - shifted)[0]
        )
        assert np.isclose(gradient[index], slope / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 2.5])
@pytest.mark.parametrize("base", [False, True])
def test_second_order_of_powers_in_compiled_functions(exponent, base):
    """What numbers alone make in a gradient's formula stays a number."""

    def function(x):
        return 2.0**x * exponent if base else x**exponent

    seen = []
    for call in (function, mx.jit(function)):
        x = nd.array([1, 2, 3])
        x.attach_grad()
        with autograd.record():
            (slope,) = autograd.grad(call(x), [x], create_graph=True)
            total = (slope * slope + x).sum()
        total.backward()
        seen.append(x.grad.asnumpy())
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-6)


def _paused(x, w):
    with autograd.pause():
        y = x * 3
    return w * 2 + y


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: w * 2 + x.detach(),
        _paused,
        lambda x, w: w * 2 + nd.BlockGrad(x),
        lambda x, w: w * 2 + nd.sign(x),
        lambda x, w: w * 2 + nd.one_hot(x, 2).sum(axis=1),
        lambda x, w: w * 2 + nd.zeros_like(x),
        lambda x, w: w * 2 + x.astype("int32").astype("float32"),
        lambda x, w: w * 2 + (x.detach() + x) * 0,
        lambda x, w: (x * 2, w * 2)[1],
    ],
    ids="detach pause BlockGrad sign one_hot zeros_like integers both unused".split(),
)
def test_what_takes_no_part_keeps_its_gradient(function):
    """What nothing recorded leads to is left alone; what takes part without a slope gets 0."""
    found = []
    for run in (function, mx.jit(function)):
        x, w = nd.array([1, 0]), nd.array([1, 1])
        for leaf in (x, w):
            leaf.attach_grad()
            leaf.grad[:] = 7
        with autograd.record():
            y = run(x, w)
        y.backward()
        found.append((x.grad.asnumpy().tolist(), w.grad.asnumpy().tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("hybridize", [False, True])
def test_heads_that_are_trained_by_turns(hybridize):
    """The gradient of a head that a loss does not depend on is stale, and stays as it is."""

    class Heads(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.body = nn.Dense(2, in_units=3, use_bias=False)
            self.heads = nn.HybridSequential()
            self.heads.add(nn.Dense(1, in_units=2), nn.Dense(1, in_units=2))

        def forward(self, x):
            y = self.body(x)
            return [head(y) for head in self.heads]

    net = Heads()
    net.initialize(mx.init.One())
    if hybridize:
        net.hybridize()
    x = nd.ones((1, 3))
    params = [net.body.weight, net.heads[0].weight, net.heads[1].weight]
    for param in params:
        param.grad()[:] = 7
    for turn in (0, 1, 0, 0):
        with autograd.record():
            loss = net(x)[turn].sum()
        before = [param.grad().version for param in params]
        loss.backward()
        moved = [p.grad().version != b for p, b in zip(params, before, strict=True)]
        assert moved == [True, turn == 0, turn == 1]
        assert params[1 + turn].grad().asnumpy().tolist() == [[3, 3]]
        assert net.body.weight.grad().asnumpy().tolist() == [[1] * 3] * 2
