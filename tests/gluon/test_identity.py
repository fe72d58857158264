"""Which array it is: what code tells by `is`, what shares memory with it, and copies of blocks."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable
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


def test_one_of_many_arrays_given_twice() -> None:
    """Above the number of arguments that are compared pair by pair."""
    call = mx.jit(lambda arrays: arrays[0] * (10 if arrays[0] is arrays[-1] else 1))
    many = [nd.array([k + 1]) for k in range(40)]
    for last in (many[-1], many[0], many[-1], many[0]):
        found = call([*many[:-1], last])
        assert found.asscalar() == (10 if last is many[0] else 1)


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


class Doubler:
    def double(self, x: Any) -> Any:
        return x * 2


def one_list_twice(x: Any) -> Any:
    both = [x * 2]
    return both, both


ONCE: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "generator": (lambda self, x: (x * i for i in range(3)), list),
    "generator of results": (lambda self, x: (y + 1 for y in [x * 2]), list),
    "map": (lambda self, x: map(lambda i: x * i, range(2)), list),
    "zip": (lambda self, x: zip([x * 2], [x], strict=True), lambda made: list(next(made))),
    "closure": (lambda self, x: lambda y: y * x, lambda made: [made(nd.ones(3) * 2)]),
    "closure over a result": (
        lambda self, x: (lambda z: (z, lambda: z + x))(x * 3),
        lambda made: [made[0], made[1]()],
    ),
    "partial": (
        lambda self, x: functools.partial(nd.broadcast_add, x),
        lambda made: [made(nd.ones(3))],
    ),
    "method": (lambda self, x: (x * 2).sum, lambda made: [made()]),
    "method of an argument": (lambda self, x: x.sum, lambda made: [made()]),
    "method of an object": (lambda self, x: (x, Doubler().double), lambda made: [made[1](made[0])]),
    "list twice": (
        lambda self, x: one_list_twice(x),
        lambda made: made[0] if made[0] is made[1] else [],
    ),
}


@pytest.mark.parametrize("name", ONCE)
def test_what_each_call_makes_anew(name: str) -> None:
    function, look = ONCE[name]
    net = Net(function)
    wanted = [[part.asnumpy() for part in look(net(nd.array(row)))] for row in ROWS]
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="gives way to its Python code: it returns"):
        found = [[part.asnumpy() for part in look(net(nd.array(row)))] for row in ROWS]
    np.testing.assert_array_equal(found, wanted)


ROWS = ([1, 2, 3], [4, 5, 6], [4, 5, 6])


@pytest.mark.parametrize(
    "view", [lambda k: k[0:2], lambda k: k[1], lambda k: k.reshape((2, 2)), lambda k: k[1:][:2]]
)
def test_views_of_an_array_that_the_block_holds(view: Callable[[Any], Any]) -> None:
    seen = []
    for hybridized in (False, True):
        net = Net(lambda self, x: (x + 1, view(self.held)), held=nd.arange(4))
        net.hybridize(active=hybridized)
        net(nd.ones(3))
        net(nd.ones(3))[1][:] = 9
        seen.append([net.held.asnumpy().tolist(), net(nd.ones(3))[1].asnumpy().tolist()])
    assert seen[0] == seen[1]
