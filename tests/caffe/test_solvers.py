"""Solvers: Caffe's formulas step by step in numpy, its rates, its rules of training and testing,
and the real files, where they lie beside the project."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.caffe.models import blob, caffemodel, refusals
from tigon import nd
from tigon.contrib import caffe
from tigon.contrib.caffe.feed import Transform
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers import RECORDS, REFUSED
from tigon.readers.text import read_text

NET = """
layer { name: "data" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { batch_size: 4 } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  param { lr_mult: 1 decay_mult: 2 } param { lr_mult: 3 decay_mult: 0.5 }
  inner_product_param { num_output: 2 weight_filler { type: "constant" value: 0.5 }
                        bias_filler { type: "constant" value: -0.25 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
layer { name: "mean" type: "Reduction" bottom: "ip" top: "mean" include { phase: TEST }
  reduction_param { operation: MEAN } }
"""
DRAW = np.random.default_rng(3)
X, Y = DRAW.normal(size=(10, 3)), DRAW.normal(size=(10, 2))
DATA = {"x": X, "y": Y}


def solver_of(settings: str, folder: Path, net: str = NET) -> caffe.Solver:
    (folder / "net.prototxt").write_text(net)
    path = folder / "solver.prototxt"
    path.write_text(f'net: "net.prototxt" base_lr: 0.1 max_iter: 4 {settings}')
    return caffe.load_solver(path)


def step(kind: str, p: dict[str, float], g: np.ndarray, h: list[np.ndarray], rate: float, t: int):
    """What is subtracted from a weight; `h` is what is kept, changed in place."""
    if kind == "SGD":
        h[0][:] = p["momentum"] * h[0] + rate * g
        return h[0]
    if kind == "Nesterov":
        old = h[0].copy()
        h[0][:] = p["momentum"] * h[0] + rate * g
        return (1 + p["momentum"]) * h[0] - p["momentum"] * old
    if kind == "AdaGrad":
        h[0][:] += g**2
        return rate * g / (np.sqrt(h[0]) + p["delta"])
    if kind == "RMSProp":
        h[0][:] = p["rms_decay"] * h[0] + (1 - p["rms_decay"]) * g**2
        return rate * g / (np.sqrt(h[0]) + p["delta"])
    if kind == "AdaDelta":
        h[0][:] = p["momentum"] * h[0] + (1 - p["momentum"]) * g**2
        value = g * np.sqrt((p["delta"] + h[1]) / (p["delta"] + h[0]))
        h[1][:] = p["momentum"] * h[1] + (1 - p["momentum"]) * value**2
        return rate * value
    h[0][:] = p["momentum"] * h[0] + (1 - p["momentum"]) * g
    h[1][:] = p["momentum2"] * h[1] + (1 - p["momentum2"]) * g**2
    correction = math.sqrt(1 - p["momentum2"] ** t) / (1 - p["momentum"] ** t)
    return rate * correction * h[0] / (np.sqrt(h[1]) + p["delta"])


def expected(kind: str, p: dict[str, Any], rates: list[float], size: int = 1) -> list[np.ndarray]:
    """Weight and bias after training on `DATA`, four samples a batch, read round and round."""
    arrays = [np.full((2, 3), 0.5), np.full(2, -0.25)]
    kept = [[np.zeros_like(a), np.zeros_like(a)] for a in arrays]
    at = 0
    for t, rate in enumerate(rates, 1):
        grads = [np.zeros_like(a) for a in arrays]
        for _ in range(size):
            rows = [(at + i) % len(X) for i in range(4)]
            at += 4
            error = (X[rows] @ arrays[0].T + arrays[1] - Y[rows]) / 4
            grads[0] += error.T @ X[rows]
            grads[1] += error.sum(axis=0)
        norm = math.sqrt(sum((g**2).sum() for g in grads))
        limit = p.get("clip_gradients", -1)
        scale = limit / norm if 0 <= limit < norm else 1.0
        for i, (lr_mult, decay_mult) in enumerate([(1, 2), (3, 0.5)]):
            decay = p.get("weight_decay", 0) * decay_mult
            own = arrays[i] if p.get("regularization_type") != '"L1"' else np.sign(arrays[i])
            g = grads[i] * scale / size + decay * own
            arrays[i] -= step(kind, p, g, kept[i], rate * lr_mult, t)
    return arrays


SOLVERS = [
    ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.0, "weight_decay": 0.1, "regularization_type": '"L1"'}),
    ("SGD", {"momentum": 0.5, "clip_gradients": 0.3, "weight_decay": 0.05, "iter_size": 3}),
    ("Nesterov", {"momentum": 0.8, "weight_decay": 0.01}),
    ("AdaGrad", {"delta": 1e-3, "weight_decay": 0.01}),
    ("RMSProp", {"delta": 1e-2, "rms_decay": 0.7}),
    ("AdaDelta", {"delta": 1e-2, "momentum": 0.6, "weight_decay": 0.02}),
    ("Adam", {"delta": 1e-3, "momentum": 0.7, "momentum2": 0.9, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "settings"), SOLVERS)
def test_solvers_move_weights_as_caffe_does(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    said = " ".join(f"{name}: {value}" for name, value in settings.items())
    solver = solver_of(f'type: "{kind}" lr_policy: "exp" gamma: 0.9 {said}', tmp_path)
    history = solver.fit(DATA)
    rates = [0.1 * 0.9**i for i in range(4)]
    np.testing.assert_allclose(history.rates, rates)
    wanted = expected(kind, settings, rates, settings.get("iter_size", 1))
    found = [solver.net.params[f"ip_{name}"].data().asnumpy() for name in ("weight", "bias")]
    for own, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=2e-5, atol=1e-6)


POLICIES = {
    'lr_policy: "fixed"': lambda i: 1,
    "": lambda i: 1,
    'lr_policy: "step" gamma: 0.5 stepsize: 3': lambda i: 0.5 ** (i // 3),
    'lr_policy: "exp" gamma: 0.9': lambda i: 0.9**i,
    'lr_policy: "inv" gamma: 0.2 power: 0.75': lambda i: (1 + 0.2 * i) ** -0.75,
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 5 stepvalue: 5': lambda i: (
        0.5 ** ((i >= 2) + 2 * (i >= 5))
    ),
    'lr_policy: "poly" power: 2': lambda i: (1 - i / 4) ** 2,
    'lr_policy: "sigmoid" gamma: -0.5 stepsize: 4': lambda i: 1 / (1 + math.exp(0.5 * (i - 4))),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_policies(policy: str, tmp_path: Path) -> None:
    solver = solver_of(policy, tmp_path)
    rate = solver.rate
    for i in range(8):
        assert rate.at(i) == pytest.approx(0.1 * POLICIES[policy](i), rel=1e-12)
        assert rate(i + 1) == rate.at(i)
    assert rate(0) == rate.at(0)


def test_rates_out_of_range_are_what_c_gives(tmp_path: Path) -> None:
    assert solver_of('lr_policy: "exp" gamma: 10', tmp_path).rate.at(10**6) == math.inf
    assert solver_of('lr_policy: "sigmoid" gamma: 1', tmp_path).rate.at(0) == 0.05
    assert math.isnan(solver_of('lr_policy: "poly" power: 0.5', tmp_path).rate.at(5))


def test_a_schedule_that_ends_is_not_gone_beyond(tmp_path: Path) -> None:
    solver = solver_of('lr_policy: "poly" power: 0.5', tmp_path)
    with pytest.raises(mx.TigonError) as raised:
        solver.fit(DATA, max_iter=5)
    wanted = "Solver.fit: max_iter: lr_policy 'poly' ends at 4; given 5"
    assert str(raised.value) == wanted
    with pytest.raises(mx.TigonError, match="max_iter: expected a number of iterations; given -1"):
        solver.fit(DATA, max_iter=-1)
    assert len(solver.fit(DATA, max_iter=np.int64(4)).losses) == 4


def test_snapshots_want_a_folder_before_training_begins(tmp_path: Path) -> None:
    solver = solver_of("snapshot: 100", tmp_path)
    with pytest.raises(mx.TigonError) as error:
        solver.fit(DATA, snapshots=tmp_path / "nowhere")
    assert str(error.value) == (
        f"Solver.fit: snapshots: expected a folder; given {tmp_path / 'nowhere'!r}, which is none"
    )
    assert solver.net is None


def test_training_is_tested_displayed_kept_and_continued(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = (
        "test_iter: 3 test_interval: 2 display: 2 average_loss: 2 snapshot: 3 random_seed: 7 "
    )
    solver = solver_of(settings + 'test_compute_loss: true snapshot_prefix: "some/where"', tmp_path)
    folder = tmp_path / "kept"
    folder.mkdir()
    with caplog.at_level(logging.INFO, "tigon.contrib.caffe.solver"):
        history = solver.fit(DATA, test_data=(X[:5], Y[:5]), snapshots=folder)
    assert [test.iteration for test in history.tests] == [0, 2, 4]
    first = history.tests[0].outputs
    assert list(first) == ["loss", "mean", "loss of the network"]
    rows = [i % 5 for i in range(12)]
    means = X[rows] @ np.full(3, 0.5) - 0.25
    assert first["mean"] == pytest.approx(means.mean(), rel=1e-5)
    losses = ((means[:, None] - Y[rows]) ** 2).sum(axis=1).mean() / 2
    assert first["loss"] == first["loss of the network"] == pytest.approx(losses, rel=1e-5)
    shown = [r.message for r in caplog.records if "lr" in r.message]
    mean = sum(history.losses[1:3]) / 2
    assert shown[1] == f"Iteration 2, loss = {mean:g}, lr = 0.1"
    assert sorted(p.name for p in folder.iterdir()) == [
        "where_iter_3.params",
        "where_iter_4.params",
    ]
    weight = solver.net.params["ip_weight"].data().asnumpy()
    assert (nd.load(str(folder / "where_iter_4.params"))["ip_weight"].asnumpy() == weight).all()
    assert solver.iteration == 4 and solver.fit(DATA).losses == []
    assert len(solver.fit(DATA, max_iter=6, ctx=mx.cpu()).losses) == 2 and solver.iteration == 6
    for late, wanted in [
        (
            {"weights": "other"},
            "weights: training has begun; load another solver to begin from",
        ),
        ({"ctx": mx.cpu(1)}, r"ctx: training has begun on cpu\(0\); given cpu\(1\)"),
    ]:
        with pytest.raises(mx.TigonError, match=wanted):
            solver.fit(DATA, max_iter=7, **late)
    whole = solver_of(settings, tmp_path)
    assert whole.fit(DATA, max_iter=6).losses[:4] == history.losses


def test_data_come_as_batches_too(tmp_path: Path) -> None:
    wanted = solver_of("", tmp_path).fit(DATA).losses
    rows = [[i % 10 for i in range(at, at + 4)] for at in (0, 4, 8, 12)]
    batches = [(nd.array(X[r]), nd.array(Y[r])) for r in rows]
    for given in (batches, [dict(zip("xy", b, strict=True)) for b in batches]):
        assert solver_of("", tmp_path).fit(iter(given)).losses == wanted
    iterator = mx.io.NDArrayIter(X[:8], Y[:8], batch_size=4)
    assert solver_of("", tmp_path).fit(iterator, max_iter=2).losses == wanted[:2]


LEARNED = """
layer { name: "d" type: "HDF5Data" top: "x" hdf5_data_param { batch_size: 2 } }
layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "x" top: "loss" }
"""


def test_what_is_learned_alone_and_a_single_sample(tmp_path: Path) -> None:
    solver = solver_of("", tmp_path, LEARNED)
    solver.fit(np.array([[3.0]]), max_iter=400)
    np.testing.assert_allclose(solver.net.params["p_weight"].data().asnumpy(), 3, rtol=1e-4)


FROZEN = """
layer { name: "d" type: "HDF5Data" top: "x" top: "y" hdf5_data_param { batch_size: 2 } }
layer { name: "still" type: "InnerProduct" bottom: "x" top: "s" param { lr_mult: 0 }
  param { lr_mult: 0 } inner_product_param { num_output: 2
  weight_filler { type: "constant" value: 1 } } }
layer { name: "moves" type: "InnerProduct" bottom: "s" top: "m" inner_product_param { num_output: 1
  weight_filler { type: "constant" value: 1 } } }
layer { name: "aside" type: "InnerProduct" bottom: "s" top: "seen" inner_product_param {
  num_output: 1 weight_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "m" bottom: "y" top: "loss" }
"""


@pytest.mark.parametrize("clip", [-1.0, 0.5])
def test_what_does_not_learn_stays_and_counts_for_nothing(clip: float, tmp_path: Path) -> None:
    """Neither what has no rate nor what no loss depends on moves, decays, or is part of the norm
    that gradients are brought down to."""
    text = f"weight_decay: 0.5 clip_gradients: {clip}"
    solver, x = solver_of(text, tmp_path, FROZEN), np.array([[1.0, 2], [3, 4]])
    solver.fit({"x": x, "y": np.zeros((2, 1))}, max_iter=1)
    held = {name: param.data().asnumpy() for name, param in solver.net.params.items()}
    for name in ("still_weight", "still_bias", "aside_weight", "aside_bias"):
        assert (held[name] == ("weight" in name)).all(), name
    hidden = x @ np.ones((2, 2))
    error = hidden.sum(1) / 2  # of each of two samples, divided by as many
    gradient = np.array([*(error @ hidden), error.sum()])
    norm = np.sqrt((gradient**2).sum())
    if clip > 0:
        gradient *= clip / norm
    moved = np.array([1, 1, 0]) - 0.1 * gradient - [0.05, 0.05, 0]
    found = np.concatenate([held["moves_weight"][0], held["moves_bias"]])
    np.testing.assert_allclose(found, moved, rtol=1e-5)


IMAGES = """
layer { name: "d" type: "Data" top: "x" top: "y" data_param { batch_size: 2 }
  transform_param { scale: 0.5 mirror: MIRROR crop_size: CROP MEAN } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" param { lr_mult: 0 }
  param { lr_mult: 1 } inner_product_param { num_output: 1
  weight_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" loss_weight: 1 }
layer { name: "ip2" type: "Power" bottom: "ip" top: "seen" include { phase: TEST } }
"""


def test_transforms_are_applied_to_raw_data(tmp_path: Path) -> None:
    images, mean = (
        DRAW.integers(255, size=(2, 1, 4, 4)).astype(np.uint8),
        np.arange(16.0, dtype="f"),
    )
    (tmp_path / "mean").write_bytes(blob(mean.reshape(1, 1, 4, 4), True))
    net = (
        IMAGES.replace("MEAN", 'mean_file: "mean"').replace("CROP", "2").replace("MIRROR", "false")
    )
    solver = solver_of("test_iter: 1 test_interval: 1", tmp_path, net)
    data = (images, np.zeros((2, 1)))
    seen = solver.fit(data, test_data=data, raw=True, max_iter=1).tests[0].outputs["seen"]
    middle = ((images[:, 0] - mean.reshape(4, 4)) * 0.5)[:, 1:3, 1:3]
    assert seen == pytest.approx(middle.sum() / 2, rel=1e-5)
    plain = solver_of("test_iter: 1 test_interval: 1", tmp_path, net)
    seen = plain.fit(data, test_data=data, max_iter=1).tests[0].outputs["seen"]
    assert seen == pytest.approx(images.sum() / 2, rel=1e-5)
    # In training every place is cropped and half of the images are mirrored.
    net = IMAGES.replace("MEAN", "").replace("CROP", "1").replace("MIRROR", "true")
    ramp = np.arange(4.0).reshape(1, 1, 2, 2).repeat(2, axis=0)
    losses = (
        solver_of("", tmp_path, net).fit((ramp, np.zeros((2, 1))), raw=True, max_iter=30).losses
    )
    assert len(set(losses)) > 3


def test_what_transforms_make_of_images() -> None:
    text = "mean_value: 1 mean_value: 2 scale: 0.5 crop_size: 2 mirror: true"
    param = read_text(text, SCHEMA["TransformationParameter"], "net")
    transform, draw = Transform(param, "train", str), np.random.default_rng(0)
    images = np.arange(18.0).reshape(1, 2, 3, 3).repeat(400, axis=0)
    found = transform(images, draw)
    corners = found[:, :, 0].min(axis=2) * 2 + [1, 2]  # the left one, mirrored or not
    assert transform.shape((2, 3, 3)) == (2, 2, 2) and found.dtype == np.float32
    assert set(corners[:, 0]) == {0, 1, 3, 4} and (corners[:, 1] == corners[:, 0] + 9).all()
    turned = (found[:, 0, 0, 0] > found[:, 0, 0, 1]).mean()
    assert 0.4 < turned < 0.6
    assert (Transform(param, "test", str)(images, draw)[:, 0].min(axis=(1, 2)) == -0.5).all()
    for said, given, wanted in [
        ("crop_size: 4", images, "crop_size: expected at most 3; given 4"),
        ("crop_size: 1", images[0], "transform_param: expected images of 4 axes; given shape "
         "(2, 3, 3)"),
        ("mean_value: [1, 2, 3]", images, "mean: expected numbers for images of shape (2, 3, 3); "
         "given (3, 1, 1)"),
        ("mean_value: 1 mean_file: 'x'", images, "line 1, column 1: mean_value: expected one of "
         "mean_file and mean_value; given both"),
    ]:  # fmt: skip
        with pytest.raises(mx.TigonError) as raised:
            own = read_text(said, SCHEMA["TransformationParameter"], "net")
            Transform(own, "train", str)(given, draw)
        assert str(raised.value) == f"net: {wanted}"


def test_weights_are_taken_over(tmp_path: Path) -> None:
    model = tmp_path / "w.caffemodel"
    model.write_bytes(caffemodel({"ip": [np.zeros((2, 3), "f"), np.ones(2, "f")]}))
    losses = solver_of("", tmp_path).fit(DATA, weights=model, max_iter=1).losses
    assert losses == [pytest.approx(((1 - Y[:4]) ** 2).sum() / 8, rel=1e-5)]
    for own in (f'weights: "{model}"', 'weights: "w.caffemodel"', 'weights: "w.caffemodel, other"'):
        (tmp_path / "other").write_bytes(caffemodel({"elsewhere": [np.ones(2, "f")]}))
        assert solver_of(own, tmp_path).fit(DATA, max_iter=1).losses == losses
    with pytest.raises(mx.TigonError, match="weights: 'nowhere' is not there, nor beside the solv"):
        solver_of('weights: "nowhere"', tmp_path).fit(DATA)


REFUSALS = refusals("refused_solvers.txt")


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_solvers_that_do_not_fit(number: int, tmp_path: Path) -> None:
    text, wanted = REFUSALS[number]
    (tmp_path / "net.prototxt").write_text(NET)
    path = tmp_path / "solver.prototxt"
    path.write_text(text)
    with pytest.raises(mx.TigonError) as raised:
        caffe.load_solver(path)
    assert str(raised.value).replace(str(path), "solver") == wanted


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"x": X}, "expected arrays for the tops x, y; none is given for y"),
        ([X], "expected arrays for the tops x, y; given 1"),
        (5, "expected arrays for the tops x, y, or an iterable of batches; given int"),
        ((X, Y[:5]), "line 2, column 39: layer[0].top: layer 'data': expected arrays of as many "
         "samples each; given 'x' (10, 3), 'y' (5, 2)"),
        (iter(()), "expected batches; the iterable gives none"),
        ([(X,)], "expected batches of arrays for x, y; given 1"),
        ([{"x": X}], "expected arrays for the tops x, y; none is given for y"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit(data: Any, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(mx.TigonError) as raised:
        solver_of("", tmp_path).fit(data)
    assert str(raised.value) == f"{tmp_path}/net.prototxt: {wanted}"


@pytest.mark.parametrize("kind", [*RECORDS, *REFUSED, "Quux"])
@pytest.mark.parametrize("tops", ["", 'top: "x"', 'top: "x" top: "y" top: "z"'])
def test_layers_that_read_nothing_or_have_no_tops(kind: str, tops: str, tmp_path: Path) -> None:
    """Whatever the type, what is said is about the file."""
    first = f'layer {{ name: "data" type: "{kind}" {tops} }}\n'
    solver = solver_of("", tmp_path, first + NET.partition("\n")[2].partition("\n")[2])
    with pytest.raises(mx.TigonError, match=r"net.prototxt: (line \d+, column|expected arrays)"):
        solver.fit(DATA)


def test_networks_are_named_in_every_way(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    path = inner / "solver.prototxt"
    for said, tests in [
        ('train_net: "net.prototxt"', 0),
        (f"net_param {{ {NET} }} test_iter: 1", 1),
        (f'train_net_param {{ {NET} }} test_net: "net.prototxt" test_iter: 1', 1),
        ('net: "no/folder/net.prototxt" test_iter: 1 test_iter: 2 solver_type: ADAM', 2),
    ]:
        path.write_text(said)
        (inner / "net.prototxt").write_text(NET)
        solver = caffe.load_solver(path)
        assert len(solver._tests) == tests
        (inner / "net.prototxt").unlink()
    assert solver.type == "Adam"
    with pytest.raises(mx.TigonError, match="expected one network to train; given none"):
        path.write_text("base_lr: 1")
        caffe.load_solver(path)


REAL = Path(__file__).parents[3] / "shared" / "models" / "caffe"


def images(channels: int, size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    classes = 10
    labels = np.arange(40) % classes
    base = DRAW.uniform(size=(classes, channels, size, size))
    noise = DRAW.uniform(size=(40, channels, size, size))
    return ((base[labels] * 3 + noise) / 4 * scale).astype(np.float32), labels.astype(np.float32)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the project")
@pytest.mark.parametrize(
    ("solver", "net", "channels", "size", "scale"),
    [
        ("mnist_lenet_solver", "mnist_lenet_train_test", 1, 28, 1),
        ("cifar10_cifar10_full_solver", "cifar10_cifar10_full_train_test", 3, 32, 255),
        ("mnist_mnist_autoencoder_solver_adagrad", "mnist_mnist_autoencoder", 1, 28, 1),
        (None, "siamese_mnist_siamese_train_test", 2, 28, 1),
        (None, "hdf5_classification_nonlinear_train_val", 4, 1, 1),
    ],
)
def test_real_files_train(
    solver: str | None, net: str, channels: int, size: int, scale: float, tmp_path: Path
) -> None:
    text = (REAL / f"{net}.prototxt").read_text().replace("batch_size: 100", "batch_size: 20")
    (tmp_path / "net").write_text(text.replace("batch_size: 64", "batch_size: 20"))
    said = (REAL / f"{solver}.prototxt").read_text() if solver else "base_lr: 0.05 momentum: 0.9"
    (tmp_path / "solver").write_text(said + "\nrandom_seed: 1")
    found = caffe.load_solver(tmp_path / "solver", net=tmp_path / "net")
    data, labels = images(channels, size, scale)
    if net.startswith("siamese"):
        labels = labels % 2
    given = (data,) if "autoencoder" in net else (data, labels)
    losses = found.fit(given, max_iter=6).losses
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0], losses


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not beside the project")
def test_real_networks_to_deploy() -> None:
    net = caffe.load_net(REAL / "mnist_lenet.prototxt")
    net.initialize()
    assert net(nd.zeros((2, 1, 28, 28))).shape == (2, 10)
    net = caffe.load_net(REAL / "bvlc_alexnet_deploy.prototxt")
    shapes = net.symbol.infer_shape(data=(10, 3, 227, 227))
    assert shapes[1] == [(10, 1000)] and net.params["fc6_weight"].shape == (4096, 9216)
