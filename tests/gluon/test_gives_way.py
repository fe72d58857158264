"""What a graph cannot hold makes a hybridized block give way: it then does what its code says.

Each case is a block that does one such thing. It is called four times imperatively and four times
hybridized: results, gradients, arguments, attributes, counters and what hooks were given must be
the same, whichever call it was that found out.
"""

from __future__ import annotations

import cProfile
import datetime
import itertools
import math
import os
import random
import re
import time
import uuid
import warnings
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, nd
from tigon.base import TigonError
from tigon.gluon import nn

CALLS = 4
DATA = np.array([[1.0, -2.0, 0.5], [-0.25, 3.0, -1.0]], np.float32)


class Net(nn.HybridBlock):
    """A block of one function, with a child that stays compiled."""

    def __init__(self, function, **attributes):
        super().__init__(prefix="net_")
        with self.name_scope():
            self.body = nn.Dense(3, in_units=3, flatten=False)
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


class Case:
    """A block that gives way (or need not: `compiles`), and what else is to be compared."""

    def __init__(self, make, compiles=False, records=True, strict=True):
        self.make = make
        self.compiles = compiles
        self.records = records
        self.strict = strict


CASES: dict[str, Case] = {}


def case(**options):
    def add(make):
        CASES[make.__name__] = Case(make, **options)
        return make

    return add


def shown(item):
    """Something that can be compared; of an array what it holds, and that it is one."""
    if isinstance(item, nd.NDArray):
        return ("array", str(np.dtype(item.dtype)), item.shape, item.asnumpy().round(4).tolist())
    if isinstance(item, np.ndarray):
        return ("numpy", str(item.dtype), item.round(4).tolist())
    if isinstance(item, (list, tuple, deque)):
        return (type(item).__name__, [shown(part) for part in item])
    if isinstance(item, dict):
        return {key: shown(part) for key, part in item.items()}
    if isinstance(item, SimpleNamespace):
        return shown(vars(item))
    if isinstance(item, float):
        return round(item, 4)
    assert not isinstance(item, mx.sym.Symbol), f"a symbol is left: {item}"
    return item


def head(result):
    while not isinstance(result, nd.NDArray):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    return result


def outcome(case, hybridize, recorded):
    """All that can be seen of four calls, the block, and how often and why it gave way."""
    for seed in (random.seed, np.random.seed, mx.random.seed):
        seed(7)
    net, observe = case.make()
    net.initialize(mx.init.Normal(0.5))
    if hybridize:
        net.hybridize()
    seen = []
    before = mx.runtime.stats()["given_way"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in range(CALLS):
            x = nd.array(DATA * (-1) ** call + call)
            if recorded:
                x.attach_grad()
                with autograd.record():
                    result = net(x)
                head(result).backward()
                seen.append(shown([x.grad, net.body.weight.grad()]))
            else:
                result = net(x)
            seen.append(shown([result, x, observe()]))
    reasons = [str(w.message) for w in caught if w.category is RuntimeWarning]
    assert mx.runtime.stats()["given_way"] - before == len(reasons)
    return seen, net, reasons


def parameters():
    for name, one in CASES.items():
        for recorded in (False, True) if one.records else (False,):
            mode = "recorded" if recorded else "predicting"
            yield pytest.param(name, recorded, id=f"{name}-{mode}")


OPEN: list = []


def opened(path):
    """A file to write to, closed after the test."""
    OPEN.append(open(path, "w"))
    return OPEN[-1]


# ------------------------------------------------------------- decisions on data, and values


@case(compiles=True)
def decides_on_data():
    def forward(self, x):
        h = self.body(x)
        return h * 2 if h.sum() > 0 else -h

    return Net(forward), lambda: None


@case(compiles=True)
def decides_by_a_conditional_expression_of_two_arrays():
    def forward(self, x):
        h = self.body(x)
        return h if (h.max() > 1 and h.min() < 0) or not h.mean() > 3 else h * x

    return Net(forward), lambda: None


@case(compiles=True)
def loops_while_data_says_so():
    def forward(self, x):
        h = self.body(x)
        turns = 0
        while nd.abs(h).max() > 0.5 and turns < 20:
            h = h * 0.5
            turns += 1
        return h, turns

    return Net(forward), lambda: None


@case(compiles=True)
def reads_asnumpy():
    def forward(self, x):
        h = self.body(x)
        return h * float(np.median(h.asnumpy()))

    return Net(forward), lambda: None


@case(compiles=True)
def reads_asnumpy_and_makes_an_array_of_it():
    def forward(self, x):
        return self.body(x) + nd.array(np.sort(x.asnumpy(), axis=1))

    return Net(forward), lambda: None


@case(compiles=True)
def reads_float():
    def forward(self, x):
        h = self.body(x)
        return h / (1 + abs(float(h.sum())))

    return Net(forward), lambda: None


@case(compiles=True)
def reads_int():
    def forward(self, x):
        return self.body(x)[:, : 1 + int(x.max()) % 3]

    return Net(forward), lambda: None


@case(compiles=True)
def reads_asscalar():
    def forward(self, x):
        return self.body(x) * x.max().asscalar()

    return Net(forward), lambda: None


@case(compiles=True)
def reads_item():
    def forward(self, x):
        return self.body(x) * x[0, 1].asnumpy().item()

    return Net(forward), lambda: None


@case(compiles=True)
def formats_a_value():
    def forward(self, x):
        h = self.body(x)
        return h, f"{h.sum().asscalar():.3f}", f"{x[0, 0]:.2f}"

    return Net(forward), lambda: None


@case(compiles=True)
def uses_a_value_as_an_index():
    def forward(self, x):
        names = ["a", "b", "c"]
        return self.body(x), names[x[0].argmax().astype("int32")]

    return Net(forward), lambda: None


@case()
def asks_whether_a_value_is_in_it():
    def forward(self, x):
        return self.body(x) * (2 if 3.0 in x else 3)

    return Net(forward), lambda: None


@case(compiles=True)
def reads_an_array_by_numpy():
    def forward(self, x):
        return self.body(x) * float(np.asarray(x).max())

    return Net(forward), lambda: None


@case(compiles=True)
def sorts_by_values():
    def forward(self, x):
        rows = sorted(x, key=lambda row: row.sum().asscalar())
        return self.body(nd.stack(*rows))

    return Net(forward), lambda: None


@case(compiles=True)
def raises_by_a_value_and_catches_it():
    def forward(self, x):
        h = self.body(x)
        try:
            if x.sum() > 2:
                raise ValueError("large")
        except ValueError:
            return h * 10
        return h

    return Net(forward), lambda: None


@case(compiles=True)
def prints_an_array():
    def forward(self, x):
        h = self.body(x)
        print(x)
        print(f"{h} {h!r} {h!s}", [h])
        return h * 2

    return Net(forward), lambda: None


@case(compiles=True)
def decides_on_shapes():
    def forward(self, x):
        h = self.body(x)
        return h * len(x) if x.shape[0] > 1 and x.ndim == 2 else h

    return Net(forward), lambda: None


@case(compiles=True)
def decides_on_the_value_of_nothing():
    def forward(self, x, mask=None):
        return self.body(x) if mask is None else x

    return Net(forward), lambda: None


# ---------------------------------------------------------------------------------- writes


@case(records=False)
def adds_to_its_argument():
    def forward(self, x):
        h = self.body(x)
        x += 1
        return h + x

    return Net(forward), lambda: None


@case(records=False)
def assigns_to_a_part_of_its_argument():
    def forward(self, x):
        x[0] = 5
        x[:, 1] = x[:, 2]
        return self.body(x)

    return Net(forward), lambda: None


@case(records=False)
def writes_to_a_view_of_its_argument():
    def forward(self, x):
        row = x[1]
        row[:] = 2
        x.reshape((-1,))[0] = 9
        return self.body(x)

    return Net(forward), lambda: None


@case(records=False)
def writes_its_argument_by_out():
    def forward(self, x):
        h = self.body(x)
        nd.broadcast_add(x, h, out=x)
        return h * x

    return Net(forward), lambda: None


@case(records=False)
def writes_to_an_array_it_holds():
    net = Net(lambda self, x: None, total=nd.zeros((2, 3)))

    def forward(self, x):
        self.total += x
        return self.body(x) + self.total

    net.function = forward
    return net, lambda: net.total


@case(records=False)
def writes_to_an_array_it_holds_by_index():
    net = Net(lambda self, x: None, total=nd.zeros((2, 3)), calls=0)

    def forward(self, x):
        self.total[0] = self.total[1] + x[0]
        self.total[1:2] = 3 * x[1:2]
        return self.body(x) + self.total

    net.function = forward
    return net, lambda: net.total


@case(records=False)
def writes_to_an_array_it_holds_by_out():
    net = Net(lambda self, x: None, total=nd.zeros((2, 3)))

    def forward(self, x):
        h = self.body(x)
        nd.broadcast_add(self.total, x, out=self.total)
        return h + self.total

    net.function = forward
    return net, lambda: net.total


@case(records=False)
def writes_to_an_array_of_a_closure():
    total = nd.ones((2, 3))

    def forward(self, x):
        nonlocal total
        total *= 2
        return self.body(x) + total

    return Net(forward), lambda: total


@case(records=False)
def copies_into_an_array_it_holds():
    net = Net(lambda self, x: None, kept=nd.zeros((2, 3)))

    def forward(self, x):
        h = self.body(x)
        h.copyto(self.kept)
        return h * 2

    net.function = forward
    return net, lambda: net.kept


@case(compiles=True, records=False)
def writes_to_arrays_made_inside():
    def forward(self, x):
        h = self.body(x) * 1
        h += x
        h[0] = 0
        made = nd.zeros((2, 3))
        made[:] = h
        return made * 2 + h

    return Net(forward), lambda: None


@case(records=False)
def sets_the_data_of_a_parameter():
    net = Net(lambda self, x: None)

    def forward(self, x):
        h = self.body(x)
        self.body.weight.set_data(self.body.weight.data() * 0.5)
        return h

    net.function = forward
    return net, lambda: net.body.weight.data()


# ------------------------------------------------------------------------- gradients inside


@case(records=False)
def goes_backward_inside():
    def forward(self, x):
        z = x * 1
        z.attach_grad()
        with autograd.record():
            loss = (self.body(z) ** 2).sum()
        loss.backward()
        return z - 0.1 * z.grad

    return Net(forward), lambda: None


@case(records=False)
def asks_for_gradients_inside():
    def forward(self, x):
        z = x.copy()
        z.attach_grad()
        with autograd.record():
            loss = (self.body(z) ** 2).sum()
        (slope,) = autograd.grad(loss, [z])
        return z - 0.1 * slope

    return Net(forward), lambda: None


@case()
def attaches_a_gradient_to_what_it_computes():
    net = Net(lambda self, x: None, held=nd.zeros(1))

    def forward(self, x):
        h = self.body(x).detach()
        h.attach_grad()
        self.held = h
        return (h * h).sum() * 1

    net.function = forward
    return net, lambda: [net.held, net.held.grad]


@case(compiles=True)
def an_array_of_its_own_gathers_gradients():
    net = Net(lambda self, x: None, scale=nd.ones((3,)))
    net.scale.attach_grad()

    def forward(self, x):
        h = self.body(x) * self.scale
        return h if h.sum() > 0 else h * h

    net.function = forward
    return net, lambda: [net.scale, net.scale.grad]


# --------------------------------------------------------------- randomness of Python and numpy


@case()
def draws_from_random():
    return Net(lambda self, x: self.body(x) * random.random()), random.getstate


@case()
def draws_a_choice():
    return Net(lambda self, x: self.body(x) * random.choice([1, 2, 3, 4])), random.getstate


@case()
def draws_gauss():
    return Net(lambda self, x: self.body(x) * random.gauss(0, 1)), random.getstate


@case()
def shuffles():
    def forward(self, x):
        order = [0, 1, 2]
        random.shuffle(order)
        return self.body(x)[:, order[0]]

    return Net(forward), random.getstate


@case()
def draws_from_a_random_of_its_own():
    net = Net(lambda self, x: self.body(x) * self.dice.uniform(1, 2), dice=random.Random(3))
    return net, lambda: net.dice.getstate()


@case()
def draws_from_numpy():
    return Net(lambda self, x: self.body(x) * np.random.rand()), lambda: np.random.rand(1)


@case()
def draws_an_array_from_numpy():
    def forward(self, x):
        return self.body(x) + nd.array(np.random.normal(size=(2, 3)))

    return Net(forward), lambda: None


@case()
def draws_from_a_generator_of_its_own():
    net = Net(lambda self, x: self.body(x) * self.dice.normal(), dice=np.random.default_rng(3))
    return net, lambda: net.dice.bit_generator.state["state"]["state"]


@case()
def draws_from_a_numpy_state_of_its_own():
    net = Net(
        lambda self, x: self.body(x) * self.config["dice"].rand(),
        config={"dice": np.random.RandomState(3)},
    )
    return net, lambda: None


@case()
def draws_from_a_generator_of_a_closure():
    dice = np.random.default_rng(5)
    return Net(lambda self, x: self.body(x) * dice.integers(1, 5)), lambda: None


@case()
def permutes_by_numpy():
    def forward(self, x):
        return self.body(x)[:, int(np.random.permutation(3)[0])]

    return Net(forward), lambda: None


@case(compiles=True)
def draws_from_a_generator_made_inside():
    def forward(self, x):
        dice = np.random.default_rng(1)
        return self.body(x) * float(dice.normal())

    return Net(forward), lambda: None


@case(compiles=True)
def draws_from_nd_random():
    def forward(self, x):
        return self.body(x) * nd.random.uniform(shape=(2, 3))

    return Net(forward), lambda: None


@case()
def seeds_inside():
    def forward(self, x):
        mx.random.seed(3)
        return self.body(x) * nd.random.uniform(shape=(2, 3))

    return Net(forward), lambda: nd.random.uniform(shape=(2,))


# ------------------------------------------------------------------------- iterators and files


@case()
def takes_the_next_of_an_iterator():
    net = Net(lambda self, x: self.body(x) * next(self.numbers), numbers=iter([2, 3, 4, 5, 6]))
    return net, lambda: None


@case()
def counts_by_itertools():
    numbers = itertools.count(1)
    return Net(lambda self, x: self.body(x) * next(numbers)), lambda: next(numbers)


@case()
def cycles():
    net = Net(lambda self, x: self.body(x) * next(self.rates), rates=itertools.cycle([1, 2, 3]))
    return net, lambda: None


@case()
def takes_from_a_generator_by_a_loop():
    def numbers():
        yield from range(1, 50)

    def forward(self, x):
        h = self.body(x)
        for number in self.numbers:
            h = h * number
            if number % 2 == 0:
                break
        return h

    return Net(forward, numbers=numbers()), lambda: None


@case()
def sends_to_a_generator():
    def averaging():
        total, count = 0.0, 0
        while True:
            total += yield total / max(count, 1)
            count += 1

    running = averaging()
    next(running)
    return Net(lambda self, x: self.body(x) * self.mean.send(2.0), mean=running), lambda: None


@case(compiles=True)
def iterates_over_what_it_makes():
    def forward(self, x):
        h = self.body(x) * 2
        for row, weight in zip(x, (value for value in (1, 2)), strict=True):
            h = h + row * weight
        return h + sum(map(abs, range(3)))

    return Net(forward), lambda: None


@case(compiles=True)
def takes_the_next_of_what_it_makes():
    net = Net(lambda self, x: self.body(x) * next(iter(self.rates.values())), rates={"a": 3})
    return net, lambda: None


@case()
def appends_to_a_file():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.txt")

    def forward(self, x):
        with open(path, "a") as file:
            file.write("called\n")
        return self.body(x)

    def observe():
        with open(path) as file:
            return file.read()

    return Net(forward), observe


@case()
def writes_to_a_file_it_holds():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.txt")
    net = Net(lambda self, x: None)
    net.log = opened(path)

    def forward(self, x):
        self.log.write("called\n")
        return self.body(x)

    def observe():
        net.log.flush()
        with open(path) as file:
            return file.read()

    net.function = forward
    return net, observe


@case()
def reads_a_file_that_changes():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.txt")
    number = itertools.count(1)

    def write():
        with open(path, "w") as file:
            file.write(str(next(number)))

    def forward(self, x):
        with open(path) as file:
            return self.body(x) * int(file.read())

    write()
    return Net(forward), write


@case()
def loads_an_array_from_a_file_that_changes():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.npy")
    number = itertools.count(1)

    def write():
        np.save(path, np.full((3,), next(number), np.float32))

    write()
    return Net(lambda self, x: self.body(x) * nd.array(np.load(path))), write


@case()
def loads_arrays_of_ours_from_a_file_that_changes():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.params")
    number = itertools.count(1)

    def write():
        nd.save(path, [nd.full((3,), next(number))])

    write()
    return Net(lambda self, x: self.body(x) * nd.load(path)[0]), write


@case()
def asks_whether_a_file_is_there():
    path = os.path.join(os.environ["TIGON_TEST_FOLDER"], f"{uuid.uuid4().hex}.txt")

    def touch():
        with open(path, "w"):
            pass

    return Net(lambda self, x: self.body(x) * (2 if os.path.exists(path) else 3)), touch


# ------------------------------------------------------------------------------ side effects


@case()
def keeps_a_running_mean():
    net = Net(lambda self, x: None, mean=nd.zeros((3,)))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(axis=0)
        return self.body(x) - self.mean

    net.function = forward
    return net, lambda: net.mean


@case()
def keeps_what_it_computed():
    net = Net(lambda self, x: None, last=None)

    def forward(self, x):
        self.last = self.body(x)
        return self.last * 2

    net.function = forward
    return net, lambda: net.last


@case()
def keeps_what_it_computed_in_a_tuple_and_a_dictionary():
    net = Net(lambda self, x: None, pair=(), table={"a": {}})

    def forward(self, x):
        h = self.body(x)
        self.pair = (h, [x * 2, {"h": h}])
        self.table["a"]["h"] = h + 1
        return h * 2

    net.function = forward
    return net, lambda: [net.pair, net.table]


@case()
def keeps_what_it_computed_under_a_new_name():
    net = Net(lambda self, x: None)

    def forward(self, x):
        h = self.body(x)
        self.fresh = h
        return h * 2

    net.function = forward
    return net, lambda: net.fresh


@case()
def keeps_what_it_computed_in_other_objects():
    state = SimpleNamespace(h=None, inner=SimpleNamespace(h=None))
    window = deque(maxlen=3)

    class Holder:
        last = None

    def forward(self, x):
        h = self.body(x)
        state.h = h
        state.inner.h = x * 3
        window.append(h * 4)
        Holder.last = h * 5
        return h * 2

    return Net(forward), lambda: [state, window, Holder.last]


LAST = None


@case()
def keeps_what_it_computed_in_a_global():
    def forward(self, x):
        global LAST
        LAST = self.body(x)
        return LAST * 2

    return Net(forward), lambda: LAST


@case()
def keeps_what_it_computed_in_a_closure():
    last = None

    def forward(self, x):
        nonlocal last
        last = self.body(x)
        return last * 2

    return Net(forward), lambda: last


@case()
def keeps_an_object_that_holds_what_it_computed():
    class Record:
        def __init__(self, h):
            self.h = h

    net = Net(lambda self, x: None, record=None)

    def forward(self, x):
        h = self.body(x)
        self.record = Record(h)
        return h * 2

    net.function = forward
    return net, lambda: net.record.h


@case()
def counts_on_itself():
    net = Net(lambda self, x: None, calls=0)

    def forward(self, x):
        self.calls += 1
        return self.body(x)

    net.function = forward
    return net, lambda: net.calls


@case()
def counts_on_itself_and_uses_it():
    net = Net(lambda self, x: None, calls=0)

    def forward(self, x):
        self.calls += 1
        return self.body(x) * self.calls

    net.function = forward
    return net, lambda: net.calls


@case()
def counts_on_another_object():
    counter = SimpleNamespace(calls=0)

    def forward(self, x):
        counter.calls += 1
        return self.body(x)

    return Net(forward), lambda: counter.calls


@case()
def counts_on_an_object_with_slots():
    class Counter:
        __slots__ = ("calls",)

        def __init__(self):
            self.calls = 0

        def count(self):
            self.calls += 1

    counter = Counter()

    def forward(self, x):
        counter.count()
        return self.body(x)

    return Net(forward), lambda: counter.calls


@case()
def counts_on_its_class():
    class Counting(Net):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            return self.body(x)

    return Counting(None), lambda: Counting.calls


COUNT = 0


@case()
def counts_in_a_global():
    global COUNT
    COUNT = 0

    def forward(self, x):
        global COUNT
        COUNT += 1
        return self.body(x)

    return Net(forward), lambda: COUNT


@case()
def counts_in_a_closure():
    count = 0

    def forward(self, x):
        nonlocal count
        count += 1
        return self.body(x)

    return Net(forward), lambda: count


@case()
def counts_in_a_dictionary():
    counts = {}

    def forward(self, x):
        counts["calls"] = counts.get("calls", 0) + 1
        return self.body(x)

    return Net(forward), lambda: counts


@case()
def counts_in_a_numpy_array():
    net = Net(lambda self, x: None, counts=np.zeros(2, int))

    def forward(self, x):
        self.counts[1] += 1
        return self.body(x)

    net.function = forward
    return net, lambda: net.counts


@case()
def counts_in_a_bytearray():
    net = Net(lambda self, x: None, counts=bytearray(2))

    def forward(self, x):
        self.counts[1] += 1
        return self.body(x)

    net.function = forward
    return net, lambda: bytes(net.counts)


@case()
def counts_under_a_computed_name():
    net = Net(lambda self, x: None, calls_2=0)

    def forward(self, x):
        name = f"calls_{x.shape[0]}"
        setattr(self, name, getattr(self, name) + 1)
        return self.body(x)

    net.function = forward
    return net, lambda: net.calls_2


@case()
def counts_on_a_function():
    def forward(self, x):
        forward.calls += 1
        return self.body(x)

    forward.calls = 0
    return Net(forward), lambda: forward.calls


@case()
def appends_to_a_list():
    shapes = []

    def forward(self, x):
        shapes.append(x.shape)
        return self.body(x)

    return Net(forward), lambda: shapes


@case()
def appends_arrays_to_a_list():
    net = Net(lambda self, x: None, outputs=[])

    def forward(self, x):
        h = self.body(x)
        self.outputs.append(h)
        return h * 2

    net.function = forward
    return net, lambda: net.outputs


@case()
def replaces_the_elements_of_a_list():
    net = Net(lambda self, x: None, states=[nd.zeros((2, 3)), nd.ones((2, 3))])

    def forward(self, x):
        for number, state in enumerate(self.states):
            self.states[number] = state * 0.5 + x.detach()
        return self.body(x) + self.states[0] * self.states[1]

    net.function = forward
    return net, lambda: net.states


@case()
def takes_from_a_list():
    net = Net(lambda self, x: None, rates=[5, 4, 3, 2, 1])

    def forward(self, x):
        return self.body(x) * self.rates.pop()

    net.function = forward
    return net, lambda: net.rates


@case()
def rotates_a_deque():
    net = Net(lambda self, x: None, rates=deque([1, 2, 3]))

    def forward(self, x):
        self.rates.rotate(1)
        return self.body(x) * self.rates[0]

    net.function = forward
    return net, lambda: net.rates


@case()
def moves_the_keys_of_a_dictionary():
    net = Net(lambda self, x: None, rates={"a": 1, "b": 2, "c": 3})

    def forward(self, x):
        first = next(iter(self.rates))
        value = self.rates[first] = self.rates.pop(first)
        return self.body(x) * value

    net.function = forward
    return net, lambda: list(net.rates)


@case()
def adds_to_a_set():
    seen = set()

    def forward(self, x):
        seen.add(len(seen))
        return self.body(x) * len(seen)

    return Net(forward), lambda: sorted(seen)


@case(compiles=True)
def deletes_an_attribute():
    net = Net(lambda self, x: None, first=True)

    def forward(self, x):
        if hasattr(self, "first"):
            del self.first
            return self.body(x) * 2
        return self.body(x)

    net.function = forward
    return net, lambda: hasattr(net, "first")


@case()
def counts_before_it_decides_on_data():
    net = Net(lambda self, x: None, calls=0, seen=[])

    def forward(self, x):
        self.calls += 1
        h = self.body(x)
        self.seen.append(h.shape)
        if h.sum() > 0:
            self.calls += 10
            return h
        return h * 2

    net.function = forward
    return net, lambda: [net.calls, net.seen]


@case()
def counts_after_it_decides_on_data():
    net = Net(lambda self, x: None, positive=0, sums=[])

    def forward(self, x):
        h = self.body(x)
        total = float(h.sum())
        self.sums.append(round(total, 3))
        self.positive += total > 0
        return h * self.positive

    net.function = forward
    return net, lambda: [net.positive, net.sums]


@case()
def hooks_of_children_keep_outputs():
    net = Net(lambda self, x: self.body(x) * 2)
    kept = []
    net.body.register_forward_hook(lambda block, inputs, output: kept.append(output))
    return net, lambda: kept


@case()
def hooks_of_children_keep_inputs():
    net = Net(lambda self, x: self.body(x * 3) * 2)
    kept = {}

    def hook(block, inputs):
        kept[block.name] = inputs

    net.body.register_forward_pre_hook(hook)
    return net, lambda: kept


@case()
def hooks_of_children_read_values():
    net = Net(lambda self, x: self.body(x) * 2)
    kept = []
    net.body.register_forward_hook(
        lambda block, inputs, output: kept.append(float(output.mean().asscalar()))
    )
    return net, lambda: kept


@case(compiles=True)
def hooks_of_its_own_keep_outputs():
    net = Net(lambda self, x: self.body(x) * 2)
    kept = []
    net.register_forward_hook(lambda block, inputs, output: kept.append(output))
    net.register_forward_pre_hook(lambda block, inputs: kept.append(inputs))
    return net, lambda: kept


# ------------------------------------------------------------------- what is made once and kept


@case(compiles=True)
def makes_a_table_at_its_first_call():
    net = Net(lambda self, x: None, table=None)

    def forward(self, x):
        if self.table is None:
            self.table = nd.arange(3)
        return self.body(x) * self.table

    net.function = forward
    return net, lambda: net.table


@case(compiles=True)
def keeps_tables_by_shape():
    tables = {}

    def forward(self, x):
        if x.shape not in tables:
            tables[x.shape] = nd.ones(x.shape) * 2
        return self.body(x) * tables[x.shape]

    return Net(forward), lambda: tables


@case(compiles=True)
def catches_the_error_of_a_missing_table():
    net = Net(lambda self, x: None)

    def forward(self, x):
        try:
            table = self.table
        except AttributeError:
            table = self.table = nd.arange(3)
        return self.body(x) * table

    net.function = forward
    return net, lambda: net.table


@case(compiles=True)
def keeps_a_number_at_its_first_call():
    net = Net(lambda self, x: None, scale=None)

    def forward(self, x):
        self.scale = self.scale or 1 / x.shape[1] ** 0.5
        return self.body(x) * self.scale

    net.function = forward
    return net, lambda: net.scale


# ---------------------------------------------------------------------------------- the tests


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TIGON_TEST_FOLDER", str(tmp_path))
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize(("name", "recorded"), list(parameters()))
def test_hybridized_calls_do_what_the_code_says(name, recorded):
    one = CASES[name]
    expected, _, none = outcome(one, False, recorded)
    got, net, reasons = outcome(one, True, recorded)
    assert none == []
    for call, (theirs, mine) in enumerate(zip(expected, got, strict=True)):
        assert mine == theirs, f"item {call}"
    if one.compiles:
        assert reasons == []
        assert len(net.compiled) == 1
        assert net._cached_graphs.traces <= 3
    else:
        assert len(reasons) == 1, reasons
        assert "gives way to its Python code" in reasons[0]
        assert net.compiled == []
        assert "runs imperatively" in net.explain()
        assert net.body.compiled, "the child is compiled"


@pytest.mark.parametrize(
    "name",
    [name for name, one in CASES.items() if not one.compiles and one.strict],
)
def test_strict_blocks_raise_instead(name):
    net, _ = CASES[name].make()
    net.initialize(mx.init.Normal(0.5))
    net.hybridize(strict=True)
    before = mx.runtime.stats()["given_way"]
    with pytest.raises(TigonError, match=r"^hybridize: it "):
        net(nd.array(DATA))
    assert mx.runtime.stats()["given_way"] == before


CLOCKS = {
    "time.time": lambda: time.time(),
    "time.time_ns": lambda: time.time_ns(),
    "time.perf_counter": lambda: time.perf_counter(),
    "time.perf_counter_ns": lambda: time.perf_counter_ns(),
    "time.monotonic": lambda: time.monotonic(),
    "time.monotonic_ns": lambda: time.monotonic_ns(),
    "time.process_time_ns": lambda: (sum(range(100_000)), time.process_time_ns())[1],
    "datetime.now": lambda: datetime.datetime.now(),
    "datetime.now(utc)": lambda: datetime.datetime.now(datetime.timezone.utc),
    "datetime.today": lambda: datetime.datetime.today(),
    "os.urandom": lambda: os.urandom(8),
    "uuid4": lambda: uuid.uuid4(),
    "uuid1": lambda: uuid.uuid1(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "default_rng": lambda: np.random.default_rng().normal(),
    "time.clock_gettime": lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
}


def stamped(clock):
    """What each of the calls got of a clock, and the warnings."""
    function = CLOCKS[clock]
    net = Net(lambda self, x: (self.body(x), function()))
    net.initialize()
    net.hybridize()
    stamps = []
    with pytest.warns(RuntimeWarning, match="gives way to its Python code") as warned:
        for _ in range(CALLS):
            time.sleep(0.001)
            stamps.append(net(nd.array(DATA))[1])
    assert net.body.compiled
    return stamps, [str(one.message) for one in warned]


@pytest.mark.parametrize("clock", CLOCKS)
def test_clocks_are_read_at_each_call(clock):
    stamps, warned = stamped(clock)
    assert len(warned) == 1
    assert len(set(stamps)) == CALLS


NO_LINE = pytest.mark.xfail(strict=True, reason="the warning names no line")


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param(name, marks=[NO_LINE] if name in ("SystemRandom", "default_rng") else [])
        for name in CLOCKS
    ],
)
def test_warnings_of_clocks_name_the_line(clock):
    _, warned = stamped(clock)
    line = CLOCKS[clock].__code__.co_firstlineno
    assert f"test_gives_way.py:{line}," in warned[0]


SLOW_CLOCKS = {
    "localtime": lambda: time.localtime().tm_year,
    "strftime": lambda: time.strftime("%Y-%m-%d %H:%M:%S"),
    "ctime": lambda: time.ctime(),
    "today": lambda: datetime.date.today().year,
    "getcwd": lambda: len(os.getcwd()),
}


@pytest.mark.parametrize("clock", SLOW_CLOCKS)
def test_slow_clocks_give_way_too(clock):
    function = SLOW_CLOCKS[clock]
    net = Net(lambda self, x: (self.body(x), function()))
    net.initialize()
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="gives way to its Python code"):
        net(nd.array(DATA))


def test_a_profiler_goes_on_after_a_trace():
    net = Net(lambda self, x: self.body(x))
    net.initialize()
    net.hybridize()
    profile = cProfile.Profile()
    profile.enable()
    try:
        net(nd.array(DATA))
        math.gamma(0.5)
    finally:
        profile.disable()
    assert any("gamma" in str(entry.code) for entry in profile.getstats())


def test_other_kinds_of_calls_stay_compiled():
    def forward(self, x):
        h = self.body(x)
        if x.shape[0] == 2:
            return h * random.random()
        return h * 3

    net = Net(forward)
    net.initialize()
    net.hybridize()
    with pytest.warns(RuntimeWarning, match="gives way"):
        net(nd.array(DATA))
    before = mx.runtime.stats()["given_way"]
    for _ in range(3):
        net(nd.ones((4, 3)))
        net(nd.array(DATA))
    assert len(net.compiled) == 1
    assert mx.runtime.stats()["given_way"] == before
    x = nd.ones((4, 3))
    nd.waitall()
    before = mx.runtime.stats()["native_calls"]
    net(x)
    assert mx.runtime.stats()["native_calls"] == before + 1


@pytest.mark.parametrize("recorded", [False, True])
def test_a_part_that_gives_way_leaves_no_symbols_when_the_code_fails(recorded):
    """What was done before an error stays done, once, and with arrays."""

    class Failing(Net):
        def forward(self, x):
            h = self.body(x)
            self.last = h
            self.calls = getattr(self, "calls", 0) + 1
            if x.sum() > 100:
                raise KeyError("large")
            return h

    def run(hybridize):
        mx.random.seed(3)
        net = Failing(None)
        net.initialize(mx.init.Normal(0.5))
        net.hybridize(hybridize)
        seen = []
        for scale in (1000, 1, 1000, 1):
            x = nd.ones((2, 3)) * scale
            try:
                with autograd.record() if recorded else autograd.predict_mode():
                    seen.append(shown(net(x)))
            except KeyError as error:
                seen.append(repr(error))
            seen.append((shown(net.last), net.calls))
        return seen

    expected = run(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run(True) == expected


def test_nested_blocks_give_way_alone_and_as_parts():
    """A child that draws from Python makes its hybridized parent give way; both are right."""

    class Drawing(Net):
        def forward(self, x):
            h = self.body(x)
            return h * random.random()

    def run(hybridize):
        mx.random.seed(3)
        random.seed(3)
        net = nn.HybridSequential(prefix="outer_")
        with net.name_scope():
            net.add(nn.Dense(3, in_units=3), Drawing(None), nn.Dense(2, in_units=3))
        net.initialize(mx.init.Normal(0.5))
        net.hybridize(hybridize)
        return [shown(net(nd.array(DATA * (-1) ** call))) for call in range(CALLS)], net

    expected, _ = run(False)
    with pytest.warns(RuntimeWarning, match="gives way") as warned:
        got, net = run(True)
    assert got == expected
    assert 1 <= len(warned) <= 2  # the whole, and the child when it is called by itself
    assert net.compiled == [] and net[0].compiled and net[2].compiled and net[1].body.compiled


def test_the_warning_says_where_and_what_to_write_instead():
    def forward(self, x):
        return self.body(x) * random.random()

    line = forward.__code__.co_firstlineno + 1
    net = Net(forward)
    net.initialize()
    net.hybridize()
    with pytest.warns(RuntimeWarning) as warned:
        net(nd.array(DATA))
    (text,) = [str(one.message) for one in warned]
    match = re.fullmatch(
        r"net gives way to its Python code: "
        r"(it calls Random\.random at \S*test_gives_way\.py:(\d+), "
        r"which a compiled graph would do once; pass what it gives as an argument)\. Calls of this "
        "kind run imperatively from now on",
        text,
    )
    assert match is not None, text
    assert int(match[2]) == line
    assert match[1] in net.explain()


def written(path):
    def forward(x):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, b"a")
        os.close(handle)
        return x * 2

    return forward


def test_what_is_done_to_the_system_is_done_at_each_call(tmp_path) -> None:
    effects = {
        "write": (written(tmp_path / "w"), lambda: (tmp_path / "w").stat().st_size),
        "scandir": (
            lambda x: x * len(list(os.scandir(tmp_path))),
            lambda: (tmp_path / str(len(list(tmp_path.iterdir())))).write_text(""),
        ),
        "random.seed": (lambda x: (random.seed(3), x * 1)[1], lambda: random.random()),
        "set_training": (
            lambda x: (autograd.set_training(True), x * 1)[1],
            lambda: autograd.set_training(False),
        ),
    }
    for name, (forward, observe) in effects.items():
        seen = []
        for hybridize in (False, True):
            for left in tmp_path.iterdir():
                left.unlink()
            net = Net(lambda self, x, forward=forward: forward(x))
            net.initialize()
            net.hybridize(hybridize)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                calls = [(net(nd.ones((2,))).asnumpy().tolist(), observe()) for _ in range(4)]
            seen.append(calls)
        assert seen[0] == seen[1], name


@pytest.mark.parametrize("when", ["before", "after", "by itself"])
def test_symbols_that_the_code_makes_for_itself_are_left_alone(when):
    """They have variables of their own, which are no arrays of the call."""

    def function(net, x):
        own = mx.sym.FullyConnected(mx.sym.var("a") * 2, num_hidden=2, name="own")
        if when == "before":
            x.asnumpy()
        count = len(own.list_arguments())
        if when == "after":
            x.asnumpy()
        if when == "by itself":
            count = (mx.sym.var("a") + mx.sym.ones((1,))).eval(a=nd.ones(1) * 2)[0]
        return x * count

    net = Net(function)
    net.initialize()
    net.hybridize()
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            np.testing.assert_array_equal(net(nd.array(DATA)).asnumpy(), DATA * 3)
