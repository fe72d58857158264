"""Programs that run imperatively and hybridized, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tigon as mx
from tigon import gluon, nd
from tigon.gluon import nn

Case = Callable[["Make"], list[Any]]


def adder(cases: dict[str, Case]) -> Callable[[Case], Case]:
    """A decorator that adds a case under its name, in words."""

    def add(function: Case) -> Case:
        cases[function.__name__.replace("_", " ")] = function
        return function

    return add


class Make:
    """Makes blocks of a function, hybridized or not."""

    def __init__(self, hybridized: bool) -> None:
        self.hybridized = hybridized

    def __call__(self, function: Callable[..., Any], **attributes: Any) -> Any:
        class Net(gluon.HybridBlock):
            def forward(self, *args: Any) -> Any:
                return function(self, *args)

        net = Net()
        for name, value in attributes.items():
            setattr(net, name, value)
        if self.hybridized:
            net.hybridize()
        return net

    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return mx.jit(function) if self.hybridized else function

    def of(self, net: Any) -> Any:
        if self.hybridized:
            net.hybridize()
        return net


def called(net: Any) -> Any:
    result = net(nd.array([1, 2]))
    return result.asnumpy().tolist() if hasattr(result, "asnumpy") else result


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# ---------------------------------------------------------------------------- changes that last


def dense() -> nn.Dense:
    layer = nn.Dense(1, in_units=2)
    layer.initialize(mx.init.One())
    return layer


# ------------------------------------------------------------------------- objects as wholes


def before_and_after(make: Make, function: Callable[..., Any], change: Callable[[], Any]) -> Any:
    compiled = make.jit(function)
    seen = [called(compiled), called(compiled)]
    change()
    return [*seen, called(compiled)]


class Wrapped:
    gain = 2

    def __init__(self, x: Any) -> None:
        self.x = x
