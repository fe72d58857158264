"""What code reads, changes and returns in ways that its text does not show plainly: imperative and
hybridized, before and after the change."""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import functools
import os
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict as to_dictionary
from os import getenv
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)


class Net(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any], **attributes: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value() if isinstance(value, types.FunctionType) else value)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def shown(item: Any) -> Any:
    """Values and kinds, through containers."""
    if hasattr(item, "asnumpy"):
        return type(item).__name__, item.asnumpy().tolist()
    if isinstance(item, dict):
        return {key: shown(part) for key, part in item.items()}
    return [shown(part) for part in item] if isinstance(item, (list, tuple)) else item


# --------------------------------------------------------------------------------------- reading


def space(**fields: Any) -> Callable[[], types.SimpleNamespace]:
    return lambda: types.SimpleNamespace(**fields)


def two_layers() -> nn.HybridSequential:
    layers = nn.HybridSequential()
    for number in range(2):
        layer = nn.Activation("relu")
        layer.on = bool(number)
        layers.add(layer)
    return layers


def dense() -> nn.Dense:
    layer = nn.Dense(2, in_units=2)
    layer.initialize()
    return layer


def accuracy() -> mx.metric.Accuracy:
    metric = mx.metric.Accuracy()
    metric.update([nd.array([0])], [nd.array([[0, 1]])])
    return metric


def those_that_are_on(self: Any, x: Any) -> Any:
    for layer in self.layers:
        if layer.on:
            x = layer(x) * 2
    return x


def helper() -> None:
    pass


@dataclasses.dataclass
class Settings:
    factor: float = 2.0


get = getattr
NAMES = {"key": "factor"}
FACTOR_A = 2
LOCAL = threading.local()
HELD = [1.0]
VARIABLE: contextvars.ContextVar[list[float]] = contextvars.ContextVar("VARIABLE", default=HELD)
os.environ["TIGON_TEST_FACTOR"] = "2"


def change_item(container: Any, key: Any, value: Any) -> None:
    container[key] = value


# What forward computes, how something it reads changes, how to undo that, attributes of the block.
READ: dict[str, tuple[Any, ...]] = {
    "a name put together": (
        lambda self, x: x * getattr(self, "w" + str(1)),
        lambda net: setattr(net, "w1", 5),
        None,
        {"w1": 2},
    ),
    "a name from a table": (
        lambda self, x: x * getattr(self.space, NAMES.get("key")),
        lambda net: setattr(net.space, "factor", 5),
        None,
        {"space": space(factor=2)},
    ),
    "getattr by another name": (
        lambda self, x: x * get(self.space, "factor"),
        lambda net: setattr(net.space, "factor", 5),
        None,
        {"space": space(factor=2)},
    ),
    "getattr in a partial": (
        lambda self, x: x * functools.partial(getattr, self.space)("factor"),
        lambda net: setattr(net.space, "factor", 5),
        None,
        {"space": space(factor=2)},
    ),
    "asdict by another name": (
        lambda self, x: x * to_dictionary(self.settings)["factor"],
        lambda net: setattr(net.settings, "factor", 5.0),
        None,
        {"settings": lambda: Settings()},
    ),
    "getenv by name": (
        lambda self, x: x * float(getenv("TIGON_TEST_FACTOR")),
        lambda net: os.environ.update(TIGON_TEST_FACTOR="3"),
        lambda: os.environ.update(TIGON_TEST_FACTOR="2"),
        {},
    ),
    "expandvars": (
        lambda self, x: x * float(os.path.expandvars("$TIGON_TEST_FACTOR")),
        lambda net: os.environ.update(TIGON_TEST_FACTOR="3"),
        lambda: os.environ.update(TIGON_TEST_FACTOR="2"),
        {},
    ),
    "globals by a name put together": (
        lambda self, x: x * globals()["FACTOR_" + self.mode],
        lambda net: globals().update(FACTOR_A=5),
        lambda: globals().update(FACTOR_A=2),
        {"mode": "A"},
    ),
    "children that did not run": (
        those_that_are_on,
        lambda net: setattr(net.layers[0], "on", True),
        None,
        {"layers": two_layers},
    ),
    "an attribute that a child has not": (
        lambda self, x: x * (1 if getattr(self.layers[0], "skip", False) else 3),
        lambda net: setattr(net.layers[0], "skip", True),
        None,
        {"layers": two_layers},
    ),
    "the dictionary of children": (
        lambda self, x: x * sum(one.on for one in self.layers._children.values()),
        lambda net: setattr(net.layers[0], "on", True),
        None,
        {"layers": two_layers},
    ),
    "multipliers of parameters": (
        lambda self, x: x * sum(p.wd_mult for p in self.collect_params().values()),
        lambda net: setattr(net.dense.weight, "wd_mult", 7),
        None,
        {"dense": dense},
    ),
    "requests of parameters": (
        lambda self, x: x * sum(p.grad_req == "null" for p in self.collect_params().values()),
        lambda net: setattr(net.dense.weight, "grad_req", "null"),
        None,
        {"dense": dense},
    ),
    "an attribute that a function has not": (
        lambda self, x: x * getattr(helper, "factor", 2.0),
        lambda net: setattr(helper, "factor", 5.0),
        lambda: delattr(helper, "factor"),
        {},
    ),
    "an attribute that a thread has not": (
        lambda self, x: x * getattr(LOCAL, "factor", 1.0),
        lambda net: setattr(LOCAL, "factor", 5.0),
        lambda: delattr(LOCAL, "factor"),
        {},
    ),
    "the default of a context variable": (
        lambda self, x: x * VARIABLE.get()[0],
        lambda net: change_item(VARIABLE.get(), 0, 4.0),
        lambda: change_item(VARIABLE.get(), 0, 1.0),
        {},
    ),
    "a schedule": (
        lambda self, x: x * self.schedule(1),
        lambda net: setattr(net.schedule, "base_lr", 0.5),
        None,
        {"schedule": lambda: mx.lr_scheduler.FactorScheduler(100, 0.5, base_lr=0.1)},
    ),
    "a metric": (
        lambda self, x: x * self.metric.get()[1],
        lambda net: net.metric.update([nd.array([1])], [nd.array([[0, 1]])]),
        None,
        {"metric": accuracy},
    ),
    "an attribute set by a name put together": (
        lambda self, x: (setattr(self.space, "l".upper(), 3), x * self.space.L)[1],
        lambda net: setattr(net.space, "L", 9),
        None,
        {"space": space(L=1)},
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_out_of_sight(name: str) -> None:
    function, change, undo, attributes = READ[name]
    seen = []
    for hybridized in (False, True):
        net = Net(function, **attributes)
        net.hybridize(active=hybridized)
        x = nd.array([1, 2])
        try:
            results = [shown(net(x)) for _ in range(3)]
            change(net)
            seen.append([*results, *(shown(net(x)) for _ in range(3))])
        finally:
            if undo is not None:
                undo()
    assert seen[0] == seen[1]
    assert name.endswith("together") or seen[0][0] != seen[0][-1]


# ------------------------------------------------------------------------- changing and returning


def into_a_dictionary(call: Callable[..., Any]) -> Any:
    given = {"x": nd.array([1, 2])}
    return shown([call(nd.array([3, 4]), given), given])


def into_a_plain_dictionary(call: Callable[..., Any]) -> Any:
    given = {"n": 1}
    return shown([call(nd.array([3, 4]), given), given])


def into_a_list(call: Callable[..., Any]) -> Any:
    given = [nd.array([1, 2]), nd.array([3, 4])]
    result = call(given)
    return shown(given), result is given


def a_list_and_more(call: Callable[..., Any]) -> Any:
    given = [nd.array([1, 2]), nd.array([3, 4])]
    result = call(given)
    return result[0] is given, shown(result), shown(given)


def a_list_twice(call: Callable[..., Any]) -> Any:
    inner = [nd.array([1, 2])]
    outer = {"inner": inner}
    result = call(outer, inner, nd.array([7, 8]))
    return shown([result, outer, inner]), outer["inner"] is inner


def recorded_inside(self: Any, x: Any) -> Any:
    with autograd.record():
        return x * x


def differentiated(call: Callable[..., Any]) -> Any:
    x = nd.array([1, 3])
    x.attach_grad()
    call(x).backward()
    return shown(x.grad)


def written(place: int, other: int) -> Callable[[Callable[..., Any]], Any]:
    """A write to one result, as the other shows it."""

    def look(call: Callable[..., Any]) -> Any:
        results = call(nd.array([1, 2]))
        results[place][:] = 9
        return shown(results[other])

    return look


def kinds(call: Callable[..., Any]) -> Any:
    return [type(part).__name__ for part in call(nd.array([1, 2]))]


ONE = nd.array([1, 2])


def kinds_of(call: Callable[..., Any]) -> Any:
    """The result, with the names of kinds in the place of arrays."""
    made = call(ONE)
    if isinstance(made, ValueError):
        made.args = tuple(type(part).__name__ for part in made.args)
    else:
        made.value = type(made.value).__name__
    return made


class OneSlot:
    __slots__ = "value"  # a string is one name, not many

    def __init__(self, value: Any) -> None:
        self.value = value


class Slots:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Row(tuple):
    __slots__ = ()


def in_threads(self: Any, x: Any) -> Any:
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda factor: x * factor, [1, 2]))
    return parts[0] + parts[1]


def written_by_a_mask(self: Any, x: Any) -> Any:
    made = nd.zeros(x.shape) + 1
    made[(x > 2).astype("bool")] = x[:1]
    return made * x


def written_and_multiplied(self: Any, x: Any) -> Any:
    made = nd.zeros((2,))
    made[0] = x[0]
    return made * x


def overwritten(self: Any, x: Any) -> Any:
    made = x * 2
    with autograd.pause():
        made[0] = 9
    return made * x


def rows_put_together(self: Any, x: Any) -> Any:
    made = nd.zeros((2, 2))
    made[0] = x[0]
    made[1] += x[1]
    return made * x


def masked(self: Any, x: Any) -> Any:
    mask = nd.ones((2,))
    mask[0] = 0
    return mask * x


def slopes(call: Callable[..., Any]) -> Any:
    x = nd.array([1, 3])
    x.attach_grad()
    with autograd.record():
        y = call(x)
    y.backward()
    return shown([y, x.grad])


CHANGED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "a dictionary that is given": (
        lambda self, x, given: (change_item(given, "k", x * 2), x)[1],
        into_a_dictionary,
    ),
    "one without arrays": (
        lambda self, x, given: (change_item(given, "k", x * 2), x)[1],
        into_a_plain_dictionary,
    ),
    "a list that is given": (
        lambda self, given: (given.append(given[0] * 5), given)[1],
        into_a_list,
    ),
    "a list handed back": (lambda self, given: (given, given[0] * 3), a_list_and_more),
    "a list given twice": (
        lambda self, outer, inner, x: (outer["inner"].append(1), len(inner), x + inner[0])[1:],
        a_list_twice,
    ),
    "a list read twice": (lambda self, outer, inner, x: (x - inner[0], x), a_list_twice),
    "a tape made inside": (recorded_inside, differentiated),
    "a view of a result": (lambda self, x: (lambda y: (y, y[0:1]))(x * 2), written(1, 0)),
    "a result that has a view": (lambda self, x: (lambda y: (y[1:], y))(x * 2), written(1, 0)),
    "a shape of a result": (
        lambda self, x: (lambda y: (y.reshape((1, 2)), y))(x * 2),
        written(0, 1),
    ),
    "keys": (lambda self, x: [{"a": 1}.keys(), x], kinds),
    "a queue of arrays": (lambda self, x: collections.deque([x * 2]), kinds),
    "a set of arrays": (lambda self, x: {x * 2}, kinds),
    "an error with an array": (lambda self, x: ValueError(x * 2), lambda call: kinds_of(call).args),
    "an object with slots": (lambda self, x: Slots(x * 2), lambda call: [kinds_of(call).value]),
    "a tuple of the program's": (lambda self, x: Row((x * 2, 1)), lambda call: type(call(ONE))),
    "what it holds, in what it makes": (
        lambda self, x: (x * 1, types.SimpleNamespace(owner=self, names=NAMES)),
        lambda call: (lambda made: (made.owner is call, made.names is NAMES))(call(ONE)[1]),
    ),
    "work of threads": (in_threads, lambda call: shown(call(ONE))),
    "a write into a new array, recorded": (written_and_multiplied, slopes),
    "a write into a computed array, paused": (overwritten, slopes),
    "a masked write into a new array, recorded": (written_by_a_mask, slopes),
    "an object with a slot": (lambda self, x: OneSlot(x * 2), lambda call: [kinds_of(call).value]),
    "rows put together, recorded": (rows_put_together, slopes),
    "a mask, recorded": (masked, slopes),
    "an argument that is kept": (
        lambda self, x: (object.__setattr__(self, "last", x), x * 2)[1],
        lambda call: (call(ONE), type(call.last).__name__)[1],
    ),
    "a result kept for the thread": (
        lambda self, x: (setattr(LOCAL, "last", x * 3), x * 2)[1],
        lambda call: (call(ONE), type(LOCAL.last).__name__)[1],
    ),
    "a lock": (lambda self, x: [threading.Lock(), x], kinds),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_changed_and_returned(name: str) -> None:
    function, look = CHANGED[name]
    seen = []
    for hybridized in (False, True):
        net = Net(function)
        net.hybridize(active=hybridized)
        seen.append([look(net) for _ in range(4)])
    np.testing.assert_equal(seen[1], seen[0])
