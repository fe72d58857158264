"""Mixed precision: how losses are scaled, and steps that overflow skipped."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.contrib.amp_training import LOSS, name_of, network, samples, trained
from tigon import autograd, gluon, nd, sym
from tigon.contrib import amp
from tigon.gluon import nn
from tigon.runtime import counters


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_training_ends_near_float32(dtype: str, hybridized: bool) -> None:
    exact, _, _ = trained(None, hybridized)
    found, net, trainer = trained(dtype, hybridized)
    assert exact < 0.2
    assert abs(found - exact) < 0.1, "some steps are skipped until the scale fits"
    assert {p.dtype for p in net.collect_params().values()} == {"float32"}
    assert (trainer._amp_loss_scaler is not None) == (dtype == "float16")


def scaled_trainer(**options: Any) -> tuple[Any, Any]:
    net = nn.Dense(1, in_units=2, weight_initializer="ones")
    net.initialize()
    amp.init()
    options = {"learning_rate": 0.5, "momentum": 0.9, **options}
    trainer = gluon.Trainer(net.collect_params(), "sgd", options)
    amp.init_trainer(trainer)
    return net, trainer


def one_step(net: Any, trainer: Any, x: float = 1.0) -> None:
    with autograd.record():
        loss = net(nd.full((1, 2), x)).astype("float32").sum()
        with amp.scale_loss(loss, trainer) as scaled:
            scaled.backward()
    trainer.step(1)


def test_an_overflow_changes_nothing_but_the_scale(tmp_path: Path) -> None:
    net, trainer = scaled_trainer()
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=1024.0)
    one_step(net, trainer)
    weight = net.weight.data().asnumpy()
    assert weight.tolist() == [[0.5, 0.5]]
    states = {name: a.asnumpy() for name, a in trainer._updater.to_arrays().items()}
    scaler = trainer._amp_loss_scaler
    one_step(net, trainer, 1000.0)  # times 1024: beyond float16
    assert scaler.loss_scale == 512.0 and trainer._scale == 1.0
    np.testing.assert_array_equal(net.weight.data().asnumpy(), weight)
    after = {name: a.asnumpy() for name, a in trainer._updater.to_arrays().items()}
    assert states.keys() == after.keys() and trainer.optimizer.num_update == 1
    for name, before in states.items():
        np.testing.assert_array_equal(after[name], before)
    one_step(net, trainer)
    assert trainer.optimizer.num_update == 2
    np.testing.assert_allclose(net.weight.data().asnumpy(), [[0.5 - 0.5 - 0.45] * 2], rtol=1e-6)
    with pytest.raises(mx.TigonError, match="was not computed since the last step"):
        trainer.step(1)


def test_nan_is_an_overflow() -> None:
    net, trainer = scaled_trainer()
    one_step(net, trainer, float("nan"))
    assert net.weight.data().asnumpy().tolist() == [[1.0, 1.0]]
    assert trainer._amp_loss_scaler.loss_scale == 2.0**15


def test_the_scale_grows_after_its_window() -> None:
    net, trainer = scaled_trainer(learning_rate=0.0)
    scaler = trainer._amp_loss_scaler = amp.LossScaler(
        init_scale=4.0, scale_window=3, scale_factor=4.0, max_scale=32.0
    )
    scales = []
    for _ in range(9):
        one_step(net, trainer)
        scales.append(scaler.loss_scale)
    assert scales == [4, 4, 16, 16, 16, 32, 32, 32, 32]


def test_a_scale_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scaler = amp.LossScaler(init_scale=2.0, scale_window=1, max_scale=4.0)
    for overflow in (False, False, False, True, True):
        scaler.update(overflow)
    with pytest.warns(RuntimeWarning, match="although the loss is not scaled"):
        scaler.update(True)
    assert [record.getMessage() for record in caplog.records] == [
        "AMP: increasing loss scale to 4.000000",
        "AMP: decreasing loss scale to 2.000000",
        "AMP: decreasing loss scale to 1.000000",
    ]


def test_a_scale_of_one_does_not_shrink_and_is_told_once() -> None:
    counters._WARNED.clear()
    before = counters.stats()["falls_short"]
    scaler = amp.LossScaler(init_scale=1.0)
    with pytest.warns(RuntimeWarning, match="although the loss is not scaled"):
        scaler.update(overflow=True)
    scaler.update(overflow=True)  # a second warning would be an error
    assert scaler.loss_scale == 1.0
    assert counters.stats()["falls_short"] - before == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"init_scale": 0.0},
            "LossScaler: init_scale: expected a number from 1 to max_scale (1.67772e+07); given "
            "0.0",
        ),
        ({"scale_factor": 1}, "LossScaler: scale_factor: expected a number above 1; given 1"),
        (
            {"scale_window": 0},
            "LossScaler: scale_window: expected a whole number above 0; given 0",
        ),
    ],
)
def test_what_a_scaler_refuses(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(mx.TigonError) as told:
        amp.LossScaler(**arguments)
    assert str(told.value) == said


def test_has_overflow_of_parameters() -> None:
    net, _ = scaled_trainer()
    scaler = amp.loss_scaler.LossScaler()
    params = list(net.collect_params().values())
    assert scaler.has_overflow(params) is False
    net.weight.grad()[:] = np.inf
    assert scaler.has_overflow(params) is True and scaler.loss_scale == 2.0**15
    net.weight.grad_req = "null"
    assert scaler.has_overflow(params) is False
    assert scaler.has_overflow([]) is False


def test_unscale_then_clip() -> None:
    net, trainer = scaled_trainer(momentum=0.0)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=256.0)
    with autograd.record():
        loss = net(nd.full((1, 2), 3.0)).sum()
        with amp.scale_loss(loss, trainer) as scaled:
            scaled.backward()
    assert net.weight.grad().asnumpy().tolist() == [[768.0, 768.0]]
    amp.unscale(trainer)
    assert net.weight.grad().asnumpy().tolist() == [[3.0, 3.0]]
    amp.unscale(trainer)
    assert net.weight.grad().asnumpy().tolist() == [[3.0, 3.0]]
    gluon.utils.clip_global_norm([net.weight.grad()], 1.0)
    trainer.step(1)
    moved = 1 - 0.5 / 2**0.5
    np.testing.assert_allclose(net.weight.data().asnumpy(), [[moved, moved]], rtol=1e-5)


def test_a_gradient_that_was_divided_is_not_a_new_one() -> None:
    net, trainer = scaled_trainer(momentum=0.0)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=4.0)
    one_step(net, trainer)
    before = net.weight.data().asnumpy().tolist()
    for _ in range(2):
        with amp.scale_loss(nd.ones(1), trainer):
            pass  # no backward
        amp.unscale(trainer)
        with pytest.raises(mx.TigonError, match="was not computed since the last step"):
            trainer.step(1)
    assert net.weight.data().asnumpy().tolist() == before
    with autograd.record(), amp.scale_loss(net(nd.ones((1, 2))).sum(), trainer) as scaled:
        scaled.backward()
    amp.unscale(trainer)
    trainer.step(1)
    assert net.weight.data().asnumpy().tolist() != before


def test_a_loss_that_is_scaled_in_a_hybridized_block() -> None:
    """A graph would hold the scale of its trace for ever, and the trainer would not be told."""

    class Net(gluon.HybridBlock):
        def __init__(self, trainer: Any) -> None:
            super().__init__()
            self.layer, self.trainer = nn.Dense(1, in_units=2, use_bias=False), trainer

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            with amp.scale_loss(self.layer(x).astype("float32"), self.trainer) as scaled:
                return scaled

    _, trainer = scaled_trainer()
    net = Net(trainer)
    net.initialize(mx.init.One())
    net.hybridize()
    with pytest.warns(RuntimeWarning, match=r"it calls amp\.scale_loss at "):
        first = net(nd.ones((1, 2))).asscalar()
    trainer._amp_loss_scaler._loss_scale /= 4
    assert net(nd.ones((1, 2))).asscalar() == first / 4
    assert trainer._scale == 1 / trainer._amp_loss_scaler.loss_scale


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (3.0, "float"),
        (None, "NoneType"),
        ([nd.ones(1), 2], "int"),
        (np.ones(1), "ndarray"),
        (nd.ones(1, dtype="int32"), "int32"),
        (sym.var("x"), "Symbol"),
        ([[nd.ones(1)]], "list"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_no_loss(dtype: str, loss: Any, said: str) -> None:
    amp.init(dtype)
    net = nn.Dense(1, in_units=2)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    amp.init_trainer(trainer)
    with pytest.raises(mx.TigonError) as told, amp.scale_loss(loss, trainer):
        pass
    assert str(told.value) == (
        "amp.scale_loss: loss: expected an NDArray of floats, or a list of them; given "
        f"{said}; compute it from predictions of the network, by a loss of gluon.loss"
    )
    assert trainer._scale == 1.0


def test_an_estimator_scales_its_losses() -> None:
    """Gradients of 2**-27 are less than half of the smallest float16."""
    amp.init()
    net = nn.Dense(1, in_units=1, use_bias=False)
    net.initialize(mx.init.One())
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 2.0**20})
    amp.init_trainer(trainer)
    estimator = gluon.contrib.estimator.Estimator(
        net, gluon.loss.L1Loss(weight=2.0**-27), mx.metric.MAE(), trainer=trainer
    )
    batches = gluon.data.DataLoader(
        gluon.data.ArrayDataset(np.ones((4, 1), "f4"), np.zeros(4, "f4")), 2
    )
    estimator.fit(batches, epochs=1, event_handlers=[])
    np.testing.assert_allclose(net.weight.data().asscalar(), 1 - 2 * 2.0**-7, rtol=1e-5)
    assert trainer._amp_loss_scaler._unskipped == 2


def test_a_list_of_losses_and_accumulated_gradients() -> None:
    net, trainer = scaled_trainer(momentum=0.0, learning_rate=1.0)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=64.0)
    net.weight.grad_req = "add"
    for _ in range(2):
        with autograd.record():
            losses = [net(nd.ones((1, 2))).sum(), net(nd.full((1, 2), 2.0)).sum()]
            with amp.scale_loss(losses, trainer) as scaled:
                assert isinstance(scaled, list)
                autograd.backward(scaled)
    trainer.step(4)
    assert net.weight.data().asnumpy().tolist() == [[-0.5, -0.5]]


def test_scaling_outside_of_record_is_recorded() -> None:
    net, trainer = scaled_trainer(momentum=0.0)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=16.0)
    with autograd.record():
        loss = net(nd.ones((1, 2))).sum()
    with amp.scale_loss(loss, trainer) as scaled:
        scaled.backward()
    assert not autograd.is_recording()
    assert net.weight.grad().asnumpy().tolist() == [[16.0, 16.0]]
    trainer.step(1)
    assert net.weight.data().asnumpy().tolist() == [[0.5, 0.5]]


def test_a_loss_that_is_not_scaled_is_not_divided() -> None:
    net, trainer = scaled_trainer(momentum=0.0)
    one = nd.ones((1, 2))
    with pytest.raises(ValueError, match="in the program"):
        with autograd.record(), amp.scale_loss(net(one), trainer):
            raise ValueError("in the program")
    assert trainer._scale == 1.0
    one_step(net, trainer, 0.0)
    with autograd.record():
        loss = net(one).sum()
    loss.backward()
    trainer.step(1)
    assert net.weight.data().asnumpy().tolist() == [[0.5, 0.5]]


def test_what_scaling_refuses() -> None:
    net = nn.Dense(1, in_units=2)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    loss = nd.ones(1)
    with pytest.raises(mx.TigonError) as told:
        amp.init_trainer(trainer)
    assert str(told.value) == (
        "amp.init_trainer: mixed precision is not initialized; call amp.init() first"
    )
    amp.init()
    with pytest.raises(mx.TigonError) as told, amp.scale_loss(loss, trainer):
        pass
    assert str(told.value) == (
        "amp.scale_loss: the trainer scales no losses yet; call amp.init_trainer(trainer) first"
    )
    with pytest.raises(mx.TigonError) as told:
        amp.init_trainer(trainer.optimizer)
    assert str(told.value) == (
        "amp.init_trainer: expected a gluon.Trainer; given SGD; an optimizer alone has no "
        "gradients to look at: make gluon.Trainer(net.collect_params(), optimizer)"
    )
    compressing = gluon.Trainer(
        net.collect_params(), "sgd", compression_params={"type": "2bit", "threshold": 0.5}
    )
    with pytest.raises(mx.TigonError, match="make the Trainer without them"):
        amp.init_trainer(compressing)
    amp.init_trainer(trainer)
    scaler = trainer._amp_loss_scaler
    amp.init_trainer(trainer)
    assert trainer._amp_loss_scaler is scaler


def test_bfloat16_scales_nothing() -> None:
    net = nn.Dense(1, in_units=2, weight_initializer="ones")
    net.initialize()
    amp.init("bfloat16")
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    amp.init_trainer(trainer)
    with autograd.record():
        loss = net(nd.ones((1, 2))).sum()
        with amp.scale_loss(loss, trainer) as scaled:
            assert scaled is loss
            scaled.backward()
    amp.unscale(trainer)
    trainer.step(1)
    assert net.weight.data().asnumpy().tolist() == [[0.5, 0.5]]


def test_one_program_of_a_step() -> None:
    """TrainStep computes in mixed precision; it does not scale."""
    data, label = samples()
    net = network()
    amp.init("bfloat16")
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    amp.init_trainer(trainer)
    step = gluon.TrainStep(net, LOSS, trainer)
    first = step(data, label).mean().asscalar()
    for _ in range(20):
        last = step(data, label).mean().asscalar()
    assert last < first / 2
    assert name_of(net(data)) == "bfloat16"
    amp.amp._uninstall()
    amp.init("float16")
    other = gluon.Trainer(net.collect_params(), "sgd")
    amp.init_trainer(other)
    step = gluon.TrainStep(net, LOSS, other)
    with pytest.raises(mx.TigonError) as told:
        step(data, label)
    assert str(told.value) == (
        "net_step: its trainer scales losses (amp.init_trainer), and the program of a step does "
        "not; use amp.init('bfloat16'), which needs no scale, or autograd.record, amp.scale_loss "
        "and trainer.step"
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"kvstore": None}, {"kvstore": "local", "update_on_kvstore": True}],
    ids=["sums", "alone", "store"],
)
@pytest.mark.parametrize("contexts", [1, 2])
def test_contexts_and_stores(contexts: int, options: dict[str, Any]) -> None:
    where = [mx.cpu(i) for i in range(contexts)]
    if options.get("update_on_kvstore"):
        options = {**options, "kvstore": mx.kv.create("local")}
    net = nn.Dense(1, in_units=2, weight_initializer="ones", use_bias=False)
    net.initialize(ctx=where)
    amp.init()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.25}, **options)
    amp.init_trainer(trainer)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=1024.0)

    def step(*values: float) -> None:
        with autograd.record():
            losses = [
                net(nd.full((1, 2), value, ctx=ctx)).astype("float32").sum()
                for value, ctx in zip(values, where, strict=False)
            ]
            with amp.scale_loss(losses, trainer) as scaled:
                autograd.backward(scaled)
        trainer.step(contexts)

    step(1.0, 3.0)
    moved = 1 - 0.25 * (2.0 if contexts == 2 else 1.0)
    for ctx in where:
        assert net.weight.data(ctx).asnumpy().tolist() == [[moved, moved]]
    step(*([1.0] * (contexts - 1)), 1000.0)
    assert trainer._amp_loss_scaler.loss_scale == 512.0
    for ctx in where:
        assert net.weight.data(ctx).asnumpy().tolist() == [[moved, moved]]


def test_allreduce_then_update() -> None:
    net = nn.Dense(1, in_units=2, weight_initializer="ones", use_bias=False)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    amp.init()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.25})
    amp.init_trainer(trainer)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=2.0)
    with autograd.record():
        losses = [net(nd.ones((1, 2), ctx=mx.cpu(i))).sum() for i in range(2)]
        with amp.scale_loss(losses, trainer) as scaled:
            autograd.backward(scaled)
    trainer.allreduce_grads()
    amp.unscale(trainer)
    assert net.weight.grad(mx.cpu(1)).asnumpy().tolist() == [[2.0, 2.0]]
    trainer.update(2)
    assert net.weight.data(mx.cpu(1)).asnumpy().tolist() == [[0.75, 0.75]]


def test_multi_precision_beside_it() -> None:
    """A network that was cast itself keeps its weights, and their copies, in step."""
    net = nn.Dense(1, in_units=2, weight_initializer="ones")
    net.initialize()
    net.cast("float16")
    amp.init()
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": 0.5, "multi_precision": True}
    )
    amp.init_trainer(trainer)
    trainer._amp_loss_scaler = amp.LossScaler(init_scale=1024.0)
    for value, moved in ((1.0, 0.5), (1000.0, 0.5), (0.0001, 0.5 - 0.00005)):
        with autograd.record():
            loss = net(nd.full((1, 2), value, dtype="float16")).astype("float32").sum()
            with amp.scale_loss(loss, trainer) as scaled:
                scaled.backward()
        trainer.step(1)
        np.testing.assert_allclose(net.weight.data().asnumpy(), moved, rtol=1e-3)
    kept = next(a for a in trainer._updater.to_arrays().values() if a.shape == (1, 2))
    assert name_of(kept) == "float32"


def test_files_of_states_have_the_scale(tmp_path: Path) -> None:
    net, trainer = scaled_trainer()
    scaler = trainer._amp_loss_scaler = amp.LossScaler(init_scale=1024.0, scale_window=10)
    for _ in range(3):
        one_step(net, trainer, 0.5)
    one_step(net, trainer, 1000.0)
    one_step(net, trainer, 0.5)
    assert (scaler.loss_scale, scaler._unskipped) == (512.0, 1)
    trainer.save_states(tmp_path / "states")
    fresh = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5, "momentum": 0.9})
    fresh.load_states(tmp_path / "states")  # it scales nothing
    amp.init_trainer(fresh)
    fresh.load_states(tmp_path / "states")
    restored = fresh._amp_loss_scaler
    assert (restored.loss_scale, restored._unskipped) == (512.0, 1)
    gluon.Checkpoint(tmp_path / "kept", trainer=trainer).save(1)
    restored._loss_scale = 8.0
    gluon.Checkpoint(tmp_path / "kept", trainer=fresh).resume()
    assert fresh._amp_loss_scaler.loss_scale == 512.0
    plain = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5, "momentum": 0.9})
    plain.save_states(tmp_path / "plain")
    fresh.load_states(tmp_path / "plain")
    assert fresh._amp_loss_scaler.loss_scale == 512.0, "a file without leaves it"


@pytest.mark.parametrize("scale", [0.0, -2.0, float("nan"), float("inf")])
def test_a_file_whose_scale_is_none(scale: float, tmp_path: Path) -> None:
    net, trainer = scaled_trainer()
    one_step(net, trainer, 0.001)
    trainer.save_states(tmp_path / "states")
    arrays = nd.load(tmp_path / "states")
    nd.save(tmp_path / "bad", arrays | {"loss_scale": nd.array([scale], dtype="float64")})
    one_step(net, trainer, 0.002)
    states = trainer._states()
    with pytest.raises(mx.TigonError) as told:
        trainer.load_states(tmp_path / "bad")
    assert str(told.value) == (
        f"Trainer.load_states: {tmp_path / 'bad'}: loss_scale: expected a number from 1; given "
        f"{scale:g}; the file is damaged, take an earlier one"
    )
    for name, array in trainer._states().items():
        assert array.asnumpy().tobytes() == states[name].asnumpy().tobytes(), name


def test_copies_of_a_trainer_scale_too() -> None:
    _, trainer = scaled_trainer()
    other = copy.deepcopy(trainer)
    assert other._amp_loss_scaler is not trainer._amp_loss_scaler
    assert other._amp_loss_scaler.loss_scale == 2.0**16


def test_outputs_with_gradients_of_their_own_are_told() -> None:
    counters._WARNED.clear()
    amp.init()
    before = counters.stats()["falls_short"]
    with pytest.warns(RuntimeWarning, match=r"amp: the gradient of SoftmaxOutput is its own"):
        y = nd.SoftmaxOutput(nd.ones((2, 3), dtype="float16"), nd.ones(2))
    assert name_of(y) == "float32"
    sym.SoftmaxOutput(sym.var("x"))
    assert counters.stats()["falls_short"] - before == 2
    amp.amp._uninstall()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        amp.init("bfloat16")  # which scales nothing
        nd.SoftmaxOutput(nd.ones((2, 3)), nd.ones(2))
        amp.convert_symbol(sym.SoftmaxOutput(sym.var("x")))
