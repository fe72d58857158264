"""What becomes one kernel, as users meet it: compiled, bound, hybridized, and in a trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.runtime.support import replaced_kernels
from tigon import Constant, Variable, autograd, compile, nd, sym
from tigon.base import TensorType, as_dtype
from tigon.gluon import nn
from tigon.ir import Graph, variable
from tigon.ir.graph import constant
from tigon.ops.record import get
from tigon.program.lowered import lower_graph
from tigon.runtime.counters import stats


def operators_of(compiled: Any) -> list[str]:
    """Names of the operators in each kernel, in order."""
    return [name for kernel in compiled.kernels for name in kernel.operators]


def hybridized(block: Any, *arrays: Any, training: bool = False) -> Any:
    """A block's only program for these arrays."""
    block.initialize()
    block.hybridize()
    with autograd.train_mode() if training else autograd.predict_mode():
        block(*arrays)
    (compiled,) = block._cached_graphs.latest.cached.programs
    return compiled


def test_the_documents_expression_is_one_kernel_however_it_is_run() -> None:
    a, b = Variable("a"), Variable("b")
    f = compile(b * a + 1)
    f(a=np.ones(10), b=np.ones(10))
    assert len(f.kernels) == 1
    executor = (b * a + 1).bind(mx.cpu(), {"a": nd.ones(10), "b": nd.ones(10)})
    executor.forward()
    assert len(executor.kernels) == 1

    class Net(nn.HybridBlock):
        def forward(self, a, b):
            return b * a + 1

    assert len(hybridized(Net(), nd.ones(10), nd.ones(10)).kernels) == 1


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (lambda: nn.HybridLambda("softmax"), (6, 50)),
        (lambda: nn.LayerNorm(in_channels=50), (6, 50)),
        (lambda: nn.BatchNorm(in_channels=3), (2, 3, 5, 7)),
        (lambda: nn.Dense(9, activation="relu", in_units=50), (6, 50)),
        (lambda: nn.Conv2D(4, 3, padding=1, activation="relu", in_channels=3), (2, 3, 8, 9)),
    ],
    ids=["softmax", "layer norm", "batch norm predicting", "dense+relu", "convolution+relu"],
)
def test_a_layer_is_one_kernel(block: Any, shape: tuple[int, ...]) -> None:
    assert len(hybridized(block(), nd.ones(shape)).kernels) == 1


@pytest.mark.parametrize("operator", ["softmax", "log_softmax"])
def test_a_large_operator_called_imperatively_is_one_kernel(operator: str) -> None:
    """An eager softmax is one fused kernel: count what is compiled for a new structure."""
    made: list[int] = []
    with replaced_kernels(lambda number: made.append(number) or (lambda: 0)):
        getattr(nd, operator)(nd.empty((3, 5, 7)), axis=1).wait_to_read()
    assert len(made) == 1
    mx._native.clear_signature_cache()


def test_the_update_of_all_parameters_is_one_kernel() -> None:
    outputs = []
    for index, shape in enumerate([(8, 4, 3, 3), (8,), (10, 72), (10,), (33, 10), (33,)]):
        weight, grad, mom = (
            sym.var(f"{name}{index}", shape=shape) for name in ("weight", "grad", "mom")
        )
        outputs.append(sym.sgd_mom_update(weight, grad, mom, lr=0.1, momentum=0.9, wd=1e-4))
    assert len(compile(outputs).kernels) == 1


def test_the_trainer_updates_all_parameters_in_one_call() -> None:
    net = nn.HybridSequential()
    for _ in range(5):
        net.add(nn.Dense(7, in_units=7))
    net.initialize()
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"momentum": 0.9})

    def step() -> None:
        with autograd.record():
            loss = net(nd.ones((2, 7))).sum()
        loss.backward()
        nd.waitall()
        before = mx.runtime.stats()["native_calls"]
        trainer.step(2)
        nd.waitall()
        calls.append(mx.runtime.stats()["native_calls"] - before)

    calls: list[float] = []
    for _ in range(3):
        step()
    assert calls[-1] == 1


def test_constants_are_added_before_execution() -> None:
    f = compile((Constant(1) + Constant(2)) + (Constant(3) + Constant(4)))
    assert f().asnumpy() == 10
    assert operators_of(f) == ["_copy"]
    x = Variable("x")
    g = compile(x + ((Constant(1) + 2) + (Constant(3) + 4)))
    assert g(x=np.zeros(3)).asnumpy().tolist() == [10] * 3
    assert operators_of(g) == ["broadcast_add"]
    assert "10" in str(g.kernels[0])


def test_constant_arrays_are_computed_once_at_compile_time() -> None:
    x = Variable("x")
    f = compile(x + sym.arange(4) * 2)
    f(x=np.zeros(4, np.float32))
    calls = mx.runtime.stats()["native_calls"]
    assert f(x=np.zeros(4, np.float32)).asnumpy().tolist() == [0, 2, 4, 6]
    assert mx.runtime.stats()["native_calls"] == calls + 1
    assert len(f.kernels) == 1


def test_equal_expressions_are_computed_once() -> None:
    a, b = (sym.var(name, shape=(40, 40)) for name in "ab")
    f = compile(sym.dot(a, b) * sym.dot(a, b) + sym.exp(a + b) * sym.exp(a + b))
    operators = operators_of(f)
    assert operators.count("_contract") == 1
    assert operators.count("exp") <= 1
    values = np.full((40, 40), 0.1, np.float32)
    expected = (values @ values) ** 2 + np.exp(values + values) ** 2
    np.testing.assert_allclose(f(a=values, b=values).asnumpy(), expected, rtol=1e-5)


def test_random_numbers_are_not_equal_expressions() -> None:
    """The same call twice draws twice."""
    f = compile([sym.random.uniform(shape=(50,)), sym.random.uniform(shape=(50,))])
    first, second = f()
    assert not np.array_equal(first.asnumpy(), second.asnumpy())


def test_dead_code_is_not_run() -> None:
    a = sym.var("a", shape=(30, 30))
    parts = sym.split(sym.dot(a, a), num_outputs=3, axis=1)
    assert len(parts) == 3
    f = compile(parts[0] + 1)
    assert operators_of(f) == ["_contract", "broadcast_add"]
    # What a batch norm in prediction mode does not return is not computed either.
    names = ("gamma", "beta", "mean", "variance")
    channels = [sym.var(name, shape=(30,)) for name in names]
    normalized = compile(sym.BatchNorm(a, *channels, use_global_stats=True))
    assert not any(name.startswith("_reduce") for name in operators_of(normalized))
    gradient = compile(sym.sum(a * 2 + sym.stop_gradient(sym.dot(a, a))).grad(wrt=[a]))
    assert "_contract" not in operators_of(gradient)


def test_views_cost_nothing() -> None:
    """Transposing, reshaping, slicing and broadcasting on the way are index maps."""
    a, b = sym.var("a", shape=(6, 8)), sym.var("b", shape=(8,))
    f = compile(
        sym.slice_axis(sym.reshape(sym.transpose(a), shape=(4, 12)), axis=0, begin=1, end=3) + 1
    )
    g = compile(sym.broadcast_add(sym.flip(a, axis=1), sym.expand_dims(b, axis=0)))
    assert len(f.kernels) == len(g.kernels) == 1
    assert f.memory_plan.temporaries == g.memory_plan.temporaries == 0
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    np.testing.assert_array_equal(f(a=values).asnumpy(), values.T.reshape(4, 12)[1:3] + 1)


def test_a_softmax_classifier_with_loss_is_two_kernels_per_direction_at_most() -> None:
    """The network's last layer, its loss and their gradients."""
    net = nn.Dense(10, in_units=20)
    net.initialize()
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()

    class Model(nn.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net, self.loss = net, loss

        def forward(self, x, label):
            return self.loss(self.net(x), label)

    model = Model()
    model.hybridize()
    x, label = nd.ones((4, 20)), nd.array([1, 2, 3, 4])
    for _ in range(2):
        with autograd.record():
            y = model(x, label)
        y.backward()
    forward, backward = model._cached_graphs.latest.cached.programs
    assert len(forward.kernels) == 2  # the product, and all of the loss
    assert len(backward.kernels) <= 3  # of the scores; of weight; of bias


def butterfly(F: Any, x: Any, levels: int) -> Any:
    """Each level adds to every element a partner further away."""
    for level in range(levels):
        partner = F.flip(F.reshape(x, shape=(-1, 2, 1 << level)), axis=1)
        x = F.tanh(x) + F.reshape(partner, shape=(-1,))
    return x


def test_what_is_computed_again_does_not_double_with_each_level() -> None:
    """Fused into one kernel, twelve levels would compute the first 4,096 times per element."""
    x = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    f = compile(butterfly(sym, sym.var("x", shape=(4096,)), 12))
    expected = butterfly(nd, nd.array(x), 12).asnumpy()
    np.testing.assert_array_equal(f(x=x).asnumpy(), expected)
    assert 4 <= len(f.kernels) <= 12


def test_along_an_extent_of_one_there_is_one_place() -> None:
    """The sum over all rows is read back at a shifted row, of which there is only one."""
    x = nd.array([[[1.0], [2.0], [3.0]]])
    x.attach_grad()

    class Net(nn.HybridBlock):
        def forward(self, x):
            return x + sym.slice_axis(x, axis=1, begin=2, end=3)

    net = Net()
    net.hybridize()
    with autograd.record():
        y = net(x)
    y.backward()
    assert x.grad.asnumpy().ravel().tolist() == [1, 1, 4]


@pytest.mark.usefixtures("nothing_stored")
def test_numbers_need_no_code_to_be_folded() -> None:
    x = variable("x", TensorType((3,), as_dtype("float32")))
    two = get("broadcast_add")(constant(1.0), constant(1.0))
    before = stats()["kernel_compilations"]
    lowered = lower_graph(Graph([x], [x * two]))
    assert stats()["kernel_compilations"] == before
    assert "2.0" in str(lowered.kernels[0])
