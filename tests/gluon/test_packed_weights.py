"""Prediction keeps the weights of convolutions in panels, as long as the weights stay."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn
from tigon.program.cached_graph import Packs


def network(**options: object) -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(32, 3, padding=1, in_channels=16, activation="relu"),
        nn.Conv2D(32, 3, padding=1, in_channels=32),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize(**options)
    return net


def image(batch: int = 2) -> nd.NDArray:
    return nd.array(np.random.default_rng(batch).normal(size=(batch, 16, 12, 12)))


def packs(name: str) -> list[Packs]:
    """What is kept for the network of that name."""
    return [
        found
        for found in gc.get_objects()
        if isinstance(found, Packs) and found.compiled.program.name == f"{name}_weights"
    ]


def runs(net: nn.HybridSequential) -> int:
    (only,) = packs(net.name)
    made: int = only.prepared.runs
    return made


def imperatively(net: nn.HybridSequential, x: nd.NDArray) -> np.ndarray:
    y = x
    for layer in net:
        y = nd.Convolution(
            y, layer.weight.data(), layer.bias.data(), kernel=(3, 3), pad=(1, 1), num_filter=32
        )
        y = nd.relu(y) if layer.act is not None else y
    return y.asnumpy()


def test_weights_are_packed_once_for_all_batches() -> None:
    net = network()
    for batch in (2, 2, 1, 3, 2, 5):
        x = image(batch)
        np.testing.assert_allclose(net(x).asnumpy(), imperatively(net, x), rtol=1e-5, atol=1e-6)
    assert runs(net) == 1


def test_weights_that_change_are_packed_again() -> None:
    net, x = network(), image()
    net(x)
    net[0].weight.data()[:] = 1
    np.testing.assert_allclose(net(x).asnumpy(), imperatively(net, x), rtol=1e-5, atol=1e-4)
    assert runs(net) == 2
    net[1].weight.set_data(nd.ones((32, 32, 3, 3)))
    np.testing.assert_allclose(net(x).asnumpy(), imperatively(net, x), rtol=1e-5, atol=1e-3)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = net(x).mean()
    loss.backward()
    trainer.step(1)
    np.testing.assert_allclose(net(x).asnumpy(), imperatively(net, x), rtol=1e-5, atol=1e-3)
    before = runs(net)
    net(x)
    assert runs(net) == before


def test_weights_that_others_may_write_are_packed_at_each_call() -> None:
    net, x = network(), image()
    outside = np.from_dlpack(net[0].weight.data())
    net(x)
    net(x)
    assert runs(net) == 2
    if outside.flags.writeable:
        outside[...] = 0
        np.testing.assert_allclose(net(x).asnumpy(), imperatively(net, x), rtol=1e-5, atol=1e-5)


def test_each_context_has_panels_of_its_own() -> None:
    net, x = network(), image()
    places = [mx.cpu(0), mx.cpu(1)]
    net.collect_params().reset_ctx(places)
    expected = imperatively(net, x)
    for place in places * 3:
        y = net(x.as_in_context(place))
        assert y.context == place
        np.testing.assert_allclose(y.asnumpy(), expected, rtol=1e-5, atol=1e-6)
    assert runs(net) == 2


def test_recording_packs_within_its_programs() -> None:
    net, x = network(), image()
    with autograd.record():
        y = net(x)
    y.backward()
    assert packs(net.name) == []


def test_panels_go_with_the_network() -> None:
    net, x = network(), image()
    net(x).wait_to_read()
    assert len(packs(net.name)) == 1
    name = net.name
    del net
    gc.collect()
    assert packs(name) == []


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_layouts(layout: str) -> None:
    conv = nn.Conv2D(32, 3, strides=2, padding=1, in_channels=16, layout=layout)
    conv.initialize(mx.init.Xavier())
    shape = (2, 16, 14, 14) if layout == "NCHW" else (2, 14, 14, 16)
    x = nd.array(np.random.default_rng(1).normal(size=shape))
    expected = conv(x).asnumpy()
    conv.hybridize()
    np.testing.assert_array_equal(conv(x).asnumpy(), expected)
