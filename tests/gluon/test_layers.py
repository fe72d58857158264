"""Layers and losses against numpy, imperatively and hybridized; metrics, initializers, data."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import nn

RANDOM = np.random.RandomState(3)
IMAGES = RANDOM.randn(2, 4, 6, 6).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


LAYERS = [
    (nn.Dense(3), (2, 5)),
    (nn.Dense(3, flatten=False, activation="tanh"), (2, 4, 5)),
    (nn.Dense(3, use_bias=False), (2, 4, 5)),
    (nn.Conv1D(3, 2), (2, 4, 6)),
    (nn.Conv2D(4, 3, strides=2, padding=1, groups=2), (2, 4, 6, 6)),
    (nn.Conv2D(3, (1, 3), dilation=(1, 2), use_bias=False), (2, 4, 6, 6)),
    (nn.Conv3D(2, 2), (1, 2, 3, 3, 3)),
    (nn.Conv2DTranspose(3, 3, strides=2, padding=1, output_padding=1), (2, 4, 3, 3)),
    (nn.Conv1DTranspose(3, 3, strides=2, output_padding=1), (2, 4, 3)),
    (nn.Conv3DTranspose(2, 2, strides=2, groups=2), (1, 2, 2, 3, 2)),
    (nn.ReflectionPad2D(2), (2, 4, 6, 6)),
    (nn.BatchNormReLU(), (4, 3, 2, 2)),
    (nn.Identity(), (2, 3)),
    (nn.Conv1D(4, 2, layout="NWC", groups=2), (2, 6, 4)),
    (nn.Conv2D(3, (1, 3), layout="NHWC", activation="relu"), (2, 6, 6, 4)),
    (nn.Conv2DTranspose(4, 3, strides=2, layout="NHWC", groups=2), (2, 3, 3, 4)),
    (nn.MaxPool2D(3, 2, 1, layout="NHWC"), (2, 6, 6, 4)),
    (nn.GlobalAvgPool3D(layout="NDHWC"), (2, 3, 3, 3, 4)),
    (nn.MaxPool1D(), (2, 3, 6)),
    (nn.MaxPool2D(3, 2, 1), (2, 4, 6, 6)),
    (nn.MaxPool2D(3, 2, ceil_mode=True), (2, 4, 6, 6)),
    (nn.MaxPool3D(), (1, 2, 4, 4, 4)),
    (nn.AvgPool2D(2), (2, 4, 6, 6)),
    (nn.AvgPool2D(3, 2, 1, count_include_pad=False), (2, 4, 6, 6)),
    (nn.GlobalAvgPool2D(), (2, 4, 6, 6)),
    (nn.GlobalMaxPool2D(), (2, 4, 6, 6)),
    (nn.Flatten(), (2, 4, 6)),
    (nn.Activation("sigmoid"), (2, 3)),
    (nn.Activation("softrelu"), (2, 3)),
    (nn.LeakyReLU(0.2), (2, 3)),
    (nn.PReLU(), (2, 3)),
    (nn.ELU(), (2, 3)),
    (nn.SELU(), (2, 3)),
    (nn.GELU(), (2, 3)),
    (nn.Swish(), (2, 3)),
    (nn.BatchNorm(), (4, 3, 2, 2)),
    (nn.BatchNorm(scale=False, center=False, axis=-1), (4, 3)),
    (nn.LayerNorm(), (4, 3)),
    (nn.InstanceNorm(), (2, 3, 4, 4)),
    (nn.GroupNorm(2), (2, 4, 3, 3)),
    (nn.HybridLambda("tanh"), (2, 3)),
    (nn.HybridLambda(lambda F, x: F.square(x) + 1), (2, 3)),
    (nn.Dropout(0.5), (2, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda case: str(case)[:60])
def test_layer_imperative_equals_hybridized_in_value_and_gradient(layer, shape):
    x = nd.array(RANDOM.randn(*shape))
    results = []
    for hybridize in (False, True):
        mx.random.seed(4)
        layer.initialize(mx.init.Normal(0.5), force_reinit=True)
        layer.hybridize(hybridize)
        predicted = layer(x).asnumpy()
        leaf = x.copy()
        leaf.attach_grad()
        with autograd.record():
            y = layer(leaf)
            loss = (y * y).sum()
        loss.backward()
        learned = [p for p in layer.collect_params().values() if p.grad_req != "null"]
        grads = [param.grad().asnumpy() for param in learned]
        results.append([predicted, y.asnumpy(), leaf.grad.asnumpy(), *grads])
    for one, other in zip(*results, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_dense_and_convolution_against_numpy():
    dense = nn.Dense(3, activation="relu")
    dense.initialize(mx.init.Normal(1))
    x = RANDOM.randn(2, 2, 3).astype(np.float32)
    weight, bias = (dense(nd.array(x)), dense.weight.data().asnumpy())[1], 0
    expected = np.maximum(x.reshape(2, 6) @ weight.T + bias, 0)
    np.testing.assert_allclose(dense(nd.array(x)).asnumpy(), expected, rtol=1e-5, atol=1e-6)

    convolution = nn.Conv2D(5, 3, padding=1, strides=2)
    convolution.initialize(mx.init.Normal(1))
    result = convolution(nd.array(IMAGES)).asnumpy()
    weight = convolution.weight.data().asnumpy()
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    expected = np.einsum("nchwkl,ockl->nohw", windows, weight)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_by_mode():
    layer = nn.BatchNorm(momentum=0.9)
    layer.initialize()
    x = RANDOM.randn(8, 4, 3).astype(np.float32) * 3 + 1
    mean, variance = x.mean((0, 2)), x.var((0, 2))
    with autograd.record():
        y = layer(nd.array(x)).asnumpy()
    expected = (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    running = layer.running_mean.data().asnumpy(), layer.running_var.data().asnumpy()
    np.testing.assert_allclose(running[0], 0.1 * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(running[1], 0.9 + 0.1 * variance, rtol=1e-4, atol=1e-5)
    y = layer(nd.array(x)).asnumpy()
    expected = (x - running[0][:, None]) / np.sqrt(running[1][:, None] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_embedding_and_its_gradient():
    layer = nn.Embedding(5, 2)
    layer.initialize(mx.init.Uniform(1))
    indices = nd.array([[1, 3], [3, 0]])
    for hybridize in (False, True):
        layer.hybridize(hybridize)
        with autograd.record():
            y = layer(indices)
        y.backward()
        np.testing.assert_array_equal(y.asnumpy(), layer.weight.data().asnumpy()[[[1, 3], [3, 0]]])
        assert layer.weight.grad().asnumpy()[:, 0].tolist() == [1, 1, 0, 2, 0]


def test_layouts_with_channels_last():
    """The same numbers as with the channels second, for moved data and weights."""
    x = nd.array(IMAGES)

    def move(array):
        return nd.moveaxis(array, 1, -1)

    for make in (
        lambda **more: nn.Conv2D(6, 3, 2, 1, groups=2, in_channels=4, **more),
        lambda **more: nn.Conv2DTranspose(6, 3, 2, 1, 1, groups=2, in_channels=4, **more),
    ):
        first, last = make(), make(layout="NHWC")
        first.initialize()
        last.initialize()
        last.weight.set_data(move(first.weight.data()))
        difference = move(first(x)) - last(move(x))
        assert abs(difference).max().asscalar() < 1e-5
        deferred = type(last)(6, 3, groups=2, layout="NHWC")
        deferred.initialize()
        deferred(move(x))
        assert deferred.weight.shape == last.weight.shape
        assert "layout=NHWC" in repr(last)
        assert repr(last).startswith(f"{type(last).__name__}(4 -> 6,")
    for layer in (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalMaxPool2D, nn.GlobalAvgPool2D):
        difference = move(layer()(x)) - layer(layout="NHWC")(move(x))
        assert abs(difference).max().asscalar() < 1e-6
    with pytest.raises(TigonError, match="Conv2D: layout: expected 'NCHW' or 'NHWC'"):
        nn.Conv2D(1, 1, layout="NCDHW")


def test_wrong_rank_for_a_convolution():
    with pytest.raises(TigonError) as caught:
        layer = nn.Conv2D(3, 3)
        layer.initialize()
        layer(nd.ones((2, 5)))
    assert str(caught.value) == (
        "Conv2D: expected data of 4 axes (NCHW); given shape (2, 5)\n  in block Conv2D"
    )


PRED = RANDOM.randn(4, 3)
LABEL = RANDOM.randn(4, 3)
SIGNS = np.sign(RANDOM.randn(4, 3))
CLASSES = np.array([0, 2, 1, 1])
SHARES = softmax(RANDOM.randn(4, 3))
LOSSES = [
    (gluon.loss.L2Loss(), (PRED, LABEL), ((PRED - LABEL) ** 2 / 2).mean(1)),
    (gluon.loss.L1Loss(weight=2.0), (PRED, LABEL), 2 * np.abs(PRED - LABEL).mean(1)),
    (
        gluon.loss.SoftmaxCrossEntropyLoss(),
        (PRED, CLASSES),
        -np.log(softmax(PRED)[np.arange(4), CLASSES]),
    ),
    (
        gluon.loss.SoftmaxCELoss(sparse_label=False),
        (PRED, SHARES),
        -(np.log(softmax(PRED)) * SHARES).sum(1),
    ),
    (
        gluon.loss.SigmoidBCELoss(),
        (PRED, SIGNS > 0),
        np.log1p(np.exp(-PRED * SIGNS)).mean(1),
    ),
    (
        gluon.loss.SigmoidBCELoss(from_sigmoid=True),
        (1 / (1 + np.exp(-PRED)), SIGNS > 0),
        np.log1p(np.exp(-PRED * SIGNS)).mean(1),
    ),
    (
        gluon.loss.KLDivLoss(from_logits=False),
        (PRED, SHARES),
        (SHARES * (np.log(SHARES) - np.log(softmax(PRED)))).sum(1),
    ),
    (
        gluon.loss.HuberLoss(rho=0.5),
        (PRED, LABEL),
        np.where(np.abs(PRED - LABEL) > 0.5, np.abs(PRED - LABEL) - 0.25, (PRED - LABEL) ** 2).mean(
            1
        ),
    ),
    (gluon.loss.HingeLoss(), (PRED, SIGNS), np.maximum(0, 1 - PRED * SIGNS).mean(1)),
    (gluon.loss.SquaredHingeLoss(), (PRED, SIGNS), (np.maximum(0, 1 - PRED * SIGNS) ** 2).mean(1)),
    (gluon.loss.LogisticLoss(), (PRED, SIGNS), np.log1p(np.exp(-PRED * SIGNS)).mean(1)),
    (
        gluon.loss.TripletLoss(),
        (PRED, LABEL, SIGNS),
        np.maximum(0, ((LABEL - PRED) ** 2 - (SIGNS - PRED) ** 2).sum(1) + 1),
    ),
    (
        gluon.loss.PoissonNLLLoss(),
        (PRED, SHARES),
        (np.exp(PRED) - SHARES * PRED).mean(keepdims=True).reshape(1),
    ),
    (
        gluon.loss.CosineEmbeddingLoss(),
        (PRED, LABEL, np.array([1, -1, 1, -1])),
        np.where(
            np.array([1, -1, 1, -1]) == 1,
            1 - (PRED * LABEL).sum(1) / np.sqrt((PRED**2).sum(1) * (LABEL**2).sum(1)),
            np.maximum(0, (PRED * LABEL).sum(1) / np.sqrt((PRED**2).sum(1) * (LABEL**2).sum(1))),
        )[:, None],
    ),
]


@pytest.mark.parametrize(("loss", "operands", "expected"), LOSSES, ids=lambda c: str(c)[:40])
def test_loss_against_numpy(loss, operands, expected):
    arrays = [nd.array(operand) for operand in operands]
    for hybridize in (False, True):
        loss.hybridize(hybridize)
        result = loss(*arrays).asnumpy()
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_sample_weight():
    loss = gluon.loss.L2Loss()
    weight = nd.array([[1], [0], [2], [1]])
    result = loss(nd.array(PRED), nd.array(LABEL), weight).asnumpy()
    expected = ((PRED - LABEL) ** 2 / 2).mean(1) * [1, 0, 2, 1]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("initializer", "low", "high", "deviation"),
    [
        (mx.init.Uniform(0.5), -0.5, 0.5, 0.5 / np.sqrt(3)),
        (mx.init.Normal(2), -12, 12, 2),
        (mx.init.Xavier(), -0.1225, 0.1225, np.sqrt(1 / 200)),
        (mx.init.Xavier("gaussian", "in", 2), -1, 1, np.sqrt(2 / 200)),
        (mx.init.MSRAPrelu(), -1, 1, np.sqrt(2 / (1 + 0.25**2) / 200)),
        (mx.init.Constant(3), 3, 3, 0),
    ],
    ids=repr,
)
def test_initializers(initializer, low, high, deviation):
    array = nd.zeros((200, 200))
    initializer(mx.init.InitDesc("weight"), array)
    values = array.asnumpy()
    assert values.min() >= low
    assert values.max() <= high
    assert values.std() == pytest.approx(deviation, rel=0.02)
    again = mx.init.create(initializer.dumps())
    assert again == initializer


def test_orthogonal_and_bilinear():
    array = nd.zeros((4, 6))
    mx.init.Orthogonal(scale=1)("weight", array)
    np.testing.assert_allclose(array.asnumpy() @ array.asnumpy().T, np.eye(4), atol=1e-5)
    kernel = nd.zeros((1, 1, 4, 4))
    mx.init.Bilinear()("weight", kernel)
    np.testing.assert_allclose(kernel.asnumpy()[0, 0, 1], [0.1875, 0.5625, 0.5625, 0.1875])


def test_metrics():
    pred = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]], np.float32)
    label = np.array([0, 1, 1], np.float32)
    expected = {
        "acc": 2 / 3,
        "ce": -np.log([0.7, 0.3, 0.5]).mean(),
        "perplexity": np.exp(-np.log([0.7, 0.3, 0.5]).mean()),
        "nll_loss": -np.log([0.7, 0.3, 0.5]).mean(),
    }
    for name, value in expected.items():
        metric = mx.metric.create(name)
        assert np.isnan(metric.get()[1])
        metric.update(nd.array(label), nd.array(pred))
        assert metric.get()[1] == pytest.approx(value, rel=1e-5)
    top = mx.metric.create("top_k_accuracy", top_k=2)
    top.update([label], [pred])
    assert top.get() == ("top_k_accuracy_2", 1.0)
    binary = np.array([1, 0, 1, 1]), np.array([0.9, 0.8, 0.3, 0.7])
    f1 = mx.metric.F1()
    f1.update(*binary)
    assert f1.get()[1] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    mcc = mx.metric.MCC()
    mcc.update(*binary)
    assert mcc.get()[1] == pytest.approx(np.corrcoef(binary[0], binary[1] > 0.5)[0, 1])
    truth, guess = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    for name, value in {"mae": 1.0, "mse": 5 / 3, "rmse": np.sqrt(5 / 3)}.items():
        metric = mx.metric.create(name)
        metric.update(truth, guess)
        assert metric.get()[1] == pytest.approx(value)
    both = mx.metric.create(["acc", mx.metric.np(lambda label, pred: 7.0, name="seven")])
    both.update([label], [pred])
    assert both.get() == (["accuracy", "seven"], [2 / 3, 7.0])
    with pytest.raises(TigonError, match="metric: 'akkuracy' is not known; choose one of acc, "):
        mx.metric.create("akkuracy")


def test_data_loader():
    data = np.arange(20, dtype=np.float32).reshape(10, 2)
    dataset = gluon.data.ArrayDataset(data, np.arange(10))
    for workers in (0, 2):
        batches = list(gluon.data.DataLoader(dataset, 4, num_workers=workers))
        assert [b[0].shape for b in batches] == [(4, 2), (4, 2), (2, 2)]
        np.testing.assert_array_equal(np.concatenate([b[0].asnumpy() for b in batches]), data)
    rollover = gluon.data.DataLoader(dataset, 4, last_batch="rollover")
    assert [len(list(rollover)) for _ in range(3)] == [2, 3, 2]
    mx.random.seed(1)
    shuffled = gluon.data.DataLoader(dataset, 5, shuffle=True)
    first = np.concatenate([label.asnumpy() for _, label in shuffled])
    second = np.concatenate([label.asnumpy() for _, label in shuffled])
    assert sorted(first) == sorted(second) == list(range(10))
    assert (first != second).any()
    mx.random.seed(1)
    np.testing.assert_array_equal(np.concatenate([label.asnumpy() for _, label in shuffled]), first)
    changed = dataset.transform_first(lambda x: x * 0).filter(lambda pair: pair[1] > 7)
    assert len(changed) == 2
    assert changed[0][0].tolist() == [0, 0]
    with pytest.raises(TigonError, match="all arrays must have the same length; given"):
        gluon.data.ArrayDataset(data, np.arange(9))


def test_ndarray_iterator():
    data = {"x": np.arange(10).reshape(5, 2)}
    it = mx.io.NDArrayIter(data, np.arange(5), 2, last_batch_handle="discard")
    assert it.provide_data == [("x", (2, 2))]
    assert [batch.label[0].asnumpy().tolist() for batch in it] == [[0, 1], [2, 3]]
    it = mx.io.NDArrayIter(data, np.arange(5), 2, last_batch_handle="pad")
    assert [batch.label[0].asnumpy().tolist() for batch in it] == [[0, 1], [2, 3], [4, 0]]
    it = mx.io.NDArrayIter(data, np.arange(5), 2, last_batch_handle="roll_over")
    assert [batch.label[0].asnumpy().tolist() for batch in it] == [[0, 1], [2, 3]]
    it.reset()
    assert [batch.label[0].asnumpy().tolist() for batch in it] == [[4, 0], [1, 2], [3, 4]]
