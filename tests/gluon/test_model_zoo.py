"""The zoo: sizes as published, names as in MXNet's files, hybridized as imperative."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon.model_zoo import vision

RANDOM = np.random.RandomState(5)

# From the page of Gluon's model zoo; running statistics are counted.
PUBLISHED = {
    "resnet18_v1": 11_699_112,
    "resnet34_v1": 21_814_696,
    "resnet50_v1": 25_629_032,
    "resnet101_v1": 44_695_144,
    "resnet152_v1": 60_404_072,
    "resnet18_v2": 11_695_796,
    "resnet34_v2": 21_811_380,
    "resnet50_v2": 25_595_060,
    "resnet101_v2": 44_639_412,
    "resnet152_v2": 60_329_140,
    "alexnet": 61_100_840,
    "mobilenet1.0": 4_253_864,
    "mobilenet0.75": 2_601_976,
    "mobilenet0.5": 1_342_536,
    "mobilenet0.25": 475_544,
    "mobilenetv2_1.0": 3_539_136,
    "mobilenetv2_0.75": 2_653_864,
    "mobilenetv2_0.5": 1_983_104,
    "mobilenetv2_0.25": 1_526_856,
    "densenet121": 8_062_504,
    "densenet161": 28_900_936,
    "densenet169": 14_307_880,
    "densenet201": 20_242_984,
    "inceptionv3": 23_869_000,
    "squeezenet1.0": 1_248_424,
    "squeezenet1.1": 1_235_496,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_874_344,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_059_624,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_374_440,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_689_256,
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_network_has_the_published_number_of_parameters(name):
    symbol = vision.get_model(name)(mx.sym.var("data"))
    extent = 299 if name == "inceptionv3" else 224
    arguments, outputs, auxiliary = symbol.infer_shape(data=(1, 3, extent, extent))
    sizes = dict(zip(symbol.list_arguments(), map(math.prod, arguments), strict=True))
    del sizes["data"]
    assert sum(sizes.values()) + sum(map(math.prod, auxiliary)) == PUBLISHED[name]
    assert outputs == [(1, 1000)]


@pytest.mark.parametrize("name", ["resnet18_v1", "resnet18_v2", "resnet50_v1", "resnet50_v2"])
def test_hybridized_gives_what_imperative_gives(name):
    mx.random.seed(3)
    net = vision.get_model(name, classes=7, thumbnail=True)
    net.initialize(mx.init.Xavier())
    x = nd.array(RANDOM.randn(2, 3, 16, 16))
    expected = net(x).asnumpy()
    assert expected.shape == (2, 7)
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["mobilenet0.25", "mobilenetv2_0.25"])
def test_small_networks_hybridized(name):
    mx.random.seed(3)
    net = vision.get_model(name, classes=7)
    net.initialize(mx.init.Xavier())
    x = nd.array(RANDOM.randn(1, 3, 32, 32))
    expected = net(x).asnumpy()
    assert expected.shape == (1, 7)
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=2e-4, atol=2e-5)


def test_names_of_the_other_networks():
    names = list(vision.mobilenet_v2_0_5(prefix="net_").collect_params())
    assert "net_features_linearbottleneck0_conv0_weight" in names  # no part for the sequence
    assert names[-1] == "net_output_pred_weight"
    paths = vision.squeezenet1_1()._collect_params_with_prefix()
    assert {"features.3.0.0.weight", "features.3.1.1.0.bias", "output.0.weight"} < set(paths)


def test_a_thumbnail_network_learns():
    mx.random.seed(7)
    net = vision.resnet18_v1(classes=3, thumbnail=True)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.05})
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    x, labels = nd.array(RANDOM.randn(6, 3, 8, 8)), nd.array([0, 1, 2, 0, 1, 2])
    losses = []
    for _ in range(8):
        with autograd.record():
            value = loss(net(x), labels)
        value.backward()
        trainer.step(6)
        losses.append(float(value.mean().asscalar()))
    assert losses[-1] < losses[0] / 2


def test_names_are_those_of_mxnet():
    v1, v2 = vision.resnet18_v1(prefix="net_"), vision.resnet50_v2(prefix="net_")
    names = list(v1.collect_params())
    assert names[0] == "net_conv0_weight"
    assert "net_stage2_conv2_weight" in names  # the projection comes after the body
    assert "net_stage4_batchnorm4_running_var" in names
    assert names[-1] == "net_dense0_bias"
    assert "net_stage1_conv3_weight" in v2.collect_params()
    assert "net_batchnorm2_running_mean" in v2.collect_params()
    paths = v1._collect_params_with_prefix()
    assert {"features.0.weight", "features.4.0.body.1.running_mean"} < set(paths)
    assert {"features.5.0.downsample.1.gamma", "output.weight"} < set(paths)
    assert "features.5.0.downsample.weight" in v2._collect_params_with_prefix()


def test_pretrained_parameters_come_from_a_file(tmp_path):
    first = vision.resnet18_v1(classes=4, thumbnail=True)
    first.initialize()
    x = nd.array(RANDOM.randn(1, 3, 8, 8))
    expected = first(x).asnumpy()
    file = tmp_path / "resnet18_v1-a0666292.params"
    first.save_parameters(str(file))
    for root in (tmp_path, file):
        net = vision.resnet18_v1(pretrained=True, root=root, classes=4, thumbnail=True)
        np.testing.assert_array_equal(net(x).asnumpy(), expected)
    with pytest.raises(TigonError, match=r"no parameters for resnet34_v1: .* root="):
        vision.resnet34_v1(pretrained=True, root=tmp_path)
    first.save_parameters(str(tmp_path / "resnet18_v1-00000000.params"))
    with pytest.raises(TigonError, match="several parameters for resnet18_v1"):
        vision.resnet18_v1(pretrained=True, root=tmp_path)


def test_a_name_that_is_not_known_lists_those_that_are():
    with pytest.raises(TigonError, match=r"there is no network 'resnet19_v1'; .* resnet18_v1"):
        vision.get_model("resnet19_v1")
    with pytest.raises(TigonError, match="expected version 1 or 2; given 3"):
        vision.get_resnet(3, 18)
    with pytest.raises(TigonError, match="given 19"):
        vision.get_resnet(1, 19)
    with pytest.raises(TigonError, match="given 12"):
        vision.get_vgg(12)
    with pytest.raises(TigonError, match=r"given '2\.0'"):
        vision.get_squeezenet("2.0")
    assert mx.gluon.model_zoo.vision is vision
    with pytest.raises(AttributeError, match="no attribute 'zoo'"):
        mx.gluon.zoo  # noqa: B018


def test_a_small_densenet_hybridized():
    mx.random.seed(3)
    net = vision.DenseNet(8, 4, (1, 2), bn_size=2, dropout=0.2, classes=5)
    net.initialize(mx.init.Xavier())
    x = nd.array(RANDOM.randn(2, 3, 60, 60))
    expected = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=2e-4, atol=2e-5)
    with autograd.record():
        net(x).sum().backward()
    slopes = [p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"]
    assert all(slope.any() for slope in slopes[:4])


def test_names_of_densenet_and_inception():
    dense = vision.densenet121(prefix="net_")
    names = list(dense.collect_params())
    assert names[0] == "net_conv0_weight"
    assert {"net_stage1_conv0_weight", "net_stage4_batchnorm31_gamma"} < set(names)
    assert "net_batchnorm4_running_var" in names  # the transitions count with the first layers
    assert "net_batchnorm5_gamma" not in names and names[-1] == "net_dense0_bias"
    paths = dense._collect_params_with_prefix()
    assert {"features.4.0.1.0.gamma", "features.4.5.1.5.weight", "features.5.2.weight"} < set(paths)
    inception = vision.inception_v3(prefix="net_")
    names = list(inception.collect_params())
    assert names[0] == "net_conv0_weight"
    assert {"net_A1_conv6_weight", "net_B_conv3_weight", "net_E2_conv8_weight"} < set(names)
    assert "net_A1_conv7_weight" not in names and "net_E2_batchnorm8_running_mean" in names
    paths = inception._collect_params_with_prefix()
    assert {"features.7.0.0.0.weight", "features.7.3.1.1.gamma"} < set(paths)
    assert {"features.16.1.1.0.0.0.weight", "features.17.2.1.1.0.1.beta"} < set(paths)
    with pytest.raises(TigonError, match="get_densenet: expected one of 121, 161, 169, 201 layers"):
        vision.get_densenet(122)
