"""Snapshots of Caffe in HDF5, and the state of its solvers in both forms."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.caffe.models import blob, caffemodel
from tests.readers.encode import content, varint
from tests.readers.record_hdf5 import HERE, HISTORY, LAYERS
from tigon.contrib import caffe

MODEL, STATE = HERE / "snapshot.caffemodel.h5", HERE / "snapshot.solverstate.h5"
NET = """
layer { name: "d" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { batch_size: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
        inner_product_param { num_output: 1 } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a2" }
layer { name: "twin" type: "InnerProduct" bottom: "x" top: "b" param { name: "w" }
        inner_product_param { num_output: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "a2" bottom: "b" top: "s" }
layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "y" top: "loss" }
"""
"""Three arrays: the weight that two layers share, and a bias for each."""
SHAPES = {"x": (2, 3), "y": (2, 1)}


def network(folder: Path, text: str = NET) -> Path:
    path = folder / "net.prototxt"
    path.write_text(text)
    return path


def test_arrays_of_a_snapshot(tmp_path: Path) -> None:
    net = caffe.load_net(network(tmp_path), MODEL, "train", shapes=SHAPES)
    for name, wanted in (("ip_weight", LAYERS["ip"][0]), ("ip_bias", LAYERS["ip"][1]),
                         ("twin_bias", LAYERS["twin"][1])):  # fmt: skip
        np.testing.assert_array_equal(net.params[name].data().asnumpy(), wanted)


WRONG = {
    "another shape": (
        NET, {**SHAPES, "x": (2, 4)},
        "data/ip/0: expected shape (1, 4); given (1, 3); is it of another network?",
    ),
    "more blobs": (
        NET.replace("num_output: 1", "num_output: 1 bias_term: false"), SHAPES,
        "data/ip/0: layer 'ip': expected 1 blobs (ip_weight); given 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_snapshots_of_another_network(which: str, tmp_path: Path) -> None:
    text, shapes, expected = WRONG[which]
    with pytest.raises(mx.TigonError) as told:
        caffe.load_net(network(tmp_path, text), MODEL, "train", shapes=shapes)
    where, _, message = str(told.value).partition(": at byte ")
    assert where == str(MODEL) and message.partition(": ")[2] == expected


def test_files_of_hdf5_that_are_no_snapshots(tmp_path: Path) -> None:
    for path, read, expected in (
        (STATE, "weights", "at byte 0: expected the arrays of layers under data; given none; is it "
         "a caffemodel?"),
        (MODEL, "resume", "at byte 0: expected the number of iterations; is it the state of a "
         "solver?"),
    ):  # fmt: skip
        with pytest.raises(mx.TigonError) as told:
            solver(tmp_path).fit(DATA, **{read: path})
        assert str(told.value) == f"{path}: {expected}"
    path = tmp_path / "odd.h5"
    path.write_bytes(MODEL.read_bytes().replace(b"1\0", b"x\0"))
    with pytest.raises(mx.TigonError, match=r"data/ip/x: expected data/LAYER/NUMBER, as Caffe ca"):
        caffe.load_net(network(tmp_path), path, "train", shapes=SHAPES)


# ------------------------------------------------------------------------------ going on

DATA = {
    "x": np.random.default_rng(0).normal(size=(4, 3)).astype("f4"),
    "y": np.ones((4, 1), "f4"),
}


def solver(folder: Path, type: str = "SGD", policy: str = 'lr_policy: "fixed"') -> Any:
    path = folder / "solver.prototxt"
    network(folder)
    rest = "" if type in ("AdaGrad", "RMSProp") else "momentum: 0.9 "
    rest += "rms_decay: 0.9" if type == "RMSProp" else ""
    path.write_text(
        f'net: "net.prototxt" type: "{type}" base_lr: 0.05 {policy} max_iter: 6 {rest} '
        "weight_decay: 0.01 delta: 0.01"
    )
    return caffe.load_solver(path)


def state(iteration: int, history: Any, named: str = "") -> bytes:
    """A `SolverState`."""
    parts = [varint(1 << 3) + varint(iteration), content(2, named.encode())]
    parts += [content(3, blob(np.asarray(array, "f4"))) for array in history]
    return b"".join(parts)


def snapshot_of(own: Any, folder: Path, name: str = "x") -> Path:
    """What Caffe would write of a solver of ours: caffemodel and state. Of a state for each array
    there follow those of the second kind."""
    values = {name: param.data().asnumpy() for name, param in own.net.params.items()}
    layers = {"ip": [values["ip_weight"], values["ip_bias"]],
              "twin": [values["ip_weight"], values["twin_bias"]]}  # fmt: skip
    (folder / f"{name}.caffemodel").write_bytes(caffemodel(layers))
    arrays = own._run.trainer._states()
    order = [own._run.trained.index(own.net.params[name]) for name in own.net.network.arrays]
    count = type(own.optimizer()).state_count
    history = [arrays[f"state:{k}:{part}"].asnumpy() for part in range(count) for k in order]
    path = folder / f"{name}.solverstate"
    path.write_bytes(state(own.iteration, history, f"nowhere/{name}.caffemodel"))
    return path


@pytest.mark.parametrize("type", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_a_training_goes_on(type: str, tmp_path: Path) -> None:
    """As if it had not been interrupted: weights, momenta, and rates."""
    policy = 'lr_policy: "step" stepsize: 3 gamma: 0.1'
    whole, first, second = (solver(tmp_path, type, policy) for _ in range(3))
    mx.random.seed(1)
    whole.fit(DATA)
    mx.random.seed(1)
    first.fit(DATA, max_iter=4)  # so many as are whole rounds of the data
    history = second.fit(DATA, resume=snapshot_of(first, tmp_path))
    assert second.iteration == 6 and len(history.losses) == 2
    assert history.rates == [whole.rate.at(4), whole.rate.at(5)]
    for name, param in whole.net.params.items():
        np.testing.assert_allclose(
            second.net.params[name].data().asnumpy(), param.data().asnumpy(), rtol=1e-5, atol=1e-7
        )


def test_a_state_in_hdf5(tmp_path: Path) -> None:
    shutil.copy(STATE, tmp_path)
    shutil.copy(MODEL, tmp_path)  # it is named with a folder that is not there
    own = solver(tmp_path)
    own.fit(DATA, max_iter=20, resume=tmp_path / STATE.name)
    assert own.iteration == 20
    np.testing.assert_array_equal(own.net.params["ip_weight"].data().asnumpy(), LAYERS["ip"][0])
    arrays = own._run.trainer._states()
    held = {own._run.trained[k].name: arrays[f"state:{k}:0"].asnumpy() for k in range(3)}
    for name, wanted in zip(("ip_weight", "ip_bias", "twin_bias"), HISTORY, strict=True):
        np.testing.assert_array_equal(held[name], wanted)


STATES = {
    "another solver": (
        state(3, HISTORY + HISTORY), "at byte 0: expected 3 arrays, 1 for each of ip_weight, "
        "ip_bias, twin_bias; given 6; is it of another network, or of another type of solver?"),
    "another network": (
        state(3, [HISTORY[0].T, *HISTORY[1:]]), "at byte 6: history[0].shape: expected shape (1, "
        "3); given (3, 1); is it of another network?"),
    "no iterations": (b"", "at byte 0: iter: expected the number of iterations; given none"),
    "fewer than none": (
        varint(1 << 3) + varint(-3), "at byte 0: iter: expected the number of iterations; given "
        "-3"),
    "a caffemodel elsewhere": (
        state(3, HISTORY, "not/there"), "at byte 0: the caffemodel 'not/there' is not there, nor "
        "beside this file; give its path, fit(weights=...)"),
}  # fmt: skip


@pytest.mark.parametrize("which", STATES)
def test_states_that_do_not_fit(which: str, tmp_path: Path) -> None:
    written, expected = STATES[which]
    path, own = tmp_path / "x.solverstate", solver(tmp_path)
    path.write_bytes(written)
    weights = None if which == "a caffemodel elsewhere" else MODEL
    with pytest.raises(mx.TigonError) as told:
        own.fit(DATA, resume=path, weights=weights)
    assert str(told.value) == f"{path}: {expected}"
    assert own.net is None  # nothing has begun
    own.fit(DATA, max_iter=1, weights=MODEL)
    with pytest.raises(mx.TigonError) as told:
        own.fit(DATA, resume=path)
    assert str(told.value).startswith("Solver.fit: resume: training has begun; load another")
