"""What programs replace or add: methods of layers, functions of tigon, builtins, modules, special
methods, attributes."""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.both_ways import Case, Make, adder, before_and_after, called, replaced
from tigon import nd
from tigon.gluon import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


@case
def a_method_of_a_layer_is_replaced(make: Make) -> list[Any]:
    layer = nn.Activation("relu")
    outer, net = make(lambda self, x: self.layer(x), layer=layer), make.of(nn.Activation("relu"))
    seen = [called(outer), called(net)]
    with replaced(nn.Activation, "forward", lambda self, x: x * 5):
        seen += [called(outer), called(net)]
    return [*seen, called(outer), called(net)]


@case
def a_method_of_all_blocks_is_replaced(make: Make) -> list[Any]:
    net = make.of(nn.HybridSequential())
    net.add(nn.Activation("relu"))
    seen = [called(net)]
    with replaced(nn.HybridSequential, "forward", lambda self, x: x * 5):
        seen.append(called(net))
    return [*seen, called(net)]


@case
def a_function_is_replaced(make: Make) -> list[Any]:
    net = make(lambda self, x: nd.relu(x) + nd.square(x))
    seen = [called(net), called(net)]
    with replaced(nd, "relu", lambda x: x * 7):
        seen.append(called(net))
    return [*seen, called(net)]


@case
def a_replacement_reads_what_changes(make: Make) -> list[Any]:
    factor = [7]
    net = make(lambda self, x: mx.nd.relu(x))
    seen = [called(net)]
    with replaced(nd, "relu", lambda x: x * factor[0]):
        seen.append(called(net))
        factor[0] = 3
        seen.append(called(net))
    return seen


@case
def functions_that_a_layer_calls_are_replaced(make: Make) -> list[Any]:
    net = make.of(nn.Activation("relu"))
    seen = [called(net)]
    with (
        replaced(nd, "Activation", lambda x, **_: x * 7),
        replaced(mx.sym, "Activation", lambda x, **_: x * 7),
    ):
        seen.append(called(net))
    return seen


@case
def the_name_of_a_class(make: Make) -> list[Any]:
    class Kind:
        pass

    net = make(lambda self, x: x * len(Kind.__name__))
    seen = [called(net)]
    Kind.__name__ = "Another"
    return [*seen, called(net)]


def add_special_method(name: str, method: Callable[..., Any]) -> Case:
    def run(make: Make) -> list[Any]:
        class Kind:
            pass

        item = Kind()
        return before_and_after(
            make,
            lambda x: x * (2 if item else 3) * (5 if callable(item) else 7),
            lambda: setattr(Kind, name, method),
        )

    return run


for special, method in {
    "__bool__": lambda self: False,
    "__len__": lambda self: 0,
    "__call__": lambda self: 1,
}.items():
    CASES[f"{special} is added"] = add_special_method(special, method)


class Count(int):
    pass


class Values(np.ndarray):
    pass


@pytest.mark.parametrize(
    "made",
    [lambda: Count(2), lambda: np.ones(2).view(Values), lambda: functools.partial(int)],
    ids=["a number", "an array", "a partial"],
)
def test_attributes_of_subclasses_of_builtins(made: Any) -> None:
    def run(make: Make) -> Any:
        item = made()
        item.by = 1
        return before_and_after(make, lambda x: x * item.by, lambda: setattr(item, "by", 4))

    assert run(Make(False)) == run(Make(True))


@case
def the_text_about_a_class(make: Make) -> list[Any]:
    class Kind:
        """One."""

    return before_and_after(
        make, lambda x: x * len(Kind.__doc__ or ""), lambda: setattr(Kind, "__doc__", "Another.")
    )


@case
def a_name_imported_inside(make: Make) -> list[Any]:
    module = types.ModuleType("settings_of_a_test")
    module.clip = 2

    def forward(x: Any) -> Any:
        from settings_of_a_test import clip

        return x.clip(-clip, clip) * 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        compiled = make.jit(forward)
        seen = [called(compiled)]
        module.clip = 1
        seen.append(called(compiled))
        other = types.ModuleType(module.__name__)
        other.clip = 0.5
        patch.setitem(sys.modules, module.__name__, other)
        return [*seen, called(compiled)]


@case
def a_module_that_answers_itself(make: Make) -> list[Any]:
    module = types.ModuleType("answers_of_a_test")
    module.__getattr__ = lambda name: {"by": 2}[name]
    compiled = make.jit(lambda x: x * module.by)
    seen = [called(compiled)]
    module.by = 5
    seen.append(called(compiled))
    del module.by
    return [*seen, called(compiled)]


@case
def a_builtin_is_replaced(make: Make) -> list[Any]:
    compiled = make.jit(lambda x: x * abs(-2))
    seen = [called(compiled)]
    with replaced(builtins, "abs", lambda value: 5):
        seen.append(called(compiled))
    return [*seen, called(compiled)]


@case
def an_attribute_of_a_block_that_is_named_as_one_of_ours(make: Make) -> list[Any]:
    net = make(lambda self, x: x * 2 if self._name == "l2" else x * 5, _name="l2")
    seen = [called(net)]
    net._name = "l1"
    return [*seen, called(net)]


@case
def a_property_is_added(make: Make) -> list[Any]:
    class Kind:
        pass

    item = Kind()
    item.by = 2
    return before_and_after(
        make, lambda x: x * item.by, lambda: setattr(Kind, "by", property(lambda self: 50))
    )


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))
