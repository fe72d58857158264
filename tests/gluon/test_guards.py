"""What the traced code read is compared before a graph is used again, and nothing else is.

Each case is a block, a change of what its code reads, and a change of something beside. After the
first the hybridized block must give what the imperative one gives; without it, and after the
second, it must not be traced again.
"""

from __future__ import annotations

import abc
import argparse
import collections
import dataclasses
import enum
import functools
import importlib
import math
import operator
import os
import sys
import types
import typing

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn

DATA = np.array([[1.0, -2.0, 0.5], [-0.25, 3.0, -1.0]], np.float32)
CASES: dict[str, typing.Any] = {}


class Net(nn.HybridBlock):
    """A block of one function."""

    def __init__(self, function, **attributes):
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def case(fails=None):
    """The decorated function makes a block, a change that counts, and one that does not."""

    def add(make):
        CASES[make.__name__] = (make, fails)
        return make

    return add


def nothing():
    """No change beside."""


# ------------------------------------------------------------------ functions and what they hold


@case()
def a_function_in_an_attribute():
    net = Net(lambda self, x: self.scale(x), scale=lambda x: x * 2, other=lambda x: x)
    return (
        net,
        lambda: setattr(net, "scale", lambda x: x * 3),
        lambda: setattr(net, "other", lambda x: -x),
    )


@case()
def the_code_of_a_function():
    def scale(x):
        return x * 2

    def other(x):
        return x * 5

    net = Net(lambda self, x: scale(x))
    return net, lambda: setattr(scale, "__code__", other.__code__), nothing


@case()
def a_default_of_a_function():
    def scale(x, by=2):
        return x * by

    def beside(x, by=2):
        return x * by

    net = Net(lambda self, x: scale(x))
    return (
        net,
        lambda: setattr(scale, "__defaults__", (4,)),
        lambda: setattr(beside, "__defaults__", (4,)),
    )


@case()
def a_keyword_default_of_a_function():
    def scale(x, *, by=2):
        return x * by

    net = Net(lambda self, x: scale(x))
    return net, lambda: scale.__kwdefaults__.update(by=4), nothing


@case()
def a_list_that_is_a_default():
    def scale(x, by=[2, 3]):  # noqa: B006
        return x * by[0]

    net = Net(lambda self, x: scale(x))
    return net, lambda: scale.__defaults__[0].__setitem__(0, 5), nothing


@case()
def an_attribute_of_a_function():
    def scale(x):
        return x * scale.by

    scale.by, scale.other = 2, 3
    net = Net(lambda self, x: scale(x))
    return net, lambda: setattr(scale, "by", 5), lambda: setattr(scale, "other", 5)


@case()
def a_closure_variable():
    by = other = 2

    def change():
        nonlocal by
        by = 6

    def beside():
        nonlocal other
        other += 1

    return Net(lambda self, x: x * by), change, beside


@case()
def a_closure_variable_that_appears():
    if DATA.size == 0:
        by = 2

    def forward(self, x):
        try:
            return x * by
        except NameError:
            return x

    def change():
        nonlocal by
        by = 6

    return Net(forward), change, nothing


@case()
def a_closure_of_a_closure():
    def outer():
        by = 2

        def inner(x):
            return x * by

        def change():
            nonlocal by
            by = 7

        return lambda x: inner(x) + 1, change

    function, change = outer()
    return Net(lambda self, x: function(x)), change, nothing


@case()
def a_partial():
    def scale(x, by, plus=0):
        return x * by + plus

    net = Net(lambda self, x: self.scale(x), scale=functools.partial(scale, by=2))
    return net, lambda: net.scale.keywords.update(by=5), nothing


@case()
def a_partial_that_is_replaced():
    net = Net(lambda self, x: self.scale(x), scale=functools.partial(operator.mul, 2))
    return net, lambda: setattr(net, "scale", functools.partial(operator.mul, 3)), nothing


@case()
def an_object_in_a_partial():
    config = types.SimpleNamespace(by=2, other=0)

    def scale(options, x):
        return x * options.by

    net = Net(lambda self, x: self.scale(x), scale=functools.partial(scale, config))
    return net, lambda: setattr(config, "by", 5), lambda: setattr(config, "other", 1)


@case()
def a_callable_object():
    class Scale:
        def __init__(self, by):
            self.by, self.calls = by, 0

        def __call__(self, x):
            return x * self.by

    net = Net(lambda self, x: self.scale(x), scale=Scale(2))
    return (
        net,
        lambda: setattr(net.scale, "by", 3),
        lambda: setattr(net.scale, "calls", net.scale.calls + 1),
    )


@case()
def the_call_of_a_class_of_callables():
    class Scale:
        def __call__(self, x):
            return x * 2

    net = Net(lambda self, x: self.scale(x), scale=Scale())
    return net, lambda: setattr(Scale, "__call__", lambda self, x: x * 9), nothing


@case()
def a_bound_method_of_another_object():
    class Scale:
        by, other = 2, 0

        def apply(self, x):
            return x * self.by

    scale = Scale()
    net = Net(lambda self, x: self.apply_scale(x), apply_scale=scale.apply)
    return net, lambda: setattr(scale, "by", 3), lambda: setattr(scale, "other", 1)


@case()
def functions_in_a_dictionary():
    table = {"a": lambda x: x * 2, "b": lambda x: x * 3}
    net = Net(lambda self, x: self.table["a"](x), table=table)
    return net, lambda: table.update(a=lambda x: x * 9), nothing


@case()
def a_decorated_function():
    factor = 2

    def scaled(function):
        @functools.wraps(function)
        def wrapper(*args, **keywords):
            return function(*args, **keywords) * factor

        return wrapper

    @scaled
    def scale(x):
        return x + 1

    def change():
        nonlocal factor
        factor = 5

    return Net(lambda self, x: scale(x)), change, nothing


@case()
def what_a_wrapped_function_reads():
    config = types.SimpleNamespace(by=2)

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    @logged
    def scale(x):
        return x * config.by

    return Net(lambda self, x: scale(x)), lambda: setattr(config, "by", 5), nothing


@case()
def a_lambda_in_map_and_reduce():
    factors = [1, 2, 3]
    by = 2

    def forward(self, x):
        return functools.reduce(lambda a, b: a * b, map(lambda f: f * by, factors), x)

    def change():
        nonlocal by
        by = 3

    return Net(forward), change, nothing


@case()
def a_key_of_sorted():
    weights = {"a": 1, "b": 2}

    def forward(self, x):
        return x * {"a": 10, "b": 20}[max(weights, key=lambda name: weights[name])]

    return Net(forward), lambda: weights.update(a=3), nothing


@case()
def what_a_generator_reads():
    config = types.SimpleNamespace(scales=[1, 2], other=1)

    def scales():
        for value in config.scales:
            yield value * 2

    return (
        Net(lambda self, x: x * sum(scales())),
        lambda: config.scales.append(5),
        lambda: setattr(config, "other", 2),
    )


@case()
def what_a_context_manager_reads():
    import contextlib

    config = types.SimpleNamespace(by=2)

    @contextlib.contextmanager
    def scaling():
        yield config.by

    def forward(self, x):
        with scaling() as by:
            return x * by

    return Net(forward), lambda: setattr(config, "by", 5), nothing


@case()
def what_a_context_manager_of_a_class_reads():
    class Scaling:
        by = 2

        def __enter__(self):
            return self.by

        def __exit__(self, *_):
            return False

    def forward(self, x):
        with Scaling() as by:
            return x * by

    return Net(forward), lambda: setattr(Scaling, "by", 5), nothing


@case()
def what_a_comprehension_reads():
    config = types.SimpleNamespace(by=2, other=0)

    def forward(self, x):
        return nd.stack(*[row * config.by for row in x])

    return Net(forward), lambda: setattr(config, "by", 5), lambda: setattr(config, "other", 2)


@case()
def a_getter_with_a_cache():
    config = types.SimpleNamespace(by=2)

    @functools.lru_cache
    def by():
        return config.by

    by()

    def change():
        config.by = 5
        by.cache_clear()

    return Net(lambda self, x: x * by()), change, nothing


@case()
def a_getter_with_a_cache_that_is_first_called_in_the_trace():
    config = types.SimpleNamespace(by=2)

    @functools.cache
    def by():
        return config.by

    def change():
        config.by = 5
        by.cache_clear()

    return Net(lambda self, x: x * by()), change, nothing


@case()
def a_function_by_single_dispatch():
    @functools.singledispatch
    def by(_):
        return 2

    def change():
        by.register(int, lambda _: 5)

    return Net(lambda self, x: x * by(1)), change, nothing


@case()
def a_jitted_function():
    config = types.SimpleNamespace(by=2, other=1)

    @mx.jit
    def scale(x):
        return x * config.by

    return (
        Net(lambda self, x: scale(x)),
        lambda: setattr(config, "by", 5),
        lambda: setattr(config, "other", 2),
    )


# --------------------------------------------------------------- configuration objects of a kind


def namespace():
    return argparse.Namespace(by=2, other=1)


def simple_namespace():
    return types.SimpleNamespace(by=2, other=1)


def plain_object():
    class Config:
        def __init__(self):
            self.by, self.other = 2, 1

    return Config()


def slots():
    class Config:
        __slots__ = ("by", "other")

        def __init__(self):
            self.by, self.other = 2, 1

    return Config()


def inherited_slots():
    class Base:
        __slots__ = ("by",)

    class Config(Base):
        __slots__ = ("other",)

    config = Config()
    config.by, config.other = 2, 1
    return config


def data_class():
    @dataclasses.dataclass
    class Config:
        by: int = 2
        other: int = 1

    return Config()


def data_class_with_slots():
    @dataclasses.dataclass(slots=True)
    class Config:
        by: int = 2
        other: int = 1

    return Config()


def class_as_configuration():
    class Config:
        by, other = 2, 1

    return Config


def enum_member():
    class Kind(enum.Enum):
        ONE = 1

    Kind.ONE.by, Kind.ONE.other = 2, 1
    return Kind.ONE


def module():
    made = types.ModuleType("configuration_of_a_test")
    made.__file__ = __file__
    made.by, made.other = 2, 1
    return made


def function():
    def config():
        pass

    config.by, config.other = 2, 1
    return config


def dictionary_subclass():
    class Config(dict):
        def __getattr__(self, name):
            return self[name]

        __setattr__ = dict.__setitem__

    return Config(by=2, other=1)


def list_subclass():
    class Config(list):
        by, other = 2, 1

    return Config()


def with_a_getattr():
    class Config:
        def __init__(self):
            self.__dict__["values"] = {"by": 2}
            self.__dict__["other"] = 1

        def __getattr__(self, name):
            try:
                return self.__dict__["values"][name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name, value):
            if name == "by":
                self.values[name] = value
            else:
                self.__dict__[name] = value

    return Config()


def with_a_getattribute():
    class Config:
        def __init__(self):
            self._by, self.other = 2, 1

        def __getattribute__(self, name):
            if name == "by":
                return object.__getattribute__(self, "_by")
            return object.__getattribute__(self, name)

        def __setattr__(self, name, value):
            object.__setattr__(self, "_by" if name == "by" else name, value)

    return Config()


def with_a_property():
    class Config:
        def __init__(self):
            self._by, self.other = 2, 1

        @property
        def by(self):
            return self._by

        @by.setter
        def by(self, value):
            self._by = value

    return Config()


def with_a_descriptor():
    class Field:
        def __set_name__(self, owner, name):
            self.name = "_" + name

        def __get__(self, owner, kind=None):
            return getattr(owner, self.name)

        def __set__(self, owner, value):
            setattr(owner, self.name, value)

    class Config:
        by = Field()

        def __init__(self):
            self.by, self.other = 2, 1

    return Config()


def with_a_descriptor_that_keeps_values_itself():
    class Field:
        def __init__(self):
            self.values = {}

        def __get__(self, owner, kind=None):
            return self.values[id(owner)]

        def __set__(self, owner, value):
            self.values[id(owner)] = value

    class Config:
        by = Field()

        def __init__(self):
            self.by, self.other = 2, 1

    return Config()


CONFIGURATIONS = [
    namespace,
    simple_namespace,
    plain_object,
    slots,
    inherited_slots,
    data_class,
    data_class_with_slots,
    class_as_configuration,
    enum_member,
    module,
    function,
    dictionary_subclass,
    list_subclass,
    with_a_getattr,
    with_a_getattribute,
    with_a_property,
    with_a_descriptor,
    with_a_descriptor_that_keeps_values_itself,
]
COUNTED_TOO = (
    class_as_configuration,
    list_subclass,
    dictionary_subclass,
    with_a_getattr,
    with_a_getattribute,
    with_a_descriptor,
)
"""Of these the whole is compared, because they are classes or containers or compute names: a
change beside may trace again."""


def add_configurations():
    for kind in CONFIGURATIONS:

        def make(kind=kind):
            config = kind()
            net = Net(lambda self, x: x * self.config.by, config=config)
            beside = nothing if kind in COUNTED_TOO else lambda: setattr(config, "other", 5)
            return net, lambda: setattr(config, "by", 3), beside

        CASES[f"configuration_{kind.__name__}"] = (make, None)

        def make_global(kind=kind):
            config = kind()

            def read():
                return config.by

            beside = nothing if kind in COUNTED_TOO else lambda: setattr(config, "other", 5)
            return Net(lambda self, x: x * read()), lambda: setattr(config, "by", 3), beside

        CASES[f"configuration_of_a_closure_{kind.__name__}"] = (make_global, None)

        def make_by_getattr(kind=kind):
            config = kind()
            net = Net(
                lambda self, x: x * getattr(self.config, "b" + self.end), config=config, end="y"
            )
            return net, lambda: setattr(config, "by", 3), nothing

        CASES[f"configuration_by_a_computed_name_{kind.__name__}"] = (make_by_getattr, None)


add_configurations()


def nested_objects(depth):
    top = config = types.SimpleNamespace(other=0)
    for _ in range(depth):
        config.inner = types.SimpleNamespace(other=0)
        config = config.inner
    config.by = 2

    def forward(self, x):
        found = self.config
        for _ in range(depth):
            found = found.inner
        return x * found.by

    net = Net(forward, config=top)
    return net, lambda: setattr(config, "by", 3), lambda: setattr(config, "other", 4)


def nested_containers(depth):
    leaf = config = {"by": 2}
    for level in range(depth):
        config = [{"inner": config}, (config,), collections.deque([config])][level % 3]

    def read(found):
        while "by" not in found:
            found = found["inner"] if isinstance(found, dict) else found[0]
        return found["by"]

    net = Net(lambda self, x: x * read(self.config), config=config)
    return net, lambda: leaf.update(by=3), nothing


def nested_mixed(depth):
    leaf = config = types.SimpleNamespace(by=2, other=1)
    for level in range(depth):
        config = types.SimpleNamespace(inner=[config] if level % 2 else {"a": config})

    def read(found):
        while not hasattr(found, "by"):
            inner = found.inner
            found = inner["a"] if isinstance(inner, dict) else inner[0]
        return found.by

    net = Net(lambda self, x: x * read(self.config), config=config)
    return net, lambda: setattr(leaf, "by", 3), lambda: setattr(leaf, "other", 4)


for _depth in range(1, 7):
    for _nested in (nested_objects, nested_containers, nested_mixed):
        CASES[f"{_nested.__name__}_{_depth}"] = (functools.partial(_nested, _depth), None)


@case()
def one_of_ten_configurations_of_ten_fields():
    configs = [types.SimpleNamespace(**{f"field{n}": n + k for n in range(10)}) for k in range(10)]

    def forward(self, x):
        return x * sum(config.field3 for config in self.configs)

    net = Net(forward, configs=configs)
    return (
        net,
        lambda: setattr(configs[9], "field3", 100),
        lambda: setattr(configs[9], "field4", 100),
    )


@case()
def an_object_beside_a_large_list():
    config = types.SimpleNamespace(by=2, data=list(range(100_000)))
    net = Net(lambda self, x: x * self.config.by, config=config)
    return net, lambda: setattr(config, "by", 3), lambda: config.data.append(1)


@case()
def an_object_beside_a_counter():
    config = types.SimpleNamespace(by=2, calls=0)
    net = Net(lambda self, x: x * self.config.by, config=config)
    return net, lambda: setattr(config, "by", 3), lambda: setattr(config, "calls", config.calls + 1)


@case()
def an_object_that_is_replaced_by_an_equal_one_of_other_meaning():
    net = Net(lambda self, x: x * self.config.by, config=types.SimpleNamespace(by=2))
    return net, lambda: setattr(net, "config", types.SimpleNamespace(by=4)), nothing


@case()
def the_class_of_an_object():
    class One:
        by = 2

    class Other:
        by = 7

    config = One()
    net = Net(lambda self, x: x * self.config.by, config=config)
    return net, lambda: setattr(config, "__class__", Other), nothing


@case()
def an_attribute_that_hides_that_of_the_class():
    class Config:
        by = 2

    config = Config()
    net = Net(lambda self, x: x * self.config.by, config=config)
    return net, lambda: setattr(config, "by", 3), lambda: setattr(config, "new", 3)


@case()
def an_attribute_that_is_deleted():
    class Config:
        by = 2

    config = Config()
    config.by = 5
    net = Net(lambda self, x: x * self.config.by, config=config)
    return net, lambda: delattr(config, "by"), nothing


@case()
def a_missing_attribute_by_hasattr():
    config = types.SimpleNamespace()

    def forward(self, x):
        return x * config.by if hasattr(config, "by") else x

    return Net(forward), lambda: setattr(config, "by", 3), lambda: setattr(config, "other", 3)


@case()
def a_missing_attribute_by_getattr():
    config = types.SimpleNamespace()

    def forward(self, x):
        return x * getattr(config, "by", 2)

    return Net(forward), lambda: setattr(config, "by", 3), lambda: setattr(config, "other", 3)


@case()
def a_missing_attribute_by_an_error():
    config = types.SimpleNamespace()

    def forward(self, x):
        try:
            return x * config.by
        except AttributeError:
            return x

    return Net(forward), lambda: setattr(config, "by", 3), lambda: setattr(config, "other", 3)


@case()
def a_missing_attribute_of_the_block():
    net = Net(lambda self, x: x * getattr(self, "by", 2))
    return net, lambda: setattr(net, "by", 3), lambda: setattr(net, "other", 3)


@case()
def a_missing_attribute_by_a_computed_name():
    net = Net(lambda self, x: x * getattr(self, "by_" + str(x.shape[0]), 2))
    return net, lambda: setattr(net, "by_2", 3), nothing


@case()
def a_missing_name_found_in_the_class_later():
    class Config:
        pass

    config = Config()
    net = Net(lambda self, x: x * getattr(self.config, "by", 2), config=config)
    return net, lambda: setattr(Config, "by", 3), nothing


@case()
def names_by_vars():
    net = Net(lambda self, x: x * sum(v for k, v in vars(self).items() if k.startswith("by_")))
    net.by_one = 1
    return net, lambda: setattr(net, "by_two", 2), nothing


@case()
def names_by_dict_of_an_object():
    config = types.SimpleNamespace(a=1)
    net = Net(lambda self, x: x * sum(self.config.__dict__.values()), config=config)
    return net, lambda: setattr(config, "b", 2), nothing


@case()
def names_by_dir():
    config = types.SimpleNamespace(a=1)

    def forward(self, x):
        return x * sum(not name.startswith("_") for name in dir(config))

    return Net(forward), lambda: setattr(config, "b", 2), nothing


@case()
def names_by_attrgetter():
    config = types.SimpleNamespace(inner=types.SimpleNamespace(by=2, other=1))

    def forward(self, x):
        return x * operator.attrgetter("inner.by")(config)

    return (
        Net(forward),
        lambda: setattr(config.inner, "by", 3),
        lambda: setattr(config.inner, "other", 3),
    )


@case()
def names_by_an_attrgetter_made_outside():
    config = types.SimpleNamespace(by=2)
    read = operator.attrgetter("by")
    return Net(lambda self, x: x * read(config)), lambda: setattr(config, "by", 3), nothing


@case()
def a_method_by_a_methodcaller_made_outside():
    class Config:
        def scale(self, by):
            return by

    config, scale = Config(), operator.methodcaller("scale", 3)
    return (
        Net(lambda self, x: x * scale(config)),
        lambda: setattr(Config, "scale", lambda self, by: 2 * by),
        lambda: setattr(config, "other", 1),
    )


@case()
def a_method_by_a_methodcaller_with_keywords():
    class Config:
        def scale(self, by):
            return by

    config, scale = Config(), operator.methodcaller("scale", by=3)
    return (
        Net(lambda self, x: x * scale(config)),
        lambda: setattr(config, "scale", lambda by: 2 * by),
        nothing,
    )


@case()
def an_attribute_in_a_field_of_a_format():
    config = types.SimpleNamespace(by=2, other=1)
    return (
        Net(lambda self, x: x * float("{0.by}".format(config))),  # noqa: UP030, UP032
        lambda: setattr(config, "by", 3),
        lambda: setattr(config, "other", 3),
    )


@case()
def fields_of_a_data_class():
    @dataclasses.dataclass
    class Config:
        a: int = 1
        b: int = 2

    config = Config()

    def forward(self, x):
        return x * sum(dataclasses.asdict(config).values())

    return Net(forward), lambda: setattr(config, "b", 5), nothing


@case()
def names_matched_by_a_pattern():
    @dataclasses.dataclass
    class Config:
        by: int = 2

    config = Config()

    def forward(self, x):
        match config:
            case Config(by=value):
                return x * value

    return Net(forward), lambda: setattr(config, "by", 5), nothing


@case()
def positions_matched_by_a_pattern():
    @dataclasses.dataclass
    class Config:
        by: int = 2

    config = Config()

    def forward(self, x):
        match config:
            case Config(2):
                return x
            case Config(value):
                return x * value

    return Net(forward), lambda: setattr(config, "by", 5), nothing


@case()
def evaluated_text():
    config = types.SimpleNamespace(by=2)
    return (
        Net(lambda self, x: x * eval("config.by", {"config": config})),
        (lambda: setattr(config, "by", 3)),
        nothing,
    )


@case()
def evaluated_text_about_the_block():
    net = Net(lambda self, x: eval("x * self.by"), by=2)
    return net, lambda: setattr(net, "by", 3), nothing


# ----------------------------------------------------------------------- classes and their methods


@case()
def a_class_attribute_of_the_block():
    class Scaled(Net):
        by, other = 2, 1

        def forward(self, x):
            return x * self.by

    return Scaled(None), lambda: setattr(Scaled, "by", 3), nothing


@case()
def an_inherited_class_attribute():
    class Base(Net):
        by = 2

    class Middle(Base):
        pass

    class Scaled(Middle):
        def forward(self, x):
            return x * self.by

    return Scaled(None), lambda: setattr(Base, "by", 3), nothing


@case()
def a_class_attribute_that_appears_in_between():
    class Base(Net):
        by = 2

    class Middle(Base):
        pass

    class Scaled(Middle):
        def forward(self, x):
            return x * self.by

    return Scaled(None), lambda: setattr(Middle, "by", 3), nothing


@case()
def a_class_attribute_by_the_type():
    class Scaled(Net):
        by = 2

        def forward(self, x):
            return x * type(self).by * self.__class__.by

    return Scaled(None), lambda: setattr(Scaled, "by", 3), nothing


@case()
def a_container_of_the_class():
    class Scaled(Net):
        rates = [2, 3]  # noqa: RUF012

        def forward(self, x):
            return x * self.rates[0]

    return Scaled(None), lambda: Scaled.rates.__setitem__(0, 5), nothing


@case()
def a_method_of_the_class():
    class Scaled(Net):
        def scale(self, x):
            return x * 2

        def forward(self, x):
            return self.scale(x)

    return Scaled(None), lambda: setattr(Scaled, "scale", lambda self, x: x * 3), nothing


@case()
def a_method_on_the_instance():
    class Scaled(Net):
        def scale(self, x):
            return x * 2

        def forward(self, x):
            return self.scale(x)

    net = Scaled(None)
    return net, lambda: setattr(net, "scale", lambda x: x * 3), nothing


@case()
def forward_of_the_class():
    class Scaled(Net):
        def forward(self, x):
            return x * 2

    return Scaled(None), lambda: setattr(Scaled, "forward", lambda self, x: x * 3), nothing


@case()
def forward_on_the_instance():
    class Scaled(Net):
        def forward(self, x):
            return x * 2

    net = Scaled(None)
    return net, lambda: setattr(net, "forward", lambda x: x * 3), nothing


@case()
def hybrid_forward_of_the_class():
    class Scaled(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.relu(x) * 2

    return (
        Scaled(),
        lambda: setattr(Scaled, "hybrid_forward", lambda self, F, x: F.relu(x) * 3),
        nothing,
    )


@case()
def hybrid_forward_on_the_instance():
    class Scaled(nn.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.relu(x) * 2

    net = Scaled()
    return net, lambda: setattr(net, "hybrid_forward", lambda F, x: F.relu(x) * 3), nothing


@case()
def forward_of_a_child_class():
    class Child(nn.HybridBlock):
        def forward(self, x):
            return x * 2

    net = nn.HybridSequential()
    net.add(Child(), Child())
    return net, lambda: setattr(Child, "forward", lambda self, x: x * 3), nothing


@case()
def forward_on_a_child():
    class Child(nn.HybridBlock):
        def forward(self, x):
            return x * 2

    net = nn.HybridSequential()
    net.add(Child(), Child())
    return net, lambda: setattr(net[1], "forward", lambda x: x * 3), nothing


@case()
def an_attribute_of_a_child():
    class Child(nn.HybridBlock):
        by = 2

        def forward(self, x):
            return x * self.by

    net = nn.HybridSequential()
    net.add(Child(), Child())
    return net, lambda: setattr(net[1], "by", 3), lambda: setattr(net[1], "other", 3)


@case()
def forward_of_a_base_by_super():
    class Base(Net):
        def forward(self, x):
            return x * 2

    class Scaled(Base):
        def forward(self, x):
            return super().forward(x) + 1

    return Scaled(None), lambda: setattr(Base, "forward", lambda self, x: x * 3), nothing


@case()
def an_attribute_of_a_base_by_super():
    class Base(Net):
        by = 2

    class Scaled(Base):
        by = 100

        def forward(self, x):
            return x * super().by

    return Scaled(None), lambda: setattr(Base, "by", 3), nothing


@case()
def a_class_method():
    class Scaled(Net):
        by = 2

        @classmethod
        def scale(cls, x):
            return x * cls.by

        def forward(self, x):
            return self.scale(x)

    return Scaled(None), lambda: setattr(Scaled, "by", 3), nothing


@case()
def a_class_method_that_is_replaced():
    class Scaled(Net):
        @classmethod
        def scale(cls, x):
            return x * 2

        def forward(self, x):
            return self.scale(x)

    def change():
        Scaled.scale = classmethod(lambda cls, x: x * 3)

    return Scaled(None), change, nothing


@case()
def a_static_method():
    config = types.SimpleNamespace(by=2)

    class Scaled(Net):
        @staticmethod
        def scale(x):
            return x * config.by

        def forward(self, x):
            return self.scale(x)

    return Scaled(None), lambda: setattr(config, "by", 3), nothing


@case()
def a_static_method_that_is_replaced():
    class Scaled(Net):
        @staticmethod
        def scale(x):
            return x * 2

        def forward(self, x):
            return Scaled.scale(x)

    def change():
        Scaled.scale = staticmethod(lambda x: x * 3)

    return Scaled(None), change, nothing


@case()
def a_partial_method():
    class Scaled(Net):
        def scale(self, by, x):
            return x * by

        twice = functools.partialmethod(scale, 2)

        def forward(self, x):
            return self.twice(x)

    def change():
        Scaled.twice = functools.partialmethod(Scaled.scale, 3)

    return Scaled(None), change, nothing


@case()
def what_a_property_reads():
    class Scaled(Net):
        @property
        def scale(self):
            return self.by * 2

        def forward(self, x):
            return x * self.scale

    net = Scaled(None, by=2, other=1)
    return net, lambda: setattr(net, "by", 3), lambda: setattr(net, "other", 3)


@case()
def a_property_that_is_replaced():
    class Scaled(Net):
        @property
        def scale(self):
            return 2

        def forward(self, x):
            return x * self.scale

    return Scaled(None), lambda: setattr(Scaled, "scale", property(lambda self: 3)), nothing


@case()
def a_cached_property():
    class Config:
        def __init__(self):
            self.by = 2

        @functools.cached_property
        def scale(self):
            return self.by * 2

    config = Config()
    _ = config.scale
    net = Net(lambda self, x: x * self.config.scale, config=config)

    def change():
        config.by = 5
        del config.scale
        _ = config.scale

    return net, change, nothing


@case()
def a_property_of_a_child():
    class Child(nn.HybridBlock):
        _by = 2

        @property
        def by(self):
            return self._by

    net = Net(lambda self, x: x * self.child.by, child=Child())
    return net, lambda: setattr(net.child, "_by", 3), nothing


@case()
def operators_of_a_class():
    class Number:
        def __init__(self, value):
            self.value, self.other = value, 0

        def __mul__(self, x):
            return x * self.value

        def __bool__(self):
            return self.value > 2

        def __len__(self):
            return self.value

        def __getitem__(self, position):
            return self.value * position

        def __contains__(self, value):
            return value == self.value

        def __iter__(self):
            return iter([self.value])

    number = Number(2)

    def forward(self, x):
        y = number * x
        y = y + 1 if number else y
        return y * len(number) + number[2] + (2 in number) + sum(number)

    return (
        Net(forward),
        lambda: setattr(number, "value", 3),
        lambda: setattr(number, "other", 3),
    )


@case()
def an_operator_of_a_class_that_is_replaced():
    class Number:
        def __mul__(self, x):
            return x * 2

    number = Number()
    return (
        Net(lambda self, x: number * x),
        lambda: setattr(Number, "__mul__", lambda self, x: x * 3),
        nothing,
    )


@case()
def a_class_made_by_a_metaclass():
    class Meta(type):
        by = 2

        def scale(cls, x):
            return x * cls.by * cls.own

    class Config(metaclass=Meta):
        own = 1

    return Net(lambda self, x: Config.scale(x)), lambda: setattr(Config, "own", 3), nothing


@case()
def an_attribute_of_a_metaclass():
    class Meta(type):
        by = 2

    class Config(metaclass=Meta):
        pass

    return Net(lambda self, x: x * Config.by), lambda: setattr(Meta, "by", 3), nothing


@case()
def an_abstract_block():
    class Meta(abc.ABCMeta, type(nn.HybridBlock)):
        pass

    class Base(nn.HybridBlock, metaclass=Meta):
        @abc.abstractmethod
        def scale(self):
            """How much."""

        def forward(self, x):
            return x * self.scale()

    class Scaled(Base):
        by = 2

        def scale(self):
            return self.by

    return Scaled(), lambda: setattr(Scaled, "by", 3), nothing


@case()
def a_registered_abstract_class():
    class Kind(abc.ABC):
        @abc.abstractmethod
        def scale(self):
            """How much."""

    class One:
        pass

    one = One()
    net = Net(lambda self, x: x * 2 if isinstance(one, Kind) else x)
    return net, lambda: Kind.register(One), nothing


@case()
def the_class_that_is_made_inside():
    class Scale:
        def __init__(self, by):
            self.by = by * 2

    net = Net(lambda self, x: x * Scale(2).by)

    def init(self, by):
        self.by = by * 3

    return net, lambda: setattr(Scale, "__init__", init), nothing


@case()
def a_class_in_an_attribute():
    class One:
        by = 2

    class Other:
        by = 3

    net = Net(lambda self, x: x * self.kind().by, kind=One)
    return net, lambda: setattr(net, "kind", Other), nothing


@case()
def a_class_attribute_of_a_class_in_an_attribute():
    class One:
        by = 2

    net = Net(lambda self, x: x * self.kind().by, kind=One)
    return net, lambda: setattr(One, "by", 5), nothing


@case()
def the_bases_of_a_class():
    class A:
        by = 2

    class B:
        by = 3

    class Config(A):
        pass

    net = Net(lambda self, x: x * Config().by)
    return net, lambda: setattr(Config, "__bases__", (B,)), nothing


@case()
def the_class_of_the_block():
    class One(Net):
        def forward(self, x):
            return x * 2

    class Other(Net):
        def forward(self, x):
            return x * 3

    net = One(None)
    return net, lambda: setattr(net, "__class__", Other), nothing


@case()
def a_member_of_an_enum():
    class Mode(enum.Enum):
        PLAIN = 1
        DOUBLE = 2

    net = Net(lambda self, x: x * 2 if self.mode is Mode.DOUBLE else x, mode=Mode.PLAIN)
    return net, lambda: setattr(net, "mode", Mode.DOUBLE), lambda: setattr(net, "other", Mode.PLAIN)


@case()
def a_list_that_is_the_value_of_an_enum_member():
    class Mode(enum.Enum):
        PLAIN = [1, 2]  # noqa: RUF012

    net = Net(lambda self, x: x * self.mode.value[0], mode=Mode.PLAIN)
    return net, lambda: Mode.PLAIN.value.__setitem__(0, 5), nothing


# -------------------------------------------------------------------------------------- containers


def _add_containers():
    kinds = {
        "list": ([1, 2], lambda c: c.append(3), sum),
        "list_element": ([1, 2], lambda c: c.__setitem__(1, 5), lambda c: c[1]),
        "list_order": ([1, 2, 3], lambda c: c.reverse(), lambda c: c[0]),
        "list_type": ([1, 2], lambda c: c.__setitem__(0, 1.5), lambda c: int(c[0] * 2)),
        "dict": ({"a": 1}, lambda c: c.update(b=2), lambda c: sum(c.values())),
        "dict_value": ({"a": 1}, lambda c: c.update(a=2), lambda c: c["a"]),
        "dict_get": ({"b": 1}, lambda c: c.update(a=2), lambda c: c.get("a", 5)),
        "dict_order": (
            {"a": 1, "b": 2},
            lambda c: c.update(a=c.pop("a")),
            lambda c: list(c.values())[0],  # noqa: RUF015
        ),
        "set": ({1, 2}, lambda c: c.add(3), len),
        "set_contains": ({1, 2}, lambda c: c.discard(2), lambda c: 1 + (2 in c)),
        "deque": (collections.deque([1, 2], 2), lambda c: c.append(3), lambda c: c[0]),
        "counter": (collections.Counter(a=1), lambda c: c.update("a"), lambda c: c["a"]),
        "defaultdict": (
            collections.defaultdict(int, a=1),
            lambda c: c.update(a=4),
            lambda c: c["a"],
        ),
        "ordered": (
            collections.OrderedDict(a=1, b=2),
            lambda c: c.move_to_end("a"),
            lambda c: next(iter(list(c.values()))) if False else [*c.values()][0],  # noqa: RUF015
        ),
        "chain_map": (
            collections.ChainMap({}, {"a": 1}),
            lambda c: c.maps[1].update(a=2),
            lambda c: c["a"],
        ),
        "user_dict": (collections.UserDict(a=1), lambda c: c.update(a=2), lambda c: c["a"]),
        "list_in_tuple": (([1], 2), lambda c: c[0].append(2), lambda c: len(c[0])),
        "numpy": (np.array([1, 2]), lambda c: c.__setitem__(0, 5), lambda c: int(c[0])),
        "numpy_in_list": (
            [np.array([1, 2])],
            lambda c: c[0].__setitem__(0, 5),
            lambda c: int(c[0][0]),
        ),
        "array": (__import__("array").array("i", [1, 2]), lambda c: c.append(5), sum),
        "bytearray": (bytearray([1, 2]), lambda c: c.append(5), sum),
        "mapping_proxy": (
            types.MappingProxyType(PROXIED),
            lambda c: PROXIED.update(a=PROXIED["a"] + 1),
            lambda c: c["a"],
        ),
    }
    import copy

    for name, (content, change, read) in kinds.items():

        def make(content=content, change=change, read=read):
            if not isinstance(content, types.MappingProxyType):
                content = copy.deepcopy(content)
            net = Net(lambda self, x: x * read(self.content), content=content)
            return net, lambda: change(content), lambda: setattr(net, "other", [1])

        CASES[f"content_of_{name}"] = (make, None)


PROXIED = {"a": 1}
_add_containers()


@case()
def a_numpy_array_that_meets_the_input():
    table = np.array([1.0, 2.0, 3.0], np.float32)
    return Net(lambda self, x: x * nd.array(table)), lambda: table.__setitem__(1, 9), nothing


@case()
def a_numpy_array_that_is_a_view():
    base = np.arange(6)
    net = Net(lambda self, x: x * int(self.table.sum()), table=base.reshape(2, 3).T[1:])
    return net, lambda: base.__setitem__(slice(None), 7), nothing


@case()
def a_numpy_number():
    net = Net(lambda self, x: x * self.by, by=np.float32(2))
    return net, lambda: setattr(net, "by", np.float32(3)), nothing


@case()
def a_named_tuple():
    kind = collections.namedtuple("kind", "by other")
    net = Net(lambda self, x: x * self.config.by, config=kind(2, 1))
    return net, lambda: setattr(net, "config", kind(3, 1)), nothing


@case()
def numbers_of_other_types():
    net = Net(lambda self, x: x * (3 if isinstance(self.by, bool) else 2), by=1)
    return net, lambda: setattr(net, "by", True), nothing


@case()
def zeros_of_other_signs():
    net = Net(lambda self, x: x * 0 + math.copysign(1, self.by), by=0.0)
    return net, lambda: setattr(net, "by", -0.0), nothing


@case()
def a_list_of_blocks():
    one, other = nn.Activation("relu"), nn.Activation("tanh")
    blocks = [one]
    net = Net(lambda self, x: functools.reduce(lambda y, block: block(y), blocks, x))
    return net, lambda: blocks.append(other), nothing


@case()
def a_captured_array_that_is_replaced():
    net = Net(lambda self, x: x * self.table, table=nd.array([1, 2, 3]))
    return net, lambda: setattr(net, "table", nd.array([4, 5, 6])), nothing


@case()
def a_captured_array_in_a_list():
    tables = [nd.array([1, 2, 3])]
    net = Net(lambda self, x: x * tables[0])
    return net, lambda: tables.__setitem__(0, nd.array([4, 5, 6])), nothing


# --------------------------------------------------------------- globals, modules, the environment

BY = 2
TABLE = {"by": 2}
CONFIG = types.SimpleNamespace(by=2, other=1)


def scaled_by_a_global(x):
    return x * BY


def scaled_by_another(x):
    return x * 9


def _reset():
    global BY, TABLE, CONFIG, scaled
    BY, TABLE, CONFIG = 2, {"by": 2}, types.SimpleNamespace(by=2, other=1)
    scaled = scaled_by_a_global
    PROXIED["a"] = 1
    globals().pop("APPEARS", None)


scaled = scaled_by_a_global


def _set_global(name, value):
    return lambda: globals().__setitem__(name, value)


@case()
def a_global_number():
    return Net(lambda self, x: x * BY), _set_global("BY", 3), _set_global("BESIDE", 3)


@case()
def a_global_number_read_by_a_function():
    return Net(lambda self, x: scaled_by_a_global(x)), _set_global("BY", 3), nothing


@case()
def a_global_function():
    return Net(lambda self, x: scaled(x)), _set_global("scaled", scaled_by_another), nothing


@case()
def a_global_dictionary():
    return Net(lambda self, x: x * TABLE["by"]), lambda: TABLE.update(by=3), nothing


@case()
def a_global_object():
    return (
        Net(lambda self, x: x * CONFIG.by),
        lambda: setattr(CONFIG, "by", 3),
        lambda: setattr(CONFIG, "other", 3),
    )


@case()
def a_global_that_appears():
    def forward(self, x):
        try:
            return x * APPEARS
        except NameError:
            return x

    return Net(forward), _set_global("APPEARS", 3), nothing


@case()
def a_global_by_globals():
    return Net(lambda self, x: x * globals()["BY"]), _set_global("BY", 3), nothing


@case()
def a_global_by_sys_modules():
    return (
        Net(lambda self, x: x * sys.modules[__name__].BY),
        _set_global("BY", 3),
        nothing,
    )


@case()
def a_builtin_that_is_hidden():
    def abs_(x):
        return x * 7

    return Net(lambda self, x: x * abs(-2)), _set_global("abs", lambda x: 7), nothing


@case()
def a_module_that_is_imported_inside():
    def forward(self, x):
        import guarded_by_a_test

        return x * guarded_by_a_test.by

    return Net(forward), lambda: setattr(sys.modules["guarded_by_a_test"], "by", 3), nothing


@case()
def a_name_that_is_imported_inside():
    def forward(self, x):
        from guarded_by_a_test import by, scale

        return scale(x) * by

    return Net(forward), lambda: setattr(sys.modules["guarded_by_a_test"], "by", 3), nothing


@case()
def what_a_function_of_an_imported_module_reads():
    def forward(self, x):
        from guarded_by_a_test import scale

        return scale(x)

    return Net(forward), lambda: setattr(sys.modules["guarded_by_a_test"], "by", 3), nothing


@case()
def a_module_by_importlib():
    def forward(self, x):
        return x * importlib.import_module("guarded_by_a_test").by

    return Net(forward), lambda: setattr(sys.modules["guarded_by_a_test"], "by", 3), nothing


@case()
def a_function_of_a_library_that_is_replaced():
    net = Net(lambda self, x: x * round(math.sqrt(16)))
    return net, lambda: setattr(math, "sqrt", SQUARE_ROOT_OF_OURS), nothing


def SQUARE_ROOT_OF_OURS(x):
    return x / 2


SQUARE_ROOT = math.sqrt


@case()
def the_environment():
    net = Net(lambda self, x: x * int(os.environ.get("TIGON_TEST_BY", "2")))
    return (
        net,
        lambda: os.environ.__setitem__("TIGON_TEST_BY", "3"),
        nothing,
    )


@case()
def the_environment_by_getenv():
    net = Net(lambda self, x: x * int(os.getenv("TIGON_TEST_BY", "2")))
    return net, lambda: os.environ.__setitem__("TIGON_TEST_BY", "3"), nothing


@case()
def the_environment_by_membership():
    net = Net(lambda self, x: x * (3 if "TIGON_TEST_BY" in os.environ else 2))
    return net, lambda: os.environ.__setitem__("TIGON_TEST_BY", "3"), nothing


@case()
def a_context_variable():
    import contextvars

    by = contextvars.ContextVar("by", default=2)
    return Net(lambda self, x: x * by.get()), lambda: by.set(5), nothing


@case()
def values_of_a_dictionary():
    table = {"a": 2.0}
    view = table.values()
    return Net(lambda self, x: x * sum(view)), lambda: table.update(a=3.0), nothing


@case()
def items_of_a_dictionary():
    table = {"a": 2.0}
    view = table.items()
    return Net(lambda self, x: x * sum(v for _, v in view)), lambda: table.update(b=3.0), nothing


@case()
def an_event():
    import threading

    event = threading.Event()
    return Net(lambda self, x: x * 2 if event.is_set() else x), event.set, nothing


@case()
def the_length_of_a_queue():
    import queue

    items = queue.Queue()
    items.put(1)
    return Net(lambda self, x: x * items.qsize()), lambda: items.put(2), nothing


@case()
def the_arguments_of_the_program():
    return (
        Net(lambda self, x: x * (3 if "by three" in sys.argv else 2)),
        lambda: sys.argv.append("by three"),
        nothing,
    )


@case()
def a_set_of_equal_elements_of_another_type():
    names = {1}
    return (
        Net(lambda self, x: x * (3 if any(n is True for n in self.names) else 2), names=names),
        lambda: (names.clear(), names.add(True)),
        nothing,
    )


@case()
def what_a_deque_holds():
    last = collections.deque([1.0, 2.0], maxlen=2)
    return Net(lambda self, x: x * sum(last)), lambda: last.append(5.0), nothing


@case()
def an_attribute_of_a_thread():
    import threading

    local = threading.local()
    local.by = 2
    return Net(lambda self, x: x * local.by), lambda: setattr(local, "by", 5), nothing


# ------------------------------------------------------------------------- blocks and parameters


def dense(**fields):
    layer = nn.Dense(3, in_units=3, **fields)
    layer.initialize("ones")
    return layer


@case()
def a_multiplier_of_a_parameter():
    net = Net(lambda self, x: self.body(x) * self.body.weight.lr_mult, body=dense())
    return (
        net,
        lambda: setattr(net.body.weight, "lr_mult", 3),
        lambda: setattr(net.body.weight, "wd_mult", 3),
    )


@case()
def a_field_of_a_layer():
    net = nn.HybridSequential()
    net.add(dense(), nn.LeakyReLU(0.1))
    return net, lambda: setattr(net[1], "_alpha", 0.7), nothing


@case()
def the_number_of_children():
    net = nn.HybridSequential()
    net.add(dense())
    return net, lambda: net.add(nn.Activation("sigmoid")), nothing


@case()
def a_child_that_is_replaced():
    net = Net(lambda self, x: self.body(x), body=nn.Activation("relu"))
    return net, lambda: setattr(net, "body", nn.Activation("sigmoid")), nothing


@case()
def a_hook_of_a_child():
    net = Net(lambda self, x: self.body(x) * self.factor(), body=dense(), by=2)
    net.factor = lambda: net.by

    def change():
        net.body.register_forward_pre_hook(lambda block, inputs: setattr(net, "by", 3))
        net.by = 3

    return net, change, nothing


@case()
def the_gradient_request_of_a_parameter():
    net = Net(
        lambda self, x: self.body(x) * (2 if self.body.weight.grad_req == "null" else 1),
        body=dense(),
    )
    return net, lambda: setattr(net.body.weight, "grad_req", "null"), nothing


@case()
def a_shared_layer_that_was_exchanged():
    shared = types.SimpleNamespace(layer=nn.Activation("relu"))
    net = Net(lambda self, x: shared.layer(x))
    return net, lambda: setattr(shared, "layer", nn.Activation("sigmoid")), nothing


# ------------------------------------------------------------------------------------- the tests


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
    """Globals, modules and the environment are as before after each test."""
    (tmp_path / "guarded_by_a_test.py").write_text("by = 2\n\n\ndef scale(x):\n    return x * by\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("TIGON_TEST_BY", raising=False)
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    sys.modules.pop("guarded_by_a_test", None)
    importlib.import_module("guarded_by_a_test")
    _reset()
    yield
    _reset()
    math.sqrt = SQUARE_ROOT
    os.environ.pop("TIGON_TEST_BY", None)
    globals().pop("abs", None)
    sys.modules.pop("guarded_by_a_test", None)


def hybridized(net):
    net.hybridize()
    return net, lambda: net._cached_graphs.traces


def jitted(net):
    compiled = mx.jit(lambda x: net(x))
    return compiled, lambda: compiled._cached_graphs.traces


def listed(cases):
    for name, (_, fails) in cases.items():
        marks = [pytest.mark.xfail(strict=True, reason=fails)] if fails else []
        yield pytest.param(name, marks=marks, id=name)


OWN_INSIDE = "configuration_by_a_computed_name_with_a_getattr"
"""Where all names are read, the graphs of the block itself are compared: a trace per call."""


@pytest.mark.parametrize("compiled_by", [hybridized, jitted])
@pytest.mark.parametrize("name", [*listed(CASES)])
def test_what_was_read_is_compared_and_nothing_else(name, compiled_by, request):
    if name == OWN_INSIDE and compiled_by is hybridized:
        request.applymarker(pytest.mark.xfail(strict=True, reason="its own graphs are compared"))
    x = nd.array(DATA)
    make, _ = CASES[name]
    imperative, change_there, _ = make()
    net, change, beside = make()
    before = imperative(x).asnumpy()
    compiled, traces = compiled_by(net)
    for _ in range(3):
        np.testing.assert_allclose(compiled(x).asnumpy(), before, rtol=1e-6)
    assert traces() == 1, "nothing was changed"
    beside()
    np.testing.assert_allclose(compiled(x).asnumpy(), before, rtol=1e-6)
    assert traces() == 1, "what was changed was not read"
    change_there()
    if change is not change_there:
        change()
    after = imperative(x).asnumpy()
    assert not np.allclose(before, after), "the case changes what is computed"
    for _ in range(3):
        np.testing.assert_allclose(compiled(x).asnumpy(), after, rtol=1e-6)
    assert traces() == 2


@pytest.mark.parametrize("kind", ["function", "block", "jit", "partial", "object"])
def test_what_the_loss_of_a_training_step_reads_is_compared(kind):
    config = types.SimpleNamespace(by=1.0, other=0)

    class Loss(gluon.loss.Loss):
        def __init__(self):
            super().__init__(None, 0)

        def hybrid_forward(self, F, out, y):
            return F.square(out - y) * config.by

    class Callable:
        def __call__(self, out, y):
            return nd.square(out - y) * config.by

    def function(out, y):
        return nd.square(out - y) * config.by

    def scaled(options, out, y):
        return nd.square(out - y) * options.by

    loss = {
        "function": function,
        "block": Loss(),
        "jit": mx.jit(function),
        "partial": functools.partial(scaled, config),
        "object": Callable(),
    }[kind]
    x, y = nd.array(DATA), nd.zeros((2, 1))

    def run(by_step):
        config.by = 1.0
        mx.random.seed(1)
        net = nn.Dense(1, in_units=3)
        net.initialize("ones")
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        step = gluon.TrainStep(net, loss, trainer)
        results = []
        for turn in range(4):
            if turn == 2:
                config.by = 3.0
            config.other += 1
            if by_step:
                results.append(step(x, y).asnumpy())
                assert step._cached_graphs.traces == (1 if turn < 2 else 2)
            else:
                with autograd.record():
                    value = loss(net(x), y)
                value.backward()
                trainer.step(2)
                results.append(value.asnumpy())
            results.append(net.weight.data().asnumpy())
        return results

    for theirs, mine in zip(run(False), run(True), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("what", ["lr_mult", "wd_mult"])
def test_multipliers_of_parameters_count_in_a_training_step(what):
    x, y = nd.array(DATA), nd.zeros((2, 1))

    def run(by_step):
        net = nn.Dense(1, in_units=3)
        net.initialize("ones")
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1, "wd": 0.1})
        step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer)
        for turn in range(3):
            setattr(net.weight, what, 1.0 + turn)
            if by_step:
                step(x, y)
            else:
                with autograd.record():
                    value = gluon.loss.L2Loss()(net(x), y)
                value.backward()
                trainer.step(2)
        return net.weight.data().asnumpy(), step

    (theirs, _), (mine, step) = run(False), run(True)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert step._cached_graphs.traces == 1


def test_changes_back_find_the_old_graph():
    config = types.SimpleNamespace(by=2)
    net = Net(lambda self, x: x * config.by)
    net.hybridize()
    x = nd.ones(1)
    for by in (2, 3, 2, 3, 2):
        config.by = by
        assert net(x).asscalar() == by
    assert net._cached_graphs.traces == 2


def test_explanations_name_what_changed():
    config = types.SimpleNamespace(by=2)
    net = Net(lambda self, x: x * config.by * self.factor, factor=1)
    net.hybridize()
    net(nd.ones(1))
    config.by = 3
    net(nd.ones(1))
    net.factor = 5
    net(nd.ones(1))
    text = net.explain()
    assert "SimpleNamespace.by changed" in text
    assert "Net.factor changed" in text
