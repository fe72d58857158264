"""Models written for others: ONNX Runtime computes the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.registry.test_execution import arrays_of, run
from tests.registry.test_records import node_of, operands_of
from tigon import TigonError, nd, sym
from tigon.gluon import nn, rnn
from tigon.gluon.model_zoo import vision
from tigon.ir.graph import Graph
from tigon.ops import Operator, all_operators
from tigon.passes.set_mode import set_mode

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from tigon.contrib.onnx.exporting import model_of, written  # noqa: E402

REFUSED = frozenset(
    """_direction _inverse_or_zero _left_shift _polygamma _right_shift _slope_of_mish
    _slope_of_softrelu _turning _unwindow _unwindow_like _while_loop _foreach col2im digamma erfinv
    gamma gammaln linalg_gelqf linalg_inverse linalg_potrf linalg_potri linalg_slogdet linalg_syevd
    linalg_trsm _random_pdf_dirichlet _random_pdf_gamma _random_pdf_generalized_negative_binomial
    _random_pdf_negative_binomial _random_pdf_poisson _contrib_MultiBoxDetection
    _contrib_MultiBoxTarget _contrib_MultiProposal _contrib_Proposal _contrib_ROIAlign
    _contrib_bipartite_matching _contrib_box_nms""".split()
)
"""Operators that some sample of is refused, by the name of what ONNX lacks: special functions,
factorizations, sums over what windows see, loops that count, and what gradients alone read."""

OPERATORS = [
    op for op in all_operators() if not op.takes_key and not op.name.startswith("_backward")
]


def session(model: Any) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@pytest.mark.parametrize("part", range(8))
def test_operators(part: int) -> None:
    refused = set()
    for op in OPERATORS[part::8]:
        for number, sample in enumerate(op.samples[:3]):
            given = operands_of(op, sample, "float32", seed=number)
            if not all(array.size for array in given):
                continue
            refused |= _compared(op, sample, given)
    expected = {op.name for op in OPERATORS[part::8]} & REFUSED
    assert refused == expected


def _compared(op: Operator, sample: tuple, given: list[np.ndarray]) -> set[str]:
    try:
        node = node_of(op, sample, given)
    except TigonError:
        return set()  # a sample of another dtype
    names = [value.node.name for value in node.inputs]
    visible = node.outputs[: op.visible_count(node.attrs)]
    graph = set_mode(Graph(node.inputs, visible), False)
    try:
        shapes = [value.shape for value in graph.inputs]
        model = written(graph, names, {}, shapes, {}, 21, "one operator")
    except TigonError as error:
        assert str(error).startswith("export_model: "), error
        return {op.name}
    feed = {name: np.asarray(array) for name, array in zip(names, given, strict=True)}
    found = session(model).run(None, {name: feed[name] for name in names})
    for mine, array in zip(found, run(node, arrays_of(given)), strict=False):
        expected = array.asnumpy()
        assert (mine.shape, mine.dtype) == (expected.shape, expected.dtype), op.name
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4, err_msg=op.name)
    return set()


class Attention(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Dense(16, flatten=False, in_units=16) for _ in range(3)
        )
        self.norm = nn.LayerNorm(in_channels=16)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        scores = F.batch_dot(self.query(x), self.key(x), transpose_b=True) * 0.25
        mixed = F.batch_dot(F.softmax(scores, axis=-1), self.value(x))
        return self.norm(F.LeakyReLU(x + mixed, act_type="gelu"))


class Convolutions(nn.HybridSequential):
    def __init__(self) -> None:
        super().__init__()
        self.add(
            nn.Conv2D(8, 3, strides=2, padding=1, in_channels=3),
            nn.BatchNorm(in_channels=8),
            nn.Activation("relu"),
            nn.MaxPool2D(3, 2, ceil_mode=True),
            nn.Conv2D(8, 3, padding=2, dilation=2, groups=4, in_channels=8),
            nn.PReLU(in_channels=8),
            nn.AvgPool2D(2, 2, count_include_pad=False, padding=1),
            nn.Conv2DTranspose(4, 3, strides=2, padding=1, output_padding=1, in_channels=8),
            nn.GroupNorm(2, in_channels=4),
            nn.InstanceNorm(in_channels=4),
            nn.Swish(),
            nn.GlobalAvgPool2D(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Dense(5, activation="softrelu", in_units=4),
        )


class Loops(nn.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        rows, last = F.contrib.foreach(
            lambda row, state: (row * 2 + state, row + state), x, F.zeros_like(F.sum(x, axis=0))
        )
        doubled, end = F.contrib.while_loop(
            lambda total: F.sum(F.abs(total)) < 50,
            lambda total: (total, total * 2),
            last,
            max_iterations=6,
        )
        chosen = F.contrib.cond(F.sum(end) > 0, lambda: end * 2, lambda: end - 1)
        return rows, doubled, chosen


class Recurrent(nn.HybridBlock):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.layer(x) + 0


NETWORKS: dict[str, tuple[Callable[[], Any], list[tuple[Any, ...]], list[dict[str, int]]]] = {
    "dense": (lambda: nn.Dense(3, in_units=4), [("batch", 4)], [{"batch": 1}, {"batch": 7}]),
    "convolutions": (Convolutions, [("batch", 3, 17, 19)], [{"batch": 1}, {"batch": 3}]),
    "attention": (Attention, [("b", "t", 16)], [{"b": 2, "t": 5}, {"b": 1, "t": 9}]),
    "loops": (Loops, [(4, 3)], [{}]),
    "lstm": (
        lambda: Recurrent(rnn.LSTM(5, 2, bidirectional=True, input_size=3)),
        [("t", "n", 3)],
        [{"t": 4, "n": 2}, {"t": 6, "n": 1}],
    ),
    "gru": (lambda: Recurrent(rnn.GRU(5, 2, input_size=3)), [(4, "n", 3)], [{"n": 2}]),
    "rnn": (lambda: Recurrent(rnn.RNN(5, activation="relu", input_size=3)), [(4, 2, 3)], [{}]),
    "resnet": (vision.resnet18_v2, [("batch", 3, 32, 32)], [{"batch": 2}]),
    "mobilenet": (lambda: vision.mobilenet_v2_0_25(), [(1, 3, 64, 64)], [{}]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_open_sizes(name: str) -> None:
    make, shapes, sizes = NETWORKS[name]
    mx.random.seed(3)
    net = make()
    net.initialize(mx.init.Xavier())
    examples = [[size.get(n, n) for n in shape] for size in sizes for shape in shapes]
    net(nd.zeros(examples[0]))
    model = model_of(net, shapes=shapes)
    assert (model.opset_import[0].version, model.ir_version) == (21, 10)
    runs = session(model)
    for shape in examples:
        x = nd.random.normal(shape=shape)
        results = net(x)
        results = results if isinstance(results, (list, tuple)) else [results]
        found = runs.run(None, {"data": x.asnumpy()})
        for mine, other in zip(found, results, strict=True):
            np.testing.assert_allclose(mine, other.asnumpy(), rtol=1e-4, atol=1e-5)


def test_a_model_comes_back_and_trains(tmp_path: Path) -> None:
    net = Convolutions()
    net.initialize(mx.init.Xavier())
    x = nd.random.normal(shape=(2, 3, 17, 19))
    expected = net(x)
    path = mx.contrib.onnx.export_model(
        net, in_shapes=[(None, 3, 17, 19)], onnx_file_path=tmp_path / "net.onnx"
    )
    again = mx.contrib.onnx.import_to_gluon(path)
    np.testing.assert_allclose(again(x).asnumpy(), expected.asnumpy(), rtol=1e-4, atol=1e-5)
    with mx.autograd.record():
        loss = again(x).sum()
    loss.backward()


def test_files_and_names_of_mxnet(tmp_path: Path) -> None:
    data, label = sym.Variable("data"), sym.Variable("softmax_label")
    out = sym.FullyConnected(data, num_hidden=3, name="fc")
    out = sym.SoftmaxOutput(out, label, name="softmax")
    arrays = {"arg:fc_weight": nd.ones((3, 4)), "arg:fc_bias": nd.arange(3)}
    out.save(str(tmp_path / "m-symbol.json"))
    nd.save(str(tmp_path / "m-0000.params"), arrays)
    path = mx.contrib.onnx.export_model(
        str(tmp_path / "m-symbol.json"),
        str(tmp_path / "m-0000.params"),
        input_shape=[(2, 4)],
        input_type=np.float32,
        onnx_file_path=str(tmp_path / "m.onnx"),
    )
    (found,) = session(onnx.load(path)).run(None, {"data": np.ones((2, 4), np.float32)})
    np.testing.assert_allclose(found, [[0.09003057, 0.24472848, 0.66524094]] * 2, rtol=1e-5)
    dynamic = mx.contrib.onnx.export_model(
        out,
        {name[4:]: array for name, array in arrays.items()},
        [(2, 4)],
        dynamic=True,
        dynamic_input_shapes=[(None, 4)],
        onnx_file_path=str(tmp_path / "d.onnx"),
    )
    (found,) = session(onnx.load(dynamic)).run(None, {"data": np.ones((5, 4), np.float32)})
    assert found.shape == (5, 3)


def test_names_of_outputs_and_extents() -> None:
    """As the network has them, whatever the results are made of; params as MXNet hands them on."""
    data = sym.var("data")
    norm = sym.BatchNorm(sym.FullyConnected(data, num_hidden=3, name="fc"), name="norm")
    loss = sym.SoftmaxOutput(norm, name="softmax")
    flat = sym.Reshape(data, shape=(-1,), name="flat")
    arguments = {"fc_weight": nd.ones((3, 4)), "fc_bias": nd.ones((3,))}
    arguments |= {"norm_gamma": nd.ones((3,)), "norm_beta": nd.ones((3,))}
    states = {"norm_moving_mean": nd.ones((3,)), "norm_moving_var": nd.ones((3,))}
    last = sym.BatchNorm(data, axis=2, name="last")
    model = model_of(sym.Group([loss, norm, flat]), [arguments, states], shapes=[("batch", 4)])
    found = [(each.name, each.shape) for each in session(model).get_outputs()]
    assert found == [("softmax", ["batch", 3]), ("norm", ["batch", 3]), ("flat", ["4*batch"])]
    states = {f"last_{each}": nd.ones((2,)) for each in ("gamma", "beta", "moving_mean")}
    states |= {"last_moving_var": nd.ones((2,))}
    model = model_of(last, states, shapes=[(None, 3, 2)])
    assert [each.name for each in session(model).get_outputs()] == ["last"]


class Formula(nn.HybridBlock):
    def __init__(self, formula: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.formula = formula

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.formula(F, x)


WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "rounded": lambda F, x: [F.floor(x), F.ceil(x), F.rint(x), F.round(x), F.trunc(x), F.fix(x)],
    "of floats": lambda F, x: [
        f(x + 1) for f in (F.sqrt, F.exp, F.log, F.cbrt, F.sigmoid, F.contrib.isnan)
    ],
    "reduced": lambda F, x: [F.sum(x, axis=1), F.prod(x, axis=1), F.max(x, axis=1)],
    "in order": lambda F, x: [F.cumsum(x, axis=1), F.argmax(x, axis=1)],
    "negative": lambda F, x: [-x, 1 - x, F.square(x)],
    "pooled": lambda F, x: [F.Pooling(F.reshape(x, (1, 1, 2, 4)), kernel=(2, 2), pool_type="max")],
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_whole_numbers(dtype: str) -> None:
    """Where ONNX has an operator for other dtypes alone, a wider one computes."""
    x = np.array([[0, 1, 2, 0], [1, 3, 3, 1]], dtype)
    for name, make in WHOLE.items():
        net = Formula(make)
        expected = net(nd.array(x, dtype=dtype))
        found = session(model_of(net, shapes=[x.shape], types=dtype)).run(None, {"data": x})
        for mine, other in zip(found, expected, strict=True):
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other.asnumpy(), err_msg=name)


def test_formulas_lose_nothing_at_the_edges() -> None:
    x = np.array([[1e-6, -1e-7, 3e-8, 0, 20, 200, -200, np.inf, -1, np.nan]], np.float32)
    net = Formula(lambda F, x: [F.log1p(F.abs(x)), F.log1p(x * 0.5), F.expm1(x), F.arctan(x)])
    big = np.array([[1e20, 1e-25, 0, np.inf, np.inf, np.nan, 3]], np.float32)
    other = np.array([[1e20, 1e-25, 0, np.inf, 1, 1, 4]], np.float32)
    a, b = sym.var("a"), sym.var("b")
    hypot = sym.broadcast_hypot(a, b)
    found = session(model_of(net, shapes=[x.shape])).run(None, {"data": x})
    found += session(model_of(hypot, shapes=[big.shape] * 2)).run(None, {"a": big, "b": other})
    expected = [*net(nd.array(x)), *hypot.eval(a=nd.array(big), b=nd.array(other))]
    for mine, array in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, array.asnumpy(), rtol=2e-6)


def test_shapes_are_numbers_of_open_extents() -> None:
    net = Formula(
        lambda F, x: [F.shape_array(x), F.size_array(x), x / F.cast(F.size_array(x), "float32")]
    )
    net(nd.ones((2, 3)))
    runs = session(model_of(net, shapes=[("batch", 3)]))
    for batch in (1, 4):
        shape, size, mean = runs.run(None, {"data": np.ones((batch, 3), np.float32)})
        assert (shape.tolist(), size.tolist()) == ([batch, 3], [batch * 3])
        np.testing.assert_allclose(mean, np.ones((batch, 3)) / (batch * 3), rtol=1e-6)


def test_bfloat16() -> None:
    """Numbers in a formula have the dtype of the arrays that they meet."""
    symbol = sym.cast(sym.cast(sym.var("x"), dtype="bfloat16") * 2 + 1, dtype="float32")
    x = np.array([[0.5, 3]], np.float32)
    model = model_of(symbol, shapes=[(1, 2)])
    assert {each.data_type for each in model.graph.initializer} == {onnx.TensorProto.BFLOAT16}
    again, _, _ = mx.contrib.onnx.import_model(model)
    np.testing.assert_array_equal(again.eval(x=nd.array(x))[0].asnumpy(), x * 2 + 1)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_other_operator_sets(opset: int) -> None:
    net = Attention()
    net.initialize()
    model = model_of(net, shapes=[("b", 5, 16)], opset=opset)
    x = nd.random.normal(shape=(2, 5, 16))
    (found,) = session(model).run(None, {"data": x.asnumpy()})
    np.testing.assert_allclose(found, net(x).asnumpy(), rtol=1e-4, atol=1e-5)


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "operator": (
        lambda: model_of(sym.linalg_inverse(sym.var("a"), name="inverse"), shapes=[(2, 2)]),
        "export_model: linalg_inverse 'inverse' computes 'linalg_inverse', which ONNX has no "
        "operator for; compute it before or after the network",
    ),
    "shapes": (
        lambda: model_of(sym.var("a") + sym.var("b"), shapes=[(2, 2)]),
        "export_model: in_shapes: expected one shape for each of the inputs ['a', 'b']; given 1; "
        "inputs whose arrays are in params need none",
    ),
    "value": (
        lambda: model_of(
            sym.LinearRegressionOutput(sym.var("a"), sym.var("b_label")) + sym.var("c"),
            {"d": nd.ones((1,))},
            shapes=[(2, 2)],
        ),
        "export_model: in_shapes: expected one shape for each of the inputs ['a', 'c']; given 1; "
        "inputs whose arrays are in params need none",
    ),
    "extent": (
        lambda: model_of(sym.exp(sym.var("a")), shapes=[(2, 0.5)]),
        "export_model: in_shapes: expected whole numbers, names, or None; given (2, 0.5)",
    ),
    "draws": (
        lambda: model_of(sym.random.uniform(shape=(2,), name="u") + sym.var("a"), shapes=[(2,)]),
        "export_model: _random_uniform 'u' draws random numbers, which others draw otherwise; make "
        "them an input",
    ),
    "one shape": (
        lambda: model_of(sym.exp(sym.var("a")), shapes=(2, 4)),
        "export_model: in_shapes: expected a list of shapes, as [(None, 3, 224, 224)]; given "
        "(2, 4)",
    ),
    "params": (
        lambda: model_of(sym.exp(sym.var("a")), 7, shapes=[(2, 4)]),
        "export_model: params: expected arrays by name, a list of such, or a path; given int",
    ),
    "opset": (
        lambda: model_of(sym.exp(sym.var("a")), shapes=[(2,)], opset=9),
        "export_model: opset_version: expected 18 to 26; given 9",
    ),
    "symbol": (
        lambda: model_of(3, shapes=[(2,)]),
        "export_model: sym: expected a Symbol, a HybridBlock, or a path; given int",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    call, message = REFUSALS[name]
    with pytest.raises(TigonError) as caught:
        call()
    assert str(caught.value) == message
