"""Layers beside the first ones: transposed convolutions, borders, branches side by side, channels
that become space, and normalization under other names."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import nn
from tigon.gluon.contrib import nn as contrib

RANDOM = np.random.RandomState(3)
AXES = {1: "W", 2: "HW", 3: "DHW"}


def both_ways(layer: Any, x: nd.NDArray) -> nd.NDArray:
    """What it gives imperatively; hybridized it gives the same."""
    found = layer(x)
    if isinstance(layer, gluon.HybridBlock):
        layer.hybridize()
        np.testing.assert_allclose(layer(x).asnumpy(), found.asnumpy(), rtol=1e-5, atol=1e-6)
        layer.hybridize(False)
    return found


def layer_of(name: str, *arguments: Any, **keywords: Any) -> Any:
    made = getattr(nn, name)(*arguments, **keywords)
    made.initialize(mx.init.Normal(0.5))
    return made


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "dilation", "groups", "output_padding"),
    [(3, 1, 0, 1, 1, 0), (3, 2, 1, 1, 2, 1), (2, 3, 0, 2, 1, 2)],
)
def test_a_transposed_convolution_is_the_adjoint(
    ndim: int,
    last: bool,
    kernel: int,
    strides: int,
    padding: int,
    dilation: int,
    groups: int,
    output_padding: int,
) -> None:
    """<convolution(x), y> = <x, transposed(y)>, of the same weight."""
    layout = f"N{AXES[ndim]}C" if last else f"NC{AXES[ndim]}"
    common = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "layout": layout,
        "use_bias": False,
    }
    back = layer_of(
        f"Conv{ndim}DTranspose", 4, kernel, output_padding=output_padding, in_channels=6, **common
    )
    forward = layer_of(f"Conv{ndim}D", 6, kernel, in_channels=4, **common)
    forward.weight.set_data(back.weight.data())
    space = (3, 2, 3)[:ndim]
    y = nd.array(RANDOM.randn(2, *space, 6) if last else RANDOM.randn(2, 6, *space))
    x = both_ways(back, y)
    extents = [
        (extent - 1) * strides + dilation * (kernel - 1) + 1 - 2 * padding + output_padding
        for extent in space
    ]
    assert list(x.shape[1:-1] if last else x.shape[2:]) == extents
    other = nd.array(RANDOM.randn(*x.shape))
    left = float((forward(other) * y).sum().asscalar())
    right = float((other * x).sum().asscalar())
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_transposed_convolutions_infer_and_print(ndim: int) -> None:
    layer = layer_of(f"Conv{ndim}DTranspose", 4, 3, strides=2, activation="relu")
    assert layer(nd.ones((1, 2, *(3,) * ndim))).shape == (1, 4, *(7,) * ndim)
    assert layer.weight.shape == (2, 4, *(3,) * ndim)
    shown = f"Conv{ndim}DTranspose(2 -> 4, kernel_size={(3,) * ndim}, stride={(2,) * ndim}, "
    assert repr(layer) == shown + "Activation(relu))"
    with pytest.raises(TigonError, match=f"Conv{ndim}DTranspose: expected data of {ndim + 2} axes"):
        layer_of(f"Conv{ndim}DTranspose", 4, 3)(nd.ones((1, 2)))


@pytest.mark.parametrize("padding", [0, 1, (0, 0, 0, 0, 2, 1, 0, 3)])
def test_reflection(padding: Any) -> None:
    x = RANDOM.randn(2, 3, 4, 5).astype(np.float32)
    widths = (0,) * 4 + (padding,) * 4 if isinstance(padding, int) else padding
    expected = np.pad(x, np.reshape(widths, (4, 2)), mode="reflect")
    np.testing.assert_array_equal(
        both_ways(nn.ReflectionPad2D(padding), nd.array(x)).asnumpy(), expected
    )


@pytest.mark.parametrize("padding", [-1, (1, 1), (1, 0, 0, 0, 1, 1, 1, 1)])
def test_paddings_that_are_none(padding: Any) -> None:
    with pytest.raises(TigonError, match=r"^ReflectionPad2D: padding: expected a number of 0"):
        nn.ReflectionPad2D(padding)


@pytest.mark.parametrize("axis", [1, -1, 0])
@pytest.mark.parametrize("module", [nn, contrib])
def test_branches_side_by_side(module: Any, axis: int) -> None:
    x = nd.array(RANDOM.randn(2, 3, 3))
    for kind in (module.Concurrent, module.HybridConcurrent):
        net = kind(axis=axis)
        net.add(module.Identity(), nn.HybridLambda("tanh"), nn.HybridLambda("square"))
        expected = np.concatenate([x.asnumpy(), np.tanh(x.asnumpy()), x.asnumpy() ** 2], axis)
        np.testing.assert_allclose(both_ways(net, x).asnumpy(), expected, rtol=1e-6)
        assert len(net) == 3 and isinstance(net[0], module.Identity)
    names = [name.rpartition(".")[0] for name in paths_of(module, axis)]
    assert names == ["0", "0", "1.0", "1.0"]


def paths_of(module: Any, axis: int) -> list[str]:
    net, inner = module.HybridConcurrent(axis=axis), nn.HybridSequential()
    inner.add(nn.Dense(2))
    net.add(nn.Dense(2), inner)
    return list(net._collect_params_with_prefix())


@pytest.mark.parametrize("factors", [(2,), (3, 2), (2, 1, 3)])
def test_channels_become_places(factors: tuple[int, ...]) -> None:
    ndim, channels = len(factors), 2
    space = (2, 3, 2)[:ndim]
    x = RANDOM.randn(2, channels * int(np.prod(factors)), *space).astype(np.float32)
    expected = np.zeros((2, channels, *(f * s for f, s in zip(factors, space, strict=True))))
    for place in itertools.product(*(range(extent) for extent in expected.shape[2:])):
        inner = [p % f for p, f in zip(place, factors, strict=True)]
        outer = tuple(p // f for p, f in zip(place, factors, strict=True))
        number = int(np.ravel_multi_index(inner, factors))
        for channel in range(channels):
            source = channel * int(np.prod(factors)) + number
            expected[(slice(None), channel, *place)] = x[(slice(None), source, *outer)]
    layer = getattr(contrib, f"PixelShuffle{ndim}D")(factors)
    np.testing.assert_array_equal(both_ways(layer, nd.array(x)).asnumpy(), expected)
    shown = factors[0] if ndim == 1 else factors
    assert repr(layer) == f"PixelShuffle{ndim}D({shown})"
    with pytest.raises(TigonError, match=f"PixelShuffle{ndim}D: factor: expected a number above 0"):
        getattr(contrib, f"PixelShuffle{ndim}D")((0,) * ndim)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("kind", [nn.BatchNormReLU, contrib.SyncBatchNorm])
def test_normalization_under_another_name(kind: Any, hybridized: bool) -> None:
    plain, other = nn.BatchNorm(momentum=0.5), kind(momentum=0.5)
    x = nd.array(RANDOM.randn(5, 3, 2))
    results = []
    for layer in (plain, other):
        layer.initialize()
        if hybridized:
            layer.hybridize()
        x.attach_grad()
        with autograd.record():
            out = layer(x)
            if layer is plain and kind is nn.BatchNormReLU:
                out = nd.relu(out)
            (out * nd.arange(30).reshape((5, 3, 2))).sum().backward()
        trained = [out, x.grad, *(p.data() for p in layer.collect_params().values())]
        trained += [layer.gamma.grad(), layer.beta.grad()]
        predicted = layer(x)
        if layer is plain and kind is nn.BatchNormReLU:
            predicted = nd.relu(predicted)
        results.append([each.asnumpy() for each in (*trained, predicted)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert results[0][4].any()  # the statistics have moved


def test_statistics_of_several_devices_are_refused() -> None:
    with pytest.raises(
        TigonError, match="num_devices: expected None or the number of ranks, 1; given 4"
    ):
        contrib.SyncBatchNorm(num_devices=4)
    layer = contrib.SyncBatchNorm(in_channels=2, prefix="sync_")
    symbol = layer(mx.sym.var("x"))
    assert symbol.attr("key") == "sync_" and '"_contrib_SyncBatchNorm"' in symbol.tojson()
    assert symbol.list_auxiliary_states() == ["sync_running_mean", "sync_running_var"]
    vectors = [nd.ones(2)] * 4
    with pytest.raises(TigonError, match=r"^SyncBatchNorm: ndev: expected 1; given 2"):
        nd.contrib.SyncBatchNorm(nd.ones((3, 2)), *vectors, ndev=2, key="bn")


def test_a_table_that_mxnet_keeps_sparse_learns() -> None:
    table = contrib.SparseEmbedding(4, 2)
    table.initialize(mx.init.One())
    trainer = gluon.Trainer(table.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        table(nd.array([1, 3, 1])).sum().backward()
    trainer.step(1)
    rows = table.weight.data().asnumpy()
    np.testing.assert_allclose(rows[:, 0], [1, 0.8, 1, 0.9], rtol=1e-6)
    assert repr(table) == "SparseEmbedding(4 -> 2, float32)"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("ReLU", 'nn.Activation("relu")'),
        ("SiLU", "nn.Swish()"),
        ("Linear", "nn.Dense"),
        ("Conv2d", "nn.Conv2D"),
        ("ConvTranspose2d", "nn.Conv2DTranspose"),
        ("BatchNorm2d", "nn.BatchNorm"),
        ("MaxPool2d", "nn.MaxPool1D to nn.MaxPool3D"),
        ("Softmax", "F.softmax"),
        ("Module", "gluon.HybridBlock"),
        ("ModuleList", "nn.HybridSequential"),
    ],
)
def test_names_of_elsewhere_lead_to_ours(name: str, instead: str) -> None:
    with pytest.raises(AttributeError) as error:
        getattr(nn, name)
    assert f"mx.gluon.nn.{name} is not there" in str(error.value)
    assert instead in str(error.value)


def mixed() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 2), nn.BatchNorm(), nn.PReLU(), nn.Dense(2))
    return net


def test_shapes_and_dtypes_follow_from_inputs() -> None:
    net, x = mixed(), nd.ones((2, 3, 4, 4), dtype="float64")
    net.infer_shape(x)
    net.infer_type(x)
    shapes = {name.partition("_")[2]: p.shape for name, p in net.collect_params().items()}
    assert shapes["running_mean"] == (3,) and shapes["alpha"] == (1,)
    assert net[0].weight.shape == (3, 3, 2, 2) and net[3].weight.shape == (2, 27)
    assert {param.dtype for param in net.collect_params().values()} == {"float64"}
    net.initialize()
    assert net(x).dtype == np.float64
    net.infer_type(x)
    with pytest.raises(TigonError) as error:
        net.infer_type(nd.ones((2, 3, 4, 4)))
    assert str(error.value) == (
        f"HybridSequential.infer_type: parameter '{net[0].weight.name}' has values of float64; "
        "inputs of float32 ask for float32; call cast('float32')"
    )


def test_what_has_values_keeps_all_dtypes_as_they_are() -> None:
    net = mixed()
    net.initialize()  # of the bias, and not of the weight, whose shape is not known
    with pytest.raises(TigonError, match="has values of float32; inputs of float64"):
        net.infer_type(nd.ones((2, 3, 4, 4), dtype="float64"))
    assert {param.dtype for param in net.collect_params().values()} == {"float32"}
    net.infer_type(nd.ones((2, 3, 4, 4)))


@pytest.mark.parametrize("hybridized", [False, True])
def test_losses_that_programs_derive(hybridized: bool) -> None:
    """By the helpers that MXNet's own losses are made of."""

    class Focal(gluon.loss.Loss):
        def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
            label = gluon.loss._reshape_like(F, label, pred)
            loss = F.square(pred - label)
            loss = gluon.loss._apply_weighting(F, loss, self._weight, sample_weight)
            return F.mean(loss, axis=self._batch_axis, exclude=True)

    loss = Focal(3, 0)
    if hybridized:
        loss.hybridize()
    pred, label = nd.array([[1, 2], [3, 4]]), nd.array([1, 1, 1, 2])
    assert loss(pred, label).asnumpy().tolist() == [1.5, 12]
    assert loss(pred, label, nd.array([[2], [0]])).asnumpy().tolist() == [3, 0]


def test_files_hold_them(tmp_path: Path) -> None:
    net, branches = nn.HybridSequential(), nn.HybridConcurrent(axis=1)
    branches.add(nn.Identity(), nn.Conv2D(4, 3, padding=1), nn.AvgPool2D(3, 1, 1))
    net.add(nn.ReflectionPad2D(1), branches, nn.BatchNormReLU(), nn.Conv2DTranspose(8, 2, 2))
    net.add(contrib.SyncBatchNorm(), contrib.PixelShuffle2D(2), nn.PReLU())
    net.initialize(mx.init.Normal(0.5))
    x = nd.array(RANDOM.randn(2, 3, 4, 4))
    with autograd.record():
        net(x)
    expected = net(x).asnumpy()
    assert expected.shape == (2, 2, 24, 24)
    net.hybridize()
    symbol, parameters = net.export(str(tmp_path / "net"))
    again = gluon.SymbolBlock.imports(symbol, ["data"], parameters)
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    net.save_parameters(tmp_path / "net.params")
    for param in net.collect_params().values():
        param.set_data(nd.zeros(param.shape))
    net.load_parameters(tmp_path / "net.params")
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)
