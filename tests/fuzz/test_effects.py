"""Operators written in Python at random places: compiled programs call them as often, and in the
same order, as the same program does imperatively, and compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.frontend.custom_operators import (
    only_here,
    register_counter,
    register_square,
    register_sum_and_product,
)
from tigon import autograd, gluon, nd, sym
from tigon.gluon import nn

PROGRAMS = 40


@pytest.fixture(autouse=True)
def log() -> Iterator[list[str]]:
    with only_here() as found:
        register_square()
        register_sum_and_product()
        register_counter()
        yield found


class Program(gluon.HybridBlock):
    """Straight-line code over a pool of values, the same at every call."""

    def __init__(self, seed: int, states: bool = True) -> None:
        super().__init__()
        self.plan = plan(Random(seed), states)
        with self.name_scope():
            self.norm = nn.BatchNorm(in_channels=3)
            self.scale = self.params.get("scale", shape=(3,), init="ones")
            self.count = self.params.get("count", shape=(1,), init="zeros", grad_req="null")

    def hybrid_forward(self, F: Any, x: Any, scale: Any, count: Any) -> Any:
        values = [x, F.broadcast_mul(x, scale)]
        for kind, first, second in self.plan:
            a, b = values[first % len(values)], values[second % len(values)]
            values += self.step(F, kind, a, b, count)
        return values[-1] + values[len(values) // 2], values[-2]

    def step(self, F: Any, kind: str, a: Any, b: Any, count: Any) -> list[Any]:
        if kind == "square":
            return [F.Custom(F.tanh(a), op_type="square")]
        if kind == "sum_and_product":
            return [*F.Custom(F.sigmoid(a), F.tanh(b), op_type="sum_and_product")]
        if kind == "counter":
            return [F.tanh(F.Custom(a, count, op_type="counter"))]
        if kind == "unread":
            F.Custom(a, op_type="square")
            return []
        if kind == "paused":
            with autograd.pause():
                return [F.Custom(F.sin(a), op_type="square")]
        if kind == "norm":
            return [self.norm(a)]
        if kind == "drop":
            return [F.Dropout(a, p=0.5)]
        if kind == "sum":
            return [F.broadcast_add(F.mean(a, axis=0, keepdims=True), b)]
        if kind == "stop":
            return [F.BlockGrad(a) * b]
        return [F.broadcast_add(F.tanh(a), F.sin(b))]


def plan(random: Random, states: bool) -> list[tuple[str, int, int]]:
    kinds = "square sum_and_product unread paused norm drop sum stop plain plain".split()
    kinds += ["counter"] if states else []
    steps = random.randrange(3, 12)
    return [
        (random.choice(kinds), random.randrange(100), random.randrange(100)) for _ in range(steps)
    ]


def run(net: Program, log: list[str], record: bool) -> tuple[list[Any], list[str]]:
    """Two calls, with gradients if they are recorded; and what they called."""
    net.initialize(force_reinit=True)
    found: list[Any] = []
    mx.random.seed(7)
    log.clear()
    for number in range(2):
        x = nd.array(np.linspace(-1, 1 + number, 12).reshape(4, 3))
        x.attach_grad()
        if record:
            with autograd.record():
                results = net(x)
                head = (results[0] * results[1]).sum()
            if head.has_tape:
                head.backward()
                found += [x.grad.asnumpy(), net.scale.grad().asnumpy()]
        else:
            results = net(x)
        found += [result.asnumpy() for result in results]
        nd.waitall()
    found += [net.count.data().asnumpy(), net.norm.running_mean.data().asnumpy()]
    return found, [entry for entry in log if not entry.startswith("create")]


@pytest.mark.parametrize("record", [True, False], ids=["recorded", "plain"])
@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_blocks(seed: int, record: bool, log: list[str]) -> None:
    net = Program(seed)
    expected, calls = run(net, log, record)
    net.hybridize()
    for _ in range(2):  # traced, then by the short way
        found, made = run(net, log, record)
        assert made == calls, (made, calls, net.plan)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
    assert len(net.compiled) == 1, net.explain()


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_symbols(seed: int, log: list[str]) -> None:
    """What the graph's outputs are made of, which leaves unread calls out."""
    net = Program(seed, states=False)
    net.plan = [step for step in net.plan if step[0] not in ("unread", "drop", "paused")]
    expected, calls = run(net, log, record=True)
    graph = sym.load_json(sym.Group(net(sym.var("x"))).tojson())
    executor = graph.simple_bind(x=(4, 3))
    for name, array in executor.arg_dict.items():
        array[:] = 1 if "gamma" in name or "scale" in name else 0
    for name, array in executor.aux_dict.items():
        array[:] = 1 if "var" in name else 0
    executor.arg_dict["x"][:] = nd.array(np.linspace(-1, 1, 12).reshape(4, 3))
    log.clear()
    first, second = executor.forward(is_train=True)
    executor.backward([second, first])
    nd.waitall()
    position = 2 if len(expected) == 10 else 0
    np.testing.assert_allclose(first.asnumpy(), expected[position], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(second.asnumpy(), expected[position + 1], rtol=2e-5, atol=2e-6)
    if position:
        grad = executor.grad_dict["x"].asnumpy()
        np.testing.assert_allclose(grad, expected[0], rtol=2e-4, atol=2e-5)
    made = [entry for entry in log if not entry.startswith("create")]
    assert is_part(made, calls[: len(calls) // 2])


def is_part(part: list[str], whole: list[str]) -> bool:
    """Whether `part` comes of `whole` by leaving entries out."""
    rest = iter(whole)
    return all(entry in rest for entry in part)
