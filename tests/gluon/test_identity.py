"""Which array it is, and who else has it: what code can tell by `is`, and what it can reach."""

from __future__ import annotations

import copy
import operator
import os
import pickle
import queue
import random
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd


class Net(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any], **attributes: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def told_apart(x: Any, y: Any) -> Any:
    return x * 10 if x is y else x + y


@pytest.mark.parametrize("how", ["block", "function", "nested", "recorded"])
def test_an_array_given_twice(how: str) -> None:
    if how == "function":
        call: Callable[..., Any] = mx.jit(told_apart)
    elif how == "nested":
        nested = mx.jit(lambda pair: told_apart(*pair))
        call = lambda x, y: nested([x, y])  # noqa: E731
    else:
        net = Net(lambda self, x, y: told_apart(x, y))
        net.hybridize()
        call = net
    u, v = nd.array([1, 2, 3]), nd.array([5, 5, 5])
    u.attach_grad()
    for pair in [(u, v), (u, u), (u, v), (v, v), (v, u), (u, u), (u, u)]:
        if how == "recorded" and any(one is u for one in pair):
            with autograd.record():
                found, wanted = call(*pair), told_apart(*pair)
                head = found.sum()
            head.backward()
            slope = u.grad.asnumpy()
            with autograd.record():
                head = told_apart(*pair).sum()
            head.backward()
            np.testing.assert_array_equal(slope, u.grad.asnumpy())
        else:
            found, wanted = call(*pair), told_apart(*pair)
        np.testing.assert_array_equal(found.asnumpy(), wanted.asnumpy())


def test_an_array_that_the_block_holds_comes_back_itself() -> None:
    held = nd.array([1, 1])
    net = Net(lambda self, x: (x, self.held, self.listed[0]), held=held, listed=[nd.ones((2,))])
    net.hybridize()
    x = nd.ones((2,))
    for _ in range(3):
        results = net(x)
        assert results[0] is x
        assert results[1] is held
        assert results[2] is net.listed[0]


class Factor(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def forward(self, x: Any) -> Any:
        return x * self.factor


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_copy_has_graphs_of_its_own(how: Callable[[Any], Any]) -> None:
    net = Factor()
    net.hybridize()
    x = nd.array([1, 2])
    net(x)
    other = how(net)
    other.factor = 5.0
    for _ in range(3):
        assert other(x).asnumpy().tolist() == [5, 10]
        assert net(x).asnumpy().tolist() == [2, 4]


SHARING: dict[str, Callable[[Any], Any]] = {
    "T": lambda x: x.T,
    "astype": lambda x: x.astype("float32", copy=False),
    "as_in_context": lambda x: x.as_in_context(mx.cpu()),
    "detach": lambda x: x.detach(),
    "slice": lambda x: x[1:],
    "reshape": lambda x: x.reshape((1, -1)),
    "expand_dims": lambda x: x.expand_dims(0),
    "copy": lambda x: x.copy(),
    "astype, copied": lambda x: x.astype("float32"),
}


@pytest.mark.parametrize("name", SHARING)
def test_results_share_memory_as_imperatively(name: str) -> None:
    """A write to the result is seen in the argument, or not; inside of the block, too."""
    share = SHARING[name]

    def inside(x: Any) -> Any:
        y = share(x)
        y += 1
        return x * 2

    compiled, compiled_inside = mx.jit(share), mx.jit(inside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for _ in range(3):
            seen = []
            for call, within in ((share, inside), (compiled, compiled_inside)):
                x = nd.array([1, 2, 3])
                result = call(x)
                result += 1
                seen.append((result is x, x.asnumpy().tolist(), within(x).asnumpy().tolist()))
            assert seen[0] == seen[1]


FLAGS: dict[str, Any] = {"event": threading.Event(), "items": queue.Queue(), "table": {"a": 1.0}}


class Scaled:
    factor = 2.0

    def scale(self, x: Any) -> Any:
        return x * self.factor


SCALED = Scaled()
VALUES = FLAGS["table"].values()
ITEMS = FLAGS["table"].items()
SCALE = operator.methodcaller("scale", 1.0)

READS: dict[str, tuple[Callable[[Any], Any], Callable[[int], Any]]] = {
    "an event": (
        lambda x: x * 2 if FLAGS["event"].is_set() else x,
        lambda call: FLAGS["event"].set() if call % 2 == 0 else FLAGS["event"].clear(),
    ),
    "a queue's size": (
        lambda x: x * FLAGS["items"].qsize(),
        lambda call: FLAGS["items"].put(call),
    ),
    "values of a dictionary": (
        lambda x: x * sum(VALUES),
        lambda call: FLAGS["table"].update(a=call + 2.0),
    ),
    "items of a dictionary": (
        lambda x: x * sum(value for _, value in ITEMS),
        lambda call: FLAGS["table"].update(a=call + 3.0),
    ),
    "a method by methodcaller": (
        lambda x: x * SCALE(SCALED),
        lambda call: setattr(Scaled, "scale", lambda self, x: x * (call + 5.0)),
    ),
    "an attribute in a format": (
        lambda x: x * float("{0.factor}".format(SCALED)),  # noqa: UP030, UP032
        lambda call: setattr(SCALED, "factor", call + 3.0),
    ),
    "sys.argv": (lambda x: x * len(sys.argv), lambda call: sys.argv.append("more")),
}


@pytest.mark.parametrize("name", READS)
def test_what_libraries_hold_is_read_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, change = READS[name]
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(Scaled, "scale", Scaled.scale)
    net = Net(lambda self, x: read(x))
    net.hybridize()
    x = nd.array([1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for call in range(5):
            np.testing.assert_array_equal(net(x).asnumpy(), read(x).asnumpy())
            change(call)


def written(path: Path) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b"a")
        os.close(handle)
        return x * 2

    return forward


def test_what_is_done_to_the_system_is_done_at_each_call(tmp_path: Path) -> None:
    effects = {
        "write": (written(tmp_path / "w"), lambda: (tmp_path / "w").stat().st_size),
        "scandir": (
            lambda x: x * len(list(os.scandir(tmp_path))),
            lambda: (tmp_path / str(len(list(tmp_path.iterdir())))).write_text(""),
        ),
        "random.seed": (lambda x: (random.seed(3), x * 1)[1], lambda: random.random()),
        "set_training": (
            lambda x: (autograd.set_training(True), x * 1)[1],
            lambda: autograd.set_training(False),
        ),
    }
    for name, (forward, observe) in effects.items():
        seen = []
        for hybridize in (False, True):
            for left in tmp_path.iterdir():
                left.unlink()
            net = Net(lambda self, x, forward=forward: forward(x))
            net.hybridize(hybridize)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                calls = [(net(nd.ones((2,))).asnumpy().tolist(), observe()) for _ in range(4)]
            seen.append(calls)
        assert seen[0] == seen[1], name
