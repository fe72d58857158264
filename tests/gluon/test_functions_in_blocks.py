"""`autograd.Function` in hybridized blocks, in `jit` and in `TrainStep`: forward and backward are
parts of the program; where they are no graph, the block gives way."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.base import TigonError
from tigon.gluon import nn


class Net(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arrays: Any) -> Any:
        return self.function(*arrays)


class Sigmoid(autograd.Function):
    """Three times its derivative: no other rule gives that."""

    def forward(self, x: Any) -> Any:
        y = 1 / (1 + nd.exp(-x))
        self.save_for_backward(y)
        return y

    def backward(self, dy: Any) -> Any:
        (y,) = self.saved_tensors
        return 3 * dy * y * (1 - y)


class Rounded(autograd.Function):
    """With attributes of its own, before and after the call."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Any) -> Any:
        self.x, self.rows = x, x.shape[0]
        return nd.round(x) * self.factor

    def backward(self, dy: Any) -> Any:
        return dy * self.factor * self.rows + self.x


class SumAndProduct(autograd.Function):
    def forward(self, a: Any, b: Any) -> Any:
        self.save_for_backward(a, b)
        return a + b, a * b

    def backward(self, g: Any, h: Any) -> Any:
        _, b = self.saved_tensors
        return g + 2 * h * b, None


class Clipped(autograd.Function):
    """Its gradient is not linear in the cotangent."""

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return nd.clip(dy, -0.5, 0.5)


class Dropped(autograd.Function):
    def forward(self, x: Any) -> Any:
        self.mask = nd.random.uniform(shape=x.shape) > 0.5
        return x * self.mask

    def backward(self, dy: Any) -> Any:
        return dy * self.mask


class Moded(autograd.Function):
    def forward(self, x: Any) -> Any:
        return x * (2 if autograd.is_training() else 3)

    def backward(self, dy: Any) -> Any:
        return dy * (5 if autograd.is_training() else 7)


class Outer(autograd.Function):
    """Calls another in both."""

    def forward(self, x: Any) -> list[Any]:
        return [Sigmoid()(x) * 2]

    def backward(self, dy: Any) -> list[Any]:
        return [Sigmoid()(dy) * dy]


factors = nd.array([1, 2, 3])


class Captured(autograd.Function):
    def forward(self, x: Any) -> Any:
        return x + factors

    def backward(self, dy: Any) -> Any:
        return dy * factors


def paused(x: Any) -> Any:
    with autograd.pause():
        y = Sigmoid()(x)
    return x * y


def predicted(x: Any) -> Any:
    with autograd.predict_mode():
        return Moded()(x) * 2


def looped(x: Any) -> Any:
    def body(row: Any, state: Any) -> Any:
        total = Sigmoid()(row) + state
        return total, total

    return nd.contrib.foreach(body, x.reshape((3, 1)), nd.zeros((1,)))[0]


GRAPHS: dict[str, Callable[..., Any]] = {
    "saved": lambda a, b: Sigmoid()(a * 2) + b,
    "attributes": lambda a, b: Rounded(3.0)(a) * b,
    "several": lambda a, b: SumAndProduct()(a * 1, b),
    "one of several": lambda a, b: SumAndProduct()(a, b)[1] + a,
    "one operand twice": lambda a, b: SumAndProduct()(a, a)[0] + b,
    "its operand": lambda a, b: Clipped()(a) * b,
    "random": lambda a, b: Dropped()(a) + b,
    "training": lambda a, b: Moded()(a) + b,
    "prediction": lambda a, b: predicted(a) + b,
    "within another": lambda a, b: Outer()(a)[0] + b,
    "captured": lambda a, b: Captured()(a) + b,
    "paused": lambda a, b: paused(a) + b,
    "loop": lambda a, b: looped(a) + b.sum(),
}


def _run(net: Net, recorded: bool, number: int) -> list[np.ndarray]:
    mx.random.seed(number)
    operands = [nd.array([0.1, 0.7, 1.6]) + number, nd.array([2, 3, 4])]
    for array in operands:
        array.attach_grad()
    if not recorded:
        found = net(*operands)
        return [y.asnumpy() for y in (found if isinstance(found, (list, tuple)) else [found])]
    with autograd.record():
        found = net(*operands)
        results = list(found) if isinstance(found, (list, tuple)) else [found]
        heads = [y * y for y in results]
    autograd.backward(heads)
    return [array.asnumpy() for array in (*results, *[x.grad for x in operands])]


@pytest.mark.parametrize("case", GRAPHS)
def test_a_program_holds_forward_and_backward(case: str) -> None:
    """Without a warning: no block gives way."""
    plain, hybridized = Net(GRAPHS[case]), Net(GRAPHS[case])
    hybridized.hybridize()
    for recorded in (True, False, True):
        for number in range(2):
            expected = _run(plain, recorded, number)
            found = _run(hybridized, recorded, number)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class ReadsForward(autograd.Function):
    def forward(self, x: Any) -> Any:
        self.y = nd.array(np.tanh(x.asnumpy()))
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.y * self.y)


class ReadsBackward(autograd.Function):
    def forward(self, x: Any) -> Any:
        calls.append("forward")
        self.save_for_backward(x * 2)
        return nd.tanh(x)

    def backward(self, dy: Any) -> Any:
        found = nd.array(dy.asnumpy() * self.saved_tensors[0].asnumpy())
        calls.append("backward")
        return found


class DrawsBackward(autograd.Function):
    def forward(self, x: Any) -> Any:
        calls.append("forward")
        return x * 2

    def backward(self, dy: Any) -> Any:
        noise = nd.random.uniform(shape=(3,))
        if not isinstance(dy, mx.sym.Symbol):
            calls.append("backward")
        return dy * noise


class MovesBackward(autograd.Function):
    """Statistics, which are no part of a gradient."""

    def forward(self, x: Any) -> Any:
        calls.append("forward")
        return x * 2

    def backward(self, dy: Any) -> Any:
        one, zero = nd.ones((3,)), nd.zeros((3,))
        found = nd.BatchNorm(dy.reshape((1, 3)), one, zero, zero * 1, one, use_global_stats=True)
        if not isinstance(dy, mx.sym.Symbol):
            calls.append("backward")
        return found.reshape((3,))


class Doubled(autograd.Function):
    """Its gradient is what is said."""

    def __init__(self, pull_back: Callable[[Any], Any]) -> None:
        super().__init__()
        self.pull_back = pull_back

    def forward(self, x: Any) -> Any:
        return x * 2

    def backward(self, dy: Any) -> Any:
        return self.pull_back(dy)


calls: list[str] = []


def test_values_that_a_forward_reads_are_paths() -> None:
    plain, hybridized = (Net(lambda a, b: ReadsForward()(a * 1) + b) for _ in range(2))
    hybridized.hybridize(strict=True)
    for number in (0, 1, 0, 1):
        expected, found = _run(plain, True, number), _run(hybridized, True, number)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert len(hybridized.compiled[0].paths) == 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ReadsBackward, "no graph: ReadsBackward.backward: it does x.asnumpy() at "),
        (MovesBackward, "changes a state or is Python code, which the gradient of a graph cannot"),
        (DrawsBackward, "no graph: DrawsBackward.backward: _random_uniform "),
    ],
)
def test_what_is_no_graph_gives_way_and_runs_once(kind: Any, reason: str) -> None:
    plain, hybridized = (Net(lambda a, b: kind()(a * 1) + b) for _ in range(2))
    hybridized.hybridize()
    for number in range(2):
        expected = _run(plain, True, number)
        calls.clear()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = _run(hybridized, True, number)
        assert calls == ["forward", "backward"]
        assert bool(told) is (number == 0)
        assert number or reason in str(told[0].message)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pull_back", "reason"),
    [
        (
            lambda dy: nd.ones((5,)),
            "Doubled.backward: gradient 0: expected float32[3], as the input, or None; "
            "given float32[5]",
        ),
        (
            lambda dy: (dy, dy),
            "Doubled.backward: expected 1 gradients, one for each input; given 2",
        ),
        (
            lambda dy: nd.dot(dy.reshape((1, 3)), dy.reshape((1, 3))),
            f"Doubled.backward: at {__file__}:LINE: TigonError: dot: inner sizes differ: 3 of "
            "(1, 3) and 1 of (1, 3); transpose one operand?",
        ),
        (
            lambda dy: {}["none"],
            f"Doubled.backward: at {__file__}:LINE: KeyError: 'none'",
        ),
    ],
)
def test_wrong_gradients_are_told_once_and_raise_alike(pull_back: Any, reason: str) -> None:
    plain, hybridized = (Net(lambda a, b: Doubled(pull_back)(a) + b) for _ in range(2))
    hybridized.hybridize()
    raised: list[Exception] = []
    for net in (plain, hybridized):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises((TigonError, KeyError)) as caught:
                _run(net, True, 0)
        raised.append(caught.value)
    said = re.sub(r"(\.py):\d+", r"\1:LINE", str(told[0].message))
    assert said.split("is no graph: ")[1] == (
        f"{reason}. Calls of this kind run imperatively from now on"
    )
    assert type(raised[0]) is type(raised[1]) and str(raised[0]) == str(raised[1])


def test_jit_and_other_types_and_contexts() -> None:
    function = mx.jit(lambda x: Sigmoid()(x) * 2)
    for size in (1, 2, 5):
        for dtype, at in (("float32", mx.cpu(0)), ("float64", mx.cpu(1))):
            x = nd.arange(size, dtype=dtype, ctx=at)
            x.attach_grad()
            with autograd.record():
                y = function(x)
            y.backward()
            s = 1 / (1 + np.exp(-np.arange(size)))
            np.testing.assert_allclose(x.grad.asnumpy(), 6 * s * (1 - s), rtol=1e-5)
            assert (y.context, x.grad.dtype) == (at, np.dtype(dtype).type)


def test_a_training_step_holds_it() -> None:
    nets, trainers = [], []
    for _ in range(2):
        net = nn.HybridSequential()
        net.add(nn.Dense(2, in_units=3), Net(lambda x: Sigmoid()(x)))
        net.initialize(mx.init.Constant(0.25))
        nets.append(net)
        trainers.append(gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5}))
    loss, x, y = gluon.loss.L2Loss(), nd.array([[1, 2, 3], [4, 5, 6]]), nd.zeros((2, 2))
    step = gluon.TrainStep(nets[0], loss, trainers[0])
    for _ in range(3):
        step(x, y)
        with autograd.record():
            value = loss(nets[1](x), y)
        value.backward()
        trainers[1].step(2)
    one, other = (net[0].weight.data().asnumpy() for net in nets)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert abs(one - 0.25).max() > 1e-3


@pytest.mark.parametrize("hybridized", [False, True])
def test_its_gradient_has_none(hybridized: bool) -> None:
    net = Net(lambda x: Sigmoid()(x))
    net.hybridize(hybridized)
    x = nd.ones(2)
    x.attach_grad()
    with pytest.raises(mx.TigonError) as raised, autograd.record():
        autograd.grad(net(x), [x], create_graph=True)
    assert str(raised.value) == (
        "grad: create_graph=True cannot differentiate through a custom Function; write it in "
        "operators, or use create_graph=False"
    )


def test_files_do_not_hold_it(tmp_path: Any) -> None:
    net = Net(lambda x: Sigmoid()(x))
    net.hybridize()
    net(nd.ones(2))
    with pytest.raises(mx.TigonError, match=r"Sigmoid: input 0: .* write an mx.operator.CustomOp"):
        net.export(str(tmp_path / "net"))
