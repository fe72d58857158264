"""Of equal pieces each costs as much to compile as the one before, however many there are.

Calls are counted, of Python and of C, which is the same in every run: no time is measured. Of a
trace they are not seen (it watches frames itself).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn


def calls_of(function: Callable[[], Any]) -> Counter[str]:
    """How often each file calls something."""
    calls: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            calls[frame.f_code.co_filename] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls


def dense(count: int) -> tuple[gluon.HybridBlock, Any]:
    net = nn.HybridSequential()
    for _ in range(count):
        net.add(nn.Dense(16, in_units=16))
    net.initialize()
    net.hybridize()
    return net, nd.ones((1, 16))


def forward(count: int) -> Callable[[], Any]:
    net, x = dense(count)
    return lambda: net(x).wait_to_read()


def backward(count: int) -> Callable[[], Any]:
    net, x = dense(count)

    def run() -> None:
        with autograd.record():
            y = net(x)
        y.backward()

    return run


def training_step(count: int) -> Callable[[], Any]:
    net, x = dense(count)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
    return lambda: step(x, x).wait_to_read()


def bound(symbol: mx.sym.Symbol, backward: bool) -> Callable[[], Any]:
    x = nd.ones((16, 16))
    executor = symbol.bind(mx.cpu(), {"x": x}, {"x": nd.zeros((16, 16))} if backward else None)

    def run() -> None:
        executor.forward(is_train=backward)
        if backward:
            executor.backward([nd.ones((16, 16))] * len(executor.outputs))

    return run


def chain(count: int) -> Callable[[], Any]:
    x = mx.sym.var("x")
    for _ in range(count):
        x = mx.sym.sin(x) * mx.sym.cos(x) + x
    return bound(x, True)


def relus(count: int) -> Callable[[], Any]:
    """The gradient of each reads what was kept long ago."""
    x = mx.sym.var("x")
    for _ in range(count):
        x = mx.sym.relu(mx.sym.dot(x, x))
    return bound(x, True)


def outputs(count: int) -> Callable[[], Any]:
    x = mx.sym.var("x")
    return bound(mx.sym.Group([x + (number + 0.5) for number in range(count)]), False)


def parts(count: int) -> Callable[[], Any]:
    """Their gradients are sums of n parts with zeros around them."""
    x = mx.sym.var("x")
    wide = mx.sym.tile(x, reps=(1, count))
    pieces = [mx.sym.slice_axis(wide, axis=1, begin=16 * i, end=16 * i + 16) for i in range(count)]
    return bound(mx.sym.Group([mx.sym.exp(piece) for piece in pieces]), True)


@pytest.mark.parametrize(
    "program",
    [forward, backward, training_step, chain, relus, outputs, parts],
    ids=lambda f: f.__name__,
)
def test_more_of_the_same_costs_the_same(program: Callable[[int], Callable[[], Any]]) -> None:
    program(3)()  # what is compiled once in a process
    # What else happens once, a module imported or a folder read, does not happen a second time.
    found = []
    for first in (60, 59):
        few, more, many = (calls_of(program(first + further)) for further in (0, 60, 120))
        if many.total() - more.total() <= 1.04 * (more.total() - few.total()):
            return
        found.append([few.most_common(8), more.most_common(8), many.most_common(8)])
    raise AssertionError(found)
