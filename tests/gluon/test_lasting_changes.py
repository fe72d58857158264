"""What a program tells parameters and trainers, it tells them at each call."""

from __future__ import annotations

from typing import Any

import pytest

import tigon as mx
from tests.gluon.both_ways import Case, Make, adder, called, dense
from tigon import gluon, nd
from tigon.gluon import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


class Counting(mx.init.Initializer):
    """Another value each time."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def _init_weight(self, name: Any, array: Any) -> None:
        self.count += 1
        array[:] = self.count


@case
def parameters_are_initialized_again(make: Make) -> list[Any]:
    layer, values = dense(), Counting()

    def forward(self: Any, x: Any) -> Any:
        layer.initialize(values, force_reinit=True)
        return layer(x.reshape((1, 2)))

    net = make(forward, layer=layer)
    return [called(net), called(net), called(net)]


@case
def parameters_are_initialized_at_the_first_call(make: Make) -> list[Any]:
    layer = nn.Dense(1, in_units=2)

    def forward(self: Any, x: Any) -> Any:
        if not self.ready:
            layer.initialize(mx.init.One())
            self.ready = True
        return layer(x.reshape((1, 2)))

    net = make(forward, layer=layer, ready=False)
    seen = [called(net) for _ in range(4)]
    if make.hybridized:
        assert "imperatively" not in net.explain()
    return seen


@case
def a_learning_rate_is_set(make: Make) -> list[Any]:
    trainer = gluon.Trainer(dense().collect_params(), "sgd", {"learning_rate": 0.1})

    def forward(self: Any, x: Any) -> Any:
        trainer.set_learning_rate(0.5)
        return x

    net, seen = make(forward), []
    for _ in range(4):
        called(net)
        seen.append(trainer.learning_rate)
        trainer.set_learning_rate(0.1)
    return seen


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.weight.zero_grad(),
        lambda layer: layer.weight.set_data(nd.ones((1, 2)) * 3),
        lambda layer: layer.cast("float64"),
        lambda layer: setattr(layer.weight, "grad_req", "add"),
        lambda layer: layer.collect_params().initialize(mx.init.One(), force_reinit=True),
    ],
    ids=["zero_grad", "set_data", "cast", "grad_req", "initialize"],
)
def test_what_parameters_are_told_they_are_told_at_each_call(change: Any) -> None:
    def forward(self: Any, x: Any) -> Any:
        change(layer)
        return x * 2

    def state(layer: Any) -> Any:
        weight = layer.weight
        data, grad = weight.data().asnumpy(), weight.grad().asnumpy()
        return data.tolist(), str(data.dtype), grad.tolist(), weight.grad_req

    seen = []
    for hybridized in (False, True):
        layer = dense()
        net, own = Make(hybridized)(forward, layer=layer), []
        for _ in range(3):
            layer.cast("float32")
            layer.weight.grad_req = "write"
            layer.weight.set_data(nd.ones((1, 2)) * 7)
            layer.weight.data().grad[:] = 7
            called(net)
            own.append(state(layer))
        seen.append(own)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.popitem(),
        lambda table: table.clear(),
        lambda table: table.pop("1"),
        lambda table: table.__delitem__("1"),
        lambda table: table.move_to_end("0"),
        lambda table: table.update({"1": table["0"]}),
    ],
    ids="popitem clear pop del move_to_end update".split(),
)
def test_children_that_are_changed_in_their_table(change):
    def run(make):
        net = nn.HybridSequential()
        net.add(
            nn.Dense(2, flatten=False, in_units=2),
            nn.Dense(2, flatten=False, in_units=2, activation="sigmoid"),
        )
        net.initialize(mx.init.One())
        make.of(net)
        seen = [called(net), called(net)]
        change(net._children)
        return [*seen, called(net)]

    assert run(Make(False)) == run(Make(True))


def test_hooks_that_are_put_in_their_table():
    ran = []
    net = nn.HybridSequential()
    net.add(nn.Dense(2, flatten=False, in_units=2))
    net.initialize()
    net.hybridize()
    called(net), called(net), called(net)
    net[0]._forward_hooks["own"] = lambda *_: ran.append("child")
    net._forward_hooks["own"] = lambda *_: ran.append("net")
    called(net)
    assert sorted(ran) == ["child", "net"]


@pytest.mark.parametrize("place", ["argument", "view of an argument", "held", "view of held"])
def test_updates_in_place_reach_views(place):
    def run(make):
        momentum = nd.zeros((1, 2))
        weight, alias = nd.array([1, 2]), momentum.reshape((2,))
        held = {"held": alias, "view of held": momentum}

        def step(weight, grad, state):
            own = held[place] if place in held else state
            own = own[0] if place.startswith("view") else own
            return nd.sgd_mom_update(weight, grad, own, lr=0.1, momentum=0.9)

        update = make.jit(step)
        given = momentum if place.startswith("view") else alias
        for _ in range(3):
            weight = update(weight, nd.ones((2,)), given)
        return [weight.asnumpy().tolist(), momentum.asnumpy().tolist(), alias.asnumpy().tolist()]

    assert run(Make(False)) == run(Make(True))
