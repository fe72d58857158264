"""What MXNet 1.9.1 answers of optimizers, losses, iterators and the trainer, as recorded."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, autograd, gluon, lr_scheduler, nd
from tigon.gluon import nn

SOURCE = "mxnet 1.9.1"

UPDATES = [  # optimizer, its fields, the weight after gradients 1, -2, 3, 0.5 from 1
    (
        "nag",
        {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1},
        [0.791, 1.068564, 0.552940, 0.267165],
    ),
    ("ftml", {}, [0.990000, 0.997904, 0.990821, 0.989604]),
    ("adam", {"clip_gradient": 0.0}, [0.999000, 0.999366, 0.999023, 0.998667]),
    ("sgd", {"clip_gradient": 0.0, "learning_rate": 0.1}, [0.9, 1.1, 0.8, 0.75]),
    ("lbsgd", {"momentum": 0.9}, [0.990000, 1.001000, 0.980900, 0.957810]),
    ("ccsgd", {"momentum": 0.9}, [0.990000, 1.001000, 0.980900, 0.957810]),
]


@pytest.mark.parametrize(("name", "fields", "expected"), UPDATES)
def test_updates(name, fields, expected):
    weight, update = nd.ones((1,)), mx.optimizer.get_updater(mx.optimizer.create(name, **fields))
    for gradient, after in zip([1, -2, 3, 0.5], expected, strict=True):
        update(0, nd.array([gradient]), weight)
        assert weight.asscalar() == pytest.approx(after, abs=2e-6), SOURCE


def test_langevin_dynamics_draw_around_half_a_step():
    weight, rate, count = nd.ones((50_000,)), 0.04, 50_000
    mx.random.seed(3)
    optimizer = mx.optimizer.SGLD(learning_rate=rate, wd=0.5, rescale_grad=2.0, clip_gradient=1.5)
    optimizer.update(0, weight, nd.ones((count,)), optimizer.create_state(0, weight))
    moved = weight.asnumpy().astype(np.float64)
    assert moved.mean() == pytest.approx(1 - rate / 2 * (1.5 + 0.5), abs=5 * 0.2 / count**0.5)
    assert moved.std() == pytest.approx(rate**0.5, rel=0.02)


def large_batches(strategy, scale, begin_epoch, gradients, momentum, wd, rate=0.1):
    """MXNet's formula in numpy, on a weight of two elements."""
    weight, speed, total = np.ones(2), np.zeros(2), np.zeros(2)
    for count, gradient in enumerate(gradients, begin_epoch * 4 + 1):
        total = total + gradient
        if count % scale:
            continue
        mean, total = total / scale, np.zeros(2)
        way = count / 8
        growth = {"linear": way, "power2": way**2, "sqrt": way**0.5}.get(strategy)
        size, steepness = (weight**2).sum(), (mean**2).sum()
        factor = (
            np.clip((size / (steepness + wd * size + 1e-18)) ** 0.5, 0.01, 100)
            if growth is None
            else 1 + (scale - 1) * growth
            if count < 8
            else scale
        )
        speed = momentum * speed - rate * factor * (mean + wd * weight)
        weight = weight + speed
    return weight


@pytest.mark.parametrize("begin_epoch", [0, 1, 2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("strategy", ["linear", "power2", "sqrt", "lars"])
def test_large_batches(strategy, scale, momentum, begin_epoch):
    gradients = np.random.default_rng(scale).normal(size=(13, 2)).astype(np.float32)
    fields = {"warmup_strategy": strategy, "batch_scale": scale, "momentum": momentum}
    optimizer = mx.optimizer.LBSGD(
        learning_rate=0.1, wd=0.2, warmup_epochs=2, updates_per_epoch=4, begin_epoch=begin_epoch,
        **fields,
    )  # fmt: skip
    update, weight = mx.optimizer.get_updater(optimizer), nd.ones((2,))
    for gradient in gradients:
        update(0, nd.array(gradient), weight)
    expected = large_batches(strategy, scale, begin_epoch, gradients, momentum, 0.2)
    np.testing.assert_allclose(weight.asnumpy(), expected, rtol=2e-5, atol=1e-5)
    for wrong in ({"warmup_strategy": "cubic"}, {"batch_scale": 0}):
        with pytest.raises(TigonError, match=f"LBSGD: {next(iter(wrong))}: expected"):
            mx.optimizer.LBSGD(**wrong)


@pytest.mark.parametrize("name", sorted(mx.optimizer.Optimizer.opt_registry))
def test_constants_are_attributes_that_hold_from_the_next_step_on(name):
    kind = mx.optimizer.Optimizer.opt_registry[name]
    if not kind.__module__.startswith("tigon."):
        return
    for constant, default in kind.defaults.items():
        optimizer = kind()
        assert getattr(optimizer, constant) == default
        before = optimizer.settings
        setattr(optimizer, constant, 0.25)
        assert getattr(optimizer, constant) == optimizer.constants[constant] == 0.25
        assert optimizer.settings != before


def test_a_momentum_that_is_changed():
    optimizer = mx.optimizer.SGD(learning_rate=0.1, momentum=0.9)
    update, weight = mx.optimizer.get_updater(optimizer), nd.ones((1,))
    update(0, nd.ones((1,)), weight)
    optimizer.momentum = 0.0
    update(0, nd.ones((1,)), weight)
    assert weight.asscalar() == pytest.approx(0.8), "with 0.9 it would be 0.71"


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(("smoothing", "weight"), [(0.3, 1.0), (0.1, 2.0)])
def test_smoothed_metric_learning(smoothing, weight, hybridize):
    x, y = np.array([[1, 2, 3], [0, -1, 1]]), np.array([[1, 0, 1], [0, 1, 1]])
    loss = gluon.loss.SDMLLoss(smoothing, weight)
    loss.hybridize(hybridize)
    if (smoothing, weight) == (0.3, 1.0):
        found = loss(nd.array(x), nd.array(y)).asnumpy()
        np.testing.assert_allclose(found, [0.91606, 0.91606], atol=1e-5, err_msg=SOURCE)
    for rows in (1, 2, 5):
        x, y = np.random.default_rng(rows).normal(size=(2, rows, 4))
        scores = -((x[:, None] - y[None]) ** 2).sum(axis=2)
        chances = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        label = np.full((rows, rows), smoothing / max(rows - 1, 1))
        np.fill_diagonal(label, 1 - smoothing)
        expected = weight * (label * (np.log(label) - chances)).sum(axis=1)
        np.testing.assert_allclose(loss(nd.array(x), nd.array(y)).asnumpy(), expected, rtol=2e-5)


RATES = [
    ("sgd", 0.01), ("nag", 0.01), ("ftml", 0.01), ("adam", 0.001), ("adagrad", 0.01),
    ("rmsprop", 0.001), ("ftrl", 0.1), ("adamax", 0.002), ("nadam", 0.001), ("signum", 0.01),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rate"), RATES)
def test_default_rates(name, rate):
    assert mx.optimizer.create(name).learning_rate == rate, SOURCE


SCHEDULES = [  # the scheduler, the rate that it is given or None, the rates that steps 1 to 6 took
    (lambda: lr_scheduler.FactorScheduler(2, 0.5), 1.0, [1, 1, 0.5, 0.5, 0.25, 0.25]),
    (lambda: lr_scheduler.FactorScheduler(2, 0.5), None, [0.01, 0.01, 5e-3, 5e-3, 2.5e-3, 2.5e-3]),
    (lambda: lr_scheduler.FactorScheduler(2, 0.5, base_lr=7.0), None, [7, 7, 3.5, 3.5, 1.75, 1.75]),
    (lambda: lr_scheduler.CosineScheduler(4, 1.0, 0), None, [0.8536, 0.5, 0.1464, 0, 0, 0]),
    (lambda: lr_scheduler.MultiFactorScheduler([2], 0.1), 1.0, [1, 1, 0.1, 0.1, 0.1, 0.1]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "rate", "expected"), SCHEDULES)
def test_schedules(make, rate, expected):
    fields = {} if rate is None else {"learning_rate": rate}
    weight = nd.zeros((1,))
    update = mx.optimizer.get_updater(mx.optimizer.create("sgd", lr_scheduler=make(), **fields))
    taken = []
    for _ in expected:
        before = weight.asscalar()
        update(0, nd.ones((1,)), weight)
        taken.append(float(before - weight.asscalar()))
    np.testing.assert_allclose(taken, expected, atol=5e-5, err_msg=SOURCE)


def test_the_best_of_several_need_a_label_per_prediction():
    metric = mx.metric.TopKAccuracy(2)
    with pytest.raises(TigonError, match="labels and predictions differ"):
        metric.update([nd.array([1, 1])], [nd.array([[0.1, 0.9, 0]])])


def test_only_weights_and_gammas_that_have_names_decay():
    names = {0: "fc_weight", 1: "fc_bias", 2: "bn_gamma", 3: "bn_beta"}
    optimizer = mx.optimizer.create("sgd", learning_rate=1.0, wd=0.5, param_idx2name=names)
    update, weights = mx.optimizer.get_updater(optimizer), [nd.ones((1,)) for _ in range(5)]
    update([0, 1, 2, 3, 4], [nd.zeros((1,))] * 5, weights)
    assert [weight.asscalar() for weight in weights] == [0.5, 1, 0.5, 1, 0.5], SOURCE
    optimizer.set_wd_mult({"fc_bias": 2.0})
    update([1, 3], [nd.zeros((1,))] * 2, weights[1:4:2])
    assert [weights[1].asscalar(), weights[3].asscalar()] == [0, 1], SOURCE


def test_divergence_is_the_sum_over_a_sample():
    loss = gluon.loss.KLDivLoss(from_logits=False)
    value = loss(nd.array([[1, 2, 3]]), nd.array([[0, 1, 0]]))
    assert value.asscalar() == pytest.approx(1.4076059, rel=1e-5), SOURCE


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_cosine_embedding_keeps_an_axis(shape):
    loss = gluon.loss.CosineEmbeddingLoss()
    value = loss(nd.array([[1, 0], [1, 1]]), nd.array([[1, 0], [1, 1]]), nd.ones(shape))
    assert value.shape == (2, 1), SOURCE


LABELLED = [
    gluon.loss.L2Loss, gluon.loss.L1Loss, gluon.loss.SigmoidBCELoss, gluon.loss.KLDivLoss,
    gluon.loss.HuberLoss, gluon.loss.HingeLoss, gluon.loss.SquaredHingeLoss,
    gluon.loss.LogisticLoss, gluon.loss.PoissonNLLLoss,
    lambda: gluon.loss.SoftmaxCELoss(sparse_label=False),
]  # fmt: skip


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "int32", "uint8"])
@pytest.mark.parametrize("make", LABELLED)
def test_labels_take_the_predictions_dtype(make, dtype, hybridize):
    loss, pred = make(), nd.array([[0.25, 0.5, 0.75], [0.5, 0.5, 0.25]])
    label = nd.array([[0, 1, 0], [1, 0, 1]])
    expected = loss(pred, label).asnumpy()
    loss.hybridize(hybridize)
    value = loss(pred, label.astype(dtype))
    assert value.dtype == np.float32
    np.testing.assert_allclose(value.asnumpy(), expected, rtol=1e-5)


def test_integers_as_predictions_are_named():
    with pytest.raises(TigonError) as caught:
        gluon.loss.L2Loss()(nd.ones((2, 1), dtype="int32"), nd.ones((2, 1)))
    assert str(caught.value).startswith(
        "L2Loss: expected a prediction of floating-point numbers; given a prediction of int32 and "
        "a label of float32; convert the prediction with astype('float32')"
    )


def test_groups_have_one_scale_each():
    norm = nn.GroupNorm(2)
    norm.initialize()
    assert norm(nd.ones((1, 4, 3))).shape == (1, 4, 3)
    assert (norm.gamma.shape, norm.beta.shape) == ((2,), (2,)), SOURCE


def test_the_first_parts_are_the_longer_ones():
    parts = gluon.utils.split_data(nd.arange(8), 3, even_split=False)
    assert [part.shape[0] for part in parts] == [3, 3, 2], SOURCE
    assert nd.concat(*parts, dim=0).asnumpy().tolist() == list(range(8))


BATCHES = [  # samples, batch size, the one batch, its padding
    (4, 9, [0, 1, 2, 3, 0, 1, 2, 3, 0], 5),
    (3, 7, [0, 1, 2, 0, 1, 2, 0], 4),
]


@pytest.mark.parametrize(("samples", "size", "expected", "pad"), BATCHES)
def test_few_samples_fill_a_batch_again_and_again(samples, size, expected, pad):
    batches = list(mx.io.NDArrayIter(nd.arange(samples), batch_size=size))
    assert [(batch.data[0].asnumpy().tolist(), batch.pad) for batch in batches] == [
        (expected, pad)
    ], SOURCE


# ------------------------------------------------------------------------------ the trainer


def two(**fields):
    params = [gluon.Parameter(name, shape=(1,), init="ones") for name in ("a", "b")]
    for param in params:
        param.initialize()
    return *params, gluon.Trainer(params, "sgd", {"learning_rate": 0.1, **fields})


def backward(*params):
    with autograd.record():
        loss = sum(param.data() for param in params)
    loss.backward()


@pytest.mark.parametrize("fields", [{}, {"wd": 0.5}, {"momentum": 0.9}])
def test_stale_parameters_are_left_alone(fields):
    a, b, trainer = two(**fields)
    backward(a, b)
    trainer.step(1)
    held = b.data().asscalar()
    for _ in range(3):
        backward(a)
        trainer.step(1, ignore_stale_grad=True)
    assert b.data().asscalar() == held, SOURCE
    counts = trainer.optimizer._counts
    assert (counts[0], counts[1]) == (4, 1), SOURCE
    backward(a)
    with pytest.raises(TigonError, match="the gradient of Parameter 'b' was not computed"):
        trainer.step(1)
    backward(a, b)
    trainer.step(1)
    assert b.data().asscalar() < held


def test_zeroing_a_gradient_does_not_compute_it():
    a, b, trainer = two(wd=0.5)
    for _ in range(2):
        for param in (a, b):
            param.zero_grad()
            param.zero_grad()
        backward(a)
        with pytest.raises(TigonError, match="the gradient of Parameter 'b' was not computed"):
            trainer.step(1)
        trainer.step(1, ignore_stale_grad=True)
        assert b.data().asscalar() == 1, SOURCE
        backward(b)
        b.zero_grad()  # it was computed, and is 0 now: the decay counts
        trainer.step(1, ignore_stale_grad=True)
        assert b.data().asscalar() == pytest.approx(0.95), SOURCE
        a.zero_grad()
        backward(a, b)
        trainer.step(1)
        b.set_data(nd.ones((1,)))


def test_parameters_are_frozen_and_freed():
    a, b, trainer = two()
    backward(a, b)
    trainer.step(1)
    b.grad_req = "null"
    backward(a)
    trainer.step(1)
    assert (a.data().asscalar(), b.data().asscalar()) == pytest.approx((0.8, 0.9)), SOURCE
    b.grad_req = "write"
    backward(a, b)
    trainer.step(1)
    assert (a.data().asscalar(), b.data().asscalar()) == pytest.approx((0.7, 0.8)), SOURCE


def test_a_parameter_that_was_frozen_at_first_is_trained_later():
    a, b, _ = two()
    b.grad_req = "null"
    trainer = gluon.Trainer([a, b], "sgd", {"learning_rate": 0.1})
    backward(a)
    trainer.step(1)
    b.grad_req = "write"
    backward(a, b)
    trainer.step(1)
    assert (a.data().asscalar(), b.data().asscalar()) == pytest.approx((0.8, 0.9)), SOURCE


def test_files_bring_back_the_settings(tmp_path):
    path = str(tmp_path / "states")
    *_, trainer = trained = two(momentum=0.9, wd=0.25)
    backward(*trained[:2])
    trainer.step(1)
    trainer.save_states(path)
    *_, other = two(learning_rate=0.7)
    other.load_states(path)
    assert other.learning_rate == 0.1, SOURCE
    assert other.optimizer.wd == 0.25, SOURCE
    assert other.optimizer.constants["momentum"] == 0.9, SOURCE


def test_states_of_another_optimizer_are_refused(tmp_path):
    path = str(tmp_path / "states")
    a, b, trainer = two(momentum=0.9)
    backward(a, b)
    trainer.step(1)
    trainer.save_states(path)
    other = gluon.Trainer([a, b], "nag", {"momentum": 0.5})
    with pytest.raises(TigonError) as caught:
        other.load_states(path)
    assert str(caught.value).replace(str(tmp_path), "") == (
        "load_states: /states was saved by the optimizer sgd; this one is nag"
    )
    assert other.optimizer.constants["momentum"] == 0.5


# --------------------------------------------------------------------- gradients, keywords

WITHOUT_SLOPE = {
    "round": lambda F, x: F.round(x),
    "greater": lambda F, x: x > 0,
    "argmax": lambda F, x: F.argmax(x, axis=0),
    "one_hot": lambda F, x: F.one_hot(x, 3),
    "cast": lambda F, x: F.cast(x, dtype="int32"),
    "ones_like": lambda F, x: 0.1 * F.ones_like(x),
    "zeros_like": lambda F, x: F.zeros_like(x),
    "shape_array": lambda F, x: F.shape_array(x),
    "size_array": lambda F, x: F.size_array(x),
}


class Used(nn.HybridBlock):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.sigma = self.params.get("sigma", shape=(2,), init="ones")

    def hybrid_forward(self, F, x, sigma):
        return self.function(F, sigma * x)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", WITHOUT_SLOPE)
def test_gradients_of_zero_are_written_and_fresh(name, hybridize):
    net = Used(WITHOUT_SLOPE[name])
    net.initialize()
    net.hybridize(hybridize)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 1.0})
    for _ in range(2):
        net.sigma.grad()[:] = 7
        with autograd.record():
            y = net(nd.ones((2,)))
        y.backward()
        assert net.sigma.grad().asnumpy().tolist() == [0, 0], SOURCE
        trainer.step(1)
    assert net.sigma.data().asnumpy().tolist() == [1, 1]


def test_operators_without_attributes_drop_keywords():
    x, y = nd.array([1, 2]), nd.array([3, 4])
    with pytest.warns(
        UserWarning, match=r"broadcast_mul: .*'axis' changes nothing.*test_mxnet_rul"
    ):
        assert nd.broadcast_mul(x, y, axis=-1).asnumpy().tolist() == [3, 8], SOURCE
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        assert nd.broadcast_mul(x, y, axis=-1).asnumpy().tolist() == [3, 8]
    with pytest.warns(UserWarning, match="zeros_like"):
        made = mx.sym.zeros_like(mx.sym.var("x"), dtype="float32")
    assert made.bind(mx.cpu(), {"x": x}).forward()[0].asnumpy().tolist() == [0, 0], SOURCE
    with pytest.raises(TigonError, match="softmax: has no attribute 'axes'"):
        nd.softmax(x, axes=0)
