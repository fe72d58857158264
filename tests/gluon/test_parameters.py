"""Parameters, dictionaries of them, files, and what the messages say."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.analysis.multiply_adds import multiply_adds
from tigon.base import TigonError
from tigon.gluon import nn
from tigon.gluon.model_zoo import vision
from tigon.gluon.parameter import DeferredInitializationError
from tigon.visualization import symbol_summary


def message(error: type[Exception] = TigonError):
    return pytest.raises(error)


def test_defaults_by_name_and_own_initializers():
    net = nn.Dense(2, in_units=3, bias_initializer=mx.init.Constant(4))
    net.initialize(mx.init.One())
    assert net.weight.data().asnumpy().tolist() == [[1, 1, 1], [1, 1, 1]]
    assert net.bias.data().asnumpy().tolist() == [4, 4]
    norm = nn.BatchNorm(in_channels=2)
    norm.initialize(mx.init.Normal(1))
    assert [p.data().asnumpy().tolist() for p in norm.collect_params().values()] == [
        [1, 1],
        [0, 0],
        [0, 0],
        [1, 1],
    ]


def test_access_before_initialization_names_path_and_next_step():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2))
    with message() as caught:
        net[0].weight.data()
    assert str(caught.value) == (
        "Parameter 'net_dense0_weight': is not initialized; call initialize() on the block or on "
        "collect_params() first"
    )
    net.initialize()
    with message(DeferredInitializationError) as caught:
        net[0].weight.data()
    assert str(caught.value) == (
        "Parameter 'net_dense0_weight' (HybridSequential.0.weight): its shape (2, 0) is not known "
        "before the first forward pass; run one batch through the network, or give in_units, "
        "in_channels, ..."
    )
    net(nd.ones((1, 5)))
    assert net[0].weight.shape == (2, 5)


def test_uninitialized_network_says_where():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2, in_units=3))
    for hybridize in (False, True):
        net.hybridize(hybridize)
        with message() as caught:
            net(nd.ones((1, 3)))
        assert str(caught.value) == (
            "Parameter 'net_dense0_weight': is not initialized; call initialize() on the block or "
            "on collect_params() first\n  in block HybridSequential.0 (Dense)"
        )


def test_wrong_input_names_operator_and_block_path():
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=3), nn.HybridSequential())
    net[1].add(nn.Dense(2, in_units=9))
    net.initialize()
    for hybridize in (False, True):
        net.hybridize(hybridize)
        with message() as caught:
            net(nd.ones((1, 3)))
        first, last = str(caught.value).split("\n")
        assert first.startswith("FullyConnected: ")
        assert last == "  in block HybridSequential.1.0 (Dense)"


def test_grad_req_and_multipliers():
    weight = gluon.Parameter("weight", shape=(2,), init="ones", lr_mult=2.0, wd_mult=0.5)
    weight.initialize()
    for _ in range(2):
        with autograd.record():
            y = (weight.data() * 3).sum()
        y.backward()
    assert weight.grad().asnumpy().tolist() == [3, 3]
    weight.grad_req = "add"
    for _ in range(2):
        with autograd.record():
            y = (weight.data() * 3).sum()
        y.backward()
    assert weight.grad().asnumpy().tolist() == [6, 6]
    weight.zero_grad()
    assert weight.grad().asnumpy().tolist() == [0, 0]
    weight.grad_req = "null"
    with message() as caught:
        weight.grad()
    assert str(caught.value) == (
        "Parameter 'weight': has no gradient because its grad_req is 'null'; set grad_req to "
        "'write' first"
    )
    with message() as caught:
        weight.grad_req = "mul"
    assert str(caught.value) == (
        "Parameter 'weight': grad_req is one of write, add, null; given 'mul'"
    )


def test_set_data_cast_and_constant():
    weight = gluon.Parameter("weight", shape=(2,), init="zeros")
    weight.initialize()
    weight.set_data(nd.array([1, 2]))
    assert weight.data().asnumpy().tolist() == [1, 2]
    with message() as caught:
        weight.set_data(nd.ones(3))
    assert str(caught.value) == (
        "Parameter 'weight': expected shape (2,) (0 is to be inferred); given (3,); build the "
        "block for this input, or reshape the input"
    )
    weight.cast("float64")
    assert weight.data().dtype == np.float64
    assert weight.data().asnumpy().tolist() == [1, 2]

    class Scaled(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.scale = self.params.get_constant("scale", [[1.0, 2.0]])

        def hybrid_forward(self, F, x, scale):
            return F.broadcast_mul(x, scale)

    net = Scaled()
    net.initialize()
    for hybridize in (False, True):
        net.hybridize(hybridize)
        assert net(nd.ones((1, 2))).asnumpy().tolist() == [[1, 2]]
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    trainer.step(1)  # nothing learns
    assert net.scale.data().asnumpy().tolist() == [[1, 2]]


def test_sharing_parameters():
    net = nn.HybridSequential()
    first = nn.Dense(3, in_units=3, prefix="shared_")
    net.add(first, nn.Dense(3, in_units=3, params=first.params))
    net.initialize()
    assert net[0].weight is net[1].weight
    assert len(net.collect_params()) == 2
    x = nd.ones((1, 3))
    one = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), one, rtol=1e-6)


def test_collect_params_selects_by_regular_expression():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2), nn.BatchNorm())
    assert list(net.collect_params()) == [
        "net_dense0_weight",
        "net_dense0_bias",
        "net_batchnorm0_gamma",
        "net_batchnorm0_beta",
        "net_batchnorm0_running_mean",
        "net_batchnorm0_running_var",
    ]
    assert list(net.collect_params(".*weight|.*gamma")) == [
        "net_dense0_weight",
        "net_batchnorm0_gamma",
    ]


def network():
    net = nn.HybridSequential()
    net.add(nn.Dense(3, in_units=2), nn.BatchNorm(in_channels=3), nn.Dense(1, in_units=3))
    return net


def test_files_by_attribute_path(tmp_path):
    path = str(tmp_path / "net.params")
    net = network()
    net.initialize()
    net.save_parameters(path)
    assert sorted(nd.load(path)) == [
        "0.bias",
        "0.weight",
        "1.beta",
        "1.gamma",
        "1.running_mean",
        "1.running_var",
        "2.bias",
        "2.weight",
    ]
    other = network()
    other.load_parameters(path)
    x = nd.ones((1, 2))
    np.testing.assert_array_equal(net(x).asnumpy(), other(x).asnumpy())
    named = str(tmp_path / "named.params")
    net.collect_params().save(named)
    net.initialize(force_reinit=True)
    net.collect_params().load(named)
    np.testing.assert_array_equal(net(x).asnumpy(), other(x).asnumpy())


def test_files_that_do_not_fit_change_nothing(tmp_path):
    path = str(tmp_path / "net.params")
    net = network()
    net.initialize()
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    arrays = {name: param.data() + 1 for name, param in net._collect_params_with_prefix().items()}

    def attempt(arrays, **options):
        nd.save(path, arrays)
        with message() as caught:
            net.load_parameters(path, **options)
        for name, param in net.collect_params().items():
            np.testing.assert_array_equal(param.data().asnumpy(), before[name])
        return str(caught.value).replace(str(tmp_path), "")

    missing = {name: array for name, array in arrays.items() if name != "2.bias"}
    assert attempt(missing) == (
        "load_parameters: /net.params lacks '2.bias'; it has '0.weight', '0.bias', '1.gamma', "
        "'1.beta', '1.running_mean', '1.running_var', '2.weight'; pass allow_missing=True to keep "
        "the present values"
    )
    assert attempt({**arrays, "3.weight": nd.ones(1)}) == (
        "load_parameters: /net.params has '3.weight', which the block does not; it has '0.weight', "
        "'0.bias', '1.gamma', '1.beta', '1.running_mean', '1.running_var', '2.weight', '2.bias'; "
        "pass ignore_extra=True to skip them"
    )
    assert attempt({**arrays, "2.weight": nd.ones((2, 3))}) == (
        "load_parameters: '2.weight' expects shape (1, 3); /net.params has (2, 3); was it saved by "
        "another network?"
    )
    assert attempt({**arrays, "2.weight": nd.ones((1, 3), dtype="float64")}) == (
        "load_parameters: '2.weight' expects float32; /net.params has float64; pass "
        "cast_dtype=True or cast the block first"
    )
    nd.save(path, missing)
    net.load_parameters(path, allow_missing=True)
    assert (net[0].weight.data().asnumpy() == before[net[0].weight.name] + 1).all()


def test_export_and_import_in_prediction(tmp_path):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 3), nn.BatchNorm(), nn.Dropout(0.5), nn.Dense(3))
    net.initialize()
    x = nd.random.normal(shape=(2, 1, 5, 5))
    with autograd.record():
        net(x)
    symbol_file, params_file = net.export(str(tmp_path / "model"), epoch=7)
    assert symbol_file.endswith("model-symbol.json")
    assert params_file.endswith("model-0007.params")
    names = set(nd.load(params_file))
    assert {name[:4] for name in names} == {"arg:", "aux:"}
    assert sum(name.startswith("aux:") for name in names) == 2
    again = gluon.SymbolBlock.imports(symbol_file, ["data"], params_file)
    np.testing.assert_allclose(again(x).asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-6)
    batch = nd.random.normal(shape=(5, 1, 5, 5))
    np.testing.assert_allclose(again(batch).asnumpy(), net(batch).asnumpy(), rtol=1e-5, atol=1e-6)
    # What was imported trains on.
    trainer = gluon.Trainer(again.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = again(x).sum()
    loss.backward()
    trainer.step(1)


def test_export_before_the_first_call_says_what_to_do(tmp_path):
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(3))
    net.initialize()
    with message() as caught:
        net.export(str(tmp_path / "model"))
    assert str(caught.value) == (
        "export: parameter 'net_dense0_weight' has no values yet; run one batch through the "
        "network first"
    )


def test_hybrid_sequential_refuses_plain_blocks():
    with message() as caught:
        nn.HybridSequential().add(nn.Sequential())
    assert str(caught.value) == (
        "HybridSequential: children of a HybridBlock must be HybridBlocks; given Sequential; "
        "derive it from HybridBlock, or use Block or Sequential outside"
    )


def test_repr_and_names():
    net = nn.Sequential(prefix="top_")
    with net.name_scope():
        net.add(nn.Conv2D(4, (3, 3), activation="relu"), nn.Flatten(), nn.Dense(2, use_bias=False))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2D(None -> 4, kernel_size=(3, 3), stride=(1, 1), Activation(relu))\n"
        "  (1): Flatten\n"
        "  (2): Dense(None -> 2, linear)\n"
        ")"
    )
    assert [child.name for child in net] == ["top_conv0", "top_flatten0", "top_dense0"]
    assert list(net.collect_params()) == [
        "top_conv0_weight",
        "top_conv0_bias",
        "top_dense0_weight",
    ]


def _lenet():
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(20, kernel_size=5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(50, kernel_size=5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Dense(500, activation="tanh"),
        nn.Dense(10),
    )
    return net, (1, 1, 28, 28)


class Composite(nn.HybridSequential):
    """A weight of its own, a layer that it does not call, and one that it calls twice."""

    def __init__(self):
        super().__init__()
        self.scale = self.params.get("scale", shape=(1, 3), init="ones")
        self.unused = nn.Dense(2, in_units=3)
        self.twice = nn.Dense(3, in_units=3, activation="relu")

    def hybrid_forward(self, F, x, scale):
        return self.twice(self.twice(F.broadcast_mul(x, scale)))


SUMMARIZED = {
    "LeNet": _lenet,
    "composite": lambda: (Composite(), (2, 3)),
    **{
        name: lambda name=name: (vision.get_model(name, classes=10), (1, 3, 64, 64))
        for name in ("resnet18_v1", "resnet18_v2", "vgg11_bn", "mobilenet0.25", "mobilenetv2_0.25")
    },
}


@pytest.mark.parametrize("name", SUMMARIZED)
def test_summaries_count_every_parameter_once(name, capsys):
    net, shape = SUMMARIZED[name]()
    net.initialize()
    net.summary(nd.zeros(shape))
    text = capsys.readouterr().out
    expected = sum(param.data().size for param in net.collect_params().values())
    assert f"Unique parameters in model: {expected}\n" in text
    rows = text.split("=" * 96)[1].strip().splitlines()[1:]
    counts = [int(re.search(r"\)\s+(\d+)|not called\s+(\d+)", row)[0].split()[-1]) for row in rows]
    repeated = int(re.search(r"Shared params in forward computation graph: (\d+)", text)[1])
    assert sum(counts) - repeated == expected
    assert (repeated > 0) == (name == "composite")
    if name == "LeNet":
        assert expected == 431080
        assert len(rows) == 9  # activations within layers, too
    if name == "composite":
        assert rows[-1].split()[0].startswith("Dense") and "not called" in rows[-1]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [  # as published: K. He et al., "Deep residual learning" (2015), and A. Howard et al. (2017)
        ("resnet18_v1", (1, 3, 224, 224), 1.8e9),
        ("resnet50_v1", (1, 3, 224, 224), 3.8e9),
        ("vgg16", (1, 3, 224, 224), 15.5e9),
        ("mobilenet1.0", (1, 3, 224, 224), 0.57e9),
    ],
)
def test_summaries_count_products(name, shape, expected, capsys):
    net = gluon.model_zoo.vision.get_model(name)
    net.initialize()
    x = nd.zeros(shape)
    net.infer_shape(x)
    found = multiply_adds(net._graph_on(x))
    assert abs(found / expected - 1) < 0.03


def test_products_of_layers_add_up_to_those_of_the_whole(capsys):
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(4, 3, activation="relu"),
        nn.Flatten(),
        nn.Dense(6, activation="tanh"),
        gluon.nn.HybridLambda(lambda F, x: F.dot(x, x, transpose_a=True)),
    )
    net.initialize()
    net.summary(nd.ones((2, 3, 6, 6)))
    text = capsys.readouterr().out
    rows = [row.split() for row in text.split("=" * 96)[1].strip().splitlines()[1:]]
    counts = [int(row[-1].replace(",", "")) for row in rows]
    assert sum(counts) == 2 * 16 * 4 * 27 + 2 * 64 * 6 + 2 * 36
    assert f"Multiply-adds: {sum(counts):,}\n" in text
    assert re.search(r"Planned memory: [\d.]+ (B|KiB) for \d temporaries\n", text)
    layer = gluon.rnn.LSTM(4)
    layer.initialize()
    x = nd.ones((5, 2, 3))
    layer(x)
    assert multiply_adds(layer._graph_on(x)) == 5 * 2 * (3 * 16 + 4 * 16)


def test_summaries_of_symbols_count_no_labels():
    x, label = mx.sym.var("data"), mx.sym.var("label")
    first = mx.sym.FullyConnected(x, num_hidden=4, name="a")
    weight = mx.sym.var("w", shape=(4, 4))
    again = mx.sym.FullyConnected(first, weight, num_hidden=4, no_bias=True)
    again = mx.sym.FullyConnected(again, weight, num_hidden=4, no_bias=True)
    shape = {"data": (8, 3)}
    for net, count in (
        (mx.sym.SoftmaxOutput(first, name="softmax"), 16),
        (mx.sym.LinearRegressionOutput(first, label), 16),
        (mx.sym.square(first - label), 16),
        (again, 32),
    ):
        assert f"Total params: {count}\n" in symbol_summary(net, shape)


OPERATIONS = {
    "+": lambda p, x: p + x,
    "x *": lambda p, x: x * p,
    "number -": lambda p, x: 1 - p,
    "@": lambda p, x: x @ p,
    "numpy": lambda p, x: np.ones((1, 2)) / p,
    "negative": lambda p, x: -p,
    "comparison": lambda p, x: p > 0,
    "[]": lambda p, x: p[0],
    "symbol": lambda p, x: mx.sym.var("x") + p,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_are_no_operands(name):
    layer = nn.Dense(1, in_units=2)
    layer.initialize()
    what = rf"Parameter '{layer.weight.name}' \(Dense\.weight\): is no array; .*write \.data\(\)"
    with pytest.raises(TypeError, match=what):
        OPERATIONS[name](layer.weight, nd.ones((1, 2)))


def test_what_to_write_for_a_parameter():
    layer = nn.Dense(1, in_units=2)
    layer.initialize()
    weight = layer.weight
    with pytest.raises(TigonError, match=r"given Parameter; an operand is its array: write \.data"):
        nd.dot(weight, nd.ones((2, 1)))
    with pytest.raises(
        AttributeError, match=r"is no array; its array is data\(\): \.data\(\)\.sum"
    ):
        weight.sum()
    with pytest.raises(AttributeError, match="'Parameter' object has no attribute 'nonsense'"):
        weight.nonsense  # noqa: B018
    assert weight and weight == weight and weight in [weight]  # as any object
    with pytest.raises(TigonError, match=r"given Dense; for a network, give net\.collect_params"):
        gluon.Trainer(layer, "sgd")


def test_numpy_given_to_a_network():
    for hybridize in (False, True):
        layer = nn.Dense(1, in_units=2)
        layer.initialize()
        layer.hybridize(hybridize)
        with pytest.raises(TigonError, match=r"given ndarray; convert it with nd\.array first"):
            layer(np.ones((1, 2)))


def test_one_warning_for_all_parameters():
    net = nn.HybridSequential()
    net.add(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2))
    net.initialize()
    net.add(nn.Dense(1, in_units=2))
    with pytest.warns(UserWarning, match="and 3 more: already initialized; pass force") as caught:
        net.initialize()
    assert len(caught) == 1
    assert net[2].weight.is_initialized


def test_explain_before_the_first_call():
    net = nn.Dense(1, in_units=1)
    assert net.explain() == "not hybridized"
    net.hybridize()
    assert net.explain() == "not called yet"


def test_hooks_apply_and_summary(capsys):
    net = nn.HybridSequential()
    net.add(nn.Dense(3, in_units=2), nn.Dense(1, in_units=3))
    net.initialize()
    seen = []
    net.apply(lambda block: seen.append(type(block).__name__))
    assert seen == ["Dense", "Dense", "HybridSequential"]
    shapes = []
    before = net.register_forward_pre_hook(lambda block, inputs: shapes.append(inputs[0].shape))
    after = net.register_forward_hook(lambda block, inputs, output: shapes.append(output.shape))
    net.hybridize()
    for _ in range(2):
        net(nd.ones((4, 2)))
    assert shapes == [(4, 2), (4, 1)] * 2
    before.detach()
    after.detach()
    net(nd.ones((4, 2)))
    assert len(shapes) == 4
    net.hybridize(False)
    net.summary(nd.ones((4, 2)))
    shown = capsys.readouterr().out
    assert "Unique parameters in model: 13" in shown
    assert "(4, 3)" in shown


def test_symbol_block_from_a_symbol():
    from tigon import sym

    data = sym.var("data")
    hidden = sym.FullyConnected(data, num_hidden=4, name="fc1")
    outputs = [sym.relu(hidden), sym.sum(hidden)]
    net = gluon.SymbolBlock(outputs, data)
    net.initialize(mx.init.One())
    relu, total = net(nd.ones((2, 3)))
    assert relu.asnumpy().tolist() == [[3] * 4] * 2
    assert total.asnumpy().tolist() == [24]
    with message() as caught:
        gluon.SymbolBlock(outputs, sym.var("dta"))
    assert str(caught.value) == (
        "SymbolBlock: input 'dta' is not in the graph; its variables are data, fc1_bias, fc1_weight"
    )


def test_shapes_of_own_parameters_follow_from_the_graph():
    class Net(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.weight = self.params.get("weight", shape=(4, 0), allow_deferred_init=True)

        def hybrid_forward(self, F, x, weight):
            return F.FullyConnected(x, weight, no_bias=True, num_hidden=4)

    for hybridize in (False, True):
        net = Net()
        net.initialize()
        net.hybridize(hybridize)
        assert net(nd.ones((2, 7))).shape == (2, 4)
        assert net.weight.shape == (4, 7)


def test_changing_the_kind_of_an_attribute():
    net = nn.HybridSequential()
    net.layer = nn.Dense(2)
    with pytest.raises(TypeError, match="holds Dense; cannot change it to int"):
        net.layer = 3


class ReadsShapes(nn.HybridBlock):
    def forward(self, x):
        return x.reshape((x.shape[0], -1)) * x.shape[1]


class Joins(nn.HybridBlock):
    def hybrid_forward(self, F, left, right):
        return F.concat(left, right, dim=1), left + 1


def test_a_symbol_block_of_several_inputs_is_exported_before_its_first_call(tmp_path):
    a, b = mx.sym.var("a"), mx.sym.var("b")
    block = gluon.SymbolBlock(a + b * 2, [a, b])
    files = block.export(str(tmp_path / "net"))
    again = gluon.SymbolBlock.imports(files[0], ["data0", "data1"])
    assert again(nd.ones((2,)), nd.ones((2,))).asnumpy().tolist() == [3, 3]


def test_export_without_parameters_of_shapes_read_and_of_several_inputs(tmp_path):
    path = str(tmp_path / "model")
    for net, args, names in (
        (ReadsShapes(), [nd.ones((2, 3, 4))], ["data"]),
        (Joins(), [nd.ones((2, 3)), nd.ones((2, 3))], ["data0", "data1"]),
    ):
        net.hybridize()
        expected = net(*args)
        again = gluon.SymbolBlock.imports(*[net.export(path)[0], names, f"{path}-0000.params"])
        found = again(*args)
        if not isinstance(expected, tuple):
            expected, found = [expected], [found]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
    symbol_file, _ = Joins().export(path)  # no call is needed to know that it takes two
    assert mx.sym.load(symbol_file).list_inputs() == ["data0", "data1"]


def test_symbol_blocks_inside_other_blocks():
    inner = gluon.SymbolBlock(
        mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=4, name="fc"), mx.sym.var("data")
    )
    net = nn.HybridSequential()
    net.add(inner, nn.Dense(2))
    net.initialize()
    first = net(nd.ones((3, 5))).asnumpy()
    net.hybridize()
    with autograd.record():
        y = net(nd.ones((3, 5)))
    y.backward()
    np.testing.assert_allclose(y.asnumpy(), first, rtol=1e-6)
    assert inner.collect_params()["fc_weight"].grad().shape == (4, 5)


def test_blocks_in_a_plain_list_are_noticed():
    class Net(nn.HybridBlock):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Dense(2), nn.Dense(3)]

    with pytest.warns(UserWarning, match=r"Net\.layers: holds blocks that are not registered"):
        Net().collect_params()
