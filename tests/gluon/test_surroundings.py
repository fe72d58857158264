"""What lies around a program: state that libraries give or hold in C, weak references, threads."""

from __future__ import annotations

import csv
import ctypes
import decimal
import gc
import inspect
import io
import logging
import queue
import sqlite3
import sys
import threading
import time
import weakref
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tests.gluon.both_ways import Case, Make, adder, called, dense
from tigon import nd
from tigon.gluon.trace import classes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gives way:RuntimeWarning", "ignore:.*traced again:RuntimeWarning"
)

CASES: dict[str, Case] = {}
case = adder(CASES)


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


@pytest.mark.parametrize("name", CASES)
def test_hybridized_as_imperatively(name: str) -> None:
    assert CASES[name](Make(False)) == CASES[name](Make(True))


class Key:
    pass


@pytest.mark.parametrize(
    ("before", "after"), [(1, True), (0.0, -0.0), ([2.0], [5.0])], ids=["bool", "sign", "list"]
)
def test_entries_of_weak_dictionaries_are_compared_to_the_bit(before: Any, after: Any) -> None:
    def run(make: Make) -> Any:
        key, table = Key(), weakref.WeakKeyDictionary()
        table[key] = before
        compiled = make.jit(lambda x: x * len(str(table[key])) + (table[key] is True))
        seen = [called(compiled), called(compiled)]
        del table[key]
        table[key] = after
        return [*seen, called(compiled)]

    assert run(Make(False)) == run(Make(True))
