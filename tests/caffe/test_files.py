"""Files of every generation, what of a network they are for, and what is said of those that do not
fit."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

import tigon as mx
from tests.caffe.models import caffemodel, refusals
from tests.caffe.semantics import FORWARD
from tigon import autograd, nd
from tigon.contrib import caffe
from tigon.contrib.caffe.fields import SCHEMA
from tigon.contrib.caffe.layers import RECORDS, REFUSED
from tigon.contrib.caffe.upgrade import LAYER, OLDEST, TYPES

INPUT = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }
"""
NEW = (
    INPUT
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { name: "w" lr_mult: 1 decay_mult: 2 } param { lr_mult: 3 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 1 bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 pool: AVE stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
)
V1 = """input: "data" input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" param: "w"
  blobs_lr: 1 blobs_lr: 3 weight_decay: 2 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool"
  pooling_param { kernel_size: 2 pool: AVE stride: 2 } }
layers { name: "ip" type: INNER_PRODUCT bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 } }
layers { name: "prob" type: SOFTMAX bottom: "ip" top: "prob" }
"""
V0 = """input: "data" input_shape { dim: 2 dim: 3 dim: 6 dim: 6 }
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 stride: 2
  blobs_lr: 1 blobs_lr: 3 weight_decay: 2 weight_decay: 0 } bottom: "padded" top: "conv" }
layers { layer { name: "relu" type: "relu" } bottom: "conv" top: "conv" }
layers { layer { name: "pool" type: "pool" kernelsize: 2 pool: AVE stride: 2 }
  bottom: "conv" top: "pool" }
layers { layer { name: "ip" type: "innerproduct" num_output: 5 } bottom: "pool" top: "ip" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip" top: "prob" }
"""
DRAW = np.random.default_rng(1)
ARRAYS = {
    "conv": [DRAW.normal(size=(4, 3, 3, 3)), DRAW.normal(size=4)],
    "ip": [DRAW.normal(size=(5, 16)), DRAW.normal(size=5)],
    "elsewhere": [DRAW.normal(size=(2, 2))],
}
ARRAYS = {name: [array.astype(np.float32) for array in own] for name, own in ARRAYS.items()}


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("old_shape", [False, True])
@pytest.mark.parametrize(("generation", "text"), [(2, NEW), (1, V1), (0, V0)])
def test_generations_mean_the_same(
    generation: int, text: str, old_shape: bool, tmp_path: Path
) -> None:
    model = written(tmp_path, "caffemodel", caffemodel(ARRAYS, generation, old_shape))
    net = caffe.load_net(written(tmp_path, "net", text), model)
    x = DRAW.normal(size=(3, 3, 6, 6)).astype(np.float32)  # another batch than the file's
    y = x.astype(float)
    for layer in net.layer_messages[1:]:
        (y,) = FORWARD[layer.type](layer, [y], ARRAYS.get(layer.name, []))
    np.testing.assert_allclose(net(nd.array(x)).asnumpy(), y, rtol=1e-5, atol=1e-6)
    assert [(p.lr_mult, p.wd_mult) for p in net.collect_params("conv.*").values()] == [
        (1, 2),
        (3, 0),
    ]
    assert net.input_shapes == {"data": (2, 3, 6, 6)} and net.output_names == ["prob"]
    assert (copy.deepcopy(net)(nd.array(x)).asnumpy() == net(nd.array(x)).asnumpy()).all()


def test_words_of_old_generations_are_those_of_the_tables() -> None:
    words = SCHEMA["V1LayerParameter"].by_name["type"].kind.numbers
    assert set(TYPES) == set(words) - {"NONE"}
    known = RECORDS.keys() | REFUSED
    assert known.issuperset(TYPES.values()) and known.issuperset(
        kind for kind, *_ in OLDEST.values()
    )
    oldest = SCHEMA["V0LayerParameter"].by_name
    for _, param, renamed in OLDEST.values():
        for word in renamed.split():
            old, _, new = word.partition(":")
            assert old in oldest and (new or old) in LAYER.by_name[param].kind.by_name, word
    for field in SCHEMA["V1LayerParameter"]:
        own = LAYER.by_name.get(field.name)
        assert own is None or field.name in ("type", "param") or own.kind == field.kind, field.name


def test_models_are_converted_as_mxnet_did(tmp_path: Path) -> None:
    model = written(tmp_path, "caffemodel", caffemodel(ARRAYS))
    path = written(tmp_path, "net", NEW)
    symbol, arguments, states, shape = caffe.convert_model(path, model, str(tmp_path / "out"))
    assert shape == (2, 3, 6, 6) and states == {}
    assert sorted(arguments) == ["conv_bias", "conv_weight", "ip_bias", "ip_weight"]
    x = nd.random.normal(shape=shape)
    block = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "out-symbol.json"), ["data"], str(tmp_path / "out-0000.params")
    )
    wanted = caffe.load_net(path, model)(x).asnumpy()
    assert (block(x).asnumpy() == wanted).all()
    bound = symbol.bind(mx.cpu(), {"data": x, **arguments})
    assert (bound.forward()[0].asnumpy() == wanted).all()


PHASES = """name: "phases"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "a" type: "Power" bottom: "x" top: "a" include { phase: TRAIN } }
layer { name: "b" type: "Power" bottom: "x" top: "b" exclude { phase: TRAIN } }
layer { name: "c" type: "Power" bottom: "x" top: "c"
  include { stage: "one" stage: "two" } include { min_level: 2 max_level: 3 } }
layer { name: "d" type: "Power" bottom: "x" top: "d" exclude { not_stage: "one" phase: TEST } }
"""


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ({"phase": "train"}, "a d"),
        ({"phase": "TEST"}, "b"),
        ({"phase": "test", "stages": ["one"]}, "b d"),
        ({"phase": "train", "stages": ["one", "two"]}, "a c d"),
        ({"phase": "train", "level": 2}, "a c d"),
        ({"phase": "train", "level": 4}, "a d"),
    ],
)
def test_phases_levels_and_stages(state: dict, wanted: str, tmp_path: Path) -> None:
    net = caffe.load_net(written(tmp_path, "net", PHASES), **state)
    assert net.output_names == wanted.split()


SHARED = """
layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "silent" type: "Silence" bottom: "y" }
layer { name: "both" type: "Split" bottom: "x" top: "p" top: "q" }
layer { name: "one" type: "InnerProduct" bottom: "p" top: "one" param { name: "w" lr_mult: 2 }
  inner_product_param { num_output: 2 bias_term: false weight_filler { type: "msra" } } }
layer { name: "two" type: "InnerProduct" bottom: "q" top: "two" param { name: "w" SHARE }
  inner_product_param { num_output: 2 bias_term: false } }
layer { name: "two" type: "ReLU" bottom: "two" top: "two" }
layer { name: "fixed" type: "InnerProduct" bottom: "two" top: "fixed" param { lr_mult: 0 }
  inner_product_param { num_output: 1 bias_term: false } propagate_down: true }
"""


def test_arrays_are_shared_by_name(tmp_path: Path) -> None:
    net = caffe.load_net(written(tmp_path, "net", SHARED.replace("SHARE", "")))
    net.initialize()
    assert sorted(net.collect_params()) == ["fixed_weight", "one_weight"]
    assert net.output_names == ["one", "fixed"]  # each top as it is at the end
    assert net.params["one_weight"].lr_mult == 2 and net.params["fixed_weight"].grad_req == "null"
    x = nd.ones((2, 3))
    with autograd.record():
        one, _ = net(x)
    one.backward()
    assert (net.params["one_weight"].grad().asnumpy() == 2).all()
    two = net.blobs["two"].list_arguments()
    assert two == ["x", "one_weight"]
    model = caffemodel({"one": [np.ones((2, 3), "f")], "two": [np.full((2, 3), 5, "f")]})
    net.load_caffemodel(written(tmp_path, "caffemodel", model), allow_missing=True)
    assert (net.params["one_weight"].data().asnumpy() == 5).all()  # one array: the last counts
    with pytest.raises(mx.TigonError) as raised:
        caffe.load_net(written(tmp_path, "net", SHARED.replace("SHARE", "lr_mult: 3")))
    assert str(raised.value) == (
        f"{tmp_path}/net: line 7, column 83: layer[4].param[0].lr_mult: layer 'two': shares 'w' "
        "with layer 'one', where lr_mult is 2.0; here it is 3.0"
    )


NORM = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 2 } } }
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "bn" param { lr_mult: 0 } param { lr_mult: 0 }
  param { lr_mult: 0 } batch_norm_param { moving_average_fraction: 0.5 } }
layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }
"""


def test_statistics_of_three_blobs_are_loaded_and_move(tmp_path: Path) -> None:
    arrays = {"bn": [np.array([2, 4], "f"), np.array([8, 2], "f"), np.array([2.0], "f")],
              "scale": [np.array([1, 3], "f"), np.array([0, 1], "f")]}  # fmt: skip
    model = written(tmp_path, "caffemodel", caffemodel(arrays))
    net = caffe.load_net(written(tmp_path, "net", NORM), model)
    x = DRAW.normal(size=(4, 2)).astype(np.float32)
    wanted = (x - [1, 2]) / np.sqrt(np.array([4, 1]) + 1e-5) * [1, 3] + [0, 1]
    np.testing.assert_allclose(net(nd.array(x)).asnumpy(), wanted, rtol=1e-5, atol=1e-6)
    with autograd.record():
        found = net(nd.array(x))
    wanted = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * [1, 3] + [0, 1]
    np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    moved = [
        net.params[f"bn_{name}_sum"].data().asnumpy() for name in ("mean", "variance", "weight")
    ]
    for own, old, new in zip(moved, arrays["bn"], (x.mean(0), x.var(0, ddof=1), 1), strict=True):
        np.testing.assert_allclose(own, old * 0.5 + new, rtol=1e-5)


def test_two_networks_in_one_block(tmp_path: Path) -> None:
    """Names of arrays and nodes begin with a prefix; layers of the model are found without it."""
    arrays = {"bn": [np.array([2, 4], "f"), np.array([8, 2], "f"), np.array([2.0], "f")],
              "scale": [np.array([1, 3], "f"), np.array([0, 1], "f")]}  # fmt: skip
    model, path = written(tmp_path, "caffemodel", caffemodel(arrays)), written(tmp_path, "n", NORM)
    net = mx.gluon.nn.HybridSequential()
    net.add(caffe.load_net(path, model, prefix="a_"), caffe.load_net(path, model, prefix="b_"))
    net.hybridize()
    x, one = nd.array(DRAW.normal(size=(4, 2))), caffe.load_net(path, model)
    np.testing.assert_allclose(net(x).asnumpy(), one(one(x)).asnumpy(), rtol=1e-5)
    names = list(one.params)
    assert list(net.collect_params()) == [prefix + name for prefix in "ab" for name in
                                          (f"_{own}" for own in names)]  # fmt: skip
    first = net[0]
    assert first.symbol.list_arguments()[0] == first.input_names[0]
    blob = mx.gluon.SymbolBlock(first.blobs["bn"], mx.sym.var("x"), params=first.params)
    assert list(blob.params) == [f"a_{name}" for name in names]
    net.cast("float16")
    found = net(x.astype("float16"))
    assert found.dtype == np.float16 and net[0].params["a_bn_mean_sum"].dtype == "float32"
    np.testing.assert_allclose(found.asnumpy(), one(one(x)).asnumpy(), rtol=1e-2, atol=1e-2)


def test_the_graph_of_the_outputs_is_what_runs_after_a_cast(tmp_path: Path) -> None:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
    text += 'layer { name: "best" type: "ArgMax" bottom: "x" top: "best" }'
    net = caffe.load_net(written(tmp_path, "net", text))
    net.cast("float16")
    (found,) = net.symbol.eval(x=nd.array([[1, 3, 2], [5, 4, 3]], dtype="float16"))
    assert found.dtype == net(nd.zeros((2, 3), dtype="float16")).dtype == np.float16


def test_a_pair_at_no_distance_has_a_gradient(tmp_path: Path) -> None:
    """Caffe's gradient of the distance divides by it and 1e-4."""
    text = "".join(
        f'layer {{ name: "{top}" type: "Input" top: "{top}" input_param {{ shape {{ {dims} }} }} }}'
        for top, dims in (("a", "dim: 3 dim: 2"), ("b", "dim: 3 dim: 2"), ("s", "dim: 3"))
    )
    text += 'layer { name: "loss" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "s" '
    net = caffe.load_net(written(tmp_path, "net", text + 'top: "loss" }'))
    a, b, s = np.array([[1, 2], [0.3, 0.4], [1, 0]]), np.array([[1, 2], [0, 0], [0, 0]]), [0, 0, 1]
    given = [nd.array(array) for array in (a, b, s)]
    given[0].attach_grad()
    with autograd.record():
        loss = net(*given)
    loss.backward()
    np.testing.assert_allclose(loss.asnumpy(), [(1 + 0.5**2 + 1) / 6], rtol=1e-6)
    wanted = np.zeros((3, 2))
    wanted[1] = -(1 - 0.5) / (0.5 + 1e-4) * a[1] / 3
    wanted[2] = a[2] / 3
    np.testing.assert_allclose(given[0].grad.asnumpy(), wanted, rtol=1e-5, atol=1e-8)


SLOPE = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "slope" type: "PReLU" bottom: "x" top: "x" prelu_param { channel_shared: true } }
"""


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)])
def test_single_numbers_have_any_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = written(tmp_path, "caffemodel", caffemodel({"slope": [np.full(shape, 0.5, "f")]}))
    net = caffe.load_net(written(tmp_path, "net", SLOPE), model)
    assert net(nd.array([[-2, 3]])).asnumpy().tolist() == [[-1, 3]]
    model = written(tmp_path, "caffemodel", caffemodel({"slope": [np.ones((1, 2), "f")]}))
    with pytest.raises(mx.TigonError, match=r"expected shape \(1,\); given \(1, 2\)"):
        net.load_caffemodel(model)


DATA = """
layer { name: "mnist" type: "TYPE" top: "data" top: "label" SETTINGS }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" LOSS }
"""
SETTINGS = {
    "Data": ('data_param { source: "lmdb" batch_size: 4 }', None),
    "ImageData": (
        'image_data_param { source: "list" batch_size: 4 new_height: 5 new_width: 6 }',
        {"data": (4, 3, 5, 6), "label": (4,)},
    ),
    "MemoryData": (
        "memory_data_param { batch_size: 4 channels: 1 height: 2 width: 3 }",
        {"data": (4, 1, 2, 3), "label": (4,)},
    ),
    "HDF5Data": ('hdf5_data_param { source: "h5" batch_size: 4 }', None),
    "DummyData": (
        "dummy_data_param { num: 4 channels: 2 num: 4 channels: 1 height: 1 width: 1 }",
        {"data": (4, 2, 1, 1), "label": (4, 1, 1, 1)},
    ),
}


@pytest.mark.parametrize("type", SETTINGS)
def test_data_layers_say_what_they_want(type: str, tmp_path: Path) -> None:
    settings, shapes = SETTINGS[type]
    text = DATA.replace("TYPE", type).replace("SETTINGS", settings).replace("LOSS", "")
    path = written(tmp_path, "net", text)
    if shapes is None:
        with pytest.raises(mx.TigonError) as raised:
            caffe.load_net(path)
        source = settings.split('"')[1]
        assert str(raised.value) == (
            f"{path}: line 2, column {32 + len(type)}: layer[0].top: layer 'mnist' ({type}): top "
            f"'data' ({type} in batches of 4 from '{source}') is yours to give; say its shape by "
            "shapes={'data': (batch, ...)}"
        )
        shapes = {"data": (4, 3), "label": (4,)}
    net = caffe.load_net(path, shapes=shapes)
    assert net.input_names == ["data", "label"] and net.input_shapes == shapes
    assert net.output_names == ["loss"]  # Caffe makes a top for a loss that has none
    assert net.objective.infer_shape(**shapes)[1] == [(1,)]
    net = caffe.load_net(path, shapes={"data": np.array((7, 4)), "label": (7,)})
    assert repr(net.input_shapes) == "{'data': (7, 4), 'label': (7,)}"
    assert net.params["ip_weight"].shape == (2, 4)


def test_losses_are_weighed(tmp_path: Path) -> None:
    text = DATA.replace("TYPE", "HDF5Data").replace("SETTINGS", "hdf5_data_param { batch_size: 2 }")
    text = text.replace("LOSS", 'top: "loss" loss_weight: 3')
    text += 'layer { name: "size" type: "Power" bottom: "ip" top: "size" loss_weight: 0.5 }'
    net = caffe.load_net(written(tmp_path, "net", text), shapes={"data": (2, 3), "label": (2,)})
    net.initialize()
    x, y = nd.random.normal(shape=(2, 3)), nd.array([0, 1])
    loss, size = net(x, y)
    arrays = {name: param.data() for name, param in net.collect_params().items()}
    (found,) = net.objective.bind(mx.cpu(), {"data": x, "label": y, **arrays}).forward()
    wanted = 3 * loss.asscalar() + 0.5 * size.asnumpy().sum()
    np.testing.assert_allclose(found.asnumpy(), [wanted], rtol=1e-5)


REFUSALS = refusals("refused_networks.txt")


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_networks_that_do_not_fit(number: int, tmp_path: Path) -> None:
    text, wanted = REFUSALS[number]
    path = written(tmp_path, "net", text)
    with pytest.raises(mx.TigonError) as raised:
        caffe.load_net(path)
    assert str(raised.value).replace(str(path), "net") == wanted


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        (
            {"conv": ARRAYS["conv"]},
            "has no array for ip_weight, ip_bias; is it of another network? allow_missing=True "
            "fills what is missing",
        ),
        (
            {"conv": ARRAYS["conv"][:1]},
            "at byte 9: layers[0].blobs[0]: layer 'conv': expected 2 blobs (conv_weight, "
            "conv_bias); given 1",
        ),
        (
            {"ip": [ARRAYS["ip"][0].T, ARRAYS["ip"][1]]},
            "at byte 10: layers[0].blobs[0].num: expected shape (5, 16); given (1, 1, 16, 5); is "
            "it of another network?",
        ),
    ],
)
def test_models_of_other_networks(arrays: dict, wanted: str, tmp_path: Path) -> None:
    model = written(tmp_path, "caffemodel", caffemodel(arrays, 1, True))
    with pytest.raises(mx.TigonError) as raised:
        caffe.load_net(written(tmp_path, "net", NEW), model)
    assert str(raised.value).removeprefix(f"{model}: ") == wanted


def test_what_a_model_lacks_is_filled_where_allowed(tmp_path: Path) -> None:
    model = written(tmp_path, "caffemodel", caffemodel({"conv": ARRAYS["conv"]}))
    net = caffe.load_net(written(tmp_path, "net", NEW), model, allow_missing=True)
    assert (net.params["conv_weight"].data().asnumpy() == ARRAYS["conv"][0]).all()
    assert (net.params["ip_weight"].data().asnumpy() == 0).all()


OLD_DATA = """layers { name: "d" type: IMAGE_DATA top: "x" top: "y"
  image_data_param { source: "list" batch_size: 3 scale: 0.5 mean_file: "mean" crop_size: 7
                     mirror: true } transform_param { scale: 0.25 } }
layers { layer { name: "z" type: "data" source: "db" batchsize: 2 cropsize: 5 meanfile: "other" }
  top: "z" }
layers { name: "j" type: SILENCE bottom: "y" }
layers { name: "p" type: POWER bottom: "x" top: "p" }
layers { name: "q" type: POWER bottom: "z" top: "q" }
"""


def test_what_data_layers_said_of_images_once(tmp_path: Path) -> None:
    net = caffe.load_net(written(tmp_path, "net", OLD_DATA), shapes={"z": (2, 3, 5, 5)})
    assert net.input_shapes == {"x": (3, 3, 7, 7), "z": (2, 3, 5, 5)}
    first, second = (layer.transform_param for layer in net.layer_messages[:2])
    assert (first.scale, first.mean_file, first.crop_size, first.mirror) == (0.5, "mean", 7, True)
    assert (second.scale, second.mean_file, second.crop_size) == (1, "other", 5)
    assert net.layer_messages[1].data_param.batch_size == 2
    assert repr(net) == "CaffeNet(x, z -> p, q)"
    text = 'layer { name: "d" type: "Data" top: "x" data_param { batch_size: 3 scale: 0.5 } }'
    text += 'layer { name: "p" type: "Power" bottom: "x" top: "p" }'
    net = caffe.load_net(written(tmp_path, "net", text), shapes={"x": (3, 1, 2, 2)})
    assert net.layer_messages[0].transform_param.scale == 1  # only layers of V1 said it there


def test_networks_may_be_long_and_wide(tmp_path: Path) -> None:
    tops = " ".join(f'top: "t{number}"' for number in range(2000))
    text = INPUT + f'layer {{ name: "s" type: "Split" bottom: "data" {tops} }}'
    text += f'layer {{ name: "c" type: "Concat" {tops.replace("top", "bottom")} top: "x" }}'
    text += 'layer { name: "x" type: "ReLU" bottom: "x" top: "x" }\n' * 2000
    net = caffe.load_net(written(tmp_path, "net", text))
    assert net.output_shapes == {"x": (2, 6000, 6, 6)} and net.input_names == ["data"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"phase": "deploy"}, "load_net: phase: expected 'train' or 'test'; given 'deploy'"),
        ({"stages": "one"}, "load_net: stages: expected several; given 'one'"),
        ({"shapes": [(1, 2)]}, "load_net: shapes: expected shapes by top; given list"),
        (
            {"shapes": {"data": 5}},
            "load_net: shapes: expected a shape for 'data', batch first; given 5",
        ),
        ({"shapes": {"x": (1, 2)}}, "net: shapes: 'x' is no input; the inputs are data"),
        (
            {"shapes": {"data": (1, 3, 0, 2)}},
            "net: line 1, column 36: layer[0].top: layer 'data' (Input): top 'data': expected a "
            "shape of positive extents; given (1, 3, 0, 2)",
        ),
    ],
)
def test_arguments_that_do_not_fit(given: dict, wanted: str, tmp_path: Path) -> None:
    path = written(tmp_path, "net", NEW)
    with pytest.raises(mx.TigonError) as raised:
        caffe.load_net(path, **given)
    assert str(raised.value).replace(str(path), "net") == wanted
