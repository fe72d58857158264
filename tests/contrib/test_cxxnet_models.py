"""cxxnet's models: what is read into the network of a configuration, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import tigon as mx
from tests.contrib.cxxnet_models import (
    CONFIGURATION,
    LAYERS,
    SETTINGS,
    array,
    content,
    drawn,
    layer,
    model,
)
from tigon.contrib import cxxnet
from tigon.contrib.cxxnet.models import Model


def loaded(path: Path, written: bytes, text: str = CONFIGURATION, by_name: bool = False) -> object:
    path.write_bytes(written)
    net = cxxnet.loads(text)
    net.load_model(path, by_name)
    return net


def computed(data: np.ndarray, own: dict[str, np.ndarray]) -> np.ndarray:
    """The network as cxxnet computes it: windows as columns, a product for each group."""
    batch = len(data)
    image = np.empty((batch, 4, 2, 2))
    for y in range(2):
        for x in range(2):
            window = data[:, :, y : y + 2, x : x + 3]
            for group in range(2):
                columns = window[:, group].reshape(batch, 6)
                image[:, 2 * group : 2 * group + 2, y, x] = columns @ own["conv"][group].T
    image += own["conv bias"].reshape(-1, 1, 1)
    along = {name: value.reshape(-1, 1, 1) for name, value in own.items() if value.shape == (4,)}
    bent = np.where(image > 0, image, image * along["slope"])
    normed = (bent - along["mean"]) / np.sqrt(along["variance"] + 1e-10)
    first = normed * along["gamma"] + along["beta"]
    rows = np.concatenate([first.reshape(batch, -1), image.reshape(batch, -1)], axis=1)
    scores = rows @ own["full"].T + own["shift"]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def test_a_model_means_what_it_meant(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(2, 2, 3, 4))
    net = loaded(tmp_path / "0012.model", content())
    np.testing.assert_allclose(net.predict(data).asnumpy(), computed(data, drawn()), rtol=2e-5)
    for prefix in ("", "a_"):  # what was read is what a block begins with
        block = net.block(prefix=prefix)
        assert prefix + "cv_wmat" in block.params
        found = block(mx.nd.array(data)).asnumpy()
        np.testing.assert_allclose(found, computed(data, drawn()), rtol=2e-5)


def test_schedules_go_on_where_the_model_was(tmp_path: Path) -> None:
    labels, data = np.array([0, 1]), np.ones((2, 2, 3, 4))
    steps = {}
    for updates, by_name in ((0, False), (250, False), (250, True)):
        text = CONFIGURATION.replace("fullc", "fullc:fc")
        written = content(
            updates, layers=[*LAYERS[:8], layer("fullc", [9], [10], "fc"), *LAYERS[9:]]
        )
        net = loaded(tmp_path / "x.model", written, text, by_name)
        before = net.module.get_params()[0]["shift_bias"].asnumpy()
        net.fit((data, labels), num_round=1)
        steps[updates, by_name] = net.module.get_params()[0]["shift_bias"].asnumpy() - before
    np.testing.assert_allclose(steps[250, False], steps[0, False] / 100, rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(steps[250, True], steps[0, False])
    with pytest.raises(mx.TigonError, match=r"^configuration: load_model: training has begun"):
        net.load_model(tmp_path / "x.model")


def test_layers_are_found_by_name_for_fine_tuning(tmp_path: Path) -> None:
    """Others may be anything, and keep what they had."""
    text = CONFIGURATION.replace("nhidden = 3", "nhidden = 5").replace("bias:shift", "bias:moved")
    written = content()
    net = loaded(tmp_path / "x.model", written, text, by_name=True)
    arguments, states = net.module.get_params()
    np.testing.assert_array_equal(
        arguments["cv_wmat"].asnumpy(), drawn()["conv"].reshape(4, 1, 2, 3)
    )
    np.testing.assert_array_equal(states["bn_moving_var"].asnumpy(), drawn()["variance"])
    assert arguments["moved_bias"].asnumpy().tolist() == [0] * 5
    with pytest.raises(
        mx.TigonError, match=r"expected shape \(5,\); given \(3,\); is it of another"
    ):
        loaded(tmp_path / "x.model", written, text.replace("moved", "shift"), by_name=True)


def test_statistics_that_do_not_move_are_not_in_the_file(tmp_path: Path) -> None:
    """The number of the kind did not change when it learnt to keep them."""
    text = CONFIGURATION.replace("batch_norm:", "batch_norm_no_ma:")
    changed = [*LAYERS[:4], layer("batch_norm_no_ma", [5], [6], "bn"), *LAYERS[5:]]
    for layers in (LAYERS, changed):
        net = loaded(tmp_path / "x.model", content(moves=False, layers=layers), text)
        gamma = net.module.get_params()[0]["bn_wmat"].asnumpy()
        np.testing.assert_array_equal(gamma, drawn()["gamma"])


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    net = loaded(tmp_path / "x.model", content())
    before = net.module.get_params()[0]["cv_wmat"].asnumpy()
    (tmp_path / "x.model").write_bytes(content()[:-1])
    with pytest.raises(mx.TigonError):
        net.load_model(tmp_path / "x.model")
    np.testing.assert_array_equal(net.module.get_params()[0]["cv_wmat"].asnumpy(), before)


def replaced(number: int, other: bytes) -> list[bytes]:
    return [*LAYERS[:number], other, *LAYERS[number + 1 :]]


def with_arrays(arrays: bytes) -> bytes:
    return model(["in", "a"], [layer("fullc", [0], [1], "f")], (1, 1, 2), arrays)


FULLC = "netconfig=start\nlayer[+1:a] = fullc:f\nnhidden=2\nnetconfig=end\ninput_shape=1,1,2"
WRONG = {
    "other layers": (
        CONFIGURATION, content(layers=LAYERS[:5]),
        "at byte 8: expected 11 layers, as in the configuration; given 5; by_name=True takes those "
        "that both call alike",
    ),
    "another name": (
        CONFIGURATION, content(layers=replaced(1, layer("conv", [1], [3], "cw"))),
        "at byte 301: layer 1: expected 'cv' from nodes (1,) to (3,), as in line 4 of the "
        "configuration; given 'cw' from (1,) to (3,)",
    ),
    "other nodes": (
        CONFIGURATION, content(layers=replaced(1, layer("conv", [2], [3], "cv"))),
        "at byte 301: layer 1: expected 'cv' from nodes (1,) to (3,), as in line 4 of the "
        "configuration; given 'cv' from (2,) to (3,)",
    ),
    "another sharing": (
        CONFIGURATION, content(layers=replaced(2, layer("share", [2], [4], "", 0))),
        "at byte 343: layer 2: expected 'conv2' from nodes (2,) to (4,), as in line 9 of the "
        "configuration; given '' from (2,) to (4,)",
    ),
    "another kind": (
        CONFIGURATION, content(layers=replaced(1, layer("fullc", [1], [3], "cv"))),
        "at byte 301: layer 1 'cv': expected conv, as in line 4 of the configuration; given fullc",
    ),
    "another input": (
        CONFIGURATION.replace("2,3,4", "2,4,3"), content(),
        "at byte 12: expected input_shape (2, 4, 3); given (2, 3, 4)",
    ),
    "another window": (
        CONFIGURATION.replace("kernel_height = 2", "kernel_height = 1"), content(),
        "at byte 1059: cv_wmat: expected shape (4, 1, 1, 3); given (2, 2, 6); is it of another "
        "network?",
    ),
    "statistics that are not there": (
        CONFIGURATION, content(moves=False),
        "at byte 1251: expected 201851904 bytes for moving_mean of layer 4 (batch_norm) of shape "
        "(50462976,); 1076 are left",
    ),
    "the end of its arrays": (
        FULLC, with_arrays(SETTINGS + array(np.ones((2, 2)))),
        "at byte 584: expected 4 bytes for the extents of bias of layer 0 (fullc); 0 are left",
    ),
    "more arrays": (
        FULLC, with_arrays(SETTINGS + array(np.ones((2, 2))) + array(np.ones(2)) + bytes(3)),
        "at byte 596: expected the end behind the arrays of 1 layers; 3 bytes are left",
    ),
    "an array that is only said": (
        FULLC, with_arrays(SETTINGS + b"\xff" * 8),
        "at byte 568: expected 73786976260478468100 bytes for wmat of layer 0 (fullc) of shape "
        "(4294967295, 4294967295); 0 are left",
    ),
    "nothing in an array": (
        FULLC, with_arrays(SETTINGS + array(np.ones((0, 2)))),
        "at byte 560: expected extents of 1 or more for wmat of layer 0 (fullc); given (0, 2)",
    ),
    "something else": (
        FULLC, b"MODEL" * 50,
        "at byte 4: expected a model of cxxnet; given 1146047820 nodes and 1330465861 layers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_models_that_are_none_or_of_another_network(which: str, tmp_path: Path) -> None:
    text, written, expected = WRONG[which]
    path = tmp_path / "x.model"
    with pytest.raises(mx.TigonError) as told:
        loaded(path, written, text)
    assert str(told.value) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("insanity_max_pooling", ""),
        ("caffe", "'caffe'"),
        ("maxout", "'maxout'"),
        ("a kind of later", "of number 99"),
    ],
)
def test_kinds_that_no_configuration_has(kind: str, told: str, tmp_path: Path) -> None:
    """By name the others are taken, where it is known what such a layer has written: pooling of any
    kind has nothing."""
    values = np.array([[1, 2], [3, 4]], np.float32)
    layers = [layer(kind, [0], [1]), layer("fullc", [1], [2], "f")]
    arrays = SETTINGS + array(values) + array(np.ones(2))
    written, path = model(["in", "a", "b"], layers, (1, 1, 2), arrays), tmp_path / "x.model"
    if not told:
        net = loaded(path, written, FULLC, by_name=True)
        np.testing.assert_array_equal(net.module.get_params()[0]["f_wmat"].asnumpy(), values)
        return
    with pytest.raises(mx.TigonError) as error:
        loaded(path, written, FULLC, by_name=True)
    assert str(error.value) == (
        f"{path}: at byte 184: layer 0: what a layer {told} wrote is not known"
    )


def test_names_and_numbers_that_no_model_has(tmp_path: Path) -> None:
    good = with_arrays(b"")
    size, updates = len(good) - 8, len(good) - 16
    wrong = {
        good.replace(
            b"in", b"\xff\xfe"
        ): "at byte 156: expected the name of a node in UTF-8; given b'\\xff\\xfe'",
        good[:4]
        + bytes(4)
        + good[8:]: "at byte 4: expected a model of cxxnet; given 0 nodes and 1 layers",
        good[:8] + b"\xff" * 4 + good[12:]: "at byte 4: expected a model of cxxnet; given 2 nodes "
        "and -1 layers",
        good[:24] + b"\2" + good[25:]: "at byte 4: expected a model of cxxnet; given 2 nodes and 1 "
        "layers",
        good[:12] + bytes(4) + good[16:]: "at byte 12: expected an input_shape of 1 or more each; "
        "given (0, 1, 2)",
        good[:28] + b"\x01" + good[29:]: "at byte 28: expected no inputs but the data; given 1 of "
        "them",
        good[:3]: "at byte 0: expected 4 bytes for the type of the network; 3 are left",
        good[:-1]: f"at byte {size}: expected 8 bytes for the size of arrays; 7 are left",
        good + b"\0": f"at byte {size}: expected arrays of 1 bytes; given 0",
        model(
            ["in"], [layer("relu", [0], [1])], (1, 1, 2), b""
        ): "at byte 194: expected nodes from 0 to 0; given (1,)",
        model(
            ["in"], [layer("concat", [0, 5], [0])], (1, 1, 2), b""
        ): "at byte 182: expected nodes from 0 to 0; given (0, 5)",
        good[:updates] + struct.pack("<q", 2**31) + good[-8:]: f"at byte {updates}: expected a "
        "number of updates below 2**31; given 2147483648",
        good[:updates] + struct.pack("<q", -1) + good[-8:]: f"at byte {updates}: expected a number "
        "of updates below 2**31; given -1",
    }
    for written, expected in wrong.items():
        path = tmp_path / "x.model"
        with pytest.raises(mx.TigonError) as told:
            loaded(path, written, FULLC)
        assert str(told.value) == f"{path}: {expected}"
    own = Model(content(), "x")
    assert own.arrays().keys() == own.arrays().keys() == {1, 3, 4, 8, 9}
    most = content(2**31 - 1)
    assert loaded(tmp_path / "x.model", most)._updates == 2**31 - 1
