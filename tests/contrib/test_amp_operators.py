"""Mixed precision: what computes in what, on arrays, symbols and in traces."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import tigon as mx
from tests.contrib.amp_training import name_of, network, samples
from tigon import autograd, gluon, nd, sym
from tigon.contrib import amp
from tigon.contrib.amp.lists import symbol_fp16
from tigon.gluon import nn, rnn
from tigon.ops import record
from tigon.passes.decompose import decompose
from tigon.passes.share_common_subexpressions import share_common_subexpressions


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
