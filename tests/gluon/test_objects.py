"""Objects that are read as wholes, and attributes that arrays have and other things have, too."""

from __future__ import annotations

import argparse
import inspect
import string
import threading
import types
import typing
import warnings
from typing import Any

import numpy as np
import pytest

from tests.gluon.both_ways import Case, Make, Wrapped, adder, before_and_after, called, replaced
from tigon import gluon, nd

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


@case
def a_gradient_that_a_held_array_has(make: Make) -> list[Any]:
    held = nd.array([1, 2])
    compiled = make.jit(lambda x: x * 2 if held.grad is None else x + held.grad)
    seen = [called(compiled)]
    held.attach_grad()
    seen.append(called(compiled))
    held.grad[:] = 5
    seen.append(called(compiled))
    held.attach_grad()
    return [*seen, called(compiled)]


@case
def whether_a_namespace_holds_a_name(make: Make) -> list[Any]:
    options = argparse.Namespace(by=1)
    compiled = make.jit(lambda x: x * options.by if "by" in options else x)
    seen = [called(compiled)]
    del options.by
    seen.append(called(compiled))
    options.by = 2
    return [*seen, called(compiled)]


@case
def whether_namespaces_are_equal(make: Make) -> list[Any]:
    one, other = argparse.Namespace(by=1), argparse.Namespace(by=1)
    return before_and_after(
        make, lambda x: x * 2 if one == other else x, lambda: setattr(one, "by", 3)
    )


@case
def how_a_namespace_prints(make: Make) -> list[Any]:
    options = argparse.Namespace(by=1)
    return before_and_after(
        make, lambda x: x * len(f"{options}"), lambda: setattr(options, "by", 333)
    )


FORMAT = "{0.by}"


@case
def a_format_from_elsewhere(make: Make) -> list[Any]:
    options = types.SimpleNamespace(by=1)
    return before_and_after(
        make, lambda x: x * float(FORMAT.format(options)), lambda: setattr(options, "by", 3)
    )


@case
def a_template(make: Make) -> list[Any]:
    text = string.Template("1$by")
    return before_and_after(
        make,
        lambda x: x * float(text.substitute(by="2")),
        lambda: setattr(text, "template", "3"),
    )


@case
def an_attribute_read_statically(make: Make) -> list[Any]:
    class Kind:
        by = 1

    item = Kind()
    return before_and_after(
        make, lambda x: x * inspect.getattr_static(item, "by"), lambda: setattr(item, "by", 4)
    )


@case
def a_protocol(make: Make) -> list[Any]:
    @typing.runtime_checkable
    class Protocol(typing.Protocol):
        by: int

    class Kind:
        pass

    item = Kind()
    return before_and_after(
        make, lambda x: x * 2 if isinstance(item, Protocol) else x, lambda: setattr(item, "by", 4)
    )


def test_what_only_has_a_name_of_a_method_is_not_read(tmp_path: Any) -> None:
    class Net(gluon.HybridBlock):
        def __init__(self, log: Any) -> None:
            super().__init__()
            self.mean, self.data, self.log = np.zeros((64, 64)), list(range(2000)), log
            self.size = threading.Lock()

        def forward(self, x: Any) -> Any:
            return nd.log(x - x.mean() + 9) * x.size

    with open(tmp_path / "log", "w") as log, warnings.catch_warnings():
        warnings.simplefilter("error")
        net = Net(log)
        expected = called(net)
        net.hybridize()
        assert called(net) == pytest.approx(expected)


def test_much_in_many_containers_gives_way() -> None:
    tables = [[float(i) for i in range(900)] for _ in range(20)]
    net = Make(True)(lambda self, x: x * sum(table[-1] for table in tables))
    with pytest.warns(RuntimeWarning, match="too much to be compared at every call"):
        assert called(net) == [17980, 35960]


class Sized:
    def __init__(self, size: float) -> None:
        self.size = size


SIZED = Sized(2)
CURRENT: Any = nd.array([1, 2])


def by_either(x: Any) -> Any:
    return x * (SIZED or x).size


def by_condition(x: Any) -> Any:
    return x * (SIZED if SIZED.size else x).size


def by_argument_that_is_a_cell(x: Any) -> Any:
    x = Wrapped(x)
    return sum([x.x * i for i in range(3)]) * x.gain


def by_name_that_others_assign(x: Any) -> Any:
    held = x

    def choose() -> None:
        nonlocal held
        held = SIZED

    choose()
    return x * held.size


def by_format_too(x: Any) -> Any:
    return x * float(f"{SIZED.size}") + x.size


def by_match_too(x: Any) -> Any:
    match SIZED:
        case Sized(size=size):
            return x * size + x.size


def by_global_for_a_while(x: Any) -> Any:
    global CURRENT
    before, CURRENT = CURRENT, SIZED
    size = CURRENT.size
    CURRENT = before
    return x * size


@pytest.mark.parametrize(
    "function",
    [
        by_either,
        by_condition,
        by_argument_that_is_a_cell,
        by_name_that_others_assign,
        by_format_too,
        by_match_too,
        by_global_for_a_while,
    ],
)
def test_an_attribute_of_arrays_may_be_one_of_others_too(function: Any) -> None:
    def run(make: Make) -> Any:
        compiled = make.jit(function)
        seen = [called(compiled)]
        with replaced(SIZED, "size", 9), replaced(Wrapped, "gain", 5):
            seen.append(called(compiled))
        return [*seen, called(compiled)]

    assert run(Make(False)) == run(Make(True))


def test_objects_that_hold_arrays_for_a_while_are_no_reason() -> None:
    def forward(self: Any, x: Any) -> Any:
        held = Wrapped(x * 2)
        return held.x + 1 if "a_b".replace("_", " ") else {"a": 1}.copy()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = Make(True)(forward, lock=threading.Lock())
        assert called(net) == [3, 5]


@case
def what_a_module_answers(make: Make) -> list[Any]:
    module = types.ModuleType("module_of_a_test")
    module.__getattr__ = lambda name: 2  # type: ignore[method-assign]
    return before_and_after(
        make, lambda x: x * module.gain, lambda: setattr(module, "__getattr__", lambda name: 5)
    )


class Answering(types.ModuleType):
    gain: Any = property(lambda self: 2)


@case
def a_property_of_a_module(make: Make) -> list[Any]:
    module = Answering("module_of_a_test")
    with replaced(Answering, "gain", vars(Answering)["gain"]):
        return before_and_after(
            make, lambda x: x * module.gain, lambda: setattr(Answering, "gain", 5)
        )


@case
def the_class_of_a_module(make: Make) -> list[Any]:
    module = Answering("module_of_a_test")

    class Other(types.ModuleType):
        gain = 5

    return before_and_after(
        make, lambda x: x * module.gain, lambda: setattr(module, "__class__", Other)
    )


@case
def attributes_named_as_what_blocks_keep(make: Make) -> list[Any]:
    def forward(self: Any, x: Any) -> Any:
        return x * sum(self._graphs) * self._shortcuts if self.strict else x

    net = make(forward, _graphs=[1, 2], _shortcuts=2, strict=True)
    seen = [called(net)]
    net._shortcuts = 3
    seen.append(called(net))
    net._graphs.append(2)
    return [*seen, called(net)]


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))
