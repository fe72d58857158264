"""What programs hold in objects whose methods others have written: those of libraries and of ours,
caches of functions, and classes derived from them."""

from __future__ import annotations

import collections
import configparser
import copy
import dataclasses
import functools
import logging
import math
import string
import threading
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.both_ways import Case, Make, adder, before_and_after, called
from tigon import autograd, gluon, nd
from tigon.gluon import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


def after_each(make: Make, function: Any, *changes: Any) -> list[Any]:
    compiled = make.jit(function)
    seen = [called(compiled), called(compiled)]
    for change in changes:
        change()
        seen.append(called(compiled))
    return seen


# ------------------------------------------------------------------------ caches of functions


class Settings:
    def __init__(self, by: Any = 2) -> None:
        self.by = by


@pytest.mark.parametrize("maxsize", [None, 4])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("content", "read", "change"),
    [
        (Settings, lambda c: c.by, lambda c: setattr(c, "by", 5)),
        (lambda: [2], lambda c: c[0], lambda c: c.append(c.pop() + 3)),
        (lambda: {"by": 2}, lambda c: c["by"], lambda c: c.update(by=5)),
        (dict, lambda c: len(c) + 1, lambda c: c.update(by=5)),
        (lambda: np.full(2, 2.0), lambda c: float(c.sum()), lambda c: c.fill(5)),
    ],
    ids=["object", "list", "dict", "empty dict", "numpy array"],
)
def test_what_functions_remember(
    maxsize: int | None, early: bool, content: Any, read: Any, change: Any
) -> None:
    def run(make: Make) -> list[Any]:
        remembered = functools.lru_cache(maxsize)(content)
        if early:
            remembered()
        return after_each(
            make, lambda x: x * read(remembered()), lambda: change(remembered()), lambda: None
        )

    assert run(Make(False)) == run(Make(True))


@case
def a_cached_method(make: Make) -> list[Any]:
    class Net(gluon.HybridBlock):
        @functools.lru_cache  # noqa: B019
        def settings(self) -> Any:
            return {"by": 2}

        def forward(self, x: Any) -> Any:
            return x * self.settings()["by"]

    net = make.of(Net())
    seen = [called(net)]
    net.settings()["by"] = 5
    return [*seen, called(net)]


# ----------------------------------------------------------- classes derived from a library's


@case
def a_user_dictionary(make: Make) -> list[Any]:
    class Config(collections.UserDict):
        pass

    config = Config(by=2)
    return after_each(
        make, lambda x: x * config["by"], lambda: config.update(by=5), lambda: config.update(by=6)
    )


@case
def a_user_dictionary_with_methods_of_its_own(make: Make) -> list[Any]:
    class Config(collections.UserDict):
        def __getitem__(self, key: Any) -> Any:
            return super().__getitem__(key) * 2

    config = Config(by=2)
    return after_each(make, lambda x: x * config["by"], lambda: config.update(by=5))


@case
def a_user_list(make: Make) -> list[Any]:
    class Rates(collections.UserList):
        pass

    rates = Rates([1, 2])
    return after_each(
        make,
        lambda x: x * rates[0] * len(rates),
        lambda: rates.__setitem__(0, 5),
        lambda: rates.append(1),
    )


@case
def a_chain_of_mappings(make: Make) -> list[Any]:
    class Chain(collections.ChainMap):
        pass

    chain = Chain({"by": 2}, {"other": 3})
    return after_each(
        make,
        lambda x: x * chain["by"] * chain["other"],
        lambda: chain.__setitem__("by", 5),
        lambda: chain.maps[1].update(other=9),
        lambda: chain.maps.insert(0, {"by": 1}),
    )


@case
def a_file_of_settings(make: Make) -> list[Any]:
    class Parser(configparser.ConfigParser):
        pass

    parser = Parser()
    parser["s"] = {"by": "2"}
    return after_each(
        make,
        lambda x: x * parser.getint("s", "by") * int(parser["s"]["by"]),
        lambda: parser["s"].__setitem__("by", "5"),
        lambda: parser.set("s", "by", "6"),
    )


@case
def a_template(make: Make) -> list[Any]:
    class Template(string.Template):
        delimiter = "%"

    template = Template("%a%a")
    return after_each(
        make,
        lambda x: x * len(template.substitute(a="zz")),
        lambda: setattr(template, "template", "%a"),
        lambda: setattr(Template, "delimiter", "$"),
    )


@case
def an_adapter_of_a_logger(make: Make) -> list[Any]:
    class Adapter(logging.LoggerAdapter):
        pass

    adapter = Adapter(logging.getLogger("tigon.test_library_classes"), {})
    adapter.logger.setLevel(logging.WARNING)
    return after_each(
        make,
        lambda x: x * 2 if adapter.isEnabledFor(logging.DEBUG) else x,
        lambda: adapter.logger.setLevel(logging.DEBUG),
        lambda: adapter.setLevel(logging.ERROR),
    )


@case
def a_thread(make: Make) -> list[Any]:
    class Worker(threading.Thread):
        pass

    worker = Worker(name="abc")
    return after_each(
        make,
        lambda x: x * len(worker.name) * (2 if worker.daemon else 1),
        lambda: setattr(worker, "name", "abcdef"),
        lambda: setattr(worker, "daemon", True),
    )


@case
def methods_of_c(make: Make) -> list[Any]:
    held: list[int] = [1, 2]
    size, has, show = held.__len__, held.__contains__, "{0.by}".format
    settings = Settings()
    return after_each(
        make,
        lambda x: x * size() * (2 if has(7) else 1) * float(show(settings)),
        lambda: held.append(1),
        lambda: held.append(7),
        lambda: setattr(settings, "by", 5),
    )


@case
def a_record_of_numpy(make: Make) -> list[Any]:
    record = np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])[0]
    return after_each(make, lambda x: x * int(record["a"]), lambda: record.__setitem__("a", 9))


@case
def flags_of_a_numpy_array(make: Make) -> list[Any]:
    array = np.ones(3)
    return after_each(
        make,
        lambda x: x * 2 if array.flags.writeable else x,
        lambda: setattr(array.flags, "writeable", False),
    )


# ----------------------------------------------------------------------- sets


@case
def the_order_of_a_set(make: Make) -> list[Any]:
    held = {0, 8}

    def forward(x: Any) -> Any:
        for item in held:
            x = x * 2 + item
        return x

    def change() -> None:
        held.clear()
        held.add(8)
        held.add(0)

    return after_each(make, forward, change)


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    by: int = dataclasses.field(compare=False, default=1)


@case
def members_that_are_equal(make: Make) -> list[Any]:
    held: set[Any] = {Named("a", 2), 0.0}

    def change(other: Any) -> None:
        held.clear()
        held.update((other, -0.0))

    def forward(x: Any) -> Any:
        zero = next(item for item in held if isinstance(item, float))
        return x * sum(item.by for item in held if isinstance(item, Named)) * math.copysign(1, zero)

    return after_each(make, forward, lambda: change(Named("a", 5)))


# ------------------------------------------------------------------------- classes of ours


def trainer_of(kind: Any = gluon.Trainer) -> Any:
    layer = nn.Dense(1, in_units=2)
    layer.initialize()
    return kind(layer.collect_params(), "sgd", {"learning_rate": 0.5})


@case
def an_optimizer(make: Make) -> list[Any]:
    trainer = trainer_of()
    return after_each(
        make, lambda x: x * trainer.optimizer.lr, lambda: setattr(trainer.optimizer, "lr", 2.0)
    )


@case
def a_trainer_of_a_derived_class(make: Make) -> list[Any]:
    class Trainer(gluon.Trainer):
        pass

    trainer = trainer_of(Trainer)
    return after_each(
        make, lambda x: x * trainer.learning_rate, lambda: trainer.set_learning_rate(2.0)
    )


@case
def a_metric_of_a_derived_class(make: Make) -> list[Any]:
    class Metric(mx.metric.Loss):
        pass

    metric = Metric()
    metric.update(None, [nd.array([2])])
    return after_each(
        make, lambda x: x * metric.get()[1], lambda: metric.update(None, [nd.array([20])])
    )


@case
def a_schedule_of_a_derived_class(make: Make) -> list[Any]:
    class Schedule(mx.lr_scheduler.FactorScheduler):
        pass

    schedule = Schedule(step=2, factor=0.5, base_lr=1.0)
    return after_each(make, lambda x: x * schedule(1), lambda: setattr(schedule, "base_lr", 5.0))


@case
def a_dataset_of_a_derived_class(make: Make) -> list[Any]:
    class Dataset(gluon.data.SimpleDataset):
        pass

    dataset = Dataset([1, 2, 3])
    return after_each(
        make,
        lambda x: x * len(dataset) * dataset[0],
        lambda: dataset._data.append(4),
        lambda: dataset._data.__setitem__(0, 9),
    )


@case
def the_shape_of_a_parameter(make: Make) -> list[Any]:
    param = gluon.Parameter("p", shape=(0,), allow_deferred_init=True)
    return after_each(make, lambda x: x * param.shape[0], lambda: setattr(param, "shape", (4,)))


@case
def a_parameter_that_is_not_initialized(make: Make) -> list[Any]:
    param = gluon.Parameter("p", shape=(2,))

    def forward(x: Any) -> Any:
        try:
            return x * param.data()
        except mx.TigonError:
            return x

    return after_each(make, forward, lambda: param.initialize(mx.init.Constant(4)))


@case
def arrays_of_a_parameter(make: Make) -> list[Any]:
    param = gluon.Parameter("p", shape=(2,))
    param.initialize(mx.init.One())
    param.grad()[:] = 3
    return after_each(
        make,
        lambda x: x * param.list_data()[0] + param.grad(),
        lambda: param.set_data(nd.array([4, 4])),
        lambda: param.initialize(mx.init.Constant(6), force_reinit=True),
        lambda: param.grad().__setitem__(slice(None), 7),
    )


@case
def the_gradient_of_an_array_of_a_parameter(make: Make) -> list[Any]:
    param = gluon.Parameter("p", shape=(2,))
    param.initialize(mx.init.One())
    compiled, seen = make.jit(lambda x: x * param.list_data()[0]), []
    for _ in range(2):
        with autograd.record():
            y = compiled(nd.array([1, 2]))
        y.backward()
        seen.append(param.grad().asnumpy().tolist())
        param.initialize(mx.init.Constant(5), force_reinit=True)
    return seen


@case
def a_gradient_that_is_there_no_longer(make: Make) -> list[Any]:
    param = gluon.Parameter("p", shape=(2,))
    param.initialize(mx.init.One())
    compiled = make.jit(lambda x: x * param.grad())
    seen = [called(compiled)]
    param.grad_req = "null"
    with pytest.raises(mx.TigonError, match="has no gradient"):
        called(compiled)
    param.grad_req = "write"
    return [*seen, called(compiled)]


@case
def parameters_by_name(make: Make) -> list[Any]:
    params = gluon.ParameterDict("q_")

    def forward(x: Any) -> Any:
        for name in params:
            x = x * params[name].data()
        return x * len(params) * (2 if "q_b" in params else 1) + len(list(params.values()))

    def add(name: str, value: float) -> None:
        params.get(name, shape=(2,)).initialize(mx.init.Constant(value))

    return after_each(make, forward, lambda: add("a", 2), lambda: add("b", 3))


@case
def parameters_of_a_block(make: Make) -> list[Any]:
    net = make(lambda self, x: x * len(self.params) * len(self.collect_params()))
    net.params.get("a", shape=(2,))
    seen = [called(net)]
    net.params.get("b", shape=(2,))
    return [*seen, called(net)]


class Scaled(gluon.Parameter):
    scale = 2

    def data(self, ctx: Any = None) -> Any:
        return super().data(ctx) * self.scale


@pytest.mark.parametrize("style", ["forward", "hybrid_forward"])
def test_a_parameter_that_gives_another_array(style: str) -> None:
    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.weight = Scaled("w", shape=(2,))

        if style == "forward":

            def forward(self, x: Any) -> Any:
                return x * self.weight.data()

        else:

            def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
                return x * weight

    def run(make: Make) -> list[Any]:
        net, seen = Net(), []
        net.weight.initialize(mx.init.One())
        make.of(net)
        for value in (1, 5):
            net.weight.set_data(nd.array([value, value]))
            with autograd.record():
                y = net(nd.array([1, 2]))
            y.backward()
            seen += [y.asnumpy().tolist(), net.weight.grad().asnumpy().tolist()]
        return seen

    expected = [[2, 4], [2, 4], [10, 20], [2, 4]]
    assert run(Make(False)) == run(Make(True)) == expected


@pytest.mark.parametrize("change", ["block", "parameter", "setattr", "shape"])
def test_parameters_of_another_type(change: str) -> None:
    def run(make: Make) -> list[Any]:
        net = nn.Embedding(3, 2)
        net.initialize(mx.init.One())
        parent = make(lambda self, x: self.child(x) * 2, child=net)
        compiled = make.jit(lambda x: net(x) * 2)
        seen = [called(parent), called(compiled)]
        if change == "block":
            net.cast("float64")
        elif change == "parameter":
            net.weight.cast("float64")
        elif change == "setattr":
            net.collect_params().setattr("dtype", "float64")
        else:
            net.weight._shape = (4, 2)
            net.weight.initialize(mx.init.Constant(3), force_reinit=True)
        for call in (parent, compiled, parent):
            try:
                seen.append(called(call))
            except mx.TigonError as error:
                seen.append(type(error).__name__)
        return seen

    assert run(Make(False)) == run(Make(True))


@case
def hooks_that_take_the_place_of_others(make: Make) -> list[Any]:
    class Counts:
        calls = 0

        def quiet(self, *_: Any) -> None:
            pass

        def count(self, *_: Any) -> None:
            self.calls += 1

    counts, layer = Counts(), nn.Activation("relu")
    net = nn.HybridSequential()
    net.add(layer)
    make.of(net)
    for _ in range(4):
        with layer.register_forward_hook(counts.quiet):
            called(net)
        with layer.register_forward_hook(counts.count):
            called(net)
    return [counts.calls]


# -------------------------------------------------------------- what classes are given later


@pytest.mark.parametrize(
    "read",
    [
        lambda kind: sum(v for n, v in vars(kind).items() if n[0] == "a"),
        lambda kind: sum(getattr(kind, n) for n in dir(kind) if n[0] == "a"),
        lambda kind: sum(getattr(kind(), n) for n in dir(kind()) if n[0] == "a"),
        lambda kind: sum(getattr(kind, f"a{n}", 9) for n in range(3)),
        lambda kind: sum(hasattr(kind, "a" + str(n)) for n in range(3)),
    ],
    ids=["vars", "dir", "dir of an instance", "getattr", "hasattr"],
)
def test_names_that_classes_are_given_later(read: Any) -> None:
    def run(make: Make) -> list[Any]:
        class Meta(type):
            pass

        class Base:
            a0 = 2

        class Config(Base, metaclass=Meta):
            pass

        return after_each(
            make,
            lambda x: x * read(Config),
            lambda: setattr(Config, "a1", 5),
            lambda: setattr(Base, "a2", 7),
            lambda: setattr(Meta, "a1", 8),
            lambda: delattr(Config, "a1"),
        )

    assert run(Make(False)) == run(Make(True))


class Plain:
    by = 1


class Other:
    by = 5


@pytest.mark.parametrize(
    ("use", "name", "method"),
    [
        (lambda kind: kind().by, "__init__", lambda self: setattr(self, "by", 50)),
        (lambda kind: kind().by, "__new__", lambda kind: Other()),
        (lambda kind: copy.copy(kind()).by, "__copy__", lambda self: Other()),
        (lambda kind: copy.deepcopy(kind()).by, "__deepcopy__", lambda self, _: Other()),
        (lambda kind: (kind() + 1).by, "__iadd__", lambda self, _: Other()),
        (lambda kind: operator_iadd(kind()).by, "__iadd__", lambda self, _: Other()),
    ],
)
def test_special_methods_that_classes_are_given_later(use: Any, name: str, method: Any) -> None:
    def run(make: Make) -> list[Any]:
        class Kind(Plain):
            def __add__(self, other: Any) -> Any:
                return self

        return after_each(make, lambda x: x * use(Kind), lambda: setattr(Kind, name, method))

    assert run(Make(False)) == run(Make(True))


def operator_iadd(value: Any) -> Any:
    value += 1
    return value


@pytest.mark.parametrize("name", ["__instancecheck__", "__subclasscheck__"])
def test_checks_that_metaclasses_are_given_later(name: str) -> None:
    def run(make: Make) -> list[Any]:
        class Meta(type):
            pass

        class Kind(metaclass=Meta):
            pass

        held = Plain()

        def forward(x: Any) -> Any:
            return x * (1 + isinstance(held, Kind) + 2 * issubclass(Plain, Kind))

        return after_each(make, forward, lambda: setattr(Meta, name, lambda *_: True))

    assert run(Make(False)) == run(Make(True))


@case
def bases_that_change(make: Make) -> list[Any]:
    class Root(Exception):
        pass

    class Tag(Exception):
        pass

    class Kind(Root):
        pass

    held = Kind()

    def forward(x: Any) -> Any:
        try:
            raise held
        except Tag:
            caught = 2
        except Exception:
            caught = 1
        return x * caught * (1 + isinstance(held, Tag) + 2 * issubclass(Kind, Tag))

    return after_each(make, forward, lambda: setattr(Kind, "__bases__", (Root, Tag)))


@case
def the_class_of_a_class(make: Make) -> list[Any]:
    class First(type):
        def by(cls) -> int:
            return 1

    class Second(First):
        def by(cls) -> int:
            return 5

    class Kind(metaclass=First):
        pass

    return before_and_after(
        make, lambda x: x * Kind.by(), lambda: setattr(Kind, "__class__", Second)
    )


def test_guards_run_no_descriptors_of_the_user() -> None:
    ran: list[str] = []

    class Described:
        def __get__(self, owner: Any, kind: Any = None) -> Any:
            ran.append("get")
            return 2 if owner is None else owner.held

        def __set__(self, owner: Any, value: Any) -> None:
            owner.held = value

    class Holder:
        by = Described()

    class Named:
        by = 3

    holder, other = Holder(), Named()
    holder.by = 2
    compiled = mx.jit(lambda x: x * holder.held * other.by)
    assert [called(compiled) for _ in range(3)] == [[6, 12]] * 3
    assert ran == []


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))
