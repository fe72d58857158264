"""Exported steps of training go on as Python does, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.standalone.foreign import STATE, WEIGHT, Library
from tigon import gluon, nd
from tigon.gluon import nn

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd", {"learning_rate": 0.1}),
    "momentum and a schedule": (
        "sgd",
        {
            "momentum": 0.9,
            "lr_scheduler": mx.lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.2),
        },
    ),
    "adam": ("adam", {"learning_rate": 0.01, "wd": 0.001}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    mx.random.seed(5)
    net = nn.HybridSequential()
    net.add(nn.Dense(16, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    trainer = gluon.Trainer(net.collect_params(), *OPTIMIZERS[name])
    step = gluon.TrainStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    label = nd.array(np.random.default_rng(0).integers(0, 3, (6, 8)))
    data = nd.random.uniform(-1, 1, shape=(6, 8, 5))
    step(data[0], label[0])
    weights = "apart" if name == "adam" else "inside"
    step.export_native(tmp_path / "step", data[0], label[0], updates=4, weights=weights)

    library = Library(tmp_path / "step.so")
    mx.random.seed(9)
    path = str(tmp_path / "step.safetensors").encode() if weights == "apart" else None
    instance = library.instance(seed=9, weights_path=path)
    for number in range(4):
        wanted = step(data[number], label[number]).asnumpy()
        (found,) = instance_run(instance, data[number], label[number])
        np.testing.assert_array_equal(found, wanted)
    states = {name: number for number, (name, *_) in enumerate(library.describe(STATE))}
    params = net.collect_params()
    for name, param in params.items():
        np.testing.assert_array_equal(instance.state(states[name]), param.data().asnumpy())
    assert instance.state(states["updates"]) == 4
    instance.close()


def test_rates_that_nothing_reads_are_there(tmp_path: Path) -> None:
    """A step of weights that do not move: each run looks up its row all the same."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    net.collect_params().setattr("grad_req", "null")
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    data, label = nd.ones((4, 3)), nd.ones((4, 2))
    step.export_native(tmp_path / "step", data, label)
    library = Library(tmp_path / "step.so")
    assert "rates" in [name for name, *_ in library.describe(WEIGHT)]
    instance = library.instance()
    (found,) = instance_run(instance, data, label)
    np.testing.assert_array_equal(found, step(data, label).asnumpy())
    instance.close()


class _Named(gluon.HybridBlock):
    """Parameters that are called what a training library calls its own."""

    NAMES = ("rates", "_rates", "updates", "updates_", "rates.state0", "_batch_size")

    def __init__(self) -> None:
        super().__init__(prefix="")
        for number, name in enumerate(self.NAMES):
            setattr(self, f"p{number}", self.params.get(name, shape=(3,), init=mx.init.One()))

    def hybrid_forward(self, F: Any, x: Any, **own: Any) -> Any:
        for number in range(len(self.NAMES)):
            x = x * own[f"p{number}"]
        return x


def test_parameters_may_have_the_names_of_a_library_s_own(tmp_path: Path) -> None:
    net = _Named()
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9})
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    data, label = nd.array([[1, 2, 3]]), nd.array([[3, 2, 1]])
    step(data, label)
    step.export_native(tmp_path / "step", data, label)
    step.export_wasm(tmp_path / "page", data, label)
    library = Library(tmp_path / "step.so")
    instance = library.instance()
    for _ in range(3):
        (found,) = instance_run(instance, data, label)
        np.testing.assert_array_equal(found, step(data, label).asnumpy())
    states = [name for name, *_ in library.describe(STATE)]
    every = [*states, *(name for name, *_ in library.describe(WEIGHT))]
    assert len(set(every)) == len(every) == 2 * len(net.NAMES) + 2
    for name, param in net.collect_params().items():
        found = instance.state(states.index(name))
        np.testing.assert_array_equal(found, param.data().asnumpy())
    instance.close()


def instance_run(instance: Any, *arrays: Any) -> list[np.ndarray]:
    return instance(*(array.asnumpy() for array in arrays))


@pytest.mark.parametrize("name", ["batch_size", "updates"])
def test_counts_that_are_none_are_refused(name: str, tmp_path: Path) -> None:
    net = nn.Dense(2, in_units=3)
    net.initialize()
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), gluon.Trainer(net.collect_params(), "sgd"))
    for given in (0, 1.5, "3"):
        with pytest.raises(mx.TigonError) as caught:
            step.export_native(tmp_path / "s", nd.ones((4, 3)), nd.ones((4, 2)), **{name: given})
        assert str(caught.value) == (
            f"export_native: {name}: expected a number of 1 or more; given {given!r}"
        )
