"""Layers that compute the offsets of their windows: what MXNet 1.9.1 answers, and every option
against the operators that they are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon.contrib import cnn

KINDS = [cnn.DeformableConvolution, cnn.ModulatedDeformableConvolution]
RANDOM = np.random.RandomState(5)


def filled(shape: tuple[int, ...], factor: int) -> nd.NDArray:
    count = int(np.prod(shape))
    return nd.array((np.arange(count) * factor % 7 - 3) / 20).reshape(shape)


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(
    ("kind", "total", "slopes"),
    [
        (cnn.DeformableConvolution, 0.029951106756925583, (3.1324260, 1.6950283)),
        (cnn.ModulatedDeformableConvolution, 0.032902345, None),  # its gradient wants a gpu there
    ],
)
def test_figures_of_mxnet(kind: Any, total: float, slopes: Any, hybridized: bool) -> None:
    layer = kind(2, (3, 3), padding=(1, 1), num_deformable_group=2, activation="relu")
    layer.initialize()
    layer(nd.ones((1, 4, 4, 4)))
    layer.hybridize(hybridized)
    for number, (_, param) in enumerate(sorted(layer._collect_params_with_prefix().items())):
        param.set_data(filled(param.shape, number + 2))
    x = filled((1, 4, 4, 4), 3)
    x.attach_grad()
    with autograd.record():
        y = layer(x)
    y.backward()
    assert y.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(y.sum().asscalar(), total, rtol=1e-6)
    if slopes:
        found = [np.abs(a.asnumpy()).sum() for a in (x.grad, layer.offset_weight.grad())]
        np.testing.assert_allclose(found, slopes, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_mxnet(kind: Any, tmp_path: Any) -> None:
    layer = kind(4, (3, 3), in_channels=2)
    short = "modulated_" if kind is KINDS[1] else ""
    assert layer.prefix.startswith(f"{short}deformable_conv")
    assert set(layer._collect_params_with_prefix()) == {
        "offset_weight",
        "offset_bias",
        "deformable_conv_weight",
        "deformable_conv_bias",
    }
    layer.initialize(mx.init.Normal(0.5))
    assert (layer.offset_weight.data().asnumpy() == 0).all()  # as the plain convolution at first
    layer.offset_weight.set_data(nd.array(RANDOM.randn(*layer.offset_weight.shape)))
    layer.save_parameters(tmp_path / "parameters")
    other = kind(4, (3, 3))
    other.load_parameters(tmp_path / "parameters")
    x = nd.array(RANDOM.randn(2, 2, 5, 5))
    np.testing.assert_array_equal(layer(x).asnumpy(), other(x).asnumpy())
    layer.hybridize()
    layer(x)
    files = layer.export(tmp_path / "net")
    block = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    np.testing.assert_allclose(block(x).asnumpy(), layer(x).asnumpy(), rtol=1e-6)


HALF = mx.init.Constant(0.5)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"strides": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
    {"groups": 2, "num_deformable_group": 2},
    {"use_bias": False, "offset_use_bias": False},
    {"activation": "tanh", "bias_initializer": "ones", "weight_initializer": HALF},
    {"offset_weight_initializer": HALF, "offset_bias_initializer": "ones", "in_channels": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(options) or "none")
@pytest.mark.parametrize("kind", KINDS)
def test_options_are_those_of_the_operators(kind: Any, options: dict[str, Any]) -> None:
    layer = kind(6, kernel_size=(2, 3), **options)
    layer.initialize(mx.init.Normal(0.3))
    x = nd.array(RANDOM.randn(2, 4, 6, 7))
    y = layer(x)
    params = {n: p.data() for n, p in layer._collect_params_with_prefix().items()}
    window = {
        "kernel": (2, 3),
        "stride": options.get("strides", (1, 1)),
        "pad": options.get("padding", (0, 0)),
        "dilate": options.get("dilation", (1, 1)),
        "num_group": options.get("groups", 1),
    }
    each = 3 if kind is KINDS[1] else 2
    moving = 6 * each * options.get("num_deformable_group", 1)
    moved = nd.Convolution(
        x,
        params["offset_weight"],
        params.get("offset_bias"),
        num_filter=moving,
        no_bias="offset_bias" not in params,
        **window,
    )
    operands = [moved]
    if each == 3:
        operands = [moved[:, : moving // 3 * 2], 2 * nd.sigmoid(moved[:, moving // 3 * 2 :])]
    expected = getattr(nd.contrib, kind.__name__)(
        x,
        *operands,
        params["deformable_conv_weight"],
        params.get("deformable_conv_bias"),
        num_filter=6,
        no_bias="deformable_conv_bias" not in params,
        num_deformable_group=options.get("num_deformable_group", 1),
        **window,
    )
    if "activation" in options:
        expected = nd.tanh(expected)
    np.testing.assert_allclose(y.asnumpy(), expected.asnumpy(), rtol=1e-5, atol=1e-6)
    if "bias_initializer" in options:
        assert (params["deformable_conv_bias"].asnumpy() == 1).all()
        assert (params["deformable_conv_weight"].asnumpy() == 0.5).all()
    if "offset_bias_initializer" in options:
        assert (params["offset_bias"].asnumpy() == 1).all()
        assert (params["offset_weight"].asnumpy() == 0.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels must be positive; given 0"),
        ({"layout": "NHWC"}, "layout: expected 'NCHW'; given 'NHWC'; transpose first"),
        ({"groups": 4}, "channels must be multiples of groups=4, one or more; given 0 -> 6"),
        ({"groups": 0}, "channels must be multiples of groups=0"),
        ({"num_deformable_group": 0}, "in_channels must be a multiple of num_deformable_group=0"),
        ({"num_deformable_group": 2, "in_channels": 3}, "must be a multiple of .*=2.*given 3"),
        ({"kernel_size": (3, 3, 3)}, "expected a whole number, or 2 of them; given"),
        ({"op_name": "Convolution"}, "op_name and adj: expected"),
        ({"adj": 1}, "op_name and adj: expected"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mx.TigonError, match=f"^{kind.__name__}: .*{message}"):
        kind(**{"channels": 6, **options})


def test_data_of_other_ranks() -> None:
    layer = cnn.DeformableConvolution(2)
    layer.initialize()
    with pytest.raises(mx.TigonError, match=r"expected data of 4 axes \(NCHW\); given shape \(2,"):
        layer(nd.ones((2, 3, 4)))


def test_how_they_are_shown() -> None:
    layer = cnn.ModulatedDeformableConvolution(
        6, 3, 2, 1, 2, groups=2, use_bias=False, in_channels=4, activation="relu"
    )
    assert repr(layer) == (
        "ModulatedDeformableConvolution(4 -> 6, kernel_size=(3, 3), stride=(2, 2), "
        "padding=(1, 1), dilation=(2, 2), groups=2, bias=False, Activation(relu))"
    )
