"""Code that decides by values, in all the ways that code is written: what numbers are given to,
errors on the way, states, views, other contexts, functions, files, threads.

Each program runs imperatively and hybridized, predicting, in the mode of training, and recorded.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import decimal
import functools
import json
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn


class Net(nn.HybridBlock):
    """Layers, and a function of itself and the arguments."""

    def __init__(self, function: Any) -> None:
        super().__init__(prefix="net_")
        with self.name_scope():
            self.dense = nn.Dense(3, in_units=3)
            self.late = nn.Dense(3)
            self.norm = nn.BatchNorm(in_channels=3)
            self.drop = nn.Dropout(0.5)
        self.function = function
        self.kept: list[Any] = []

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


CONSTANT = nd.array([1, 2, 3, 4])
PROGRAMS: dict[str, tuple[Any, Any]] = {}


def inputs() -> list[np.ndarray]:
    return [
        np.random.RandomState(seed).randn(4, 3).astype("float32") * (seed + 0.2)
        for seed in range(5)
    ]


def special() -> list[np.ndarray]:
    return [np.full((2,), value, "float32") for value in (1, np.nan, np.inf, -np.inf, 1e20, -1e30)]


def program(given: Any = inputs) -> Any:
    def add(function: Any) -> Any:
        PROGRAMS[function.__name__] = function, given
        return function

    return add


def place(x: Any) -> Any:
    """0, 1, 2 or 3, as an array."""
    return x.sum(axis=1).argmax(axis=0).astype("int32")


@program(special)
def int_that_raises_is_caught(net: Any, x: Any) -> Any:
    h = net.drop(x)
    try:
        n = int(x.sum())
    except ValueError:
        n = 10
    except OverflowError:
        n = 20
    return net.drop(h) * 0 + n % 77


@program(special)
def int_of_a_number_that_raises_is_caught(net: Any, x: Any) -> Any:
    with contextlib.suppress(ValueError, OverflowError):
        return x * 0 + int(x.sum().item()) % 77
    return x * 0 - 1


@program(special)
def compares_nan(net: Any, x: Any) -> Any:
    total = x.sum()
    if total != total:
        return x * 0
    n = total.asscalar()
    if n < 0 and not math.isinf(n):
        return x * 3
    return x + 1 if n == math.inf else x - 1


@program(lambda: [np.full((1,), value, "int64") for value in (2**40, 2**62, -(2**63), 3)])
def large_integers(net: Any, x: Any) -> Any:
    return x * 0 + int(x) % 7 + (1 if x.item() > 2**41 else 2)


@program()
def numbers_as_keys(net: Any, x: Any) -> Any:
    n = place(x)
    with autograd.pause():
        y = x * 1
        y[n.item()] = 3
        y[:, n.asscalar() % 3] = x[0, 0].round().asscalar()
        y += n.item()
    taken = CONSTANT[n.item()] + [1, 2, 3, 4][n] + "abcd".index("abcd"[n.item()])
    return taken, y, x[n.item()], x[n.asscalar() :], x[n:, 1 : n.item()], net.dense(x)[n, :]


@program()
def numbers_as_attributes(net: Any, x: Any) -> Any:
    n, least = place(x), x[0, 0].round()
    return [
        nd.zeros((n.item(), 2)),
        nd.tile(x, (n.item(), 1)),
        nd.slice_axis(x, axis=0, begin=n.item(), end=None),
        nd.slice(x, begin=(n.asscalar(), 0), end=(4, 3)),
        nd.clip(x, a_min=least.item(), a_max=9),
        nd.LeakyReLU(x, slope=least.item()),
        nd.random.uniform(0, 1, shape=(n.item(),)),
        nd.full((2,), least.asscalar()),
        x.clip(-n.item(), n.item()),
        x.reshape((n.item() * 0 + 3, -1)),
    ]


@program()
def numbers_as_operands(net: Any, x: Any) -> Any:
    n = place(x)
    return [
        x ** n.item(),
        (n.item() + 1) ** x,
        CONSTANT ** n.asscalar(),
        n.item() - CONSTANT,
        nd.maximum(CONSTANT, n.item()),
        nd.broadcast_add(x, n.asscalar()),
        x > n.item(),
    ]


@program()
def numbers_for_code_in_c(net: Any, x: Any) -> Any:
    least = x[0, 0].round()
    seconds = datetime.timedelta(seconds=least.item()).total_seconds()
    told = json.dumps({"least": [least.item()]})
    return x * seconds + len(told) + float(decimal.Decimal(least.item()))


@program()
def numbers_for_code_in_c_on_one_way(net: Any, x: Any) -> Any:
    if x.sum().item() > 0:
        return x
    return x * len(json.dumps(x[0, 0].round().item()))


@program()
def numbers_are_copied(net: Any, x: Any) -> Any:
    least = x[0, 0].round()
    n, m = least.item(), least.asscalar()
    made = [copy.copy(n), copy.deepcopy([m])[0], pickle.loads(pickle.dumps((n, m)))[1]]
    return sum(made) + x


@program()
def numbers_are_kept(net: Any, x: Any) -> Any:
    total = x.sum().item()
    net.kept = [total, {"mean": x.mean().asscalar()}]
    return x if total > 0 else -x


@program()
def numbers_are_raised(net: Any, x: Any) -> Any:
    total = x.sum().asscalar()
    if total > 1:
        raise ValueError("too large", total)
    return x * 2


@program()
def what_is_left_of_states(net: Any, x: Any) -> Any:
    mean = net.norm.running_mean.data()
    before = mean + 0
    h = net.norm(x)
    if h.max() > 1.7:
        h = net.norm(h) * 2
    with autograd.train_mode():
        y = net.norm(h)
    if y.max() > 1:
        return y, mean, before
    return h, mean * 1, net.norm.running_mean.data()


@program()
def ways_of_python(net: Any, x: Any) -> Any:
    def rows() -> Any:
        for row in x:
            if row.sum() > 0:
                yield row * 2
            elif row[0] > 0:
                yield row + 1

    def halved(y: Any, depth: int) -> Any:
        return y if depth > 5 or (y * y).sum() < 1 else halved(y * 0.5, depth + 1)

    found = [*rows(), *[row for row in x if row.max() < 0.5]]
    choose = functools.partial(lambda a, b: b if a.sum() > 0 else -b, x)
    with contextlib.suppress(KeyError):
        if any(row.sum() > 2 for row in found):
            raise KeyError("x")
        x = x * 3
    try:
        if x.max() > 3:
            return choose(net.dense(x))
    finally:
        x = halved(x, 0)
    table = {True: 1.0, False: 5.0}
    match (x.sum() > 0).astype("int32").item():
        case 1:
            x = x + table[bool(x.max() > 1)]
        case int():
            x = x - 1
    return x if -3 < x.sum() < 3 else x * min(1.5, max(x.max().item(), 1))


@program()
def modes_around_decisions(net: Any, x: Any) -> Any:
    h = net.drop(x)
    with autograd.predict_mode():
        g = net.norm(h)
        if g.sum() > 0:
            g = net.drop(g)
    with autograd.train_mode():
        if g.max() > 2:
            h = net.drop(h)
        h = net.norm(h)
    with autograd.pause(train_mode=True):
        if h.max() > 1.5:
            h = net.norm(h)
    return net.dense(h) + g


@program()
def late_layers_on_one_way(net: Any, x: Any) -> Any:
    h = net.drop(x)
    return net.late(h) if h.sum() > 0 else net.drop(h)


@program()
def draws_decide(net: Any, x: Any) -> Any:
    key = nd.random.uniform(shape=(1,))
    while key > 0.4:
        key = nd.random.uniform(shape=(1,))
        x = net.drop(x)
    return x + nd.random.normal(shape=(3,))


@program()
def loops_of_the_graph_beside(net: Any, x: Any) -> Any:
    if x.sum() > 0:
        x = x * 2
    sums, last = nd.contrib.foreach(lambda row, s: (row + s, s + row), x, nd.zeros((3,)))
    _, (turns, y) = nd.contrib.while_loop(
        lambda i, y: (y * y).sum() > 1,
        lambda i, y: (i, (i + 1, y * 0.5)),
        (nd.zeros((1,)), x),
        max_iterations=6,
    )
    if turns > 2:
        return sums * turns
    return y - nd.contrib.cond((last.sum() > 0).reshape((1,)), lambda: y, lambda: -y)


class Square(autograd.Function):
    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return x * x

    def backward(self, dy: Any) -> Any:
        (x,) = self.saved_tensors
        return dy * 2 * x


@program()
def functions_around_decisions(net: Any, x: Any) -> Any:
    y = Square()(x)
    if y.sum() > 6:
        y = Square()(y * 0.1)
    return y if y.max() > 1 else y + Square()(x)


@program()
def shapes_from_values(net: Any, x: Any) -> Any:
    n = int((x > 0).sum()) % 3 + 1
    return nd.zeros((n, 3)) + x[:1], x[:n], nd.arange(n)


@program()
def several_structures(net: Any, x: Any) -> Any:
    h = net.dense(x)
    if h.sum() > 0:
        return {"a": h, "b": [x, None, (h, 3)], "view": h.reshape((-1,))}
    return None if x.max() > 1.5 else (x, [net.dense.weight.data(), x[1:3]])


def flat(result: Any) -> list[Any]:
    if isinstance(result, dict):
        return [*result, *flat([*result.values()])]
    if isinstance(result, (list, tuple)):
        return [type(result), *[leaf for part in result for leaf in flat(part)]]
    return [result]


def shown(item: Any) -> Any:
    return item.asnumpy() if isinstance(item, nd.NDArray) else item


def outcome(function: Any, given: Any, hybridize: bool, mode: str) -> tuple[list[Any], Any]:
    mx.random.seed(3)
    net = Net(function)
    net.initialize(mx.init.Normal(0.5))
    net.hybridize(hybridize)
    seen: list[Any] = []
    for number, values in enumerate(given() * 3):
        x = nd.array(values, dtype=values.dtype)
        mx.random.seed(number)
        if mode == "recorded" and values.dtype.kind == "f":
            x.attach_grad()
        scope = {
            "predicting": contextlib.nullcontext,
            "training": autograd.train_mode,
            "recorded": autograd.record,
        }[mode]
        try:
            with scope():
                result = net(x)
                heads = [leaf for leaf in flat(result) if isinstance(leaf, nd.NDArray)]
                head = sum((leaf * leaf).sum() for leaf in heads if leaf.size)
            if x.grad is not None and autograd_made(head):
                head.backward()
                seen.append(x.grad.asnumpy())
        except ValueError as error:
            result = [str(error.args[0]), *error.args[1:]]
        seen += [shown(leaf) for leaf in flat(result)]
        seen += [[leaf is own for own in owned(net, x)] for leaf in flat(result)]
        seen += [shown(p.data()) for p in net.collect_params().values() if p._arrays]
        seen += [shown(leaf) for leaf in flat(net.kept)]
        seen.append(nd.random.uniform(shape=(2,)).asnumpy())
    return seen, net


def owned(net: Any, x: Any) -> list[Any]:
    return [x, net.norm.running_mean.data(), net.dense.weight.data()]


def autograd_made(head: Any) -> bool:
    return isinstance(head, nd.NDArray) and mx._native.tape_node(head) is not None


def assert_same(mine: Any, theirs: Any) -> None:
    assert type(mine) is type(theirs), (mine, theirs)
    if isinstance(theirs, (np.ndarray, float, np.floating)):
        assert np.asarray(mine).dtype == np.asarray(theirs).dtype
        np.testing.assert_allclose(mine, theirs, rtol=3e-4, atol=3e-5)
    else:
        assert mine == theirs


@pytest.mark.parametrize("mode", ["predicting", "training", "recorded"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_decide(name: str, mode: str) -> None:
    function, given = PROGRAMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, _ = outcome(function, given, False, mode)
        got, net = outcome(function, given, True, mode)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert_same(mine, theirs)
    if mode == "predicting" and name != "numbers_are_kept":
        (entry,) = net.compiled
        assert len(entry.paths) > (name != "numbers_are_raised")
        assert net._cached_graphs.traces <= 2


def test_a_call_with_a_list_that_raises_leaves_nothing_behind() -> None:
    """The list that it is given holds arrays; it has put none there."""

    def noisy(x: Any, arrays: Any) -> Any:
        made = [array + nd.random.normal(shape=(2,)) for array in arrays]
        if x.sum() > 1:
            raise ValueError("too large")
        return made

    function = mx.jit(noisy)
    for _ in range(2):
        mx.random.seed(3)
        expected = nd.random.uniform(shape=(2,)).asnumpy()
        mx.random.seed(3)
        with pytest.raises(ValueError, match="too large"):
            function(nd.ones((2,)), [nd.ones((2,))])
        np.testing.assert_array_equal(nd.random.uniform(shape=(2,)).asnumpy(), expected)


def test_a_block_of_a_file_decides_in_the_code_around_it() -> None:
    x = mx.sym.var("x")
    inner = gluon.SymbolBlock(mx.sym.Group([x * 2, x - 1]), x)

    class Outer(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            twice, less = self.inner(x)
            return twice[0:1] if twice.sum() > 0 else less

    net = Outer()
    expected = [net(nd.array(given)).asnumpy() for given in inputs()]
    net.hybridize(strict=True)
    for _ in range(2):
        for given, theirs in zip(inputs(), expected, strict=True):
            np.testing.assert_array_equal(net(nd.array(given)).asnumpy(), theirs)


def moves_and_draws(net: Any, x: Any) -> Any:
    return net.drop(net.norm(net.dense(x)))


def draws_outside(net: Any, x: Any) -> Any:
    return moves_and_draws(net, x) * float(np.random.RandomState().rand() * 0 + 1)


def test_an_error_in_adjust_changes_nothing_and_a_skipped_step_moves_nothing() -> None:
    """As a program, and where the network gives way."""
    for gives_way in (False, True):
        limits = [np.inf]

        def adjust(loss: Any, grads: Any, limits: Any = limits) -> Any:
            if limits[0] < 0:
                raise ValueError("too large")
            return grads if loss.sum() < limits[0] else None

        net = Net(draws_outside if gives_way else moves_and_draws)
        net.initialize()
        params = [p for p in net.collect_params().values() if "dense1" not in p.name]
        trainer = gluon.Trainer(params, "sgd", {"learning_rate": 0.1})
        step = gluon.TrainStep(net, gluon.loss.L2Loss(), trainer, adjust=adjust)
        x, label = nd.array(inputs()[0]), nd.ones((4, 3))

        def state(params: Any = params, trainer: Any = trainer) -> list[Any]:
            return [p.data().asnumpy() for p in params] + [trainer.optimizer.num_update]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limits[0] = 0.0
            before = state()
            for _ in range(3):  # the first call finds out
                step(x, label)
                for now, then in zip(state(), before, strict=True):
                    np.testing.assert_array_equal(now, then)
            limits[0] = np.inf
            step(x, label)
            assert state()[-1] == before[-1] + 1
            if gives_way:
                continue
            limits[0] = -1.0
            before = state()
            mx.random.seed(3)
            expected = nd.random.uniform(shape=(2,)).asnumpy()
            mx.random.seed(3)
            with pytest.raises(ValueError, match="too large"):
                step(x, label)
            np.testing.assert_array_equal(nd.random.uniform(shape=(2,)).asnumpy(), expected)
            for now, then in zip(state(), before, strict=True):
                np.testing.assert_array_equal(now, then)


def test_a_recorded_path_is_one_entry_a_segment() -> None:
    def decides(x: Any) -> Any:
        for _ in range(3):
            x = nd.tanh(x) * 2 + x.sum()
            if x.max() > 100:
                break
        return x.exp() - 1

    function = mx.jit(decides)
    x = nd.ones((2,))
    x.attach_grad()
    for _ in range(2):
        before = mx.runtime.stats()["tape_nodes"]
        with autograd.record():
            y = function(x)
        assert mx.runtime.stats()["tape_nodes"] - before == 4
        y.backward()
        del y
