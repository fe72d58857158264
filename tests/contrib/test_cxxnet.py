"""cxxnet's configurations: what is read, what layers and updaters compute, and that they train."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.contrib.cxxnet_hostile import HOSTILE, MNIST
from tests.readers.hostile import run
from tigon import nd
from tigon.contrib import cxxnet
from tigon.contrib.cxxnet.metrics import Metric
from tigon.contrib.cxxnet.text import Place, settings_of
from tigon.contrib.cxxnet.updaters import UPDATERS, TensorSettings

ROOT = Path(__file__).resolve().parents[2]
MODELS = [folder / "shared" / "models" / "cxxnet" for folder in ROOT.parents]


def network(layers: str, shape: str = "1,1,3", batch: int = 2, rest: str = "") -> Any:
    return cxxnet.loads(
        f"netconfig = start\n{layers}\nnetconfig = end\ninput_shape = {shape}\n"
        f"batch_size = {batch}\n{rest}\n"
    )


def bound(net: Any, data: np.ndarray, **params: np.ndarray) -> Any:
    """An executor over these parameters."""
    executor = net.symbol.simple_bind(data=data.shape)
    for name, value in params.items():
        held = executor.arg_dict.get(name, executor.aux_dict.get(name))
        held[:] = nd.array(value)
    executor.arg_dict["data"][:] = nd.array(data)
    return executor


def forward(net: Any, data: np.ndarray, train: bool = False, **params: np.ndarray) -> np.ndarray:
    return bound(net, data, **params).forward(is_train=train)[0].asnumpy()


# ------------------------------------------------------------------------------------ text


def test_the_text_of_a_configuration() -> None:
    text = (
        '\ufeffa=1 b = "two words" # a remark = 3\r\n\n'
        'layer[a->b,c]= relu:x\nd = \'over\ntwo lines\' e="a \\" mark"\n#end = 1'
    )
    found = settings_of(text.encode(), Place("f"))
    assert [tuple(setting) for setting in found] == [
        ("a", "1", 1), ("b", "two words", 1), ("layer[a->b,c]", "relu:x", 3),
        ("d", "over\ntwo lines", 4), ("e", 'a " mark', 5),
    ]  # fmt: skip


WRONG_TEXT = {
    "a": "f: line 1: expected NAME = VALUE on one line; given 'a'; put quotes around a value with "
    "spaces",
    "a = 1\nb c = 2": "f: line 2: expected NAME = VALUE on one line; given 'b c ='; put quotes "
    "around a value with spaces",
    "a =\n1": "f: line 1: expected NAME = VALUE on one line; given 'a = 1'; put quotes around a "
    "value with spaces",
    "= 1": "f: line 1: expected NAME = VALUE on one line; given '= 1'; put quotes around a value "
    "with spaces",
    'a = "b\nc"': 'f: line 1: expected the end of a text in quotes "',
    'a = b"c"': "f: line 1: expected a space before '\"c\"'",
}


@pytest.mark.parametrize("text", WRONG_TEXT)
def test_text_that_is_none(text: str) -> None:
    with pytest.raises(mx.TigonError) as told:
        settings_of(text, Place("f"))
    assert str(told.value) == WRONG_TEXT[text]
    with pytest.raises(mx.TigonError, match=r"^f: line 2: byte 6 is not UTF-8$"):
        settings_of(b"a = 1\n\xff", Place("f"))


# ------------------------------------------------------------------------------- structure

FORMS = {
    "numbers": "layer[0->1] = sigmoid\nlayer[1->2] = flatten\nlayer[2->2] = dropout\n"
    "layer[2->3] = fullc:f\nnhidden = 2",
    "names": "layer[in->a] = sigmoid\nlayer[a->b] = flatten\nlayer[b->b] = dropout\n"
    "layer[b->c] = fullc:f\nnhidden = 2",
    "steps": "layer[+1] = sigmoid\nlayer[+1:b] = flatten\nlayer[+0] = dropout\n"
    "layer[+1] = fullc:f\nnhidden = 2",
    "mixed": "layer[0->a] = sigmoid\nlayer[+1:b] = flatten\nlayer[b->b] = dropout\n"
    "layer[+1:c] = fullc:f\nnhidden = 2",
}


def test_all_ways_to_name_nodes_mean_the_same() -> None:
    data = np.arange(8.0).reshape(2, 1, 2, 2)
    weight = np.arange(8.0).reshape(2, 4) / 8
    expected = (1 / (1 + np.exp(-data.reshape(2, 4)))) @ weight.T + [1, 2]
    for layers in FORMS.values():
        net = network(layers, "1,2,2")
        assert net.parameters == ["f_wmat", "f_bias"]
        out = forward(net, data, f_wmat=weight, f_bias=np.array([1, 2]))
        np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_settings_of_the_whole_count_before_those_of_a_layer() -> None:
    """Wherever they stand; what is given to load counts last of them."""
    layers = "nhidden = 7\nlayer[+1:a] = fullc\nlayer[+1:b] = fullc\nnhidden = 5"
    net = network(layers, rest="nhidden = 6")
    shapes = net.symbol.infer_shape(data=(2, 3))[0]
    assert shapes[1:] == [(6, 3), (6,), (5, 6), (5,)]
    text = f"netconfig=start\n{layers}\nnetconfig=end\ninput_shape = 1,1,3"
    net = cxxnet.loads(text, nhidden=4, batch_size=9)
    assert net.symbol.infer_shape(data=(2, 3))[0][1] == (4, 3) and net.batch_size == 9


def test_layers_that_share() -> None:
    layers = (
        "layer[0->a,b] = split\nlayer[a->c] = fullc:f\nnhidden = 2\nwmat:lr = 3\n"
        "layer[b->d] = share[f]\nlayer[c,d->e] = concat"
    )
    net = network(layers)
    assert net.parameters == ["f_wmat", "f_bias"]
    data, weight = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3)
    out = forward(net, data, f_wmat=weight, f_bias=np.zeros(2))
    np.testing.assert_allclose(out, np.tile(data @ weight.T, 2))


def test_targets_and_nodes_of_metrics() -> None:
    layers = (
        "layer[0->h] = fullc:f\nnhidden = 2\nlayer[h->p,q] = split\nlayer[p->p] = softmax\n"
        "target = first\nlayer[q->q] = l2_loss\ntarget = rest"
    )
    rest = (
        "label_vec[0,1) = first\nlabel_vec[1,3) = rest\nmetric[first,p] = error\n"
        "metric[rest,q] = rmse\nmetric[rest] = rmse"
    )
    net = network(layers, rest=rest)
    assert len(net.symbol) == 2  # q, the last node, first
    executor = net.symbol.simple_bind(data=(2, 3), label=(2, 3))
    executor.copy_params_from({"f_wmat": nd.array(np.eye(2, 3)), "f_bias": nd.zeros(2)})
    label = np.array([[1, 5, 0], [0, 2, 2]])
    given = {"data": nd.array([[1, 2, 0], [3, 5, 0]]), "label": nd.array(label)}
    outputs = executor.forward(is_train=True, **given)
    executor.backward()
    metric = net.metric()
    metric.update([nd.array(label)], outputs)
    names, values = metric.get()
    assert names == ["error[first]", "rmse[rest]", "rmse[rest]"]
    assert values == [0.5, (16 + 4 + 1 + 9) / 2, 15.0]
    scores = np.array([[1, 2], [3, 5]])
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    hits = np.array([[0, 1], [1, 0]])
    expected = (chances - hits + scores - label[:, 1:]) / 2
    np.testing.assert_allclose(executor.grad_dict["f_bias"].asnumpy(), expected.sum(0), rtol=1e-5)


WRONG = {
    "layer[5->6] = relu": "line 2: node '5' is not known yet; expected the output of a layer above",
    "layer[0->1] = rel": "line 2: rel 'rel0': there is no such layer; known are fullc, conv,",
    "layer[0->1] = caffe": "line 2: caffe 'caffe0': it ran Caffe's code;",
    "layer[0->1] = share[x]": "line 2: share[x]: expected the name of a layer above it; there are "
    "none",
    "layer[0->1] = share": "line 2: share[]: expected the name of a layer above it; there are none",
    "layer[0->1] = relu:a\nlayer[1->2] = relu:a": "line 3: the name 'a' is that of a layer above;",
    "layer[0->1] = fullc:a\nnhidden=2\nlayer[1->2] = share[a]": "line 4: fullc 'fullc1': wmat: "
    "expected shape (2, 3), that of the layer it shares with; its input asks for (2, 2)",
    "layer[0->1] = fullc:a\nnhidden=3\nlayer[1->2] = share[a]\nnhidden = 3": "line 5: nhidden: a "
    "layer that shares has the settings of the one it shares with; set it there",
    "layer[0->1,2] = split\nlayer[+1] = relu": "line 3: layer[+1]: the layer before has several "
    "outputs; write layer[from->to]",
    "layer[0-1] = relu": "line 2: 'layer[0-1]': expected layer[0->1], layer[a,b->c], layer[+1],",
    "layer[->1] = relu": "line 2: 'layer[->1]': expected 1 to 1000 nodes",
    "layer[0->1] = fullc": "line 2: fullc 'fullc0': expected nhidden, the number of its outputs",
    "layer[0->1] = fullc\nnhidden = 2x": "line 3: nhidden: expected a whole number from 0 to "
    "2147483647; given '2x'",
    "layer[0->1] = fullc\nnhidden = 2\ninit_sigma = much": "line 4: init_sigma: expected a number "
    "from 0 to 3e+38; given 'much'",
    "layer[0->1] = fullc\nnhidden = 2\nrandom_type = x": "line 4: random_type: expected one of "
    "gaussian, uniform, xavier, kaiming; given 'x'",
    "layer[0->1] = dropout": "line 2: dropout 'dropout0': expected the same node on both sides,",
    "layer[0->1] = concat": "line 2: concat 'concat0': expected two inputs or more and one output; "
    "given 1 and 1",
    "layer[0->1,2] = relu": "line 2: relu 'relu0': expected one input and one output; given 1 "
    "and 2",
    "layer[0->1] = conv\nnchannel = 3\nngroup = 2": "line 2: conv 'conv0': expected nchannel, and "
    "channels that ngroup divides; given nchannel 3, ngroup 2 and an input of 1 channels",
    "layer[0->1] = conv\nnchannel = 2\nkernel_size = 2": "line 2: conv 'conv0': expected "
    "kernel_size, at most 1 for an input of 1,1,3 with pad 0; given 2",
    "layer[0->1] = lrn": "line 2: lrn 'lrn0': expected alpha; cxxnet has no default for it",
    "layer[0->0] = softmax\ntarget = x": "line 2: softmax 'softmax0': target 'x' is not known; "
    "there are label",
    "layer[0->1] = insanity\nlb = 0": "line 2: insanity 'insanity0': expected 0 < lb <= ub; given "
    "0.0 and 10.0",
    "layer[0->1] = fullc\nnhidden = 1\nlr:schedule = slow": "line 4: lr:schedule: expected one of "
    "constant, "
    "expdecay, polydecay, factor; given 'slow'",
    "layer[0->0] = softmax\nnetconfig=end\nmetric = speed": "line 4: metric: expected error, rmse, "
    "logloss or rec@n; given 'speed'",
    "layer[0->0] = softmax\nnetconfig=end\nmetric[label,x] = error": "line 4: node 'x' is not "
    "known; there are 'in', '0'",
    "layer[0->0] = softmax\nnetconfig=end\nupdater = x": "line 4: updater: expected one of sgd,",
    "netconfig=end\nlayer[0->1] = relu": "line 3: expected layers behind netconfig = start",
    "netconfig=end\ndata = train\niter = mnist": "line 3: the section has no end; expected iter =",
    "netconfig=end\ndata = train\niter = end": "line 3: data = train: expected iter = ...",
    "": "line 1: expected layers between netconfig = start and = end",
}


@pytest.mark.parametrize("layers", WRONG)
def test_configurations_that_cannot_be(layers: str) -> None:
    with pytest.raises(mx.TigonError) as told:
        network(layers)
    assert str(told.value).startswith("configuration: " + WRONG[layers]), str(told.value)


def test_input_shapes_that_are_none() -> None:
    for shape in ("3", "1,1,0", "1,x,3", "1,1,3,4"):
        with pytest.raises(mx.TigonError, match=r"^configuration: line 4: input_shape: expected "):
            network("layer[+1] = relu", shape)
    with pytest.raises(mx.TigonError, match="line 1: expected input_shape = channels,height,width"):
        cxxnet.loads("netconfig=start\nlayer[+1] = relu\nnetconfig=end")
    with pytest.raises(mx.TigonError, match="line 2: the network has no end; expected netconfig ="):
        cxxnet.loads("batch_size = 2\nnetconfig=start\nlayer[+1] = relu\ninput_shape = 1,1,3")


def test_errors_stay_short_whatever_a_layer_is_called() -> None:
    with pytest.raises(mx.TigonError) as told:
        network(f"layer[+1] = {'x' * 9000}:{'y' * 9000}")
    assert len(str(told.value)) < 600


def test_settings_that_nobody_knows_are_told() -> None:
    with pytest.warns(UserWarning, match=r"line 3: settings that cxxnet .*: nhiden \(line 3\)$"):
        network("layer[+1] = relu\nnhiden = 2")


# ------------------------------------------------------------------------------ the layers

IMAGE = np.arange(50.0).reshape(1, 2, 5, 5) - 20
ROW = np.array([[-4.0, 0.0, 2.0]])


def pooled(kernel: int, stride: int, count: int, reduce: Any, pad: int = 0) -> np.ndarray:
    """Windows that begin within the image, cut off at its end."""
    data = np.pad(IMAGE, [(0, 0)] * 2 + [(pad, pad)] * 2, constant_values=np.nan)
    out = np.empty((1, 2, count, count))
    for i in range(count):
        for j in range(count):
            rows = slice(i * stride, i * stride + kernel)
            columns = slice(j * stride, j * stride + kernel)
            out[:, :, i, j] = reduce(data[:, :, rows, columns])
    return out


def greatest(window: np.ndarray) -> np.ndarray:
    return np.nanmax(window, axis=(2, 3))


def total(window: np.ndarray) -> np.ndarray:
    return np.nansum(window, axis=(2, 3))


def spread(x: np.ndarray, axes: Any) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-10)


def normed(alpha: float, size: int) -> np.ndarray:
    squares = np.pad(IMAGE**2, [(0, 0), (size // 2,) * 2, (0, 0), (0, 0)])
    sums = sum(squares[:, i : i + 2] for i in range(size))
    return IMAGE * (2 + alpha / size * sums) ** -0.75


LAYERS: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    # What is set -> data, parameters, what comes out in prediction.
    "relu": (ROW, {}, np.array([[0, 0, 2]])),
    "tanh": (ROW, {}, np.tanh(ROW)),
    "softplus": (ROW, {}, np.log1p(np.exp(ROW))),
    "xelu": (ROW, {}, np.array([[-0.8, 0, 2]])),
    "xelu b=2": (ROW, {}, np.array([[-2.0, 0, 2]])),
    "insanity lb=4 ub=6": (ROW, {}, np.array([[-0.8, 0, 2]])),
    "prelu:p": (ROW, {"p_bias": [0.5, 1, 1]}, np.array([[-2, 0, 2]])),
    "prelu:p init_slope=3": (IMAGE, {"p_bias": [2, 3]}, np.where(IMAGE > 0, IMAGE, IMAGE * 2)),
    "flatten": (IMAGE, {}, IMAGE.reshape(1, 50)),
    "conv:c nchannel=2 kernel_size=2 stride=3 pad_x=1 ngroup=2": (
        IMAGE,
        {"c_wmat": np.ones((2, 1, 2, 2)), "c_bias": [0, 1]},
        np.array([[
            [[image[i : i + 2, j : j + width].sum() + bias for j, width in ((0, 1), (2, 2))]
             for i in (0, 3)]
            for image, bias in zip(IMAGE[0], (0, 1), strict=True)
        ]]),
    ),
    "conv:c nchannel=1 kernel_size=5 kernel_width=3 kernel_height=2 pad=1 pad_x=0 no_bias=1": (
        IMAGE,
        {"c_wmat": np.ones((1, 2, 2, 3))},
        np.array([[[
            [IMAGE[0, :, max(i - 1, 0) : i + 1, j : j + 3].sum() for j in range(3)]
            for i in range(6)
        ]]]),
    ),
    "fullc:f nhidden=2 no_bias=1": (ROW, {"f_wmat": np.ones((2, 3))}, np.array([[-2, -2]])),
    "max_pooling kernel_size=2 stride=2": (IMAGE, {}, pooled(2, 2, 3, greatest)),
    "max_pooling kernel_size=1 stride=3": (IMAGE, {}, pooled(1, 3, 2, greatest)),
    "max_pooling kernel_size=2 stride=4": (IMAGE, {}, pooled(2, 4, 2, greatest)),
    "max_pooling kernel_size=3 stride=2 pad=1": (IMAGE, {}, pooled(3, 2, 3, greatest, 1)),
    "relu_max_pooling kernel_size=3 stride=2": (
        IMAGE, {}, np.maximum(pooled(3, 2, 2, greatest), 0)),
    "sum_pooling kernel_size=2 stride=2": (IMAGE, {}, pooled(2, 2, 3, total)),
    "avg_pooling kernel_size=2 stride=2": (IMAGE, {}, pooled(2, 2, 3, total) / 4),
    "avg_pooling kernel_size=3 stride=2 pad=1": (IMAGE, {}, pooled(3, 2, 3, total, 1) / 9),
    "lrn local_size=3 alpha=0.5 beta=0.75 knorm=2": (IMAGE, {}, normed(0.5, 3)),
    "batch_norm:b": (
        ROW, {"b_wmat": [1, 2, 3], "b_bias": [0, 1, 0], "b_moving_mean": [1, 0, 0],
              "b_moving_var": [4, 1, 1]}, np.array([[-2.5, 1, 6]])),
    "batch_norm_no_ma:b": (
        IMAGE, {"b_wmat": [1, 2], "b_bias": [0, 1]},
        spread(IMAGE, (0, 2, 3)) * np.array([1, 2]).reshape(1, 2, 1, 1)
        + np.array([0, 1]).reshape(1, 2, 1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("told", LAYERS)
def test_what_a_layer_computes(told: str) -> None:
    kind, *settings = told.split(" ")
    data, params, expected = LAYERS[told]
    shape = ",".join(map(str, data.shape[1:])) if data.ndim == 4 else f"1,1,{data.shape[1]}"
    net = network("\n".join([f"layer[+1] = {kind}", *settings]), shape, 1)
    out = forward(net, data, **{name: np.array(value) for name, value in params.items()})
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=1e-5)
    assert net.predict(data).shape == expected.shape


@pytest.mark.parametrize(
    ("told", "data", "expected"),
    [
        ("bias\ninit_bias = 2", ROW, ROW + 2),
        ("dropout\nthreshold = 0.5", ROW, ROW),
        ("softmax", ROW, np.exp(ROW) / np.exp(ROW).sum()),
        ("multi_logistic", ROW, 1 / (1 + np.exp(-ROW))),
        ("l2_loss", ROW, ROW),
    ],
)
def test_layers_on_one_node(told: str, data: np.ndarray, expected: np.ndarray) -> None:
    net = network(f"layer[+0] = {told}", batch=1)
    mx.random.seed(0)
    np.testing.assert_allclose(net.predict(data).asnumpy(), expected, rtol=1e-5)


def test_dropout_drops_what_it_is_told() -> None:
    data = np.ones((2, 50))
    assert (forward(network("layer[+0] = dropout", "1,1,50"), data, train=True) == data).all()
    mx.random.seed(0)
    net = network("layer[+0] = dropout\nthreshold = 0.75", "1,1,50")
    out = forward(net, data, train=True)
    assert set(out.ravel()) == {0, 4} and 0.1 < (out == 4).mean() < 0.4


@pytest.mark.parametrize(("kind", "axis"), [("concat", 3), ("ch_concat", 1)])
def test_nodes_are_joined(kind: str, axis: int) -> None:
    net = network(f"layer[0->a,b,c] = split\nlayer[a,b,c->d] = {kind}", "2,5,5", 1)
    np.testing.assert_array_equal(forward(net, IMAGE), np.concatenate([IMAGE] * 3, axis))
    flat = network(f"layer[0->a,b] = split\nlayer[a,b->d] = {kind}", "1,1,3", 1)
    joined = ROW.reshape(1, 1, 1, 3)
    expected = np.concatenate([joined] * 2, axis)
    out = forward(flat, ROW)
    np.testing.assert_array_equal(out.reshape(expected.shape), expected)


def test_matrices_and_images_of_one_pixel_are_the_same() -> None:
    layers = (
        "layer[+1] = conv:c\nnchannel = 1\nkernel_size = 5\nlayer[+1] = fullc:f\nnhidden = 2\n"
        "layer[+1] = conv:d\nnchannel = 3\nkernel_width = 2\nkernel_height = 1"
    )
    net = network(layers, "2,5,5")
    assert network(layers.partition("layer[+1] = conv:d")[0], "2,5,5").predict(
        np.zeros((3, 2, 5, 5))
    ).shape == (3, 2)
    shapes = net.symbol.infer_shape(data=(3, 2, 5, 5))
    assert shapes[0][1:] == [(1, 2, 5, 5), (1,), (2, 1), (2,), (3, 1, 1, 2), (3,)]
    assert shapes[1] == [(3, 3, 1, 1)]


def test_a_network_is_initialized_without_data() -> None:
    layers = "layer[+1] = fullc:f\nnhidden = 2\nlayer[+0] = {}"
    for loss, label in (("softmax", (2,)), ("l2_loss", (2, 2))):
        net = network(layers.format(loss))
        assert net.init().label_shapes[0].shape == label
        assert net.predict(np.zeros((4, 3))).shape == (4, 2)


def test_batches_are_normed_in_training_and_statistics_follow() -> None:
    for shape, data, axes in (
        ("1,1,3", np.array([[1.0, 2, 5], [3, 0, 6]]), 0),
        ("1,2,2", np.arange(8.0).reshape(2, 1, 2, 2) ** 2, (0, 1, 2)),  # along the width
    ):
        keeps = 0.75 if shape == "1,1,3" else 0.9
        told = "\nbn_momentum = 0.75" if keeps == 0.75 else ""
        net = network(f"layer[+1] = batch_norm:b{told}", shape)
        width = int(shape[-1])
        executor = bound(net, data, b_wmat=np.ones(width), b_bias=np.zeros(width))
        assert executor.aux_dict["b_moving_var"].asnumpy().tolist() == [0] * width
        out = executor.forward(is_train=True)[0].asnumpy()
        np.testing.assert_allclose(out, spread(data, axes), rtol=1e-4, atol=1e-5)
        expected = data.var(axes) * (1 - keeps)
        np.testing.assert_allclose(executor.aux_dict["b_moving_var"].asnumpy(), expected, rtol=1e-5)


def test_insanity_calms_down() -> None:
    net = network("layer[+1] = insanity:i\nlb=5\nub=10\ncalm_start=1\ncalm_end=3", batch=1)
    executor = bound(net, np.full((1, 3), -60.0))
    middle = 5 / math.log(2)
    limits = []
    for _ in range(5):
        drawn = -60 / executor.forward(is_train=True)[0].asnumpy()
        moved = (10 - middle) * (np.clip(len(limits), 1, 3) - 1) / 2
        limits.append((5 + moved, 10 - moved))
        assert min(limits[-1]) - 1e-5 <= drawn.min() and drawn.max() <= max(limits[-1]) + 1e-5
    assert limits[1] == (5, 10) and math.isclose(limits[4][1], middle)
    assert executor.aux_dict["i_steps"].asnumpy().tolist() == [5]
    np.testing.assert_allclose(executor.forward()[0].asnumpy(), -8.0)


LOSSES = {
    "softmax": lambda y, t: np.exp(y) / np.exp(y).sum(1, keepdims=True) - np.eye(3)[[2, 0]],
    "multi_logistic": lambda y, t: 1 / (1 + np.exp(-y)) - t,
    "l2_loss": lambda y, t: y - t,
    "lp_loss": lambda y, t: 2 * (y - t),
    "lp_loss\np = 3": lambda y, t: 3 * (y - t) ** 2 * np.sign(y - t),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_of_losses_are_divided_by_the_batch(kind: str) -> None:
    layers = f"layer[+1] = fullc:f\nnhidden = 3\nlayer[+0] = {kind}\ngrad_scale = 3"
    net = network(layers, rest="update_period = 2")
    data = np.array([[1.0, 0, 2], [0, 1, 1]])
    label = np.array([2, 0]) if kind == "softmax" else np.array([[0.5, 1, 0], [1, -1, 0.75]])
    executor = net.symbol.simple_bind(data=(2, 3), label=label.shape)
    executor.copy_params_from({"f_wmat": nd.array(np.eye(3)), "f_bias": nd.zeros(3)})
    executor.forward(is_train=True, data=nd.array(data), label=nd.array(label))
    executor.backward()
    grads = LOSSES[kind](data, label) * 3 / (2 * 2)
    np.testing.assert_allclose(
        executor.grad_dict["f_wmat"].asnumpy(), grads.T @ data, rtol=1e-5, atol=1e-6
    )


def test_how_weights_begin() -> None:
    layers = (
        "layer[+1] = conv:a\nnchannel = 40\nkernel_size = 5\nngroup = 2\nrandom_type = xavier\n"
        "init_bias = 2\nlayer[+1] = conv:b\nnchannel = 50\nkernel_size = 3\nrandom_type = kaiming\n"
        "layer[+1] = flatten\nlayer[+1] = fullc:c\nnhidden = 90\nlayer[+1] = fullc:d\n"
        "nhidden = 60\nrandom_type = uniform\ninit_uniform = 0.3\nlayer[+1] = prelu:e\n"
        "init_slope = 0.125\nlayer[+1] = batch_norm:f\ninit_slope = 2\ninit_bias = 3"
    )
    net = network(layers, "4,9,9", rest="init_sigma = 0.05")
    mx.random.seed(0)
    net.init()
    values = {n: a.asnumpy() for own in net.module.get_params() for n, a in own.items()}
    a = math.sqrt(3 / (2 * 25 + 20))
    assert 0.98 * a < abs(values["a_wmat"]).max() <= a
    assert abs(values["b_wmat"].std() / math.sqrt(2 / (50 * 9)) - 1) < 0.02
    assert abs(values["c_wmat"].std() / 0.05 - 1) < 0.02
    assert 0.297 < abs(values["d_wmat"]).max() <= 0.3
    constants = {"a_bias": 2, "b_bias": 0, "e_bias": 0.125, "f_wmat": 2, "f_bias": 3,
                 "f_moving_mean": 0, "f_moving_var": 0}  # fmt: skip
    assert all((values[name] == value).all() for name, value in constants.items())


# -------------------------------------------------------------------------------- updaters


def tensor(tag: str, text: str) -> TensorSettings:
    settings = settings_of(text, Place("text"))
    return TensorSettings([tag], settings, Place("text"))


RATES = {
    # What is set -> rates of updates by number.
    "eta = 0.5": {0: 0.5, 1000: 0.5},
    "": {0: 0.01},
    "lr = 0.5\nwmat:lr = 0.25\nbias:lr = 2": {0: 0.25},
    "lr = 1\nlr:schedule = factor\nlr:factor = 0.5\nlr:step = 10": {9: 1, 10: 0.5, 29: 0.25},
    "lr = 1\neta:schedule = expdecay\nlr:gamma = 0.5\nlr:step = 10": {9: 1, 10: 0.5, 29: 0.25},
    "lr = 1\nlr:schedule = polydecay\nlr:gamma = 3\nlr:step = 10": {9: 1, 10: 0.5, 59: 0.25},
    "lr = 1\nlr:schedule = polydecay\nlr:gamma = 1\nlr:alpha = 1": {0: 1, 1: 0.5, 3: 0.25},
    "lr = 1\nlr:schedule = factor\nlr:minimum_lr = 0.3": {0: 1, 1: 0.3, 9: 0.3},
    "lr = 1\nlr:schedule = factor\nlr:step = 2\nlr:start_epoch = 3": {2: 1, 3: 0.1, 4: 0.01},
    "lr = 1e-9": {0: 1e-5},
    "lr = 1e-9\nlr:start_epoch = 2": {1: 1e-9, 2: 1e-5},
    "wmat:lr = 1\nwmat:lr:schedule = factor\nbias:lr:step = 7": {1: 0.1},
}


@pytest.mark.parametrize("text", RATES)
def test_learning_rates(text: str) -> None:
    own = tensor("wmat", text)
    for updates, rate in RATES[text].items():
        assert math.isclose(own.learning_rate(updates), rate, rel_tol=1e-6), updates


def test_momenta() -> None:
    assert tensor("wmat", "momentum = 0.5").momentum_at(3) == 0.5
    assert tensor("wmat", "momentum = 0.95").momentum_at(0) == 0.9  # the greatest there is
    assert tensor("wmat", "momentum = 0.95\nfinal_momentum = 0.99").momentum_at(0) == 0.95
    rising = tensor(
        "wmat", "momentum = 0\nmomentum_schedule = 1\nbase_momentum = 0.25\nfinal_momentum = 0.75\n"
        "saturation_epoch = 4"
    )  # fmt: skip
    assert [rising.momentum_at(n) for n in (0, 1, 2, 10**6)] == [0.25, 0.625, 0.75, 0.75]


@pytest.mark.parametrize("first", [0.1, -0.05, 0.0, -0.3, 0.9])
@pytest.mark.parametrize("final", [0.9, 0.2, -0.1])
@pytest.mark.parametrize("begin", [0.0, 0.5, 0.95])
def test_momenta_are_those_of_update_after_update(first: float, final: float, begin: float) -> None:
    text = f"momentum = {begin}\nmomentum_schedule = 1\nbase_momentum = {first}\n"
    own = tensor("wmat", f"{text}final_momentum = {final}\nsaturation_epoch = 30")
    rise, now = (final - first) / 30, begin
    for update in range(100):
        now = min(now + rise * update + first, final)
        assert math.isclose(own.momentum_at(update), now, rel_tol=1e-9, abs_tol=1e-9), update
    assert own.momentum_at(2**31 - 1) <= final  # as many as a model may say


def stepped(updater: str, text: str, weight: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    own = {"w": tensor("wmat", text)}
    optimizer = UPDATERS[updater](own, param_idx2name={0: "w"}, rescale_grad=0.125)
    held = nd.array(weight)
    state = optimizer.create_state(0, held)
    for grad in grads:
        optimizer.update(0, held, nd.array(grad), state)
    return held.asnumpy()


W, GRADS = np.array([1.0, -2.0]), [np.array([0.5, 4.0]), np.array([1.0, np.nan])]


def test_sgd_by_hand() -> None:
    text = "lr = 0.1\nwd = 0.5\nmomentum = 0.5\nclip_gradient = 2\nlr:schedule = factor"
    # m = -0.1 * (clip(g) + 0.5 w); then m = 0.5 m - 0.01 * (clip(g) + 0.5 w), nan is 0
    first = -0.1 * (np.array([0.5, 2.0]) + 0.5 * W)
    after = W + first
    second = 0.5 * first - 0.01 * (np.array([1.0, 0.0]) + 0.5 * after)
    np.testing.assert_allclose(stepped("sgd", text, W, GRADS), after + second, rtol=1e-6)
    out = stepped("sgd", "lr = 0.1\nmomentum = 0", W, GRADS)
    np.testing.assert_allclose(out, [1 - 0.15, np.nan], rtol=1e-6)


def test_nag_by_hand() -> None:
    text = "lr = 0.1\nwd = 0.5\nmomentum = 0.5"
    grads = [np.array([0.5, 4.0]), np.array([1.0, -1.0])]
    first = -0.1 * (grads[0] + 0.5 * W)
    after = W + 1.5 * first
    second = 0.5 * first - 0.1 * (grads[1] + 0.5 * after)
    expected = after + 1.5 * second - 0.5 * first
    np.testing.assert_allclose(stepped("nag", text, W, grads), expected, rtol=1e-6)


def test_adam_by_hand() -> None:
    grads = [np.array([0.5, 4.0]), np.array([1.0, -1.0])]
    weight, mean, spread_ = W.copy(), 0.0, 0.0
    for number, grad in enumerate(grads, 1):
        grad = grad + 0.25 * weight
        mean = 0.2 * grad + 0.8 * mean
        spread_ = 0.01 * grad**2 + 0.99 * spread_
        rate = 0.1 * math.sqrt(1 - 0.99**number) / (1 - 0.8**number)
        weight = weight - rate * mean / (np.sqrt(spread_) + 1e-8)
    text = "lr = 0.1\nwd = 0.25\nbeta1 = 0.2\nbeta2 = 0.01"
    np.testing.assert_allclose(stepped("adam", text, W, grads), weight, rtol=1e-5)


# --------------------------------------------------------------------------------- metrics

CHANCES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], np.float32)


@pytest.mark.parametrize(
    ("kind", "scores", "labels", "expected"),
    [
        ("error", CHANCES, [1, 2], 0.5),
        ("error", [[0.5], [-0.5]], [1, 1], 0.5),
        ("error", [[0.5, -1], [-0.5, 1]], [[1, 1], [0, 1]], 0.25),
        ("rmse", [[1, 2], [3, 5]], [[1, 1], [0, 5]], 5),
        ("logloss", CHANCES, [1, 2], -(math.log(0.6) + math.log(0.3)) / 2),
        ("logloss", [[0.25], [0.5]], [1, 0], -(math.log(0.25) + math.log(0.5)) / 2),
        ("logloss", [[0.25, 0.5]], [[1, 0]], -(math.log(0.25) + math.log(0.5)) / 2),
        ("logloss", [[0.0, 1.0]], [[1, 0]], 34.54),
        ("rec@1", CHANCES, [1, 2], 0.5),
        ("rec@2", CHANCES, [1, 2], 1.0),
        ("rec@2", CHANCES, [[1, 0], [0, 2]], 0.75),
    ],
)
def test_metrics_by_hand(kind: str, scores: Any, labels: Any, expected: float) -> None:
    metric = Metric(kind)
    metric.update([nd.array(labels)], [nd.array(scores)])
    for found in (metric.get(), metric.get_global()):
        assert found[0] == kind and math.isclose(found[1], expected, rel_tol=1e-3)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_no_class(label: int) -> None:
    metric = Metric("logloss")
    with pytest.raises(mx.TigonError, match=rf"logloss: expected labels from 0 to 2.*\[{label}\]$"):
        metric.update([nd.array([1, label])], [nd.array(CHANCES)])


# -------------------------------------------------------------------------------- training


def digits(folder: Path, count: int, seed: int) -> None:
    """Bright images of class 1 and dark ones of class 0, in the form of MNIST's files."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count).astype(np.uint8)
    images = (draw.integers(0, 100, (count, 4, 4)) + 120 * labels[:, None, None]).astype(np.uint8)
    head = struct.pack(">4i", 0x803, count, 4, 4)
    (folder / "images").write_bytes(gzip.compress(head + images.tobytes()))
    (folder / "labels").write_bytes(struct.pack(">2i", 0x801, count) + labels.tobytes())


@pytest.mark.parametrize("kind", ["flat", "images"])
def test_the_training_that_a_file_describes_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits(tmp_path, 60, 0)
    monkeypatch.chdir(tmp_path)
    if kind == "flat":
        text = MNIST.format(flat="", shape="1,1,16", layers="layer[+1:h] = relu")
    else:
        layers = (
            "layer[0->1] = conv:cv1\n kernel_size = 3\n pad = 1\n nchannel = 2\nlayer[1->2] = "
            "max_pooling\n kernel_size = 3\n stride = 2\nlayer[2->3] = flatten\nlayer[3->3] = "
            "dropout\n threshold = 0.1"
        )
        text = MNIST.format(flat="input_flat = 0", shape="1,4,4", layers=layers)
    (tmp_path / "net.conf").write_text(text)
    mx.random.seed(3)
    net = cxxnet.load(tmp_path / "net.conf")
    told: list[int] = []
    scores = net.fit(model_dir="models", round_end=lambda number, _: told.append(number))
    assert told == [1, 2, 3, 4, 5] and len(scores) == 5
    assert list(scores[0]) == ["train-error", "train-rec@1", "test-error", "test-rec@1"]
    assert scores[-1]["test-error"] == 0 and scores[-1]["test-rec@1"] == 1
    assert sorted(path.name for path in (tmp_path / "models").iterdir())[-1] == "0005.params"
    batches = net.iterator("test")
    again = cxxnet.load(tmp_path / "net.conf")
    again.load_parameters("models/0005.params")
    chances = again.predict(batches)
    assert chances.shape == (60, 2)
    block = net.block()
    data = nd.array(np.zeros((20, *net.input_shape)))
    assert (block(data).argmax(axis=1).asnumpy() == 0).all()
    assert (net.block(losses=True)(data, nd.zeros(20)) == block(data)).asnumpy().all()
    assert again.predict(data, "h" if kind == "flat" else "1").shape[0] == 20


def test_gradients_add_up_over_an_update_period() -> None:
    """Two batches of two are one batch of four."""
    draw = np.random.default_rng(0)
    data, label = draw.normal(size=(8, 3)), np.array([0, 1, 1, 0, 1, 0, 0, 1])
    found = []
    for batch, period in ((4, 1), (2, 2)):
        layers = "layer[+1] = fullc:f\nnhidden = 2\ninit_uniform=0.5\nlayer[+0] = softmax"
        net = network(layers, batch=batch, rest=f"update_period = {period}\nwd = 0.1\neta = 0.3")
        mx.random.seed(1)
        net.fit((data, label), num_round=2)
        found.append(net.module.get_params()[0]["f_wmat"].asnumpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_seed_gives_the_same_numbers() -> None:
    data, label = np.arange(12.0).reshape(4, 3) / 9, np.array([0, 1, 1, 0])
    found = []
    for _ in range(2):
        mx.random.seed(5)
        net = network(
            "layer[+1] = fullc:f\nnhidden = 8\nlayer[+1] = insanity\nlayer[+0] = dropout\n"
            "threshold = 0.5\nlayer[+1] = fullc\nnhidden = 2\nlayer[+0] = softmax"
        )
        net.fit((data, label), num_round=3)
        found.append(net.module.get_params()[0]["f_wmat"].asnumpy())
    assert (found[0] == found[1]).all()


def test_each_tensor_has_its_own_rate() -> None:
    rest = "wmat:lr = 0\nlr:minimum_lr = 0\nbias:lr = 1\nmomentum = 0"
    net = network("layer[+1] = fullc:f\nnhidden = 2\nlayer[+0] = softmax", rest=rest)
    net.init()
    before = {name: array.asnumpy() for name, array in net.module.get_params()[0].items()}
    net.fit((np.zeros((2, 3)), np.array([0, 0])), num_round=1)
    after = {name: array.asnumpy() for name, array in net.module.get_params()[0].items()}
    assert (before["f_wmat"] == after["f_wmat"]).all()
    np.testing.assert_allclose(after["f_bias"], [0.5, -0.5], rtol=1e-5)


def test_a_second_fit_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """With the momentum and the number of updates of the first, and without a word."""
    data, label = np.arange(12.0).reshape(4, 3) / 9, np.array([0, 1, 1, 0])
    rest = "lr:schedule = factor\nlr:step = 3\nlr:factor = 0.5\neta = 0.1"
    found = []
    for rounds in ((4,), (1, 3)):
        mx.random.seed(5)
        net = network("layer[+1] = fullc:f\nnhidden = 2\nlayer[+0] = softmax", rest=rest)
        for number in rounds:
            net.fit((data, label), num_round=number)
        found.append(net.module.get_params()[0]["f_wmat"].asnumpy())
    assert (found[0] == found[1]).all() and not caplog.records


def test_blocks_train_by_gluon() -> None:
    """By a loss of Gluon's, or by those of the configuration, which divide by the batch."""
    layers = "layer[+1] = fullc:f\nnhidden = 2\nlayer[+0] = softmax"
    data, label = nd.array(np.arange(6.0).reshape(2, 3) / 4), nd.array([0, 1])
    grads = []
    for losses in (True, False):
        mx.random.seed(2)
        net = network(layers)
        net.init()
        block = net.block(losses)
        with mx.autograd.record():
            if losses:
                loss = block(data, label)
            else:
                loss = -nd.log(nd.pick(block(data), label)).mean()
        loss.backward()
        grads.append(block.collect_params()["f_wmat"].grad().asnumpy())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_what_cannot_be_trained() -> None:
    net = network("layer[+1] = relu")
    with pytest.raises(mx.TigonError, match="fit: the network has no loss; add a layer such as"):
        net.fit((np.zeros((2, 3)), np.zeros(2)))
    net = network("layer[+0] = softmax")
    for given in (np.zeros((2, 3)), [1]):
        with pytest.raises(
            mx.TigonError, match=r"fit: expected an iterator, or \(data, label\) as"
        ):
            net.fit(given)
    with pytest.raises(mx.TigonError, match="there is no section 'data'; there are none"):
        net.iterator("data")


# ------------------------------------------------------------------------------- iterators


def with_section(section: str, shape: str = "3,4,4", **settings: Any) -> Any:
    text = f"{section}\niter = end\nnetconfig=start\nlayer[+1] = flatten\nnetconfig=end\n"
    return cxxnet.loads(text + f"input_shape = {shape}\n", batch_size=2, **settings)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("pictures")
    writer = mx.recordio.MXRecordIO(str(folder / "x.rec"), "w")
    lines = []
    for number in range(3):
        pixels = np.full((6, 6, 3), 10 * number, np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")
        head = mx.recordio.IRHeader(0, float(number), number, 0)
        writer.write(mx.recordio.pack(head, (folder / f"{number}.png").read_bytes()))
        lines.append(f"{number}\t{number}\t{number}.png\n")
    writer.close()
    (folder / "x.lst").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("kind", ["imgrec", "img"])
def test_images(kind: str, pictures: Path) -> None:
    source = {
        "imgrec": f'image_rec = "{pictures}/x.rec" nthread = 1',
        "img": f'image_list = "{pictures}/x.lst" image_root = "{pictures}/"',
    }[kind]
    for setting, expected in (
        ("", [0, 10]),
        ("mean_value = 1,1,1\ndivideby = 4", [-0.25, 2.25]),
        ("scale = 0.5", [0, 5]),
        (f'image_mean = "{pictures}/{kind}/mean.bin"', [-10, 0]),  # it is made
        (f'image_mean = "{pictures}/{kind}/mean.bin"', [-10, 0]),  # and read
    ):
        net = with_section(f"data = train\niter = {kind}\n{source}\n{setting}\niter = threadbuffer")
        batch = net.iterator("train").next()
        assert batch.data[0].shape == (2, 3, 4, 4)
        np.testing.assert_allclose(batch.data[0].asnumpy()[:, 1, 2, 2], expected, atol=1e-5)
        assert batch.label[0].asnumpy().tolist() == [0, 1]
    net = with_section(f"data = train\niter = {kind}\n{source}\nmean_value = 1,2")
    with pytest.raises(
        mx.TigonError, match=r"^configuration: line \d+: mean_value: expected 3 num"
    ):
        net.iterator("train")
    net = with_section(
        f"data = train\niter = {kind}\n{source}\nimage_mean = {pictures}/{kind}/mean.bin"
    )
    content = (pictures / kind / "mean.bin").read_bytes()
    assert struct.unpack("<3I", content[:12]) == (3, 4, 4) and len(content) == 12 + 4 * 48
    (pictures / kind / "mean.bin").write_bytes(content[:-1])
    with pytest.raises(mx.TigonError, match=r"mean.bin: at byte 0: expected the mean image of"):
        net.iterator("train")


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("l,m,a,b,c\n1,2,3,4,5\n6,7,8,9,10\n")
    section = (
        f'data = train\niter = csv\nfilename = "{tmp_path}/x.csv"\nhas_header = 1\nlabel_width=2'
    )
    batch = with_section(section, "1,1,3").iterator("data").next()
    assert batch.data[0].asnumpy().tolist() == [[[[3, 4, 5]]], [[[8, 9, 10]]]]
    assert batch.label[0].asnumpy().tolist() == [[1, 2], [6, 7]]
    message = r"x\.csv: expected 6 numbers a row: label_width 2 and input_shape 1,1,4; given 5$"
    with pytest.raises(mx.TigonError, match=message):
        with_section(section, "1,1,4").iterator("data")
    (tmp_path / "x.csv").write_text("l,m,a,b,c\n1,2,3,4,x\n")
    with pytest.raises(mx.TigonError, match=r"iter = csv: .*x\.csv: expected numbers with commas"):
        with_section(section, "1,1,3").iterator("data")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("iter = imgbin", "iter = imgbin: it reads pages of images, of cxxnet's own form; pack"),
        ("iter = mnist\niter = mnist", "iter = mnist: one that reads stands first, and alone; oth"),
        ("iter = threadbuffer", "iter = threadbuffer: one that reads stands first, and alone; oth"),
        ("iter = mnist\niter = attachtxt", "iter = attachtxt: a second input is not there"),
        ("iter = speech", "iter = speech: known are mnist, imgrec, img, csv, threadbuffer,"),
        ("iter = mnist", "expected path_img, the path of a file"),
        ("iter = imgrec\nmax_rotate_angle = 180\nmax_shear_ratio=0", "max_rotate_angle has no "
         "equal here (how an image is turned, sheared or cut); give fit an iterator of your own, "
         "or leave settings out: without=['max_rotate_angle']"),
    ],
)  # fmt: skip
def test_iterators_that_there_are_none_of(section: str, told: str) -> None:
    net = with_section(f"data = train\n{section}")
    with pytest.raises(mx.TigonError) as error:
        net.iterator("data")
    assert told in str(error.value) and str(error.value).startswith("configuration: line ")


# ---------------------------------------------------------------------- files, good and bad


@pytest.mark.filterwarnings("ignore:.*train_eval:UserWarning")
@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [("ImageNet", 16, 1000), ("MNIST", 4, 10), ("MNIST_CONV", 6, 10), ("bowl", 14, 121)],
)
def test_files_of_cxxnets_own(name: str, count: int, classes: int) -> None:
    found = [folder / f"{name}.conf" for folder in MODELS if (folder / f"{name}.conf").exists()]
    if not found:
        pytest.skip("needs shared/models beside the project")
    net = cxxnet.load(found[0], batch_size=4)
    assert len(net.parameters) == count
    assert net.symbol.infer_shape(data=(4, *net.input_shape))[1] == [(4, classes)]
    assert [section.kind for section in net.sections] == ["data", "eval"]
    assert type(net.optimizer()) is cxxnet.SGD and len(net.metric().get()[0]) >= 1


@pytest.mark.parametrize("kind", ["configurations", "models"])
def test_damaged_files(kind: str) -> None:
    """2,000 of each: they are read, or refused with their place, and ask for little memory."""
    read, refused = run(HOSTILE[kind], 2000, 11, measured=200)
    assert read > 100 and refused > 100, (read, refused)
