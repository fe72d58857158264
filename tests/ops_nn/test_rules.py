"""What operators say about wrong operands, what they know of missing ones, how losses start a
backward pass, and numbers that break careless formulas."""

from __future__ import annotations

import numpy as np
import pytest

import tigon as mx
from tests.fuzz.interpret import interpret
from tests.ops_nn.checks import inputs_for
from tigon.base import TensorType, TigonError, as_dtype
from tigon.ir import Graph, Node, typed, variable
from tigon.ops import get
from tigon.ops.record import Operator
from tigon.passes.decompose import decompose
from tigon.passes.gradient import gradient

FLOAT = as_dtype("float32")


def run(name: str, *arrays: np.ndarray, **attributes: object) -> list[np.ndarray]:
    op = get(name)
    inputs = inputs_for(arrays)
    node = Node(op, tuple(inputs), op.make_attrs(attributes))
    return interpret(decompose(Graph(inputs, node.outputs)), arrays)


def backward(name: str, *arrays: np.ndarray, **attributes: object) -> np.ndarray:
    """The cotangent of the first operand under a cotangent of sevens, that losses must ignore."""
    op = get(name)
    inputs = inputs_for(arrays)
    node = Node(op, tuple(inputs), op.make_attrs(attributes))
    (y,) = node.outputs
    g = variable("g", y.type)
    (dx,) = gradient([y], [g], [inputs[0]])
    seven = np.full(y.shape, 7, y.dtype.numpy)
    (result,) = interpret(decompose(Graph([*inputs, g], [dx])), [*arrays, seven])
    return result


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("name", "shapes", "attributes", "message"),
    [
        (
            "FullyConnected",
            [(2, 300), (256, 512), (256,)],
            {"num_hidden": 256},
            "FullyConnected: weight has 512 columns but data gives 300 features: expected weight "
            "of shape (256, 300); given (256, 512); data has shape (2, 300), flatten is True",
        ),
        (
            "FullyConnected",
            [(2, 3), (4, 3)],
            {"num_hidden": 4},
            "FullyConnected: bias is missing; give it, or set no_bias=True",
        ),
        (
            "Convolution",
            [(2, 3, 8, 8), (4, 1, 3, 3), (4,)],
            {"kernel": (3, 3), "num_filter": 4},
            "Convolution: weight: expected shape (4, 3, 3, 3) for data of shape (2, 3, 8, 8) with "
            "kernel (3, 3), num_filter=4, num_group=1; given (4, 1, 3, 3)",
        ),
        (
            "Convolution",
            [(2, 3, 2, 8), (4, 3, 3, 3), (4,)],
            {"kernel": (3, 3), "num_filter": 4},
            "Convolution: a window spans 3 elements, but the axis has 2 and padding 0 on either "
            "side; use a smaller kernel or more padding",
        ),
        (
            "Convolution",
            [(2, 3, 8, 8), (4, 3, 3, 3), (4,)],
            {"kernel": (3, 3), "num_filter": 4, "stride": (2,)},
            "Convolution: stride: expected 2 numbers like kernel (3, 3); given (2,)",
        ),
        (
            "Pooling",
            [(2, 3, 8)],
            {"kernel": (2,), "pool_type": "median"},
            "Pooling: pool_type: expected one of max, avg, sum, lp; given 'median'",
        ),
        (
            "BatchNorm",
            [(2, 3), (4,), (3,), (3,), (3,)],
            {},
            "BatchNorm: gamma: expected shape (3,), one per channel: axis 1 of data, whose shape "
            "is (2, 3); given (4,)",
        ),
        (
            "softmax",
            [(2, 3)],
            {"axis": 2},
            "softmax: axis 2 does not exist in 2 dimensions; choose from -2 to 1",
        ),
        (
            "Activation",
            [(2, 3)],
            {"act_type": "swish"},
            "Activation: act_type: expected one of relu, sigmoid, tanh, softrelu, softsign, "
            "log_sigmoid, mish; given 'swish'",
        ),
        (
            "SoftmaxOutput",
            [(2, 3), (3,)],
            {},
            "SoftmaxOutput: label: expected shape (2,), one class each, or (2, 3), probabilities; "
            "given (3,)",
        ),
        (
            "sgd_update",
            [(2, 3), (3, 2)],
            {"lr": 0.1},
            "sgd_update: grad: expected shape (2, 3) like weight; given (3, 2)",
        ),
    ],
)
def test_errors_say_what_to_do(name: str, shapes: list, attributes: dict, message: str) -> None:
    op = get(name)
    types = tuple(TensorType(shape, FLOAT) for shape in shapes)
    with pytest.raises(TigonError) as caught:
        op.infer_types(op.make_attrs(attributes), types)
    assert str(caught.value) == message


def test_dropout_gets_its_key_after_its_type() -> None:
    dropout = get("Dropout")
    data = variable("data", TensorType((2, 3), FLOAT))
    value = dropout(data, training=True)
    assert value.type == data.type
    with pytest.raises(TigonError, match="its key is missing"):
        decompose(Graph([data], [value]))


# ----------------------------------------------------------------------- missing operands


@pytest.mark.parametrize(
    ("name", "data", "attributes", "expected"),
    [
        ("FullyConnected", (2, 3, 4), {"num_hidden": 5}, [(5, 12), (5,)]),
        ("FullyConnected", (2, 3, 4), {"num_hidden": 5, "flatten": False}, [(5, 4), (5,)]),
        (
            "Convolution",
            (2, 6, 8, 8),
            {"kernel": (3, 2), "num_filter": 4, "num_group": 2},
            [(4, 3, 3, 2), (4,)],
        ),
        (
            "Convolution",
            (2, 8, 8, 6),
            {"kernel": (3, 3), "num_filter": 4, "layout": "NHWC"},
            [(4, 3, 3, 6), (4,)],
        ),
        ("Deconvolution", (2, 6, 8), {"kernel": (3,), "num_filter": 4}, [(6, 4, 3)]),
        ("BatchNorm", (2, 3, 4), {}, [(3,), (3,), (3,), (3,)]),
        ("LayerNorm", (2, 3, 4), {}, [(4,), (4,)]),
        ("InstanceNorm", (2, 3, 4), {}, [(3,), (3,)]),
        ("LeakyReLU", (2, 3, 4), {"act_type": "prelu"}, [(3,)]),
        ("SoftmaxOutput", (2, 3), {}, [(2,)]),
        ("SoftmaxOutput", (2, 3, 4, 5), {"multi_output": True}, [(2, 4, 5)]),
        ("LinearRegressionOutput", (2, 3), {}, [(2, 3)]),
        ("Embedding", (2, 3), {"input_dim": 10, "output_dim": 4}, [(10, 4)]),
        ("sgd_mom_update", (2, 3), {"lr": 1.0}, [(2, 3), (2, 3)]),
    ],
)
def test_missing_operands_follow_from_data(
    name: str, data: tuple, attributes: dict, expected: list
) -> None:
    op = get(name)
    attrs = op.make_attrs(attributes)
    types: list = [TensorType(data, FLOAT), *(None for _ in expected)]
    found = op.infer_operands(attrs, types)
    assert [t.shape for t in found[1:]] == expected
    op.infer_types(attrs, tuple(found))


# ------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize(
    "name",
    [
        "FullyConnected",
        "Convolution",
        "BatchNorm",
        "LayerNorm",
        "softmax",
        "log_softmax",
        "Pooling",
    ],
)
def test_gradients_do_not_need_types(name: str) -> None:
    """Built without shapes and typed afterwards, a gradient is the same function."""
    op: Operator = get(name)
    *shapes, attributes = op.samples[0]
    rng = np.random.default_rng(3)
    arrays = [
        s.astype(np.float32) if isinstance(s, np.ndarray) else rng.normal(size=s).astype(np.float32)
        for s in shapes
    ]

    names = [f"x{i}" for i in range(len(arrays))]
    types = {n: TensorType(a.shape, FLOAT) for n, a in zip(names, arrays, strict=True)}
    results = []
    for known in (True, False):
        inputs = [variable(n, types[n] if known else None) for n in names]
        node = Node(op, tuple(inputs), op.make_attrs(attributes))
        y = node.outputs[0]
        shape = op.infer_types(node.attrs, tuple(types.values()))[0].shape
        g = variable("g", TensorType(shape, FLOAT) if known else None)
        found = [v for v in gradient([y], [g], inputs[:2]) if v is not None]
        graph = typed(Graph([*inputs, g], found), types | {"g": TensorType(shape, FLOAT)})
        seed = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        results.append(interpret(decompose(graph), [*arrays, seed]))
    for with_types, without in zip(*results, strict=True):
        np.testing.assert_allclose(with_types, without, rtol=1e-6, atol=1e-6)


def test_losses_ignore_what_comes_in() -> None:
    data = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 1.0]])
    label = np.array([1.0, 2.0])
    p = np.exp(data) / np.exp(data).sum(axis=1, keepdims=True)
    target = np.eye(3)[[1, 2]]
    np.testing.assert_allclose(backward("SoftmaxOutput", data, label), p - target)
    np.testing.assert_allclose(
        backward("SoftmaxOutput", data, label, normalization="batch"), (p - target) / 2
    )
    np.testing.assert_allclose(
        backward("SoftmaxOutput", data, label, use_ignore=True, ignore_label=2),
        (p - target) * [[1], [0]],
    )
    other = np.ones((2, 3))
    np.testing.assert_allclose(backward("LinearRegressionOutput", data, other), (data - other) / 3)
    np.testing.assert_allclose(
        backward("LogisticRegressionOutput", data, other), (1 / (1 + np.exp(-data)) - 1) / 3
    )
    np.testing.assert_allclose(
        backward("MAERegressionOutput", data, other), np.sign(data - other) / 3
    )
    np.testing.assert_allclose(backward("MakeLoss", data, grad_scale=3.0), np.full((2, 3), 3.0))
    np.testing.assert_allclose(backward("make_loss", data), np.ones((2, 3)))


def test_max_pooling_gives_to_the_first_of_equals() -> None:
    data = np.array([[[2.0, 2.0, 1.0, 1.0]]])
    result = backward("Pooling", data, kernel=(2,), stride=(2,))
    np.testing.assert_array_equal(result, [[[7.0, 0.0, 7.0, 0.0]]])


# -------------------------------------------------------------------------------- numbers


def test_softmax_of_large_numbers() -> None:
    data = np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32)
    np.testing.assert_allclose(run("softmax", data)[0], [[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(
        run("log_softmax", data)[0], [[-np.log(2)] * 2, [-1000.0, 0.0]], rtol=1e-6
    )


@pytest.mark.parametrize("name", ["LayerNorm", "BatchNorm"])
def test_normalization_far_from_zero(name: str) -> None:
    """E[x^2] - E[x]^2 would lose all digits here."""
    data = np.array([[9999.0, 10001.0], [10001.0, 9999.0]], np.float32)
    one, zero = np.ones(2, np.float32), np.zeros(2, np.float32)
    states = (zero, one) if name == "BatchNorm" else ()
    attributes = {"training": True} if name == "BatchNorm" else {}
    (y, *_) = run(name, data, one, zero, *states, eps=0.0, **attributes)
    np.testing.assert_allclose(y, [[-1, 1], [1, -1]], rtol=1e-5)


def test_dropout_keeps_the_mean_and_repeats_its_mask() -> None:
    data = np.ones((100, 100), np.float32)
    key = np.array([1, 2], np.int64)
    (y,) = run("Dropout", data, key, p=0.25, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.02
    np.testing.assert_array_equal(y, run("Dropout", data, key, p=0.25, training=True)[0])
    other = run("Dropout", data, key, p=0.25, training=True, ordinal=1)[0]
    assert (y != other).any()


def test_rates_may_be_operands() -> None:
    rng = np.random.default_rng(0)
    weight, grad, mom = (rng.normal(size=(2, 3)).astype(np.float32) for _ in range(3))
    rates = [np.array(value, np.float64) for value in (0.1, 0.01, 0.5)]
    by_operand = run("_sgd_mom_update", weight, grad, mom, *rates, momentum=0.9)
    by_attribute = run(
        "sgd_mom_update", weight, grad, mom, lr=0.1, wd=0.01, rescale_grad=0.5, momentum=0.9
    )
    for one, other in zip(by_operand, by_attribute, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert get("sgd_mom_update").mutates == {0: "weight", 1: "mom"}


@pytest.mark.parametrize("hybridize", [False, True], ids=["imperative", "hybridized"])
def test_units_that_are_too_active_are_pulled_back(hybridize: bool) -> None:
    """mxnet 1.9.1: penalty · (-target / average + (1 - target) / (1 - average)) is added."""

    class Sparse(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.average = self.params.get("moving_avg", shape=(2,), grad_req="null")

        def hybrid_forward(self, F, x, average):
            return F.IdentityAttachKLSparseReg(x, average, penalty=0.5, momentum=0.9) * 3

    net = Sparse()
    net.initialize()
    net.hybridize(hybridize)
    x = mx.nd.array([[0.2, 0.9], [0.6, 0.7]])
    x.attach_grad()
    average = np.zeros(2)
    for _ in range(3):
        with mx.autograd.record():
            y = net(x)
        y.backward()
        average = average * 0.9 + np.array([0.4, 0.8]) * 0.1
        np.testing.assert_allclose(net.average.data().asnumpy(), average, rtol=1e-5)
        pull = 0.5 * (-0.1 / average + 0.9 / (1 - average))
        np.testing.assert_allclose(x.grad.asnumpy(), [3 + pull] * 2, rtol=1e-5)
    net(x)
    np.testing.assert_allclose(net.average.data().asnumpy(), average, rtol=1e-5)
