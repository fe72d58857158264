"""States of optimizers that MXNet 1.9.1 has written are read; no other pickle is, and nothing that
a pickle names is called."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, optimizer
from tigon.export import pickled_states

RECORDED = json.loads((Path(__file__).parent / "states_of_mxnet.json").read_text())
ROWS = RECORDED["rows"]
IDS = ["-".join([row["optimizer"], *row["arguments"]]) for row in ROWS]
X = nd.array(RECORDED["data"])
OWN_RULE = {"nadam"}
"""MXNet's product of momenta goes on with every parameter; ours with every step."""


def trainer_of(row: dict[str, Any]) -> tuple[Any, Any]:
    net = gluon.nn.Dense(2, in_units=3)
    net.initialize()
    net.weight.set_data(nd.array(np.reshape(row["before"][0], (2, 3))))
    net.bias.set_data(nd.array(row["before"][1]))
    forms = {name: row["arguments"].get(name) for name in ("momentum", "centered")}
    given = {name: value for name, value in forms.items() if value is not None}
    return net, gluon.Trainer(net.collect_params(), row["optimizer"], given)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_training_goes_on_as_in_mxnet(row: dict[str, Any], tmp_path: Path) -> None:
    net, trainer = trainer_of(row)
    file = tmp_path / "net.states"
    file.write_bytes(base64.b64decode(row["states"]))
    trainer.load_states(file)
    assert trainer.learning_rate == row["arguments"].get("learning_rate", trainer.learning_rate)
    for _ in range(2):
        with autograd.record():
            loss = (net(X) ** 2).sum()
        loss.backward()
        trainer.step(2)
    tolerance = 2e-3 if row["optimizer"] in OWN_RULE else 2e-7
    for param, expected in zip((net.weight, net.bias), row["after"], strict=True):
        np.testing.assert_allclose(param.data().asnumpy().ravel(), expected, atol=tolerance)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickles of old Pythons: the same objects in other words."""
    array = type("NDArray", (), {"__init__": lambda self, *_: None, "__module__": "mxnet.ndarray"})
    array.__reduce__ = lambda self: (array, (None,), {"handle": bytearray(self.record)})
    made = array()
    made.record = mx.export.params.write([np.array([1.5, 2.5], np.float32)])[24:-8]
    modules = {"mxnet": type(mx)("mxnet"), "mxnet.ndarray": type(mx)("mxnet.ndarray")}
    modules["mxnet.ndarray"].NDArray = array
    for name, module in modules.items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    content = pickle.dumps({0: (made, None), "name": made}, protocol)
    old = pickled_states.read(content, "memory")
    assert old.states[0][1] is None and old.states["name"].tolist() == [1.5, 2.5]
    updater = optimizer.get_updater(optimizer.SGD(momentum=0.9))
    updater.set_states(content)
    assert updater.states["name"].asnumpy().tolist() == [1.5, 2.5]


def test_states_without_an_optimizer_keep_its_settings() -> None:
    updater = optimizer.get_updater(optimizer.Adam(learning_rate=0.25))
    weight = nd.ones(2)
    updater(0, nd.ones(2), weight)
    updater.set_states(pickle.dumps({0: None}))
    assert updater.states == {} and updater.optimizer.lr == 0.25
    assert updater.optimizer._index_update_count == {0: 1}


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


HOSTILE = {
    "a call": Calls(os.system, "touch called"),
    "eval": Calls(eval, "open('called', 'w')"),
    "a class": Calls(pickle.Unpickler, 1),
    "getattr": Calls(getattr, "text", "upper"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_else_is_called(what: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for states in ({0: HOSTILE[what]}, ({}, HOSTILE[what])):
        with pytest.raises(mx.TigonError, match=r"a pickle that asks for .*, which is not called"):
            optimizer.get_updater(optimizer.SGD()).set_states(pickle.dumps(states))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "states",
    [[], 3, {(1, 2): None}, {0: 3}, {0: "text"}, {0: [[[None]]]}, ({}, {}), ({}, 3)],
    ids=repr,
)
def test_other_pickles_are_refused(states: Any) -> None:
    with pytest.raises(mx.TigonError, match="memory: expected"):
        pickled_states.read(pickle.dumps(states), "memory")


def test_a_place_to_remember_is_no_wish_for_memory() -> None:
    content = b"\x80\x04}r\xff\xff\xff\x7f."
    with pytest.raises(mx.TigonError, match="place 2147483647 in a file of 9 bytes"):
        pickled_states.read(content, "memory")


@pytest.mark.parametrize("row", ROWS[1:4], ids=IDS[1:4])
def test_damaged_files_say_so(row: dict[str, Any]) -> None:
    content = base64.b64decode(row["states"])
    draw = random.Random(3)
    refused = 0
    for trial in range(300):
        damaged = bytearray(content)
        if trial % 2:
            del damaged[draw.randrange(len(damaged)) :]
        for _ in range(draw.randint(1, 3)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            pickled_states.read(bytes(damaged), "evil")
        except mx.TigonError as error:
            assert str(error).startswith("evil") and len(str(error)) < 1000
            refused += 1
    assert refused > 150


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    adam = next(row for row in ROWS if row["optimizer"] == "adam")
    file = tmp_path / "adam.states"
    file.write_bytes(base64.b64decode(adam["states"]))
    _, trainer = trainer_of({**adam, "optimizer": "sgd", "arguments": {}})
    with pytest.raises(mx.TigonError, match="was saved by the optimizer adam; this one is sgd"):
        trainer.load_states(file)
    assert trainer.learning_rate == 0.01
    wide = gluon.nn.Dense(2, in_units=5)
    wide.initialize()
    trainer = gluon.Trainer(wide.collect_params(), "adam")
    with pytest.raises(mx.TigonError, match=r"expects shape \(2, 5\); .* has \(2, 3\)"):
        trainer.load_states(file)
    assert trainer.learning_rate == 0.001 and trainer._updater.states == {}
