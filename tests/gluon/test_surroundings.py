"""What lies around a program: classes and functions of ours that are replaced, state that libraries
hold in C, weak references, other threads, and changes that last. Imperatively and hybridized."""

from __future__ import annotations

import argparse
import builtins
import contextlib
import csv
import ctypes
import decimal
import functools
import gc
import inspect
import io
import logging
import queue
import sqlite3
import string
import sys
import threading
import time
import types
import typing
import warnings
import weakref
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn
from tigon.gluon.trace import classes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

Case = Callable[["Make"], list[Any]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__.replace("_", " ")] = function
    return function


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


# ------------------------------------------------------------------------------- replacements


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


# -------------------------------------------------------------------------------- surroundings


@case
def the_thread(make: Make) -> list[Any]:
    net = make(lambda self, x: x * len(threading.current_thread().name))
    seen = [called(net)]
    thread = threading.Thread(target=lambda: seen.append(called(net)), name="a")
    thread.start()
    thread.join()
    return [*seen, called(net)]


@case
def the_decimal_context(make: Make) -> list[Any]:
    net = make(lambda self, x: x * float(decimal.Decimal(1) / 3))
    seen = [called(net)]
    with decimal.localcontext() as context:
        context.prec = 2
        seen.append(called(net))
    return seen


@case
def how_numpy_handles_errors(make: Make) -> list[Any]:
    net = make(lambda self, x: x * 2 if np.geterr()["divide"] == "ignore" else x)
    seen = [called(net)]
    with np.errstate(divide="ignore"):
        seen.append(called(net))
    return [*seen, called(net)]


@case
def how_numpy_prints(make: Make) -> list[Any]:
    net = make(lambda self, x: x * len(np.array2string(np.array([1 / 3]))))
    seen = [called(net)]
    with np.printoptions(precision=2):
        seen.append(called(net))
    return seen


@case
def the_context(make: Make) -> list[Any]:
    net = make(lambda self, x: x * (mx.current_context().device_id + 1))
    seen = [called(net)]
    with mx.cpu(1):
        seen.append(called(net))
    return seen


@case
def the_level_of_a_logger(make: Make) -> list[Any]:
    logger = logging.getLogger("tigon.test_surroundings")
    logger.setLevel(logging.WARNING)
    net = make(lambda self, x: x * 2 if logger.isEnabledFor(logging.DEBUG) else x)
    seen = [called(net)]
    logger.setLevel(logging.DEBUG)
    seen.append(called(net))
    logger.setLevel(logging.WARNING)
    return [*seen, called(net)]


@case
def who_calls(make: Make) -> list[Any]:
    net = make(lambda self, x: x * sum(frame.function == "deeper" for frame in inspect.stack()))

    def deeper() -> Any:
        return called(net)

    return [called(net), deeper(), called(net)]


@case
def subclasses(make: Make) -> list[Any]:
    class Base:
        pass

    net = make(lambda self, x: x * (1 + len(Base.__subclasses__())))
    seen = [called(net)]

    class Derived(Base):
        pass

    return [*seen, called(net), Derived.__name__]


# ---------------------------------------------------------------------------------- state in C


@case
def a_lock(make: Make) -> list[Any]:
    lock = threading.Lock()
    net = make(lambda self, x: x * 2 if lock.locked() else x)
    seen = [called(net)]
    with lock:
        seen.append(called(net))
    return seen


@case
def an_array_of_c(make: Make) -> list[Any]:
    held = (ctypes.c_int * 2)(1, 2)
    net = make(lambda self, x: x * self.held[0], held=held)
    seen = [called(net)]
    held[0] = 5
    return [*seen, called(net)]


@case
def an_element_of_a_tree(make: Make) -> list[Any]:
    element = ElementTree.fromstring("<a by='2'/>")
    net = make(lambda self, x: x * float(element.get("by")))
    seen = [called(net)]
    element.set("by", "5")
    return [*seen, called(net)]


@case
def rows_are_written(make: Make) -> list[Any]:
    text = io.StringIO()
    writer = csv.writer(text)

    def forward(self: Any, x: Any) -> Any:
        writer.writerow([1, 2])
        return x

    net = make(forward)
    return [called(net), called(net), called(net), text.getvalue()]


@case
def a_database_is_written(make: Make) -> list[Any]:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table calls(number)")

    def forward(self: Any, x: Any) -> Any:
        connection.execute("insert into calls values(1)")
        return x

    net = make(forward)
    seen = [called(net), called(net), connection.execute("select count(*) from calls").fetchall()]
    connection.close()
    return seen


@case
def a_generator_of_bits(make: Make) -> list[Any]:
    bits = np.random.PCG64(3)
    net = make(lambda self, x: x * float(np.random.Generator(bits).random()))
    return [called(net), called(net)]


# ----------------------------------------------------------------------------- weak references


@case
def a_weak_reference(make: Make) -> list[Any]:
    class Kind:
        pass

    target = Kind()
    net = make(lambda self, x: x * 2 if self.held() is None else x * 3)
    net.held = weakref.ref(target)
    seen = [called(net), called(net)]
    del target
    gc.collect()
    return [*seen, called(net), called(net)]


@case
def a_weak_reference_to_an_array(make: Make) -> list[Any]:
    target = nd.array([1, 2])
    net = make(lambda self, x: x * 2 if self.held() is None else x * self.held())
    net.held = weakref.ref(target)
    seen = [called(net)]
    del target
    gc.collect()
    return [*seen, called(net)]


@case
def a_proxy(make: Make) -> list[Any]:
    class Kind:
        by = 2

    target = Kind()
    net = make(lambda self, x: x * self.held.by, held=weakref.proxy(target))
    seen = [called(net)]
    target.by = 5
    return [*seen, called(net)]


@case
def what_was_referred_to_by_what_is_read(make: Make) -> list[Any]:
    class Kind:
        by = 2

    net = make(lambda self, x: x * (2 if self.held() is None else self.held().by))
    net.target = Kind()
    net.held = weakref.ref(net.target)
    seen = [called(net)]
    net.target = None
    gc.collect()
    return [*seen, called(net)]


@case
def entries_of_a_weak_dictionary(make: Make) -> list[Any]:
    class Kind:
        pass

    key, table = Kind(), weakref.WeakKeyDictionary()
    table[key] = 2.0
    net = make(lambda self, x: x * table[key])
    seen = [called(net), called(net)]
    table[key] = 5.0
    return [*seen, called(net)]


@case
def the_size_of_a_weak_set(make: Make) -> list[Any]:
    class Kind:
        pass

    one, other = Kind(), Kind()
    found = weakref.WeakSet([one])
    net = make(lambda self, x: x * len(found))
    seen = [called(net)]
    found.add(other)
    return [*seen, called(net)]


@case
def an_object_that_answers_with_other_errors(make: Make) -> list[Any]:
    class Proxy:
        def __getattribute__(self, name: str) -> Any:
            return {"by": 3}[name]

    proxy = Proxy()
    net = make(lambda self, x: x * proxy.by)
    return [called(net), called(net)]


# --------------------------------------------------------------------------------- other threads


@case
def a_pool_of_threads_that_runs_already(make: Make) -> list[Any]:
    calls = [0]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()

        def forward(self: Any, x: Any) -> Any:
            def work() -> Any:
                calls[0] += 1
                return x * calls[0]

            return pool.submit(work).result() + x

        net = make(forward)
        return [called(net), called(net), called(net)]


@case
def a_thread_that_waits_at_a_queue(make: Make) -> list[Any]:
    asked: queue.Queue[Any] = queue.Queue()
    answers: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        while (item := asked.get()) is not None:
            answers.put(item * 2)

    thread = threading.Thread(target=work)
    thread.start()

    def forward(self: Any, x: Any) -> Any:
        asked.put(x + 1)
        return answers.get(timeout=30) + x

    net = make(forward)
    seen = [called(net), called(net)]
    asked.put(None)
    thread.join()
    return seen


# ---------------------------------------------------------------------------- changes that last


def dense() -> nn.Dense:
    layer = nn.Dense(1, in_units=2)
    layer.initialize(mx.init.One())
    return layer


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


@case
def a_view_of_a_numpy_array_is_returned(make: Make) -> list[Any]:
    held = np.arange(6.0)
    net = make(lambda self, x: (x, self.held[1:3]), held=held)
    seen = []
    for _ in range(3):
        net(nd.array([1, 2]))[1][:] += 1
        seen.append(held.tolist())
    return seen


# ------------------------------------------------------------------------- objects as wholes


def before_and_after(make: Make, function: Callable[..., Any], change: Callable[[], Any]) -> Any:
    compiled = make.jit(function)
    seen = [called(compiled), called(compiled)]
    change()
    return [*seen, called(compiled)]


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


class Exit(Exception):
    pass


@case
def an_error_that_holds_an_array(make: Make) -> list[Any]:
    def forward(x: Any) -> Any:
        error = Exit(x * 2)
        error.also = x * 3
        raise error from ValueError(x * 4)

    compiled, seen = make.jit(forward), []
    for _ in range(2):
        try:
            called(compiled)
        except Exit as error:
            parts = error.args[0], error.also, error.__cause__.args[0]
            seen.append([part.asnumpy().tolist() for part in parts])
    return seen


@case
def an_error_that_is_caught_outside_of_its_block(make: Make) -> list[Any]:
    def leave(self: Any, x: Any) -> Any:
        raise Exit(x * 2)

    def forward(self: Any, x: Any) -> Any:
        try:
            return self.inner(x)
        except Exit as error:
            return error.args[0] + 1

    net = make(forward, inner=make(leave))
    return [called(net), called(net)]


HELD = np.array([[1, 2], [3, 4]])


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, held: (x * 2)[:],
        lambda x, held: x[:][0],
        lambda x, held: x[...][0],
        lambda x, held: x[0:2][0:1],
        lambda x, held: x[:, :3][:, 0],
        lambda x, held: held[: x.shape[0]][0],
        lambda x, held: (x[:], x[0])[1],
        lambda x, held: ((x * 2)[:2], (x * 2)[0]),
        lambda x, held: [row for row in x[:2]],
        lambda x, held: x[:],
        lambda x, held: held[:],
        lambda x, held: x.reshape(x.shape),
        lambda x, held: x.detach().detach(),
        lambda x, held: x.reshape((-1,)).reshape((2, 2)),
    ],
)
def test_views_of_all_of_an_array(function: Any, recorded: bool) -> None:
    """Each is another array that shares memory."""

    def run(make: Make) -> Any:
        held, seen = nd.array(HELD), []
        compiled = make.jit(lambda x: function(x, held))
        for _ in range(2):
            x = nd.array(HELD)
            with autograd.record() if recorded else contextlib.nullcontext():
                result = compiled(x)
            first = result[0] if isinstance(result, (list, tuple)) else result
            first[:] = 9
            seen += [first is x, x.asnumpy().tolist(), held.asnumpy().tolist()]
        return seen

    assert run(Make(False)) == run(Make(True))


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


# --------------------------------------------------- attributes of arrays and of other things


class Sized:
    def __init__(self, size: float) -> None:
        self.size = size


class Wrapped:
    gain = 2

    def __init__(self, x: Any) -> None:
        self.x = x


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


class Slotted(Exception):
    __slots__ = ("part",)


@case
def an_error_that_holds_an_array_deep_inside(make: Make) -> list[Any]:
    def forward(x: Any) -> Any:
        error = Slotted(types.SimpleNamespace(x=x * 2, table={"k": Wrapped(x * 3)}))
        error.part = x * 4
        raise error

    try:
        called(make.jit(forward))
    except Slotted as error:
        inner = error.args[0]
        parts = inner.x, inner.table["k"].x, error.part
    return [part.asnumpy().tolist() for part in parts]


def test_objects_that_hold_arrays_for_a_while_are_no_reason() -> None:
    def forward(self: Any, x: Any) -> Any:
        held = Wrapped(x * 2)
        return held.x + 1 if "a_b".replace("_", " ") else {"a": 1}.copy()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = Make(True)(forward, lock=threading.Lock())
        assert called(net) == [3, 5]


@pytest.mark.parametrize("name", CASES)
def test_hybridized_calls_see_what_lies_around_them(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))


OPAQUE = (
    threading.Lock(),
    threading.RLock(),
    sqlite3.connect(":memory:"),
    csv.writer(io.StringIO()),
    ctypes.c_int(1),
    ElementTree.Element("a"),
    queue.SimpleQueue(),
)


@pytest.mark.parametrize("item", OPAQUE, ids=lambda item: type(item).__name__)
def test_objects_with_state_in_c_are_known(item: Any) -> None:
    assert classes.is_opaque(type(item))


def python_objects() -> list[Any]:
    class Slots:
        __slots__ = ("a", "b")

    class More(Slots):
        __slots__ = ("__dict__", "__weakref__", "c")

    class Fault(ValueError):
        pass

    return [Slots(), More(), Fault(), logging.getLogger(), sys.flags, decimal.Decimal(1), dense()]


@pytest.mark.parametrize("item", python_objects(), ids=lambda item: type(item).__name__)
def test_objects_of_python_can_be_looked_into(item: Any) -> None:
    assert not classes.is_opaque(type(item))


def test_what_is_called_at_collections_is_no_part_of_a_program() -> None:
    def told(phase: str, facts: Any) -> None:
        time.perf_counter()

    held: list[Any] = []
    gc.callbacks.append(told)
    try:
        net = Make(True)(lambda self, x: held.append(x * 2) or x)
        with pytest.warns(RuntimeWarning) as caught:
            for _ in range(4):
                called(net)
    finally:
        gc.callbacks.remove(told)
    assert not any("perf_counter" in str(warning.message) for warning in caught)
