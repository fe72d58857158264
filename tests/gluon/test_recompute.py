"""Training within a budget of memory: part of the forward work is done a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import TigonError, autograd, gluon, nd
from tigon.gluon import nn
from tigon.program.budget import budget_in_bytes
from tigon.program.training import TrainingProgram

Net = gluon.HybridBlock


def perceptron() -> Net:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        for _ in range(16):
            net.add(nn.Dense(64, activation="tanh", in_units=64), nn.Dropout(0.2))
    return net


class Residual(nn.HybridSequential):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.relu(x + super().hybrid_forward(F, x))


def convolutional() -> Net:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(16, 3, padding=1, in_channels=3), nn.MaxPool2D(2))
        for _ in range(5):
            block = Residual()
            with block.name_scope():
                block.add(nn.Conv2D(16, 3, padding=1, in_channels=16), nn.BatchNorm(in_channels=16))
            net.add(block)
        net.add(nn.Flatten(), nn.Dense(10, in_units=16 * 64))
    return net


NETS: dict[str, tuple[Callable[[], Net], tuple[int, ...]]] = {
    "perceptron": (perceptron, (64, 64)),
    "convolutional": (convolutional, (4, 3, 16, 16)),
}


def made(name: str, **flags: Any) -> tuple[Net, nd.NDArray]:
    make, shape = NETS[name]
    mx.random.seed(5)
    net = make()
    net.initialize(mx.init.Xavier())
    net.hybridize(**flags)
    return net, nd.random.normal(shape=shape)


def gradients(net: Net, x: nd.NDArray) -> list[np.ndarray]:
    mx.random.seed(7)
    x.attach_grad()
    with autograd.record():
        y = net(x)
        loss = (y * y).mean()
    loss.backward()
    params = net.collect_params().values()
    states = [p.data().asnumpy() for p in params if p.grad_req == "null"]
    return [
        x.grad.asnumpy(),
        *[p.grad().asnumpy() for p in params if p.grad_req != "null"],
        *states,
    ]


def taken(net: Net) -> int:
    """Bytes of what was saved for the gradient, and of the larger arena."""
    (cached,) = net._cached_graphs._compiled.values()
    forward, backward = cached.programs
    results = 1 + len(cached.states)
    saved = sum(int(value.type.nbytes) for value in forward.graph.outputs[results:])
    return saved + max(forward.memory_plan.arena_bytes, backward.memory_plan.arena_bytes)


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_without_a_budget_and_the_budget_is_kept(name: str) -> None:
    net, x = made(name)
    expected = gradients(net, x)
    without = taken(net)
    net, x = made(name, recompute=True)
    gradients(net, x)
    least = taken(net)
    assert least < 0.75 * without
    for budget in (without, (without + least) // 2, least):
        net, x = made(name, recompute=budget)
        for found, other in zip(gradients(net, x), expected, strict=True):
            np.testing.assert_allclose(found, other, rtol=2e-5, atol=1e-6)
        assert taken(net) <= budget


@pytest.mark.parametrize("name", NETS)
def test_steps_as_a_whole_keep_it_too(name: str) -> None:
    def trained(recompute: Any) -> tuple[list[np.ndarray], int]:
        net, x = made(name)
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        step = gluon.TrainStep(net, lambda y: (y * y).mean(), trainer, recompute=recompute)
        mx.random.seed(7)
        for _ in range(3):
            step(x)
        program = _program_of(step)
        return [p.data().asnumpy() for p in net.collect_params().values()], program

    expected, without = trained(None)
    _, least = trained(True)
    assert least < 0.85 * without
    budget = (without + least) // 2
    weights, arena = trained(budget)
    assert arena <= budget
    for found, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=2e-5, atol=1e-6)


def _program_of(step: gluon.TrainStep) -> int:
    (entry,) = step._cached_graphs.entries
    (program,) = entry.programs
    assert isinstance(program, TrainingProgram)
    return program.compiled.memory_plan.arena_bytes


def frozen() -> Net:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        for _ in range(6):
            net.add(nn.Dense(32, activation="tanh", in_units=32))
    net.collect_params().setattr("grad_req", "null")
    return net


def test_what_is_repeated_is_there_before_it_is_read() -> None:
    found = []
    for recompute in (None, True):
        mx.random.seed(5)
        net = frozen()
        net.initialize(mx.init.Xavier())
        net.hybridize(recompute=recompute)
        found.append(gradients(net, nd.random.normal(shape=(16, 32))))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)


def test_a_later_process_finds_what_fits(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = made("perceptron", recompute=True)
    expected, least = gradients(net, x), taken(net)
    for _ in range(2):  # the second finds it on disk
        net, x = made("perceptron", recompute=least)
        for found, other in zip(gradients(net, x), expected, strict=True):
            np.testing.assert_array_equal(found, other)
        assert taken(net) <= least


def test_other_shapes_are_fitted_one_by_one() -> None:
    net, x = made("perceptron", recompute=True)
    for rows in (64, 32, 48):
        gradients(net, x[:rows])
    assert len(net._cached_graphs.entries) == 3
    large, x = made("perceptron")
    gradients(large, x)
    budget = taken(large) // 2
    net, x = made("perceptron", recompute=budget)
    gradients(net, x[:16])
    with pytest.raises(TigonError, match="recompute expected a budget"):
        gradients(net, nd.concat(*[x] * 8, dim=0))
    gradients(net, x[:16])  # nothing is spoilt


def test_parts_between_calls_of_python_code_have_it_each() -> None:
    class Twice(mx.operator.CustomOp):
        def forward(self, is_train: Any, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
            self.assign(out_data[0], req[0], in_data[0] * 2)

        def backward(
            self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
        ) -> None:
            self.assign(in_grad[0], req[0], out_grad[0] * 2)

    @mx.operator.register("twice_within_a_budget")
    class Prop(mx.operator.CustomOpProp):
        def create_operator(self, *_: Any) -> Twice:
            return Twice()

    class WithCode(nn.HybridSequential):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            y = super().hybrid_forward(F, x)
            return F.tanh(F.Custom(y, op_type="twice_within_a_budget"))

    found = []
    for recompute in (None, True):
        mx.random.seed(5)
        net = WithCode()
        for _ in range(6):
            net.add(nn.Dense(64, activation="tanh", in_units=64))
        net.initialize()
        net.hybridize(recompute=recompute)
        found.append(gradients(net, nd.random.normal(shape=(32, 64))))
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)


def test_a_budget_that_nothing_fits_in_is_an_error() -> None:
    net, x = made("perceptron", recompute="1 kB")
    with pytest.raises(TigonError) as caught:
        gradients(net, x)
    assert str(caught.value).splitlines()[0] == (
        "net: recompute expected a budget that forward and backward fit in; given 1,000 bytes; "
        "of what was tried the least takes 180,224; "
        "give more, or recompute=True for as little as can be"
    )
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    step = gluon.TrainStep(net, lambda y: (y * y).mean(), trainer, recompute=100)
    with pytest.raises(TigonError, match=r"net_step: recompute expected a budget .* given 100 "):
        step(x)


@pytest.mark.parametrize("given", ["64", "-1 MB", "lots", -5, 0, 0.5, float("inf"), [1]])
def test_what_is_no_budget_is_refused_at_once(given: Any) -> None:
    net = nn.Dense(2, prefix="net_")
    with pytest.raises(TigonError) as caught:
        net.hybridize(recompute=given)
    assert str(caught.value) == (
        "net: recompute expected True, a number of bytes, or a text such as '200 MB'; "
        f"given {given!r}"
    )


def test_units() -> None:
    given = [None, False, True, 5, "5 B", "1.5kB", "2 MB", "3 GB", np.int64(7), np.bool_(True)]
    found = [budget_in_bytes(each, "net") for each in given]
    assert found == [None, None, 0, 5, 5, 1500, 2 * 10**6, 3 * 10**9, 7, 0]
