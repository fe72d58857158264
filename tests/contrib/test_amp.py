"""Automatic mixed precision: which operators compute in what, on arrays, symbols and graphs, and
how losses are scaled."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd, sym
from tigon.base.dtypes import as_dtype
from tigon.contrib import amp
from tigon.contrib.amp.lists import symbol_bf16, symbol_fp16
from tigon.contrib.amp.policies import names_within
from tigon.gluon import nn, rnn
from tigon.ops import casting, record
from tigon.passes.decompose import decompose
from tigon.passes.share_common_subexpressions import share_common_subexpressions
from tigon.runtime import counters

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def not_initialized() -> Iterator[None]:
    yield
    amp.amp._uninstall()


def name_of(array: Any) -> str:
    return as_dtype(array.dtype).name


def network(*, seed: int = 3) -> Any:
    mx.random.seed(seed)
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(
            nn.Conv2D(8, 3, padding=1, in_channels=1, activation="relu"),
            nn.BatchNorm(in_channels=8),
            nn.MaxPool2D(2),
            nn.Flatten(),
            nn.Dense(32, activation="relu", in_units=72),
            nn.Dense(4, in_units=32),
        )
    net.initialize(mx.init.Xavier())
    return net


def samples() -> tuple[Any, Any]:
    random = np.random.default_rng(5)
    data = random.standard_normal((128, 1, 6, 6)).astype(np.float32)
    label = (data[:, 0, :3, :3].sum((1, 2)) > 0) * 2 + (data[:, 0, 3:, 3:].sum((1, 2)) > 0)
    return nd.array(data), nd.array(label)


LOSS = gluon.loss.SoftmaxCrossEntropyLoss()


def trained(
    dtype: str | None, hybridized: bool, steps: int = 60, **options: Any
) -> tuple[float, Any, Any]:
    """The mean loss at the end, the network and its trainer."""
    net = network()
    if hybridized:
        net.hybridize()
    if dtype is not None:
        amp.init(dtype)
    trainer = gluon.Trainer(
        net.collect_params(), "sgd", {"learning_rate": 0.1, "momentum": 0.9}, **options
    )
    if dtype is not None:
        amp.init_trainer(trainer)
    data, label = samples()
    for step in range(steps):
        rows = slice(step * 32 % 128, step * 32 % 128 + 32)
        with autograd.record():
            loss = LOSS(net(data[rows]), label[rows])
            if dtype is None:
                loss.backward()
            else:
                with amp.scale_loss(loss, trainer) as scaled:
                    autograd.backward(scaled)
        trainer.step(32)
    return float(LOSS(net(data), label).mean().asscalar()), net, trainer


# ----------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_operator_is_in_one_list(dtype: str) -> None:
    lists = [
        amp.list_lp16_ops(dtype),
        amp.list_lp16_fp32_ops(dtype),
        amp.list_fp32_ops(dtype),
        [name for name, _, _ in amp.list_conditional_fp32_ops(dtype)],
        amp.list_widest_type_cast(dtype),
        amp.list_loss_output_functions(dtype),
    ]
    listed = [name for names in lists for name in names]
    assert len(listed) == len(set(listed))
    ours = {op.name for op in record.all_operators() if not op.name.startswith("toy_")}
    assert set(listed) - {"Custom"} == ours, "put a new operator into a list of symbol_fp16.py"


def test_operators_whose_operands_are_alike_are_brought_to_one_dtype() -> None:
    """What is left alone would refuse a float16 beside a float32."""
    stays = {"_contrib_index_copy", "fill_element_0index", "amp_multicast"}
    stays |= {"multi_lars", "multi_sum_sq"}
    for name in amp.list_lp16_fp32_ops():
        op = record.get(name)
        inner = name.startswith("_") and not name.startswith(("_contrib", "_image", "_sample"))
        if op.overwrites or inner or name in stays:
            continue
        for sample in op.samples:
            for alike in op.alike(op.make_attrs(sample[-1])):
                operands = [op.operands[place] for place in alike.operands]
                others = [o for o in operands[1:] if o.name not in op.statistics]
                single = not others and not operands[0].variadic
                assert single or "f" not in alike.kinds, f"{name}: {[o.name for o in operands]}"


def test_lists_by_their_names_in_mxnet() -> None:
    assert amp.list_fp16_ops() is symbol_fp16.FP16_FUNCS is amp.lists.symbol.FP16_FUNCS
    assert amp.list_fp16_fp32_ops() is symbol_fp16.FP16_FP32_FUNCS
    assert amp.list_lp16_ops("bfloat16") is symbol_bf16.BF16_FUNCS
    assert amp.list_lp16_ops(np.float16) == amp.list_fp16_ops()
    assert amp.list_lp16_use_fp32_params("float16") is None
    assert set(amp.list_lp16_use_fp32_params("bfloat16")["BatchNorm"]) > {"gamma", "moving_var"}
    with pytest.raises(mx.TigonError) as told:
        amp.list_fp32_ops("float64")
    assert str(told.value) == (
        "amp.list_fp32_ops: target_dtype: expected 'float16' or 'bfloat16'; given 'float64'"
    )


# ------------------------------------------------------------------------------------ init

REFUSED = [
    (
        {"target_dtype": "int8"},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given 'int8'",
    ),
    (
        {"target_dtype": None},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given None",
    ),
    (
        {"target_dtype": "nonsense"},
        "amp.init: target_dtype: expected 'float16' or 'bfloat16'; given 'nonsense'",
    ),
    (
        {"target_precision_ops": ["FullyConnected", "Fully", "Conv"]},
        "amp.init: target_precision_ops: expected names of operators; there is no 'Fully', 'Conv'; "
        "tigon.ops.names() lists them",
    ),
    (
        {"fp32_ops": "exp"},
        "amp.init: fp32_ops: expected a list of names of operators; given 'exp'",
    ),
    (
        {"fp32_ops": ["sgd_update"]},
        "amp.init: fp32_ops: expected operators that compute; sgd_update converts, controls or "
        "updates arrays in place, and takes what it is given; leave it out",
    ),
    (
        {"target_precision_ops": ["exp"]},
        "amp.init: exp is in target_precision_ops and in fp32_ops; give both lists, with each "
        "operator in one of them at most (what is not given is the default list)",
    ),
    (
        {"conditional_fp32_ops": [("Activation", "kind", ["relu"])]},
        "amp.init: conditional_fp32_ops: Activation has no attribute 'kind'; it has: act_type",
    ),
    (
        {"conditional_fp32_ops": ["Activation"]},
        "amp.init: conditional_fp32_ops: expected a list of (operator, attribute, list of values); "
        "given 'Activation'",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said[:60] for _, said in REFUSED])
def test_what_init_refuses(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(mx.TigonError) as told:
        amp.init(**arguments)
    assert str(told.value) == said
    assert not amp.amp._amp_initialized and casting.current() is None


def test_init_twice() -> None:
    assert amp._amp_initialized is False
    amp.init("float16")
    policy = casting.current()
    amp.init(np.float16, layout_optimization=True)
    assert amp._amp_initialized is amp.amp._amp_initialized is True
    assert casting.current() is policy
    with pytest.raises(mx.TigonError) as told:
        amp.init("bfloat16")
    assert str(told.value) == (
        "amp.init: mixed precision is initialized already, with float16 and other arguments; call "
        "it once, before the network is used"
    )
    assert casting.current() is policy


def test_lists_of_ones_own() -> None:
    amp.init(
        target_precision_ops=["dot", "broadcast_plus"],
        fp32_ops=["relu", "Custom"],
        conditional_fp32_ops=[("LeakyReLU", "act_type", ["leaky"])],
    )
    x = nd.ones((2, 2))
    assert name_of(nd.dot(x, x)) == name_of(x + x) == "float16"
    assert name_of(nd.FullyConnected(x, x, no_bias=True, num_hidden=2)) == "float32"
    half = x.astype("float16")
    assert name_of(nd.relu(half)) == "float32"
    assert name_of(nd.exp(half)) == "float16"
    assert name_of(nd.LeakyReLU(half, act_type="leaky")) == "float32"
    assert name_of(nd.LeakyReLU(half, act_type="elu")) == "float16"


# ---------------------------------------------------------------------- what is computed in what


def _mixed(op: Any, sample: Any) -> list[Any]:
    """Operands of a sample; every other array of floats is of float16."""
    random = np.random.default_rng(1)
    low, high = op.domain or (-1.0, 1.0)
    operands = []
    for place, given in enumerate(sample[:-1]):
        operand = op.operands[min(place, len(op.operands) - 1)]
        if operand.random_key:
            continue
        array = given
        if isinstance(given, tuple):
            array = random.uniform(low, high, given).astype(np.float32)
            array = op.sampled(array) if place == 0 and op.sampled else array
        if np.asarray(array).dtype == np.float64:
            array = np.asarray(array, np.float32)
        made = nd.array(array, dtype=np.asarray(array).dtype)
        narrow = name_of(made) == "float32" and place % 2 == 0 and not operand.auxiliary
        operands.append(made.astype("float16") if narrow else made)
    return operands


CAST = sorted(
    {*symbol_fp16.FP16_FUNCS, *symbol_fp16.FP32_FUNCS, *symbol_fp16.WIDEST_TYPE_CASTS}
    | {name for name, _, _ in symbol_fp16.CONDITIONAL_FP32_FUNCS}
)


@pytest.mark.parametrize("name", [name for name in CAST if name != "Custom"])
def test_calls_and_traces_agree(name: str) -> None:
    """Of every operator that is cast, on float16 beside float32: the same dtypes and numbers on
    arrays, traced, and as a symbol of variables without types."""
    op = record.get(name)
    sample = op.samples[0]
    operands, attributes = _mixed(op, sample), sample[-1]
    amp.init()

    def call(*given: Any) -> Any:
        return op(*given, **attributes)

    mx.random.seed(1)
    found = call(*operands)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    mx.random.seed(1)
    traced = mx.jit(call)(*operands)
    traced = list(traced) if isinstance(traced, (list, tuple)) else [traced]
    variables = [sym.var(f"x{place}") for place in range(len(operands))]
    symbol = sym.Group(list(call(*variables)))
    given = {f"x{place}": operand for place, operand in enumerate(operands)}
    names = set(symbol.list_auxiliary_states())
    states = {own: array for own, array in given.items() if own in names}
    arguments = {own: array for own, array in given.items() if own not in names}
    executor = symbol.bind(mx.cpu(), arguments, aux_states=states, grad_req="null")
    mx.random.seed(1)
    for others in (traced, executor.forward()):
        assert [name_of(one) for one in others] == [name_of(one) for one in found]
        for other, one in zip(others, found, strict=True):
            np.testing.assert_allclose(
                other.astype("float64").asnumpy(), one.astype("float64").asnumpy(), rtol=1e-6
            )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_calls_on_arrays(dtype: str) -> None:
    amp.init(dtype)
    x, wide = nd.ones((2, 3)), nd.ones((2, 3), dtype="float64")
    half = x.astype(dtype)
    low = nd.FullyConnected(x, nd.ones((4, 3)), nd.zeros(4), num_hidden=4)
    assert name_of(low) == dtype
    assert name_of(nd.exp(half)) == name_of(half**0.5) == name_of(half.sum()) == "float32"
    assert name_of(half + x) == name_of(x * half) == name_of(nd.concat(x, half)) == "float32"
    assert name_of(half + half) == name_of(half + 1) == name_of(nd.relu(half)) == dtype
    assert name_of(nd.Activation(half, act_type="relu")) == dtype
    assert name_of(nd.Activation(half, act_type="softrelu")) == "float32"
    assert name_of(nd.LeakyReLU(half, nd.ones(3), act_type="prelu")) == "float32"
    assert name_of(nd.exp(wide)) == "float64", "of which nobody knows that it may be less"
    assert name_of(nd.sum(nd.ones(3, dtype="int32"))) == "int32"
    assert name_of(nd.FullyConnected(wide, wide, no_bias=True, num_hidden=2)) == "float64"
    assert nd.FullyConnected(nd.ones((0, 3)), x, no_bias=True, num_hidden=2).shape == (0, 2)
    with pytest.raises(mx.TigonTypeError, match="float64 like data; given float32"):
        nd.FullyConnected(wide, x, no_bias=True, num_hidden=2)


def test_what_a_call_gives_is_that_of_its_casts() -> None:
    random = np.random.default_rng(0)
    x, w = (nd.array(random.standard_normal((4, 4))) for _ in range(2))
    small, exact = x.astype("float16"), x.astype("float16").astype("float32")
    by_hand = nd.FullyConnected(small, w.astype("float16"), no_bias=True, num_hidden=4)
    summed, risen = nd.exp(exact), exact + w
    amp.init()
    found = nd.FullyConnected(x, w, no_bias=True, num_hidden=4)
    np.testing.assert_array_equal(found.asnumpy(), by_hand.asnumpy())
    np.testing.assert_array_equal(nd.exp(small).asnumpy(), summed.asnumpy())
    np.testing.assert_array_equal((small + w).asnumpy(), risen.asnumpy())


def test_before_and_after() -> None:
    """What was compiled, traced or composed under one policy is not used under another."""
    net = network()
    net.hybridize()
    data, _ = samples()
    function = mx.jit(lambda x: nd.FullyConnected(x, x, no_bias=True, num_hidden=128))
    flat = data.reshape((128, 36))
    symbol = sym.FullyConnected(sym.var("x"), num_hidden=2, no_bias=True, name="fc")

    def dtypes() -> list[str]:
        single = nd.FullyConnected(flat, flat, no_bias=True, num_hidden=128)
        return [name_of(one) for one in (net(data), net(data), function(flat), single)]

    assert dtypes() == ["float32"] * 4
    amp.init()
    assert dtypes() == ["float16"] * 4
    assert "the mixed precision of operators changed" in net.explain()
    weight = nd.ones((2, 36))
    assert name_of(symbol.eval(x=flat, fc_weight=weight)[0]) == "float32", "as it was"
    amp.amp._uninstall()
    assert dtypes() == ["float32"] * 4
    amp.init("bfloat16")
    assert dtypes() == ["bfloat16"] * 4


def test_a_step_that_was_made_before() -> None:
    data, label = nd.ones((2, 4)), nd.ones((2, 3))
    net = nn.Dense(3, in_units=4)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer, outputs=True)
    assert name_of(step(data, label)[1]) == "float32"
    amp.init("bfloat16")
    assert name_of(step(data, label)[1]) == "bfloat16"


def test_threads_that_run_meanwhile() -> None:
    """Nothing that another thread compiles at that moment outlives the policy it was made for."""
    x, w = nd.ones((2, 4)), nd.ones((3, 4))
    done = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        net = nn.Dense(3, in_units=4)
        net.initialize()
        net.hybridize()
        rows = 1
        while not done.is_set():
            rows = rows % 50 + 1
            try:
                net(x)
                nd.FullyConnected(nd.ones((rows, 4)), w, no_bias=True, num_hidden=3)
            except BaseException as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    amp.init()
    done.set()
    for thread in threads:
        thread.join()
    assert not failed
    for rows in range(1, 51):
        found = nd.FullyConnected(nd.ones((rows, 4)), w, no_bias=True, num_hidden=3)
        assert name_of(found) == "float16"


class Square(autograd.Function):
    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return x * x

    def backward(self, slope: Any) -> Any:
        (x,) = self.saved_tensors
        return slope * 2 * x


def test_functions_with_gradients_of_their_own() -> None:
    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Dense(3, in_units=4)

        def forward(self, x: Any) -> Any:
            return Square()(self.layer(x))

    amp.init()
    net = Net()
    net.initialize()
    results = []
    for hybridized in (False, True):
        net.hybridize(hybridized)
        with autograd.record():
            y = net(nd.ones((2, 4)))
        y.backward()
        results.append((y.asnumpy(), net.layer.weight.grad().asnumpy()))
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


class Product(autograd.Function):
    """Of two widths: its gradients are float32, whatever came in."""

    def forward(self, x: Any, weight: Any) -> Any:
        self.save_for_backward(x, weight)
        return nd.dot(x, weight)

    def backward(self, slope: Any) -> Any:
        x, weight = self.saved_tensors
        return nd.dot(slope, weight, transpose_b=True), nd.dot(x, slope, transpose_a=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("hybridized", [False, True])
def test_gradients_of_functions_come_in_the_floats_of_their_inputs(
    dtype: str, hybridized: bool
) -> None:
    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Dense(3, in_units=4)
            self.weight = self.params.get("weight", shape=(3, 2))

        def forward(self, x: Any) -> Any:
            return Product()(self.layer(x), self.weight.data())

    def slopes() -> list[Any]:
        mx.random.seed(4)
        net = Net()
        net.initialize(mx.init.Uniform(0.5))
        net.hybridize(hybridized)
        with autograd.record():
            y = net(nd.ones((2, 4)))
        y.backward()
        return [net.layer.weight.grad(), net.weight.grad()]

    expected = slopes()
    amp.init(dtype)
    for found, plain in zip(slopes(), expected, strict=True):
        assert name_of(found) == "float32"
        np.testing.assert_allclose(found.asnumpy(), plain.asnumpy(), rtol=2e-2, atol=2e-2)


def test_other_gradients_of_functions_are_refused_as_before() -> None:
    class Wrong(Square):
        def backward(self, slope: Any) -> Any:
            return slope.astype("float64")

    amp.init()
    x = nd.ones((2,))
    x.attach_grad()
    with autograd.record():
        y = Wrong()(x)
    with pytest.raises(mx.TigonError, match=r"expected float32\[2\], as the input"):
        y.backward()


def test_calls_by_numbers_of_nodes_have_no_casts() -> None:
    """Graphs that run node by node are what they are: `Symbol` composed before, or gradients."""
    x = nd.ones((2, 2))
    x.attach_grad()
    symbol = sym.exp(sym.var("x"))
    amp.init()
    executor = symbol.bind(mx.cpu(), {"x": x.astype("float16")}, grad_req="null")
    seen: ClassVar[list[str]] = []
    executor.set_monitor_callback(lambda name, array: seen.append(name_of(array)), True)
    executor.forward()
    assert set(seen) == {"float16"}


class Mixed(gluon.HybridBlock):
    """Many kinds of operators, in one graph."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.first = nn.Dense(6, in_units=5)
            self.second = nn.Dense(6, in_units=6, activation="softrelu")
            self.norm = nn.LayerNorm(in_channels=6)
            self.scale = self.params.get("scale", shape=(6,), init="ones")

    def hybrid_forward(self, F: Any, x: Any, scale: Any) -> Any:
        h = self.first(x)
        h = self.norm(self.second(h) + h) * scale
        twice = F.dot(h, h, transpose_b=True)
        return F.concat(F.softmax(twice), h, dim=1), F.mean(h**0.3 * F.sigmoid(h), axis=1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_hybridized_and_imperative_are_the_same(dtype: str) -> None:
    amp.init(dtype)
    net = Mixed()
    net.initialize(mx.init.Normal(0.5))
    x = nd.random.uniform(shape=(3, 5))

    def run() -> list[Any]:
        with autograd.record():
            outputs = net(x)
            loss = outputs[0].sum() + (outputs[1] ** 2).sum()
        loss.backward()
        return [*outputs, loss, *(p.grad() for p in net.collect_params().values())]

    imperative = [(name_of(a), a.asnumpy()) for a in run()]
    net.hybridize()
    for (name, expected), found in zip(imperative, run(), strict=True):
        assert name_of(found) == name
        # Gradients are summed in another order.
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-6, atol=2e-6)
    assert {name_of(p.grad()) for p in net.collect_params().values()} == {"float32"}


def test_a_weight_is_cast_once_in_a_graph() -> None:
    amp.init()

    class Shared(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Dense(4, in_units=4, use_bias=False)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.layer(self.layer(self.layer(x)))

    net = Shared()
    net.initialize()
    net.hybridize()
    net(nd.ones((2, 4)))
    (entry,) = net.compiled
    shared = share_common_subexpressions(decompose(entry.graph))
    narrow = [
        node
        for node in shared
        if node.op.name == "Cast" and node.attrs.dtype == "float16" and node.inputs[0].ndim == 2
        if node.inputs[0].node.name.endswith("weight")
    ]
    assert len(narrow) == 1


def test_symbols() -> None:
    amp.init()
    data = sym.var("data")
    net = sym.FullyConnected(data, num_hidden=4, name="fc1")
    active = sym.Activation(net, act_type="relu")
    net = sym.FullyConnected(active, num_hidden=4, name="fc2") + net
    assert net.list_arguments() == ["data", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"]
    net = sym.FullyConnected(data, num_hidden=4, name="one") + sym.exp(data, name="two")
    assert net.infer_shape(data=(2, 4)) == ([(2, 4), (4, 4), (4,)], [(2, 4)], [])
    arguments, outputs, _ = net.infer_type(data="float32")
    assert set(arguments) == {np.float32} and outputs == [np.float32]
    executor = net.simple_bind(mx.cpu(), data=(2, 4))
    executor.arg_dict["data"][:] = 1
    executor.forward(is_train=True)
    executor.backward(nd.ones((2, 4)))
    assert executor.grad_dict["one_weight"].asnumpy().tolist() == [[2.0] * 4] * 4
    assert name_of(executor.grad_dict["one_weight"]) == "float32"
    names = [node.name for node in net._nodes()]
    assert "data_amp_cast" in names and "one" in names and "one0" not in names


def test_shapes_are_inferred_through_casts() -> None:
    amp.init()
    symbol = sym.Convolution(sym.var("x"), kernel=(3, 3), num_filter=2, name="c")
    assert symbol.infer_shape(x=(1, 5, 8, 8))[0] == [(1, 5, 8, 8), (2, 5, 3, 3), (2,)]
    both = sym.var("a") + sym.var("b")
    executor = both.simple_bind(mx.cpu(), a=(2, 3))
    assert executor.arg_dict["b"].shape == (2, 3)
    gelu = sym.LeakyReLU(sym.var("x"), act_type="prelu", name="p")
    assert gelu.attr_dict()["p_gamma"]["__init__"] == '["Constant", {"value": 0.25}]'


def test_recurrent_layers_and_cells() -> None:
    amp.init()
    x = nd.random.normal(shape=(2, 5, 3))
    for make in (rnn.RNNCell, rnn.LSTMCell, rnn.GRUCell):
        cell = make(4, input_size=3)
        cell.initialize()
        imperative, states = cell.unroll(5, x, merge_outputs=True)
        assert name_of(imperative) == name_of(states[0])
        cell.hybridize()
        found, _ = cell.unroll(5, x, merge_outputs=True)
        np.testing.assert_array_equal(found.asnumpy(), imperative.asnumpy())
    layer = rnn.LSTM(4, input_size=3, layout="NTC", bidirectional=True)
    layer.initialize()
    imperative = layer(x)
    layer.hybridize()
    assert name_of(imperative) == "float16"
    np.testing.assert_array_equal(layer(x).asnumpy(), imperative.asnumpy())


class Loop(gluon.HybridBlock):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layer = nn.Dense(3, in_units=3, flatten=False)

    def hybrid_forward(self, F: Any, x: Any, state: Any) -> Any:
        def body(row: Any, state: Any) -> Any:
            state = self.layer(row + state)
            return state, state

        def step(i: Any, state: Any) -> Any:
            return state, [i + 1, self.layer(state)]

        if self.kind == "foreach":
            return F.contrib.foreach(body, x, state)
        if self.kind == "while_loop":
            i = F.zeros((1,))
            rows, last = F.contrib.while_loop(lambda i, s: i < 3, step, [i, state], 4)
            return rows, last[1]
        both = F.contrib.cond(F.sum(state) < 1, lambda: self.layer(state), lambda: F.exp(state))
        return both, both


@pytest.mark.parametrize("kind", ["foreach", "while_loop", "cond"])
def test_loops_and_branches_keep_their_dtypes(kind: str, tmp_path: Path) -> None:
    net = Loop(kind)
    net.initialize()
    x, state = nd.ones((4, 2, 3)), nd.zeros((2, 3))
    plain = amp.convert_hybrid_block(net)  # which is not traced yet
    wanted = [a.asnumpy() for a in plain(x, state)] if kind == "foreach" else None
    amp.init()
    imperative = net(x, state)
    assert name_of(imperative[1]) == "float32"
    net.hybridize()
    for found, expected in zip(net(x, state), imperative, strict=True):
        np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())
    if wanted is not None:
        for found, expected in zip(wanted, imperative, strict=True):
            np.testing.assert_allclose(found, expected.asnumpy(), rtol=2e-3)
    files = net.export(tmp_path / kind, remove_amp_cast=False)
    names = [n for n in ("data0", "data1") if n in sym.load(files[0]).list_inputs()]
    again = gluon.SymbolBlock.imports(files[0], names, files[1])
    given = dict(data0=x, data1=state)
    for found, expected in zip(again(*(given[n] for n in names)), imperative, strict=True):
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=2e-3)


class Twice(mx.operator.CustomOp):
    seen: ClassVar[list[str]] = []

    def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.seen.append(name_of(in_data[0]))
        self.assign(out_data[0], req[0], in_data[0] * 2)

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        self.assign(in_grad[0], req[0], out_grad[0] * 2)


@mx.operator.register("twice_in_float32")
class TwiceProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> Any:
        return Twice()


def test_operators_in_python_get_float32() -> None:
    amp.init()
    x = nd.ones((2, 3), dtype="float16")
    x.attach_grad()
    Twice.seen.clear()
    with autograd.record():
        y = nd.Custom(x, op_type="twice_in_float32")
    y.backward()
    assert name_of(x.grad) == "float16" and x.grad.asnumpy().tolist() == [[2.0] * 3] * 2
    assert Twice.seen == ["float32"] and name_of(y) == "float32"
    symbol = sym.Custom(sym.var("x"), op_type="twice_in_float32")
    result = symbol.eval(x=x)[0]
    assert name_of(result) == "float32" and result.asnumpy().tolist() == [[2.0] * 3] * 2
    assert Twice.seen == ["float32"] * 2


def test_gradients_of_gradients_and_the_recorded_symbol() -> None:
    amp.init()
    w = nd.ones((2, 3))
    w.attach_grad()
    with autograd.record():
        y = (nd.FullyConnected(nd.ones((2, 3)), w, no_bias=True, num_hidden=2) ** 2).sum()
        (slope,) = autograd.grad(y, [w], create_graph=True)
        loss = (slope * slope).sum()
    recorded = autograd.get_symbol(y)
    loss.backward()
    assert name_of(slope) == name_of(w.grad) == "float32"
    assert slope.asnumpy().tolist() == [[12.0] * 3] * 2
    assert w.grad.asnumpy().tolist() == [[288.0] * 3] * 2
    assert recorded.debug_str().count("amp_cast(") == 4
    assert recorded.list_outputs() == ["sum0_output"]


def test_errors_name_the_operator_that_was_called() -> None:
    amp.init()
    with pytest.raises(mx.TigonError, match=r"^FullyConnected: "):
        nd.FullyConnected(nd.ones((2, 3)), nd.ones((2, 5)), no_bias=True, num_hidden=2)
    with pytest.raises(mx.TigonError) as told:
        nd.exp(nd.ones(2, dtype="float16"), out=nd.zeros(2, dtype="float64"))
    assert str(told.value) == "exp: out=: expected float32 (2,); given float64 (2,)"


class InPlace(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Dense(3, in_units=3)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        y = self.layer(x)
        y += x
        y *= x
        return y


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_arrays_that_are_written_keep_their_dtypes(dtype: str) -> None:
    amp.init(dtype)
    net, x = InPlace(), nd.array([[1.5, -2.0, 3.0]])
    net.initialize(mx.init.One())
    plain = net(x)
    net.hybridize()
    assert name_of(plain) == name_of(net(x)) == dtype
    assert plain.asnumpy().tolist() == net(x).asnumpy().tolist()
    weight, wide, narrow = nd.ones((3, 3)), nd.zeros((1, 3)), nd.zeros((1, 3), dtype=dtype)
    assert nd.FullyConnected(x, weight, num_hidden=3, no_bias=True, out=wide) is wide
    assert wide.asnumpy().tolist() == [[2.5, 2.5, 2.5]]
    assert nd.exp(x * 0, out=narrow) is narrow and narrow.asnumpy().tolist() == [[1.0] * 3]
    low = x.astype(dtype)
    parts = [nd.zeros((1, 1)), nd.zeros((1, 1), dtype=dtype), None]
    found = nd.split(low, num_outputs=3, axis=1, out=parts)
    assert found[0] is parts[0] and found[1] is parts[1]
    assert [part.asscalar() for part in found] == [1.5, -2.0, 3.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_not_written(dtype: str) -> None:
    x = nd.ones((2,))
    low = x.astype(dtype)
    for initialized in (False, True):
        if initialized:
            amp.init(dtype)
        for out, given in (
            (nd.zeros(2, dtype="float64"), "float64 (2,)"),
            (nd.zeros(2, dtype="int32"), "int32 (2,)"),
            (nd.zeros(3), "float32 (3,)"),
            *([] if initialized else [(nd.zeros(2), "float32 (2,)")]),
        ):
            with pytest.raises(mx.TigonError) as told:
                nd.relu(low, out=out)
            assert str(told.value) == f"relu: out=: expected {dtype} (2,); given {given}"
    wide = nd.zeros(2)
    with autograd.record(), pytest.raises(mx.TigonError, match="out=: expected"):
        nd.relu(low, out=wide)  # nothing would lead back from it
    assert wide.asnumpy().tolist() == [0.0, 0.0]


LOSSES = [
    gluon.loss.L1Loss,
    gluon.loss.L2Loss,
    gluon.loss.HuberLoss,
    gluon.loss.HingeLoss,
    gluon.loss.SquaredHingeLoss,
    gluon.loss.PoissonNLLLoss,
]


@pytest.mark.parametrize("label_dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_labels_are_not_rounded(loss: Any, dtype: str, label_dtype: str) -> None:
    """70001 is infinite in float16, and 70144 in bfloat16."""
    prediction, label = nd.array([[2.0], [-3.0]]), nd.array([70001, 4097], dtype=label_dtype)
    expected = loss()(prediction, label.astype("float32"))
    amp.init(dtype)
    for hybridized in (False, True):
        function = loss()
        function.hybridize(hybridized)
        found = function(prediction.astype(dtype), label)
        assert name_of(found) == "float32"
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_positions_are_not_rounded(dtype: str) -> None:
    amp.init(dtype)
    data = nd.zeros((1, 5000), dtype=dtype)
    expected = np.arange(5000, dtype=np.float32).tolist()
    assert nd.contrib.arange_like(data, axis=1).asnumpy().tolist() == expected
    for found in (
        nd.one_hot(nd.array([4097]), 5000).astype(dtype).argmax(axis=1),
        (-nd.one_hot(nd.array([4097]), 5000).astype(dtype)).argmin(axis=1),
        nd.argmax_channel(nd.one_hot(nd.array([4097]), 5000).astype(dtype)),
        nd.topk(nd.one_hot(nd.array([4097]), 5000).astype(dtype), k=1)[0],
    ):
        assert found.asnumpy().tolist() == [4097.0]


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_what_is_not_cast_is_told_as_it_was_given(dtype: str) -> None:
    data, weight = nd.ones((2, 3), dtype=dtype), nd.ones((4, 3))
    said = f"FullyConnected: weight: expected {dtype} like data; given float32"
    amp.init()
    with pytest.raises(mx.TigonError, match=said):
        nd.FullyConnected(data, weight, num_hidden=4, no_bias=True)
    symbol = sym.FullyConnected(sym.var("x"), sym.var("w"), num_hidden=4, no_bias=True)
    graph = symbol.bind(mx.cpu(), {"x": data.astype("float32"), "w": weight})
    assert name_of(graph.forward()[0]) == "float16"


def test_threads_share_one_policy() -> None:
    amp.init()
    net = network()
    net.hybridize()
    data, _ = samples()
    found: list[str] = []

    def run() -> None:
        for _ in range(5):
            found.append(name_of(net(data)))
            found.append(
                name_of(nd.FullyConnected(data, nd.ones((2, 36)), nd.ones(2), num_hidden=2))
            )

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["float16"] * 40


# ----------------------------------------------------------------------------- scaled losses


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


# -------------------------------------------------------------------------------- conversion


def test_converted_blocks(tmp_path: Path) -> None:
    net = network()
    data, _ = samples()
    exact = net(data).asnumpy()
    for dtype, tolerance in (("float16", 5e-3), ("bfloat16", 5e-2)):
        low = amp.convert_hybrid_block(net, dtype)
        assert name_of(low(data)) == dtype
        np.testing.assert_allclose(low(data).astype("float32").asnumpy(), exact, atol=tolerance)
        assert {p.dtype for p in low.collect_params().values()} == {"float32"}
        kept = amp.convert_hybrid_block(net, dtype, cast_optional_params=True)
        np.testing.assert_array_equal(
            kept(data).astype("float32").asnumpy(), low(data).astype("float32").asnumpy()
        )
        dtypes = {name: p.dtype for name, p in kept.collect_params().items()}
        assert {n for n, d in dtypes.items() if d == "float32"} == {
            f"net_batchnorm0_{n}" for n in ("gamma", "beta", "running_mean", "running_var")
        }
    assert name_of(net(data)) == "float32"


def test_files_of_converted_blocks(tmp_path: Path) -> None:
    net = network()
    data, _ = samples()
    low = amp.convert_hybrid_block(net)

    def imported(block: Any, name: str, **options: Any) -> Any:
        files = block.export(tmp_path / name, **options)
        return gluon.SymbolBlock.imports(files[0], "data", files[1])

    plain = imported(low, "plain")
    np.testing.assert_array_equal(plain(data).asnumpy(), net(data).asnumpy())
    mixed = imported(low, "mixed", remove_amp_cast=False)
    np.testing.assert_array_equal(mixed(data).asnumpy(), low(data).asnumpy())
    assert "amp_cast" in (tmp_path / "mixed-symbol.json").read_text()
    assert "amp_cast" not in (tmp_path / "plain-symbol.json").read_text()
    kept = amp.convert_hybrid_block(net, cast_optional_params=True)
    again = imported(kept, "kept", remove_amp_cast=False)
    np.testing.assert_array_equal(again(data).asnumpy(), low(data).asnumpy())
    assert again.collect_params()["net_dense0_weight"].dtype == "float16"
    size = {n: (tmp_path / f"{n}-0000.params").stat().st_size for n in ("kept", "mixed")}
    assert size["kept"] < 0.6 * size["mixed"]
    with pytest.raises(mx.TigonError) as told:
        kept.export(tmp_path / "broken")
    assert str(told.value) == (
        "export: parameter 'net_conv0_weight' was converted with cast_optional_params, and fits "
        "the graph with its casts alone; pass remove_amp_cast=False"
    )
    assert not (tmp_path / "broken-symbol.json").exists()


def test_a_block_that_trains_mixed_is_exported_plain_or_mixed(tmp_path: Path) -> None:
    amp.init()
    net = network()
    net.hybridize()
    data, _ = samples()
    low = net(data)
    files = net.export(tmp_path / "plain")
    amp.amp._uninstall()
    plain = gluon.SymbolBlock.imports(files[0], "data", files[1])
    assert name_of(plain(data)) == "float32"
    amp.init()
    files = net.export(tmp_path / "mixed", remove_amp_cast=False)
    amp.amp._uninstall()
    mixed = gluon.SymbolBlock.imports(files[0], "data", files[1])
    np.testing.assert_array_equal(mixed(data).asnumpy(), low.asnumpy())


def test_blocks_of_several_inputs_in_order() -> None:
    class Two(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, y: Any) -> Any:
            return F.FullyConnected(y, x, no_bias=True, num_hidden=2)

    net = Two()
    x, y = nd.ones((2, 3)), nd.full((5, 3), 2.0)
    expected = net(x, y).asnumpy()
    low = amp.convert_hybrid_block(net)
    np.testing.assert_array_equal(low(x, y).asnumpy(), expected)
    again = amp.convert_hybrid_block(low, "bfloat16")
    assert name_of(again(x, y)) == "bfloat16"
    a, b = sym.var("left"), sym.var("right")
    read = gluon.SymbolBlock(sym.FullyConnected(b, a, no_bias=True, num_hidden=2), [a, b])
    np.testing.assert_array_equal(amp.convert_hybrid_block(read)(x, y).asnumpy(), expected)
    net.hybridize()
    net(x, y)
    np.testing.assert_array_equal(amp.convert_hybrid_block(net)(x, y).asnumpy(), expected)


def test_converted_symbols() -> None:
    data = sym.var("data")
    first = sym.FullyConnected(data, num_hidden=4, name="fc1")
    symbol = sym.softmax(sym.FullyConnected(first, num_hidden=4, name="fc2") + first, name="out")
    low = amp.convert_symbol(symbol)
    assert low.list_arguments() == symbol.list_arguments()
    assert low.list_outputs() == symbol.list_outputs()
    assert amp.convert_symbol(low).debug_str() == low.debug_str()
    assert "bfloat16" in amp.convert_symbol(low, "bfloat16").debug_str()
    assert low.tojson() == symbol.tojson()
    again = sym.load_json(low.tojson(remove_amp_cast=False))
    assert again.debug_str() == low.debug_str()
    spared = amp.convert_symbol(symbol, excluded_sym_names=["fc1", "fc2", "out"]).debug_str()
    assert spared.count("amp_cast(") == 0
    chosen = amp.convert_symbol(
        symbol, target_dtype_ops=["softmax"], fp32_ops=[], conditional_fp32_ops=[]
    )
    assert chosen.debug_str().count("amp_cast(") == 1


def test_models(tmp_path: Path) -> None:
    symbol = sym.FullyConnected(sym.var("data"), num_hidden=4, name="fc")
    symbol = sym.BatchNorm(symbol, name="bn")
    random = np.random.default_rng(0)
    arguments = {
        "fc_weight": nd.array(random.standard_normal((4, 3))),
        "fc_bias": nd.zeros(4),
        "bn_gamma": nd.ones(4),
        "bn_beta": nd.zeros(4),
    }
    states = {"bn_moving_mean": nd.zeros(4), "bn_moving_var": nd.ones(4)}
    data = nd.array(random.standard_normal((2, 3)))

    def run(symbol: Any, arguments: Any, states: Any) -> Any:
        executor = symbol.bind(mx.cpu(), {"data": data, **arguments}, aux_states=states)
        return executor.forward(is_train=False)[0]

    exact = run(symbol, arguments, states).asnumpy()
    for optional in (False, True):
        low, args, aux = amp.convert_model(symbol, arguments, states, cast_optional_params=optional)
        wanted = "float16" if optional else "float32"
        assert {name_of(args[n]) for n in ("fc_weight", "fc_bias")} == {wanted}
        assert {name_of(a) for n, a in {**args, **aux}.items() if "bn" in n} == {"float32"}
        found = run(low, args, aux)
        assert name_of(found) == "float16"
        np.testing.assert_allclose(found.asnumpy(), exact, rtol=5e-3, atol=1e-3)
        mx.model.save_checkpoint(tmp_path / "m", 1, low, args, aux, remove_amp_cast=False)
        loaded, a, b = mx.model.load_checkpoint(tmp_path / "m", 1)
        np.testing.assert_array_equal(run(loaded, a, b).asnumpy(), found.asnumpy())
        assert sym.load_json(low.tojson()).debug_str() == symbol.debug_str()
        assert "__dtype__" not in str(sym.load_json(low.tojson()).attr_dict())
    assert name_of(arguments["fc_weight"]) == "float32", "what is given stays"


def test_what_conversion_refuses() -> None:
    symbol = sym.exp(sym.var("x"))
    for call, said in (
        (
            lambda: amp.convert_symbol(nd.ones(1)),
            "amp.convert_symbol: sym: expected a Symbol; given NDArray",
        ),
        (
            lambda: amp.convert_symbol(symbol, "float32"),
            "amp.convert_symbol: target_dtype: expected 'float16' or 'bfloat16'; given 'float32'",
        ),
        (
            lambda: amp.convert_symbol(symbol, excluded_sym_names="exp0"),
            "amp.convert_symbol: excluded_sym_names: expected a list of names of nodes; given "
            "'exp0'",
        ),
        (
            lambda: amp.convert_model(symbol, [], {}),
            "amp.convert_model: arg_params: expected a dictionary of arrays by name; given list",
        ),
        (
            lambda: amp.convert_hybrid_block(gluon.Block()),
            "amp.convert_hybrid_block: block: expected a HybridBlock; given Block; derive it from "
            "HybridBlock, so that it has a graph",
        ),
        (
            lambda: amp.convert_bucketing_module(None),
            "amp.convert_bucketing_module: bucketing_mod: expected a BucketingModule; given "
            "NoneType",
        ),
    ):
        with pytest.raises(mx.TigonError) as told:
            call()
        assert str(told.value) == said
    with pytest.raises(mx.TigonError, match=r"^amp\.convert_hybrid_block: .* has no values yet"):
        amp.convert_hybrid_block(nn.Dense(2))


def test_names_that_nothing_has() -> None:
    symbol = sym.softmax(sym.FullyConnected(sym.var("data"), num_hidden=2, name="fc"), name="out")
    for arguments, said in (
        ({"excluded_sym_names": ["fcc"]}, "excluded_sym_names: there is no node 'fcc'; did you "),
        ({"excluded_sym_names": ["?"]}, "excluded_sym_names: there is no node '?'; debug_str() "),
        ({"data_names": ["date"]}, "data_names: there is no input 'date'; did you mean 'data'?"),
        ({"data_names": "data"}, "data_names: expected a list of names of inputs; given 'data'"),
    ):
        with pytest.raises(mx.TigonError) as told:
            amp.convert_symbol(symbol, **arguments)
        assert str(told.value).startswith(f"amp.convert_symbol: {said}")
    made = amp.convert_symbol(symbol, excluded_sym_names=["fc"], data_names=["data"])
    assert "FullyConnected(%data, %fc_weight, %fc_bias)" in made.debug_str()


def test_nodes_of_loops_can_be_excluded() -> None:
    def body(x: Any, state: Any) -> Any:
        h = sym.FullyConnected(x, num_hidden=2, name="inner") + state
        return h, h

    out, _ = sym.contrib.foreach(body, sym.var("xs"), sym.var("s"))
    inner = [
        name
        for name in names_within(out._graph())
        if name.startswith("inner") and not name.endswith(("weight", "bias"))
    ]
    assert len(inner) == 1
    assert "dtype='float16'" in amp.convert_symbol(out).debug_str()
    assert "dtype='float16'" not in amp.convert_symbol(out, excluded_sym_names=inner).debug_str()


def test_a_bucketing_module() -> None:
    def generate(key: int) -> Any:
        data = sym.var("data")
        net = sym.Embedding(data, input_dim=5, output_dim=4, name="embed")
        net = sym.FullyConnected(sym.mean(net, axis=1), num_hidden=3, name="fc")
        return sym.softmax(net, name="out"), ["data"], []

    module = mx.mod.BucketingModule(generate, default_bucket_key=6)
    with pytest.raises(mx.TigonError, match="have no values yet"):
        amp.convert_bucketing_module(module)
    module.bind([("data", (2, 6))], for_training=False)
    module.init_params(mx.init.Xavier())
    for optional in (False, True):
        low = amp.convert_bucketing_module(module, cast_optional_params=optional)
        low.bind([("data", (2, 6))], for_training=False)
        for key in (6, 3):
            batch = mx.io.DataBatch(
                [nd.ones((2, key))], bucket_key=key, provide_data=[("data", (2, key))]
            )
            module.forward(batch, is_train=False)
            low.forward(batch, is_train=False)
            exact, found = module.get_outputs()[0], low.get_outputs()[0]
            np.testing.assert_allclose(found.asnumpy(), exact.asnumpy(), rtol=5e-3)
            assert not np.array_equal(found.asnumpy(), exact.asnumpy())
        weight = low.get_params()[0]["fc_weight"]
        assert name_of(weight) == ("float16" if optional else "float32")


def test_module_fit_after_init(tmp_path: Path) -> None:
    data, label = samples()
    amp.init("bfloat16")
    net = sym.FullyConnected(sym.Flatten(sym.var("data")), num_hidden=16, name="fc1")
    net = sym.FullyConnected(sym.relu(net), num_hidden=4, name="fc2")
    net = sym.SoftmaxOutput(net, sym.var("softmax_label"), name="softmax")
    batches = mx.io.NDArrayIter(data, label, 32)
    module = mx.mod.Module(net)
    before = mx.runtime.stats()["whole_steps"]
    module.fit(
        batches, num_epoch=12, initializer=mx.init.Xavier(), optimizer_params={"learning_rate": 0.3}
    )
    assert mx.runtime.stats()["whole_steps"] > before
    assert module.score(batches, "acc")[0][1] > 0.9
    assert {name_of(a) for a in module.get_params()[0].values()} == {"float32"}
    module.save_checkpoint(str(tmp_path / "plain"), 1)
    module.save_checkpoint(str(tmp_path / "mixed"), 1, remove_amp_cast=False)
    for stem, casts in (("plain", False), ("mixed", True)):
        text = (tmp_path / f"{stem}-symbol.json").read_text()
        assert ('"op": "amp_cast"' in text) is casts
        again = mx.mod.Module.load(str(tmp_path / stem), 1)
        again.bind(batches.provide_data, batches.provide_label, for_training=False)
        assert again.score(batches, "acc")[0][1] > 0.9


# ------------------------------------------------------------------------- a program for MXNet

PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO)
import mxnet as mx
from mxnet import gluon, autograd
from mxnet.contrib import amp
from mxnet.contrib.amp import lists
from mxnet.contrib.amp.lists.symbol_fp16 import FP16_FUNCS
from mxnet.gluon.model_zoo.vision import get_model

amp.init()
amp.init()
assert amp.amp._amp_initialized and "Convolution" in FP16_FUNCS is lists.symbol.FP16_FUNCS
net = get_model("resnet18_v1", classes=3, thumbnail=True)
net.initialize(mx.init.Xavier(), ctx=mx.cpu())
net.hybridize(static_alloc=True, static_shape=True)
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01})
amp.init_trainer(trainer)
loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
data, label = mx.nd.random.uniform(shape=(2, 3, 32, 32)), mx.nd.array([0, 1])
for _ in range(2):
    with autograd.record():
        loss = loss_fn(net(data), label)
        with amp.scale_loss(loss, trainer) as scaled_loss:
            autograd.backward(scaled_loss)
    trainer.step(2)
low = amp.convert_hybrid_block(net, ctx=mx.cpu())
print(low(data).dtype.__name__, net.features[0].weight.grad().dtype.__name__)
"""


def test_a_program_that_says_mxnet(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tigon", "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "float16 float32\n"
    assert done.stderr.count("Using AMP") == 1
